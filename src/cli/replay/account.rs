//! What is told of a replay: a page for people, an object of JSON for programs, and what a plot
//! shows. Decides nothing.

mod page;

use serde::Serialize;

use super::clock;
use super::plot::{Mark, Panel, Picture, Point};
use super::simulate::{self, Course, Look, Plan, Rollback, Step};
use super::{Arguments, History, Match};
use crate::model::revision::Revision;
use crate::rollout::SlotSettings;
use crate::rollout::decide::{Approval, Decision, Guard, Stage};
use crate::rollout::gate::{Measure, Saving, Verdict};
use crate::rollout::score::{self, Metric, Outcome, Scored, Task, is_positive};

/// Everything that is told.
#[derive(Debug, Serialize)]
pub struct Account {
    data: Data,
    policy: Policy,
    champion: Model,
    challenger: Model,
    /// Rows on which the challenger said nothing, and why the first of them.
    failed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
    /// The part of all rows on which both decide alike.
    agreement: f64,
    outcome: Ending,
    /// The decisions on the way, in order.
    steps: Vec<Step>,
    /// The look that the outcome rests on.
    last: Step,
    guards: Vec<Guard>,
    /// How many more labels it is likely to need, where that can be said.
    needed: Option<u64>,
    rollback: Option<Rollback>,
    /// Absent where no costs are configured.
    money: Option<Money>,
}

/// What became of the challenger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    Promoted,
    /// Promoted, and then the old champion was provably better.
    RolledBack,
    /// Its trial ended without a promotion.
    Dismissed,
    /// Its trial goes on.
    Held,
}

#[derive(Debug, Serialize)]
struct Data {
    path: String,
    rows: u64,
    /// `None` unless binary.
    positives: Option<u64>,
    /// From the first row to the last.
    period_ms: i64,
    rows_per_hour: f64,
    labels_delay_ms: i64,
    /// Where all rows wait for the horizon of their labels.
    counted_after_ms: Option<u64>,
    /// Milliseconds since 1970, where the file has times.
    first_at_ms: Option<i64>,
    look_every: usize,
}

#[derive(Debug, Serialize)]
struct Policy {
    file: Option<String>,
    task: &'static str,
    gates: Vec<String>,
    stages: Vec<String>,
    /// `automatic` or `manual`; a person's approval is taken to come at once.
    approval: Approval,
    alpha: f64,
    rollback_alpha: f64,
    /// SHA-256 of the settings.
    settings: String,
}

#[derive(Debug, Serialize)]
struct Model {
    path: String,
    digest: String,
    trees: Option<usize>,
    metrics: Vec<Metric>,
}

/// Money that the challenger saves against the champion.
#[derive(Debug, Serialize)]
struct Money {
    /// Had it answered every row.
    all_rows: f64,
    /// By all rows, with the ends of its confidence sequence.
    per_hour: f64,
    per_hour_lower: f64,
    per_hour_upper: f64,
    /// From the promotion to the end, or to the rollback.
    since_promotion: Option<f64>,
    /// What promoting then saves against promoting after `against_ms`, untested; negative: it came
    /// later than that.
    against_waiting: Option<f64>,
    against_ms: i64,
    /// The rows end before that wait would have.
    wait_is_cut: bool,
}

