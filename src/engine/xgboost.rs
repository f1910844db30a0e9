//! Placeholder.
use super::{Engine, EngineError, Libraries, ModelFile};

pub fn load(
    _file: &ModelFile,
    _libraries: &Libraries,
    _refused: Option<String>,
) -> Result<Box<dyn Engine>, EngineError> {
    Err(EngineError::Unavailable("not built".to_string()))
}
pub fn version(_libraries: &Libraries) -> Result<String, String> {
    Err("not built".to_string())
}
