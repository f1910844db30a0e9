//! Labels as they come back: singly or in bulk, late, twice, corrected, or before their prediction.
//! Each gets a status, and sending it again changes nothing. All labels are kept; only those that
//! join make outcomes. It never waits for a prediction: that is `pending`.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use uuid::{NoContext, Timestamp, Uuid};

use super::join::{Arrival, Ledger, Standing};
use super::pending::{self, Wait, Waiting};
use super::store::{Store, StoreError, transaction};

/// How long a label waits for its prediction, in milliseconds.
pub const PENDING_MS: i64 = 300_000;

/// How far in the future an event may lie: clocks differ.
const FUTURE_MS: i64 = 300_000;

/// The longest source and key, in bytes.
const TEXT_MAX: usize = 1024;

/// One label.
#[derive(Clone, Debug, PartialEq)]
pub struct Label {
    /// Needed with a key; with an id it is checked against the prediction's.
    pub slot: Option<String>,
    pub target: Target,
    /// Finite.
    pub value: f64,
    /// When what it tells of happened, milliseconds since 1970.
    pub event_at_ms: Option<i64>,
    /// Who says so, such as `chargeback`.
    pub source: String,
    /// Finite and above 0.
    pub weight: f64,
}

/// Which rows it is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    Prediction {
        id: Uuid,
        row: u32,
    },
    /// The predictions under the caller's own key that are inside the horizon: of more than 1,000 the
    /// newest 1,000, and older ones stay as they are. Where none is inside it is late for the last one.
    Key {
        key: String,
        row: u32,
    },
}

/// What a slot says of its labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// A label counts when it arrives before its prediction is this old, in milliseconds.
    pub horizon_ms: i64,
    pub values: Values,
}

/// What a label may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// 0 or 1.
    Binary,
    /// A whole number below this.
    Classes(u32),
    /// Any finite number.
    Numbers,
}

impl Values {
    /// Whether a label may say this.
    ///
    /// # Errors
    /// What was expected.
    pub fn check(self, value: f64) -> Result<(), String> {
        let is_class =
            |count: u32| value.fract() == 0.0 && (0.0..f64::from(count)).contains(&value);
        match self {
            Values::Binary if value != 0.0 && value != 1.0 => {
                Err("value: expected true, false, 1 or 0".to_string())
            }
            Values::Classes(count) if !is_class(count) => Err(format!(
                "value: expected a class, a whole number from 0 to {}",
                count.saturating_sub(1)
            )),
            Values::Numbers if !value.is_finite() => {
                Err("value: expected a finite number".to_string())
            }
            _ => Ok(()),
        }
    }
}

/// Tells what is known of a slot; None for one that is not served.
pub type SharedTerms = Arc<dyn Fn(&str) -> Option<Terms> + Send + Sync>;

/// What became of a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// It belongs to a prediction and counts, unless that prediction's propensity is 0. What another
    /// label said of it before is replaced.
    Joined,
    /// Its prediction may still arrive.
    Pending,
    /// Its prediction is too old: it is kept and does not count.
    Late,
    /// The last label of this source says the same.
    Duplicate,
    /// Nobody knows its prediction.
    Orphan,
    /// It cannot be taken, for this reason.
    Refused(String),
    /// It cannot be taken now, for this reason; sent again later it may be.
    Busy(String),
}

/// The answer to a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    pub status: Status,
    /// Names the label; a duplicate gets the name of the one before.
    pub feedback_id: Uuid,
}

impl Status {
    /// Its name in answers and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Status::Joined => "joined",
            Status::Pending => "pending",
            Status::Late => "late",
            Status::Duplicate => "duplicate",
            Status::Orphan => "orphan",
            Status::Refused(_) | Status::Busy(_) => "refused",
        }
    }
}

impl Target {
    /// The row's place in its request.
    pub fn row(&self) -> u32 {
        match self {
            Target::Prediction { row, .. } | Target::Key { row, .. } => *row,
        }
    }
}

