//! What a revision and a slot have done so far: counters and latency histograms that the serving
//! path adds to and that telemetry and the statistics extension read. Knows no metric's name.
//!
//! Everything is a relaxed atomic: no lock, no allocation, no loss. Usage belongs to its revision,
//! so what is reported of a revision leaves with it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The number of [`bounds`], and of buckets less the last one.
pub const BOUNDS: usize = 60;

/// Upper bounds of a [`Histogram`]'s buckets in nanoseconds: 10 µs × 1.25^i, up to 5.2 s. A last
/// bucket holds what is above.
pub fn bounds() -> [u64; BOUNDS] {
    BOUNDS_NS
}

const BOUNDS_NS: [u64; BOUNDS] = {
    let mut bounds = [0; BOUNDS];
    let mut bound = 10_000;
    let mut index = 0;
    while index < BOUNDS {
        bounds[index] = bound;
        bound += bound / 4;
        index += 1;
    }
    bounds
};

/// A histogram of durations with the fixed [`bounds`].
#[derive(Debug)]
pub struct Histogram {
    buckets: [AtomicU64; BOUNDS + 1],
    sum_ns: AtomicU64,
}

/// A histogram at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// How many durations fell into each bucket, not cumulative.
    pub buckets: [u64; BOUNDS + 1],
    pub sum_ns: u64,
}

/// A request that is an example of its bucket of a [`Histogram`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exemplar {
    pub duration: Duration,
    pub trace: [u8; 16],
    pub span: [u8; 8],
    pub at: SystemTime,
}

/// The last example of each bucket. There only once a request was traced.
#[derive(Debug)]
pub struct Exemplars([Mutex<Option<Exemplar>>; BOUNDS + 1]);

/// A count and the time that went into it.
#[derive(Debug, Default)]
pub struct Timed {
    count: AtomicU64,
    ns: AtomicU64,
}

/// The protocols that requests come by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    Http,
    Grpc,
}

/// How a request ended, as metrics tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    Ok,
    /// The caller's fault.
    Rejected,
    /// Shed by a limit, or the server is draining.
    Shed,
    Deadline,
    /// The caller went away.
    Cancelled,
    /// A defect of ours or of an engine.
    Failed,
}

/// Why a batch was dispatched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dispatch {
    /// Cheap enough to run on the calling task.
    Inline,
    /// The batch reached its limit of rows.
    Full,
    /// Nothing else was waiting.
    Idle,
    /// The queue delay was over.
    Timer,
}

/// What a revision has done.
#[derive(Debug, Default)]
pub struct Usage {
    requests: [[Histogram; Outcome::ALL.len()]; Protocol::ALL.len()],
    exemplars: [[OnceLock<Box<Exemplars>>; Outcome::ALL.len()]; Protocol::ALL.len()],
    /// Waiting for a compute thread; batched work only.
    pub queue: Histogram,
    /// In the engine.
    pub infer: Histogram,
    /// Bytes to tensors, and tensors to bytes.
    pub decode: Histogram,
    pub encode: Histogram,
    /// Rows answered, from the cache or computed.
    pub rows: AtomicU64,
    /// Rows computed.
    pub rows_computed: AtomicU64,
    /// Rows found in the cache and not found there.
    pub cache_hits: AtomicU64,
    pub cache_misses: AtomicU64,
    batches: [AtomicU64; Dispatch::ALL.len()],
    /// Engine calls by rows: entry i counts calls of up to 2^i rows, and their time.
    pub batch_rows: [Timed; BATCH_SIZES],
    /// Milliseconds since 1970 of the last answer; 0 before the first.
    pub last_inference_ms: AtomicU64,
    pub shadow: ShadowUsage,
    /// Answered rows that were recorded, and those of them whose scores were not finite.
    pub checked: AtomicU64,
    pub checked_invalid: AtomicU64,
}

