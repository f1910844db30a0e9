//! One tree operator: its trees, its sums and, for a classifier, its label, by the rules of ONNX
//! Runtime's `tree_ensemble_aggregator.h`.
//!
//! ONNX Runtime's sums start at +0.0 and take the base values last. A sum without base values
//! therefore starts from a base of 0.0; one with them starts from nothing, which differs in the
//! sign of a zero alone, and that is gone once a base value other than -0.0 is added.

use super::attributes::Attributes;
use super::link::{Columns, OnnxLink, Transform};
use super::proto::Node;
use super::trees::{Nodes, Read, Weights};
use super::{Label, LabelRule, LabelValues, ParseError};
use crate::forest::{Arithmetic, Base, Combine, Forest, Linear, Link, Tree};

/// An operator as a forest.
#[derive(Debug)]
pub struct Ensemble {
    pub forest: Forest,
    /// The classes of a classifier; empty for a regressor.
    pub classes: Vec<String>,
    /// The label of a classifier.
    pub label: Option<Label>,
}

/// Integers up to here are exact in a 64-bit float.
const EXACT: u64 = 1 << 53;

/// Reads a `TreeEnsembleRegressor` on rows of `features` values.
///
/// # Errors
/// What is broken, or what a forest cannot represent exactly.
pub fn regressor(
    node: &Node,
    features: usize,
    arithmetic: Arithmetic,
) -> Result<Ensemble, ParseError> {
    let from = Attributes::of(node, arithmetic);
    let targets = from.int("n_targets");
    let outputs = usize::try_from(targets)
        .ok()
        .filter(|targets| *targets > 0)
        .ok_or_else(|| malformed(format!("n_targets: expected 1 or more, got {targets}")))?;
    if outputs > from.ints("target_ids").len() {
        return Err(unsupported(format!("{targets} targets with fewer weights")));
    }
    let weights = Weights::read(&from, "target", outputs)?;
    let read = Nodes::read(&from, features)?.trees(&weights, outputs)?;
    let aggregate = from.string("aggregate_function", "SUM");
    let combine = match aggregate.as_str() {
        "SUM" => Combine::Sum,
        "AVERAGE" => Combine::Average(read.trees.len() as f64),
        "MIN" => Combine::Min,
        "MAX" => Combine::Max,
        other => {
            return Err(malformed(format!(
                "aggregate_function: expected SUM, AVERAGE, MIN or MAX, got {other}"
            )));
        }
    };
    let extreme = matches!(combine, Combine::Min | Combine::Max);
    let always = read.always.iter().all(|always| *always);
    if extreme && !(read.full && always) {
        return Err(unsupported(format!(
            "{aggregate} where a leaf has no weight for a target"
        )));
    }
    let base = from.numbers("base_values")?;
    // ONNX Runtime reads a sum of no weights as 0, whatever its base value.
    if !base.is_empty() && !always {
        return Err(unsupported(
            "base values where a target has no weight on some rows",
        ));
    }
    let transform = match (transform(&from)?, outputs) {
        // ONNX Runtime ignores the others where there is one target.
        (Transform::Probit, 1) => Transform::Probit,
        (_, 1) => Transform::None,
        (transform, _) => transform,
    };
    let mut forest = forest(read, features, arithmetic, Columns::Each, transform)?;
    forest.outputs = outputs;
    forest.combine = combine;
    let given = given_base(&base, outputs)?;
    // The smallest and the largest start from the first tree, so a base always comes last.
    set_base(&mut forest, given, extreme);
    forest.check()?;
    Ok(Ensemble {
        forest,
        classes: Vec::new(),
        label: None,
    })
}

