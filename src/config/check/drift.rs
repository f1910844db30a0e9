//! What keys of `[drift]` say of each other. Says nothing of what is wrong already.

use super::super::Config;
use super::super::source::{Entry, Value};
use super::Problem;
use crate::drift::settings::{Calls, SlotSettings};

const SECOND_MS: u64 = 1000;

/// Keys, and what is wrong with them.
type Fault = (&'static [&'static str], String);

/// What is of use only beside an address: keys of the target, the address's key, and whether it is
/// given.
type Target = (&'static [&'static str], &'static str, fn(&Calls) -> bool);

const TARGETS: [Target; 3] = [
    (&["webhook_token"], "webhook_url", |it| it.webhook.is_some()),
    (
        &["airflow_dag", "airflow_user", "airflow_password"],
        "airflow_url",
        |it| it.airflow.is_some(),
    ),
    (
        &["prefect_deployment", "prefect_auth"],
        "prefect_url",
        |it| it.prefect.is_some(),
    ),
];

/// Windows and thresholds that are out of order, of the slots with settings of their own and of all
/// others.
pub fn limits(config: &Config, entries: &[Entry], problems: &mut Vec<Problem>) {
    let all = (None, &config.drift.slot);
    let of_slots = config.drift.slots.iter();
    let of_slots = of_slots.map(|(name, drift)| (Some(name.as_str()), drift));
    for (slot, drift) in std::iter::once(all).chain(of_slots) {
        for (keys, reason) in faults(drift) {
            let is_of = |entry: &&Entry| {
                let of = entry.slot.as_deref();
                is_one(entry, keys) && (of.is_none() || of == slot)
            };
            // The last word holds; a slot's own comes after what is said of all.
            let set = entries.iter().filter(is_of);
            if let Some(entry) = set.max_by_key(|entry| entry.slot.is_some()) {
                refuse(entry, &reason, problems);
            }
        }
    }
}

fn faults(drift: &SlotSettings) -> Vec<Fault> {
    let (lengths, terms) = (&drift.lengths, &drift.terms.thresholds);
    let mut faults: Vec<Fault> = Vec::new();
    for (key, length_ms) in [
        (&["short_window"], lengths.short_ms),
        (&["long_window"], lengths.long_ms),
    ] {
        if length_ms < SECOND_MS {
            faults.push((key, "expected a second or more".to_string()));
        }
    }
    if faults.is_empty() && lengths.short_ms > lengths.long_ms {
        let keys = &["short_window", "long_window"];
        faults.push((keys, "short_window is longer than long_window".to_string()));
    }
    if terms.act < terms.watch {
        let reason = format!(
            "psi_act, {}, is below psi_watch, {}",
            terms.act, terms.watch
        );
        faults.push((&["psi_watch", "psi_act"], reason));
    }
    faults
}

/// What is said of a target that is never called: neither by the slot that says it nor, where it is
/// said of all, by any.
pub fn targets(config: &Config, entries: &[Entry], problems: &mut Vec<Problem>) {
    let drift = &config.drift;
    for (keys, address, is_called) in TARGETS {
        for entry in entries.iter().filter(|entry| is_one(entry, keys)) {
            let is_set = match &entry.value {
                Value::Text(text) | Value::Word(text) => !text.is_empty(),
                _ => false,
            };
            let mut slots = drift.slots.values();
            let is_used = match &entry.slot {
                Some(slot) => is_called(&drift.of(slot).calls),
                None => is_called(&drift.slot.calls) || slots.any(|it| is_called(&it.calls)),
            };
            // An address that is wrong is given all the same.
            let is_given = entries.iter().any(|it| {
                is_one(it, &[address]) && problems.iter().any(|problem| problem.place == it.place)
            });
            if is_set && !is_used && !is_given {
                refuse(entry, &format!("drift.{address} is not set"), problems);
            }
        }
    }
}

fn is_one(entry: &Entry, names: &[&str]) -> bool {
    entry.key.section == "drift" && names.contains(&entry.key.name)
}

fn refuse(entry: &Entry, reason: &str, problems: &mut Vec<Problem>) {
    if problems.iter().all(|it| it.place != entry.place) {
        problems.push(Problem {
            place: entry.place.clone(),
            message: entry.message(reason),
        });
    }
}
