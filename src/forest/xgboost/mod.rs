//! XGBoost's model files, JSON and UBJSON, of versions 1.0 to 3.x.
//!
//! Both syntaxes are read into one [`value::Value`]; [`learner`] and [`tree`] turn it into a
//! forest. What a file means is what XGBoost 3.2 makes of it, whichever version wrote it: base
//! scores, sums and links follow `src/learner.cc`, `src/gbm` and `src/objective` of that version.

mod categories;
mod iteration;
mod json;
mod learner;
mod tree;
mod ubjson;
mod value;

use super::{Feature, ParseError, Parsed};

/// What a file says about its model, whether or not a forest can represent it.
#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    /// One per feature, in row order.
    pub features: Vec<Feature>,
    /// The objective as the file writes it.
    pub objective: String,
    /// `gbtree`, `dart` or `gblinear`.
    pub booster: String,
    /// The number of trees, where the booster has any.
    pub trees: Option<usize>,
    /// The boosting rounds to use, where they are not all.
    pub rounds: Option<usize>,
    /// Whether it has vector leaves as versions before 3.2 wrote them: 3.2 crashes on them.
    pub old_vector_leaves: bool,
    /// The library's version that wrote the file, where the file says it.
    pub library_version: Option<String>,
}

/// Reads a model that was saved as JSON.
///
/// # Errors
/// [`ParseError`] as its variants say.
pub fn parse_json(bytes: &[u8]) -> Result<Parsed, ParseError> {
    learner::parse(&json::read(bytes)?)
}

/// Reads a model that was saved as UBJSON.
///
/// # Errors
/// [`ParseError`] as its variants say.
pub fn parse_ubjson(bytes: &[u8]) -> Result<Parsed, ParseError> {
    learner::parse(&ubjson::read(bytes)?)
}

/// Describes a model that was saved as JSON, without looking into its trees.
///
/// # Errors
/// [`ParseError::Malformed`] when the file is broken above its trees.
pub fn describe_json(bytes: &[u8]) -> Result<Description, ParseError> {
    learner::describe(&json::read(bytes)?)
}

/// Describes a model that was saved as UBJSON, without looking into its trees.
///
/// # Errors
/// [`ParseError::Malformed`] when the file is broken above its trees.
pub fn describe_ubjson(bytes: &[u8]) -> Result<Description, ParseError> {
    learner::describe(&ubjson::read(bytes)?)
}

/// How deep lists and objects may lie in one another. XGBoost's own files reach 9.
const DEPTH_MAX: usize = 32;

fn malformed<T>(reason: impl Into<String>) -> Result<T, ParseError> {
    Err(ParseError::Malformed(reason.into()))
}

fn unsupported<T>(reason: impl Into<String>) -> Result<T, ParseError> {
    Err(ParseError::Unsupported(reason.into()))
}

#[cfg(test)]
mod tests;