/// What a revision did on rows that another one answered.
#[derive(Debug, Default)]
pub struct ShadowUsage {
    /// Rows scored.
    pub rows: AtomicU64,
    /// Rows on which it failed or panicked.
    pub errors: AtomicU64,
    /// Rows that do not fit its signature.
    pub misfits: AtomicU64,
    /// Rows whose scores were not finite.
    pub invalid: AtomicU64,
}

/// Sizes of [`Usage::batch_rows`]: up to 2^0, 2^1, … 2^20 rows; the last also holds larger calls.
pub const BATCH_SIZES: usize = 21;

/// What a slot has done.
#[derive(Debug, Default)]
pub struct SlotUsage {
    /// Commits that changed the champion.
    pub swaps: AtomicU64,
    /// Prepares that failed.
    pub refusals: AtomicU64,
    /// Time from the start of a prepare to its commit.
    pub swap_duration: Histogram,
    /// Rows handed on to be recorded.
    pub recorded: AtomicU64,
    /// Rows above the rate that is recorded.
    pub skipped: AtomicU64,
    /// Rows that were not recorded because the queue was full.
    pub record_dropped: AtomicU64,
    /// Rows that were to be watched for drift and were not: too many in a second, or no room.
    pub unwatched: AtomicU64,
    /// Rows that were recorded without shadow scores because the shadow was behind.
    pub shadow_dropped: AtomicU64,
}

impl Histogram {
    /// Adds one duration.
    pub fn record(&self, duration: Duration) {
        let (bucket, ns) = bucket(duration);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_ns.fetch_add(ns, Ordering::Relaxed);
    }

    /// The histogram now.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            buckets: std::array::from_fn(|index| self.buckets[index].load(Ordering::Relaxed)),
            sum_ns: self.sum_ns.load(Ordering::Relaxed),
        }
    }
}

/// The bucket of a duration, and its nanoseconds.
fn bucket(duration: Duration) -> (usize, u64) {
    let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    (BOUNDS_NS.partition_point(|bound| *bound < ns), ns)
}

impl Exemplars {
    /// Takes an example, unless its bucket's is being read or written: another one will come.
    fn put(&self, exemplar: Exemplar) {
        let (bucket, _ns) = bucket(exemplar.duration);
        if let Ok(mut place) = self.0[bucket].try_lock() {
            *place = Some(exemplar);
        }
    }

    /// The newest example of some buckets.
    pub fn newest(&self, buckets: std::ops::RangeInclusive<usize>) -> Option<Exemplar> {
        let places = self.0.get(buckets).into_iter().flatten();
        places
            .filter_map(|place| *place.lock().unwrap_or_else(PoisonError::into_inner))
            .max_by_key(|it| it.at)
    }
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram {
            buckets: [const { AtomicU64::new(0) }; BOUNDS + 1],
            sum_ns: AtomicU64::new(0),
        }
    }
}

impl Snapshot {
    /// A histogram without entries.
    pub const EMPTY: Snapshot = Snapshot {
        buckets: [0; BOUNDS + 1],
        sum_ns: 0,
    };

    /// How many durations it holds.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Adds the entries of `other`.
    pub fn add(&mut self, other: &Snapshot) {
        for (bucket, more) in self.buckets.iter_mut().zip(other.buckets) {
            *bucket += more;
        }
        self.sum_ns = self.sum_ns.wrapping_add(other.sum_ns);
    }

    /// What came since `earlier`, a snapshot of the same histogram.
    pub fn since(&self, earlier: &Snapshot) -> Snapshot {
        Snapshot {
            buckets: std::array::from_fn(|index| {
                self.buckets[index].saturating_sub(earlier.buckets[index])
            }),
            sum_ns: self.sum_ns.saturating_sub(earlier.sum_ns),
        }
    }

