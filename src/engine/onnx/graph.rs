//! What is read from and changed in a model file before ONNX Runtime sees it: ZipMap operators are
//! taken off, so that probabilities are tensors, and class labels are collected.

use std::collections::{HashMap, HashSet};

use prost::Message;

use crate::engine::EngineError;
use crate::forest::onnx::proto::{Graph, ValueInfo};
use crate::forest::onnx::{decode, proto};

/// A model file, ready for ONNX Runtime.
#[derive(Debug)]
pub struct Prepared {
    pub bytes: Vec<u8>,
    /// In the graph's order.
    pub outputs: Vec<GraphOutput>,
    /// Every string that the graph can put out as a label.
    pub texts: Vec<String>,
    /// The classes of the graph's classifiers; empty when they differ or there is none.
    pub classes: Vec<String>,
    /// Who wrote the file.
    pub producer: Option<String>,
}

/// One output of the graph.
#[derive(Debug)]
pub struct GraphOutput {
    /// The graph's name for it.
    pub name: String,
    /// The name of its tensor, which is another one where a ZipMap was taken off.
    pub tensor: String,
    /// The classes of a ZipMap that was taken off; else empty.
    pub labels: Vec<String>,
}

/// `ModelProto` with every field as it came, for writing the file back.
#[derive(Clone, PartialEq, Message)]
struct RawModel {
    #[prost(int64, optional, tag = "1")]
    ir_version: Option<i64>,
    #[prost(bytes = "vec", optional, tag = "2")]
    producer_name: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "3")]
    producer_version: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "4")]
    domain: Option<Vec<u8>>,
    #[prost(int64, optional, tag = "5")]
    model_version: Option<i64>,
    #[prost(bytes = "vec", optional, tag = "6")]
    doc_string: Option<Vec<u8>>,
    #[prost(message, optional, tag = "7")]
    graph: Option<RawGraph>,
    #[prost(bytes = "vec", repeated, tag = "8")]
    opset_import: Vec<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "14")]
    metadata_props: Vec<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "20")]
    training_info: Vec<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "25")]
    functions: Vec<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "26")]
    configuration: Vec<Vec<u8>>,
}

/// `GraphProto` with every field as it came.
#[derive(Clone, PartialEq, Message)]
struct RawGraph {
    #[prost(bytes = "vec", repeated, tag = "1")]
    node: Vec<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "2")]
    name: Option<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "5")]
    initializer: Vec<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "10")]
    doc_string: Option<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "11")]
    input: Vec<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "12")]
    output: Vec<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "13")]
    value_info: Vec<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "14")]
    quantization_annotation: Vec<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "15")]
    sparse_initializer: Vec<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "16")]
    metadata_props: Vec<Vec<u8>>,
}

/// Reads a model file and takes off the ZipMaps whose maps are outputs.
///
/// # Errors
/// [`EngineError::Malformed`] when it is not an ONNX model.
pub fn prepare(bytes: &[u8]) -> Result<Prepared, EngineError> {
    let malformed = |error: String| EngineError::Malformed(error);
    let model = decode(bytes).map_err(|error| malformed(error.to_string()))?;
    let Some(graph) = &model.graph else {
        return Err(malformed("not an onnx model: it has no graph".to_string()));
    };
    let outputs = outputs(graph);
    let zipped = outputs.iter().any(|output| output.tensor != output.name);
    let bytes = match zipped {
        true => without_zip_maps(bytes, graph, &outputs)
            .map_err(|error| malformed(format!("not an onnx model: {error}")))?,
        false => bytes.to_vec(),
    };
    Ok(Prepared {
        bytes,
        outputs,
        texts: texts(graph),
        classes: classes(graph),
        producer: crate::forest::onnx::producer(&model),
    })
}

impl Prepared {
    /// The classes that an output with this many columns has a score of; empty when unknown.
    pub fn classes_of(&self, columns: usize) -> Vec<String> {
        if self.classes.len() == columns {
            return self.classes.clone();
        }
        Vec::new()
    }
}

