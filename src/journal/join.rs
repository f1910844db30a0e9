//! Predictions, their labels and their outcomes, loaded for one batch of labels and written back in
//! one go. It applies the rules by which a label joins; it never decides whether one may wait.

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use super::outcomes::{self, row_index};
use super::store::{Insert, Row, Store, StoreError, Value, execute_rows, query_each, query_in};

/// Predictions that one label by key joins: so that one label is some tens of milliseconds of work at
/// most.
pub(super) const JOINED_MAX: usize = 1_000;

/// A prediction that a label may join.
pub(super) struct Known {
    pub number: i64,
    pub id: Uuid,
    pub row: u32,
    pub slot: String,
    pub key: Option<String>,
    pub at_ms: i64,
    propensity: f64,
    first_outcome: Option<i64>,
    labelled: bool,
    /// Its first outcome waits for the end of the horizon.
    deferred: bool,
    /// Its labels, in order of arrival.
    history: Vec<Past>,
    /// Value and weight of its last outcome.
    outcome: Option<(f64, f64)>,
    changed: bool,
}

/// A label that came before.
struct Past {
    feedback_id: Uuid,
    source: String,
    value: f64,
    weight: f64,
}

/// A label that comes now.
#[derive(Clone, Debug)]
pub(super) struct Arrival {
    pub feedback_id: Uuid,
    pub source: String,
    pub value: f64,
    pub weight: f64,
    pub event_at_ms: Option<i64>,
    pub arrived_ms: i64,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Joined,
    Late,
    /// The one before has this id.
    Duplicate(Uuid),
}

/// The predictions of a batch. Exists only inside a transaction that holds the lock on outcomes.
pub(super) struct Ledger {
    seq: i64,
    known: Vec<Known>,
    by_id: HashMap<(Uuid, u32), usize>,
    by_key: HashMap<(String, String, u32), Vec<usize>>,
    numbers: HashMap<i64, usize>,
    labels: Vec<Value>,
    outcomes: Vec<Value>,
}

const LABEL: Insert = Insert {
    head: "INSERT INTO label (feedback_id, prediction, source, value, weight, event_at_ms, \
           arrived_ms, late)",
    columns: 8,
    tail: "",
};

const COLUMNS: &str = "SELECT number, id, row_index, slot, key, at_ms, propensity, first_outcome, \
                       labelled, deferred FROM prediction";

impl Ledger {
    /// An empty ledger; other writers of outcomes wait until the transaction ends.
    pub fn lock(store: &mut dyn Store) -> Result<Ledger, StoreError> {
        Ok(Ledger {
            seq: outcomes::lock(store)?,
            known: Vec::new(),
            by_id: HashMap::new(),
            by_key: HashMap::new(),
            numbers: HashMap::new(),
            labels: Vec::new(),
            outcomes: Vec::new(),
        })
    }

    /// Loads the rows of these requests.
    pub fn load_ids(
        &mut self,
        store: &mut dyn Store,
        ids: &HashSet<Uuid>,
    ) -> Result<(), StoreError> {
        let ids: Vec<Value> = ids.iter().map(|id| (*id).into()).collect();
        let rows = query_in(
            store,
            &format!("{COLUMNS} WHERE id IN ({{list}})"),
            &[],
            &ids,
        )?;
        self.add(store, &rows)
    }

    /// Loads, of each of a slot's keys and rows, the newest [`JOINED_MAX`] predictions made after
    /// `after_ms` and, where there is none, the last one before.
    pub fn load_keys(
        &mut self,
        store: &mut dyn Store,
        slot: &str,
        keys: &HashSet<(String, u32)>,
        after_ms: i64,
    ) -> Result<(), StoreError> {
        let within: [Value; 2] = [slot.into(), after_ms.into()];
        let pairs: Vec<[Value; 2]> = keys.iter().map(pair).collect();
        let rows = query_each(store, &newest("> $2", JOINED_MAX), &within, &pairs)?;
        self.add(store, &rows)?;
        let is_missing = |(key, row): &&(String, u32)| {
            let mut found = self.find_key(slot, key, *row).iter();
            !found.any(|index| self.known[*index].at_ms > after_ms)
        };
        let missing: Vec<[Value; 2]> = keys.iter().filter(is_missing).map(pair).collect();
        let rows = query_each(store, &newest("<= $2", 1), &within, &missing)?;
        self.add(store, &rows)
    }

