//! Trees of up to six or eight levels in heap order: for one row and for sixty-four.
//!
//! Positions 1 to 63 are the top six levels: the children of `p` are `2p` and `2p + 1`, so a row
//! that goes right at `p` continues at `2p + 1`, and six steps end at 64 to 127, its *exit*. A leaf
//! above level six fills all exits below it, whatever is compared there. Where trees are deeper,
//! each exit has three more nodes, the seventh and the eighth level.
//!
//! * One row, AVX-512: `lanes` and `ids` of a tree are one vector each. One permutation of bytes and
//!   one comparison give a mask with bit `p` set when position `p` goes right; six steps of "append
//!   the bit that I stand on" walk it.
//! * One row, elsewhere: the same steps on the bytes in memory.
//! * A block of rows: from the exits upwards, a line of leaf numbers per node, as in [`super::lines`],
//!   but with the shape known, so that everything stays in registers.

mod exits;

use super::bytes::Bytes;
use super::coded::{CodedNode, CodedTree};
use super::lines::Line;
use super::machine::Machine;
use super::real::Real;
use super::sums::{Blocks, Sum};
use crate::forest::Child;
#[cfg(target_arch = "x86_64")]
pub use exits::Masks;
pub use exits::{Exits, Found, Steps};

/// Positions of a tree, exits of its top six levels, and bytes of a vector.
const POSITIONS: usize = 64;
/// Trees whose exits are found together.
const GROUP: usize = 32;
/// Times that leaves may be repeated on average: a stump's two leaves fill 64 places.
pub const REPETITIONS_MAX: usize = 32;
/// Levels that the mask holds.
const TOP: usize = 6;
/// Lanes that a byte names, and that four vectors hold.
pub const LANES_MAX: usize = 256;

/// Trees of at most six levels, or eight.
#[derive(Debug)]
pub struct Heap {
    trees: Vec<TopLevels>,
    /// `[trees, exits]` where trees have eight levels; else empty.
    tails: Vec<Tail>,
}

/// 128 bytes: the lane and the id of each position, in this order. Position 0 is unused.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct TopLevels {
    lanes: [u8; POSITIONS],
    ids: [u8; POSITIONS],
}

/// 8 bytes: the seventh level's node below an exit, then its left and its right child, each as lane
/// and id. The last two bytes are unused.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
struct Tail {
    nodes: [[u8; 2]; 4],
}

impl Heap {
    /// The layout and, for each of its leaves, the tree's own leaf; 64 leaves per tree, or 256.
    /// `None` when a tree is deeper than eight levels, lanes are more than 256, or most of the leaves
    /// would be repetitions.
    pub fn new(trees: &[CodedTree], lanes: usize) -> Option<(Heap, Vec<u32>)> {
        let deepest = trees.iter().map(|tree| tree.depth).max().unwrap_or(0);
        if lanes > LANES_MAX || deepest > TOP + 2 {
            return None;
        }
        let levels = if deepest > TOP { TOP + 2 } else { TOP };
        let leaves: usize = trees.iter().map(|tree| tree.nodes.len() + 1).sum();
        if (trees.len() << levels) / REPETITIONS_MAX > leaves {
            return None;
        }
        let mut packed = Heap {
            trees: Vec::with_capacity(trees.len()),
            tails: Vec::new(),
        };
        let mut leaves = Vec::with_capacity(trees.len() << levels);
        for tree in trees {
            packed.push(tree, levels, &mut leaves);
        }
        Some((packed, leaves))
    }

    /// Bytes held on the heap, without leaves.
    pub fn memory_bytes(&self) -> usize {
        size_of_val(self.trees.as_slice()) + size_of_val(self.tails.as_slice())
    }

    fn push(&mut self, tree: &CodedTree, levels: usize, leaves: &mut Vec<u32>) {
        let mut top = TopLevels {
            lanes: [0; POSITIONS],
            ids: [u8::MAX; POSITIONS],
        };
        let first_tail = self.tails.len();
        if levels > TOP {
            let nothing = Tail { nodes: [[0; 2]; 4] };
            self.tails.extend([nothing; POSITIONS]);
        }
        let first_leaf = leaves.len();
        leaves.resize(first_leaf + (1 << levels), 0);
        heap(tree, levels, |position, what| match what {
            Place::Node(node) if position < POSITIONS => {
                top.lanes[position] = node.lane as u8;
                top.ids[position] = node.id;
            }
            Place::Node(node) => {
                let (exit, within) = if position < 2 * POSITIONS {
                    (position - POSITIONS, 0)
                } else {
                    (position / 2 - POSITIONS, 1 + position % 2)
                };
                self.tails[first_tail + exit].nodes[within] = [node.lane as u8, node.id];
            }
            Place::Leaf(leaf) => {
                let depth = position.ilog2() as usize;
                let first = (position << (levels - depth)) - (1 << levels);
                leaves[first_leaf + first..][..1 << (levels - depth)].fill(leaf);
            }
        });
        self.trees.push(top);
    }

