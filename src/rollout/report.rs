//! What people and machines are told of a slot's trials: the answer of `GET /v1/slots/{slot}`.

use serde::Serialize;

use super::Rollout;
use super::decide::{Decision, Guard};
use super::document::{Dismissed, Name};
use super::gate::Finding;
use super::score::Metric;

/// A slot at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub slot: String,
    /// Milliseconds since 1970.
    pub at_ms: i64,
    /// `binary`, `multiclass` or `regression`; absent while nothing is loaded.
    pub task: Option<&'static str>,
    /// What becomes of a new revision: `replace`, `shadow` or `hold`.
    pub on_arrival: &'static str,
    pub stages: Vec<String>,
    /// `automatic` or `manual`.
    pub approval: &'static str,
    /// The gates as they are configured, or the one that stands for them.
    pub gates: Vec<String>,
    /// Whether this process decides; others apply what it decided.
    pub leader: bool,
    /// Why no decision can be written, when that is so.
    pub journal_error: Option<String>,
    /// Rows scored in an hour, as far as they are recorded.
    pub rows_per_hour: f64,
    pub champion: Option<Standing>,
    /// Oldest first.
    pub challengers: Vec<Trial>,
    pub previous: Option<Trial>,
    /// Whether `previous` can be gone back to: it is loaded, and was not itself rolled back from.
    pub can_roll_back: bool,
    /// What waiting costs, for the challenger that saves most.
    pub cost_of_waiting: Option<Waiting>,
    /// The newest last.
    pub dismissed: Vec<Dismissed>,
}

/// A report as it is answered: what the controller saw, and what its settings say of it.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Answer<'a> {
    #[serde(flatten)]
    pub report: &'a Report,
    /// Whether a mistake costs anything; without, no money is ever saved or lost.
    pub costs_configured: bool,
}

/// A revision and what is known of its quality.
#[derive(Clone, Debug, Serialize)]
pub struct Standing {
    #[serde(flatten)]
    pub name: Name,
    /// Whether it is loaded here.
    pub resident: bool,
    pub since_ms: i64,
    /// Matured outcomes that the metrics are of.
    pub matured: usize,
    /// The part of the predictions older than the horizon that has a label.
    pub label_coverage: f64,
    pub metrics: Vec<Metric>,
    pub shadow: ShadowCounts,
}

/// Rows that a revision scored beside the one that answered.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct ShadowCounts {
    pub rows: u64,
    pub errors: u64,
    pub misfits: u64,
    pub invalid: u64,
}

/// A revision that is compared with the champion.
#[derive(Clone, Debug, Serialize)]
pub struct Trial {
    #[serde(flatten)]
    pub standing: Standing,
    /// The stage of a challenger, e.g. `shadow` or `5%`.
    pub stage: String,
    pub stage_since_ms: i64,
    /// Matured rows that both scored, and positives among them.
    pub labels: u64,
    pub positives: Option<u64>,
    pub pairing: f64,
    pub agreement: f64,
    pub findings: Vec<Finding>,
    pub guards: Vec<Guard>,
    pub decision: Decision,
    pub reasons: Vec<String>,
    /// How many more matured rows it is likely to need, where that can be said.
    pub needed: Option<u64>,
    pub saving: Money,
}

/// Money that a revision would have saved against the champion, by the slot's costs.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Money {
    pub total: f64,
    pub per_row: f64,
    /// Ends of the confidence sequence of `per_row`.
    pub lower: f64,
    pub upper: f64,
}

/// What an hour of waiting costs.
#[derive(Clone, Debug, Serialize)]
pub struct Waiting {
    pub revision: u64,
    pub per_hour: f64,
    pub lower: f64,
    pub upper: f64,
}

impl Rollout {
    /// A report for those who asked for it.
    pub fn answer<'a>(&self, report: &'a Report) -> Answer<'a> {
        let settings = self.0.settings.of(&report.slot);
        let costs = &settings.costs;
        let has_amount = costs.amount_rate > 0.0 && !settings.amount_feature.is_empty();
        Answer {
            report,
            costs_configured: costs.false_positive > 0.0
                || costs.false_negative > 0.0
                || has_amount,
        }
    }
}
