//! The journal's thread and the queue in front of it. It writes predictions in batches, does the
//! work that others hand over, removes what is too old, and reconnects with growing pauses. What
//! waits when the store is away is written when it is back; nothing here blocks who appends.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::labels::{Expired, SharedTerms};
use super::predictions::{self, Prediction};
use super::store::{Store, StoreError};
use super::{Health, Settings, ended, open, sweep, too_slow};
use crate::error::{Code, Error};

/// Work of requests that may wait at a time.
pub(super) const COMMANDS_MAX: usize = 64;

/// Work of the server's own threads that may wait beside it: requests cannot keep the controller out.
pub(super) const RESERVED: usize = 16;

/// Predictions of one transaction, and how many need not be gathered any longer.
const ROWS_PER_TURN: usize = 2_048;

/// Pauses between two tries to connect.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_LAST: Duration = Duration::from_secs(2);

/// How often the thread looks at what is too old, and at labels that wait and the store's size.
const SWEEP: Duration = Duration::from_secs(1);
const MEASURE: Duration = Duration::from_secs(10);

/// How long after a batch that the store gave up it is written again.
const AGAIN: Duration = Duration::from_secs(1);

/// How often it is logged what the store refused.
const COMPLAIN: Duration = Duration::from_secs(60);

/// What the thread does for a command, or the reason why it cannot; gives the store's error.
type Work = Box<dyn FnOnce(Result<&mut dyn Store, Error>) -> Option<StoreError> + Send>;

/// Work for the thread.
pub(super) struct Command {
    /// After it nobody waits for the answer.
    pub deadline: Instant,
    pub work: Work,
}

/// What the thread and its users share.
pub(super) struct Shared {
    queue: Mutex<Queue>,
    /// Wakes the thread.
    wake: Condvar,
    /// Wakes who waits for its end.
    end: Condvar,
    queue_rows_max: usize,
    flush: Duration,
}

struct Queue {
    batches: VecDeque<Batch>,
    /// In `batches` and in the thread's hands.
    rows: usize,
    /// Since when the oldest row in the thread's hands waits.
    writing_since: Option<Instant>,
    commands: VecDeque<Command>,
    terms: Option<SharedTerms>,
    ending: bool,
    ended: bool,
    health: Health,
}

struct Batch {
    rows: Vec<Prediction>,
    since: Instant,
}

/// What the thread takes out of the queue at once.
#[derive(Default)]
struct Turn {
    rows: Vec<Prediction>,
    commands: VecDeque<Command>,
    ending: bool,
}

/// The thread's own state.
pub(super) struct Writer {
    settings: Settings,
    shared: Arc<Shared>,
    store: Option<Box<dyn Store>>,
    /// Why there is none, when a connection was tried.
    why: Option<StoreError>,
    pause: Duration,
    connect_at: Instant,
    /// Rows that were taken and not yet written, oldest first.
    unwritten: Vec<Prediction>,
    sweep_at: Instant,
    measure_at: Instant,
    /// Rows still to be removed because of `bytes_max`.
    excess: u64,
    complained_at: Option<Instant>,
}

impl Shared {
    pub fn new(settings: &Settings) -> Shared {
        let store = if settings.is_postgres() {
            "postgres"
        } else {
            "sqlite"
        };
        Shared {
            queue: Mutex::new(Queue {
                batches: VecDeque::new(),
                rows: 0,
                writing_since: None,
                commands: VecDeque::new(),
                terms: None,
                ending: false,
                ended: false,
                health: Health {
                    store,
                    connected: false,
                    error: None,
                    queued_rows: 0,
                    dropped_rows: 0,
                    written_rows: 0,
                    lag_ms: 0,
                    bytes: 0,
                    met_labels: 0,
                    expired_labels: 0,
                    removed_rows: 0,
                },
            }),
            wake: Condvar::new(),
            end: Condvar::new(),
            queue_rows_max: settings.queue_rows_max,
            flush: Duration::from_millis(settings.flush_ms),
        }
    }

    /// As `Journal::set_terms`.
    pub fn set_terms(&self, terms: SharedTerms) {
        let mut queue = self.lock();
        if queue.terms.is_none() && !queue.ended {
            queue.terms = Some(terms);
        }
    }

    /// The terms of slots: those of none before they are set.
    fn terms(&self) -> SharedTerms {
        let terms = self.lock().terms.clone();
        terms.unwrap_or_else(|| Arc::new(|_slot| None))
    }

