//! Every rule of the parser on graphs built here, and the broken files of `tests/golden/broken`.

use super::proto::{Attribute, Dimension, Opset, Shape, Tensor, TensorType, Type, ValueInfo};
use super::*;
use crate::forest::reference;

fn floats(name: &str, floats: &[f32]) -> Attribute {
    Attribute {
        name: name.to_string(),
        floats: floats.to_vec(),
        ..Attribute::default()
    }
}

fn ints(name: &str, ints: &[i64]) -> Attribute {
    Attribute {
        name: name.to_string(),
        ints: ints.to_vec(),
        ..Attribute::default()
    }
}

fn texts(name: &str, texts: &[&str]) -> Attribute {
    Attribute {
        name: name.to_string(),
        strings: texts.iter().map(|text| text.as_bytes().to_vec()).collect(),
        ..Attribute::default()
    }
}

fn text(name: &str, text: &str) -> Attribute {
    Attribute {
        name: name.to_string(),
        s: text.as_bytes().to_vec(),
        ..Attribute::default()
    }
}

fn int(name: &str, i: i64) -> Attribute {
    Attribute {
        name: name.to_string(),
        i,
        ..Attribute::default()
    }
}

/// A stump on feature 0 of 2: values up to 1.0 go to the leaf of node 1, others to node 2.
fn stump(prefix: &str, targets: &[i64], weights: &[f32]) -> Vec<Attribute> {
    let per_leaf = targets.len() / 2;
    let nodes: Vec<i64> = (0..targets.len())
        .map(|i| 1 + (i / per_leaf) as i64)
        .collect();
    vec![
        ints("nodes_treeids", &[0, 0, 0]),
        ints("nodes_nodeids", &[0, 1, 2]),
        ints("nodes_featureids", &[0, 0, 0]),
        texts("nodes_modes", &["BRANCH_LEQ", "LEAF", "LEAF"]),
        floats("nodes_values", &[1.0, 0.0, 0.0]),
        ints("nodes_truenodeids", &[1, 0, 0]),
        ints("nodes_falsenodeids", &[2, 0, 0]),
        ints(&format!("{prefix}_treeids"), &vec![0; targets.len()]),
        ints(&format!("{prefix}_nodeids"), &nodes),
        ints(&format!("{prefix}_ids"), targets),
        floats(&format!("{prefix}_weights"), weights),
    ]
}

fn node(op: &str, domain: &str, names: (&str, &[&str]), attribute: Vec<Attribute>) -> Node {
    Node {
        input: names.0.split(',').map(str::to_string).collect(),
        output: names.1.iter().map(ToString::to_string).collect(),
        op_type: op.to_string(),
        attribute,
        domain: domain.to_string(),
    }
}

fn regressor(mut extra: Vec<Attribute>) -> Node {
    let mut attributes = stump("target", &[0, 0], &[-1.5, 2.5]);
    attributes.push(int("n_targets", 1));
    let replaces = |name: &str| extra.iter().any(|given| given.name == name);
    attributes.retain(|attribute| !replaces(&attribute.name));
    attributes.append(&mut extra);
    node(
        "TreeEnsembleRegressor",
        "ai.onnx.ml",
        ("x", &["y"]),
        attributes,
    )
}

fn classifier(targets: &[i64], weights: &[f32], mut extra: Vec<Attribute>) -> Node {
    let mut attributes = stump("class", targets, weights);
    attributes.append(&mut extra);
    let names = ("x", &["label", "scores"][..]);
    node("TreeEnsembleClassifier", "ai.onnx.ml", names, attributes)
}

fn value(name: &str, elem_type: i32, dims: &[i64]) -> ValueInfo {
    let dim = |value: &i64| Dimension {
        value: (*value > 0).then_some(*value),
    };
    let shape = Shape {
        dim: dims.iter().map(dim).collect(),
    };
    ValueInfo {
        name: name.to_string(),
        kind: Some(Type {
            tensor: Some(TensorType {
                elem_type,
                shape: Some(shape),
            }),
        }),
    }
}

