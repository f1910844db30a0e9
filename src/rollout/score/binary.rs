//! The metrics of a binary slot.

use super::bootstrap::{self, Cell};
use super::rank::{Ranking, placements, rank};
use super::{Metric, Moments, Outcome, Pair, Z95, binary_surprise, normal, wilson};

/// Resamples behind the intervals of F1.
const F1_REPETITIONS: usize = 1_000;

/// Resamples behind the interval of average precision, over at most this many bins of rows.
const PR_AUC_REPETITIONS: usize = 300;
const PR_AUC_BINS: f64 = 256.0;

/// Rows by label and by what was predicted: `[label][predicted]`.
type Confusion = [[Cell; 2]; 2];

/// All metrics of valid rows, in the order that `score::metrics` documents.
pub(super) fn metrics(threshold: f64, outcomes: &[Outcome]) -> Vec<Metric> {
    let mut confusion = Confusion::default();
    let (mut precision, mut recall) = (Moments::default(), Moments::default());
    let (mut loss, mut brier) = (Moments::default(), Moments::default());
    for outcome in outcomes {
        let (score, weight) = (outcome.scored.score, outcome.weight);
        let (positive, predicted) = (is_positive(outcome.label), score >= threshold);
        confusion[usize::from(positive)][usize::from(predicted)].push(weight);
        if predicted {
            precision.push(f64::from(u8::from(positive)), weight);
        }
        if positive {
            recall.push(f64::from(u8::from(predicted)), weight);
        }
        loss.push(binary_surprise(score, positive), weight);
        let error = score - f64::from(u8::from(positive));
        brier.push(error * error, weight);
    }
    let ranking = rank(outcomes.len(), |index| outcomes[index].scored.score);
    vec![
        f1(&confusion),
        wilson("precision", precision.mean(), precision.effective()),
        wilson("recall", recall.mean(), recall.effective()),
        auc(outcomes, &ranking),
        pr_auc(outcomes, &ranking),
        normal("log_loss", &loss),
        normal("brier", &brier),
    ]
}

/// Paired difference of F1, challenger minus champion, with its bootstrap interval: a description,
/// never a gate. Invalid pairs are left out; NaN when an F1 is undefined.
#[must_use]
pub fn f1_difference(threshold: f64, pairs: &[Pair]) -> Metric {
    let mut cells = [[[Cell::default(); 2]; 2]; 2];
    for pair in pairs.iter().filter(|pair| pair.is_valid()) {
        let champion = usize::from(pair.champion.score >= threshold);
        let challenger = usize::from(pair.challenger.score >= threshold);
        cells[usize::from(is_positive(pair.label))][champion][challenger].push(pair.weight);
    }
    let difference = |weights: &[[[f64; 2]; 2]; 2]| {
        let champion = |label: usize, predicted: usize| weights[label][predicted].iter().sum();
        let challenger = |label: usize, predicted: usize| {
            weights[label][0][predicted] + weights[label][1][predicted]
        };
        f1_of(challenger(1, 1), challenger(0, 1), challenger(1, 0))
            - f1_of(champion(1, 1), champion(0, 1), champion(1, 0))
    };
    let value = difference(&cells.map(|label| label.map(|row| row.map(|cell| cell.observed()))));
    let (lower, upper) = bootstrap::interval(F1_REPETITIONS, |random| {
        difference(&cells.map(|label| label.map(|row| row.map(|cell| cell.draw(random)))))
    });
    with_interval("f1_difference", value, (lower, upper))
}

/// Whether a binary label is the positive class: at least 0.5.
#[must_use]
pub fn is_positive(label: f64) -> bool {
    label >= 0.5
}

/// `2TP/(2TP+FP+FN)`; NaN when nothing is positive and nothing was called positive.
fn f1_of(hits: f64, false_positives: f64, false_negatives: f64) -> f64 {
    2.0 * hits / (2.0 * hits + false_positives + false_negatives)
}

