//! What revisions were worth on labelled rows: plain metrics with intervals, and the paired
//! comparison of two revisions' AUC.
//!
//! Describes and never decides: the intervals here hold for one look at a fixed number of rows.
//! What may be looked at after every batch is in `gate`.

mod binary;
mod bootstrap;
mod rank;
#[cfg(test)]
mod tests;

use serde::Serialize;

pub use binary::{f1_difference, is_positive};
pub use rank::{DeLong, Judged, delong};

/// Scores, labels and amounts beyond this size count as invalid (scores, labels) or are cut to it
/// (amounts): their fourth powers must stay finite.
pub const MAGNITUDE_MAX: f64 = 1e60;

/// Weights beyond this size count as invalid.
pub const WEIGHT_MAX: f32 = 1e30;

/// Standard normal quantile of a 95% interval.
const Z95: f64 = 1.959_963_984_540_054;

/// What a slot predicts, as far as its quality is concerned.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Task {
    /// A row is predicted positive when its score is at least `threshold`.
    Binary {
        threshold: f64,
    },
    Multiclass,
    Regression,
}

/// What one revision said of a row, as far as gates and metrics need it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scored {
    /// Binary: P(positive). Multiclass: P(true class). Regression: the prediction. NaN or infinite:
    /// the revision failed, or its answer is no number.
    pub score: f64,
    /// Multiclass: the most likely class was the label. Otherwise unused.
    pub right: bool,
}

/// One matured row, scored by both revisions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    pub champion: Scored,
    pub challenger: Scored,
    /// Binary: 0 or 1 (at least 0.5 is positive). Regression: the target. Multiclass: the class.
    pub label: f64,
    /// Money at stake in the row; NaN: none.
    pub amount: f64,
    /// The label's weight times the inverse propensity of having a label; above 0.
    pub weight: f64,
}

/// One matured row of one revision.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    pub scored: Scored,
    pub label: f64,
    pub weight: f64,
}

/// A metric with its 95% interval. A NaN is "undefined", and `null` in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Metric {
    pub name: &'static str,
    pub value: f64,
    pub lower: f64,
    pub upper: f64,
}

impl Outcome {
    /// Whether the row can be counted: score and label at most [`MAGNITUDE_MAX`] in size, the
    /// weight above 0 and at most [`WEIGHT_MAX`].
    #[must_use]
    pub fn is_valid(&self) -> bool {
        is_number(self.scored.score) && is_number(self.label) && is_weight(self.weight)
    }
}

impl Pair {
    /// As [`Outcome::is_valid`], for both revisions.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        is_number(self.champion.score)
            && is_number(self.challenger.score)
            && is_number(self.label)
            && is_weight(self.weight)
    }

    /// The same row with the sides exchanged, for the trial that may roll back.
    #[must_use]
    pub fn swapped(self) -> Self {
        Self {
            champion: self.challenger,
            challenger: self.champion,
            ..self
        }
    }
}

impl Metric {
    /// A metric nothing is known of.
    #[must_use]
    pub fn undefined(name: &'static str) -> Self {
        Self {
            name,
            value: f64::NAN,
            lower: f64::NAN,
            upper: f64::NAN,
        }
    }
}

/// The metrics of a task over labelled rows, weighted, each with a 95% interval.
///
/// Binary: `f1`, `precision`, `recall`, `auc`, `pr_auc` (average precision), `log_loss`, `brier`.
/// Multiclass: `accuracy`, `log_loss`. Regression: `rmse`, `mae`. In this order. Values equal those of
/// scikit-learn; where it would warn and give 0 (no positives, nothing predicted positive, one class)
/// the value is NaN, as it is without rows. Invalid rows are left out ([`Outcome::is_valid`]).
///
/// Intervals: Wilson's for proportions with Kish's effective number of rows `(Σw)²/Σw²`; DeLong's for
/// AUC; a Poisson bootstrap with a fixed seed for F1 and average precision; normal for means. They
/// hold for one look. O(n log n).
#[must_use]
pub fn metrics(task: &Task, outcomes: &[Outcome]) -> Vec<Metric> {
    let valid = outcomes.iter().copied().filter(Outcome::is_valid);
    match task {
        Task::Binary { threshold } => binary::metrics(*threshold, &valid.collect::<Vec<_>>()),
        Task::Multiclass => {
            let (mut right, mut loss) = (Moments::default(), Moments::default());
            for outcome in valid {
                right.push(f64::from(u8::from(outcome.scored.right)), outcome.weight);
                loss.push(surprise(outcome.scored.score), outcome.weight);
            }
            vec![
                wilson("accuracy", right.mean(), right.effective()),
                normal("log_loss", &loss),
            ]
        }
        Task::Regression => {
            let (mut squares, mut absolute) = (Moments::default(), Moments::default());
            for outcome in valid {
                let error = outcome.scored.score - outcome.label;
                squares.push(error * error, outcome.weight);
                absolute.push(error.abs(), outcome.weight);
            }
            let squares = normal("rmse", &squares);
            let root = Metric {
                name: squares.name,
                value: squares.value.sqrt(),
                lower: squares.lower.sqrt(),
                upper: squares.upper.sqrt(),
            };
            vec![root, normal("mae", &absolute)]
        }
    }
}

