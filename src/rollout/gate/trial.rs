//! A trial: the pairs of one champion and one challenger, and what the gates make of them.

use super::super::score::{Moments, Pair, Scored, Task, is_positive};
use super::super::sequential::{Mean, rho2};
use super::findings::{Latch, Ruler};
use super::tallies::{Tally, saved};
use super::{Design, Finding};

/// Gathers matured pairs in their order of maturity and judges them by the gates of its design.
///
/// Memory: 40 bytes for each pair, kept so that a correction can be replayed; a look with an `auc` gate
/// takes about 90 bytes for each pair for its duration. No limit of its own: whoever fills it has one.
///
/// Pairs count as independent of each other. Where rows come in bursts of one entity (a card, an
/// account), intervals are too narrow; `cost`, which needs only that the past promises nothing, suffers
/// least.
///
/// A pair whose scores, label or weight are no usable numbers ([`Pair::is_valid`]) is counted by
/// [`Trial::len`] and [`Trial::invalid`], and no gate uses it.
#[derive(Clone, Debug)]
pub struct Trial {
    design: Design,
    rows: Vec<Row>,
    tallies: Vec<Tally>,
    latches: Vec<Latch>,
    money: Moments,
    /// Weights of usable pairs by class, negatives first; all are negatives unless binary.
    classes: [Moments; 2],
    invalid: u64,
    /// A correction came: the tallies are behind the rows.
    stale: bool,
    /// The last look, while it is up to date.
    findings: Option<Vec<Finding>>,
}

/// Money that the challenger would have saved, untruncated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Saving {
    /// Over all usable pairs, weighted: with inverse propensities, an estimate for all rows.
    pub total: f64,
    /// Per row; NaN without pairs.
    pub mean: f64,
    /// Ends of the two-sided asymptotic confidence sequence of `mean`, level `alpha`; NaN below two
    /// pairs.
    pub lower: f64,
    pub upper: f64,
}

/// A pair in 40 bytes.
#[derive(Clone, Copy, Debug)]
struct Row {
    champion: f64,
    challenger: f64,
    label: f64,
    amount: f64,
    /// In f32: a weight has no use for more than 7 digits.
    weight: f32,
    /// Bit 0: the champion was right. Bit 1: the challenger was.
    right: u8,
}

impl Trial {
    /// A trial without pairs.
    #[must_use]
    pub fn new(design: Design) -> Self {
        let mut trial = Self {
            design,
            rows: Vec::new(),
            tallies: Vec::new(),
            latches: Vec::new(),
            money: Moments::default(),
            classes: [Moments::default(); 2],
            invalid: 0,
            stale: false,
            findings: None,
        };
        trial.clear();
        trial
    }

    #[must_use]
    pub fn design(&self) -> &Design {
        &self.design
    }

    /// Takes the next matured pair. O(gates).
    pub fn push(&mut self, pair: Pair) {
        let row = Row::new(&pair);
        self.rows.push(row);
        self.findings = None;
        if !self.stale {
            self.count(&row.pair());
        }
    }

    /// Replaces the pair at `index` (in order of [`Trial::push`]): a corrected label, say. Afterwards
    /// the trial is what a fresh one with the corrected pairs would be: latched passes are gone unless
    /// the pairs still give them. The pairs are counted again at the next look, once for any number of
    /// corrections. False when there is no such pair.
    pub fn replace(&mut self, index: usize, pair: Pair) -> bool {
        let Some(row) = self.rows.get_mut(index) else {
            return false;
        };
        *row = Row::new(&pair);
        self.stale = true;
        self.findings = None;
        true
    }

    /// Pairs so far, invalid ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Usable pairs with a positive label; 0 unless binary.
    pub fn positives(&mut self) -> u64 {
        self.refresh();
        self.classes[1].count
    }

    /// Pairs that no gate uses.
    pub fn invalid(&mut self) -> u64 {
        self.refresh();
        self.invalid
    }

