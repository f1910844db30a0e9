//! From a record with shadow scores to the journal's predictions, one per row.

use std::fmt::Write as _;

use super::reading::{self, Columns};
use super::score::Task;
use super::settings::{Settings, SlotSettings};
use crate::engine::{Category, FeatureKind};
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

/// A row's features by name, as JSON: categories by their names, infinities as `inf` and `-inf`, null
/// for what is missing.
fn features(record: &Record, row: usize) -> String {
    let columns = &record.answered.signature.columns;
    let mut json = String::with_capacity(columns.len() * 24);
    json.push('{');
    for (place, column) in columns.iter().enumerate() {
        let value = value(record.input.rows(), row, place);
        let comma = if place > 0 { "," } else { "" };
        let name = serde_json::Value::from(column.name.as_str());
        // Writing to a string cannot fail.
        let _written = write!(json, "{comma}{name}:{}", feature(&column.kind, value));
    }
    json.push('}');
    json
}

/// A feature's value as JSON. Of a feature whose categories are texts it is a text always: a number
/// that stands for none of them is written as one.
fn feature(kind: &FeatureKind, value: f64) -> String {
    if value.is_nan() {
        return "null".to_string();
    }
    let text = |text: &str| serde_json::Value::from(text).to_string();
    match known(kind, value) {
        Some(Category::Text(name)) => text(name),
        Some(Category::Number(number)) => number.to_string(),
        None if is_text(kind) || value.is_infinite() => text(&value.to_string()),
        None => value.to_string(),
    }
}

/// The category that a value stands for.
fn known(kind: &FeatureKind, value: f64) -> Option<&Category> {
    let FeatureKind::Category { categories, .. } = kind else {
        return None;
    };
    let is_code = value >= 0.0 && value.fract() == 0.0;
    is_code.then(|| categories.get(value as usize))?
}

fn is_text(kind: &FeatureKind) -> bool {
    match kind {
        FeatureKind::Category { categories, .. } => {
            matches!(categories.first(), Some(Category::Text(_)))
        }
        FeatureKind::Number => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Unknown;

    #[test]
    fn features_are_written_without_loss() {
        let categories = |categories| FeatureKind::Category {
            categories,
            unknown: Unknown::Missing,
        };
        let texts = categories(vec![
            Category::Text("DE \"süd\"".to_string()),
            Category::Text("FR".to_string()),
        ]);
        let numbers = categories(vec![Category::Number(10.5), Category::Number(-3.0)]);
        let codes = categories(Vec::new());
        for (kind, value, json) in [
            (&FeatureKind::Number, 0.1, "0.1"),
            (&FeatureKind::Number, -0.0, "-0"),
            (&FeatureKind::Number, f64::NAN, "null"),
            (&FeatureKind::Number, f64::INFINITY, "\"inf\""),
            (&FeatureKind::Number, f64::NEG_INFINITY, "\"-inf\""),
            (&texts, 0.0, "\"DE \\\"süd\\\"\""),
            (&texts, 1.0, "\"FR\""),
            (&texts, 2.0, "\"2\""),
            (&texts, -1.0, "\"-1\""),
            (&texts, f64::NAN, "null"),
            (&numbers, 0.0, "10.5"),
            (&numbers, 1.0, "-3"),
            (&numbers, f64::NAN, "null"),
            (&codes, 7.0, "7"),
        ] {
            assert_eq!(feature(kind, value), json);
            assert!(serde_json::from_str::<serde_json::Value>(json).is_ok());
        }
    }
}
