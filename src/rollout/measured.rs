//! What reports say, as gauges.

use super::gate::{Finding, Verdict};
use super::report::{Report, Standing, Trial};
use crate::journal::Health;
use crate::telemetry::trials::{Gate, Journal, Quality, Trials};

/// The journal's gauges.
pub fn journal(health: &Health) -> Journal {
    Journal {
        connected: health.connected,
        queued_rows: health.queued_rows,
        dropped_rows: health.dropped_rows,
        written_rows: health.written_rows,
        lag_ms: health.lag_ms,
        bytes: health.bytes,
        met_labels: health.met_labels,
        expired_labels: health.expired_labels,
        removed_rows: health.removed_rows,
    }
}

/// Adds a slot.
pub fn add(report: &Report, to: &mut Trials) {
    let slot = &report.slot;
    if let Some(champion) = &report.champion {
        to.quality.push(quality(slot, "champion", champion, 0));
    }
    let challengers = report.challengers.iter().map(|it| ("challenger", it));
    let previous = report.previous.iter().map(|it| ("previous", it));
    for (role, trial) in challengers.chain(previous) {
        to.quality
            .push(quality(slot, role, &trial.standing, trial.labels));
        to.gates
            .extend(trial.findings.iter().map(|it| gate(slot, trial, it)));
    }
    if let Some(waiting) = &report.cost_of_waiting {
        to.waiting.push((slot.clone(), waiting.per_hour));
    }
}

fn quality(slot: &str, role: &'static str, standing: &Standing, pairs: u64) -> Quality {
    let metrics = standing.metrics.iter();
    Quality {
        slot: slot.to_string(),
        revision: standing.name.revision,
        role,
        matured: standing.matured,
        label_coverage: standing.label_coverage,
        metrics: metrics.map(|it| (it.name, it.value)).collect(),
        pairs,
    }
}

fn gate(slot: &str, trial: &Trial, finding: &Finding) -> Gate {
    Gate {
        slot: slot.to_string(),
        revision: trial.standing.name.revision,
        gate: finding.measure.name(),
        verdict: match finding.verdict {
            Verdict::Pass => 1.0,
            Verdict::Inconclusive => 0.0,
            Verdict::Fail => -1.0,
        },
        estimate: finding.estimate,
        e_value: finding.e_value,
        needed: finding.needed,
    }
}
