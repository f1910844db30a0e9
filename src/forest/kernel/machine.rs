//! What a kernel is compiled for: one [`Machine`] per instruction set.

use super::bytes::{self, Bytes};
use super::coder::{Coder, GROUP};
#[cfg(target_arch = "x86_64")]
use super::heap::Masks;
use super::heap::{Heap, Steps};
#[cfg(target_arch = "x86_64")]
use super::leaf_sets::LeafSets;
use super::lines::{Line, ROWS};
use super::oblivious::Oblivious;
use super::packing::{Layout, Packing};
#[cfg(target_arch = "x86_64")]
use super::planes::lines_per_plane;
use super::real::Real;
use super::sums::Sum;
use super::walk::Walk;

/// The operations that differ between instruction sets.
///
/// # Safety
/// Every function needs a processor with the machine's instructions, and is meant to be inlined
/// where the compiler may use them.
pub trait Machine {
    type Bytes: Bytes;

    /// How many of sixteen ascending values are at most `value`; `from` points at them.
    unsafe fn reached<T: Real>(from: *const T, value: T) -> usize;

    /// [`Coder::code`], as a function of its own.
    unsafe fn code<T: Real>(coder: &Coder<T>, row: &[T], codes: *mut u8, stride: usize);

    /// Adds every tree's leaf for one coded row: `codes` is valid for reads of all lanes rounded up
    /// to 256, and `sum` knows the packing's leaves.
    unsafe fn one<T: Real, S: Sum>(packing: &Packing<T>, codes: *const u8, sum: &mut S);

    /// Whether [`Machine::add_line`] takes leaves as planes.
    const PLANES: bool;

    /// Adds to each row's sum the leaf whose number is in `line`, of `count`. `leaves` points at that
    /// many values, or at their planes.
    unsafe fn add_line<T: Real>(sums: &mut [T; ROWS], leaves: Leaves<T>, count: usize, line: &Line);
}

/// One column of a tree's leaves: `values` where the machine has no use for planes, else `planes`.
#[derive(Clone, Copy, Debug)]
pub struct Leaves<T> {
    pub values: *const T,
    pub planes: *const Line,
}

/// Plain loops; compilers make vector instructions of them.
pub struct Loops;

/// AVX2, BMI1, BMI2.
#[cfg(target_arch = "x86_64")]
pub struct Avx2;

/// AVX-512 F, BW, DQ, VL, VBMI.
#[cfg(target_arch = "x86_64")]
pub struct Avx512;

impl Machine for Loops {
    type Bytes = bytes::Loops;

    const PLANES: bool = false;

    #[inline(always)]
    unsafe fn reached<T: Real>(from: *const T, value: T) -> usize {
        // SAFETY: the caller's.
        unsafe { reached_by_loop(from, value) }
    }

    #[inline(always)]
    unsafe fn code<T: Real>(coder: &Coder<T>, row: &[T], codes: *mut u8, stride: usize) {
        // SAFETY: the caller's.
        unsafe { coder.code::<Loops>(row, codes, stride) }
    }

    #[inline(always)]
    unsafe fn one<T: Real, S: Sum>(packing: &Packing<T>, codes: *const u8, sum: &mut S) {
        // SAFETY: the caller's.
        unsafe { one_by_steps(packing, codes, sum) }
    }

    #[inline(always)]
    unsafe fn add_line<T: Real>(
        sums: &mut [T; ROWS],
        leaves: Leaves<T>,
        _count: usize,
        line: &Line,
    ) {
        // SAFETY: the caller's.
        unsafe { add_by_loop(sums, leaves.values, line) }
    }
}

#[cfg(target_arch = "x86_64")]
impl Machine for Avx2 {
    type Bytes = bytes::Avx2;

    const PLANES: bool = false;

    #[inline(always)]
    unsafe fn reached<T: Real>(from: *const T, value: T) -> usize {
        // SAFETY: the caller's.
        unsafe { T::reached_avx2(from, value) }
    }

    #[inline(always)]
    unsafe fn code<T: Real>(coder: &Coder<T>, row: &[T], codes: *mut u8, stride: usize) {
        // SAFETY: the caller's.
        unsafe { code_avx2(coder, row, codes, stride) }
    }

    #[inline(always)]
    unsafe fn one<T: Real, S: Sum>(packing: &Packing<T>, codes: *const u8, sum: &mut S) {
        // SAFETY: the caller's.
        unsafe { one_by_steps(packing, codes, sum) }
    }

    #[inline(always)]
    unsafe fn add_line<T: Real>(
        sums: &mut [T; ROWS],
        leaves: Leaves<T>,
        _count: usize,
        line: &Line,
    ) {
        // SAFETY: the caller's.
        unsafe { add_by_loop(sums, leaves.values, line) }
    }
}

#[cfg(target_arch = "x86_64")]
impl Machine for Avx512 {
    type Bytes = bytes::Avx512;

    const PLANES: bool = true;

    #[inline(always)]
    unsafe fn reached<T: Real>(from: *const T, value: T) -> usize {
        // SAFETY: the caller's.
        unsafe { T::reached_avx512(from, value) }
    }

    #[inline(always)]
    unsafe fn code<T: Real>(coder: &Coder<T>, row: &[T], codes: *mut u8, stride: usize) {
        // SAFETY: the caller's.
        unsafe { code_avx512(coder, row, codes, stride) }
    }

