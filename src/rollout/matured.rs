//! Matured outcomes of a slot in memory: what each revision said of them, for metrics, and the pairs
//! of each trial. Filled in the journal's order; a correction finds its row by the outcome's number.

use std::collections::{BTreeMap, VecDeque};

use super::course::take;
use super::gate::{Design, Finding, Trial};
use super::reading::scored;
use super::score::{self, Metric, Outcome, Pair, Scored, Task};
use crate::error::Error;
use crate::journal::Journal;
use crate::journal::outcomes::OutcomeRow;

/// The newest matured outcomes of each revision of a slot.
#[derive(Debug, Default)]
pub struct Matured(BTreeMap<String, Recent>);

#[derive(Debug, Default)]
struct Recent {
    rows: VecDeque<(i64, Outcome)>,
    /// Outcomes that came since the metrics were made.
    fresh: usize,
    metrics: Vec<Metric>,
}

/// A trial of two revisions, by their marks, fed with a slot's outcomes.
#[derive(Debug)]
pub struct Paired {
    /// Who answers, or answered.
    pub champion: String,
    /// Who has to be better.
    pub challenger: String,
    /// Predictions made before do not count, and outcomes up to this number do not either.
    pub since_ms: i64,
    pub from_seq: i64,
    /// Whether a row without an amount cannot be priced, and so does not count.
    pub needs_amount: bool,
    /// The number of the last outcome that it took or passed over.
    pub at_seq: i64,
    pub trial: Trial,
    /// The outcomes' numbers, in the trial's order.
    seqs: Vec<i64>,
    /// Outcomes that lack the score of one of the two.
    unpaired: u64,
    /// Pairs on which both decide alike.
    agreed: u64,
    /// The last look, and how many pairs and corrections came since.
    findings: Vec<Finding>,
    fresh: usize,
}

/// Outcomes of a revision that its metrics are of.
const RECENT: usize = 50_000;
/// Pairs of a trial: 48 MB. What comes later is counted by nobody, and the trial says so.
const PAIRS_MAX: usize = 1_000_000;

impl Matured {
    /// Takes an outcome, or the correction of one.
    pub fn push(&mut self, task: &Task, row: &OutcomeRow) {
        for (mark, scores) in said(row) {
            let outcome = Outcome {
                scored: scored(task, scores, row.value),
                label: row.value,
                weight: weight(row),
            };
            let recent = self.0.entry(mark.to_string()).or_default();
            recent.push(row, outcome);
        }
    }

    /// Forgets revisions that are no longer in the slot.
    pub fn keep(&mut self, marks: &[&str]) {
        self.0.retain(|mark, _| marks.contains(&mark.as_str()));
    }

    /// How many outcomes a revision has here, and its metrics over them. They are made again when
    /// two in a hundred are new.
    pub fn metrics(&mut self, task: &Task, mark: &str) -> (usize, Vec<Metric>) {
        let Some(recent) = self.0.get_mut(mark) else {
            return (0, Vec::new());
        };
        if recent.fresh > recent.rows.len() / 50 {
            let outcomes: Vec<Outcome> = recent.rows.iter().map(|(_, it)| *it).collect();
            recent.metrics = score::metrics(task, &outcomes);
            recent.fresh = 0;
        }
        (recent.rows.len(), recent.metrics.clone())
    }
}

impl Recent {
    fn push(&mut self, row: &OutcomeRow, outcome: Outcome) {
        if self.rows.back().is_some_and(|(seq, _)| *seq >= row.seq) {
            return;
        }
        self.fresh += 1;
        let Some(first) = row.corrects else {
            self.rows.push_back((row.seq, outcome));
            if self.rows.len() > RECENT {
                self.rows.pop_front();
            }
            return;
        };
        let at = self.rows.partition_point(|(seq, _)| *seq < first);
        if let Some((seq, corrected)) = self.rows.get_mut(at)
            && *seq == first
        {
            *corrected = outcome;
        }
    }
}

