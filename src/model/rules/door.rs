//! A revision's rules held against rows: each value once, in blocks of rows that stay in the cache,
//! without an allocation while nothing is refused. What breaks a rule is counted. [`Rules::clamp`]
//! changes rows, and counts nothing.

use std::collections::{BTreeSet, HashMap};
use std::fmt::{Debug, Display};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::column::{Origin, Ruled};
use super::{Action, EVERY, Kind, Rule, SlotRules};
use crate::model::signature::{Mismatch, Signature};
use crate::tensor::{Matrix, Rows};

/// The rules of one revision, by column.
#[derive(Debug, Default)]
pub struct Rules {
    /// Those with rules, in row order.
    pub(super) columns: Vec<Ruled>,
    /// Rows of requests that did not have a feature, by column.
    pub(super) lacked: Vec<AtomicU64>,
    /// The names of all columns.
    pub(super) names: Vec<String>,
    /// Columns that have series of their own.
    pub(super) named: Mutex<BTreeSet<usize>>,
    pub(super) unfit: Vec<String>,
}

/// What became of the rows of one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// Rows that break a rule and are answered as they are.
    pub flagged: usize,
    /// Rows of which a value is to be clamped.
    pub clamped: usize,
}

/// A walk over the rows of one request.
struct Walk<'a, T> {
    names: &'a [String],
    unknown: &'a [(u32, u32)],
    /// A number as the rows hold it.
    narrow: fn(f64) -> T,
    marks: Marks,
    /// The rows of this block that broke a rule, a bit for each, by action.
    masks: [u64; Action::ALL.len()],
    /// Rows of this block and column that broke a rule, by kind.
    broken: [u64; Kind::ALL.len()],
    /// Values that are refused, and why the first of them is.
    refused: usize,
    first: String,
}

/// Rows of one block: the bits of a mask.
const BLOCK: usize = u64::BITS as usize;

impl Rules {
    /// The rules of a slot for a model with this signature. What is written for a feature replaces
    /// what is of the same kind and written for all of them, and both replace `defaults`.
    pub fn new(written: &SlotRules, defaults: &[Rule], signature: &Signature) -> Rules {
        let mut by_feature: HashMap<&str, [Vec<&Rule>; 2]> = HashMap::new();
        for (origin, rules) in [(0, written.rules.as_slice()), (1, defaults)] {
            for rule in rules {
                by_feature.entry(&rule.feature).or_default()[origin].push(rule);
            }
        }
        let [every, _] = by_feature.remove(EVERY).unwrap_or_default();
        let (mut columns, mut unfit) = (Vec::new(), Vec::new());
        for (index, column) in signature.columns.iter().enumerate() {
            let [own, defaults] = by_feature.remove(column.name.as_str()).unwrap_or_default();
            let written = own.iter().chain(&every).map(|it| (*it, Origin::Written));
            let rules = written.chain(defaults.iter().map(|it| (*it, Origin::Default)));
            let ruled = Ruled::new((index, column), signature.element, rules, &mut unfit);
            columns.extend(ruled);
        }
        let foreign = |rule: &&Rule| by_feature.contains_key(rule.feature.as_str());
        let foreign = written.rules.iter().filter(foreign);
        unfit.extend(foreign.map(|it| format!("feature \"{}\": the model has none", it.feature)));
        Rules {
            columns,
            lacked: signature
                .columns
                .iter()
                .map(|_| AtomicU64::new(0))
                .collect(),
            names: signature.names().to_vec(),
            named: Mutex::default(),
            unfit,
        }
    }

    /// What is written and does not fit this model, and why. Another revision of the slot may have
    /// the feature, or none.
    pub fn unfit(&self) -> &[String] {
        &self.unfit
    }

    /// Whether rows may be refused for what this revision's own folder implies: another revision may
    /// let them in.
    pub fn refuse_by_default(&self) -> bool {
        let mut tallies = self.columns.iter().flat_map(Ruled::tallies);
        tallies.any(|(_, it)| it.action == Action::Reject && it.origin == Origin::Default)
    }

    /// Holds rows against the rules, and counts what breaks one. Changes no value: where rows are
    /// marked as clamped, [`Rules::clamp`] is to follow. `unknown` are the cells, row and column, whose
    /// category the model does not know; sorted.
    ///
    /// # Errors
    /// Names a value that is refused, its row, what was expected, and how many such values there are.
    pub fn check(&self, rows: &Rows, unknown: &[(u32, u32)]) -> Result<Marks, String> {
        if self.columns.is_empty() {
            return Ok(Marks::default());
        }
        match rows {
            Rows::F32(matrix) => self.walk(matrix, unknown, |number| number as f32),
            Rows::F64(matrix) => self.walk(matrix, unknown, |number| number),
        }
    }

    /// Changes the values that are to be clamped. Counts nothing and refuses nothing: rows that break
    /// other rules stay as they are.
    pub fn clamp(&self, rows: &mut Rows) {
        match rows {
            Rows::F32(matrix) => self.clamp_values(matrix, |number| number as f32),
            Rows::F64(matrix) => self.clamp_values(matrix, |number| number),
        }
    }

