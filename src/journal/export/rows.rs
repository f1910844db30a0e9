//! Recorded rows as they are read for the export, a bounded number at a time, and how far a slot's
//! log was exported.

use std::collections::HashMap;

use uuid::Uuid;

use super::columns::Features;
use crate::journal::outcomes::row_index;
use crate::journal::predictions::parse_scores;
use crate::journal::store::{Row as Found, Store, StoreError, Value, query_in};

/// Predictions of all slots that one turn passes over.
const PASSED: i64 = 4_096;

/// Rows of the first turn, and of any.
pub const FEW: u32 = 64;
const MANY: u32 = 4_096;

/// Bytes of features that a turn should read.
const BYTES: usize = 8 << 20;

/// One recorded row.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Its place in the order of writing.
    pub number: i64,
    pub id: Uuid,
    /// Its place in its request, from 0.
    pub row: u32,
    /// Milliseconds since 1970.
    pub at_ms: i64,
    /// The revision that answered, and the first digits of its digest.
    pub revision: i64,
    pub digest: String,
    /// One, or one per class. May be NaN or infinite.
    pub scores: Vec<f64>,
    pub features: Features,
    /// Its present outcome, and since when it is known.
    pub outcome: Option<(f64, i64)>,
}

/// Which rows a turn reads.
#[derive(Clone, Debug)]
pub struct Span {
    pub slot: String,
    /// Only rows behind this number, up to that one.
    pub after: i64,
    pub to: i64,
    /// Only rows from this time on and up to that, milliseconds since 1970.
    pub from_ms: i64,
    pub to_ms: i64,
    /// Ends before the first row later than this.
    pub before_ms: i64,
    /// Rows at the most.
    pub limit: u32,
}

/// What a turn read.
#[derive(Debug, Default)]
pub struct Turn {
    pub rows: Vec<Row>,
    /// The number up to which everything was read.
    pub read_to: i64,
    /// Whether nothing is left in the span.
    pub ended: bool,
    /// The numbers of rows that are no rows of ours, and what is wrong with the first.
    pub broken: Vec<i64>,
    pub reason: Option<String>,
    /// Rows of the next turn.
    pub limit: u32,
}

/// What a turn read, as the store has it.
pub struct Raw {
    found: Vec<Found>,
    outcomes: HashMap<i64, (f64, i64)>,
    turn: Turn,
}

impl Row {
    /// Its id as callers know it: that of the request, with `.n` after it for row `n`.
    pub fn prediction_id(&self) -> String {
        match self.row {
            0 => self.id.to_string(),
            row => format!("{}.{row}", self.id),
        }
    }
}

/// Reads the next rows of a span. What takes long is left to [`Raw::parsed`].
///
/// # Errors
/// What the store says.
pub fn read(store: &mut dyn Store, span: &Span) -> Result<Raw, StoreError> {
    let mut turn = Turn {
        limit: span.limit,
        ..Turn::default()
    };
    let Some(to) = end(store, span)? else {
        (turn.read_to, turn.ended) = (span.after, true);
        return Ok(Raw {
            found: Vec::new(),
            outcomes: HashMap::new(),
            turn,
        });
    };
    let sql = "SELECT number, id, row_index, at_ms, revision, digest, scores, features \
               FROM prediction WHERE number > $1 AND number <= $2 AND slot = $3 AND at_ms >= $4 \
               AND at_ms <= $5 AND features IS NOT NULL ORDER BY number LIMIT $6";
    let values = [
        span.after.into(),
        to.number.into(),
        span.slot.as_str().into(),
        span.from_ms.into(),
        span.to_ms.into(),
        i64::from(span.limit).into(),
    ];
    let found = store.query(sql, &values)?;
    let is_full = found.len() == usize::try_from(span.limit).unwrap_or(usize::MAX);
    turn.read_to = match found.last() {
        Some(last) if is_full => last.int(0)?,
        _ => to.number,
    };
    turn.ended = to.is_last && !is_full;
    let outcomes = outcomes(store, &found)?;
    Ok(Raw {
        found,
        outcomes,
        turn,
    })
}

impl Raw {
    /// Makes rows of it.
    ///
    /// # Errors
    /// When a column is of another type.
    pub fn parsed(self) -> Result<Turn, StoreError> {
        let Raw {
            found,
            outcomes,
            mut turn,
        } = self;
        let mut bytes = 0;
        for row in &found {
            let (number, text) = (row.int(0)?, row.text(7)?);
            bytes += text.len();
            match parse(row, &text) {
                Ok(mut row) => {
                    row.outcome = outcomes.get(&number).copied();
                    turn.rows.push(row);
                }
                Err(error) => {
                    turn.broken.push(number);
                    turn.reason.get_or_insert_with(|| error.to_string());
                }
            }
        }
        if let Some(each) = bytes.checked_div(found.len()) {
            let fits = u32::try_from(BYTES / each.max(1)).unwrap_or(MANY);
            turn.limit = fits.clamp(1, MANY);
        }
        Ok(turn)
    }
}

