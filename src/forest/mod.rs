//! Our own representation of a tree ensemble, read from XGBoost, LightGBM, CatBoost and ONNX files and
//! evaluated to the last bit as the original library does.
//!
//! Pure: no I/O, no other module of ours. A loaded [`Forest`] passed [`Forest::check`], so neither
//! [`reference`] nor [`kernel`] can panic or loop on it. What a parser cannot represent exactly it
//! refuses with [`ParseError::Unsupported`], and a library engine takes over.

pub mod catboost;
mod cover;
pub mod kernel;
pub mod lightgbm;
pub mod linear;
pub mod link;
pub mod onnx;
pub mod reference;
pub mod shap;
pub mod xgboost;

pub use cover::Cover;
pub use linear::{Linear, LinearLeaves};
pub use link::Link;

/// A tree ensemble: what every tree says about a row, added up per output, then linked.
#[derive(Clone, Debug, PartialEq)]
pub struct Forest {
    /// Values per row. At least 1.
    pub features: usize,
    /// Raw scores per row. At least 1.
    pub outputs: usize,
    /// The precision of thresholds, row values and sums.
    pub arithmetic: Arithmetic,
    /// In the library's order of accumulation.
    pub trees: Vec<Tree>,
    /// Category sets that [`Test::In`] points at.
    pub sets: Vec<CategorySet>,
    /// One constant per output, added where [`Base`] says.
    pub base: Vec<f64>,
    /// When the constants are added.
    pub base_order: Base,
    /// How the trees' contributions to one output become its raw score.
    pub combine: Combine,
    /// From raw scores to the prediction.
    pub link: Link,
    /// Linear models in leaves, or the weights of a linear booster.
    pub linear: Linear,
}

/// One tree. Its root is `splits[0]`, or `leaves[0]` where there is no split.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Tree {
    pub splits: Vec<Split>,
    /// `[leaves, leaf_width]`, row-major. Exact in the forest's [`Arithmetic`].
    pub leaves: Vec<f64>,
    /// Values per leaf, at least 1: they go to the outputs `output..output + leaf_width`.
    pub leaf_width: usize,
    /// The first output that this tree contributes to.
    pub output: usize,
    /// What SHAP values need; `None` where the file does not say it.
    pub cover: Option<Cover>,
    /// The library's own number of each leaf, 4 bytes a leaf; empty where that is its index.
    pub leaf_ids: Vec<u32>,
}

/// An inner node: a row goes left when the test holds, and where `missing` says if its value is
/// missing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Split {
    pub feature: u32,
    pub test: Test,
    pub missing: Missing,
    pub left: Child,
    pub right: Child,
}

/// The test of a split on a value that is not missing. Thresholds are exact in the forest's
/// [`Arithmetic`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Test {
    Less(f64),
    LessEq(f64),
    Greater(f64),
    GreaterEq(f64),
    Equal(f64),
    NotEqual(f64),
    /// The value's category is in the set with this index in [`Forest::sets`].
    In(u32),
}

/// What counts as missing at a split, and where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// NaN goes left.
    NanLeft,
    /// NaN goes right.
    NanRight,
    /// Nothing is missing: NaN is read as 0.0 (LightGBM's missing type none).
    NanIsZero,
    /// NaN and magnitudes up to 1e-35 (as f32, LightGBM's `kZeroThreshold`) go left.
    ZeroLeft,
    /// NaN and magnitudes up to 1e-35 (as f32, LightGBM's `kZeroThreshold`) go right.
    ZeroRight,
}

/// Where a split leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Child {
    /// Index into [`Tree::splits`]. Always greater than the parent's index, so no walk can loop.
    Split(u32),
    /// Index of a leaf, that is of `leaf_width` values in [`Tree::leaves`].
    Leaf(u32),
}

/// A set of category codes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CategorySet {
    /// Bit `c % 32` of word `c / 32` is set when code `c` is in the set.
    pub words: Vec<u32>,
    /// How a value becomes a code.
    pub rule: CategoryRule,
}

/// How a value that is not NaN becomes a category code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CategoryRule {
    /// XGBoost: negative values and values from 2^24 on are in no set; others are truncated.
    NonNegative,
    /// LightGBM: truncated towards zero as a C `int`; negative codes and overflow are in no set.
    Truncate,
}

