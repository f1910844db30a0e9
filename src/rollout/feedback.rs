//! Labels on their way to the journal: which are taken, and how many of each kind came.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::reading::{self, Columns};
use super::{Rollout, Shared};
use crate::error::{Code, Error};
use crate::journal::labels::{Label, Receipt, Status, Terms, Values};
use crate::model::revision::Revision;
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

/// The labels of one call.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Those for the journal.
    pub labels: Vec<Label>,
    /// For each label of the call, in order: why it does not go to the journal, or `None`.
    pub reasons: Vec<Option<String>>,
}

/// What became of one label of a call.
pub type Settled = Result<Receipt, Refusal>;

/// Why a label was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub reason: String,
    /// Sent again later it may be.
    pub later: bool,
}

impl Refusal {
    fn of(reason: String) -> Refusal {
        Refusal {
            reason,
            later: false,
        }
    }
}

/// How far in the future an event may be: clocks differ.
const AHEAD_MS: i64 = 5 * 60 * 1000;

impl Counts {
    /// Labels by status.
    pub fn all(&self) -> Vec<(&'static str, u64)> {
        let counts = self.0.iter().map(|it| it.load(Ordering::Relaxed));
        NAMES.into_iter().zip(counts).collect()
    }

    fn add(&self, name: &str, labels: u64) {
        if let Some(index) = NAMES.iter().position(|it| *it == name) {
            self.0[index].fetch_add(labels, Ordering::Relaxed);
        }
    }
}

impl Batch {
    /// Sorts labels, and those that were found wrong, in the order of their call.
    pub fn new(checked: impl Iterator<Item = Result<Label, String>>) -> Batch {
        let mut batch = Batch::default();
        for label in checked {
            match label {
                Ok(label) => {
                    batch.labels.push(label);
                    batch.reasons.push(None);
                }
                Err(reason) => batch.reasons.push(Some(reason)),
            }
        }
        batch
    }
}

impl Rollout {
    /// Takes labels; a receipt for each, in the same order.
    ///
    /// # Errors
    /// What the journal says; then those of this call may be sent again.
    pub async fn label(&self, labels: Vec<Label>) -> Result<Vec<Receipt>, Error> {
        if !self.0.server.is_started() {
            let message = "the models were not all looked at yet";
            return Err(Error::new(Code::NotReady, message));
        }
        if labels.is_empty() {
            return Ok(Vec::new());
        }
        let shared = Arc::clone(&self.0);
        let terms = move |slot: &str| shared.terms(slot);
        let journal = &self.0.journal;
        journal.put_all(labels, now_ms(), Arc::new(terms)).await
    }

    /// Says of each label of a [`Batch`] what became of it, in the order of the call, and counts it.
    /// `receipts` are those of [`Rollout::label`].
    pub fn settle(&self, reasons: Vec<Option<String>>, receipts: Vec<Receipt>) -> Vec<Settled> {
        let mut receipts = receipts.into_iter();
        let mut answers = Vec::with_capacity(reasons.len());
        for reason in reasons {
            let answer = match reason {
                Some(reason) => Err(Refusal::of(reason)),
                None => match receipts.next() {
                    None => Err(Refusal::of("the journal did not answer for it".to_string())),
                    Some(receipt) => settled(receipt),
                },
            };
            let name = answer.as_ref().map_or("refused", |it| it.status.name());
            self.0.counts.add(name, 1);
            answers.push(answer);
        }
        answers
    }

    /// Counts labels that were refused with their whole request.
    pub fn refuse(&self, labels: u64) {
        self.0.counts.add("refused", labels);
    }

    /// A label's value as a number: a class by its name is its place among the classes of the slot's
    /// champion. Whether the slot takes the number is for [`Rollout::label`] to say.
    ///
    /// # Errors
    /// What was expected.
    pub fn value(&self, slot: Option<&str>, given: &Given) -> Result<f64, String> {
        let name = match given {
            Given::Number(number) if number.is_finite() => return Ok(*number),
            Given::Number(_) => return Err("value: expected a finite number".to_string()),
            Given::Class(name) => name,
        };
        let slot = slot.ok_or("value: a class by its name needs the key \"slot\"")?;
        let found = self.0.server.registry.slot(slot);
        let roles = found.as_ref().and_then(|slot| slot.roles());
        let champion = roles.as_ref().map(|roles| &roles.champion);
        let place = champion.and_then(|it| classes(it)?.iter().position(|class| class == name));
        place
            .map(|place| place as f64)
            .ok_or_else(|| "value: expected a class of the model, or its number".to_string())
    }
}

impl Shared {
    /// What a slot says of its labels; `None` when it takes none.
    pub(super) fn terms(&self, slot: &str) -> Option<Terms> {
        let found = self.server.registry.slot(slot)?;
        if !self.server.watch(slot).is_on() {
            return None;
        }
        let settings = self.settings.of(slot);
        let roles = found.roles();
        let values = match roles.as_ref().map(|roles| &roles.champion) {
            None => Values::Numbers,
            Some(champion) => {
                let columns = Columns::of(champion).map_or(0, Columns::classes);
                let count = columns.max(classes(champion).map_or(0, <[String]>::len));
                reading::values(&reading::task(settings, champion), count)
            }
        };
        Some(Terms {
            horizon_ms: i64::try_from(settings.horizon_ms).unwrap_or(i64::MAX),
            values,
        })
    }
}

/// What the caller is told of a label that the journal looked at.
fn settled(receipt: Receipt) -> Settled {
    match receipt.status {
        Status::Refused(reason) => Err(Refusal::of(reason)),
        Status::Busy(reason) => Err(Refusal {
            reason,
            later: true,
        }),
        _ => Ok(receipt),
    }
}

/// The names of a model's classes.
fn classes(revision: &Revision) -> Option<&[String]> {
    let outputs = revision.signature.outputs.iter();
    let mut labels = outputs.map(|it| it.labels.as_slice());
    labels.find(|it| !it.is_empty())
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
