//! Oblivious trees, as CatBoost grows them: all splits of a level are the same test, so the tests'
//! outcomes are the leaf's number in binary.
//!
//! Eight trees share a *group* of 64 positions, eight positions each: position `8t + b` is the test
//! whose outcome is bit `b` of tree `t`'s leaf number, the root's test being the highest bit. One
//! row, AVX-512: one permutation and one comparison of bytes give a mask whose bytes are the leaf
//! numbers of eight trees. A block of rows: one line per tree, into which each level sets its bit.
//! Unused positions look at a lane whose code is always 0.

use super::bytes::Bytes;
use super::coded::CodedTree;
use super::heap::{Place, heap};
use super::lines::Line;
use super::machine::Machine;
use super::real::Real;
use super::sums::{Blocks, Sum};

/// Positions of a group, and bytes of a vector.
const POSITIONS: usize = 64;
/// Levels of a tree: bits of a leaf number.
const LEVELS: usize = 8;
/// Trees of a group.
const TREES: usize = POSITIONS / LEVELS;

/// Oblivious trees of up to eight levels.
#[derive(Debug)]
pub struct Oblivious {
    groups: Vec<Group>,
    trees: usize,
    /// The levels of the deepest tree; each tree has `1 << levels` leaves here.
    levels: usize,
}

/// 128 bytes: the lane and the id of each position.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Group {
    pub lanes: [u8; POSITIONS],
    pub ids: [u8; POSITIONS],
}

impl Oblivious {
    /// The layout and, for each of its leaves, the tree's own leaf. `zero` is a lane whose code is
    /// always 0. `None` when a tree is not oblivious, has more than eight levels, or lanes do not
    /// fit a byte.
    pub fn new(trees: &[CodedTree], zero: usize) -> Option<(Oblivious, Vec<u32>)> {
        let levels = trees.iter().map(|tree| tree.depth).max().unwrap_or(0);
        if levels > LEVELS || levels == 0 {
            return None;
        }
        let leaves: usize = trees.iter().map(|tree| tree.nodes.len() + 1).sum();
        if (trees.len() << levels) / super::heap::REPETITIONS_MAX > leaves {
            return None;
        }
        let unused = Group {
            lanes: [u8::try_from(zero).ok()?; POSITIONS],
            ids: [1; POSITIONS],
        };
        let mut groups = vec![unused; trees.len().div_ceil(TREES)];
        let mut leaves = vec![0; trees.len() << levels];
        for (index, tree) in trees.iter().enumerate() {
            let group = &mut groups[index / TREES];
            let first = index % TREES * LEVELS;
            for (level, (lane, id)) in tests(tree)?.into_iter().enumerate() {
                let bit = tree.depth - 1 - level;
                group.lanes[first + bit] = u8::try_from(lane).ok()?;
                group.ids[first + bit] = id;
            }
            let leaves = &mut leaves[index << levels..];
            heap(tree, tree.depth, |position, what| {
                if let Place::Leaf(leaf) = what {
                    leaves[position - (1 << tree.depth)] = leaf;
                }
            });
        }
        let trees = trees.len();
        Some((
            Oblivious {
                groups,
                trees,
                levels,
            },
            leaves,
        ))
    }

    /// Leaves per tree.
    pub fn leaves_per_tree(&self) -> usize {
        1 << self.levels
    }

    /// Bytes held on the heap, without leaves.
    pub fn memory_bytes(&self) -> usize {
        size_of_val(self.groups.as_slice())
    }

    /// Adds every tree's leaf for one coded row.
    ///
    /// # Safety
    /// As [`super::heap::Heap::one`].
    #[inline(always)]
    pub unsafe fn one<O: Outcomes, S: Sum>(&self, outcomes: &O, sum: &mut S) {
        for (group, tests) in self.groups.iter().enumerate() {
            // SAFETY: the caller's; unused positions give 0, so numbers are below `1 << levels`.
            unsafe {
                let mut numbers = outcomes.outcomes(tests);
                let first = group * TREES;
                let count = TREES.min(self.trees - first);
                for tree in first..first + count {
                    sum.add(tree, (tree << self.levels) + (numbers & 0xFF) as usize);
                    numbers >>= LEVELS;
                }
            }
        }
    }

    /// Gives every tree's leaves for a block of coded rows.
    ///
    /// # Safety
    /// As [`super::heap::Heap::block`].
    #[inline(always)]
    pub unsafe fn block<M: Machine, T: Real>(&self, codes: &[Line], sums: &mut Blocks<T>) {
        let mut line = Line([0; POSITIONS]);
        for tree in 0..self.trees {
            // SAFETY: the caller's; lanes were checked by `new`.
            unsafe {
                let group = self.groups.get_unchecked(tree / TREES);
                let first = tree % TREES * LEVELS;
                let mut numbers = M::Bytes::zero();
                for bit in 0..self.levels {
                    let lane = usize::from(*group.lanes.get_unchecked(first + bit));
                    let id = *group.ids.get_unchecked(first + bit);
                    numbers = numbers.set(codes.get_unchecked(lane), id, 1 << bit);
                }
                numbers.store(&mut line);
                sums.add::<M>(tree, tree << self.levels, 1 << self.levels, &line);
            }
        }
    }
}

/// The test of each level, the root's first. `None` when a level has several, or a way to a leaf is
/// shorter than others.
fn tests(tree: &CodedTree) -> Option<Vec<(u16, u8)>> {
    let mut tests = vec![None; tree.depth];
    let mut same = true;
    let mut leaves = 0_usize;
    heap(tree, tree.depth, |position, what| {
        let level = position.ilog2() as usize;
        match what {
            Place::Node(node) => {
                let test = (node.lane, node.id);
                same &= *tests[level].get_or_insert(test) == test;
            }
            Place::Leaf(_) => {
                leaves += 1;
                same &= level == tree.depth;
            }
        }
    });
    let whole = same && leaves == 1 << tree.depth;
    whole.then(|| tests.into_iter().collect())?
}

/// How the tests of a group are made for one row.
pub trait Outcomes {
    /// Bit `p` is set when position `p` goes right.
    ///
    /// # Safety
    /// The processor has the implementation's instructions.
    unsafe fn outcomes(&self, group: &Group) -> u64;
}

impl Outcomes for super::heap::Steps {
    #[inline(always)]
    unsafe fn outcomes(&self, group: &Group) -> u64 {
        let mut outcomes = 0;
        for position in (0..POSITIONS).rev() {
            // SAFETY: lanes were checked by `new`.
            let code = unsafe { *self.codes.add(usize::from(group.lanes[position])) };
            outcomes = outcomes << 1 | u64::from(code >= group.ids[position]);
        }
        outcomes
    }
}

#[cfg(target_arch = "x86_64")]
impl<const REGISTERS: usize> Outcomes for super::heap::Masks<REGISTERS> {
    #[inline(always)]
    unsafe fn outcomes(&self, group: &Group) -> u64 {
        // SAFETY: the caller's.
        unsafe { self.goes_right(&group.lanes, &group.ids) }
    }
}
