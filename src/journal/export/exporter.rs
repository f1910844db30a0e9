//! The thread that exports: every two seconds it reads what is due of each slot, in small turns of the
//! journal's thread, and completes the files that are old or full. A file's rows are behind the cursor
//! in the journal only once the file is complete: a process that ends in between writes the same file
//! again, under the same name.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::log::{Limits, Log, Target};
use super::rows::{self, Span, Turn, Within};
use super::{Counts, Failure, Progress, Settings, Watched};
use crate::journal::store::{Store, StoreError};
use crate::journal::{Journal, lease};
use crate::task::Supervisor;

/// Time between two looks, and after a failure.
const LOOK: Duration = Duration::from_secs(2);
const RETRY: Duration = Duration::from_secs(30);

/// Between two turns, others have the journal's thread.
const PAUSE: Duration = Duration::from_millis(20);

/// Turns of one slot before the next one has its own.
const TURNS: usize = 16;

/// Predictions of other slots after which the cursor moves although no file was written.
const IDLE: i64 = 65_536;

const LEASE: &str = "export";
/// Longer than it takes to complete a file.
const LEASE_MS: i64 = 60_000;

/// The state of the thread.
pub struct Exporter {
    dir: PathBuf,
    settings: Settings,
    journal: Journal,
    slots: Box<dyn Fn() -> Vec<Watched> + Send>,
    progress: Arc<Progress>,
    holder: String,
    courses: BTreeMap<String, Course>,
    /// Numbers up to here are settled: on PostgreSQL a transaction may commit lower numbers after
    /// another one's higher ones.
    settled: i64,
    /// The newest prediction of a look, and when that was: it is settled after `settle`.
    newest: Option<(i64, Instant)>,
    pub(super) settle: Duration,
}

/// How far a slot is.
struct Course {
    log: Log,
    counts: Arc<Counts>,
    /// The cursor in the journal.
    cursor: i64,
    /// Up to where rows were read.
    read_to: i64,
    /// When the first row of the open files was read, by the store's clock.
    since_ms: i64,
    /// Rows of the next turn.
    limit: u32,
}

impl Exporter {
    /// An exporter that has looked at nothing yet.
    pub fn new(
        dir: PathBuf,
        settings: Settings,
        journal: Journal,
        slots: Box<dyn Fn() -> Vec<Watched> + Send>,
        progress: Arc<Progress>,
    ) -> Exporter {
        Exporter {
            dir,
            settings,
            journal,
            slots,
            progress,
            holder: Uuid::new_v4().to_string(),
            courses: BTreeMap::new(),
            settled: 0,
            newest: None,
            settle: LOOK,
        }
    }

    /// Exports until the server stops. What is not in a complete file then is exported after the next
    /// start.
    pub fn run(mut self, supervisor: &Supervisor) {
        let mut next = Instant::now();
        while !supervisor.is_stopping() {
            let left = next.saturating_duration_since(Instant::now());
            if !left.is_zero() {
                // Stopping is seen in time.
                std::thread::sleep(left.min(Duration::from_millis(100)));
                continue;
            }
            let wait = match self.look() {
                Ok(true) => Duration::ZERO,
                Ok(false) => LOOK,
                Err(error) => {
                    tracing::warn!(%error, "the prediction log was not exported; it is tried again");
                    RETRY
                }
            };
            next = Instant::now() + wait;
        }
        let holder = self.holder.clone();
        // Without it the lease ends by itself.
        let _released = self
            .journal
            .run_blocking(move |store| lease::release(store, LEASE, &holder));
    }

    /// Looks at every slot once; gives whether more is due at once.
    ///
    /// # Errors
    /// The first failure; the slots after it were looked at all the same.
    pub fn look(&mut self) -> Result<bool, Failure> {
        let found = self.ask(|store| Ok((store.now_ms()?, rows::bounds(store)?.1)));
        let Some((now_ms, newest)) = found? else {
            self.courses.clear();
            // What is due is the other's to say.
            for (_, counts) in self.progress.all() {
                counts.due_ms.store(0, Ordering::Relaxed);
            }
            return Ok(false);
        };
        let to = self.settled(newest);
        let watched = (self.slots)();
        self.courses.retain(|name, course| {
            // SQLite counts from 1 again when every prediction has left.
            course.read_to <= newest && watched.iter().any(|it| it.slot == *name)
        });
        let mut more = false;
        let mut failure = None;
        for slot in &watched {
            match self.step(slot, to, now_ms) {
                Ok(is_behind) => more |= is_behind,
                Err(error) => {
                    self.courses.remove(&slot.slot);
                    let counts = self.progress.of(&slot.slot);
                    counts.failures.fetch_add(1, Ordering::Relaxed);
                    let order = Ordering::Relaxed;
                    // Else it is since when the oldest row is due.
                    let _since = counts.due_ms.compare_exchange(0, now_ms, order, order);
                    failure.get_or_insert(error);
                }
            }
        }
        failure.map_or(Ok(more), Err)
    }

    /// The last settled number.
    fn settled(&mut self, newest: i64) -> i64 {
        match self.newest {
            Some((_, at)) if at.elapsed() < self.settle => {}
            before => {
                self.settled = before.map_or(0, |(number, _)| number);
                self.newest = Some((newest, Instant::now()));
            }
        }
        self.settled.min(newest)
    }