/// The precision of a forest's arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    F32,
    F64,
}

/// When a forest's constants are added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// The sum starts from it.
    First,
    /// It is added to the finished sum.
    Last,
}

/// How contributions become a raw score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Combine {
    /// Their sum, in tree order.
    Sum,
    /// Their sum, in tree order, divided by this number.
    Average(f64),
    /// The smallest. Every tree has a value for every output it covers.
    Min,
    /// The largest. Every tree has a value for every output it covers.
    Max,
}

/// A parsed model: the forest and what its file says about features and classes.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    pub forest: Forest,
    /// One per feature, in row order.
    pub features: Vec<Feature>,
    /// The names of classes, in the order of the prediction's columns; empty when unknown or when
    /// the model is not a classifier.
    pub classes: Vec<String>,
    /// The objective as the file writes it, e.g. `binary:logistic`; empty when it has none.
    pub objective: String,
    /// The library's version that wrote the file, where the file says it.
    pub library_version: Option<String>,
    /// What an ONNX graph says about its outputs; `None` for other formats, whose one output is
    /// `predict`.
    pub graph: Option<onnx::GraphOutputs>,
}

/// A feature as the model's file describes it.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Feature {
    /// `None` when the file has no names.
    pub name: Option<String>,
    pub kind: FeatureKind,
}

/// What a feature's values are.
#[derive(Clone, Debug, PartialEq, Default)]
pub enum FeatureKind {
    #[default]
    Number,
    /// Category codes, and where the file has them the categories that they stand for: a
    /// category's code is its index.
    Category {
        /// Empty when the file knows codes only: then a client's numbers are the codes.
        categories: Vec<Category>,
        /// What the library does with a category that is not in the list.
        unknown: Unknown,
    },
}

/// A category as the training data wrote it.
#[derive(Clone, Debug, PartialEq)]
pub enum Category {
    Text(String),
    Number(f64),
}

/// What the library does with a category that it was not trained on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Unknown {
    /// It is read as missing (LightGBM with pandas).
    #[default]
    Missing,
    /// It is an error (XGBoost).
    Refused,
}

/// Why a file did not become a forest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// The file is broken or breaks its format's rules. Says where and what was expected.
    #[error("{0}")]
    Malformed(String),
    /// The file is fine, but a forest cannot represent it exactly. Says what it is.
    #[error("{0}")]
    Unsupported(String),
}

impl Forest {
    /// Checks everything that evaluation relies on: sizes agree; every child exists and comes after
    /// its parent; features, outputs and sets are in range; thresholds and leaves are exact in the
    /// forest's arithmetic. Parsers call it last.
    ///
    /// # Errors
    /// [`ParseError::Malformed`] with the tree, the node and what was expected.
    pub fn check(&self) -> Result<(), ParseError> {
        if self.features == 0 || self.outputs == 0 {
            return malformed("a forest needs at least one feature and one output");
        }
        if self.base.len() != self.outputs {
            return malformed(format!(
                "expected one base score per output ({}), got {}",
                self.outputs,
                self.base.len()
            ));
        }
        for (index, tree) in self.trees.iter().enumerate() {
            self.check_tree(index, tree)?;
        }
        self.check_linear()?;
        self.link.check(self.outputs)
    }

    fn check_linear(&self) -> Result<(), ParseError> {
        let Linear { leaves, weights } = &self.linear;
        if !weights.is_empty()
            && (!self.trees.is_empty()
                || Some(weights.len()) != self.features.checked_mul(self.outputs))
        {
            return malformed(
                "a linear booster needs one weight per feature and output, and no trees",
            );
        }
        if leaves.is_empty() {
            return Ok(());
        }
        if leaves.len() != self.trees.len() || self.arithmetic != Arithmetic::F64 {
            return malformed("linear leaves need 64-bit arithmetic and one entry per tree");
        }
        for (index, (tree, linear)) in self.trees.iter().zip(leaves).enumerate() {
            if tree.leaf_width != 1 && !linear.constants.is_empty() {
                return malformed(format!("tree {index}: linear leaves of several values"));
            }
            let found = linear.check(tree.leaves.len(), self.features);
            if let Err(ParseError::Malformed(reason)) = found {
                return malformed(format!("tree {index}: {reason}"));
            }
        }
        Ok(())
    }

