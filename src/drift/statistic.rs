//! How far a live histogram lies from a reference histogram of the same bins.
//!
//! All are functions of integer counts, so merged windows give exactly what one window of all rows
//! gives. This module never sees a row, a model or a clock. In every function `reference` and `live`
//! hold one count per bin, `[bins]`; unequal lengths and a side without a single row give `None`.
//!
//! Sources: Evidently 0.7 (`legacy/calculations/stattests`) and SciPy 1.17, on the same counts
//! (`tests/oracles/drift.py`).

mod chi_squared;
#[cfg(test)]
mod tests;
mod verdict;

pub use chi_squared::{ChiSquared, chi_squared};
pub use verdict::{Thresholds, Verdict, excess, null_psi, null_psi_deviation, occupied, verdict};

/// What an empty bin's share becomes, unless the smallest other share is no larger.
const ZERO_SHARE: f64 = 1e-4;

/// By how much an empty bin's share then lies below the smallest other share.
const BELOW_SMALLEST: f64 = 1e6;

/// Population stability index, in nats: `Σ (p − q)·ln(p/q)` over the shares `p` of the reference and
/// `q` of the live rows. It is symmetric, 0 for equal histograms, and at least 0; there is no upper
/// bound short of what the replaced shares give.
///
/// Shares of 0 are replaced on each side: by 0.0001, or by a millionth of that side's smallest other
/// share where that is 0.0001 or less. Shares are not made to sum to 1 again. A bin empty on both
/// sides therefore adds nothing when both replacements are equal, but 0.0014 or more when one is
/// 0.0001 and the other far below; leave such bins out beforehand where there are many. One bin
/// gives 0.
///
/// Source: Evidently, `psi.py` and `utils.py` (`get_binned_data`), on given bins.
#[must_use]
pub fn psi(reference: &[u64], live: &[u64]) -> Option<f64> {
    let (p, q) = filled_shares(reference, live)?;
    Some(p.iter().zip(&q).map(|(p, q)| (p - q) * (p / q).ln()).sum())
}

/// Kullback-Leibler divergence of the live rows from the reference, in nats: `Σ p·ln(p/q)` with `p`
/// of the reference and `q` of the live rows. Not symmetric; at least 0, and 0 for equal histograms.
///
/// Shares of 0 are replaced as in [`psi`], and both sides are then made to sum to 1 again. One bin
/// gives 0.
///
/// Source: Evidently, `kl_div.py`: `scipy.stats.entropy(reference, current)`.
#[must_use]
pub fn kl(reference: &[u64], live: &[u64]) -> Option<f64> {
    let (p, q) = filled_shares(reference, live)?;
    let (all_p, all_q): (f64, f64) = (p.iter().sum(), q.iter().sum());
    let terms = p.iter().zip(&q);
    let sum: f64 = terms
        .map(|(p, q)| relative_entropy(p / all_p, q / all_q))
        .sum();
    Some(sum.max(0.0))
}

/// Jensen-Shannon divergence, in nats, 0 to ln 2: `½ Σ p·ln(p/m) + ½ Σ q·ln(q/m)` with
/// `m = (p + q)/2`. Symmetric; 0 for equal histograms, ln 2 when no bin holds rows of both sides.
///
/// Empty bins add nothing and are not replaced. One bin gives 0.
///
/// Source: Lin, "Divergence measures based on the Shannon entropy", IEEE Transactions on Information
/// Theory 37(1) 1991.
#[must_use]
pub fn js(reference: &[u64], live: &[u64]) -> Option<f64> {
    let (n_reference, n_live) = totals(reference, live)?;
    let mut sum = 0.0;
    for (&r, &l) in reference.iter().zip(live) {
        let (p, q) = (r as f64 / n_reference, l as f64 / n_live);
        let middle = 0.5 * (p + q);
        sum += relative_entropy(p, middle) + relative_entropy(q, middle);
    }
    Some((0.5 * sum).clamp(0.0, std::f64::consts::LN_2))
}

/// Jensen-Shannon distance, 0 to √(ln 2) ≈ 0.833: the square root of [`js`], a metric.
///
/// Source: `scipy.spatial.distance.jensenshannon` with its default base e, which is what Evidently's
/// `jensenshannon.py` calls, on shares that are not replaced. In base 2 both would be larger by
/// `1/√(ln 2)`.
#[must_use]
pub fn js_distance(reference: &[u64], live: &[u64]) -> Option<f64> {
    js(reference, live).map(f64::sqrt)
}

/// Kolmogorov-Smirnov statistic of ordered bins, 0 to 1: the largest `|F − G|` of the two cumulative
/// distributions at the borders of the bins.
///
/// Between borders the histograms know nothing, so this is a lower bound of the statistic of the rows
/// themselves: it misses at most the smaller of both sides' shares of some bin. Empty bins change
/// nothing; one bin gives 0. Meaningless for categories.
///
/// Source: `scipy.stats.ks_2samp` of rows moved to the middle of their bins.
#[must_use]
pub fn ks(reference: &[u64], live: &[u64]) -> Option<f64> {
    let gaps = gaps(reference, live)?;
    Some(gaps.iter().fold(0.0, |most, gap| gap.abs().max(most)))
}

