//! Sixty-four rows at once, trees of any shape: every node is looked at for all rows, and the
//! number of the leaf that a row ends in comes up from the leaves to the root.
//!
//! A *line* is one byte per row. Below a node, the line of leaf numbers is the right child's where
//! the row goes right and the left child's elsewhere: one comparison and one choice of bytes for 64
//! rows, no branch, whatever the shape. The cost is one step per node, not per level; it pays
//! because a vector instruction does 16 to 64 rows.
//!
//! Leaves are numbered from left to right, so a node above two leaves gives `first + goes_right`
//! without looking at a line; *pairs* are such nodes, and *quads* are nodes above two pairs.

use super::bytes::Bytes;
use super::coded::{CodedNode, CodedTree};
use super::machine::Machine;
use super::real::Real;
use super::sums::Blocks;
use crate::forest::Child;

/// Rows of a block, and bytes of a line.
pub const ROWS: usize = 64;
/// A leaf's number is a byte.
const LEAVES_MAX: usize = 256;

/// One byte per row.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Line(pub [u8; ROWS]);

/// Trees of up to 256 leaves.
#[derive(Debug)]
pub struct Lines {
    trees: Vec<Tree>,
    quads: Vec<Quad>,
    pairs: Vec<Pair>,
    joins: Vec<Join>,
}

/// Where a tree's nodes and leaves end; they begin where the tree before it ends.
#[derive(Clone, Copy, Debug)]
struct Tree {
    quads: u32,
    pairs: u32,
    joins: u32,
    leaves: u32,
    /// The line that holds the result, as in [`Join`].
    root: u16,
}

/// Three nodes above four leaves: the upper one, its left and its right child.
#[derive(Clone, Copy, Debug)]
struct Quad {
    lanes: [u16; 3],
    ids: [u8; 3],
    first_leaf: u8,
    result: u16,
}

/// A node above two leaves.
#[derive(Clone, Copy, Debug)]
struct Pair {
    lane: u16,
    id: u8,
    first_leaf: u8,
    result: u16,
}

/// Any other node. Lines are named by their index: below 256 the line is full of that leaf number,
/// from 256 on it holds a node's result.
#[derive(Clone, Copy, Debug)]
struct Join {
    lane: u16,
    id: u8,
    left: u16,
    right: u16,
    result: u16,
}

/// What a child is, seen from its parent.
#[derive(Clone, Copy, Debug)]
enum Below {
    Leaf(u8),
    /// Two leaves: a candidate for a quad.
    Pair(CodedNode, u8),
    Line(u16),
}

/// The lines that [`Lines::block`] works on: for each leaf number a line full of it, then lines for
/// what nodes give.
pub fn work_lines() -> Vec<Line> {
    let numbers = (0..LEAVES_MAX).map(|number| Line([number as u8; ROWS]));
    let results = std::iter::repeat_n(Line([0; ROWS]), WORK_LINES - LEAVES_MAX);
    numbers.chain(results).collect()
}

/// Leaf numbers, and results: a tree of 256 leaves has at most 128 nodes whose results do not take
/// the place of a child's.
pub const WORK_LINES: usize = LEAVES_MAX + LEAVES_MAX / 2;

impl Lines {
    /// The layout and, for each of its leaves, the tree's own leaf. `None` when a tree has more
    /// than 256 leaves.
    pub fn new(trees: &[CodedTree]) -> Option<(Lines, Vec<u32>)> {
        let mut block = Lines {
            trees: Vec::with_capacity(trees.len()),
            quads: Vec::new(),
            pairs: Vec::new(),
            joins: Vec::new(),
        };
        let mut leaves = Vec::new();
        for tree in trees {
            block.push(tree, &mut leaves)?;
        }
        Some((block, leaves))
    }

    /// Where each tree's leaves begin.
    pub fn leaf_starts(&self) -> Vec<usize> {
        let ends = self.trees.iter().map(|tree| tree.leaves as usize);
        std::iter::once(0)
            .chain(ends)
            .take(self.trees.len())
            .collect()
    }

    /// Bytes held on the heap, without leaves.
    pub fn memory_bytes(&self) -> usize {
        size_of_val(self.trees.as_slice())
            + size_of_val(self.quads.as_slice())
            + size_of_val(self.pairs.as_slice())
            + size_of_val(self.joins.as_slice())
    }

    fn push(&mut self, tree: &CodedTree, leaves: &mut Vec<u32>) -> Option<()> {
        let order = number_leaves(tree, leaves)?;
        let mut builder = Builder {
            block: self,
            results: 0,
        };
        // Children come after their parents, so from the end every child is there.
        let mut below: Vec<Below> = vec![Below::Leaf(0); tree.nodes.len()];
        for index in (0..tree.nodes.len()).rev() {
            let node = tree.nodes[index];
            let side = |child: Child, number: u8| match child {
                Child::Leaf(_) => Below::Leaf(number),
                Child::Split(next) => below[next as usize],
            };
            let (left, right) = order[index];
            below[index] = builder.node(node, side(node.left, left), side(node.right, right));
        }
        let root = below.first().copied().unwrap_or(Below::Leaf(0));
        let root = builder.line(root);
        debug_assert!(LEAVES_MAX + builder.results <= WORK_LINES);
        self.trees.push(Tree {
            quads: u32::try_from(self.quads.len()).ok()?,
            pairs: u32::try_from(self.pairs.len()).ok()?,
            joins: u32::try_from(self.joins.len()).ok()?,
            leaves: u32::try_from(leaves.len()).ok()?,
            root,
        });
        Some(())
    }

