//! What a model says of rows of its training data, by the server's own signature and engine.

use std::borrow::Cow;
use std::path::Path;

use smallvec::smallvec;

use super::super::replay::scoring;
use crate::config::Config;
use crate::engine::{Category, FeatureKind};
use crate::model::revision::Revision;
use crate::model::score::Columns;
use crate::rollout::score::Task;
use crate::rollout::{SlotSettings, reading};
use crate::tensor::{Cell, DType, Element, Tensor, Values};

/// The model that a profile is for.
#[derive(Debug)]
pub struct Model {
    pub revision: Revision,
    /// `None`: it gives no number that could be watched.
    scores: Option<Columns>,
}

impl Model {
    /// Loads the revision in a folder as the server would.
    ///
    /// # Errors
    /// Why it cannot serve.
    pub fn load(dir: &Path) -> Result<Model, String> {
        let config = Config::load(None, &[]).map_err(|problems| {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            lines.join("\n")
        })?;
        let revision = scoring::load(dir, &config.revision)?;
        Ok(Model {
            scores: Columns::of(&revision),
            revision,
        })
    }

    /// Whether it gives a score.
    pub fn has_score(&self) -> bool {
        self.scores.is_some()
    }

    /// Whether it reads numbers of 32 bits.
    pub fn is_single(&self) -> bool {
        self.revision.signature.element == Element::F32
    }

    /// Whether its score is the probability of the second of two classes.
    pub fn is_binary(&self) -> bool {
        let task = reading::task(&SlotSettings::default(), &self.revision);
        self.has_score() && matches!(task, Task::Binary { .. })
    }

    /// The classes of its score; 1 for one number.
    pub fn classes(&self) -> usize {
        self.scores.map_or(0, Columns::classes)
    }

    /// Whether neither its file nor anything beside it names its features: they are `f0`, `f1`, …
    pub fn is_nameless(&self) -> bool {
        let names = self.revision.signature.names().iter().enumerate();
        let mut features = self.revision.outline().features.iter();
        features.all(|feature| feature.name.is_none())
            && names
                .into_iter()
                .all(|(place, name)| *name == format!("f{place}"))
    }

    /// The texts among the categories of a feature, and how many categories there are.
    pub fn texts(kind: &FeatureKind) -> (Vec<String>, usize) {
        let FeatureKind::Category { categories, .. } = kind else {
            return (Vec::new(), 0);
        };
        let texts = categories.iter().filter_map(|category| match category {
            Category::Text(text) => Some(text.clone()),
            Category::Number(_) => None,
        });
        (texts.collect(), categories.len())
    }

    /// The score of each row; nothing where the model gives none. `before` rows came before these.
    ///
    /// # Errors
    /// Names the first row that the model refuses, counted from 1, and why.
    pub fn score(&self, features: &[Values], rows: usize, before: u64) -> Result<Vec<f64>, String> {
        if self.scores.is_none() {
            return Ok(Vec::new());
        }
        let reason = match self.score_rows(features, 0, rows) {
            Ok(scores) => return Ok(scores),
            Err(reason) => reason,
        };
        // A row that does not fit spoils the block: say which.
        for row in 0..rows {
            if let Err(reason) = self.score_rows(features, row, row + 1) {
                let place = before + row as u64 + 1;
                let reason = reason.replacen(", row 0: ", ": ", 1);
                return Err(format!("row {place} of the data: {reason}"));
            }
        }
        Err(reason)
    }

    fn score_rows(&self, features: &[Values], from: usize, to: usize) -> Result<Vec<f64>, String> {
        let signature = &self.revision.signature;
        let tensors = signature.names().iter().zip(features);
        let tensors = tensors.map(|(name, values)| Tensor {
            name: Cow::Borrowed(name.as_str()),
            dtype: dtype(values),
            shape: smallvec![to - from],
            values: part(values, from, to),
        });
        let rows = signature
            .check(tensors.collect())
            .map_err(|error| error.reason)?;
        let width = signature.result_width();
        let mut results = vec![0.0; rows.len() * width];
        self.revision
            .engine
            .predict(&rows, &mut results)
            .map_err(|error| error.to_string())?;
        let scores = self.scores;
        let single = |row: &[f64]| scores.map_or(f64::NAN, |it| it.single(row));
        Ok(results.chunks_exact(width).map(single).collect())
    }
}

fn dtype(values: &Values) -> DType {
    match values {
        Values::F32(_) => DType::Fp32,
        Values::F64(_) => DType::Fp64,
        Values::Cells(_) => DType::Bytes,
    }
}

fn part(values: &Values, from: usize, to: usize) -> Values {
    match values {
        Values::F32(numbers) => Values::F32(numbers.get(from..to).unwrap_or_default().to_vec()),
        Values::F64(numbers) => Values::F64(numbers.get(from..to).unwrap_or_default().to_vec()),
        Values::Cells(cells) => {
            let cells: &[Cell] = cells.get(from..to).unwrap_or_default();
            Values::Cells(cells.to_vec())
        }
    }
}
