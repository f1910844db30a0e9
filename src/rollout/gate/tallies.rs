//! What a gate remembers of the pairs: sums that grow by one pair in constant time, one kind per
//! measure.

use super::super::score::{
    MAGNITUDE_MAX, Moments, Pair, Task, binary_surprise, is_positive, surprise,
};
use super::super::sequential::Betting;
use super::{Costs, Measure};

/// The memory of one gate. `auc` has none: it ranks the pairs at each look.
#[derive(Clone, Debug)]
pub(super) enum Tally {
    Cost(CostTally),
    Auc,
    RecallFpr(ClassesTally),
    Loss(Moments),
    /// The measure is not defined for the task, or its bound or costs are out of range.
    Misfit,
}

/// Bets on both directions, and the truncated differences.
#[derive(Clone, Debug)]
pub(super) struct CostTally {
    pub better: Betting,
    pub worse: Betting,
    pub moments: Moments,
    /// Pairs whose cost differs.
    pub differing: u64,
    costs: Costs,
    bound: f64,
}

/// Paired decisions by class: negatives, positives.
#[derive(Clone, Debug, Default)]
pub(super) struct ClassesTally {
    pub classes: [ClassTally; 2],
}

/// Paired decisions of one class.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ClassTally {
    pub better: u64,
    pub worse: u64,
    pub moments: Moments,
    /// The first weight, and whether another one came: then counts alone prove nothing.
    weight: f64,
    pub uneven: bool,
}

impl Tally {
    pub fn new(measure: Measure, bound: f64, task: &Task, costs: &Costs) -> Self {
        let impossible = match measure {
            Measure::RecallFpr => bound > 0.0,
            Measure::Cost => !costs.is_valid(),
            _ => false,
        };
        if impossible || !bound.is_finite() || !measure.fits(task) {
            return Self::Misfit;
        }
        match measure {
            Measure::Cost => Self::Cost(CostTally {
                better: Betting::default(),
                worse: Betting::default(),
                moments: Moments::default(),
                differing: 0,
                costs: *costs,
                bound,
            }),
            Measure::Auc => Self::Auc,
            Measure::RecallFpr => Self::RecallFpr(ClassesTally::default()),
            Measure::LogLoss | Measure::Brier | Measure::SquaredError => {
                Self::Loss(Moments::default())
            }
        }
    }

    /// Takes a valid pair.
    pub fn push(&mut self, measure: Measure, task: &Task, pair: &Pair) {
        match self {
            Self::Cost(tally) => tally.push(task, pair),
            Self::RecallFpr(tally) => tally.push(task, pair),
            Self::Loss(moments) => moments.push(loss_shed(measure, task, pair), pair.weight),
            Self::Auc | Self::Misfit => {}
        }
    }
}

impl CostTally {
    /// The bettor plays `w·(D − bound)`, with `D` truncated to `± limit`, over the largest value that it
    /// has with a weight of 1; beyond, it is truncated again.
    fn push(&mut self, task: &Task, pair: &Pair) {
        let limit = self.costs.limit;
        let saved = saved(task, &self.costs, pair);
        let difference = saved.clamp(-limit, limit);
        let x = pair.weight * (difference - self.bound) / (limit + self.bound.abs());
        self.better.push(x);
        self.worse.push(-x);
        self.moments.push(difference, pair.weight);
        self.differing += u64::from(difference != 0.0);
    }
}

impl ClassesTally {
    fn push(&mut self, task: &Task, pair: &Pair) {
        let Task::Binary { threshold } = *task else {
            return;
        };
        let positive = is_positive(pair.label);
        let champion = (pair.champion.score >= threshold) == positive;
        let challenger = (pair.challenger.score >= threshold) == positive;
        let class = &mut self.classes[usize::from(positive)];
        class.better += u64::from(challenger && !champion);
        class.worse += u64::from(champion && !challenger);
        if class.moments.count == 0 {
            class.weight = pair.weight;
        }
        class.uneven |= class.weight != pair.weight;
        let difference = f64::from(u8::from(challenger)) - f64::from(u8::from(champion));
        class.moments.push(difference, pair.weight);
    }
}

impl ClassTally {
    /// Standard error of the mean difference, with half a pair added to each side of the discordant
    /// ones: without, a class where nothing has differed yet would look certain.
    pub fn standard_error(&self) -> f64 {
        let n = self.moments.count as f64;
        self.moments.standard_error().hypot(1.0 / n)
    }
}

/// What the challenger saves in a row, untruncated, in money; amounts are cut to [0, 1e60].
pub(super) fn saved(task: &Task, costs: &Costs, pair: &Pair) -> f64 {
    let amount = if pair.amount.is_finite() {
        pair.amount.clamp(0.0, MAGNITUDE_MAX)
    } else {
        0.0
    };
    let missed = costs.false_negative + costs.amount_rate * amount;
    // [cost when called negative, cost when called positive] or [wrong, right].
    let (prices, calls) = match *task {
        Task::Binary { threshold } => {
            let prices = if is_positive(pair.label) {
                [missed, 0.0]
            } else {
                [0.0, costs.false_positive]
            };
            let call = |score: f64| usize::from(score >= threshold);
            (
                prices,
                [call(pair.champion.score), call(pair.challenger.score)],
            )
        }
        Task::Multiclass => {
            let calls = [pair.champion.right, pair.challenger.right];
            ([missed, 0.0], calls.map(usize::from))
        }
        Task::Regression => ([0.0, 0.0], [0, 0]),
    };
    (prices[calls[0]] - prices[calls[1]]).clamp(-MAGNITUDE_MAX, MAGNITUDE_MAX)
}

fn loss_shed(measure: Measure, task: &Task, pair: &Pair) -> f64 {
    let loss = |score: f64| match (measure, task) {
        (Measure::LogLoss, Task::Binary { .. }) => binary_surprise(score, is_positive(pair.label)),
        (Measure::LogLoss, _) => surprise(score),
        (Measure::Brier, _) => (score - f64::from(u8::from(is_positive(pair.label)))).powi(2),
        _ => (score - pair.label).powi(2),
    };
    loss(pair.champion.score) - loss(pair.challenger.score)
}
