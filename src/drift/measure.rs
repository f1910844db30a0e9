//! From counts to what is said of them: a window's statistics, feature by feature, worst first.

use std::collections::BTreeSet;

use super::bins::Bins;
use super::estimate::{self, Calibration};
use super::profile::{self, Categories, Category, Numbers, Values};
use super::report::{self, Estimate, Feature, Thresholds, Verdict, Window};
use super::statistic;
use super::window::Sum;

/// What verdicts depend on.
#[derive(Clone, Debug, PartialEq)]
pub struct Terms {
    pub thresholds: Thresholds,
    /// Features that are measured and never have a verdict.
    pub ignore: BTreeSet<String>,
    /// From this score on a row counts as positive.
    pub threshold: f64,
}

/// Rows from which a feature that came with training and does not come at all is acted upon: chance
/// does not do that.
const ABSENT_ROWS: u64 = 100;
/// The part of the reference's rows that has no value, below which a feature counts as one that came.
const ABSENT_REFERENCE: f64 = 0.5;
/// Rows per occupied bin, live and of the reference, below which PSI is more than chance's level by the
/// zeros' stand-ins.
pub const ROWS_PER_BIN: u64 = 50;
/// The reason of a verdict that nothing was judged for.
const IGNORED: &str = "ignored";

/// A window's counts, measured. `name`: `short` or `long`.
pub fn window(bins: &Bins, sum: &Sum, name: &str, length_ms: u64, terms: &Terms) -> Window {
    let rows = sum.counts.rows;
    let cells = |range: Option<std::ops::Range<usize>>| {
        range
            .and_then(|range| sum.counts.cells.get(range))
            .unwrap_or_default()
    };
    let mut features: Vec<Feature> = bins
        .profile()
        .features
        .iter()
        .enumerate()
        .map(|(place, it)| {
            let live = cells(bins.feature(place));
            let reference = Side {
                name: &it.name,
                values: &it.values,
                missing: it.missing,
            };
            feature(&reference, live, rows, terms)
        })
        .collect();
    features.sort_by(worse_first);
    let score = bins.profile().score.as_ref().map(|it| {
        let values = Values::Number(it.values.clone());
        let reference = Side {
            name: "score",
            values: &values,
            missing: it.missing,
        };
        feature(&reference, cells(bins.score()), rows, terms)
    });
    // An ignored feature says nothing, not even that all is well.
    let judged = features.iter().chain(&score);
    let judged = judged.filter(|it| it.reason != IGNORED);
    let verdicts = judged.map(|it| it.verdict);
    let drifted = features
        .iter()
        .filter(|it| it.verdict >= Verdict::Watch)
        .count();
    Window {
        name: name.to_string(),
        length_ms,
        from_ms: sum.from_ms,
        to_ms: sum.to_ms,
        rows,
        verdict: verdicts.max().unwrap_or(Verdict::Unknown),
        drift_share: drifted as f64 / features.len().max(1) as f64,
        features,
        score,
        estimate: estimated(bins, &sum.counts.cells, terms.threshold),
    }
}

/// What a column is compared with.
struct Side<'a> {
    name: &'a str,
    values: &'a Values,
    missing: u64,
}

/// What is ignored comes last.
fn worse_first(a: &Feature, b: &Feature) -> std::cmp::Ordering {
    let excess = |it: &Feature| it.psi_excess.unwrap_or(0.0);
    let is_ignored = |it: &Feature| it.reason == IGNORED;
    is_ignored(a)
        .cmp(&is_ignored(b))
        .then(b.verdict.cmp(&a.verdict))
        .then(excess(b).total_cmp(&excess(a)))
        .then_with(|| a.name.cmp(&b.name))
}

