//! Random tree operators against ONNX Runtime: every node mode, aggregate, transform, base and
//! class layout that forest takes. A graph that forest refuses is passed over, and most must not
//! be.

use hedgerow::forest::onnx::proto::{
    Attribute, DOUBLE, Dimension, FLOAT, Graph, INT32, INT64, Model, Node, Opset, Shape,
    TensorType, Type, ValueInfo,
};
use prost::Message;

use super::exact_onnx::{Random, check_bytes};

const MODES: [&str; 6] = [
    "BRANCH_LEQ",
    "BRANCH_LT",
    "BRANCH_GTE",
    "BRANCH_GT",
    "BRANCH_EQ",
    "BRANCH_NEQ",
];
const TRANSFORMS: [&str; 5] = ["NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO", "PROBIT"];
const AGGREGATES: [&str; 4] = ["SUM", "AVERAGE", "MIN", "MAX"];
/// Few and small, so that equal thresholds and chains of equality tests are common.
const THRESHOLDS: [f32; 8] = [-1.5, -0.0, 0.0, 1.0, 2.0, 3.0, 1e-40, 0.1];
const FEATURES: usize = 3;

/// The parallel lists of one operator, in the order they are filled.
#[derive(Default)]
struct Lists {
    trees: Vec<i64>,
    ids: Vec<i64>,
    features: Vec<i64>,
    values: Vec<f32>,
    modes: Vec<&'static str>,
    truths: Vec<i64>,
    falses: Vec<i64>,
    tracks: Vec<i64>,
    weight_trees: Vec<i64>,
    weight_nodes: Vec<i64>,
    weight_ids: Vec<i64>,
    weights: Vec<f32>,
}

/// What all trees of one operator share.
struct Style {
    modes: Vec<&'static str>,
    tracks: bool,
    positive: bool,
    /// Outputs that each leaf of a tree has weights for, by tree.
    targets: fn(usize, usize) -> Vec<i64>,
    outputs: usize,
}

fn pick<T: Copy>(random: &mut Random, from: &[T]) -> T {
    from[random.below(from.len())]
}

impl Lists {
    fn push_tree(&mut self, random: &mut Random, style: &Style, tree: usize) {
        let first = self.ids.len();
        let mut open = vec![(0_i64, 0_usize)];
        let mut next = 1;
        while let Some((id, depth)) = open.pop() {
            let leaf = depth == 5 || (depth > 0 && random.below(4) == 0) || random.below(20) == 0;
            self.trees.push(tree as i64);
            self.ids.push(id);
            self.features.push(random.below(FEATURES) as i64);
            self.values.push(pick(random, &THRESHOLDS));
            self.tracks
                .push(i64::from(style.tracks && random.below(2) == 0));
            if leaf {
                self.modes.push("LEAF");
                self.truths.push(0);
                self.falses.push(0);
                self.push_weights(random, style, tree, id);
            } else {
                self.modes.push(pick(random, &style.modes));
                self.truths.push(next);
                self.falses.push(next + 1);
                open.push((next, depth + 1));
                open.push((next + 1, depth + 1));
                next += 2;
            }
        }
        // The root stays first; the others may come in any order.
        for at in first + 1..self.ids.len() {
            let other = at + random.below(self.ids.len() - at);
            self.swap(at, other);
        }
    }

    fn push_weights(&mut self, random: &mut Random, style: &Style, tree: usize, id: i64) {
        for target in (style.targets)(tree, style.outputs) {
            let weight = random.below(2_000_001) as f32 / 1e6 - 1.0;
            self.weight_trees.push(tree as i64);
            self.weight_nodes.push(id);
            self.weight_ids.push(target);
            self.weights.push(if style.positive {
                weight.abs() / 8.0
            } else {
                weight
            });
        }
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.ids.swap(a, b);
        self.features.swap(a, b);
        self.values.swap(a, b);
        self.modes.swap(a, b);
        self.truths.swap(a, b);
        self.falses.swap(a, b);
        self.tracks.swap(a, b);
    }

