use proptest::prelude::*;

use super::*;
use crate::drift::profile::{Categories, Category, Feature, Numbers, Profile, Source, Values};
use crate::engine::{self, FeatureKind, Format, Outline, Unknown};
use crate::model::mlflow::{MlColumn, MlModel};
use crate::model::signature::{Mismatch, Signature};
use crate::tensor::{Element, Rows};

/// `amount` and `age` are numbers, `city` one of Oslo and Rome, `size` one of 10 and 20.
fn signature(element: Element) -> Signature {
    let city = ["Oslo", "Rome"].map(|it| engine::Category::Text(it.to_string()));
    let size = [10.0, 20.0].map(engine::Category::Number);
    let category = |categories: [engine::Category; 2]| FeatureKind::Category {
        categories: categories.into(),
        unknown: Unknown::Missing,
    };
    let feature = |(name, kind): (&str, FeatureKind)| engine::Feature {
        name: Some(name.to_string()),
        kind,
    };
    let features = [
        ("amount", FeatureKind::Number),
        ("age", FeatureKind::Number),
        ("city", category(city)),
        ("size", category(size)),
    ];
    let outline = Outline {
        engine: "forest",
        format: Format::LightgbmText,
        element,
        features: features.map(feature).into(),
        outputs: Vec::new(),
        objective: String::new(),
        trees: None,
        library_version: None,
        refused_by_forest: None,
    };
    Signature::new(&outline, None).unwrap()
}

fn written(rules: &[&str]) -> SlotRules {
    let rules: Vec<String> = rules.iter().map(|it| it.to_string()).collect();
    SlotRules {
        rules: SlotRules::parse(&rules).unwrap(),
        ..SlotRules::default()
    }
}

fn rules(texts: &[&str]) -> Rules {
    Rules::new(&written(texts), &[], &signature(Element::F64))
}

fn rows(values: &[[f64; 4]]) -> Rows {
    Rows::from_f64(values.concat(), 4, Element::F64).unwrap()
}

fn values(rows: &Rows) -> Vec<f64> {
    match rows {
        Rows::F32(matrix) => matrix.values().iter().map(|it| f64::from(*it)).collect(),
        Rows::F64(matrix) => matrix.values().to_vec(),
    }
}

/// The marks of rows, which are then clamped.
fn apply(rules: &Rules, rows: &mut Rows, unknown: &[(u32, u32)]) -> Result<Marks, String> {
    let marks = rules.check(rows, unknown);
    rules.clamp(rows);
    marks
}

fn refused(texts: &[&str], row: [f64; 4]) -> String {
    rules(texts).check(&rows(&[row]), &[]).unwrap_err()
}

/// Feature, check, action, rows.
fn counts(rules: &Rules) -> Vec<(&str, &str, &str, u64)> {
    let counts = rules.counts().into_iter();
    counts
        .map(|it| (it.feature.unwrap_or("others"), it.check, it.action, it.rows))
        .collect()
}

const NAN: f64 = f64::NAN;

#[test]
fn a_rule_reads_like_a_sentence() {
    let check = |text: &str, feature: &str, check: Check, action: Action| {
        let rule: Rule = text.parse().unwrap();
        assert_eq!(
            (rule.feature.as_str(), &rule.check, rule.action),
            (feature, &check, action)
        );
    };
    let range = |low, high| Check::Range { low, high };
    check(
        "amount: 0..100000 clamp",
        "amount",
        range(0.0, 1e5),
        Action::Clamp,
    );
    check(
        "amount:  -1e-3 .. -.5e-3  flag",
        "amount",
        range(-1e-3, -0.5e-3),
        Action::Flag,
    );
    check(
        "a:b: ..1e6 flag",
        "a:b",
        range(f64::NEG_INFINITY, 1e6),
        Action::Flag,
    );
    check(
        "two words: 3.. reject",
        "two words",
        range(3.0, f64::INFINITY),
        Action::Reject,
    );
    check("age: whole flag", "age", Check::Whole, Action::Flag);
    check("*: required flag", "*", Check::Required, Action::Flag);
    let names = ["DE", "New York", "a: b"].map(str::to_string).to_vec();
    check(
        "c: in DE|New York | a: b reject",
        "c",
        Check::Categories(names),
        Action::Reject,
    );
}

