//! What waits for the compute threads, in three lanes: small requests, parts of large ones, and work with extras (contributions, leaves), which costs a hundred times a prediction. The
//! first lane has threads of its own. The others share threads of low priority and take turns there:
//! they have all cores when nobody else wants them, and keep nobody waiting.
//!
//! Its limits are memory (rows) and time: what would wait for too long by the measured costs of what
//! is before it is refused at once.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::{Policy, Settings, Work};
use crate::error::Error;
use crate::model::revision::{BATCH, Revision};
use crate::model::usage::Dispatch;
use crate::serve::extras::{Extras, Kind};
use crate::tensor::Rows;

/// The lanes and who waits at their end.
#[derive(Debug)]
pub struct Queue {
    state: Mutex<State>,
    /// Where the threads of each kind wait for work.
    wake: [Condvar; Threads::ALL.len()],
    rows_max: usize,
    wait_max: Duration,
    /// Threads of each kind. At least 1.
    threads: u32,
    /// Work that was refused.
    shed: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    lanes: [Waiting; Lane::ALL.len()],
    /// The lane that had the last turn among those that share threads.
    last: Option<Lane>,
    /// Threads that have a batch and wait for more rows of it.
    gathering: usize,
    /// Rows of all jobs.
    rows: usize,
    closed: bool,
}

/// One lane's jobs, oldest first, and what they are expected to cost together.
#[derive(Debug, Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    ns: u64,
}

/// Who shares a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lane {
    /// Requests of up to `max_batch_rows`, and those that take no longer than [`PART_NS`].
    Small,
    /// All others, in parts.
    Large,
    Extras,
}

/// Who works on which lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    /// On [`Lane::Small`].
    Prompt,
    /// On the others.
    Bulk,
}

/// One caller's rows, or a part of them.
#[derive(Debug)]
pub struct Job {
    pub revision: Arc<Revision>,
    pub work: Work,
    pub deadline: Option<Instant>,
    pub queued: Instant,
    pub reply: oneshot::Sender<Answer>,
    policy: Policy,
    lane: Lane,
    /// Expected cost.
    ns: u64,
}

/// What a caller gets.
pub type Answer = Result<Vec<f64>, Error>;

/// Rows of a part with extras: a thread is taken by them for a few milliseconds at the most.
const EXTRA_ROWS: usize = 8;
/// What contributions cost, in predictions; the order of magnitude.
const EXTRA_COST: u64 = 100;
/// The time that a part of a request should take: this long it may keep others waiting.
const PART_NS: u64 = 1_000_000;
/// Rows of a part at the least, however slow the model.
const PART_ROWS_MIN: usize = 8;

impl Lane {
    const ALL: [Lane; 3] = [Lane::Small, Lane::Large, Lane::Extras];

    fn threads(self) -> Threads {
        match self {
            Lane::Small => Threads::Prompt,
            Lane::Large | Lane::Extras => Threads::Bulk,
        }
    }
}

impl Threads {
    pub const ALL: [Threads; 2] = [Threads::Prompt, Threads::Bulk];

    fn lanes(self) -> &'static [Lane] {
        match self {
            Threads::Prompt => &[Lane::Small],
            Threads::Bulk => &[Lane::Large, Lane::Extras],
        }
    }
}

impl Queue {
    /// An empty queue in front of this many threads of each kind.
    pub fn new(settings: &Settings, threads: usize) -> Queue {
        Queue {
            state: Mutex::default(),
            wake: Default::default(),
            rows_max: settings.queue_rows_max,
            wait_max: Duration::from_millis(settings.queue_ms_max),
            threads: u32::try_from(threads).unwrap_or(u32::MAX).max(1),
            shed: AtomicU64::new(0),
        }
    }

    /// Rows that wait.
    pub fn rows(&self) -> usize {
        self.lock().rows
    }

    /// How often work was refused.
    pub fn shed(&self) -> u64 {
        self.shed.load(Ordering::Relaxed)
    }

    /// Lets the threads end once nothing waits.
    pub fn close(&self) {
        self.lock().closed = true;
        self.wake.iter().for_each(Condvar::notify_all);
    }

