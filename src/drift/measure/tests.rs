use super::*;
use crate::drift::bins::{Column, Reading};
use crate::drift::build::{self, Cell, Kind};
use crate::drift::profile::Profile;
use crate::drift::window::Counts;

const FEATURES: usize = 30;
/// The last one has categories.
const CATEGORY: usize = FEATURES - 1;
const NAMES: [&str; 4] = ["DE", "AT", "CH", "FR"];
const ROWS_MIN: u64 = 1000;

/// Numbers without a pattern, the same in every run.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ bits >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((bits ^ bits >> 31) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// About normal: mean 0, deviation 1.
    fn normal(&mut self) -> f64 {
        // Twelve uniforms, four a draw: only the shape matters, and this is fast.
        let sum: f64 = (0..4).map(|_| self.next()).sum();
        (sum - 2.0) * 3.0_f64.sqrt()
    }

    /// Normal, skewed, few values, many zeros, with gaps; the last one is a code.
    fn row(&mut self, row: &mut [f64; FEATURES]) {
        for (place, value) in row.iter_mut().enumerate() {
            let draw = self.normal();
            *value = match place {
                CATEGORY => (self.next() * self.next() * 4.0).floor(),
                _ if place % 5 == 1 => draw.exp(),
                _ if place % 5 == 2 => draw.round(),
                _ if place % 5 == 3 && draw < 0.5 => 0.0,
                _ if place % 5 == 4 && draw < -1.0 => f64::NAN,
                _ => draw,
            };
        }
    }
}

fn terms() -> Terms {
    Terms {
        thresholds: Thresholds {
            watch: 0.1,
            act: 0.25,
            rows_min: ROWS_MIN,
        },
        ignore: BTreeSet::new(),
        threshold: 0.5,
    }
}

fn profile(rows: &[[f64; FEATURES]]) -> Profile {
    let columns: Vec<(String, Kind)> = (0..FEATURES)
        .map(|place| {
            let kind = match place {
                CATEGORY => Kind::Category,
                _ => Kind::Number,
            };
            (format!("f{place}"), kind)
        })
        .collect();
    build::served(&columns, 20, rows.len(), |row, column| match column {
        CATEGORY => Cell::Text(NAMES[rows[row][column] as usize]),
        _ => Cell::Number(rows[row][column]),
    })
}

fn bins(rows: &[[f64; FEATURES]]) -> Bins {
    let names: Vec<String> = (0..FEATURES).map(|place| format!("f{place}")).collect();
    let columns: Vec<Column<'_>> = names
        .iter()
        .enumerate()
        .map(|(place, name)| Column {
            name,
            reading: match place {
                CATEGORY => Reading::Coded(NAMES.map(|it| Category::Text(it.to_string())).to_vec()),
                _ => Reading::Number { single: false },
            },
        })
        .collect();
    Bins::new(profile(rows), &columns).unwrap()
}

fn measured(bins: &Bins, counts: &Counts) -> Window {
    let sum = Sum {
        from_ms: 0,
        to_ms: 1,
        counts: counts.clone(),
    };
    window(bins, &sum, "short", 1, &terms())
}

fn reference(rows: usize) -> Vec<[f64; FEATURES]> {
    let mut chance = Chance(1);
    let mut found = vec![[0.0; FEATURES]; rows];
    found.iter_mut().for_each(|row| chance.row(row));
    found
}

