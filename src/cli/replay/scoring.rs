//! From lines of a file to what a revision says of them, by the server's own signature and engine.
//! Knows nothing of labels and trials.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashSet};
use std::path::Path;

use smallvec::smallvec;

use super::data::{Line, Table};
use crate::engine::{Category, FeatureKind};
use crate::model::artifact::Artifact;
use crate::model::revision::{self, Revision, Settings};
use crate::rollout::reading::Columns;
use crate::tensor::{Cell, DType, Tensor, Values};

/// A revision that reads a file.
#[derive(Debug)]
pub struct Scorer<'a> {
    revision: &'a Revision,
    scores: Columns,
    features: Vec<Feature<'a>>,
}

/// A feature and the column that holds it.
#[derive(Debug)]
struct Feature<'a> {
    name: &'a str,
    column: usize,
    /// Categories that are texts: a file has no quotes that tell "1" from 1.
    texts: HashSet<&'a str>,
}

/// Loads the revision in a folder as the server would.
///
/// # Errors
/// Why it cannot serve, with the folder.
pub fn load(dir: &Path, settings: &Settings) -> Result<Revision, String> {
    let failed = |reason: String| format!("{}: {reason}", dir.display());
    if !dir.is_dir() {
        return Err(failed(
            "no such folder; expected that of a revision".to_string(),
        ));
    }
    let artifact =
        Artifact::read(dir, settings.bytes_max).map_err(|error| failed(error.to_string()))?;
    revision::prepare("replay", 0, artifact, settings).map_err(failed)
}

/// The names of the classes of a revision's scores; empty where it does not say.
pub fn class_names(revision: &Revision) -> &[String] {
    let scores = |dtype: DType| !matches!(dtype, DType::Int64 | DType::Bytes);
    let mut outputs = revision.signature.outputs.iter();
    outputs
        .find(|output| output.default && scores(output.dtype))
        .map_or(&[], |output| output.labels.as_slice())
}

/// The columns that neither model knows, which is an error: names are checked, never ignored.
///
/// # Errors
/// Names them, and what to do.
pub fn refuse_foreign(
    table: &Table,
    known: &[&str],
    revisions: [&Revision; 2],
) -> Result<(), String> {
    let mut names: BTreeSet<&str> = known.iter().copied().collect();
    for revision in revisions {
        names.extend(revision.signature.names().iter().map(String::as_str));
    }
    let foreign = table
        .header()
        .iter()
        .filter(|name| !names.contains(name.as_str()));
    let foreign: Vec<String> = foreign.map(|name| format!("\"{name}\"")).collect();
    match foreign.is_empty() {
        true => Ok(()),
        false => Err(format!(
            "{} is no feature of champion or challenger; --ignore leaves a column out",
            foreign.join(", ")
        )),
    }
}

impl<'a> Scorer<'a> {
    /// A revision (`role`: for messages) with its features found in a table.
    ///
    /// # Errors
    /// When a feature has no column, or the model gives no scores.
    pub fn new(role: &str, revision: &'a Revision, table: &Table) -> Result<Scorer<'a>, String> {
        let scores = Columns::of(revision)
            .ok_or_else(|| format!("the {role} gives no scores that can be compared"))?;
        let mut features = Vec::new();
        for column in &revision.signature.columns {
            let texts = match &column.kind {
                FeatureKind::Number => HashSet::new(),
                FeatureKind::Category { categories, .. } => categories
                    .iter()
                    .filter_map(|category| match category {
                        Category::Text(text) => Some(text.as_str()),
                        Category::Number(_) => None,
                    })
                    .collect(),
            };
            features.push(Feature {
                name: &column.name,
                column: table.column(&column.name, &format!("a feature of the {role}"))?,
                texts,
            });
        }
        Ok(Scorer {
            revision,
            scores,
            features,
        })
    }

    /// The number of classes; 1 for a score that is one number.
    pub fn classes(&self) -> usize {
        self.scores.classes()
    }

    /// What it says of each line, or why it says nothing. A line that does not fit spoils no other.
    pub fn score(&self, lines: &[Line]) -> Vec<Result<Vec<f64>, String>> {
        match self.score_all(lines) {
            Ok(scores) => scores.into_iter().map(Ok).collect(),
            Err(reason) if lines.len() == 1 => {
                // The only row of what was asked is not one that a person counts.
                vec![Err(reason.replacen(", row 0: ", ": ", 1))]
            }
            Err(_) => lines
                .iter()
                .flat_map(|line| self.score(std::slice::from_ref(line)))
                .collect(),
        }
    }

    fn score_all(&self, lines: &[Line]) -> Result<Vec<Vec<f64>>, String> {
        let tensors = self.features.iter().map(|feature| feature.tensor(lines));
        let signature = &self.revision.signature;
        let rows = signature
            .check(tensors.collect())
            .map_err(|error| error.reason)?;
        let width = signature.result_width();
        let mut results = vec![0.0; rows.len() * width];
        self.revision
            .engine
            .predict(&rows, &mut results)
            .map_err(|error| error.to_string())?;
        Ok(results
            .chunks_exact(width)
            .map(|row| self.scores.read(row))
            .collect())
    }
}

impl Feature<'_> {
    fn tensor(&self, lines: &[Line]) -> Tensor<'_> {
        let cells = lines
            .iter()
            .map(|line| self.cell(line.fields.get(self.column).unwrap_or("")));
        Tensor {
            name: Cow::Borrowed(self.name),
            dtype: DType::Bytes,
            shape: smallvec![lines.len()],
            values: Values::Cells(cells.collect()),
        }
    }

    /// Nothing and "NaN" are missing, whatever the feature.
    fn cell(&self, text: &str) -> Cell {
        if self.texts.contains(text) {
            return Cell::Text(text.to_string());
        }
        if text.is_empty() {
            return Cell::Number(f64::NAN);
        }
        match text.parse() {
            Ok(number) => Cell::Number(number),
            Err(_) => Cell::Text(text.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_category_that_looks_like_a_number_is_a_name() {
        let feature = Feature {
            name: "plan",
            column: 0,
            texts: HashSet::from(["1", "basic"]),
        };
        assert_eq!(feature.cell("1"), Cell::Text("1".to_string()));
        assert_eq!(feature.cell("basic"), Cell::Text("basic".to_string()));
        assert_eq!(feature.cell("2"), Cell::Number(2.0));
        assert_eq!(feature.cell("gold"), Cell::Text("gold".to_string()));
        for missing in ["", "NaN", "nan"] {
            assert!(
                matches!(feature.cell(missing), Cell::Number(it) if it.is_nan()),
                "{missing}"
            );
        }
    }
}
