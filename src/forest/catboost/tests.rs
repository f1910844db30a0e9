use super::*;
use crate::forest::reference::predict;

const MODEL: &str = r#"{"features_info":{"float_features":[
    {"feature_id":"a","feature_index":0,"flat_feature_index":0,"nan_value_treatment":"AsFalse"},
    {"feature_id":"b","feature_index":1,"flat_feature_index":1,"nan_value_treatment":"AsTrue"}]},
    "model_info":{"params":{"loss_function":{"type":"RMSE"}},
        "catboost_version_info":"Git info:\n    Branch: tags/v1.2.10\n"},
    "oblivious_trees":[{"leaf_values":[1,2,3,4],"splits":[
        {"split_type":"FloatFeature","float_feature_index":0,"border":0.5},
        {"split_type":"FloatFeature","float_feature_index":1,"border":1.5}]}],
    "scale_and_bias":[1,[0.25]]}"#;

fn raw(row: [f64; 2]) -> f64 {
    predict(&parse_json(MODEL.as_bytes()).unwrap().forest, &row).0[0]
}

fn changed(from: &str, to: &str) -> String {
    assert!(MODEL.contains(from), "{from}");
    parse_json(MODEL.replace(from, to).as_bytes())
        .unwrap_err()
        .to_string()
}

#[test]
fn the_first_split_is_the_lowest_bit_of_a_leaf() {
    assert_eq!(raw([0.0, 0.0]), 1.25);
    assert_eq!(raw([1.0, 0.0]), 2.25);
    assert_eq!(raw([0.0, 2.0]), 3.25);
    assert_eq!(raw([1.0, 2.0]), 4.25);
    assert_eq!(raw([f64::NAN, f64::NAN]), 3.25);
    let parsed = parse_json(MODEL.as_bytes()).unwrap();
    assert_eq!(parsed.library_version.as_deref(), Some("1.2.10"));
    assert_eq!(parsed.features[1].name.as_deref(), Some("b"));
}

#[test]
fn other_growing_policies_nest_their_nodes() {
    let nested = r#""trees":[{"split":{"split_type":"FloatFeature","float_feature_index":0,
        "border":0.5},"left":{"value":1.0},"right":{"split":{"split_type":"FloatFeature",
        "float_feature_index":1,"border":1.5},"left":{"value":2.0},"right":{"value":3.0}}}],
        "scale_and_bias""#;
    let model = MODEL.replace("\"oblivious_trees\"", "\"other\"");
    let parsed = parse_json(model.replace("\"scale_and_bias\"", nested).as_bytes()).unwrap();
    let raw = |row: [f64; 2]| predict(&parsed.forest, &row).0[0];
    assert_eq!(raw([0.0, 9.0]), 1.25);
    assert_eq!(raw([1.0, 1.0]), 2.25);
    assert_eq!(raw([1.0, 9.0]), 3.25);
    let torn = nested.replace("\"left\":{\"value\":1.0},", "");
    let error = parse_json(model.replace("\"scale_and_bias\"", &torn).as_bytes()).unwrap_err();
    assert!(
        error.to_string().contains("neither a split nor a leaf"),
        "{error}"
    );
}

#[test]
fn a_threshold_says_of_a_double_what_the_border_says_of_its_float() {
    let borders = [
        0.0_f32,
        -0.0,
        1.0,
        1.0_f32.next_up(),
        -1.5,
        1e-45,
        -1e-45,
        f32::MIN_POSITIVE,
        f32::MAX,
        f32::MIN,
        f32::MAX.next_down(),
    ];
    for border in borders {
        let at = threshold(border);
        for value in [
            f64::from(border),
            f64::from(border.next_up()),
            f64::from(border.next_down()),
            at,
            at.next_up(),
            at.next_down(),
            0.0,
            f64::MAX,
            f64::INFINITY,
            f64::NEG_INFINITY,
        ] {
            assert_eq!(
                value > at,
                value as f32 > border,
                "{value:e} and {border:e}"
            );
        }
    }
}

#[test]
fn what_cannot_be_exact_is_refused() {
    assert!(changed("[1,[0.25]]", "[2,[0.25]]").contains("scale 2"));
    assert!(changed("RMSE", "Magic").contains("loss function \"Magic\""));
    assert!(changed("\"border\":1.5", "\"border\":null").contains("tree 0: a split without"));
    assert!(changed("[1,2,3,4]", "[1,2,3]").contains("tree 0: leaf_values"));
    assert!(changed("\"float_feature_index\":1", "\"float_feature_index\":2").contains("exist"));
    assert!(changed("\"feature_index\":1", "\"feature_index\":0").contains("expected feature 1"));
    assert!(changed("{\"feature_id\":\"a\"", "{\"feature_id\":\"b\"").contains("two features"));
    assert!(changed("FloatFeature", "OneHotFeature").contains("OneHotFeature"));
    let category = changed("]},\n", "],\"categorical_features\":[{}]},\n");
    assert!(category.contains("categorical features"), "{category}");
    assert!(parse_json(b"{").is_err());
}