    /// The quantile `q` in 0..=1 in seconds, interpolated within its bucket; `None` without
    /// entries. The error is at most the bucket's width, 25 %. Above the last bound: that bound.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let rank = (q * count as f64).max(1.0);
        let mut below = 0;
        for (index, bucket) in self.buckets.iter().enumerate() {
            if (below + bucket) as f64 >= rank && *bucket > 0 {
                let lower = if index == 0 { 0 } else { BOUNDS_NS[index - 1] };
                let upper = BOUNDS_NS[index.min(BOUNDS - 1)];
                let share = (rank - below as f64) / *bucket as f64;
                return Some((lower as f64 + upper.saturating_sub(lower) as f64 * share) / 1e9);
            }
            below += bucket;
        }
        None
    }
}

impl Timed {
    /// Adds one.
    pub fn record(&self, duration: Duration) {
        self.count.fetch_add(1, Ordering::Relaxed);
        let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.ns.fetch_add(ns, Ordering::Relaxed);
    }

    /// Count and nanoseconds.
    pub fn get(&self) -> (u64, u64) {
        (
            self.count.load(Ordering::Relaxed),
            self.ns.load(Ordering::Relaxed),
        )
    }
}

impl Protocol {
    pub const ALL: [Protocol; 2] = [Protocol::Http, Protocol::Grpc];

    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Http => "http",
            Protocol::Grpc => "grpc",
        }
    }
}

impl Outcome {
    pub const ALL: [Outcome; 6] = [
        Outcome::Ok,
        Outcome::Rejected,
        Outcome::Shed,
        Outcome::Deadline,
        Outcome::Cancelled,
        Outcome::Failed,
    ];

    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::Rejected => "rejected",
            Outcome::Shed => "shed",
            Outcome::Deadline => "deadline",
            Outcome::Cancelled => "cancelled",
            Outcome::Failed => "failed",
        }
    }
}

impl Dispatch {
    pub const ALL: [Dispatch; 4] = [
        Dispatch::Inline,
        Dispatch::Full,
        Dispatch::Idle,
        Dispatch::Timer,
    ];

    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Dispatch::Inline => "inline",
            Dispatch::Full => "full",
            Dispatch::Idle => "idle",
            Dispatch::Timer => "timer",
        }
    }
}

impl Usage {
    /// The requests of one protocol that ended in one way.
    pub fn requests(&self, protocol: Protocol, outcome: Outcome) -> &Histogram {
        &self.requests[protocol as usize][outcome as usize]
    }

    /// Notes a traced request as an example of its duration.
    pub fn exemplify(&self, protocol: Protocol, outcome: Outcome, exemplar: Exemplar) {
        let place = &self.exemplars[protocol as usize][outcome as usize];
        let none = || Box::new(Exemplars([const { Mutex::new(None) }; BOUNDS + 1]));
        place.get_or_init(none).put(exemplar);
    }

    /// Examples of the requests of one protocol that ended in one way.
    pub fn exemplars(&self, protocol: Protocol, outcome: Outcome) -> Option<&Exemplars> {
        let place = &self.exemplars[protocol as usize][outcome as usize];
        place.get().map(Box::as_ref)
    }

    /// Adds an engine call.
    pub fn record_call(&self, rows: usize, reason: Dispatch, duration: Duration) {
        self.infer.record(duration);
        self.rows_computed.fetch_add(rows as u64, Ordering::Relaxed);
        self.batches[reason as usize].fetch_add(1, Ordering::Relaxed);
        let size = rows.max(1).next_power_of_two().trailing_zeros() as usize;
        self.batch_rows[size.min(BATCH_SIZES - 1)].record(duration);
    }

    /// Adds a request that was answered at `at`.
    pub fn record_answer(&self, rows: usize, at: Instant) {
        self.rows.fetch_add(rows as u64, Ordering::Relaxed);
        let ms = unix_ms(at);
        // A store that changes nothing would still take the line from other threads.
        if self.last_inference_ms.load(Ordering::Relaxed) != ms {
            self.last_inference_ms.store(ms, Ordering::Relaxed);
        }
    }

