//! How the champion fares since it answers: failed requests, invalid scores, and its P99 in windows
//! of ten seconds. Reads counters and keeps their earlier values.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::decide::Health;
use crate::model::revision::Revision;
use crate::model::usage::{Outcome, Snapshot};

/// A champion under watch.
#[derive(Debug)]
pub struct Vitals {
    uid: u64,
    /// The counters when it became the champion.
    start: Counts,
    window: Snapshot,
    window_began: Instant,
    /// Whether each of the last windows was slow, the newest last.
    slow: VecDeque<bool>,
}

/// Counters of a revision at one moment.
#[derive(Clone, Copy, Debug)]
struct Counts {
    answered: u64,
    checked: u64,
    invalid: u64,
    failed: u64,
}

/// The length of a window.
const WINDOW: Duration = Duration::from_secs(10);
/// Requests of a window that its P99 is taken of at the least.
const REQUESTS_MIN: u64 = 100;

impl Vitals {
    /// The vitals of a revision that is the champion from now on.
    pub fn new(champion: &Revision, now: Instant) -> Vitals {
        Vitals {
            uid: champion.uid,
            start: Counts::of(champion),
            window: champion.usage.ended(Outcome::Ok),
            window_began: now,
            slow: VecDeque::new(),
        }
    }

    /// Whether they are of this revision.
    pub fn are_of(&self, champion: &Arc<Revision>) -> bool {
        self.uid == champion.uid
    }

    /// How it fares at `now`: by all its requests, and by the scores that were recorded. A P99 above
    /// `p99_ms_max` makes a window slow, of which the last `windows` are kept. Findings are for the
    /// caller to add.
    pub fn look(
        &mut self,
        champion: &Revision,
        (p99_ms_max, windows): (f64, u32),
        now: Instant,
    ) -> (Health, Health) {
        if now.saturating_duration_since(self.window_began) >= WINDOW {
            let all = champion.usage.ended(Outcome::Ok);
            let window = all.since(&self.window);
            let p99_ms = window.quantile(0.99).unwrap_or(0.0) * 1e3;
            let enough = window.count() >= REQUESTS_MIN;
            self.slow
                .push_back(enough && p99_ms_max > 0.0 && p99_ms > p99_ms_max);
            while self.slow.len() > windows as usize {
                self.slow.pop_front();
            }
            (self.window, self.window_began) = (all, now);
        }
        let counts = Counts::of(champion);
        let errors = counts.failed.saturating_sub(self.start.failed);
        let requests = Health {
            rows: counts.answered.saturating_sub(self.start.answered) + errors,
            errors,
            slow_windows: self.slow.iter().filter(|slow| **slow).count() as u32,
            ..Health::default()
        };
        let scores = Health {
            rows: counts.checked.saturating_sub(self.start.checked),
            invalid: counts.invalid.saturating_sub(self.start.invalid),
            ..Health::default()
        };
        (requests, scores)
    }
}

impl Counts {
    fn of(revision: &Revision) -> Counts {
        let usage = &revision.usage;
        Counts {
            answered: usage.ended(Outcome::Ok).count(),
            checked: usage.checked.load(Ordering::Relaxed),
            invalid: usage.checked_invalid.load(Ordering::Relaxed),
            failed: usage.ended(Outcome::Failed).count(),
        }
    }
}