/// The one list of class labels that all classifiers of the graph share.
fn classes(graph: &Graph) -> Vec<String> {
    let mut lists = graph
        .node
        .iter()
        .map(proto::Node::class_names)
        .filter(|names| !names.is_empty());
    let first = lists.next().unwrap_or_default();
    if lists.all(|names| names == first) {
        return first;
    }
    Vec::new()
}

fn outputs(graph: &Graph) -> Vec<GraphOutput> {
    let zips: HashMap<&str, &proto::Node> = graph
        .node
        .iter()
        .filter(|node| node.is_ml("ZipMap"))
        .filter_map(|node| node.output.first().map(|output| (output.as_str(), node)))
        .collect();
    let plain = |name: &str| GraphOutput {
        name: name.to_string(),
        tensor: name.to_string(),
        labels: Vec::new(),
    };
    let output = |output: &ValueInfo| {
        let zip = zips.get(output.name.as_str());
        match zip.and_then(|zip| zip.input.first().map(|tensor| (zip, tensor))) {
            None => plain(&output.name),
            Some((zip, tensor)) => GraphOutput {
                name: output.name.clone(),
                tensor: tensor.clone(),
                labels: zip.class_names(),
            },
        }
    };
    graph.output.iter().map(output).collect()
}

/// The file without the ZipMaps, whose inputs become outputs in their places.
fn without_zip_maps(
    bytes: &[u8],
    graph: &Graph,
    outputs: &[GraphOutput],
) -> Result<Vec<u8>, prost::DecodeError> {
    let mut raw = RawModel::decode(bytes)?;
    let Some(raw_graph) = &mut raw.graph else {
        return Ok(bytes.to_vec());
    };
    let zipped: HashSet<&str> = outputs
        .iter()
        .filter(|output| output.tensor != output.name)
        .map(|output| output.name.as_str())
        .collect();
    let taken_off = |node: &proto::Node| {
        let output = node.output.first().map_or("", String::as_str);
        node.is_ml("ZipMap") && zipped.contains(output)
    };
    let mut nodes = graph.node.iter();
    raw_graph
        .node
        .retain(|_| !nodes.next().is_some_and(taken_off));
    let mut given = HashSet::new();
    let mut infos = Vec::with_capacity(outputs.len());
    for (info, output) in raw_graph.output.iter().zip(outputs) {
        if !given.insert(output.tensor.as_str()) {
            continue;
        }
        infos.push(match output.tensor == output.name {
            true => info.clone(),
            false => float_tensor(&output.tensor).encode_to_vec(),
        });
    }
    raw_graph.output = infos;
    Ok(raw.encode_to_vec())
}

fn float_tensor(name: &str) -> ValueInfo {
    ValueInfo {
        name: name.to_string(),
        kind: Some(proto::Type {
            tensor: Some(proto::TensorType {
                elem_type: proto::FLOAT,
                shape: None,
            }),
        }),
    }
}

/// The strings in attributes and initializers, each once, in the order of the file.
fn texts(graph: &Graph) -> Vec<String> {
    let mut seen = HashSet::new();
    let labels = [
        "classlabels_strings",
        "values_strings",
        "keys_strings",
        "cats_strings",
    ];
    let attributes = graph
        .node
        .iter()
        .flat_map(|node| &node.attribute)
        .filter(|attribute| labels.contains(&attribute.name.as_str()))
        .flat_map(|attribute| &attribute.strings);
    let constants = graph
        .node
        .iter()
        .flat_map(|node| &node.attribute)
        .filter_map(|attribute| attribute.t.as_ref());
    let tensors = graph
        .initializer
        .iter()
        .chain(constants)
        .flat_map(|tensor| &tensor.string_data);
    attributes
        .chain(tensors)
        .map(|text| String::from_utf8_lossy(text).into_owned())
        .filter(|text| seen.insert(text.clone()))
        .collect()
}
