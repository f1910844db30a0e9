//! Where one row leaves the top six levels of trees in heap order.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

use super::{GROUP, POSITIONS, TOP, TopLevels};

/// How the exits of trees' top levels are found for one row.
pub trait Exits {
    /// Whether [`Exits::walk`] has something to do; else [`Exits::look`] gives exits.
    const IN_GROUPS: bool;

    /// What [`Exits::walk`] needs of a tree.
    ///
    /// # Safety
    /// The processor has the implementation's instructions.
    unsafe fn look(&self, tree: &TopLevels) -> u64;

    /// Makes exits, 0 to 63, of what was seen of `count` trees.
    ///
    /// # Safety
    /// As for [`Exits::look`].
    unsafe fn walk(&self, found: &mut Found, count: usize);
}

/// What was seen of a group of trees, then their exits.
#[repr(align(64))]
pub struct Found(pub [u64; GROUP]);

/// Byte by byte; `codes` is valid for reads of all lanes.
pub struct Steps {
    pub codes: *const u8,
}

impl Exits for Steps {
    const IN_GROUPS: bool = false;

    /// The exit itself.
    #[inline(always)]
    unsafe fn look(&self, tree: &TopLevels) -> u64 {
        // SAFETY: lanes were checked by `new`.
        unsafe { self.exit(tree) as u64 }
    }

    #[inline(always)]
    unsafe fn walk(&self, _found: &mut Found, _count: usize) {}
}

impl Steps {
    #[cfg(not(target_arch = "x86_64"))]
    #[inline(always)]
    unsafe fn exit(&self, tree: &TopLevels) -> usize {
        let mut position = 1;
        for _ in 0..TOP {
            // SAFETY: six steps from 1 stay below 64 before each; lanes were checked by `new`.
            unsafe {
                let lane = usize::from(*tree.lanes.get_unchecked(position));
                let right = *self.codes.add(lane) >= *tree.ids.get_unchecked(position);
                position = 2 * position + usize::from(right);
            }
        }
        position - POSITIONS
    }

    /// The loop of other processors, in five instructions a step: where the code is less than the
    /// id, the comparison leaves a carry, and `2 * position + 1 - carry` is one subtraction.
    /// Compilers make eight.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn exit(&self, tree: &TopLevels) -> usize {
        let mut position: usize = 1;
        // SAFETY: six steps from 1 stay below 64 before each; lanes were checked by `new`; ids
        // follow 64 bytes after the lanes.
        unsafe {
            std::arch::asm!(
                "movzx {code:e}, byte ptr [{tree} + {at}]",
                "movzx {code:e}, byte ptr [{codes} + {code}]",
                "lea {next}, [{at} + {at}]",
                "cmp {code:l}, byte ptr [{tree} + {at} + 64]",
                "sbb {next}, -1",
                "movzx {code:e}, byte ptr [{tree} + {next}]",
                "movzx {code:e}, byte ptr [{codes} + {code}]",
                "lea {at}, [{next} + {next}]",
                "cmp {code:l}, byte ptr [{tree} + {next} + 64]",
                "sbb {at}, -1",
                "movzx {code:e}, byte ptr [{tree} + {at}]",
                "movzx {code:e}, byte ptr [{codes} + {code}]",
                "lea {next}, [{at} + {at}]",
                "cmp {code:l}, byte ptr [{tree} + {at} + 64]",
                "sbb {next}, -1",
                "movzx {code:e}, byte ptr [{tree} + {next}]",
                "movzx {code:e}, byte ptr [{codes} + {code}]",
                "lea {at}, [{next} + {next}]",
                "cmp {code:l}, byte ptr [{tree} + {next} + 64]",
                "sbb {at}, -1",
                "movzx {code:e}, byte ptr [{tree} + {at}]",
                "movzx {code:e}, byte ptr [{codes} + {code}]",
                "lea {next}, [{at} + {at}]",
                "cmp {code:l}, byte ptr [{tree} + {at} + 64]",
                "sbb {next}, -1",
                "movzx {code:e}, byte ptr [{tree} + {next}]",
                "movzx {code:e}, byte ptr [{codes} + {code}]",
                "lea {at}, [{next} + {next}]",
                "cmp {code:l}, byte ptr [{tree} + {next} + 64]",
                "sbb {at}, -1",
                at = inout(reg) position,
                next = out(reg) _,
                code = out(reg) _,
                tree = in(reg) tree.lanes.as_ptr(),
                codes = in(reg) self.codes,
                options(pure, readonly, nostack)
            );
        }
        position - POSITIONS
    }
}

