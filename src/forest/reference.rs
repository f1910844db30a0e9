//! The slow, obvious evaluation of a [`Forest`]: the oracle that every kernel is compared with.
//! Never on the request path.

use super::linear::linear_scores;
use super::{Arithmetic, Base, Child, Combine, Forest, Missing, Split, Test, Tree};

/// LightGBM's `kZeroThreshold`: the 32-bit float 1e-35.
pub const ZERO_THRESHOLD: f64 = 1e-35_f32 as f64;

/// The raw scores of one row.
///
/// `row` is `[features]`, NaN = missing; with [`Arithmetic::F32`] every value is a 32-bit float.
/// The result is `[outputs]`. Sums are in the forest's arithmetic, in tree order.
pub fn raw_scores(forest: &Forest, row: &[f64]) -> Vec<f64> {
    if !forest.linear.weights.is_empty() {
        let mut scores = vec![0.0; forest.outputs];
        linear_scores(&forest.linear.weights, &forest.base, row, &mut scores);
        return scores;
    }
    let mut scores: Vec<Option<f64>> = match forest.base_order {
        Base::First => forest.base.iter().copied().map(Some).collect(),
        Base::Last => vec![None; forest.outputs],
    };
    for (index, tree) in forest.trees.iter().enumerate() {
        let leaf = leaf_of(forest, tree, row);
        let linear = forest.linear.of_tree(index);
        for (offset, value) in tree.leaves[leaf * tree.leaf_width..][..tree.leaf_width]
            .iter()
            .enumerate()
        {
            let value = linear.map_or(*value, |linear| linear.value(leaf, *value, row));
            let score = &mut scores[tree.output + offset];
            *score = Some(match *score {
                None => value,
                Some(sum) => accumulate(forest, sum, value),
            });
        }
    }
    let finish = |(score, base): (Option<f64>, &f64)| {
        let mut score = score.unwrap_or(0.0);
        if let Combine::Average(count) = forest.combine {
            score = round(forest, score / count);
        }
        match forest.base_order {
            Base::First => score,
            Base::Last => round(forest, score + base),
        }
    };
    scores.into_iter().zip(&forest.base).map(finish).collect()
}

/// The raw scores of one row and its prediction, that is the linked scores.
pub fn predict(forest: &Forest, row: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let raw = raw_scores(forest, row);
    let mut prediction = vec![0.0; forest.link.width(forest.outputs)];
    forest.link.apply(&raw, &mut prediction);
    (raw, prediction)
}

/// The index of the leaf that `row` ends in.
pub fn leaf_of<T: Copy + Into<f64>>(forest: &Forest, tree: &Tree, row: &[T]) -> usize {
    if tree.splits.is_empty() {
        return 0;
    }
    let mut node = 0;
    loop {
        let split = &tree.splits[node];
        let child = if goes_left(forest, split, row[split.feature as usize].into()) {
            split.left
        } else {
            split.right
        };
        match child {
            Child::Split(next) => node = next as usize,
            Child::Leaf(leaf) => return leaf as usize,
        }
    }
}

/// Where a value goes at a split.
#[inline]
pub fn goes_left(forest: &Forest, split: &Split, value: f64) -> bool {
    let value = match split.missing {
        Missing::NanLeft if value.is_nan() => return true,
        Missing::NanRight if value.is_nan() => return false,
        Missing::ZeroLeft if value.is_nan() || value.abs() <= ZERO_THRESHOLD => return true,
        Missing::ZeroRight if value.is_nan() || value.abs() <= ZERO_THRESHOLD => return false,
        Missing::NanIsZero if value.is_nan() => 0.0,
        _ => value,
    };
    match split.test {
        Test::Less(at) => value < at,
        Test::LessEq(at) => value <= at,
        Test::Greater(at) => value > at,
        Test::GreaterEq(at) => value >= at,
        Test::Equal(at) => value == at,
        Test::NotEqual(at) => value != at,
        Test::In(set) => forest.sets[set as usize].contains(value),
    }
}

fn accumulate(forest: &Forest, sum: f64, value: f64) -> f64 {
    match forest.combine {
        Combine::Sum | Combine::Average(_) => round(forest, sum + value),
        // The first of equals stays, as in ONNX Runtime.
        Combine::Min if value < sum => value,
        Combine::Max if value > sum => value,
        Combine::Min | Combine::Max => sum,
    }
}

/// One operation on two 32-bit floats done in 64 bits and rounded once gives what 32-bit arithmetic
/// gives: 53 bits are more than 2 × 24 + 2.
fn round(forest: &Forest, value: f64) -> f64 {
    match forest.arithmetic {
        Arithmetic::F32 => f64::from(value as f32),
        Arithmetic::F64 => value,
    }
}