impl Paired {
    /// A trial of predictions made from a time on, by outcomes after a number.
    pub fn new(
        champion: &str,
        challenger: &str,
        (since_ms, from_seq): (i64, i64),
        design: Design,
    ) -> Paired {
        Paired {
            champion: champion.to_string(),
            challenger: challenger.to_string(),
            since_ms,
            from_seq,
            needs_amount: false,
            at_seq: from_seq,
            trial: Trial::new(design),
            seqs: Vec::new(),
            unpaired: 0,
            agreed: 0,
            findings: Vec::new(),
            fresh: 0,
        }
    }

    /// What the gates make of the pairs: looked at again when one in two hundred is new, for a look
    /// at a million takes half a second.
    pub fn look(&mut self) -> Vec<Finding> {
        if self.findings.is_empty() || self.fresh > self.seqs.len() / 200 {
            self.findings = self.trial.look();
            self.fresh = 0;
        }
        self.findings.clone()
    }

    /// Takes an outcome, or the correction of one.
    pub fn push(&mut self, row: &OutcomeRow) {
        if row.seq <= self.at_seq {
            return;
        }
        self.at_seq = row.seq;
        if row.at_ms < self.since_ms {
            return;
        }
        let Some(pair) = self.pair(row) else {
            self.unpaired += u64::from(row.corrects.is_none());
            return;
        };
        self.fresh += 1;
        if let Some(first) = row.corrects {
            if let Ok(index) = self.seqs.binary_search(&first) {
                let _replaced = self.trial.replace(index, pair);
            }
            return;
        }
        if self.is_full() {
            return;
        }
        self.agreed += u64::from(self.agrees(&pair));
        self.seqs.push(row.seq);
        self.trial.push(pair);
    }

    /// Whether both are the same trial.
    pub fn is_of(&self, other: &Paired) -> bool {
        let start = (other.since_ms, other.from_seq);
        self.is_about(&other.champion, &other.challenger, start)
    }

    /// Whether it is of these two and began then.
    pub fn is_about(&self, champion: &str, challenger: &str, start: (i64, i64)) -> bool {
        self.champion == champion
            && self.challenger == challenger
            && (self.since_ms, self.from_seq) == start
    }

    /// Takes outcomes up to this number that it missed, as many as one step allows.
    ///
    /// # Errors
    /// What the journal says; the rest is taken the next time.
    pub fn catch_up(&mut self, journal: &Journal, slot: &str, to: i64) -> Result<(), Error> {
        if self.at_seq >= to {
            return Ok(());
        }
        if self.is_full() {
            self.at_seq = to;
            return Ok(());
        }
        let mut seq = self.at_seq;
        let done = take(journal, slot, (&mut seq, Some(to)), |row| self.push(row))?;
        self.at_seq = if done { to } else { seq };
        Ok(())
    }

    /// Whether it takes no more pairs.
    pub fn is_full(&self) -> bool {
        self.seqs.len() >= PAIRS_MAX
    }

    /// The part of the outcomes that has both scores, of those that should: `fraction` of the
    /// requests are scored by both. 1 before the first.
    pub fn pairing(&self, fraction: f64) -> f64 {
        let paired = self.seqs.len() as f64;
        let expected = (paired + self.unpaired as f64) * fraction;
        match expected > 0.0 {
            true => (paired / expected).min(1.0),
            false => 1.0,
        }
    }

    /// The part of the pairs on which both decide alike; 1 before the first.
    pub fn agreement(&self) -> f64 {
        match self.seqs.len() {
            0 => 1.0,
            pairs => self.agreed as f64 / pairs as f64,
        }
    }

    fn pair(&self, row: &OutcomeRow) -> Option<Pair> {
        let amount = row.amount.unwrap_or(f64::NAN);
        if self.needs_amount && amount.is_nan() {
            return None;
        }
        let task = self.trial.design().task;
        let of = |mark: &str| -> Option<Scored> {
            let (_, scores) = said(row).find(|(it, _)| *it == mark)?;
            Some(scored(&task, scores, row.value))
        };
        Some(Pair {
            champion: of(&self.champion)?,
            challenger: of(&self.challenger)?,
            label: row.value,
            amount,
            weight: weight(row),
        })
    }

    fn agrees(&self, pair: &Pair) -> bool {
        match self.trial.design().task {
            Task::Binary { threshold } => {
                (pair.champion.score >= threshold) == (pair.challenger.score >= threshold)
            }
            Task::Multiclass => pair.champion.right == pair.challenger.right,
            Task::Regression => true,
        }
    }
}

