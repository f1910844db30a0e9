//! A trial over rows in the order in which their labels arrive, by the server's own gates and
//! decisions: shadow and shares until a decision, then the old champion against the new one. Pure: it
//! knows no file, and the only clock is that of the rows.

use serde::Serialize;

use crate::rollout::SlotSettings;
use crate::rollout::decide::{self, Approval, Decision, Evidence, Guard, Health, Stage};
use crate::rollout::gate::{Design, Finding, Saving, Trial};
use crate::rollout::score::{Pair, Task};

/// A row that both revisions scored.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub at_ms: i64,
    /// When its label counts, not before `at_ms`.
    pub matures_ms: i64,
    pub pair: Pair,
    /// The challenger said nothing: it failed, or the row does not fit it.
    pub failed: bool,
}

/// What is played.
#[derive(Debug)]
pub struct Plan<'a> {
    pub settings: &'a SlotSettings,
    pub task: Task,
    /// A look after this many labels, at least 1.
    pub look_every: usize,
    /// The challenger's time over the champion's.
    pub latency_ratio: f64,
    /// Both are the same model.
    pub identical: bool,
    /// Go on looking at the challenger after the decision, for whoever wants to see it.
    pub to_the_end: bool,
}

/// What became of the challenger.
#[derive(Debug)]
pub struct Course {
    /// Every look at the challenger.
    pub looks: Vec<Look>,
    /// Decisions other than to hold, in order.
    pub steps: Vec<Step>,
    /// The last look before the end or the decision that ended the trial.
    pub last: Step,
    pub guards: Vec<Guard>,
    /// Present after a promotion.
    pub rollback: Option<Rollback>,
}

/// A look at the challenger.
#[derive(Clone, Debug)]
pub struct Look {
    pub labels: u64,
    pub findings: Vec<Finding>,
}

/// A decision and the state it was taken in.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    pub decision: Decision,
    /// Milliseconds since the first row.
    pub after_ms: i64,
    #[serde(skip)]
    pub at_ms: i64,
    pub labels: u64,
    /// Positives among them; `None` unless binary.
    pub positives: Option<u64>,
    pub from: Stage,
    /// The stage that a promotion led to.
    pub to: Option<Stage>,
    pub findings: Vec<Finding>,
    pub reasons: Vec<String>,
}

/// The old champion against the new one, on rows since the promotion.
#[derive(Clone, Debug, Serialize)]
pub struct Rollback {
    /// Why and when it came back; `None`: it did not.
    pub reason: Option<String>,
    pub after_ms: Option<i64>,
    #[serde(skip)]
    pub at_ms: Option<i64>,
    /// Matured rows that were made since the promotion.
    pub labels: u64,
    /// Tests that found the new champion provably better; after each, one begins anew.
    pub confirmed: u32,
    /// Of the last test.
    pub findings: Vec<Finding>,
}

/// Counts of rows given to a revision, up to a moment.
#[derive(Clone, Copy, Debug, Default)]
struct Served {
    rows: u64,
    errors: u64,
    invalid: u64,
}

/// The trial while it is played.
struct Game<'a> {
    plan: &'a Plan<'a>,
    rows: &'a [Row],
    trial: Trial,
    stage: usize,
    stage_since_ms: i64,
    agreed: u64,
    /// Rows whose time has come, and what the challenger made of them.
    served: Served,
    swapped: Option<Swapped>,
    looks: Vec<Look>,
    steps: Vec<Step>,
    last: Option<(Step, Vec<Guard>)>,
    over: bool,
}

/// After a promotion.
struct Swapped {
    trial: Trial,
    since_ms: i64,
    /// Labels of the tests before.
    earlier: u64,
    /// What the new champion was given before it was one.
    before: Served,
    found: Rollback,
}