    fn check_tree(&self, index: usize, tree: &Tree) -> Result<(), ParseError> {
        let end = tree.output.checked_add(tree.leaf_width);
        if tree.leaf_width == 0 || end.is_none_or(|end| end > self.outputs) {
            return malformed(format!(
                "tree {index}: outputs {}+{} are outside the forest's {}",
                tree.output, tree.leaf_width, self.outputs
            ));
        }
        if tree.leaves.is_empty() || !tree.leaves.len().is_multiple_of(tree.leaf_width) {
            return malformed(format!("tree {index}: no whole leaves"));
        }
        let leaves = tree.leaves.len() / tree.leaf_width;
        let whole = |cover: &Cover| cover.len() == (tree.splits.len(), leaves);
        if !tree.cover.as_ref().is_none_or(whole)
            || !(tree.leaf_ids.is_empty() || tree.leaf_ids.len() == leaves)
        {
            return malformed(format!(
                "tree {index}: expected a cover for every node and a number for every leaf"
            ));
        }
        let inexact = |value: f64| {
            self.arithmetic == Arithmetic::F32
                && !value.is_nan()
                && f64::from(value as f32) != value
        };
        for (node, split) in tree.splits.iter().enumerate() {
            if split.feature as usize >= self.features {
                return malformed(format!(
                    "tree {index}, node {node}: feature {} is outside the forest's {}",
                    split.feature, self.features
                ));
            }
            for child in [split.left, split.right] {
                let reachable = match child {
                    Child::Split(next) => {
                        (next as usize) > node && (next as usize) < tree.splits.len()
                    }
                    Child::Leaf(leaf) => (leaf as usize) < leaves,
                };
                if !reachable {
                    return malformed(format!(
                        "tree {index}, node {node}: child {child:?} does not exist or does not come after its parent"
                    ));
                }
            }
            match split.test {
                Test::In(set) if set as usize >= self.sets.len() => {
                    return malformed(format!("tree {index}, node {node}: no category set {set}"));
                }
                Test::In(_) => {}
                Test::Less(at)
                | Test::LessEq(at)
                | Test::Greater(at)
                | Test::GreaterEq(at)
                | Test::Equal(at)
                | Test::NotEqual(at) => {
                    if inexact(at) {
                        return malformed(format!(
                            "tree {index}, node {node}: threshold {at} is not a 32-bit float"
                        ));
                    }
                }
            }
        }
        if let Some(leaf) = tree.leaves.iter().find(|leaf| inexact(**leaf)) {
            return malformed(format!("tree {index}: leaf {leaf} is not a 32-bit float"));
        }
        Ok(())
    }

    /// The bytes that the forest holds on the heap, roughly.
    pub fn memory_bytes(&self) -> usize {
        let trees: usize = self
            .trees
            .iter()
            .map(|tree| {
                size_of_val(tree.splits.as_slice())
                    + size_of_val(tree.leaves.as_slice())
                    + size_of_val(tree.leaf_ids.as_slice())
                    + tree.cover.as_ref().map_or(0, Cover::memory_bytes)
            })
            .sum();
        let sets: usize = self
            .sets
            .iter()
            .map(|set| size_of_val(set.words.as_slice()))
            .sum();
        trees + sets + size_of_val(self.trees.as_slice()) + self.linear.memory_bytes()
    }
}

impl CategorySet {
    /// Whether the category of `value` is in the set. NaN is in no set.
    pub fn contains(&self, value: f64) -> bool {
        let code = match self.rule {
            CategoryRule::NonNegative if (0.0..16_777_216.0).contains(&value) => value,
            CategoryRule::Truncate if value > -1.0 && value < 2_147_483_648.0 => value,
            _ => return false,
        } as usize;
        self.words
            .get(code / 32)
            .is_some_and(|word| word >> (code % 32) & 1 == 1)
    }
}

fn malformed(reason: impl Into<String>) -> Result<(), ParseError> {
    Err(ParseError::Malformed(reason.into()))
}
