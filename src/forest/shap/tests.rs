//! Against the definition: every subset of features on small trees, every leaf's polynomial on deep
//! ones.

use proptest::prelude::*;

use super::*;
use crate::forest::reference::goes_left;
use crate::forest::{
    Arithmetic, Base, CategoryRule, CategorySet, Child, Cover, Link, Missing, Split, Test, Tree,
};

const FEATURES: usize = 5;

/// What a random tree is made of, used up from the front.
struct Material {
    choices: Vec<u16>,
    at: usize,
}

impl Material {
    fn next(&mut self, limit: usize) -> usize {
        let choice = self.choices[self.at % self.choices.len()];
        self.at += 1;
        usize::from(choice) % limit
    }
}

fn forest(trees: Vec<Tree>, features: usize, outputs: usize) -> Forest {
    Forest {
        features,
        outputs,
        arithmetic: Arithmetic::F64,
        trees,
        sets: vec![CategorySet {
            words: vec![0b1010],
            rule: CategoryRule::Truncate,
        }],
        base: vec![0.5; outputs],
        base_order: Base::First,
        combine: Combine::Sum,
        link: Link::Identity,
        linear: Default::default(),
    }
}

/// A tree with this many splits at the most, each leaf grown into a split where chance says so.
fn grown(material: &mut Material, splits_max: usize, features: usize, output: usize) -> Tree {
    let mut splits: Vec<Split> = Vec::new();
    let (mut leaves, mut split_covers, mut leaf_covers) = (Vec::new(), Vec::new(), Vec::new());
    let mut open: Vec<Option<(usize, usize)>> = vec![None];
    while let Some(slot) = open.pop() {
        let cover = material.next(40) as i32;
        let child = if splits.len() < splits_max && material.next(4) > 0 {
            let feature = material.next(features) as u32;
            let at = material.next(5) as f64 - 2.0;
            splits.push(Split {
                feature,
                test: [Test::Less(at), Test::LessEq(at), Test::In(0)][material.next(3)],
                missing: [Missing::NanLeft, Missing::NanRight, Missing::ZeroLeft][material.next(3)],
                left: Child::Leaf(0),
                right: Child::Leaf(0),
            });
            split_covers.push(cover + 1);
            open.push(Some((splits.len() - 1, 1)));
            open.push(Some((splits.len() - 1, 0)));
            Child::Split(splits.len() as u32 - 1)
        } else {
            leaves.push(material.next(2000) as f64 / 100.0 - 10.0);
            leaf_covers.push(cover);
            Child::Leaf(leaves.len() as u32 - 1)
        };
        match slot {
            None => {}
            Some((parent, 0)) => splits[parent].left = child,
            Some((parent, _)) => splits[parent].right = child,
        }
    }
    Tree {
        splits,
        leaves,
        leaf_width: 1,
        output,
        cover: Some(Cover::Count {
            splits: split_covers,
            leaves: leaf_covers,
        }),
        leaf_ids: Vec::new(),
    }
}

/// What a tree says when only the features in `known` (bits) are known.
fn conditional(forest: &Forest, tree: &Tree, row: &[f64], known: u32, at: Child) -> f64 {
    let split = match at {
        Child::Leaf(leaf) => return tree.leaves[leaf as usize],
        Child::Split(split) => split as usize,
    };
    let Split {
        feature,
        left,
        right,
        ..
    } = tree.splits[split];
    if known >> feature & 1 == 1 {
        let goes_left = goes_left(forest, &tree.splits[split], row[feature as usize]);
        let child = if goes_left { left } else { right };
        return conditional(forest, tree, row, known, child);
    }
    let cover = tree.cover.as_ref().unwrap();
    let part = |child| match child {
        Child::Split(split) => cover.split(split as usize).unwrap(),
        Child::Leaf(leaf) => cover.leaf(leaf as usize).unwrap(),
    };
    let all = cover.split(split).unwrap();
    let of = |child| part(child) / all * conditional(forest, tree, row, known, child);
    of(left) + of(right)
}

fn root(tree: &Tree) -> Child {
    if tree.splits.is_empty() {
        return Child::Leaf(0);
    }
    Child::Split(0)
}

fn factorial(n: usize) -> f64 {
    (1..=n).map(|n| n as f64).product()
}