#[test]
fn a_broken_rule_says_what_was_expected() {
    for (text, expected) in [
        ("", "expected \"FEATURE: CHECK ACTION\""),
        ("amount 0..1 flag", "expected \"FEATURE: CHECK ACTION\""),
        ("amount: flag", "expected \"FEATURE: CHECK ACTION\""),
        (": whole flag", "expected \"FEATURE: CHECK ACTION\""),
        ("a: whole", "expected \"FEATURE: CHECK ACTION\""),
        (
            "a: whole ignore",
            "expected reject, flag or clamp at its end, got \"ignore\"",
        ),
        (
            "a: hole flag",
            "expected LOW..HIGH, whole, required or \"in A|B\", got \"hole\"",
        ),
        (
            "a: x..1 flag",
            "expected a number at both ends of \"..\", or at one, got \"x\"",
        ),
        ("a: 0..inf flag", "got \"inf\""),
        ("a: NaN.. flag", "got \"NaN\""),
        ("a: .. flag", "or every number does"),
        ("a: 2..1 flag", "no number lies in 2..1"),
        ("a: in A||B flag", "expected names with | between them"),
        (
            "a: in A clamp",
            "\"in A\" cannot be clamped; expected reject or flag",
        ),
        ("a: required clamp", "\"required\" cannot be clamped"),
        ("*: in A flag", "expected the name of one feature"),
    ] {
        let error = text.parse::<Rule>().unwrap_err();
        assert!(error.contains(expected), "{text}: {error}");
    }
    for (texts, expected) in [
        (
            ["a: 0.. flag", "a: ..1 reject"],
            "rule \"a: ..1 reject\": another one says the range",
        ),
        (
            ["a: whole flag", "a: 0.2..0.8 clamp"],
            "no whole number lies in 0.2..0.8",
        ),
    ] {
        let error = SlotRules::parse(&texts.map(str::to_string)).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_refusal_names_the_first_value_and_how_many_there_are() {
    let all = [
        "amount: 0..100 reject",
        "age: whole reject",
        "city: in Rome reject",
        "size: required reject",
    ];
    for (row, expected) in [
        (
            [150.0, 1.0, 1.0, 0.0],
            "feature \"amount\", row 0: 150 is above 100 (validate.rules)",
        ),
        (
            [-1e300, 1.0, 1.0, 0.0],
            "feature \"amount\", row 0: -1e300 is below 0 (validate.rules)",
        ),
        ([f64::INFINITY, 1.0, 1.0, 0.0], "inf is above 100"),
        (
            [1.0, 1.5, 1.0, 0.0],
            "feature \"age\", row 0: 1.5 is not a whole number (validate.rules)",
        ),
        (
            [1.0, 1.0, 0.0, 0.0],
            "row 0: the category is not one of those that are allowed",
        ),
        (
            [1.0, 1.0, 1.0, NAN],
            "feature \"size\", row 0: missing (validate.rules)",
        ),
        (
            [101.0, 0.5, 0.0, NAN],
            "101 is above 100 (validate.rules); 4 values in all",
        ),
    ] {
        let error = refused(&all, row);
        assert!(error.contains(expected), "{error}");
    }
    let good = [
        [0.0, -3.0, 1.0, 1.0],
        [100.0, f64::INFINITY, NAN, 0.0],
        [NAN, NAN, 1.0, 0.0],
    ];
    let marks = rules(&all).check(&rows(&good), &[]);
    assert_eq!(marks, Ok(Marks::default()));
    // A bound is rounded as the values are.
    let single = Rules::new(
        &written(&["amount: ..0.1 reject"]),
        &[],
        &signature(Element::F32),
    );
    let on_it = Rows::from_f64(vec![0.1, 0.0, 0.0, 0.0], 4, Element::F32).unwrap();
    assert_eq!(single.check(&on_it, &[]), Ok(Marks::default()));
    let above = Rows::from_f64(vec![0.2, 0.0, 0.0, 0.0], 4, Element::F32).unwrap();
    let error = single.check(&above, &[]).unwrap_err();
    assert!(error.contains("0.2 is above 0.1"), "{error}");
}

#[test]
fn rows_are_marked_once_and_values_counted_by_rule() {
    let rules = rules(&[
        "amount: 0..10 clamp",
        "age: whole clamp",
        "age: ..9.5 flag",
        "city: in Oslo flag",
    ]);
    let sent = [
        [11.0, 2.5, 0.0, 0.0],
        [-1.0, 10.0, 1.0, 0.0],
        [5.0, 3.5, NAN, NAN],
        [5.0, 1.0, NAN, NAN],
    ];
    let mut changed = rows(&sent);
    // The category of the last row is not known; that of the one before is missing.
    let marks = apply(&rules, &mut changed, &[(3, 2)]).unwrap();
    assert_eq!(
        marks,
        Marks {
            flagged: 2,
            clamped: 3
        }
    );
    let expected = [
        [10.0, 2.0, 0.0, 0.0],
        [0.0, 10.0, 1.0, 0.0],
        [5.0, 4.0, NAN, NAN],
        [5.0, 1.0, NAN, NAN],
    ];
    let bits = |values: Vec<f64>| values.into_iter().map(f64::to_bits).collect::<Vec<_>>();
    assert_eq!(bits(values(&changed)), bits(expected.concat()));
    assert_eq!(
        counts(&rules),
        [
            ("amount", "range", "clamp", 2),
            ("age", "range", "flag", 1),
            ("age", "whole", "clamp", 2),
            ("city", "category", "flag", 2),
        ]
    );
    // Blocks of rows do not lose any.
    let mut many = rows(&[[11.0, 0.0, 1.0, 0.0]; 200]);
    let marks = apply(&rules, &mut many, &[]).unwrap();
    assert_eq!(
        marks,
        Marks {
            flagged: 200,
            clamped: 200
        }
    );
    assert_eq!(counts(&rules)[0].3, 202);
}

#[test]
fn a_check_changes_no_value_and_clamping_counts_and_refuses_nothing() {
    for element in [Element::F32, Element::F64] {
        let all = [
            "amount: 0..10 clamp",
            "age: 0..1 reject",
            "city: required flag",
        ];
        let rules = Rules::new(&written(&all), &[], &signature(element));
        let of = |row: [f64; 4]| Rows::from_f64([row; 70].concat(), 4, element).unwrap();
        let [sent, clamped] = [11.0, 10.0].map(|amount| of([amount, 2.0, NAN, 1.0]));
        let bits = |rows: &Rows| {
            values(rows)
                .into_iter()
                .map(f64::to_bits)
                .collect::<Vec<_>>()
        };
        let mut rows = sent.clone();
        rules.clamp(&mut rows);
        assert_eq!(bits(&rows), bits(&clamped));
        assert_eq!(counts(&rules), []);
        let mut rows = sent.clone();
        rules.check(&rows, &[]).unwrap_err();
        assert_eq!(bits(&rows), bits(&sent));
        assert_eq!(counts(&rules).len(), 3);
        // A rule that only flags changes nothing, with another that clamps beside it or not.
        let flags = written(&["amount: 0..10 flag", "amount: whole clamp"]);
        Rules::new(&flags, &[], &signature(element)).clamp(&mut rows);
        assert_eq!(bits(&rows), bits(&sent));
    }
}

#[test]
fn a_value_is_rounded_within_the_range_that_it_was_sent_in() {
    // Rules of `age`, what is sent, what it becomes, and how often its range and being whole are broken.
    for (texts, sent, expected, range, whole) in [
        (["age: ..9.8 reject", "age: whole clamp"], 9.7, 9.0, 0, 1),
        (["age: 0.2.. flag", "age: whole clamp"], 0.3, 1.0, 0, 1),
        (["age: ..9.2 clamp", "age: whole clamp"], 9.4, 9.0, 1, 1),
        (["age: ..9 flag", "age: whole clamp"], 9.4, 9.0, 1, 1),
        (["age: ..9 clamp", "age: whole flag"], 8.7, 8.7, 0, 1),
        // No whole number lies within it.
        (["age: 0.2..0.8 clamp", "*: whole clamp"], 0.4, 0.2, 1, 1),
        (["age: 0.2..0.8 clamp", "*: whole clamp"], 0.7, 0.8, 1, 1),
        (["age: 0.2..0.8 flag", "*: whole clamp"], 0.4, 0.2, 1, 1),
    ] {
        let rules = rules(&texts);
        let mut changed = rows(&[[0.0, sent, 1.0, 0.0]]);
        apply(&rules, &mut changed, &[]).unwrap();
        assert_eq!(values(&changed)[1], expected, "{texts:?}: {sent}");
        let of = |kind: &str| {
            let mut of_age = counts(&rules).into_iter().filter(|it| it.0 == "age");
            of_age.find(|it| it.1 == kind).map_or(0, |it| it.3)
        };
        assert_eq!((of("range"), of("whole")), (range, whole), "{texts:?}");
    }
    let error = refused(
        &["age: ..9 reject", "age: whole clamp"],
        [0.0, 9.4, 1.0, 0.0],
    );
    assert!(error.contains("9.4 is above 9"), "{error}");
    let none = ["age: 0.2..0.8 reject", "*: whole clamp"];
    assert_eq!(
        refused(&none, [0.0, 0.4, 1.0, 0.0]),
        "feature \"age\", row 0: no whole number is from 0.2 to 0.8 (validate.rules)"
    );
}

#[test]
fn what_is_written_for_a_feature_comes_before_what_is_for_all_and_both_before_defaults() {
    let default = |text: &str| text.parse::<Rule>().unwrap();
    let defaults = [
        default("amount: 0..1 flag"),
        default("amount: required reject"),
        default("age: 0..1 reject"),
        default("city: in Rome flag"),
    ];
    let written = written(&["*: ..100 flag", "amount: 0..10 reject", "*: required flag"]);
    let rules = Rules::new(&written, &defaults, &signature(Element::F64));
    let error = rules
        .check(&rows(&[[11.0, 0.0, 1.0, 0.0]]), &[])
        .unwrap_err();
    assert!(error.contains("11 is above 10"), "{error}");
    let marks = rules.check(
        &rows(&[[NAN, -99.0, 0.0, NAN], [1.0, 101.0, 1.0, 1.0]]),
        &[],
    );
    assert_eq!(
        marks,
        Ok(Marks {
            flagged: 2,
            clamped: 0
        })
    );
    assert!(!rules.refuse_by_default());
    let none = SlotRules::default();
    let rules = Rules::new(&none, &defaults, &signature(Element::F64));
    assert!(rules.refuse_by_default());
    let error = rules
        .check(&rows(&[[NAN, 0.5, 1.0, 0.0]]), &[])
        .unwrap_err();
    assert_eq!(
        error,
        "feature \"amount\", row 0: missing (validate.defaults)"
    );
}

#[test]
fn what_does_not_fit_a_model_is_told_and_the_rest_holds() {
    let rules = rules(&[
        "amuont: 0.. flag",
        "city: 0..1 flag",
        "size: in 10|30 flag",
        "amount: in 1|DE|2 flag",
        "*: ..100 flag",
    ]);
    let mut unfit = rules.unfit().to_vec();
    unfit.sort();
    assert_eq!(
        unfit,
        [
            "feature \"amount\": it is a number for the model, and \"DE\" is not",
            "feature \"amuont\": the model has none",
            "feature \"city\": a category has no range",
            "feature \"size\": the model does not know the category \"30\"",
        ]
    );
    let sent = [
        [1.0, 1.0, 0.0, 0.0],
        [-0.5, 1.0, 0.0, 0.0],
        [2.0, 1.0, 0.0, 1.0],
    ];
    let marks = rules.check(&rows(&sent), &[]);
    assert_eq!(
        marks,
        Ok(Marks {
            flagged: 2,
            clamped: 0
        })
    );
}

#[test]
fn series_are_of_twenty_features_at_the_most_and_never_fall() {
    let rules = Rules {
        names: (0..30).map(|it| format!("f{it}")).collect(),
        lacked: (0..30).map(|_| 0.into()).collect(),
        ..Rules::default()
    };
    let lack = |columns: std::ops::Range<usize>, rows| {
        let mismatch = Mismatch {
            reason: String::new(),
            lacking: columns.collect(),
            rows,
        };
        rules.count_lacking(&mismatch);
    };
    lack(0..19, 1);
    assert_eq!(rules.series().len(), 19);
    lack(19..30, 5);
    lack(25..26, 1);
    let series = rules.series();
    assert_eq!(series.len(), 21);
    assert_eq!(series[0].feature, Some("f25"));
    let others = series[20];
    assert_eq!(
        (others.feature, others.check, others.rows),
        (None, "feature", 50)
    );
    lack(29..30, 1000);
    assert!(rules.series().iter().all(|it| it.feature != Some("f29")));
    assert_eq!(rules.series()[20].rows, 1050);
    assert_eq!(rules.counts().len(), 30);
}

#[test]
fn a_profile_and_a_signature_of_mlflow_imply_rules() {
    let numbers = Numbers {
        range: Some([-1.0, 7.5]),
        mean: 0.0,
        std: 1.0,
        whole: false,
        edges: Vec::new(),
        counts: vec![3],
    };
    let categories = |complete| Categories {
        names: vec![Category::Text("Oslo".to_string())],
        counts: vec![2],
        rare: vec![Category::Number(0.1)],
        other: 1,
        complete,
    };
    let feature = |name: &str, missing, values| Feature {
        name: name.to_string(),
        missing,
        values,
    };
    let profile = Profile {
        version: 1,
        source: Source::Training,
        rows: 3,
        digest: String::new(),
        model: None,
        label: None,
        features: vec![
            feature("amount", 0, Values::Number(numbers)),
            feature("city", 1, Values::Category(categories(true))),
            feature("size", 1, Values::Category(categories(false))),
        ],
        score: None,
        calibration: None,
    };
    let mlflow = MlModel {
        model_file: String::new(),
        format: Format::Onnx,
        columns: vec![MlColumn {
            name: "age".to_string(),
            whole: true,
            required: true,
        }],
        example: None,
    };
    let parsed = |texts: &[&str]| {
        texts
            .iter()
            .map(|it| it.parse().unwrap())
            .collect::<Vec<Rule>>()
    };
    assert_eq!(
        defaults::of(Some(&profile), Some(&mlflow), Action::Clamp),
        parsed(&[
            "amount: -1..7.5 clamp",
            "amount: required flag",
            "city: in Oslo|0.1 flag",
            "age: whole clamp",
            "age: required flag",
        ])
    );
    assert_eq!(defaults::of(None, None, Action::Reject), []);
}

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        8 => -20.0..20.0,
        2 => (-20_i32..20).prop_map(f64::from),
        1 => proptest::sample::select(vec![NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 0.1]),
    ]
}