fn f1(confusion: &Confusion) -> Metric {
    let of = |[[_, false_positives], [false_negatives, hits]]: [[f64; 2]; 2]| {
        f1_of(hits, false_positives, false_negatives)
    };
    let value = of(confusion.map(|row| row.map(|cell| cell.observed())));
    let interval = bootstrap::interval(F1_REPETITIONS, |random| {
        of(confusion.map(|row| row.map(|cell| cell.draw(random))))
    });
    with_interval("f1", value, interval)
}

/// Area under the ROC curve with DeLong's interval, cut to [0, 1]; undefined with one class. The
/// interval needs two rows of each class.
fn auc(outcomes: &[Outcome], ranking: &Ranking) -> Metric {
    let class = |index: usize| (is_positive(outcomes[index].label), outcomes[index].weight);
    let placements = placements(ranking, class);
    let mut sides = [Moments::default(), Moments::default()];
    for (index, placement) in placements.iter().enumerate() {
        let (positive, weight) = class(index);
        sides[usize::from(positive)].push(*placement, weight);
    }
    let [negatives, positives] = sides;
    if negatives.count == 0 || positives.count == 0 {
        return Metric::undefined("auc");
    }
    let value = positives.mean();
    let half = Z95 * positives.standard_error().hypot(negatives.standard_error());
    let clipped = |end: f64| {
        if end.is_nan() {
            end
        } else {
            end.clamp(0.0, 1.0)
        }
    };
    with_interval("auc", value, (clipped(value - half), clipped(value + half)))
}

/// Average precision, `Σ(R_k − R_{k−1})·P_k` over the distinct scores from high to low, with a
/// bootstrap interval; undefined without positives.
///
/// The bootstrap resamples bins of neighbouring scores that hold up to 1/256 of the positives each.
/// What binning does to the value is taken out again, so only the spread comes from the bins.
fn pr_auc(outcomes: &[Outcome], ranking: &Ranking) -> Metric {
    let positives: usize = outcomes.iter().filter(|row| is_positive(row.label)).count();
    if positives == 0 {
        return Metric::undefined("pr_auc");
    }
    let per_bin = (positives as f64 / PR_AUC_BINS).ceil();
    let (mut groups, mut bins) = (Vec::with_capacity(ranking.ties.len()), Vec::new());
    let (mut bin, mut in_bin) = ([Cell::default(); 2], 0.0);
    for tie in &ranking.ties {
        let mut group = [0.0; 2];
        for &row in &ranking.order[tie.clone()] {
            let outcome = &outcomes[row as usize];
            let side = usize::from(is_positive(outcome.label));
            group[side] += outcome.weight;
            bin[side].push(outcome.weight);
            in_bin += side as f64;
        }
        groups.push(group);
        if in_bin >= per_bin {
            bins.push(std::mem::take(&mut bin));
            in_bin = 0.0;
        }
    }
    bins.push(bin);
    let value = average_precision(groups.into_iter());
    let binned = average_precision(bins.iter().map(|bin| bin.map(|cell| cell.observed())));
    let (lower, upper) = bootstrap::interval(PR_AUC_REPETITIONS, |random| {
        average_precision(bins.iter().map(|bin| bin.map(|cell| cell.draw(random))))
    });
    let moved = |end: f64| (end + value - binned).clamp(0.0, 1.0);
    with_interval("pr_auc", value, (moved(lower), moved(upper)))
}

/// Over groups of `[negative, positive]` weight, best scores first.
fn average_precision(groups: impl Iterator<Item = [f64; 2]>) -> f64 {
    let (mut area, mut hits, mut all) = (0.0, 0.0, 0.0);
    for [negative, positive] in groups {
        hits += positive;
        all += positive + negative;
        if positive > 0.0 {
            area += positive * hits / all;
        }
    }
    area / hits
}

fn with_interval(name: &'static str, value: f64, (lower, upper): (f64, f64)) -> Metric {
    if value.is_nan() {
        return Metric::undefined(name);
    }
    Metric {
        name,
        value,
        lower,
        upper,
    }
}
