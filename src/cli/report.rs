//! A slot as a server reports it, and as far as the command line shows it. These are types of its own
//! because the server may be older or newer: what is absent is empty, and a number that is absent or
//! null is NaN. Nothing is judged here.

use serde::{Deserialize, Deserializer};

/// A slot at one moment: `GET /v1/slots/{slot}`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Report {
    pub slot: String,
    /// Milliseconds since 1970, as all times here.
    pub at_ms: i64,
    pub task: Option<String>,
    pub on_arrival: String,
    pub stages: Vec<String>,
    pub approval: String,
    pub gates: Vec<String>,
    pub leader: bool,
    pub journal_error: Option<String>,
    #[serde(default = "unknown", deserialize_with = "number")]
    pub rows_per_hour: f64,
    pub champion: Option<Standing>,
    pub challengers: Vec<Trial>,
    pub previous: Option<Trial>,
    pub cost_of_waiting: Option<Waiting>,
    /// Absent from older servers.
    pub costs_configured: Option<bool>,
    pub dismissed: Vec<Dismissed>,
    /// Absent where drift is not watched, and from older servers.
    pub drift: Option<Drift>,
}

/// The drift of what a slot sees, in short.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Drift {
    /// `unknown`, `none`, `watch` or `act`.
    pub verdict: String,
    /// `short` or `long`.
    pub window: String,
    pub rows: u64,
    pub drifted: usize,
    pub features: usize,
    /// Name, and PSI above what chance alone gives.
    pub worst: Vec<(String, f64)>,
}

/// Every slot: `GET /v1/slots`.
#[derive(Clone, Debug, Deserialize)]
pub struct Slots {
    pub slots: Vec<Report>,
}

/// A revision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Name {
    pub revision: u64,
    /// The first characters of its digest.
    #[serde(default)]
    pub mark: String,
}

/// A revision and its quality.
#[derive(Clone, Debug, Deserialize)]
pub struct Standing {
    #[serde(flatten)]
    pub name: Name,
    #[serde(default)]
    pub resident: bool,
    #[serde(default)]
    pub since_ms: i64,
    #[serde(default)]
    pub matured: u64,
    #[serde(default = "unknown", deserialize_with = "number")]
    pub label_coverage: f64,
    #[serde(default)]
    pub metrics: Vec<Metric>,
    #[serde(default)]
    pub shadow: Shadow,
}

/// A plain metric with its interval.
#[derive(Clone, Debug, Deserialize)]
pub struct Metric {
    pub name: String,
    #[serde(flatten)]
    pub value: Value,
}

/// A metric's value and interval.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub struct Value {
    #[serde(default = "unknown", deserialize_with = "number")]
    pub value: f64,
    #[serde(default = "unknown", deserialize_with = "number")]
    pub lower: f64,
    #[serde(default = "unknown", deserialize_with = "number")]
    pub upper: f64,
}

/// Rows that were scored beside the revision that answered.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Shadow {
    pub rows: u64,
    pub errors: u64,
    pub misfits: u64,
    pub invalid: u64,
}

/// A revision that is compared with the champion. Also the evidence of a decision.
#[derive(Clone, Debug, Deserialize)]
pub struct Trial {
    #[serde(flatten)]
    pub standing: Standing,
    #[serde(default)]
    pub stage: String,
    #[serde(default)]
    pub stage_since_ms: i64,
    #[serde(default)]
    pub labels: u64,
    #[serde(default)]
    pub positives: Option<u64>,
    #[serde(default = "unknown", deserialize_with = "number")]
    pub pairing: f64,
    #[serde(default = "unknown", deserialize_with = "number")]
    pub agreement: f64,
    #[serde(default)]
    pub findings: Vec<Finding>,
    #[serde(default)]
    pub guards: Vec<Guard>,
    #[serde(default)]
    pub decision: String,
    #[serde(default)]
    pub reasons: Vec<String>,
    #[serde(default)]
    pub needed: Option<u64>,
    #[serde(default)]
    pub saving: Money,
}

