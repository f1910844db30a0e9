//! One tree of a file: its arrays are checked, its nodes renumbered in the order of a walk that
//! goes left first. Deleted nodes are not reached and stay behind.
//!
//! XGBoost's test is `value < threshold`, true to the left. Where a node splits on a category, its
//! set goes to the **right**, so such a node's children change places.

use std::borrow::Cow;

use super::value::Value;
use super::{malformed, unsupported};
use crate::forest::{
    CategoryRule, CategorySet, Child, Cover, Missing, ParseError, Split, Test, Tree,
};

/// 256 MiB of category sets in one model. A file's bytes bound everything else, but one code near
/// 2^24 makes a set of 2 MiB.
const SET_WORDS_MAX: usize = 1 << 26;

/// XGBoost knows categories below 2^24, the integers that a 32-bit float counts exactly.
const CATEGORY_MAX: i64 = 1 << 24;

/// Marks a leaf in `left_children`.
const NONE: i64 = -1;

/// Reads trees and collects the category sets that they point at.
pub struct TreeReader {
    pub sets: Vec<CategorySet>,
    /// Raw scores per row: what a vector leaf has values for.
    pub outputs: usize,
    words: usize,
}

/// A tree's arrays, one value per node.
struct Nodes<'a> {
    left: &'a [i64],
    right: &'a [i64],
    feature: &'a [i64],
    /// Thresholds of splits, values of leaves.
    condition: Cow<'a, [f32]>,
    default_left: &'a [i64],
    /// Values per leaf.
    width: usize,
    /// The values of vector leaves, where `width` is more than 1.
    vectors: Option<Vectors<'a>>,
    /// Empty in files that know no categories.
    split_type: &'a [i64],
    /// `None` in files that have no covers, or not of every node.
    cover: Option<Cow<'a, [f32]>>,
    categories: Categories<'a>,
}

/// The values of vector leaves, row-major.
enum Vectors<'a> {
    /// Since 3.2: one row per leaf, whose index stands in `right_children`.
    ByLeaf(Cow<'a, [f32]>),
    /// Before: one row per node.
    ByNode(Cow<'a, [f32]>),
}

/// The sets of a tree: node `nodes[i]` has the codes `codes[segments[i]..][..sizes[i]]`.
struct Categories<'a> {
    codes: &'a [i64],
    nodes: &'a [i64],
    segments: &'a [i64],
    sizes: &'a [i64],
}

/// Where the index of a node goes once it is known.
enum Slot {
    Root,
    Left(usize),
    Right(usize),
}

/// Whether some tree has vector leaves as versions before 3.2 wrote them.
///
/// # Errors
/// [`ParseError::Malformed`] with what was expected.
pub fn has_old_vectors(model: &Value) -> Result<bool, ParseError> {
    if model.get("trees").is_none() {
        return Ok(false);
    }
    for tree in model.list("trees")? {
        let width = tree.member("tree_param")?.count("size_leaf_vector")?;
        if width.unwrap_or(0) > 1 && tree.get("leaf_weights").is_none() {
            return Ok(true);
        }
    }
    Ok(false)
}

impl TreeReader {
    /// A reader for a model with this many outputs.
    pub fn new(outputs: usize) -> TreeReader {
        TreeReader {
            sets: Vec::new(),
            outputs,
            words: 0,
        }
    }