    /// Leaves per tree: 64, or 256.
    pub fn leaves_per_tree(&self) -> usize {
        if self.tails.is_empty() {
            POSITIONS
        } else {
            4 * POSITIONS
        }
    }

    /// Adds every tree's leaf for one coded row.
    ///
    /// # Safety
    /// `codes` is valid for reads of all lanes; the processor has the instructions of `E`, and `E`
    /// was made of the same codes; `sum` knows this layout's leaves.
    #[inline(always)]
    pub unsafe fn one<E: Exits, S: Sum>(&self, exits: &E, codes: *const u8, sum: &mut S) {
        if !E::IN_GROUPS {
            for (index, tree) in self.trees.iter().enumerate() {
                // SAFETY: the caller's.
                unsafe { self.leave(index, exits.look(tree) as usize, codes, sum) }
            }
            return;
        }
        // While one group's leaves are added, which is a chain of additions in order, the next
        // group's trees are looked at.
        let mut found = Found([0; GROUP]);
        let mut after = Found([0; GROUP]);
        let (first, mut rest) = self.trees.split_at(self.trees.len().min(GROUP));
        for (tree, seen) in first.iter().zip(&mut found.0) {
            // SAFETY: the caller's.
            *seen = unsafe { exits.look(tree) };
        }
        let mut count = first.len();
        let mut tree = 0;
        while count > 0 {
            let (next, others) = rest.split_at(rest.len().min(GROUP));
            // SAFETY: the caller's; groups have at most `GROUP` trees.
            unsafe {
                exits.walk(&mut found, count);
                for index in 0..next.len() {
                    *after.0.get_unchecked_mut(index) = exits.look(next.get_unchecked(index));
                    self.leave(
                        tree + index,
                        *found.0.get_unchecked(index) as usize,
                        codes,
                        sum,
                    );
                }
                for index in next.len()..count {
                    self.leave(
                        tree + index,
                        *found.0.get_unchecked(index) as usize,
                        codes,
                        sum,
                    );
                }
            }
            tree += count;
            count = next.len();
            rest = others;
            std::mem::swap(&mut found, &mut after);
        }
    }

    /// Adds the leaf at or below an exit.
    #[inline(always)]
    unsafe fn leave<S: Sum>(&self, tree: usize, exit: usize, codes: *const u8, sum: &mut S) {
        let exit = tree * POSITIONS + exit;
        // SAFETY: an exit is below 64, and each tree has 64 leaves, or 64 tails and 256 leaves; tails
        // look at lanes that there are.
        unsafe {
            if self.tails.is_empty() {
                sum.add(tree, exit);
                return;
            }
            let tail = self.tails.get_unchecked(exit);
            let right = |node: [u8; 2]| usize::from(*codes.add(usize::from(node[0])) >= node[1]);
            let first = right(tail.nodes[0]);
            let second = right(*tail.nodes.get_unchecked(1 + first));
            sum.add(tree, exit * 4 + first * 2 + second);
        }
    }

    /// Gives every tree's leaves for a block of coded rows.
    ///
    /// # Safety
    /// `codes` has every lane's line; the processor has the instructions of `B`; `sums` knows this
    /// layout's leaves.
    #[inline(always)]
    pub unsafe fn block<M: Machine, T: Real>(&self, codes: &[Line], sums: &mut Blocks<T>) {
        let mut leaf = Line([0; POSITIONS]);
        let mut below = [Line([0; POSITIONS]); POSITIONS];
        for (index, tree) in self.trees.iter().enumerate() {
            let levels = Levels { tree, codes };
            // SAFETY: lanes were checked by `new`; the rest is the caller's.
            unsafe {
                if self.tails.is_empty() {
                    let root = levels.six::<M::Bytes>(|position| levels.pair::<M::Bytes>(position));
                    root.store(&mut leaf);
                } else {
                    let tails = self.tails.get_unchecked(index * POSITIONS..);
                    for (exit, line) in below.iter_mut().enumerate() {
                        tails
                            .get_unchecked(exit)
                            .run::<M::Bytes>(codes, exit)
                            .store(line);
                    }
                    let root = levels
                        .six::<M::Bytes>(|position| levels.join::<M::Bytes>(position, &below));
                    root.store(&mut leaf);
                }
                let per_tree = self.leaves_per_tree();
                sums.add::<M>(index, index * per_tree, per_tree, &leaf);
            }
        }
    }
}

/// A tree's top six levels and the codes of a block, to be put together from below.
#[derive(Clone, Copy)]
struct Levels<'a> {
    tree: &'a TopLevels,
    codes: &'a [Line],
}

