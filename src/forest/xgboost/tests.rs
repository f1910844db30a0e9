use super::value::Value;
use super::*;
use crate::forest::reference::predict;
use crate::forest::{Category, Child, FeatureKind, Link, Missing, Test};

/// A model of two trees and two features: one split on a number, one on a category.
const MODEL: &str = r#"{"version":[3,2,0],"learner":{"attributes":{},
    "feature_names":["age","city"],"feature_types":["float","c"],
    "learner_model_param":{"base_score":"[5E-1]","num_class":"0","num_feature":"2","num_target":"1"},
    "objective":{"name":"reg:squarederror"},
    "gradient_booster":{"name":"gbtree","model":{
        "gbtree_model_param":{"num_trees":"2"},"tree_info":[0,0],
        "cats":{"enc":[{"offsets":[],"values":[]},{"offsets":[0,2,5],"values":[79,98,65,115,104]}]},
        "trees":[
            {"tree_param":{"num_nodes":"3","size_leaf_vector":"1"},
             "left_children":[2,-1,-1],"right_children":[1,-1,-1],"split_indices":[0,0,0],
             "split_conditions":[1.5E0,1E0,-1E0],"default_left":[1,0,0],"split_type":[0,0,0],
             "categories":[],"categories_nodes":[],"categories_segments":[],"categories_sizes":[]},
            {"tree_param":{"num_nodes":"3","size_leaf_vector":"1"},
             "left_children":[1,-1,-1],"right_children":[2,-1,-1],"split_indices":[1,0,0],
             "split_conditions":[NaN,1E1,2E1],"default_left":[0,0,0],"split_type":[1,0,0],
             "categories":[1,33],"categories_nodes":[0],"categories_segments":[0],"categories_sizes":[2]}
        ]}}}}"#;

fn changed(from: &str, to: &str) -> Result<Parsed, ParseError> {
    assert!(MODEL.contains(from), "{from} is not in the model");
    parse_json(MODEL.replace(from, to).as_bytes())
}

fn raw(parsed: &Parsed, row: [f64; 2]) -> f64 {
    predict(&parsed.forest, &row).0[0]
}

fn check_malformed(from: &str, to: &str, expected: &str) {
    assert_eq!(
        changed(from, to),
        Err(ParseError::Malformed(expected.to_string())),
        "{from} -> {to}"
    );
}

fn check_unsupported(from: &str, to: &str, expected: &str) {
    assert_eq!(
        changed(from, to),
        Err(ParseError::Unsupported(expected.to_string())),
        "{from} -> {to}"
    );
}

#[test]
fn a_model_is_read_with_its_features_and_version() {
    let parsed = parse_json(MODEL.as_bytes()).unwrap();
    assert_eq!(parsed.library_version.as_deref(), Some("3.2.0"));
    assert_eq!(parsed.objective, "reg:squarederror");
    assert_eq!(parsed.forest.link, Link::Identity);
    assert_eq!(parsed.features[0].name.as_deref(), Some("age"));
    assert_eq!(parsed.features[0].kind, FeatureKind::Number);
    let FeatureKind::Category { categories, .. } = &parsed.features[1].kind else {
        panic!("expected a category, got {:?}", parsed.features[1].kind);
    };
    let names = ["Ob", "Ash"].map(|name| Category::Text(name.to_string()));
    assert_eq!(categories, &names);
}

#[test]
fn categories_of_a_set_go_to_the_right_and_all_others_to_the_left() {
    let parsed = parse_json(MODEL.as_bytes()).unwrap();
    let split = &parsed.forest.trees[1].splits[0];
    assert_eq!(split.test, Test::In(0));
    assert_eq!(split.missing, Missing::NanLeft, "the children are swapped");
    for (code, leaf) in [
        (0.0, 10.0),
        (1.0, 20.0),
        (1.9, 20.0),
        (33.0, 20.0),
        (34.0, 10.0),
        (-1.0, 10.0),
        (1e9, 10.0),
        (f64::INFINITY, 10.0),
        (f64::NAN, 20.0),
    ] {
        // The other tree says -1, the base score 0.5.
        assert_eq!(raw(&parsed, [0.0, code]), leaf - 0.5, "code {code}");
    }
}

