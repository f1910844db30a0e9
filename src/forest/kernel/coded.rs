//! A forest over codes: every split becomes "the byte in lane `lane` is at least `id`: right".
//!
//! A *lane* is one byte of a coded row. Numeric splits of a feature that treat missing values alike
//! share a lane: its code counts how many of their thresholds the value has reached, so comparing
//! the code with a threshold's rank compares the value with the threshold, exactly. A missing value
//! gets the code that sends it where the splits send it. More than 255 thresholds take several
//! lanes, each for a window of 255. A category set has a lane of its own, 0 for left and 1 for right.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};

use super::real::Real;
use crate::forest::{CategoryRule, CategorySet, Child, Forest, Missing, Split, Test, Tree};

/// A forest whose splits compare codes.
#[derive(Debug)]
pub struct Coded<T> {
    pub trees: Vec<CodedTree>,
    pub numbers: Vec<NumberFeature<T>>,
    pub categories: Vec<CategoryFeature>,
    /// Bytes of a coded row.
    pub lanes: usize,
}

/// The splits of a tree in the order of [`Tree::splits`]; every node has one parent.
#[derive(Debug)]
pub struct CodedTree {
    pub nodes: Vec<CodedNode>,
    /// Splits on the longest way to a leaf.
    pub depth: usize,
}

/// A row goes right when its code in `lane` is at least `id`.
#[derive(Clone, Copy, Debug)]
pub struct CodedNode {
    pub lane: u16,
    pub id: u8,
    pub left: Child,
    pub right: Child,
}

/// A feature with numeric splits.
#[derive(Debug)]
pub struct NumberFeature<T> {
    pub feature: usize,
    /// Distinct and ascending: a row is right of a threshold when its value is at least that. A NaN
    /// at the end is never reached.
    pub thresholds: Vec<T>,
    pub lanes: Vec<NumberLane>,
    /// `[windows, missing rules]`: the lane of each.
    lane_of: Vec<Option<u16>>,
}

/// A lane of a numeric feature. Its code is `count - base`, at least 0 and at most `most`, where
/// `count` is the number of the feature's thresholds that the value has reached.
#[derive(Clone, Copy, Debug)]
pub struct NumberLane {
    pub lane: u16,
    pub base: u32,
    pub most: u8,
    pub missing: Missing,
}

/// A feature with categorical splits. Its lanes follow each other.
#[derive(Debug)]
pub struct CategoryFeature {
    pub feature: usize,
    pub rule: CategoryRule,
    pub first_lane: usize,
    pub lanes: usize,
    /// `[codes + 2, lanes]`: for each category code, then for values in no set, then for NaN.
    pub table: Vec<u8>,
}

impl CategoryFeature {
    /// Codes that the table has rows for; two more rows follow.
    pub fn codes(&self) -> usize {
        self.table.len() / self.lanes - 2
    }
}

/// A lane's code is a byte, and 0 means that no threshold is reached.
const WINDOW: usize = 255;
/// The variants of [`Missing`].
const MISSING_RULES: usize = 5;
/// Lanes are named by 16 bits.
const LANES_MAX: usize = u16::MAX as usize;
/// Beyond this size, tables of categories are worse than looking at a split's own set.
const TABLES_MAX: usize = 16 << 20;

