//! The two precisions that a forest computes in.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;
use std::cell::RefCell;
use std::fmt;

use super::lines::{Line, ROWS};
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

    /// Adds `leaves[line[row]]` to `sums[row]`, for every row.
    ///
    /// # Safety
    /// `leaves` points at `count` leaves and [`PADDING`](super::sums::PADDING) more values, `line`
    /// holds numbers below `count`, and the processor has AVX-512 F, BW and VL.
    #[cfg(target_arch = "x86_64")]
    unsafe fn add_line_avx512(
        sums: &mut [Self; ROWS],
        leaves: *const Self,
        count: usize,
        line: &Line,
    );
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
    unsafe fn add_line_avx512(
        sums: &mut [f32; ROWS],
        leaves: *const f32,
        count: usize,
        line: &Line,
    ) {
        // SAFETY: the caller's. Up to 64 leaves are looked up in four registers.
        unsafe {
            let table: [__m512; 4] =
                std::array::from_fn(|part| _mm512_loadu_ps(leaves.add(part * 16)));
            for part in 0..ROWS / 16 {
                let numbers = _mm_load_si128(line.0.as_ptr().add(part * 16).cast());
                let numbers = _mm512_cvtepu8_epi32(numbers);
                let values = if count <= 64 {
                    let low = _mm512_permutex2var_ps(table[0], numbers, table[1]);
                    let high = _mm512_permutex2var_ps(table[2], numbers, table[3]);
                    let is_high = _mm512_test_epi32_mask(numbers, _mm512_set1_epi32(32));
                    _mm512_mask_blend_ps(is_high, low, high)
                } else {
                    _mm512_i32gather_ps::<4>(numbers, leaves)
                };
                let sum = sums.as_mut_ptr().add(part * 16);
                _mm512_storeu_ps(sum, _mm512_add_ps(_mm512_loadu_ps(sum), values));
            }
        }
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
    unsafe fn add_line_avx512(
        sums: &mut [f64; ROWS],
        leaves: *const f64,
        count: usize,
        line: &Line,
    ) {
        // SAFETY: the caller's. Up to 64 leaves are looked up in eight registers.
        unsafe {
            let table: [__m512d; 8] =
                std::array::from_fn(|part| _mm512_loadu_pd(leaves.add(part * 8)));
            for part in 0..ROWS / 8 {
                let bytes = _mm_loadl_epi64(line.0.as_ptr().add(part * 8).cast());
                let values = if count <= 64 {
                    let numbers = _mm512_cvtepu8_epi64(bytes);
                    let of = |pair: usize| {
                        _mm512_permutex2var_pd(table[2 * pair], numbers, table[2 * pair + 1])
                    };
                    let bit = |bit: i64| _mm512_test_epi64_mask(numbers, _mm512_set1_epi64(bit));
                    let low = _mm512_mask_blend_pd(bit(16), of(0), of(1));
                    let high = _mm512_mask_blend_pd(bit(16), of(2), of(3));
                    _mm512_mask_blend_pd(bit(32), low, high)
                } else {
                    _mm512_i32gather_pd::<8>(_mm256_cvtepu8_epi32(bytes), leaves)
                };
                let sum = sums.as_mut_ptr().add(part * 8);
                _mm512_storeu_pd(sum, _mm512_add_pd(_mm512_loadu_pd(sum), values));
            }
        }
    }
}