#[test]
fn children_may_stand_in_any_order() {
    let parsed = parse_json(MODEL.as_bytes()).unwrap();
    let split = &parsed.forest.trees[0].splits[0];
    assert_eq!((split.left, split.right), (Child::Leaf(0), Child::Leaf(1)));
    assert_eq!(parsed.forest.trees[0].leaves, [-1.0, 1.0]);
}

#[test]
fn base_scores_become_raw_scores_as_the_objective_says() {
    let base = |objective: &str, score: &str| {
        let text = MODEL
            .replace("reg:squarederror", objective)
            .replace("[5E-1]", score);
        parse_json(text.as_bytes()).map(|parsed| parsed.forest.base[0])
    };
    assert_eq!(base("reg:squarederror", "0.250000"), Ok(0.25));
    assert_eq!(base("binary:logistic", "5E-1"), Ok(-0.0));
    assert_eq!(
        base("binary:logistic", "[0E0]"),
        Ok(f64::from(-13.81551_f32))
    );
    assert_eq!(base("binary:logitraw", "[3E-1]"), Ok(f64::from(0.3_f32)));
    assert_eq!(base("count:poisson", "[1E0]"), Ok(0.0));
    assert_eq!(base("reg:tweedie", "0"), Ok(f64::NEG_INFINITY));
    let malformed = |reason: &str| Err(ParseError::Malformed(reason.to_string()));
    assert_eq!(
        base("binary:logistic", "1.5"),
        malformed("\"base_score\": expected a probability, got 1.5")
    );
    assert_eq!(
        base("reg:gamma", "[0E0]"),
        malformed("\"base_score\": expected a positive number, got 0")
    );
    assert_eq!(
        base("count:poisson", "-2"),
        malformed("\"base_score\": expected no negative number, got -2")
    );
    assert_eq!(
        base("reg:squarederror", "[1E0,2E0]"),
        malformed("\"base_score\": expected one number or 1, got 2")
    );
    assert_eq!(
        base("reg:squarederror", "half"),
        malformed("\"base_score\": expected a number, got \"half\"")
    );
}

#[test]
fn dart_multiplies_leaves_in_32_bits() {
    let dart = MODEL
        .replace(
            "\"gradient_booster\":{\"name\":\"gbtree\",\"model\"",
            "\"gradient_booster\":{\"name\":\"dart\",\"weight_drop\":[1E-1,1E0],\"gbtree\":{\"name\":\"gbtree\",\"model\"",
        )
        + "}";
    let parsed = parse_json(dart.as_bytes()).unwrap();
    assert_eq!(parsed.forest.trees[0].leaves[1], f64::from(0.1_f32));
}

#[test]
fn what_a_forest_cannot_represent_is_refused() {
    check_unsupported(
        "reg:squarederror",
        "reg:magic",
        "unknown objective \"reg:magic\"",
    );
    check_unsupported(
        "\"name\":\"gbtree\"",
        "\"name\":\"gbmagic\"",
        "unknown booster \"gbmagic\"",
    );
    check_unsupported(
        "reg:squarederror",
        "multi:softprob",
        "multi:softprob with one class",
    );
}

