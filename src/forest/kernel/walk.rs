//! Trees of any shape and size, node by node.
//!
//! A node is 8 bytes; its children follow each other, so a step is `next + goes_right`. Leaves lead
//! to themselves, so eight walks can go on in step, four steps at a time, until all are at a leaf:
//! while one waits for memory, seven others go on. One row walks eight trees, a block of rows walks
//! a tree for eight rows.

use super::coded::CodedTree;
use super::real::Real;
use super::sums::{Sum, WideRows};
use crate::forest::Child;

/// Trees of any shape.
#[derive(Debug)]
pub struct Walk {
    nodes: Vec<Node>,
    roots: Vec<u32>,
}

/// A split, or a leaf: then `next` is its own index, and `lane` one whose code is always 0.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
struct Node {
    /// The index of the left child; the right one follows it.
    next: u32,
    lane: u16,
    id: u8,
    /// 1 for a leaf.
    leaf: u8,
}

/// Walks that go on in step.
const WALKS: usize = 8;
/// Steps between two looks at whether all have ended.
const STEPS: usize = 4;

impl Walk {
    /// The layout and, for each of its nodes, the tree's own leaf: leaves are numbered by their
    /// nodes here. `zero` is a lane whose code is always 0. `None` beyond 2^32 nodes.
    pub fn new(trees: &[CodedTree], zero: usize) -> Option<(Walk, Vec<u32>)> {
        let nodes: usize = trees.iter().map(|tree| 2 * tree.nodes.len() + 1).sum();
        if u32::try_from(nodes).is_err() {
            return None;
        }
        let mut packed = Walk {
            nodes: Vec::with_capacity(nodes),
            roots: Vec::with_capacity(trees.len()),
        };
        let mut leaves = Vec::with_capacity(nodes);
        let zero = u16::try_from(zero).ok()?;
        for tree in trees {
            packed.push(tree, zero, &mut leaves);
        }
        Some((packed, leaves))
    }

    /// Bytes held on the heap, without leaves.
    pub fn memory_bytes(&self) -> usize {
        size_of_val(self.nodes.as_slice()) + size_of_val(self.roots.as_slice())
    }

    /// Lays the tree's nodes out level by level.
    fn push(&mut self, tree: &CodedTree, zero: u16, leaves: &mut Vec<u32>) {
        let root = if tree.nodes.is_empty() {
            Child::Leaf(0)
        } else {
            Child::Split(0)
        };
        self.roots.push(self.nodes.len() as u32);
        let first = self.nodes.len();
        let mut level_order = vec![root];
        let mut done = 0;
        while done < level_order.len() {
            let index = (first + done) as u32;
            match level_order[done] {
                Child::Leaf(leaf) => {
                    leaves.push(leaf);
                    self.nodes.push(Node {
                        next: index,
                        lane: zero,
                        id: 1,
                        leaf: 1,
                    });
                }
                Child::Split(split) => {
                    let node = &tree.nodes[split as usize];
                    leaves.push(0);
                    self.nodes.push(Node {
                        next: (first + level_order.len()) as u32,
                        lane: node.lane,
                        id: node.id,
                        leaf: 0,
                    });
                    level_order.extend([node.left, node.right]);
                }
            }
            done += 1;
        }
    }

    /// Adds every tree's leaf for one coded row.
    ///
    /// # Safety
    /// `codes` is valid for reads of all lanes and of the one that is always 0; `sum` knows this
    /// layout's leaves.
    #[inline(always)]
    pub unsafe fn one<S: Sum>(&self, codes: *const u8, sum: &mut S) {
        let (groups, rest) = self.roots.as_chunks::<WALKS>();
        for (group, roots) in groups.iter().enumerate() {
            // SAFETY: the caller's.
            unsafe {
                for (walk, leaf) in self.walk(*roots, [codes; WALKS]).into_iter().enumerate() {
                    sum.add(group * WALKS + walk, leaf as usize);
                }
            }
        }
        for (tree, root) in rest.iter().enumerate() {
            // SAFETY: the caller's.
            unsafe {
                let [leaf] = self.walk([*root], [codes]);
                sum.add(groups.len() * WALKS + tree, leaf as usize);
            }
        }
    }

    /// Adds every tree's leaf for `rows` coded rows, `stride` bytes apart.
    ///
    /// # Safety
    /// As for [`Walk::one`], for each row.
    #[inline(always)]
    pub unsafe fn rows<T: Real>(
        &self,
        codes: *const u8,
        stride: usize,
        rows: usize,
        sums: &mut WideRows<T>,
    ) {
        let whole = rows - rows % WALKS;
        for (tree, root) in self.roots.iter().enumerate() {
            // SAFETY: the caller's.
            unsafe {
                for first in (0..whole).step_by(WALKS) {
                    let of_rows = std::array::from_fn(|row| codes.add((first + row) * stride));
                    let leaves = self.walk([*root; WALKS], of_rows);
                    for (row, leaf) in leaves.into_iter().enumerate() {
                        sums.add(first + row, tree, leaf as usize);
                    }
                }
                for row in whole..rows {
                    let [leaf] = self.walk([*root], [codes.add(row * stride)]);
                    sums.add(row, tree, leaf as usize);
                }
            }
        }
    }

    /// Where each tree's leaves begin.
    pub fn leaf_starts(&self) -> Vec<usize> {
        self.roots.iter().map(|root| *root as usize).collect()
    }

    /// The leaf nodes that the walks end at.
    #[inline(always)]
    unsafe fn walk<const N: usize>(&self, from: [u32; N], codes: [*const u8; N]) -> [u32; N] {
        let mut at = from;
        loop {
            for _ in 0..STEPS {
                for (at, codes) in at.iter_mut().zip(codes) {
                    // SAFETY: children exist, and lanes too.
                    unsafe {
                        let node = self.nodes.get_unchecked(*at as usize);
                        let right = *codes.add(usize::from(node.lane)) >= node.id;
                        *at = node.next + u32::from(right);
                    }
                }
            }
            // SAFETY: as above.
            let is_leaf = |at: &u32| unsafe { self.nodes.get_unchecked(*at as usize).leaf == 1 };
            if at.iter().all(is_leaf) {
                return at;
            }
        }
    }
}
