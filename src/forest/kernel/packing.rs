//! One layout of a forest together with its leaves.

use super::coded::Coded;
use super::heap::Heap;
#[cfg(target_arch = "x86_64")]
use super::leaf_sets::LeafSets;
use super::lines::Lines;
use super::oblivious::Oblivious;
use super::planes::Planes;
use super::real::Real;
use super::walk::Walk;
use crate::forest::Forest;

/// A layout and the leaves as it numbers them.
#[derive(Debug)]
pub struct Packing<T> {
    pub layout: Layout,
    /// In the packing's [`Order`].
    pub leaves: Vec<T>,
    /// The same, for blocks of rows where [`Packing::with_planes`] made them.
    pub planes: Planes,
    /// The tree's own number of each leaf, where trees have linear leaves; else empty.
    pub own: Vec<u32>,
    /// Bytes of a coded row, with the one that is always 0.
    pub lanes: usize,
}

/// The ways to lay out trees.
#[derive(Debug)]
pub enum Layout {
    Heap(Heap),
    Oblivious(Oblivious),
    #[cfg(target_arch = "x86_64")]
    LeafSets(LeafSets),
    Lines(Lines),
    Walk(Walk),
}

/// The names of layouts, without their content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Oblivious,
    Heap,
    LeafSets,
    Lines,
    Walk,
}

/// How the values of leaves with several are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// `[leaves, leaf_width]`
    ByLeaf,
    /// For each tree: `[leaf_width, leaves]`.
    ByColumn,
}

impl Kind {
    /// Whether it has a way to take blocks of rows.
    pub fn serves_blocks(self) -> bool {
        self != Kind::LeafSets
    }

    /// Every kind.
    pub const ALL: [Kind; 5] = [
        Kind::Oblivious,
        Kind::Heap,
        Kind::LeafSets,
        Kind::Lines,
        Kind::Walk,
    ];

    /// The name that `hedgerow check` prints.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Oblivious => "oblivious",
            Kind::Heap => "heap",
            Kind::LeafSets => "leaf sets",
            Kind::Lines => "lines",
            Kind::Walk => "walk",
        }
    }
}

impl<T: Real> Packing<T> {
    /// Lays the forest out with the first `columns` values of each leaf. `None` when the layout does
    /// not fit the forest.
    pub fn new(
        kind: Kind,
        forest: &Forest,
        coded: &Coded<T>,
        (order, columns): (Order, usize),
    ) -> Option<Packing<T>> {
        let (trees, zero) = (&coded.trees, coded.lanes);
        let (layout, own, leaves) = match kind {
            Kind::Oblivious => {
                let (layout, leaves) = Oblivious::new(trees, zero)?;
                let per_tree = layout.leaves_per_tree();
                let values = values(forest, (order, columns), leaves.chunks_exact(per_tree));
                (Layout::Oblivious(layout), leaves, values)
            }
            Kind::Heap => {
                let (layout, leaves) = Heap::new(trees, coded.lanes)?;
                let per_tree = layout.leaves_per_tree();
                let values = values(forest, (order, columns), leaves.chunks_exact(per_tree));
                (Layout::Heap(layout), leaves, values)
            }
            #[cfg(target_arch = "x86_64")]
            Kind::LeafSets => {
                let (layout, leaves) = LeafSets::new(trees, coded.lanes)?;
                let values = values(
                    forest,
                    (order, columns),
                    split(&leaves, layout.leaf_starts()),
                );
                (Layout::LeafSets(layout), leaves, values)
            }
            #[cfg(not(target_arch = "x86_64"))]
            Kind::LeafSets => return None,
            Kind::Lines => {
                let (layout, leaves) = Lines::new(trees)?;
                let values = values(
                    forest,
                    (order, columns),
                    split(&leaves, layout.leaf_starts()),
                );
                (Layout::Lines(layout), leaves, values)
            }
            Kind::Walk => {
                let (layout, leaves) = Walk::new(trees, zero)?;
                let values = values(
                    forest,
                    (order, columns),
                    split(&leaves, layout.leaf_starts()),
                );
                (Layout::Walk(layout), leaves, values)
            }
        };
        Some(Packing {
            layout,
            leaves,
            planes: Planes::default(),
            own: if forest.linear.leaves.is_empty() {
                Vec::new()
            } else {
                own
            },
            lanes: coded.lanes + 1,
        })
    }

    /// With planes of leaves that are by column, for blocks of rows. `None` where it serves no blocks.
    pub fn with_planes(mut self, columns: usize, trees: usize) -> Option<Packing<T>> {
        let counts = match &self.layout {
            Layout::Heap(heap) => vec![heap.leaves_per_tree(); trees],
            Layout::Oblivious(oblivious) => vec![oblivious.leaves_per_tree(); trees],
            Layout::Lines(lines) => {
                let mut ends = lines.leaf_starts();
                ends.push(self.leaves.len() / columns);
                ends.windows(2).map(|pair| pair[1] - pair[0]).collect()
            }
            _ => return None,
        };
        self.planes = Planes::new(&self.leaves, &counts, columns)?;
        Some(self)
    }

    /// Which layout it is.
    pub fn kind(&self) -> Kind {
        match self.layout {
            Layout::Heap(_) => Kind::Heap,
            Layout::Oblivious(_) => Kind::Oblivious,
            #[cfg(target_arch = "x86_64")]
            Layout::LeafSets(_) => Kind::LeafSets,
            Layout::Lines(_) => Kind::Lines,
            Layout::Walk(_) => Kind::Walk,
        }
    }

    /// Bytes held on the heap.
    pub fn memory_bytes(&self) -> usize {
        let layout = match &self.layout {
            Layout::Heap(layout) => layout.memory_bytes(),
            Layout::Oblivious(layout) => layout.memory_bytes(),
            #[cfg(target_arch = "x86_64")]
            Layout::LeafSets(layout) => layout.memory_bytes(),
            Layout::Lines(layout) => layout.memory_bytes(),
            Layout::Walk(layout) => layout.memory_bytes(),
        };
        layout
            + size_of_val(self.leaves.as_slice())
            + size_of_val(self.own.as_slice())
            + self.planes.memory_bytes()
    }
}

/// The first `columns` values of leaves: one slice per tree with the tree's own leaf for each of the layout's.
fn values<'a, T: Real>(
    forest: &Forest,
    (order, columns): (Order, usize),
    leaves: impl Iterator<Item = &'a [u32]>,
) -> Vec<T> {
    let mut values = Vec::new();
    for (tree, leaves) in forest.trees.iter().zip(leaves) {
        let value =
            |leaf: &u32, column| T::of(tree.leaves[*leaf as usize * tree.leaf_width + column]);
        match order {
            Order::ByLeaf => {
                for leaf in leaves {
                    values.extend((0..columns).map(|column| value(leaf, column)));
                }
            }
            Order::ByColumn => {
                for column in 0..columns {
                    values.extend(leaves.iter().map(|leaf| value(leaf, column)));
                }
            }
        }
    }
    values
}

/// Slices that begin at `starts`, each as far as the next.
fn split(leaves: &[u32], starts: Vec<usize>) -> impl Iterator<Item = &[u32]> {
    let mut ends = starts.clone();
    ends.push(leaves.len());
    starts
        .into_iter()
        .zip(ends.into_iter().skip(1))
        .map(|(start, end)| &leaves[start..end])
}
