use proptest::prelude::*;

use super::*;
use crate::drift::profile::{Categories, Category, RARE_MAX};

fn feature(kind: Kind, bins: usize, cells: &[Cell]) -> Feature {
    let limits = Limits::new(1, bins);
    counted(kind, limits, cells.iter().copied()).feature("x")
}

fn numbers(bins: usize, values: &[f64]) -> (u64, Numbers) {
    let cells: Vec<Cell> = values.iter().map(|value| Cell::Number(*value)).collect();
    let feature = feature(Kind::Number, bins, &cells);
    match feature.values {
        Values::Number(numbers) => (feature.missing, numbers),
        Values::Category(_) => panic!("{feature:?}"),
    }
}

fn categories(cells: &[Cell]) -> (u64, Categories) {
    let feature = feature(Kind::Category, BINS, cells);
    match feature.values {
        Values::Category(categories) => (feature.missing, categories),
        Values::Number(_) => panic!("{feature:?}"),
    }
}

/// The profile of one column, which must be one.
fn profile(kind: Kind, bins: usize, cells: &[Cell]) -> Profile {
    let columns = [("x".to_string(), kind)];
    served(&columns, bins, cells.len(), |row, _| cells[row])
}

/// Numbers from 0 to 1, the same for every run.
fn uniform(count: usize) -> Vec<f64> {
    let step = |place: usize| (place as f64 * 0.618_033_988_749_894_9).fract();
    (1..=count).map(step).collect()
}

#[test]
fn bins_hold_equally_many_rows() {
    let (missing, numbers) = numbers(10, &uniform(10_000));
    assert_eq!((missing, numbers.counts.len()), (0, 10));
    for (place, edge) in numbers.edges.iter().enumerate() {
        assert!((edge - (place + 1) as f64 / 10.0).abs() < 1e-3, "{edge}");
    }
    assert!(numbers.counts.iter().all(|count| *count == 1_000));
    assert!((numbers.mean - 0.5).abs() < 1e-3);
    assert!((numbers.std - (1.0_f64 / 12.0).sqrt()).abs() < 1e-3);
    assert!(!numbers.whole);
}

#[test]
fn a_sample_of_many_rows_finds_the_quantiles() {
    // In order, so that a sample of the first or of the last rows alone would be seen.
    let rows = 1_000_000;
    let (_, numbers) = numbers(20, &(0..rows).map(f64::from).collect::<Vec<f64>>());
    assert_eq!(numbers.counts.iter().sum::<u64>(), u64::from(rows as u32));
    assert!(numbers.whole);
    for (place, edge) in numbers.edges.iter().enumerate() {
        let quantile = (place + 1) as f64 / 20.0;
        // Five standard deviations of the quantile of a sample of 100,000.
        let far = 5.0 * (quantile * (1.0 - quantile) / 100_000.0).sqrt();
        let off = edge / f64::from(rows) - quantile;
        assert!(off.abs() < far, "{edge} for {quantile}");
    }
}

#[test]
fn a_value_that_fills_a_bin_is_alone_in_it() {
    let mut values = vec![0.0; 6_000];
    values.extend(uniform(4_000).iter().map(|value| value + 1.0));
    let (_, numbers) = numbers(10, &values);
    // Below zero, zero, and four bins of a tenth of the rows each.
    assert_eq!(numbers.counts, [0, 6_000, 1_000, 1_000, 1_000, 1_000]);
    let [low, high] = [numbers.edges[0], numbers.edges[1]];
    assert!((-0.6..-0.4).contains(&low), "{low}");
    assert!(high > 0.4 && high <= 0.6, "{high}");
}

#[test]
fn every_one_of_few_values_is_alone_in_a_bin() {
    let (missing, numbers) = numbers(5, &[3.0, 1.0, 1.0, f64::NAN, -0.0, 0.0]);
    assert_eq!(missing, 1);
    assert_eq!(numbers.edges, [-0.5, 0.5, 2.0, 4.0]);
    assert_eq!(numbers.counts, [0, 2, 2, 1, 0]);
    assert_eq!(numbers.range, Some([0.0, 3.0]));
}

