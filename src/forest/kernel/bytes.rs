//! The two operations on lines that block kernels are made of, for each instruction set.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

use super::lines::{Line, ROWS};

/// Sixty-four bytes in registers.
///
/// # Safety
/// Every function needs a processor with the implementation's instructions, and is meant to be
/// inlined where the compiler may use them.
pub trait Bytes: Copy {
    unsafe fn load(line: &Line) -> Self;
    unsafe fn store(self, line: &mut Line);
    /// `right` in the rows whose code is at least `id`, else `left`.
    unsafe fn choose(codes: &Line, id: u8, left: Self, right: Self) -> Self;
    /// `first + 1` in the rows whose code is at least `id`, else `first`.
    unsafe fn count(codes: &Line, id: u8, first: u8) -> Self;
    /// `self` with `bit` set in the rows whose code is at least `id`.
    unsafe fn set(self, codes: &Line, id: u8, bit: u8) -> Self;
    unsafe fn zero() -> Self;
}

/// Plain loops over 16 bytes, which compilers turn into the instructions that every processor of
/// the target has.
#[derive(Clone, Copy)]
pub struct Loops([[u8; 16]; 4]);

impl Loops {
    #[inline(always)]
    fn each(codes: &Line, value: impl Fn(u8, usize, usize) -> u8) -> Loops {
        let mut result = [[0; 16]; 4];
        for (part, result) in result.iter_mut().enumerate() {
            for (index, result) in result.iter_mut().enumerate() {
                *result = value(codes.0[part * 16 + index], part, index);
            }
        }
        Loops(result)
    }
}

impl Bytes for Loops {
    #[inline(always)]
    unsafe fn load(line: &Line) -> Self {
        Loops::each(line, |byte, _, _| byte)
    }

    #[inline(always)]
    unsafe fn store(self, line: &mut Line) {
        for (part, bytes) in self.0.iter().enumerate() {
            line.0[part * 16..][..16].copy_from_slice(bytes);
        }
    }

    #[inline(always)]
    unsafe fn choose(codes: &Line, id: u8, left: Self, right: Self) -> Self {
        Loops::each(codes, |code, part, index| {
            let mask = if code >= id { u8::MAX } else { 0 };
            (right.0[part][index] & mask) | (left.0[part][index] & !mask)
        })
    }

    #[inline(always)]
    unsafe fn count(codes: &Line, id: u8, first: u8) -> Self {
        Loops::each(codes, |code, _, _| first + u8::from(code >= id))
    }

    #[inline(always)]
    unsafe fn set(self, codes: &Line, id: u8, bit: u8) -> Self {
        Loops::each(codes, |code, part, index| {
            let mask = if code >= id { u8::MAX } else { 0 };
            self.0[part][index] | (bit & mask)
        })
    }

    #[inline(always)]
    unsafe fn zero() -> Self {
        Loops([[0; 16]; 4])
    }
}

/// AVX2: two registers.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub struct Avx2([__m256i; 2]);

#[cfg(target_arch = "x86_64")]
impl Avx2 {
    /// All ones in the bytes whose code is at least `id`.
    #[inline(always)]
    unsafe fn reached(codes: &Line, id: u8) -> [__m256i; 2] {
        // SAFETY: a line has 64 aligned bytes; the caller has the instructions.
        unsafe {
            let id = _mm256_set1_epi8(id as i8);
            let Avx2(codes) = Avx2::load(codes);
            codes.map(|codes| _mm256_cmpeq_epi8(_mm256_max_epu8(codes, id), codes))
        }
    }
}

#[cfg(target_arch = "x86_64")]
impl Bytes for Avx2 {
    #[inline(always)]
    unsafe fn load(line: &Line) -> Self {
        // SAFETY: a line has 64 aligned bytes; the caller has the instructions.
        unsafe {
            let from: *const __m256i = line.0.as_ptr().cast();
            Avx2([_mm256_load_si256(from), _mm256_load_si256(from.add(1))])
        }
    }