/// Log loss of a row whose true class had `probability`: `−ln p`, with `p` clipped to
/// [2.2e-16, 1 − 2.2e-16] as scikit-learn does, so at most 36.04. NaN gives NaN.
#[must_use]
pub fn surprise(probability: f64) -> f64 {
    -probability.clamp(f64::EPSILON, 1.0 - f64::EPSILON).ln()
}

/// Log loss of a binary row: [`surprise`] of what was said of the class that came true. Both
/// probabilities are clipped.
#[must_use]
pub fn binary_surprise(score: f64, positive: bool) -> f64 {
    let score = score.clamp(f64::EPSILON, 1.0 - f64::EPSILON);
    if positive {
        -score.ln()
    } else {
        -(-score).ln_1p()
    }
}

/// Sums behind a weighted mean and its standard error, in one pass.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Moments {
    pub count: u64,
    weight: f64,
    weight2: f64,
    sum: f64,
    sum2: f64,
    squares2: f64,
}

impl Moments {
    /// Adds `value` (finite) with `weight` (above 0).
    pub fn push(&mut self, value: f64, weight: f64) {
        let weight2 = weight * weight;
        self.count += 1;
        self.weight += weight;
        self.weight2 += weight2;
        self.sum += weight * value;
        self.sum2 += weight2 * value;
        self.squares2 += weight2 * value * value;
    }

    /// `Σwx/Σw`; NaN when empty.
    #[must_use]
    pub fn mean(&self) -> f64 {
        if self.count == 0 {
            f64::NAN
        } else {
            self.sum / self.weight
        }
    }

    /// `Σwx`; 0 when empty.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.sum
    }

    /// `Σw`; 0 when empty.
    #[must_use]
    pub fn weight(&self) -> f64 {
        self.weight
    }

    /// Kish's effective number of rows, `(Σw)²/Σw²`; 0 when empty.
    #[must_use]
    pub fn effective(&self) -> f64 {
        if self.count == 0 {
            0.0
        } else {
            self.weight * self.weight / self.weight2
        }
    }

    /// Standard error of the mean, linearised for weights:
    /// `√(Σw²(x−x̄)²·n/(n−1))/Σw`, which with equal weights is `s/√n`. NaN below two rows.
    #[must_use]
    pub fn standard_error(&self) -> f64 {
        if self.count < 2 {
            return f64::NAN;
        }
        let (n, mean) = (self.count as f64, self.mean());
        let spread = self.squares2 - 2.0 * mean * self.sum2 + mean * mean * self.weight2;
        (spread.max(0.0) * n / (n - 1.0)).sqrt() / self.weight
    }
}

/// Wilson's 95% interval of a proportion `value` over `n` (effective) rows; undefined without rows.
fn wilson(name: &'static str, value: f64, n: f64) -> Metric {
    if n.is_nan() || n <= 0.0 || value.is_nan() {
        return Metric::undefined(name);
    }
    let z2 = Z95 * Z95;
    let centre = (value + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = Z95 / (1.0 + z2 / n) * (value * (1.0 - value) / n + z2 / (4.0 * n * n)).sqrt();
    Metric {
        name,
        value,
        lower: (centre - half).max(0.0),
        upper: (centre + half).min(1.0),
    }
}

/// A mean of something that is never negative, `± 1.96` standard errors.
fn normal(name: &'static str, moments: &Moments) -> Metric {
    let (value, half) = (moments.mean(), Z95 * moments.standard_error());
    Metric {
        name,
        value,
        lower: if half.is_nan() {
            f64::NAN
        } else {
            (value - half).max(0.0)
        },
        upper: value + half,
    }
}

fn is_number(value: f64) -> bool {
    value.abs() <= MAGNITUDE_MAX
}

/// In f32, as trials keep weights, so that a weight is as valid before as after.
fn is_weight(weight: f64) -> bool {
    let weight = weight as f32;
    weight > 0.0 && weight <= WEIGHT_MAX
}
