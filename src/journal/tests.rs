//! Every case runs on SQLite and on PostgreSQL.

use std::time::{Duration, Instant};

use tempfile::TempDir;
use uuid::Uuid;

use super::labels::{Label, Receipt, Status, Target, Terms};
use super::predictions::Prediction;
use super::store::{Store, StoreError};
use super::{Journal, Settings, labels, open, open_to_read, outcomes, predictions};
use crate::task::Supervisor;

mod labelling;
mod maturing;
mod measure;
mod plans;
#[path = "../../tests/it/postgres.rs"]
mod postgres;
mod records;
mod running;

/// A moment in 2026.
pub(super) const NOW: i64 = 1_795_000_000_000;

pub(super) const HOUR: i64 = 3_600_000;

/// An empty store of its own.
pub(super) struct Place {
    address: String,
    _folder: Option<TempDir>,
}

impl Place {
    pub(super) fn sqlite() -> Place {
        let folder = TempDir::new().unwrap();
        Place {
            address: folder.path().join("data").display().to_string(),
            _folder: Some(folder),
        }
    }

    fn postgres() -> Option<Place> {
        Some(Place {
            address: postgres::shared()?.database(),
            _folder: None,
        })
    }

    pub(super) fn open(&self) -> Box<dyn Store> {
        open(&self.address).unwrap()
    }

    fn settings(&self) -> Settings {
        Settings {
            store: self.address.clone(),
            flush_ms: 5,
            ..Settings::default()
        }
    }

    pub(super) fn start(&self, supervisor: &Supervisor) -> Journal {
        Journal::start(self.settings(), supervisor).unwrap()
    }
}

/// Runs a case on both stores.
pub(super) fn on_both(case: impl Fn(&Place)) {
    case(&Place::sqlite());
    if let Some(place) = Place::postgres() {
        case(&place);
    }
}

/// An id as requests get it at this time.
fn id_at(at_ms: i64) -> Uuid {
    let ms = u64::try_from(at_ms).unwrap();
    let nanoseconds = u32::try_from(ms % 1000).unwrap() * 1_000_000;
    Uuid::new_v7(uuid::Timestamp::from_unix(
        uuid::NoContext,
        ms / 1000,
        nanoseconds,
    ))
}

pub(super) fn prediction(at_ms: i64) -> Prediction {
    Prediction {
        id: id_at(at_ms),
        row: 0,
        slot: "fraud".to_string(),
        key: None,
        at_ms,
        revision: 7,
        digest: "0123456789abcdef".to_string(),
        scores: vec![0.25],
        shadows: Vec::new(),
        amount: None,
        propensity: 1.0,
        features: None,
        deferred: false,
    }
}

/// Closes predictions, whose absent labels mean 0.
fn mature(
    store: &mut dyn Store,
    before_ms: i64,
    now_ms: i64,
    limit: u32,
) -> Result<u64, StoreError> {
    let closing = outcomes::Closing {
        slot: "fraud",
        before_ms,
        now_ms,
        absent: Some(0.0),
        limit,
    };
    outcomes::mature(store, closing)
}

fn keyed(at_ms: i64, key: &str) -> Prediction {
    Prediction {
        key: Some(key.to_string()),
        ..prediction(at_ms)
    }
}

pub(super) fn write(store: &mut dyn Store, rows: &[Prediction]) {
    predictions::insert(store, rows, &terms).unwrap();
}

pub(super) fn label(prediction: &Prediction, value: f64) -> Label {
    Label {
        slot: None,
        target: Target::Prediction {
            id: prediction.id,
            row: prediction.row,
        },
        value,
        event_at_ms: None,
        source: "analyst".to_string(),
        weight: 1.0,
    }
}

fn label_key(key: &str, value: f64) -> Label {
    Label {
        slot: Some("fraud".to_string()),
        target: Target::Key {
            key: key.to_string(),
            row: 0,
        },
        value,
        event_at_ms: None,
        source: "analyst".to_string(),
        weight: 1.0,
    }
}

/// `fraud` and `churn` are served and wait an hour for labels.
fn terms(slot: &str) -> Option<Terms> {
    let is_served = slot == "fraud" || slot == "churn";
    is_served.then_some(Terms {
        horizon_ms: HOUR,
        values: super::labels::Values::Numbers,
    })
}

/// Puts one label at this time.
pub(super) fn put(store: &mut dyn Store, label: &Label, now_ms: i64) -> Receipt {
    let mut receipts = labels::put(store, std::slice::from_ref(label), now_ms, &terms).unwrap();
    receipts.remove(0)
}

fn status(store: &mut dyn Store, label: &Label, now_ms: i64) -> Status {
    put(store, label, now_ms).status
}

fn count(store: &mut dyn Store, table: &str) -> i64 {
    let sql = format!("SELECT count(*) FROM {table}");
    store.query(&sql, &[]).unwrap()[0].int(0).unwrap()
}

/// What a test is told by whoever runs it.
#[expect(
    clippy::disallowed_methods,
    reason = "the measurement's size, and where the process that is killed writes"
)]
fn told(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Waits until something holds, at most half a minute.
#[track_caller]
fn eventually(mut holds: impl FnMut() -> bool) {
    let limit = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < limit, "it does not hold after 30 seconds");
        std::thread::sleep(Duration::from_millis(5));
    }
}
