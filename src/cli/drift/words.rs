//! What the terminal and the page of HTML say alike: verdicts, reasons and numbers in words.

use super::super::format::{UNKNOWN, age, count, number, percent, setting};
use crate::drift::report::{Estimate, Feature, Reference, Report, Thresholds, Verdict, Window};

/// Features that a line names.
const NAMED: usize = 3;
/// Numbers from here on are told as powers of ten, so that none is longer than its place.
const LARGE: f64 = 1e6;
/// And below it, where four digits behind the point are none.
const SMALL: f64 = 5e-5;

/// A quality and what it was in the reference.
#[derive(Clone, Copy, Debug)]
pub struct Quality {
    pub name: &'static str,
    pub value: Option<f64>,
    pub reference: Option<f64>,
}

/// The window that the slot's verdict rests on: the worse one, and the first where both are alike.
pub fn lead(report: &Report) -> Option<&Window> {
    let windows = report.windows.iter().rev();
    windows.max_by_key(|window| window.verdict)
}

/// Features of a window that are to be watched or acted on.
pub fn drifted(window: &Window) -> impl Iterator<Item = &Feature> {
    let features = window.features.iter();
    features.filter(|feature| feature.verdict >= Verdict::Watch)
}

/// One line: `drift: act — amount (PSI 0.41); 1 of 14 features over 1 h, 52,110 rows`. PSI is told above
/// what chance alone gives.
pub fn context(report: &Report) -> String {
    let told = match (&report.reference, lead(report)) {
        (Reference::Off { reason }, _) => format!("off — {reason}"),
        (Reference::Refused { reason }, _) => format!("off — the profile was refused: {reason}"),
        (Reference::Collecting { rows, wanted }, _) => {
            format!("collecting — {} of {} rows", count(*rows), count(*wanted))
        }
        (Reference::Ready { .. }, None) => "unknown — no rows yet".to_string(),
        (Reference::Ready { .. }, Some(window)) => {
            format!(
                "{} — {}",
                report.verdict.name(),
                of_window(window, &report.thresholds)
            )
        }
    };
    format!("drift: {told}")
}

fn of_window(window: &Window, thresholds: &Thresholds) -> String {
    let (over, rows) = (length(window), count(window.rows));
    if window.verdict == Verdict::Unknown {
        let needed = count(thresholds.rows_min);
        return format!("{rows} of the {needed} rows that are needed, over {over}");
    }
    let many = drifted(window).count();
    let mut worst: Vec<String> = drifted(window).take(NAMED).map(named).collect();
    if many > worst.len() {
        worst.push(format!("{} more", many - worst.len()));
    }
    let score = window.score.as_ref();
    worst.extend(
        score
            .filter(|it| it.verdict >= Verdict::Watch)
            .map(|score| {
                let psi = score
                    .psi_excess
                    .map_or(String::new(), |psi| format!(" (PSI {})", hundredths(psi)));
                format!("the score{psi}")
            }),
    );
    let all = features(window.features.len());
    match (worst.is_empty(), many) {
        (true, _) => format!("{all} over {over}, {rows} rows"),
        // The score alone has drifted.
        (false, 0) => format!(
            "{}; none of {all} over {over}, {rows} rows",
            worst.join(", ")
        ),
        _ => format!(
            "{}; {many} of {all} over {over}, {rows} rows",
            worst.join(", ")
        ),
    }
}

fn named(feature: &Feature) -> String {
    match (feature.reason.as_str(), feature.psi_excess) {
        ("psi", Some(psi)) => format!("{} (PSI {})", feature.name, hundredths(psi)),
        _ => format!("{} ({})", feature.name, reason(feature)),
    }
}

/// `1 feature`, `14 features`.
pub fn features(number: usize) -> String {
    match number {
        1 => "1 feature".to_string(),
        _ => format!("{} features", count(number as u64)),
    }
}

/// How long a window is: `1 h`.
pub fn length(window: &Window) -> String {
    let ms = i64::try_from(window.length_ms).unwrap_or(i64::MAX);
    age(1, ms.saturating_add(1))
}

/// What a feature's verdict rests on, in a few words.
pub fn reason(feature: &Feature) -> String {
    let threshold = setting(feature.threshold);
    match (feature.reason.as_str(), feature.verdict) {
        ("psi", Verdict::Watch) => format!("watch from {threshold} on"),
        ("psi", Verdict::Act) => format!("act from {threshold} on"),
        ("psi", _) => format!("below {threshold}"),
        ("missing", _) => "no values any more".to_string(),
        ("ignored", _) => "ignored".to_string(),
        ("rows", _) => "too few rows".to_string(),
        (other, _) => other.to_string(),
    }
}

