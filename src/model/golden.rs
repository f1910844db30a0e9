//! Golden rows: what the original library said of some rows at training time, and the check that a
//! revision says the same.
//!
//! `golden.json` holds `library`, `library_version`, `tolerance` (absolute; 0 = bit for bit),
//! `rows` (lists of numbers, category names, `null` for missing, `"Infinity"`, `"-Infinity"`) and
//! `outputs` (per output name, one list of values per row). Other keys are for people.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::engine::{Engine, Output};
use crate::tensor::{DType, Rows};

/// The contents of a `golden.json`.
#[derive(Clone, Debug, Deserialize)]
pub struct Golden {
    /// The library that made the numbers.
    #[serde(default)]
    pub library: String,
    #[serde(default)]
    pub library_version: String,
    /// The largest absolute difference allowed; 0 compares bits (NaN equals NaN).
    #[serde(default)]
    pub tolerance: f64,
    pub rows: Vec<Vec<Cell>>,
    pub outputs: BTreeMap<String, Vec<Vec<Cell>>>,
}

/// One value of a row or of an expected output.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(untagged)]
pub enum Cell {
    Number(f64),
    Text(String),
    Missing(()),
}

impl Golden {
    /// Reads a `golden.json`.
    ///
    /// # Errors
    /// What the JSON reader says, with line and column.
    pub fn parse(bytes: &[u8]) -> Result<Golden, String> {
        serde_json::from_slice(bytes).map_err(|error| format!("golden.json: {error}"))
    }

    /// Predicts every row and compares. Returns how many rows were compared.
    ///
    /// # Errors
    /// The first difference: row, values, output, and both numbers; or a row that does not fit.
    pub fn verify(&self, engine: &dyn Engine) -> Result<usize, String> {
        let outline = engine.outline();
        let rows = self.rows(engine)?;
        let mut results = vec![0.0; rows.len() * outline.width()];
        engine
            .predict(&rows, &mut results)
            .map_err(|error| format!("golden rows: {error}"))?;
        for (name, expected) in &self.outputs {
            let output = outline
                .outputs
                .iter()
                .find(|output| output.name == *name)
                .ok_or_else(|| format!("golden.json: the model has no output \"{name}\""))?;
            if expected.len() != self.rows.len() {
                return Err(format!(
                    "golden.json: output \"{name}\" has {} rows, expected {}",
                    expected.len(),
                    self.rows.len()
                ));
            }
            for (index, (expected, result)) in expected
                .iter()
                .zip(results.chunks_exact(outline.width()))
                .enumerate()
            {
                let got = &result[output.offset..output.offset + output.len()];
                self.compare(output, index, expected, got)?;
            }
        }
        Ok(self.rows.len())
    }

    /// The rows as the engine reads them.
    ///
    /// # Errors
    /// The row and the feature that does not fit.
    pub fn rows(&self, engine: &dyn Engine) -> Result<Rows, String> {
        let outline = engine.outline();
        let width = outline.features.len();
        let mut values = Vec::with_capacity(self.rows.len() * width);
        for (index, row) in self.rows.iter().enumerate() {
            if row.len() != width {
                return Err(format!(
                    "golden.json, row {index}: {} values, but the model has {width} features",
                    row.len()
                ));
            }
            for (column, (cell, feature)) in row.iter().zip(&outline.features).enumerate() {
                let value = match cell {
                    Cell::Missing(()) => Ok(f64::NAN),
                    Cell::Number(number) => feature.kind.value_of_number(*number),
                    Cell::Text(text) => match special(text) {
                        Some(number) => Ok(number),
                        None => feature.kind.value_of_text(text),
                    },
                };
                values.push(value.map_err(|_| {
                    format!("golden.json, row {index}, value {column}: unknown category {cell:?}")
                })?);
            }
        }
        Rows::from_f64(values, width, outline.element)
            .ok_or_else(|| "golden.json: rows have no values".to_string())
    }

    fn compare(
        &self,
        output: &Output,
        index: usize,
        expected: &[Cell],
        got: &[f64],
    ) -> Result<(), String> {
        let differ = |expected: &Cell, got: f64| match expected {
            Cell::Text(text) if output.dtype == DType::Bytes => {
                output.labels.get(got as usize) != Some(text)
            }
            Cell::Text(text) => special(text).is_none_or(|expected| expected != got),
            Cell::Missing(()) => !got.is_nan(),
            Cell::Number(expected) if self.tolerance == 0.0 => expected.to_bits() != got.to_bits(),
            Cell::Number(expected) => {
                let difference = (expected - got).abs();
                difference.is_nan() || difference > self.tolerance
            }
        };
        let same = expected.len() == got.len()
            && !expected
                .iter()
                .zip(got)
                .any(|(expected, got)| differ(expected, *got));
        if same {
            return Ok(());
        }
        Err(format!(
            "golden row {index}: output \"{}\": {} {} gave {expected:?}, this revision gives {got:?} (tolerance {}); the row is {:?}",
            output.name, self.library, self.library_version, self.tolerance, self.rows[index]
        ))
    }
}

fn special(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}
