//! What the rules at the door cost, on rows of 30 features. `make bench-door`. Throughput is in rows;
//! "no rules" is what a slot without them pays.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hedgerow::engine::{Feature, Format, Outline};
use hedgerow::model::rules::{Rules, SlotRules};
use hedgerow::model::signature::Signature;
use hedgerow::tensor::{Element, Rows};

const FEATURES: usize = 30;

/// All values are whole numbers from 0 to 99.
const CASES: [(&str, &[&str]); 6] = [
    ("no rules", &[]),
    ("one range", &["f7: 0..100 flag"]),
    ("ranges", &["*: 0..100 flag"]),
    (
        "ranges and required",
        &["*: 0..100 flag", "*: required reject"],
    ),
    ("ranges and whole", &["*: 0..100 flag", "*: whole flag"]),
    ("ranges, all broken", &["*: 200..300 flag"]),
];

fn signature() -> Option<Signature> {
    let outline = Outline {
        engine: "forest",
        format: Format::XgboostJson,
        element: Element::F32,
        features: vec![Feature::default(); FEATURES],
        outputs: Vec::new(),
        objective: String::new(),
        trees: None,
        library_version: None,
        refused_by_forest: None,
    };
    Signature::new(&outline, None).ok()
}

fn rows(count: usize) -> Option<Rows> {
    let values = (0..count * FEATURES).map(|index| (index * 7919 % 100) as f64);
    Rows::from_f64(values.collect(), FEATURES, Element::F32)
}

fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("door");
    for (name, texts) in CASES {
        let texts: Vec<String> = texts.iter().map(|it| it.to_string()).collect();
        for count in [1, 64, 4096] {
            let (Ok(list), Some(signature), Some(rows)) =
                (SlotRules::parse(&texts), signature(), rows(count))
            else {
                continue;
            };
            let written = SlotRules {
                rules: list,
                defaults: None,
            };
            let rules = Rules::new(&written, &[], &signature);
            group.throughput(Throughput::Elements(count as u64));
            group.bench_function(BenchmarkId::new(name, count), |bencher| {
                bencher.iter(|| black_box(&rules).check(black_box(&rows), &[]));
            });
        }
    }
    group.finish();
}

criterion_group! {
    name = door;
    config = Criterion::default()
        .sample_size(30)
        .warm_up_time(std::time::Duration::from_millis(200))
        .measurement_time(std::time::Duration::from_millis(600));
    targets = benches
}
criterion_main!(door);