/// Takes labels that arrive at `now_ms`, in one transaction; a receipt for each, in their order.
/// `terms` tells what is known of a slot. The last arrival wins.
///
/// # Errors
/// What the store says; then none of them was taken.
pub fn put(
    store: &mut dyn Store,
    labels: &[Label],
    now_ms: i64,
    terms: &dyn Fn(&str) -> Option<Terms>,
) -> Result<Vec<Receipt>, StoreError> {
    let wanted = Wanted::of(labels);
    transaction(store, |store| {
        let mut ledger = Ledger::lock(store)?;
        ledger.load_ids(store, &wanted.ids)?;
        for (slot, keys) in &wanted.keys {
            if let Some(terms) = terms(slot) {
                let after_ms = now_ms.saturating_sub(terms.horizon_ms);
                ledger.load_keys(store, slot, keys, after_ms)?;
            }
        }
        let waiting = Waiting::load(store, &wanted)?;
        let mut batch = Batch {
            ledger,
            waiting,
            now_ms,
            terms,
        };
        let receipts = labels.iter().map(|label| batch.take(label)).collect();
        batch.ledger.write(store)?;
        batch.waiting.write(store)?;
        Ok(receipts)
    })
}

/// Joins what can be joined and gives up on labels that waited in vain, at most `limit` of each.
/// Predictions that another process wrote meet their labels here. `terms` are for labels without a
/// slot, which wait on while those of their prediction's slot are not known.
///
/// # Errors
/// What the store says; then nothing is changed.
pub fn expire(
    store: &mut dyn Store,
    now_ms: i64,
    limit: u32,
    terms: &dyn Fn(&str) -> Option<Terms>,
) -> Result<Expired, StoreError> {
    pending::sweep(store, now_ms, limit, terms)
}

/// What became of labels that waited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expired {
    /// Labels that met their prediction.
    pub met: u64,
    /// Labels that became orphans.
    pub orphans: u64,
}

/// The predictions that a batch of labels names.
#[derive(Default)]
pub(super) struct Wanted {
    pub ids: HashSet<Uuid>,
    /// Keys and rows, by slot.
    pub keys: HashMap<String, HashSet<(String, u32)>>,
}

impl Wanted {
    fn of(labels: &[Label]) -> Wanted {
        let mut wanted = Wanted::default();
        for label in labels {
            wanted.add(label.slot.as_deref(), &label.target);
        }
        wanted
    }

    /// Adds a target; a key without a slot, or one that no store can keep, names nothing.
    pub fn add(&mut self, slot: Option<&str>, target: &Target) {
        match (target, slot) {
            (Target::Prediction { id, .. }, _) => {
                self.ids.insert(*id);
            }
            (Target::Key { key, row }, Some(slot)) if is_text(key) && is_text(slot) => {
                let keys = self.keys.entry(slot.to_string()).or_default();
                keys.insert((key.clone(), *row));
            }
            (Target::Key { .. }, _) => {}
        }
    }
}

/// Labels that are being taken.
struct Batch<'a> {
    ledger: Ledger,
    waiting: Waiting,
    now_ms: i64,
    terms: &'a dyn Fn(&str) -> Option<Terms>,
}

