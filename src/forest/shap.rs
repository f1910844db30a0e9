//! SHAP values of a [`Forest`]: how much each feature of a row moved its raw scores away from their
//! mean over the training data. Exact path-dependent TreeSHAP, as XGBoost's `pred_contribs` and
//! LightGBM's `predict_contrib` define it (Lundberg et al., "Consistent Individualized Feature
//! Attribution for Tree Ensembles", algorithm 2), computed in another way.
//!
//! A leaf of value `v` whose path asks the features `F` adds to feature `i` in `F`
//!
//! ```text
//! v · (oᵢ − zᵢ) · Σ over S ⊆ F∖{i} of |S|! (|F|−1−|S|)! / |F|! · Π oⱼ (j in S) · Π zⱼ (j not in S)
//! = v · (oᵢ − zᵢ) · ∫ from 0 to 1 of Π (t·oⱼ + (1−t)·zⱼ) over j in F∖{i}, dt
//! ```
//!
//! where `z` is the share of the training data that a feature's splits on the path send on, and `o` is
//! 1 where they send the row on, else 0. The sum is the integral because
//! `∫ tˢ(1−t)ᵈ⁻¹⁻ˢ dt = s!(d−1−s)!/d!`. The integrand is a polynomial of degree `|F| − 1`, so
//! Gauss-Legendre quadrature with `|F|/2` points is exact up to rounding. All terms of the product are
//! positive: nothing cancels, unlike in the libraries' unwinding of paths, which loses digits with
//! depth. Per tree one pass down multiplies, one pass up adds: `O(splits · points)` where the
//! libraries take `O(leaves · depth²)`.
//!
//! Sums are in 64 bits. XGBoost computes in 32, so it differs from these values by its own rounding.

mod ask;
mod pack;
mod pass;
mod quadrature;
mod schedule;

use pack::{NOT_YET, pack};
use pass::Scratch;
use quadrature::Rule;
use schedule::Chunk;

use super::{Combine, Forest};

/// What is needed to explain a forest: about 140 bytes a split. Immutable, shared by all threads.
#[derive(Debug)]
pub struct Explainer {
    /// All trees that split, those of one rule together.
    chunks: Vec<Chunk>,
    /// Rules with 2, 4, 8, 16, 24, … points.
    rules: Vec<Rule>,
    /// The raw scores' mean over the training data, one per output.
    expected: Vec<f64>,
    features: usize,
    /// Splits of the largest chunk.
    splits_max: usize,
}

/// Why a forest cannot be explained.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotExplained(pub String);

/// Contributions of one row. More is no explanation, and would cost memory that neither the model's
/// file nor the request bounds.
const WIDTH_MAX: usize = 1 << 22;

/// Rows that a chunk of trees is applied to before the next one is.
const BLOCK: usize = 8;

impl Explainer {
    /// Checks what can be seen without a look at every node.
    ///
    /// # Errors
    /// Why the forest cannot be explained.
    pub fn check(forest: &Forest) -> Result<(), NotExplained> {
        if forest.combine != Combine::Sum {
            return Err(NotExplained(
                "its trees are not added up, and contributions are parts of a sum".to_string(),
            ));
        }
        if !forest.linear.is_empty() {
            return Err(NotExplained(
                "linear leaves and linear boosters are not explained".to_string(),
            ));
        }
        if forest.trees.iter().any(|tree| tree.leaf_width != 1) {
            return Err(NotExplained("leaves have several values".to_string()));
        }
        let width = (forest.features.saturating_add(1)).saturating_mul(forest.outputs);
        if width > WIDTH_MAX {
            return Err(NotExplained(format!(
                "a row would have {width} contributions, the limit is {WIDTH_MAX}"
            )));
        }
        if forest
            .trees
            .iter()
            .any(|tree| tree.cover.is_none() && !tree.splits.is_empty())
        {
            return Err(NotExplained(
                "the file does not say how much training data came to each node".to_string(),
            ));
        }
        Ok(())
    }

