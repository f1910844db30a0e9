//! ONNX Runtime as an engine: which inputs and outputs it serves, under which names, and what it
//! refuses with which words.

use std::path::{Path, PathBuf};

use hedgerow::engine::{
    Choice, Engine, EngineError, Format, Libraries, ModelFile, available, load,
};
use hedgerow::forest::onnx::proto::{
    Attribute, DOUBLE, Dimension, FLOAT, Graph, INT64, Model, Node, Opset, STRING, Shape,
    TensorType, Type, ValueInfo,
};
use hedgerow::tensor::{DType, Element, Rows};
use prost::Message;

const BOOL: i32 = 9;

fn libraries() -> Libraries {
    Libraries {
        dir: Path::new(env!("CARGO_MANIFEST_DIR")).join("native"),
    }
}

/// A dimension of 0 is only known at run time.
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

fn node(op: &str, inputs: &[&str], output: &str, attribute: Vec<Attribute>) -> Node {
    Node {
        input: inputs.iter().map(ToString::to_string).collect(),
        output: vec![output.to_string()],
        op_type: op.to_string(),
        attribute,
        ..Node::default()
    }
}

fn int(name: &str, i: i64) -> Attribute {
    Attribute {
        name: name.to_string(),
        i,
        kind: 2,
        ..Attribute::default()
    }
}

fn engine(
    nodes: Vec<Node>,
    input: Vec<ValueInfo>,
    output: Vec<ValueInfo>,
) -> Result<Box<dyn Engine>, EngineError> {
    let opset = |domain: &str, version| Opset {
        domain: domain.to_string(),
        version,
    };
    let model = Model {
        ir_version: 8,
        opset_import: vec![opset("", 17), opset("ai.onnx.ml", 3)],
        graph: Some(Graph {
            name: "graph".to_string(),
            node: nodes,
            input,
            output,
            ..Graph::default()
        }),
        ..Model::default()
    };
    load_bytes(model.encode_to_vec(), &libraries())
}

fn load_bytes(bytes: Vec<u8>, libraries: &Libraries) -> Result<Box<dyn Engine>, EngineError> {
    let file = ModelFile {
        format: Format::Onnx,
        path: PathBuf::from("model.onnx"),
        bytes,
    };
    load(&file, Choice::Auto, libraries)
}

/// `y` is `x` itself.
fn copy(elem_type: i32, input: &[i64], output: &[i64]) -> Result<Box<dyn Engine>, EngineError> {
    engine(
        vec![node("Identity", &["x"], "y", vec![])],
        vec![value("x", elem_type, input)],
        vec![value("y", elem_type, output)],
    )
}

fn predict(engine: &dyn Engine, values: &[f64]) -> Result<Vec<f64>, EngineError> {
    let outline = engine.outline();
    let rows = Rows::from_f64(values.to_vec(), outline.features.len(), outline.element).unwrap();
    let mut out = vec![0.0; rows.len() * outline.width()];
    engine.predict(&rows, &mut out)?;
    Ok(out)
}

fn refused(result: Result<Box<dyn Engine>, EngineError>, words: &str) {
    match result {
        Err(EngineError::Unsupported(reason)) => assert!(reason.contains(words), "{reason}"),
        other => panic!("expected a refusal with \"{words}\", got {other:?}"),
    }
}

#[test]
fn every_type_of_number_comes_back_as_it_went_in() {
    let cases = [
        (FLOAT, DType::Fp32, Element::F32, [1.5, -2.0]),
        (DOUBLE, DType::Fp64, Element::F64, [0.1, 1e300]),
        (
            INT64,
            DType::Int64,
            Element::F64,
            [-7.0, 9_007_199_254_740_992.0],
        ),
        (6, DType::Int32, Element::F64, [-7.0, 2_147_483_647.0]),
        (BOOL, DType::Bool, Element::F64, [0.0, 1.0]),
    ];
    for (kind, dtype, element, values) in cases {
        let engine = copy(kind, &[0, 2], &[0, 2]).unwrap();
        let outline = engine.outline();
        assert_eq!(outline.engine, "onnxruntime");
        assert_eq!(outline.element, element, "{dtype}");
        assert_eq!(outline.outputs[0].dtype, dtype);
        assert_eq!(outline.outputs[0].columns, Some(2));
        assert_eq!(
            predict(engine.as_ref(), &values).unwrap(),
            values,
            "{dtype}"
        );
    }
}

