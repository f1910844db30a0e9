//! Labels on their way to the journal: which are taken, and how many of each kind came.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Rollout;
use super::reading::{self, Columns};
use super::score::Task;
use crate::error::Error;
use crate::journal::labels::{Label, Receipt, Status, Terms};
use crate::serve::record::now_ms;

/// Labels by what became of them.
#[derive(Debug, Default)]
pub struct Counts([AtomicU64; NAMES.len()]);

/// The statuses of a label, as the API and the metrics call them.
pub const NAMES: [&str; 6] = [
    "joined",
    "pending",
    "late",
    "duplicate",
    "orphan",
    "refused",
];

/// A label's value as a caller writes it.
#[derive(Clone, Debug, PartialEq)]
pub enum Given {
    Number(f64),
    /// A class by its name.
    Class(String),
}

/// How far in the future an event may be: clocks differ.
const AHEAD_MS: i64 = 5 * 60 * 1000;

impl Counts {
    /// Labels by status.
    pub fn all(&self) -> Vec<(&'static str, u64)> {
        let counts = self.0.iter().map(|it| it.load(Ordering::Relaxed));
        NAMES.into_iter().zip(counts).collect()
    }

    fn add(&self, name: &str) {
        if let Some(index) = NAMES.iter().position(|it| *it == name) {
            self.0[index].fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Rollout {
    /// Takes labels, and says of each what became of it, in the same order.
    ///
    /// # Errors
    /// What the journal says; then those of this call may be sent again.
    pub async fn label(
        &self,
        labels: Vec<Result<Label, String>>,
    ) -> Result<Vec<Result<Receipt, String>>, Error> {
        let mut good = Vec::with_capacity(labels.len());
        let mut bad = Vec::with_capacity(labels.len());
        for label in labels {
            match label {
                Ok(label) => {
                    good.push(label);
                    bad.push(None);
                }
                Err(reason) => bad.push(Some(reason)),
            }
        }
        let shared = Arc::clone(&self.0);
        let terms = move |slot: &str| {
            let known = shared.server.registry.slot(slot).is_some();
            let watched = shared.server.watch(slot).is_on();
            (known && watched).then(|| Terms {
                horizon_ms: i64::try_from(shared.settings.of(slot).horizon_ms).unwrap_or(i64::MAX),
            })
        };
        let mut receipts = match good.is_empty() {
            true => Vec::new(),
            false => {
                let journal = &self.0.journal;
                journal.put_all(good, now_ms(), Arc::new(terms)).await?
            }
        }
        .into_iter();
        let mut answers = Vec::with_capacity(bad.len());
        for reason in bad {
            let answer = match reason {
                Some(reason) => Err(reason),
                None => match receipts.next() {
                    None => Err("the journal did not answer for it".to_string()),
                    Some(receipt) => match &receipt.status {
                        Status::Refused(reason) => Err(reason.clone()),
                        _ => Ok(receipt),
                    },
                },
            };
            let name = answer.as_ref().map_or("refused", |it| it.status.name());
            self.0.counts.add(name);
            answers.push(answer);
        }
        Ok(answers)
    }

    /// A label's value as a number, checked against the slot's task where the slot is known.
    ///
    /// # Errors
    /// What was expected.
    pub fn value(&self, slot: Option<&str>, given: &Given) -> Result<f64, String> {
        let found = slot.and_then(|slot| self.0.server.registry.slot(slot));
        let roles = found.as_ref().and_then(|slot| slot.roles());
        let Some((slot, roles)) = slot.zip(roles) else {
            return match given {
                Given::Number(number) if number.is_finite() => Ok(*number),
                Given::Number(_) => Err("value: expected a finite number".to_string()),
                Given::Class(_) => {
                    Err("value: a class by its name needs the key \"slot\"".to_string())
                }
            };
        };
        let champion = &roles.champion;
        let settings = self.0.settings.of(slot);
        let task = reading::task(settings, champion);
        let outputs = champion.signature.outputs.iter();
        let labels = outputs.map(|it| &it.labels).find(|it| !it.is_empty());
        let value = match given {
            Given::Number(number) => *number,
            Given::Class(name) => {
                let place = labels.and_then(|labels| labels.iter().position(|it| it == name));
                place.ok_or("value: expected a class of the model, or its number")? as f64
            }
        };
        let classes = labels.map_or(0, Vec::len);
        let classes = classes.max(Columns::of(champion).map_or(0, Columns::classes));
        match (reading::is_label(&task, value, classes), task) {
            (true, _) => Ok(value),
            (false, Task::Binary { .. }) => Err("value: expected true, false, 1 or 0".to_string()),
            (false, Task::Multiclass) => Err(format!(
                "value: expected a class, a whole number from 0 to {}",
                classes.saturating_sub(1)
            )),
            (false, Task::Regression) => Err("value: expected a finite number".to_string()),
        }
    }
}

/// Whether an event may have been then.
///
/// # Errors
/// When it lies in the future.
pub fn check_event(event_at_ms: i64) -> Result<(), String> {
    match event_at_ms > now_ms() + AHEAD_MS {
        true => Err("event_time: it lies in the future".to_string()),
        false => Ok(()),
    }
}
