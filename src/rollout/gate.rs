//! Gates: what a challenger must prove before it is promoted, and a trial that gathers the proof pair
//! by pair.
//!
//! Knows pairs of scores with their label, and nothing of slots, clocks or stages; `decide` turns
//! findings into a decision. Every verdict holds however often one looks.
//!
//! `alpha` is the budget of the whole decision. All gates must pass, so each is tested at `alpha` and
//! nothing is split: a promotion in error needs at least one gate to pass in error. Whoever takes
//! *any* of several findings as enough must split `alpha` by their number.

mod findings;
mod parse;
#[cfg(test)]
mod simulation;
mod tallies;
#[cfg(test)]
mod tests;
mod trial;

use serde::Serialize;

use super::score::Task;
pub use parse::ParseError;
pub use trial::{Saving, Trial};

/// The fewest rows of each class (binary) or in all (else) that an asymptotic test speaks on.
pub const COUNT_FLOOR: u64 = 50;

/// What a gate measures. Differences are oriented: positive means that the challenger is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Money saved per row, truncated, by betting. Binary and multiclass.
    Cost,
    /// AUC gained: paired DeLong. Binary.
    Auc,
    /// Recall gained and false positive rate shed, class by class. Binary.
    RecallFpr,
    /// Log loss shed. Binary and multiclass.
    LogLoss,
    /// Squared error of the probability shed. Binary.
    Brier,
    /// Squared error shed. Regression.
    SquaredError,
}

/// Passes when the challenger is provably better than the champion by more than `bound`.
///
/// With a `bound` of 0 or above the gate asks for superiority, below 0 for non-inferiority with that
/// margin. `recall_fpr` takes no bound above 0; what it asks for is told at [`Trial::look`]. The text
/// form is `auc > -0.002`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gate {
    pub measure: Measure,
    /// In units of the measure: money per row, AUC, rate, or loss.
    pub bound: f64,
}

/// What mistakes cost, in money. A row's cost difference is truncated to `± limit`.
///
/// Binary: a false positive costs `false_positive`, a false negative `false_negative + amount_rate ×
/// amount`. Multiclass: a wrong row costs what a false negative does. Amounts that are NaN, infinite
/// or negative count as 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Costs {
    pub false_positive: f64,
    pub false_negative: f64,
    pub amount_rate: f64,
    /// Above 0. Power lies here: the bettor may not risk more than a row of this size, so set it near
    /// what the large errors cost (their 95% or 99% quantile), not near the largest conceivable.
    pub limit: f64,
}

/// What is tried and how strictly; fixed before the first pair.
#[derive(Clone, Debug, PartialEq)]
pub struct Design {
    pub task: Task,
    pub gates: Vec<Gate>,
    pub costs: Costs,
    /// Error budget of the decision, in (0, 0.5).
    pub alpha: f64,
    /// Matured rows at which intervals of means are tightest.
    pub t_star: f64,
    /// As `t_star` for `auc` and `recall_fpr`, which count the rows of a class.
    pub t_star_positives: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The challenger is provably better than the bound. Latched: later pairs don't undo it.
    Pass,
    /// The challenger is provably not better than the bound. Stands above a latched pass.
    Fail,
    Inconclusive,
}

/// What a gate says of the pairs so far.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    pub measure: Measure,
    pub bound: f64,
    pub verdict: Verdict,
    /// The difference, challenger better above 0; NaN when there is none. `cost`: of truncated costs per
    /// row. `recall_fpr`: of the class that carries the evidence, or holds it back.
    pub estimate: f64,
    /// Ends of one-sided confidence sequences of level `alpha` each: both together hold at `2·alpha`.
    pub lower: f64,
    pub upper: f64,
    /// Evidence for the challenger at its largest so far; `1/e_value` is an always-valid p-value.
    pub e_value: f64,
    /// The e-value that passes, `1/alpha`.
    pub threshold: f64,
    /// Rows that the evidence counts: pairs, or rows of the scarcer class.
    pub count: u64,
    /// How many more matured rows it is likely to need at the present estimate and spread; `None` when
    /// it has its verdict, when the estimate is on the wrong side, or when nothing can be said.
    pub needed: Option<u64>,
    /// Why the verdict is no pass, for people.
    pub reason: Option<String>,
    /// `recall_fpr` only: both classes.
    pub parts: Vec<Part>,
}

/// One class of `recall_fpr`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Part {
    /// `recall` (positives) or `fpr` (negatives).
    pub name: &'static str,
    /// Rows of the class.
    pub count: u64,
    /// Pairs where only the challenger is right, and where only the champion is.
    pub better: u64,
    pub worse: u64,
    /// Recall gained, or false positive rate shed.
    pub estimate: f64,
    pub lower: f64,
    pub upper: f64,
    /// Evidence that the challenger is better than the bound, and that it is worse.
    pub e_value: f64,
    pub e_value_worse: f64,
}

impl Costs {
    /// Whether the `cost` gate can work with them: finite, none negative, the limit above 0. With
    /// others it stays inconclusive.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        let prices = [self.false_positive, self.false_negative, self.amount_rate];
        let fine = |price: &f64| price.is_finite() && *price >= 0.0;
        prices.iter().all(fine) && self.limit.is_finite() && self.limit > 0.0
    }
}

impl Measure {
    pub const ALL: [Self; 6] = [
        Self::Cost,
        Self::Auc,
        Self::RecallFpr,
        Self::LogLoss,
        Self::Brier,
        Self::SquaredError,
    ];

    /// The name in configuration, answers and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cost => "cost",
            Self::Auc => "auc",
            Self::RecallFpr => "recall_fpr",
            Self::LogLoss => "log_loss",
            Self::Brier => "brier",
            Self::SquaredError => "squared_error",
        }
    }

    /// Whether the measure is defined for a task. A gate that doesn't fit stays inconclusive.
    #[must_use]
    pub fn fits(self, task: &Task) -> bool {
        match task {
            Task::Binary { .. } => self != Self::SquaredError,
            Task::Multiclass => matches!(self, Self::Cost | Self::LogLoss),
            Task::Regression => self == Self::SquaredError,
        }
    }
}
