use super::*;
use crate::forest::link::AfterMean;
use crate::forest::reference::{self, ZERO_THRESHOLD};
use crate::forest::{Category, FeatureKind, Link, Test, Unknown};

/// Two trees on three features, the second of them categorical.
const TEXT: &str = "tree
version=v4
num_class=1
num_tree_per_iteration=1
label_index=0
max_feature_idx=2
objective=regression
feature_names=a b c
feature_infos=[-1:1] 0:2:1 none

Tree=0
num_leaves=3
num_cat=1
split_feature=0 1
threshold=0.5 0
decision_type=10 1
left_child=1 -1
right_child=-3 -2
leaf_value=1 2 4
cat_boundaries=0 1
cat_threshold=5
is_linear=0
shrinkage=1


Tree=1
num_leaves=1
num_cat=0
leaf_value=0.25
is_linear=0
shrinkage=1


end of trees

feature_importances:
a=1

parameters:
[boosting: gbdt]
[categorical_feature: 1]
end of parameters

pandas_categorical:[[\"x\", \"y\", \"z\"]]
";

fn with(from: &str, to: &str) -> String {
    assert!(TEXT.contains(from), "{from}");
    TEXT.replacen(from, to, 1)
}

fn predicted(text: &str, row: &[f64]) -> f64 {
    let parsed = parse(text.as_bytes()).unwrap();
    reference::predict(&parsed.forest, row).1[0]
}

fn refused(text: &str, expected: &str) {
    let error = parse(text.as_bytes()).unwrap_err();
    assert_eq!(error.to_string(), expected);
}

fn texts(names: &[&str]) -> FeatureKind {
    FeatureKind::Category {
        categories: names
            .iter()
            .map(|name| Category::Text(name.to_string()))
            .collect(),
        unknown: Unknown::Missing,
    }
}

fn codes() -> FeatureKind {
    texts(&[])
}

fn kinds(text: &str) -> Vec<FeatureKind> {
    let parsed = parse(text.as_bytes()).unwrap();
    parsed
        .features
        .into_iter()
        .map(|feature| feature.kind)
        .collect()
}

fn link_of(objective: &str, outputs: usize) -> Result<Link, String> {
    objective::link(Some(objective), outputs, None).map_err(|error| error.to_string())
}

#[test]
fn a_text_becomes_its_trees() {
    assert_eq!(predicted(TEXT, &[0.6, 0.0, 0.0]), 4.25);
    assert_eq!(predicted(TEXT, &[0.5, 0.0, 0.0]), 1.25);
    assert_eq!(predicted(TEXT, &[0.5, 1.0, 0.0]), 2.25);
    assert_eq!(predicted(TEXT, &[f64::NAN, 2.9, 0.0]), 1.25);
    assert_eq!(predicted(TEXT, &[f64::NAN, f64::NAN, 0.0]), 2.25);
}

#[test]
fn windows_line_ends_are_read_without_tree_sizes() {
    assert_eq!(
        parse(TEXT.replace('\n', "\r\n").as_bytes()),
        parse(TEXT.as_bytes())
    );
}

#[test]
fn a_model_without_trees_predicts_zero() {
    let start = TEXT.find("Tree=0").unwrap();
    let end = TEXT.find("end of trees").unwrap();
    let text = format!("{}{}", &TEXT[..start], &TEXT[end..]);
    assert_eq!(predicted(&text, &[0.0; 3]), 0.0);
    assert_eq!(kinds(&text)[1], texts(&["x", "y", "z"]));
}

#[test]
fn the_header_describes_the_features() {
    let parsed = parse(TEXT.as_bytes()).unwrap();
    let names: Vec<_> = parsed
        .features
        .iter()
        .filter_map(|f| f.name.as_deref())
        .collect();
    assert_eq!(names, ["a", "b", "c"]);
    assert_eq!(parsed.objective, "regression");
    assert_eq!(
        kinds(TEXT),
        [
            FeatureKind::Number,
            texts(&["x", "y", "z"]),
            FeatureKind::Number
        ]
    );
}

#[test]
fn categorical_features_without_categories_take_codes() {
    let without = with(
        "pandas_categorical:[[\"x\", \"y\", \"z\"]]",
        "pandas_categorical:null",
    );
    assert_eq!(kinds(&without)[1..], [codes(), FeatureKind::Number]);
    let both = without.replace("categorical_feature: 1", "categorical_feature: 1,2");
    assert_eq!(kinds(&both)[1..], [codes(), codes()]);
    let named = without.replace("categorical_feature: 1", "categorical_feature: name:c");
    assert_eq!(kinds(&named)[1..], [codes(), codes()]);
}

#[test]
fn categories_may_be_numbers_and_booleans() {
    let text = with("\"x\", \"y\", \"z\"", "false, true, 0.1");
    let numbers = [0.0, 1.0, 0.1].map(Category::Number).to_vec();
    let FeatureKind::Category { categories, .. } = &kinds(&text)[1] else {
        unreachable!()
    };
    assert_eq!(*categories, numbers);
    refused(
        &with("\"x\", \"y\", \"z\"", "false, 1, 0"),
        "lightgbm: pandas_categorical: two categories are the same number",
    );
    refused(
        &with("\"x\", \"y\", \"z\"", "null, 1, 0"),
        "lightgbm: pandas_categorical: a category is no text and no number",
    );
}

#[test]
fn categories_of_columns_that_are_no_categorical_features_find_their_owner() {
    // An ordered category trains as a number: `a` cannot be it, `c` can.
    let lists = |lists: &str| with("[[\"x\", \"y\", \"z\"]]", lists);
    let text = lists("[[\"x\", \"y\", \"z\"], [\"lo\", \"hi\"]]");
    assert_eq!(
        kinds(&text)[1..],
        [texts(&["x", "y", "z"]), texts(&["lo", "hi"])]
    );
    // Too few categories for the codes of `b`.
    let text = lists("[[\"lo\", \"hi\"]]");
    assert_eq!(kinds(&text)[1..], [codes(), texts(&["lo", "hi"])]);
    let both = lists("[[\"x\", \"y\", \"z\"]]")
        .replace("[categorical_feature: 1]", "[categorical_feature: 1,2]");
    refused(
        &both,
        "lightgbm: pandas_categorical has 1 lists for 2 categorical features, and it cannot be told which features they belong to",
    );
}

#[test]
fn thresholds_that_the_predictor_cannot_tell_from_zero_are_moved() {
    let threshold = |text: &str| {
        let parsed = parse(with("threshold=0.5", &format!("threshold={text}")).as_bytes());
        parsed.unwrap().forest.trees[0].splits[0].test
    };
    assert_eq!(threshold("0"), Test::LessEq(ZERO_THRESHOLD));
    assert_eq!(threshold("-0"), Test::LessEq(ZERO_THRESHOLD));
    assert_eq!(
        threshold("1.0000000180025095e-35"),
        Test::LessEq(ZERO_THRESHOLD)
    );
    assert_eq!(
        threshold("-1e-36"),
        Test::LessEq((-ZERO_THRESHOLD).next_down())
    );
    assert_eq!(threshold("1e-34"), Test::LessEq(1e-34));
    assert_eq!(threshold("-inf"), Test::LessEq(f64::NEG_INFINITY));
    assert_eq!(threshold("1e999"), Test::LessEq(f64::INFINITY));
}

#[test]
fn objectives_become_links() {
    assert_eq!(
        link_of("binary sigmoid:0.7", 1),
        Ok(Link::Sigmoid64 { slope: 0.7 })
    );
    assert_eq!(link_of("regression sqrt", 1), Ok(Link::SignedSquare64));
    assert_eq!(link_of("huber sqrt", 1), Ok(Link::Identity));
    assert_eq!(link_of("multiclass num_class:3", 3), Ok(Link::Softmax64));
    assert_eq!(link_of("custom", 3), Ok(Link::Identity));
    assert_eq!(link_of("xentlambda", 1), Ok(Link::Log1pExp64));
    assert_eq!(
        objective::link(Some("poisson"), 1, Some(5.0)),
        Ok(Link::Mean64 {
            count: 5.0,
            after: AfterMean::Exp
        })
    );
    assert_eq!(
        link_of("binary", 1),
        Err("lightgbm: objective \"binary\" needs a sigmoid parameter greater than zero".into())
    );
    assert_eq!(
        link_of("multiclass num_class:4", 3),
        Err("lightgbm: objective \"multiclass num_class:4\" does not have the model's num_class (3)".into())
    );
    assert_eq!(
        link_of("binary sigmoid:1", 3),
        Err("lightgbm: objective \"binary sigmoid:1\" has one output, but num_class is 3".into())
    );
    assert_eq!(
        link_of("secret", 1),
        Err("lightgbm: unknown objective \"secret\"".into())
    );
}

#[test]
fn parameters_are_read_as_the_library_reads_them() {
    assert_eq!(text::parameter("1"), Some(1.0));
    assert_eq!(text::parameter("1.25e-2"), Some(1.25 / 100.0));
    assert_eq!(
        text::parameter("2e60"),
        Some(2.0 * (1e50 * 1e8 * 10.0 * 10.0))
    );
    for odd in ["", ".5", "-1", "x", "1.0.0", "1e", "nan", "0x1"] {
        assert_eq!(text::parameter(odd), None, "{odd}");
    }
}

#[test]
fn broken_texts_are_refused_with_the_place() {
    for (from, to, expected) in [
        (
            "tree\n",
            "forest\n",
            "not a lightgbm text model: expected \"tree\" on the first line",
        ),
        (
            "version=v4",
            "version=v5",
            "lightgbm: version \"v5\", expected v2 to v4",
        ),
        ("num_class=1\n", "", "lightgbm: the header has no num_class"),
        (
            "num_class=1",
            "num_class=x",
            "lightgbm: num_class=\"x\" is not a whole number",
        ),
        (
            "num_class=1",
            "num_class=2",
            "lightgbm: num_tree_per_iteration is 1, but num_class is 2",
        ),
        (
            "iteration=1",
            "iteration=0",
            "lightgbm: num_tree_per_iteration is 0, expected at least 1",
        ),
        (
            "label_index=0",
            "version=v4",
            "lightgbm: the header has \"version\" twice",
        ),
        (
            "idx=2",
            "idx=2000000000",
            "lightgbm: max_feature_idx is 2000000000, but there are 3 feature_names",
        ),
        (
            "0:2:1 none",
            "0:2:1",
            "lightgbm: 2 feature_infos for 3 feature_names",
        ),
        (
            "max_",
            "tree_sizes=1 1\nmax_",
            "tree 1: expected at byte 175 (tree_sizes), found at 369",
        ),
        (
            "is_linear=0\n",
            "is_linear\n",
            "tree 0: expected key=value, got \"is_linear\"",
        ),
        (
            "shrinkage=1",
            "is_linear=0",
            "tree 0: is_linear is there twice",
        ),
        (
            "num_leaves=3",
            "num_leaves=2000000000",
            "tree 0: num_leaves is 2000000000, which does not fit its leaf_value",
        ),
        (
            "num_leaves=3",
            "num_leaves=4",
            "tree 0: leaf_value has 3 values, expected 4",
        ),
        (
            "num_leaves=1",
            "num_leaves=0",
            "tree 1: num_leaves is 0, which does not fit its leaf_value",
        ),
        ("num_cat=1\n", "", "tree 0: it has no num_cat"),
        ("num_cat=1", "num_cat=-1", "tree 0: num_cat < 0"),
        (
            "num_cat=1",
            "num_cat=2000000000",
            "tree 0: cat_boundaries has 2 values, expected 2000000001",
        ),
        (
            "threshold=0.5",
            "threshold=x",
            "tree 0: threshold 0: \"x\" is not a number that is allowed here",
        ),
        (
            "threshold=0.5",
            "threshold=nan",
            "tree 0: threshold 0: \"nan\" is not a number that is allowed here",
        ),
        (
            "threshold=0.5 0",
            "threshold=0.5 1",
            "tree 0, node 1: threshold 1 is no category set, the tree has 1",
        ),
        (
            "type=10",
            "type=12",
            "tree 0, node 0: decision_type 12 is unknown",
        ),
        (
            "feature=0 1",
            "feature=3 1",
            "tree 0, node 0: feature 3, but the model has 3",
        ),
        (
            "feature=0 1",
            "feature=0 -1",
            "tree 0, node 1: feature -1, but the model has 3",
        ),
        (
            "left_child=1",
            "left_child=0",
            "tree 0, node 0: child 0 has two parents or lies on a cycle",
        ),
        (
            "left_child=1",
            "left_child=2",
            "tree 0, node 0: child 2 does not exist",
        ),
        (
            "left_child=1 -1",
            "left_child=-1 1",
            "tree 0: 1 of 2 nodes cannot be reached, they lie on a cycle",
        ),
        (
            "right_child=-3",
            "right_child=-4",
            "tree 0, node 0: child -4 does not exist",
        ),
        (
            "boundaries=0 1",
            "boundaries=0 -1",
            "tree 0: cat_boundaries 1: \"-1\" is not a number that is allowed here",
        ),
        (
            "boundaries=0 1",
            "boundaries=1 1",
            "tree 0: cat_boundaries do not rise from 0",
        ),
        (
            "boundaries=0 1",
            "boundaries=0 9",
            "tree 0: cat_threshold has 1 values, expected 9",
        ),
        ("is_linear=0", "is_linear=1", "tree 0: it has no leaf_const"),
    ] {
        refused(&with(from, to), expected);
    }
    refused("", "not a lightgbm text model: the file is empty");
    refused(
        "tree\n\0",
        "not a lightgbm text model: control character at byte 5",
    );
    let cut = &TEXT[..TEXT.find("leaf_value=0.25").unwrap()];
    refused(
        cut,
        "tree 1: the file ends inside it, before its empty line",
    );
    assert!(
        parse(b"tree\n\xff")
            .unwrap_err()
            .to_string()
            .contains("not utf-8 at byte 5")
    );
}

#[test]
fn linear_leaves_are_read_with_their_terms() {
    let linear =
        "is_linear=1\nleaf_const=1 2 3\nnum_features=1 0 1\nleaf_features=0 2\nleaf_coeff=1 1";
    let text = with("is_linear=0", linear);
    let forest = parse(text.as_bytes()).unwrap().forest;
    let leaves = forest.linear.of_tree(0).unwrap();
    assert_eq!(leaves.constants, [1.0, 2.0, 3.0]);
    assert_eq!(leaves.starts, [0, 1, 1, 2]);
    assert_eq!(
        (leaves.features.as_slice(), leaves.coefficients.len()),
        (&[0, 2][..], 2)
    );
    assert!(forest.linear.of_tree(1).is_none());
    refused(
        &text.replace("leaf_features=0 2", "leaf_features=0 3"),
        "tree 0: a linear leaf has feature 3, but the model has 3",
    );
}

#[test]
fn any_change_of_a_byte_is_read_or_refused_without_a_panic() {
    for at in 0..TEXT.len() {
        for byte in [b'0', b'9', b'-', b' ', b'\n', b'=', b'e', b'"', 0xff] {
            let mut bytes = TEXT.as_bytes().to_vec();
            bytes[at] = byte;
            if let Ok(parsed) = parse(&bytes) {
                reference::predict(&parsed.forest, &[0.3; 300][..parsed.forest.features]);
            }
        }
    }
}

#[test]
fn a_deep_chain_needs_no_stack() {
    let splits = 200_000;
    let list = |value: &dyn Fn(usize) -> i64, count: usize| {
        let words: Vec<String> = (0..count).map(|index| value(index).to_string()).collect();
        words.join(" ")
    };
    let zeros = list(&|_| 0, splits);
    let left = list(
        &|node| {
            if node + 1 < splits {
                node as i64 + 1
            } else {
                -1
            }
        },
        splits,
    );
    let right = list(&|node| -(node as i64) - 2, splits);
    let tree = format!(
        "Tree=0\nnum_leaves={}\nnum_cat=0\nsplit_feature={zeros}\nthreshold={zeros}\ndecision_type={zeros}\nleft_child={left}\nright_child={right}\nleaf_value={}\n\n",
        splits + 1,
        list(&|leaf| leaf as i64, splits + 1)
    );
    let start = TEXT.find("Tree=0").unwrap();
    let text = format!("{}{tree}", &TEXT[..start]);
    assert_eq!(predicted(&text, &[-1.0, 0.0, 0.0]), 0.0);
    assert_eq!(predicted(&text, &[1.0, 0.0, 0.0]), 1.0);
}