/// Plays a trial over rows, which are in order of `at_ms`. `seen` hears how many have matured. `None`
/// without rows.
pub fn simulate(plan: &Plan, rows: &[Row], mut seen: impl FnMut(usize)) -> Option<Course> {
    let mut game = Game::new(plan, rows)?;
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by_key(|index| rows[*index].matures_ms);
    let mut count = 0;
    for some in order.chunks(plan.look_every.max(1)) {
        some.iter().for_each(|index| game.take(&rows[*index]));
        count += some.len();
        game.look(rows[order[count - 1]].matures_ms);
        seen(count);
    }
    game.end()
}

/// Money that the challenger saves on rows from one time up to, but not at, another; untruncated, with
/// the promotion's error budget.
pub fn saving(plan: &Plan, rows: &[Row], from_ms: i64, to_ms: i64) -> Saving {
    let design = Design {
        gates: Vec::new(),
        ..plan.settings.promotion(plan.task)
    };
    let mut trial = Trial::new(design);
    let within = rows
        .iter()
        .filter(|row| (from_ms..to_ms).contains(&row.at_ms));
    within.for_each(|row| trial.push(row.pair));
    trial.cost_difference()
}

impl<'a> Game<'a> {
    fn new(plan: &'a Plan<'a>, rows: &'a [Row]) -> Option<Game<'a>> {
        Some(Game {
            plan,
            rows,
            trial: Trial::new(plan.settings.promotion(plan.task)),
            stage: 0,
            stage_since_ms: rows.first()?.at_ms,
            agreed: 0,
            served: Served::default(),
            swapped: None,
            looks: Vec::new(),
            steps: Vec::new(),
            last: None,
            over: false,
        })
    }

    fn began_ms(&self) -> i64 {
        self.rows.first().map_or(0, |row| row.at_ms)
    }

    /// Takes a row whose label has arrived.
    fn take(&mut self, row: &Row) {
        if !self.over || self.plan.to_the_end {
            self.agreed += u64::from(agrees(&self.plan.task, &row.pair));
            self.trial.push(row.pair);
        }
        if let Some(swapped) = &mut self.swapped
            && row.at_ms >= swapped.since_ms
            && swapped.found.reason.is_none()
        {
            swapped.trial.push(row.pair.swapped());
        }
    }

    fn look(&mut self, now_ms: i64) {
        let began = usize::try_from(self.served.rows).unwrap_or(usize::MAX);
        let due = self
            .rows
            .iter()
            .skip(began)
            .take_while(|row| row.at_ms <= now_ms);
        due.for_each(|row| self.served.count(row));
        if let Some(swapped) = &mut self.swapped {
            swapped.look(self.plan, self.served, now_ms - self.rows[0].at_ms, now_ms);
        }
        if !self.over || self.plan.to_the_end {
            self.looks.push(Look {
                labels: self.trial.len() as u64 - self.trial.invalid(),
                findings: self.trial.look(),
            });
        }
        // A stage that asks for no time of its own is passed in the same look.
        while !self.over && self.step(now_ms) {}
    }

    /// Decides once; whether there is more to decide now.
    fn step(&mut self, now_ms: i64) -> bool {
        let evidence = self.evidence(now_ms);
        let stages = &self.plan.settings.policy.stages;
        let judged = decide::decide(&self.plan.settings.policy, &evidence);
        let stage = |index: usize| stages.get(index).copied().unwrap_or(Stage::Full);
        let promoted = judged.decision == Decision::Promote;
        let step = Step {
            decision: judged.decision,
            after_ms: now_ms - self.began_ms(),
            at_ms: now_ms,
            labels: evidence.labels,
            positives: evidence.positives,
            from: stage(self.stage),
            to: promoted.then(|| stage(self.stage + 1)),
            findings: evidence.findings,
            reasons: judged.reasons,
        };
        self.last = Some((step.clone(), judged.guards));
        if judged.decision == Decision::Hold {
            return false;
        }
        self.steps.push(step);
        self.over = judged.decision == Decision::Rollback;
        if promoted {
            self.stage += 1;
            self.stage_since_ms = now_ms;
            if self.stage + 1 >= stages.len() {
                self.over = true;
                self.swapped = Some(Swapped::new(self.plan, now_ms, self.served));
            }
        }
        true
    }

    fn evidence(&mut self, now_ms: i64) -> Evidence {
        let binary = matches!(self.plan.task, Task::Binary { .. });
        let elapsed = |since: i64| u64::try_from(now_ms - since).unwrap_or(0);
        let pairs = self.trial.len() as u64;
        Evidence {
            stage: self.stage,
            findings: self.trial.look(),
            labels: pairs - self.trial.invalid(),
            positives: binary.then(|| self.trial.positives()),
            // History is labelled, and both scored all of it.
            coverage: 1.0,
            pairing: 1.0,
            rows: self.served.rows,
            errors: self.served.errors,
            invalid: self.served.invalid,
            agreement: self.agreed as f64 / pairs.max(1) as f64,
            latency_ratio: self.plan.latency_ratio,
            // Nobody was assigned to anything, and pairs do not depend on who answered.
            share: None,
            in_stage_ms: elapsed(self.stage_since_ms),
            in_trial_ms: elapsed(self.began_ms()),
            identical: self.plan.identical,
            // Who approves by hand is taken to do so at once.
            approved: self.plan.settings.policy.approval == Approval::Manual,
            cooldown: None,
        }
    }

    fn end(self) -> Option<Course> {
        let (last, guards) = self.last?;
        Some(Course {
            looks: self.looks,
            steps: self.steps,
            last,
            guards,
            rollback: self.swapped.map(|swapped| swapped.found),
        })
    }
}

impl Swapped {
    fn new(plan: &Plan, since_ms: i64, before: Served) -> Swapped {
        Swapped {
            trial: Trial::new(plan.settings.rollback(plan.task)),
            since_ms,
            earlier: 0,
            before,
            found: Rollback {
                reason: None,
                after_ms: None,
                at_ms: None,
                labels: 0,
                confirmed: 0,
                findings: Vec::new(),
            },
        }
    }

