//! Plain nodes, row by row: serves every forest, and those that codes cannot represent.

use super::Scores;
use super::real::Real;
use crate::forest::{Arithmetic, Base, Child, Combine, Forest, Missing, Test, Tree, reference};

/// A forest's nodes. The methods take the forest that it was made of.
#[derive(Debug)]
pub struct Plain {
    /// All trees' nodes, one after the other; children are indices into this list.
    nodes: Vec<Node>,
    /// All trees' leaves, one after the other.
    leaves: Vec<f64>,
    trees: Vec<Root>,
    /// What each output's sum starts from.
    start: Vec<f64>,
}

/// 24 bytes: the threshold, both children, the feature and how to compare.
#[derive(Clone, Copy, Debug)]
struct Node {
    threshold: f64,
    /// Children. The top bit marks a leaf; the other 31 are an index into `nodes`, or into
    /// `leaves` for a leaf. This limits a forest to 2^31 nodes and as many leaf values.
    left: u32,
    right: u32,
    feature: u32,
    test: u8,
    missing: Missing,
}

#[derive(Clone, Copy, Debug)]
struct Root {
    /// As the children of a [`Node`].
    root: u32,
    leaf_width: u32,
    output: u32,
    /// Where its leaves begin.
    first_leaf: u32,
}

/// Set in a child that is a leaf.
const LEAF: u32 = 1 << 31;

const LESS: u8 = 0;
const LESS_EQ: u8 = 1;
const GREATER: u8 = 2;
const GREATER_EQ: u8 = 3;
const EQUAL: u8 = 4;
const NOT_EQUAL: u8 = 5;
const IN: u8 = 6;

impl Plain {
    /// Packs a forest that passed [`Forest::check`]. `None` when it has 2^31 nodes or leaf values
    /// and more.
    pub fn new(forest: &Forest) -> Option<Plain> {
        let splits: usize = forest.trees.iter().map(|tree| tree.splits.len()).sum();
        let values: usize = forest.trees.iter().map(|tree| tree.leaves.len()).sum();
        if splits >= LEAF as usize || values >= LEAF as usize {
            return None;
        }
        let mut plain = Plain {
            nodes: Vec::with_capacity(splits),
            leaves: Vec::with_capacity(values),
            trees: Vec::with_capacity(forest.trees.len()),
            start: super::start(forest),
        };
        for tree in &forest.trees {
            plain.pack(tree);
        }
        Some(plain)
    }

    /// Writes the raw scores of rows `[n, features]`, NaN = missing. Row values are widened without
    /// loss, so 32-bit comparisons hold.
    pub fn raw_scores<T: Real>(&self, forest: &Forest, rows: &[T], scores: &mut Scores) {
        for (index, row) in rows.chunks_exact(forest.features).enumerate() {
            let scores = &mut scores.row(index)[..forest.outputs];
            match (forest.arithmetic, forest.combine) {
                (Arithmetic::F32, Combine::Sum | Combine::Average(_)) => {
                    self.sum(forest, row, scores, |sum| f64::from(sum as f32));
                }
                (Arithmetic::F64, Combine::Sum | Combine::Average(_)) => {
                    self.sum(forest, row, scores, |sum| sum);
                }
                (_, Combine::Min | Combine::Max) => {
                    let row: Vec<f64> = row.iter().map(|value| (*value).into()).collect();
                    scores.copy_from_slice(&reference::raw_scores(forest, &row));
                }
            }
        }
    }

    /// Bytes held on the heap.
    pub fn memory_bytes(&self) -> usize {
        size_of_val(self.nodes.as_slice())
            + size_of_val(self.leaves.as_slice())
            + size_of_val(self.trees.as_slice())
    }

    fn sum<T: Real>(
        &self,
        forest: &Forest,
        row: &[T],
        scores: &mut [f64],
        round: impl Fn(f64) -> f64,
    ) {
        scores.copy_from_slice(&self.start);
        for (index, tree) in self.trees.iter().enumerate() {
            let leaf = self.leaf(forest, tree.root, row);
            let values = &self.leaves[leaf..leaf + tree.leaf_width as usize];
            if let Some(linear) = forest.linear.of_tree(index) {
                // Such a tree has one value per leaf.
                let own = leaf - tree.first_leaf as usize;
                let score = &mut scores[tree.output as usize];
                *score = round(*score + linear.value(own, values[0], row));
                continue;
            }
            for (score, value) in scores[tree.output as usize..].iter_mut().zip(values) {
                *score = round(*score + value);
            }
        }
        if let Combine::Average(count) = forest.combine {
            for score in scores.iter_mut() {
                *score = round(*score / count);
            }
        }
        if forest.base_order == Base::Last {
            for (score, base) in scores.iter_mut().zip(&forest.base) {
                *score = round(*score + base);
            }
        }
    }

    fn leaf<T: Real>(&self, forest: &Forest, root: u32, row: &[T]) -> usize {
        let mut at = root;
        while at & LEAF == 0 {
            let node = &self.nodes[at as usize];
            let value: f64 = row[node.feature as usize].into();
            at = if goes_left(forest, node, value) {
                node.left
            } else {
                node.right
            };
        }
        (at & !LEAF) as usize
    }

    fn pack(&mut self, tree: &Tree) {
        let first_node = self.nodes.len() as u32;
        let first_leaf = self.leaves.len() as u32;
        let place = |child: Child| match child {
            Child::Split(split) => first_node + split,
            Child::Leaf(leaf) => LEAF | (first_leaf + leaf * tree.leaf_width as u32),
        };
        for split in &tree.splits {
            let (test, threshold) = packed_test(split.test);
            self.nodes.push(Node {
                threshold,
                left: place(split.left),
                right: place(split.right),
                feature: split.feature,
                test,
                missing: split.missing,
            });
        }
        self.trees.push(Root {
            root: root_of(tree, first_node, first_leaf),
            leaf_width: tree.leaf_width as u32,
            output: tree.output as u32,
            first_leaf,
        });
        self.leaves.extend_from_slice(&tree.leaves);
    }
}

#[inline]
fn goes_left(forest: &Forest, node: &Node, value: f64) -> bool {
    let value = match node.missing {
        Missing::NanLeft if value.is_nan() => return true,
        Missing::NanRight if value.is_nan() => return false,
        Missing::ZeroLeft if value.is_nan() || value.abs() <= reference::ZERO_THRESHOLD => {
            return true;
        }
        Missing::ZeroRight if value.is_nan() || value.abs() <= reference::ZERO_THRESHOLD => {
            return false;
        }
        Missing::NanIsZero if value.is_nan() => 0.0,
        _ => value,
    };
    match node.test {
        LESS => value < node.threshold,
        LESS_EQ => value <= node.threshold,
        GREATER => value > node.threshold,
        GREATER_EQ => value >= node.threshold,
        EQUAL => value == node.threshold,
        NOT_EQUAL => value != node.threshold,
        _ => forest.sets[node.threshold as usize].contains(value),
    }
}

fn root_of(tree: &Tree, first_node: u32, first_leaf: u32) -> u32 {
    if tree.splits.is_empty() {
        return LEAF | first_leaf;
    }
    first_node
}

fn packed_test(test: Test) -> (u8, f64) {
    match test {
        Test::Less(at) => (LESS, at),
        Test::LessEq(at) => (LESS_EQ, at),
        Test::Greater(at) => (GREATER, at),
        Test::GreaterEq(at) => (GREATER_EQ, at),
        Test::Equal(at) => (EQUAL, at),
        Test::NotEqual(at) => (NOT_EQUAL, at),
        Test::In(set) => (IN, f64::from(set)),
    }
}
