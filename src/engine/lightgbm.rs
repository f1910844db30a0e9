//! Placeholder.
use super::{Engine, EngineError, ModelFile};

pub fn load(_file: &ModelFile, _refused: Option<String>) -> Result<Box<dyn Engine>, EngineError> {
    Err(EngineError::Unavailable("not built".to_string()))
}
pub fn version() -> Result<String, String> {
    Err("not built".to_string())
}
