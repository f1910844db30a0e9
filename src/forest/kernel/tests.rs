//! The kernel against the reference, bit for bit, on random forests and rows: every test, missing
//! rule, precision and way to combine, ties at thresholds, NaN, infinities, one-leaf trees.

use proptest::prelude::*;

use super::*;
use crate::forest::{
    CategoryRule, CategorySet, Child, Linear, LinearLeaves, Link, Missing, Split, Test, Tree,
    reference,
};

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
                ..Tree::default()
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
                sets: sets(),
                base,
                base_order: if first { Base::First } else { Base::Last },
                combine,
                link: Link::Identity,
                linear: Linear::default(),
            })
    })
}

/// xorshift64.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 20) as usize % limit
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// A 32-bit float: on a coarse grid, so that ties are common, or any.
    fn value(&mut self, coarse: bool) -> f64 {
        if coarse {
            return self.below(7) as f64 - 3.0;
        }
        f64::from((self.below(1 << 20) as f32 - 524_288.0) / 65_536.0)
    }
}

/// How the trees of a forest are grown.
#[derive(Clone, Copy, Debug)]
enum Shape {
    /// Level by level, up to this many splits.
    Level(usize),
    /// A random leaf first, up to this many splits.
    Leaf(usize),
    /// One test per level.
    Oblivious(usize),
}

/// What the splits of a grown forest are.
#[derive(Clone, Copy, Debug)]
struct Style {
    shape: Shape,
    features: usize,
    coarse: bool,
    missing: Option<Missing>,
    categories: bool,
    width: usize,
    arithmetic: Arithmetic,
}

/// A forest as trainers grow it: every node has one parent.
fn grown(style: Style, random: &mut Random) -> Forest {
    let outputs = style.width.max(random.pick(&[1, 1, 3]));
    let trees = (0..random.pick(&[0, 1, 7, 8, 9, 30])).map(|_| {
        let mut tree = grown_tree(style, random);
        tree.output = random.below(outputs - style.width + 1);
        tree
    });
    let trees: Vec<Tree> = trees.collect();
    Forest {
        features: style.features,
        outputs,
        arithmetic: style.arithmetic,
        trees,
        sets: sets(),
        base: (0..outputs).map(|_| random.value(false)).collect(),
        base_order: random.pick(&[Base::First, Base::Last]),
        combine: random.pick(&[Combine::Sum, Combine::Average(7.0)]),
        link: Link::Identity,
        linear: Linear::default(),
    }
}

fn grown_tree(style: Style, random: &mut Random) -> Tree {
    let (limit, levels) = match style.shape {
        Shape::Level(limit) | Shape::Leaf(limit) => (random.below(limit + 1), 0),
        Shape::Oblivious(levels) => ((1 << levels) - 1, levels),
    };
    let of_level: Vec<Split> = (0..levels).map(|_| grown_split(style, random)).collect();
    let mut splits: Vec<Split> = Vec::new();
    // Places where a split may grow: below which one and on which side, and the level.
    let mut open = vec![(None, 0)];
    while splits.len() < limit {
        let at = match style.shape {
            Shape::Leaf(_) => random.below(open.len()),
            _ => 0,
        };
        let (place, level) = open.remove(at);
        let index = splits.len() as u32;
        match place {
            Some((parent, true)) => splits[parent as usize].right = Child::Split(index),
            Some((parent, false)) => splits[parent as usize].left = Child::Split(index),
            None => {}
        }
        splits.push(match of_level.get(level) {
            Some(split) => *split,
            None => grown_split(style, random),
        });
        open.extend([
            (Some((index, false)), level + 1),
            (Some((index, true)), level + 1),
        ]);
    }
    for (leaf, (place, _)) in open.iter().enumerate() {
        match place {
            Some((parent, true)) => splits[*parent as usize].right = Child::Leaf(leaf as u32),
            Some((parent, false)) => splits[*parent as usize].left = Child::Leaf(leaf as u32),
            None => {}
        }
    }
    Tree {
        splits,
        leaves: (0..open.len() * style.width)
            .map(|_| random.value(false))
            .collect(),
        leaf_width: style.width,
        output: 0,
        ..Tree::default()
    }
}

fn grown_split(style: Style, random: &mut Random) -> Split {
    let at = random.value(style.coarse);
    let any = [
        Missing::NanLeft,
        Missing::NanRight,
        Missing::NanIsZero,
        Missing::ZeroLeft,
        Missing::ZeroRight,
    ];
    let mut missing = style.missing.unwrap_or_else(|| random.pick(&any));
    let mut test = match random.below(4) {
        0 => Test::LessEq(at),
        1 => Test::Greater(at),
        2 => Test::GreaterEq(at),
        _ => Test::Less(at),
    };
    if random.below(40) == 0 {
        let odd = random.pick(&[f64::INFINITY, f64::NEG_INFINITY, f64::NAN, -0.0]);
        test = random.pick(&[Test::LessEq(odd), Test::Less(odd), Test::Greater(odd)]);
    }
    let mut feature = random.below(style.features) as u32;
    if style.categories && random.below(3) == 0 {
        // Sets of one rule per feature.
        feature = feature / 2 * 2;
        test = Test::In(0);
        missing = random.pick(&any[..3]);
    }
    Split {
        feature,
        test,
        missing,
        left: Child::Leaf(0),
        right: Child::Leaf(0),
    }
}

