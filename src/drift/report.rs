//! What is said of a slot's drift: by `GET /v1/slots/{slot}/drift`, and read again by the command
//! line. Shares are from 0 to 1, times in milliseconds since 1970. A number that is not defined (too
//! few rows, one bin, a category's distance) is null.

use serde::{Deserialize, Serialize};

/// A slot's drift.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub slot: String,
    /// The champion, whose rows are counted.
    pub revision: Option<u64>,
    pub mark: Option<String>,
    pub reference: Reference,
    pub thresholds: Thresholds,
    /// The worse of both windows': `unknown` while neither has enough rows.
    pub verdict: Verdict,
    /// The short one, then the long one; empty until there is a reference.
    pub windows: Vec<Window>,
    pub alarm: Held,
    /// Rows that were answered and not counted, because there were too many in a second.
    pub skipped_rows: u64,
}

/// What a person weighs with a decision on a slot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Context {
    pub verdict: Verdict,
    /// The window that it rests on: `short` or `long`.
    pub window: String,
    pub rows: u64,
    /// Features whose verdict is `watch` or `act`, and all there are.
    pub drifted: usize,
    pub features: usize,
    /// The worst of them, at most three: name, and PSI above its null level.
    pub worst: Vec<(String, f64)>,
}

/// What live rows are compared with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum Reference {
    /// Drift is not watched here, and why.
    Off { reason: String },
    /// The profile is none of this model.
    Refused { reason: String },
    /// The first rows that are served become the reference.
    Collecting { rows: u64, wanted: u64 },
    Ready {
        /// `training` or `served`.
        source: String,
        rows: u64,
        /// SHA-256 of the profile's contents.
        fingerprint: String,
    },
}

/// Settings that verdicts depend on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Thresholds {
    /// PSI above its null level from which a feature is watched.
    pub watch: f64,
    /// And from which something is to be done.
    pub act: f64,
    /// Rows of a window below which nothing is said.
    pub rows_min: u64,
}

/// What is to be done, least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Too few rows.
    Unknown,
    None,
    Watch,
    Act,
}

/// Live rows of some time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// `short` or `long`.
    pub name: String,
    pub length_ms: u64,
    pub from_ms: i64,
    pub to_ms: i64,
    pub rows: u64,
    pub verdict: Verdict,
    /// The part of the features whose verdict is `watch` or `act`.
    pub drift_share: f64,
    /// Worst first.
    pub features: Vec<Feature>,
    pub score: Option<Feature>,
    /// Without labels; `None` where the profile has no calibration.
    pub estimate: Option<Estimate>,
}

/// One feature, or the score, of one window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Feature {
    pub name: String,
    /// `number` or `category`.
    #[serde(rename = "type")]
    pub kind: String,
    pub verdict: Verdict,
    /// What the verdict rests on: `psi`, `missing` (it came with training and does not come now),
    /// `ignored` (by `drift.ignore`; then the verdict is `none`), `rows` (too few).
    pub reason: String,
    /// The threshold that was reached, or the next one.
    pub threshold: f64,
    /// Rows with a value.
    pub rows: u64,
    /// Population stability index.
    pub psi: Option<f64>,
    /// What it would be by chance alone.
    pub psi_null: Option<f64>,
    /// What is above that; verdicts rest on it.
    pub psi_excess: Option<f64>,
    /// Kullback-Leibler divergence of the reference from live rows, nats.
    pub kl: Option<f64>,
    /// Jensen-Shannon divergence, nats.
    pub js: Option<f64>,
    /// Kolmogorov-Smirnov distance at the bins' edges. Numbers only, as the next four.
    pub ks: Option<f64>,
    pub ks_p: Option<f64>,
    /// In the feature's own unit.
    pub wasserstein: Option<f64>,
    /// In standard deviations of the reference.
    pub wasserstein_std: Option<f64>,
    /// The part of the values outside the reference's range.
    pub out_of_range: Option<f64>,
    /// Chi-squared of both samples' categories. Categories only, as the next two.
    pub chi2: Option<f64>,
    pub chi2_p: Option<f64>,
    /// The part of the values that are none of the reference's categories.
    pub unseen: Option<f64>,
    /// The part of the rows without a value.
    pub missing: Option<f64>,
    pub missing_reference: f64,
    pub bins: Bins,
}

/// The histograms, all bins of both.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bins {
    /// Inner borders of a number's bins: bin `i` ends before `edges[i]`.
    pub edges: Vec<f64>,
    /// The reference's least and greatest value, for the outer bins' borders.
    pub range: Option<[f64; 2]>,
    /// A category's names, in the order of its bins; the last ones stand for `other` and `unseen`.
    pub names: Vec<String>,
    pub reference: Vec<u64>,
    pub live: Vec<u64>,
    pub reference_missing: u64,
    pub live_missing: u64,
}

/// Quality estimated from scores alone (CBPE). Not measured: it holds while scores mean what they
/// meant in training, and cannot see that they no longer do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    pub rows: u64,
    /// From this score on a row counts as positive.
    pub threshold: f64,
    pub precision: Option<f64>,
    pub recall: Option<f64>,
    pub f1: Option<f64>,
    pub auc: Option<f64>,
    /// The same of the reference, where labels are known; to the bin that the threshold is in.
    pub reference_precision: Option<f64>,
    pub reference_recall: Option<f64>,
    pub reference_f1: Option<f64>,
    pub reference_auc: Option<f64>,
}

/// How near the alarm is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Held {
    /// Short windows in a row, the last one that ended included, whose verdict was `act`.
    pub windows: u32,
    /// From so many on there is an alarm.
    pub needed: u32,
    /// The last alarm.
    pub last: Option<Last>,
}

/// An alarm that was given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Last {
    pub id: String,
    pub at_ms: i64,
    /// Until when there is no other.
    pub quiet_until_ms: i64,
    /// What became of its calls: `webhook`, `airflow`, `prefect`, each `delivered`, `failed` or `waits`.
    pub calls: Vec<Called>,
}

/// One call of an alarm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Called {
    pub target: String,
    pub outcome: String,
    /// The run that was started, or why none was.
    pub detail: String,
}

impl Reference {
    /// `off`, `refused`, `collecting` or `ready`.
    pub fn name(&self) -> &'static str {
        match self {
            Reference::Off { .. } => "off",
            Reference::Refused { .. } => "refused",
            Reference::Collecting { .. } => "collecting",
            Reference::Ready { .. } => "ready",
        }
    }
}

impl Verdict {
    /// `unknown`, `none`, `watch` or `act`.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Unknown => "unknown",
            Verdict::None => "none",
            Verdict::Watch => "watch",
            Verdict::Act => "act",
        }
    }
}
