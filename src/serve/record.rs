//! What is kept of answered requests: a record goes into a bounded queue, and the request goes on.
//! Nothing here waits, wakes a thread or writes; whoever takes the records out looks for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use uuid::Uuid;

use crate::model::revision::{Reference, Revision};
use crate::model::slot::{Arrival, Roles, Slot};
use crate::tensor::{Rows, Tensor, Tensors};

/// Limits of what waits to be recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Bytes of rows and results that may wait.
    pub queue_bytes_max: usize,
    /// Rows a second of all slots together; those above are answered and not recorded.
    pub rows_per_second_max: u64,
    /// The same of rows that are watched for drift.
    pub watched_rows_per_second_max: u64,
}

/// Whether drift is watched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Drift {
    Off,
    /// Where a revision came with a profile.
    #[default]
    Auto,
    /// Without a profile the first rows become one.
    On,
}

/// What is kept of a slot's predictions, and who is scored beside the one that answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Watch {
    pub arrival: Arrival,
    /// Whether predictions are recorded although nothing is decided by them.
    pub record: bool,
    /// The part of the recorded requests that the others are scored on, from 0 to 1.
    pub shadow_fraction: f64,
    /// The part of the requests that the caller is asked to let through whatever the score, from 0
    /// to 1.
    pub holdout_share: f64,
    /// Challengers at the same time.
    pub challengers_max: usize,
    pub drift: Drift,
}

/// One answered request.
#[derive(Debug)]
pub struct Record {
    pub slot: Arc<Slot>,
    /// The roles that it was answered under.
    pub roles: Arc<Roles>,
    /// Who answered.
    pub answered: Arc<Revision>,
    /// Of its first row; with `.n` after it that of row `n`. Nil where it is only watched for drift.
    pub id: Uuid,
    pub key: Option<String>,
    /// Milliseconds since 1970.
    pub at_ms: i64,
    pub input: Input,
    /// As [`Read::unknown`](crate::model::signature::Read::unknown), of who answered.
    pub unknown: Vec<(u32, u32)>,
    /// `[rows, width]`, row-major; the revision's outputs come first.
    pub results: Vec<f64>,
    pub rows: usize,
    pub width: usize,
    /// Whether its predictions are kept. If not, its rows may be some of the request's.
    pub kept: bool,
    /// Whether the other revisions are to be scored on it.
    pub shadow: bool,
    /// Whether the caller was asked to let it through.
    pub holdout: bool,
}

/// What a record keeps of a request's features.
#[derive(Debug)]
pub enum Input {
    /// As the revision that answered read them, before its rules clamped any. All resident revisions read them alike.
    Rows(Rows),
    /// As the caller sent them, besides: another revision reads them in its own way.
    Both(Rows, Tensors<'static>),
}

/// The request path's end of the queue.
#[derive(Debug)]
pub struct Recorder {
    settings: Settings,
    queue: Queue,
    /// Rows that may still be recorded before the next [`Records::allow`].
    allowance: Arc<AtomicI64>,
    /// The same of rows that are watched for drift.
    watched: Arc<AtomicI64>,
}

/// The other end.
#[derive(Debug)]
pub struct Records {
    queue: Receiver<Queued>,
    allowances: [(Arc<AtomicI64>, u64); 2],
}

/// A queue of records that is full by their bytes.
#[derive(Debug)]
pub struct Queue {
    sender: SyncSender<Queued>,
    bytes: Arc<AtomicUsize>,
    bytes_max: usize,
}

/// A record in a queue, whose bytes count until it is taken out.
#[derive(Debug)]
pub struct Queued {
    record: Box<Record>,
    bytes: usize,
    counter: Arc<AtomicUsize>,
    since: Instant,
}

/// Records that may wait, each of at least one row.
pub const RECORDS_MAX: usize = 1 << 16;

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            queue_bytes_max: 64 << 20,
            rows_per_second_max: 5_000,
            watched_rows_per_second_max: 20_000,
        }
    }
}

impl Default for Watch {
    fn default() -> Watch {
        Watch {
            arrival: Arrival::Replace,
            record: false,
            shadow_fraction: 1.0,
            holdout_share: 0.0,
            challengers_max: 2,
            drift: Drift::Auto,
        }
    }
}

