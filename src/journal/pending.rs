//! Labels that came before their predictions: a bounded table where they wait for a few minutes.
//! Whoever writes a prediction looks here. It never takes a label from a caller.

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use super::join::{Arrival, Ledger, Standing};
use super::labels::{Expired, PENDING_MS, Target, Terms, Wanted};
use super::outcomes::{self, row_index};
use super::predictions::Prediction;
use super::store::{Insert, Row, Store, StoreError, Value, execute_in, query_in, transaction};

/// Labels that may wait at a time.
pub const PENDING_MAX: i64 = 100_000;

/// Of these, those that name one slot; and those that name none, together.
pub const PENDING_SLOT_MAX: i64 = PENDING_MAX / 4;

/// A label that waits.
#[derive(Clone, Debug)]
pub(super) struct Wait {
    pub slot: Option<String>,
    pub target: Target,
    pub arrival: Arrival,
    /// Where the label named its slot, whose terms it was held against then; else it is held against
    /// those of its prediction's slot when they meet.
    pub horizon_ms: Option<i64>,
}

/// Waiting labels that a batch may repeat, and those that it adds.
pub(super) struct Waiting {
    last: HashMap<Name, Said>,
    rows: Vec<Value>,
    /// How many wait, by the slot that they name.
    counts: HashMap<Option<String>, i64>,
    total: i64,
}

/// What two labels share when one repeats or corrects the other: slot, target and source.
type Name = (Option<String>, Target, String);

/// What a label said: its id, value and weight.
type Said = (Uuid, f64, f64);

/// What became of a label that is to wait.
pub(super) enum Added {
    Waits,
    Duplicate(Uuid),
    Full,
}

const INSERT: Insert = Insert {
    head: "INSERT INTO pending (feedback_id, slot, id, key, row_index, source, value, weight, \
           event_at_ms, arrived_ms, horizon_ms, expires_ms)",
    columns: 12,
    tail: "",
};

const COLUMNS: &str = "SELECT pending.feedback_id, pending.slot, pending.id, pending.key, \
                       pending.row_index, pending.source, pending.value, pending.weight, \
                       pending.event_at_ms, pending.arrived_ms, pending.horizon_ms, pending.number \
                       FROM pending";

impl Waiting {
    /// Loads the labels that wait for these predictions.
    pub fn load(store: &mut dyn Store, wanted: &Wanted) -> Result<Waiting, StoreError> {
        let mut counts = HashMap::new();
        for row in store.query("SELECT slot, count(*) FROM pending GROUP BY slot", &[])? {
            counts.insert(row.text_or_null(0)?, row.int(1)?);
        }
        let total = counts.values().sum();
        let mut last = HashMap::new();
        if total > 0 {
            for (_number, wait) in find(store, wanted)? {
                let arrival = &wait.arrival;
                let said = (arrival.feedback_id, arrival.value, arrival.weight);
                last.insert(name(&wait), said);
            }
        }
        Ok(Waiting {
            last,
            rows: Vec::new(),
            counts,
            total,
        })
    }

    /// Lets a label wait.
    pub fn add(&mut self, wait: Wait) -> Added {
        let name = name(&wait);
        let arrival = &wait.arrival;
        if let Some((feedback_id, value, weight)) = self.last.get(&name)
            && *value == arrival.value
            && *weight == arrival.weight
        {
            return Added::Duplicate(*feedback_id);
        }
        let count = self.counts.entry(wait.slot.clone()).or_default();
        if *count >= PENDING_SLOT_MAX || self.total >= PENDING_MAX {
            return Added::Full;
        }
        *count += 1;
        self.total += 1;
        let said = (arrival.feedback_id, arrival.value, arrival.weight);
        self.last.insert(name, said);
        let (id, key) = match &wait.target {
            Target::Prediction { id, .. } => (Some(*id), None),
            Target::Key { key, .. } => (None, Some(key.as_str())),
        };
        self.rows.extend([
            arrival.feedback_id.into(),
            wait.slot.as_deref().into(),
            id.into(),
            key.into(),
            i64::from(wait.target.row()).into(),
            arrival.source.as_str().into(),
            arrival.value.into(),
            arrival.weight.into(),
            arrival.event_at_ms.into(),
            arrival.arrived_ms.into(),
            wait.horizon_ms.into(),
            arrival.arrived_ms.saturating_add(PENDING_MS).into(),
        ]);
        Added::Waits
    }