    /// As `Journal::append`.
    pub fn append(&self, mut rows: Vec<Prediction>) {
        let mut queue = self.lock();
        let room = match queue.ended {
            true => 0,
            false => self.queue_rows_max.saturating_sub(queue.rows),
        };
        let dropped = rows.len().saturating_sub(room);
        rows.truncate(room);
        queue.health.dropped_rows += dropped as u64;
        if rows.is_empty() {
            return;
        }
        let before = queue.rows;
        queue.rows += rows.len();
        let is_first = queue.batches.is_empty();
        let is_full = before < ROWS_PER_TURN && queue.rows >= ROWS_PER_TURN;
        let since = Instant::now();
        queue.batches.push_back(Batch { rows, since });
        drop(queue);
        // The thread knows when the first of a batch is due: later ones need not wake it.
        if is_first || is_full {
            self.wake.notify_one();
        }
    }

    /// Hands work over, unless so many commands wait.
    pub fn submit(&self, command: Command, limit: usize) -> Result<(), Error> {
        let mut queue = self.lock();
        if queue.ending || queue.ended {
            return Err(ended());
        }
        if queue.commands.len() >= limit {
            return Err(Error::overloaded(
                "the journal has too much to do: expected fewer requests at a time",
            ));
        }
        queue.commands.push_back(command);
        drop(queue);
        self.wake.notify_one();
        Ok(())
    }

    pub fn health(&self) -> Health {
        let queue = self.lock();
        let oldest = queue.batches.front().map(|batch| batch.since);
        let lag = queue.writing_since.or(oldest).map(|since| since.elapsed());
        Health {
            queued_rows: queue.rows as u64,
            lag_ms: lag.map_or(0, |lag| u64::try_from(lag.as_millis()).unwrap_or(u64::MAX)),
            ..queue.health.clone()
        }
    }

    /// Asks the thread to write what waits and to end.
    pub fn end(&self) {
        self.lock().ending = true;
        self.wake.notify_one();
    }

    /// As `Journal::close`.
    pub fn close(&self, limit: Duration) -> bool {
        self.end();
        let waited = self
            .end
            .wait_timeout_while(self.lock(), limit, |queue| !queue.ended);
        let (queue, _timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        queue.ended && queue.rows == 0
    }

    /// A panic of a thread that held the lock left nothing half done: it only counts and moves.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for work until `until` and takes it. Rows are taken only with a store to write them to.
    fn next(&self, until: Instant, has_store: bool) -> Turn {
        let mut queue = self.lock();
        loop {
            let now = Instant::now();
            let due = match queue.batches.front() {
                Some(_) if has_store && queue.rows >= ROWS_PER_TURN => now,
                Some(batch) if has_store => until.min(batch.since + self.flush),
                _ => until,
            };
            if due <= now || queue.ending || !queue.commands.is_empty() {
                break;
            }
            let woken = self.wake.wait_timeout(queue, due - now);
            (queue, _) = woken.unwrap_or_else(PoisonError::into_inner);
        }
        let mut turn = Turn {
            commands: std::mem::take(&mut queue.commands),
            ending: queue.ending,
            ..Turn::default()
        };
        if has_store {
            let oldest = queue.batches.front().map(|batch| batch.since);
            queue.writing_since = queue.writing_since.or(oldest);
            let batches = std::mem::take(&mut queue.batches);
            drop(queue);
            turn.rows
                .reserve(batches.iter().map(|batch| batch.rows.len()).sum());
            turn.rows
                .extend(batches.into_iter().flat_map(|batch| batch.rows));
        }
        turn
    }

    /// Counts rows that left the thread's hands.
    fn count(&self, written: usize, dropped: usize, is_done: bool) {
        let mut queue = self.lock();
        queue.rows = queue.rows.saturating_sub(written + dropped);
        queue.health.written_rows += written as u64;
        queue.health.dropped_rows += dropped as u64;
        if is_done {
            queue.writing_since = None;
        }
    }

    fn ended(&self) {
        let mut queue = self.lock();
        queue.ended = true;
        queue.health.connected = false;
        // Their senders see that nobody answers.
        queue.commands.clear();
        let terms = queue.terms.take();
        drop(queue);
        // Not under the lock: they may hold the last clone of the journal.
        drop(terms);
        self.end.notify_all();
    }
}

/// Whatever ends the thread, nobody waits for it any longer.
struct Ended(Arc<Shared>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.ended();
    }
}

impl Writer {
    pub fn new(settings: Settings, shared: Arc<Shared>) -> Writer {
        let now = Instant::now();
        Writer {
            settings,
            shared,
            store: None,
            why: None,
            pause: PAUSE_FIRST,
            connect_at: now,
            unwritten: Vec::new(),
            sweep_at: now,
            measure_at: now,
            excess: 0,
            complained_at: None,
        }
    }