fn model(node: Vec<Node>, outputs: &[&str]) -> Model {
    Model {
        ir_version: 8,
        opset_import: vec![Opset {
            domain: "ai.onnx.ml".to_string(),
            version: 3,
        }],
        graph: Some(Graph {
            node,
            input: vec![value("x", FLOAT, &[0, 2])],
            output: outputs
                .iter()
                .map(|name| value(name, FLOAT, &[0]))
                .collect(),
            ..Graph::default()
        }),
        ..Model::default()
    }
}

fn parsed(node: Vec<Node>, outputs: &[&str]) -> Result<Parsed, ParseError> {
    parse(&model(node, outputs).encode_to_vec())
}

/// The prediction of two rows: one takes the true branch and one the false branch.
fn check(node: Node, outputs: &[&str], expected: [&[f64]; 2]) -> Parsed {
    let parsed = parsed(vec![node], outputs).unwrap();
    for (row, expected) in [[0.5, 0.0], [1.5, 0.0]].iter().zip(expected) {
        assert_eq!(
            reference::predict(&parsed.forest, row).1,
            expected,
            "{row:?}"
        );
    }
    parsed
}

fn refused(node: Node, word: &str) {
    match parsed(vec![node], &["scores"]) {
        Err(ParseError::Unsupported(reason)) => assert!(reason.contains(word), "{reason}"),
        other => panic!("expected a refusal with \"{word}\", got {other:?}"),
    }
}

fn broken(node: Node, word: &str) {
    match parsed(vec![node], &["y"]) {
        Err(ParseError::Malformed(reason)) => assert!(reason.contains(word), "{reason}"),
        other => panic!("expected an error with \"{word}\", got {other:?}"),
    }
}

#[test]
fn a_regressor_keeps_its_outputs_name() {
    let parsed = check(regressor(vec![]), &["y"], [&[-1.5], &[2.5]]);
    let graph = parsed.graph.unwrap();
    assert_eq!(graph.outputs[0].name, "y");
    assert_eq!(graph.outputs[0].kind, OutputKind::Scores);
    assert_eq!(graph.label, None);
}

#[test]
fn base_values_come_last() {
    check(
        regressor(vec![floats("base_values", &[0.5])]),
        &["y"],
        [&[-1.0], &[3.0]],
    );
}

#[test]
fn transforms_of_one_target_are_ignored_as_in_onnxruntime() {
    check(
        regressor(vec![text("post_transform", "LOGISTIC")]),
        &["y"],
        [&[-1.5], &[2.5]],
    );
}

#[test]
fn one_score_of_both_signs_is_mirrored_and_cut_at_zero() {
    let node = classifier(
        &[0, 0],
        &[-1.5, 2.5],
        vec![ints("classlabels_int64s", &[3, 7])],
    );
    let parsed = check(node, &["label", "scores"], [&[1.5, -1.5], &[-2.5, 2.5]]);
    let label = parsed.graph.unwrap().label.unwrap();
    assert_eq!(
        [label.of(&[-1.5]), label.of(&[2.5]), label.of(&[0.0])],
        [3.0, 7.0, 3.0]
    );
    assert_eq!(parsed.classes, ["3", "7"]);
}

#[test]
fn one_positive_score_is_complemented_and_cut_at_a_half() {
    let labels = texts("classlabels_strings", &["no", "yes"]);
    let node = classifier(&[0, 0], &[0.25, 0.75], vec![labels]);
    let parsed = check(node, &["label", "scores"], [&[0.75, 0.25], &[0.25, 0.75]]);
    let label = parsed.graph.unwrap().label.unwrap();
    assert_eq!(
        [label.of(&[0.25]), label.of(&[0.75]), label.of(&[0.5])],
        [0.0, 1.0, 0.0]
    );
    assert_eq!(
        label.values,
        LabelValues::Texts(vec!["no".into(), "yes".into()])
    );
}

