//! Models of known cost, made on the spot: forests as LightGBM writes them, with random splits, and
//! a perceptron as an ONNX graph.

use std::collections::BTreeMap;
use std::fmt::Write;

use prost::Message;

/// Features of every model here.
pub const FEATURES: usize = 30;

/// Files of a revision, by name.
pub type Files = BTreeMap<String, Vec<u8>>;

/// Random numbers, the same in every run (xorshift).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// From -1 to 1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
    }
}

/// A binary classifier of `trees` trees with `leaves` leaves each, grown leaf by leaf at random, with
/// 200 thresholds per feature, as LightGBM's default of 255 bins gives.
pub fn forest(trees: usize, leaves: usize) -> Files {
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let names: Vec<String> = (0..FEATURES).map(|index| format!("f{index}")).collect();
    let infos = vec!["[-1:1]"; FEATURES].join(" ");
    let blocks: Vec<String> = (0..trees)
        .map(|index| tree(&mut random, index, leaves))
        .collect();
    let sizes: Vec<String> = blocks.iter().map(|block| block.len().to_string()).collect();
    let mut text = format!(
        "tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nlabel_index=0\nmax_feature_idx={}\nobjective=binary sigmoid:1\nfeature_names={}\nfeature_infos={infos}\ntree_sizes={}\n\n",
        FEATURES - 1,
        names.join(" "),
        sizes.join(" ")
    );
    blocks.iter().for_each(|block| text.push_str(block));
    text.push_str("end of trees\n");
    Files::from([("model.txt".to_string(), text.into_bytes())])
}

fn tree(random: &mut Random, index: usize, leaves: usize) -> String {
    // Children: a split's index, or a leaf's as -1 - leaf.
    let (mut left, mut right) = (vec![-1_i64], vec![-2_i64]);
    for split in 1..leaves - 1 {
        // The leaf that is split keeps its number on the left; the new one is on the right.
        let leaf = random.below(split + 1);
        let (old, new) = (-1 - leaf as i64, -2 - split as i64);
        for child in left.iter_mut().chain(right.iter_mut()) {
            if *child == old {
                *child = split as i64;
            }
        }
        left.push(old);
        right.push(new);
    }
    let features: Vec<usize> = left.iter().map(|_| random.below(FEATURES)).collect();
    let thresholds: Vec<f64> = left
        .iter()
        .map(|_| random.below(200) as f64 / 100.0 - 0.995)
        .collect();
    let values: Vec<f64> = (0..leaves).map(|_| random.unit() / 100.0).collect();
    let kinds = vec![2; left.len()];
    let mut text = format!("Tree={index}\nnum_leaves={leaves}\nnum_cat=0\n");
    line(&mut text, "split_feature", &features);
    line(&mut text, "threshold", &thresholds);
    line(&mut text, "decision_type", &kinds);
    line(&mut text, "left_child", &left);
    line(&mut text, "right_child", &right);
    line(&mut text, "leaf_value", &values);
    text.push_str("is_linear=0\nshrinkage=0.1\n\n\n");
    text
}

fn line<T: ToString>(text: &mut String, key: &str, values: &[T]) {
    let values: Vec<String> = values.iter().map(T::to_string).collect();
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{key}={}", values.join(" "));
}

