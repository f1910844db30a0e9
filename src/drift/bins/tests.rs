use proptest::prelude::*;

use super::*;
use crate::drift::profile::{Feature, Score, Source, VERSION};

const SINGLE: Reading = Reading::Number { single: true };

fn text(name: &str) -> Category {
    Category::Text(name.to_string())
}

fn numbers(edges: &[f64], counts: &[u64]) -> Numbers {
    Numbers {
        range: Some([0.0, 10.0]),
        mean: 1.0,
        std: 1.0,
        whole: false,
        edges: edges.to_vec(),
        counts: counts.to_vec(),
    }
}

fn feature(name: &str, values: Values) -> Feature {
    Feature {
        name: name.to_string(),
        missing: 0,
        values,
    }
}

fn profile() -> Profile {
    let categories = Categories {
        names: vec![text("DE"), text("AT")],
        counts: vec![5, 3],
        rare: vec![text("CH")],
        other: 2,
        complete: true,
    };
    Profile {
        version: VERSION,
        source: Source::Training,
        rows: 10,
        digest: String::new(),
        model: None,
        label: None,
        features: vec![
            feature("amount", Values::Number(numbers(&[0.7, 5.0], &[4, 4, 2]))),
            feature("country", Values::Category(categories)),
        ],
        score: Some(Score {
            missing: 0,
            values: numbers(&[0.5], &[6, 4]),
        }),
        calibration: Some(Calibration {
            edges: vec![0.3],
            rows: vec![6, 4],
            positives: vec![1, 3],
        }),
    }
}

fn columns() -> Vec<Column<'static>> {
    let codes = ["AT", "CH", "DE", "FR"].map(text).to_vec();
    vec![
        Column {
            name: "amount",
            reading: SINGLE,
        },
        Column {
            name: "country",
            reading: Reading::Coded(codes),
        },
    ]
}

fn refused(change: impl FnOnce(&mut Profile, &mut Vec<Column<'static>>)) -> String {
    let (mut profile, mut columns) = (profile(), columns());
    change(&mut profile, &mut columns);
    Bins::new(profile, &columns).unwrap_err().0
}

#[test]
fn every_value_has_its_cell() {
    let bins = Bins::new(profile(), &columns()).unwrap();
    assert_eq!(bins.len(), 3 + 3 + 2 + 3 + 2 + 3 + 4);
    let mut cells = vec![0; bins.len()];
    // As 32 bits, 0.7 is less than 0.7; it stays in its bin.
    for (amount, code) in [
        (0.7_f32, 2.0_f32),
        (0.6, 0.0),
        (-3.0, 1.0),
        (f32::INFINITY, 3.0),
        (f32::NEG_INFINITY, 9.0),
        (f32::NAN, f32::NAN),
        (10.0, 2.5),
    ] {
        bins.count(&[amount, code], &mut cells);
    }
    assert_eq!(cells[bins.feature(0).unwrap()], [3, 1, 2, 1, 2, 1]);
    // DE, AT, the rare CH, what the reference has not seen, missing.
    assert_eq!(cells[bins.feature(1).unwrap()], [1, 1, 1, 3, 1]);
    bins.recount_unseen(1, &mut cells);
    assert_eq!(cells[bins.feature(1).unwrap()], [1, 1, 1, 4, 0]);
    bins.recount_unseen(1, &mut cells);
    assert_eq!(cells[bins.feature(1).unwrap()], [1, 1, 1, 4, 0]);
}

#[test]
fn a_score_is_counted_on_its_side_of_the_threshold() {
    let bins = Bins::new(profile(), &columns()).unwrap();
    let mut cells = vec![0; bins.len()];
    for score in [0.1, 0.35, 0.5, 0.9, f64::NAN] {
        bins.count_score(score, 0.4, &mut cells);
    }
    assert_eq!(cells[bins.score().unwrap()], [2, 2, 1, 0, 0]);
    let (_, above, below) = bins.calibration().unwrap();
    assert_eq!((&cells[above], &cells[below]), (&[0, 2][..], &[1, 1][..]));
}

#[test]
fn categories_may_be_numbers() {
    let (mut profile, mut columns) = (profile(), columns());
    profile.features[1].values = Values::Category(Categories {
        names: vec![
            Category::Number(7.0),
            Category::Number(-1.5),
            Category::Number(1e9),
        ],
        counts: vec![5, 3, 2],
        rare: vec![],
        other: 0,
        complete: false,
    });
    columns[1].reading = Reading::Code;
    let bins = Bins::new(profile, &columns).unwrap();
    let mut cells = vec![0; bins.len()];
    for code in [7.0, -1.5, 1e9, 8.0, -7.0, f64::NAN] {
        bins.count(&[1.0, code], &mut cells);
    }
    // What is not known may have been among those that the reference does not list.
    assert_eq!(cells[bins.feature(1).unwrap()], [1, 1, 1, 2, 0, 1]);
}

#[test]
fn a_profile_of_another_model_is_refused() {
    assert!(refused(|it, _| it.features.swap(0, 1)).contains("another order"));
    assert!(refused(|it, _| it.features[0].name = "sum".to_string()).contains("no such feature"));
    assert!(
        refused(|it, _| drop(it.features.pop())).contains("it has 1 features, and the model 2")
    );
    assert!(refused(|_, it| it[1].reading = SINGLE).contains("the model reads numbers"));
    assert!(refused(|_, it| it[0].reading = Reading::Coded(vec![])).contains("reads categories"));
}

proptest! {
    #[test]
    fn no_value_is_lost(values in prop::collection::vec(any::<(f32, f32)>(), 1..50)) {
        let bins = Bins::new(profile(), &columns()).unwrap();
        let mut cells = vec![0; bins.len()];
        for (amount, code) in &values {
            bins.count(&[*amount, *code], &mut cells);
        }
        let amount = &cells[bins.feature(0).unwrap()];
        prop_assert_eq!(amount[..4].iter().sum::<u64>(), values.len() as u64);
        let country = &cells[bins.feature(1).unwrap()];
        prop_assert_eq!(country.iter().sum::<u64>(), values.len() as u64);
    }
}