/// The definition of Shapley values.
fn by_subsets(forest: &Forest, row: &[f64]) -> Vec<f64> {
    let columns = forest.features + 1;
    let mut out = vec![0.0; forest.outputs * columns];
    for tree in &forest.trees {
        let out = &mut out[tree.output * columns..][..columns];
        let value = |known| conditional(forest, tree, row, known, root(tree));
        out[forest.features] += value(0);
        for known in 0_u32..1 << forest.features {
            let size = known.count_ones() as usize;
            for (feature, out) in out[..forest.features].iter_mut().enumerate() {
                if known >> feature & 1 == 1 {
                    continue;
                }
                let weight = factorial(size) * factorial(forest.features - size - 1)
                    / factorial(forest.features);
                *out += weight * (value(known | 1 << feature) - value(known));
            }
        }
    }
    for output in 0..forest.outputs {
        out[output * columns + forest.features] += forest.base[output];
    }
    out
}

fn explain(forest: &Forest, rows: &[f64]) -> Vec<f64> {
    let count = rows.len() / forest.features;
    let mut out = vec![f64::NAN; count * forest.outputs * (forest.features + 1)];
    let explainer = Explainer::new(forest).unwrap();
    explainer.contributions(forest, rows, &mut out);
    out
}

/// Within `tolerance` of the largest value, or of 1: small ones are differences of large ones.
fn close(a: &[f64], b: &[f64], tolerance: f64) -> bool {
    let largest = b.iter().fold(1.0_f64, |largest, b| largest.max(b.abs()));
    a.iter()
        .zip(b)
        .all(|(a, b)| (a - b).abs() <= tolerance * largest)
}

proptest! {
    #[test]
    fn contributions_are_the_shapley_values(
        choices in prop::collection::vec(any::<u16>(), 200..400),
        rows in prop::collection::vec(
            prop_oneof![4 => (-3_i8..4).prop_map(f64::from), 1 => Just(f64::NAN)],
            FEATURES * 11,
        ),
    ) {
        let mut material = Material { choices, at: 0 };
        let trees = (0..4).map(|index| grown(&mut material, 12, FEATURES, index % 2)).collect();
        let forest = forest(trees, FEATURES, 2);
        prop_assert_eq!(forest.check(), Ok(()));
        let got = explain(&forest, &rows);
        for (row, got) in rows.chunks(FEATURES).zip(got.chunks(2 * (FEATURES + 1))) {
            let expected = by_subsets(&forest, row);
            prop_assert!(close(got, &expected, 1e-11), "{:?} against {:?}", got, expected);
        }
    }
}

/// A tree that asks one feature after the other, `features` times over `rounds`.
fn chain(features: usize, rounds: usize) -> Forest {
    let count = features * rounds;
    let splits = (0..count).map(|index| Split {
        feature: (index % features) as u32,
        // Narrower from round to round, so that a row may leave at any of them.
        test: Test::Less(1.0 - (index / features) as f64 / rounds as f64),
        missing: Missing::NanRight,
        left: if index + 1 < count {
            Child::Split(index as u32 + 1)
        } else {
            Child::Leaf(count as u32)
        },
        right: Child::Leaf(index as u32),
    });
    let tree = Tree {
        splits: splits.collect(),
        leaves: (0..=count)
            .map(|leaf| ((leaf * 37) % 19) as f64 - 9.0)
            .collect(),
        leaf_width: 1,
        output: 0,
        cover: Some(Cover::Hessian {
            splits: (0..count).map(|index| 0.9_f32.powi(index as i32)).collect(),
            leaves: (0..count)
                .map(|index| 0.1 * 0.9_f32.powi(index as i32))
                .chain([0.9_f32.powi(count as i32)])
                .collect(),
        }),
        leaf_ids: Vec::new(),
    };
    forest(vec![tree], features, 1)
}