#[test]
fn broken_models_say_where_and_what_was_expected() {
    check_malformed("\"learner\"", "\"teacher\"", "\"learner\" is missing");
    check_malformed(
        "\"left_children\":[2,-1,-1]",
        "\"left_children\":[2,-1]",
        "tree 0: \"left_children\": expected one value for each of 3 nodes, got 2",
    );
    check_malformed(
        "\"left_children\":[2,-1,-1]",
        "\"left_children\":[2,-1,0.5]",
        "tree 0: \"left_children\": expected a list of integers, got a list of floats",
    );
    check_malformed(
        "\"left_children\":[1,-1,-1]",
        "\"left_children\":[7,-1,-1]",
        "tree 1: node 0: child 7 does not exist, expected 0 to 2",
    );
    check_malformed(
        "\"left_children\":[1,-1,-1]",
        "\"left_children\":[0,-1,-1]",
        "tree 1: node 0 is the child of two nodes or part of a cycle",
    );
    check_malformed(
        "\"split_indices\":[1,0,0]",
        "\"split_indices\":[-1,0,0]",
        "tree 1: node 0: feature -1 does not exist",
    );
    check_malformed(
        "\"split_indices\":[1,0,0]",
        "\"split_indices\":[2,0,0]",
        "tree 1, node 0: feature 2 is outside the forest's 2",
    );
    check_malformed(
        "\"categories\":[1,33]",
        "\"categories\":[1]",
        "tree 1: node 0: 2 categories from 0 on are outside the 1 in \"categories\"",
    );
    check_malformed(
        "\"categories\":[1,33]",
        "\"categories\":[1,16777216]",
        "tree 1: node 0: expected categories from 0 to 2^24 - 1, got category 16777216",
    );
    check_malformed(
        "\"tree_info\":[0,0]",
        "\"tree_info\":[0,1]",
        "\"tree_info\", tree 1: output 1 is outside the model's 1",
    );
    check_malformed(
        "\"num_trees\":\"2\"",
        "\"num_trees\":\"3\"",
        "\"trees\": expected one value for each of 3 trees, got 2",
    );
    check_malformed(
        "\"num_feature\":\"2\"",
        "\"num_feature\":\"99999999999\"",
        "\"num_feature\": expected a whole number, got \"99999999999\"",
    );
    check_malformed(
        "[\"age\",\"city\"]",
        "[\"age\"]",
        "\"feature_names\": expected one for each of 2 features, got 1",
    );
    check_malformed(
        "\"offsets\":[0,2,5]",
        "\"offsets\":[0,2,6]",
        "\"cats\", feature 1: offsets 2 to 6 are outside the 5 bytes of \"values\"",
    );
}

fn check_json(text: &str, expected: &str) {
    assert_eq!(
        json::read(text.as_bytes()),
        Err(ParseError::Malformed(expected.to_string())),
        "{text}"
    );
}