    /// The row of a request.
    pub fn find_id(&self, id: Uuid, row: u32) -> Option<usize> {
        self.by_id.get(&(id, row)).copied()
    }

    /// The loaded predictions of a key.
    fn find_key(&self, slot: &str, key: &str, row: u32) -> &[usize] {
        self.by_key
            .get(&(slot.to_string(), key.to_string(), row))
            .map_or(&[], Vec::as_slice)
    }

    /// Takes a label by key: it joins the newest [`JOINED_MAX`] predictions that are inside the
    /// horizon, the oldest of them first; where there is none it is late for the last one. None when
    /// the key is unknown.
    pub fn join_key(
        &mut self,
        (slot, key, row): (&str, &str, u32),
        arrival: &Arrival,
        horizon_ms: i64,
    ) -> Option<Standing> {
        let mut found = self.find_key(slot, key, row).to_vec();
        found.sort_by_key(|index| (self.known[*index].at_ms, self.known[*index].number));
        let is_inside = |index: &usize| {
            arrival.arrived_ms.saturating_sub(self.known[*index].at_ms) < horizon_ms
        };
        let mut joining: Vec<usize> = found.iter().copied().filter(is_inside).collect();
        joining.drain(..joining.len().saturating_sub(JOINED_MAX));
        if joining.is_empty() {
            joining.extend(found.last());
        }
        let mut result = None;
        for index in joining {
            let standing = self.join(index, arrival, horizon_ms);
            if result != Some(Standing::Joined) {
                result = Some(standing);
            }
        }
        result
    }

    /// A prediction that was found.
    pub fn get(&self, index: usize) -> &Known {
        &self.known[index]
    }

    /// Takes a label: an age at arrival of `horizon_ms` or more is late.
    pub fn join(&mut self, index: usize, arrival: &Arrival, horizon_ms: i64) -> Standing {
        let known = &mut self.known[index];
        let before = known
            .history
            .iter()
            .rfind(|past| past.source == arrival.source);
        if let Some(before) = before
            && before.value == arrival.value
            && before.weight == arrival.weight
        {
            return Standing::Duplicate(before.feedback_id);
        }
        let late = arrival.arrived_ms.saturating_sub(known.at_ms) >= horizon_ms;
        known.history.push(Past {
            feedback_id: arrival.feedback_id,
            source: arrival.source.clone(),
            value: arrival.value,
            weight: arrival.weight,
        });
        self.labels.extend([
            arrival.feedback_id.into(),
            known.number.into(),
            arrival.source.as_str().into(),
            arrival.value.into(),
            arrival.weight.into(),
            arrival.event_at_ms.into(),
            arrival.arrived_ms.into(),
            i64::from(late).into(),
        ]);
        if late {
            return Standing::Late;
        }
        known.changed |= !known.labelled;
        known.labelled = true;
        self.append(index, arrival);
        Standing::Joined
    }

    /// Appends the outcome of a label, unless no outcome can exist, it waits for the horizon, or it
    /// says what the last one says.
    fn append(&mut self, index: usize, arrival: &Arrival) {
        let known = &mut self.known[index];
        let present = (arrival.value, arrival.weight);
        // Written so that a propensity of NaN has no outcomes either.
        let countable = known.propensity > 0.0;
        // What was closed by absence before the label had its turn is corrected.
        let waits = known.deferred && known.first_outcome.is_none();
        if !countable || waits || known.outcome == Some(present) {
            return;
        }
        self.seq += 1;
        self.outcomes.extend([
            self.seq.into(),
            known.number.into(),
            known.slot.as_str().into(),
            arrival.value.into(),
            arrival.weight.into(),
            arrival.arrived_ms.into(),
            known.first_outcome.into(),
        ]);
        if known.first_outcome.is_none() {
            known.first_outcome = Some(self.seq);
            known.changed = true;
        }
        known.outcome = Some(present);
    }

