//! From an operator's parallel node lists to trees.
//!
//! As in ONNX Runtime, a tree is a run of nodes with one tree id, and its root is the first of
//! them. Where ONNX Runtime would read something else into a list than a tree, it is refused.

use std::collections::{HashMap, HashSet};

use super::ParseError;
use super::attributes::Attributes;
use crate::forest::{Child, Missing, Split, Test, Tree};

/// The lists of one operator, all of the same length.
#[derive(Debug)]
pub struct Nodes<'a> {
    trees: &'a [i64],
    ids: &'a [i64],
    features: &'a [i64],
    values: Vec<f64>,
    modes: Vec<Mode>,
    truths: &'a [i64],
    falses: &'a [i64],
    /// Empty when NaN is never sent to the true branch.
    tracks: &'a [i64],
    features_limit: usize,
}

/// The weights of leaves.
#[derive(Debug)]
pub struct Weights<'a> {
    /// `target` or `class`: the prefix of the attributes' names.
    pub prefix: &'static str,
    trees: &'a [i64],
    nodes: &'a [i64],
    /// Each below the number of outputs.
    pub outputs: Vec<usize>,
    pub values: Vec<f64>,
}

/// What a list of nodes gives.
#[derive(Debug)]
pub struct Read {
    pub trees: Vec<Tree>,
    /// Per output, whether every row ends in some leaf with a weight for it.
    pub always: Vec<bool>,
    /// Whether every leaf of every tree has a weight for each output of its tree.
    pub full: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    LessEq,
    Less,
    GreaterEq,
    Greater,
    Equal,
    NotEqual,
    Leaf,
}

/// One step of the walk through a tree.
enum Step {
    Enter { node: usize, parent: Option<Parent> },
    Leave { node: usize },
}

/// The place in a tree's splits that a child belongs to.
#[derive(Clone, Copy)]
struct Parent {
    split: usize,
    truth: bool,
}

/// Leaves of a tree, while it is walked: the indices of their weights.
type Leaves = Vec<Vec<usize>>;

impl<'a> Nodes<'a> {
    /// The node lists of an operator on rows of `features` values.
    ///
    /// # Errors
    /// The list that is missing, torn or out of range.
    pub fn read(from: &Attributes<'a>, features: usize) -> Result<Nodes<'a>, ParseError> {
        let trees = from.ints("nodes_treeids");
        let count = trees.len();
        if count == 0 {
            return Err(malformed("nodes_treeids: the ensemble has no nodes"));
        }
        let same = |name: &str, list: &'a [i64]| {
            check_length(name, list.len(), count)?;
            Ok::<&'a [i64], ParseError>(list)
        };
        let values = from.numbers("nodes_values")?;
        check_length("nodes_values", values.len(), count)?;
        let modes = from.strings("nodes_modes");
        check_length("nodes_modes", modes.len(), count)?;
        let tracks = from.ints("nodes_missing_value_tracks_true");
        if !tracks.is_empty() {
            check_length("nodes_missing_value_tracks_true", tracks.len(), count)?;
        }
        Ok(Nodes {
            trees,
            ids: same("nodes_nodeids", from.ints("nodes_nodeids"))?,
            features: same("nodes_featureids", from.ints("nodes_featureids"))?,
            values,
            modes: modes
                .iter()
                .map(|name| mode_of(name))
                .collect::<Result<_, _>>()?,
            truths: same("nodes_truenodeids", from.ints("nodes_truenodeids"))?,
            falses: same("nodes_falsenodeids", from.ints("nodes_falsenodeids"))?,
            tracks,
            features_limit: features,
        })
    }

    /// Puts the trees together.
    ///
    /// # Errors
    /// [`ParseError::Malformed`] or [`ParseError::Unsupported`] with the tree and the node.
    pub fn trees(&self, weights: &Weights, outputs: usize) -> Result<Read, ParseError> {
        let index = self.index()?;
        let of_node = weights.by_node(&index, self)?;
        let mut read = Read {
            trees: Vec::new(),
            always: vec![false; outputs],
            full: true,
        };
        let mut seen = HashSet::new();
        let mut start = 0;
        for run in self.trees.chunk_by(|a, b| a == b) {
            let tree = run[0];
            if !seen.insert(tree) {
                return Err(scattered(tree));
            }
            let (splits, leaves) = self.walk(start..start + run.len(), &index, &of_node)?;
            read.push(splits, &leaves, weights)?;
            start += run.len();
        }
        Ok(read)
    }

    fn index(&self) -> Result<HashMap<(i64, i64), usize>, ParseError> {
        let mut index = HashMap::with_capacity(self.ids.len());
        for (at, (tree, node)) in self.trees.iter().zip(self.ids).enumerate() {
            if index.insert((*tree, *node), at).is_some() {
                return Err(malformed(format!(
                    "tree {tree}, node {node}: the node is listed twice"
                )));
            }
        }
        Ok(index)
    }

