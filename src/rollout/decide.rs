//! From evidence to a decision: promote, hold or roll back, with the reasons a person reads.
//!
//! A pure function of a policy and of what was observed. It knows no slot, clock or journal: times are
//! durations in the evidence, and the controller acts. Inconclusive is never a promotion.

mod guards;
mod stage;
#[cfg(test)]
mod tests;
mod trip;

use std::fmt::Write as _;

use serde::Serialize;

use super::gate::{Finding, Verdict};
pub use guards::Guard;
pub use stage::{Stage, StageError};
pub use trip::{Health, trip};

/// Who lets a challenger go on that has proven itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Approval {
    Automatic,
    Manual,
}

/// When a challenger goes on, and what ends its trial. Rates and shares lie in [0, 1].
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// In order; the first is where a challenger starts, the last makes it champion.
    pub stages: Vec<Stage>,
    pub approval: Approval,
    /// The fewest matured labels, and among them positives (binary only; 50 is the floor).
    pub labels_min: u64,
    pub positives_min: u64,
    /// The shortest trial, and the shortest time in a stage that takes a share.
    pub duration_min_ms: u64,
    pub share_duration_min_ms: u64,
    /// A trial that is not through by then is dismissed as inconclusive; 0: never.
    pub duration_max_ms: u64,
    /// Labels among matured predictions.
    pub coverage_min: f64,
    /// Rows scored by both among those that should have been.
    pub pairing_min: f64,
    /// The challenger's failed rows, and its scores that are NaN or infinite.
    pub error_rate_max: f64,
    pub invalid_rate_max: f64,
    /// The challenger's time over the champion's; 0: any.
    pub latency_ratio_max: f64,
    /// Rows where both decide alike; 0: any.
    pub agreement_min: f64,
    /// Below this always-valid p-value the split of a share is not what it should be.
    pub share_p_min: f64,
    /// A slow champion is turned back when `slow_windows` of the last `windows` were over its limit;
    /// 0: never.
    pub slow_windows: u32,
    pub windows: u32,
}

/// What is known of a trial at one look. A rate that nobody measured is NaN, and holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Evidence {
    /// Index into the policy's stages.
    pub stage: usize,
    /// One for each gate, from `Trial::look`.
    pub findings: Vec<Finding>,
    /// Matured, usable pairs.
    pub labels: u64,
    /// Positives among them; `None` unless binary.
    pub positives: Option<u64>,
    pub coverage: f64,
    pub pairing: f64,
    /// Rows given to the challenger, those it failed on, and those with a NaN or infinite score.
    pub rows: u64,
    pub errors: u64,
    pub invalid: u64,
    pub agreement: f64,
    pub latency_ratio: f64,
    /// In a stage with a share: how it was split.
    pub share: Option<ShareCounts>,
    pub in_stage_ms: u64,
    pub in_trial_ms: u64,
    /// Both revisions are the same model.
    pub identical: bool,
    /// A person said "promote".
    pub approved: bool,
    /// Why automation pauses.
    pub cooldown: Option<String>,
}

/// Units assigned to each side. A unit is what is assigned independently: a key where shares are
/// sticky (a busy key with many rows would look like a broken split), a row where they are not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ShareCounts {
    /// The challenger's share, in (0, 1).
    pub expected: f64,
    pub challenger: u64,
    pub champion: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// To the next stage.
    Promote,
    Hold,
    /// The challenger is dismissed; the champion answers everything.
    Rollback,
}

/// A decision and what it rests on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Judgement {
    pub decision: Decision,
    pub guards: Vec<Guard>,
    /// Short sentences: `waiting for labels: 812 of 2,000`. Never empty.
    pub reasons: Vec<String>,
}

/// The fewest rows of each class: below, an AUC's variance is not to be trusted.
const CLASS_FLOOR: u64 = 50;

impl Default for Policy {
    /// Shadow, then full, after a day, 2,000 labels and 100 positives, by itself.
    fn default() -> Self {
        const HOUR_MS: u64 = 60 * 60 * 1000;
        Self {
            stages: vec![Stage::Shadow, Stage::Full],
            approval: Approval::Automatic,
            labels_min: 2_000,
            positives_min: 100,
            duration_min_ms: 24 * HOUR_MS,
            share_duration_min_ms: HOUR_MS,
            duration_max_ms: 0,
            coverage_min: 0.9,
            pairing_min: 0.99,
            error_rate_max: 0.001,
            invalid_rate_max: 0.001,
            latency_ratio_max: 2.0,
            agreement_min: 0.0,
            share_p_min: 0.001,
            slow_windows: 3,
            windows: 5,
        }
    }
}

/// Judges a trial at one look.
///
/// In order: a gate that failed dismisses the challenger, and so does a broken guard on errors,
/// scores or latency while it takes a share; a trial past its longest duration is dismissed unless all
/// that is missing is a person's word; whatever else is missing holds (each with its reason); then a
/// manual policy waits for approval, and an automatic one for the end of a cooldown, which a person's
/// approval overrides. Only what is left is promoted. Without gates, with identical models or at the
/// last stage nothing is promoted.
#[must_use]
pub fn decide(policy: &Policy, evidence: &Evidence) -> Judgement {
    let guards = guards::check(policy, evidence);
    let (decision, reasons) = judge(policy, evidence, &guards);
    Judgement {
        decision,
        guards,
        reasons,
    }
}

