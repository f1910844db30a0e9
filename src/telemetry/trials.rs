//! The loop's metrics: labels, quality, trials, the journal. Filled by who knows the loop; here are
//! the names and how they are written.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use prometheus_client::encoding::DescriptorEncoder;

use super::export;
use super::metrics::{Labels, counters, gauges, labels, of};
use crate::model::revision::Revision;
use crate::model::slot::Slot;

/// The loop at one moment; empty where no slot is in it.
#[derive(Clone, Debug, Default)]
pub struct Trials {
    pub journal: Option<Journal>,
    /// Whether this process decides.
    pub leader: bool,
    /// Labels by what became of them.
    pub labels: Vec<(&'static str, u64)>,
    /// Decisions of this process: slot, decision, count.
    pub decisions: Vec<(String, &'static str, u64)>,
    /// Bytes that wait to be recorded.
    pub record_bytes: usize,
    pub quality: Vec<Quality>,
    pub gates: Vec<Gate>,
    /// Slot, money per hour.
    pub waiting: Vec<(String, f64)>,
    /// The exported prediction log.
    pub export: Vec<export::Slot>,
}

/// The journal.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    pub connected: bool,
    pub queued_rows: u64,
    pub dropped_rows: u64,
    pub written_rows: u64,
    pub lag_ms: u64,
    pub bytes: u64,
    /// Labels that waited for a prediction which came later.
    pub met_labels: u64,
    /// Labels that waited in vain.
    pub expired_labels: u64,
    /// Predictions that left by age or size.
    pub removed_rows: u64,
}

/// A revision's quality over matured outcomes.
#[derive(Clone, Debug)]
pub struct Quality {
    pub slot: String,
    pub revision: u64,
    pub role: &'static str,
    /// Matured outcomes.
    pub matured: usize,
    pub label_coverage: f64,
    /// Name and value.
    pub metrics: Vec<(&'static str, f64)>,
    /// Pairs of its trial; 0 for the champion.
    pub pairs: u64,
}

/// A gate of a trial.
#[derive(Clone, Debug)]
pub struct Gate {
    pub slot: String,
    pub revision: u64,
    pub gate: &'static str,
    /// 1 passed, 0 inconclusive, -1 failed.
    pub verdict: f64,
    pub estimate: f64,
    pub e_value: f64,
    /// Further matured rows that it is likely to need, where that can be said.
    pub needed: Option<u64>,
}

impl Trials {
    /// Writes everything but what belongs to slots and revisions themselves.
    pub fn encode(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let Some(journal) = &self.journal else {
            return Ok(());
        };
        journal.encode(encoder)?;
        export::encode(&self.export, encoder)?;
        self.quality(encoder)?;
        self.gates(encoder)?;
        gauges(
            encoder,
            "hedgerow_rollout_leader",
            "Whether this process decides for those that share its journal.",
            [(Labels::new(), f64::from(u8::from(self.leader)))],
        )?;
        gauges(
            encoder,
            "hedgerow_record_queue_bytes",
            "Bytes of answered requests that wait to be recorded.",
            [(Labels::new(), self.record_bytes as f64)],
        )?;
        let each = self.labels.iter();
        counters(
            encoder,
            "hedgerow_feedback_labels",
            "Labels by what became of them when they came.",
            each.map(|(status, count)| (labels([("status", *status)]), *count)),
        )?;
        let each = self.decisions.iter();
        counters(
            encoder,
            "hedgerow_decisions",
            "Decisions written by this process.",
            each.map(|(slot, decision, count)| {
                (
                    labels([("slot", slot.as_str()), ("decision", *decision)]),
                    *count,
                )
            }),
        )?;
        let each = self.waiting.iter();
        gauges(
            encoder,
            "hedgerow_waiting_cost_per_hour",
            "Money per hour by which the best challenger is estimated to be cheaper than the champion.",
            each.map(|(slot, money)| (labels([("slot", slot.as_str())]), *money)),
        )
    }

    fn quality(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let name = |it: &Quality| {
            labels([
                ("slot", it.slot.as_str()),
                ("revision", &it.revision.to_string()),
                ("role", it.role),
            ])
        };
        let metrics = self.quality.iter().flat_map(|it| {
            let with = move |metric: &'static str| {
                let mut labels = name(it);
                labels.push(("metric", metric.to_string()));
                labels
            };
            let defined = it.metrics.iter().filter(|(_, value)| value.is_finite());
            defined.map(move |(metric, value)| (with(metric), *value))
        });
        gauges(
            encoder,
            "hedgerow_quality",
            "Metrics of a revision over its newest matured outcomes.",
            metrics,
        )?;
        let each = self.quality.iter();
        gauges(
            encoder,
            "hedgerow_quality_outcomes",
            "Matured outcomes that the metrics are of.",
            each.clone().map(|it| (name(it), it.matured as f64)),
        )?;
        gauges(
            encoder,
            "hedgerow_label_coverage",
            "The part of the predictions older than the horizon that has a label.",
            each.clone()
                .filter(|it| it.role == "champion")
                .map(|it| (labels([("slot", it.slot.as_str())]), it.label_coverage)),
        )?;
        gauges(
            encoder,
            "hedgerow_trial_pairs",
            "Matured rows that champion and challenger both scored.",
            each.filter(|it| it.role != "champion")
                .map(|it| (name(it), it.pairs as f64)),
        )
    }