    /// Walks the tree whose nodes are `run`, parents before children.
    fn walk(
        &self,
        run: std::ops::Range<usize>,
        index: &HashMap<(i64, i64), usize>,
        weights: &[Vec<usize>],
    ) -> Result<(Vec<Split>, Leaves), ParseError> {
        let start = run.start;
        let (mut splits, mut leaves) = (Vec::new(), Vec::new());
        // Per node of the run: whether it was entered, and whether it is an ancestor of the step.
        let mut entered = vec![false; run.len()];
        let mut open = vec![false; run.len()];
        let mut steps = vec![Step::Enter {
            node: start,
            parent: None,
        }];
        while let Some(step) = steps.pop() {
            let (node, parent) = match step {
                Step::Leave { node } => {
                    open[node - start] = false;
                    continue;
                }
                Step::Enter { node, parent } => (node, parent),
            };
            if !run.contains(&node) {
                return Err(scattered(self.trees[node]));
            }
            if open[node - start] {
                return Err(malformed(format!("{}: a cycle", self.place(node))));
            }
            if entered[node - start] {
                return Err(ParseError::Unsupported(format!(
                    "{}: two nodes lead to it",
                    self.place(node)
                )));
            }
            entered[node - start] = true;
            let child = if self.modes[node] == Mode::Leaf {
                leaves.push(self.leaf(node, weights)?);
                Child::Leaf(narrow(leaves.len() - 1)?)
            } else {
                open[node - start] = true;
                let split = splits.len();
                splits.push(self.split(node)?);
                steps.push(Step::Leave { node });
                for truth in [false, true] {
                    let parent = Some(Parent { split, truth });
                    let node = self.child(node, truth, index)?;
                    steps.push(Step::Enter { node, parent });
                }
                Child::Split(narrow(split)?)
            };
            attach(&mut splits, parent, child);
        }
        if let Some(node) = entered.iter().position(|entered| !entered) {
            return Err(ParseError::Unsupported(format!(
                "{}: it is not below the tree's first listed node",
                self.place(start + node)
            )));
        }
        Ok((splits, leaves))
    }

    fn leaf(&self, node: usize, weights: &[Vec<usize>]) -> Result<Vec<usize>, ParseError> {
        if weights[node].is_empty() {
            return Err(ParseError::Unsupported(format!(
                "{}: a leaf without a weight",
                self.place(node)
            )));
        }
        Ok(weights[node].clone())
    }

