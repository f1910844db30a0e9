//! One `Tree=` block of the text: its fields, its splits and its leaves.

use std::collections::HashMap;

use super::ParseError;
use super::text::{lines, malformed, real, whole, words};
use crate::forest::linear::LinearLeaves;
use crate::forest::reference::ZERO_THRESHOLD;
use crate::forest::{CategoryRule, CategorySet, Child, Cover, Missing, Split, Test, Tree};

/// Bits of a `decision_type`.
const CATEGORICAL: u8 = 1;
const DEFAULT_LEFT: u8 = 2;

/// The lines of a tree by key.
pub struct Fields<'a> {
    index: usize,
    values: HashMap<&'a str, &'a str>,
}

/// The lines of one tree, without its `Tree=` line and its final empty line.
pub struct Block<'a> {
    /// The byte that its `Tree=` line starts at.
    pub start: usize,
    pub text: &'a str,
}

/// The blocks of all trees from byte `start` on, and where the last one ends.
pub fn blocks(text: &str, start: usize) -> Result<(Vec<Block<'_>>, usize), ParseError> {
    let mut blocks = Vec::new();
    let mut end = start;
    // Where the open block and its text start.
    let mut open: Option<(usize, usize)> = None;
    let mut lines = lines(text, start).peekable();
    while let Some((at, line)) = lines.next() {
        match open {
            Some((start, body)) if line.is_empty() => {
                let text = &text[body..at];
                blocks.push(Block { start, text });
                end = at;
                open = None;
            }
            Some(_) => {}
            None if line.is_empty() => {}
            None if line.starts_with("Tree=") => {
                open = Some((at, lines.peek().map_or(text.len(), |(next, _)| *next)));
            }
            None => break,
        }
    }
    if open.is_some() {
        return malformed(format!(
            "tree {}: the file ends inside it, before its empty line",
            blocks.len()
        ));
    }
    Ok((blocks, end))
}

/// Checks that every tree lies where the header's `tree_sizes` say: the library jumps by them.
pub fn check_sizes(blocks: &[Block], start: usize, sizes: &str) -> Result<(), ParseError> {
    let mut expected = start;
    let mut sizes = words(sizes);
    for (index, block) in blocks.iter().enumerate() {
        let size: Option<usize> = sizes.next().and_then(whole);
        if block.start != expected {
            return malformed(format!(
                "tree {index}: expected at byte {expected} (tree_sizes), found at {}",
                block.start
            ));
        }
        match size.and_then(|size| expected.checked_add(size)) {
            Some(next) => expected = next,
            None => return malformed(format!("tree {index}: tree_sizes has no size for it")),
        }
    }
    if sizes.next().is_some() {
        return malformed(format!(
            "tree {}: it is in tree_sizes, but not in the file",
            blocks.len()
        ));
    }
    Ok(())
}