#[test]
fn one_positive_score_takes_the_logistic_function() {
    let extra = vec![
        ints("classlabels_int64s", &[0, 1]),
        text("post_transform", "LOGISTIC"),
    ];
    let node = classifier(&[0, 0], &[0.0, 0.75], extra);
    let high = f64::from(1.0 / (1.0 + (-0.75_f32).exp()));
    let low = f64::from(1.0 - high as f32);
    let parsed = check(node, &["label", "scores"], [&[0.5, 0.5], &[low, high]]);
    let label = parsed.graph.unwrap().label.unwrap();
    assert_eq!([label.of(&[0.4]), label.of(&[0.75])], [0.0, 1.0]);
}

#[test]
fn weights_for_both_classes_give_the_labels_0_and_1() {
    let labels = ints("classlabels_int64s", &[3, 7]);
    let node = classifier(&[0, 1, 0, 1], &[1.0, -1.0, -2.0, 2.0], vec![labels]);
    let parsed = check(node, &["label", "scores"], [&[1.0, -1.0], &[-2.0, 2.0]]);
    let label = parsed.graph.unwrap().label.unwrap();
    assert_eq!([label.of(&[1.0, -1.0]), label.of(&[-2.0, 2.0])], [0.0, 1.0]);
}

#[test]
fn many_classes_take_the_first_of_the_largest() {
    let labels = ints("classlabels_int64s", &[5, 6, 7]);
    let weights = [1.0, 1.0, 0.0, 0.0, 2.0, 3.0];
    let node = classifier(&[0, 1, 2, 0, 1, 2], &weights, vec![labels]);
    let parsed = check(node, &["scores"], [&[1.0, 1.0, 0.0], &[0.0, 2.0, 3.0]]);
    let label = parsed.graph.unwrap().label.unwrap();
    assert_eq!(
        [label.of(&[1.0, 1.0, 0.0]), label.of(&[0.0, 2.0, 3.0])],
        [5.0, 7.0]
    );
}

#[test]
fn what_converters_put_around_the_trees_is_seen_through() {
    let labels = || ints("classlabels_int64s", &[0, 1]);
    let trees = classifier(&[0, 0], &[-1.0, 1.0], vec![labels()]);
    let around = vec![
        trees,
        node("Identity", "", ("label", &["same"]), vec![]),
        node("Cast", "", ("same", &["out"]), vec![int("to", 7)]),
        node("Mul", "", ("scores,one", &["product"]), vec![]),
        node(
            "ZipMap",
            "ai.onnx.ml",
            ("product", &["maps"]),
            vec![labels()],
        ),
    ];
    let mut model = model(around, &["out", "maps"]);
    let one = Tensor {
        data_type: FLOAT,
        float_data: vec![1.0],
        name: "one".to_string(),
        ..Tensor::default()
    };
    model.graph.as_mut().unwrap().initializer = vec![one];
    let graph = parse(&model.encode_to_vec()).unwrap().graph.unwrap();
    let kinds: Vec<_> = graph.outputs.iter().map(|output| output.kind).collect();
    assert_eq!(kinds, [OutputKind::Label, OutputKind::Scores]);
    model.graph.as_mut().unwrap().initializer[0].float_data = vec![2.0];
    assert_eq!(
        parse(&model.encode_to_vec()),
        Err(unsupported(
            "the graph has an operator Mul beside its trees"
        ))
    );
}

#[test]
fn doubles_are_read_from_tensors() {
    let tensor = |name: &str, values: &[f64]| Attribute {
        name: name.to_string(),
        t: Some(Tensor {
            data_type: DOUBLE,
            raw_data: values.iter().flat_map(|x| x.to_le_bytes()).collect(),
            ..Tensor::default()
        }),
        ..Attribute::default()
    };
    let node = || {
        let mut node = regressor(vec![
            tensor("nodes_values_as_tensor", &[0.1, 0.0, 0.0]),
            tensor("target_weights_as_tensor", &[0.1, 0.2]),
        ]);
        let lists = ["nodes_values", "target_weights"];
        node.attribute
            .retain(|given| !lists.contains(&given.name.as_str()));
        node
    };
    let mut doubles = model(vec![node()], &["y"]);
    doubles.graph.as_mut().unwrap().input = vec![value("x", DOUBLE, &[0, 2])];
    let parsed = parse(&doubles.encode_to_vec()).unwrap();
    assert_eq!(parsed.forest.arithmetic, Arithmetic::F64);
    let (raw, prediction) = reference::predict(&parsed.forest, &[0.1, 0.0]);
    assert_eq!((raw[0], prediction[0]), (0.1, f64::from(0.1_f32)));
    refused(node(), "another type than the input");
}

