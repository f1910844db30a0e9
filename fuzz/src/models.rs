//! What every target does with a parsed model: evaluate a few rows slowly and by the kernel, and
//! compare the bits; with a drift profile, count rows in its bins. A file may be refused; nothing may
//! panic, hang or take memory without bound.

use std::collections::BTreeSet;

use hedgerow::drift::bins::{Bins, Column, Reading};
use hedgerow::drift::measure::{self, Terms};
use hedgerow::drift::profile::{Profile, Values};
use hedgerow::drift::report::Thresholds;
use hedgerow::drift::window::{Counts, Sum};
use hedgerow::forest::kernel::{Kernel, Scores};
use hedgerow::forest::{Arithmetic, Forest, ParseError, Parsed, Test, reference};

/// Models beyond this are parsed alone: a wide row or a large tree teaches the fuzzer nothing new.
const FEATURES_MAX: usize = 4096;
const OUTPUTS_MAX: usize = 256;
const SPLITS_MAX: usize = 1 << 14;

/// Evaluates a model that was read, on rows made of its own thresholds and of edges.
///
/// # Panics
/// When the kernel and the reference differ, or one of them panics.
pub fn evaluate(parsed: Result<Parsed, ParseError>) {
    let Ok(parsed) = parsed else {
        return;
    };
    let forest = parsed.forest;
    assert_eq!(forest.check(), Ok(()));
    assert_eq!(parsed.features.len(), forest.features);
    let splits: usize = forest.trees.iter().map(|tree| tree.splits.len()).sum();
    if forest.features > FEATURES_MAX || forest.outputs > OUTPUTS_MAX || splits > SPLITS_MAX {
        return;
    }
    let rows = rows(&forest);
    let mut raw = vec![0.0; forest.outputs * (rows.len() / forest.features)];
    let Some(kernel) = Kernel::new(forest.clone()) else {
        return;
    };
    kernel.raw_scores_f64(&rows, &mut Scores::new(&mut raw, forest.outputs));
    for (row, raw) in rows
        .chunks_exact(forest.features)
        .zip(raw.chunks_exact(forest.outputs))
    {
        // The prediction as well: a link must not panic either.
        let (expected, _) = reference::predict(&forest, row);
        let same = |a: f64, b: f64| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
        assert!(
            raw.iter().zip(&expected).all(|(a, b)| same(*a, *b)),
            "{}: {raw:?} against {expected:?} of {row:?}",
            kernel.layouts()
        );
    }
}

/// Counts a few rows against a profile that was read, and measures them; a profile that is written
/// again is the same.
///
/// # Panics
/// When a row is not counted once in every column, or the profile changes by being written.
pub fn count(bytes: &[u8]) {
    let Ok(profile) = Profile::parse(bytes) else {
        return;
    };
    let written = profile.json().expect("what was read can be written");
    let again = Profile::parse(written.as_bytes()).expect("what was written can be read");
    assert_eq!(again, profile);
    let names: Vec<String> = profile.features.iter().map(|it| it.name.clone()).collect();
    let columns = profile.features.iter().zip(&names).map(|(feature, name)| Column {
        name,
        reading: match &feature.values {
            Values::Number(_) => Reading::Number { single: true },
            Values::Category(categories) => Reading::Coded(categories.names.clone()),
        },
    });
    let columns: Vec<Column<'_>> = columns.collect();
    let Ok(bins) = Bins::new(profile, &columns) else {
        return;
    };
    let edges = [
        f64::NAN,
        0.0,
        1.0,
        -1.0,
        f64::MAX,
        f64::INFINITY,
        f64::NEG_INFINITY,
        1e-320,
    ];
    let mut cells = vec![0; bins.len()];
    for edge in edges {
        bins.count(&vec![edge; columns.len()], &mut cells);
        bins.count_score(edge, 0.5, &mut cells);
    }
    for column in 0..columns.len() {
        bins.recount_unseen(column, &mut cells);
        let range = bins.feature(column).expect("every column has cells");
        let beside = match &columns[column].reading {
            Reading::Number { .. } => 2,
            _ => 0,
        };
        let once = range.start..range.end - beside;
        assert_eq!(cells[once].iter().sum::<u64>(), edges.len() as u64);
    }
    let rows = edges.len() as u64;
    let counts = Counts { rows, cells };
    let terms = Terms {
        thresholds: Thresholds {
            watch: 0.1,
            act: 0.25,
            rows_min: 1,
        },
        ignore: BTreeSet::new(),
        threshold: 0.5,
    };
    let sum = Sum {
        from_ms: 0,
        to_ms: 1,
        counts,
    };
    let window = measure::window(&bins, &sum, "short", 1, &terms);
    assert_eq!(window.features.len(), columns.len());
}

/// All missing, all zero, infinities, and thresholds with their neighbours.
fn rows(forest: &Forest) -> Vec<f64> {
    let mut thresholds = vec![1.0; forest.features];
    for split in forest.trees.iter().flat_map(|tree| &tree.splits) {
        thresholds[split.feature as usize] = match split.test {
            Test::Less(at)
            | Test::LessEq(at)
            | Test::Greater(at)
            | Test::GreaterEq(at)
            | Test::Equal(at)
            | Test::NotEqual(at) => at,
            Test::In(set) => f64::from(set % 64),
        };
    }
    let narrow = |value: f64| match forest.arithmetic {
        Arithmetic::F32 => f64::from(value as f32),
        Arithmetic::F64 => value,
    };
    let beside = |value: &f64| match forest.arithmetic {
        Arithmetic::F32 => f64::from((*value as f32).next_down()),
        Arithmetic::F64 => value.next_down(),
    };
    let constant = |value: f64| vec![narrow(value); forest.features];
    [
        constant(f64::NAN),
        constant(0.0),
        constant(-0.0),
        constant(f64::INFINITY),
        constant(f64::NEG_INFINITY),
        constant(1e-36),
        constant(3.0),
        thresholds.iter().map(beside).collect(),
        thresholds,
    ]
    .concat()
}
