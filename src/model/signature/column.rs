//! One feature: what an engine reads for a value that a client sends.

use std::collections::HashMap;

use super::{Mismatch, mismatch};
use crate::engine::{Category, FeatureKind, Unknown};
use crate::tensor::{Cell, Element, Values};

/// One feature.
#[derive(Clone, Debug)]
pub struct Column {
    pub name: String,
    pub kind: FeatureKind,
    /// Category names to codes; empty unless the categories are texts.
    texts: HashMap<String, f64>,
    /// Category numbers (their bits) to codes; empty unless the categories are numbers.
    numbers: HashMap<u64, f64>,
}

impl Column {
    pub fn new(name: String, kind: FeatureKind) -> Column {
        let mut texts = HashMap::new();
        let mut numbers = HashMap::new();
        if let FeatureKind::Category { categories, .. } = &kind {
            for (code, category) in categories.iter().enumerate() {
                match category {
                    Category::Text(text) => texts.insert(text.clone(), code as f64),
                    // Adding zero makes one bit pattern of both zeros.
                    Category::Number(number) => {
                        numbers.insert((number + 0.0).to_bits(), code as f64)
                    }
                };
            }
        }
        Column {
            name,
            kind,
            texts,
            numbers,
        }
    }

    /// Whether its values are categories with names or numbers of their own.
    pub fn has_categories(&self) -> bool {
        !(self.texts.is_empty() && self.numbers.is_empty())
    }

    /// Whether its categories are numbers: what a client sends is not what an engine reads.
    pub fn has_numbers(&self) -> bool {
        !self.numbers.is_empty()
    }

    /// What an engine reads for a category as it is written; for a number, where the feature has no
    /// categories. `None` when the model does not know it.
    pub fn code(&self, category: &str) -> Option<f64> {
        if !self.texts.is_empty() {
            return self.texts.get(category).copied();
        }
        let number: f64 = category.parse().ok()?;
        match self.numbers.is_empty() {
            true => (!number.is_nan()).then_some(number),
            false => self.numbers.get(&(number + 0.0).to_bits()).copied(),
        }
    }

    /// The value at `position`, which is row `row` of the request, as an engine reads it; `None` for a
    /// category that the model does not know and takes for a missing value.
    pub fn value(
        &self,
        values: &Values,
        position: usize,
        row: usize,
        element: Element,
    ) -> Result<Option<f64>, Mismatch> {
        let number = match values {
            Values::F32(values) => f64::from(values[position]),
            Values::F64(values) => values[position],
            Values::Cells(cells) => match &cells[position] {
                Cell::Number(number) => *number,
                Cell::Text(text) => return self.text(text, row),
            },
        };
        if number.is_nan() {
            return Ok(Some(number));
        }
        if !self.numbers.is_empty() {
            return match self.numbers.get(&(number + 0.0).to_bits()) {
                Some(code) => Ok(Some(*code)),
                None => self.unknown(row),
            };
        }
        if element == Element::F32 && number.is_finite() && (number as f32).is_infinite() {
            return mismatch(format!(
                "feature \"{}\", row {row}: the number does not fit a 32-bit float",
                self.name
            ));
        }
        Ok(Some(number))
    }

    fn text(&self, text: &str, row: usize) -> Result<Option<f64>, Mismatch> {
        if !self.texts.is_empty() {
            return match self.texts.get(text) {
                Some(code) => Ok(Some(*code)),
                None => self.unknown(row),
            };
        }
        match text {
            "NaN" => Ok(Some(f64::NAN)),
            "Infinity" => Ok(Some(f64::INFINITY)),
            "-Infinity" => Ok(Some(f64::NEG_INFINITY)),
            _ => mismatch(format!(
                "feature \"{}\", row {row}: expected a number, got a string",
                self.name
            )),
        }
    }

    fn unknown(&self, row: usize) -> Result<Option<f64>, Mismatch> {
        match &self.kind {
            FeatureKind::Category {
                unknown: Unknown::Missing,
                ..
            } => Ok(None),
            _ => mismatch(format!(
                "feature \"{}\", row {row}: the category is not one of the {} that the model knows",
                self.name,
                self.texts.len() + self.numbers.len()
            )),
        }
    }
}