impl<T: Real> Coded<T> {
    /// The forest over codes, or why it has none.
    pub fn new(forest: &Forest) -> Result<Coded<T>, &'static str> {
        let mut coded = Coded {
            trees: Vec::with_capacity(forest.trees.len()),
            numbers: Vec::new(),
            categories: Vec::new(),
            lanes: 0,
        };
        let mut splits = Vec::with_capacity(forest.trees.len());
        let first_same = first_same_set(&forest.sets);
        for tree in &forest.trees {
            if !is_a_tree(tree) {
                return Err("nodes without a parent, or with several");
            }
            let normal: Option<Vec<Normal<T>>> = (tree.splits.iter())
                .map(|split| normalise(split, &first_same))
                .collect();
            splits.push(normal.ok_or("splits on equality, or on zero as a missing category")?);
        }
        coded.number_lanes(forest.features, &splits)?;
        let sets = coded.category_lanes(forest, &splits)?;
        for (tree, splits) in forest.trees.iter().zip(&splits) {
            let nodes: Result<_, _> = splits
                .iter()
                .map(|split| coded.node(split, &sets, forest))
                .collect();
            coded.trees.push(CodedTree {
                nodes: nodes?,
                depth: depth(tree),
            });
        }
        coded.numbers.retain(|number| !number.lanes.is_empty());
        Ok(coded)
    }

    fn number_lanes(
        &mut self,
        features: usize,
        trees: &[Vec<Normal<T>>],
    ) -> Result<(), &'static str> {
        let mut thresholds: Vec<Vec<T>> = vec![Vec::new(); features];
        for split in trees.iter().flatten() {
            if let Condition::Reached(at) = split.condition {
                thresholds[split.feature as usize].push(at);
            }
        }
        for (feature, mut thresholds) in thresholds.into_iter().enumerate() {
            thresholds.sort_unstable_by(ascending);
            thresholds.dedup_by(|a, b| ascending(a, b) == Ordering::Equal);
            self.numbers.push(NumberFeature {
                feature,
                lane_of: vec![None; (thresholds.len() / WINDOW + 1) * MISSING_RULES],
                thresholds,
                lanes: Vec::new(),
            });
        }
        for split in trees.iter().flatten() {
            let Condition::Reached(at) = split.condition else {
                continue;
            };
            let number = &mut self.numbers[split.feature as usize];
            let window = number.rank(at) / WINDOW;
            let lane = &mut number.lane_of[window * MISSING_RULES + split.missing as usize];
            if lane.is_some() {
                continue;
            }
            if self.lanes == LANES_MAX {
                return Err("more than 65535 lanes");
            }
            *lane = Some(self.lanes as u16);
            number.lanes.push(NumberLane {
                lane: self.lanes as u16,
                base: (window * WINDOW) as u32,
                most: (number.thresholds.len() - window * WINDOW).min(WINDOW) as u8,
                missing: split.missing,
            });
            self.lanes += 1;
        }
        Ok(())
    }

    /// Makes the lanes of category sets; one per feature, set and missing rule. Returns which lane
    /// each has.
    fn category_lanes(
        &mut self,
        forest: &Forest,
        trees: &[Vec<Normal<T>>],
    ) -> Result<SetLanes, &'static str> {
        let mut wanted: Vec<(u32, u32, bool)> = trees
            .iter()
            .flatten()
            .filter_map(|split| match split.condition {
                Condition::NotIn(set) => {
                    Some((split.feature, set, split.missing_goes_right(forest)))
                }
                Condition::Reached(_) => None,
            })
            .collect();
        wanted.sort_unstable();
        wanted.dedup();
        let mut lanes = SetLanes::new();
        let mut bytes = 0;
        for group in wanted.chunk_by(|a, b| a.0 == b.0) {
            let sets = |(_, set, _): &(u32, u32, bool)| &forest.sets[*set as usize];
            let rule = sets(&group[0]).rule;
            if group.iter().any(|key| sets(key).rule != rule) {
                return Err("a feature with two category rules");
            }
            let codes = group.iter().map(|key| sets(key).words.len() * 32).max();
            let codes = codes.unwrap_or(0);
            bytes += (codes + 2).saturating_mul(group.len());
            if bytes > TABLES_MAX {
                return Err("category tables of more than 16 MiB");
            }
            if self.lanes + group.len() > LANES_MAX {
                return Err("more than 65535 lanes");
            }
            let mut table = Vec::with_capacity((codes + 2) * group.len());
            for code in 0..codes {
                table.extend(
                    group
                        .iter()
                        .map(|key| u8::from(!sets(key).contains(code as f64))),
                );
            }
            table.extend(group.iter().map(|_| 1));
            table.extend(group.iter().map(|key| u8::from(key.2)));
            for (offset, key) in group.iter().enumerate() {
                lanes.insert(*key, (self.lanes + offset) as u16);
            }
            self.categories.push(CategoryFeature {
                feature: group[0].0 as usize,
                rule,
                first_lane: self.lanes,
                lanes: group.len(),
                table,
            });
            self.lanes += group.len();
        }
        Ok(lanes)
    }

    fn node(
        &self,
        split: &Normal<T>,
        sets: &SetLanes,
        forest: &Forest,
    ) -> Result<CodedNode, &'static str> {
        let (lane, id) = match split.condition {
            Condition::Reached(at) => self.numbers[split.feature as usize].place(at, split.missing),
            Condition::NotIn(set) => {
                let key = (split.feature, set, split.missing_goes_right(forest));
                sets.get(&key).map(|lane| (*lane, 1))
            }
        }
        .ok_or("a split without a lane")?;
        Ok(CodedNode {
            lane,
            id,
            left: split.left,
            right: split.right,
        })
    }
}

impl<T: Real> NumberFeature<T> {
    /// The index of a threshold of this feature.
    fn rank(&self, at: T) -> usize {
        self.thresholds
            .partition_point(|threshold| ascending(threshold, &at) == Ordering::Less)
    }

    /// The lane and the least code that is right of the threshold.
    fn place(&self, at: T, missing: Missing) -> Option<(u16, u8)> {
        let rank = self.rank(at);
        let lane = self.lane_of[rank / WINDOW * MISSING_RULES + missing as usize]?;
        Some((lane, (rank % WINDOW + 1) as u8))
    }
}

impl NumberLane {
    /// The code of a value that has reached `count` of the feature's thresholds.
    pub fn code(&self, count: usize) -> u8 {
        count
            .saturating_sub(self.base as usize)
            .min(usize::from(self.most)) as u8
    }

    /// The code of a missing value: below all ids, or above; `zero` is the count of 0.0.
    pub fn missing_code(&self, zero: usize) -> u8 {
        match self.missing {
            Missing::NanLeft | Missing::ZeroLeft => 0,
            Missing::NanRight | Missing::ZeroRight => self.most,
            Missing::NanIsZero => self.code(zero),
        }
    }