#[test]
fn json_keeps_numbers_typed_and_exact() {
    let read = |text: &str| json::read(text.as_bytes()).unwrap();
    assert_eq!(read("[1, -2]"), Value::Integers(vec![1, -2]));
    assert_eq!(read("[true,false]"), Value::Integers(vec![1, 0]));
    assert_eq!(
        read("[1,2.5,-Infinity,1.00000001490116119e-01]"),
        Value::Floats(vec![1.0, 2.5, f32::NEG_INFINITY, 0.1])
    );
    assert_eq!(
        read("[1,\"a\"]"),
        Value::List(vec![Value::Integer(1), Value::Text("a".to_string())])
    );
    assert!(matches!(read("NaN"), Value::Float(x) if x.is_nan()));
    assert_eq!(
        read(r#""\u00e9\ud83c\udf33\n\/\ud800""#),
        Value::Text("é🌳\n/\u{fffd}".to_string())
    );
}

#[test]
fn broken_json_says_where() {
    check_json("", "the file is empty");
    check_json(" ", "unexpected end of the json: expected a value");
    check_json(
        "{\"a\":1",
        "unexpected end of the json: expected a comma or a closing brace",
    );
    check_json("{\"a\"", "unexpected end of the json: expected a colon");
    check_json("[1,", "unexpected end of the json: expected a value");
    check_json("tru", "unexpected end of the json: expected a value");
    check_json(
        "\"a",
        "unexpected end of the json: expected a closing quote",
    );
    check_json("\"\\u12", "json, byte 3: expected four hexadecimal digits");
    check_json(
        "[1 2]",
        "json, byte 3: expected a comma or a closing bracket",
    );
    check_json("1 2", "json, byte 2: expected the end");
    check_json("[1e]", "json, byte 1: \"1e\" is not a number");
    check_json("[1-1]", "json, byte 1: \"1-1\" is not a number");
    check_json(
        &"[".repeat(100_000),
        "json, byte 33: nested too deep, more than 32 lists and objects",
    );
    assert_eq!(
        json::read(b"\"\xff\""),
        Err(ParseError::Malformed(
            "json, byte 1: the text is not utf-8".to_string()
        ))
    );
}

fn check_ubjson(bytes: &[u8], expected: &str) {
    assert_eq!(
        ubjson::read(bytes),
        Err(ParseError::Malformed(expected.to_string())),
        "{bytes:?}"
    );
}

#[test]
fn ubjson_lists_may_be_typed_counted_or_closed() {
    let read = |bytes: &[u8]| ubjson::read(bytes).unwrap();
    let two = Value::Integers(vec![1, -2]);
    assert_eq!(read(b"[$l#i\x02\0\0\0\x01\xff\xff\xff\xfe"), two);
    assert_eq!(read(b"[#i\x02i\x01I\xff\xfe"), two);
    assert_eq!(read(b"[i\x01Ni\xfe]"), two);
    assert_eq!(read(b"[$d#U\x01\x3f\x80\0\0"), Value::Floats(vec![1.0]));
    assert_eq!(
        read(b"[$S#i\x01i\x01x"),
        Value::List(vec![Value::Text("x".to_string())])
    );
    let object = Value::Object(vec![("a".to_string(), Value::Integer(1))]);
    assert_eq!(read(b"{i\x01aT}"), object);
    assert_eq!(read(b"{#i\x01i\x01aT"), object);
    assert_eq!(read(b"{$i#i\x01i\x01a\x01"), object);
}

#[test]
fn broken_ubjson_says_where() {
    check_ubjson(b"", "the file is empty");
    check_ubjson(
        b"U",
        "unexpected end of the ubjson: expected 1 bytes at byte 1, got 0",
    );
    check_ubjson(
        b"[$l#L\x10\0\0\0\0\0\0\0",
        "unexpected end of the ubjson: expected 4611686018427387904 bytes at byte 13, got 0",
    );
    check_ubjson(
        b"[$Z#L\x10\0\0\0\0\0\0\0",
        "ubjson, byte 3: the length of a list of 'Z' cannot be checked",
    );
    check_ubjson(b"[$l1", "ubjson, byte 3: expected a length after a type");
    check_ubjson(b"Si\xff", "ubjson, byte 3: length -1");
    check_ubjson(b"H", "ubjson, byte 0: unknown marker 'H'");
    check_ubjson(b"ZZ", "ubjson, byte 1: expected the end");
    check_ubjson(b"Si\x01\xff", "ubjson, byte 3: the text is not utf-8");
    check_ubjson(
        &b"[".repeat(100_000),
        "ubjson, byte 34: nested too deep, more than 32 lists and objects",
    );
}

#[test]
fn every_prefix_and_every_changed_byte_is_an_error_or_a_checked_forest() {
    for end in 0..MODEL.len() {
        assert!(parse_json(&MODEL.as_bytes()[..end]).is_err(), "{end} bytes");
    }
    let mut bytes = MODEL.as_bytes().to_vec();
    for at in 0..bytes.len() {
        let old = bytes[at];
        for new in [b'0', b'9', b'-', b'[', b'"', b'}', 0xff] {
            bytes[at] = new;
            if let Ok(parsed) = parse_json(&bytes) {
                assert_eq!(parsed.forest.check(), Ok(()));
                predict(&parsed.forest, &vec![0.0; parsed.forest.features]);
            }
        }
        bytes[at] = old;
    }
}

/// The model with another booster, objective or attributes.
fn parsed(model: &str) -> Result<Parsed, ParseError> {
    parse_json(model.as_bytes())
}

#[test]
fn a_linear_booster_adds_bias_and_the_first_base_score() {
    let model = |weights: &str| {
        format!(
            r#"{{"learner":{{"learner_model_param":{{"base_score":"[5E-1,9E0]","num_feature":"2",
            "num_target":"2"}},"objective":{{"name":"reg:squarederror"}},"gradient_booster":
            {{"name":"gblinear","model":{{"weights":{weights}}}}}}}}}"#
        )
    };
    let read = parsed(&model("[1E0,2E0,3E0,4E0,1E1,2E1]")).unwrap();
    assert_eq!(read.forest.base, [10.5, 20.5]);
    assert_eq!(predict(&read.forest, &[1.0, 2.0]).0, [17.5, 30.5]);
    assert_eq!(predict(&read.forest, &[f64::NAN, 2.0]).0, [16.5, 28.5]);
    assert_eq!(
        parsed(&model("[1E0]")),
        Err(ParseError::Malformed(
            "\"weights\": expected 2 weights and a bias for each of 2 outputs, got 1".to_string()
        ))
    );
}

