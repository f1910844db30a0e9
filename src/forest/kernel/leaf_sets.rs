//! One row, AVX-512, trees of any shape with up to 64 leaves: QuickScorer's leaf sets (Lucchese et
//! al., SIGIR 2015), one tree at a time.
//!
//! Every split has a set of leaves, one bit each, numbered from left to right: all but those below
//! its left child. Where a row goes right, it can only end in the split's set. The lowest leaf in
//! the intersection of the sets of all splits that go right is the row's leaf, whether or not those
//! splits lie on its way. One permutation and one comparison of bytes find the splits that go right;
//! their sets are intersected eight (or, up to 32 leaves, sixteen) at a time.

#![cfg(target_arch = "x86_64")]

use std::arch::x86_64::*;

use super::coded::CodedTree;
use super::heap::Masks;
use super::lines::number_leaves;
use super::sums::Sum;
use crate::forest::Child;

/// Positions of a tree, one per split.
const POSITIONS: usize = 64;

/// Trees of up to 64 leaves.
#[derive(Debug)]
pub struct LeafSets {
    trees: Vec<Tree>,
    sets: Vec<Set>,
}

/// 128 bytes of lanes and ids per position, which unused positions have as 0, and where the tree's
/// sets and leaves begin.
#[derive(Debug)]
#[repr(C, align(64))]
struct Tree {
    lanes: [u8; POSITIONS],
    ids: [u8; POSITIONS],
    /// Its first vector of sets.
    sets: u32,
    /// Its vectors of eight sets; 0 when the tree is narrow: two of sixteen sets of 32 leaves.
    vectors: u32,
    leaves: u32,
}

/// Sets of eight splits as 64 bits each, or of sixteen splits as 32 bits each. Unused sets are full.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Set([u64; 8]);

impl LeafSets {
    /// The layout and, for each of its leaves, the tree's own leaf. `None` when a tree has more than
    /// 64 leaves or lanes do not fit a byte.
    pub fn new(trees: &[CodedTree], lanes: usize) -> Option<(LeafSets, Vec<u32>)> {
        if lanes > super::heap::LANES_MAX {
            return None;
        }
        let mut packed = LeafSets {
            trees: Vec::with_capacity(trees.len()),
            sets: Vec::new(),
        };
        let mut leaves = Vec::new();
        for tree in trees {
            packed.push(tree, &mut leaves)?;
        }
        Some((packed, leaves))
    }

    /// Where each tree's leaves begin.
    pub fn leaf_starts(&self) -> Vec<usize> {
        self.trees.iter().map(|tree| tree.leaves as usize).collect()
    }

    /// Bytes held on the heap, without leaves.
    pub fn memory_bytes(&self) -> usize {
        size_of_val(self.trees.as_slice()) + size_of_val(self.sets.as_slice())
    }

    fn push(&mut self, tree: &CodedTree, leaves: &mut Vec<u32>) -> Option<()> {
        let first = leaves.len();
        number_leaves(tree, leaves)?;
        if leaves.len() - first > POSITIONS {
            return None;
        }
        let narrow = leaves.len() - first <= POSITIONS / 2;
        let mut packed = Tree {
            lanes: [0; POSITIONS],
            ids: [0; POSITIONS],
            sets: u32::try_from(self.sets.len()).ok()?,
            vectors: if narrow {
                0
            } else {
                tree.nodes.len().div_ceil(8) as u32
            },
            leaves: u32::try_from(first).ok()?,
        };
        let mut sets = [u64::MAX; POSITIONS];
        for (position, (node, set)) in tree.nodes.iter().zip(leaf_sets(tree)).enumerate() {
            packed.lanes[position] = node.lane as u8;
            packed.ids[position] = node.id;
            sets[position] = set;
        }
        if narrow {
            let two = |pair: &[u64]| (pair[0] & 0xFFFF_FFFF) | pair[1] << 32;
            let halves: Vec<u64> = sets[..POSITIONS / 2].chunks_exact(2).map(two).collect();
            self.extend(&halves);
        } else {
            self.extend(&sets[..packed.vectors as usize * 8]);
        }
        self.trees.push(packed);
        Some(())
    }

