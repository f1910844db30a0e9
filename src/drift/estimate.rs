//! The quality of a binary classifier without labels, by confidence-based performance estimation
//! (CBPE): calibrated scores say how many positives to expect on each side of the threshold.
//!
//! It is for display only. It holds while the chance of a positive at a given score stays what it was
//! in training (covariate shift, a different mix of rows); concept drift, which changes that chance,
//! is invisible to it, and a poor calibration makes it wrong.
//!
//! Everything is computed from counts per calibration bin, so merged windows give exactly what one
//! window of all rows gives. Source: NannyML 0.13, "Confidence-based performance estimation", whose
//! sums over rows these are, with the rows of one bin alike.

#[cfg(test)]
mod tests;

/// The chance of a positive in each bin of the score, never falling with the score.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibration {
    edges: Vec<f64>,
    probabilities: Vec<f64>,
}

/// What [`estimate`] expects of the live rows. A ratio without a denominator is `None`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// Live rows it is made of.
    pub rows: u64,
    /// Expected share of positives, 0 to 1.
    pub positives: f64,
    pub precision: Option<f64>,
    pub recall: Option<f64>,
    pub f1: Option<f64>,
    /// Area under the ROC curve of the binned score.
    pub auc: Option<f64>,
}

/// A run of neighbouring bins that share one probability.
struct Block {
    bins: usize,
    rows: f64,
    positives: f64,
}

impl Calibration {
    /// Fits the chance of a positive to labelled scores by isotonic regression: least squares,
    /// weighted by rows, among the functions that never fall with the score (pool adjacent
    /// violators). A bin without rows lies on the straight line, by number of bin, between its nearest
    /// neighbours with rows, and copies the nearest at either end.
    ///
    /// `edges` holds the inner borders of the score's bins, `[bins − 1]`; `rows` and `positives` count
    /// the labelled rows and those with label 1, `[bins]`.
    ///
    /// # Errors
    ///
    /// Borders that are not finite or do not rise strictly, lengths that do not fit, a bin with more
    /// positives than rows, and no positive or no negative at all.
    ///
    /// Source: `sklearn.isotonic.IsotonicRegression`.
    pub fn new(
        edges: Vec<f64>,
        rows: Vec<u64>,
        positives: Vec<u64>,
    ) -> Result<Calibration, String> {
        check(&edges, &rows, &positives)?;
        let probabilities = spread(&pooled(&rows, &positives), &rows);
        Ok(Calibration {
            edges,
            probabilities,
        })
    }

    /// The bin of a score, 0 to `bins − 1`: a score on a border belongs to the bin above it. NaN has
    /// none.
    #[must_use]
    pub fn bin(&self, score: f64) -> Option<usize> {
        (!score.is_nan()).then(|| self.edges.partition_point(|&edge| edge <= score))
    }

    /// The chance of a positive in each bin, `[bins]`, 0 to 1, never falling.
    #[must_use]
    pub fn probabilities(&self) -> &[f64] {
        &self.probabilities
    }
}