impl Account {
    /// The account of a course.
    pub fn new(
        arguments: &Arguments,
        (players, history): (&Match, &History),
        plan: &Plan,
        course: &Course,
    ) -> Account {
        let last = course.last.clone();
        let needed = last.findings.iter().filter_map(|it| it.needed).max();
        let ending = ending(course);
        let data = Data::new(arguments, history, plan);
        Account {
            champion: Model::new(&arguments.champion, &players.champion, {
                let said = history
                    .rows
                    .iter()
                    .map(|row| outcome(row, row.pair.champion));
                score::metrics(&plan.task, &said.collect::<Vec<_>>())
            }),
            challenger: Model::new(&arguments.challenger, &players.challenger, {
                let said = history
                    .rows
                    .iter()
                    .map(|row| outcome(row, row.pair.challenger));
                score::metrics(&plan.task, &said.collect::<Vec<_>>())
            }),
            policy: Policy::new(arguments, plan),
            failed: history.failed,
            failure: history.failure.clone(),
            agreement: {
                let rows = history.rows.iter();
                let alike = rows
                    .filter(|row| simulate::agrees(&plan.task, &row.pair))
                    .count();
                alike as f64 / history.rows.len().max(1) as f64
            },
            outcome: ending,
            steps: course.steps.clone(),
            needed: needed.filter(|_| ending == Ending::Held),
            guards: course.guards.clone(),
            rollback: course.rollback.clone(),
            money: is_priced(plan.settings, &plan.task)
                .then(|| Money::new(arguments, history, plan, course, data.rows_per_hour)),
            data,
            last,
        }
    }

    /// One line of JSON.
    pub fn json(&self) -> String {
        // Strings and numbers only; serde writes null for NaN.
        let mut line = serde_json::to_string(self).unwrap_or_default();
        line.push('\n');
        line
    }

    /// What a plot shows of it.
    pub fn picture(&self, plan: &Plan, course: &Course) -> Picture {
        let gates = plan.settings.gates(&plan.task);
        let panels = gates.iter().enumerate().map(|(index, gate)| Panel {
            title: gate.to_string(),
            unit: match gate.measure {
                Measure::Cost => "money saved per row",
                Measure::Auc => "AUC gained",
                Measure::RecallFpr => "rate gained",
                Measure::LogLoss => "log loss shed",
                Measure::Brier => "Brier score shed",
                Measure::SquaredError => "squared error shed",
            },
            bound: gate.bound,
            proven: {
                let proven = |look: &&Look| {
                    let finding = look.findings.get(index);
                    finding.is_some_and(|it| it.verdict == Verdict::Pass)
                };
                course
                    .looks
                    .iter()
                    .find(proven)
                    .map(|look| look.labels as f64)
            },
            points: (course.looks.iter())
                .filter_map(|look| {
                    let finding = look.findings.get(index)?;
                    Some(Point {
                        labels: look.labels as f64,
                        estimate: finding.estimate,
                        lower: finding.lower,
                        upper: finding.upper,
                    })
                })
                .collect(),
        });
        let mark = |step: &Step| Mark {
            labels: step.labels as f64,
            text: match (step.decision, step.to) {
                (Decision::Promote, Some(Stage::Full)) => {
                    format!("promoted after {}", clock::span(step.after_ms))
                }
                (Decision::Promote, Some(stage)) => stage.to_string(),
                _ => format!("dismissed after {}", clock::span(step.after_ms)),
            },
        };
        Picture {
            title: "Challenger against champion".to_string(),
            subtitle: format!("{} · {}", self.data.file(), page::headline(self)),
            panels: panels.collect(),
            marks: course.steps.iter().map(mark).collect(),
        }
    }

    /// A page for people.
    pub fn text(&self) -> String {
        page::text(self)
    }
}

impl Data {
    fn new(arguments: &Arguments, history: &History, plan: &Plan) -> Data {
        let rows = &history.rows;
        let first = rows.first().map_or(0, |row| row.at_ms);
        let period_ms = rows.last().map_or(0, |row| row.at_ms) - first;
        let positives = rows
            .iter()
            .filter(|row| is_positive(row.pair.label))
            .count() as u64;
        let hours = period_ms as f64 / clock::HOUR_MS as f64;
        Data {
            path: arguments.data.display().to_string(),
            rows: rows.len() as u64,
            positives: matches!(plan.task, Task::Binary { .. }).then_some(positives),
            period_ms,
            rows_per_hour: match (&arguments.time, hours > 0.0) {
                (None, _) => arguments.rows_per_hour,
                (Some(_), true) => rows.len() as f64 / hours,
                (Some(_), false) => f64::NAN,
            },
            labels_delay_ms: arguments.labels_delay,
            counted_after_ms: plan
                .settings
                .is_deferred()
                .then_some(plan.settings.horizon_ms),
            first_at_ms: arguments.time.is_some().then_some(first),
            look_every: plan.look_every,
        }
    }