impl<'a> Fields<'a> {
    pub fn read(index: usize, block: &'a str) -> Result<Fields<'a>, ParseError> {
        let mut values = HashMap::new();
        for (_, line) in lines(block, 0) {
            let Some((key, value)) = line.split_once('=') else {
                return malformed(format!(
                    "tree {index}: expected key=value, got \"{}\"",
                    cut(line)
                ));
            };
            if values.insert(key, value).is_some() {
                return malformed(format!("tree {index}: {} is there twice", cut(key)));
            }
        }
        Ok(Fields { index, values })
    }

    /// The linear models of the leaves, where `is_linear` says so; [`crate::forest::Forest::check`]
    /// checks their features.
    pub fn linear_leaves(&self) -> Result<Option<LinearLeaves>, ParseError> {
        let linear = match self.values.get("is_linear") {
            Some(_) => self.number("is_linear")? != 0,
            None => false,
        };
        if !linear {
            return Ok(None);
        }
        let leaves = self.leaves()?;
        // A constant may be NaN: the library writes what its solver gives.
        let constants = self.array("leaf_const", leaves, real)?;
        let mut starts = vec![0_u32];
        let mut terms = 0_u32;
        for count in self.array("num_features", leaves, whole::<u32>)? {
            terms = terms.saturating_add(count);
            starts.push(terms);
        }
        Ok(Some(LinearLeaves {
            constants,
            starts,
            features: self.array("leaf_features", terms as usize, whole)?,
            coefficients: self.reals("leaf_coeff", terms as usize)?,
        }))
    }

    /// The tree for output 0. Its category sets are added to `sets`.
    pub fn tree(&self, features: usize, sets: &mut Vec<CategorySet>) -> Result<Tree, ParseError> {
        let leaves = self.leaves()?;
        let leaf_values = self.reals("leaf_value", leaves)?;
        let mut tree = Tree {
            splits: Vec::new(),
            leaves: leaf_values,
            leaf_width: 1,
            ..Tree::default()
        };
        let categories = match self.number("num_cat")? {
            count if count < 0 => return malformed(format!("tree {}: num_cat < 0", self.index)),
            count => count as usize,
        };
        if leaves == 1 {
            tree.cover = self.cover(leaves, &[]);
            return Ok(tree);
        }
        let first_set = sets.len();
        if categories > 0 {
            self.read_sets(categories, sets)?;
        }
        let nodes = Nodes {
            feature: self.array("split_feature", leaves - 1, whole)?,
            threshold: self.reals("threshold", leaves - 1)?,
            decision: match self.values.get("decision_type") {
                Some(_) => self.array("decision_type", leaves - 1, whole)?,
                None => vec![0; leaves - 1],
            },
            left: self.array("left_child", leaves - 1, whole)?,
            right: self.array("right_child", leaves - 1, whole)?,
        };
        let place = nodes.places(self.index)?;
        let mut splits = Vec::with_capacity(nodes.feature.len());
        for node in 0..nodes.feature.len() {
            let fail =
                |what: String| malformed(format!("tree {}, node {node}: {what}", self.index));
            let feature = nodes.feature[node];
            if usize::try_from(feature).map_or(true, |feature| feature >= features) {
                return fail(format!("feature {feature}, but the model has {features}"));
            }
            let (test, missing) = match nodes.test(node, categories) {
                Ok((Test::In(set), missing)) => (Test::In(first_set as u32 + set), missing),
                Ok(numeric) => numeric,
                Err(what) => return fail(what),
            };
            let child = |child: i32| match child {
                // Places were checked: a split is in range, and !child is a leaf in range.
                0.. => Child::Split(place[child as usize]),
                _ => Child::Leaf(!child as u32),
            };
            splits.push(Split {
                feature: feature as u32,
                test,
                missing,
                left: child(nodes.left[node]),
                right: child(nodes.right[node]),
            });
        }
        tree.splits = ordered(splits, &place);
        tree.cover = self.cover(leaves, &place);
        Ok(tree)
    }

    /// The counts of rows, splits in the order of `place`. No prediction needs them, so a model
    /// without them, or with broken ones, still serves.
    fn cover(&self, leaves: usize, place: &[u32]) -> Option<Cover> {
        let counts = match place.len() {
            0 => Vec::new(),
            count => self.array("internal_count", count, whole::<i32>).ok()?,
        };
        Some(Cover::Count {
            splits: ordered(counts, place),
            leaves: self.array("leaf_count", leaves, whole::<i32>).ok()?,
        })
    }

    fn read_sets(&self, count: usize, sets: &mut Vec<CategorySet>) -> Result<(), ParseError> {
        let bounds: Vec<u32> = self.array("cat_boundaries", count.saturating_add(1), whole)?;
        if bounds[0] != 0 || !bounds.is_sorted() {
            return malformed(format!(
                "tree {}: cat_boundaries do not rise from 0",
                self.index
            ));
        }
        let words: Vec<u32> = self.array("cat_threshold", bounds[count] as usize, whole::<u32>)?;
        for bounds in bounds.windows(2) {
            sets.push(CategorySet {
                words: words[bounds[0] as usize..bounds[1] as usize].to_vec(),
                rule: CategoryRule::Truncate,
            });
        }
        if u32::try_from(sets.len()).is_err() {
            return malformed(format!("tree {}: 2^32 category sets or more", self.index));
        }
        Ok(())
    }

    fn leaves(&self) -> Result<usize, ParseError> {
        let leaves = self.number("num_leaves")?;
        // Before anything is sized by it: every leaf has a value of at least two bytes.
        let room = self.values.get("leaf_value").map_or(0, |text| text.len());
        if leaves < 1 || leaves as usize > room {
            return malformed(format!(
                "tree {}: num_leaves is {leaves}, which does not fit its leaf_value",
                self.index
            ));
        }
        Ok(leaves as usize)
    }

    fn number(&self, key: &str) -> Result<i32, ParseError> {
        let value = self.value(key)?;
        whole(value).map_or_else(
            || {
                malformed(format!(
                    "tree {}: {key}=\"{}\" is not a whole number",
                    self.index,
                    cut(value)
                ))
            },
            Ok,
        )
    }

    /// Numbers that are not NaN.
    fn reals(&self, key: &str, count: usize) -> Result<Vec<f64>, ParseError> {
        self.array(key, count, |word| {
            real(word).filter(|value| !value.is_nan())
        })
    }

    fn array<T>(
        &self,
        key: &str,
        count: usize,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<Vec<T>, ParseError> {
        let mut values = Vec::new();
        for word in words(self.value(key)?) {
            let Some(value) = read(word) else {
                return malformed(format!(
                    "tree {}: {key} {}: \"{}\" is not a number that is allowed here",
                    self.index,
                    values.len(),
                    cut(word)
                ));
            };
            values.push(value);
        }
        if values.len() != count {
            return malformed(format!(
                "tree {}: {key} has {} values, expected {count}",
                self.index,
                values.len()
            ));
        }
        Ok(values)
    }

    fn value(&self, key: &str) -> Result<&'a str, ParseError> {
        match self.values.get(key) {
            Some(value) => Ok(value),
            None => malformed(format!("tree {}: it has no {key}", self.index)),
        }
    }
}

/// The parallel arrays of a tree's splits, all of one length.
struct Nodes {
    feature: Vec<i32>,
    threshold: Vec<f64>,
    decision: Vec<u8>,
    left: Vec<i32>,
    right: Vec<i32>,
}

impl Nodes {
    /// Where every split goes so that children come after their parents: where it is, if the file
    /// has that order already, as the library's own files do.
    ///
    /// # Errors
    /// When a child does not exist, or the splits and leaves are not one tree.
    fn places(&self, tree: usize) -> Result<Vec<u32>, ParseError> {
        let splits = self.feature.len();
        let mut seen_splits = vec![false; splits];
        let mut seen_leaves = vec![false; splits + 1];
        let mut places = vec![0; splits];
        let mut in_order = true;
        let mut open = vec![0_usize];
        seen_splits[0] = true;
        let mut visited = 0;
        while let Some(node) = open.pop() {
            places[node] = visited;
            visited += 1;
            for child in [self.right[node], self.left[node]] {
                let seen = match usize::try_from(child) {
                    Ok(split) => {
                        in_order &= split > node;
                        open.push(split);
                        seen_splits.get_mut(split)
                    }
                    Err(_) => seen_leaves.get_mut(!child as usize),
                };
                let fail = |what: &str| {
                    malformed(format!("tree {tree}, node {node}: child {child} {what}"))
                };
                match seen {
                    None => return fail("does not exist"),
                    Some(true) => return fail("has two parents or lies on a cycle"),
                    Some(seen) => *seen = true,
                }
            }
        }
        if visited as usize != splits {
            return malformed(format!(
                "tree {tree}: {} of {splits} nodes cannot be reached, they lie on a cycle",
                splits - visited as usize
            ));
        }
        if in_order {
            return Ok((0..splits as u32).collect());
        }
        Ok(places)
    }