#[test]
fn what_a_forest_cannot_repeat_is_refused() {
    let classes = || ints("classlabels_int64s", &[0, 1]);
    let probit = vec![classes(), text("post_transform", "PROBIT")];
    refused(classifier(&[0, 0], &[0.1, 0.2], probit), "PROBIT");
    let base = vec![classes(), floats("base_values", &[0.1, 0.2])];
    refused(classifier(&[0, 0], &[0.1, 0.2], base), "base values");
    refused(
        classifier(&[0, 1], &[0.1, 0.2], vec![classes()]),
        "two classes",
    );
    let three = || ints("classlabels_int64s", &[0, 1, 2]);
    refused(
        classifier(&[0, 1], &[0.1, -0.2], vec![three()]),
        "without a score",
    );
    let one = ints("classlabels_int64s", &[0]);
    refused(classifier(&[0, 0], &[0.1, -0.2], vec![one]), "1 classes");
    let far = ints("classlabels_int64s", &[0, i64::MAX]);
    refused(classifier(&[0, 0], &[0.1, -0.2], vec![far]), "2^53");
    refused(
        classifier(&[0, 0, 0, 0], &[0.1; 4], vec![classes()]),
        "several weights",
    );
    refused(
        regressor(vec![floats("base_values", &[1.0, 2.0])]),
        "base values",
    );
    refused(regressor(vec![int("n_targets", i64::MAX)]), "fewer weights");
    let root_later = regressor(vec![
        ints("nodes_nodeids", &[1, 0, 2]),
        texts("nodes_modes", &["LEAF", "BRANCH_LEQ", "LEAF"]),
        ints("nodes_truenodeids", &[0, 1, 0]),
        ints("nodes_falsenodeids", &[0, 2, 0]),
    ]);
    refused(root_later, "first listed node");
    let mut apart = regressor(vec![ints("nodes_treeids", &[0, 1, 0])]);
    apart
        .attribute
        .retain(|given| given.name != "target_treeids");
    apart.attribute.push(ints("target_treeids", &[1, 0]));
    broken(apart, "nodes_truenodeids");
    let around_another = regressor(vec![
        ints("nodes_treeids", &[0, 0, 1, 0]),
        ints("nodes_nodeids", &[0, 1, 0, 2]),
        ints("nodes_featureids", &[0; 4]),
        texts("nodes_modes", &["BRANCH_LEQ", "LEAF", "LEAF", "LEAF"]),
        floats("nodes_values", &[1.0, 0.0, 0.0, 0.0]),
        ints("nodes_truenodeids", &[1, 0, 0, 0]),
        ints("nodes_falsenodeids", &[2, 0, 0, 0]),
        ints("target_treeids", &[0, 1, 0]),
        ints("target_nodeids", &[1, 0, 2]),
        ints("target_ids", &[0; 3]),
        floats("target_weights", &[1.0, 2.0, 3.0]),
    ]);
    refused(around_another, "not listed together");
    let shared = regressor(vec![ints("nodes_falsenodeids", &[1, 0, 0])]);
    refused(shared, "two nodes lead");
    refused(
        node("Scaler", "ai.onnx.ml", ("x", &["y"]), vec![]),
        "Scaler",
    );
}

#[test]
fn extremes_need_every_target_in_every_leaf() {
    let targets = [
        ints("target_ids", &[0, 1]),
        int("n_targets", 2),
        text("aggregate_function", "MIN"),
    ];
    refused(regressor(targets.to_vec()), "MIN");
}

