//! Reads CatBoost's own models, saved as JSON (`save_model(..., format="json")`), without
//! categorical, text and embedding features.
//!
//! CatBoost rounds a row's values to 32 bits, compares `value > border`, and adds leaves up in 64
//! bits, tree by tree, before the bias. Here rows stay in 64 bits and borders become the 64-bit
//! thresholds that say the same of every value, so a forest of 64-bit arithmetic gives its raw
//! values to the last bit. They are those of the model that wrote the file: CatBoost's own reader
//! of JSON loses digits. An oblivious tree becomes the full binary tree of its levels.

mod model;

use std::collections::HashSet;

use super::{
    Arithmetic, Base, Child, Combine, Feature, FeatureKind, Forest, Linear, Link, Missing,
    ParseError, Parsed, Split, Test, Tree,
};
use model::{Branch, FloatFeature, Model, NanTreatment, Node, Oblivious};

/// CatBoost's own limit. A tree of this depth has 65,536 leaves in the file.
const DEPTH_MAX: usize = 16;

/// Reads a model that was saved as JSON.
///
/// # Errors
/// [`ParseError::Unsupported`] for features that are no numbers, scales other than 1 and losses
/// whose predictions are not known here; [`ParseError::Malformed`] for everything broken.
pub fn parse_json(bytes: &[u8]) -> Result<Parsed, ParseError> {
    let model: Model = serde_json::from_slice(bytes)
        .map_err(|error| ParseError::Malformed(format!("not a catboost json model: {error}")))?;
    let info = &model.features_info;
    for (what, list) in [
        ("categorical", &info.categorical_features),
        ("text", &info.text_features),
        ("embedding", &info.embedding_features),
    ] {
        if !list.is_empty() {
            return unsupported(format!("catboost: {what} features"));
        }
    }
    let (scale, base) = &model.scale_and_bias;
    if *scale != 1.0 {
        return unsupported(format!("catboost: scale {scale}, expected 1"));
    }
    let outputs = base.len();
    let loss = model.model_info.loss();
    let mut trees = Vec::with_capacity(model.oblivious_trees.len() + model.trees.len());
    for (index, tree) in model.oblivious_trees.iter().enumerate() {
        trees.push(named(
            index,
            oblivious(tree, &info.float_features, outputs),
        )?);
    }
    for (index, root) in model.trees.iter().enumerate() {
        trees.push(named(
            index,
            branching(root, &info.float_features, outputs),
        )?);
    }
    let forest = Forest {
        features: info.float_features.len(),
        outputs,
        arithmetic: Arithmetic::F64,
        trees,
        sets: Vec::new(),
        base: base.clone(),
        base_order: Base::Last,
        combine: Combine::Sum,
        link: link(loss, outputs)?,
        linear: Linear::default(),
    };
    forest.check()?;
    Ok(Parsed {
        features: features(&info.float_features)?,
        forest,
        classes: if outputs > 1 {
            model.model_info.classes(outputs)
        } else {
            Vec::new()
        },
        objective: loss.to_string(),
        library_version: model.model_info.version(),
        graph: None,
    })
}

/// What `predict_proba` of a classifier gives (of two classes, the second's column), and what
/// `predict` of a regressor gives.
fn link(loss: &str, outputs: usize) -> Result<Link, ParseError> {
    let link = match loss {
        "Logloss" | "CrossEntropy" | "MultiClassOneVsAll" | "MultiLogloss"
        | "MultiCrossEntropy" => Link::Sigmoid64 { slope: 1.0 },
        "MultiClass" => Link::Softmax64,
        "Poisson" | "Tweedie" => Link::Exp64,
        "RMSE"
        | "MAE"
        | "Quantile"
        | "MultiQuantile"
        | "LogLinQuantile"
        | "Expectile"
        | "MAPE"
        | "Lq"
        | "Huber"
        | "RMSPE"
        | "MultiRMSE"
        | "MultiRMSEWithMissingValues"
        | "SurvivalAft"
        | "QueryRMSE"
        | "YetiRank"
        | "YetiRankPairwise"
        | "PairLogit"
        | "PairLogitPairwise"
        | "QuerySoftMax"
        | "StochasticFilter"
        | "LambdaMart"
        | "StochasticRank" => Link::Identity,
        "" => return unsupported("catboost: the file does not say its loss function"),
        _ => return unsupported(format!("catboost: loss function \"{loss}\"")),
    };
    if matches!(link, Link::Exp64) && outputs > 1 {
        return malformed(format!("catboost: {loss} with {outputs} outputs"));
    }
    Ok(link)
}

fn features(floats: &[FloatFeature]) -> Result<Vec<Feature>, ParseError> {
    let mut names = HashSet::new();
    for (index, feature) in floats.iter().enumerate() {
        if feature.feature_index != index || feature.flat_feature_index != index {
            return malformed(format!(
                "catboost: float_features: expected feature {index}, got {} ({})",
                feature.feature_index, feature.flat_feature_index
            ));
        }
        if !feature.feature_id.is_empty() && !names.insert(feature.feature_id.as_str()) {
            return malformed(format!(
                "catboost: two features are named \"{}\"",
                feature.feature_id
            ));
        }
    }
    let named = names.len() == floats.len();
    let feature = |feature: &FloatFeature| Feature {
        name: named.then(|| feature.feature_id.clone()),
        kind: FeatureKind::Number,
    };
    Ok(floats.iter().map(feature).collect())
}