    /// Gives every tree's leaves for a block of coded rows.
    ///
    /// # Safety
    /// `codes` has every lane's line; `work` is [`work_lines`]; `sums` knows this layout's leaves; the processor has the instructions of `B`.
    #[inline(always)]
    pub unsafe fn block<M: Machine, T: Real>(
        &self,
        codes: &[Line],
        work: &mut [Line],
        sums: &mut Blocks<T>,
    ) {
        let mut from = Tree {
            quads: 0,
            pairs: 0,
            joins: 0,
            leaves: 0,
            root: 0,
        };
        for (index, tree) in self.trees.iter().enumerate() {
            // SAFETY: `push` made all these indices.
            unsafe {
                let codes = |lane: u16| codes.get_unchecked(usize::from(lane));
                let quads = self
                    .quads
                    .get_unchecked(from.quads as usize..tree.quads as usize);
                for quad in quads {
                    let [upper, left, right] = quad.lanes.map(codes);
                    let line = work.get_unchecked_mut(usize::from(quad.result));
                    quad.run::<M::Bytes>(upper, left, right).store(line);
                }
                let pairs = self
                    .pairs
                    .get_unchecked(from.pairs as usize..tree.pairs as usize);
                for pair in pairs {
                    let line = work.get_unchecked_mut(usize::from(pair.result));
                    M::Bytes::count(codes(pair.lane), pair.id, pair.first_leaf).store(line);
                }
                let joins = self
                    .joins
                    .get_unchecked(from.joins as usize..tree.joins as usize);
                for join in joins {
                    let left = M::Bytes::load(work.get_unchecked(usize::from(join.left)));
                    let right = M::Bytes::load(work.get_unchecked(usize::from(join.right)));
                    let line = work.get_unchecked_mut(usize::from(join.result));
                    M::Bytes::choose(codes(join.lane), join.id, left, right).store(line);
                }
                let leaf = work.get_unchecked(usize::from(tree.root));
                let count = (tree.leaves - from.leaves) as usize;
                sums.add::<M>(index, from.leaves as usize, count, leaf);
            }
            from = *tree;
        }
    }
}

impl Quad {
    #[inline(always)]
    unsafe fn run<B: Bytes>(&self, upper: &Line, left: &Line, right: &Line) -> B {
        let [above, low, high] = self.ids;
        // SAFETY: the caller has the instructions of `B`.
        unsafe {
            let left = B::count(left, low, self.first_leaf);
            let right = B::count(right, high, self.first_leaf + 2);
            B::choose(upper, above, left, right)
        }
    }
}

/// Adds one tree's nodes to a block.
struct Builder<'a> {
    block: &'a mut Lines,
    /// Lines in use by this tree.
    results: usize,
}

impl Builder<'_> {
    fn node(&mut self, node: CodedNode, left: Below, right: Below) -> Below {
        match (left, right) {
            (Below::Leaf(first), Below::Leaf(_)) => Below::Pair(node, first),
            (Below::Pair(low, first), Below::Pair(high, _)) => {
                let result = self.result();
                self.block.quads.push(Quad {
                    lanes: [node.lane, low.lane, high.lane],
                    ids: [node.id, low.id, high.id],
                    first_leaf: first,
                    result,
                });
                Below::Line(result)
            }
            _ => {
                let (left, right) = (self.line(left), self.line(right));
                // A child's line is free once its parent has read it.
                let reused = [left, right]
                    .into_iter()
                    .find(|line| *line >= LEAVES_MAX as u16);
                let result = reused.unwrap_or_else(|| self.result());
                self.block.joins.push(Join {
                    lane: node.lane,
                    id: node.id,
                    left,
                    right,
                    result,
                });
                Below::Line(result)
            }
        }
    }

    /// The name of the line that holds what is below.
    fn line(&mut self, below: Below) -> u16 {
        match below {
            Below::Leaf(number) => u16::from(number),
            Below::Line(line) => line,
            Below::Pair(node, first) => {
                let result = self.result();
                self.block.pairs.push(Pair {
                    lane: node.lane,
                    id: node.id,
                    first_leaf: first,
                    result,
                });
                result
            }
        }
    }

    fn result(&mut self) -> u16 {
        self.results += 1;
        (LEAVES_MAX + self.results - 1) as u16
    }
}

/// Numbers a tree's leaves from left to right and appends the tree's own number of each. Returns,
/// for each node, the numbers of its children that are leaves. `None` beyond 256 leaves.
pub fn number_leaves(tree: &CodedTree, leaves: &mut Vec<u32>) -> Option<Vec<(u8, u8)>> {
    let first = leaves.len();
    let mut numbers = vec![(0, 0); tree.nodes.len()];
    if tree.nodes.is_empty() {
        leaves.push(0);
        return Some(numbers);
    }
    // A child to visit: of which node, and whether it is the right one.
    let mut stack = vec![(0_usize, true), (0, false)];
    while let Some((index, is_right)) = stack.pop() {
        let node = &tree.nodes[index];
        match if is_right { node.right } else { node.left } {
            Child::Split(next) => stack.extend([(next as usize, true), (next as usize, false)]),
            Child::Leaf(leaf) => {
                let number = u8::try_from(leaves.len() - first).ok()?;
                leaves.push(leaf);
                let (left, right) = &mut numbers[index];
                *(if is_right { right } else { left }) = number;
            }
        }
    }
    Some(numbers)
}