#[test]
fn broken_lists_are_named() {
    broken(regressor(vec![ints("nodes_treeids", &[])]), "no nodes");
    broken(
        regressor(vec![floats("nodes_values", &[1.0])]),
        "nodes_values",
    );
    broken(
        regressor(vec![ints("nodes_falsenodeids", &[0, 0, 0])]),
        "tree 0, node 0: a cycle",
    );
    broken(
        regressor(vec![ints("nodes_truenodeids", &[9, 0, 0])]),
        "nodes_truenodeids",
    );
    broken(
        regressor(vec![ints("nodes_nodeids", &[0, 1, 1])]),
        "listed twice",
    );
    broken(
        regressor(vec![ints("nodes_featureids", &[2, 0, 0])]),
        "feature 2",
    );
    broken(regressor(vec![ints("target_ids", &[0, 1])]), "target_ids");
    broken(
        regressor(vec![ints("target_nodeids", &[1, 9])]),
        "target_nodeids",
    );
    broken(regressor(vec![int("n_targets", -1)]), "n_targets");
    broken(
        regressor(vec![text("post_transform", "MAGIC")]),
        "post_transform",
    );
    broken(
        regressor(vec![text("aggregate_function", "MAGIC")]),
        "aggregate_function",
    );
}

#[test]
fn few_weights_for_many_targets_do_not_fill_the_memory() {
    // A full tree of 2,001 leaves with one weight each, and 4,000 weights more in one leaf.
    let (leaves, wide) = (2_001, 4_000);
    let all = 2 * leaves - 1;
    let inner = |id: i64| id < leaves - 1;
    let child = |id: i64, offset: i64| if inner(id) { 2 * id + offset } else { 0 };
    let ids: Vec<i64> = (0..all).collect();
    let list = |of: &dyn Fn(i64) -> i64| ids.iter().map(|id| of(*id)).collect::<Vec<_>>();
    let modes = ids
        .iter()
        .map(|id| if inner(*id) { "BRANCH_LEQ" } else { "LEAF" });
    let nodes: Vec<i64> = (leaves - 1..all)
        .chain((1..wide).map(|_| all - 1))
        .collect();
    let targets: Vec<i64> = (0..leaves).map(|_| 0).chain(1..wide).collect();
    let node = regressor(vec![
        int("n_targets", wide),
        ints("nodes_treeids", &list(&|_| 0)),
        ints("nodes_nodeids", &ids),
        ints("nodes_featureids", &list(&|_| 0)),
        texts("nodes_modes", &modes.collect::<Vec<_>>()),
        floats("nodes_values", &vec![0.0; ids.len()]),
        ints("nodes_truenodeids", &list(&|id| child(id, 1))),
        ints("nodes_falsenodeids", &list(&|id| child(id, 2))),
        ints("target_treeids", &vec![0; targets.len()]),
        ints("target_nodeids", &nodes),
        ints("target_ids", &targets),
        floats("target_weights", &vec![1.0; targets.len()]),
    ]);
    refused(node, "few weights");
}

#[test]
fn a_graph_of_another_shape_is_refused() {
    let mut two = model(vec![regressor(vec![])], &["y"]);
    two.graph
        .as_mut()
        .unwrap()
        .input
        .push(value("z", FLOAT, &[0, 2]));
    let mut open = model(vec![regressor(vec![])], &["y"]);
    open.graph.as_mut().unwrap().input = vec![value("x", FLOAT, &[0, 0])];
    let mut newer = model(vec![regressor(vec![])], &["y"]);
    newer.opset_import[0].version = 5;
    for model in [two, open, newer] {
        let result = parse(&model.encode_to_vec());
        assert!(
            matches!(result, Err(ParseError::Unsupported(_))),
            "{result:?}"
        );
    }
}

#[test]
fn torn_bytes_are_errors_and_never_panics() {
    let bytes = model(vec![regressor(vec![])], &["y"]).encode_to_vec();
    for end in 0..bytes.len() {
        let _ = parse(&bytes[..end]);
        let mut flipped = bytes.clone();
        flipped[end] ^= 0x55;
        let _ = parse(&flipped);
    }
    assert!(parse(&[]).unwrap_err().to_string().contains("empty"));
    assert!(
        parse(b"This is a text file")
            .unwrap_err()
            .to_string()
            .contains("onnx")
    );
}