/// The p-value of a Kolmogorov-Smirnov statistic `d` (0 to 1) of two samples of `n_reference` and
/// `n_live` rows: `Q(√(n·m/(n+m))·d)`, `Q(x) = 2 Σ (−1)^(k−1)·exp(−2k²x²)` over `k ≥ 1`, the limit for
/// large samples. 0 to 1; a sample without rows and NaN give 1.
///
/// It is too large (careful) on bins, since [`ks`] is a lower bound there.
///
/// Source: Kolmogorov 1933 and Smirnov 1948, `scipy.stats.kstwobign.sf`. Below 1 the series converges
/// slowly, and its theta-function twin `1 − √(2π)/x·Σ exp(−(2k−1)²π²/(8x²))` is summed instead.
#[must_use]
pub fn ks_p_value(d: f64, n_reference: u64, n_live: u64) -> f64 {
    // √(nm/(n+m)) as the inverse of √(1/n + 1/m): 0 for an empty sample, and nothing overflows.
    let x = d / (1.0 / n_reference as f64 + 1.0 / n_live as f64).sqrt();
    // Below 0.03 the sum of the twin underflows to 0.
    if x.is_nan() || x < 0.03 {
        return 1.0;
    }
    if x < 1.0 {
        let exponent = std::f64::consts::PI.powi(2) / (8.0 * x * x);
        let odd = [1.0_f64, 3.0, 5.0, 7.0];
        let sum: f64 = odd.iter().map(|k| (-k * k * exponent).exp()).sum();
        return 1.0 - (2.0 * std::f64::consts::PI).sqrt() / x * sum;
    }
    let term = |k: f64| (-2.0 * k * k * x * x).exp();
    2.0 * (term(1.0) - term(2.0) + term(3.0) - term(4.0))
}

/// First Wasserstein distance, in the feature's unit: `∫ |F − G| dx` over the two distributions whose
/// rows lie evenly inside each bin. 0 for equal histograms, at most the width of all bins.
///
/// `edges_with_ends` holds the borders of the bins with both ends, `[bins + 1]`, finite and never
/// falling; anything else, and ends more than `f64::MAX` apart, gives `None`. A bin of no width is a
/// point mass. The integral is exact, with the crossing of `F` and `G` inside a bin. One bin gives 0.
///
/// Evidently's `wasserstein_distance_norm.py` divides `scipy.stats.wasserstein_distance` of the rows
/// by the reference's standard deviation; this is neither normed nor of the rows.
#[must_use]
pub fn wasserstein(edges_with_ends: &[f64], reference: &[u64], live: &[u64]) -> Option<f64> {
    let gaps = gaps(reference, live)?;
    let (first, last) = (edges_with_ends.first()?, edges_with_ends.last()?);
    if edges_with_ends.len() != gaps.len() + 1
        || !edges_with_ends.iter().all(|edge| edge.is_finite())
        || !edges_with_ends.is_sorted()
        || !(last - first).is_finite()
    {
        return None;
    }
    let mut distance = 0.0;
    let mut before = 0.0_f64;
    let sides = edges_with_ends.iter().zip(edges_with_ends.iter().skip(1));
    for (&after, (low, high)) in gaps.iter().zip(sides) {
        let (a, b) = (before.abs(), after.abs());
        // F − G runs straight from `before` to `after`: a trapezium, or two triangles that meet at
        // the crossing.
        let height = if before * after < 0.0 {
            0.5 * (a * a + b * b) / (a + b)
        } else {
            0.5 * (a + b)
        };
        distance += (high - low) * height;
        before = after;
    }
    Some(distance)
}

/// `x·ln(x/y)`, which is 0 for `x` of 0.
fn relative_entropy(x: f64, y: f64) -> f64 {
    if x > 0.0 { x * (x / y).ln() } else { 0.0 }
}

/// The sum of all counts, which fits in no `u64`, as a float.
fn total(counts: &[u64]) -> f64 {
    counts.iter().map(|&count| u128::from(count)).sum::<u128>() as f64
}

/// Rows of both sides, each above 0, of histograms with equally many bins.
fn totals(reference: &[u64], live: &[u64]) -> Option<(f64, f64)> {
    let (n_reference, n_live) = (total(reference), total(live));
    let usable = reference.len() == live.len() && n_reference > 0.0 && n_live > 0.0;
    usable.then_some((n_reference, n_live))
}

/// Shares of both sides, with those of 0 replaced as [`psi`] says.
fn filled_shares(reference: &[u64], live: &[u64]) -> Option<(Vec<f64>, Vec<f64>)> {
    let (n_reference, n_live) = totals(reference, live)?;
    Some((filled(reference, n_reference), filled(live, n_live)))
}

fn filled(counts: &[u64], rows: f64) -> Vec<f64> {
    let smallest = counts
        .iter()
        .filter(|&&count| count > 0)
        .min()
        .map_or(1.0, |&count| count as f64 / rows);
    let replacement = if smallest <= ZERO_SHARE {
        smallest / BELOW_SMALLEST
    } else {
        ZERO_SHARE
    };
    let share = |&count: &u64| match count {
        0 => replacement,
        _ => count as f64 / rows,
    };
    counts.iter().map(share).collect()
}

/// `F − G` at the upper border of every bin.
fn gaps(reference: &[u64], live: &[u64]) -> Option<Vec<f64>> {
    let (n_reference, n_live) = totals(reference, live)?;
    let (mut r, mut l) = (0_u128, 0_u128);
    let bins = reference.iter().zip(live);
    Some(
        bins.map(|(&reference, &live)| {
            r += u128::from(reference);
            l += u128::from(live);
            r as f64 / n_reference - l as f64 / n_live
        })
        .collect(),
    )
}
