//! The two precisions that a forest computes in.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;
use std::cell::RefCell;
use std::fmt;

use super::lines::{Line, ROWS};
#[cfg(target_arch = "x86_64")]
use super::planes;
use super::scratch::Scratch;

/// A 32-bit or 64-bit float: row values, thresholds, leaves and sums of a packed forest.
pub trait Real: Copy + PartialOrd + Into<f64> + Default + Send + Sync + fmt::Debug {
    /// The nearest value; exact for what a forest of this precision holds.
    fn of(value: f64) -> Self;
    /// The smallest value above this one. Infinity stays.
    fn next_up(self) -> Self;
    fn plus(self, other: Self) -> Self;
    fn divided_by(self, other: Self) -> Self;
    fn negated(self) -> Self;
    /// Calls `work` with this thread's working memory.
    fn with_scratch<R>(work: impl FnOnce(&mut Scratch<Self>) -> R) -> R;

    /// [`Machine::reached`](super::machine::Machine::reached) with AVX2.
    ///
    /// # Safety
    /// `from` points at sixteen values, and the processor has AVX2.
    #[cfg(target_arch = "x86_64")]
    unsafe fn reached_avx2(from: *const Self, value: Self) -> usize;

    /// How many of sixteen ascending values are at most `value`.
    ///
    /// # Safety
    /// `from` points at sixteen values, and the processor has AVX-512 F.
    #[cfg(target_arch = "x86_64")]
    unsafe fn reached_avx512(from: *const Self, value: Self) -> usize;

    /// Adds to each row's sum the leaf whose number is in `line`. `planes` points at the tree's
    /// [`Planes`](super::planes::Planes), `lines` of them per plane.
    ///
    /// # Safety
    /// The planes have the leaves, and the processor has AVX-512 F, BW and VBMI.
    #[cfg(target_arch = "x86_64")]
    unsafe fn add_planes_avx512(
        sums: &mut [Self; ROWS],
        planes: *const Line,
        lines: usize,
        line: &Line,
    );

    /// The bytes of the number, the lowest first, and zeros.
    fn bytes(self) -> [u8; 8];
}

impl Real for f32 {
    #[inline(always)]
    fn of(value: f64) -> f32 {
        value as f32
    }

    fn next_up(self) -> f32 {
        f32::next_up(self)
    }

    #[inline(always)]
    fn plus(self, other: f32) -> f32 {
        self + other
    }

    #[inline(always)]
    fn divided_by(self, other: f32) -> f32 {
        self / other
    }

    #[inline(always)]
    fn negated(self) -> f32 {
        -self
    }