    /// Queues work, in parts where it is more than one call, so that several threads may share it.
    ///
    /// # Errors
    /// [`crate::error::Code::Overloaded`] when a limit is reached, or when it would wait until after
    /// its deadline.
    pub fn push(
        &self,
        revision: &Arc<Revision>,
        work: impl Into<Work>,
        policy: &Policy,
        deadline: Option<Instant>,
    ) -> Result<Vec<oneshot::Receiver<Answer>>, Error> {
        let Work {
            rows,
            extras,
            trace,
        } = work.into();
        let count = rows.len();
        let lane = match &extras {
            Some(_) => Lane::Extras,
            None if count > policy.max_batch_rows && revision.cost.of(count) > PART_NS => {
                Lane::Large
            }
            None => Lane::Small,
        };
        let rows_max = match lane {
            Lane::Small | Lane::Large => part_rows(revision, policy),
            Lane::Extras => policy.max_batch_rows.min(EXTRA_ROWS),
        };
        let parts = split(rows, rows_max);
        let policy = Policy {
            max_batch_rows: rows_max,
            ..policy.clone()
        };
        let queued = Instant::now();
        if let Some(trace) = &trace {
            trace.queued(queued);
        }
        let mut replies = Vec::with_capacity(parts.len());
        let mut jobs = Vec::with_capacity(parts.len());
        for rows in parts {
            let (reply, receiver) = oneshot::channel();
            replies.push(receiver);
            jobs.push(Job {
                ns: expected_ns(revision, rows.len(), rows_max, extras.as_deref()),
                revision: Arc::clone(revision),
                work: Work {
                    rows,
                    extras: extras.clone(),
                    trace: trace.clone(),
                },
                policy: policy.clone(),
                lane,
                deadline,
                queued,
                reply,
            });
        }
        let mut state = self.lock();
        let wait = state.wait_of(lane) / self.threads;
        if let Err(refused) = self.check_room(&state, count, (queued, wait, deadline)) {
            self.shed.fetch_add(1, Ordering::Relaxed);
            return Err(refused);
        }
        state.rows += count;
        let several = jobs.len() > 1 || state.gathering > 0;
        let waiting = &mut state.lanes[lane as usize];
        for job in jobs {
            waiting.ns = waiting.ns.saturating_add(job.ns);
            waiting.jobs.push_back(job);
        }
        // Before the lock is given back: a thread that gathers sleeps at the same place as idle ones
        // and may not want this job, so there must be none that `several` does not know of.
        let wake = &self.wake[lane.threads() as usize];
        if several {
            wake.notify_all();
        } else {
            wake.notify_one();
        }
        drop(state);
        Ok(replies)
    }

    /// Checks that there is room for so many rows that are queued at a time, have to wait for as
    /// long as that, and are wanted until a deadline.
    fn check_room(
        &self,
        state: &State,
        rows: usize,
        (queued, wait, deadline): (Instant, Duration, Option<Instant>),
    ) -> Result<(), Error> {
        // Work above the limit passes when nothing else waits: admission limits its rows.
        if state.rows > 0 && state.rows + rows > self.rows_max {
            return Err(Error::overloaded(format!(
                "{} rows are waiting, the limit is batch.queue_rows_max = {}",
                state.rows, self.rows_max
            )));
        }
        if wait > self.wait_max {
            return Err(Error::overloaded(format!(
                "it would wait for {} ms, the limit is batch.queue_ms_max = {}",
                wait.as_millis(),
                self.wait_max.as_millis()
            )));
        }
        if deadline.is_some_and(|deadline| queued + wait > deadline) {
            return Err(Error::overloaded(
                "it would wait until after its deadline for a compute thread",
            ));
        }
        Ok(())
    }

