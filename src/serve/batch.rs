//! Rows to results: inline when that is cheap, else on compute threads, batched by rows.
//!
//! A batch holds rows of one revision only. Results are split by the rows that each caller gave, so
//! no caller can get another's; when a batch of several callers fails, each is tried alone.

mod gather;
mod queue;

use std::sync::Arc;
use std::time::Instant;

use super::extras::{self, Extras};
use crate::engine::EngineError;
use crate::error::{Code, Error};
use crate::model::revision::Revision;
use crate::model::usage::Dispatch;
use crate::task::{Priority, Supervisor};
use crate::telemetry::trace::{EngineCall, Trace};
use crate::tensor::Rows;
use queue::{Answer, Job, Queue, Threads};

/// The compute threads and their queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Compute threads of each kind (prompt, bulk); 0 means one per core.
    pub threads: usize,
    /// Rows that may wait for a compute thread, all slots together. At least 1.
    pub queue_rows_max: usize,
    /// Milliseconds that work may have to wait for a compute thread, as far as measured costs tell.
    pub queue_ms_max: u64,
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

/// What to compute of which rows.
#[derive(Clone, Debug)]
pub struct Work {
    pub rows: Rows,
    /// `None` for predictions alone.
    pub extras: Option<Arc<Extras>>,
    /// Of the request that they are of, where it is sampled.
    pub trace: Option<Arc<Trace>>,
}

impl From<Rows> for Work {
    fn from(rows: Rows) -> Work {
        Work {
            rows,
            extras: None,
            trace: None,
        }
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
            queue_ms_max: 500,
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
        let queue = Arc::new(Queue::new(settings, threads));
        for kind in Threads::ALL {
            let (name, priority) = match kind {
                Threads::Prompt => ("compute", Priority::Normal),
                Threads::Bulk => ("bulk", Priority::Bulk),
            };
            for _ in 0..threads {
                let queue = Arc::clone(&queue);
                supervisor.thread(name, priority, move || {
                    while let Some((jobs, reason)) = queue.next_batch(kind) {
                        execute(jobs, reason);
                        if kind == Threads::Bulk {
                            // Its share may be milliseconds at a time: it gives the rest back.
                            std::thread::yield_now();
                        }
                    }
                })?;
            }
        }
        Ok(Batcher { queue })
    }

    /// The results of `work`, `[rows, width]`: the model's outputs, then the extras.
    ///
    /// # Errors
    /// [`Code::Overloaded`] when the queue is full, [`Code::DeadlineExceeded`], and
    /// [`Code::Internal`] when the engine fails.
    pub fn run(
        &self,
        revision: &Arc<Revision>,
        work: impl Into<Work>,
        policy: &Policy,
        deadline: Option<Instant>,
    ) -> impl Future<Output = Result<Vec<f64>, Error>> {
        let work = work.into();
        // The rows are in it once.
        async move {
            let count = work.rows.len();
            let inline_ns = policy.inline_us_max.saturating_mul(1000);
            let cheap = revision.cost.of(count) <= inline_ns
                || gather::makes_cheap(revision, count, inline_ns);
            if work.extras.is_none() && cheap {
                return match gather::pays(revision, count) {
                    true => gather::run(revision, &work, policy).await,
                    false => compute(revision, &work, Dispatch::Inline),
                };
            }
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return Err(late());
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
                let part =
                    part.map_err(|_dropped| Error::internal("the compute thread is gone"))??;
                if results.is_empty() {
                    results = part;
                } else {
                    results.extend_from_slice(&part);
                }
            }
            Ok(results)
        }
    }

    /// How often work was refused because of what waits.
    pub fn shed(&self) -> u64 {
        self.queue.shed()
    }

    /// Rows that wait for a compute thread.
    pub fn queued_rows(&self) -> usize {
        self.queue.rows()
    }
}

impl Drop for Batcher {
    fn drop(&mut self) {
        self.queue.close();
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
        && let Ok((results, call)) = call(&revision, &work, reason)
    {
        let width = work.width(&revision);
        let mut rest = results.as_slice();
        for job in alive {
            note(job.work.trace.as_ref(), &call);
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

/// Computes rows of one request, and notes it in its trace.
fn compute(revision: &Revision, work: &Work, reason: Dispatch) -> Result<Vec<f64>, Error> {
    let (results, call) = call(revision, work, reason)?;
    note(work.trace.as_ref(), &call);
    Ok(results)
}

fn note(trace: Option<&Arc<Trace>>, call: &EngineCall) {
    if let Some(trace) = trace {
        trace.computed(call);
    }
}

/// Computes rows, whosever they are.
fn call(
    revision: &Revision,
    work: &Work,
    dispatch: Dispatch,
) -> Result<(Vec<f64>, EngineCall), Error> {
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
    let took = start.elapsed();
    revision.usage.record_call(rows.len(), dispatch, took);
    let call = EngineCall {
        start,
        took,
        rows: rows.len(),
        dispatch,
    };
    Ok((results, call))
}

pub(super) fn late() -> Error {
    Error::new(Code::DeadlineExceeded, "the request's deadline passed")
}

#[cfg(test)]
mod tests;
