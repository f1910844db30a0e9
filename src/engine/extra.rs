//! What an engine may say of a row beside its outputs, computed only when it is asked for.

use std::fmt;

use super::EngineError;

/// Something that is not among a model's outputs because computing it costs more than a prediction,
/// or because it is wide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Extra {
    /// SHAP values, `[features + 1]` or, where there are several raw scores, `[scores, features + 1]`:
    /// what each feature adds to the raw score's mean over the training data, and as the last value
    /// that mean. XGBoost's `pred_contribs`, LightGBM's `predict_contrib`.
    Contributions,
    /// The leaf that the row ends in, `[trees]`, as the library numbers leaves. XGBoost's and
    /// LightGBM's `pred_leaf`.
    Leaves,
}

impl Extra {
    /// Both, in the order that metadata lists them.
    pub const ALL: [Extra; 2] = [Extra::Contributions, Extra::Leaves];
}

impl fmt::Display for Extra {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Extra::Contributions => "contributions",
            Extra::Leaves => "leaves",
        })
    }
}

/// The answer of an engine, called `engine`, that has no extras.
pub(super) fn unsupported<T>(extra: Extra, engine: &str) -> Result<T, EngineError> {
    Err(EngineError::Unsupported(format!(
        "{extra} are not supported by the engine {engine}"
    )))
}
