use super::*;
use crate::engine::Format;
use crate::tensor::Cell;

fn outline(element: Element) -> Outline {
    let city = FeatureKind::Category {
        categories: ["Oslo", "Rome"]
            .map(|city| Category::Text(city.to_string()))
            .into(),
        unknown: Unknown::Refused,
    };
    let size = FeatureKind::Category {
        categories: [10.0, 20.0].map(Category::Number).into(),
        unknown: Unknown::Missing,
    };
    let feature = |name: &str, kind| Feature {
        name: Some(name.to_string()),
        kind,
    };
    Outline {
        engine: "forest",
        format: Format::Onnx,
        element,
        features: vec![
            feature("amount", FeatureKind::Number),
            feature("city", city),
            feature("size", size),
        ],
        outputs: vec![Output {
            name: "predict".to_string(),
            dtype: DType::Fp32,
            columns: None,
            offset: 0,
            labels: Vec::new(),
            default: true,
        }],
        objective: String::new(),
        trees: None,
        library_version: None,
        refused_by_forest: None,
    }
}

fn tensor<'a>(name: &'a str, shape: &[usize], values: Values) -> Tensor<'a> {
    Tensor {
        name: name.into(),
        dtype: DType::Fp64,
        shape: shape.into(),
        values,
    }
}

fn text(value: &str) -> Cell {
    Cell::Text(value.to_string())
}

fn check(tensors: Vec<Tensor<'_>>, expected: Result<Vec<f64>, &str>) {
    let signature = Signature::new(&outline(Element::F64), None).unwrap();
    let got = signature.check(tensors).map_err(|error| error.reason);
    match (got, expected) {
        (Ok(Rows::F64(rows)), Ok(expected)) => {
            let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(rows.values()), bits(&expected));
        }
        (Err(got), Err(expected)) => assert!(got.contains(expected), "{got}"),
        (got, expected) => panic!("{got:?}, expected {expected:?}"),
    }
}

#[test]
fn categories_that_are_not_known_are_told_from_missing_ones() {
    let signature = Signature::new(&outline(Element::F32), None).unwrap();
    let row = |size| vec![Cell::Number(1.0), text("Oslo"), Cell::Number(size)];
    let sizes = [10.0, 30.0, f64::NAN, 30.0];
    let cells: Vec<Cell> = sizes.into_iter().flat_map(row).collect();
    let read = signature.read(vec![tensor("", &[4, 3], Values::Cells(cells))]);
    let read = read.unwrap();
    assert_eq!(read.unknown, [(1, 2), (3, 2)]);
    let of = |name, values| tensor(name, &[4], values);
    let cities = Values::Cells(vec![text("Rome"); 4]);
    let by_feature = vec![
        of("size", Values::F64(sizes.to_vec())),
        of("amount", Values::F64(vec![0.0; 4])),
        of("city", cities),
    ];
    assert_eq!(signature.read(by_feature).unwrap().unknown, read.unknown);
    let some = read.every(3);
    assert_eq!((some.rows.len(), some.unknown), (2, vec![(1, 2)]));
    assert_eq!(read.every(2).unknown, []);
}

#[test]
fn missing_features_are_named_up_to_five() {
    let named = |count: usize| Outline {
        features: (0..count)
            .map(|index| Feature {
                name: Some(format!("f{index}")),
                ..Feature::default()
            })
            .collect(),
        ..outline(Element::F32)
    };
    let check = |count: usize, expected: &str| {
        let signature = Signature::new(&named(count), None).unwrap();
        let given = vec![tensor("f0", &[2], Values::F32(vec![0.0; 2]))];
        let mismatch = signature.read(given).unwrap_err();
        assert_eq!(mismatch.reason, expected);
        assert_eq!(mismatch.lacking, (1..count).collect::<Vec<_>>());
        assert_eq!(mismatch.rows, 2);
    };
    check(2, "feature \"f1\" is missing");
    check(3, "2 features are missing: \"f1\", \"f2\"");
    check(
        9,
        "8 features are missing: \"f1\", \"f2\", \"f3\", \"f4\", \"f5\" and 3 more",
    );
}