    /// One finding for each gate of the design, in its order.
    ///
    /// Constant time when nothing changed since the last look; otherwise O(gates), and O(n log n) with
    /// an `auc` gate. Verdicts hold however often one looks. A pass is latched.
    ///
    /// - `cost` bets at every pair, exactly; its interval is asymptotic and only describes.
    /// - `auc`, `log_loss`, `brier`, `squared_error`: an asymptotic confidence sequence, silent below 50
    ///   rows of each class (or in all, without classes), with weights: 50 effective ones.
    /// - `recall_fpr > 0`: one-sided sequential McNemar e-values for positives (recall) and negatives
    ///   (false positive rate). Passes when their mean reaches `1/alpha` (so one class alone needs
    ///   `2/alpha`) while in neither class the evidence that the challenger is *worse* stands above 1
    ///   (even odds); so recall cannot be bought with false alarms, whatever F1 says. Fails when the mean of
    ///   the evidence for worse reaches `1/alpha`. Where weights differ within a class, its e-value is
    ///   the asymptotic one of the weighted difference, from 50 rows on.
    /// - `recall_fpr > -m`: in both classes the asymptotic lower bound of the paired difference of rates
    ///   lies above `-m`.
    pub fn look(&mut self) -> Vec<Finding> {
        self.refresh();
        if let Some(findings) = &self.findings {
            return findings.clone();
        }
        let ruler = Ruler::new(&self.design, self.classes);
        let mut findings = Vec::with_capacity(self.design.gates.len());
        for ((gate, tally), latch) in
            (self.design.gates.iter().zip(&self.tallies)).zip(&mut self.latches)
        {
            let pairs = self.rows.iter().map(Row::pair).filter(Pair::is_valid);
            findings.push(ruler.finding(*gate, tally, latch, pairs));
        }
        self.findings = Some(findings.clone());
        findings
    }

    /// What the challenger would have saved so far by the design's costs.
    pub fn cost_difference(&mut self) -> Saving {
        self.refresh();
        let mean = Mean {
            estimate: self.money.mean(),
            se: self.money.standard_error(),
            t: self.money.count as f64,
        };
        let alpha = self.design.alpha;
        let radius = mean.radius(alpha, rho2(alpha, self.design.t_star));
        Saving {
            total: self.money.total(),
            mean: mean.estimate,
            lower: mean.estimate - radius,
            upper: mean.estimate + radius,
        }
    }

    fn clear(&mut self) {
        let design = &self.design;
        let tally =
            |gate: &super::Gate| Tally::new(gate.measure, gate.bound, &design.task, &design.costs);
        self.tallies = design.gates.iter().map(tally).collect();
        self.latches = vec![Latch::default(); design.gates.len()];
        self.money = Moments::default();
        self.classes = [Moments::default(); 2];
        self.invalid = 0;
    }

    fn count(&mut self, pair: &Pair) {
        if !pair.is_valid() {
            self.invalid += 1;
            return;
        }
        let task = &self.design.task;
        let positive = matches!(task, Task::Binary { .. }) && is_positive(pair.label);
        self.classes[usize::from(positive)].push(1.0, pair.weight);
        self.money
            .push(saved(task, &self.design.costs, pair), pair.weight);
        for (gate, tally) in self.design.gates.iter().zip(&mut self.tallies) {
            tally.push(gate.measure, task, pair);
        }
    }

    fn refresh(&mut self) {
        if !self.stale {
            return;
        }
        self.clear();
        let rows = std::mem::take(&mut self.rows);
        for row in &rows {
            self.count(&row.pair());
        }
        self.rows = rows;
        self.stale = false;
    }
}

impl Row {
    fn new(pair: &Pair) -> Self {
        Self {
            champion: pair.champion.score,
            challenger: pair.challenger.score,
            label: pair.label,
            amount: pair.amount,
            weight: pair.weight as f32,
            right: u8::from(pair.champion.right) | (u8::from(pair.challenger.right) << 1),
        }
    }

    fn pair(&self) -> Pair {
        Pair {
            champion: Scored {
                score: self.champion,
                right: self.right & 1 != 0,
            },
            challenger: Scored {
                score: self.challenger,
                right: self.right & 2 != 0,
            },
            label: self.label,
            amount: self.amount,
            weight: f64::from(self.weight),
        }
    }
}
