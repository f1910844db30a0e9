//! Scored rows: one record per row of a request, written in batches. Writing the same row again
//! changes nothing. It never decides what a row's outcome is.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::labels::{Expired, Terms};
use super::pending;
use super::store::{Insert, Store, StoreError, Value, transaction};

/// One scored row.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    pub id: Uuid,
    /// The row's place in its request, from 0.
    pub row: u32,
    pub slot: String,
    /// The caller's own name for it.
    pub key: Option<String>,
    /// Milliseconds since 1970.
    pub at_ms: i64,
    /// The revision that answered.
    pub revision: u64,
    /// The first 16 hexadecimal digits of that revision's digest.
    pub digest: String,
    /// One score for binary models and regressions, one per class otherwise. May be NaN or infinite.
    pub scores: Vec<f64>,
    pub shadows: Vec<Shadow>,
    /// What is at stake, in the slot's currency. NaN is kept as none.
    pub amount: Option<f64>,
    /// The probability with which the row's outcome can be seen: 1 as a rule, less for a row of a
    /// random hold-out, 0 when no outcome can exist; then it never counts. What lies outside 0 to 1 is
    /// kept as the nearer of the two, NaN as 0.
    pub propensity: f64,
    /// A JSON object by the features' names.
    pub features: Option<String>,
    /// Its outcome is what is known when the horizon ends, and not what the first label says.
    pub deferred: bool,
}

/// What a challenger said of the same row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shadow {
    pub digest: String,
    /// None: it failed, or the row did not fit it.
    #[serde(serialize_with = "write_scores", deserialize_with = "read_scores")]
    pub scores: Option<Vec<f64>>,
}

/// A score in JSON, which has no NaN and no infinities.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Score {
    Finite(f64),
    Named(String),
}

const INSERT: Insert = Insert {
    head: "INSERT INTO prediction (id, row_index, slot, key, at_ms, revision, digest, scores, \
           shadows, amount, propensity, features, deferred)",
    columns: 13,
    tail: "ON CONFLICT (id, row_index) DO NOTHING",
};

/// What [`insert`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Inserted {
    /// Rows that were not there yet.
    pub rows: u64,
    /// What became of the labels that waited for them.
    pub waited: Expired,
}

/// Writes rows and joins the labels that waited for them, in one transaction. `terms` are for labels
/// without a slot, as `labels::expire` says.
///
/// # Errors
/// What the store says; then nothing is written.
pub fn insert(
    store: &mut dyn Store,
    predictions: &[Prediction],
    terms: &dyn Fn(&str) -> Option<Terms>,
) -> Result<Inserted, StoreError> {
    let mut values = Vec::with_capacity(predictions.len() * INSERT.columns);
    for prediction in predictions {
        values.extend(columns(prediction)?);
    }
    transaction(store, |store| {
        Ok(Inserted {
            rows: INSERT.rows(store, &values)?,
            waited: pending::join_written(store, predictions, terms)?,
        })
    })
}

/// What was written of a batch.
#[derive(Default)]
pub(super) struct Written {
    pub waited: Expired,
    /// One for each row that the store refused.
    pub refused: Vec<StoreError>,
}

/// As [`insert`], but rows that the store refuses are left out, which are found by halves.
///
/// # Errors
/// When the store is away or gave a statement up: then rows before it may be written.
pub(super) fn insert_by_halves(
    store: &mut dyn Store,
    rows: &[Prediction],
    terms: &dyn Fn(&str) -> Option<Terms>,
) -> Result<Written, StoreError> {
    match insert(store, rows, terms) {
        Ok(inserted) => Ok(Written {
            waited: inserted.waited,
            refused: Vec::new(),
        }),
        Err(error @ StoreError::Failed(_)) if rows.len() == 1 => Ok(Written {
            refused: vec![error],
            ..Written::default()
        }),
        Err(StoreError::Failed(_)) => {
            let (first, second) = rows.split_at(rows.len() / 2);
            let mut written = insert_by_halves(store, first, terms)?;
            let rest = insert_by_halves(store, second, terms)?;
            written.refused.extend(rest.refused);
            written.waited.met += rest.waited.met;
            written.waited.orphans += rest.waited.orphans;
            Ok(written)
        }
        Err(error) => Err(error),
    }
}

fn columns(prediction: &Prediction) -> Result<[Value; INSERT.columns], StoreError> {
    let revision = i64::try_from(prediction.revision)
        .map_err(|_error| StoreError::Failed("revision: expected less than 2^63".to_string()))?;
    Ok([
        prediction.id.into(),
        i64::from(prediction.row).into(),
        prediction.slot.as_str().into(),
        prediction.key.as_deref().into(),
        prediction.at_ms.into(),
        revision.into(),
        prediction.digest.as_str().into(),
        Value::Text(to_json(&named(&prediction.scores))?),
        Value::Text(to_json(&prediction.shadows)?),
        prediction.amount.filter(|amount| !amount.is_nan()).into(),
        possible(prediction.propensity).into(),
        prediction.features.as_deref().into(),
        i64::from(prediction.deferred).into(),
    ])
}

/// A propensity that both stores keep and order alike.
fn possible(propensity: f64) -> f64 {
    if propensity.is_nan() {
        return 0.0;
    }
    propensity.clamp(0.0, 1.0)
}

/// Scores from the text that [`insert`] wrote.
///
/// # Errors
/// When it is another text.
pub(super) fn parse_scores(text: &str) -> Result<Vec<f64>, StoreError> {
    let scores: Vec<Score> = from_json(text)?;
    Ok(scores.iter().map(number).collect())
}

/// Shadows' scores as they are kept, and back.
///
/// # Errors
/// When the text is not what [`insert`] wrote.
pub(super) fn parse_shadows(text: &str) -> Result<Vec<Shadow>, StoreError> {
    from_json(text)
}

fn named(scores: &[f64]) -> Vec<Score> {
    scores
        .iter()
        .map(|score| {
            if score.is_finite() {
                Score::Finite(*score)
            } else {
                Score::Named(score.to_string())
            }
        })
        .collect()
}

/// The number of a kept score: `NaN`, `inf` and `-inf` are what Rust reads too.
fn number(score: &Score) -> f64 {
    match score {
        Score::Finite(score) => *score,
        Score::Named(name) => name.parse().unwrap_or(f64::NAN),
    }
}

fn write_scores<S: serde::Serializer>(
    scores: &Option<Vec<f64>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    scores.as_deref().map(named).serialize(serializer)
}

fn read_scores<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<f64>>, D::Error> {
    let scores = Option::<Vec<Score>>::deserialize(deserializer)?;
    Ok(scores.map(|scores| scores.iter().map(number).collect()))
}

fn to_json(value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Failed(error.to_string()))
}

fn from_json<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::Failed(error.to_string()))
}