    /// Reads a tree. `weight` multiplies every leaf, in 32 bits (DART).
    ///
    /// # Errors
    /// [`ParseError`] as its variants say, without the tree's number.
    pub fn read(
        &mut self,
        tree: &Value,
        output: usize,
        weight: Option<f32>,
    ) -> Result<Tree, ParseError> {
        let nodes = Nodes::new(tree, self.outputs)?;
        if nodes.vectors.is_some() && weight.is_some() {
            return unsupported("DART with vector leaves");
        }
        let mut seen = vec![false; nodes.left.len()];
        let mut splits: Vec<Split> = Vec::new();
        let mut leaves = Vec::new();
        let (mut split_ids, mut leaf_ids) = (Vec::new(), Vec::new());
        let mut open = vec![(0, Slot::Root)];
        while let Some((node, slot)) = open.pop() {
            if seen[node] {
                return malformed(format!(
                    "node {node} is the child of two nodes or part of a cycle"
                ));
            }
            seen[node] = true;
            let index = splits.len();
            let child = if nodes.left[node] == NONE {
                let index = leaves.len() / nodes.width;
                for value in nodes.leaf(node)? {
                    let value = weight.map_or(*value, |weight| value * weight);
                    leaves.push(f64::from(value));
                }
                leaf_ids.push(node as u32);
                Child::Leaf(index as u32)
            } else {
                splits.push(self.split(&nodes, node)?);
                split_ids.push(node as u32);
                let (left, right) = nodes.children(node)?;
                open.push((right, Slot::Right(index)));
                open.push((left, Slot::Left(index)));
                Child::Split(index as u32)
            };
            match slot {
                Slot::Root => {}
                Slot::Left(parent) => splits[parent].left = child,
                Slot::Right(parent) => splits[parent].right = child,
            }
        }
        Ok(Tree {
            splits,
            leaves,
            leaf_width: nodes.width,
            // A vector leaf has values for all outputs.
            output: if nodes.vectors.is_some() { 0 } else { output },
            cover: nodes.cover(&split_ids, &leaf_ids),
            leaf_ids,
        })
    }

    /// A split whose children are not known yet.
    fn split(&mut self, nodes: &Nodes, node: usize) -> Result<Split, ParseError> {
        let feature = nodes.feature[node];
        let Ok(feature) = u32::try_from(feature) else {
            return malformed(format!("node {node}: feature {feature} does not exist"));
        };
        let categorical = nodes.is_categorical(node);
        let test = if categorical {
            self.set(nodes, node)?
        } else {
            Test::Less(f64::from(nodes.condition[node]))
        };
        let missing = if (nodes.default_left[node] != 0) != categorical {
            Missing::NanLeft
        } else {
            Missing::NanRight
        };
        Ok(Split {
            feature,
            test,
            missing,
            left: Child::Leaf(0),
            right: Child::Leaf(0),
        })
    }

    fn set(&mut self, nodes: &Nodes, node: usize) -> Result<Test, ParseError> {
        let codes = nodes.categories.of(node)?;
        if let Some(code) = codes.iter().find(|code| !(0..CATEGORY_MAX).contains(*code)) {
            return malformed(format!(
                "node {node}: expected categories from 0 to 2^24 - 1, got category {code}"
            ));
        }
        let words = codes
            .iter()
            .max()
            .map_or(0, |largest| *largest as usize / 32 + 1);
        self.words += words;
        if self.words > SET_WORDS_MAX {
            return unsupported(format!(
                "category sets of more than {} bytes",
                SET_WORDS_MAX * 4
            ));
        }
        let mut set = CategorySet {
            words: vec![0; words],
            rule: CategoryRule::NonNegative,
        };
        for code in codes {
            set.words[*code as usize / 32] |= 1 << (code % 32);
        }
        self.sets.push(set);
        Ok(Test::In(self.sets.len() as u32 - 1))
    }
}

