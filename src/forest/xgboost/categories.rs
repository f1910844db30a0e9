//! The `cats` section of XGBoost 3.1 and later: the categories that each feature's codes stand for.

use super::malformed;
use super::value::Value;
use crate::forest::{Category, ParseError};

/// The categories of every feature, empty for a feature that has none; `None` when the model has no
/// section or an empty one.
///
/// # Errors
/// [`ParseError::Malformed`] with the feature and what was expected.
pub fn read(model: &Value, features: usize) -> Result<Option<Vec<Vec<Category>>>, ParseError> {
    let Some(section) = model.get("cats") else {
        return Ok(None);
    };
    let encodings = section.list("enc")?;
    if encodings.is_empty() {
        return Ok(None);
    }
    if encodings.len() != features {
        return malformed(format!(
            "\"cats\": expected the categories of {features} features, got {}",
            encodings.len()
        ));
    }
    let mut all = Vec::with_capacity(features);
    for (feature, encoding) in encodings.iter().enumerate() {
        let categories = if encoding.get("offsets").is_some() {
            texts(encoding)
        } else {
            numbers(encoding)
        };
        match categories {
            Ok(categories) => all.push(categories),
            Err(error) => return malformed(format!("\"cats\", feature {feature}: {error}")),
        }
    }
    Ok(Some(all))
}

/// Texts lie one after the other in `values`, as bytes; text `i` ends where text `i + 1` starts.
fn texts(encoding: &Value) -> Result<Vec<Category>, ParseError> {
    let offsets = encoding.integers("offsets")?;
    let values = encoding.integers("values")?;
    // Bytes are written as signed or as unsigned numbers.
    let bytes: Vec<u8> = values.iter().map(|value| *value as u8).collect();
    let mut texts = Vec::new();
    for pair in offsets.windows(2) {
        let (start, end) = (pair[0], pair[1]);
        let text = usize::try_from(start)
            .ok()
            .zip(usize::try_from(end).ok())
            .and_then(|(start, end)| bytes.get(start..end));
        let Some(text) = text else {
            return malformed(format!(
                "offsets {start} to {end} are outside the {} bytes of \"values\"",
                bytes.len()
            ));
        };
        match str::from_utf8(text) {
            Ok(text) => texts.push(Category::Text(text.to_string())),
            Err(_) => return malformed(format!("the text at offset {start} is not utf-8")),
        }
    }
    Ok(texts)
}

fn numbers(encoding: &Value) -> Result<Vec<Category>, ParseError> {
    if let Some(Value::Integers(values)) = encoding.get("values") {
        // From integers directly: a 32-bit float would round those beyond 2^24.
        return Ok(values
            .iter()
            .map(|value| Category::Number(*value as f64))
            .collect());
    }
    let values = encoding.floats("values")?;
    Ok(values
        .iter()
        .map(|value| Category::Number(f64::from(*value)))
        .collect())
}