#[test]
fn a_matrix_maps_category_names_and_numbers_to_codes() {
    let cells = vec![Cell::Number(1.5), text("Rome"), Cell::Number(10.0)];
    check(
        vec![tensor("input", &[1, 3], Values::Cells(cells))],
        Ok(vec![1.5, 1.0, 0.0]),
    );
}

#[test]
fn features_by_name_are_put_in_order() {
    check(
        vec![
            tensor("size", &[2], Values::F64(vec![20.0, f64::NAN])),
            tensor(
                "city",
                &[2, 1],
                Values::Cells(vec![text("Oslo"), text("Rome")]),
            ),
            tensor("amount", &[2], Values::F32(vec![0.5, 1.0])),
        ],
        Ok(vec![0.5, 0.0, 1.0, 1.0, 1.0, f64::NAN]),
    );
}

#[test]
fn an_unknown_category_is_missing_or_refused_as_the_library_does() {
    let row = |city: &str, size| vec![Cell::Number(1.0), text(city), Cell::Number(size)];
    check(
        vec![tensor("", &[1, 3], Values::Cells(row("Oslo", 30.0)))],
        Ok(vec![1.0, 0.0, f64::NAN]),
    );
    check(
        vec![tensor("", &[1, 3], Values::Cells(row("Paris", 10.0)))],
        Err("feature \"city\", row 0: the category is not one of the 2"),
    );
}

#[test]
fn what_does_not_fit_is_named() {
    let amount = || tensor("amount", &[1], Values::F64(vec![1.0]));
    let city = || tensor("city", &[1], Values::F64(vec![1.0]));
    check(
        vec![],
        Err("no inputs; expected one tensor \"input\" of shape [n, 3]"),
    );
    check(vec![amount(), city()], Err("feature \"size\" is missing"));
    check(
        vec![amount(), amount()],
        Err("feature \"amount\" is given twice"),
    );
    check(
        vec![amount(), tensor("sixe", &[1], Values::F64(vec![1.0]))],
        Err("feature \"sixe\" is not a feature"),
    );
    check(
        vec![tensor("x", &[1, 3], Values::F64(vec![1.0; 3]))],
        Err("input \"x\" is not an input of this model"),
    );
    check(
        vec![tensor("input", &[1, 2], Values::F64(vec![1.0; 2]))],
        Err("expected shape [n, 3], got [1, 2]"),
    );
    check(
        vec![tensor(
            "",
            &[1, 3],
            Values::Cells(vec![text("a"), text("Oslo"), Cell::Number(1.0)]),
        )],
        Err("feature \"amount\", row 0: expected a number, got a string"),
    );
}

#[test]
fn a_number_too_large_for_the_engine_is_refused() {
    let signature = Signature::new(&outline(Element::F32), None).unwrap();
    let cells = vec![Cell::Number(1e300), text("Oslo"), Cell::Number(10.0)];
    let error = signature
        .check(vec![tensor("", &[1, 3], Values::Cells(cells))])
        .unwrap_err();
    assert!(
        error
            .reason
            .contains("feature \"amount\", row 0: the number does not fit"),
        "{error}"
    );
}

#[test]
fn a_declared_signature_names_what_the_file_does_not() {
    let mut outline = outline(Element::F32);
    outline.features[0].name = None;
    let declared: Declared = serde_json::from_str(
        r#"{"input": "x", "labels": ["good", "bad"], "outputs": {"predict": "p"},
            "features": [{"name": "sum"}, {"name": "city"}, {"name": "size", "type": "category"}]}"#,
    )
    .unwrap();
    let signature = Signature::new(&outline, Some(&declared)).unwrap();
    assert_eq!(signature.columns[0].name, "sum");
    assert_eq!(
        (signature.input.as_str(), signature.outputs[0].name.as_str()),
        ("x", "p")
    );
    assert_eq!(signature.outputs[0].labels, ["good", "bad"]);

    let wrong: Declared =
        serde_json::from_str(r#"{"features": [{"name":"a"},{"name":"town"},{"name":"size"}]}"#)
            .unwrap();
    let error = Signature::new(&outline, Some(&wrong)).unwrap_err();
    assert!(
        error.reason.contains("the model calls it \"city\""),
        "{error}"
    );
}