    /// The next batch for a thread: the oldest job of the lane whose turn it is, and as many others
    /// of its revision as fit. `None` when the queue is closed and has nothing for such threads.
    pub fn next_batch(&self, threads: Threads) -> Option<(Vec<Job>, Dispatch)> {
        let wake = &self.wake[threads as usize];
        let mut state = self.lock();
        let first = loop {
            if let Some(job) = state.pop(threads) {
                break job;
            }
            if state.closed {
                return None;
            }
            state = wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        };
        let rows_max = first.policy.max_batch_rows;
        let until = first.queued + Duration::from_micros(first.policy.max_queue_delay_us);
        let mut rows = first.work.rows.len();
        let mut batch = vec![first];
        loop {
            state.gather(&mut batch, &mut rows, rows_max);
            if rows >= rows_max {
                return Some((batch, Dispatch::Full));
            }
            let left = until.saturating_duration_since(Instant::now());
            let alone = batch[0].lane == Lane::Large;
            if left.is_zero() || state.closed || alone {
                let delayed = batch[0].policy.max_queue_delay_us > 0;
                let reason = if delayed && !alone {
                    Dispatch::Timer
                } else {
                    Dispatch::Idle
                };
                return Some((batch, reason));
            }
            state.gathering += 1;
            (state, _) = wake
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner);
            state.gathering -= 1;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic stops the server; until then the state is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// How long one thread would need for what comes before a new job of this lane: the lane
    /// itself, and as much of each lane that it takes turns with.
    fn wait_of(&self, lane: Lane) -> Duration {
        let own = self.lanes[lane as usize].ns;
        let lanes = lane.threads().lanes().iter();
        let before = lanes.map(|lane| self.lanes[*lane as usize].ns.min(own));
        Duration::from_nanos(before.fold(0, u64::saturating_add))
    }

    /// The oldest job of the next lane in turn, among those of such threads.
    fn pop(&mut self, threads: Threads) -> Option<Job> {
        let lanes = threads.lanes();
        // The lane that had the last turn comes last.
        let first = lanes.iter().position(|lane| self.last == Some(*lane));
        let first = first.map_or(0, |last| last + 1);
        for step in 0..lanes.len() {
            let lane = lanes[(first + step) % lanes.len()];
            if let Some(job) = self.take(lane, 0) {
                if threads == Threads::Bulk {
                    self.last = Some(lane);
                }
                return Some(job);
            }
        }
        None
    }

    fn take(&mut self, lane: Lane, index: usize) -> Option<Job> {
        let waiting = &mut self.lanes[lane as usize];
        let job = waiting.jobs.remove(index)?;
        waiting.ns = waiting.ns.saturating_sub(job.ns);
        self.rows -= job.work.rows.len();
        Some(job)
    }

    /// Moves waiting jobs that can be computed together with the batch's into it, oldest first,
    /// while they fit. Parts of large requests stay what they are.
    fn gather(&mut self, batch: &mut Vec<Job>, rows: &mut usize, rows_max: usize) {
        let lane = batch[0].lane;
        if lane == Lane::Large {
            return;
        }
        let uid = batch[0].revision.uid;
        let extras = batch[0].work.extras.clone();
        let mut index = 0;
        while *rows < rows_max {
            let Some(job) = self.lanes[lane as usize].jobs.get(index) else {
                return;
            };
            let fits = *rows + job.work.rows.len() <= rows_max;
            if job.revision.uid != uid || !fits || job.work.extras != extras {
                index += 1;
                continue;
            }
            let Some(job) = self.take(lane, index) else {
                return;
            };
            *rows += job.work.rows.len();
            batch.push(job);
        }
    }
}

/// Rows of one call for a revision: as many as the policy allows and [`PART_NS`] is enough for, but
/// a whole block where rows are cheaper in blocks.
fn part_rows(revision: &Revision, policy: &Policy) -> usize {
    let cost = revision.cost;
    let rows = (PART_NS / cost.batch_row_ns.max(1)) as usize;
    let min = match cost.batch_row_ns.saturating_mul(2) < cost.row_ns {
        true => BATCH,
        false => PART_ROWS_MIN,
    };
    rows.max(min).min(policy.max_batch_rows)
}

/// What rows are expected to cost where others wait as well: in batches, they cost as in a full one.
fn expected_ns(revision: &Revision, rows: usize, rows_max: usize, extras: Option<&Extras>) -> u64 {
    let cost = revision.cost;
    let alone = cost.of(rows);
    let in_batch = match rows_max >= BATCH {
        true => alone.min(cost.batch_row_ns.saturating_mul(rows as u64)),
        false => alone,
    };
    let explains = |extras: &Extras| extras.tensors.iter().any(|it| it.kind != Kind::Leaves);
    match extras.is_some_and(explains) {
        true => in_batch.saturating_mul(EXTRA_COST),
        false => in_batch,
    }
}

/// Rows in parts of about the same size, at most `rows_max` each.
fn split(rows: Rows, rows_max: usize) -> Vec<Rows> {
    let count = rows.len();
    if count <= rows_max {
        return vec![rows];
    }
    let even = count.div_ceil(count.div_ceil(rows_max));
    let size = even.next_multiple_of(BATCH).min(rows_max);
    let starts = (0..count).step_by(size);
    starts
        .map(|start| rows.slice(start, (start + size).min(count)))
        .collect()
}