#[test]
fn a_constant_is_alone_and_all_else_is_beside_it() {
    for value in [
        0.1,
        0.0,
        -0.0,
        7.0,
        -3e-300,
        1e300,
        1e-320,
        f64::MAX,
        f64::MIN,
    ] {
        let (_, numbers) = numbers(20, &[value; 5]);
        let bin = |value: f64| super::number::bin(&numbers.edges, value);
        let own = bin(value);
        assert_eq!(numbers.counts[own], 5, "{value}: {numbers:?}");
        assert_eq!(numbers.counts.iter().sum::<u64>(), 5);
        let single = f64::from(value as f32);
        assert!(single.is_infinite() || bin(single) == own, "{value}");
        for other in [
            value - value.abs() * 0.01 - 0.01,
            value + value.abs() * 0.01 + 0.01,
        ] {
            // Nothing finite lies beyond the largest float.
            let is_beside = bin(other) != own || other.is_infinite();
            assert!(is_beside, "{other} beside {value}");
        }
        assert_eq!((numbers.mean, numbers.std), (value, 0.0));
    }
}

#[test]
fn a_value_read_as_a_32_bit_float_stays_in_its_bin() {
    let values: Vec<f64> = (0..5_000).map(|it| f64::from(it % 250) / 10.0).collect();
    for bins in [5, 20, 100] {
        let (_, numbers) = numbers(bins, &values);
        for value in &values {
            let bin = |value| super::number::bin(&numbers.edges, value);
            assert_eq!(bin(*value), bin(f64::from(*value as f32)), "{value}");
        }
    }
}

#[test]
fn infinities_lie_outside_and_nothing_else_is_missing() {
    let infinite = [f64::INFINITY, f64::NEG_INFINITY, f64::INFINITY];
    let (missing, none) = numbers(5, &[infinite.as_slice(), &[f64::NAN]].concat());
    assert_eq!((missing, none.range, none.counts), (1, None, vec![3]));
    let (_, some) = numbers(5, &[infinite.as_slice(), &[1.0, 2.0]].concat());
    assert_eq!(some.counts, [1, 1, 1, 2]);
    assert_eq!((some.range, some.mean), (Some([1.0, 2.0]), 1.5));
    assert!(!some.whole);
    let (missing, empty) = numbers(5, &[f64::NAN; 4]);
    assert_eq!((missing, empty.counts, empty.whole), (4, vec![0], false));
}

#[test]
fn a_text_is_no_number() {
    let feature = feature(Kind::Number, 5, &[Cell::Text("7"), Cell::Number(7.0)]);
    assert_eq!(feature.missing, 1);
}

#[test]
fn categories_are_counted_the_most_frequent_first() {
    let cells = [
        Cell::Text("b"),
        Cell::Text("a"),
        Cell::Number(f64::NAN),
        Cell::Text("b"),
        Cell::Number(-0.0),
        Cell::Number(0.0),
        Cell::Number(0.0),
    ];
    let (missing, found) = categories(&cells);
    assert_eq!(missing, 1);
    let text = |text: &str| Category::Text(text.to_string());
    assert_eq!(found.names, [Category::Number(0.0), text("b"), text("a")]);
    assert_eq!(found.counts, [3, 2, 1]);
    assert_eq!((found.other, found.complete), (0, true));
    let (_, one) = categories(&[Cell::Text("")]);
    assert_eq!((one.names, one.counts), (vec![text("")], vec![1]));
}

#[test]
fn rare_categories_are_named_while_they_are_not_too_many() {
    let names = |count: usize| -> Vec<String> { (0..count).map(|it| format!("c{it}")).collect() };
    let some = names(150);
    let mut cells: Vec<Cell> = some.iter().map(|name| Cell::Text(name)).collect();
    cells.push(Cell::Text("c149"));
    let (_, found) = categories(&cells);
    assert_eq!(found.names[0], Category::Text("c149".to_string()));
    assert_eq!((found.names.len(), found.rare.len()), (100, 50));
    assert_eq!((found.other, found.complete), (50, true));

    let many = names(100 + RARE_MAX + 1);
    let cells: Vec<Cell> = many.iter().map(|name| Cell::Text(name)).collect();
    let (_, found) = categories(&cells);
    assert_eq!((found.names.len(), found.rare.len()), (100, 0));
    assert_eq!((found.other, found.complete), (RARE_MAX as u64 + 1, false));
}

