//! The durable record of predictions, labels, outcomes, roles and decisions, on SQLite or
//! PostgreSQL. One thread owns the connection and does everything in order; it reconnects by itself.
//! Serving never waits for it: what does not fit the queue is dropped and counted. It never decides
//! anything about a slot.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::error::{Code, Error};
use crate::task::{Priority, Supervisor};

pub mod decisions;
pub mod drift;
pub mod export;
mod join;
pub mod labels;
pub mod lease;
pub mod outcomes;
pub mod pending;
mod postgres;
pub mod predictions;
pub mod retention;
pub mod roles;
pub mod schema;
mod sqlite;
pub mod store;
mod sweep;
#[cfg(test)]
mod tests;
mod writer;

use labels::{Label, Receipt, SharedTerms};
use predictions::Prediction;
use store::{Store, StoreError};
use writer::{COMMANDS_MAX, Command, RESERVED, Shared, Writer};

/// How long who asks for work waits for it.
const DEADLINE: Duration = Duration::from_secs(10);

/// Labels of one transaction: 20 to 50 ms on SQLite and 50 to 100 ms on PostgreSQL.
const LABELS_PER_TURN: usize = 1_000;

/// Where the journal is kept and how much of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// A folder, in which SQLite keeps `journal.db`, or `postgres://user:password@host/database`.
    pub store: String,
    /// Predictions that wait to be written; more are dropped.
    pub queue_rows_max: usize,
    /// Days after which predictions leave with their labels and outcomes; 0: never.
    pub retention_days: u64,
    /// Bytes of rows above which the oldest predictions leave; 0: no limit.
    pub bytes_max: u64,
    /// Milliseconds that predictions are gathered before they are written: what a killed process
    /// loses.
    pub flush_ms: u64,
}

/// How the journal is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// `sqlite` or `postgres`.
    pub store: &'static str,
    pub connected: bool,
    /// Why it is not connected, or what the last failed statement said: the store's own text.
    pub error: Option<String>,
    /// Predictions that wait to be written.
    pub queued_rows: u64,
    /// Predictions that did not fit the queue or that the store refused.
    pub dropped_rows: u64,
    pub written_rows: u64,
    /// The age of the oldest prediction that waits, in milliseconds; 0 when none does.
    pub lag_ms: u64,
    /// Bytes that the store's rows took when they were last counted, within the last ten seconds.
    pub bytes: u64,
    /// Labels that waited for a prediction which came later.
    pub met_labels: u64,
    /// Labels that waited in vain.
    pub expired_labels: u64,
    /// Predictions that left by age or size.
    pub removed_rows: u64,
}

/// The journal. Clones share it; when the last one is gone, what waits is written and its thread
/// ends.
#[derive(Clone)]
pub struct Journal(Arc<Handle>);

struct Handle {
    shared: Arc<Shared>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            store: "hedgerow-data".to_string(),
            queue_rows_max: 65_536,
            retention_days: 90,
            bytes_max: 10 << 30,
            flush_ms: 50,
        }
    }
}

impl Settings {
    /// Whether `store` is the address of a PostgreSQL database.
    pub fn is_postgres(&self) -> bool {
        is_postgres(&self.store)
    }
}

impl Journal {
    /// Starts the journal's thread, which connects to the store, now or whenever it is there.
    ///
    /// # Errors
    /// When the system has no more threads.
    pub fn start(settings: Settings, supervisor: &Supervisor) -> io::Result<Journal> {
        let shared = Arc::new(Shared::new(&settings));
        let writer = Writer::new(settings, Arc::clone(&shared));
        supervisor.thread("journal", Priority::Bulk, move || writer.run())?;
        Ok(Journal(Arc::new(Handle { shared })))
    }

    /// Says what is known of slots: labels by id that name no slot and wait for their prediction are
    /// held against the terms of its slot when it comes, and wait on while there are none. Set once;
    /// later calls change nothing. It is let go when the journal ends: what holds a clone of the
    /// journal has to close it.
    pub fn set_terms(&self, terms: SharedTerms) {
        self.0.shared.set_terms(terms);
    }

    /// Hands predictions over to be written. Never waits: those that do not fit are dropped and
    /// counted.
    pub fn append(&self, predictions: Vec<Prediction>) {
        self.0.shared.append(predictions);
    }