impl Watch {
    /// Whether the slot's predictions are recorded.
    pub fn is_on(&self) -> bool {
        self.record || self.arrival != Arrival::Replace
    }

    /// Whether rows of this revision are watched for drift.
    pub fn watches(&self, revision: &Revision) -> bool {
        match (self.drift, &revision.reference) {
            (Drift::Off, _) | (_, Reference::Refused(_)) => false,
            (_, Reference::Ready(_)) => true,
            (drift, Reference::None) => drift == Drift::On,
        }
    }
}

impl Record {
    /// Bytes that it holds, roughly.
    fn bytes(&self) -> usize {
        let rows = self.input.rows();
        let tensors = match &self.input {
            Input::Rows(_) => 0,
            Input::Both(_, tensors) => tensors.iter().map(Tensor::bytes).sum(),
        };
        let key = self.key.as_ref().map_or(0, String::len);
        let numbers = rows.len() * rows.width() + self.results.len() + self.unknown.len();
        size_of::<Record>() + 8 * numbers + tensors + key
    }
}

impl Input {
    /// The rows as the revision that answered read them, before its rules clamped any.
    pub fn rows(&self) -> &Rows {
        match self {
            Input::Rows(rows) | Input::Both(rows, _) => rows,
        }
    }
}

impl Recorder {
    /// A queue with these limits, for so many records; 0 where nothing is recorded.
    pub fn new(settings: Settings, records_max: usize) -> (Recorder, Records) {
        let (queue, receiver) = Queue::new(settings.queue_bytes_max, records_max);
        let (allowance, watched) = (Arc::<AtomicI64>::default(), Arc::<AtomicI64>::default());
        let records = Records {
            queue: receiver,
            allowances: [
                (Arc::clone(&allowance), settings.rows_per_second_max),
                (Arc::clone(&watched), settings.watched_rows_per_second_max),
            ],
        };
        let recorder = Recorder {
            settings,
            queue,
            allowance,
            watched,
        };
        (recorder, records)
    }

    /// Whether anything may be recorded now.
    pub fn has_room(&self) -> bool {
        self.allowance.load(Ordering::Relaxed) > 0
    }

    /// Whether a request of so many rows is to be recorded: takes them from the allowance. A request
    /// of more than a second's rows is, and then nothing is for as long as they stand for.
    pub fn admits(&self, slot: &Slot, rows: usize) -> bool {
        takes(&self.allowance, rows) || {
            slot.usage.skipped.fetch_add(rows as u64, Ordering::Relaxed);
            false
        }
    }

    /// Whether a request of so many rows is to be watched for drift, as [`Recorder::admits`].
    pub fn watches(&self, slot: &Slot, rows: usize) -> bool {
        takes(&self.watched, rows) || {
            slot.usage
                .unwatched
                .fetch_add(rows as u64, Ordering::Relaxed);
            false
        }
    }

    /// Hands a record on, or counts it as dropped.
    pub fn record(&self, record: Record) {
        let (slot, rows, kept) = (Arc::clone(&record.slot), record.rows as u64, record.kept);
        let count = match (self.queue.push(Box::new(record)), kept) {
            (Ok(()), true) => &slot.usage.recorded,
            (Err(_full), true) => &slot.usage.record_dropped,
            (Ok(()), false) => return,
            (Err(_full), false) => &slot.usage.unwatched,
        };
        count.fetch_add(rows, Ordering::Relaxed);
    }

    /// Bytes that wait to be recorded, and their limit.
    pub fn waiting(&self) -> (usize, usize) {
        let bytes = self.queue.bytes.load(Ordering::Relaxed);
        (bytes, self.settings.queue_bytes_max)
    }
}

impl Records {
    /// The next record that waits.
    pub fn next(&self) -> Option<Queued> {
        self.queue.try_recv().ok()
    }