    /// Prepares a forest that passed [`Forest::check`]. Costs about as much as reading it.
    ///
    /// # Errors
    /// Why it cannot be explained.
    pub fn new(forest: &Forest) -> Result<Explainer, NotExplained> {
        Explainer::check(forest)?;
        let mut expected = vec![0.0; forest.outputs];
        let mut last = vec![NOT_YET; forest.features];
        let mut packed = Vec::with_capacity(forest.trees.len());
        for (index, tree) in forest.trees.iter().enumerate() {
            let tree_packed = pack(tree, &mut last)
                .map_err(|reason| NotExplained(format!("tree {index}: {reason}")))?;
            expected[tree.output] += tree_packed.expected;
            packed.push(tree_packed);
        }
        for (expected, base) in expected.iter_mut().zip(&forest.base) {
            *expected += base;
        }
        let deepest = packed.iter().map(|tree| tree.features).max().unwrap_or(0);
        let rules = 0..=rule_of(deepest);
        let mut chunks = Vec::new();
        for rule in rules.clone() {
            let trees = forest.trees.iter().zip(&packed);
            let split = trees
                .filter(|(_, packed)| !packed.nodes.is_empty() && rule_of(packed.features) == rule);
            let trees: Vec<_> = split
                .map(|(tree, packed)| (tree, packed, tree.output * (forest.features + 1)))
                .collect();
            chunks.extend(Chunk::all(forest, rule, &trees));
        }
        Ok(Explainer {
            rules: rules.map(|index| Rule::new(points(index))).collect(),
            expected,
            features: forest.features,
            splits_max: chunks
                .iter()
                .map(|chunk| chunk.nodes.len())
                .max()
                .unwrap_or(0),
            chunks,
        })
    }

    /// Writes the contributions of rows.
    ///
    /// `forest` is the one that the explainer was made of. `rows` is `[n, features]`, NaN = missing;
    /// `out` is `[n, outputs, features + 1]`, row-major. The last column is the raw score's mean over
    /// the training data; a row of `out` adds up to the raw score, up to rounding.
    pub fn contributions<T: Copy + Into<f64>>(&self, forest: &Forest, rows: &[T], out: &mut [f64]) {
        let width = self.expected.len() * (self.features + 1);
        let mut scratch = Scratch::new(self.splits_max);
        let blocks = rows.chunks(BLOCK * self.features);
        for (rows, out) in blocks.zip(out.chunks_mut(BLOCK * width)) {
            out.fill(0.0);
            self.block(forest, rows, out, &mut scratch);
        }
    }

    /// Bytes held on the heap.
    pub fn memory_bytes(&self) -> usize {
        let chunks = self.chunks.iter();
        chunks
            .map(|chunk| size_of::<Chunk>() + chunk.memory_bytes())
            .sum()
    }

    fn block<T: Copy + Into<f64>>(
        &self,
        forest: &Forest,
        rows: &[T],
        out: &mut [f64],
        scratch: &mut Scratch,
    ) {
        let columns = self.features + 1;
        let width = self.expected.len() * columns;
        for chunk in &self.chunks {
            let rows = rows.chunks_exact(self.features);
            for (row, out) in rows.zip(out.chunks_exact_mut(width)) {
                self.add((forest, chunk), row, out, scratch);
            }
        }
        for out in out.chunks_exact_mut(width) {
            for (out, expected) in out.chunks_exact_mut(columns).zip(&self.expected) {
                out[self.features] = *expected;
            }
        }
    }

    /// Adds what a chunk says of a row to its results.
    fn add<T: Copy + Into<f64>>(
        &self,
        (forest, chunk): (&Forest, &Chunk),
        row: &[T],
        out: &mut [f64],
        scratch: &mut Scratch,
    ) {
        let rule = &self.rules[chunk.rule];
        match chunk.rule {
            0 => scratch.pass::<2, T>((forest, chunk), (rule, 0), row, out),
            1 => scratch.pass::<4, T>((forest, chunk), (rule, 0), row, out),
            _ => {
                for first in (0..rule.points.len()).step_by(8) {
                    scratch.pass::<8, T>((forest, chunk), (rule, first), row, out);
                }
            }
        }
    }
}

/// The index of the rule that is exact for paths with this many features.
fn rule_of(features: usize) -> usize {
    match features {
        0..=4 => 0,
        5..=8 => 1,
        more => 1 + more.div_ceil(16),
    }
}

/// The number of points of a rule: half the features of the longest path that it is exact for.
fn points(rule: usize) -> usize {
    match rule {
        0 => 2,
        1 => 4,
        more => (more - 1) * 8,
    }
}

#[cfg(test)]
mod tests;
