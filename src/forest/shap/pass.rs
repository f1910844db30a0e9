//! One row through one tree: down with products of factors, up with sums over leaves.

use super::pack::{NONE, Node};
use super::quadrature::Rule;
use crate::forest::reference::goes_left;
use crate::forest::{Forest, Split};

/// What a row and a tree need on the way.
pub struct Scratch {
    /// Per split and point: on the way down the product of all factors but its own feature's, on the
    /// way up the sum of its leaves' products.
    sums: Vec<f64>,
    /// Per split and point: 1 / the factor of the edge that leads to it, if the row passes it.
    inverse: Vec<f64>,
    /// Per split: whether the row passes the edge that leads to it and all edges before it of the
    /// same feature.
    passes: Vec<bool>,
    /// Per split: where the row goes.
    turns: Vec<Turn>,
}

/// What a row does at a split.
#[derive(Clone, Copy, Default)]
struct Turn {
    /// 0 for left, 1 for right.
    side: u8,
    /// Whether it passes all edges of the split's feature above.
    passed: bool,
}

/// A pass of `P` points.
struct Pass<'a, const P: usize> {
    /// The points: `t`.
    one: [f64; P],
    /// `1 - t`.
    zero: [f64; P],
    /// `1 / (1 - t)`.
    inverse_zero: [f64; P],
    sums: &'a mut [[f64; P]],
    inverse: &'a mut [[f64; P]],
}

impl Scratch {
    /// Room for trees of up to this many splits.
    pub fn new(splits: usize) -> Scratch {
        Scratch {
            sums: vec![0.0; splits * 8],
            inverse: vec![0.0; splits * 8],
            passes: vec![false; splits],
            turns: vec![Turn::default(); splits],
        }
    }

    /// Finds where a row goes at every split of a tree.
    pub fn turn<T: Copy + Into<f64>>(
        &mut self,
        forest: &Forest,
        splits: &[Split],
        nodes: &[Node],
        row: &[T],
    ) {
        for ((node, split), turn) in nodes.iter().zip(splits).zip(&mut self.turns) {
            let left = goes_left(forest, split, row[node.feature as usize].into());
            let side = usize::from(!left);
            let passed = node.before == NONE || self.passes[node.before as usize];
            for (at, child) in node.child.iter().enumerate() {
                if *child != NONE {
                    self.passes[*child as usize] = passed && at == side;
                }
            }
            *turn = Turn {
                side: side as u8,
                passed,
            };
        }
    }

    /// Adds what the points `first..first + P` of a rule say of one tree to `out`, which is
    /// `[features]`. The turns are this row's.
    pub fn pass<const P: usize>(
        &mut self,
        nodes: &[Node],
        rule: &Rule,
        first: usize,
        out: &mut [f64],
    ) {
        let one: [f64; P] = each(|lane| rule.points[first + lane]);
        let zero: [f64; P] = each(|lane| 1.0 - one[lane]);
        let mut pass = Pass {
            one,
            zero,
            inverse_zero: each(|lane| 1.0 / zero[lane]),
            sums: self.sums.as_chunks_mut::<P>().0,
            inverse: self.inverse.as_chunks_mut::<P>().0,
        };
        pass.sums[0] = each(|lane| rule.weights[first + lane]);
        let turns = &self.turns[..nodes.len()];
        for (index, (node, turn)) in nodes.iter().zip(turns).enumerate() {
            pass.down(node, *turn, index);
        }
        for (index, (node, turn)) in nodes.iter().zip(turns).enumerate().rev() {
            out[node.feature as usize] += pass.up(node, *turn, index);
        }
    }
}

impl<const P: usize> Pass<'_, P> {
    /// From a split to the splits below it: the product that came here, divided by the factor that
    /// this split's feature had until here, stays; the children get it with their own factors.
    #[inline(always)]
    fn down(&mut self, node: &Node, turn: Turn, index: usize) {
        let mut product = self.sums[index];
        if !turn.passed {
            for side in 0..2 {
                if node.child[side] != NONE {
                    let ratio = node.ratio[side];
                    self.sums[node.child[side] as usize] = each(|lane| product[lane] * ratio);
                }
            }
            return;
        }
        if node.before != NONE {
            let divide = self.inverse[node.before as usize];
            product = each(|lane| product[lane] * divide[lane]);
            self.sums[index] = product;
        }
        let (hot, cold) = (usize::from(turn.side & 1), usize::from(!turn.side & 1));
        if node.child[hot] != NONE {
            let child = node.child[hot] as usize;
            let factor: [f64; P] = each(|lane| self.one[lane] + node.share[hot] * self.zero[lane]);
            self.sums[child] = each(|lane| product[lane] * factor[lane]);
            self.inverse[child] = each(|lane| 1.0 / factor[lane]);
        }
        if node.child[cold] != NONE {
            let child = node.child[cold] as usize;
            self.sums[child] = each(|lane| product[lane] * (node.share[cold] * self.zero[lane]));
        }
    }

    /// From the splits below to a split: its leaves' products are added up, and what it adds to its
    /// feature is returned.
    ///
    /// The derivative of the product by the feature is `(o - z) / factor` times the product. An edge
    /// that takes over the feature from an edge above adds its own and takes the other's away.
    #[inline(always)]
    fn up(&mut self, node: &Node, turn: Turn, index: usize) -> f64 {
        let product = self.sums[index];
        if !turn.passed {
            // Above and below, the feature's term is -1 / (1 - t): nothing is left of it.
            let mut sum = [0.0; P];
            for side in 0..2 {
                let part: [f64; P] = match node.child[side] {
                    NONE => {
                        let scale = node.ratio[side] * node.value[side];
                        each(|lane| product[lane] * scale)
                    }
                    child => self.sums[child as usize],
                };
                sum = each(|lane| sum[lane] + part[lane]);
            }
            self.sums[index] = sum;
            return 0.0;
        }
        let (hot, cold) = (usize::from(turn.side & 1), usize::from(!turn.side & 1));
        let gain = 1.0 - node.share[hot];
        let (hot_sum, hot_gain): ([f64; P], [f64; P]) = match node.child[hot] {
            NONE => {
                let (share, value) = (node.share[hot], node.value[hot]);
                let scale = gain * value;
                (
                    each(|lane| {
                        product[lane] * ((self.one[lane] + share * self.zero[lane]) * value)
                    }),
                    each(|lane| product[lane] * scale),
                )
            }
            child => {
                let (sum, divide) = (self.sums[child as usize], self.inverse[child as usize]);
                (sum, each(|lane| sum[lane] * (divide[lane] * gain)))
            }
        };
        let (cold_sum, cold_loss): ([f64; P], [f64; P]) = match node.child[cold] {
            NONE => {
                let scale = node.share[cold] * node.value[cold];
                (
                    each(|lane| product[lane] * (self.zero[lane] * scale)),
                    each(|lane| product[lane] * scale),
                )
            }
            child => {
                let sum = self.sums[child as usize];
                (sum, each(|lane| sum[lane] * self.inverse_zero[lane]))
            }
        };
        let sum: [f64; P] = each(|lane| hot_sum[lane] + cold_sum[lane]);
        let mut gains: [f64; P] = each(|lane| hot_gain[lane] - cold_loss[lane]);
        if node.before != NONE {
            let divide = self.inverse[node.before as usize];
            gains = each(|lane| gains[lane] - sum[lane] * (divide[lane] * node.gain));
        }
        self.sums[index] = sum;
        gains.iter().sum()
    }
}

#[inline(always)]
fn each<const P: usize>(lane: impl FnMut(usize) -> f64) -> [f64; P] {
    std::array::from_fn(lane)
}