impl<'a> Nodes<'a> {
    fn new(tree: &'a Value, outputs: usize) -> Result<Nodes<'a>, ParseError> {
        let parameters = tree.member("tree_param")?;
        let width = parameters.count("size_leaf_vector")?.unwrap_or(0).max(1);
        if width > 1 && width != outputs {
            return malformed(format!(
                "\"size_leaf_vector\": expected one value for each of {outputs} outputs, got {width}"
            ));
        }
        let optional = |name: &str| match tree.get(name) {
            None => Ok([].as_slice()),
            Some(_) => tree.integers(name),
        };
        let nodes = Nodes {
            left: tree.integers("left_children")?,
            right: tree.integers("right_children")?,
            feature: tree.integers("split_indices")?,
            condition: tree.floats("split_conditions")?,
            default_left: tree.integers("default_left")?,
            width,
            vectors: match (width, tree.get("leaf_weights")) {
                (1, _) => None,
                (_, Some(_)) => Some(Vectors::ByLeaf(tree.floats("leaf_weights")?)),
                (_, None) => Some(Vectors::ByNode(tree.floats("base_weights")?)),
            },
            split_type: optional("split_type")?,
            // No prediction needs it, so a model without it, or with a broken one, still serves.
            cover: tree.floats("sum_hessian").ok(),
            categories: Categories {
                codes: optional("categories")?,
                nodes: optional("categories_nodes")?,
                segments: optional("categories_segments")?,
                sizes: optional("categories_sizes")?,
            },
        };
        let count = nodes.left.len();
        if count == 0 {
            return malformed("expected at least one node");
        }
        let expected = parameters.count("num_nodes")?.unwrap_or(count);
        let lengths = [
            ("left_children", count),
            ("right_children", nodes.right.len()),
            ("split_indices", nodes.feature.len()),
            ("split_conditions", nodes.condition.len()),
            ("default_left", nodes.default_left.len()),
        ];
        for (name, length) in lengths {
            if length != expected {
                return malformed(format!(
                    "\"{name}\": expected one value for each of {expected} nodes, got {length}"
                ));
            }
        }
        if !matches!(nodes.split_type.len(), 0) && nodes.split_type.len() != count {
            return malformed(format!(
                "\"split_type\": expected one value for each of {count} nodes, got {}",
                nodes.split_type.len()
            ));
        }
        nodes.categories.check()?;
        Ok(nodes)
    }

    /// The covers of the nodes that the walk reached, in its order.
    fn cover(&self, splits: &[u32], leaves: &[u32]) -> Option<Cover> {
        let all = self.cover.as_ref()?;
        if all.len() != self.left.len() {
            return None;
        }
        let of = |nodes: &[u32]| nodes.iter().map(|node| all[*node as usize]).collect();
        Some(Cover::Hessian {
            splits: of(splits),
            leaves: of(leaves),
        })
    }

    /// The values of a leaf.
    fn leaf(&self, node: usize) -> Result<&[f32], ParseError> {
        let (vectors, index) = match &self.vectors {
            None => return Ok(&self.condition[node..=node]),
            Some(Vectors::ByNode(vectors)) => (vectors, Some(node)),
            Some(Vectors::ByLeaf(vectors)) => (vectors, usize::try_from(self.right[node]).ok()),
        };
        let values = index
            .and_then(|index| index.checked_mul(self.width))
            .and_then(|start| vectors.get(start..start.checked_add(self.width)?));
        match values {
            Some(values) => Ok(values),
            None => malformed(format!(
                "node {node}: a leaf of {} values is outside the {} in the tree",
                self.width,
                vectors.len()
            )),
        }
    }

    fn is_categorical(&self, node: usize) -> bool {
        self.split_type.get(node) == Some(&1)
    }

    /// The children that a row goes to when the test holds and when it does not.
    fn children(&self, node: usize) -> Result<(usize, usize), ParseError> {
        let child = |child: i64| match usize::try_from(child) {
            Ok(child) if child < self.left.len() => Ok(child),
            _ => malformed(format!(
                "node {node}: child {child} does not exist, expected 0 to {}",
                self.left.len() - 1
            )),
        };
        let (left, right) = (child(self.left[node])?, child(self.right[node])?);
        if self.is_categorical(node) {
            return Ok((right, left));
        }
        Ok((left, right))
    }
}

impl<'a> Categories<'a> {
    fn check(&self) -> Result<(), ParseError> {
        let count = self.nodes.len();
        if self.segments.len() != count || self.sizes.len() != count {
            return malformed(format!(
                "expected as many \"categories_segments\" and \"categories_sizes\" as \"categories_nodes\" ({count}), got {} and {}",
                self.segments.len(),
                self.sizes.len()
            ));
        }
        if !self.nodes.is_sorted_by(|a, b| a < b) {
            return malformed("\"categories_nodes\": expected nodes in ascending order");
        }
        Ok(())
    }

    /// The codes of a node; none for a node that is not listed, as in XGBoost.
    fn of(&self, node: usize) -> Result<&'a [i64], ParseError> {
        let Ok(at) = self.nodes.binary_search(&(node as i64)) else {
            return Ok(&[]);
        };
        let codes = usize::try_from(self.segments[at])
            .ok()
            .zip(usize::try_from(self.sizes[at]).ok())
            .and_then(|(start, size)| self.codes.get(start..start.checked_add(size)?));
        match codes {
            Some(codes) => Ok(codes),
            None => malformed(format!(
                "node {node}: {} categories from {} on are outside the {} in \"categories\"",
                self.sizes[at],
                self.segments[at],
                self.codes.len()
            )),
        }
    }
}