/// A model of two outputs, whose trees have one split and vector leaves.
fn vectors(leaves: &str) -> Result<Parsed, ParseError> {
    parsed(&format!(
        r#"{{"learner":{{"learner_model_param":{{"base_score":"[0E0,1E0]","num_feature":"1",
        "num_target":"2"}},"objective":{{"name":"reg:squarederror"}},"gradient_booster":
        {{"name":"gbtree","model":{{"gbtree_model_param":{{}},"tree_info":[0],"trees":[
        {{"tree_param":{{"num_nodes":"3","size_leaf_vector":"2"}},"split_indices":[0,0,0],
        "left_children":[1,-1,-1],"split_conditions":[5E-1,NaN,NaN],"default_left":[0,0,0],
        {leaves}}}]}}}}}}}}"#
    ))
}

#[test]
fn vector_leaves_are_found_by_leaf_or_by_node() {
    for leaves in [
        r#""right_children":[2,1,0],"leaf_weights":[1E0,2E0,3E0,4E0]"#,
        r#""right_children":[2,-1,-1],"base_weights":[9E0,9E0,3E0,4E0,1E0,2E0]"#,
    ] {
        let read = vectors(leaves).unwrap();
        assert_eq!(predict(&read.forest, &[0.0]).0, [3.0, 5.0]);
        assert_eq!(predict(&read.forest, &[f64::NAN]).0, [1.0, 3.0]);
    }
    assert_eq!(
        vectors(r#""right_children":[2,1,2],"leaf_weights":[1E0,2E0,3E0,4E0]"#),
        Err(ParseError::Malformed(
            "tree 0: node 2: a leaf of 2 values is outside the 4 in the tree".to_string()
        ))
    );
}

#[test]
fn the_wrappers_files_are_cut_at_the_best_round() {
    let with = |attributes: &str, more: &str| {
        let model = MODEL
            .replace(
                "\"attributes\":{}",
                &format!("\"attributes\":{{{attributes}}}"),
            )
            .replace("\"tree_info\"", &format!("{more}\"tree_info\""));
        parsed(&model).map(|read| read.forest.trees.len())
    };
    let mark = r#""scikit_learn":"{}","#;
    assert_eq!(with(r#""best_iteration":"0""#, ""), Ok(2));
    assert_eq!(with(&format!(r#"{mark}"best_iteration":"0""#), ""), Ok(1));
    let pairs = r#""iteration_indptr":[0,2],"#;
    assert_eq!(
        with(&format!(r#"{mark}"best_iteration":"0""#), pairs),
        Ok(2)
    );
    assert_eq!(
        with(&format!(r#"{mark}"best_iteration":"2""#), ""),
        Err(ParseError::Malformed(
            "\"best_iteration\": round 3 is beyond the file's 2 trees".to_string()
        ))
    );
}
