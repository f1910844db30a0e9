//! From a record with shadow scores to the journal's predictions, one per row.

use std::fmt::Write as _;

use super::reading::{self, Columns};
use super::score::Task;
use super::settings::{Settings, SlotSettings};
use crate::journal::predictions::{Prediction, Shadow};
use crate::serve::record::Record;
use crate::serve::shadow::Shadowed;
use crate::tensor::Rows;

/// The predictions of records.
pub fn predictions(shadowed: Vec<Shadowed>, settings: &Settings) -> Vec<Prediction> {
    let mut found = Vec::new();
    for one in &shadowed {
        rows(one, settings.of(&one.record.slot.name), &mut found);
    }
    found
}

fn rows(shadowed: &Shadowed, settings: &SlotSettings, found: &mut Vec<Prediction>) {
    let record = &shadowed.record;
    let answered = &record.answered;
    // A model without scores has nothing to be compared by.
    let Some(columns) = Columns::of(answered) else {
        return;
    };
    let amount = answered
        .signature
        .names()
        .iter()
        .position(|name| *name == settings.amount_feature);
    let task = reading::task(settings, answered);
    let with_features = is_sampled(record, settings.features_fraction);
    for row in 0..record.rows {
        let results = &record.results[row * record.width..(row + 1) * record.width];
        let scores = columns.read(results);
        found.push(Prediction {
            id: record.id,
            row: u32::try_from(row).unwrap_or(u32::MAX),
            slot: record.slot.name.clone(),
            key: record.key.clone(),
            at_ms: record.at_ms,
            revision: answered.id,
            digest: answered.mark().to_string(),
            shadows: shadows(shadowed, row),
            amount: amount.map(|column| value(record.input.rows(), row, column)),
            propensity: propensity(&task, settings, record, &scores),
            features: with_features.then(|| features(record, row)),
            scores,
            deferred: settings.is_deferred(),
        });
    }
}

fn shadows(shadowed: &Shadowed, row: usize) -> Vec<Shadow> {
    let each = shadowed.scores.iter().map(|scores| {
        let width = scores.revision.signature.result_width();
        let columns = Columns::of(&scores.revision);
        let results = scores.results.as_ref().zip(columns);
        Shadow {
            digest: scores.revision.mark().to_string(),
            scores: results
                .map(|(results, columns)| columns.read(&results[row * width..(row + 1) * width])),
        }
    });
    each.collect()
}

/// The probability that the row's outcome can be seen. What the caller blocks by the score has none,
/// unless it was held out; without a hold-out the question is not asked.
fn propensity(task: &Task, settings: &SlotSettings, record: &Record, scores: &[f64]) -> f64 {
    let Task::Binary { threshold } = task else {
        return 1.0;
    };
    let share = settings.holdout_share;
    let blocked = scores.first().is_some_and(|score| score >= threshold);
    match (share > 0.0 && blocked, record.holdout) {
        (false, _) => 1.0,
        (true, true) => share,
        (true, false) => 0.0,
    }
}

fn is_sampled(record: &Record, fraction: f64) -> bool {
    // Of the same random bits as nothing else.
    let (high, _) = record.id.as_u64_pair();
    ((high & 0xfff) as f64) < fraction * 4096.0
}

fn value(rows: &Rows, row: usize, column: usize) -> f64 {
    match rows {
        Rows::F32(matrix) => f64::from(matrix.values()[row * matrix.width() + column]),
        Rows::F64(matrix) => matrix.values()[row * matrix.width() + column],
    }
}

/// A row's features by name, as JSON; what is missing is null.
fn features(record: &Record, row: usize) -> String {
    let names = record.answered.signature.names();
    let mut json = String::with_capacity(names.len() * 24);
    json.push('{');
    for (column, name) in names.iter().enumerate() {
        let value = value(record.input.rows(), row, column);
        let comma = if column > 0 { "," } else { "" };
        let name = serde_json::Value::from(name.as_str());
        // Writing to a string cannot fail. JSON has no infinities.
        let _written = match value.is_finite() {
            true => write!(json, "{comma}{name}:{value}"),
            false => write!(json, "{comma}{name}:null"),
        };
    }
    json.push('}');
    json
}
