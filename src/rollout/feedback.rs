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
        if !self.0.server.is_started() {
            let message = "the models were not all looked at yet";
            return Err(Error::new(Code::NotReady, message));
        }
        let shared = Arc::clone(&self.0);
        let terms = move |slot: &str| shared.terms(slot);
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
    fn terms(&self, slot: &str) -> Option<Terms> {
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
