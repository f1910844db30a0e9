//! The few messages of ONNX's protobuf format (`onnx.proto`) that trees and class labels need.
//!
//! Fields that nobody here reads are left out: prost skips them. Protobuf lengths are checked by
//! prost, and no message holds itself, so hostile bytes can neither recurse nor overflow.

use std::collections::HashMap;

use prost::Message;

/// A model file.
#[derive(Clone, PartialEq, Message)]
pub struct Model {
    #[prost(int64, tag = "1")]
    pub ir_version: i64,
    #[prost(string, tag = "2")]
    pub producer_name: String,
    #[prost(string, tag = "3")]
    pub producer_version: String,
    #[prost(message, optional, tag = "7")]
    pub graph: Option<Graph>,
    #[prost(message, repeated, tag = "8")]
    pub opset_import: Vec<Opset>,
    /// Functions of the model's own; only whether there are any is of interest.
    #[prost(bytes = "vec", repeated, tag = "25")]
    pub functions: Vec<Vec<u8>>,
}

/// The version of an operator set that a model uses.
#[derive(Clone, PartialEq, Message)]
pub struct Opset {
    #[prost(string, tag = "1")]
    pub domain: String,
    #[prost(int64, tag = "2")]
    pub version: i64,
}

/// A graph: nodes in topological order.
#[derive(Clone, PartialEq, Message)]
pub struct Graph {
    #[prost(message, repeated, tag = "1")]
    pub node: Vec<Node>,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(message, repeated, tag = "5")]
    pub initializer: Vec<Tensor>,
    #[prost(message, repeated, tag = "11")]
    pub input: Vec<ValueInfo>,
    #[prost(message, repeated, tag = "12")]
    pub output: Vec<ValueInfo>,
}

/// One operator.
#[derive(Clone, PartialEq, Message)]
pub struct Node {
    #[prost(string, repeated, tag = "1")]
    pub input: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub output: Vec<String>,
    #[prost(string, tag = "4")]
    pub op_type: String,
    #[prost(message, repeated, tag = "5")]
    pub attribute: Vec<Attribute>,
    #[prost(string, tag = "7")]
    pub domain: String,
}

/// A named setting of an operator. Which field holds the value follows from the name.
#[derive(Clone, PartialEq, Message)]
pub struct Attribute {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(int64, tag = "3")]
    pub i: i64,
    #[prost(bytes = "vec", tag = "4")]
    pub s: Vec<u8>,
    #[prost(message, optional, tag = "5")]
    pub t: Option<Tensor>,
    #[prost(float, repeated, packed = "false", tag = "7")]
    pub floats: Vec<f32>,
    #[prost(int64, repeated, packed = "false", tag = "8")]
    pub ints: Vec<i64>,
    #[prost(bytes = "vec", repeated, tag = "9")]
    pub strings: Vec<Vec<u8>>,
    /// Which of the fields holds the value, by `AttributeProto.AttributeType`.
    #[prost(int32, tag = "20")]
    pub kind: i32,
}

/// Constant numbers or strings.
#[derive(Clone, PartialEq, Message)]
pub struct Tensor {
    #[prost(int64, repeated, tag = "1")]
    pub dims: Vec<i64>,
    /// One of the numbers below.
    #[prost(int32, tag = "2")]
    pub data_type: i32,
    #[prost(float, repeated, tag = "4")]
    pub float_data: Vec<f32>,
    #[prost(bytes = "vec", repeated, tag = "6")]
    pub string_data: Vec<Vec<u8>>,
    #[prost(string, tag = "8")]
    pub name: String,
    /// Little-endian, instead of the typed fields.
    #[prost(bytes = "vec", tag = "9")]
    pub raw_data: Vec<u8>,
    #[prost(double, repeated, tag = "10")]
    pub double_data: Vec<f64>,
}

/// A graph's input or output.
#[derive(Clone, PartialEq, Message)]
pub struct ValueInfo {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(message, optional, tag = "2")]
    pub kind: Option<Type>,
}