impl Levels<'_> {
    #[inline(always)]
    unsafe fn codes(&self, position: usize) -> &Line {
        // SAFETY: positions are below 64, and lanes are those of the codes.
        unsafe {
            self.codes
                .get_unchecked(usize::from(*self.tree.lanes.get_unchecked(position)))
        }
    }

    /// A position of level six above two leaves.
    #[inline(always)]
    unsafe fn pair<B: Bytes>(&self, position: usize) -> B {
        let first = (2 * position - POSITIONS) as u8;
        // SAFETY: the caller's.
        unsafe {
            B::count(
                self.codes(position),
                *self.tree.ids.get_unchecked(position),
                first,
            )
        }
    }

    /// A position of level six above two lines.
    #[inline(always)]
    unsafe fn join<B: Bytes>(&self, position: usize, below: &[Line; POSITIONS]) -> B {
        let exit = 2 * position - POSITIONS;
        // SAFETY: the caller's.
        unsafe {
            let left = B::load(below.get_unchecked(exit));
            let right = B::load(below.get_unchecked(exit + 1));
            self.choose(position, left, right)
        }
    }

    #[inline(always)]
    unsafe fn choose<B: Bytes>(&self, position: usize, left: B, right: B) -> B {
        // SAFETY: the caller's.
        unsafe {
            B::choose(
                self.codes(position),
                *self.tree.ids.get_unchecked(position),
                left,
                right,
            )
        }
    }

    // One function per level, as a function cannot inline itself. Each level is the choice between
    // what its two children give; `last` gives what positions 32 to 63 do.

    #[inline(always)]
    unsafe fn six<B: Bytes>(&self, last: impl Fn(usize) -> B + Copy) -> B {
        // SAFETY: the caller's.
        unsafe { self.choose(1, self.five(2, last), self.five(3, last)) }
    }

    #[inline(always)]
    unsafe fn five<B: Bytes>(&self, position: usize, last: impl Fn(usize) -> B + Copy) -> B {
        let below = 2 * position;
        // SAFETY: the caller's.
        unsafe { self.choose(position, self.four(below, last), self.four(below + 1, last)) }
    }

    #[inline(always)]
    unsafe fn four<B: Bytes>(&self, position: usize, last: impl Fn(usize) -> B + Copy) -> B {
        let below = 2 * position;
        // SAFETY: the caller's.
        unsafe {
            self.choose(
                position,
                self.three(below, last),
                self.three(below + 1, last),
            )
        }
    }

    #[inline(always)]
    unsafe fn three<B: Bytes>(&self, position: usize, last: impl Fn(usize) -> B + Copy) -> B {
        let below = 2 * position;
        // SAFETY: the caller's.
        unsafe { self.choose(position, self.two(below, last), self.two(below + 1, last)) }
    }

    #[inline(always)]
    unsafe fn two<B: Bytes>(&self, position: usize, last: impl Fn(usize) -> B + Copy) -> B {
        let below = 2 * position;
        // SAFETY: the caller's.
        unsafe { self.choose(position, last(below), last(below + 1)) }
    }
}

impl Tail {
    /// The leaf numbers below an exit.
    #[inline(always)]
    unsafe fn run<B: Bytes>(&self, codes: &[Line], exit: usize) -> B {
        let [upper, left, right, _] = self.nodes;
        let first = (4 * exit) as u8;
        // SAFETY: the caller's.
        unsafe {
            let line = |node: [u8; 2]| codes.get_unchecked(usize::from(node[0]));
            let low = B::count(line(left), left[1], first);
            let high = B::count(line(right), right[1], first + 2);
            B::choose(line(upper), upper[1], low, high)
        }
    }
}

/// What stands at a position of a tree in heap order.
pub enum Place {
    Node(CodedNode),
    /// Anything below this position is unused.
    Leaf(u32),
}

/// Calls `visit` with each node's and leaf's position: the root is at 1, the children of `p` at
/// `2p` and `2p + 1`. The tree has at most `levels` levels.
pub fn heap(tree: &CodedTree, levels: usize, mut visit: impl FnMut(usize, Place)) {
    debug_assert!(tree.depth <= levels);
    if tree.nodes.is_empty() {
        visit(1, Place::Leaf(0));
        return;
    }
    let mut positions = vec![0; tree.nodes.len()];
    positions[0] = 1;
    for (index, node) in tree.nodes.iter().enumerate() {
        let position = positions[index];
        // Nodes that nothing leads to.
        if position == 0 {
            continue;
        }
        visit(position, Place::Node(*node));
        for (child, below) in [(node.left, 2 * position), (node.right, 2 * position + 1)] {
            match child {
                Child::Split(next) => positions[next as usize] = below,
                Child::Leaf(leaf) => visit(below, Place::Leaf(leaf)),
            }
        }
    }
}