/// What a gate says.
#[derive(Clone, Debug, Deserialize)]
pub struct Finding {
    pub measure: String,
    #[serde(default = "unknown", deserialize_with = "number")]
    pub bound: f64,
    pub verdict: Verdict,
    #[serde(default = "unknown", deserialize_with = "number")]
    pub estimate: f64,
    #[serde(default = "unknown", deserialize_with = "number")]
    pub lower: f64,
    #[serde(default = "unknown", deserialize_with = "number")]
    pub upper: f64,
    #[serde(default = "unknown", deserialize_with = "number")]
    pub e_value: f64,
    #[serde(default = "unknown", deserialize_with = "number")]
    pub threshold: f64,
    #[serde(default)]
    pub needed: Option<u64>,
    #[serde(default)]
    pub reason: Option<String>,
    #[serde(default)]
    pub parts: Vec<Part>,
}

/// One class of a gate that looks at both.
#[derive(Clone, Debug, Deserialize)]
pub struct Part {
    pub name: String,
    #[serde(default)]
    pub better: u64,
    #[serde(default)]
    pub worse: u64,
    #[serde(default = "unknown", deserialize_with = "number")]
    pub estimate: f64,
    #[serde(default = "unknown", deserialize_with = "number")]
    pub lower: f64,
    #[serde(default = "unknown", deserialize_with = "number")]
    pub upper: f64,
    #[serde(default = "unknown", deserialize_with = "number")]
    pub e_value: f64,
}

/// What a gate or a guard has come to. One that is not known is taken as open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Pass,
    Fail,
    #[serde(other)]
    Inconclusive,
}

/// A condition beside the gates.
#[derive(Clone, Debug, Deserialize)]
pub struct Guard {
    pub name: String,
    pub verdict: Verdict,
    #[serde(default = "unknown", deserialize_with = "number")]
    pub value: f64,
    #[serde(default = "unknown", deserialize_with = "number")]
    pub limit: f64,
}

/// Money saved against the champion.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default)]
pub struct Money {
    #[serde(deserialize_with = "number")]
    pub total: f64,
    #[serde(deserialize_with = "number")]
    pub per_row: f64,
    #[serde(deserialize_with = "number")]
    pub lower: f64,
    #[serde(deserialize_with = "number")]
    pub upper: f64,
}

/// What an hour of waiting costs.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Waiting {
    pub revision: u64,
    #[serde(default = "unknown", deserialize_with = "number")]
    pub per_hour: f64,
    #[serde(default = "unknown", deserialize_with = "number")]
    pub lower: f64,
    #[serde(default = "unknown", deserialize_with = "number")]
    pub upper: f64,
}

/// A revision that was given up.
#[derive(Clone, Debug, Deserialize)]
pub struct Dismissed {
    #[serde(flatten)]
    pub name: Name,
    #[serde(default)]
    pub at_ms: i64,
    #[serde(default)]
    pub reason: String,
}

/// What was done: the answer to a promotion or a rollback.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Done {
    pub decision: String,
    pub from: Option<Name>,
    pub to: Option<Name>,
    pub stage: Option<String>,
    /// Microseconds that the change of roles took.
    pub took_us: u64,
}

impl Default for Money {
    fn default() -> Money {
        Money {
            total: f64::NAN,
            per_row: f64::NAN,
            lower: f64::NAN,
            upper: f64::NAN,
        }
    }
}

impl Money {
    /// Whether money was counted at all: without costs every row costs nothing.
    pub fn is_counted(&self) -> bool {
        self.per_row.is_finite() && (self.per_row != 0.0 || self.total != 0.0)
    }
}

impl Trial {
    /// What all gates together have come to: a failed one fails, and all must pass.
    pub fn verdict(&self) -> Verdict {
        let verdicts = || self.findings.iter().map(|finding| finding.verdict);
        if verdicts().any(|verdict| verdict == Verdict::Fail) {
            return Verdict::Fail;
        }
        match !self.findings.is_empty() && verdicts().all(|verdict| verdict == Verdict::Pass) {
            true => Verdict::Pass,
            false => Verdict::Inconclusive,
        }
    }
}

fn unknown() -> f64 {
    f64::NAN
}

/// JSON has no NaN: it is null there.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let number: Option<f64> = Option::deserialize(deserializer)?;
    Ok(number.unwrap_or(f64::NAN))
}