#[test]
fn a_category_that_cannot_be_kept_is_one_of_the_others() {
    let long = "x".repeat(1 << 20);
    let (missing, found) = categories(&[Cell::Text(&long), Cell::Number(f64::INFINITY)]);
    assert_eq!((missing, found.other, found.complete), (0, 2, false));
    assert!(found.names.is_empty());
}

#[test]
fn many_columns_of_many_categories_make_a_profile() {
    let columns: Vec<(String, Kind)> = (0..4_000)
        .map(|place| (format!("c{place}"), Kind::Category))
        .collect();
    let texts: Vec<String> = (0..120).map(|place| format!("t{place}")).collect();
    let profile = served(&columns, 20, 120, |row, _| Cell::Text(&texts[row]));
    assert_eq!(profile.check(), Ok(()));
}

#[test]
fn columns_share_the_room_that_there_is() {
    let one = Limits::new(1, 20);
    assert_eq!((one.bins, one.sample), (20, 100_000));
    let many = Limits::new(20_000, 100);
    assert!((2 * many.bins + 3) * 20_000 <= CELLS_MAX, "{many:?}");
    assert!(many.bins >= 5 && many.sample == 1_000, "{many:?}");
    assert_eq!((one.counted, many.counted), (100, CELLS_MAX / 20_000 - 2));
    assert_eq!(Limits::new(1, 0).bins, 2);
    assert_eq!(Limits::new(usize::MAX, 9_999).bins, 2);
}

#[test]
fn labels_are_counted_by_score() {
    let scores = uniform(5_000);
    let mut sketch = Sketch::new(Kind::Number, Limits::new(1, BINS));
    scores.iter().for_each(|it| sketch.add(Cell::Number(*it)));
    let mut labels = sketch.labels().unwrap();
    let none = labels.clone();
    for score in scores.iter().chain(&[f64::NAN]) {
        labels.add(*score, *score >= 0.5);
    }
    let found = labels.calibration().unwrap();
    assert_eq!(found.rows.len(), 50);
    assert_eq!(found.rows.iter().sum::<u64>(), 5_000);
    let positive = |bin: usize| found.positives[bin] as f64 / found.rows[bin] as f64;
    assert_eq!((positive(0), positive(24), positive(25)), (0.0, 0.0, 1.0));
    assert!(none.calibration().is_none(), "no labels of either kind");
    let texts = Sketch::new(Kind::Category, Limits::new(1, BINS));
    assert!(texts.labels().is_none());
}

#[test]
fn a_bin_of_labels_ends_at_the_threshold() {
    let mut sketch = Sketch::new(Kind::Number, Limits::new(1, BINS));
    let scores = [0.1, 0.2, 0.6, 0.9];
    scores.iter().for_each(|it| sketch.add(Cell::Number(*it)));
    let labels = sketch.labels().unwrap();
    let edges = |at: f64| labels.clone().split(at).0.edges;
    let whole = labels.0.edges.clone();
    for at in [-1.0, 0.15, 0.5, 7.0] {
        let split = edges(at);
        assert!(
            split.is_sorted_by(|a, b| a < b) && split.contains(&at),
            "{split:?}"
        );
        assert!(whole.iter().all(|edge| split.contains(edge)), "{split:?}");
    }
    assert_eq!(edges(whole[1]), whole);
    assert_eq!(edges(f64::NAN), whole);
    let mut split = labels.split(0.6);
    scores.iter().for_each(|it| split.add(*it, *it >= 0.6));
    let found = split.calibration().unwrap();
    assert_eq!(found.rows.len(), found.edges.len() + 1);
    let mixed = found.rows.iter().zip(&found.positives);
    assert!(mixed.clone().all(|(rows, it)| *it == 0 || it == rows));
}

