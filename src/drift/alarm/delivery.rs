//! One alarm on its way to its targets: which is due, how long one pauses, when one gives up. Time is
//! an argument.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::client::Failure;
use super::{Alarm, Hooks, Outcome, Target};

/// An alarm and what is known of each of its targets.
#[derive(Debug)]
pub(super) struct Delivery {
    pub alarm: Alarm,
    pub hooks: Arc<Hooks>,
    /// When a target that does not answer is given up.
    end: Instant,
    calls: Vec<Call>,
}

#[derive(Debug)]
struct Call {
    target: Target,
    attempts: u32,
    due: Instant,
    /// Why the last try failed.
    reason: Option<String>,
    outcome: Option<Outcome>,
}

impl Delivery {
    /// An alarm to all its targets but those that are `done`.
    pub fn new(alarm: Alarm, hooks: Arc<Hooks>, done: &[Target], now: Instant) -> Delivery {
        let targets = hooks.targets().into_iter();
        let calls = targets
            .filter(|target| !done.contains(target))
            .map(|target| Call {
                target,
                attempts: 0,
                due: now,
                reason: None,
                outcome: None,
            })
            .collect();
        Delivery {
            alarm,
            end: now + hooks.deadline,
            hooks,
            calls,
        }
    }

    /// The open call that is due next: how often it was tried, when it is due, and its target.
    pub fn next(&self) -> Option<(u32, Instant, Target)> {
        let open = self.calls.iter().filter(|call| call.outcome.is_none());
        open.map(|call| (call.attempts, call.due, call.target))
            .min_by_key(|(attempts, due, _)| (*due, *attempts))
    }

    /// Takes in what one try gave. `random` is 0 to 1. Gives the outcome when it is the target's last.
    pub fn tried(
        &mut self,
        target: Target,
        result: Result<Option<String>, Failure>,
        now: Instant,
        random: f64,
    ) -> Option<&Outcome> {
        let open = |call: &&mut Call| call.target == target && call.outcome.is_none();
        let call = self.calls.iter_mut().find(open)?;
        call.attempts += 1;
        match result {
            Ok(run) => {
                call.outcome = Some(Outcome::Delivered {
                    target,
                    run,
                    attempts: call.attempts,
                });
            }
            Err(failure) => {
                let hooks = &self.hooks;
                let (first, last) = (hooks.pause_first, hooks.pause_last);
                let pause = pause(call.attempts, first, last, random);
                let asked = failure.retry_after.unwrap_or_default().min(last);
                call.due = now + pause.max(asked);
                if failure.permanent {
                    call.fail(failure.reason, true);
                } else if call.due >= self.end {
                    call.fail(format!("given up: {}", failure.reason), false);
                } else {
                    call.reason = Some(failure.reason);
                }
            }
        }
        call.outcome.as_ref()
    }

    /// Ends what is still open: the server stops.
    pub fn abandon(&mut self) {
        for call in self.calls.iter_mut().filter(|call| call.outcome.is_none()) {
            let reason = match &call.reason {
                Some(reason) => format!("the server stopped; before: {reason}"),
                None => "the server stopped".to_string(),
            };
            call.fail(reason, false);
        }
    }

    /// What became of the targets; complete once [`Delivery::next`] is none.
    pub fn outcomes(&self) -> Vec<Outcome> {
        let outcomes = self.calls.iter().filter_map(|call| call.outcome.clone());
        outcomes.collect()
    }
}

impl Call {
    fn fail(&mut self, reason: String, permanent: bool) {
        self.outcome = Some(Outcome::Failed {
            target: self.target,
            reason,
            attempts: self.attempts,
            permanent,
        });
    }
}