    /// Requests of both protocols that ended in one way.
    pub fn ended(&self, outcome: Outcome) -> Snapshot {
        let mut total = Snapshot::EMPTY;
        for protocol in Protocol::ALL {
            total.add(&self.requests(protocol, outcome).snapshot());
        }
        total
    }

    /// Engine calls that were dispatched for this reason.
    pub fn batches(&self, reason: Dispatch) -> u64 {
        self.batches[reason as usize].load(Ordering::Relaxed)
    }
}

/// Milliseconds since 1970 at a moment. The clock of the day is read once per process: what it is
/// set to later does not show.
fn unix_ms(at: Instant) -> u64 {
    static START: LazyLock<(Instant, Duration)> = LazyLock::new(|| {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
        (Instant::now(), since_1970.unwrap_or_default())
    });
    let (start, since_1970) = *START;
    (since_1970 + at.saturating_duration_since(start)).as_millis() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_start_at_ten_microseconds_and_grow_by_a_quarter() {
        let bounds = bounds();
        assert_eq!(bounds[0], 10_000);
        assert_eq!(bounds[1], 12_500);
        assert!(bounds[BOUNDS - 1] > 5_000_000_000);
    }

    #[test]
    fn a_quantile_lies_in_its_bucket() {
        let histogram = Histogram::default();
        assert_eq!(histogram.snapshot().quantile(0.5), None);
        for us in 1..=1000 {
            histogram.record(Duration::from_micros(us));
        }
        let snapshot = histogram.snapshot();
        assert_eq!(snapshot.count(), 1000);
        for (q, expected) in [(0.5, 500e-6), (0.9, 900e-6), (0.99, 990e-6)] {
            let got = snapshot.quantile(q).unwrap();
            assert!((got / expected - 1.0).abs() < 0.25, "P{q}: {got}");
        }
    }

    #[test]
    fn a_duration_on_a_bound_belongs_below_it() {
        let histogram = Histogram::default();
        histogram.record(Duration::from_micros(10));
        histogram.record(Duration::from_secs(1000));
        let snapshot = histogram.snapshot();
        assert_eq!(snapshot.buckets[0], 1);
        assert_eq!(snapshot.buckets[BOUNDS], 1);
    }

    #[test]
    fn the_newest_example_of_a_bucket_is_kept() {
        let usage = Usage::default();
        let put = |us: u64, second: u64| {
            let exemplar = Exemplar {
                duration: Duration::from_micros(us),
                trace: [1; 16],
                span: [2; 8],
                at: UNIX_EPOCH + Duration::from_secs(second),
            };
            usage.exemplify(Protocol::Http, Outcome::Ok, exemplar);
        };
        assert!(usage.exemplars(Protocol::Http, Outcome::Ok).is_none());
        put(11, 5);
        put(12, 6);
        put(13, 4);
        put(100_000_000, 1);
        let exemplars = usage.exemplars(Protocol::Http, Outcome::Ok).unwrap();
        let us = |buckets| exemplars.newest(buckets).map(|it| it.duration.as_micros());
        assert_eq!(us(0..=0), None);
        assert_eq!(us(1..=2), Some(12));
        assert_eq!(us(2..=2), Some(13));
        assert_eq!(us(BOUNDS..=BOUNDS), Some(100_000_000));
        assert_eq!(us(BOUNDS..=BOUNDS + 9), None);
        assert!(usage.exemplars(Protocol::Grpc, Outcome::Ok).is_none());
    }

    #[test]
    fn since_is_what_came_after() {
        let histogram = Histogram::default();
        histogram.record(Duration::from_micros(10));
        let earlier = histogram.snapshot();
        histogram.record(Duration::from_micros(20));
        let later = histogram.snapshot().since(&earlier);
        assert_eq!((later.count(), later.sum_ns), (1, 20_000));
    }
}
