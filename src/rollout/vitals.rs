//! How the champion fares: failed requests and invalid scores in the last seconds and the last minute,
//! and its P99 in windows of ten seconds. Reads counters and keeps their earlier values.

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
    /// The counters at the beginnings of the last windows, the oldest first: what breaks now is not to
    /// hide behind what went well for weeks.
    earlier: VecDeque<Counts>,
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
/// Windows that are looked back on: a minute.
const WINDOWS: usize = 6;
/// Requests of a window that its P99 is taken of at the least.
const REQUESTS_MIN: u64 = 100;

impl Vitals {
    /// The vitals of a revision that is the champion from now on.
    pub fn new(champion: &Revision, now: Instant) -> Vitals {
        Vitals {
            uid: champion.uid,
            earlier: VecDeque::from([Counts::of(champion)]),
            window: champion.usage.ended(Outcome::Ok),
            window_began: now,
            slow: VecDeque::new(),
        }
    }

    /// Whether they are of this revision.
    pub fn are_of(&self, champion: &Arc<Revision>) -> bool {
        self.uid == champion.uid
    }

    /// How it fares at `now`, in the last minute and in the last window, by all its requests and by the
    /// scores that were recorded. A P99 above
    /// `p99_ms_max` makes a window slow, of which the last `windows` are kept. Findings are for the
    /// caller to add.
    pub fn look(
        &mut self,
        champion: &Revision,
        (p99_ms_max, windows): (f64, u32),
        now: Instant,
    ) -> Vec<Health> {
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
            self.earlier.push_back(Counts::of(champion));
            while self.earlier.len() > WINDOWS {
                self.earlier.pop_front();
            }
        }
        let counts = Counts::of(champion);
        let spans = self.earlier.front().into_iter().chain(self.earlier.back());
        let slow_windows = self.slow.iter().filter(|slow| **slow).count() as u32;
        spans
            .flat_map(|since| counts.healths(since))
            .map(|health| Health {
                slow_windows,
                ..health
            })
            .collect()
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

    /// What came since: by all requests, and by the scores that were recorded.
    fn healths(&self, since: &Counts) -> [Health; 2] {
        let errors = self.failed.saturating_sub(since.failed);
        let requests = Health {
            rows: self.answered.saturating_sub(since.answered) + errors,
            errors,
            ..Health::default()
        };
        let scores = Health {
            rows: self.checked.saturating_sub(since.checked),
            invalid: self.invalid.saturating_sub(since.invalid),
            ..Health::default()
        };
        [requests, scores]
    }
}

#[cfg(test)]
mod tests {
    use super::super::decide::{Policy, trip};
    use super::*;
    use crate::model::slot::tests::revision;
    use crate::model::usage::Protocol;

    fn answer(revision: &Revision, outcome: Outcome, count: u64, ms: u64) {
        for _ in 0..count {
            let requests = revision.usage.requests(Protocol::Http, outcome);
            requests.record(Duration::from_millis(ms));
        }
    }

    fn reason(vitals: &mut Vitals, champion: &Revision, now: Instant) -> Option<String> {
        let policy = Policy::default();
        let spans = vitals.look(champion, (5.0, policy.windows), now);
        spans.iter().find_map(|it| trip(&policy, it))
    }

    #[test]
    fn three_slow_windows_of_five_are_too_many() {
        let (champion, begin) = (revision(1), Instant::now());
        let mut vitals = Vitals::new(&champion, begin);
        let mut now = begin;
        // The second is slow with too few requests to tell; the fourth is fast.
        for (count, ms, expected) in [
            (200, 20, false),
            (20, 20, false),
            (200, 20, false),
            (200, 1, false),
            (200, 20, true),
        ] {
            answer(&champion, Outcome::Ok, count, ms);
            now += WINDOW;
            let reason = reason(&mut vitals, &champion, now);
            assert_eq!(reason.is_some(), expected, "{reason:?}");
            assert!(reason.is_none_or(|it| it == "P99 over its limit in 3 of 5 windows"));
        }
    }

    #[test]
    fn what_breaks_now_does_not_hide_behind_good_weeks() {
        let (champion, begin) = (revision(1), Instant::now());
        let mut vitals = Vitals::new(&champion, begin);
        answer(&champion, Outcome::Ok, 100_000, 1);
        let mut now = begin;
        for _ in 0..10 {
            now += WINDOW;
            assert_eq!(reason(&mut vitals, &champion, now), None);
        }
        answer(&champion, Outcome::Ok, 100, 1);
        answer(&champion, Outcome::Failed, 1, 1);
        assert_eq!(
            reason(&mut vitals, &champion, now),
            None,
            "one may be chance"
        );
        answer(&champion, Outcome::Failed, 5, 1);
        let reason = reason(&mut vitals, &champion, now).unwrap();
        assert!(reason.starts_with("failed requests: 6 of 106"), "{reason}");
    }

    #[test]
    fn invalid_scores_are_told_from_those_that_were_recorded() {
        let champion = revision(1);
        let mut vitals = Vitals::new(&champion, Instant::now());
        answer(&champion, Outcome::Ok, 1_000_000 / 1000, 1);
        champion.usage.checked.fetch_add(50, Ordering::Relaxed);
        champion
            .usage
            .checked_invalid
            .fetch_add(5, Ordering::Relaxed);
        let reason = reason(&mut vitals, &champion, Instant::now()).unwrap();
        assert!(reason.starts_with("invalid scores: 5 of 50"), "{reason}");
    }
}
