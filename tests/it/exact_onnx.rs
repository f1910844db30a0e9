//! Forest against ONNX Runtime on one thread: every ONNX fixture and sample that forest takes, on
//! rows that sit on, beside and far from the splits. Labels and scores are equal bit for bit; a
//! zero's sign is the one thing that may differ.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use hedgerow::engine::{Choice, Engine, EngineError, Format, Libraries, ModelFile, load};
use hedgerow::forest::{Arithmetic, Forest, ParseError, Test, onnx, reference};
use hedgerow::tensor::{Element, Rows};

/// Rows per model.
const ROWS: usize = 600;

fn libraries() -> Libraries {
    Libraries {
        dir: Path::new(env!("CARGO_MANIFEST_DIR")).join("native"),
    }
}

/// Every model.onnx among fixtures and samples.
fn models() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut open = vec![root.join("tests/golden"), root.join("models")];
    let mut found = Vec::new();
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.file_name().is_some_and(|name| name == "model.onnx") {
                found.push(path);
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "no ONNX models");
    found
}

/// xorshift64*, so that rows are the same everywhere.
pub struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

/// Per feature, the thresholds of the forest.
fn thresholds(forest: &Forest) -> Vec<Vec<f64>> {
    let mut found = vec![Vec::new(); forest.features];
    for split in forest.trees.iter().flat_map(|tree| &tree.splits) {
        if let Test::Less(at)
        | Test::LessEq(at)
        | Test::Greater(at)
        | Test::GreaterEq(at)
        | Test::Equal(at)
        | Test::NotEqual(at) = split.test
        {
            found[split.feature as usize].push(at);
        }
    }
    found
}

/// A value on an edge that trees have, or an ordinary one.
fn value(random: &mut Random, thresholds: &[f64], element: Element) -> f64 {
    const ODD: [f64; 12] = [
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        0.0,
        -0.0,
        1e-45,
        -1e-40,
        5e-324,
        1.0,
        2.0,
        3e38,
        -3e38,
    ];
    let near = |random: &mut Random| match thresholds {
        [] => 0.5,
        some => some[random.below(some.len())],
    };
    match (random.below(10), element) {
        (0 | 1, _) => ODD[random.below(ODD.len())],
        (2..=4, _) => near(random),
        (5, Element::F32) => f64::from((near(random) as f32).next_up()),
        (6, Element::F32) => f64::from((near(random) as f32).next_down()),
        (5, Element::F64) => near(random).next_up(),
        (6, Element::F64) => near(random).next_down(),
        _ => (random.below(2_000_001) as f64 / 1e6 - 1.0) * 10.0,
    }
}

fn rows(forest: &Forest, element: Element, whole: bool, seed: u64) -> Vec<f64> {
    let mut random = Random(seed | 1);
    let thresholds = thresholds(forest);
    let mut values = Vec::with_capacity(ROWS * forest.features);
    for _ in 0..ROWS {
        for thresholds in &thresholds {
            let value = value(&mut random, thresholds, element);
            values.push(match whole {
                true if !value.is_finite() || value.abs() > 1e18 => 16_777_217.0,
                true => value.round(),
                false => value,
            });
        }
    }
    values
}

/// Equal bits, but for the sign of a zero; NaN equals NaN.
fn same(a: f64, b: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan())
}

/// Compares the model in `bytes`; false when forest refuses it.
pub fn check_bytes(bytes: Vec<u8>) -> Result<bool, String> {
    check(&ModelFile {
        format: Format::Onnx,
        path: PathBuf::from("model.onnx"),
        bytes,
    })
}

