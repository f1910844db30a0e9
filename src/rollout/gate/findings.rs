//! From a gate's tallies to its finding: estimate, interval, evidence, verdict, and what is missing.

use super::super::score::{Judged, Moments, Pair, Task, delong, is_positive};
use super::super::sequential::{
    Mean, beta_binomial_e_value, beta_binomial_e_value_above, rho2_one_sided,
};
use super::tallies::{ClassTally, ClassesTally, CostTally, Tally};
use super::{COUNT_FLOOR, Design, Finding, Gate, Measure, Part, Verdict};

/// The Beta prior of McNemar's mixture: expects 39% to 61% of the discordant pairs on one side.
const PRIOR: f64 = 10.0;

/// Variances of an AUC difference up to this are rounding.
const VARIANCE_MIN: f64 = 1e-24;

/// Standard errors this much smaller than their mean are rounding.
const RELATIVE_ERROR_MIN: f64 = 1e-12;

/// Evidence that leans to neither side, and room for rounding.
const EVEN: f64 = 1.0 + 1e-9;

/// How many times the present rows [`Ruler::needed_discordant`] looks ahead.
const FACTOR_MAX: f64 = 1e6;

/// What earlier looks have proven for good.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Latch {
    e_value: f64,
    passed: bool,
    failed: bool,
}

/// The yardsticks of one look.
pub(super) struct Ruler<'a> {
    design: &'a Design,
    threshold: f64,
    rho2_rows: f64,
    rho2_positives: f64,
    /// Usable pairs.
    rows: u64,
    positives: u64,
    /// Effective numbers of negatives and positives, by their weights.
    effective: [f64; 2],
}

/// Evidence of one look, before it is latched.
struct Evidence {
    estimate: f64,
    lower: f64,
    upper: f64,
    better: f64,
    worse: f64,
    /// Something else forbids to pass now.
    barred: Option<String>,
    count: u64,
    /// Matured rows in all, not only the missing ones.
    needed: Option<f64>,
    parts: Vec<Part>,
}

/// Why there is no evidence, and how many rows there are.
struct Silence {
    reason: String,
    count: u64,
    parts: Vec<Part>,
}

impl<'a> Ruler<'a> {
    /// `classes` holds the weights of the usable pairs, negatives and positives.
    pub fn new(design: &'a Design, classes: [Moments; 2]) -> Self {
        let [negatives, positives] = classes.map(|class| class.count);
        Self {
            design,
            threshold: 1.0 / design.alpha,
            rho2_rows: rho2_one_sided(design.alpha, design.t_star),
            rho2_positives: rho2_one_sided(design.alpha, design.t_star_positives),
            rows: negatives + positives,
            positives,
            effective: classes.map(|class| class.effective()),
        }
    }

    /// The finding of one gate. `pairs` are the usable ones, which only `auc` reads.
    pub fn finding(
        &self,
        gate: Gate,
        tally: &Tally,
        latch: &mut Latch,
        pairs: impl Iterator<Item = Pair>,
    ) -> Finding {
        let evidence = match tally {
            Tally::Cost(tally) => self.cost(tally),
            Tally::Auc => self.auc(gate, pairs),
            Tally::RecallFpr(tally) => self.recall_fpr(gate, tally),
            Tally::Loss(moments) => self.loss(gate, moments),
            Tally::Misfit => Err(Silence::new(self.misfit(gate), self.rows)),
        };
        match evidence {
            Ok(evidence) => self.judge(gate, latch, evidence),
            Err(silence) => self.silent(gate, *latch, silence),
        }
    }

    fn judge(&self, gate: Gate, latch: &mut Latch, evidence: Evidence) -> Finding {
        latch.e_value = latch.e_value.max(evidence.better);
        latch.passed |= evidence.better >= self.threshold && evidence.barred.is_none();
        latch.failed |= evidence.worse >= self.threshold;
        let (verdict, reason) = match (latch.failed, latch.passed) {
            (true, _) => {
                let reason = format!("provably not better than {}", gate.bound + 0.0);
                (Verdict::Fail, Some(reason))
            }
            (false, true) => (Verdict::Pass, None),
            (false, false) => {
                let reason = evidence
                    .barred
                    .unwrap_or_else(|| "more labels needed".to_owned());
                (Verdict::Inconclusive, Some(reason))
            }
        };
        let needed = evidence.needed.filter(|_| verdict == Verdict::Inconclusive);
        Finding {
            measure: gate.measure,
            bound: gate.bound,
            verdict,
            estimate: evidence.estimate,
            lower: evidence.lower,
            upper: evidence.upper,
            e_value: latch.e_value,
            threshold: self.threshold,
            count: evidence.count,
            needed: needed.map(|rows| (rows - self.rows as f64).ceil().max(1.0) as u64),
            reason,
            parts: evidence.parts,
        }
    }

    fn silent(&self, gate: Gate, latch: Latch, silence: Silence) -> Finding {
        Finding {
            measure: gate.measure,
            bound: gate.bound,
            verdict: Verdict::Inconclusive,
            estimate: f64::NAN,
            lower: f64::NAN,
            upper: f64::NAN,
            e_value: latch.e_value,
            threshold: self.threshold,
            count: silence.count,
            needed: None,
            reason: Some(silence.reason),
            parts: silence.parts,
        }
    }

