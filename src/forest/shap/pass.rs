//! One row through a chunk of trees: down with products of factors, up with sums over leaves. Every
//! choice that depends on the row is a number, 0 or 1, that something is multiplied by.

use super::pack::Node;
use super::quadrature::Rule;
use super::schedule::{Chunk, Kind, Run};
use crate::forest::Forest;

/// What a row and a chunk need on the way.
pub struct Scratch {
    /// Per split and point: on the way down the product of the factors of all features above but the
    /// split's own, on the way up the sum over the leaves below of values times factors below.
    sums: Vec<f64>,
    /// Per split whose feature is asked above too, and point: 1 / the factor that it had there; 1
    /// where the row did not pass there.
    inverse: Vec<f64>,
    /// Per split: 1 where the row passes the edge that leads to it and all edges before it of the same
    /// feature, else 0.
    passes: Vec<f64>,
    turns: Vec<Turn>,
}

/// What a row does at a split.
#[derive(Clone, Copy, Default)]
struct Turn {
    /// Where it goes: 0 for left, 1 for right.
    side: usize,
    /// 1 where it passed all edges of the split's feature above, else 0.
    passed: f64,
}

/// A pass of `P` points.
struct Pass<'a, const P: usize> {
    chunk: &'a Chunk,
    /// The points: `t`.
    one: [f64; P],
    /// `1 - t`.
    zero: [f64; P],
    sums: &'a mut [[f64; P]],
    inverse: &'a mut [[f64; P]],
    passes: &'a mut [f64],
    turns: &'a mut [Turn],
}

/// A factor of an edge, or a sum of factors times values: `t·one + (1−t)·zero + rest`.
#[derive(Clone, Copy)]
struct Factor {
    one: f64,
    zero: f64,
    rest: f64,
}

impl Scratch {
    /// Room for chunks of up to this many splits.
    pub fn new(splits: usize) -> Scratch {
        Scratch {
            sums: vec![0.0; splits * 8],
            inverse: vec![0.0; splits * 8],
            passes: vec![0.0; splits],
            turns: vec![Turn::default(); splits],
        }
    }

    /// Adds what the points `first..first + P` of a rule say of a chunk to a row of results.
    pub fn pass<const P: usize, T: Copy + Into<f64>>(
        &mut self,
        (forest, chunk): (&Forest, &Chunk),
        (rule, first): (&Rule, usize),
        row: &[T],
        out: &mut [f64],
    ) {
        let one: [f64; P] = each(|lane| rule.points[first + lane]);
        let zero: [f64; P] = each(|lane| 1.0 - one[lane]);
        let mut pass = Pass {
            chunk,
            one,
            zero,
            sums: self.sums.as_chunks_mut::<P>().0,
            inverse: self.inverse.as_chunks_mut::<P>().0,
            passes: &mut self.passes,
            turns: &mut self.turns,
        };
        pass.sums[..chunk.roots].fill(each(|lane| rule.weights[first + lane]));
        for run in &chunk.runs {
            match (run.kind.splits, run.kind.before) {
                ([true, true], false) => pass.down::<true, true, false, T>(run, forest, row),
                ([true, false], false) => pass.down::<true, false, false, T>(run, forest, row),
                ([false, true], false) => pass.down::<false, true, false, T>(run, forest, row),
                ([false, false], false) => pass.down::<false, false, false, T>(run, forest, row),
                ([true, true], true) => pass.down::<true, true, true, T>(run, forest, row),
                ([true, false], true) => pass.down::<true, false, true, T>(run, forest, row),
                ([false, true], true) => pass.down::<false, true, true, T>(run, forest, row),
                ([false, false], true) => pass.down::<false, false, true, T>(run, forest, row),
            }
        }
        for run in chunk.runs.iter().rev() {
            let Kind { splits, before } = run.kind;
            match (splits, before) {
                ([true, true], false) => pass.up::<true, true, false>(run, out),
                ([true, false], false) => pass.up::<true, false, false>(run, out),
                ([false, true], false) => pass.up::<false, true, false>(run, out),
                ([false, false], false) => pass.up::<false, false, false>(run, out),
                ([true, true], true) => pass.up::<true, true, true>(run, out),
                ([true, false], true) => pass.up::<true, false, true>(run, out),
                ([false, true], true) => pass.up::<false, true, true>(run, out),
                ([false, false], true) => pass.up::<false, false, true>(run, out),
            }
        }
    }
}

