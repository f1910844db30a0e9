//! What became of requests: counts, and histograms of latencies. Pure.

use hdrhistogram::{CreationError, Histogram};

/// Why there was no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The connection was not opened.
    Connect,
    /// The server closed the connection before the answer was whole.
    Closed,
    /// Reading or writing failed.
    Broken,
    /// The server does not speak the protocol.
    Protocol,
    /// The stream was reset (HTTP/2).
    Reset,
    /// The server left (HTTP/2's GOAWAY) and did not take the request.
    Gone,
    /// The answer is good and does not hold what was expected.
    Different,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With a status of HTTP or of gRPC.
    Status(u16),
    Failed(Failure),
}

/// What a status means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Ok,
    /// The server is there and has no room.
    Refused,
    Error,
}

/// Counts of a phase.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Requests written.
    pub sent: u64,
    pub errors: u64,
    /// Arrivals for which the queue had no room.
    pub dropped: u64,
    /// Requests without an end when the run was over, those that waited for a connection included.
    pub unfinished: u64,
    /// Answers that were ok and came while the phase lasted, whatever phase they were sent in.
    pub ok_meanwhile: u64,
    pub bytes_read: u64,
    /// Latencies of answers that were ok, in ns.
    pub ok: Histogram<u32>,
    /// Latencies of refusals, in ns.
    pub refused: Histogram<u32>,
    /// Of the open loop: how much later than intended the generator looked at arrivals, in ns.
    pub late: Histogram<u32>,
    statuses: Vec<u64>,
    failures: [u64; Failure::ALL.len()],
}

/// One reported interval.
#[derive(Clone, Copy, Debug)]
pub struct Interval {
    pub start_ns: u64,
    pub ok: u64,
    pub refused: u64,
    pub errors: u64,
    pub p99_us: Option<f64>,
}

/// Counts by intervals of equal length.
#[derive(Debug)]
pub struct Intervals {
    width_ns: u64,
    current: Interval,
    latencies: Histogram<u32>,
    done: Vec<Interval>,
}

/// Statuses that are counted one by one; there are none above in HTTP.
const STATUSES: usize = 1000;
/// Latencies above this many ns are counted as this: two minutes.
const HIGHEST_NS: u64 = 120_000_000_000;
/// Latencies below this many ns are not told apart.
const LOWEST_NS: u64 = 100;
const DIGITS: u8 = 3;

impl Failure {
    /// All of them in order, and what they are called in reports.
    pub const ALL: [(Failure, &str); 7] = [
        (Failure::Connect, "connect"),
        (Failure::Closed, "closed"),
        (Failure::Broken, "broken"),
        (Failure::Protocol, "protocol"),
        (Failure::Reset, "reset"),
        (Failure::Gone, "gone"),
        (Failure::Different, "different"),
    ];
}

impl Tally {
    /// Nothing yet.
    ///
    /// # Errors
    /// Never: the bounds are fixed ones.
    pub fn new() -> Result<Tally, CreationError> {
        Ok(Tally {
            sent: 0,
            errors: 0,
            dropped: 0,
            unfinished: 0,
            ok_meanwhile: 0,
            bytes_read: 0,
            ok: histogram()?,
            refused: histogram()?,
            late: histogram()?,
            statuses: vec![0; STATUSES],
            failures: [0; Failure::ALL.len()],
        })
    }

    /// Counts the end of a request.
    pub fn count(&mut self, outcome: Outcome, verdict: Verdict, latency_ns: u64) {
        match outcome {
            Outcome::Status(status) => {
                self.statuses[usize::from(status).min(STATUSES - 1)] += 1;
            }
            Outcome::Failed(failure) => self.failures[failure as usize] += 1,
        }
        match verdict {
            Verdict::Ok => self.ok.saturating_record(latency_ns),
            Verdict::Refused => self.refused.saturating_record(latency_ns),
            Verdict::Error => self.errors += 1,
        }
    }

    /// Requests that ended, in whatever way.
    pub fn ended(&self) -> u64 {
        self.ok.len() + self.refused.len() + self.errors
    }

    /// How often each status and failure was met, those never met left out.
    pub fn statuses(&self) -> impl Iterator<Item = (String, u64)> {
        let statuses = self.statuses.iter().enumerate();
        let statuses = statuses.map(|(status, count)| (status.to_string(), *count));
        let failures = Failure::ALL.iter().zip(self.failures);
        let failures = failures.map(|((_, name), count)| ((*name).to_string(), count));
        statuses.chain(failures).filter(|(_, count)| *count > 0)
    }

    /// Adds another's counts.
    pub fn add(&mut self, other: &Tally) {
        self.sent += other.sent;
        self.errors += other.errors;
        self.dropped += other.dropped;
        self.unfinished += other.unfinished;
        self.ok_meanwhile += other.ok_meanwhile;
        self.bytes_read += other.bytes_read;
        for (sum, part) in [
            (&mut self.ok, &other.ok),
            (&mut self.refused, &other.refused),
            (&mut self.late, &other.late),
        ] {
            // Cannot fail: all have the same bounds.
            let _added = sum.add(part);
        }
        for (sum, part) in self.statuses.iter_mut().zip(&other.statuses) {
            *sum += part;
        }
        for (sum, part) in self.failures.iter_mut().zip(other.failures) {
            *sum += part;
        }
    }
}

impl Intervals {
    /// Intervals from `start_ns` on. Not of zero length.
    ///
    /// # Errors
    /// Never: the bounds are fixed ones.
    pub fn new(start_ns: u64, width_ns: u64) -> Result<Intervals, CreationError> {
        Ok(Intervals {
            width_ns: width_ns.max(1),
            current: Interval::starting(start_ns),
            latencies: histogram()?,
            done: Vec::new(),
        })
    }

    /// Counts the end of a request at `now_ns`.
    pub fn count(&mut self, now_ns: u64, verdict: Verdict, latency_ns: u64) {
        self.close(now_ns);
        if now_ns < self.current.start_ns {
            return;
        }
        match verdict {
            Verdict::Ok => {
                self.current.ok += 1;
                self.latencies.saturating_record(latency_ns);
            }
            Verdict::Refused => self.current.refused += 1,
            Verdict::Error => self.current.errors += 1,
        }
    }

    /// All intervals that ended by `now_ns`.
    pub fn finish(mut self, now_ns: u64) -> Vec<Interval> {
        self.close(now_ns);
        self.done
    }

    fn close(&mut self, now_ns: u64) {
        while now_ns >= self.current.start_ns + self.width_ns {
            self.current.p99_us = quantile_us(&self.latencies, 0.99);
            let next = Interval::starting(self.current.start_ns + self.width_ns);
            self.done.push(std::mem::replace(&mut self.current, next));
            if !self.latencies.is_empty() {
                self.latencies.reset();
            }
        }
    }
}

impl Interval {
    fn starting(start_ns: u64) -> Interval {
        Interval {
            start_ns,
            ok: 0,
            refused: 0,
            errors: 0,
            p99_us: None,
        }
    }
}

/// The latency, in microseconds, that this share of requests did not exceed; `None` without any.
pub fn quantile_us(latencies: &Histogram<u32>, share: f64) -> Option<f64> {
    if latencies.is_empty() {
        return None;
    }
    Some(microseconds(latencies.value_at_quantile(share)))
}

/// Nanoseconds as microseconds, to a hundredth.
pub fn microseconds(ns: u64) -> f64 {
    (ns as f64 / 10.0).round() / 100.0
}

fn histogram() -> Result<Histogram<u32>, CreationError> {
    Histogram::new_with_bounds(LOWEST_NS, HIGHEST_NS, DIGITS)
}