    #[inline(always)]
    unsafe fn one<T: Real, S: Sum>(packing: &Packing<T>, codes: *const u8, sum: &mut S) {
        // SAFETY: the caller's. As few registers as the lanes need.
        unsafe {
            match packing.lanes {
                0..=64 => one_by_masks::<1, T, S>(packing, codes, sum),
                65..=128 => one_by_masks::<2, T, S>(packing, codes, sum),
                _ => one_by_masks::<4, T, S>(packing, codes, sum),
            }
        }
    }

    #[inline(always)]
    unsafe fn add_line<T: Real>(
        sums: &mut [T; ROWS],
        leaves: Leaves<T>,
        count: usize,
        line: &Line,
    ) {
        // SAFETY: the caller's.
        unsafe { T::add_planes_avx512(sums, leaves.planes, lines_per_plane(count), line) }
    }
}

#[inline(always)]
unsafe fn reached_by_loop<T: Real>(from: *const T, value: T) -> usize {
    let mut count = 0_u32;
    for index in 0..GROUP {
        // SAFETY: a group has 16 values.
        count += u32::from(unsafe { *from.add(index) } <= value);
    }
    count as usize
}

#[inline(always)]
unsafe fn add_by_loop<T: Real>(sums: &mut [T; ROWS], leaves: *const T, line: &Line) {
    for (sum, leaf) in sums.iter_mut().zip(line.0) {
        // SAFETY: the caller's.
        *sum = sum.plus(unsafe { *leaves.add(usize::from(leaf)) });
    }
}

/// Each layout's loop is a function of its own: in one big function the compiler loads what all of
/// them need before any begins, which costs a tenth of a small model's time.
#[inline(always)]
unsafe fn one_by_steps<T: Real, S: Sum>(packing: &Packing<T>, codes: *const u8, sum: &mut S) {
    // SAFETY: the caller's.
    unsafe {
        match &packing.layout {
            Layout::Heap(heap) => heap_by_steps(heap, codes, sum),
            Layout::Oblivious(trees) => oblivious_by_steps(trees, codes, sum),
            Layout::Walk(walk) => walk_by_steps(walk, codes, sum),
            #[cfg(target_arch = "x86_64")]
            Layout::LeafSets(_) => debug_assert!(false, "AVX-512 only"),
            Layout::Lines(_) => debug_assert!(false, "not for one row"),
        }
    }
}

#[inline(never)]
unsafe fn heap_by_steps<S: Sum>(heap: &Heap, codes: *const u8, sum: &mut S) {
    // SAFETY: the caller's.
    unsafe { heap.one(&Steps { codes }, codes, sum) }
}

#[inline(never)]
unsafe fn oblivious_by_steps<S: Sum>(trees: &Oblivious, codes: *const u8, sum: &mut S) {
    // SAFETY: the caller's.
    unsafe { trees.one(&Steps { codes }, sum) }
}

#[inline(never)]
unsafe fn walk_by_steps<S: Sum>(walk: &Walk, codes: *const u8, sum: &mut S) {
    // SAFETY: the caller's.
    unsafe { walk.one(codes, sum) }
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn one_by_masks<const REGISTERS: usize, T: Real, S: Sum>(
    packing: &Packing<T>,
    codes: *const u8,
    sum: &mut S,
) {
    // SAFETY: the caller's.
    unsafe {
        match &packing.layout {
            Layout::Heap(heap) => heap_by_masks::<REGISTERS, S>(heap, codes, sum),
            Layout::Oblivious(trees) => oblivious_by_masks::<REGISTERS, S>(trees, codes, sum),
            Layout::LeafSets(sets) => leaf_sets_by_masks::<REGISTERS, S>(sets, codes, sum),
            Layout::Walk(walk) => walk_by_steps(walk, codes, sum),
            Layout::Lines(_) => debug_assert!(false, "not for one row"),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,bmi1,bmi2,popcnt")]
#[inline(never)]
unsafe fn heap_by_masks<const REGISTERS: usize, S: Sum>(
    heap: &Heap,
    codes: *const u8,
    sum: &mut S,
) {
    // SAFETY: the caller's.
    unsafe { heap.one(&Masks::<REGISTERS>::load(codes), codes, sum) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,bmi1,bmi2,popcnt")]
#[inline(never)]
unsafe fn oblivious_by_masks<const REGISTERS: usize, S: Sum>(
    trees: &Oblivious,
    codes: *const u8,
    sum: &mut S,
) {
    // SAFETY: the caller's.
    unsafe { trees.one(&Masks::<REGISTERS>::load(codes), sum) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,bmi1,bmi2,popcnt")]
#[inline(never)]
unsafe fn leaf_sets_by_masks<const REGISTERS: usize, S: Sum>(
    sets: &LeafSets,
    codes: *const u8,
    sum: &mut S,
) {
    // SAFETY: the caller's.
    unsafe { sets.one(&Masks::<REGISTERS>::load(codes), sum) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,bmi1,bmi2,popcnt")]
#[inline(never)]
unsafe fn code_avx512<T: Real>(coder: &Coder<T>, row: &[T], codes: *mut u8, stride: usize) {
    // SAFETY: the caller's.
    unsafe { coder.code::<Avx512>(row, codes, stride) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1,bmi2,popcnt")]
#[inline(never)]
unsafe fn code_avx2<T: Real>(coder: &Coder<T>, row: &[T], codes: *mut u8, stride: usize) {
    // SAFETY: the caller's.
    unsafe { coder.code::<Avx2>(row, codes, stride) }
}
