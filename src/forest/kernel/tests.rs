//! The kernel against the reference, bit for bit, on random forests and rows: every test, missing
//! rule, precision and way to combine, ties at thresholds, NaN, infinities, one-leaf trees.

use proptest::prelude::*;

use super::*;
use crate::forest::{CategoryRule, CategorySet, Linear, Link, Split};

const FEATURES: usize = 4;

/// Values that thresholds and rows share, so that ties are common.
fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        prop::sample::select(vec![
            0.0,
            -0.0,
            1.0,
            2.5,
            -1.0,
            1e-36,
            -1e-36,
            1e30,
            f64::from(1e-35_f32),
        ])
        .prop_map(|value: f64| f64::from(value as f32)),
        (-4.0_f32..4.0).prop_map(f64::from),
    ]
}

fn row_value() -> impl Strategy<Value = f64> {
    prop_oneof![
        8 => value(),
        1 => Just(f64::NAN),
        1 => prop::sample::select(vec![f64::INFINITY, f64::NEG_INFINITY, 3.0, 40.0, -0.5]),
    ]
}

fn test() -> impl Strategy<Value = Test> {
    prop_oneof![
        value().prop_map(Test::Less),
        value().prop_map(Test::LessEq),
        value().prop_map(Test::Greater),
        value().prop_map(Test::GreaterEq),
        value().prop_map(Test::Equal),
        value().prop_map(Test::NotEqual),
        (0_u32..2).prop_map(Test::In),
    ]
}

fn missing() -> impl Strategy<Value = Missing> {
    prop::sample::select(vec![
        Missing::NanLeft,
        Missing::NanRight,
        Missing::NanIsZero,
        Missing::ZeroLeft,
        Missing::ZeroRight,
    ])
}

/// A tree whose node `i` leads to nodes after it or to leaves.
fn tree(outputs: usize) -> impl Strategy<Value = Tree> {
    let node = (0..FEATURES as u32, test(), missing(), any::<(u16, u16)>());
    (
        prop::collection::vec(node, 0..12),
        prop::collection::vec(value(), 13 * outputs),
        any::<bool>(),
        0..outputs,
    )
        .prop_map(move |(nodes, leaves, wide, output)| {
            let count = nodes.len();
            let child = |index: usize, pick: u16| {
                let pick = usize::from(pick);
                if pick.is_multiple_of(2) && index + 1 < count {
                    return Child::Split((index + 1 + pick % (count - index - 1)) as u32);
                }
                Child::Leaf((pick % 13) as u32)
            };
            let splits =
                nodes
                    .into_iter()
                    .enumerate()
                    .map(|(index, (feature, test, missing, (a, b)))| Split {
                        feature,
                        test,
                        missing,
                        left: child(index, a),
                        right: child(index, b),
                    });
            let leaf_width = if wide { outputs } else { 1 };
            Tree {
                splits: splits.collect(),
                leaves: leaves[..13 * leaf_width].to_vec(),
                leaf_width,
                output: if wide { 0 } else { output },
            }
        })
}

fn forest() -> impl Strategy<Value = Forest> {
    (1_usize..4).prop_flat_map(|outputs| {
        let combine = prop::sample::select(vec![
            Combine::Sum,
            Combine::Average(3.0),
            Combine::Min,
            Combine::Max,
        ]);
        (
            prop::collection::vec(tree(outputs), 0..8),
            prop::collection::vec(value(), outputs),
            combine,
            any::<(bool, bool)>(),
        )
            .prop_map(move |(trees, base, combine, (single, first))| Forest {
                features: FEATURES,
                outputs,
                arithmetic: if single {
                    Arithmetic::F32
                } else {
                    Arithmetic::F64
                },
                trees,
                sets: vec![
                    CategorySet {
                        words: vec![0b1010, 1 << 8],
                        rule: CategoryRule::NonNegative,
                    },
                    CategorySet {
                        words: vec![0b0101],
                        rule: CategoryRule::Truncate,
                    },
                ],
                base,
                base_order: if first { Base::First } else { Base::Last },
                combine,
                link: Link::Identity,
                linear: Linear::default(),
            })
    })
}

proptest! {
    #[test]
    fn the_kernel_gives_the_references_bits(
        forest in forest(),
        rows in prop::collection::vec(prop::collection::vec(row_value(), FEATURES), 1..6),
    ) {
        prop_assert_eq!(forest.check(), Ok(()));
        let kernel = Kernel::new(forest.clone()).unwrap();
        for row in rows {
            let mut raw = vec![0.0; forest.outputs];
            kernel.raw_scores(&row, &mut raw);
            let expected = reference::raw_scores(&forest, &row);
            let bits = |scores: &[f64]| scores.iter().map(|score| score.to_bits()).collect::<Vec<_>>();
            prop_assert_eq!(bits(&raw), bits(&expected), "{:?} against {:?}", raw, expected);
        }
    }
}
