//! What watching a row for drift costs, on rows of 30 features: 29 numbers and a category, about 20
//! bins each. `make bench-drift`. Throughput is in rows. `count` is what the monitor does with a row,
//! off the request path; `hand over` is the request's part: its rows copied and pushed (here also
//! taken out again).

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hedgerow::drift::bins::{Bins, Column, Reading};
use hedgerow::drift::build::{Cell, Kind, served};
use hedgerow::drift::profile::Category;
use hedgerow::model::artifact::Artifact;
use hedgerow::model::revision::{self, Revision};
use hedgerow::model::slot::{Roles, Slot};
use hedgerow::serve::record::{self, Input, RECORDS_MAX, Record, Recorder};
use hedgerow::tensor::{Element, Rows};
use uuid::Uuid;

const FEATURES: usize = 30;
const CATEGORIES: usize = 20;
const ROWS: usize = 1024;

/// A value from 0 to 1 for every place, and the same ones in every run (SplitMix64).
fn value(place: usize) -> f64 {
    let mut bits = (place as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((bits ^ (bits >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
}

/// Rows whose last feature is the code of a category.
fn rows(count: usize, element: Element) -> Option<Rows> {
    let values = (0..count * FEATURES).map(|place| match place % FEATURES == FEATURES - 1 {
        true => (value(place) * CATEGORIES as f64).floor(),
        false => value(place),
    });
    Rows::from_f64(values.collect(), FEATURES, element)
}

fn bins(element: Element) -> Option<Bins> {
    let names: Vec<String> = (0..CATEGORIES).map(|code| format!("city {code}")).collect();
    let columns: Vec<(String, Kind)> = (0..FEATURES)
        .map(|column| match column == FEATURES - 1 {
            true => (format!("f{column}"), Kind::Category),
            false => (format!("f{column}"), Kind::Number),
        })
        .collect();
    let profile = served(&columns, 20, 20_000, |row, column| {
        match column == FEATURES - 1 {
            true => names
                .get(row % CATEGORIES)
                .map_or(Cell::Text(""), |it| Cell::Text(it)),
            false => Cell::Number(value(row * FEATURES + column)),
        }
    });
    let read: Vec<Column<'_>> = columns
        .iter()
        .map(|(name, kind)| Column {
            name,
            reading: match kind {
                Kind::Category => {
                    Reading::Coded(names.iter().cloned().map(Category::Text).collect())
                }
                Kind::Number => Reading::Number {
                    single: element == Element::F32,
                },
            },
        })
        .collect();
    Bins::new(profile, &read).ok()
}

fn count(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("count");
    group.throughput(Throughput::Elements(ROWS as u64));
    for (name, element) in [("FP32", Element::F32), ("FP64", Element::F64)] {
        let (Some(bins), Some(rows)) = (bins(element), rows(ROWS, element)) else {
            continue;
        };
        let mut cells = vec![0; bins.len()];
        group.bench_function(BenchmarkId::new(name, ROWS), |bencher| {
            bencher.iter(|| {
                match black_box(&rows) {
                    Rows::F32(rows) => rows.rows().for_each(|row| bins.count(row, &mut cells)),
                    Rows::F64(rows) => rows.rows().for_each(|row| bins.count(row, &mut cells)),
                }
                black_box(&mut cells);
            });
        });
    }
    group.finish();
}

/// A revision to name in records; which one does not matter.
fn revision() -> Option<Arc<Revision>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/diabetes-lgbm/1");
    let artifact = Artifact::read(&dir, 1 << 30).ok()?;
    let settings = hedgerow::config::Config::default().revision;
    revision::prepare("bench", 1, artifact, &settings)
        .ok()
        .map(Arc::new)
}

fn hand_over(criterion: &mut Criterion) {
    let Some(revision) = revision() else { return };
    let slot = Arc::new(Slot::new("bench"));
    let roles = Arc::new(Roles::of(Arc::clone(&revision), None));
    let settings = record::Settings {
        watched_rows_per_second_max: 1 << 40,
        ..record::Settings::default()
    };
    let (recorder, records) = Recorder::new(settings, RECORDS_MAX);
    let mut group = criterion.benchmark_group("hand over");
    for count in [1, 64, ROWS] {
        let Some(rows) = rows(count, Element::F32) else {
            continue;
        };
        let results = vec![0.5; count];
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(BenchmarkId::new("FP32", count), |bencher| {
            records.allow(Duration::from_secs(1));
            bencher.iter(|| {
                if !recorder.watches(&slot, count) {
                    records.allow(Duration::from_secs(1));
                }
                recorder.record(Record {
                    slot: Arc::clone(&slot),
                    roles: Arc::clone(&roles),
                    answered: Arc::clone(&revision),
                    id: Uuid::nil(),
                    key: None,
                    at_ms: record::now_ms(),
                    input: Input::Rows(black_box(&rows).clone()),
                    unknown: Vec::new(),
                    results: black_box(&results).clone(),
                    rows: count,
                    width: 1,
                    kept: false,
                    shadow: false,
                    holdout: false,
                });
                black_box(records.next());
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = drift;
    config = Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600));
    targets = count, hand_over
}
criterion_main!(drift);