/// Where a turn ends.
struct End {
    number: i64,
    /// Whether the span ends there too.
    is_last: bool,
}

/// The number up to which a turn goes; `None`: nothing is left.
fn end(store: &mut dyn Store, span: &Span) -> Result<Option<End>, StoreError> {
    let sql = "SELECT number FROM prediction WHERE number > $1 AND number <= $2 \
               ORDER BY number LIMIT 1 OFFSET $3";
    let values = [span.after.into(), span.to.into(), (PASSED - 1).into()];
    let passed = store.query(sql, &values)?;
    let passed = passed.first().map(|row| row.int(0)).transpose()?;
    let to = passed.unwrap_or(span.to);
    let sql = "SELECT min(number) FROM prediction \
               WHERE number > $1 AND number <= $2 AND slot = $3 AND at_ms > $4";
    let values = [
        span.after.into(),
        to.into(),
        span.slot.as_str().into(),
        span.before_ms.into(),
    ];
    let young = store.query(sql, &values)?;
    let young = young.first().map_or(Ok(None), |row| row.int_or_null(0))?;
    let number = young.map_or(to, |young| young - 1);
    Ok((number > span.after).then_some(End {
        number,
        is_last: young.is_some() || passed.is_none(),
    }))
}

fn parse(row: &Found, features: &str) -> Result<Row, StoreError> {
    Ok(Row {
        number: row.int(0)?,
        id: row.id(1)?,
        row: row_index(row, 2)?,
        at_ms: row.int(3)?,
        revision: row.int(4)?,
        digest: row.text(5)?,
        scores: parse_scores(&row.text(6)?)?,
        features: serde_json::from_str(features)
            .map_err(|error| StoreError::Failed(error.to_string()))?,
        outcome: None,
    })
}

/// The present outcomes of rows that have one, by number: value, and since when it is known.
fn outcomes(store: &mut dyn Store, rows: &[Found]) -> Result<HashMap<i64, (f64, i64)>, StoreError> {
    let numbers = rows.iter().map(|row| row.int(0).map(Value::from));
    let numbers = numbers.collect::<Result<Vec<Value>, _>>()?;
    let sql = "SELECT prediction, value, matured_ms FROM outcome \
               WHERE prediction IN ({list}) ORDER BY seq";
    let mut last = HashMap::new();
    for row in query_in(store, sql, &[], &numbers)? {
        last.insert(row.int(0)?, (row.real(1)?, row.int(2)?));
    }
    Ok(last)
}

/// The numbers of the oldest and the newest prediction of all slots; 0 when there are none.
///
/// # Errors
/// What the store says.
pub fn bounds(store: &mut dyn Store) -> Result<(i64, i64), StoreError> {
    let mut bound = |sql| -> Result<i64, StoreError> {
        let found = store.query(sql, &[])?;
        let number = found.first().map_or(Ok(None), |row| row.int_or_null(0))?;
        Ok(number.unwrap_or(0))
    };
    let oldest = bound("SELECT min(number) FROM prediction")?;
    Ok((oldest, bound("SELECT max(number) FROM prediction")?))
}

/// The number up to which a slot's log is in complete files; 0 at first.
///
/// # Errors
/// What the store says.
pub fn cursor(store: &mut dyn Store, slot: &str) -> Result<i64, StoreError> {
    let sql = "SELECT value FROM counter WHERE name = $1";
    let found = store.query(sql, &[counter(slot).as_str().into()])?;
    found.first().map_or(Ok(0), |row| row.int(0))
}

/// How far a slot is, beside the newest prediction of all.
pub struct Within {
    pub cursor: i64,
    pub newest: i64,
}

/// As [`cursor`]. One above every prediction is from before SQLite counted from 1 again: it is set back
/// at once, or new predictions would count as exported once they are as many.
///
/// # Errors
/// What the store says.
pub fn cursor_within(store: &mut dyn Store, slot: &str) -> Result<Within, StoreError> {
    let (cursor, newest) = (cursor(store, slot)?, bounds(store)?.1);
    if cursor <= newest {
        return Ok(Within { cursor, newest });
    }
    advance(store, slot, cursor, 0)?;
    Ok(Within { cursor: 0, newest })
}

/// Moves it; false when it is no longer where it was thought to be.
///
/// # Errors
/// What the store says.
pub fn advance(store: &mut dyn Store, slot: &str, from: i64, to: i64) -> Result<bool, StoreError> {
    let sql = "INSERT INTO counter (name, value) VALUES ($1, $2) \
               ON CONFLICT (name) DO UPDATE SET value = excluded.value WHERE counter.value = $3";
    let values = [counter(slot).as_str().into(), to.into(), from.into()];
    Ok(store.execute(sql, &values)? > 0)
}

fn counter(slot: &str) -> String {
    format!("export/{slot}")
}
