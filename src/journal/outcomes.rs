//! Outcomes: what became of predictions, appended in the order in which they matured and numbered
//! in the order in which they were committed. An outcome is never changed; a correction is another
//! one. It never judges them.

use std::collections::HashMap;

use uuid::Uuid;

use super::predictions::{Shadow, parse_scores, parse_shadows};
use super::store::{Insert, Row, Store, StoreError, Value, execute_rows, query_in, transaction};

/// One outcome with the prediction that it belongs to.
#[derive(Clone, Debug, PartialEq)]
pub struct OutcomeRow {
    /// Counts up over all slots, with gaps; who saw one never sees a smaller one appear later.
    pub seq: i64,
    /// The `seq` of the first outcome of the same row, when this one replaces it.
    pub corrects: Option<i64>,
    pub id: Uuid,
    pub row: u32,
    /// When it was predicted, milliseconds since 1970.
    pub at_ms: i64,
    /// When its outcome was known: the label's arrival, or the end of the horizon's wait.
    pub matured_ms: i64,
    /// The revision that answered.
    pub digest: String,
    pub scores: Vec<f64>,
    pub shadows: Vec<Shadow>,
    pub value: f64,
    /// The label's weight, above 0; 1 for an outcome by absence.
    pub weight: f64,
    pub amount: Option<f64>,
    /// Above 0, at most 1.
    pub propensity: f64,
}

/// How many of a slot's predictions have what, over those whose outcome can be seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    pub predictions: u64,
    /// With a label that joined.
    pub labelled: u64,
    /// With an outcome, by a label or by absence.
    pub with_outcome: u64,
}

pub(super) const INSERT: Insert = Insert {
    head: "INSERT INTO outcome (seq, prediction, slot, value, weight, matured_ms, corrects)",
    columns: 7,
    tail: "",
};

/// Keeps all other writers of outcomes out until the transaction ends, in this process and in
/// others, and gives the last `seq`. To be called first in a transaction.
pub(super) fn lock(store: &mut dyn Store) -> Result<i64, StoreError> {
    let sql = "UPDATE counter SET value = value WHERE name = 'outcome' RETURNING value";
    let rows = store.query(sql, &[])?;
    rows.first().map_or_else(
        || {
            Err(StoreError::Failed(
                "the counter of outcomes is missing".to_string(),
            ))
        },
        |row| row.int(0),
    )
}

/// Sets the last `seq`, under [`lock`].
pub(super) fn advance(store: &mut dyn Store, seq: i64) -> Result<(), StoreError> {
    let sql = "UPDATE counter SET value = $1 WHERE name = 'outcome'";
    store.execute(sql, &[seq.into()])?;
    Ok(())
}

/// Which predictions are closed, and what it means that none of their labels joined.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Closing<'a> {
    pub slot: &'a str,
    /// Those made at or before this, milliseconds since 1970. With now − horizon these are exactly the
    /// predictions for which a label would be late.
    pub before_ms: i64,
    pub now_ms: i64,
    /// The outcome where no label joined; `None`: there is none, and the prediction stays open.
    pub absent: Option<f64>,
    pub limit: u32,
}

/// Gives outcomes to predictions without one: what the last label that joined says, or what its
/// absence means. Oldest first; gives how many.
///
/// # Errors
/// What the store says; then nothing is written.
pub fn mature(store: &mut dyn Store, closing: Closing<'_>) -> Result<u64, StoreError> {
    transaction(store, |store| {
        let mut seq = lock(store)?;
        let sql = match closing.absent {
            Some(_) => open(""),
            None => open("AND labelled = 1"),
        };
        let values = [
            closing.slot.into(),
            closing.before_ms.into(),
            i64::from(closing.limit).into(),
        ];
        let rows = store.query(&sql, &values)?;
        if rows.is_empty() {
            return Ok(0);
        }
        let known = last_labels(store, &rows)?;
        let mut outcomes = Vec::with_capacity(rows.len() * INSERT.columns);
        let mut firsts = Vec::with_capacity(rows.len() * 2);
        for row in &rows {
            let number = row.int(0)?;
            let absent = (closing.absent.unwrap_or(0.0), 1.0);
            let (value, weight) = known.get(&number).copied().unwrap_or(absent);
            seq += 1;
            outcomes.extend([
                seq.into(),
                number.into(),
                closing.slot.into(),
                value.into(),
                weight.into(),
                closing.now_ms.into(),
                Value::Null,
            ]);
            firsts.extend([Value::Int(number), Value::Int(seq)]);
        }
        INSERT.rows(store, &outcomes)?;
        let sql = "UPDATE prediction SET first_outcome = given.column2 \
                   FROM (VALUES {rows}) AS given WHERE prediction.number = given.column1";
        execute_rows(store, sql, 2, &firsts)?;
        advance(store, seq)?;
        Ok(rows.len() as u64)
    })
}

