//! A model's contract: named, typed, ordered features and outputs, and the check that turns a
//! client's tensors into rows. Names are checked and reordered, never ignored.

mod column;

use std::collections::HashMap;

use serde::Deserialize;

use crate::engine::{Category, Feature, FeatureKind, Outline, Output, Unknown};
use crate::tensor::{DType, Element, Matrix, Rows, Tensor, Tensors, Values};

pub use column::Column;

/// What a model takes and gives.
#[derive(Clone, Debug)]
pub struct Signature {
    /// The name of the one tensor that holds all features.
    pub input: String,
    /// The type of row values.
    pub element: Element,
    /// In row order.
    pub columns: Vec<Column>,
    pub outputs: Vec<Output>,
    index: HashMap<String, usize>,
    names: Vec<String>,
    /// Numbers are rows as they come: no feature has categories that are numbers.
    plain: bool,
    result_width: usize,
}

/// The contents of a `signature.json`, every key optional: what the model's file does not say.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Declared {
    /// The name of the one tensor that holds all features. Default `input`.
    pub input: Option<String>,
    /// All features in row order.
    pub features: Option<Vec<DeclaredFeature>>,
    /// The names of the classes, in the order of the prediction's columns.
    pub labels: Option<Vec<String>>,
    /// New names for outputs, by the model's own name.
    #[serde(default)]
    pub outputs: HashMap<String, String>,
}

/// A feature in `signature.json`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeclaredFeature {
    pub name: String,
    /// `number` or `category`.
    #[serde(rename = "type", default)]
    pub kind: DeclaredKind,
    /// For a category: its names, code 0 first.
    #[serde(default)]
    pub categories: Vec<String>,
}

/// A feature's type in `signature.json`.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum DeclaredKind {
    #[default]
    Number,
    Category,
}

/// A request as a model reads it.
#[derive(Clone, Debug, PartialEq)]
pub struct Read {
    pub rows: Rows,
    /// The cells, row and column, with a category that the model does not know and takes for a missing
    /// value. Sorted.
    pub unknown: Vec<(u32, u32)>,
}

/// Why a request or a `signature.json` does not fit a model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Mismatch {
    pub reason: String,
    /// The columns of features that a request does not have, and the rows that it would have.
    pub lacking: Vec<usize>,
    pub rows: usize,
}

/// Where the categories are noted that a model does not know.
type Unknowns = Vec<(u32, u32)>;

/// Features that an error message names.
const NAMED_MAX: usize = 5;

impl Signature {
    /// The signature of a model with this outline and, where there is one, `signature.json`.
    ///
    /// # Errors
    /// When the two contradict each other, or names repeat.
    pub fn new(outline: &Outline, declared: Option<&Declared>) -> Result<Signature, Mismatch> {
        let declared = declared.cloned().unwrap_or_default();
        let columns = columns(&outline.features, declared.features.as_deref())?;
        let mut index = HashMap::with_capacity(columns.len());
        for (position, column) in columns.iter().enumerate() {
            if index.insert(column.name.clone(), position).is_some() {
                return mismatch(format!("feature \"{}\" appears twice", column.name));
            }
        }
        let outputs = outputs(&outline.outputs, &declared)?;
        Ok(Signature {
            result_width: outputs.iter().map(Output::len).sum(),
            plain: columns.iter().all(|column| !column.has_numbers()),
            input: declared
                .input
                .clone()
                .unwrap_or_else(|| "input".to_string()),
            element: outline.element,
            outputs,
            names: columns.iter().map(|column| column.name.clone()).collect(),
            columns,
            index,
        })
    }

    /// The names of the features, in row order.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether rows that the other model reads from a request are those that this one reads.
    pub fn reads_like(&self, other: &Signature) -> bool {
        let alike = |(a, b): (&Column, &Column)| a.name == b.name && a.kind == b.kind;
        self.element == other.element
            && self.input == other.input
            && self.columns.len() == other.columns.len()
            && self.columns.iter().zip(&other.columns).all(alike)
    }

