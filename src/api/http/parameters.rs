//! The parameters of requests, inputs and outputs.

use std::borrow::Cow;

use super::json::{Kind, Reader};
use crate::api::{explain, key};
use crate::error::{Code, Error};
use crate::serve::Explain;

/// What a request's parameters say.
#[derive(Debug, Default)]
pub struct Parameters<'a> {
    pub timeout_us: Option<u64>,
    pub explain: Option<Explain>,
    pub key: Option<Cow<'a, str>>,
    pub binary_data: Option<bool>,
    pub binary_data_output: Option<bool>,
    pub binary_data_size: Option<usize>,
}

/// Reads an object of parameters; those that nobody knows are skipped.
///
/// # Errors
/// Names the parameter, or the place, and what was expected.
pub fn parameters<'a>(reader: &mut Reader<'a>) -> Result<Parameters<'a>, Error> {
    let mut found = Parameters::default();
    let whole = |reader: &mut Reader<'_>| {
        let number = reader.number()?;
        if number.fract() != 0.0 || !(0.0..=9e15).contains(&number) {
            return Err(reader.error("expected a whole number from 0"));
        }
        Ok(number as u64)
    };
    reader.object(|reader, key| {
        match key {
            "timeout" => found.timeout_us = Some(whole(reader)?),
            "explain" => found.explain = explain_parameter(reader)?,
            "key" => found.key = key_parameter(reader)?,
            "binary_data" => found.binary_data = Some(reader.boolean()?),
            "binary_data_output" => found.binary_data_output = Some(reader.boolean()?),
            "binary_data_size" => found.binary_data_size = Some(whole(reader)? as usize),
            "classification" if reader.kind()? != Kind::Null => {
                return Err(Error::new(
                    Code::Unsupported,
                    "the classification extension is not served; ask for the scores",
                ));
            }
            _ => reader.skip()?,
        }
        Ok(())
    })?;
    Ok(found)
}

/// A key is a text, or a whole number for callers whose keys are numbers.
fn key_parameter<'a>(reader: &mut Reader<'a>) -> Result<Option<Cow<'a, str>>, Error> {
    let expected = |reader: &Reader<'a>| reader.error(&format!("key: {}", key::EXPECTED));
    match reader.kind()? {
        Kind::Text => reader.text().map(Some),
        Kind::Null => reader.null().map(|()| None),
        Kind::Number => {
            let digits = key::digits(reader.number()?);
            let digits = digits.ok_or_else(|| expected(reader))?;
            Ok(Some(Cow::Owned(digits)))
        }
        _ => Err(expected(reader)),
    }
}

fn explain_parameter(reader: &mut Reader<'_>) -> Result<Option<Explain>, Error> {
    match reader.kind()? {
        Kind::Text => explain::from_text(&reader.text()?).map(Some),
        Kind::Number => explain::from_number(reader.number()?).map(Some),
        Kind::Null => reader.null().map(|()| None),
        _ => Err(explain::expected()),
    }
}
