//! A forest packed for serving: its coder, and the layouts that measured fastest for one row and
//! for a block of rows.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::coded::Coded;
use super::coder::Coder;
use super::isa::Isa;
use super::lines::ROWS;
#[cfg(target_arch = "x86_64")]
use super::machine::{Avx2, Avx512};
use super::machine::{Loops, Machine};
use super::packing::{Kind, Layout, Order, Packing};
use super::real::Real;
use super::scratch::Scratch;
use super::sums::{Blocks, One, Several, Wide, WideRows, WithLinear};
use super::walk::Walk;
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

/// Rows that candidates are measured on.
const SAMPLE: usize = 1024;
/// Each candidate is measured this many times, one after the other, so that a disturbance does not
/// hit one alone.
const ROUNDS: usize = 3;
/// Time given to each measurement.
const MEASURE: Duration = Duration::from_micros(250);
/// Beyond this, one round is enough: the forest is a slow one.
const MEASURE_MAX: Duration = Duration::from_millis(30);

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
        let mut coded = Coded::<T>::new(forest)?;
        let sample = sample(forest, &coded);
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
        Ok(packed)
    }

    /// Tries every layout that fits, and keeps the fastest for one row and for a block.
    fn choose(&mut self, forest: &Forest, coded: &Coded<T>, sample: &[T], only: Option<Kind>) {
        let columns = self.leaf_width;
        let pack = |kind, order| Packing::new(kind, forest, coded, (order, columns)).map(Arc::new);
        let mut ones = vec![self.one.clone()];
        let mut blocks = vec![self.block.clone()];
        for kind in Kind::ALL {
            if kind == Kind::Walk || only.is_some_and(|only| only != kind) {
                continue;
            }
            let one = self.serves_one_row(kind).then(|| pack(kind, Order::ByLeaf));
            let one = one.flatten();
            let block = match &one {
                // Linear leaves need the row, so they are served row by row.
                _ if !kind.serves_blocks() || !self.linear.is_empty() => None,
                Some(one) if self.leaf_width == 1 => Some(one.clone()),
                _ => pack(kind, Order::ByColumn),
            };
            ones.extend(one);
            blocks.extend(block);
        }
        let row_by_row = !self.linear.is_empty();
        if only.is_some() {
            // The walk is there only where the kind does not serve.
            self.one = ones.pop().unwrap_or(self.one.clone());
            self.block = blocks.pop().unwrap_or(self.block.clone());
            self.block_from = if row_by_row { usize::MAX } else { 2 };
            return;
        }
        let one_ns = self.fastest(ones, sample, Way::Single);
        if row_by_row {
            self.block_from = usize::MAX;
            self.block = self.one.clone();
            return;
        }
        let block_ns = self.fastest(blocks, sample, Way::Block);
        // A block costs the same for any number of rows, except for walks.
        self.block_from = match self.block.kind() {
            Kind::Walk => 2,
            _ => ((block_ns * ROWS as f64 / one_ns).ceil() as usize).clamp(2, ROWS + 1),
        };
    }

    /// Measures each candidate several times in turn, takes the best, and returns its time.
    fn fastest(&mut self, candidates: Vec<Arc<Packing<T>>>, sample: &[T], way: Way) -> f64 {
        let mut best = vec![f64::INFINITY; candidates.len()];
        let start = Instant::now();
        for round in 0..ROUNDS {
            // Other rows in each round: a processor learns the branches of rows that come again.
            let from = sample.len() / SAMPLE * (SAMPLE / ROUNDS * round / ROWS * ROWS);
            for (candidate, best) in candidates.iter().zip(&mut best) {
                *self.packing(way) = candidate.clone();
                *best = best.min(self.measure(&sample[from..], way));
            }
            if start.elapsed() > MEASURE_MAX {
                break;
            }
        }
        for (candidate, ns) in candidates.iter().zip(&best) {
            self.note(candidate.kind().name(), way, *ns);
        }
        let mut winner = 0;
        for (index, ns) in best.iter().enumerate() {
            if *ns < best[winner] {
                winner = index;
            }
        }
        *self.packing(way) = candidates[winner].clone();
        best[winner]
    }

    /// Keeps what was measured.
    fn note(&mut self, layout: &'static str, way: Way, ns: f64) {
        let known = self.measured.iter().position(|one| one.layout == layout);
        let index = known.unwrap_or(self.measured.len());
        if known.is_none() {
            self.measured.push(Measured {
                layout,
                one_ns: None,
                block_row_ns: None,
            });
        }
        let measured = &mut self.measured[index];
        match way {
            Way::Single => measured.one_ns = Some(ns),
            Way::Block => measured.block_row_ns = Some(ns),
        }
    }

    fn packing(&mut self, way: Way) -> &mut Arc<Packing<T>> {
        match way {
            Way::Single => &mut self.one,
            Way::Block => &mut self.block,
        }
    }

    fn serves_one_row(&self, kind: Kind) -> bool {
        match kind {
            Kind::LeafSets => self.isa == Isa::Avx512,
            Kind::Lines => false,
            Kind::Heap | Kind::Oblivious | Kind::Walk => true,
        }
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

    /// Takes the rows, at most [`ROWS`] of them for a block, with the best instructions there are.
    fn run(&self, rows: &[T], scratch: &mut Scratch<T>, scores: &mut Scores, way: Way) {
        // SAFETY: `isa` is at most what was detected; scratch was fitted by the caller.
        unsafe {
            match (way, self.isa) {
                #[cfg(target_arch = "x86_64")]
                (Way::Single, Isa::Avx512) => self.single_avx512(rows, scratch, scores),
                #[cfg(target_arch = "x86_64")]
                (Way::Single, Isa::Avx2) => self.single_avx2(rows, scratch, scores),
                (Way::Single, _) => self.single::<Loops>(rows, scratch, scores),
                #[cfg(target_arch = "x86_64")]
                (Way::Block, Isa::Avx512) => self.block_avx512(rows, scratch, scores),
                #[cfg(target_arch = "x86_64")]
                (Way::Block, Isa::Avx2) => self.block_avx2(rows, scratch, scores),
                (Way::Block, _) => self.block::<Loops>(rows, scratch, scores),
            }
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(
        enable = "avx2,bmi1,bmi2,popcnt,avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi"
    )]
    unsafe fn single_avx512(&self, rows: &[T], scratch: &mut Scratch<T>, scores: &mut Scores) {
        // SAFETY: the caller's.
        unsafe { self.single::<Avx512>(rows, scratch, scores) }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,bmi1,bmi2,popcnt")]
    unsafe fn single_avx2(&self, rows: &[T], scratch: &mut Scratch<T>, scores: &mut Scores) {
        // SAFETY: the caller's.
        unsafe { self.single::<Avx2>(rows, scratch, scores) }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(
        enable = "avx2,bmi1,bmi2,popcnt,avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi"
    )]
    unsafe fn block_avx512(&self, rows: &[T], scratch: &mut Scratch<T>, scores: &mut Scores) {
        // SAFETY: the caller's.
        unsafe { self.block::<Avx512>(rows, scratch, scores) }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,bmi1,bmi2,popcnt")]
    unsafe fn block_avx2(&self, rows: &[T], scratch: &mut Scratch<T>, scores: &mut Scores) {
        // SAFETY: the caller's.
        unsafe { self.block::<Avx2>(rows, scratch, scores) }
    }

    /// # Safety
    /// The processor has the machine's instructions, and scratch was fitted.
    #[inline(always)]
    unsafe fn block<M: Machine>(&self, rows: &[T], scratch: &mut Scratch<T>, scores: &mut Scores) {
        // SAFETY: the caller's.
        unsafe {
            match &self.block.layout {
                Layout::Walk(walk) => self.walk_rows::<M>(walk, rows, scratch, scores),
                _ => self.block_of_lines::<M>(rows, scratch, scores),
            }
        }
    }

    /// # Safety
    /// As for [`Packed::block`].
    #[inline(always)]
    unsafe fn single<M: Machine>(&self, rows: &[T], scratch: &mut Scratch<T>, scores: &mut Scores) {
        let leaves = &self.one.leaves;
        let mut rest = rows;
        let mut index = 0;
        // Not `chunks_exact`, which divides: that is a tenth of what a small model takes for a row.
        while let Some((row, after)) = rest.split_at_checked(self.coder.features()) {
            let scores = scores.row(index);
            rest = after;
            index += 1;
            let codes = scratch.codes.as_mut_ptr().cast::<u8>();
            // SAFETY: scratch has room for all lanes and the zero lane, which comes last.
            unsafe {
                M::code(&self.coder, row, codes, 1);
                *codes.add(self.coder.lanes()) = 0;
                if self.outputs == 1 && self.leaf_width == 1 && self.linear.is_empty() {
                    let sum = self.start[0];
                    let mut sum = One { sum, leaves };
                    M::one(&self.one, codes, &mut sum);
                    self.end.write(&[sum.sum], scores);
                    continue;
                }
            }
            let sums = &mut scratch.row_sums[..self.outputs];
            sums.copy_from_slice(&self.start);
            let output_of = &self.output_of;
            // SAFETY: as above; the packing's leaves have this width.
            unsafe {
                if !self.linear.is_empty() {
                    let mut sum = WithLinear {
                        sums,
                        leaves,
                        output_of,
                        own: &self.one.own,
                        linear: &self.linear,
                        row,
                    };
                    M::one(&self.one, codes, &mut sum);
                } else if self.leaf_width == 1 {
                    let mut sum = Several {
                        sums,
                        leaves,
                        output_of,
                    };
                    M::one(&self.one, codes, &mut sum);
                } else {
                    let mut sum = Wide {
                        sums,
                        leaves,
                        output_of,
                        leaf_width: self.leaf_width,
                    };
                    M::one(&self.one, codes, &mut sum);
                }
            }
            self.end.write(&scratch.row_sums[..self.outputs], scores);
        }
    }

    /// # Safety
    /// As for [`Packed::block`].
    #[inline(always)]
    unsafe fn walk_rows<M: Machine>(
        &self,
        walk: &Walk,
        rows: &[T],
        scratch: &mut Scratch<T>,
        scores: &mut Scores,
    ) {
        let stride = Scratch::<T>::stride(self.coder.lanes() + 1);
        let codes = scratch.codes.as_mut_ptr().cast::<u8>();
        let features = self.coder.features();
        let sums = &mut scratch.row_sums[..rows.len() / features * self.outputs];
        for (index, row) in rows.chunks_exact(features).enumerate() {
            // SAFETY: scratch has room for `ROWS` rows of this stride.
            unsafe {
                let codes = codes.add(index * stride);
                M::code(&self.coder, row, codes, 1);
                *codes.add(self.coder.lanes()) = 0;
            }
            sums[index * self.outputs..][..self.outputs].copy_from_slice(&self.start);
        }
        let mut of_rows = WideRows {
            sums,
            outputs: self.outputs,
            leaves: &self.block.leaves,
            output_of: &self.output_of,
            leaf_width: self.leaf_width,
        };
        // SAFETY: as above; the packing's leaves have this width.
        unsafe { walk.rows(codes, stride, rows.len() / features, &mut of_rows) }
        for (index, sums) in sums.chunks_exact(self.outputs).enumerate() {
            self.end.write(sums, scores.row(index));
        }
    }

    /// # Safety
    /// As for [`Packed::block`].
    #[inline(always)]
    unsafe fn block_of_lines<M: Machine>(
        &self,
        rows: &[T],
        scratch: &mut Scratch<T>,
        scores: &mut Scores,
    ) {
        let codes = scratch.codes.as_mut_ptr().cast::<u8>();
        for (index, row) in rows.chunks_exact(self.coder.features()).enumerate() {
            // SAFETY: scratch has a line for every lane; `index` is below `ROWS`.
            unsafe { M::code(&self.coder, row, codes.add(index), ROWS) }
        }
        scratch.codes[self.coder.lanes()].0.fill(0);
        for (sums, start) in scratch.sums.iter_mut().zip(&self.start) {
            sums.fill(*start);
        }
        let mut sums = Blocks {
            sums: &mut scratch.sums,
            leaves: &self.block.leaves,
            output_of: &self.output_of,
            leaf_width: self.leaf_width,
        };
        // SAFETY: as above. Rows beyond `rows` have some codes; nobody reads their sums.
        unsafe {
            match &self.block.layout {
                Layout::Heap(heap) => heap.block::<M, T>(&scratch.codes, &mut sums),
                Layout::Oblivious(trees) => trees.block::<M, T>(&scratch.codes, &mut sums),
                Layout::Lines(lines) => {
                    lines.block::<M, T>(&scratch.codes, &mut scratch.work, &mut sums);
                }
                _ => debug_assert!(false, "not for blocks"),
            }
        }
        for index in 0..rows.len() / self.coder.features() {
            for (output, sums) in scratch.sums[..self.outputs].iter().enumerate() {
                scratch.row_sums[output] = sums[index];
            }
            self.end
                .write(&scratch.row_sums[..self.outputs], scores.row(index));
        }
    }

    /// The fastest block of the sample, in nanoseconds per row.
    fn measure(&self, sample: &[T], way: Way) -> f64 {
        let features = self.coder.features();
        // A mirrored output is written behind the others.
        let stride = self.outputs + 1;
        let mut out = vec![0.0; stride * ROWS];
        T::with_scratch(|scratch| {
            scratch.fit(self.lines, self.outputs);
            let start = Instant::now();
            let mut best = f64::INFINITY;
            for rows in sample.chunks_exact(ROWS * features) {
                let pass = Instant::now();
                self.run(rows, scratch, &mut Scores::new(&mut out, stride), way);
                best = best.min(pass.elapsed().as_nanos() as f64 / ROWS as f64);
                if start.elapsed() >= MEASURE {
                    break;
                }
            }
            best.max(1.0)
        })
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

/// Rows to measure on, `[SAMPLE, features]`: every value is a threshold of its feature, or next to
/// one, or missing, so that all ways are taken.
fn sample<T: Real>(forest: &Forest, coded: &Coded<T>) -> Vec<T> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as usize
    };
    let mut rows = vec![T::default(); SAMPLE * forest.features];
    for row in rows.chunks_exact_mut(forest.features) {
        for number in &coded.numbers {
            row[number.feature] = match next() % 16 {
                0 => T::of(f64::NAN),
                1 => T::of(f64::NEG_INFINITY),
                _ => number.thresholds[next() % number.thresholds.len()],
            };
        }
        for category in &coded.categories {
            row[category.feature] = T::of((next() % (category.codes() + 1)) as f64);
        }
    }
    rows
}