    fn attributes(self, prefix: &str) -> Vec<Attribute> {
        let modes = self.modes.iter().map(|mode| mode.as_bytes().to_vec());
        vec![
            ints("nodes_treeids", self.trees),
            ints("nodes_nodeids", self.ids),
            ints("nodes_featureids", self.features),
            floats("nodes_values", self.values),
            strings("nodes_modes", modes.collect()),
            ints("nodes_truenodeids", self.truths),
            ints("nodes_falsenodeids", self.falses),
            ints("nodes_missing_value_tracks_true", self.tracks),
            ints(&format!("{prefix}_treeids"), self.weight_trees),
            ints(&format!("{prefix}_nodeids"), self.weight_nodes),
            ints(&format!("{prefix}_ids"), self.weight_ids),
            floats(&format!("{prefix}_weights"), self.weights),
        ]
    }
}

fn ints(name: &str, ints: Vec<i64>) -> Attribute {
    Attribute {
        name: name.to_string(),
        ints,
        kind: 7,
        ..Attribute::default()
    }
}

fn floats(name: &str, floats: Vec<f32>) -> Attribute {
    Attribute {
        name: name.to_string(),
        floats,
        kind: 6,
        ..Attribute::default()
    }
}

fn strings(name: &str, strings: Vec<Vec<u8>>) -> Attribute {
    Attribute {
        name: name.to_string(),
        strings,
        kind: 8,
        ..Attribute::default()
    }
}

fn text(name: &str, text: &str) -> Attribute {
    Attribute {
        name: name.to_string(),
        s: text.as_bytes().to_vec(),
        kind: 3,
        ..Attribute::default()
    }
}

fn value(name: &str, elem_type: i32, shape: &[Option<i64>]) -> ValueInfo {
    let dim = |value: &Option<i64>| Dimension { value: *value };
    ValueInfo {
        name: name.to_string(),
        kind: Some(Type {
            tensor: Some(TensorType {
                elem_type,
                shape: (!shape.is_empty()).then(|| Shape {
                    dim: shape.iter().map(dim).collect(),
                }),
            }),
        }),
    }
}

fn model(op: &str, input: i32, outputs: &[(&str, i32)], attribute: Vec<Attribute>) -> Vec<u8> {
    let output = |(name, kind): &(&str, i32)| value(name, *kind, &[]);
    let graph = Graph {
        node: vec![Node {
            input: vec!["x".to_string()],
            output: outputs.iter().map(|(name, _)| name.to_string()).collect(),
            op_type: op.to_string(),
            domain: "ai.onnx.ml".to_string(),
            attribute,
        }],
        name: "random".to_string(),
        input: vec![value("x", input, &[None, Some(FEATURES as i64)])],
        output: outputs.iter().map(output).collect(),
        ..Graph::default()
    };
    let opset = |domain: &str, version| Opset {
        domain: domain.to_string(),
        version,
    };
    Model {
        ir_version: 8,
        opset_import: vec![opset("ai.onnx.ml", 3), opset("", 18)],
        graph: Some(graph),
        ..Model::default()
    }
    .encode_to_vec()
}

fn lists(random: &mut Random, outputs: usize, targets: fn(usize, usize) -> Vec<i64>) -> Lists {
    let modes = match random.below(3) {
        0 => MODES.to_vec(),
        1 => vec!["BRANCH_EQ"],
        _ => vec![pick(random, &MODES)],
    };
    let style = Style {
        modes,
        tracks: random.below(2) == 0,
        positive: random.below(3) == 0,
        targets,
        outputs,
    };
    let mut lists = Lists::default();
    // More than 80 trees is where ONNX Runtime would share one row among threads.
    let trees = match random.below(20) {
        0 => 120,
        _ => 1 + random.below(12),
    };
    for tree in 0..trees {
        lists.push_tree(random, &style, tree);
    }
    lists
}