    #[inline(always)]
    unsafe fn store(self, line: &mut Line) {
        // SAFETY: as for `load`.
        unsafe {
            let to: *mut __m256i = line.0.as_mut_ptr().cast();
            _mm256_store_si256(to, self.0[0]);
            _mm256_store_si256(to.add(1), self.0[1]);
        }
    }

    #[inline(always)]
    unsafe fn choose(codes: &Line, id: u8, left: Self, right: Self) -> Self {
        // SAFETY: the caller has the instructions.
        unsafe {
            let [low, high] = Avx2::reached(codes, id);
            Avx2([
                _mm256_blendv_epi8(left.0[0], right.0[0], low),
                _mm256_blendv_epi8(left.0[1], right.0[1], high),
            ])
        }
    }

    #[inline(always)]
    unsafe fn count(codes: &Line, id: u8, first: u8) -> Self {
        // SAFETY: the caller has the instructions. All ones is -1.
        unsafe {
            let first = _mm256_set1_epi8(first as i8);
            Avx2(Avx2::reached(codes, id).map(|mask| _mm256_sub_epi8(first, mask)))
        }
    }

    #[inline(always)]
    unsafe fn set(self, codes: &Line, id: u8, bit: u8) -> Self {
        // SAFETY: the caller has the instructions.
        unsafe {
            let bit = _mm256_set1_epi8(bit as i8);
            let [low, high] = Avx2::reached(codes, id);
            Avx2([
                _mm256_or_si256(self.0[0], _mm256_and_si256(low, bit)),
                _mm256_or_si256(self.0[1], _mm256_and_si256(high, bit)),
            ])
        }
    }

    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: the caller has the instructions.
        unsafe { Avx2([_mm256_setzero_si256(); 2]) }
    }
}

/// AVX-512: one register.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub struct Avx512(__m512i);

#[cfg(target_arch = "x86_64")]
impl Avx512 {
    #[inline(always)]
    unsafe fn reached(codes: &Line, id: u8) -> __mmask64 {
        // SAFETY: a line has 64 aligned bytes; the caller has the instructions.
        unsafe {
            let codes = _mm512_load_si512(codes.0.as_ptr().cast());
            _mm512_cmpge_epu8_mask(codes, _mm512_set1_epi8(id as i8))
        }
    }
}

#[cfg(target_arch = "x86_64")]
impl Bytes for Avx512 {
    #[inline(always)]
    unsafe fn load(line: &Line) -> Self {
        // SAFETY: a line has 64 aligned bytes; the caller has the instructions.
        unsafe { Avx512(_mm512_load_si512(line.0.as_ptr().cast())) }
    }

    #[inline(always)]
    unsafe fn store(self, line: &mut Line) {
        // SAFETY: as for `load`.
        unsafe { _mm512_store_si512(line.0.as_mut_ptr().cast(), self.0) }
    }

    #[inline(always)]
    unsafe fn choose(codes: &Line, id: u8, left: Self, right: Self) -> Self {
        // SAFETY: the caller has the instructions.
        unsafe {
            let mask = Avx512::reached(codes, id);
            Avx512(_mm512_mask_blend_epi8(mask, left.0, right.0))
        }
    }

    #[inline(always)]
    unsafe fn count(codes: &Line, id: u8, first: u8) -> Self {
        // SAFETY: the caller has the instructions.
        unsafe {
            let mask = Avx512::reached(codes, id);
            let first = _mm512_set1_epi8(first as i8);
            Avx512(_mm512_mask_add_epi8(
                first,
                mask,
                first,
                _mm512_set1_epi8(1),
            ))
        }
    }

    #[inline(always)]
    unsafe fn set(self, codes: &Line, id: u8, bit: u8) -> Self {
        // SAFETY: the caller has the instructions.
        unsafe {
            let mask = Avx512::reached(codes, id);
            let with = _mm512_or_si512(self.0, _mm512_set1_epi8(bit as i8));
            Avx512(_mm512_mask_mov_epi8(self.0, mask, with))
        }
    }

    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: the caller has the instructions.
        unsafe { Avx512(_mm512_setzero_si512()) }
    }
}

const _: () = assert!(ROWS == 64);