/// Reads a `TreeEnsembleClassifier` on rows of `features` values.
///
/// # Errors
/// What is broken, or what a forest cannot represent exactly.
pub fn classifier(
    node: &Node,
    features: usize,
    arithmetic: Arithmetic,
) -> Result<Ensemble, ParseError> {
    let from = Attributes::of(node, arithmetic);
    let values = label_values(&from)?;
    let classes = node.class_names();
    let outputs = classes.len();
    if outputs < 2 {
        return Err(unsupported(format!("a classifier of {outputs} classes")));
    }
    let weights = Weights::read(&from, "class", outputs)?;
    let mut read = Nodes::read(&from, features)?.trees(&weights, outputs)?;
    let base = from.numbers("base_values")?;
    let transform = transform(&from)?;
    let scores = match outputs {
        2 => two_classes(&mut read, &weights, &base, transform, values)?,
        _ => many_classes(&read, &weights, &base, values)?,
    };
    let mut forest = forest(
        read,
        features,
        arithmetic,
        scores.columns,
        match scores.columns {
            // ONNX Runtime applies nothing to complements, and the logistic function alone to mirrors
            // of an unlinked score.
            Columns::Complement => Transform::None,
            Columns::Mirror if !scores.every_transform && transform != Transform::Logistic => {
                Transform::None
            }
            _ => transform,
        },
    )?;
    forest.outputs = scores.outputs;
    set_base(&mut forest, scores.base, false);
    forest.check()?;
    Ok(Ensemble {
        forest,
        classes,
        label: Some(scores.label),
    })
}

/// How a classifier's sums become columns and a label.
struct Scores {
    outputs: usize,
    columns: Columns,
    /// Whether mirrored columns take any transform, not the logistic function alone.
    every_transform: bool,
    base: Option<Vec<f64>>,
    label: Label,
}

/// Three classes and more: the label is the class with the largest score, the first one on ties.
fn many_classes(
    read: &Read,
    weights: &Weights,
    base: &[f64],
    values: LabelValues,
) -> Result<Scores, ParseError> {
    let outputs = read.always.len();
    let base = given_base(base, outputs)?;
    let all = read.always.iter().all(|always| *always);
    let positive = weights.values.iter().all(|weight| *weight > 0.0);
    // A class without a score cannot win in ONNX Runtime, even when the others are below 0.
    if !all && base.is_none() && !positive {
        return Err(unsupported(
            "a class without a score on some rows, beside weights that are not positive",
        ));
    }
    Ok(Scores {
        outputs,
        columns: Columns::Each,
        every_transform: true,
        base,
        label: Label {
            rule: LabelRule::Largest,
            values,
        },
    })
}

/// Two classes: one column of weights or two, and a threshold on the second class's score.
fn two_classes(
    read: &mut Read,
    weights: &Weights,
    base: &[f64],
    transform: Transform,
    values: LabelValues,
) -> Result<Scores, ParseError> {
    let uses = |class: usize| weights.outputs.contains(&class);
    let positive = !weights.values.iter().any(|weight| *weight < 0.0);
    let above = if positive { 0.5 } else { 0.0 };
    // With weights for both classes, ONNX Runtime's labels are 0 and 1 whatever the classes are.
    let plain = match &values {
        LabelValues::Numbers(_) => LabelValues::Numbers(vec![0, 1]),
        texts => texts.clone(),
    };
    let scores = |outputs, columns, base, (output, above, values)| Scores {
        outputs,
        columns,
        every_transform: false,
        base,
        label: Label {
            rule: LabelRule::Above { output, above },
            values,
        },
    };
    let both = read.always.iter().all(|always| *always);
    match (uses(0), uses(1), base) {
        (true, false, [] | [_]) if transform == Transform::Probit => {
            Err(unsupported("PROBIT with one score for two classes"))
        }
        (true, false, [] | [_]) => {
            // Releases before 1.31 leave the logistic function out here.
            let columns = match positive && transform != Transform::Logistic {
                true => Columns::Complement,
                false => Columns::Mirror,
            };
            Ok(scores(1, columns, given_base(base, 1)?, (0, above, values)))
        }
        (false, true, []) => Ok(scores(2, Columns::Each, None, (1, above, values))),
        (true, true, []) if both => Ok(scores(2, Columns::Each, None, (1, 0.0, plain))),
        (true, true, [first]) if both => {
            let base = Some(vec![*first, 0.0]);
            Ok(scores(2, Columns::Each, base, (1, 0.0, plain)))
        }
        (true, true, [_, base]) if both => {
            // ONNX Runtime takes the first class's sum and the second base value for the second
            // class's score, and its negative for the first's.
            for tree in &mut read.trees {
                keep_first_output(tree);
            }
            let mirrored = scores(1, Columns::Mirror, Some(vec![*base]), (0, 0.0, plain));
            Ok(Scores {
                every_transform: true,
                ..mirrored
            })
        }
        (first, second, base) => Err(unsupported(format!(
            "two classes with weights for {} of them and {} base values",
            usize::from(first) + usize::from(second),
            base.len()
        ))),
    }
}

