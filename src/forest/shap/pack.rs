//! A tree packed for SHAP values: what does not depend on a row, computed once.

use super::NotExplained;
use crate::forest::{Child, Tree};

/// One split. 72 bytes.
#[derive(Clone, Copy, Debug)]
pub struct Node {
    pub feature: u32,
    /// The split below the last split above that asks the same feature, or [`NONE`] when none does.
    /// May be this split itself.
    pub before: u32,
    /// The splits to the left and to the right; [`NONE`] for leaves.
    pub child: [u32; 2],
    /// Of the rows that come to the first split of this feature on the path here, the share that
    /// all splits of the feature send on to the child: the "zero fraction" of the path.
    pub share: [f64; 2],
    /// The share of this split's rows that goes to the child.
    pub ratio: [f64; 2],
    /// The values of leaves; 0 for splits.
    pub value: [f64; 2],
    /// 1 less the share of `before`; 0 without one.
    pub gain: f64,
}

/// A tree.
#[derive(Clone, Debug)]
pub struct Packed {
    /// In the order of [`Tree::splits`].
    pub nodes: Vec<Node>,
    /// Features that the longest path asks, each counted once.
    pub features: usize,
    /// The mean of the leaves by cover.
    pub expected: f64,
}

/// Of one feature: the split below its last split on the path, and the path's share of it.
pub type Last = (u32, f64);

/// A feature that is not on the path.
pub const NOT_YET: Last = (NONE, 1.0);

/// No split.
pub const NONE: u32 = u32::MAX;

/// Features on one path. More would need more than 256 points of quadrature; trees that people train
/// have at most some dozens.
const FEATURES_MAX: usize = 512;

/// The way down through a tree.
struct Walk<'a> {
    tree: &'a Tree,
    nodes: Vec<Option<Node>>,
    last: &'a mut [Last],
    /// Features on the path.
    depth: usize,
    packed: Packed,
    open: Vec<Step>,
}

/// What to do next.
enum Step {
    /// Go to a split that a row reaches with this weight.
    Down { split: usize, weight: f64 },
    /// Note for a feature that its last split leads to this one, with this share.
    Through { feature: u32, last: Last },
    /// Take that back; `first` when the feature was not on the path before.
    Back {
        feature: u32,
        last: Last,
        first: bool,
    },
}

/// Packs a tree, whose leaves have one value each. `last` is [`NOT_YET`] for every feature of the forest, and is so again afterwards.
///
/// # Errors
/// Why the tree cannot be explained.
pub fn pack(tree: &Tree, last: &mut [Last]) -> Result<Packed, NotExplained> {
    let mut walk = Walk {
        tree,
        nodes: vec![None; tree.splits.len()],
        last,
        depth: 0,
        packed: Packed {
            nodes: Vec::new(),
            features: 0,
            expected: 0.0,
        },
        open: Vec::new(),
    };
    if tree.splits.is_empty() {
        walk.packed.expected = tree.leaves[0];
        return Ok(walk.packed);
    }
    walk.open.push(Step::Down {
        split: 0,
        weight: 1.0,
    });
    while let Some(step) = walk.open.pop() {
        match step {
            Step::Down { split, weight } => walk.down(split, weight)?,
            Step::Through { feature, last } => walk.last[feature as usize] = last,
            Step::Back {
                feature,
                last,
                first,
            } => {
                walk.last[feature as usize] = last;
                walk.depth -= usize::from(first);
            }
        }
    }
    // Splits that no row reaches take part in nothing: they are never a child of a packed one.
    let unreached = Node {
        feature: 0,
        before: NONE,
        child: [NONE; 2],
        share: [0.0; 2],
        ratio: [0.0; 2],
        value: [0.0; 2],
        gain: 0.0,
    };
    let nodes = walk.nodes.into_iter();
    walk.packed.nodes = nodes.map(|node| node.unwrap_or(unreached)).collect();
    Ok(walk.packed)
}

impl Walk<'_> {
    fn down(&mut self, index: usize, weight: f64) -> Result<(), NotExplained> {
        if self.nodes[index].is_some() {
            return refused(format!("node {index} is the child of two nodes"));
        }
        let split = &self.tree.splits[index];
        let before = self.last[split.feature as usize];
        let first = before.0 == NONE;
        self.depth += usize::from(first);
        self.packed.features = self.packed.features.max(self.depth);
        if self.packed.features > FEATURES_MAX {
            return refused(format!("more than {FEATURES_MAX} features on one path"));
        }
        let mut node = Node {
            feature: split.feature,
            before: before.0,
            child: [NONE; 2],
            share: [0.0; 2],
            ratio: [0.0; 2],
            value: [0.0; 2],
            gain: 1.0 - before.1,
        };
        self.open.push(Step::Back {
            feature: split.feature,
            last: before,
            first,
        });
        for (side, child) in [split.left, split.right].into_iter().enumerate() {
            let ratio = self.ratio(index, child)?;
            node.ratio[side] = ratio;
            node.share[side] = before.1 * ratio;
            match child {
                Child::Leaf(leaf) => {
                    node.value[side] = self.tree.leaves[leaf as usize];
                    self.packed.expected += weight * ratio * node.value[side];
                }
                Child::Split(split) => {
                    node.child[side] = split;
                    // A stack: the last one pushed comes first.
                    self.open.push(Step::Down {
                        split: split as usize,
                        weight: weight * ratio,
                    });
                    self.open.push(Step::Through {
                        feature: node.feature,
                        last: (split, node.share[side]),
                    });
                }
            }
        }
        self.nodes[index] = Some(node);
        Ok(())
    }

    /// The share of a split's cover that goes to one of its children.
    fn ratio(&self, split: usize, child: Child) -> Result<f64, NotExplained> {
        let Some(cover) = &self.tree.cover else {
            return refused("the file does not say how much training data came to each node");
        };
        let all = cover.split(split).unwrap_or(f64::NAN);
        let part = match child {
            Child::Split(split) => cover.split(split as usize),
            Child::Leaf(leaf) => cover.leaf(leaf as usize),
        };
        let part = part.unwrap_or(f64::NAN);
        if all > 0.0 && all.is_finite() && part >= 0.0 && part.is_finite() {
            return Ok(part / all);
        }
        refused(format!(
            "node {split}: its cover is {all}, its child's {part}; expected positive numbers"
        ))
    }
}

fn refused<T>(reason: impl Into<String>) -> Result<T, NotExplained> {
    Err(NotExplained(reason.into()))
}