/// Compares one model; false when forest refuses it.
fn check(file: &ModelFile) -> Result<bool, String> {
    let forest = match load(file, Choice::Forest, &libraries()) {
        Ok(engine) => engine,
        Err(EngineError::Unsupported(_)) => return Ok(false),
        Err(error) => return Err(error.to_string()),
    };
    let library = load(file, Choice::Library, &libraries()).map_err(|error| error.to_string())?;
    let parsed = onnx::parse(&file.bytes).map_err(|error| error.to_string())?;
    let whole = parsed
        .graph
        .as_ref()
        .is_some_and(|graph| graph.whole_numbers);
    let element = forest.outline().element;
    let values = rows(&parsed.forest, element, whole, file.bytes.len() as u64);
    let width = parsed.forest.features;
    let ours = predict(forest.as_ref(), &values)?;
    let theirs = predict(library.as_ref(), &values)?;
    let first = predict(library.as_ref(), &values[..width])?;
    if !first.iter().zip(&theirs).all(|(a, b)| same(*a, *b)) {
        return Err("ONNX Runtime answers one row and many differently".to_string());
    }
    let (our_width, their_width) = (forest.outline().width(), library.outline().width());
    for output in &library.outline().outputs {
        let own = forest
            .outline()
            .outputs
            .iter()
            .find(|own| own.name == output.name)
            .ok_or_else(|| format!("forest has no output {}", output.name))?;
        let shape = |o: &hedgerow::engine::Output| (o.dtype, o.columns, o.labels.clone());
        if shape(own) != shape(output) {
            return Err(format!("forest has {own:?}, ONNX Runtime {output:?}"));
        }
        for row in 0..ROWS {
            let ours = &ours[row * our_width + own.offset..][..own.len()];
            let theirs = &theirs[row * their_width + output.offset..][..own.len()];
            if !ours.iter().zip(theirs).all(|(a, b)| same(*a, *b)) {
                let row = &values[row * width..][..width];
                return Err(format!(
                    "{}: forest {ours:?}, ONNX Runtime {theirs:?}, row {row:?}",
                    output.name
                ));
            }
        }
    }
    check_reference(&parsed.forest, &values, &ours, our_width)?;
    Ok(true)
}

/// The kernel's raw scores, at the end of each row of results, against the slow reference.
fn check_reference(
    forest: &Forest,
    values: &[f64],
    ours: &[f64],
    width: usize,
) -> Result<(), String> {
    for (row, ours) in values.chunks(forest.features).zip(ours.chunks(width)) {
        let row: Vec<f64> = match forest.arithmetic {
            Arithmetic::F32 => row.iter().map(|value| f64::from(*value as f32)).collect(),
            Arithmetic::F64 => row.to_vec(),
        };
        let raw = reference::raw_scores(forest, &row);
        let ours = &ours[width - forest.outputs..];
        if !raw.iter().zip(ours).all(|(a, b)| same(*a, *b)) {
            return Err(format!("kernel {ours:?}, reference {raw:?}, row {row:?}"));
        }
    }
    Ok(())
}

fn predict(engine: &dyn Engine, values: &[f64]) -> Result<Vec<f64>, String> {
    let outline = engine.outline();
    let rows = Rows::from_f64(values.to_vec(), outline.features.len(), outline.element)
        .ok_or("the rows do not fit")?;
    let mut out = vec![0.0; rows.len() * outline.width()];
    engine
        .predict(&rows, &mut out)
        .map_err(|error| error.to_string())?;
    Ok(out)
}

#[test]
fn every_onnx_model_gives_the_bits_of_onnxruntime() {
    let mut failures = Vec::new();
    let mut compared = BTreeSet::new();
    for path in models() {
        let file = ModelFile {
            format: Format::Onnx,
            bytes: std::fs::read(&path).unwrap(),
            path: path.clone(),
        };
        match check(&file) {
            Ok(true) => {
                compared.insert(path);
            }
            Ok(false) => {}
            Err(error) => failures.push(format!("{}: {error}", path.display())),
        }
    }
    assert!(
        failures.is_empty(),
        "{} failed:\n{}",
        failures.len(),
        failures.join("\n")
    );
    assert!(!compared.is_empty(), "forest took no model");
}

#[test]
fn broken_onnx_files_say_what_is_wrong() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/broken");
    let expected = std::fs::read(dir.join("expected.json")).unwrap();
    let expected: std::collections::BTreeMap<String, String> =
        serde_json::from_slice(&expected).unwrap();
    let mut checked = 0;
    for (name, words) in expected.iter().filter(|(name, _)| name.ends_with(".onnx")) {
        let bytes = std::fs::read(dir.join(name)).unwrap();
        match onnx::parse(&bytes) {
            Err(ParseError::Malformed(reason)) => {
                assert!(reason.contains(words), "{name}: {reason}");
            }
            other => panic!("{name}: expected an error, got {other:?}"),
        }
        checked += 1;
    }
    assert!(checked > 0, "no broken ONNX files");
}