/// Leaves the weights for output 0 alone; a tree without any adds 0.
fn keep_first_output(tree: &mut Tree) {
    let first = tree.output == 0;
    tree.leaves = tree
        .leaves
        .chunks_exact(tree.leaf_width)
        .map(|leaf| if first { leaf[0] } else { 0.0 })
        .collect();
    tree.leaf_width = 1;
    tree.output = 0;
}

fn label_values(from: &Attributes) -> Result<LabelValues, ParseError> {
    let numbers = from.ints("classlabels_int64s");
    let texts = from.strings("classlabels_strings");
    if !numbers.is_empty() && !texts.is_empty() {
        return Err(malformed(
            "classlabels_int64s and classlabels_strings are both there",
        ));
    }
    if let Some(number) = numbers.iter().find(|number| number.unsigned_abs() > EXACT) {
        return Err(unsupported(format!(
            "the class label {number} is beyond 2^53"
        )));
    }
    if texts.is_empty() {
        return Ok(LabelValues::Numbers(numbers.to_vec()));
    }
    let text = |text: &Vec<u8>| {
        String::from_utf8(text.clone())
            .map_err(|_| malformed("classlabels_strings: a label is not utf-8"))
    };
    Ok(LabelValues::Texts(
        texts.iter().map(text).collect::<Result<_, _>>()?,
    ))
}

fn transform(from: &Attributes) -> Result<Transform, ParseError> {
    match from.string("post_transform", "NONE").as_str() {
        "NONE" => Ok(Transform::None),
        "LOGISTIC" => Ok(Transform::Logistic),
        "SOFTMAX" => Ok(Transform::Softmax),
        "SOFTMAX_ZERO" => Ok(Transform::SoftmaxZero),
        "PROBIT" => Ok(Transform::Probit),
        other => Err(malformed(format!(
            "post_transform: expected NONE, LOGISTIC, SOFTMAX, SOFTMAX_ZERO or PROBIT, got {other}"
        ))),
    }
}

/// A forest without base values that sums its trees.
fn forest(
    read: Read,
    features: usize,
    arithmetic: Arithmetic,
    columns: Columns,
    transform: Transform,
) -> Result<Forest, ParseError> {
    if transform == Transform::SoftmaxZero && arithmetic == Arithmetic::F64 {
        return Err(unsupported("SOFTMAX_ZERO of 64-bit sums"));
    }
    Ok(Forest {
        features,
        outputs: 0,
        arithmetic,
        trees: read.trees,
        sets: Vec::new(),
        base: Vec::new(),
        base_order: Base::First,
        combine: Combine::Sum,
        link: Link::Onnx(OnnxLink { columns, transform }),
        linear: Linear::default(),
    })
}

/// The base values, when there are as many as outputs. ONNX Runtime ignores some other numbers of
/// them and misreads others.
fn given_base(base: &[f64], outputs: usize) -> Result<Option<Vec<f64>>, ParseError> {
    match base.len() {
        0 => Ok(None),
        count if count == outputs => Ok(Some(base.to_vec())),
        count => Err(unsupported(format!(
            "{count} base values for {outputs} outputs"
        ))),
    }
}

fn set_base(forest: &mut Forest, base: Option<Vec<f64>>, last: bool) {
    forest.base_order = match base.is_some() || last {
        true => Base::Last,
        false => Base::First,
    };
    forest.base = base.unwrap_or_else(|| vec![0.0; forest.outputs]);
    for value in &mut forest.base {
        // -0.0 becomes 0.0.
        *value += 0.0;
    }
}

fn malformed(reason: impl Into<String>) -> ParseError {
    ParseError::Malformed(reason.into())
}

fn unsupported(reason: impl Into<String>) -> ParseError {
    ParseError::Unsupported(reason.into())
}