fn sets() -> Vec<CategorySet> {
    vec![
        CategorySet {
            words: vec![0b1010, 1 << 8],
            rule: CategoryRule::NonNegative,
        },
        CategorySet {
            words: vec![0b0101],
            rule: CategoryRule::Truncate,
        },
    ]
}

fn grown_rows(forest: &Forest, coarse: bool, count: usize, random: &mut Random) -> Vec<f64> {
    let odd = [
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        -0.0,
        f64::from(1e-36_f32),
        f64::from(f32::MIN_POSITIVE / 2.0),
        40.0,
        1e30,
    ];
    let thresholds: Vec<f64> = forest
        .trees
        .iter()
        .flat_map(|tree| &tree.splits)
        .filter_map(|split| match split.test {
            Test::Less(at) | Test::LessEq(at) | Test::Greater(at) => Some(at),
            _ => None,
        })
        .collect();
    let value = |random: &mut Random| match random.below(8) {
        0 => f64::from(random.pick(&odd) as f32),
        1 | 2 if !thresholds.is_empty() => {
            let at = random.pick(&thresholds) as f32;
            f64::from(random.pick(&[at, at.next_up(), at.next_down()]))
        }
        _ => random.value(coarse),
    };
    (0..count * forest.features)
        .map(|_| value(random))
        .collect()
}

/// Every kernel that fits, on every instruction set that is here, for several counts of rows.
fn check(forest: &Forest, rows: &[f64]) {
    assert_eq!(forest.check(), Ok(()));
    for kind in Kind::ALL {
        for isa in Isa::available() {
            check_kernel(forest, rows, isa, Some(kind));
        }
    }
}

fn check_kernel(forest: &Forest, rows: &[f64], isa: Isa, kind: Option<Kind>) {
    let expected: Vec<Vec<f64>> = rows
        .chunks_exact(forest.features)
        .map(|row| reference::raw_scores(forest, row))
        .collect();
    let kernel = Kernel::with(forest.clone(), isa, kind).unwrap();
    for count in [1, 2, 63, 64, 65, 130] {
        let rows = &rows[..rows.len().min(count * forest.features)];
        let stride = forest.outputs + 1;
        let mut got = vec![0.0; expected.len() * stride];
        kernel.raw_scores_f64(rows, &mut Scores::new(&mut got, stride));
        for (row, expected) in expected.iter().take(count).enumerate() {
            let got = &got[row * stride..][..forest.outputs];
            assert!(
                same_bits(got, expected),
                "{isa}, {kind:?}, row {row} of {count}: {got:?} against {expected:?}, {:?}",
                kernel.layouts()
            );
        }
    }
}

/// NaN equals NaN: which one of several comes out is not defined.
fn same_bits(a: &[f64], b: &[f64]) -> bool {
    let same = |(a, b): (&f64, &f64)| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
    a.len() == b.len() && a.iter().zip(b).all(same)
}

#[test]
fn every_kernel_gives_the_references_bits_on_grown_trees() {
    let mut random = Random(0x5DEE_CE66_D1CE_4E5B);
    let shapes = [
        Shape::Level(1),
        Shape::Level(63),
        Shape::Level(255),
        Shape::Level(700),
        Shape::Leaf(31),
        Shape::Leaf(63),
        Shape::Leaf(300),
        Shape::Oblivious(1),
        Shape::Oblivious(6),
        Shape::Oblivious(8),
        Shape::Oblivious(9),
    ];
    let mut done = std::collections::BTreeSet::new();
    for _ in 0..6 {
        for shape in shapes {
            let style = Style {
                shape,
                features: random.pick(&[1, 4, 30, 64, 100, 200, 300]),
                coarse: random.below(2) == 0,
                missing: random.pick(&[None, Some(Missing::NanLeft), Some(Missing::NanIsZero)]),
                categories: random.below(3) == 0,
                width: random.pick(&[1, 1, 2]),
                arithmetic: random.pick(&[Arithmetic::F32, Arithmetic::F64]),
            };
            let forest = grown(style, &mut random);
            let rows = grown_rows(&forest, style.coarse, 130, &mut random);
            check(&forest, &rows);
            check_kernel(&forest, &rows, Isa::detect(), None);
            for kind in Kind::ALL {
                let kernel = Kernel::with(forest.clone(), Isa::detect(), Some(kind)).unwrap();
                done.extend([kernel.layouts().one, kernel.layouts().block]);
            }
        }
    }
    // Else the styles above no longer reach what they are for.
    for kind in Kind::ALL {
        let here = kind != Kind::LeafSets || Isa::detect() == Isa::Avx512;
        assert_eq!(done.contains(kind.name()), here, "{}", kind.name());
    }
}