    fn extend(&mut self, sets: &[u64]) {
        for eight in sets.chunks_exact(8) {
            let mut set = Set([0; 8]);
            set.0.copy_from_slice(eight);
            self.sets.push(set);
        }
    }

    /// Adds every tree's leaf for one coded row.
    ///
    /// # Safety
    /// As [`super::heap::Heap::one`].
    #[inline(always)]
    pub unsafe fn one<const REGISTERS: usize, S: Sum>(&self, row: &Masks<REGISTERS>, sum: &mut S) {
        for (index, tree) in self.trees.iter().enumerate() {
            // SAFETY: the caller's; `push` made the indices.
            unsafe {
                let right = row.goes_right(&tree.lanes, &tree.ids);
                let sets = self.sets.as_ptr().add(tree.sets as usize);
                let leaf = if tree.vectors == 0 {
                    lowest_of_32(right as u32, sets)
                } else {
                    lowest_of_64(right, sets, tree.vectors as usize)
                };
                sum.add(index, tree.leaves as usize + leaf);
            }
        }
    }
}

/// The lowest leaf in the intersection of two vectors' sets of 32 leaves.
#[inline(always)]
unsafe fn lowest_of_32(right: u32, sets: *const Set) -> usize {
    // SAFETY: the caller's.
    unsafe {
        let all = _mm512_set1_epi32(-1);
        let low = _mm512_mask_mov_epi32(all, right as u16, _mm512_load_si512(sets.cast()));
        let high = _mm512_load_si512(sets.add(1).cast());
        let both = _mm512_mask_and_epi32(low, (right >> 16) as u16, low, high);
        (_mm512_reduce_and_epi32(both) as u32).trailing_zeros() as usize
    }
}

/// The lowest leaf in the intersection of up to eight vectors' sets of 64 leaves.
#[inline(always)]
unsafe fn lowest_of_64(right: u64, sets: *const Set, vectors: usize) -> usize {
    // SAFETY: the caller's. Vectors beyond the tree's are left out by a loop, which the processor
    // predicts, as most trees of a forest are of one size.
    unsafe {
        let mut left = _mm512_set1_epi64(-1);
        for vector in 0..vectors {
            let set = _mm512_load_si512(sets.add(vector).cast());
            left = _mm512_mask_and_epi64(left, (right >> (8 * vector)) as u8, left, set);
        }
        (_mm512_reduce_and_epi64(left) as u64).trailing_zeros() as usize
    }
}

/// For each split, all leaves but those below its left child.
fn leaf_sets(tree: &CodedTree) -> Vec<u64> {
    // How many leaves are below each split, from the last, whose children come after it.
    let mut below = vec![0_u32; tree.nodes.len()];
    let count = |child: Child, below: &[u32]| match child {
        Child::Split(next) => below[next as usize],
        Child::Leaf(_) => 1,
    };
    for (index, node) in tree.nodes.iter().enumerate().rev() {
        below[index] = count(node.left, &below).saturating_add(count(node.right, &below));
    }
    // The first leaf below each split, from the root.
    let mut first = vec![0_u32; tree.nodes.len()];
    let mut sets = Vec::with_capacity(tree.nodes.len());
    for (index, node) in tree.nodes.iter().enumerate() {
        let left = count(node.left, &below);
        if let Child::Split(next) = node.left {
            first[next as usize] = first[index];
        }
        if let Child::Split(next) = node.right {
            first[next as usize] = first[index] + left;
        }
        let ones = u64::MAX.checked_shr(64 - left).unwrap_or(0);
        sets.push(!(ones << first[index]));
    }
    sets
}
