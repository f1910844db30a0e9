//! Traces of requests for OpenTelemetry. A request that is sampled notes a few times and numbers on
//! its way and goes, answered, into a bounded queue that never waits; a thread of its own makes spans
//! of it and sends them. Whether a request is sampled is decided first: one that is not allocates
//! nothing for it.

pub mod context;
mod exporter;
mod settings;
mod spans;

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use uuid::Uuid;

use crate::model::usage::Dispatch;
use crate::task::{Priority, Supervisor};
pub use context::Context;
pub use settings::{Headers, Protocol, Settings, attributes};

/// Decides which requests are sampled, and takes them when they ended.
#[derive(Debug)]
pub struct Tracer {
    by_parent: bool,
    /// Requests without a sampled parent are sampled where the last 56 bits of their trace id are
    /// below this.
    threshold: u64,
    sender: SyncSender<Arc<Trace>>,
    counters: Arc<Counters>,
    /// Tells when the thread has ended.
    ended: Mutex<Receiver<()>>,
}

/// What became of sampled requests.
#[derive(Debug, Default)]
struct Counters {
    exported: AtomicU64,
    dropped: AtomicU64,
    failed: AtomicU64,
}

/// The same at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// The receiver has their spans.
    pub exported: u64,
    /// The queue was full.
    pub dropped: u64,
    /// The receiver was away for too long, or refused them.
    pub failed: u64,
}

/// A request that is sampled: who calls whom, and what it notes on its way. Any thread may add to it.
#[derive(Debug)]
pub struct Trace {
    pub context: Context,
    /// The caller's span.
    parent: Option<[u8; 8]>,
    state: String,
    received: Instant,
    /// The same, in nanoseconds since 1970.
    started_ns: u64,
    call: Call,
    marks: Marks,
    facts: OnceLock<Facts>,
    /// How it ended, and how many nanoseconds after its begin.
    end: OnceLock<(End, u64)>,
}

/// What is called: the span's name and attributes.
#[derive(Debug, Default)]
pub struct Call {
    pub name: Cow<'static, str>,
    pub attributes: Vec<(&'static str, Value)>,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Text(Cow<'static, str>),
    Number(i64),
}

/// Nanoseconds since the request was received, [`UNSET`] at first, and counts.
#[derive(Debug)]
struct Marks {
    decoded: AtomicU64,
    queued: AtomicU64,
    call_start: AtomicU64,
    call_end: AtomicU64,
    calls: AtomicU64,
    /// Rows of the largest call, others' rows among them.
    call_rows: AtomicU64,
    dispatch: OnceLock<Dispatch>,
    cache_hits: AtomicU64,
    cache_misses: AtomicU64,
}

const UNSET: u64 = u64::MAX;

/// Who answered a request, and what.
#[derive(Clone, Debug)]
pub struct Facts {
    pub slot: String,
    pub revision: u64,
    /// 0 when it was refused.
    pub rows: usize,
    pub prediction: Option<Uuid>,
    /// When the results were there; `None` when it was refused.
    pub computed: Option<Instant>,
}

/// One call of an engine.
#[derive(Clone, Copy, Debug)]
pub struct EngineCall {
    pub start: Instant,
    pub took: Duration,
    pub rows: usize,
    pub dispatch: Dispatch,
}

/// How a request ended.
#[derive(Clone, Debug, Default)]
pub struct End {
    /// What the span is called, where that is not known before.
    pub name: Option<Cow<'static, str>>,
    pub attributes: Vec<(&'static str, Value)>,
    /// The name of what went wrong.
    pub error: Option<Cow<'static, str>>,
    /// Whether that is the server's fault, as the protocol's conventions see it.
    pub failed: bool,
}

/// A sampled request in work. Dropped before [`Open::end`], the caller went away.
#[derive(Debug)]
pub struct Open<'a> {
    tracer: &'a Tracer,
    trace: Arc<Trace>,
    ended: bool,
}

/// The random part of a trace id.
const RANDOM_BITS: u32 = 56;

impl Tracer {
    /// Starts the thread that exports, on the current runtime; `None` where nothing is traced.
    ///
    /// # Errors
    /// When the settings contradict each other, or the system has no more threads.
    pub fn start(settings: Settings, supervisor: &Supervisor) -> Result<Option<Tracer>, String> {
        if settings.endpoint.is_empty() {
            return Ok(None);
        }
        let (sender, receiver) = sync_channel(settings.queue_max);
        let (over, ended) = sync_channel(1);
        let counters = Arc::<Counters>::default();
        let tracer = Tracer {
            by_parent: settings.sample_by_parent,
            threshold: threshold(settings.sample_ratio),
            sender,
            counters: Arc::clone(&counters),
            ended: Mutex::new(ended),
        };
        let exporter = exporter::Exporter::new(settings, receiver, counters, supervisor)?;
        let work = move || {
            exporter.run();
            // Nobody may wait for it.
            let _told = over.send(());
        };
        let started = supervisor.thread("trace", Priority::Background, work);
        started.map_err(|error| error.to_string())?;
        Ok(Some(tracer))
    }