impl<const P: usize> Pass<'_, P> {
    /// From splits to the splits below them: the product that came here, divided by the factor that
    /// the split's feature had until here, stays; the children get it with their own factors.
    #[inline(always)]
    fn down<const LEFT: bool, const RIGHT: bool, const BEFORE: bool, T: Copy + Into<f64>>(
        &mut self,
        run: &Run,
        forest: &Forest,
        row: &[T],
    ) {
        let chunk = self.chunk;
        let nodes = &chunk.nodes[run.start..run.end];
        let asked = &chunk.asked[run.start..run.end];
        for (offset, (node, asked)) in nodes.iter().zip(asked).enumerate() {
            let place = run.start + offset;
            let left = asked.goes_left(forest, row[node.feature as usize].into());
            let mut turn = Turn {
                side: usize::from(!left),
                passed: 1.0,
            };
            let mut product = self.sums[place];
            if BEFORE {
                turn.passed = self.passes[node.before as usize];
                let (passed, share) = (turn.passed, 1.0 - node.gain);
                let divide: [f64; P] = each(|lane| {
                    passed / (self.one[lane] + self.zero[lane] * share) + (1.0 - passed)
                });
                product = each(|lane| product[lane] * divide[lane]);
                self.inverse[place] = divide;
                self.sums[place] = product;
            }
            self.turns[place] = turn;
            for (side, is_split) in [LEFT, RIGHT].into_iter().enumerate() {
                if is_split {
                    let child = node.child[side] as usize;
                    let factor = self.expand::<BEFORE>(Factor::new(node, turn, side));
                    self.sums[child] = each(|lane| product[lane] * factor[lane]);
                    self.passes[child] = turn.hot(side);
                }
            }
        }
    }

    /// From the splits below to splits: their leaves are added up, and each split adds to its feature.
    ///
    /// A feature gets `o - z` times all other factors and the value. An edge that takes over the
    /// feature from an edge above adds its own and takes the other's away.
    #[inline(always)]
    fn up<const LEFT: bool, const RIGHT: bool, const BEFORE: bool>(
        &mut self,
        run: &Run,
        out: &mut [f64],
    ) {
        let chunk = self.chunk;
        let nodes = &chunk.nodes[run.start..run.end];
        let columns = &chunk.columns[run.start..run.end];
        for (offset, (node, column)) in nodes.iter().zip(columns).enumerate() {
            let place = run.start + offset;
            let mut turn = self.turns[place];
            if !BEFORE {
                // Known to the compiler, so that no work is done with it.
                turn.passed = 1.0;
            }
            let product = self.sums[place];
            // Leaves first: they are numbers, not vectors.
            let (mut leaves, mut leaves_gain) = (Factor::NONE, 0.0);
            for (side, is_split) in [LEFT, RIGHT].into_iter().enumerate() {
                if !is_split {
                    leaves = leaves.plus(Factor::new(node, turn, side), node.value[side]);
                    leaves_gain += (turn.hot(side) - node.share[side]) * node.value[side];
                }
            }
            let (mut sum, mut gains) = ([0.0; P], [leaves_gain; P]);
            if !LEFT || !RIGHT {
                sum = self.expand::<BEFORE>(leaves);
            }
            for (side, is_split) in [LEFT, RIGHT].into_iter().enumerate() {
                if is_split {
                    let below = self.sums[node.child[side] as usize];
                    let factor = self.expand::<BEFORE>(Factor::new(node, turn, side));
                    let gain = turn.hot(side) - node.share[side];
                    sum = each(|lane| sum[lane] + below[lane] * factor[lane]);
                    gains = each(|lane| gains[lane] + below[lane] * gain);
                }
            }
            if BEFORE {
                let divide = self.inverse[place];
                sum = each(|lane| sum[lane] * divide[lane]);
                gains = each(|lane| gains[lane] - sum[lane] * node.gain);
            }
            self.sums[place] = sum;
            // Where the feature was not passed above, it has its whole part from there.
            out[*column as usize] +=
                turn.passed * total::<P>(each(|lane| product[lane] * gains[lane]));
        }
    }

    #[inline(always)]
    fn expand<const BEFORE: bool>(&self, factor: Factor) -> [f64; P] {
        let Factor { one, zero, rest } = factor;
        if !BEFORE {
            return each(|lane| self.one[lane] * one + self.zero[lane] * zero);
        }
        each(|lane| (self.one[lane] * one + self.zero[lane] * zero) + rest)
    }
}

impl Turn {
    /// 1 where the row passes this edge, and passed all edges of the feature above, else 0.
    #[inline(always)]
    fn hot(self, side: usize) -> f64 {
        if self.side == side { self.passed } else { 0.0 }
    }
}

impl Factor {
    const NONE: Factor = Factor {
        one: 0.0,
        zero: 0.0,
        rest: 0.0,
    };

    /// For a product that was divided by the factor of the same feature's edge above. Where that was
    /// not passed it had all but this edge's share of its own split.
    #[inline(always)]
    fn new(node: &Node, turn: Turn, side: usize) -> Factor {
        Factor {
            one: turn.hot(side),
            zero: turn.passed * node.share[side],
            rest: (1.0 - turn.passed) * node.ratio[side],
        }
    }

    #[inline(always)]
    fn plus(self, other: Factor, value: f64) -> Factor {
        Factor {
            one: self.one + other.one * value,
            zero: self.zero + other.zero * value,
            rest: self.rest + other.rest * value,
        }
    }
}

#[inline(always)]
fn each<const P: usize>(lane: impl FnMut(usize) -> f64) -> [f64; P] {
    std::array::from_fn(lane)
}

/// The sum over all lanes, halves first, as vector registers add.
#[inline(always)]
fn total<const P: usize>(lanes: [f64; P]) -> f64 {
    let mut lanes = lanes;
    let mut width = P / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
        width /= 2;
    }
    lanes[0]
}