/// `live`: the column's cells, as [`Bins`] lays them out.
fn feature(side: &Side<'_>, live: &[u64], rows: u64, terms: &Terms) -> Feature {
    let (reference, live) = match side.values {
        Values::Number(numbers) => (numbers.counts.clone(), Live::numbers(live)),
        Values::Category(categories) => {
            let mut counts = categories.counts.clone();
            // The rare, and the unseen, of which the reference has none by definition.
            counts.extend([categories.other, 0]);
            (counts, Live::categories(live))
        }
    };
    let all = |counts: &[u64], missing: u64| [counts, &[missing]].concat();
    let (before, now) = occupied(
        &all(&reference, side.missing),
        &all(&live.bins, live.missing),
    );
    let there: u64 = live.bins.iter().sum();
    let total: u64 = there.saturating_add(live.missing);
    let before_total: u64 = before.iter().sum();
    let psi = statistic::psi(&before, &now);
    let null = psi.map(|_| statistic::null_psi(before.len(), before_total, total));
    let excess = psi
        .zip(null)
        .map(|(psi, null)| statistic::excess(psi, null));
    let share = |part: u64, whole: u64| (whole > 0).then(|| part as f64 / whole as f64);
    let missing_reference = share(side.missing, before_total).unwrap_or(0.0);
    let numbers = match side.values {
        Values::Number(numbers) => Some(numbers),
        Values::Category(_) => None,
    };
    let ks = numbers.and_then(|_| statistic::ks(&reference, &live.bins));
    let wasserstein = numbers.and_then(|it| wasserstein(it, &reference, &live.bins));
    let chi2 = match numbers {
        Some(_) => None,
        None => statistic::chi_squared(&before, &now),
    };
    let mut measured = Feature {
        name: side.name.to_string(),
        kind: match numbers {
            Some(_) => "number",
            None => "category",
        }
        .to_string(),
        verdict: Verdict::Unknown,
        reason: "rows".to_string(),
        threshold: terms.thresholds.watch,
        rows: there,
        psi,
        psi_null: null,
        psi_excess: excess,
        kl: statistic::kl(&before, &now),
        js: statistic::js(&before, &now),
        ks,
        ks_p: ks.map(|it| statistic::ks_p_value(it, reference.iter().sum(), there)),
        wasserstein,
        // As Evidently norms it: a constant has no deviation to norm by.
        wasserstein_std: numbers
            .zip(wasserstein)
            .map(|(numbers, it)| it / numbers.std.max(0.001)),
        out_of_range: live.outside.and_then(|outside| share(outside, there)),
        chi2: chi2.as_ref().map(|it| it.statistic),
        chi2_p: chi2.as_ref().map(|it| it.p_value),
        unseen: live.unseen.and_then(|unseen| share(unseen, there)),
        missing: share(live.missing, total),
        missing_reference,
        bins: bins_of(side, reference, &live),
    };
    let counted = Counted {
        live: rows,
        reference: before_total,
        occupied: before.len() as u64,
    };
    judge(&mut measured, &counted, terms);
    measured
}

/// The bins that hold a row of either side: what is nowhere says nothing, and would count by the
/// zeros' stand-ins.
fn occupied(reference: &[u64], live: &[u64]) -> (Vec<u64>, Vec<u64>) {
    let pairs = reference.iter().zip(live);
    pairs
        .filter(|(before, now)| **before > 0 || **now > 0)
        .unzip()
}

/// Rows of both sides, and the bins that they are in.
struct Counted {
    live: u64,
    reference: u64,
    occupied: u64,
}

/// Gives a measured feature its verdict.
fn judge(it: &mut Feature, counted: &Counted, terms: &Terms) {
    let limits = &terms.thresholds;
    let mut decide = |verdict, reason: &str, threshold| {
        it.verdict = verdict;
        it.reason = reason.to_string();
        it.threshold = threshold;
    };
    if terms.ignore.contains(&it.name) {
        return decide(Verdict::None, IGNORED, limits.watch);
    }
    let is_absent = it.rows == 0 && it.missing_reference < ABSENT_REFERENCE;
    if is_absent && counted.live >= ABSENT_ROWS {
        return decide(Verdict::Act, "missing", limits.act);
    }
    let needed = ROWS_PER_BIN * counted.occupied;
    if counted.live < limits.rows_min.max(needed) || counted.reference < needed {
        return;
    }
    let excess = it.psi_excess.unwrap_or(0.0);
    let thresholds = statistic::Thresholds {
        watch: limits.watch,
        act: limits.act,
    };
    match statistic::verdict(excess, thresholds) {
        statistic::Verdict::None => decide(Verdict::None, "psi", limits.watch),
        statistic::Verdict::Watch => decide(Verdict::Watch, "psi", limits.watch),
        statistic::Verdict::Act => decide(Verdict::Act, "psi", limits.act),
    }
}