    /// Begins the span of a request that is sampled. `describe` and `state` are asked only then.
    pub fn begin(
        &self,
        received: Instant,
        parent: Option<Context>,
        describe: impl FnOnce() -> (Call, String),
    ) -> Option<Open<'_>> {
        let (trace, flags) = match parent {
            Some(parent) => (parent.trace, parent.flags & context::RANDOM),
            None if self.threshold == 0 => return None,
            None => (Uuid::new_v4().into_bytes(), context::RANDOM),
        };
        let sampled = match parent {
            Some(parent) if self.by_parent => parent.is_sampled(),
            _ => random_bits(trace) < self.threshold,
        };
        if !sampled {
            return None;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let started = now.unwrap_or_default().saturating_sub(received.elapsed());
        let (call, state) = describe();
        let trace = Trace {
            context: Context {
                trace,
                span: new_span(),
                flags: flags | context::SAMPLED,
            },
            parent: parent.map(|parent| parent.span),
            state,
            received,
            started_ns: nanoseconds(started),
            call,
            marks: Marks::default(),
            facts: OnceLock::new(),
            end: OnceLock::new(),
        };
        Some(Open {
            tracer: self,
            trace: Arc::new(trace),
            ended: false,
        })
    }

    /// What became of sampled requests so far.
    pub fn counts(&self) -> Counts {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            exported: load(&self.counters.exported),
            dropped: load(&self.counters.dropped),
            failed: load(&self.counters.failed),
        }
    }

    /// Waits until what was queued is sent or given up, once the supervisor told all to stop; false
    /// when that takes longer than `limit`.
    pub fn close(&self, limit: Duration) -> bool {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.recv_timeout(limit) != Err(RecvTimeoutError::Timeout)
    }
}

impl Open<'_> {
    /// What the request notes things in.
    pub fn trace(&self) -> &Arc<Trace> {
        &self.trace
    }

    /// Ends the span now.
    pub fn end(mut self, end: End) {
        self.hand_over(end);
    }

    fn hand_over(&mut self, end: End) {
        self.ended = true;
        let at = self.trace.offset(Instant::now());
        // Ended once only.
        let _set = self.trace.end.set((end, at));
        if self
            .tracer
            .sender
            .try_send(Arc::clone(&self.trace))
            .is_err()
        {
            self.tracer.counters.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.hand_over(End {
                error: Some("cancelled".into()),
                ..End::default()
            });
        }
    }
}

impl Trace {
    /// What it is called at its begin.
    pub fn name(&self) -> &str {
        &self.call.name
    }

    /// The request is read and checked.
    pub fn decoded(&self, at: Instant) {
        earliest(&self.marks.decoded, self.offset(at));
    }

    /// Its rows wait for a thread or for others.
    pub fn queued(&self, at: Instant) {
        earliest(&self.marks.queued, self.offset(at));
    }

    /// An engine computed its rows, or some of them.
    pub fn computed(&self, call: &EngineCall) {
        let marks = &self.marks;
        let start = self.offset(call.start);
        let end = start.saturating_add(nanoseconds(call.took));
        earliest(&marks.call_start, start);
        marks.call_end.fetch_max(end, Ordering::AcqRel);
        marks.calls.fetch_add(1, Ordering::AcqRel);
        marks
            .call_rows
            .fetch_max(call.rows as u64, Ordering::Relaxed);
        // The first call's reason is told.
        let _set = marks.dispatch.set(call.dispatch);
    }

    /// What a cache had of its rows.
    pub fn looked_up(&self, hits: u64, misses: u64) {
        self.marks.cache_hits.store(hits, Ordering::Relaxed);
        self.marks.cache_misses.store(misses, Ordering::Relaxed);
    }

    /// Who answered it.
    pub fn answered(&self, facts: Facts) {
        // One answer only.
        let _set = self.facts.set(facts);
    }

    /// Nanoseconds after its begin.
    fn offset(&self, at: Instant) -> u64 {
        nanoseconds(at.saturating_duration_since(self.received))
    }
}

impl Default for Marks {
    fn default() -> Marks {
        Marks {
            decoded: AtomicU64::new(UNSET),
            queued: AtomicU64::new(UNSET),
            call_start: AtomicU64::new(UNSET),
            call_end: AtomicU64::new(0),
            calls: AtomicU64::new(0),
            call_rows: AtomicU64::new(0),
            dispatch: OnceLock::new(),
            cache_hits: AtomicU64::new(UNSET),
            cache_misses: AtomicU64::new(0),
        }
    }
}

fn earliest(mark: &AtomicU64, ns: u64) {
    mark.fetch_min(ns, Ordering::AcqRel);
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX - 1)
}

/// A share of all trace ids. 1 is all of them.
fn threshold(ratio: f64) -> u64 {
    (ratio.clamp(0.0, 1.0) * (1_u64 << RANDOM_BITS) as f64) as u64
}

/// The last 56 bits of a trace id, which are random in those that say so and in most others.
fn random_bits(trace: [u8; 16]) -> u64 {
    (u128::from_be_bytes(trace) & ((1 << RANDOM_BITS) - 1)) as u64
}

fn new_span() -> [u8; 8] {
    // The variant's bits keep it from being zero.
    Uuid::new_v4().as_u64_pair().1.to_be_bytes()
}

#[cfg(test)]
mod tests;