/// `✓`, `!`, `✗` or `?`.
pub fn mark(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Unknown => "?",
        Verdict::None => "✓",
        Verdict::Watch => "!",
        Verdict::Act => "✗",
    }
}

/// A feature's mark: none where it is ignored, since nothing was judged.
pub fn mark_of(feature: &Feature) -> &'static str {
    match feature.reason.as_str() {
        "ignored" => UNKNOWN,
        _ => mark(feature.verdict),
    }
}

/// A feature's verdict, or that it is ignored.
pub fn verdict_of(feature: &Feature) -> &'static str {
    match feature.reason.as_str() {
        "ignored" => "ignored",
        _ => feature.verdict.name(),
    }
}

/// The verdict in whose colour a feature is shown.
pub fn colour_of(feature: &Feature) -> Verdict {
    match feature.reason.as_str() {
        "ignored" => Verdict::Unknown,
        _ => feature.verdict,
    }
}

/// What is compared with, in a line.
pub fn reference(reference: &Reference) -> String {
    match reference {
        Reference::Off { reason } => format!("off: {reason}"),
        Reference::Refused { reason } => format!("the profile was refused: {reason}"),
        Reference::Collecting { rows, wanted } => format!(
            "the first {} rows that are served; {} so far",
            count(*wanted),
            count(*rows)
        ),
        Reference::Ready { source, rows, .. } => {
            let rows = count(*rows);
            match source.as_str() {
                "training" => format!("training data, {rows} rows"),
                "served" => format!("the first {rows} rows that were served"),
                other => format!("{other}, {rows} rows"),
            }
        }
    }
}

/// What to do where there is no reference; empty where there is one.
pub fn advice(report: &Report) -> Vec<&'static str> {
    match &report.reference {
        Reference::Off { .. } => vec![
            "To watch drift, put a profile.json beside the model (\"hedgerow profile\" makes one of the \
             training data),",
            "or set drift.watch = \"on\": the first rows that are served are then the reference.",
        ],
        Reference::Refused { .. } => vec![
            "Make a profile of this model's own training data with \"hedgerow profile\" and load the \
             revision again,",
            "or take profile.json away and set drift.watch = \"on\".",
        ],
        Reference::Collecting { .. } => {
            vec![
                "Nothing is compared before that. What is common now is taken for how it should be.",
            ]
        }
        Reference::Ready { .. } => Vec::new(),
    }
}

/// From which PSI on which verdict is given.
pub fn thresholds(thresholds: &Thresholds) -> String {
    format!(
        "watch from a PSI excess of {} on, act from {} on; {} rows are needed",
        setting(thresholds.watch),
        setting(thresholds.act),
        count(thresholds.rows_min)
    )
}

/// The qualities of an estimate that are known, now or in the reference.
pub fn qualities(estimate: &Estimate) -> Vec<Quality> {
    let quality = |name, value, reference| Quality {
        name,
        value,
        reference,
    };
    let all = [
        quality(
            "precision",
            estimate.precision,
            estimate.reference_precision,
        ),
        quality("recall", estimate.recall, estimate.reference_recall),
        quality("F1", estimate.f1, estimate.reference_f1),
        quality("AUC", estimate.auc, estimate.reference_auc),
    ];
    let known = all.into_iter();
    known
        .filter(|it| it.value.is_some() || it.reference.is_some())
        .collect()
}

/// A statistic: `0.4132`, `3.2e9`, `4.1e-7`; [`UNKNOWN`] for none.
pub fn statistic(value: Option<f64>) -> String {
    match value {
        Some(value) if value.is_finite() && value.abs() >= LARGE => format!("{value:.1e}"),
        Some(value) if value.abs() >= SMALL && value.abs() < 1.0 => format!("{value:.4}"),
        Some(value) if value != 0.0 && value.abs() < SMALL => format!("{value:.1e}"),
        Some(value) => number(value),
        None => UNKNOWN.to_string(),
    }
}

/// Two digits behind the point.
pub fn hundredths(value: f64) -> String {
    match value.is_finite() && value.abs() < LARGE {
        true => format!("{value:.2}"),
        false => statistic(Some(value)),
    }
}

/// A p-value: `0.0341`, `<1e-4`.
pub fn p_value(value: Option<f64>) -> String {
    match value {
        Some(value) if (0.0..1e-4).contains(&value) => "<1e-4".to_string(),
        Some(value) if value <= 1.0 => format!("{value:.4}"),
        _ => UNKNOWN.to_string(),
    }
}

/// A part of a whole: `12.3 %`.
pub fn share(value: Option<f64>) -> String {
    match value {
        // No part is larger; what is, is not to be believed, and not to be long.
        Some(value) if value.abs() <= 1.0 => percent(value),
        _ => UNKNOWN.to_string(),
    }
}