    /// The file's name without its folders.
    fn file(&self) -> &str {
        self.path.rsplit(['/', '\\']).next().unwrap_or(&self.path)
    }
}

impl Policy {
    fn new(arguments: &Arguments, plan: &Plan) -> Policy {
        let settings = plan.settings;
        let file = arguments.policy.as_ref();
        Policy {
            file: file.map(|path| path.display().to_string()),
            task: match plan.task {
                Task::Binary { .. } => "binary",
                Task::Multiclass => "multiclass",
                Task::Regression => "regression",
            },
            gates: settings
                .gates(&plan.task)
                .iter()
                .map(ToString::to_string)
                .collect(),
            stages: settings
                .policy
                .stages
                .iter()
                .map(ToString::to_string)
                .collect(),
            approval: settings.policy.approval,
            alpha: settings.alpha,
            rollback_alpha: settings.rollback_alpha,
            settings: settings.digest(&crate::serve::record::Watch::default()),
        }
    }
}

impl Model {
    fn new(dir: &std::path::Path, revision: &Revision, metrics: Vec<Metric>) -> Model {
        Model {
            path: dir.display().to_string(),
            digest: revision.digest.clone(),
            trees: revision.outline().trees,
            metrics,
        }
    }
}

impl Money {
    fn new(
        arguments: &Arguments,
        history: &History,
        plan: &Plan,
        course: &Course,
        rows_per_hour: f64,
    ) -> Money {
        let rows = &history.rows;
        let first = rows.first().map_or(0, |row| row.at_ms);
        let end = rows.last().map_or(0, |row| row.at_ms) + 1;
        let within = |from, to| simulate::saving(plan, rows, from, to).total;
        let all = simulate::saving(plan, rows, first, end);
        let per_hour = |per_row: f64| per_row * rows_per_hour;
        let waited = first + arguments.against;
        let promoted = promotion(course).map(|step| step.at_ms);
        let back = course
            .rollback
            .as_ref()
            .and_then(|it| it.at_ms)
            .unwrap_or(end)
            .min(end);
        let Saving {
            total,
            mean,
            lower,
            upper,
        } = all;
        Money {
            all_rows: total,
            per_hour: per_hour(mean),
            per_hour_lower: per_hour(lower),
            per_hour_upper: per_hour(upper),
            since_promotion: promoted.map(|at| within(at, back)),
            against_waiting: promoted.map(|at| match at < waited {
                true => within(at, waited.min(back)),
                false => -within(waited, at.min(end)),
            }),
            against_ms: arguments.against,
            wait_is_cut: waited > end,
        }
    }
}

/// The step that made the challenger champion.
fn promotion(course: &Course) -> Option<&Step> {
    let mut steps = course.steps.iter();
    steps.find(|step| step.decision == Decision::Promote && step.to == Some(Stage::Full))
}

fn ending(course: &Course) -> Ending {
    let back = course
        .rollback
        .as_ref()
        .is_some_and(|it| it.reason.is_some());
    match course.last.decision {
        _ if back => Ending::RolledBack,
        _ if promotion(course).is_some() => Ending::Promoted,
        Decision::Rollback => Ending::Dismissed,
        _ => Ending::Held,
    }
}

/// Whether mistakes have a price.
fn is_priced(settings: &SlotSettings, task: &Task) -> bool {
    let costs = &settings.costs;
    let any = costs.false_positive > 0.0
        || costs.false_negative > 0.0
        || !settings.amount_feature.is_empty();
    any && *task != Task::Regression
}

fn outcome(row: &simulate::Row, scored: Scored) -> Outcome {
    Outcome {
        scored,
        label: row.pair.label,
        weight: row.pair.weight,
    }
}
