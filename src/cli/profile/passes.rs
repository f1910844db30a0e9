//! The two passes over the data.

use indicatif::ProgressBar;

use super::Arguments;
use super::data::{Block, Files};
use super::model::Model;
use super::plan::Plan;
use crate::drift::build::{self, Cell, Counter, Labels, Limits, Sketch};
use crate::tensor::{self, Values};

/// What is read, and how.
pub struct Passes<'a> {
    pub arguments: &'a Arguments,
    pub files: &'a Files,
    pub plan: &'a Plan,
    pub model: Option<&'a Model>,
}

/// Sketches of the columns after the first pass.
pub struct First {
    pub rows: u64,
    pub features: Vec<Sketch>,
    pub score: Option<Sketch>,
}

/// Counts of the second pass.
pub struct Second {
    pub rows: u64,
    pub features: Vec<Counter>,
    pub score: Option<Counter>,
    pub labels: Option<Labels>,
}

impl Passes<'_> {
    /// The first pass: chooses the bins.
    ///
    /// # Errors
    /// What the data or the model cannot do, with its place.
    pub fn sketch(&self, bar: &ProgressBar) -> Result<First, String> {
        let (plan, model) = (self.plan, self.model);
        let bins = self.arguments.bins as usize;
        let limits = Limits::new(plan.features.len(), bins);
        let features = plan.features.iter();
        let mut first = First {
            rows: 0,
            features: features.map(|it| Sketch::new(it.kind, limits)).collect(),
            score: model
                .filter(|it| it.has_score())
                .map(|_| Sketch::new(build::Kind::Number, Limits::new(1, bins))),
        };
        self.read(bar, |block| {
            for (sketch, column) in first.features.iter_mut().zip(&block.columns) {
                self.each(column, |cell| sketch.add(cell));
            }
            if let (Some(sketch), Some(model)) = (&mut first.score, model) {
                for score in self.scores(model, block, first.rows)? {
                    sketch.add(Cell::Number(score));
                }
            }
            first.rows += block.rows as u64;
            Ok(())
        })?;
        bar.finish_and_clear();
        Ok(first)
    }

    /// Says which columns look like names of their rows.
    pub fn ids(&self, first: &First) -> Vec<String> {
        let columns = self.plan.wanted.iter().zip(&first.features);
        columns
            .filter(|(_, sketch)| sketch.is_like_an_id())
            .map(|(wanted, _)| {
                let name = &wanted.column;
                format!("column \"{name}\" has no value twice; --ignore leaves an id out")
            })
            .collect()
    }

    /// The second pass: counts.
    ///
    /// # Errors
    /// As [`Passes::sketch`].
    pub fn count(&self, first: First, bar: &ProgressBar) -> Result<Second, String> {
        let (plan, model) = (self.plan, self.model);
        let labels = first.score.as_ref().filter(|_| plan.has_label);
        let labels = labels.and_then(Sketch::labels);
        let mut second = Second {
            rows: 0,
            labels: labels.map(|it| it.split(self.arguments.threshold)),
            features: first.features.into_iter().map(Sketch::counter).collect(),
            score: first.score.map(Sketch::counter),
        };
        self.read(bar, |block| {
            for (counter, column) in second.features.iter_mut().zip(&block.columns) {
                self.each(column, |cell| counter.add(cell));
            }
            if let (Some(counter), Some(model)) = (&mut second.score, model) {
                let scores = self.scores(model, block, second.rows)?;
                for score in &scores {
                    counter.add(Cell::Number(*score));
                }
                let label = block.columns.get(plan.features.len());
                if let (Some(counts), Some(Values::F64(labels))) = (&mut second.labels, label) {
                    let known = scores.iter().zip(labels).filter(|(_, it)| !it.is_nan());
                    known.for_each(|(score, label)| counts.add(*score, *label == 1.0));
                }
            }
            second.rows += block.rows as u64;
            Ok(())
        })?;
        bar.finish_and_clear();
        Ok(second)
    }

    fn read(
        &self,
        bar: &ProgressBar,
        take: impl FnMut(&mut Block) -> Result<(), String>,
    ) -> Result<(), String> {
        let rows_max = self.arguments.rows_max();
        self.files.read(&self.plan.wanted, rows_max, bar, take)
    }

    /// What the model says of the rows of a block, before which so many came.
    fn scores(&self, model: &Model, block: &Block, before: u64) -> Result<Vec<f64>, String> {
        let features = block.columns.get(..self.plan.features.len());
        model.score(features.unwrap_or_default(), block.rows, before)
    }

    /// The values of a column as the model reads them: a number of which it takes 32 bits is that one.
    fn each(&self, column: &Values, mut take: impl FnMut(Cell)) {
        let is_single = self.model.is_some_and(Model::is_single);
        let mut number = |number: f64| {
            take(Cell::Number(match is_single {
                true => (number as f32).into(),
                false => number,
            }));
        };
        match column {
            Values::F32(numbers) => numbers.iter().for_each(|it| number((*it).into())),
            Values::F64(numbers) => numbers.iter().for_each(|it| number(*it)),
            Values::Cells(cells) => cells.iter().for_each(|cell| match cell {
                tensor::Cell::Number(number) => take(Cell::Number(*number)),
                tensor::Cell::Text(text) => take(Cell::Text(text)),
            }),
        }
    }
}