    /// Whether tiny values are missing too.
    pub fn zero_is_missing(&self) -> bool {
        matches!(self.missing, Missing::ZeroLeft | Missing::ZeroRight)
    }
}

/// The lane of a feature's set under a missing rule, that is whether missing goes right.
type SetLanes = BTreeMap<(u32, u32, bool), u16>;

/// A split turned so that its condition sends a row right.
#[derive(Clone, Copy, Debug)]
struct Normal<T> {
    feature: u32,
    condition: Condition<T>,
    missing: Missing,
    left: Child,
    right: Child,
}

/// What sends a row right.
#[derive(Clone, Copy, Debug)]
enum Condition<T> {
    /// The value is at least this. NaN: never.
    Reached(T),
    /// The value's category is not in this set.
    NotIn(u32),
}

impl<T> Normal<T> {
    /// Where a missing category goes.
    fn missing_goes_right(&self, forest: &Forest) -> bool {
        match (self.missing, &self.condition) {
            (Missing::NanIsZero, Condition::NotIn(set)) => {
                !forest.sets[*set as usize].contains(0.0)
            }
            (missing, _) => missing == Missing::NanRight,
        }
    }
}

/// `None` for what codes cannot say: equality, and zero as a missing category.
///
/// `x <= t` is `x < next_up(t)`; `>` and `>=` swap the children. A comparison with NaN never holds.
fn normalise<T: Real>(split: &Split, first_same: &[u32]) -> Option<Normal<T>> {
    let never = T::of(f64::NAN);
    let always = T::of(f64::NEG_INFINITY);
    // Above infinity there is nothing, and zeros compare equal whatever their sign.
    let above = |at: f64| match T::of(at) {
        at if at.into() == f64::INFINITY => never,
        at => at.next_up(),
    };
    let (threshold, swapped) = match split.test {
        Test::Less(at) if at.is_nan() => (always, false),
        Test::LessEq(at) if at.is_nan() => (always, false),
        Test::Greater(at) if at.is_nan() => (never, true),
        Test::GreaterEq(at) if at.is_nan() => (never, true),
        Test::Less(at) => (T::of(at), false),
        Test::LessEq(at) => (above(at), false),
        Test::Greater(at) => (above(at), true),
        Test::GreaterEq(at) => (T::of(at), true),
        Test::Equal(_) | Test::NotEqual(_) => return None,
        Test::In(_) if matches!(split.missing, Missing::ZeroLeft | Missing::ZeroRight) => {
            return None;
        }
        Test::In(set) => {
            return Some(Normal {
                feature: split.feature,
                condition: Condition::NotIn(*first_same.get(set as usize)?),
                missing: split.missing,
                left: split.left,
                right: split.right,
            });
        }
    };
    let mut normal = Normal {
        feature: split.feature,
        condition: Condition::Reached(threshold),
        missing: split.missing,
        left: split.left,
        right: split.right,
    };
    if swapped {
        std::mem::swap(&mut normal.left, &mut normal.right);
        normal.missing = match split.missing {
            Missing::NanLeft => Missing::NanRight,
            Missing::NanRight => Missing::NanLeft,
            Missing::ZeroLeft => Missing::ZeroRight,
            Missing::ZeroRight => Missing::ZeroLeft,
            Missing::NanIsZero => Missing::NanIsZero,
        };
    }
    Some(normal)
}

/// For each category set, the first one that is equal to it: splits with equal sets share a lane.
fn first_same_set(sets: &[CategorySet]) -> Vec<u32> {
    let mut first = HashMap::new();
    sets.iter()
        .zip(0..)
        .map(|(set, index)| {
            let rule_is_lightgbms = set.rule == CategoryRule::Truncate;
            *first
                .entry((set.words.as_slice(), rule_is_lightgbms))
                .or_insert(index)
        })
        .collect()
}

/// Ascending; NaN is the largest, and zeros are equal.
fn ascending<T: Real>(a: &T, b: &T) -> Ordering {
    let nan = |x: &T| -> bool { (*x).into().is_nan() };
    a.partial_cmp(b).unwrap_or_else(|| nan(a).cmp(&nan(b)))
}

/// Whether every node but the root has exactly one parent.
fn is_a_tree(tree: &Tree) -> bool {
    let mut parents = vec![0_u32; tree.splits.len()];
    for split in &tree.splits {
        for child in [split.left, split.right] {
            if let Child::Split(next) = child {
                parents[next as usize] = parents[next as usize].saturating_add(1);
            }
        }
    }
    parents.iter().skip(1).all(|count| *count == 1)
}

/// The number of splits on the longest way to a leaf. Children come after their parents.
fn depth(tree: &Tree) -> usize {
    let mut depths = vec![0; tree.splits.len()];
    let mut deepest = 0;
    for (node, split) in tree.splits.iter().enumerate() {
        deepest = deepest.max(depths[node] + 1);
        for child in [split.left, split.right] {
            if let Child::Split(next) = child {
                depths[next as usize] = depths[node] + 1;
            }
        }
    }
    deepest
}