/// A million rows of the reference's own distribution raise nothing, in windows of 1,000 rows and in one
/// of all; then one feature of thirty moves by half a deviation, and is named first, alone, in the
/// first window of 1,000 rows.
#[test]
fn chance_is_not_drift_and_a_shift_is() {
    let bins = bins(&reference(20_000));
    let mut chance = Chance(2);
    let mut row = [0.0; FEATURES];
    let mut all = Counts::new(bins.len());
    for _ in 0..1_000 {
        let mut counts = Counts::new(bins.len());
        for _ in 0..1_000 {
            chance.row(&mut row);
            bins.count(&row, &mut counts.cells);
            counts.rows += 1;
        }
        let found = measured(&bins, &counts);
        let worst = &found.features[0];
        assert!(
            found.verdict <= Verdict::None,
            "{} {:?}",
            worst.name,
            worst.psi_excess
        );
        all.add(&counts);
    }
    assert_eq!(all.rows, 1_000_000);
    let found = measured(&bins, &all);
    assert_eq!(found.verdict, Verdict::None);
    assert!(found.features[0].psi_excess.unwrap() < 0.01);

    let mut counts = Counts::new(bins.len());
    for _ in 0..ROWS_MIN {
        chance.row(&mut row);
        row[10] += 0.6;
        bins.count(&row, &mut counts.cells);
        counts.rows += 1;
    }
    let found = measured(&bins, &counts);
    assert_eq!(found.features[0].name, "f10");
    assert_eq!(found.features[0].verdict, Verdict::Act);
    assert!(found.features[1].verdict <= Verdict::None);
}

fn counted(bins: &Bins, rows: u64, change: impl Fn(&mut [f64; FEATURES])) -> Window {
    let mut chance = Chance(3);
    let mut counts = Counts::new(bins.len());
    let mut row = [0.0; FEATURES];
    for _ in 0..rows {
        chance.row(&mut row);
        change(&mut row);
        bins.count(&row, &mut counts.cells);
        counts.rows += 1;
    }
    measured(bins, &counts)
}

fn of<'a>(window: &'a Window, name: &str) -> &'a Feature {
    window.features.iter().find(|it| it.name == name).unwrap()
}

#[test]
fn a_feature_that_does_not_come_is_acted_upon_at_once() {
    let bins = bins(&reference(2_000));
    let absent = |row: &mut [f64; FEATURES]| row[0] = f64::NAN;
    assert_eq!(counted(&bins, 99, absent).verdict, Verdict::Unknown);
    let window = counted(&bins, 100, absent);
    let first = &window.features[0];
    assert_eq!(
        (first.name.as_str(), first.reason.as_str()),
        ("f0", "missing")
    );
    assert_eq!(window.verdict, Verdict::Act);
    assert_eq!((first.missing, first.missing_reference), (Some(1.0), 0.0));
    assert_eq!((first.ks, first.wasserstein), (None, None));
    assert!(first.psi.unwrap().is_finite());
}

#[test]
fn nothing_is_said_of_few_rows_and_everything_is_a_number() {
    let bins = bins(&reference(2_000));
    for rows in [0, 1, 999] {
        let window = counted(&bins, rows, |_| {});
        assert_eq!(window.verdict, Verdict::Unknown, "{rows} rows");
        let json = serde_json::to_string(&window).unwrap();
        let back: Window = serde_json::from_str(&json).unwrap();
        assert_eq!(back, window);
    }
    let empty = counted(&bins, 0, |_| {});
    assert_eq!(
        (of(&empty, "f0").psi, of(&empty, "f0").missing),
        (None, None)
    );
}

#[test]
fn infinities_unseen_categories_and_values_outside_are_counted() {
    let bins = bins(&reference(2_000));
    let window = counted(&bins, 2_000, |row| {
        row[0] = f64::INFINITY;
        row[5] = f64::NEG_INFINITY;
        row[CATEGORY] = 9.0;
    });
    assert_eq!(of(&window, "f0").out_of_range, Some(1.0));
    assert_eq!(of(&window, "f5").out_of_range, Some(1.0));
    assert!(of(&window, "f0").wasserstein.unwrap().is_finite());
    let category = of(&window, &format!("f{CATEGORY}"));
    assert_eq!(
        (category.unseen, category.verdict),
        (Some(1.0), Verdict::Act)
    );
    assert!(category.chi2_p.unwrap() < 1e-9);
    assert_eq!(category.bins.names.last().unwrap(), "unseen");
    assert_eq!(category.bins.names.len(), category.bins.live.len());
}