    /// Writes what was taken.
    pub fn write(self, store: &mut dyn Store) -> Result<(), StoreError> {
        LABEL.rows(store, &self.labels)?;
        if !self.outcomes.is_empty() {
            outcomes::INSERT.rows(store, &self.outcomes)?;
            outcomes::advance(store, self.seq)?;
        }
        let mut changes = Vec::new();
        for known in self.known.iter().filter(|known| known.changed) {
            changes.extend([
                Value::Int(known.number),
                known.first_outcome.into(),
                i64::from(known.labelled).into(),
            ]);
        }
        let sql = "UPDATE prediction SET first_outcome = given.column2, labelled = given.column3 \
                   FROM (VALUES {rows}) AS given WHERE prediction.number = given.column1";
        execute_rows(store, sql, 3, &changes)
    }

    /// Adds predictions with their histories.
    fn add(&mut self, store: &mut dyn Store, rows: &[Row]) -> Result<(), StoreError> {
        let mut labelled = Vec::new();
        let mut matured = Vec::new();
        for row in rows {
            let known = read(row)?;
            if self.numbers.contains_key(&known.number) {
                continue;
            }
            let number = Value::Int(known.number);
            if known.first_outcome.is_some() {
                matured.push(number.clone());
            }
            labelled.push(number);
            let index = self.known.len();
            self.numbers.insert(known.number, index);
            self.by_id.insert((known.id, known.row), index);
            if let Some(key) = &known.key {
                let name = (known.slot.clone(), key.clone(), known.row);
                self.by_key.entry(name).or_default().push(index);
            }
            self.known.push(known);
        }
        self.load_history(store, &labelled)?;
        for (number, value, weight) in outcomes::present(store, &matured)? {
            if let Some(index) = self.numbers.get(&number) {
                self.known[*index].outcome = Some((value, weight));
            }
        }
        Ok(())
    }

    fn load_history(&mut self, store: &mut dyn Store, numbers: &[Value]) -> Result<(), StoreError> {
        let sql = "SELECT prediction, feedback_id, source, value, weight FROM label \
                   WHERE prediction IN ({list}) ORDER BY number";
        for row in query_in(store, sql, &[], numbers)? {
            let Some(index) = self.numbers.get(&row.int(0)?) else {
                continue;
            };
            self.known[*index].history.push(Past {
                feedback_id: row.id(1)?,
                source: row.text(2)?,
                value: row.real(3)?,
                weight: row.real(4)?,
            });
        }
        Ok(())
    }
}

/// The query for the newest predictions of a key's row made `within` a time.
pub(super) fn newest(within: &str, limit: usize) -> String {
    format!(
        "{COLUMNS} WHERE key = {{first}} AND slot = $1 AND row_index = {{second}} \
         AND at_ms {within} ORDER BY at_ms DESC, number DESC LIMIT {limit}"
    )
}

fn pair((key, row): &(String, u32)) -> [Value; 2] {
    [key.as_str().into(), i64::from(*row).into()]
}

fn read(row: &Row) -> Result<Known, StoreError> {
    Ok(Known {
        number: row.int(0)?,
        id: row.id(1)?,
        row: row_index(row, 2)?,
        slot: row.text(3)?,
        key: row.text_or_null(4)?,
        at_ms: row.int(5)?,
        propensity: row.real(6)?,
        first_outcome: row.int_or_null(7)?,
        labelled: row.int(8)? != 0,
        deferred: row.int(9)? != 0,
        history: Vec::new(),
        outcome: None,
        changed: false,
    })
}