fn every(_: usize, outputs: usize) -> Vec<i64> {
    (0..outputs as i64).collect()
}

fn one_each(tree: usize, outputs: usize) -> Vec<i64> {
    vec![(tree % outputs) as i64]
}

fn first(_: usize, _: usize) -> Vec<i64> {
    vec![0]
}

fn second(_: usize, _: usize) -> Vec<i64> {
    vec![1]
}

fn base(random: &mut Random, count: usize) -> Option<Attribute> {
    let value = |random: &mut Random| pick(random, &[0.1_f32, -0.0, 0.0, -0.7, 2.5]);
    (random.below(2) == 0).then(|| {
        let values = (0..count).map(|_| value(random)).collect();
        floats("base_values", values)
    })
}

fn regressor(random: &mut Random) -> Vec<u8> {
    let outputs = 1 + random.below(3);
    let targets = pick(random, &[every as fn(usize, usize) -> Vec<i64>, one_each]);
    let mut attributes = lists(random, outputs, targets).attributes("target");
    attributes.push(Attribute {
        name: "n_targets".to_string(),
        i: outputs as i64,
        kind: 2,
        ..Attribute::default()
    });
    attributes.push(text("post_transform", pick(random, &TRANSFORMS)));
    attributes.push(text("aggregate_function", pick(random, &AGGREGATES)));
    attributes.extend(base(random, outputs));
    let input = pick(random, &[FLOAT, FLOAT, DOUBLE]);
    model("TreeEnsembleRegressor", input, &[("y", FLOAT)], attributes)
}

fn classifier(random: &mut Random) -> Vec<u8> {
    let outputs = 2 + random.below(3);
    let layouts = [
        every as fn(usize, usize) -> Vec<i64>,
        one_each,
        first,
        second,
    ];
    let layout = random.below(if outputs == 2 { 4 } else { 2 });
    let mut attributes = lists(random, outputs, layouts[layout]).attributes("class");
    attributes.push(text("post_transform", pick(random, &TRANSFORMS)));
    let count = match outputs {
        2 => 1 + random.below(2),
        _ => outputs,
    };
    attributes.extend(base(random, count));
    let texts = random.below(2) == 0;
    attributes.push(match texts {
        true => strings(
            "classlabels_strings",
            (0..outputs)
                .map(|class| format!("class {class}").into_bytes())
                .collect(),
        ),
        false => ints(
            "classlabels_int64s",
            (0..outputs as i64).map(|c| 3 * c + 2).collect(),
        ),
    });
    let label = if texts { 8 } else { 7 };
    let input = pick(random, &[FLOAT, FLOAT, DOUBLE, INT64, INT32]);
    model(
        "TreeEnsembleClassifier",
        input,
        &[("label", label), ("scores", FLOAT)],
        attributes,
    )
}

fn check_all(make: fn(&mut Random) -> Vec<u8>, seed: u64) {
    let mut random = Random(seed);
    let (mut compared, mut failures) = (0, Vec::new());
    for case in 0..CASES {
        let bytes = make(&mut random);
        match check_bytes(bytes) {
            Ok(taken) => compared += usize::from(taken),
            Err(error) => failures.push(format!("case {case}: {error}")),
        }
    }
    assert!(
        failures.is_empty(),
        "{} failed:\n{}",
        failures.len(),
        failures.join("\n")
    );
    assert!(2 * compared > CASES, "forest took {compared} of {CASES}");
}

/// Graphs per test: enough for every pair of settings, and a second of time.
const CASES: usize = 300;

#[test]
fn random_regressors_give_the_bits_of_onnxruntime() {
    check_all(regressor, 0x1234_5678_9abc_def1);
}

#[test]
fn random_classifiers_give_the_bits_of_onnxruntime() {
    check_all(classifier, 0x0fed_cba9_8765_4321);
}
