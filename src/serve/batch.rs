//! Rows to results: inline when that is cheap, else on compute threads, batched by rows.
//!
//! A batch holds rows of one revision only. Results are split by the rows that each caller gave, so
//! no caller can get another's; when a batch of several callers fails, each is tried alone.
//!
//! Work with extras (contributions, leaves) costs a hundred times a prediction. It waits in a queue of
//! its own, in small parts, and never has all threads: predictions are not kept waiting for long.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::extras::{self, Extras};
use crate::engine::EngineError;
use crate::error::{Code, Error};
use crate::model::revision::Revision;
use crate::model::usage::Dispatch;
use crate::task::Supervisor;
use crate::tensor::Rows;

/// The compute threads and their queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Compute threads; 0 means one per core.
    pub threads: usize,
    /// Rows that may wait for a compute thread, all slots together. At least 1.
    pub queue_rows_max: usize,
}

/// How a slot's rows are batched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Rows of one engine call at the most. At least 1.
    pub max_batch_rows: usize,
    /// Microseconds that a batch with room left waits for more rows.
    pub max_queue_delay_us: u64,
    /// Requests expected to take up to this many microseconds run on the calling task.
    pub inline_us_max: u64,
}

/// Runs rows through engines.
#[derive(Debug)]
pub struct Batcher {
    queue: Arc<Queue>,
}

#[derive(Debug)]
struct Queue {
    state: Mutex<State>,
    wake: Condvar,
    rows_max: usize,
    /// Threads that may work on extras at the same time. At least 1.
    extra_threads_max: usize,
}

#[derive(Debug, Default)]
struct State {
    /// Predictions.
    jobs: VecDeque<Job>,
    /// Work with extras.
    extra_jobs: VecDeque<Job>,
    /// Threads that work on extras.
    extra_threads: usize,
    /// Rows of all jobs.
    rows: usize,
    closed: bool,
}

/// What to compute of which rows.
#[derive(Clone, Debug)]
pub struct Work {
    pub rows: Rows,
    /// `None` for predictions alone.
    pub extras: Option<Arc<Extras>>,
}

/// One caller's rows, or a part of them of at most `max_batch_rows`.
#[derive(Debug)]
struct Job {
    revision: Arc<Revision>,
    work: Work,
    policy: Policy,
    deadline: Option<Instant>,
    queued: Instant,
    reply: oneshot::Sender<Answer>,
}

type Answer = Result<Vec<f64>, Error>;

/// Rows of a part with extras: a thread is taken by them for a few milliseconds at the most.
const EXTRA_ROWS: usize = 8;

impl From<Rows> for Work {
    fn from(rows: Rows) -> Work {
        Work { rows, extras: None }
    }
}

impl Work {
    /// Values per row of results.
    fn width(&self, revision: &Revision) -> usize {
        match &self.extras {
            None => revision.signature.result_width(),
            Some(extras) => extras.result_width,
        }
    }
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            threads: 0,
            queue_rows_max: 100_000,
        }
    }
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            max_batch_rows: 256,
            max_queue_delay_us: 0,
            inline_us_max: 50,
        }
    }
}

impl Batcher {
    /// Starts the compute threads. They end when the batcher is dropped.
    ///
    /// # Errors
    /// When the system has no more threads.
    pub fn start(settings: &Settings, supervisor: &Supervisor) -> std::io::Result<Batcher> {
        let threads = match settings.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        };
        let queue = Arc::new(Queue::new(settings.queue_rows_max, threads));
        for _ in 0..threads {
            let queue = Arc::clone(&queue);
            supervisor.thread("compute", move || {
                while let Some((jobs, reason)) = queue.next_batch() {
                    let extras = jobs.first().is_some_and(Job::has_extras);
                    execute(jobs, reason);
                    if extras {
                        queue.finish_extras();
                    }
                }
            })?;
        }
        Ok(Batcher { queue })
    }

    /// The results of `work`, `[rows, width]`: the model's outputs, then the extras.
    ///
    /// # Errors
    /// [`Code::Overloaded`] when the queue is full, [`Code::DeadlineExceeded`], and
    /// [`Code::Internal`] when the engine fails.
    pub async fn run(
        &self,
        revision: &Arc<Revision>,
        work: impl Into<Work>,
        policy: &Policy,
        deadline: Option<Instant>,
    ) -> Result<Vec<f64>, Error> {
        let work = work.into();
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Err(late());
        }
        let cheap = revision.cost.of(work.rows.len()) <= policy.inline_us_max.saturating_mul(1000);
        if cheap && work.extras.is_none() {
            return compute(revision, &work, Dispatch::Inline);
        }
        let replies = self.queue.push(revision, work, policy, deadline)?;
        let mut results = Vec::new();
        for reply in replies {
            let part = match deadline {
                None => reply.await,
                Some(deadline) => tokio::time::timeout_at(deadline.into(), reply)
                    .await
                    .map_err(|_elapsed| late())?,
            };
            let part = part.map_err(|_dropped| Error::internal("the compute thread is gone"))??;
            if results.is_empty() {
                results = part;
            } else {
                results.extend_from_slice(&part);
            }
        }
        Ok(results)
    }

    /// Rows that wait for a compute thread.
    pub fn queued_rows(&self) -> usize {
        self.queue.lock().rows
    }
}