/// What a value is; without `tensor`, it is a sequence, a map or something rarer.
#[derive(Clone, PartialEq, Message)]
pub struct Type {
    #[prost(message, optional, tag = "1")]
    pub tensor: Option<TensorType>,
}

/// A tensor's element type and shape.
#[derive(Clone, PartialEq, Message)]
pub struct TensorType {
    #[prost(int32, tag = "1")]
    pub elem_type: i32,
    #[prost(message, optional, tag = "2")]
    pub shape: Option<Shape>,
}

/// A tensor's dimensions.
#[derive(Clone, PartialEq, Message)]
pub struct Shape {
    #[prost(message, repeated, tag = "1")]
    pub dim: Vec<Dimension>,
}

/// One dimension.
#[derive(Clone, PartialEq, Message)]
pub struct Dimension {
    /// Absent or 0 where the dimension is only known at run time.
    #[prost(int64, optional, tag = "1")]
    pub value: Option<i64>,
}

/// `TensorProto.DataType` of 32-bit floats.
pub const FLOAT: i32 = 1;
/// `TensorProto.DataType` of 32-bit integers.
pub const INT32: i32 = 6;
/// `TensorProto.DataType` of 64-bit integers.
pub const INT64: i32 = 7;
/// `TensorProto.DataType` of strings.
pub const STRING: i32 = 8;
/// `TensorProto.DataType` of 64-bit floats.
pub const DOUBLE: i32 = 11;

impl Node {
    /// Whether this is the operator `op` of ONNX's machine learning domain.
    pub fn is_ml(&self, op: &str) -> bool {
        self.domain == "ai.onnx.ml" && self.op_type == op
    }

    /// Whether this is the operator `op` of ONNX's own domain.
    pub fn is_core(&self, op: &str) -> bool {
        matches!(self.domain.as_str(), "" | "ai.onnx") && self.op_type == op
    }

    /// The attributes by name; the last one counts, as in protobuf maps.
    pub fn attributes(&self) -> HashMap<&str, &Attribute> {
        self.attribute
            .iter()
            .map(|attribute| (attribute.name.as_str(), attribute))
            .collect()
    }

    /// The class labels of a classifier or ZipMap as text; empty when it has none.
    pub fn class_names(&self) -> Vec<String> {
        let mut names = Vec::new();
        for attribute in &self.attribute {
            match attribute.name.as_str() {
                "classlabels_strings" => names.extend(
                    attribute
                        .strings
                        .iter()
                        .map(|name| String::from_utf8_lossy(name).into_owned()),
                ),
                "classlabels_int64s" | "classlabels_ints" => {
                    names.extend(attribute.ints.iter().map(i64::to_string));
                }
                _ => {}
            }
        }
        names
    }
}

impl Tensor {
    /// The numbers of a tensor of floats or doubles; `None` for any other type or a torn tensor.
    pub fn numbers(&self) -> Option<Vec<f64>> {
        match self.data_type {
            FLOAT if self.raw_data.is_empty() => Some(
                self.float_data
                    .iter()
                    .map(|value| f64::from(*value))
                    .collect(),
            ),
            DOUBLE if self.raw_data.is_empty() => Some(self.double_data.clone()),
            FLOAT => {
                let (values, rest) = self.raw_data.as_chunks::<4>();
                let read = |bytes: &[u8; 4]| f64::from(f32::from_le_bytes(*bytes));
                rest.is_empty().then(|| values.iter().map(read).collect())
            }
            DOUBLE => {
                let (values, rest) = self.raw_data.as_chunks::<8>();
                let read = |bytes: &[u8; 8]| f64::from_le_bytes(*bytes);
                rest.is_empty().then(|| values.iter().map(read).collect())
            }
            _ => None,
        }
    }
}

impl ValueInfo {
    /// The tensor's type; `None` when it is not a tensor.
    pub fn tensor(&self) -> Option<&TensorType> {
        self.kind.as_ref()?.tensor.as_ref()
    }
}
