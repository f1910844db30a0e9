//! The document model that both syntaxes are read into. Lists of numbers are typed vectors, so a
//! document takes about as much memory as its file. Knows nothing of models.

use std::borrow::Cow;

use super::malformed;
use crate::forest::ParseError;

/// A value of a document. `true` and `false` are the integers 1 and 0, as they are in newer files.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Integer(i64),
    Float(f32),
    Text(String),
    /// A list of integers; also the empty list.
    Integers(Vec<i64>),
    /// A list of numbers, at least one of them written as a float.
    Floats(Vec<f32>),
    /// Any other list.
    List(Vec<Value>),
    /// Members in the order of the file.
    Object(Vec<(String, Value)>),
}

impl Value {
    /// Appends to a list; the list's type widens where it must. On anything else it does nothing.
    pub fn push(&mut self, value: Value) {
        match (&mut *self, value) {
            (Value::Integers(list), Value::Integer(value)) => list.push(value),
            (Value::Floats(list), Value::Float(value)) => list.push(value),
            (Value::Floats(list), Value::Integer(value)) => list.push(value as f32),
            (Value::Integers(list), Value::Float(value)) => {
                let mut floats: Vec<f32> = list.iter().map(|value| *value as f32).collect();
                floats.push(value);
                *self = Value::Floats(floats);
            }
            (Value::Integers(list), value) => {
                let mut values: Vec<Value> = list.iter().copied().map(Value::Integer).collect();
                values.push(value);
                *self = Value::List(values);
            }
            (Value::Floats(list), value) => {
                let mut values: Vec<Value> = list.iter().copied().map(Value::Float).collect();
                values.push(value);
                *self = Value::List(values);
            }
            (Value::List(list), value) => list.push(value),
            _ => {}
        }
    }

    /// The member with this name; the last one when there are several, as in XGBoost's reader.
    /// `None` when there is none or this is not an object.
    pub fn get(&self, name: &str) -> Option<&Value> {
        let Value::Object(members) = self else {
            return None;
        };
        let member = members.iter().rev().find(|(key, _)| key == name)?;
        Some(&member.1)
    }

    /// The member with this name.
    ///
    /// # Errors
    /// When there is none or this is not an object.
    pub fn member(&self, name: &str) -> Result<&Value, ParseError> {
        if !matches!(self, Value::Object(_)) {
            return malformed(format!(
                "expected an object with \"{name}\", got {}",
                self.kind()
            ));
        }
        match self.get(name) {
            Some(value) => Ok(value),
            None => malformed(format!("\"{name}\" is missing")),
        }
    }

    /// The text of the member with this name.
    ///
    /// # Errors
    /// When it is missing or something else.
    pub fn text(&self, name: &str) -> Result<&str, ParseError> {
        match self.member(name)? {
            Value::Text(text) => Ok(text),
            other => malformed(format!("\"{name}\": expected a text, got {}", other.kind())),
        }
    }

    /// The whole number in the text of the member with this name (XGBoost writes parameters as
    /// texts), or `None` when there is no such member.
    ///
    /// # Errors
    /// When it is something else than a whole number in 0..2^32.
    pub fn count(&self, name: &str) -> Result<Option<usize>, ParseError> {
        if self.get(name).is_none() {
            return Ok(None);
        }
        let text = self.text(name)?;
        match text.trim().parse::<u32>() {
            Ok(count) => Ok(Some(count as usize)),
            Err(_) => malformed(format!(
                "\"{name}\": expected a whole number, got \"{text}\""
            )),
        }
    }

    /// The integers of the member with this name.
    ///
    /// # Errors
    /// When it is missing or something else.
    pub fn integers(&self, name: &str) -> Result<&[i64], ParseError> {
        match self.member(name)? {
            Value::Integers(list) => Ok(list),
            other => malformed(format!(
                "\"{name}\": expected a list of integers, got {}",
                other.kind()
            )),
        }
    }

    /// The floats of the member with this name.
    ///
    /// # Errors
    /// When it is missing or something else.
    pub fn floats(&self, name: &str) -> Result<Cow<'_, [f32]>, ParseError> {
        match self.member(name)? {
            Value::Floats(list) => Ok(Cow::Borrowed(list)),
            Value::Integers(list) => Ok(list.iter().map(|value| *value as f32).collect()),
            other => malformed(format!(
                "\"{name}\": expected a list of numbers, got {}",
                other.kind()
            )),
        }
    }

    /// The values of the member with this name, which is a list of texts or of objects.
    ///
    /// # Errors
    /// When it is missing or something else.
    pub fn list(&self, name: &str) -> Result<&[Value], ParseError> {
        match self.member(name)? {
            Value::List(list) => Ok(list),
            Value::Integers(list) if list.is_empty() => Ok(&[]),
            other => malformed(format!("\"{name}\": expected a list, got {}", other.kind())),
        }
    }

    /// The texts of the member with this name; none when there is no such member.
    ///
    /// # Errors
    /// When it is something else than a list of texts.
    pub fn texts(&self, name: &str) -> Result<Vec<&str>, ParseError> {
        if self.get(name).is_none() {
            return Ok(Vec::new());
        }
        let mut texts = Vec::new();
        for value in self.list(name)? {
            match value {
                Value::Text(text) => texts.push(text.as_str()),
                other => {
                    return malformed(format!(
                        "\"{name}\": expected a list of texts, got {} in it",
                        other.kind()
                    ));
                }
            }
        }
        Ok(texts)
    }

    /// What it is, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Integer(_) => "an integer",
            Value::Float(_) => "a float",
            Value::Text(_) => "a text",
            Value::Integers(_) => "a list of integers",
            Value::Floats(_) => "a list of floats",
            Value::List(_) => "a mixed list",
            Value::Object(_) => "an object",
        }
    }
}