    fn look(&mut self, plan: &Plan, served: Served, after_ms: i64, now_ms: i64) {
        if self.found.reason.is_some() {
            return;
        }
        self.found.findings = self.trial.look();
        let labels = self.trial.len() as u64 - self.trial.invalid();
        self.found.labels = self.earlier + labels;
        let health = Health {
            rows: served.rows - self.before.rows,
            errors: served.errors - self.before.errors,
            invalid: served.invalid - self.before.invalid,
            findings: self.found.findings.clone(),
            ..Health::default()
        };
        self.found.reason = decide::trip(&plan.settings.policy, &health);
        if self.found.reason.is_some() {
            (self.found.after_ms, self.found.at_ms) = (Some(after_ms), Some(now_ms));
            return;
        }
        // As a live one: what is settled begins anew, or later harm would have to outweigh it.
        let (pairs, findings) = (self.trial.len(), &self.found.findings);
        if plan.settings.is_settled(pairs, findings) {
            self.found.confirmed += 1;
            self.earlier += labels;
            let design = plan.settings.rollback(plan.task);
            self.trial = Trial::new(design);
        }
    }
}

impl Served {
    fn count(&mut self, row: &Row) {
        self.rows += 1;
        self.errors += u64::from(row.failed);
        let score = row.pair.challenger.score;
        self.invalid += u64::from(!row.failed && !score.is_finite());
    }
}

/// Whether both decide alike; as in a live trial, a regression has no decisions to differ by.
pub fn agrees(task: &Task, pair: &Pair) -> bool {
    match *task {
        Task::Binary { threshold } => {
            (pair.champion.score >= threshold) == (pair.challenger.score >= threshold)
        }
        Task::Multiclass => pair.champion.right == pair.challenger.right,
        Task::Regression => true,
    }
}

#[cfg(test)]
mod tests;