    /// The thread, until the journal ends.
    pub fn run(mut self) {
        let _ended = Ended(Arc::clone(&self.shared));
        loop {
            self.connect();
            let until = match self.store {
                Some(_) if self.unwritten.is_empty() => self.sweep_at,
                Some(_) => self.sweep_at.min(Instant::now() + AGAIN),
                None => self.connect_at,
            };
            let turn = self.shared.next(until, self.store.is_some());
            self.unwritten.extend(turn.rows);
            self.write();
            for command in turn.commands {
                self.command(command);
            }
            if turn.ending {
                // Rows may have come since the turn was taken.
                let last = self.shared.next(Instant::now(), self.store.is_some());
                self.unwritten.extend(last.rows);
                self.write();
                return;
            }
            self.sweep();
        }
    }

    fn connect(&mut self) {
        if self.store.is_some() || Instant::now() < self.connect_at {
            return;
        }
        match open(&self.settings.store) {
            Ok(store) => {
                tracing::info!(store = store.kind(), "the journal is connected");
                self.store = Some(store);
                self.why = None;
                self.pause = PAUSE_FIRST;
                let mut queue = self.shared.lock();
                queue.health.connected = true;
                queue.health.error = None;
            }
            Err(error) => self.lose(error),
        }
    }

    /// Notes that the store is away and when to try again.
    fn lose(&mut self, error: StoreError) {
        self.store = None;
        self.connect_at = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(PAUSE_LAST);
        if self.why.as_ref() != Some(&error) {
            tracing::warn!(error = %error, "the journal is away; serving goes on");
        }
        let mut queue = self.shared.lock();
        queue.health.connected = false;
        queue.health.error = Some(error.to_string());
        drop(queue);
        self.why = Some(error);
    }

    /// Writes rows until none is left, the store is away, or it gave a batch up: then they wait.
    fn write(&mut self) {
        if self.unwritten.is_empty() {
            return;
        }
        let terms = self.shared.terms();
        while !self.unwritten.is_empty() {
            let Some(store) = self.store.as_deref_mut() else {
                return;
            };
            let count = self.unwritten.len().min(ROWS_PER_TURN);
            match predictions::insert_by_halves(store, &self.unwritten[..count], &*terms) {
                Ok(written) => {
                    self.unwritten.drain(..count);
                    let dropped = written.refused.len();
                    let is_done = self.unwritten.is_empty();
                    self.shared.count(count - dropped, dropped, is_done);
                    self.shared.lock().health.add(written.waited);
                    if let Some(error) = written.refused.first() {
                        self.complain("predictions", error);
                    }
                }
                Err(error @ StoreError::Cancelled(_)) => {
                    self.complain("predictions", &error);
                    return;
                }
                Err(error) => self.lose(error),
            }
        }
    }

    /// Notes what the store said to something that it did not do.
    fn complain(&mut self, what: &'static str, error: &StoreError) {
        let error = error.to_string();
        let is_due = self.complained_at.is_none_or(|at| at.elapsed() >= COMPLAIN);
        if is_due {
            self.complained_at = Some(Instant::now());
            tracing::warn!(error, what, "refused by the journal's store");
        }
        self.shared.lock().health.error = Some(error);
    }

    fn command(&mut self, command: Command) {
        if Instant::now() >= command.deadline {
            (command.work)(Err(too_slow()));
            return;
        }
        let Some(store) = self.store.as_deref_mut() else {
            let error = match &self.why {
                Some(why) => why.clone().into(),
                None => Error::new(Code::NotReady, "the journal is not connected yet"),
            };
            (command.work)(Err(error));
            return;
        };
        match (command.work)(Ok(store)) {
            Some(error @ StoreError::Away(_)) => self.lose(error),
            Some(error) => self.complain("work", &error),
            None => {}
        }
    }

    /// Joins and expires labels that wait, measures the store, and removes what is to leave, a little
    /// at a time.
    fn sweep(&mut self) {
        if Instant::now() < self.sweep_at {
            return;
        }
        let Some(store) = self.store.as_deref_mut() else {
            return;
        };
        let measure = Instant::now() >= self.measure_at;
        let terms = self.shared.terms();
        match sweep::clean(store, &self.settings, measure, self.excess, &*terms) {
            Ok(cleaned) => {
                let now = Instant::now();
                self.excess = cleaned.excess;
                if measure && !cleaned.has_more {
                    self.measure_at = now + MEASURE;
                }
                if !cleaned.has_more {
                    self.sweep_at = now + SWEEP;
                }
                let mut queue = self.shared.lock();
                queue.health.add(cleaned.waited);
                queue.health.removed_rows += cleaned.removed;
                queue.health.bytes = cleaned.bytes.unwrap_or(queue.health.bytes);
            }
            Err(error @ StoreError::Away(_)) => self.lose(error),
            Err(error) => {
                self.sweep_at = Instant::now() + MEASURE;
                self.complain("cleaning", &error);
            }
        }
    }
}

impl Health {
    fn add(&mut self, waited: Expired) {
        self.met_labels += waited.met;
        self.expired_labels += waited.orphans;
    }
}