    /// Leaves out the tensors of features that only others know: a client may send what a challenger
    /// needs before the champion does. A name that nobody knows stays, to be refused.
    pub fn leave_out_foreign<'a, I: Iterator<Item = &'a Signature>>(
        &self,
        tensors: &mut Tensors<'_>,
        others: impl Fn() -> I,
    ) {
        if tensors.len() == 1 {
            return;
        }
        tensors.retain(|tensor| {
            let known = |it: &Signature| it.index.contains_key(&*tensor.name);
            known(self) || !others().any(known)
        });
    }

    /// Values per row of results: all outputs' columns.
    pub fn result_width(&self) -> usize {
        self.result_width
    }

    /// The rows of [`Signature::read`].
    ///
    /// # Errors
    /// As there.
    pub fn check(&self, tensors: Tensors<'_>) -> Result<Rows, Mismatch> {
        self.read(tensors).map(|read| read.rows)
    }

    /// Turns a request's tensors into rows: either one tensor `[n, features]` (also `[features]`
    /// for one row) that is unnamed or named as [`Signature::input`], or one tensor `[n]` or
    /// `[n, 1]` per feature, in any order.
    ///
    /// # Errors
    /// Names the tensor or feature, the row, and what was expected.
    pub fn read(&self, mut tensors: Tensors<'_>) -> Result<Read, Mismatch> {
        if tensors.is_empty() {
            return mismatch(format!("no inputs; expected {}", self.expected()));
        }
        if tensors.len() == 1
            && (tensors[0].name.is_empty() || tensors[0].name == self.input)
            && let Some(tensor) = tensors.pop()
        {
            let mut unknown = Unknowns::new();
            let rows = self.matrix(tensor, &mut unknown)?;
            return Ok(Read { rows, unknown });
        }
        if tensors.len() == 1 && !self.index.contains_key(&*tensors[0].name) {
            return mismatch(format!(
                "input \"{}\" is not an input of this model; expected {}",
                tensors[0].name,
                self.expected()
            ));
        }
        let mut unknown = Unknowns::new();
        let rows = self.by_feature(&tensors, &mut unknown)?;
        // Found by column.
        unknown.sort_unstable();
        Ok(Read { rows, unknown })
    }

    fn expected(&self) -> String {
        format!(
            "one tensor \"{}\" of shape [n, {}], or one tensor per feature",
            self.input,
            self.columns.len()
        )
    }

    fn matrix(&self, tensor: Tensor<'_>, unknown: &mut Unknowns) -> Result<Rows, Mismatch> {
        let width = self.columns.len();
        let fits = match tensor.shape.as_slice() {
            [_, columns] => *columns == width,
            [values] => *values == width || width == 1,
            _ => false,
        };
        if !fits {
            return mismatch(format!(
                "input \"{}\": expected shape [n, {width}], got {:?}",
                self.input, tensor.shape
            ));
        }
        let rows = match (tensor.values, self.element) {
            (Values::F32(values), Element::F32) if self.plain => {
                Matrix::new(values, width).map(Rows::F32)
            }
            (Values::F64(values), Element::F64) if self.plain => {
                Matrix::new(values, width).map(Rows::F64)
            }
            (Values::F64(values), Element::F32) if self.plain => {
                Matrix::new(self.narrow(&values)?, width).map(Rows::F32)
            }
            (values, element) => {
                let mut row_values = Vec::with_capacity(values.len());
                for position in 0..values.len() {
                    let (row, index) = (position / width, position % width);
                    let column = &self.columns[index];
                    let value = column.value(&values, position, row, element)?;
                    row_values.push(noted(value, (row, index), unknown));
                }
                Rows::from_f64(row_values, width, element)
            }
        };
        let wrong = || format!("input \"{}\": shape and data disagree", self.input);
        rows.ok_or_else(|| Mismatch::new(wrong()))
    }