impl Drop for Batcher {
    fn drop(&mut self) {
        self.queue.lock().closed = true;
        self.queue.wake.notify_all();
    }
}

impl Job {
    fn has_extras(&self) -> bool {
        self.work.extras.is_some()
    }
}

impl Queue {
    fn new(rows_max: usize, threads: usize) -> Queue {
        Queue {
            state: Mutex::default(),
            wake: Condvar::new(),
            rows_max,
            extra_threads_max: threads.saturating_sub(1).max(1),
        }
    }

    /// Notes that a thread has finished a batch with extras.
    fn finish_extras(&self) {
        self.lock().extra_threads -= 1;
        // All: those that wait for the queue to be closed and empty, too.
        self.wake.notify_all();
    }

    /// Queues rows in parts of at most `max_batch_rows`, so that several threads may share them.
    fn push(
        &self,
        revision: &Arc<Revision>,
        work: impl Into<Work>,
        policy: &Policy,
        deadline: Option<Instant>,
    ) -> Result<Vec<oneshot::Receiver<Answer>>, Error> {
        let Work { rows, extras } = work.into();
        let count = rows.len();
        let mut policy = policy.clone();
        if extras.is_some() {
            policy.max_batch_rows = policy.max_batch_rows.min(EXTRA_ROWS);
        }
        let parts = split(rows, policy.max_batch_rows);
        let mut replies = Vec::with_capacity(parts.len());
        let queued = Instant::now();
        let mut state = self.lock();
        // A request above the limit passes when nothing else waits: admission limits its rows.
        if state.rows > 0 && state.rows + count > self.rows_max {
            return Err(Error::overloaded(format!(
                "{} rows are waiting, the limit is batch.queue_rows_max = {}",
                state.rows, self.rows_max
            )));
        }
        state.rows += count;
        for rows in parts {
            let (reply, receiver) = oneshot::channel();
            replies.push(receiver);
            let job = Job {
                revision: Arc::clone(revision),
                work: Work {
                    rows,
                    extras: extras.clone(),
                },
                policy: policy.clone(),
                deadline,
                queued,
                reply,
            };
            if job.has_extras() {
                state.extra_jobs.push_back(job);
            } else {
                state.jobs.push_back(job);
            }
        }
        drop(state);
        self.wake.notify_all();
        Ok(replies)
    }