    /// The split at a node; its children are set when they are reached.
    fn split(&self, node: usize) -> Result<Split, ParseError> {
        let feature = u32::try_from(self.features[node])
            .ok()
            .filter(|feature| (*feature as usize) < self.features_limit)
            .ok_or_else(|| {
                malformed(format!(
                    "{}: nodes_featureids: feature {} is outside the input's {}",
                    self.place(node),
                    self.features[node],
                    self.features_limit
                ))
            })?;
        let at = self.values[node];
        let test = match self.modes[node] {
            Mode::LessEq => Test::LessEq(at),
            Mode::Less => Test::Less(at),
            Mode::GreaterEq => Test::GreaterEq(at),
            Mode::Greater => Test::Greater(at),
            Mode::Equal => Test::Equal(at),
            Mode::NotEqual | Mode::Leaf => Test::NotEqual(at),
        };
        // NaN fails every comparison but "not equal", so it takes the false branch elsewhere.
        let tracked = self.tracks.get(node) == Some(&1);
        let missing = if tracked || self.modes[node] == Mode::NotEqual {
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

    fn child(
        &self,
        node: usize,
        truth: bool,
        index: &HashMap<(i64, i64), usize>,
    ) -> Result<usize, ParseError> {
        let (name, list) = match truth {
            true => ("nodes_truenodeids", self.truths),
            false => ("nodes_falsenodeids", self.falses),
        };
        let child = index.get(&(self.trees[node], list[node])).copied();
        child.ok_or_else(|| {
            malformed(format!(
                "{}: {name}: the tree has no node {}",
                self.place(node),
                list[node]
            ))
        })
    }

    fn place(&self, node: usize) -> String {
        format!("tree {}, node {}", self.trees[node], self.ids[node])
    }
}

impl<'a> Weights<'a> {
    /// The weights of an operator with this many outputs.
    ///
    /// # Errors
    /// The list that is torn or out of range.
    pub fn read(
        from: &Attributes<'a>,
        prefix: &'static str,
        outputs: usize,
    ) -> Result<Weights<'a>, ParseError> {
        let ids = from.ints(&format!("{prefix}_ids"));
        let trees = from.ints(&format!("{prefix}_treeids"));
        let nodes = from.ints(&format!("{prefix}_nodeids"));
        let values = from.numbers(&format!("{prefix}_weights"))?;
        for (name, length) in [
            ("treeids", trees.len()),
            ("nodeids", nodes.len()),
            ("weights", values.len()),
        ] {
            check_length(&format!("{prefix}_{name}"), length, ids.len())?;
        }
        let inside = |id: &i64| {
            usize::try_from(*id)
                .ok()
                .filter(|id| *id < outputs)
                .ok_or_else(|| {
                    malformed(format!(
                        "{prefix}_ids: {id} is outside the model's {outputs}"
                    ))
                })
        };
        Ok(Weights {
            prefix,
            trees,
            nodes,
            outputs: ids.iter().map(inside).collect::<Result<_, _>>()?,
            values,
        })
    }

    /// Per node, the indices of its weights. Those of inner nodes, which old converters wrote, are
    /// left out, as ONNX Runtime does.
    fn by_node(
        &self,
        index: &HashMap<(i64, i64), usize>,
        nodes: &Nodes,
    ) -> Result<Vec<Vec<usize>>, ParseError> {
        let mut found = vec![Vec::new(); nodes.ids.len()];
        for (weight, (tree, node)) in self.trees.iter().zip(self.nodes).enumerate() {
            let Some(at) = index.get(&(*tree, *node)) else {
                return Err(malformed(format!(
                    "{}_nodeids: tree {tree} has no node {node}",
                    self.prefix
                )));
            };
            if nodes.modes[*at] == Mode::Leaf {
                found[*at].push(weight);
            }
        }
        Ok(found)
    }
}

impl Read {
    fn push(
        &mut self,
        splits: Vec<Split>,
        leaves: &[Vec<usize>],
        weights: &Weights,
    ) -> Result<(), ParseError> {
        let tree = self.trees.len();
        let used = || {
            leaves
                .iter()
                .flatten()
                .map(|weight| weights.outputs[*weight])
        };
        let (Some(first), Some(last)) = (used().min(), used().max()) else {
            return Err(malformed(format!("tree {tree}: no leaves")));
        };
        let width = last - first + 1;
        // Leaves are dense here; a file with few weights for many outputs must not grow far.
        if leaves.len().saturating_mul(width) > 64 * weights.values.len() + 1_000_000 {
            return Err(ParseError::Unsupported(format!(
                "tree {tree}: its leaves have few weights for {width} outputs"
            )));
        }
        let mut values = vec![0.0; leaves.len() * width];
        let mut scored = vec![0; width];
        let mut last_leaf = vec![usize::MAX; width];
        for (leaf, found) in leaves.iter().enumerate() {
            for weight in found {
                let column = weights.outputs[*weight] - first;
                if last_leaf[column] == leaf {
                    return Err(ParseError::Unsupported(format!(
                        "tree {tree}: a leaf has several weights for output {}",
                        weights.outputs[*weight]
                    )));
                }
                last_leaf[column] = leaf;
                scored[column] += 1;
                values[leaf * width + column] = weights.values[*weight];
            }
        }
        for (column, scored) in scored.iter().enumerate() {
            self.always[first + column] |= *scored == leaves.len();
            self.full &= *scored == leaves.len();
        }
        self.trees.push(Tree {
            splits,
            leaves: values,
            leaf_width: width,
            output: first,
            ..Tree::default()
        });
        Ok(())
    }
}

fn attach(splits: &mut [Split], parent: Option<Parent>, child: Child) {
    match parent {
        Some(Parent { split, truth: true }) => splits[split].left = child,
        Some(Parent { split, .. }) => splits[split].right = child,
        None => {}
    }
}

fn scattered(tree: i64) -> ParseError {
    ParseError::Unsupported(format!("tree {tree}: its nodes are not listed together"))
}

fn mode_of(name: &[u8]) -> Result<Mode, ParseError> {
    Ok(match name {
        b"BRANCH_LEQ" => Mode::LessEq,
        b"BRANCH_LT" => Mode::Less,
        b"BRANCH_GTE" => Mode::GreaterEq,
        b"BRANCH_GT" => Mode::Greater,
        b"BRANCH_EQ" => Mode::Equal,
        b"BRANCH_NEQ" => Mode::NotEqual,
        b"LEAF" => Mode::Leaf,
        _ => {
            return Err(malformed(format!(
                "nodes_modes: unknown mode \"{}\"",
                String::from_utf8_lossy(name)
            )));
        }
    })
}

fn check_length(name: &str, length: usize, expected: usize) -> Result<(), ParseError> {
    if length == expected {
        return Ok(());
    }
    Err(malformed(format!(
        "{name}: expected {expected} values, got {length}"
    )))
}

fn narrow(index: usize) -> Result<u32, ParseError> {
    u32::try_from(index).map_err(|_| ParseError::Unsupported("2^32 nodes or more".to_string()))
}

fn malformed(reason: impl Into<String>) -> ParseError {
    ParseError::Malformed(reason.into())
}
