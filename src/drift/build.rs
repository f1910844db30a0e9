//! Builds a profile in two passes over rows: a [`Sketch`] of each column chooses the bins, the
//! [`Counter`] that it becomes counts exactly. Takes bounded memory for any number of rows, and the
//! same rows in the same order give the same profile. Reads nothing and knows no model.

mod category;
mod number;

use super::profile::{
    CELLS_MAX, Calibration, Feature, Numbers, Profile, Score, Source, VERSION, Values,
};

/// How a column is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Number,
    Category,
}

/// One value of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cell<'a> {
    /// NaN: there is none.
    Number(f64),
    /// In a column of numbers this is no value.
    Text(&'a str),
}

/// What is known of a column after a first pass.
#[derive(Clone, Debug)]
pub struct Sketch(First);

#[derive(Clone, Debug)]
enum First {
    Number(number::Sketch),
    Category(category::Sketch),
}

/// Counts a column in a second pass.
#[derive(Clone, Debug)]
pub struct Counter {
    missing: u64,
    second: Second,
}

#[derive(Clone, Debug)]
enum Second {
    Number(number::Counter),
    Category(category::Counter),
}

/// Labels by score in a second pass: bins of about as many rows each.
#[derive(Clone, Debug)]
pub struct Labels(Calibration);

/// What a column may take, so that all columns together stay within the format and in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Numbers that a sketch keeps.
    sample: usize,
    /// Different categories that a sketch tells apart.
    names: usize,
    /// Those that get a count of their own.
    counted: usize,
    /// Bins of a column.
    bins: usize,
}

/// Bins of about equal mass, unless told otherwise.
pub const BINS: usize = 20;
/// Bins that may be asked for.
pub const BINS_RANGE: std::ops::RangeInclusive<usize> = 2..=100;
/// Bins of a calibration.
const CALIBRATION_BINS: usize = 50;

impl Limits {
    /// Limits of each of so many columns, with about so many bins, which [`BINS_RANGE`] bounds: at
    /// most 16 million numbers (128 MB) and 2 million categories in all.
    pub fn new(columns: usize, bins: usize) -> Limits {
        let columns = columns.max(1);
        let asked = bins.clamp(*BINS_RANGE.start(), *BINS_RANGE.end());
        // Values that are alone in their bin can at worst double the bins, and add one at each end.
        let each = CELLS_MAX / columns;
        let room = each.saturating_sub(3) / 2;
        Limits {
            sample: (16_000_000 / columns).clamp(1_000, 100_000),
            names: (2_000_000 / columns).clamp(category::NAMES, category::KNOWN_MAX),
            // And one bin for all others, one for what is missing.
            counted: category::NAMES.min(each.saturating_sub(2)),
            bins: asked.min(room.max(*BINS_RANGE.start())),
        }
    }
}

impl Sketch {
    /// A sketch of no rows.
    pub fn new(kind: Kind, limits: Limits) -> Sketch {
        Sketch(match kind {
            Kind::Number => First::Number(number::Sketch::new(limits.sample, limits.bins)),
            Kind::Category => First::Category(category::Sketch::new(limits.names, limits.counted)),
        })
    }

    /// Takes the next row's value.
    pub fn add(&mut self, cell: Cell) {
        match &mut self.0 {
            First::Number(sketch) => sketch.add(number(cell)),
            First::Category(sketch) => sketch.add(cell),
        }
    }

    /// Bins for a second pass over the same rows.
    pub fn counter(self) -> Counter {
        Counter {
            missing: 0,
            second: match self.0 {
                First::Number(sketch) => Second::Number(sketch.counter()),
                First::Category(sketch) => Second::Category(sketch.counter()),
            },
        }
    }

    /// Bins for labels by this column, which is the score; `None` unless it holds numbers.
    pub fn labels(&self) -> Option<Labels> {
        let First::Number(sketch) = &self.0 else {
            return None;
        };
        let edges = sketch.edges(CALIBRATION_BINS);
        let bins = edges.len() + 1;
        Some(Labels(Calibration {
            edges,
            rows: vec![0; bins],
            positives: vec![0; bins],
        }))
    }