    /// The next batch: the oldest job and as many others of its revision as fit. `None` when the
    /// queue is closed and empty.
    fn next_batch(&self) -> Option<(Vec<Job>, Dispatch)> {
        let mut state = self.lock();
        let first = loop {
            if let Some(job) = state.pop(self.extra_threads_max) {
                break job;
            }
            if state.closed && state.extra_jobs.is_empty() {
                return None;
            }
            state = self
                .wake
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
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
            if left.is_zero() || state.closed {
                let delayed = batch[0].policy.max_queue_delay_us > 0;
                let reason = if delayed {
                    Dispatch::Timer
                } else {
                    Dispatch::Idle
                };
                return Some((batch, reason));
            }
            (state, _) = self
                .wake
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic stops the server; until then the state is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The oldest job that may be worked on.
    fn pop(&mut self, extra_threads_max: usize) -> Option<Job> {
        let older = match (self.jobs.front(), self.extra_jobs.front()) {
            (Some(job), Some(extra)) => extra.queued < job.queued,
            (None, Some(_)) => true,
            _ => false,
        };
        let job = if older && self.extra_threads < extra_threads_max {
            self.extra_threads += 1;
            self.extra_jobs.pop_front()
        } else {
            self.jobs.pop_front()
        }?;
        self.rows -= job.work.rows.len();
        Some(job)
    }

    /// Moves waiting jobs that can be computed together with the batch's into it, oldest first,
    /// while they fit.
    fn gather(&mut self, batch: &mut Vec<Job>, rows: &mut usize, rows_max: usize) {
        let uid = batch[0].revision.uid;
        let extras = batch[0].work.extras.clone();
        let jobs = match extras {
            None => &mut self.jobs,
            Some(_) => &mut self.extra_jobs,
        };
        let mut index = 0;
        while *rows < rows_max && index < jobs.len() {
            let job = &jobs[index];
            let fits = *rows + job.work.rows.len() <= rows_max;
            if job.revision.uid != uid || !fits || job.work.extras != extras {
                index += 1;
                continue;
            }
            if let Some(job) = jobs.remove(index) {
                self.rows -= job.work.rows.len();
                *rows += job.work.rows.len();
                batch.push(job);
            }
        }
    }
}

/// Answers every job of a batch. Jobs whose caller is gone or whose deadline passed are not
/// computed.
fn execute(jobs: Vec<Job>, reason: Dispatch) {
    let now = Instant::now();
    let mut alive = Vec::with_capacity(jobs.len());
    for job in jobs {
        if job.deadline.is_some_and(|deadline| deadline <= now) {
            answer(job, Err(late()));
        } else if !job.reply.is_closed() {
            job.revision.usage.queue.record(now - job.queued);
            alive.push(job);
        }
    }
    let Some(first) = alive.first() else { return };
    let revision = Arc::clone(&first.revision);
    if alive.len() > 1
        && let Some(work) = merge(&alive)
        && let Ok(results) = compute(&revision, &work, reason)
    {
        let width = work.width(&revision);
        let mut rest = results.as_slice();
        for job in alive {
            let (mine, others) = rest.split_at(job.work.rows.len() * width);
            rest = others;
            answer(job, Ok(mine.to_vec()));
        }
        return;
    }
    for job in alive {
        let results = compute(&revision, &job.work, reason);
        answer(job, results);
    }
}

fn answer(job: Job, results: Answer) {
    // The caller may have gone meanwhile.
    let _sent = job.reply.send(results);
}

fn merge(jobs: &[Job]) -> Option<Work> {
    let (first, others) = jobs.split_first()?;
    let mut work = first.work.clone();
    others
        .iter()
        .all(|job| work.rows.append(&job.work.rows))
        .then_some(work)
}

fn compute(revision: &Revision, work: &Work, reason: Dispatch) -> Result<Vec<f64>, Error> {
    let start = Instant::now();
    let rows = &work.rows;
    let failed = |error: EngineError| extras::failed(revision, &error);
    let own = revision.signature.result_width();
    let mut results = vec![0.0; rows.len() * own];
    let engine = revision.engine.as_ref();
    engine.predict(rows, &mut results).map_err(failed)?;
    if let Some(extras) = &work.extras {
        let mut wide = vec![0.0; rows.len() * extras.result_width];
        let outputs = results.chunks_exact(own);
        for (wide, outputs) in wide.chunks_exact_mut(extras.result_width).zip(outputs) {
            wide[..own].copy_from_slice(outputs);
        }
        results = wide;
        extras.fill(engine, rows, &mut results).map_err(failed)?;
    }
    revision
        .usage
        .record_call(rows.len(), reason, start.elapsed());
    Ok(results)
}

fn split(rows: Rows, rows_max: usize) -> Vec<Rows> {
    let count = rows.len();
    if count <= rows_max {
        return vec![rows];
    }
    let starts = (0..count).step_by(rows_max);
    starts
        .map(|start| rows.slice(start, (start + rows_max).min(count)))
        .collect()
}

pub(super) fn late() -> Error {
    Error::new(Code::DeadlineExceeded, "the request's deadline passed")
}

#[cfg(test)]
mod tests;
