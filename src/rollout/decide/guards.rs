//! Guards: conditions beside the gates that a trial must meet to be believed, and a challenger to be
//! trusted with traffic.

use serde::Serialize;

use super::super::gate::Verdict;
use super::super::sequential::{always_valid_p, proportion_e_value_above, share_e_value};
use super::{Evidence, Policy};

/// Evidence at which a rate counts as provably over its limit: one false alarm in a thousand trials,
/// however often one looks.
pub(super) const RATE_E_VALUE: f64 = 1_000.0;

/// One condition and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Guard {
    /// `coverage`, `pairing`, `error_rate`, `invalid_rate`, `latency_ratio`, `agreement` or `share_p`.
    pub name: &'static str,
    /// `Fail` is provably or plainly broken, `Inconclusive` not measured yet or over its limit by what
    /// may be chance. Both hold.
    pub verdict: Verdict,
    /// NaN: not measured.
    pub value: f64,
    pub limit: f64,
}

impl Guard {
    /// Whether, broken, it ends a trial in which the challenger answers: the others speak of the trial
    /// and not of the challenger.
    pub(super) fn dismisses(&self) -> bool {
        let own = ["error_rate", "invalid_rate", "latency_ratio"].contains(&self.name);
        own && self.verdict == Verdict::Fail
    }

    pub(super) fn sentence(&self) -> String {
        let Self {
            name, value, limit, ..
        } = *self;
        if value.is_nan() {
            return format!("{name}: not measured yet");
        }
        let side = if name.ends_with("_rate") || name == "latency_ratio" {
            "at most"
        } else {
            "at least"
        };
        let doubt = if self.verdict == Verdict::Inconclusive {
            ", may be chance"
        } else {
            ""
        };
        format!("{name}: {value:.4}, expected {side} {limit}{doubt}")
    }
}

/// All guards that the policy asks for, in a fixed order.
pub(super) fn check(policy: &Policy, evidence: &Evidence) -> Vec<Guard> {
    let (rows, errors, invalid) = (evidence.rows, evidence.errors, evidence.invalid);
    let mut guards = vec![
        at_least("coverage", evidence.coverage, policy.coverage_min),
        at_least("pairing", evidence.pairing, policy.pairing_min),
        rate("error_rate", errors, rows, policy.error_rate_max),
        rate("invalid_rate", invalid, rows, policy.invalid_rate_max),
    ];
    if policy.latency_ratio_max > 0.0 {
        let (value, limit) = (evidence.latency_ratio, policy.latency_ratio_max);
        guards.push(guard("latency_ratio", value, limit, value <= limit));
    }
    if policy.agreement_min > 0.0 {
        guards.push(at_least(
            "agreement",
            evidence.agreement,
            policy.agreement_min,
        ));
    }
    if let Some(share) = evidence.share {
        let e_value = share_e_value(share.expected, share.challenger, share.champion);
        guards.push(at_least(
            "share_p",
            always_valid_p(e_value),
            policy.share_p_min,
        ));
    }
    guards
}

fn at_least(name: &'static str, value: f64, limit: f64) -> Guard {
    guard(name, value, limit, value >= limit)
}

fn guard(name: &'static str, value: f64, limit: f64, passes: bool) -> Guard {
    let verdict = match passes {
        true => Verdict::Pass,
        false if value.is_nan() => Verdict::Inconclusive,
        false => Verdict::Fail,
    };
    Guard {
        name,
        verdict,
        value,
        limit,
    }
}

/// A rate of events: passes at or below its limit, fails when it is provably above.
fn rate(name: &'static str, events: u64, rows: u64, limit: f64) -> Guard {
    let value = if rows == 0 {
        f64::NAN
    } else {
        events as f64 / rows as f64
    };
    let verdict = if value <= limit {
        Verdict::Pass
    } else if is_over(events, rows, limit) {
        Verdict::Fail
    } else {
        Verdict::Inconclusive
    };
    Guard {
        name,
        verdict,
        value,
        limit,
    }
}

/// Whether `events` in `rows` prove a rate above `limit`. With a limit of 0.001 that takes 2 in 2, 4 in
/// 100, 13 in 2,000.
pub(super) fn is_over(events: u64, rows: u64, limit: f64) -> bool {
    proportion_e_value_above(events, rows, limit) >= RATE_E_VALUE
}