    /// Reads what is due of a slot, and completes what is old or full; gives whether more is due. `to` is
    /// the last settled number.
    fn step(&mut self, watched: &Watched, to: i64, now_ms: i64) -> Result<bool, Failure> {
        let mut course = match self.courses.remove(&watched.slot) {
            Some(course) => course,
            None => self.open(&watched.slot)?,
        };
        let mut is_behind = true;
        for _ in 0..TURNS {
            let turn = self.read(&course, &watched.slot, to, now_ms)?;
            course.limit = turn.limit;
            course.count_broken(&watched.slot, &turn);
            self.take(&mut course, watched, &turn, now_ms)?;
            if turn.ended {
                is_behind = false;
                break;
            }
            std::thread::sleep(PAUSE);
        }
        let is_old = now_ms.saturating_sub(course.since_ms) >= ms(self.settings.rotate_ms);
        if !course.log.is_empty() && is_old {
            self.finish(&mut course, &watched.slot)?;
        }
        if course.log.is_empty() && !is_behind {
            // A failure is over.
            course.set_due(0);
        }
        if course.log.is_empty() && course.read_to - course.cursor >= IDLE {
            self.advance(&mut course, &watched.slot)?;
        }
        self.courses.insert(watched.slot.clone(), course);
        Ok(is_behind)
    }

    fn open(&self, slot: &str) -> Result<Course, Failure> {
        std::fs::create_dir_all(&self.dir)
            .map_err(|error| Failure(format!("{}: {error}", self.dir.display())))?;
        let limits = Limits {
            rows: self.settings.rotate_rows,
            bytes: self.settings.rotate_bytes,
        };
        let log = Log::new(slot, Target::Folder(self.dir.clone()), limits);
        let name = slot.to_string();
        let within = self.ask(move |store| rows::cursor_within(store, &name))?;
        let Within { cursor, newest } = within.ok_or_else(lost)?;
        log.clean()?;
        let counts = self.progress.of(slot);
        if counts.broken_to.load(Ordering::Relaxed) > newest {
            // Numbers are those of other rows now.
            counts.broken_to.store(0, Ordering::Relaxed);
        }
        Ok(Course {
            log,
            counts,
            cursor,
            read_to: cursor,
            since_ms: 0,
            limit: rows::FEW,
        })
    }

    fn read(&self, course: &Course, slot: &str, to: i64, now_ms: i64) -> Result<Turn, Failure> {
        let span = Span {
            slot: slot.to_string(),
            after: course.read_to,
            to,
            from_ms: i64::MIN,
            to_ms: i64::MAX,
            before_ms: now_ms.saturating_sub(ms(self.settings.wait_ms)),
            limit: course.limit,
        };
        // The journal's thread has others to serve: rows are made of it on this one.
        let raw = self.ask(move |store| rows::read(store, &span))?;
        Ok(raw.ok_or_else(lost)?.parsed()?)
    }

    /// Puts what was read into files.
    fn take(
        &self,
        course: &mut Course,
        watched: &Watched,
        turn: &Turn,
        now_ms: i64,
    ) -> Result<(), Failure> {
        let mut rest = turn.rows.as_slice();
        while let Some(first) = rest.first() {
            if course.log.is_empty() {
                course.since_ms = now_ms;
                course.set_due(first.at_ms.saturating_add(ms(self.settings.wait_ms)));
            }
            let taken = course.log.take(rest, watched.threshold)?;
            rest = rest.get(taken..).unwrap_or_default();
            if let Some(next) = rest.first() {
                course.read_to = next.number - 1;
            } else {
                course.read_to = turn.read_to;
            }
            if !rest.is_empty() || course.log.is_full() {
                self.finish(course, &watched.slot)?;
            }
        }
        course.read_to = turn.read_to;
        Ok(())
    }

    /// Completes a slot's files, and then says so in the journal.
    fn finish(&self, course: &mut Course, slot: &str) -> Result<(), Failure> {
        self.ask(|_store| Ok(()))?.ok_or_else(lost)?;
        let finished = course.log.finish()?;
        self.advance(course, slot)?;
        course.set_due(0);
        let order = Ordering::Relaxed;
        course.counts.rows.fetch_add(finished.rows, order);
        course.counts.files.fetch_add(finished.files, order);
        course.log.keep(self.settings.files_max)
    }

    fn advance(&self, course: &mut Course, slot: &str) -> Result<(), Failure> {
        let (name, from, to) = (slot.to_string(), course.cursor, course.read_to);
        let moved = self.ask(move |store| rows::advance(store, &name, from, to))?;
        if moved != Some(true) {
            return Err(lost());
        }
        course.cursor = to;
        Ok(())
    }

    /// Does work on the store while this process holds the lease; `None` when another does.
    fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut dyn Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<Option<T>, Failure> {
        let holder = self.holder.clone();
        let done = self.journal.run_blocking(move |store| {
            match lease::acquire(store, LEASE, &holder, LEASE_MS)? {
                true => work(store).map(Some),
                false => Ok(None),
            }
        });
        Ok(done?)
    }
}

impl Course {
    /// Counts and tells what a turn leaves out, once.
    fn count_broken(&self, slot: &str, turn: &Turn) {
        let known = self.counts.broken_to.load(Ordering::Relaxed);
        let fresh: Vec<i64> = turn
            .broken
            .iter()
            .copied()
            .filter(|it| *it > known)
            .collect();
        let (Some(first), Some(last)) = (fresh.first(), fresh.last()) else {
            return;
        };
        let error = turn.reason.as_deref().unwrap_or_default();
        let rows = fresh.len();
        tracing::warn!(
            slot,
            rows,
            first,
            error,
            "recorded rows cannot be read and are not exported"
        );
        self.counts.broken.fetch_add(rows as u64, Ordering::Relaxed);
        self.counts.broken_to.store(*last, Ordering::Relaxed);
    }

    fn set_due(&self, due_ms: i64) {
        self.counts.due_ms.store(due_ms, Ordering::Relaxed);
    }
}

fn lost() -> Failure {
    Failure("another process exports now".to_string())
}

fn ms(time: u64) -> i64 {
    i64::try_from(time).unwrap_or(i64::MAX)
}
