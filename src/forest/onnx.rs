//! Placeholder.
use super::{ParseError, Parsed};
pub fn parse(_bytes: &[u8]) -> Result<Parsed, ParseError> {
    Err(ParseError::Unsupported("not yet".into()))
}
