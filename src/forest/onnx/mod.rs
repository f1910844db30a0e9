//! Reads ONNX graphs that are one tree ensemble of `ai.onnx.ml`, as CatBoost, skl2onnx and
//! onnxmltools write them.
//!
//! Around the operator, only what leaves values as they are may stand: Identity, casts to the type
//! at hand, a product with 1, and ZipMap, which is taken off. The sums are ONNX Runtime's on one
//! thread, in its order and precision, so results are its bits on a machine with the same C
//! library; with several threads ONNX Runtime itself adds in another order. Every other graph is
//! refused, and ONNX Runtime takes over.

mod attributes;
mod ensemble;
pub mod link;
pub mod proto;
mod trees;

use std::collections::{HashMap, HashSet};

use prost::Message;

use super::{Arithmetic, Feature, ParseError, Parsed};
use ensemble::Ensemble;
pub use link::OnnxLink;
use proto::{DOUBLE, FLOAT, Graph, INT32, INT64, Model, Node, STRING, Tensor};

/// What a graph says about its inputs and outputs.
#[derive(Clone, Debug, PartialEq)]
pub struct GraphOutputs {
    /// The outputs in the graph's order. At least one.
    pub outputs: Vec<GraphOutput>,
    /// The label of a classifier.
    pub label: Option<Label>,
    /// Whether the graph's input is of integers, so that missing and fractions are errors.
    pub whole_numbers: bool,
}

/// One output of a graph.
#[derive(Clone, Debug, PartialEq)]
pub struct GraphOutput {
    pub name: String,
    pub kind: OutputKind,
}

/// What an output of a graph holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputKind {
    /// The class, `[n]`. Only where the graph has a label.
    Label,
    /// The prediction, `[n, width]`.
    Scores,
}

/// The label of a classifier.
#[derive(Clone, Debug, PartialEq)]
pub struct Label {
    pub rule: LabelRule,
    pub values: LabelValues,
}

/// Which class a row's raw scores choose.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LabelRule {
    /// The largest score; the first one on ties.
    Largest,
    /// The second class where the score of this output is above the threshold, else the first.
    Above { output: usize, above: f64 },
}

/// The classes, as the label names them.
#[derive(Clone, Debug, PartialEq)]
pub enum LabelValues {
    /// Up to ±2^53.
    Numbers(Vec<i64>),
    Texts(Vec<String>),
}

impl Label {
    /// The label of a row with these raw scores: the number itself, or the index of the text.
    pub fn of(&self, raw: &[f64]) -> f64 {
        let class = match self.rule {
            LabelRule::Above { output, above } => {
                usize::from(raw.get(output).is_some_and(|score| *score > above))
            }
            LabelRule::Largest => largest(raw),
        };
        match &self.values {
            LabelValues::Texts(_) => class as f64,
            LabelValues::Numbers(numbers) => numbers.get(class).map_or(f64::NAN, |x| *x as f64),
        }
    }
}

/// ONNX Runtime's `get_max_weight`: nothing is larger than a NaN that comes first.
fn largest(raw: &[f64]) -> usize {
    let mut best = 0;
    for (index, score) in raw.iter().enumerate() {
        if *score > raw[best] {
            best = index;
        }
    }
    best
}

/// Reads an ONNX model.
///
/// # Errors
/// [`ParseError::Malformed`] when the file is broken, with the tree and the node where it is one of
/// them; [`ParseError::Unsupported`] for graphs that are more than a tree ensemble and for the rare
/// ensembles whose sums a forest cannot repeat exactly.
pub fn parse(bytes: &[u8]) -> Result<Parsed, ParseError> {
    let model = decode(bytes)?;
    let Some(graph) = &model.graph else {
        return Err(malformed("not an onnx model: it has no graph"));
    };
    if !model.functions.is_empty() {
        return Err(unsupported("a model with functions of its own"));
    }
    for opset in &model.opset_import {
        if opset.domain == "ai.onnx.ml" && !(1..=4).contains(&opset.version) {
            return Err(unsupported(format!("ai.onnx.ml opset {}", opset.version)));
        }
    }
    let input = input(graph)?;
    let ones = ones(graph);
    let mut values = HashMap::from([(input.name, Value::Input)]);
    let mut ensemble = None;
    for node in &graph.node {
        step(node, &ones, &input, &mut values, &mut ensemble)?;
    }
    let Some(Ensemble {
        forest,
        classes,
        label,
    }) = ensemble
    else {
        return Err(unsupported("a graph without a tree ensemble"));
    };
    Ok(Parsed {
        features: vec![Feature::default(); forest.features],
        forest,
        classes,
        objective: String::new(),
        library_version: producer(&model),
        graph: Some(GraphOutputs {
            outputs: outputs(graph, &values)?,
            label,
            whole_numbers: input.whole_numbers,
        }),
    })
}