/// How long to wait after `attempts` tries: `first`, doubled each time, at most `last`. A random half
/// of it keeps replicas from calling at once.
fn pause(attempts: u32, first: Duration, last: Duration, random: f64) -> Duration {
    let doublings = attempts.saturating_sub(1).min(31);
    let whole = first.saturating_mul(1 << doublings).min(last);
    whole.mul_f64(0.5 + 0.5 * random.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{alarm, settings_of, webhook};
    use super::*;

    fn failure(permanent: bool, retry_after: Option<u64>) -> Result<Option<String>, Failure> {
        Err(Failure {
            reason: "busy".to_string(),
            permanent,
            missing: false,
            retry_after: retry_after.map(Duration::from_secs),
        })
    }

    fn delivery(now: Instant) -> Delivery {
        let hooks = Hooks::new(settings_of(webhook("http://127.0.0.1:1", None)));
        Delivery::new(alarm(), Arc::new(hooks), &[], now)
    }

    #[test]
    fn pauses_double_up_to_a_minute_and_are_spread() {
        let (first, last) = (Duration::from_secs(1), Duration::from_secs(60));
        for (attempts, seconds) in [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (u32::MAX, 60)] {
            let whole = Duration::from_secs(seconds);
            assert_eq!(pause(attempts, first, last, 1.0), whole);
            assert_eq!(pause(attempts, first, last, 0.0), whole / 2);
        }
    }

    #[test]
    fn a_busy_target_is_tried_until_the_deadline() {
        let start = Instant::now();
        let mut delivery = delivery(start);
        let mut now = start;
        let mut pauses = Vec::new();
        while let Some((_, due, target)) = delivery.next() {
            pauses.push((due - now).as_secs());
            now = due;
            delivery.tried(target, failure(false, None), now, 1.0);
        }
        assert_eq!(pauses[..8], [0, 1, 2, 4, 8, 16, 32, 60]);
        let length = now - start;
        assert!(
            length < Duration::from_secs(900) && length > Duration::from_secs(800),
            "{length:?}"
        );
        assert_eq!(
            delivery.outcomes(),
            [Outcome::Failed {
                target: Target::Webhook,
                reason: "given up: busy".to_string(),
                attempts: u32::try_from(pauses.len()).unwrap(),
                permanent: false,
            }]
        );
    }

    #[test]
    fn a_target_says_when_to_come_back_within_reason() {
        let now = Instant::now();
        for (asked, seconds) in [(0, 1), (30, 30), (86_400, 60), (u64::MAX, 60)] {
            let mut delivery = delivery(now);
            delivery.tried(Target::Webhook, failure(false, Some(asked)), now, 1.0);
            let (attempts, due, _) = delivery.next().unwrap();
            assert_eq!((attempts, due - now), (1, Duration::from_secs(seconds)));
        }
    }

    #[test]
    fn a_refusal_ends_it_and_later_results_change_nothing() {
        let now = Instant::now();
        let mut delivery = delivery(now);
        let first = delivery.tried(Target::Webhook, failure(true, None), now, 0.0);
        assert!(matches!(
            first,
            Some(Outcome::Failed {
                permanent: true,
                ..
            })
        ));
        assert!(delivery.next().is_none());
        assert!(
            delivery
                .tried(Target::Webhook, Ok(None), now, 0.0)
                .is_none()
        );
        let outcomes = delivery.outcomes();
        delivery.abandon();
        assert_eq!(outcomes, delivery.outcomes());
    }

    #[test]
    fn what_a_stop_cuts_off_says_why_it_was_late() {
        let now = Instant::now();
        let mut delivery = delivery(now);
        delivery.tried(Target::Webhook, failure(false, None), now, 0.0);
        delivery.abandon();
        assert_eq!(
            delivery.outcomes(),
            [Outcome::Failed {
                target: Target::Webhook,
                reason: "the server stopped; before: busy".to_string(),
                attempts: 1,
                permanent: false,
            }]
        );
    }

    #[test]
    fn done_targets_are_not_called_again() {
        let now = Instant::now();
        let hooks = Hooks::new(settings_of(webhook("http://127.0.0.1:1", None)));
        let delivery = Delivery::new(alarm(), Arc::new(hooks), &[Target::Webhook], now);
        assert!(delivery.next().is_none());
        assert!(delivery.outcomes().is_empty());
    }
}
