//! What every target does with a parsed model: evaluate a few rows slowly and by the kernel, and
//! compare the bits. A file may be refused; nothing may panic, hang or take memory without bound.

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
