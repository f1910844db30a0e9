//! Forest against XGBoost's own library, bit for bit: every XGBoost fixture and sample model, on
//! random rows, missing values, infinities, denormals, and values on and one ulp beside every
//! threshold.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use hedgerow::engine::{Choice, Engine, EngineError, Format, Libraries, ModelFile, load};
use hedgerow::forest::xgboost::{describe_json, describe_ubjson, parse_json, parse_ubjson};
use hedgerow::forest::{FeatureKind, Parsed, Test, reference};
use hedgerow::tensor::{Matrix, Rows};

/// Every case's stream of random numbers starts here.
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

/// Rows per case, at least. Enough that every threshold of a fixture is met from both sides.
const ROWS_MIN: usize = 2_000;

/// xorshift64*.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 33) as usize % limit
    }

    /// In [-1, 1).
    fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    }
}

fn libraries() -> Libraries {
    Libraries {
        dir: Path::new(env!("CARGO_MANIFEST_DIR")).join("native"),
    }
}

/// Every XGBoost model file below tests/golden and models, but the broken ones.
fn files() -> Vec<ModelFile> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut open: Vec<PathBuf> = vec![root.join("tests/golden"), root.join("models")];
    let mut files = Vec::new();
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let format = match path.file_name().unwrap().to_str() {
                Some("model.json") => Format::XgboostJson,
                Some("model.ubj") => Format::XgboostUbjson,
                Some("broken") => continue,
                _ if path.is_dir() => {
                    open.push(path);
                    continue;
                }
                _ => continue,
            };
            files.push(ModelFile {
                format,
                bytes: std::fs::read(&path).unwrap(),
                path,
            });
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(!files.is_empty(), "no XGBoost models");
    files
}

fn parse(file: &ModelFile) -> Parsed {
    match file.format {
        Format::XgboostJson => parse_json(&file.bytes).unwrap(),
        _ => parse_ubjson(&file.bytes).unwrap(),
    }
}

/// `gbtree`, `dart` or `gblinear`.
fn booster(file: &ModelFile) -> String {
    let description = match file.format {
        Format::XgboostJson => describe_json(&file.bytes),
        _ => describe_ubjson(&file.bytes),
    };
    description.unwrap().booster
}

/// Values worth trying, per feature.
fn candidates(parsed: &Parsed, finite: bool) -> Vec<Vec<f32>> {
    let always = [
        f32::NAN,
        0.0,
        -0.0,
        1.0,
        -1.0,
        1e-45,
        -1e-45,
        1e-39,
        f32::MAX,
        f32::MIN,
    ];
    let infinite = [f32::INFINITY, f32::NEG_INFINITY];
    let codes = [0.5, 0.999, -0.5, 3.9, 99.0, 16_777_215.0, 16_777_216.0, 4e9];
    let mut all: Vec<Vec<f32>> = Vec::new();
    for feature in &parsed.features {
        let mut values = always.to_vec();
        if !finite {
            values.extend(infinite);
        }
        if matches!(feature.kind, FeatureKind::Category { .. }) {
            values.extend(codes);
            values.extend((0..100_u16).map(f32::from));
        }
        all.push(values);
    }
    for split in parsed.forest.trees.iter().flat_map(|tree| &tree.splits) {
        if let Test::Less(at) = split.test {
            let at = at as f32;
            all[split.feature as usize].extend([at, at.next_up(), at.next_down()]);
        }
    }
    for values in &mut all {
        values.retain(|value| !finite || !value.is_infinite());
        let mut seen = BTreeSet::new();
        values.retain(|value| seen.insert(value.to_bits()));
    }
    all
}

/// Rows of which each value is a candidate or random; every candidate comes up.
fn rows(candidates: &[Vec<f32>], random: &mut Random) -> Rows {
    let longest = candidates.iter().map(Vec::len).max().unwrap();
    let mut values = Vec::new();
    for row in 0..ROWS_MIN.max(longest * 2) {
        for (feature, candidates) in candidates.iter().enumerate() {
            values.push(match random.below(4) {
                0 => random.unit() * 10_f32.powi(random.below(7) as i32 - 3),
                1 => candidates[random.below(candidates.len())],
                _ => candidates[(row + feature) % candidates.len()],
            });
        }
    }
    Rows::F32(Matrix::new(values, candidates.len()).unwrap())
}

fn predict(engine: &dyn Engine, rows: &Rows) -> Vec<f64> {
    let mut out = vec![0.0; rows.len() * engine.outline().width()];
    engine.predict(rows, &mut out).unwrap();
    out
}

