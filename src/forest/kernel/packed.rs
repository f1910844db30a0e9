//! A forest packed for serving: its coder, and the layouts that measured fastest for one row and
//! for a block of rows. [`choose`] measures, [`run`] takes rows.

mod choose;
mod run;

use std::sync::Arc;

use super::coded::Coded;
use super::coder::Coder;
use super::isa::Isa;
use super::lines::ROWS;
use super::packing::{Kind, Order, Packing};
use super::real::Real;
use super::scratch::Scratch;
use super::{Layouts, Measured, Scores};
use crate::forest::linear::LinearLeaves;
use crate::forest::{Base, Combine, Forest};

/// A packed forest.
#[derive(Debug)]
pub struct Packed<T> {
    coder: Coder<T>,
    one: Arc<Packing<T>>,
    /// May be the same as `one`.
    block: Arc<Packing<T>>,
    /// Rows from which a block is faster than one row after the other.
    block_from: usize,
    isa: Isa,
    /// Of the working memory.
    lines: usize,
    outputs: usize,
    leaf_width: usize,
    output_of: Vec<u32>,
    /// One per tree where trees have linear leaves; else empty.
    linear: Vec<LinearLeaves>,
    /// What each output's sum starts from.
    start: Vec<T>,
    end: End<T>,
    measured: Vec<Measured>,
}

/// Rows with more features are read where a split looks: most of their values do not matter.
const FEATURES_MAX: usize = 1 << 15;

/// What follows the sums.
#[derive(Debug)]
struct End<T> {
    /// The sums are divided by it.
    count: Option<T>,
    /// Added after that.
    base: Option<Vec<T>>,
    /// The second output is the first one negated, before its base is added.
    mirrored: bool,
}

/// How rows are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// One after the other.
    Single,
    /// Up to [`ROWS`] together.
    Block,
}

impl<T: Real> Packed<T> {
    /// Packs a forest and measures its layouts on this processor, with no more than the
    /// instructions of `isa`. Takes some milliseconds more than the packing.
    ///
    /// # Errors
    /// Why codes cannot represent the forest.
    pub fn new(forest: &Forest, isa: Isa, only: Option<Kind>) -> Result<Packed<T>, &'static str> {
        let Some(leaf_width) = common_leaf_width(forest) else {
            return Err("leaves of different widths");
        };
        if forest.features > FEATURES_MAX {
            return Err("more than 32768 features");
        }
        let mut coded = Coded::<T>::new(forest)?;
        let sample = choose::sample(forest, &coded);
        let coder = Coder::new(forest.features, &mut coded);
        let mirrored = is_mirrored(forest);
        let (outputs, leaf_width) = if mirrored {
            (1, 1)
        } else {
            (forest.outputs, leaf_width)
        };
        let walk = Packing::new(Kind::Walk, forest, &coded, (Order::ByLeaf, leaf_width));
        let walk = Arc::new(walk.ok_or("2^32 nodes or more")?);
        let mut packed = Packed {
            coder,
            one: walk.clone(),
            block: walk,
            block_from: 1,
            isa: isa.min(Isa::detect()),
            lines: Scratch::<T>::lines(coded.lanes + 1),
            outputs,
            leaf_width,
            linear: forest.linear.leaves.clone(),
            output_of: forest.trees.iter().map(|tree| tree.output as u32).collect(),
            start: (super::start(forest).into_iter().take(outputs))
                .map(T::of)
                .collect(),
            end: End {
                count: match forest.combine {
                    Combine::Average(count) => Some(T::of(count)),
                    _ => None,
                },
                base: match forest.base_order {
                    Base::Last => Some(forest.base.iter().map(|base| T::of(*base)).collect()),
                    Base::First => None,
                },
                mirrored,
            },
            measured: Vec::new(),
        };
        packed.choose(forest, &coded, &sample, only);
        if only.is_none() && packed.plain_is_faster(forest, &sample) {
            return Err("measured faster than codes");
        }
        Ok(packed)
    }

    /// Which layouts serve.
    pub fn layouts(&self) -> Layouts {
        Layouts {
            one: self.one.kind().name(),
            block: self.block.kind().name(),
            block_from: self.block_from,
            isa: Some(self.isa),
            lanes: self.coder.lanes(),
            bytes_per_split: 0.0,
            measured: self.measured.clone(),
            without_codes: None,
        }
    }

    /// Bytes held on the heap.
    pub fn memory_bytes(&self) -> usize {
        let block = if Arc::ptr_eq(&self.one, &self.block) {
            0
        } else {
            self.block.memory_bytes()
        };
        self.coder.memory_bytes()
            + self.one.memory_bytes()
            + block
            + size_of_val(self.output_of.as_slice())
    }

    /// Writes the raw scores of rows. `rows` is `[n, features]`.
    pub fn raw_scores(&self, rows: &[T], scores: &mut Scores) {
        let features = self.coder.features();
        T::with_scratch(|scratch| {
            scratch.fit(self.lines, self.outputs);
            let mut rest = rows;
            let mut done = 0;
            while rest.len() >= self.block_from.saturating_mul(features) {
                let (block, after) = rest.split_at(rest.len().min(ROWS * features));
                self.run(block, scratch, &mut scores.skip(done), Way::Block);
                rest = after;
                done += ROWS;
            }
            self.run(rest, scratch, &mut scores.skip(done), Way::Single);
        });
    }
}

impl<T: Real> End<T> {
    /// Writes a row's sums as raw scores.
    #[inline(always)]
    fn write(&self, sums: &[T], scores: &mut [f64]) {
        for (output, (sum, score)) in sums.iter().zip(scores.iter_mut()).enumerate() {
            *score = self.of(*sum, output).into();
        }
        if self.mirrored {
            scores[1] = self.of(sums[0].negated(), 1).into();
        }
    }

    #[inline(always)]
    fn of(&self, mut sum: T, output: usize) -> T {
        if let Some(count) = self.count {
            sum = sum.divided_by(count);
        }
        if let Some(base) = &self.base {
            sum = sum.plus(base[output]);
        }
        sum
    }
}

/// Whether there are two outputs and every leaf's second value is its first negated, as CatBoost
/// exports binary classifiers. Rounding is symmetric, so the sums are each other's negative too. But
/// for zeros, which may be +0 in both; adding a base that is not -0 makes them one.
fn is_mirrored(forest: &Forest) -> bool {
    let negated = |pair: &[f64]| pair[1].to_bits() == (-pair[0]).to_bits();
    forest.outputs == 2
        && forest.base_order == Base::Last
        && forest.base[1].to_bits() != (-0.0_f64).to_bits()
        && forest.linear.is_empty()
        && !forest.trees.is_empty()
        && forest
            .trees
            .iter()
            .all(|tree| tree.leaf_width == 2 && tree.leaves.chunks_exact(2).all(negated))
}

/// The values per leaf that all trees have. 1 without trees.
fn common_leaf_width(forest: &Forest) -> Option<usize> {
    let width = forest.trees.first().map_or(1, |tree| tree.leaf_width);
    let same = forest.trees.iter().all(|tree| tree.leaf_width == width);
    same.then_some(width)
}
