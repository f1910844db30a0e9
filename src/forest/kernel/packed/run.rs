//! Rows through a packed forest, with the best instructions there are.

use super::{Packed, Way};
use crate::forest::kernel::Scores;
use crate::forest::kernel::isa::Isa;
use crate::forest::kernel::lines::ROWS;
#[cfg(target_arch = "x86_64")]
use crate::forest::kernel::machine::{Avx2, Avx512};
use crate::forest::kernel::machine::{Loops, Machine};
use crate::forest::kernel::packing::Layout;
use crate::forest::kernel::real::Real;
use crate::forest::kernel::scratch::Scratch;
use crate::forest::kernel::sums::{Blocks, One, Several, Wide, WideRows, WithLinear};
use crate::forest::kernel::walk::Walk;

impl<T: Real> Packed<T> {
    /// Takes the rows, at most [`ROWS`] of them for a block, with the best instructions there are.
    pub(super) fn run(&self, rows: &[T], scratch: &mut Scratch<T>, scores: &mut Scores, way: Way) {
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
            planes: &self.block.planes,
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
}