/// The full binary tree of an oblivious one. Bit `i` of a leaf's index is the answer of split `i`,
/// so the last split is asked first.
fn oblivious(
    tree: &Oblivious,
    features: &[FloatFeature],
    outputs: usize,
) -> Result<Tree, ParseError> {
    let depth = tree.splits.len();
    if depth > DEPTH_MAX {
        return malformed(format!("depth {depth}, expected at most {DEPTH_MAX}"));
    }
    if tree.leaf_values.len() != outputs << depth {
        return malformed(format!(
            "leaf_values: expected {} values for {depth} splits and {outputs} outputs, got {}",
            outputs << depth,
            tree.leaf_values.len()
        ));
    }
    let mut splits = Vec::with_capacity((1 << depth) - 1);
    for level in 0..depth {
        let asked = tree.splits[depth - 1 - level].split(features)?;
        let next_level = (2 << level) - 1;
        for position in 0..1_u32 << level {
            let child = |child: u32| match level + 1 == depth {
                true => Child::Leaf(child),
                false => Child::Split(next_level + child),
            };
            splits.push(Split {
                left: child(2 * position + 1),
                right: child(2 * position),
                ..asked
            });
        }
    }
    Ok(Tree {
        splits,
        leaves: tree.leaf_values.clone(),
        leaf_width: outputs,
        output: 0,
        ..Tree::default()
    })
}

/// A tree of other growing policies: nested nodes, whose right side is where the value is greater.
fn branching(root: &Branch, features: &[FloatFeature], outputs: usize) -> Result<Tree, ParseError> {
    let mut tree = Tree {
        leaf_width: outputs,
        ..Tree::default()
    };
    // A node, and the split and the side that it hangs from.
    let mut open = vec![(root, None)];
    while let Some((node, parent)) = open.pop() {
        let child = match node.node() {
            None => return malformed("a node is neither a split nor a leaf"),
            Some(Node::Leaf(values)) => {
                let leaf = tree.leaves.len() / outputs.max(1);
                if values.len() != outputs {
                    return malformed(format!(
                        "a leaf has {} values, expected {outputs}",
                        values.len()
                    ));
                }
                tree.leaves.extend_from_slice(values);
                Child::Leaf(leaf as u32)
            }
            Some(Node::Split { split, left, right }) => {
                let index = tree.splits.len();
                tree.splits.push(split.split(features)?);
                open.push((left, Some((index, false))));
                open.push((right, Some((index, true))));
                Child::Split(index as u32)
            }
        };
        match parent {
            None => {}
            Some((split, true)) => tree.splits[split].left = child,
            Some((split, false)) => tree.splits[split].right = child,
        }
    }
    Ok(tree)
}

impl model::Condition {
    /// The split whose left side is where the value is greater; its children are not known yet.
    fn split(&self, features: &[FloatFeature]) -> Result<Split, ParseError> {
        if self.split_type != "FloatFeature" {
            return unsupported(format!("catboost: a split of type {}", self.split_type));
        }
        let feature = self.float_feature_index.unwrap_or(usize::MAX);
        let Some(described) = features.get(feature) else {
            return malformed(format!(
                "a split on feature {feature}, which does not exist"
            ));
        };
        let Some(border) = self.border else {
            return malformed("a split without a border");
        };
        Ok(Split {
            feature: feature as u32,
            test: Test::Greater(threshold(border as f32)),
            // Every border is below what a missing value stands for, or none is.
            missing: match described.nan_value_treatment {
                NanTreatment::True => Missing::NanLeft,
                NanTreatment::False | NanTreatment::Unknown => Missing::NanRight,
            },
            left: Child::Leaf(0),
            right: Child::Leaf(0),
        })
    }
}

/// The 64-bit number that `x` is greater than exactly where `x`, rounded to 32 bits, is greater
/// than the border: half way to the border's next neighbour, or right below where that half way
/// itself rounds up (to the even one of the two).
fn threshold(border: f32) -> f64 {
    if border.is_infinite() {
        return f64::from(border);
    }
    let next = border.next_up();
    let upper = match next.is_infinite() {
        true => 2_f64.powi(128),
        false => f64::from(next),
    };
    let half_way = (f64::from(border) + upper) / 2.0;
    if half_way as f32 > border {
        return half_way.next_down();
    }
    half_way
}

fn named<T>(tree: usize, read: Result<T, ParseError>) -> Result<T, ParseError> {
    read.map_err(|error| match error {
        ParseError::Malformed(reason) => {
            ParseError::Malformed(format!("catboost: tree {tree}: {reason}"))
        }
        refused => refused,
    })
}

fn malformed<T>(reason: impl Into<String>) -> Result<T, ParseError> {
    Err(ParseError::Malformed(reason.into()))
}

fn unsupported<T>(reason: impl Into<String>) -> Result<T, ParseError> {
    Err(ParseError::Unsupported(reason.into()))
}

#[cfg(test)]
mod tests;
