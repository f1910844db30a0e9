//! How many rows broke which rule.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Action, Rules};

/// Rows that broke one rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count<'a> {
    /// `None`: all features that have no series of their own.
    pub feature: Option<&'a str>,
    /// The name of the rule's kind, or `feature` where a request did not have the feature at all.
    pub check: &'static str,
    pub action: &'static str,
    pub rows: u64,
}

/// Features with series of their own.
const NAMED_MAX: usize = 20;

impl Rules {
    /// All counts above zero.
    pub fn counts(&self) -> Vec<Count<'_>> {
        let counts = self.by_column().into_iter();
        counts.map(|(_, count)| count).collect()
    }

    /// All counts above zero, of 20 features at the most and of the others together. The highest get
    /// a series when they are first seen here and keep it, so that no count ever falls.
    pub fn series(&self) -> Vec<Count<'_>> {
        let mut counts = self.by_column();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(count.rows));
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        let mut series = Vec::new();
        let mut others: BTreeMap<_, u64> = BTreeMap::new();
        for (column, count) in counts {
            if named.len() < NAMED_MAX {
                named.insert(column);
            }
            match named.contains(&column) {
                true => series.push(count),
                false => *others.entry((count.check, count.action)).or_default() += count.rows,
            }
        }
        let others = others.into_iter().map(|((check, action), rows)| Count {
            feature: None,
            check,
            action,
            rows,
        });
        series.extend(others);
        series
    }

    /// Counts above zero, with their columns.
    fn by_column(&self) -> Vec<(usize, Count<'_>)> {
        let mut counts = Vec::new();
        let mut add = |column: usize, check, action: Action, rows: &AtomicU64| {
            let rows = rows.load(Ordering::Relaxed);
            if rows > 0 {
                let count = Count {
                    feature: self.names.get(column).map(String::as_str),
                    check,
                    action: action.name(),
                    rows,
                };
                counts.push((column, count));
            }
        };
        for ruled in &self.columns {
            for (kind, tally) in ruled.tallies() {
                add(ruled.index, kind.name(), tally.action, &tally.rows);
            }
        }
        for (column, rows) in self.lacked.iter().enumerate() {
            add(column, "feature", Action::Reject, rows);
        }
        counts
    }
}