    fn gates(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let name = |it: &Gate| {
            labels([
                ("slot", it.slot.as_str()),
                ("revision", &it.revision.to_string()),
                ("gate", it.gate),
            ])
        };
        let each = self.gates.iter();
        gauges(
            encoder,
            "hedgerow_gate_verdict",
            "1: the challenger is proven better than the bound; -1: proven not to be; 0: neither.",
            each.clone().map(|it| (name(it), it.verdict)),
        )?;
        gauges(
            encoder,
            "hedgerow_gate_estimate",
            "The estimated difference; above 0 the challenger is better.",
            each.clone()
                .filter(|it| it.estimate.is_finite())
                .map(|it| (name(it), it.estimate)),
        )?;
        gauges(
            encoder,
            "hedgerow_gate_e_value",
            "Evidence for the challenger; it passes at one over alpha.",
            each.clone()
                .filter(|it| it.e_value.is_finite())
                .map(|it| (name(it), it.e_value)),
        )?;
        gauges(
            encoder,
            "hedgerow_gate_needed_outcomes",
            "Further matured rows that a gate is likely to need.",
            each.filter_map(|it| Some((name(it), it.needed? as f64))),
        )
    }
}

impl Journal {
    fn encode(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let values = [
            (
                "hedgerow_journal_connected",
                "Whether the journal's store is there.",
                f64::from(u8::from(self.connected)),
            ),
            (
                "hedgerow_journal_queued_rows",
                "Predictions that wait to be written.",
                self.queued_rows as f64,
            ),
            (
                "hedgerow_journal_lag_seconds",
                "The age of the oldest prediction that waits to be written.",
                self.lag_ms as f64 / 1e3,
            ),
            (
                "hedgerow_journal_bytes",
                "Bytes that the journal's rows take.",
                self.bytes as f64,
            ),
        ];
        for (name, help, value) in values {
            gauges(encoder, name, help, [(Labels::new(), value)])?;
        }
        counters(
            encoder,
            "hedgerow_journal_rows",
            "Predictions that were written, and those that were dropped because the store was slow, away or refused them.",
            [
                (labels([("outcome", "written")]), self.written_rows),
                (labels([("outcome", "dropped")]), self.dropped_rows),
            ],
        )?;
        counters(
            encoder,
            "hedgerow_journal_removed_rows",
            "Predictions that left the journal by age or size.",
            [(Labels::new(), self.removed_rows)],
        )?;
        counters(
            encoder,
            "hedgerow_feedback_waited_labels",
            "Labels that came before their prediction: those whose prediction came, and those that waited in vain.",
            [
                (labels([("outcome", "met")]), self.met_labels),
                (labels([("outcome", "expired")]), self.expired_labels),
            ],
        )
    }
}

/// What slots and revisions count themselves: rows recorded, rows scored in shadow.
pub fn encode_usage(
    encoder: &mut DescriptorEncoder,
    slots: &[Arc<Slot>],
    revisions: &[(Arc<Revision>, &'static str)],
) -> fmt::Result {
    let recorded = slots.iter().flat_map(|slot| {
        let usage = &slot.usage;
        let counts = [
            ("recorded", &usage.recorded),
            ("skipped", &usage.skipped),
            ("dropped", &usage.record_dropped),
        ];
        counts.map(|(outcome, count)| {
            let name = labels([("slot", slot.name.as_str()), ("outcome", outcome)]);
            (name, count.load(Ordering::Relaxed))
        })
    });
    counters(
        encoder,
        "hedgerow_record_rows",
        "Answered rows that were recorded, that were above the recorded rate, and that did not fit the queue.",
        recorded,
    )?;
    let dropped = slots.iter().map(|slot| {
        let count = slot.usage.shadow_dropped.load(Ordering::Relaxed);
        (labels([("slot", slot.name.as_str())]), count)
    });
    counters(
        encoder,
        "hedgerow_shadow_dropped_rows",
        "Rows that were recorded without shadow scores because the shadow was behind.",
        dropped,
    )?;
    let broken = revisions.iter().flat_map(|(revision, _)| {
        revision.rules.series().into_iter().map(|count| {
            let mut name = of(revision);
            name.push(("feature", count.feature.unwrap_or("…other").to_string()));
            name.push(("check", count.check.to_string()));
            name.push(("action", count.action.to_string()));
            (name, count.rows)
        })
    });
    counters(
        encoder,
        "hedgerow_validation_rows",
        "Rows that broke a rule of [validate], by feature, rule and what became of them; check \"feature\" is a feature that a request did not have. 20 features have series of their own.",
        broken,
    )?;
    let shadow = revisions.iter().flat_map(|(revision, _)| {
        let usage = &revision.usage.shadow;
        let counts = [
            ("scored", &usage.rows),
            ("error", &usage.errors),
            ("misfit", &usage.misfits),
            ("invalid", &usage.invalid),
        ];
        counts.map(|(outcome, count)| {
            let mut name = of(revision);
            name.push(("outcome", outcome.to_string()));
            (name, count.load(Ordering::Relaxed))
        })
    });
    counters(
        encoder,
        "hedgerow_shadow_rows",
        "Rows that a revision scored beside the one that answered, and among them those that failed, did not fit, and had scores that are not finite.",
        shadow,
    )
}
