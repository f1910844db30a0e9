//! AUC from mid-ranks, its variance, and the paired difference of two AUCs (DeLong).
//!
//! Ties count half. Weights are the rows' own (inverse propensity); with equal weights every number
//! is DeLong's.

use std::ops::Range;

/// A labelled row that two revisions scored. Scores must not be NaN.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judged {
    pub champion: f64,
    pub challenger: f64,
    pub positive: bool,
    /// Above 0.
    pub weight: f64,
}

/// The paired comparison of two AUCs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DeLong {
    pub auc_champion: f64,
    pub auc_challenger: f64,
    /// Challenger minus champion.
    pub difference: f64,
    /// Variance of `difference`; 0 when both rank alike.
    pub variance: f64,
    pub positives: u64,
    pub negatives: u64,
}

/// Rows in falling order of score, and the groups that share one score.
pub(super) struct Ranking {
    pub order: Vec<u32>,
    pub ties: Vec<Range<usize>>,
}

/// Compares two revisions' AUC on the same rows. `None` with less than two rows of a class.
///
/// With placements `V10_i = (R_i − Rp_i)/n` of positives and `V01_j = 1 − (R_j − Rn_j)/m` of negatives
/// (mid-ranks R over all, Rp and Rn within the class): `AUC = mean V10` and
/// `Var(d) = var(ΔV10)/m + var(ΔV01)/n`. With weights, a placement is a share of the other class's
/// weight, means are weighted, and `var(Δ)/m` becomes `Σw²(Δ−mean)²/(Σw)²·m/(m−1)`.
/// O(n log n). At most 2³² rows; rows beyond are left out.
///
/// Source: Sun and Xu, IEEE Signal Processing Letters 21(11), 2014; DeLong et al., Biometrics 44, 1988.
#[must_use]
pub fn delong(rows: &[Judged]) -> Option<DeLong> {
    let rows = &rows[..rows.len().min(u32::MAX as usize)];
    let positives = rows.iter().filter(|row| row.positive).count();
    let negatives = rows.len() - positives;
    if positives < 2 || negatives < 2 {
        return None;
    }
    let class = |index: usize| (rows[index].positive, rows[index].weight);
    let champion = placements(&rank(rows.len(), |index| rows[index].champion), class);
    let challenger = placements(&rank(rows.len(), |index| rows[index].challenger), class);

    let mut sides = [super::Moments::default(), super::Moments::default()];
    let mut areas = [super::Moments::default(), super::Moments::default()];
    for (index, row) in rows.iter().enumerate() {
        let side = usize::from(row.positive);
        sides[side].push(challenger[index] - champion[index], row.weight);
        if row.positive {
            areas[0].push(champion[index], row.weight);
            areas[1].push(challenger[index], row.weight);
        }
    }
    let variance = sides.map(|side| side.standard_error().powi(2));
    Some(DeLong {
        auc_champion: areas[0].mean(),
        auc_challenger: areas[1].mean(),
        difference: sides[1].mean(),
        variance: variance[0] + variance[1],
        positives: positives as u64,
        negatives: negatives as u64,
    })
}

/// Ranks `len` rows by falling `score`.
pub(super) fn rank(len: usize, score: impl Fn(usize) -> f64) -> Ranking {
    let mut keyed: Vec<(f64, u32)> = (0..len).map(|index| (score(index), index as u32)).collect();
    keyed.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let mut ties = Vec::new();
    let mut start = 0;
    for end in 1..=len {
        // Plain equality, so that −0 and 0 tie although they sort apart.
        if end == len || keyed[end].0 != keyed[start].0 {
            ties.push(start..end);
            start = end;
        }
    }
    Ranking {
        order: keyed.into_iter().map(|(_, index)| index).collect(),
        ties,
    }
}

/// For each row the share of the other class's weight that it is on the right side of, ties half:
/// V10 of a positive, V01 of a negative. `class` gives whether a row is positive, and its weight.
pub(super) fn placements(ranking: &Ranking, class: impl Fn(usize) -> (bool, f64)) -> Vec<f64> {
    let weights = |rows: &[u32]| {
        let mut sums = [0.0, 0.0];
        for &row in rows {
            let (positive, weight) = class(row as usize);
            sums[usize::from(positive)] += weight;
        }
        sums
    };
    let [negative, positive] = weights(&ranking.order);
    let mut placements = vec![0.0; ranking.order.len()];
    let (mut negative_above, mut positive_above) = (0.0, 0.0);
    for tie in &ranking.ties {
        let rows = &ranking.order[tie.clone()];
        let [negative_here, positive_here] = weights(rows);
        let below = negative - negative_above - 0.5 * negative_here;
        let v10 = (below / negative).clamp(0.0, 1.0);
        let v01 = ((positive_above + 0.5 * positive_here) / positive).clamp(0.0, 1.0);
        for &row in rows {
            placements[row as usize] = if class(row as usize).0 { v10 } else { v01 };
        }
        negative_above += negative_here;
        positive_above += positive_here;
    }
    placements
}