/// A coded row in vector registers: 64, 128 or 256 lanes. AVX-512.
#[cfg(target_arch = "x86_64")]
pub struct Masks<const REGISTERS: usize> {
    codes: [__m512i; REGISTERS],
}

#[cfg(target_arch = "x86_64")]
impl<const REGISTERS: usize> Masks<REGISTERS> {
    /// # Safety
    /// `codes` is valid for reads of `REGISTERS * 64` bytes, and the processor has AVX-512 F.
    #[inline(always)]
    pub unsafe fn load(codes: *const u8) -> Self {
        // SAFETY: the caller's.
        let vector = |index: usize| unsafe { _mm512_loadu_si512(codes.add(index * 64).cast()) };
        Masks {
            codes: std::array::from_fn(vector),
        }
    }

    /// Bit `p` is set when position `p` goes right.
    ///
    /// # Safety
    /// The processor has AVX-512 F, BW and VBMI.
    #[inline(always)]
    pub unsafe fn goes_right(&self, lanes: &[u8; POSITIONS], ids: &[u8; POSITIONS]) -> u64 {
        // SAFETY: both have 64 bytes; the caller has the instructions.
        unsafe {
            let lanes = _mm512_loadu_si512(lanes.as_ptr().cast());
            let ids = _mm512_loadu_si512(ids.as_ptr().cast());
            let codes = match REGISTERS {
                1 => _mm512_permutexvar_epi8(lanes, self.codes[0]),
                2 => _mm512_permutex2var_epi8(self.codes[0], lanes, self.codes[1]),
                _ => {
                    let low = _mm512_permutex2var_epi8(self.codes[0], lanes, self.codes[1]);
                    let high = _mm512_permutex2var_epi8(self.codes[2], lanes, self.codes[3]);
                    _mm512_mask_blend_epi8(_mm512_movepi8_mask(lanes), low, high)
                }
            };
            _mm512_cmpge_epu8_mask(codes, ids)
        }
    }
}

#[cfg(target_arch = "x86_64")]
impl<const REGISTERS: usize> Exits for Masks<REGISTERS> {
    const IN_GROUPS: bool = true;

    /// The mask.
    #[inline(always)]
    unsafe fn look(&self, tree: &TopLevels) -> u64 {
        // SAFETY: the caller has the instructions.
        unsafe { self.goes_right(&tree.lanes, &tree.ids) }
    }

    /// Eight walks in one register, three instructions a step. Long after the masks were written:
    /// a vector that is read right after its parts were written waits for all of them.
    #[inline(always)]
    unsafe fn walk(&self, found: &mut Found, count: usize) {
        for eight in found.0.chunks_exact_mut(8).take(count.div_ceil(8)) {
            // SAFETY: the caller has the instructions; eight numbers are 64 aligned bytes.
            unsafe {
                let masks = _mm512_load_si512(eight.as_ptr().cast());
                let one = _mm512_set1_epi64(1);
                let mut at = one;
                for _ in 0..TOP {
                    // Doubled, with the bit that each stands on: a | (b & c).
                    let bits = _mm512_srlv_epi64(masks, at);
                    at = _mm512_ternarylogic_epi64::<0xF8>(_mm512_add_epi64(at, at), bits, one);
                }
                let exits = _mm512_sub_epi64(at, _mm512_set1_epi64(POSITIONS as i64));
                _mm512_store_si512(eight.as_mut_ptr().cast(), exits);
            }
        }
    }
}