    /// Does work on the store, after what was appended before.
    ///
    /// # Errors
    /// Overloaded when too much waits; not ready when the store is away; deadline exceeded after ten
    /// seconds, and then the work may still be done, or when the store gives a statement up; internal
    /// when the store refuses a statement.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut dyn Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        let command = command(work, move |result| {
            // Who asked may be gone.
            let _sent = reply.send(result);
        });
        self.0.shared.submit(command, COMMANDS_MAX)?;
        match tokio::time::timeout(DEADLINE, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_gone)) => Err(ended()),
            Err(_elapsed) => Err(too_slow()),
        }
    }

    /// As [`Journal::run`], for threads that may block: those of the server itself, for which some
    /// places are kept when requests have taken all others.
    ///
    /// # Errors
    /// As [`Journal::run`].
    pub fn run_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut dyn Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Error> {
        let (reply, answer) = mpsc::sync_channel(1);
        let command = command(work, move |result| {
            // Who asked may be gone.
            let _sent = reply.send(result);
        });
        self.0.shared.submit(command, COMMANDS_MAX + RESERVED)?;
        match answer.recv_timeout(DEADLINE) {
            Ok(result) => result,
            Err(mpsc::RecvTimeoutError::Disconnected) => Err(ended()),
            Err(mpsc::RecvTimeoutError::Timeout) => Err(too_slow()),
        }
    }

    /// Takes labels that arrive at `now_ms`, as [`labels::put`] does, in transactions of 1,000, between
    /// which predictions are written and others get their turn.
    ///
    /// # Errors
    /// As [`Journal::run`]; labels before the failure may have been taken, and sending them again
    /// gives duplicates.
    pub async fn put_all(
        &self,
        labels: Vec<Label>,
        now_ms: i64,
        terms: SharedTerms,
    ) -> Result<Vec<Receipt>, Error> {
        let mut receipts = Vec::with_capacity(labels.len());
        let mut labels = labels.into_iter();
        loop {
            let turn: Vec<Label> = labels.by_ref().take(LABELS_PER_TURN).collect();
            if turn.is_empty() {
                return Ok(receipts);
            }
            let terms = Arc::clone(&terms);
            let done = self.run(move |store| labels::put(store, &turn, now_ms, &*terms));
            receipts.extend(done.await?);
        }
    }

    /// How it is now.
    pub fn health(&self) -> Health {
        self.0.shared.health()
    }

    /// Writes what waits and ends the thread; false when that takes longer than `limit` or the store
    /// is away. Blocks. Later calls find the journal ended.
    pub fn close(&self, limit: Duration) -> bool {
        self.0.shared.close(limit)
    }
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal").finish_non_exhaustive()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.end();
    }
}

/// Connects to a store: a folder, or the address of a PostgreSQL database. For the journal's thread
/// and for commands that work without a server.
///
/// # Errors
/// When it cannot be opened, or was made by a newer Hedgerow.
pub fn open(store: &str) -> Result<Box<dyn Store>, StoreError> {
    if is_postgres(store) {
        return Ok(Box::new(postgres::Postgres::open(store)?));
    }
    Ok(Box::new(sqlite::Sqlite::open(Path::new(store))?))
}

/// Connects to a store that is there, to read: nothing is made, changed or brought up to date. Tables of
/// an older version lack some of those of this one.
///
/// # Errors
/// When there is none, or it was made by a newer Hedgerow.
pub fn open_to_read(store: &str) -> Result<Box<dyn Store>, StoreError> {
    if is_postgres(store) {
        return Ok(Box::new(postgres::Postgres::open_to_read(store)?));
    }
    Ok(Box::new(sqlite::Sqlite::open_to_read(Path::new(store))?))
}

/// Work with what becomes of its result.
fn command<T: Send + 'static>(
    work: impl FnOnce(&mut dyn Store) -> Result<T, StoreError> + Send + 'static,
    reply: impl FnOnce(Result<T, Error>) + Send + 'static,
) -> Command {
    let work = Box::new(move |turn: Result<&mut dyn Store, Error>| match turn {
        Err(error) => {
            reply(Err(error));
            None
        }
        Ok(store) => {
            let result = work(store);
            let error = result.as_ref().err().cloned();
            reply(result.map_err(Error::from));
            error
        }
    });
    Command {
        deadline: Instant::now() + DEADLINE,
        work,
    }
}

fn is_postgres(store: &str) -> bool {
    store.starts_with("postgres://") || store.starts_with("postgresql://")
}

fn ended() -> Error {
    Error::new(Code::NotReady, "the journal has ended")
}

fn too_slow() -> Error {
    Error::new(
        Code::DeadlineExceeded,
        "the journal did not answer within 10 seconds",
    )
}