    fn clamp_values<T: Copy + Into<f64>>(&self, matrix: &mut Matrix<T>, narrow: fn(f64) -> T) {
        let width = matrix.width();
        for ruled in self.columns.iter().filter(|it| it.clamps()) {
            let column = matrix.values_mut().iter_mut().skip(ruled.index);
            for value in column.step_by(width) {
                let number = (*value).into();
                if ruled.is_fine(number) {
                    continue;
                }
                // What is missing, or of an unknown category, has no nearest value.
                if let Some(nearest) = ruled.judge(number, || false).clamped {
                    *value = narrow(nearest);
                }
            }
        }
    }

    fn walk<T: Copy + Into<f64> + Display + Debug>(
        &self,
        matrix: &Matrix<T>,
        unknown: &[(u32, u32)],
        narrow: fn(f64) -> T,
    ) -> Result<Marks, String> {
        let width = matrix.width();
        let mut walk = Walk {
            names: &self.names,
            unknown,
            narrow,
            marks: Marks::default(),
            masks: Default::default(),
            broken: Default::default(),
            refused: 0,
            first: String::new(),
        };
        for (block, values) in matrix.values().chunks(BLOCK * width).enumerate() {
            for ruled in &self.columns {
                let column = values.iter().skip(ruled.index).step_by(width);
                for (bit, value) in column.enumerate() {
                    if !ruled.is_fine((*value).into()) {
                        walk.judge(ruled, (block, bit), *value);
                    }
                }
                walk.end_column(ruled);
            }
            walk.end_block();
        }
        match walk.refused {
            0 => Ok(walk.marks),
            1 => Err(walk.first),
            count => Err(format!("{}; {count} values in all", walk.first)),
        }
    }

    /// Counts the rows of a request without some of the features.
    pub fn count_lacking(&self, mismatch: &Mismatch) {
        for column in &mismatch.lacking {
            if let Some(rows) = self.lacked.get(*column) {
                rows.fetch_add(mismatch.rows as u64, Ordering::Relaxed);
            }
        }
    }
}

impl<T: Copy + Into<f64> + Display + Debug> Walk<'_, T> {
    fn judge(&mut self, ruled: &Ruled, (block, bit): (usize, usize), value: T) {
        let row = block * BLOCK + bit;
        let is_unknown = || {
            let cell = (row as u32, ruled.index as u32);
            self.unknown.binary_search(&cell).is_ok()
        };
        let verdict = ruled.judge(value.into(), is_unknown);
        for (kind, tally) in ruled.tallies() {
            if !verdict.broken[kind as usize] {
                continue;
            }
            self.broken[kind as usize] += 1;
            self.masks[tally.action as usize] |= 1 << bit;
            if tally.action == Action::Reject {
                self.refused += 1;
                if self.refused == 1 {
                    self.first = self.refusal(ruled, kind, row, value);
                }
            }
        }
    }

    /// Adds to the counts that all threads share: once a column of a block, not once a value.
    fn end_column(&mut self, ruled: &Ruled) {
        if self.broken == [0; Kind::ALL.len()] {
            return;
        }
        for (kind, tally) in ruled.tallies() {
            let rows = std::mem::take(&mut self.broken[kind as usize]);
            tally.rows.fetch_add(rows, Ordering::Relaxed);
        }
    }

    fn end_block(&mut self) {
        let masks = std::mem::take(&mut self.masks);
        let rows = |action: Action| masks[action as usize].count_ones() as usize;
        self.marks.flagged += rows(Action::Flag);
        self.marks.clamped += rows(Action::Clamp);
    }

    /// Why a value is refused. Says numbers, and no text that the client sent.
    fn refusal(&self, ruled: &Ruled, kind: Kind, row: usize, value: T) -> String {
        let bound = |number: f64| short((self.narrow)(number));
        let what = match kind {
            Kind::Range if value.into() < ruled.low => {
                format!("{} is below {}", short(value), bound(ruled.low))
            }
            Kind::Range if value.into() > ruled.high => {
                format!("{} is above {}", short(value), bound(ruled.high))
            }
            // It would have become the nearest whole number.
            Kind::Range => format!(
                "no whole number is from {} to {}",
                bound(ruled.low),
                bound(ruled.high)
            ),
            Kind::Whole => format!("{} is not a whole number", short(value)),
            Kind::Category => "the category is not one of those that are allowed".to_string(),
            Kind::Required => "missing".to_string(),
        };
        let name = self.names.get(ruled.index).map_or("", String::as_str);
        let key = ruled.tally(kind).map_or("", |it| it.origin.key());
        format!("feature \"{name}\", row {row}: {what} ({key})")
    }
}

/// A number in few characters: 1e300 has three hundred zeros without an exponent.
fn short<T: Display + Debug>(number: T) -> String {
    let text = number.to_string();
    match text.len() {
        0..=20 => text,
        _ => format!("{number:?}"),
    }
}