/// Expects precision, recall, F1 and AUC of live rows without labels.
///
/// `above` and `below` count, per bin of the calibration, the live rows whose score reaches the
/// decision threshold (predicted positive) and the others, `[bins]`. With `p` the chance of a positive
/// in a bin: `TP = Σ p·above`, `FP = Σ (1 − p)·above`, `FN = Σ p·below`; precision is `TP/(TP + FP)`,
/// recall `TP/(TP + FN)`, F1 `2TP/(2TP + FP + FN)`. AUC is the chance that a positive lies in a higher
/// bin than a negative, half counted within one bin:
/// `Σ_b P_b·(Σ_{c<b} N_c + ½ N_b)/(ΣP·ΣN)` with `P_b = p·n_b`, `N_b = (1 − p)·n_b` and
/// `n_b = above_b + below_b`. The order of rows inside a bin is lost, so it lies a little below the
/// AUC of the score itself.
///
/// `None` when the lengths do not fit the calibration and when there is no row.
#[must_use]
pub fn estimate(calibration: &Calibration, above: &[u64], below: &[u64]) -> Option<Estimate> {
    let bins = calibration.probabilities.len();
    if above.len() != bins || below.len() != bins {
        return None;
    }
    let (mut rows, mut ranked) = (0_u128, 0.0);
    let (mut true_positives, mut false_positives, mut false_negatives) = (0.0, 0.0, 0.0);
    let (mut positives, mut negatives) = (0.0, 0.0);
    let counts = above.iter().zip(below);
    for (&p, (&above, &below)) in calibration.probabilities.iter().zip(counts) {
        let (all, above_f, below_f) = (
            u128::from(above) + u128::from(below),
            above as f64,
            below as f64,
        );
        true_positives += p * above_f;
        false_positives += (1.0 - p) * above_f;
        false_negatives += p * below_f;
        let (positive, negative) = (p * all as f64, (1.0 - p) * all as f64);
        ranked += positive * (negatives + 0.5 * negative);
        positives += positive;
        negatives += negative;
        rows += all;
    }
    if rows == 0 {
        return None;
    }
    let wrong = false_positives + false_negatives;
    Some(Estimate {
        rows: u64::try_from(rows).unwrap_or(u64::MAX),
        positives: (positives / rows as f64).min(1.0),
        precision: ratio(true_positives, true_positives + false_positives),
        recall: ratio(true_positives, true_positives + false_negatives),
        f1: ratio(2.0 * true_positives, 2.0 * true_positives + wrong),
        auc: ratio(ranked, positives * negatives),
    })
}

fn ratio(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| (part / whole).clamp(0.0, 1.0))
}

fn check(edges: &[f64], rows: &[u64], positives: &[u64]) -> Result<(), String> {
    if let Some(edge) = edges.iter().find(|edge| !edge.is_finite()) {
        return Err(format!("calibration border {edge} is not finite"));
    }
    if !edges.is_sorted_by(|low, high| low < high) {
        return Err("calibration borders do not rise strictly".to_string());
    }
    let bins = edges.len() + 1;
    if rows.len() != bins || positives.len() != bins {
        return Err(format!(
            "{bins} calibration bins with {} counts of rows and {} of positives",
            rows.len(),
            positives.len()
        ));
    }
    let pairs = rows.iter().zip(positives);
    if let Some((bin, (rows, positives))) = pairs
        .enumerate()
        .find(|(_, (rows, positives))| positives > rows)
    {
        return Err(format!(
            "calibration bin {bin} has {positives} positives in {rows} rows"
        ));
    }
    if positives.iter().all(|&count| count == 0) {
        return Err("calibration without a positive label".to_string());
    }
    if rows == positives {
        return Err("calibration without a negative label".to_string());
    }
    Ok(())
}

/// Pool adjacent violators over the bins with rows: blocks of strictly rising probability.
fn pooled(rows: &[u64], positives: &[u64]) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    for (&rows, &positives) in rows.iter().zip(positives) {
        if rows == 0 {
            continue;
        }
        let mut last = Block {
            bins: 1,
            rows: rows as f64,
            positives: positives as f64,
        };
        while let Some(before) = blocks.pop_if(|before| before.probability() >= last.probability())
        {
            last.bins += before.bins;
            last.rows += before.rows;
            last.positives += before.positives;
        }
        blocks.push(last);
    }
    blocks
}

impl Block {
    fn probability(&self) -> f64 {
        (self.positives / self.rows).clamp(0.0, 1.0)
    }
}

/// The probability of every bin, those without rows filled in.
fn spread(blocks: &[Block], rows: &[u64]) -> Vec<f64> {
    let mut fitted = blocks
        .iter()
        .flat_map(|block| std::iter::repeat_n(block.probability(), block.bins));
    let mut probabilities: Vec<f64> = Vec::with_capacity(rows.len());
    let mut empty = 0_usize;
    for &rows in rows {
        if rows == 0 {
            empty += 1;
            continue;
        }
        let Some(high) = fitted.next() else { break };
        let low = probabilities.last().copied().unwrap_or(high);
        let step = (high - low) / (empty + 1) as f64;
        probabilities.extend((1..=empty).map(|at| low + step * at as f64));
        probabilities.push(high);
        empty = 0;
    }
    let end = probabilities.last().copied().unwrap_or_default();
    probabilities.extend(std::iter::repeat_n(end, empty));
    probabilities
}