proptest! {
    #[test]
    fn clamped_rows_break_no_rule(
        sent in proptest::collection::vec(number(), 4 * 70),
        (low, span) in (-10.0..10.0, 1.0..10.0),
        single: bool,
    ) {
        let element = if single { Element::F32 } else { Element::F64 };
        let range = format!("{low}..{} clamp", low + span);
        let (amount, age) = (format!("amount: {range}"), format!("age: {range}"));
        let written = written(&[&amount, &age, "age: whole clamp"]);
        let rules = Rules::new(&written, &[], &signature(element));
        let mut rows = Rows::from_f64(sent, 4, element).unwrap();
        let before = values(&rows);
        apply(&rules, &mut rows, &[]).unwrap();
        let once = values(&rows);
        prop_assert_eq!(apply(&rules, &mut rows, &[]), Ok(Marks::default()));
        for (now, before) in once.chunks(4).zip(before.chunks(4)) {
            let (low, high) = match single {
                true => (f64::from(low as f32), f64::from((low + span) as f32)),
                false => (low, low + span),
            };
            prop_assert!(now[0].is_nan() == before[0].is_nan());
            prop_assert!(now[0].is_nan() || (low..=high).contains(&now[0]));
            prop_assert!(now[1].is_nan() || (low..=high).contains(&now[1]) && now[1].fract() == 0.0);
            prop_assert!(!(low..=high).contains(&before[0]) || now[0] == before[0]);
        }
    }

    #[test]
    fn flagged_rows_stay_as_they_are_to_the_last_bit(
        sent in proptest::collection::vec(number(), 4 * 70),
    ) {
        let all = ["*: 0..1 flag", "*: whole flag", "*: required flag", "city: in Rome flag"];
        let rules = rules(&all);
        let mut rows = Rows::from_f64(sent.clone(), 4, Element::F64).unwrap();
        let marks = apply(&rules, &mut rows, &[(0, 2)]).unwrap();
        prop_assert!(marks.flagged <= 70 && marks.clamped == 0);
        let bits = |values: &[f64]| values.iter().map(|it| it.to_bits()).collect::<Vec<_>>();
        prop_assert_eq!(bits(&values(&rows)), bits(&sent));
    }
}