fn judge(policy: &Policy, evidence: &Evidence, guards: &[Guard]) -> (Decision, Vec<String>) {
    let Some(next) = policy.stages.get(evidence.stage + 1) else {
        return (Decision::Hold, vec!["the last stage is reached".to_owned()]);
    };
    let sharing = matches!(policy.stages.get(evidence.stage), Some(Stage::Share(_)));
    let mut fatal: Vec<String> = evidence.findings.iter().filter_map(failure).collect();
    if sharing {
        fatal.extend(
            guards
                .iter()
                .filter(|guard| guard.dismisses())
                .map(Guard::sentence),
        );
    }
    if !fatal.is_empty() {
        return (Decision::Rollback, fatal);
    }

    let missing = missing(policy, evidence, guards);
    if !missing.is_empty() {
        if policy.duration_max_ms > 0 && evidence.in_trial_ms >= policy.duration_max_ms {
            let after = format!("inconclusive after {}", duration(evidence.in_trial_ms));
            return (Decision::Rollback, [vec![after], missing].concat());
        }
        return (Decision::Hold, missing);
    }
    if policy.approval == Approval::Manual && !evidence.approved {
        let ready = format!("ready for {next}: waits for approval");
        return (Decision::Hold, vec![ready]);
    }
    if let Some(cooldown) = evidence.cooldown.as_ref().filter(|_| !evidence.approved) {
        let ready = format!("ready for {next}, but automation pauses: {cooldown}");
        return (Decision::Hold, vec![ready]);
    }
    let mut reasons: Vec<String> = evidence.findings.iter().map(success).collect();
    reasons.push(format!("next stage: {next}"));
    (Decision::Promote, reasons)
}

/// Everything that a promotion still lacks.
fn missing(policy: &Policy, evidence: &Evidence, guards: &[Guard]) -> Vec<String> {
    let mut missing = Vec::new();
    if evidence.identical {
        missing.push("champion and challenger are the same model".to_owned());
    }
    if evidence.findings.is_empty() {
        missing.push("no gate is configured".to_owned());
    }
    let mut wait = |what: &str, have: u64, want: u64| {
        if have < want {
            let (have, want) = (thousands(have), thousands(want));
            missing.push(format!("waiting for {what}: {have} of {want}"));
        }
    };
    wait("labels", evidence.labels, policy.labels_min);
    if let Some(positives) = evidence.positives {
        let least = policy.positives_min.max(CLASS_FLOOR);
        wait("positives", positives, least);
        // Labels of one class only prove nothing, whatever a gate says of them.
        let negatives = evidence.labels.saturating_sub(positives);
        wait("negatives", negatives, CLASS_FLOOR);
    }
    let mut wait_time = |what: &str, have: u64, want: u64| {
        if have < want {
            let (have, want) = (duration(have), duration(want));
            missing.push(format!("{what}: {have} of {want}"));
        }
    };
    wait_time(
        "waiting for time in trial",
        evidence.in_trial_ms,
        policy.duration_min_ms,
    );
    if let Some(Stage::Share(_)) = policy.stages.get(evidence.stage) {
        let want = policy.share_duration_min_ms;
        wait_time("waiting for time in this stage", evidence.in_stage_ms, want);
    }
    let open = |finding: &&Finding| finding.verdict != Verdict::Pass;
    missing.extend(evidence.findings.iter().filter(open).map(undecided));
    // A pass stays a pass; but nobody is promoted who looks worse than what it passed by now.
    let fallen =
        |finding: &&Finding| finding.verdict == Verdict::Pass && finding.estimate < finding.bound;
    missing.extend(evidence.findings.iter().filter(fallen).map(|finding| {
        let bound = finding.bound + 0.0;
        format!(
            "{}: it passed, and its estimate fell below {bound}",
            finding.measure
        )
    }));
    let open = |guard: &&Guard| guard.verdict != Verdict::Pass;
    missing.extend(guards.iter().filter(open).map(Guard::sentence));
    missing
}

fn failure(finding: &Finding) -> Option<String> {
    (finding.verdict == Verdict::Fail).then(|| {
        let (measure, bound) = (finding.measure, finding.bound + 0.0);
        let span = span(finding);
        format!("{measure}: provably not better than {bound} {span}")
    })
}

fn undecided(finding: &Finding) -> String {
    let mut text = format!(
        "{} > {}: inconclusive",
        finding.measure,
        finding.bound + 0.0
    );
    if let Some(reason) = &finding.reason {
        let _ = write!(text, ", {reason}");
    }
    if let Some(needed) = finding.needed {
        let _ = write!(text, ", about {} more", thousands(needed));
    }
    text
}

fn success(finding: &Finding) -> String {
    let (measure, bound) = (finding.measure, finding.bound + 0.0);
    format!("{measure}: provably better than {bound} {}", span(finding))
}

fn span(finding: &Finding) -> String {
    format!(
        "(estimate {:.4}, {:.4} to {:.4}, e-value {:.1} of {:.1})",
        finding.estimate, finding.lower, finding.upper, finding.e_value, finding.threshold
    )
}

/// `2000` as `2,000`.
fn thousands(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A duration in its two largest units: `3 d 4 h`, `12 min`, `0 s`.
fn duration(ms: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let mut rest = ms / 1000;
    let mut parts = Vec::new();
    for (size, unit) in UNITS {
        let count = rest / size;
        rest %= size;
        if count > 0 {
            parts.push(format!("{count} {unit}"));
        }
        // Not `1 d 5 s`: the second unit is the next one or none.
        if parts.len() == 2 || (!parts.is_empty() && count == 0) {
            break;
        }
    }
    if parts.is_empty() {
        "0 s".to_owned()
    } else {
        parts.join(" ")
    }
}