/// The query for a slot's predictions without an outcome, oldest first: each condition on them has
/// an index of its own, in this order.
pub(super) fn open(condition: &str) -> String {
    format!(
        "SELECT number, labelled FROM prediction WHERE slot = $1 AND at_ms <= $2 \
         AND first_outcome IS NULL AND propensity > 0 {condition} ORDER BY at_ms, number LIMIT $3"
    )
}

/// Reads nothing but the index `prediction_coverage`.
pub(super) const COVERAGE: &str = "SELECT count(*), CAST(COALESCE(sum(labelled), 0) AS BIGINT), \
                                   count(first_outcome) FROM prediction \
                                   WHERE slot = $1 AND at_ms >= $2 AND at_ms < $3 \
                                   AND propensity > 0";

/// Value and weight of the last label that joined, of those rows that have one.
fn last_labels(
    store: &mut dyn Store,
    rows: &[Row],
) -> Result<HashMap<i64, (f64, f64)>, StoreError> {
    let mut labelled = Vec::new();
    for row in rows {
        if row.int(1)? != 0 {
            labelled.push(Value::Int(row.int(0)?));
        }
    }
    let sql = "SELECT prediction, value, weight FROM label \
               WHERE late = 0 AND prediction IN ({list}) ORDER BY number";
    let mut last = HashMap::with_capacity(labelled.len());
    for row in query_in(store, sql, &[], &labelled)? {
        last.insert(row.int(0)?, (row.real(1)?, row.real(2)?));
    }
    Ok(last)
}

/// The slot's outcomes after `seq`, in order, at most `limit`.
///
/// # Errors
/// What the store says.
pub fn after(
    store: &mut dyn Store,
    slot: &str,
    seq: i64,
    limit: u32,
) -> Result<Vec<OutcomeRow>, StoreError> {
    let sql = "SELECT outcome.seq, outcome.corrects, prediction.id, prediction.row_index, \
               prediction.at_ms, outcome.matured_ms, prediction.digest, prediction.scores, \
               prediction.shadows, outcome.value, outcome.weight, prediction.amount, \
               prediction.propensity \
               FROM outcome JOIN prediction ON prediction.number = outcome.prediction \
               WHERE outcome.slot = $1 AND outcome.seq > $2 ORDER BY outcome.seq LIMIT $3";
    let values = [slot.into(), seq.into(), i64::from(limit).into()];
    store.query(sql, &values)?.iter().map(read).collect()
}

fn read(row: &Row) -> Result<OutcomeRow, StoreError> {
    Ok(OutcomeRow {
        seq: row.int(0)?,
        corrects: row.int_or_null(1)?,
        id: row.id(2)?,
        row: row_index(row, 3)?,
        at_ms: row.int(4)?,
        matured_ms: row.int(5)?,
        digest: row.text(6)?,
        scores: parse_scores(&row.text(7)?)?,
        shadows: parse_shadows(&row.text(8)?)?,
        value: row.real(9)?,
        weight: row.real(10)?,
        amount: row.real_or_null(11)?,
        propensity: row.real(12)?,
    })
}

/// A row's place in its request.
pub(super) fn row_index(row: &Row, column: usize) -> Result<u32, StoreError> {
    u32::try_from(row.int(column)?)
        .map_err(|_error| StoreError::Failed(format!("column {column}: expected a row's index")))
}

/// The number of the slot's outcome that has `back` newer ones; 0 when it has fewer. Outcomes after it
/// are the newest `back`.
///
/// # Errors
/// What the store says.
pub fn recent(store: &mut dyn Store, slot: &str, back: u32) -> Result<i64, StoreError> {
    let sql = "SELECT seq FROM outcome WHERE slot = $1 ORDER BY seq DESC LIMIT 1 OFFSET $2";
    let rows = store.query(sql, &[slot.into(), i64::from(back).into()])?;
    rows.first().map_or(Ok(0), |row| row.int(0))
}

/// Counts the slot's predictions from `from_ms` to before `to_ms` whose propensity is above 0.
///
/// # Errors
/// What the store says.
pub fn coverage(
    store: &mut dyn Store,
    slot: &str,
    from_ms: i64,
    to_ms: i64,
) -> Result<Coverage, StoreError> {
    let rows = store.query(COVERAGE, &[slot.into(), from_ms.into(), to_ms.into()])?;
    let Some(row) = rows.first() else {
        return Ok(Coverage::default());
    };
    let count = |column| {
        row.int(column)
            .map(|count| u64::try_from(count).unwrap_or(0))
    };
    Ok(Coverage {
        predictions: count(0)?,
        labelled: count(1)?,
        with_outcome: count(2)?,
    })
}

/// The present value of outcomes, by their first `seq`: value and weight of the last one.
pub(super) fn present(
    store: &mut dyn Store,
    numbers: &[Value],
) -> Result<Vec<(i64, f64, f64)>, StoreError> {
    let sql =
        "SELECT prediction, value, weight FROM outcome WHERE prediction IN ({list}) ORDER BY seq";
    let rows = query_in(store, sql, &[], numbers)?;
    rows.iter()
        .map(|row| Ok((row.int(0)?, row.real(1)?, row.real(2)?)))
        .collect()
}