    /// What a node asks, `Test::In` with the tree's own index of the set, and what is missing.
    fn test(&self, node: usize, categories: usize) -> Result<(Test, Missing), String> {
        let decision = self.decision[node];
        let threshold = self.threshold[node];
        if decision & CATEGORICAL != 0 {
            if threshold.fract() != 0.0 || !(0.0..categories as f64).contains(&threshold) {
                return Err(format!(
                    "threshold {threshold} is no category set, the tree has {categories}"
                ));
            }
            // The library looks at no missing type here: NaN is in no set.
            return Ok((Test::In(threshold as u32), Missing::NanRight));
        }
        let missing = match (decision >> 2, decision & DEFAULT_LEFT != 0) {
            (0, _) => Missing::NanIsZero,
            (1, true) => Missing::ZeroLeft,
            (1, false) => Missing::ZeroRight,
            (2, true) => Missing::NanLeft,
            (2, false) => Missing::NanRight,
            _ => return Err(format!("decision_type {decision} is unknown")),
        };
        Ok((Test::LessEq(flushed(threshold)), missing))
    }
}

/// The threshold that says of every value what `threshold` says of the value that the library's
/// trees see: its predictor reads magnitudes up to `ZERO_THRESHOLD` as 0.0.
fn flushed(threshold: f64) -> f64 {
    if threshold.abs() > ZERO_THRESHOLD {
        return threshold;
    }
    if threshold >= 0.0 {
        return ZERO_THRESHOLD;
    }
    (-ZERO_THRESHOLD).next_down()
}

fn ordered<T>(nodes: Vec<T>, places: &[u32]) -> Vec<T> {
    let mut order: Vec<(u32, T)> = places.iter().copied().zip(nodes).collect();
    order.sort_unstable_by_key(|(place, _)| *place);
    order.into_iter().map(|(_, node)| node).collect()
}

/// The start of a text, for messages.
fn cut(text: &str) -> String {
    text.chars().take(40).collect()
}