/// Decodes a model file.
///
/// # Errors
/// [`ParseError::Malformed`] with what prost says.
pub fn decode(bytes: &[u8]) -> Result<Model, ParseError> {
    if bytes.is_empty() {
        return Err(malformed("not an onnx model: the file is empty"));
    }
    Model::decode(bytes).map_err(|error| malformed(format!("not an onnx model: {error}")))
}

/// What a name in the graph stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value {
    Input,
    Label,
    Scores,
    /// A ZipMap's list of maps: an output, and nothing else.
    Maps,
}

/// Far more columns than any table has; a dimension in a broken file must not fill the memory.
const FEATURES_MAX: usize = 1 << 20;

/// The graph's one input.
struct Input<'a> {
    name: &'a str,
    features: usize,
    arithmetic: Arithmetic,
    whole_numbers: bool,
}

fn input(graph: &Graph) -> Result<Input<'_>, ParseError> {
    let constants: HashSet<&str> = graph
        .initializer
        .iter()
        .map(|tensor| tensor.name.as_str())
        .collect();
    let mut inputs = graph
        .input
        .iter()
        .filter(|input| !constants.contains(input.name.as_str()));
    let (Some(input), None) = (inputs.next(), inputs.next()) else {
        return Err(unsupported("a graph with more or less than one input"));
    };
    let name = input.name.as_str();
    let Some(tensor) = input.tensor() else {
        return Err(unsupported(format!("input \"{name}\" is not a tensor")));
    };
    let (arithmetic, whole_numbers) = match tensor.elem_type {
        FLOAT => (Arithmetic::F32, false),
        DOUBLE => (Arithmetic::F64, false),
        INT32 | INT64 => (Arithmetic::F32, true),
        other => {
            return Err(unsupported(format!(
                "input \"{name}\" has elements of type {other}, not numbers"
            )));
        }
    };
    let dims = tensor.shape.as_ref().map_or(&[][..], |shape| &shape.dim);
    let features = match dims {
        [_, columns] => columns
            .value
            .and_then(|columns| usize::try_from(columns).ok()),
        _ => None,
    };
    let Some(features) = features.filter(|count| (1..=FEATURES_MAX).contains(count)) else {
        return Err(unsupported(format!(
            "input \"{name}\" does not say how many features a row has, 1 to {FEATURES_MAX}"
        )));
    };
    Ok(Input {
        name,
        features,
        arithmetic,
        whole_numbers,
    })
}

/// Follows one operator: it is the tree ensemble, or it leaves values as they are.
fn step<'a>(
    node: &'a Node,
    ones: &HashSet<&str>,
    input: &Input,
    values: &mut HashMap<&'a str, Value>,
    ensemble: &mut Option<Ensemble>,
) -> Result<(), ParseError> {
    let outputs: Vec<&str> = node.output.iter().map(String::as_str).collect();
    let taken = node
        .input
        .first()
        .and_then(|name| values.get(name.as_str()).copied());
    let kind = match node.op_type.as_str() {
        "TreeEnsembleClassifier" | "TreeEnsembleRegressor" if taken == Some(Value::Input) => {
            if ensemble.is_some() {
                return Err(unsupported("a graph with several tree ensembles"));
            }
            let read = operator(node, input)?;
            let kinds: &[Value] = match read.label {
                Some(_) => &[Value::Label, Value::Scores],
                None => &[Value::Scores],
            };
            *ensemble = Some(read);
            values.extend(outputs.into_iter().zip(kinds.iter().copied()));
            return Ok(());
        }
        "Identity" if node.is_core("Identity") => taken,
        "Cast" if node.is_core("Cast") => taken.filter(|value| {
            let to = node.attributes().get("to").map_or(0, |to| to.i);
            keeps(*value, to, ensemble.as_ref())
        }),
        "Mul" if node.is_core("Mul") => times_one(node, ones, values),
        "ZipMap" if node.is_ml("ZipMap") && taken == Some(Value::Scores) => {
            let known = ensemble.as_ref().map_or(&[][..], |read| &read.classes);
            (node.class_names() == known).then_some(Value::Maps)
        }
        _ => None,
    };
    match (kind, outputs.as_slice()) {
        (Some(kind), [output]) => {
            values.insert(output, kind);
            Ok(())
        }
        _ => Err(unsupported(format!(
            "the graph has an operator {} beside its trees",
            node.op_type
        ))),
    }
}