    #[inline(always)]
    fn with_scratch<R>(work: impl FnOnce(&mut Scratch<f32>) -> R) -> R {
        thread_local! {
            static SCRATCH: RefCell<Scratch<f32>> = const { RefCell::new(Scratch::new()) };
        }
        SCRATCH.with_borrow_mut(work)
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn reached_avx2(from: *const f32, value: f32) -> usize {
        // SAFETY: the caller's.
        unsafe {
            let value = _mm256_set1_ps(value);
            let low = _mm256_cmp_ps::<_CMP_LE_OQ>(_mm256_loadu_ps(from), value);
            let high = _mm256_cmp_ps::<_CMP_LE_OQ>(_mm256_loadu_ps(from.add(8)), value);
            let mask = _mm256_movemask_ps(low) | _mm256_movemask_ps(high) << 8;
            mask.count_ones() as usize
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn reached_avx512(from: *const f32, value: f32) -> usize {
        // SAFETY: the caller's.
        let mask = unsafe {
            _mm512_cmp_ps_mask::<_CMP_LE_OQ>(_mm512_loadu_ps(from), _mm512_set1_ps(value))
        };
        u32::from(mask).count_ones() as usize
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn add_planes_avx512(
        sums: &mut [f32; ROWS],
        planes: *const Line,
        lines: usize,
        line: &Line,
    ) {
        // SAFETY: the caller's. Interleaving works within 16 bytes, so rows are put in the order
        // that comes out straight.
        unsafe {
            let numbers = planes::ordered(line, &planes::ORDER_32);
            let byte = |plane: usize| planes::look_up(planes.add(plane * lines), lines, numbers);
            let low = planes::interleave_8(byte(0), byte(1));
            let high = planes::interleave_8(byte(2), byte(3));
            for (half, (low, high)) in low.into_iter().zip(high).enumerate() {
                for (part, values) in planes::interleave_16(low, high).into_iter().enumerate() {
                    let sum = sums.as_mut_ptr().add((half * 2 + part) * 16);
                    let values = _mm512_castsi512_ps(values);
                    _mm512_storeu_ps(sum, _mm512_add_ps(_mm512_loadu_ps(sum), values));
                }
            }
        }
    }

    fn bytes(self) -> [u8; 8] {
        let [a, b, c, d] = self.to_le_bytes();
        [a, b, c, d, 0, 0, 0, 0]
    }
}

impl Real for f64 {
    #[inline(always)]
    fn of(value: f64) -> f64 {
        value
    }

    fn next_up(self) -> f64 {
        f64::next_up(self)
    }

    #[inline(always)]
    fn plus(self, other: f64) -> f64 {
        self + other
    }

    #[inline(always)]
    fn divided_by(self, other: f64) -> f64 {
        self / other
    }

    #[inline(always)]
    fn negated(self) -> f64 {
        -self
    }

    #[inline(always)]
    fn with_scratch<R>(work: impl FnOnce(&mut Scratch<f64>) -> R) -> R {
        thread_local! {
            static SCRATCH: RefCell<Scratch<f64>> = const { RefCell::new(Scratch::new()) };
        }
        SCRATCH.with_borrow_mut(work)
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn reached_avx2(from: *const f64, value: f64) -> usize {
        // SAFETY: the caller's.
        unsafe {
            let value = _mm256_set1_pd(value);
            let mut mask = 0;
            for part in 0..4 {
                let four = _mm256_loadu_pd(from.add(4 * part));
                let four = _mm256_cmp_pd::<_CMP_LE_OQ>(four, value);
                mask |= _mm256_movemask_pd(four) << (4 * part);
            }
            mask.count_ones() as usize
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn reached_avx512(from: *const f64, value: f64) -> usize {
        // SAFETY: the caller's.
        let (low, high) = unsafe {
            let value = _mm512_set1_pd(value);
            (
                _mm512_cmp_pd_mask::<_CMP_LE_OQ>(_mm512_loadu_pd(from), value),
                _mm512_cmp_pd_mask::<_CMP_LE_OQ>(_mm512_loadu_pd(from.add(8)), value),
            )
        };
        (u32::from(low) | u32::from(high) << 8).count_ones() as usize
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn add_planes_avx512(
        sums: &mut [f64; ROWS],
        planes: *const Line,
        lines: usize,
        line: &Line,
    ) {
        // SAFETY: the caller's. As for 32 bits, with one more step.
        unsafe {
            let numbers = planes::ordered(line, &planes::ORDER_64);
            let byte = |plane: usize| planes::look_up(planes.add(plane * lines), lines, numbers);
            let pairs = [
                planes::interleave_8(byte(0), byte(1)),
                planes::interleave_8(byte(2), byte(3)),
                planes::interleave_8(byte(4), byte(5)),
                planes::interleave_8(byte(6), byte(7)),
            ];
            let [a, b, c, d] = pairs;
            for (half, (((a, b), c), d)) in a.into_iter().zip(b).zip(c).zip(d).enumerate() {
                let low = planes::interleave_16(a, b);
                let high = planes::interleave_16(c, d);
                for (quarter, (low, high)) in low.into_iter().zip(high).enumerate() {
                    for (part, values) in planes::interleave_32(low, high).into_iter().enumerate() {
                        let sum = sums.as_mut_ptr().add((half * 4 + quarter * 2 + part) * 8);
                        let values = _mm512_castsi512_pd(values);
                        _mm512_storeu_pd(sum, _mm512_add_pd(_mm512_loadu_pd(sum), values));
                    }
                }
            }
        }
    }

    fn bytes(self) -> [u8; 8] {
        self.to_le_bytes()
    }
}