#[test]
fn names_of_rows_are_noticed() {
    let like_an_id = |kind, cells: &mut dyn Iterator<Item = Cell>| {
        let mut sketch = Sketch::new(kind, Limits::new(1, BINS));
        cells.for_each(|cell| sketch.add(cell));
        sketch.is_like_an_id()
    };
    let number = |scale: f64| move |it: u32| Cell::Number(f64::from(it) * scale);
    assert!(like_an_id(Kind::Number, &mut (0..2_000).map(number(1.0))));
    assert!(!like_an_id(Kind::Number, &mut (0..2_000).map(number(0.1))));
    assert!(!like_an_id(Kind::Number, &mut (0..200).map(number(1.0))));
    let names: Vec<String> = (0..2_000).map(|it| format!("id-{it}")).collect();
    let texts = |every: usize| {
        names
            .iter()
            .map(move |it| Cell::Text(&it[..it.len() - every]))
    };
    assert!(like_an_id(Kind::Category, &mut texts(0)));
    assert!(!like_an_id(Kind::Category, &mut texts(1)));
}

#[test]
fn rows_that_were_served_become_a_profile_with_a_score() {
    let columns = [
        ("amount".to_string(), Kind::Number),
        ("country".to_string(), Kind::Category),
    ];
    let mut profile = served(&columns, BINS, 100, |row, column| match column {
        0 => Cell::Number(row as f64),
        _ => Cell::Text(["AT", "DE"][row % 2]),
    });
    profile.score = score(BINS, &uniform(100));
    assert_eq!(profile.check(), Ok(()));
    assert_eq!((profile.rows, profile.source), (100, Source::Served));
    let read = Profile::parse(profile.json().unwrap().as_bytes()).unwrap();
    assert_eq!(read, profile);
    let again = served(&columns, BINS, 100, |row, column| match column {
        0 => Cell::Number(row as f64),
        _ => Cell::Text(["AT", "DE"][row % 2]),
    });
    assert_eq!(
        again.features, profile.features,
        "the same rows, the same bins"
    );
}

/// Any float, and often one of a few.
fn any_number() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<f64>(),
        Just(0.0),
        Just(-0.0),
        Just(f64::NAN),
        Just(f64::INFINITY),
        Just(f64::MAX),
        Just(f64::MIN),
        Just(f64::from_bits(1)),
        (-50..50_i32).prop_map(f64::from),
        any::<f32>().prop_map(f64::from),
    ]
}

proptest! {
    #[test]
    fn whatever_came_is_a_profile(
        values in prop::collection::vec(any_number(), 1..600),
        bins in 0_usize..200,
    ) {
        let cells: Vec<Cell> = values.iter().map(|value| Cell::Number(*value)).collect();
        for kind in [Kind::Number, Kind::Category] {
            let profile = profile(kind, bins, &cells);
            prop_assert_eq!(profile.check(), Ok(()));
            let read = Profile::parse(profile.json().unwrap().as_bytes()).unwrap();
            prop_assert_eq!(read, profile);
        }
    }

    #[test]
    fn a_bin_holds_little_more_than_its_share_unless_it_is_one_value(
        values in prop::collection::vec(-200..200_i32, 100..2_000),
        bins in 2_usize..40,
    ) {
        let values: Vec<f64> = values.into_iter().map(f64::from).collect();
        let (_, numbers) = numbers(bins, &values);
        prop_assert!(numbers.counts.len() <= 2 * bins + 3);
        for (bin, count) in numbers.counts.iter().enumerate() {
            let own = values.iter().filter(|it| super::number::bin(&numbers.edges, **it) == bin);
            let mut own: Vec<f64> = own.copied().collect();
            own.sort_by(f64::total_cmp);
            own.dedup();
            // One that was not heavy may come on top, and rounding of a segment's bins half of one.
            let most = 2.5 * values.len() as f64 / bins as f64 + 1.0;
            prop_assert!(own.len() <= 1 || *count as f64 <= most, "{} > {}", count, most);
        }
    }
}
