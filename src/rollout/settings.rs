//! What can be set of a slot's trials.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::decide::Policy;
use super::gate::{Costs, Design, Finding, Gate, Measure, Verdict};
use super::score::Task;
use crate::serve::record::Watch;

/// Settings of all slots' trials.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Settings {
    /// For slots without settings of their own.
    pub slot: SlotSettings,
    pub slots: BTreeMap<String, SlotSettings>,
}

/// Settings of one slot's trials.
#[derive(Clone, Debug, PartialEq)]
pub struct SlotSettings {
    pub kind: Kind,
    /// A binary score of at least this is a positive decision.
    pub threshold: f64,
    pub policy: Policy,
    /// All must pass. The first one, turned round, is what may roll back.
    pub gates: Vec<Gate>,
    /// The error budget of a promotion.
    pub alpha: f64,
    /// The error budget of a rollback.
    pub rollback_alpha: f64,
    /// By how much the old champion must be better, in units of the first gate's measure.
    pub rollback_margin: f64,
    /// Milliseconds within which a label counts; older predictions are closed.
    pub horizon_ms: u64,
    pub absence: Absence,
    pub maturity: Maturity,
    pub costs: Costs,
    /// The feature whose value a false negative costs; "" for none.
    pub amount_feature: String,
    /// The part of the requests that the caller is asked to let through.
    pub holdout_share: f64,
    /// The part of the recorded predictions that is recorded with features.
    pub features_fraction: f64,
    /// A slower P99, in milliseconds over ten seconds, is a slow window; 0: none is.
    pub p99_ms_max: f64,
    /// Milliseconds after a rollback without promotions by the controller.
    pub cooldown_ms: u64,
    /// Promotions by the controller in a day; 0: any number.
    pub promotions_per_day_max: u64,
    /// Rollbacks by the controller in a week before it promotes no more; 0: any number.
    pub rollbacks_per_week_max: u64,
}

/// What a slot predicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Kind {
    /// As its champion's objective and outputs tell.
    #[default]
    Auto,
    Binary,
    Multiclass,
    Regression,
}

/// What it means that no label came within the horizon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Absence {
    /// The prediction does not count.
    #[default]
    Nothing,
    /// The label is 0: what is not reported did not happen.
    Negative,
}

/// When a prediction counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Maturity {
    /// At the horizon where absence is a label, else with its label. Where what is absent waits for the
    /// horizon and what is reported does not, the first outcomes are nearly all positive, and a
    /// challenger that flags too much looks good.
    #[default]
    Auto,
    /// When its label arrives.
    Label,
    /// When it is older than the horizon, with what is known then.
    Horizon,
}

const DAY_MS: u64 = 86_400_000;

impl Default for SlotSettings {
    fn default() -> SlotSettings {
        SlotSettings {
            kind: Kind::Auto,
            threshold: 0.5,
            policy: Policy::default(),
            gates: Vec::new(),
            alpha: 0.05,
            rollback_alpha: 0.01,
            rollback_margin: 0.0,
            horizon_ms: 7 * DAY_MS,
            absence: Absence::Nothing,
            maturity: Maturity::Auto,
            costs: Costs {
                false_positive: 0.0,
                false_negative: 0.0,
                amount_rate: 1.0,
                limit: 1000.0,
            },
            amount_feature: String::new(),
            holdout_share: 0.0,
            features_fraction: 0.1,
            p99_ms_max: 0.0,
            cooldown_ms: DAY_MS,
            promotions_per_day_max: 1,
            rollbacks_per_week_max: 2,
        }
    }
}

impl Settings {
    /// The settings of a slot.
    pub fn of(&self, slot: &str) -> &SlotSettings {
        self.slots.get(slot).unwrap_or(&self.slot)
    }
}

impl SlotSettings {
    /// The gates, or without any the measure that suits the task, above 0.
    pub fn gates(&self, task: &Task) -> Vec<Gate> {
        if !self.gates.is_empty() {
            return self.gates.clone();
        }
        let priced = self.costs.false_positive > 0.0
            && (self.costs.false_negative > 0.0 || !self.amount_feature.is_empty());
        let measure = match task {
            Task::Binary { .. } if priced => Measure::Cost,
            Task::Binary { .. } => Measure::Auc,
            Task::Multiclass => Measure::LogLoss,
            Task::Regression => Measure::SquaredError,
        };
        vec![Gate {
            measure,
            bound: 0.0,
        }]
    }

    /// Whether mistakes cost anything.
    pub fn is_priced(&self) -> bool {
        let missed = self.costs.amount_rate > 0.0 && !self.amount_feature.is_empty();
        missed || self.costs.false_positive > 0.0 || self.costs.false_negative > 0.0
    }

    /// Whether predictions count at the horizon only.
    pub fn is_deferred(&self) -> bool {
        match self.maturity {
            Maturity::Auto => self.absence == Absence::Negative,
            Maturity::Label => false,
            Maturity::Horizon => true,
        }
    }

    /// What a challenger has to show.
    pub fn promotion(&self, task: Task) -> Design {
        Design {
            gates: self.gates(&task),
            alpha: self.alpha,
            ..self.design(task)
        }
    }

    /// What the old champion has to show. A test ends when it has shown it or when the champion is found
    /// better; then the next one begins (see [`SlotSettings::is_settled`]), each with this budget.
    pub fn rollback(&self, task: Task) -> Design {
        let first = self.gates(&task).into_iter().take(1);
        Design {
            gates: first
                .map(|gate| Gate {
                    bound: match gate.measure {
                        // It is a proof of class by class, without a margin.
                        Measure::RecallFpr => 0.0,
                        _ => self.rollback_margin,
                    },
                    ..gate
                })
                .collect(),
            alpha: self.rollback_alpha,
            ..self.design(task)
        }
    }

    /// Whether a test of the old champion is over: the new one was found better, on as many rows as
    /// a promotion takes.
    pub fn is_settled(&self, pairs: usize, findings: &[Finding]) -> bool {
        let confirmed = findings.iter().any(|it| it.verdict == Verdict::Fail);
        confirmed && pairs as u64 >= self.policy.labels_min
    }

    /// SHA-256 of everything here and of what is watched, hex: which settings a decision was taken under.
    pub fn digest(&self, watch: &Watch) -> String {
        let hash = Sha256::digest(format!("{self:?} {watch:?}"));
        hash.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn design(&self, task: Task) -> Design {
        Design {
            task,
            gates: Vec::new(),
            costs: self.costs,
            alpha: self.alpha,
            t_star: self.policy.labels_min.max(100) as f64,
            t_star_positives: self.policy.positives_min.max(50) as f64,
        }
    }
}