impl Batch<'_> {
    fn take(&mut self, label: &Label) -> Receipt {
        let arrival = Arrival {
            feedback_id: new_id(self.now_ms),
            source: label.source.clone(),
            value: label.value,
            weight: label.weight,
            event_at_ms: label.event_at_ms,
            arrived_ms: self.now_ms,
        };
        let status = match self.place(label, &arrival) {
            Ok(Standing::Joined) => Status::Joined,
            Ok(Standing::Late) => Status::Late,
            Ok(Standing::Duplicate(feedback_id)) => {
                return Receipt {
                    status: Status::Duplicate,
                    feedback_id,
                };
            }
            Err(status) => status,
        };
        Receipt {
            status,
            feedback_id: arrival.feedback_id,
        }
    }

    /// Where the label stands, or the status that it has without a prediction.
    fn place(&mut self, label: &Label, arrival: &Arrival) -> Result<Standing, Status> {
        check(label, self.now_ms)?;
        let named = match &label.slot {
            Some(slot) => Some(self.horizon(slot, label.value)?),
            None => None,
        };
        let standing = match (&label.target, &label.slot, named) {
            (Target::Prediction { id, row }, slot, _) => match self.ledger.find_id(*id, *row) {
                Some(index) => {
                    let own = self.ledger.get(index).slot.clone();
                    if slot.as_ref().is_some_and(|slot| *slot != own) {
                        return Err(refused("slot: expected the slot of the prediction"));
                    }
                    let horizon = self.horizon(&own, label.value)?;
                    Some(self.ledger.join(index, arrival, horizon))
                }
                None => None,
            },
            (Target::Key { key, row }, Some(slot), Some(horizon)) => {
                self.ledger.join_key((slot, key, *row), arrival, horizon)
            }
            (Target::Key { .. }, ..) => return Err(refused("slot: expected one with a key")),
        };
        match standing {
            Some(standing) => Ok(standing),
            None => self.wait(label, arrival, named),
        }
    }

    /// Lets the label wait, where its prediction may still arrive.
    fn wait(
        &mut self,
        label: &Label,
        arrival: &Arrival,
        horizon_ms: Option<i64>,
    ) -> Result<Standing, Status> {
        if let Target::Prediction { id, .. } = &label.target
            && !is_recent(*id, self.now_ms)
        {
            return Err(Status::Orphan);
        }
        let wait = Wait {
            slot: label.slot.clone(),
            target: label.target.clone(),
            arrival: arrival.clone(),
            horizon_ms,
        };
        match self.waiting.add(wait) {
            pending::Added::Waits => Err(Status::Pending),
            pending::Added::Duplicate(feedback_id) => Ok(Standing::Duplicate(feedback_id)),
            pending::Added::Full => Err(Status::Busy(
                "too many labels wait for their predictions: expected fewer, or predictions first"
                    .to_string(),
            )),
        }
    }

    /// The horizon of a slot that takes this value.
    fn horizon(&self, slot: &str, value: f64) -> Result<i64, Status> {
        let terms = (self.terms)(slot);
        let terms = terms.ok_or_else(|| refused("slot: expected one that is served"))?;
        terms.values.check(value).map_err(Status::Refused)?;
        Ok(terms.horizon_ms)
    }
}

fn check(label: &Label, now_ms: i64) -> Result<(), Status> {
    if !label.value.is_finite() {
        return Err(refused("value: expected a finite number"));
    }
    if !(label.weight.is_finite() && label.weight > 0.0) {
        return Err(refused("weight: expected a finite number above 0"));
    }
    if !is_text(&label.source) {
        return Err(refused(
            "source: expected a text of 1 to 1024 bytes without a zero byte",
        ));
    }
    if let Target::Key { key, .. } = &label.target
        && !is_text(key)
    {
        return Err(refused(
            "key: expected a text of 1 to 1024 bytes without a zero byte",
        ));
    }
    if label
        .event_at_ms
        .is_some_and(|at| at > now_ms.saturating_add(FUTURE_MS))
    {
        return Err(refused(
            "event time: expected one that is not in the future",
        ));
    }
    Ok(())
}

/// What both stores can keep: PostgreSQL's texts have no zero byte.
fn is_text(text: &str) -> bool {
    !text.is_empty() && text.len() <= TEXT_MAX && !text.contains('\0')
}

/// Whether a prediction with this id may still be on its way: a version 7 id tells its time.
fn is_recent(id: Uuid, now_ms: i64) -> bool {
    let Some(timestamp) = id.get_timestamp().filter(|_| id.get_version_num() == 7) else {
        return false;
    };
    let (seconds, nanoseconds) = timestamp.to_unix();
    let made_ms = i64::try_from(seconds)
        .unwrap_or(i64::MAX)
        .saturating_mul(1000)
        .saturating_add(i64::from(nanoseconds / 1_000_000));
    now_ms.saturating_sub(made_ms).saturating_abs() < PENDING_MS
}

/// A new id of version 7, which sorts by time.
fn new_id(now_ms: i64) -> Uuid {
    let now_ms = u64::try_from(now_ms).unwrap_or(0);
    let nanoseconds = u32::try_from(now_ms % 1000).unwrap_or(0) * 1_000_000;
    Uuid::new_v7(Timestamp::from_unix(NoContext, now_ms / 1000, nanoseconds))
}

fn refused(why: &str) -> Status {
    Status::Refused(why.to_string())
}