    /// Whether the column looks like the name of its row: no value came twice, among the numbers that
    /// are kept, if all of them are whole, or among the first categories.
    pub fn is_like_an_id(&self) -> bool {
        match &self.0 {
            First::Number(sketch) => sketch.is_like_an_id(),
            First::Category(sketch) => sketch.is_like_an_id(),
        }
    }
}

impl Counter {
    /// Counts the next row's value.
    pub fn add(&mut self, cell: Cell) {
        let counted = match &mut self.second {
            Second::Number(counter) => counter.add(number(cell)),
            Second::Category(counter) => counter.add(cell),
        };
        self.missing += u64::from(!counted);
    }

    /// The column as a feature.
    pub fn feature(self, name: impl Into<String>) -> Feature {
        Feature {
            name: name.into(),
            missing: self.missing,
            values: match self.second {
                Second::Number(counter) => Values::Number(counter.numbers()),
                Second::Category(counter) => Values::Category(counter.categories()),
            },
        }
    }

    /// The column as the score; `None` unless it holds numbers.
    pub fn score(self) -> Option<Score> {
        let values: Option<Numbers> = match self.second {
            Second::Number(counter) => Some(counter.numbers()),
            Second::Category(_) => None,
        };
        Some(Score {
            missing: self.missing,
            values: values?,
        })
    }
}

impl Labels {
    /// Ends a bin at this score, so that none has rows on both sides of it. For labels that were not
    /// counted yet.
    pub fn split(mut self, at: f64) -> Labels {
        let Labels(counts) = &mut self;
        let place = counts.edges.partition_point(|edge| *edge < at);
        if at.is_finite() && counts.edges.get(place) != Some(&at) {
            counts.edges.insert(place, at);
            counts.rows.push(0);
            counts.positives.push(0);
        }
        self
    }

    /// Counts a row's label. A score of NaN has no bin, and is left out.
    pub fn add(&mut self, score: f64, is_positive: bool) {
        let Labels(counts) = self;
        if score.is_nan() {
            return;
        }
        let bin = number::bin(&counts.edges, score);
        if let (Some(rows), Some(positives)) =
            (counts.rows.get_mut(bin), counts.positives.get_mut(bin))
        {
            *rows += 1;
            *positives += u64::from(is_positive);
        }
    }

    /// The calibration; `None` unless there were labels of both kinds.
    pub fn calibration(self) -> Option<Calibration> {
        let rows: u64 = self.0.rows.iter().sum();
        let positives: u64 = self.0.positives.iter().sum();
        (positives > 0 && positives < rows).then_some(self.0)
    }
}

/// The profile of rows that are all there: `cell` gives the value of a row (from 0) and a column. For
/// rows that were served; it has no score yet, which [`score`] gives.
pub fn served<'a>(
    columns: &[(String, Kind)],
    bins: usize,
    rows: usize,
    cell: impl Fn(usize, usize) -> Cell<'a>,
) -> Profile {
    let limits = Limits::new(columns.len(), bins);
    let features = columns.iter().enumerate().map(|(place, (name, kind))| {
        let column = (0..rows).map(|row| cell(row, place));
        counted(*kind, limits, column).feature(name)
    });
    Profile {
        version: VERSION,
        source: Source::Served,
        rows: rows as u64,
        digest: String::new(),
        model: None,
        label: None,
        features: features.collect(),
        score: None,
        calibration: None,
    }
}

/// The score of rows that are all there, one number each; NaN: there was none.
pub fn score(bins: usize, scores: &[f64]) -> Option<Score> {
    let column = scores.iter().map(|score| Cell::Number(*score));
    counted(Kind::Number, Limits::new(1, bins), column).score()
}

fn counted<'a>(
    kind: Kind,
    limits: Limits,
    column: impl Iterator<Item = Cell<'a>> + Clone,
) -> Counter {
    let mut sketch = Sketch::new(kind, limits);
    column.clone().for_each(|cell| sketch.add(cell));
    let mut counter = sketch.counter();
    column.for_each(|cell| counter.add(cell));
    counter
}

fn number(cell: Cell) -> f64 {
    match cell {
        // Adding zero makes one of both zeros.
        Cell::Number(number) => number + 0.0,
        Cell::Text(_) => f64::NAN,
    }
}

#[cfg(test)]
mod tests;