    /// Writes what was added.
    pub fn write(self, store: &mut dyn Store) -> Result<(), StoreError> {
        INSERT.rows(store, &self.rows).map(|_inserted| ())
    }
}

/// Joins the labels that waited for predictions which this transaction wrote.
pub(super) fn join_written(
    store: &mut dyn Store,
    predictions: &[Prediction],
    terms: &dyn Fn(&str) -> Option<Terms>,
) -> Result<Expired, StoreError> {
    if is_empty(store)? {
        return Ok(Expired::default());
    }
    let mut wanted = Wanted::default();
    for prediction in predictions {
        wanted.ids.insert(prediction.id);
        if let Some(key) = &prediction.key {
            let target = Target::Key {
                key: key.clone(),
                row: prediction.row,
            };
            wanted.add(Some(&prediction.slot), &target);
        }
    }
    if find(store, &wanted)?.is_empty() {
        return Ok(Expired::default());
    }
    outcomes::lock(store)?;
    // Again, now that no other process can join them meanwhile.
    let waits = find(store, &wanted)?;
    join(store, &waits, terms)
}

/// As `labels::expire` says.
pub(super) fn sweep(
    store: &mut dyn Store,
    now_ms: i64,
    limit: u32,
    terms: &dyn Fn(&str) -> Option<Terms>,
) -> Result<Expired, StoreError> {
    if is_empty(store)? {
        return Ok(Expired::default());
    }
    transaction(store, |store| {
        outcomes::lock(store)?;
        let limit = Value::Int(i64::from(limit));
        let by_id = format!(
            "{COLUMNS} JOIN prediction ON prediction.id = pending.id \
             AND prediction.row_index = pending.row_index ORDER BY pending.number LIMIT $1"
        );
        let mut waits = read_all(&store.query(&by_id, std::slice::from_ref(&limit))?)?;
        let by_key = format!(
            "{COLUMNS} WHERE pending.key IS NOT NULL AND EXISTS (SELECT 1 FROM prediction \
             WHERE prediction.slot = pending.slot AND prediction.key = pending.key \
             AND prediction.row_index = pending.row_index) ORDER BY pending.number LIMIT $1"
        );
        waits.extend(read_all(
            &store.query(&by_key, std::slice::from_ref(&limit))?,
        )?);
        let mut expired = join(store, &waits, terms)?;
        let old = "SELECT number FROM pending WHERE expires_ms <= $1 ORDER BY expires_ms LIMIT $2";
        let rows = store.query(old, &[now_ms.into(), limit])?;
        let numbers: Vec<Value> = rows
            .iter()
            .map(|row| row.int(0).map(Value::Int))
            .collect::<Result<_, _>>()?;
        expired.orphans += remove(store, &numbers)?;
        Ok(expired)
    })
}

/// Joins waiting labels whose predictions are there, and removes them. Those whose prediction is of
/// another slot than they said, or whose value its slot does not take, become orphans.
fn join(
    store: &mut dyn Store,
    waits: &[(i64, Wait)],
    terms: &dyn Fn(&str) -> Option<Terms>,
) -> Result<Expired, StoreError> {
    let mut done = Expired::default();
    if waits.is_empty() {
        return Ok(done);
    }
    let mut wanted = Wanted::default();
    let mut after_ms = i64::MAX;
    for (_number, wait) in waits {
        wanted.add(wait.slot.as_deref(), &wait.target);
        let horizon = wait.horizon_ms.unwrap_or(PENDING_MS);
        after_ms = after_ms.min(wait.arrival.arrived_ms.saturating_sub(horizon));
    }
    let mut ledger = Ledger::lock(store)?;
    ledger.load_ids(store, &wanted.ids)?;
    for (slot, keys) in &wanted.keys {
        ledger.load_keys(store, slot, keys, after_ms)?;
    }
    let mut numbers = Vec::new();
    for (number, wait) in waits {
        match meet(&mut ledger, wait, terms) {
            Meeting::Met => done.met += 1,
            Meeting::Wrong => done.orphans += 1,
            Meeting::NotYet => continue,
        }
        numbers.push(Value::Int(*number));
    }
    ledger.write(store)?;
    remove(store, &numbers)?;
    Ok(done)
}