    /// Numbers of rows as 32-bit floats, each rounded to nearest.
    fn narrow(&self, values: &[f64]) -> Result<Vec<f32>, Mismatch> {
        let narrowed: Vec<f32> = values.iter().map(|value| *value as f32).collect();
        let lost = |(value, narrow): (&f64, &f32)| narrow.is_infinite() && value.is_finite();
        let Some(position) = values.iter().zip(&narrowed).position(lost) else {
            return Ok(narrowed);
        };
        let width = self.columns.len();
        mismatch(format!(
            "feature \"{}\", row {}: the number does not fit a 32-bit float",
            self.columns[position % width].name,
            position / width
        ))
    }

    fn by_feature(&self, tensors: &[Tensor<'_>], unknown: &mut Unknowns) -> Result<Rows, Mismatch> {
        let width = self.columns.len();
        let mut sources: Vec<Option<&Tensor<'_>>> = vec![None; width];
        for tensor in tensors {
            let Some(&position) = self.index.get(&*tensor.name) else {
                return mismatch(format!(
                    "feature \"{}\" is not a feature of this model",
                    tensor.name
                ));
            };
            if sources[position].replace(tensor).is_some() {
                return mismatch(format!("feature \"{}\" is given twice", tensor.name));
            }
        }
        let count = tensors.first().map_or(0, |tensor| tensor.values.len());
        if sources.iter().any(Option::is_none) {
            return Err(self.lacks(&sources, count));
        }
        // Before there is room for them: one long column among short ones is no table.
        for (tensor, column) in sources.iter().flatten().zip(&self.columns) {
            if !matches!(tensor.shape.as_slice(), [n] | [n, 1] if *n == count) {
                return mismatch(format!(
                    "feature \"{}\": expected shape [{count}] or [{count}, 1], got {:?}",
                    column.name, tensor.shape
                ));
            }
        }
        let mut values = vec![0.0; count * width];
        for (position, (source, column)) in sources.iter().zip(&self.columns).enumerate() {
            let Some(tensor) = source else { continue };
            for row in 0..count {
                let value = column.value(&tensor.values, row, row, self.element)?;
                values[row * width + position] = noted(value, (row, position), unknown);
            }
        }
        Rows::from_f64(values, width, self.element).ok_or_else(|| Mismatch::new("no features"))
    }

    /// Says which features a request lacks.
    fn lacks(&self, sources: &[Option<&Tensor<'_>>], rows: usize) -> Mismatch {
        let lacking = sources.iter().enumerate().filter(|(_, it)| it.is_none());
        let lacking: Vec<usize> = lacking.map(|(position, _)| position).collect();
        let some = lacking.iter().take(NAMED_MAX);
        let names: Vec<String> = some
            .map(|position| format!("\"{}\"", self.columns[*position].name))
            .collect();
        let names = names.join(", ");
        let reason = match lacking.len() {
            1 => format!("feature {names} is missing"),
            count @ 2..=NAMED_MAX => format!("{count} features are missing: {names}"),
            count => {
                let more = count - NAMED_MAX;
                format!("{count} features are missing: {names} and {more} more")
            }
        };
        Mismatch {
            lacking,
            rows,
            ..Mismatch::new(reason)
        }
    }
}

impl Read {
    /// Its first row and every `stride`-th after it; `stride` is at least 1.
    pub fn every(&self, stride: usize) -> Read {
        let rows: Vec<usize> = (0..self.rows.len()).step_by(stride).collect();
        let unknown = self.unknown.iter().filter_map(|(row, column)| {
            let row = *row as usize;
            row.is_multiple_of(stride)
                .then_some(((row / stride) as u32, *column))
        });
        Read {
            rows: self.rows.select(&rows),
            unknown: unknown.collect(),
        }
    }
}

impl Mismatch {
    fn new(reason: impl Into<String>) -> Mismatch {
        Mismatch {
            reason: reason.into(),
            lacking: Vec::new(),
            rows: 0,
        }
    }
}

/// A value, or a missing one that is noted as unknown.
fn noted(value: Option<f64>, (row, column): (usize, usize), unknown: &mut Unknowns) -> f64 {
    value.unwrap_or_else(|| {
        unknown.push((row as u32, column as u32));
        f64::NAN
    })
}

/// Names come from the model's file, else from `signature.json`, else they are `f0`, `f1`, …
fn columns(
    features: &[Feature],
    declared: Option<&[DeclaredFeature]>,
) -> Result<Vec<Column>, Mismatch> {
    if let Some(declared) = declared
        && declared.len() != features.len()
    {
        return mismatch(format!(
            "signature.json lists {} features, the model has {}",
            declared.len(),
            features.len()
        ));
    }
    let mut columns = Vec::with_capacity(features.len());
    for (position, feature) in features.iter().enumerate() {
        let Some(declared) = declared.map(|all| &all[position]) else {
            let name = feature
                .name
                .clone()
                .unwrap_or_else(|| format!("f{position}"));
            columns.push(Column::new(name, feature.kind.clone()));
            continue;
        };
        if let Some(name) = feature.name.as_ref().filter(|name| **name != declared.name) {
            return mismatch(format!(
                "signature.json: feature {position} is \"{}\", but the model calls it \"{name}\"",
                declared.name
            ));
        }
        columns.push(Column::new(
            declared.name.clone(),
            declared_kind(&feature.kind, declared)?,
        ));
    }
    Ok(columns)
}

fn declared_kind(kind: &FeatureKind, declared: &DeclaredFeature) -> Result<FeatureKind, Mismatch> {
    if declared.kind == DeclaredKind::Number && !declared.categories.is_empty() {
        return mismatch(format!(
            "signature.json: feature \"{}\" is a number, but lists categories",
            declared.name
        ));
    }
    let named: Vec<Category> = declared
        .categories
        .iter()
        .cloned()
        .map(Category::Text)
        .collect();
    match kind {
        _ if named.is_empty() => Ok(kind.clone()),
        FeatureKind::Category {
            categories,
            unknown,
        } if categories.is_empty() || *categories == named => Ok(FeatureKind::Category {
            categories: named,
            unknown: *unknown,
        }),
        FeatureKind::Category { .. } => mismatch(format!(
            "signature.json: feature \"{}\": the model's file lists other categories",
            declared.name
        )),
        FeatureKind::Number => Ok(FeatureKind::Category {
            categories: named,
            unknown: Unknown::Refused,
        }),
    }
}

fn outputs(outputs: &[Output], declared: &Declared) -> Result<Vec<Output>, Mismatch> {
    let mut named = outputs.to_vec();
    for (from, to) in &declared.outputs {
        let Some(output) = named.iter_mut().find(|output| output.name == *from) else {
            return mismatch(format!(
                "signature.json: the model has no output \"{from}\""
            ));
        };
        output.name.clone_from(to);
    }
    let Some(labels) = &declared.labels else {
        return Ok(named);
    };
    // The scores of classes: the first float output; one column stands for the second of two.
    let scores = named.iter_mut().find(|output| {
        output.default && output.dtype != DType::Int64 && output.dtype != DType::Bytes
    });
    let Some(scores) = scores else {
        return mismatch("signature.json: labels are given, but the model has no class scores");
    };
    let classes = if scores.len() == 1 { 2 } else { scores.len() };
    if labels.len() != classes {
        return mismatch(format!(
            "signature.json lists {} labels, the model has {classes} classes",
            labels.len()
        ));
    }
    scores.labels.clone_from(labels);
    Ok(named)
}

fn mismatch<T>(reason: impl Into<String>) -> Result<T, Mismatch> {
    Err(Mismatch::new(reason))
}

#[cfg(test)]
mod tests;