    fn misfit(&self, gate: Gate) -> String {
        let task = match self.design.task {
            Task::Binary { .. } => "binary",
            Task::Multiclass => "multiclass",
            Task::Regression => "regression",
        };
        if !gate.measure.fits(&self.design.task) {
            return format!("{} is not defined for a {task} slot", gate.measure);
        }
        if gate.measure == Measure::Cost {
            return "costs: expected finite prices of 0 or more and a limit above 0".to_owned();
        }
        format!("{} takes no bound of {}", gate.measure, gate.bound)
    }

    fn cost(&self, tally: &CostTally) -> Result<Evidence, Silence> {
        let count = tally.moments.count;
        if tally.differing == 0 {
            return Err(Silence::new(
                nothing_or("identical decisions", count),
                count,
            ));
        }
        let mean = mean_of(&tally.moments);
        Ok(Evidence {
            better: tally.better.e_value(),
            worse: tally.worse.e_value(),
            needed: tally.better.needed(self.design.alpha),
            ..self.sequence(mean, 0.0, self.rho2_rows, count)
        })
    }

    fn auc(&self, gate: Gate, pairs: impl Iterator<Item = Pair>) -> Result<Evidence, Silence> {
        self.both_classes()?;
        let judged = |pair: Pair| Judged {
            champion: pair.champion.score,
            challenger: pair.challenger.score,
            positive: is_positive(pair.label),
            weight: pair.weight,
        };
        let count = self.scarce();
        let compared = delong(&pairs.map(judged).collect::<Vec<_>>());
        let Some(compared) = compared.filter(|compared| compared.variance > VARIANCE_MIN) else {
            return Err(Silence::new("identical scores".to_owned(), count));
        };
        let mean = Mean {
            estimate: compared.difference,
            se: compared.variance.sqrt(),
            t: count as f64,
        };
        Ok(self.sequence(mean, gate.bound, self.rho2_positives, count))
    }

    fn loss(&self, gate: Gate, moments: &Moments) -> Result<Evidence, Silence> {
        if matches!(self.design.task, Task::Binary { .. }) {
            self.both_classes()?;
        } else if is_few(moments.effective()) {
            let reason = format!("{:.0} rows of {COUNT_FLOOR}", moments.effective().floor());
            return Err(Silence::new(reason, moments.count));
        }
        let mean = mean_of(moments);
        if mean.se.is_nan() || mean.se <= RELATIVE_ERROR_MIN * mean.estimate.abs() {
            return Err(Silence::new("identical scores".to_owned(), moments.count));
        }
        Ok(self.sequence(mean, gate.bound, self.rho2_rows, moments.count))
    }

    fn recall_fpr(&self, gate: Gate, tally: &ClassesTally) -> Result<Evidence, Silence> {
        let parts = self.parts(gate, tally);
        let count = self.scarce();
        let silence = |reason: String| Silence {
            reason,
            count,
            parts: parts.clone(),
        };
        if count == 0 {
            return Err(silence(nothing_or("one class", self.rows)));
        }
        if parts.iter().all(|part| part.better + part.worse == 0) {
            return Err(silence("identical decisions".to_owned()));
        }
        if gate.bound < 0.0 || tally.classes.iter().any(|class| class.uneven) {
            self.both_classes()
                .map_err(|reason| silence(reason.reason))?;
        }
        let [negatives, positives] = [parts[1], parts[0]];
        let superiority = gate.bound >= 0.0;
        let (shown, better, worse) = if superiority {
            let first = positives.e_value >= negatives.e_value;
            let better = f64::midpoint(positives.e_value, negatives.e_value);
            let worse = f64::midpoint(positives.e_value_worse, negatives.e_value_worse);
            (if first { positives } else { negatives }, better, worse)
        } else {
            let first = positives.lower <= negatives.lower;
            let better = positives.e_value.min(negatives.e_value);
            // Either class may fail the gate, so both together have the budget.
            let worse = f64::midpoint(positives.e_value_worse, negatives.e_value_worse);
            (if first { positives } else { negatives }, better, worse)
        };
        let suspect = parts.iter().find(|part| part.e_value_worse > EVEN);
        let barred = suspect.filter(|_| superiority && better >= self.threshold);
        Ok(Evidence {
            estimate: shown.estimate,
            lower: shown.lower,
            upper: shown.upper,
            better,
            worse,
            barred: barred.map(|part| format!("{} may have become worse", part.name)),
            count,
            needed: self.needed_classes(gate, tally),
            parts,
        })
    }

