//! Criterion benches of every kernel on forests of the shapes that trainers grow.
//!
//! `cargo bench --bench kernels` runs all; `cargo bench --bench kernels -- 100x6` some. The forests
//! are made by a fixed rule, not trained, so no file is needed; `make bench-engines` measures trained
//! models against other engines. Throughput is in rows.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hedgerow::forest::kernel::{Isa, Kernel, Kind, Scores};
use hedgerow::forest::{
    Arithmetic, Base, Child, Combine, Forest, Linear, Link, Missing, Split, Test, Tree,
};

const FEATURES: usize = 30;
/// Distinct thresholds of a feature, as histogram trainers have at most.
const THRESHOLDS: usize = 200;
/// Rows that calls take in turn.
const ROWS: usize = 4096;

/// xorshift64.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 20) as usize % limit
    }
}

/// How a tree's next split is placed.
#[derive(Clone, Copy, PartialEq)]
enum Growth {
    /// XGBoost's default.
    Level,
    /// LightGBM: one of the last eight leaves, which makes lopsided trees.
    Leaf,
    /// CatBoost: one test per level.
    Oblivious,
}

struct Family {
    name: &'static str,
    growth: Growth,
    trees: usize,
    splits: usize,
    arithmetic: Arithmetic,
}

const FAMILIES: [Family; 6] = [
    family("stumps 200x1", Growth::Level, 200, 1, Arithmetic::F32),
    family("levels 100x6", Growth::Level, 100, 63, Arithmetic::F32),
    family("levels 500x8", Growth::Level, 500, 255, Arithmetic::F32),
    family("levels 100x12", Growth::Level, 100, 4095, Arithmetic::F32),
    family("leaves 1000x63", Growth::Leaf, 1000, 62, Arithmetic::F64),
    family(
        "oblivious 500x8",
        Growth::Oblivious,
        500,
        255,
        Arithmetic::F32,
    ),
];

const fn family(
    name: &'static str,
    growth: Growth,
    trees: usize,
    splits: usize,
    arithmetic: Arithmetic,
) -> Family {
    Family {
        name,
        growth,
        trees,
        splits,
        arithmetic,
    }
}

fn forest(family: &Family) -> Forest {
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    Forest {
        features: FEATURES,
        outputs: 1,
        arithmetic: family.arithmetic,
        trees: (0..family.trees)
            .map(|_| tree(family, &mut random))
            .collect(),
        sets: Vec::new(),
        base: vec![0.5],
        base_order: Base::First,
        combine: Combine::Sum,
        link: Link::Identity,
        linear: Linear::default(),
    }
}

fn tree(family: &Family, random: &mut Random) -> Tree {
    let split = |random: &mut Random| Split {
        feature: random.below(FEATURES) as u32,
        test: Test::Less(value(random.below(THRESHOLDS))),
        missing: Missing::NanLeft,
        left: Child::Leaf(0),
        right: Child::Leaf(0),
    };
    let of_level: Vec<Split> = (0..16).map(|_| split(random)).collect();
    let mut tree = Tree {
        leaf_width: 1,
        ..Tree::default()
    };
    let mut open = std::collections::VecDeque::from([(None, 0)]);
    for index in 0..family.splits {
        let place = match family.growth {
            Growth::Leaf => open.remove(open.len() - 1 - random.below(open.len().min(8))),
            _ => open.pop_front(),
        };
        let Some((parent, level)) = place else { break };
        attach(&mut tree, parent, Child::Split(index as u32));
        tree.splits.push(match family.growth {
            Growth::Oblivious => of_level[level],
            _ => split(random),
        });
        open.extend([
            (Some((index, false)), level + 1),
            (Some((index, true)), level + 1),
        ]);
    }
    for (leaf, (parent, _)) in open.into_iter().enumerate() {
        attach(&mut tree, parent, Child::Leaf(leaf as u32));
        tree.leaves.push(value(random.below(1000)));
    }
    tree
}

/// Puts a child below its parent, on the right or not.
fn attach(tree: &mut Tree, parent: Option<(usize, bool)>, child: Child) {
    match parent {
        Some((parent, true)) => tree.splits[parent].right = child,
        Some((parent, false)) => tree.splits[parent].left = child,
        None => {}
    }
}

/// Exact in 32 bits.
fn value(index: usize) -> f64 {
    f64::from(index as f32 / 128.0)
}

fn benches(criterion: &mut Criterion) {
    for family in &FAMILIES {
        let forest = forest(family);
        let mut random = Random(7);
        let rows: Vec<f64> = (0..ROWS * FEATURES)
            .map(|_| value(random.below(THRESHOLDS)) + 1.0 / 256.0)
            .collect();
        for kind in Kind::ALL {
            for isa in Isa::available() {
                bench(criterion, family, &forest, &rows, (kind, isa));
            }
        }
    }
}

/// One layout on one instruction set, where it serves the forest.
fn bench(
    criterion: &mut Criterion,
    family: &Family,
    forest: &Forest,
    rows: &[f64],
    (kind, isa): (Kind, Isa),
) {
    let Some(kernel) = Kernel::with(forest.clone(), isa, Some(kind)) else {
        return;
    };
    let narrow: Vec<f32> = rows.iter().map(|value| *value as f32).collect();
    let layouts = kernel.layouts();
    let mut group = criterion.benchmark_group(family.name);
    for (count, serves) in [(1, layouts.one), (64, layouts.block)] {
        if serves != kind.name() {
            continue;
        }
        let mut out = vec![0.0; count];
        let mut next = (0..ROWS / count).cycle();
        group.throughput(Throughput::Elements(count as u64));
        let id = BenchmarkId::new(format!("{serves}, {isa}"), count);
        group.bench_function(id, |bencher| {
            bencher.iter(|| {
                let first = next.next().unwrap_or(0) * count * FEATURES;
                let some = first..first + count * FEATURES;
                let mut scores = Scores::new(&mut out, 1);
                match forest.arithmetic {
                    Arithmetic::F32 => kernel.raw_scores_f32(&narrow[some], &mut scores),
                    Arithmetic::F64 => kernel.raw_scores_f64(&rows[some], &mut scores),
                }
                black_box(&out);
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = kernels;
    config = Criterion::default()
        .sample_size(30)
        .warm_up_time(std::time::Duration::from_millis(200))
        .measurement_time(std::time::Duration::from_millis(600));
    targets = benches
}
criterion_main!(kernels);
