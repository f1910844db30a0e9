//! What turns a new champion back: at once when it breaks, and when the old one is provably better.

use super::super::gate::{Finding, Verdict};
use super::guards::is_over;
use super::{Policy, span, thousands};

/// How a champion fares since its promotion.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Health {
    /// Rows it was given, those it failed on, and those with a NaN or infinite score.
    pub rows: u64,
    pub errors: u64,
    pub invalid: u64,
    /// Of the policy's last `windows`, those whose P99 was over the slot's limit.
    pub slow_windows: u32,
    /// Findings of the swapped trial: the old champion as the challenger. Its design is
    /// `Design::reversed`.
    pub findings: Vec<Finding>,
}

/// Why the champion must go, or `None`.
///
/// Hard trips: failed rows or invalid scores provably above `error_rate_max` or `invalid_rate_max`
/// (sequential, one false alarm in 1,000, so a burst trips within a few rows), or too many slow windows.
/// The statistical trip: a finding with a bound of 0 or above has passed; one with a bound below
/// 0 shows only that the old champion is not worse, which is no reason.
#[must_use]
pub fn trip(policy: &Policy, health: &Health) -> Option<String> {
    let rates = [
        ("failed requests", health.errors, policy.error_rate_max),
        ("invalid scores", health.invalid, policy.invalid_rate_max),
    ];
    for (what, events, limit) in rates {
        if is_over(events, health.rows, limit) {
            let (events, rows) = (thousands(events), thousands(health.rows));
            return Some(format!(
                "{what}: {events} of {rows}, expected at most {limit}"
            ));
        }
    }
    if policy.slow_windows > 0 && health.slow_windows >= policy.slow_windows {
        return Some(format!(
            "P99 over its limit in {} of {} windows",
            health.slow_windows, policy.windows
        ));
    }
    let proven = |finding: &&Finding| finding.verdict == Verdict::Pass && finding.bound >= 0.0;
    health.findings.iter().find(proven).map(|finding| {
        format!(
            "the previous champion is provably better: {} {}",
            finding.measure,
            span(finding)
        )
    })
}