/// What each revision said of a row: the one that answered, then the others. The same model under
/// another number says it once.
fn said(row: &OutcomeRow) -> impl Iterator<Item = (&str, Option<&[f64]>)> {
    let answered = std::iter::once((row.digest.as_str(), Some(row.scores.as_slice())));
    let shadows = row.shadows.iter().filter(|it| it.digest != row.digest);
    answered.chain(shadows.map(|it| (it.digest.as_str(), it.scores.as_deref())))
}

/// The label's weight times the inverse of the probability that there was one at all.
fn weight(row: &OutcomeRow) -> f64 {
    match row.propensity > 0.0 {
        true => row.weight / row.propensity,
        false => row.weight,
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::super::gate::{Costs, Gate, Measure};
    use super::*;
    use crate::journal::predictions::Shadow;

    const TASK: Task = Task::Binary { threshold: 0.5 };

    fn row(seq: i64, value: f64, champion: f64, challenger: Option<f64>) -> OutcomeRow {
        let shadow = |score| Shadow {
            digest: "b".to_string(),
            scores: Some(vec![score]),
        };
        OutcomeRow {
            seq,
            corrects: None,
            id: Uuid::nil(),
            row: 0,
            at_ms: 1000 + seq,
            matured_ms: 2000,
            digest: "a".to_string(),
            scores: vec![champion],
            shadows: challenger.map(shadow).into_iter().collect(),
            value,
            weight: 1.0,
            amount: Some(100.0),
            propensity: 1.0,
        }
    }

    fn paired() -> Paired {
        let design = Design {
            task: TASK,
            gates: vec![Gate {
                measure: Measure::Cost,
                bound: 0.0,
            }],
            costs: Costs {
                false_positive: 10.0,
                false_negative: 0.0,
                amount_rate: 1.0,
                limit: 100.0,
            },
            alpha: 0.05,
            t_star: 1000.0,
            t_star_positives: 100.0,
        };
        Paired::new("a", "b", (1002, 0), design)
    }

    #[test]
    fn a_trial_takes_what_both_scored_since_its_beginning() {
        let mut paired = paired();
        paired.push(&row(1, 1.0, 0.1, Some(0.9)));
        paired.push(&row(2, 1.0, 0.1, Some(0.9)));
        paired.push(&row(3, 0.0, 0.1, None));
        paired.push(&row(4, 0.0, 0.1, Some(0.2)));
        assert_eq!((paired.trial.len(), paired.unpaired), (2, 1));
        assert_eq!(paired.pairing(1.0), 2.0 / 3.0);
        assert_eq!(paired.pairing(0.5), 1.0);
        assert_eq!(paired.agreement(), 0.5);
        assert_eq!(paired.trial.cost_difference().total, 100.0);
    }

    #[test]
    fn a_correction_replaces_the_row_it_corrects() {
        let mut paired = paired();
        let mut matured = Matured::default();
        let first = row(2, 1.0, 0.1, Some(0.9));
        let corrected = OutcomeRow {
            seq: 9,
            corrects: Some(2),
            value: 0.0,
            ..first.clone()
        };
        let unknown = OutcomeRow {
            corrects: Some(1),
            ..corrected.clone()
        };
        for row in [&first, &corrected, &unknown] {
            paired.push(row);
            matured.push(&TASK, row);
        }
        assert_eq!(paired.trial.len(), 1);
        assert_eq!(paired.trial.cost_difference().total, -10.0);
        let (count, metrics) = matured.metrics(&TASK, "b");
        assert_eq!(count, 1);
        let precision = metrics.iter().find(|it| it.name == "precision").unwrap();
        assert_eq!(precision.value, 0.0);
    }

    #[test]
    fn a_row_that_was_held_out_counts_for_all_like_it() {
        let mut paired = paired();
        paired.push(&OutcomeRow {
            propensity: 0.01,
            ..row(2, 1.0, 0.1, Some(0.9))
        });
        assert_eq!(paired.trial.cost_difference().total, 10_000.0);
    }
}
