//! The order in which splits are worked on: level by level, over several trees at once, and within a
//! level by what a split leads to. So the work is a few long loops, each without a branch, instead of
//! a walk whose every step depends on the tree and on the row: mispredicted branches would cost more
//! than the arithmetic.

use super::ask::Asked;
use super::pack::{NONE, Node, Packed};
use crate::forest::{Forest, Tree};

/// Some trees' splits.
#[derive(Debug)]
pub struct Chunk {
    /// Children, and splits that ask the same feature, come after; links are indices into this list.
    pub nodes: Vec<Node>,
    /// What each of them asks.
    pub asked: Vec<Asked>,
    /// The column of each one's contribution in a row of results.
    pub columns: Vec<u32>,
    /// Splits of one kind and level, one run after the other.
    pub runs: Vec<Run>,
    /// How many of the first are the trees' own first splits.
    pub roots: usize,
    /// The index of the rule that is exact for all of them.
    pub rule: usize,
}

/// Splits `start..end` of a chunk.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    pub kind: Kind,
    pub start: usize,
    pub end: usize,
}

/// What decides how a split is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kind {
    /// Its children are splits, left and right.
    pub splits: [bool; 2],
    /// A split above asks the same feature.
    pub before: bool,
}

/// Splits of a chunk at the most, unless one tree alone has more: with 8 points, their sums take
/// 32 KiB and stay in the first cache.
const SPLITS_MAX: usize = 512;

impl Chunk {
    /// The chunks of trees that one rule is exact for. `trees` have at least one split each, and come
    /// with their column of the first feature.
    pub fn all(forest: &Forest, rule: usize, trees: &[(&Tree, &Packed, usize)]) -> Vec<Chunk> {
        let mut chunks = Vec::new();
        let mut first = 0;
        while first < trees.len() {
            let mut splits = trees[first].1.nodes.len();
            let mut end = first + 1;
            while end < trees.len() && splits + trees[end].1.nodes.len() <= SPLITS_MAX {
                splits += trees[end].1.nodes.len();
                end += 1;
            }
            chunks.push(Chunk::new(forest, rule, &trees[first..end]));
            first = end;
        }
        chunks
    }

    fn new(forest: &Forest, rule: usize, trees: &[(&Tree, &Packed, usize)]) -> Chunk {
        // Level, kind, tree, split.
        let mut order: Vec<(u32, Kind, usize, usize)> = Vec::new();
        for (index, (_, packed, _)) in trees.iter().enumerate() {
            let levels = levels(&packed.nodes);
            let nodes = packed.nodes.iter().zip(levels).enumerate();
            let reached = nodes.filter_map(|(split, (node, level))| Some((split, node, level?)));
            order.extend(reached.map(|(split, node, level)| (level, Kind::of(node), index, split)));
        }
        order.sort_unstable();
        let mut places: Vec<Vec<u32>> = trees
            .iter()
            .map(|(_, packed, _)| vec![NONE; packed.nodes.len()])
            .collect();
        for (place, (_, _, tree, split)) in order.iter().enumerate() {
            places[*tree][*split] = place as u32;
        }
        let mut chunk = Chunk {
            nodes: Vec::with_capacity(order.len()),
            asked: Vec::with_capacity(order.len()),
            columns: Vec::with_capacity(order.len()),
            runs: Vec::new(),
            roots: trees.len(),
            rule,
        };
        let mut last = None;
        for (place, (level, kind, index, split)) in order.into_iter().enumerate() {
            let (tree, packed, column) = trees[index];
            let mut node = packed.nodes[split];
            node.before = moved(node.before, &places[index]);
            node.child = node.child.map(|child| moved(child, &places[index]));
            chunk.nodes.push(node);
            chunk.asked.push(Asked::new(forest, &tree.splits[split]));
            chunk.columns.push(column as u32 + node.feature);
            match chunk.runs.last_mut() {
                Some(run) if last == Some((level, kind)) => run.end = place + 1,
                _ => chunk.runs.push(Run {
                    kind,
                    start: place,
                    end: place + 1,
                }),
            }
            last = Some((level, kind));
        }
        chunk
    }

    /// Bytes held on the heap.
    pub fn memory_bytes(&self) -> usize {
        size_of_val(self.nodes.as_slice())
            + size_of_val(self.asked.as_slice())
            + size_of_val(self.columns.as_slice())
            + size_of_val(self.runs.as_slice())
    }
}

impl Kind {
    fn of(node: &Node) -> Kind {
        Kind {
            splits: node.child.map(|child| child != NONE),
            before: node.before != NONE,
        }
    }
}

/// Where a link leads in the new order.
fn moved(link: u32, places: &[u32]) -> u32 {
    match link {
        NONE => NONE,
        link => places[link as usize],
    }
}

/// How far each split is from its tree's first one; `None` where no path leads to it.
fn levels(nodes: &[Node]) -> Vec<Option<u32>> {
    let mut levels = vec![None; nodes.len()];
    if let Some(first) = levels.first_mut() {
        *first = Some(0);
    }
    for (index, node) in nodes.iter().enumerate() {
        let Some(level) = levels[index] else { continue };
        for child in node.child.into_iter().filter(|child| *child != NONE) {
            levels[child as usize] = Some(level + 1);
        }
    }
    levels
}