/// What a waiting label finds.
enum Meeting {
    Met,
    /// A prediction that it cannot be for.
    Wrong,
    /// None, or one of a slot whose terms are not known here and now.
    NotYet,
}

fn meet(ledger: &mut Ledger, wait: &Wait, terms: &dyn Fn(&str) -> Option<Terms>) -> Meeting {
    let standing: Option<Standing> = match (&wait.target, &wait.slot, wait.horizon_ms) {
        (Target::Prediction { id, row }, slot, horizon) => {
            let Some(index) = ledger.find_id(*id, *row) else {
                return Meeting::NotYet;
            };
            let own = &ledger.get(index).slot;
            if slot.as_ref().is_some_and(|slot| slot != own) {
                return Meeting::Wrong;
            }
            let horizon = match (horizon, terms(own)) {
                (Some(horizon), _) => horizon,
                (None, None) => return Meeting::NotYet,
                (None, Some(terms)) if terms.values.check(wait.arrival.value).is_err() => {
                    return Meeting::Wrong;
                }
                (None, Some(terms)) => terms.horizon_ms,
            };
            Some(ledger.join(index, &wait.arrival, horizon))
        }
        (Target::Key { key, row }, Some(slot), Some(horizon)) => {
            ledger.join_key((slot, key, *row), &wait.arrival, horizon)
        }
        (Target::Key { .. }, ..) => None,
    };
    standing.map_or(Meeting::NotYet, |_standing| Meeting::Met)
}

fn is_empty(store: &mut dyn Store) -> Result<bool, StoreError> {
    let any = store.query("SELECT number FROM pending LIMIT 1", &[])?;
    Ok(any.is_empty())
}

/// The labels that wait for these predictions, in order of arrival, with their numbers.
fn find(store: &mut dyn Store, wanted: &Wanted) -> Result<Vec<(i64, Wait)>, StoreError> {
    let ids: Vec<Value> = wanted.ids.iter().map(|id| (*id).into()).collect();
    let by_id = format!("{COLUMNS} WHERE pending.id IN ({{list}})");
    let mut found = read_all(&query_in(store, &by_id, &[], &ids)?)?;
    let by_key = format!("{COLUMNS} WHERE pending.slot = $1 AND pending.key IN ({{list}})");
    for (slot, keys) in &wanted.keys {
        let keys: HashSet<&str> = keys.iter().map(|(key, _row)| key.as_str()).collect();
        let keys: Vec<Value> = keys.into_iter().map(Value::from).collect();
        let rows = query_in(store, &by_key, &[slot.as_str().into()], &keys)?;
        found.extend(read_all(&rows)?);
    }
    found.sort_by_key(|(number, _wait)| *number);
    Ok(found)
}

fn remove(store: &mut dyn Store, numbers: &[Value]) -> Result<u64, StoreError> {
    execute_in(
        store,
        "DELETE FROM pending WHERE number IN ({list})",
        &[],
        numbers,
    )
}

fn name(wait: &Wait) -> Name {
    // An id is of one slot, whether or not the label says which.
    let slot = match wait.target {
        Target::Prediction { .. } => None,
        Target::Key { .. } => wait.slot.clone(),
    };
    (slot, wait.target.clone(), wait.arrival.source.clone())
}

fn read_all(rows: &[Row]) -> Result<Vec<(i64, Wait)>, StoreError> {
    rows.iter().map(read).collect()
}

fn read(row: &Row) -> Result<(i64, Wait), StoreError> {
    let index = row_index(row, 4)?;
    let target = match (row.id_or_null(2)?, row.text_or_null(3)?) {
        (Some(id), _) => Target::Prediction { id, row: index },
        (None, Some(key)) => Target::Key { key, row: index },
        (None, None) => {
            return Err(StoreError::Failed(
                "a waiting label has no target".to_string(),
            ));
        }
    };
    let wait = Wait {
        slot: row.text_or_null(1)?,
        target,
        arrival: Arrival {
            feedback_id: row.id(0)?,
            source: row.text(5)?,
            value: row.real(6)?,
            weight: row.real(7)?,
            event_at_ms: row.int_or_null(8)?,
            arrived_ms: row.int(9)?,
        },
        horizon_ms: row.int_or_null(10)?,
    };
    Ok((row.int(11)?, wait))
}