/// A perceptron with two hidden layers of `width` as an ONNX graph, which ONNX Runtime serves.
pub fn perceptron(width: usize) -> Files {
    let mut random = Random(0x2545_F491_4F6C_DD1D);
    let mut graph = Graph {
        name: "perceptron".to_string(),
        input: vec![value("input", FEATURES)],
        output: vec![value("score", 1)],
        ..Graph::default()
    };
    let layers = [(FEATURES, width), (width, width), (width, 1)];
    let mut from = "input".to_string();
    for (index, (rows, columns)) in layers.into_iter().enumerate() {
        let last = index + 1 == layers.len();
        let (weights, product) = (format!("w{index}"), format!("p{index}"));
        let scale = (rows as f64).sqrt().recip();
        graph.initializer.push(Tensor {
            dims: vec![rows as i64, columns as i64],
            data_type: FLOAT,
            name: weights.clone(),
            raw_data: (0..rows * columns)
                .flat_map(|_| ((random.unit() * scale) as f32).to_le_bytes())
                .collect(),
        });
        let out = if last {
            "score".to_string()
        } else {
            format!("h{index}")
        };
        let (product, link) = (product, if last { "Sigmoid" } else { "Relu" });
        graph
            .node
            .push(node("MatMul", &[&from, &weights], &product));
        graph.node.push(node(link, &[&product], &out));
        from = out;
    }
    let model = Model {
        ir_version: 8,
        graph: Some(graph),
        opset_import: vec![Opset {
            domain: String::new(),
            version: 13,
        }],
    };
    Files::from([("model.onnx".to_string(), model.encode_to_vec())])
}

/// ONNX's number for 32-bit floats.
const FLOAT: i32 = 1;

fn node(op_type: &str, input: &[&str], output: &str) -> Node {
    Node {
        input: input.iter().map(ToString::to_string).collect(),
        output: vec![output.to_string()],
        op_type: op_type.to_string(),
    }
}

/// A matrix of any number of rows.
fn value(name: &str, columns: usize) -> Value {
    let dims = [
        Dimension {
            value: None,
            param: Some("n".to_string()),
        },
        Dimension {
            value: Some(columns as i64),
            param: None,
        },
    ];
    Value {
        name: name.to_string(),
        r#type: Some(Type {
            tensor: Some(TensorType {
                element: FLOAT,
                shape: Some(Shape { dim: dims.to_vec() }),
            }),
        }),
    }
}

// The part of `onnx.proto` that such a graph needs, with its field numbers.

#[derive(Clone, PartialEq, Message)]
struct Model {
    #[prost(int64, tag = "1")]
    ir_version: i64,
    #[prost(message, optional, tag = "7")]
    graph: Option<Graph>,
    #[prost(message, repeated, tag = "8")]
    opset_import: Vec<Opset>,
}

#[derive(Clone, PartialEq, Message)]
struct Opset {
    #[prost(string, tag = "1")]
    domain: String,
    #[prost(int64, tag = "2")]
    version: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Graph {
    #[prost(message, repeated, tag = "1")]
    node: Vec<Node>,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(message, repeated, tag = "5")]
    initializer: Vec<Tensor>,
    #[prost(message, repeated, tag = "11")]
    input: Vec<Value>,
    #[prost(message, repeated, tag = "12")]
    output: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
struct Node {
    #[prost(string, repeated, tag = "1")]
    input: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    output: Vec<String>,
    #[prost(string, tag = "4")]
    op_type: String,
}

#[derive(Clone, PartialEq, Message)]
struct Tensor {
    #[prost(int64, repeated, tag = "1")]
    dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    data_type: i32,
    #[prost(string, tag = "8")]
    name: String,
    #[prost(bytes = "vec", tag = "9")]
    raw_data: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    r#type: Option<Type>,
}

#[derive(Clone, PartialEq, Message)]
struct Type {
    #[prost(message, optional, tag = "1")]
    tensor: Option<TensorType>,
}

#[derive(Clone, PartialEq, Message)]
struct TensorType {
    #[prost(int32, tag = "1")]
    element: i32,
    #[prost(message, optional, tag = "2")]
    shape: Option<Shape>,
}

#[derive(Clone, PartialEq, Message)]
struct Shape {
    #[prost(message, repeated, tag = "1")]
    dim: Vec<Dimension>,
}

#[derive(Clone, PartialEq, Message)]
struct Dimension {
    #[prost(int64, optional, tag = "1")]
    value: Option<i64>,
    #[prost(string, optional, tag = "2")]
    param: Option<String>,
}