/// A column's live counts.
struct Live {
    bins: Vec<u64>,
    missing: u64,
    outside: Option<u64>,
    unseen: Option<u64>,
}

impl Live {
    fn numbers(cells: &[u64]) -> Live {
        match cells {
            [bins @ .., missing, below, above] => Live {
                bins: bins.to_vec(),
                missing: *missing,
                outside: Some(below.saturating_add(*above)),
                unseen: None,
            },
            _ => Live::nothing(),
        }
    }

    fn categories(cells: &[u64]) -> Live {
        match cells {
            [bins @ .., missing] => Live {
                unseen: bins.last().copied(),
                bins: bins.to_vec(),
                missing: *missing,
                outside: None,
            },
            [] => Live::nothing(),
        }
    }

    fn nothing() -> Live {
        Live {
            bins: Vec::new(),
            missing: 0,
            outside: None,
            unseen: None,
        }
    }
}

fn wasserstein(numbers: &Numbers, reference: &[u64], live: &[u64]) -> Option<f64> {
    let [low, high] = numbers.range?;
    // The outer bins end where the reference does: what lies farther out counts as lying there.
    let first = numbers.edges.first().map_or(low, |edge| edge.min(low));
    let last = numbers.edges.last().map_or(high, |edge| edge.max(high));
    let borders = [&[first], numbers.edges.as_slice(), &[last]].concat();
    statistic::wasserstein(&borders, reference, live)
}

fn bins_of(side: &Side<'_>, reference: Vec<u64>, live: &Live) -> report::Bins {
    let (edges, range, names) = match side.values {
        Values::Number(numbers) => (numbers.edges.clone(), numbers.range, Vec::new()),
        Values::Category(categories) => (Vec::new(), None, names(categories)),
    };
    report::Bins {
        edges,
        range,
        names,
        reference,
        live: live.bins.clone(),
        reference_missing: side.missing,
        live_missing: live.missing,
    }
}

fn names(categories: &Categories) -> Vec<String> {
    let named = categories.names.iter().map(|name| match name {
        Category::Text(text) => text.clone(),
        Category::Number(number) => number.to_string(),
    });
    named
        .chain(["other".to_string(), "unseen".to_string()])
        .collect()
}

fn estimated(bins: &Bins, cells: &[u64], threshold: f64) -> Option<Estimate> {
    let (labelled, above, below) = bins.calibration()?;
    let calibration = Calibration::new(
        labelled.edges.clone(),
        labelled.rows.clone(),
        labelled.positives.clone(),
    )
    .ok()?;
    let live = estimate::estimate(&calibration, cells.get(above)?, cells.get(below)?)?;
    let reference = labelled_quality(labelled, threshold);
    Some(Estimate {
        rows: live.rows,
        threshold,
        precision: live.precision,
        recall: live.recall,
        f1: live.f1,
        auc: live.auc,
        reference_precision: reference.precision,
        reference_recall: reference.recall,
        reference_f1: reference.f1,
        reference_auc: reference.auc,
    })
}

/// Quality where labels are known.
struct Quality {
    precision: Option<f64>,
    recall: Option<f64>,
    f1: Option<f64>,
    auc: Option<f64>,
}

/// Of the reference, to the bin: the one that the threshold is in counts as above it.
fn labelled_quality(labelled: &profile::Calibration, threshold: f64) -> Quality {
    let first = labelled
        .edges
        .iter()
        .filter(|edge| **edge <= threshold)
        .count();
    let sum = |counts: &[u64]| counts.iter().sum::<u64>() as f64;
    let hits = sum(labelled.positives.get(first..).unwrap_or_default());
    let above = sum(labelled.rows.get(first..).unwrap_or_default());
    let positives = sum(&labelled.positives);
    let (mut ranked, mut negatives) = (0.0, 0.0);
    for (rows, positives) in labelled.rows.iter().zip(&labelled.positives) {
        let (rows, positives) = (*rows as f64, *positives as f64);
        ranked += positives * (negatives + 0.5 * (rows - positives));
        negatives += rows - positives;
    }
    let ratio = |part: f64, whole: f64| (whole > 0.0).then(|| part / whole);
    Quality {
        precision: ratio(hits, above),
        recall: ratio(hits, positives),
        f1: ratio(2.0 * hits, above + positives),
        auc: ratio(ranked, positives * negatives),
    }
}

#[cfg(test)]
mod tests;
