//! Contributions and leaves of forest against those of XGBoost's and LightGBM's own libraries: every
//! fixture and sample model, on random rows, missing values, categories, and values on and one ulp
//! beside thresholds. Leaves must be equal, contributions within the tolerances below.

use std::path::{Path, PathBuf};

use hedgerow::engine::{Choice, Engine, EngineError, Extra, Format, Libraries, ModelFile, load};
use hedgerow::forest::{Arithmetic, Forest, Test, lightgbm, xgboost};
use hedgerow::tensor::{Element, Rows};

const ROWS: usize = 120;

/// Of the largest contribution of the same row and raw score. XGBoost adds and unwinds in 32 bits,
/// where it loses digits with the depth of its trees; LightGBM does the same in 64 bits.
fn tolerance(forest: &Forest) -> f64 {
    match forest.arithmetic {
        Arithmetic::F32 => 5e-6,
        Arithmetic::F64 => 1e-12,
    }
}

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
}

fn libraries() -> Libraries {
    Libraries {
        dir: Path::new(env!("CARGO_MANIFEST_DIR")).join("native"),
    }
}

/// Every model of the two libraries below tests/golden and models, but the broken ones. LightGBM's
/// only where its library is built in.
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
                Some("model.txt") if cfg!(feature = "lightgbm") => Format::LightgbmText,
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
    files
}

fn forest(file: &ModelFile) -> Forest {
    let parsed = match file.format {
        Format::XgboostJson => xgboost::parse_json(&file.bytes),
        Format::XgboostUbjson => xgboost::parse_ubjson(&file.bytes),
        _ => lightgbm::parse(&file.bytes),
    };
    parsed.unwrap().forest
}

/// Values worth trying, per feature. XGBoost's matrix takes no infinite ones.
fn landmarks(forest: &Forest) -> Vec<Vec<f64>> {
    let mut all = vec![vec![f64::NAN, 0.0, -0.0, 1.0, -1.0]; forest.features];
    for split in forest.trees.iter().flat_map(|tree| &tree.splits) {
        let values = &mut all[split.feature as usize];
        match split.test {
            Test::In(_) => values.extend((-1..40).map(f64::from)),
            Test::Less(at) => {
                let at = at as f32;
                values.extend([at, at.next_up(), at.next_down()].map(f64::from));
            }
            Test::LessEq(at) => values.extend([at, at.next_up(), at.next_down(), 1e-36]),
            other => panic!("unexpected test {other:?}"),
        }
    }
    for values in &mut all {
        values.retain(|value| !value.is_infinite());
    }
    all
}

fn rows(forest: &Forest) -> Rows {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let landmarks = landmarks(forest);
    let values = (0..ROWS * forest.features).map(|index| {
        let values = &landmarks[index % forest.features];
        match random.below(8) {
            0 => f64::NAN,
            1 => (random.next() as i64 as f64) / 2_f64.powi(60),
            _ => values[random.below(values.len())],
        }
    });
    let element = match forest.arithmetic {
        Arithmetic::F32 => Element::F32,
        Arithmetic::F64 => Element::F64,
    };
    Rows::from_f64(values.collect(), forest.features, element).unwrap()
}

fn extra(engine: &dyn Engine, extra: Extra, rows: &Rows) -> Vec<f64> {
    let width: usize = engine.extra_shape(extra).unwrap().iter().product();
    let mut out = vec![f64::NAN; rows.len() * width];
    engine.extra(extra, rows, &mut out).unwrap();
    out
}

/// The largest difference, as a part of the largest contribution of the same row and raw score.
fn difference(columns: usize, ours: &[f64], theirs: &[f64]) -> f64 {
    let groups = ours.chunks(columns).zip(theirs.chunks(columns));
    groups.fold(0.0, |worst, (ours, theirs)| {
        let largest = theirs.iter().fold(1e-30_f64, |max, x| max.max(x.abs()));
        let all = ours.iter().zip(theirs);
        // NaN stays: `max` would drop it.
        all.fold(worst, |worst, (a, b)| {
            let difference = (a - b).abs() / largest;
            if difference > worst || difference.is_nan() {
                difference
            } else {
                worst
            }
        })
    })
}

#[test]
fn contributions_and_leaves_are_the_librarys() {
    let mut failures = Vec::new();
    let mut compared = 0;
    for file in files() {
        let Ok(ours) = load(&file, Choice::Forest, &libraries()) else {
            continue;
        };
        let theirs = match load(&file, Choice::Library, &libraries()) {
            Ok(theirs) => theirs,
            // Files that the library itself cannot read.
            Err(EngineError::Unsupported(_)) => continue,
            Err(error) => panic!("{}: {error}", file.path.display()),
        };
        let forest = forest(&file);
        let rows = rows(&forest);
        let name = file.path.display();
        let mut refused = false;
        for wanted in Extra::ALL {
            match (ours.extra_shape(wanted), theirs.extra_shape(wanted)) {
                (Ok(ours), Ok(theirs)) => assert_eq!(ours, theirs, "{name}"),
                (Err(_), Err(_)) => refused = true,
                // The library explains linear boosters; forest does not.
                (Err(_), Ok(_)) if !forest.linear.weights.is_empty() => refused = true,
                // The library's own check fails for leaves with several values.
                (Ok(_), Err(_)) if forest.trees[0].leaf_width > 1 => refused = true,
                other => panic!("{name}, {wanted}: {other:?}"),
            }
        }
        if refused {
            continue;
        }
        let [a, b] = [ours.as_ref(), theirs.as_ref()];
        if extra(a, Extra::Leaves, &rows) != extra(b, Extra::Leaves, &rows) {
            failures.push(format!("{name}: other leaves"));
        }
        let (a, b) = (
            extra(a, Extra::Contributions, &rows),
            extra(b, Extra::Contributions, &rows),
        );
        let difference = difference(forest.features + 1, &a, &b);
        if difference.is_nan() || difference > tolerance(&forest) {
            failures.push(format!("{name}: contributions differ by {difference:e}"));
        }
        compared += 1;
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(compared > 50, "compared {compared} only");
}