    /// Adds what may be recorded in the time since the last call; at most a second's rows add up.
    pub fn allow(&self, since: Duration) {
        for (allowance, rows_per_second_max) in &self.allowances {
            let second = i64::try_from(*rows_per_second_max).unwrap_or(i64::MAX);
            let more = (since.as_secs_f64() * second as f64).ceil() as i64;
            let change = |now: i64| Some(now.saturating_add(more).min(second));
            let order = Ordering::Relaxed;
            let _previous = allowance.fetch_update(order, order, change);
        }
    }
}

impl Queue {
    /// A queue of at most so many bytes and records, and its other end.
    pub fn new(bytes_max: usize, records_max: usize) -> (Queue, Receiver<Queued>) {
        let (sender, receiver) = sync_channel(records_max);
        let queue = Queue {
            sender,
            bytes: Arc::default(),
            bytes_max,
        };
        (queue, receiver)
    }

    /// The number of bytes in it.
    pub fn counter(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.bytes)
    }

    /// Puts a record in.
    ///
    /// # Errors
    /// The record, when there is no room.
    pub fn push(&self, record: Box<Record>) -> Result<(), Box<Record>> {
        let bytes = record.bytes();
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let queued = Queued {
            record,
            bytes,
            counter: Arc::clone(&self.bytes),
            since: Instant::now(),
        };
        if before.saturating_add(bytes) > self.bytes_max {
            return Err(queued.into_record());
        }
        self.sender.try_send(queued).map_err(|error| match error {
            TrySendError::Full(queued) | TrySendError::Disconnected(queued) => queued.into_record(),
        })
    }
}

impl Queued {
    /// The record, which counts no more.
    pub fn into_record(self) -> Box<Record> {
        self.into_parts().0
    }

    /// The same, and how long it waited.
    pub fn into_parts(self) -> (Box<Record>, Duration) {
        self.counter.fetch_sub(self.bytes, Ordering::Relaxed);
        (self.record, self.since.elapsed())
    }
}

/// Takes rows from an allowance, unless it is used up.
fn takes(allowance: &AtomicI64, rows: usize) -> bool {
    let is_left = allowance.load(Ordering::Relaxed) > 0;
    if is_left {
        // Many requests may pass at once; the next allowance is less by what they took too much.
        allowance.fetch_sub(rows as i64, Ordering::Relaxed);
    }
    is_left
}

/// A new prediction id: a UUID of version 7, so that ids of a time lie together in an index.
pub fn new_id() -> Uuid {
    // The generator is the thread's own: no lock, and a system call once in many ids.
    let random = Uuid::new_v4().into_bytes();
    let mut bits = [0; 10];
    // Not the two bytes that hold the version and the variant of the random one.
    bits[..6].copy_from_slice(&random[..6]);
    bits[6..].copy_from_slice(&random[10..14]);
    let ms = u64::try_from(now_ms()).unwrap_or_default();
    uuid::Builder::from_unix_timestamp_millis(ms, &bits).into_uuid()
}

/// Milliseconds since 1970.
pub fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(now.unwrap_or_default().as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_of_version_7_and_in_order_of_time() {
        let before = now_ms();
        let id = new_id();
        assert_eq!(id.get_version_num(), 7);
        let at = (id.as_u64_pair().0 >> 16) as i64;
        assert!((before..=now_ms()).contains(&at));
        assert_ne!(id, new_id());
    }

    #[test]
    fn an_allowance_is_a_second_of_rows_at_the_most() {
        let slot = Slot::new("slot");
        let settings = Settings {
            rows_per_second_max: 100,
            ..Settings::default()
        };
        let (recorder, records) = Recorder::new(settings, RECORDS_MAX);
        assert!(
            !recorder.admits(&slot, 1),
            "before the first look nothing is taken"
        );
        records.allow(Duration::from_secs(3600));
        assert!(recorder.admits(&slot, 60) && recorder.admits(&slot, 60));
        assert!(!recorder.admits(&slot, 1));
        // What was taken too much is missing from the next.
        records.allow(Duration::from_millis(200));
        assert!(!recorder.admits(&slot, 1));
        records.allow(Duration::from_millis(10));
        assert!(recorder.admits(&slot, 1));
        assert_eq!(slot.usage.skipped.load(Ordering::Relaxed), 3);
    }
}
