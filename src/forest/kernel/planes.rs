//! Leaf values byte by byte, for looking up 64 rows' leaves with permutations of bytes (AVX-512).
//!
//! Plane `k` of a tree has byte `k` of each leaf's value, as many lines as its leaf numbers need: 1 up
//! to 64 leaves, 2 up to 128, 4 up to 256. A look-up gives one byte for 64 rows; four or eight of
//! them, interleaved, are the values.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

use super::lines::{Line, ROWS};
use super::real::Real;

/// The planes of all trees.
#[derive(Debug, Default)]
pub struct Planes {
    lines: Vec<Line>,
    /// Each tree's first line.
    first_of: Vec<u32>,
}

impl Planes {
    /// The planes of leaves. `counts` says how many leaves each tree has, at most 256; `leaves` is
    /// `[columns, count]` for each tree. `None` beyond 2^32 lines.
    pub fn new<T: Real>(leaves: &[T], counts: &[usize], columns: usize) -> Option<Planes> {
        let mut planes = Planes::default();
        let mut rest = leaves;
        for count in counts {
            planes
                .first_of
                .push(u32::try_from(planes.lines.len()).ok()?);
            for _ in 0..columns {
                let (column, after) = rest.split_at_checked(*count)?;
                planes.push(column);
                rest = after;
            }
        }
        Some(planes)
    }

    fn push<T: Real>(&mut self, column: &[T]) {
        for plane in 0..size_of::<T>() {
            let first = self.lines.len();
            let lines = lines_per_plane(column.len());
            self.lines.resize(first + lines, Line([0; ROWS]));
            for (leaf, value) in column.iter().enumerate() {
                self.lines[first + leaf / ROWS].0[leaf % ROWS] = value.bytes()[plane];
            }
        }
    }

    /// The planes of a tree.
    ///
    /// # Safety
    /// There is such a tree.
    #[inline(always)]
    pub unsafe fn of(&self, tree: usize) -> *const Line {
        // SAFETY: the caller's.
        unsafe {
            self.lines
                .as_ptr()
                .add(*self.first_of.get_unchecked(tree) as usize)
        }
    }

    /// Bytes held on the heap.
    pub fn memory_bytes(&self) -> usize {
        size_of_val(self.lines.as_slice()) + size_of_val(self.first_of.as_slice())
    }
}

/// Lines per plane of a tree with this many leaves, 1 to 256.
#[inline(always)]
pub fn lines_per_plane(leaves: usize) -> usize {
    match leaves {
        0..=64 => 1,
        65..=128 => 2,
        _ => 4,
    }
}

/// Where each row's byte is to be, so that interleaving 4 bytes puts rows in order: place
/// `16a + 4b + c` has row `16b + 4a + c`.
pub static ORDER_32: Line = order(4);
/// The same for 8 bytes: place `16a + 2b + c` has row `8b + 2a + c`.
pub static ORDER_64: Line = order(2);

/// Interleaving leaves `run` rows together in each 16 bytes.
const fn order(run: usize) -> Line {
    let mut line = Line([0; ROWS]);
    let mut place = 0;
    while place < ROWS {
        let (block, within) = (place / 16, place % 16);
        line.0[place] = (within / run * run * 4 + block * run + within % run) as u8;
        place += 1;
    }
    line
}

/// The line's bytes in another order.
///
/// # Safety
/// The processor has AVX-512 F and VBMI.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub unsafe fn ordered(line: &Line, order: &Line) -> __m512i {
    // SAFETY: lines are 64 aligned bytes; the caller has the instructions.
    unsafe {
        let order = _mm512_load_si512(order.0.as_ptr().cast());
        _mm512_permutexvar_epi8(order, _mm512_load_si512(line.0.as_ptr().cast()))
    }
}

/// One byte for each number.
///
/// # Safety
/// `plane` points at `lines` lines, 1, 2 or 4; the processor has AVX-512 F, BW and VBMI.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub unsafe fn look_up(plane: *const Line, lines: usize, numbers: __m512i) -> __m512i {
    // SAFETY: the caller's.
    unsafe {
        let table = |index: usize| _mm512_load_si512(plane.add(index).cast());
        match lines {
            1 => _mm512_permutexvar_epi8(numbers, table(0)),
            2 => _mm512_permutex2var_epi8(table(0), numbers, table(1)),
            _ => {
                let low = _mm512_permutex2var_epi8(table(0), numbers, table(1));
                let high = _mm512_permutex2var_epi8(table(2), numbers, table(3));
                _mm512_mask_blend_epi8(_mm512_movepi8_mask(numbers), low, high)
            }
        }
    }
}

/// Pairs of bytes, of the lower and the upper half of each 16.
///
/// # Safety
/// The processor has AVX-512 F and BW.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub unsafe fn interleave_8(a: __m512i, b: __m512i) -> [__m512i; 2] {
    // SAFETY: the caller's.
    unsafe { [_mm512_unpacklo_epi8(a, b), _mm512_unpackhi_epi8(a, b)] }
}

/// Pairs of 16 bits, as above.
///
/// # Safety
/// The processor has AVX-512 F and BW.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub unsafe fn interleave_16(a: __m512i, b: __m512i) -> [__m512i; 2] {
    // SAFETY: the caller's.
    unsafe { [_mm512_unpacklo_epi16(a, b), _mm512_unpackhi_epi16(a, b)] }
}

/// Pairs of 32 bits, as above.
///
/// # Safety
/// The processor has AVX-512 F.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub unsafe fn interleave_32(a: __m512i, b: __m512i) -> [__m512i; 2] {
    // SAFETY: the caller's.
    unsafe { [_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b)] }
}