#[test]
fn linear_leaves_give_the_references_bits() {
    let mut random = Random(0xACE1_2468_0000_1234);
    for shape in [Shape::Level(63), Shape::Leaf(40), Shape::Leaf(300)] {
        let style = Style {
            shape,
            features: 5,
            coarse: true,
            missing: None,
            categories: false,
            width: 1,
            arithmetic: Arithmetic::F64,
        };
        let mut forest = grown(style, &mut random);
        forest.linear.leaves = (forest.trees.iter())
            .map(|tree| linear_leaves(tree.leaves.len(), &mut random))
            .collect();
        let rows = grown_rows(&forest, true, 130, &mut random);
        check(&forest, &rows);
    }
}

/// Up to two terms per leaf; one tree in four has none.
fn linear_leaves(leaves: usize, random: &mut Random) -> LinearLeaves {
    let mut linear = LinearLeaves::default();
    if random.below(4) == 0 {
        return linear;
    }
    linear.starts.push(0);
    for _ in 0..leaves {
        linear.constants.push(random.value(false));
        for _ in 0..random.below(3) {
            linear.features.push(random.below(5) as u32);
            linear.coefficients.push(random.value(false));
        }
        linear.starts.push(linear.features.len() as u32);
    }
    linear
}

#[test]
fn mirrored_leaves_give_the_references_bits() {
    let mut random = Random(0x1357_9BDF_0246_8ACE);
    for round in 0..8 {
        let style = Style {
            shape: Shape::Oblivious(4),
            features: 3,
            coarse: true,
            missing: Some(Missing::NanLeft),
            categories: false,
            width: 2,
            arithmetic: Arithmetic::F32,
        };
        let mut forest = grown(style, &mut random);
        forest.outputs = 2;
        forest.base = vec![0.0, random.pick(&[0.0, -0.0, 1.5])];
        forest.base_order = Base::Last;
        // Few values, so that sums cancel, and zeros of both signs.
        for tree in &mut forest.trees {
            tree.output = 0;
            for pair in tree.leaves.chunks_exact_mut(2) {
                let value = random.pick(&[0.0, -0.0, 0.1, -0.1, 0.3_f32]);
                let value = if round == 0 { 0.0 } else { f64::from(value) };
                pair.copy_from_slice(&[value, -value]);
            }
        }
        let rows = grown_rows(&forest, true, 130, &mut random);
        check(&forest, &rows);
    }
}

#[test]
fn a_linear_booster_gives_the_references_bits() {
    let mut random = Random(99);
    let style = Style {
        shape: Shape::Level(0),
        features: 3,
        coarse: true,
        missing: None,
        categories: false,
        width: 1,
        arithmetic: Arithmetic::F32,
    };
    let mut forest = grown(style, &mut random);
    forest.trees.clear();
    forest.base_order = Base::First;
    forest.combine = Combine::Sum;
    forest.linear.weights = (0..3 * forest.outputs)
        .map(|_| random.value(false))
        .collect();
    let rows = grown_rows(&forest, false, 130, &mut random);
    check(&forest, &rows);
}

#[test]
fn wide_rows_give_the_references_bits() {
    let mut random = Random(0xFEED_F00D_1234_5678);
    for features in [2_000, 40_000] {
        let style = Style {
            shape: Shape::Level(63),
            features,
            coarse: false,
            missing: None,
            categories: true,
            width: 1,
            arithmetic: Arithmetic::F64,
        };
        let forest = grown(style, &mut random);
        let rows = grown_rows(&forest, false, 65, &mut random);
        check(&forest, &rows);
        check_kernel(&forest, &rows, Isa::detect(), None);
    }
}

#[test]
fn a_forest_without_trees_gives_its_base() {
    let mut random = Random(7);
    let style = Style {
        shape: Shape::Level(0),
        features: 3,
        coarse: true,
        missing: None,
        categories: false,
        width: 1,
        arithmetic: Arithmetic::F32,
    };
    let mut forest = grown(style, &mut random);
    check(&forest, &[0.5, f64::NAN, 1.0]);
    forest.trees.clear();
    check(&forest, &[0.5, f64::NAN, 1.0]);
}

proptest! {
    #[test]
    fn the_kernel_gives_the_references_bits(
        forest in forest(),
        rows in prop::collection::vec(prop::collection::vec(row_value(), FEATURES), 1..6),
    ) {
        check(&forest, &rows.concat());
    }
}
