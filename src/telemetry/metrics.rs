//! The metrics' names and their exposition. Everything is read at scrape time from the revisions
//! that are resident then, so a series leaves with its revision and no label comes from a client.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::drift::{self, Drift};
use super::exemplars::{self, Examples};
use super::trace;
use super::trials::{self, Trials};
use crate::model::revision::Revision;
use crate::model::slot::Slot;
use crate::model::usage::{
    BATCH_SIZES, BOUNDS, Dispatch, Outcome, Protocol, Snapshot, Usage, bounds,
};
use crate::serve::Server;

/// The media type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What is reported beside the usage of revisions: the window of the sliding quantiles.
#[derive(Debug)]
pub struct Metrics {
    window: Duration,
    started: Instant,
    /// Latencies at earlier moments, oldest first, at most [`STEPS`] + 1 of them.
    history: Mutex<VecDeque<Past>>,
}

/// What the listeners say of themselves.
#[derive(Clone, Copy, Debug, Default)]
pub struct Doors {
    /// Connections of clients that are open.
    pub connections: usize,
    /// Those that were closed at once, for too many were open.
    pub connections_refused: u64,
    /// Bytes of large bodies that are being read.
    pub bodies_bytes: usize,
    /// Large bodies that were refused, for others took their room.
    pub bodies_refused: u64,
    /// Where requests are traced: what became of those that were sampled.
    pub traces: Option<trace::Counts>,
    /// Bytes of large answers that clients have not taken.
    pub answers_bytes: usize,
    /// Large answers that were refused, for those took their room.
    pub answers_refused: u64,
    /// Connections that the server closed on its own, by reason.
    pub closed: [(&'static str, u64); 4],
}

/// Each resident revision's latencies at one moment, by its uid.
#[derive(Debug)]
struct Past {
    at: Instant,
    latencies: BTreeMap<u64, Snapshot>,
}

/// What one scrape reads.
#[derive(Debug)]
struct Scrape {
    server: Arc<Server>,
    doors: Doors,
    trials: Trials,
    drift: Drift,
    slots: Vec<Arc<Slot>>,
    /// Resident revisions with their roles.
    revisions: Vec<(Arc<Revision>, &'static str)>,
    /// Slot, quantile, seconds.
    quantiles: Vec<(String, f64, f64)>,
    uptime: Duration,
    /// Traced requests, in the order in which the series of request durations were written.
    examples: Arc<Mutex<Vec<Examples>>>,
}

pub(super) type Labels = Vec<(&'static str, String)>;

/// The window moves in this many steps.
const STEPS: u32 = 12;

/// The quantiles of the sliding gauges.
const QUANTILES: [f64; 4] = [0.5, 0.9, 0.95, 0.99];

/// Every second of the internal bounds is exposed: 10 µs × 1.5625^i, 30 buckets.
const EXPOSED_STEP: usize = 2;

/// Those, and the infinite one.
const EXPOSED: usize = BOUNDS.div_ceil(EXPOSED_STEP) + 1;

/// The histogram that has exemplars, as it is written.
const REQUESTS: &str = "hedgerow_request_duration_seconds";

impl Metrics {
    /// Metrics with sliding quantiles over this window.
    pub fn new(window: Duration, started: Instant) -> Metrics {
        Metrics {
            window,
            started,
            history: Mutex::default(),
        }
    }

    /// How often [`Metrics::tick`] is to be called.
    pub fn step(&self) -> Duration {
        (self.window / STEPS).max(Duration::from_millis(10))
    }

    /// Moves the window to `now`.
    pub fn tick(&self, server: &Server, now: Instant) {
        let mut latencies = BTreeMap::new();
        for roles in server
            .registry
            .slots()
            .values()
            .filter_map(|slot| slot.roles())
        {
            for revision in roles.resident() {
                latencies.insert(revision.uid, revision.usage.ended(Outcome::Ok));
            }
        }
        let mut history = lock(&self.history);
        history.push_back(Past { at: now, latencies });
        while history.len() > STEPS as usize + 1 {
            history.pop_front();
        }
    }

    /// The exposition of a server's state at `now`, as [`CONTENT_TYPE`].
    ///
    /// # Errors
    /// When a label or a number cannot be written, which is a defect.
    pub fn render(
        &self,
        server: &Arc<Server>,
        (doors, trials, drift): (&Doors, Trials, Drift),
        now: Instant,
    ) -> Result<String, fmt::Error> {
        let slots: Vec<_> = server.registry.slots().values().cloned().collect();
        let mut revisions = Vec::new();
        for roles in slots.iter().filter_map(|slot| slot.roles()) {
            for revision in roles.resident() {
                revisions.push((Arc::clone(revision), roles.role(revision.uid)));
            }
        }
        let examples = Arc::<Mutex<Vec<Examples>>>::default();
        let scrape = Scrape {
            server: Arc::clone(server),
            doors: *doors,
            trials,
            drift,
            quantiles: self.quantiles(&slots, now),
            slots,
            revisions,
            uptime: now.saturating_duration_since(self.started),
            examples: Arc::clone(&examples),
        };
        let mut registry = Registry::default();
        registry.register_collector(Box::new(scrape));
        let mut out = String::new();
        text::encode(&mut out, &registry)?;
        let examples = lock(&examples);
        Ok(exemplars::add(out, REQUESTS, EXPOSED, &examples))
    }

    /// Slot, quantile and seconds over the window that ends at `now`. A slot without requests in
    /// the window has 0, not NaN: an autoscaler then sees an idle slot.
    fn quantiles(&self, slots: &[Arc<Slot>], now: Instant) -> Vec<(String, f64, f64)> {
        let history = lock(&self.history);
        let inside = |past: &&Past| now.saturating_duration_since(past.at) <= self.window;
        let oldest = history.iter().find(inside);
        let mut found = Vec::new();
        for slot in slots {
            let Some(roles) = slot.roles() else { continue };
            let mut total = Snapshot::EMPTY;
            for revision in roles.resident() {
                let before = oldest.and_then(|past| past.latencies.get(&revision.uid));
                total.add(
                    &revision
                        .usage
                        .ended(Outcome::Ok)
                        .since(before.unwrap_or(&Snapshot::EMPTY)),
                );
            }
            for q in QUANTILES {
                found.push((slot.name.clone(), q, total.quantile(q).unwrap_or(0.0)));
            }
        }
        found
    }
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        self.process(&mut encoder)?;
        self.requests(&mut encoder)?;
        self.rows(&mut encoder)?;
        self.slots(&mut encoder)?;
        trials::encode_usage(&mut encoder, &self.slots, &self.revisions)?;
        self.trials.encode(&mut encoder)?;
        drift::encode_usage(&mut encoder, &self.slots)?;
        self.drift.encode(&mut encoder)
    }
}

impl Scrape {
    fn process(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let server = &self.server;
        let version = labels([("version", env!("CARGO_PKG_VERSION"))]);
        gauges(
            encoder,
            "hedgerow_build_info",
            "The version of the server; always 1.",
            [(version, 1.0)],
        )?;
        gauges(
            encoder,
            "hedgerow_uptime_seconds",
            "Seconds since the server started.",
            [(Labels::new(), self.uptime.as_secs_f64())],
        )?;
        let in_flight = server.admission.in_flight() as f64;
        gauges(
            encoder,
            "hedgerow_requests_in_flight",
            "Requests in work now.",
            [(Labels::new(), in_flight)],
        )?;
        let rows = server.admission.rows_in_flight() as f64;
        gauges(
            encoder,
            "hedgerow_rows_in_flight",
            "Rows in work now.",
            [(Labels::new(), rows)],
        )?;
        let queued = server.batcher.queued_rows() as f64;
        gauges(
            encoder,
            "hedgerow_queued_rows",
            "Rows that wait for a compute thread.",
            [(Labels::new(), queued)],
        )?;
        gauges(
            encoder,
            "hedgerow_connections",
            "Connections of clients that are open.",
            [(Labels::new(), self.doors.connections as f64)],
        )?;
        gauges(
            encoder,
            "hedgerow_bodies_bytes",
            "Bytes of large bodies that are being read.",
            [(Labels::new(), self.doors.bodies_bytes as f64)],
        )?;
        gauges(
            encoder,
            "hedgerow_answers_bytes",
            "Bytes of large answers that clients have not taken.",
            [(Labels::new(), self.doors.answers_bytes as f64)],
        )?;
        let closed = self.doors.closed;
        counters(
            encoder,
            "hedgerow_connections_closed",
            "Connections closed because of what their clients did not do, by reason.",
            closed.map(|(reason, count)| (labels([("reason", reason)]), count)),
        )?;
        let sheds = [
            ("overload", read(&server.admission.shed_overload)),
            ("draining", read(&server.admission.shed_draining)),
            ("queue", server.batcher.shed()),
            ("connections", self.doors.connections_refused),
            ("bodies", self.doors.bodies_refused),
            ("answers", self.doors.answers_refused),
        ];
        counters(
            encoder,
            "hedgerow_sheds",
            "Requests, connections, bodies and answers refused by a limit, by reason.",
            sheds.map(|(reason, count)| (labels([("reason", reason)]), count)),
        )?;
        let traces = self.doors.traces.iter().flat_map(|counts| {
            [
                ("exported", counts.exported),
                ("dropped", counts.dropped),
                ("failed", counts.failed),
            ]
        });
        counters(
            encoder,
            "hedgerow_traces",
            "Sampled requests whose spans were exported, were dropped because the queue was full, and could not be exported.",
            traces.map(|(outcome, count)| (labels([("outcome", outcome)]), count)),
        )?;
        let caches: Vec<_> = server
            .caches()
            .map(|(slot, cache)| (labels([("slot", slot.unwrap_or("*"))]), cache.size()))
            .collect();
        let bytes = caches
            .iter()
            .map(|(labels, size)| (labels.clone(), size.1 as f64));
        gauges(
            encoder,
            "hedgerow_cache_bytes",
            "Bytes that a cache holds; slot \"*\" is the shared one.",
            bytes,
        )?;
        let entries = caches
            .iter()
            .map(|(labels, size)| (labels.clone(), size.0 as f64));
        gauges(
            encoder,
            "hedgerow_cache_entries",
            "Rows that a cache holds; slot \"*\" is the shared one.",
            entries,
        )
    }

    fn requests(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let help = "From a request's first byte in memory to its answer, by slot, revision, protocol and outcome.";
        let mut family = encoder.encode_descriptor(
            "hedgerow_request_duration",
            help,
            Some(&Unit::Seconds),
            MetricType::Histogram,
        )?;
        let unresolved = (
            labels([("slot", ""), ("revision", "")]),
            &self.server.unresolved,
        );
        let all = self
            .revisions
            .iter()
            .map(|(revision, _)| (of(revision), &revision.usage));
        for (base, usage) in all.chain([unresolved]) {
            for protocol in Protocol::ALL {
                for outcome in Outcome::ALL {
                    let snapshot = usage.requests(protocol, outcome).snapshot();
                    if snapshot.count() == 0 && outcome != Outcome::Ok {
                        continue;
                    }
                    let mut labels = base.clone();
                    labels.push(("protocol", protocol.name().to_string()));
                    labels.push(("outcome", outcome.name().to_string()));
                    histogram(family.encode_family(&labels)?, &snapshot)?;
                    let examples = usage.exemplars(protocol, outcome);
                    let examples = examples.map(|it| exemplars::examples(it, EXPOSED_STEP));
                    lock(&self.examples).push(examples.unwrap_or_default());
                }
            }
        }
        let help = "The steps of a request: decode, queue, infer, encode.";
        let mut family = encoder.encode_descriptor(
            "hedgerow_phase_duration",
            help,
            Some(&Unit::Seconds),
            MetricType::Histogram,
        )?;
        for (revision, _) in &self.revisions {
            let usage = &revision.usage;
            let phases = [
                ("decode", &usage.decode),
                ("queue", &usage.queue),
                ("infer", &usage.infer),
                ("encode", &usage.encode),
            ];
            for (phase, durations) in phases {
                let mut labels = of(revision);
                labels.push(("phase", phase.to_string()));
                histogram(family.encode_family(&labels)?, &durations.snapshot())?;
            }
        }
        let quantiles = self.quantiles.iter().map(|(slot, q, seconds)| {
            (
                labels([("slot", slot.as_str()), ("quantile", &q.to_string())]),
                *seconds,
            )
        });
        let help =
            "Latency quantiles of answered requests over the sliding window; 0 without requests.";
        gauges(encoder, "hedgerow_latency_seconds", help, quantiles)
    }

    fn rows(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let each = |pick: fn(&Usage) -> &AtomicU64| {
            self.revisions
                .iter()
                .map(move |(revision, _)| (of(revision), read(pick(&revision.usage))))
        };
        counters(
            encoder,
            "hedgerow_rows",
            "Rows answered.",
            each(|usage| &usage.rows),
        )?;
        counters(
            encoder,
            "hedgerow_rows_computed",
            "Rows computed by an engine.",
            each(|usage| &usage.rows_computed),
        )?;
        counters(
            encoder,
            "hedgerow_cache_hits",
            "Rows found in the cache.",
            each(|usage| &usage.cache_hits),
        )?;
        counters(
            encoder,
            "hedgerow_cache_misses",
            "Rows not found in the cache.",
            each(|usage| &usage.cache_misses),
        )?;
        let dispatches = self.revisions.iter().flat_map(|(revision, _)| {
            Dispatch::ALL.map(|reason| {
                let mut labels = of(revision);
                labels.push(("reason", reason.name().to_string()));
                (labels, revision.usage.batches(reason))
            })
        });
        counters(
            encoder,
            "hedgerow_batch_dispatch",
            "Engine calls, by the reason of their dispatch.",
            dispatches,
        )?;
        let help = "Rows per engine call.";
        let mut family =
            encoder.encode_descriptor("hedgerow_batch_rows", help, None, MetricType::Histogram)?;
        for (revision, _) in &self.revisions {
            let mut buckets: Vec<(f64, u64)> = Vec::with_capacity(BATCH_SIZES + 1);
            for (power, calls) in revision.usage.batch_rows.iter().enumerate() {
                buckets.push((f64::from(1_u32 << power), calls.get().0));
            }
            buckets.push((f64::INFINITY, 0));
            let count = buckets.iter().map(|(_, calls)| calls).sum();
            let sum = read(&revision.usage.rows_computed) as f64;
            family
                .encode_family(&of(revision))?
                .encode_histogram::<Labels>(sum, count, &buckets, None)?;
        }
        Ok(())
    }

    fn slots(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let slot = |slot: &Arc<Slot>| labels([("slot", slot.name.as_str())]);
        let swaps = self.slots.iter().map(|s| (slot(s), read(&s.usage.swaps)));
        counters(encoder, "hedgerow_swaps", "Changes of the champion.", swaps)?;
        let refusals = self
            .slots
            .iter()
            .map(|s| (slot(s), read(&s.usage.refusals)));
        counters(
            encoder,
            "hedgerow_refusals",
            "Revisions that were refused when they were prepared.",
            refusals,
        )?;
        let help = "From the start of preparing a revision to its commit.";
        let mut family = encoder.encode_descriptor(
            "hedgerow_swap_duration",
            help,
            Some(&Unit::Seconds),
            MetricType::Histogram,
        )?;
        for s in &self.slots {
            histogram(
                family.encode_family(&slot(s))?,
                &s.usage.swap_duration.snapshot(),
            )?;
        }
        let info = self.revisions.iter().map(|(revision, role)| {
            let mut labels = of(revision);
            labels.push(("role", (*role).to_string()));
            labels.push(("engine", revision.outline().engine.to_string()));
            labels.push(("sha256", revision.digest.clone()));
            (labels, 1.0)
        });
        gauges(
            encoder,
            "hedgerow_slot_info",
            "Resident revisions, their role, engine and digest; always 1.",
            info,
        )?;
        let bytes = self
            .revisions
            .iter()
            .map(|(r, _)| (of(r), r.engine.memory_bytes() as f64));
        gauges(
            encoder,
            "hedgerow_model_bytes",
            "Bytes that a revision holds in memory, roughly.",
            bytes,
        )?;
        let cost = self
            .revisions
            .iter()
            .map(|(r, _)| (of(r), r.cost.row_ns as f64 / 1e9));
        gauges(
            encoder,
            "hedgerow_row_cost_seconds",
            "Measured time of a call with one row.",
            cost,
        )
    }
}

pub(super) fn labels<const N: usize>(pairs: [(&'static str, &str); N]) -> Labels {
    pairs.map(|(name, value)| (name, value.to_string())).into()
}

pub(super) fn of(revision: &Revision) -> Labels {
    labels([
        ("slot", &revision.slot),
        ("revision", &revision.id.to_string()),
    ])
}

fn read(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}

pub(super) fn gauges(
    encoder: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    series: impl IntoIterator<Item = (Labels, f64)>,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, value) in series {
        family.encode_family(&labels)?.encode_gauge(&value)?;
    }
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counters; the format adds `_total` to the name.
pub(super) fn counters(
    encoder: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    series: impl IntoIterator<Item = (Labels, u64)>,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (labels, value) in series {
        family
            .encode_family(&labels)?
            .encode_counter::<Labels, u64, f64>(&value, None)?;
    }
    Ok(())
}

fn histogram(
    mut encoder: prometheus_client::encoding::MetricEncoder,
    snapshot: &Snapshot,
) -> fmt::Result {
    let bounds = bounds();
    let mut buckets = Vec::with_capacity(BOUNDS / EXPOSED_STEP + 1);
    for first in (0..BOUNDS).step_by(EXPOSED_STEP) {
        // The bound of the first bucket of each group closes it, so 10 µs is one of them.
        let from = (first + 1).saturating_sub(EXPOSED_STEP);
        let count: u64 = snapshot.buckets[from..=first].iter().sum();
        buckets.push((bounds[first] as f64 / 1e9, count));
    }
    let counted: u64 = buckets.iter().map(|(_, count)| count).sum();
    let count = snapshot.count();
    buckets.push((f64::INFINITY, count - counted));
    encoder.encode_histogram::<Labels>(snapshot.sum_ns as f64 / 1e9, count, &buckets, None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::usage::Histogram;

    #[test]
    fn exposed_buckets_hold_every_duration_once() {
        let durations = Histogram::default();
        for us in [1, 10, 11, 13, 20, 1_000, 100_000_000] {
            durations.record(Duration::from_micros(us));
        }
        let mut registry = Registry::default();
        registry.register_collector(Box::new(One(durations.snapshot())));
        let mut out = String::new();
        text::encode(&mut out, &registry).unwrap();
        assert!(out.contains("x_seconds_count 7"), "{out}");
        assert!(
            out.contains("x_seconds_bucket{le=\"1e-5\"} 2") || out.contains("le=\"0.00001\"} 2"),
            "{out}"
        );
        assert!(out.contains("le=\"+Inf\"} 7"), "{out}");
    }

    #[derive(Debug)]
    struct One(Snapshot);

    impl Collector for One {
        fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
            let family =
                encoder.encode_descriptor("x", "x", Some(&Unit::Seconds), MetricType::Histogram)?;
            histogram(family, &self.0)
        }
    }
}