    /// Recall, then false positive rate.
    fn parts(&self, gate: Gate, tally: &ClassesTally) -> Vec<Part> {
        let [negatives, positives] = &tally.classes;
        let part = |name: &'static str, class: &ClassTally| {
            let mean = class_mean(class);
            let (alpha, rho2) = (self.design.alpha, self.rho2_positives);
            let (e_value, e_value_worse) = self.class_evidence(gate, class);
            Part {
                name,
                count: class.moments.count,
                better: class.better,
                worse: class.worse,
                estimate: mean.estimate,
                lower: mean.lower(alpha, rho2),
                upper: mean.upper(alpha, rho2),
                e_value,
                e_value_worse,
            }
        };
        vec![part("recall", positives), part("fpr", negatives)]
    }

    /// E-values for "better than the bound" and "worse than the bound".
    fn class_evidence(&self, gate: Gate, class: &ClassTally) -> (f64, f64) {
        let (better, worse) = (class.better as f64, class.worse as f64);
        if gate.bound >= 0.0 && !class.uneven {
            return (
                beta_binomial_e_value_above(better, worse, PRIOR),
                beta_binomial_e_value_above(worse, better, PRIOR),
            );
        }
        if class.moments.count < COUNT_FLOOR {
            return (1.0, 1.0);
        }
        let mean = class_mean(class);
        both_ways(mean, gate.bound, self.rho2_positives)
    }

    /// Matured rows in all until the gate is likely to pass.
    fn needed_classes(&self, gate: Gate, tally: &ClassesTally) -> Option<f64> {
        let rows = self.rows as f64;
        let [first, second] = tally.classes.map(|class| {
            if gate.bound >= 0.0 {
                return self.needed_discordant(&class).map(|factor| factor * rows);
            }
            let needed =
                class_mean(&class).needed(gate.bound, self.design.alpha, self.rho2_positives)?;
            Some(needed * rows / class.moments.count as f64)
        });
        if gate.bound >= 0.0 {
            return [first, second].into_iter().flatten().reduce(f64::min);
        }
        Some(first?.max(second?))
    }

    /// By what factor the discordant pairs of a class must grow, split as they are, so that it passes
    /// alone. There the one-sided e-value is twice the two-sided one, so that one is asked for half.
    fn needed_discordant(&self, class: &ClassTally) -> Option<f64> {
        let (better, worse) = (class.better as f64, class.worse as f64);
        let passes = |factor: f64| {
            beta_binomial_e_value(factor * better, factor * worse, PRIOR) >= self.threshold
        };
        if better <= worse {
            return None;
        }
        let mut high = 1.0;
        while !passes(high) {
            high *= 2.0;
            if high > FACTOR_MAX {
                return None;
            }
        }
        let mut low = high / 2.0;
        while high / low > 1.01 {
            let middle = f64::midpoint(low, high);
            if passes(middle) {
                high = middle;
            } else {
                low = middle;
            }
        }
        Some(high)
    }

    /// Evidence of a mean by its one-sided confidence sequences.
    fn sequence(&self, mean: Mean, bound: f64, rho2: f64, count: u64) -> Evidence {
        let alpha = self.design.alpha;
        let (better, worse) = both_ways(mean, bound, rho2);
        let scale = self.rows as f64 / count.max(1) as f64;
        Evidence {
            estimate: mean.estimate,
            lower: mean.lower(alpha, rho2),
            upper: mean.upper(alpha, rho2),
            better,
            worse,
            barred: None,
            count,
            needed: mean.needed(bound, alpha, rho2).map(|count| count * scale),
            parts: Vec::new(),
        }
    }

    fn scarce(&self) -> u64 {
        self.positives.min(self.rows - self.positives)
    }

    /// Enough rows of both classes for an asymptotic statement.
    fn both_classes(&self) -> Result<(), Silence> {
        let [negatives, positives] = self.effective;
        let reason = if self.scarce() == 0 {
            nothing_or("one class", self.rows)
        } else if is_few(positives) {
            format!("{:.0} positives of {COUNT_FLOOR}", positives.floor())
        } else if is_few(negatives) {
            format!("{:.0} negatives of {COUNT_FLOOR}", negatives.floor())
        } else {
            return Ok(());
        };
        Err(Silence::new(reason, self.scarce()))
    }
}

impl Silence {
    fn new(reason: String, count: u64) -> Self {
        Self {
            reason,
            count,
            parts: Vec::new(),
        }
    }
}

/// Below the floor, with room for rounding in the sums of weights.
fn is_few(effective: f64) -> bool {
    effective < COUNT_FLOOR as f64 - 1e-6
}

fn nothing_or(reason: &str, count: u64) -> String {
    if count == 0 { "no labels" } else { reason }.to_owned()
}

fn mean_of(moments: &Moments) -> Mean {
    Mean {
        estimate: moments.mean(),
        se: moments.standard_error(),
        t: moments.count as f64,
    }
}

fn class_mean(class: &ClassTally) -> Mean {
    Mean {
        se: class.standard_error(),
        ..mean_of(&class.moments)
    }
}

/// E-values for "above the bound" and "below the bound".
fn both_ways(mean: Mean, bound: f64, rho2: f64) -> (f64, f64) {
    let turned = Mean {
        estimate: -mean.estimate,
        ..mean
    };
    (
        mean.e_value_above(bound, rho2),
        turned.e_value_above(-bound, rho2),
    )
}
