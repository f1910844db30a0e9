//! Which layouts serve a forest: those that are fastest here, on rows of its own thresholds.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Packed, Way};
use crate::forest::Forest;
use crate::forest::kernel::coded::Coded;
use crate::forest::kernel::isa::Isa;
use crate::forest::kernel::lines::ROWS;
use crate::forest::kernel::packing::{Kind, Order, Packing};
use crate::forest::kernel::plain::Plain;
use crate::forest::kernel::real::Real;
use crate::forest::kernel::{Measured, Scores};

/// Rows that candidates are measured on, at most, and at least.
const SAMPLE: [usize; 2] = [1024, ROWS];
/// Values of all those rows, above the least.
const SAMPLE_VALUES: usize = 1 << 20;
/// Each candidate is measured this many times, one after the other, so that a disturbance does not
/// hit one alone.
const ROUNDS: usize = 3;
/// Time given to each measurement.
const MEASURE: Duration = Duration::from_micros(250);
/// Lanes from which plain nodes are tried too.
const LANES_MANY: usize = 512;
/// Beyond this, one round is enough: the forest is a slow one.
const MEASURE_MAX: Duration = Duration::from_millis(30);

impl<T: Real> Packed<T> {
    /// Tries every layout that fits, and keeps the fastest for one row and for a block.
    pub(super) fn choose(
        &mut self,
        forest: &Forest,
        coded: &Coded<T>,
        sample: &[T],
        only: Option<Kind>,
    ) {
        let columns = self.leaf_width;
        let pack = |kind, order| Packing::new(kind, forest, coded, (order, columns));
        let (isa, trees) = (self.isa, forest.trees.len());
        let planes = |packing: Packing<T>| match isa {
            Isa::Avx512 => packing.with_planes(columns, trees),
            _ => Some(packing),
        };
        let mut ones = vec![self.one.clone()];
        let mut blocks = vec![self.block.clone()];
        for kind in Kind::ALL {
            if kind == Kind::Walk || only.is_some_and(|only| only != kind) {
                continue;
            }
            let one = self.serves_one_row(kind);
            // Linear leaves need the row, so they are served row by row.
            let block = kind.serves_blocks() && self.linear.is_empty();
            if one && block && columns == 1 {
                let both = pack(kind, Order::ByLeaf).and_then(planes).map(Arc::new);
                ones.extend(both.clone());
                blocks.extend(both);
                continue;
            }
            if one {
                ones.extend(pack(kind, Order::ByLeaf).map(Arc::new));
            }
            if block {
                let block = pack(kind, Order::ByColumn).and_then(planes);
                blocks.extend(block.map(Arc::new));
            }
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
            let blocks = sample.len() / (ROWS * self.coder.features());
            let from = blocks * round / ROUNDS * ROWS * self.coder.features();
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

    /// Whether plain nodes take rows faster, one by one and in blocks: where rows are wide and trees
    /// few, coding all values costs more than looking at some.
    pub(super) fn plain_is_faster(&self, forest: &Forest, sample: &[T]) -> bool {
        if self.coder.lanes() < LANES_MANY {
            return false;
        }
        let Some(plain) = Plain::new(forest) else {
            return false;
        };
        let mut out = vec![0.0; forest.outputs * ROWS];
        let mut best = f64::INFINITY;
        let start = Instant::now();
        for rows in sample.chunks_exact(ROWS * forest.features) {
            let pass = Instant::now();
            plain.raw_scores(forest, rows, &mut Scores::new(&mut out, forest.outputs));
            best = best.min(pass.elapsed().as_nanos() as f64 / ROWS as f64);
            if start.elapsed() >= MEASURE {
                break;
            }
        }
        let fastest = (self.measured.iter())
            .flat_map(|measured| [measured.one_ns, measured.block_row_ns])
            .flatten()
            .fold(f64::INFINITY, f64::min);
        best < fastest
    }

    fn serves_one_row(&self, kind: Kind) -> bool {
        match kind {
            Kind::LeafSets => self.isa == Isa::Avx512,
            Kind::Lines => false,
            Kind::Heap | Kind::Oblivious | Kind::Walk => true,
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

/// Rows to measure on, `[blocks of 64, features]`: every value is a threshold of its feature, or next to
/// one, or missing, so that all ways are taken.
pub(super) fn sample<T: Real>(forest: &Forest, coded: &Coded<T>) -> Vec<T> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as usize
    };
    let [most, least] = SAMPLE;
    let count = (SAMPLE_VALUES / forest.features).clamp(least, most) / ROWS * ROWS;
    let mut rows = vec![T::default(); count * forest.features];
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
