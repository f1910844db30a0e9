//! The metrics of drift. Filled by who watches; here are the names and how they are written. A slot's
//! features have series of their own up to a number that is configured.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use prometheus_client::encoding::DescriptorEncoder;

use super::metrics::{Labels, counters, gauges, labels};
use crate::model::slot::Slot;

/// Drift at one moment; empty where none is watched.
#[derive(Clone, Debug, Default)]
pub struct Drift {
    pub slots: Vec<SlotDrift>,
    pub calls: Vec<Calls>,
    /// Alarms that were not delivered because too many were underway.
    pub refused_alarms: u64,
    /// Panes that were not written to the journal.
    pub dropped_panes: u64,
}

/// The drift of one slot.
#[derive(Clone, Debug, Default)]
pub struct SlotDrift {
    pub name: String,
    /// `refused`, `collecting` or `ready`.
    pub reference: &'static str,
    /// Empty unless it is ready.
    pub windows: Vec<Window>,
    /// Whether the verdict of act held for as long as an alarm takes.
    pub alarmed: bool,
    /// Alarms that this process gave.
    pub alarms: u64,
}

/// One window of a slot.
#[derive(Clone, Debug, Default)]
pub struct Window {
    /// `short` or `long`.
    pub name: &'static str,
    pub rows: u64,
    /// -1 unknown, 0 none, 1 watch, 2 act.
    pub verdict: f64,
    pub drift_share: f64,
    /// Features whose verdict is `watch`, and those whose is `act`.
    pub watched: usize,
    pub acted: usize,
    /// PSI above its null level of the worst features.
    pub features: Vec<(String, f64)>,
    pub score: Option<f64>,
    /// Name and value, estimated without labels.
    pub estimate: Vec<(&'static str, f64)>,
}

/// Calls of one kind of target.
#[derive(Clone, Debug, Default)]
pub struct Calls {
    pub target: &'static str,
    pub attempts: u64,
    pub delivered: u64,
    pub failed: u64,
}

/// What a slot is compared with; slots whose drift is off have no series.
const REFERENCES: [&str; 3] = ["refused", "collecting", "ready"];

impl Drift {
    /// Writes everything but what slots count themselves.
    pub fn encode(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        // Where nothing is watched there is nothing to say.
        if self.slots.is_empty() {
            return Ok(());
        }
        let states = self.slots.iter().flat_map(|slot| {
            REFERENCES.map(|state| {
                let name = labels([("slot", slot.name.as_str()), ("state", state)]);
                (name, f64::from(u8::from(slot.reference == state)))
            })
        });
        gauges(
            encoder,
            "hedgerow_drift_reference",
            "What a slot's live rows are compared with: 1 for the state that it is in.",
            states,
        )?;
        self.windows(encoder)?;
        self.features(encoder)?;
        let watched = || self.slots.iter().filter(|slot| !slot.windows.is_empty());
        gauges(
            encoder,
            "hedgerow_drift_alarm",
            "Whether the verdict of act held for as long as an alarm takes.",
            watched().map(|slot| {
                let name = labels([("slot", slot.name.as_str())]);
                (name, f64::from(u8::from(slot.alarmed)))
            }),
        )?;
        counters(
            encoder,
            "hedgerow_drift_alarms",
            "Alarms that this process gave.",
            watched().map(|slot| (labels([("slot", slot.name.as_str())]), slot.alarms)),
        )?;
        self.calls(encoder)
    }

    fn calls(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let called = self.calls.iter().flat_map(|it| {
            [("delivered", it.delivered), ("failed", it.failed)].map(|(outcome, count)| {
                (labels([("target", it.target), ("outcome", outcome)]), count)
            })
        });
        counters(
            encoder,
            "hedgerow_drift_calls",
            "Alarms by target: those that it has, and those that it refused or that were given up.",
            called,
        )?;
        counters(
            encoder,
            "hedgerow_drift_call_attempts",
            "Tries to call a target.",
            self.calls
                .iter()
                .map(|it| (labels([("target", it.target)]), it.attempts)),
        )?;
        counters(
            encoder,
            "hedgerow_drift_refused_alarms",
            "Alarms that were not delivered because too many were underway.",
            [(Labels::new(), self.refused_alarms)],
        )?;
        counters(
            encoder,
            "hedgerow_drift_dropped_panes",
            "Panes of windows that other replicas do not see, because the journal was away.",
            [(Labels::new(), self.dropped_panes)],
        )
    }

    /// Every window with its slot.
    fn each(&self) -> impl Iterator<Item = (&str, &Window)> {
        self.slots
            .iter()
            .flat_map(|slot| slot.windows.iter().map(|it| (slot.name.as_str(), it)))
    }

    fn windows(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let of = |slot: &str, window: &Window| labels([("slot", slot), ("window", window.name)]);
        gauges(
            encoder,
            "hedgerow_drift_rows",
            "Rows of a window.",
            self.each().map(|(slot, it)| (of(slot, it), it.rows as f64)),
        )?;
        gauges(
            encoder,
            "hedgerow_drift_verdict",
            "The verdict on a window: -1 unknown, 0 none, 1 watch, 2 act.",
            self.each().map(|(slot, it)| (of(slot, it), it.verdict)),
        )?;
        gauges(
            encoder,
            "hedgerow_drift_share",
            "The part of a window's features whose verdict is watch or act.",
            self.each().map(|(slot, it)| (of(slot, it), it.drift_share)),
        )?;
        let counts = self.each().flat_map(|(slot, it)| {
            [("watch", it.watched), ("act", it.acted)].map(|(verdict, count)| {
                let mut name = of(slot, it);
                name.push(("verdict", verdict.to_string()));
                (name, count as f64)
            })
        });
        gauges(
            encoder,
            "hedgerow_drift_features",
            "Features of a window by their verdict.",
            counts,
        )?;
        let estimates = self.each().flat_map(|(slot, it)| {
            it.estimate.iter().map(move |(metric, value)| {
                let mut name = of(slot, it);
                name.push(("metric", (*metric).to_string()));
                (name, *value)
            })
        });
        gauges(
            encoder,
            "hedgerow_estimated_quality",
            "Quality of a window's predictions, estimated from calibrated scores (CBPE) without labels; not measured.",
            estimates,
        )
    }

    fn features(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let features = self.each().flat_map(|(slot, it)| {
            it.features.iter().map(move |(feature, psi)| {
                let name = labels([
                    ("slot", slot),
                    ("window", it.name),
                    ("feature", feature.as_str()),
                ]);
                (name, *psi)
            })
        });
        gauges(
            encoder,
            "hedgerow_drift_psi",
            "Population stability index above its null level, of a window's worst features.",
            features,
        )?;
        let scores = self.each().filter_map(|(slot, it)| {
            Some((labels([("slot", slot), ("window", it.name)]), it.score?))
        });
        gauges(
            encoder,
            "hedgerow_drift_score_psi",
            "Population stability index of the score above its null level.",
            scores,
        )
    }
}

/// What slots count themselves.
pub fn encode_usage(encoder: &mut DescriptorEncoder, slots: &[Arc<Slot>]) -> fmt::Result {
    counters(
        encoder,
        "hedgerow_drift_skipped_rows",
        "Answered rows that were to be watched for drift and were not: too many in a second, or no room.",
        slots.iter().map(|slot| {
            let count = slot.usage.unwatched.load(Ordering::Relaxed);
            (labels([("slot", slot.name.as_str())]), count)
        }),
    )
}
