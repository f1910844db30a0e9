//! Placeholder.
use super::{ParseError, Parsed};
pub fn parse_json(_bytes: &[u8]) -> Result<Parsed, ParseError> {
    Err(ParseError::Unsupported("not yet".into()))
}
pub fn parse_ubjson(_bytes: &[u8]) -> Result<Parsed, ParseError> {
    Err(ParseError::Unsupported("not yet".into()))
}