/// Leaf by leaf: the sum over subsets by their size, as coefficients of a polynomial.
fn by_leaves(forest: &Forest, row: &[f64]) -> Vec<f64> {
    let tree = &forest.trees[0];
    let cover = tree.cover.as_ref().unwrap();
    let mut out = vec![0.0; forest.features];
    // Paths in a chain: all splits before the leaf's, and the leaf's own side.
    for leaf in 0..tree.leaves.len() {
        let mut path: Vec<Option<(f64, f64)>> = vec![None; forest.features];
        for index in 0..(leaf + 1).min(tree.splits.len()) {
            let split = &tree.splits[index];
            let goes_left = goes_left(forest, split, row[split.feature as usize]);
            let ends = index == leaf;
            let below = match (ends, split.left) {
                (true, _) => cover.leaf(leaf).unwrap(),
                (false, Child::Split(next)) => cover.split(next as usize).unwrap(),
                (false, Child::Leaf(leaf)) => cover.leaf(leaf as usize).unwrap(),
            };
            let (zero, one) = path[split.feature as usize].unwrap_or((1.0, 1.0));
            let passes = f64::from(u8::from(goes_left != ends));
            path[split.feature as usize] =
                Some((zero * below / cover.split(index).unwrap(), one * passes));
        }
        let on_path: Vec<usize> = (0..path.len())
            .filter(|index| path[*index].is_some())
            .collect();
        for feature in &on_path {
            let mut sizes = vec![1.0];
            for other in on_path.iter().filter(|other| *other != feature) {
                let (zero, one) = path[*other].unwrap();
                sizes.push(0.0);
                for size in (0..sizes.len()).rev() {
                    let smaller = if size > 0 { sizes[size - 1] } else { 0.0 };
                    sizes[size] = zero * sizes[size] + one * smaller;
                }
            }
            let (zero, one) = path[*feature].unwrap();
            let mut choose = 1.0;
            let mut sum = 0.0;
            for (size, weight) in sizes.iter().enumerate() {
                sum += weight / (on_path.len() as f64 * choose);
                choose *= (on_path.len() - 1 - size) as f64 / (size + 1) as f64;
            }
            out[*feature] += tree.leaves[leaf] * (one - zero) * sum;
        }
    }
    out
}

#[test]
fn deep_paths_lose_no_digits() {
    for (features, rounds) in [(1, 5), (4, 3), (8, 2), (16, 2), (17, 1), (40, 2), (120, 1)] {
        let forest = chain(features, rounds);
        for step in 0..rounds * 2 {
            let row: Vec<f64> = (0..features)
                .map(|feature| match (feature * 7 + step) % 5 {
                    0 if step > 0 => 1.0 - step as f64 / (2 * rounds) as f64,
                    1 if step % 2 == 1 => f64::NAN,
                    _ => -1.0,
                })
                .collect();
            let got = explain(&forest, &row);
            let expected = by_leaves(&forest, &row);
            assert!(
                close(&got, &expected, 1e-11),
                "{features} × {rounds}: {got:?} against {expected:?}"
            );
            let (raw, _) = super::super::reference::predict(&forest, &row);
            assert!((got.iter().sum::<f64>() - raw[0]).abs() < 1e-11);
        }
    }
}

#[test]
fn what_cannot_be_explained_says_why() {
    let check = |change: &dyn Fn(&mut Forest), expected: &str| {
        let mut forest = chain(3, 1);
        change(&mut forest);
        let reason = Explainer::new(&forest).unwrap_err().0;
        assert!(reason.contains(expected), "{reason}");
    };
    let covers = |splits: [f32; 3]| {
        move |forest: &mut Forest| {
            let leaves = vec![1.0; 4];
            let splits = splits.to_vec();
            forest.trees[0].cover = Some(Cover::Hessian { splits, leaves });
        }
    };
    check(
        &|forest| forest.trees[0].cover = None,
        "the file does not say",
    );
    check(&covers([0.0, 1.0, 1.0]), "node 0: its cover is 0");
    check(&covers([1.0, 1.0, f32::NAN]), "NaN");
    check(&covers([1.0, -1.0, 1.0]), "expected positive numbers");
    check(&|forest| forest.combine = Combine::Min, "not added up");
    check(&|forest| forest.trees[0].leaf_width = 2, "several values");
    check(
        &|forest| forest.features = 1 << 30,
        "contributions, the limit",
    );
    check(
        &|forest| forest.trees[0].splits[0].right = Child::Split(1),
        "the child of two nodes",
    );
    assert!(Explainer::new(&chain(513, 1)).is_err());
}

#[test]
fn one_leaf_trees_and_no_trees_explain_nothing_but_the_mean() {
    let leaf = Tree {
        leaves: vec![2.0],
        leaf_width: 1,
        ..Tree::default()
    };
    assert_eq!(
        explain(&forest(vec![leaf], 2, 1), &[1.0, 2.0]),
        [0.0, 0.0, 2.5]
    );
    assert_eq!(
        explain(&forest(Vec::new(), 1, 2), &[1.0]),
        [0.0, 0.5, 0.0, 0.5]
    );
}