/// The slow evaluation, laid out as an engine's results.
fn slow(parsed: &Parsed, rows: &Rows) -> Vec<f64> {
    let Rows::F32(rows) = rows else {
        panic!("expected 32-bit rows");
    };
    let mut out = Vec::new();
    for row in rows.rows() {
        let row: Vec<f64> = row.iter().map(|value| f64::from(*value)).collect();
        let (raw, prediction) = reference::predict(&parsed.forest, &row);
        out.extend(prediction);
        out.extend(raw);
    }
    out
}

fn same(a: f64, b: f64) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

fn difference(rows: &Rows, width: usize, ours: &[f64], theirs: &[f64]) -> Option<String> {
    let at = ours.iter().zip(theirs).position(|(a, b)| !same(*a, *b))?;
    let row = rows.select(&[at / width]);
    Some(format!(
        "column {}: forest {:e}, library {:e}, row {row:?}",
        at % width,
        ours[at],
        theirs[at]
    ))
}

#[test]
fn forest_gives_the_librarys_bits_on_hostile_rows() {
    let mut failures = Vec::new();
    let mut compared = 0;
    for file in files() {
        let Ok(forest) = load(&file, Choice::Forest, &libraries()) else {
            continue;
        };
        let library = match load(&file, Choice::Library, &libraries()) {
            Ok(library) => library,
            // The current library crashes on vector leaves of older versions.
            Err(EngineError::Unsupported(reason)) if reason.contains("vector leaves") => continue,
            Err(error) => panic!("{}: {error}", file.path.display()),
        };
        assert_eq!(library.outline().engine, "xgboost");
        assert_eq!(forest.outline().outputs, library.outline().outputs);
        assert_eq!(forest.outline().features, library.outline().features);
        let parsed = parse(&file);
        let finite = booster(&file) != "gbtree";
        let rows = rows(&candidates(&parsed, finite), &mut Random(SEED));
        let width = forest.outline().width();
        let theirs = predict(library.as_ref(), &rows);
        for (name, ours) in [
            ("kernel", predict(forest.as_ref(), &rows)),
            ("reference", slow(&parsed, &rows)),
        ] {
            compared += 1;
            if let Some(difference) = difference(&rows, width, &ours, &theirs) {
                failures.push(format!("{}, {name}: {difference}", file.path.display()));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(compared > 100, "compared {compared} only");
}

#[test]
fn forest_serves_every_file() {
    for file in files() {
        let engine = load(&file, Choice::Auto, &libraries()).unwrap();
        assert_eq!(engine.outline().engine, "forest", "{}", file.path.display());
    }
}

#[test]
fn broken_files_are_refused_with_the_expected_words() {
    let broken = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/broken");
    let expected = std::fs::read(broken.join("expected.json")).unwrap();
    let expected: BTreeMap<String, String> = serde_json::from_slice(&expected).unwrap();
    let mut checked = 0;
    for (name, words) in &expected {
        let format = match name.rsplit_once('.').unwrap().1 {
            "json" => Format::XgboostJson,
            "ubj" => Format::XgboostUbjson,
            _ => continue,
        };
        let path = broken.join(name);
        let file = ModelFile {
            format,
            bytes: std::fs::read(&path).unwrap(),
            path,
        };
        let error = load(&file, Choice::Forest, &libraries()).unwrap_err();
        assert!(error.to_string().contains(words), "{name}: {error}");
        // The library must not see what forest finds broken: it would follow any index.
        if matches!(error, EngineError::Malformed(_)) {
            assert_eq!(
                load(&file, Choice::Library, &libraries()).err(),
                Some(error)
            );
        }
        checked += 1;
    }
    assert!(checked > 20, "checked {checked} only");
}

#[test]
fn a_matrix_refuses_infinite_values_with_a_reason() {
    let linear = files()
        .into_iter()
        .find(|file| booster(file) == "gblinear")
        .unwrap();
    let engine = load(&linear, Choice::Library, &libraries()).unwrap();
    let width = engine.outline().features.len();
    let rows = Rows::F32(Matrix::new(vec![f32::INFINITY; width], width).unwrap());
    let error = engine
        .predict(&rows, &mut vec![0.0; engine.outline().width()])
        .unwrap_err();
    assert!(error.to_string().contains("inf"), "{error}");
}

#[test]
fn threads_that_share_a_booster_get_the_same_bits() {
    for wanted in ["gbtree", "dart", "gblinear"] {
        let file = files()
            .into_iter()
            .find(|file| booster(file) == wanted)
            .unwrap();
        let engine = load(&file, Choice::Library, &libraries()).unwrap();
        let width = engine.outline().features.len();
        let mut random = Random(SEED);
        let values = (0..width * 64).map(|_| random.unit() * 3.0).collect();
        let rows = Rows::F32(Matrix::new(values, width).unwrap());
        let expected = predict(engine.as_ref(), &rows);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        assert_eq!(predict(engine.as_ref(), &rows), expected, "{wanted}");
                    }
                });
            }
        });
    }
}