fn operator(node: &Node, input: &Input) -> Result<Ensemble, ParseError> {
    let (features, arithmetic) = (input.features, input.arithmetic);
    if node.is_ml("TreeEnsembleClassifier") {
        return ensemble::classifier(node, features, arithmetic);
    }
    if !node.is_ml("TreeEnsembleRegressor") {
        return Err(unsupported(format!(
            "an operator of domain \"{}\"",
            node.domain
        )));
    }
    if input.whole_numbers {
        // ONNX Runtime has no such kernel.
        return Err(unsupported("a regressor on integers"));
    }
    ensemble::regressor(node, features, arithmetic)
}

/// Whether a cast to this type leaves a value as it is.
fn keeps(value: Value, to: i64, ensemble: Option<&Ensemble>) -> bool {
    let label = ensemble.and_then(|read| read.label.as_ref());
    let own = match (value, label.map(|label| &label.values)) {
        (Value::Scores, _) => FLOAT,
        (Value::Label, Some(LabelValues::Numbers(_))) => INT64,
        (Value::Label, Some(LabelValues::Texts(_))) => STRING,
        _ => return false,
    };
    to == i64::from(own)
}

/// The names of constants that are one float, 1.
fn ones(graph: &Graph) -> HashSet<&str> {
    let is_one = |tensor: &&Tensor| {
        let scalar = matches!(tensor.dims.as_slice(), [] | [1]);
        scalar && tensor.data_type == FLOAT && tensor.numbers().is_some_and(|all| all == [1.0])
    };
    let ones = graph.initializer.iter().filter(is_one);
    ones.map(|tensor| tensor.name.as_str()).collect()
}

/// The scores, when a product is of them and a constant 1.
fn times_one(node: &Node, ones: &HashSet<&str>, values: &HashMap<&str, Value>) -> Option<Value> {
    let [a, b] = node.input.as_slice() else {
        return None;
    };
    let one = |name: &str| ones.contains(name);
    let scores = |name: &str| values.get(name) == Some(&Value::Scores);
    ((scores(a) && one(b)) || (one(a) && scores(b))).then_some(Value::Scores)
}

fn outputs(graph: &Graph, values: &HashMap<&str, Value>) -> Result<Vec<GraphOutput>, ParseError> {
    let mut outputs = Vec::with_capacity(graph.output.len());
    for output in &graph.output {
        let kind = match values.get(output.name.as_str()) {
            Some(Value::Label) => OutputKind::Label,
            Some(Value::Scores | Value::Maps) => OutputKind::Scores,
            Some(Value::Input) => return Err(unsupported("an output that is the input")),
            None => {
                return Err(malformed(format!(
                    "output \"{}\" is made by no node",
                    output.name
                )));
            }
        };
        outputs.push(GraphOutput {
            name: output.name.clone(),
            kind,
        });
    }
    if outputs.is_empty() {
        return Err(malformed("the graph has no outputs"));
    }
    Ok(outputs)
}

/// Who wrote a file, with the version. CatBoost's version may go on for lines about its build.
pub fn producer(model: &Model) -> Option<String> {
    let version = model.producer_version.lines().next().unwrap_or_default();
    let producer = format!("{} {version}", model.producer_name);
    let producer = producer.trim();
    (!producer.is_empty()).then(|| producer.to_string())
}

fn malformed(reason: impl Into<String>) -> ParseError {
    ParseError::Malformed(reason.into())
}

fn unsupported(reason: impl Into<String>) -> ParseError {
    ParseError::Unsupported(reason.into())
}

#[cfg(test)]
mod tests;