#[test]
fn a_constant_moves_when_it_is_another() {
    let mut rows = reference(2_000);
    for row in &mut rows {
        row[0] = 7.0;
        row[1] = f64::NAN;
        row[CATEGORY] = 2.0;
    }
    let bins = bins(&rows);
    let same = |row: &mut [f64; FEATURES]| {
        row[0] = 7.0;
        row[1] = f64::NAN;
        row[CATEGORY] = 2.0;
    };
    let window = counted(&bins, 2_000, same);
    assert_eq!(window.verdict, Verdict::None);
    // Nothing there is nothing missing.
    assert_eq!(of(&window, "f1").verdict, Verdict::None);
    let window = counted(&bins, 2_000, |row| {
        same(row);
        row[0] = 7.5;
        row[1] = 1.0;
        row[CATEGORY] = 0.0;
    });
    for name in ["f0", "f1", "f29"] {
        assert_eq!(of(&window, name).verdict, Verdict::Act, "{name}");
    }
}

#[test]
fn an_ignored_feature_is_measured_and_not_judged() {
    let bins = bins(&reference(2_000));
    let mut counts = Counts::new(bins.len());
    let mut chance = Chance(4);
    let mut row = [0.0; FEATURES];
    for _ in 0..2_000 {
        chance.row(&mut row);
        row[0] += 3.0;
        bins.count(&row, &mut counts.cells);
        counts.rows += 1;
    }
    let sum = Sum {
        from_ms: 0,
        to_ms: 1,
        counts,
    };
    let terms = Terms {
        ignore: BTreeSet::from(["f0".to_string()]),
        ..terms()
    };
    let window = window(&bins, &sum, "short", 1, &terms);
    assert_eq!(window.verdict, Verdict::None);
    assert_eq!(of(&window, "f0").reason, "ignored");
    assert!(of(&window, "f0").psi_excess.unwrap() > 0.25);
    assert_eq!(window.features.last().unwrap().name, "f0");
    // It does not speak for a window without rows.
    let nothing = Sum {
        counts: Counts::new(bins.len()),
        ..sum
    };
    let window = super::window(&bins, &nothing, "short", 1, &terms);
    assert_eq!(window.verdict, Verdict::Unknown);
}

#[test]
fn quality_is_estimated_from_scores_and_known_of_the_reference() {
    let mut profile = profile(&reference(2_000));
    profile.calibration = Some(profile::Calibration {
        edges: vec![0.5],
        rows: vec![900, 100],
        positives: vec![9, 80],
    });
    let names: Vec<String> = (0..FEATURES).map(|place| format!("f{place}")).collect();
    let columns: Vec<Column<'_>> = names
        .iter()
        .map(|name| Column {
            name,
            reading: Reading::Number { single: false },
        })
        .collect();
    profile.features[CATEGORY] = profile.features[0].clone();
    profile.features[CATEGORY].name = format!("f{CATEGORY}");
    let bins = Bins::new(profile, &columns).unwrap();
    let mut counts = Counts::new(bins.len());
    for place in 0..1_000 {
        let score = if place % 2 == 0 { 0.9 } else { 0.1 };
        bins.count_score(score, 0.5, &mut counts.cells);
        counts.rows += 1;
    }
    let estimate = measured(&bins, &counts).estimate.unwrap();
    assert_eq!(estimate.rows, 1_000);
    assert_eq!(estimate.precision, Some(0.8));
    // 400 of 405 expected.
    assert!((estimate.recall.unwrap() - 400.0 / 405.0).abs() < 1e-12);
    assert_eq!(estimate.reference_precision, Some(0.8));
    assert!((estimate.reference_recall.unwrap() - 80.0 / 89.0).abs() < 1e-12);
}