#[test]
fn shapes_are_those_of_a_run() {
    let flat = copy(FLOAT, &[0], &[0]).unwrap();
    assert_eq!(flat.outline().outputs[0].columns, None);
    assert_eq!(flat.outline().features[0].name.as_deref(), Some("x"));
    let column = copy(FLOAT, &[0, 1], &[0]);
    // The graph says [n], and the run gives [n, 1].
    assert_eq!(column.unwrap().outline().outputs[0].columns, Some(1));
}

#[test]
fn inputs_are_laid_side_by_side() {
    let cast = node("Cast", &["count"], "counts", vec![int("to", 1)]);
    let joined = node("Concat", &["pair", "counts"], "y", vec![int("axis", 1)]);
    let inputs = vec![
        value("pair", FLOAT, &[0, 2]),
        value("count", INT64, &[0, 1]),
    ];
    let engine = engine(vec![cast, joined], inputs, vec![value("y", FLOAT, &[0, 3])]).unwrap();
    let names: Vec<_> = engine
        .outline()
        .features
        .iter()
        .map(|f| f.name.as_deref())
        .collect();
    assert_eq!(names, [None, None, Some("count")]);
    assert_eq!(engine.outline().element, Element::F64);
    let rows = [0.5, 1.5, 3.0, -0.5, f64::INFINITY, -4.0];
    assert_eq!(predict(engine.as_ref(), &rows).unwrap(), rows);
    for bad in [2.5, f64::NAN, f64::INFINITY, 1e19] {
        let error = predict(engine.as_ref(), &[0.0, 0.0, 1.0, 0.0, 0.0, bad]).unwrap_err();
        assert!(
            error.to_string().contains("input \"count\", row 1"),
            "{error}"
        );
    }
}

#[test]
fn a_graph_for_one_row_runs_row_by_row() {
    let engine = copy(FLOAT, &[1, 2], &[1, 2]).unwrap();
    let rows = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    assert_eq!(predict(engine.as_ref(), &rows).unwrap(), rows);
}

#[test]
fn no_rows_give_no_results() {
    let engine = copy(FLOAT, &[0, 2], &[0, 2]).unwrap();
    assert!(predict(engine.as_ref(), &[]).unwrap().is_empty());
}

#[test]
fn what_is_not_rows_of_numbers_is_refused() {
    refused(copy(STRING, &[0, 1], &[0, 1]), "input \"x\" is of type");
    refused(copy(FLOAT, &[0, 0], &[0, 0]), "how many columns");
    refused(copy(FLOAT, &[0, 2, 2], &[0, 2, 2]), "3 dimensions");
    refused(copy(FLOAT, &[7, 2], &[7, 2]), "7 rows at a time");
    let sum = node("ReduceSum", &["x"], "y", vec![int("keepdims", 0)]);
    let whole = engine(
        vec![sum],
        vec![value("x", FLOAT, &[0, 2])],
        vec![value("y", FLOAT, &[])],
    );
    refused(whole, "output \"y\" has shape []");
}

#[test]
fn callers_at_the_same_time_get_their_own_rows() {
    let engine = copy(DOUBLE, &[0, 1], &[0, 1]).unwrap();
    let start = std::sync::Barrier::new(8);
    std::thread::scope(|scope| {
        for caller in 0..8 {
            let (engine, start) = (engine.as_ref(), &start);
            scope.spawn(move || {
                start.wait();
                for round in 0..200 {
                    let rows = [f64::from(caller), f64::from(round)];
                    assert_eq!(predict(engine, &rows).unwrap(), rows);
                }
            });
        }
    });
}

#[test]
fn a_broken_file_is_malformed() {
    for bytes in [&b""[..], b"not a model", b"\x08\x08"] {
        let result = load_bytes(bytes.to_vec(), &libraries());
        assert!(
            matches!(result, Err(EngineError::Malformed(_))),
            "{result:?}"
        );
    }
}

#[test]
fn the_librarys_version_is_known() {
    let found = available(&libraries());
    let version = found.iter().find(|(name, _)| *name == "onnxruntime");
    let version = version.unwrap().1.as_ref().unwrap();
    assert!(version.starts_with("1."), "{version}");
}
