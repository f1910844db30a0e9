//! LightGBM's own library behind the [`Engine`] trait: the oracle of forest's exactness, and
//! the engine of those who ask for it.
//!
//! The library is compiled in with the cargo feature `lightgbm` only. It trusts the text it loads,
//! so it is given none that our own parser finds inconsistent.

#[cfg(feature = "lightgbm")]
mod library;
#[cfg(feature = "lightgbm")]
mod serving;

use super::{Engine, EngineError, ModelFile};

#[cfg(not(feature = "lightgbm"))]
const MISSING: &str = "this binary was built without LightGBM's library (cargo feature `lightgbm`)";

/// Loads a text model into the library.
///
/// # Errors
/// [`EngineError::Unavailable`] when the library is not built in, [`EngineError::Malformed`] and
/// [`EngineError::Unsupported`] as our parser, [`EngineError::Failed`] with what the library says.
#[cfg(feature = "lightgbm")]
pub fn load(file: &ModelFile, refused: Option<String>) -> Result<Box<dyn Engine>, EngineError> {
    Ok(Box::new(serving::LightgbmEngine::new(file, refused)?))
}

/// The library's version.
///
/// # Errors
/// Why it is missing.
#[cfg(feature = "lightgbm")]
pub fn version() -> Result<String, String> {
    Ok(library::VERSION.to_string())
}

/// Says that the library is not built in.
///
/// # Errors
/// Always [`EngineError::Unavailable`].
#[cfg(not(feature = "lightgbm"))]
pub fn load(_file: &ModelFile, _refused: Option<String>) -> Result<Box<dyn Engine>, EngineError> {
    Err(EngineError::Unavailable(MISSING.to_string()))
}

/// The library's version.
///
/// # Errors
/// Why it is missing.
#[cfg(not(feature = "lightgbm"))]
pub fn version() -> Result<String, String> {
    Err(MISSING.to_string())
}
