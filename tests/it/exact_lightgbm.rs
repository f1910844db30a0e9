//! Forest against LightGBM's own library, bit for bit: every fixture and sample model, and models
//! made from them by editing their text, on random rows full of edges.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests stop the test"
)]

use std::collections::BTreeMap;
use std::path::Path;

use hedgerow::engine::{Choice, Engine, Format, Libraries, ModelFile, load};
use hedgerow::forest::lightgbm::parse;
use hedgerow::forest::{Forest, Test, reference};
use hedgerow::tensor::{Element, Rows};

const ROWS: usize = 400;

/// LightGBM's `kZeroThreshold`.
const TINY: f64 = 1e-35_f32 as f64;

/// xorshift64*.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 33) as usize % limit
    }

    fn pick(&mut self, values: &[f64]) -> f64 {
        values[self.below(values.len())]
    }
}

fn engine(text: &str, choice: Choice) -> Box<dyn Engine> {
    let file = ModelFile {
        format: Format::LightgbmText,
        path: "model.txt".into(),
        bytes: text.as_bytes().to_vec(),
    };
    let libraries = Libraries { dir: "none".into() };
    load(&file, choice, &libraries).unwrap()
}

/// Values that may go wrong: on no feature's scale, but on the edges of floats and categories.
fn edges() -> Vec<f64> {
    let mut edges = vec![
        f64::NAN,
        -f64::NAN,
        f64::INFINITY,
        0.0,
        1e-36,
        1e-35,
        TINY,
        TINY.next_up(),
        TINY.next_down(),
        f64::MIN_POSITIVE,
        5e-324,
        1e300,
        f64::MAX,
        0.5,
        0.999,
        1.0,
        1.5,
        31.0,
        32.0,
        33.9,
        63.0,
        64.0,
        1e6,
        16_777_216.0,
        2_147_483_647.0,
        2_147_483_647.9,
        2_147_483_648.0,
        4_294_967_296.0,
        4_294_967_297.0,
        9.3e18,
    ];
    edges.extend(edges.clone().iter().map(|value| -value));
    edges
}

/// Per feature: its thresholds and their neighbours, or the codes of its sets and some beside.
fn landmarks(forest: &Forest) -> Vec<Vec<f64>> {
    let mut landmarks = vec![Vec::new(); forest.features];
    for split in forest.trees.iter().flat_map(|tree| &tree.splits) {
        let values = &mut landmarks[split.feature as usize];
        match split.test {
            Test::LessEq(at) => values.extend([at, at.next_up(), at.next_down(), -at]),
            Test::In(set) => {
                let codes = forest.sets[set as usize].words.len() as i32 * 32;
                values.extend((-1..codes + 2).map(f64::from));
            }
            other => panic!("unexpected test {other:?}"),
        }
    }
    landmarks
}

fn random_rows(forest: &Forest, random: &mut Random) -> Vec<f64> {
    let (edges, landmarks) = (edges(), landmarks(forest));
    let mut values = Vec::with_capacity(ROWS * forest.features);
    for row in 0..ROWS {
        for landmarks in &landmarks {
            values.push(match random.below(8) {
                0 => random.pick(&edges),
                // Every eighth row or so keeps to edges, and one row is all missing.
                _ if row == 0 => f64::NAN,
                _ if row % 8 == 1 => random.pick(&edges),
                1..5 if !landmarks.is_empty() => random.pick(landmarks),
                5 => random.below(40) as f64,
                _ => (random.next() as i64 as f64) / 2f64.powi(60),
            });
        }
    }
    values
}

fn same(a: f64, b: f64) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

/// Compares the reference, the kernel and the library, in one batch and row by row.
fn compare(name: &str, text: &str) {
    let parsed = parse(text.as_bytes()).unwrap_or_else(|error| panic!("{name}: {error}"));
    let ours = engine(text, Choice::Forest);
    let library = engine(text, Choice::Library);
    assert_eq!(ours.outline().outputs, library.outline().outputs, "{name}");
    assert_eq!(
        ours.outline().features,
        library.outline().features,
        "{name}"
    );
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let values = random_rows(&parsed.forest, &mut random);
    let (features, width) = (parsed.forest.features, ours.outline().width());
    let rows = Rows::from_f64(values.clone(), features, Element::F64).unwrap();
    let mut expected = vec![0.0; ROWS * width];
    library.predict(&rows, &mut expected).unwrap();
    let mut kernel = vec![0.0; ROWS * width];
    ours.predict(&rows, &mut kernel).unwrap();
    for (index, row) in values.chunks_exact(features).enumerate() {
        let of_row = index * width..(index + 1) * width;
        let (raw, mut slow) = reference::predict(&parsed.forest, row);
        slow.extend(raw);
        let mut alone = vec![0.0; width];
        let one = Rows::from_f64(row.to_vec(), features, Element::F64).unwrap();
        library.predict(&one, &mut alone).unwrap();
        for (engine, got) in [
            ("reference", &slow[..]),
            ("kernel", &kernel[of_row.clone()]),
            ("library, one row", &alone[..]),
        ] {
            let expected = &expected[of_row.clone()];
            assert!(
                got.iter().zip(expected).all(|(a, b)| same(*a, *b)),
                "{name}, row {index}: {engine} gives {got:?}, the library {expected:?}; {row:?}"
            );
        }
    }
}

fn model(folder: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    std::fs::read_to_string(path.join("model.txt")).unwrap()
}

/// A fixture that can be edited: without the sizes of its trees.
fn editable(folder: &str) -> String {
    replace_lines(&model(folder), "tree_sizes=", |_| String::new())
}

/// Replaces the rest of every line that starts with `key`. Lines that become empty vanish.
fn replace_lines(text: &str, key: &str, new: impl Fn(&str) -> String) -> String {
    let mut lines = Vec::new();
    for line in text.split('\n') {
        match line.strip_prefix(key) {
            Some(rest) => lines.extend(Some(new(rest)).filter(|line| !line.is_empty())),
            None => lines.push(line.to_string()),
        }
    }
    lines.join("\n")
}

/// Every folder with a LightGBM model below `root`.
fn folders(root: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![root.to_string()];
    while let Some(folder) = open.pop() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(&folder);
        if path.join("model.txt").exists() {
            found.push(folder);
            continue;
        }
        for entry in std::fs::read_dir(path).unwrap() {
            let entry = entry.unwrap();
            if entry.path().is_dir() {
                open.push(format!("{folder}/{}", entry.file_name().to_string_lossy()));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn every_model_gives_the_librarys_bits_on_random_rows() {
    let mut compared = 0;
    for folder in [folders("tests/golden"), folders("models")].concat() {
        let text = model(&folder);
        compare(&folder, &text);
        compared += 1;
    }
    assert!(compared > 50, "only {compared} models");
}

#[test]
fn every_objective_gives_the_librarys_bits_with_and_without_average() {
    let text = editable("tests/golden/lgb-binary");
    for objective in [
        "regression",
        "regression sqrt",
        "regression_l1 sqrt",
        "quantile sqrt",
        "fair sqrt",
        "mape sqrt",
        "huber sqrt",
        "poisson sqrt",
        "gamma",
        "tweedie",
        "lambdarank",
        "rank_xendcg",
        "binary sigmoid:1",
        "binary sigmoid:0.7",
        "binary sigmoid:1.23457",
        "binary sigmoid:1.2345e-05",
        "binary sigmoid:3.3e7",
        "cross_entropy",
        "cross_entropy_lambda",
        "custom",
        "xentropy",
        "xentlambda",
        "rmse",
        "mae",
    ] {
        let text = replace_lines(&text, "objective=", |_| format!("objective={objective}"));
        compare(objective, &text);
        let average = format!("average_output\nobjective={objective}");
        let text = replace_lines(&text, "objective=", |_| average.clone());
        compare(&format!("{objective}, averaged"), &text);
    }
    compare(
        "none",
        &replace_lines(&text, "objective=", |_| String::new()),
    );
    let text = editable("tests/golden/lgb-multiclass");
    for objective in [
        "multiclass num_class:3",
        "multiclassova num_class:3 sigmoid:1.3",
        "custom",
    ] {
        let average = format!("average_output\nobjective={objective}");
        compare(
            objective,
            &replace_lines(&text, "objective=", |_| average.clone()),
        );
    }
}

#[test]
fn thresholds_around_zero_give_the_librarys_bits_for_every_missing_type() {
    let text = editable("tests/golden/lgb-binary");
    let thresholds = [
        0.0,
        -0.0,
        1e-36,
        -1e-36,
        TINY,
        -TINY,
        TINY.next_up(),
        -TINY.next_up(),
        TINY.next_down(),
        -TINY.next_down(),
        5e-324,
        -5e-324,
        f64::INFINITY,
        f64::NEG_INFINITY,
    ];
    for decision in [0, 2, 4, 6, 8, 10] {
        for shift in 0..thresholds.len() {
            let words = |rest: &str, word: &dyn Fn(usize) -> String| {
                let words: Vec<String> = (0..rest.split(' ').count()).map(word).collect();
                words.join(" ")
            };
            let text = replace_lines(&text, "threshold=", |rest| {
                let at = |index| format!("{:e}", thresholds[(index + shift) % thresholds.len()]);
                format!("threshold={}", words(rest, &at))
            });
            let text = replace_lines(&text, "decision_type=", |rest| {
                format!("decision_type={}", words(rest, &|_| decision.to_string()))
            });
            compare(&format!("decision {decision}, shift {shift}"), &text);
        }
    }
}

#[test]
fn leaves_of_any_size_and_sign_give_the_librarys_bits() {
    let text = editable("tests/golden/lgb-binary");
    let leaves = [
        "-0", "0", "1e300", "-1e308", "inf", "-inf", "1e-320", "1", "1e400",
    ];
    for shift in 0..leaves.len() {
        for objective in [
            "regression sqrt",
            "binary sigmoid:1",
            "cross_entropy_lambda",
        ] {
            let text = replace_lines(&text, "leaf_value=", |rest| {
                let count = rest.split(' ').count();
                let leaf = |index| leaves[(index * index + shift) % leaves.len()];
                let values: Vec<&str> = (0..count).map(leaf).collect();
                format!("leaf_value={}", values.join(" "))
            });
            let text = replace_lines(&text, "objective=", |_| format!("objective={objective}"));
            compare(&format!("{objective}, shift {shift}"), &text);
        }
    }
    let zeros = replace_lines(&text, "leaf_value=", |rest| {
        format!(
            "leaf_value={}",
            rest.split(' ').map(|_| "-0").collect::<Vec<_>>().join(" ")
        )
    });
    compare("negative zeros", &zeros);
}

#[test]
fn nodes_in_any_order_give_the_librarys_bits() {
    // The root must stay the first node; all others are reversed.
    let text = editable("tests/golden/lgb-regression");
    let reversed = |rest: &str, child: bool| {
        let mut words: Vec<String> = rest.split(' ').map(str::to_string).collect();
        let last = words.len() as i64 - 1;
        words[1..].reverse();
        for word in words.iter_mut().filter(|_| child) {
            let value: i64 = word.parse().unwrap();
            if value > 0 {
                *word = (last + 1 - value).to_string();
            }
        }
        words.join(" ")
    };
    let mut text = text;
    for (key, child) in [
        ("split_feature=", false),
        ("threshold=", false),
        ("decision_type=", false),
        ("left_child=", true),
        ("right_child=", true),
    ] {
        text = replace_lines(&text, key, |rest| format!("{key}{}", reversed(rest, child)));
    }
    let places = |text: &str| parse(text.as_bytes()).unwrap().forest.trees[0].splits[1];
    assert_ne!(
        places(&text),
        places(&editable("tests/golden/lgb-regression"))
    );
    compare("reversed nodes", &text);
}

#[test]
fn texts_of_other_shapes_give_the_librarys_bits() {
    let text = editable("tests/golden/lgb-category");
    compare("windows line ends", &text.replace('\n', "\r\n"));
    let (start, end) = (
        text.find("Tree=0").unwrap(),
        text.find("end of trees").unwrap(),
    );
    let empty = format!("{}{}", &text[..start], &text[end..]);
    compare("no trees", &empty);
    let averaged = empty.replacen("version", "average_output\nversion", 1);
    compare("no trees, averaged", &averaged);
}

#[test]
fn damaged_texts_that_both_read_give_the_same_bits() {
    let bytes = b"0123456789-.e= \nx";
    let mut random = Random(11);
    let mut agreed = 0;
    for folder in ["lgb-category", "lgb-multiclassova", "lgb-text-category"] {
        let text = editable(&format!("tests/golden/{folder}"));
        let trees = text.find("end of trees").unwrap();
        for _ in 0..600 {
            let mut damaged = text.clone().into_bytes();
            for _ in 0..=random.below(2) {
                damaged[random.below(trees)] = bytes[random.below(bytes.len())];
            }
            let file = ModelFile {
                format: Format::LightgbmText,
                path: "model.txt".into(),
                bytes: damaged,
            };
            let libraries = Libraries { dir: "none".into() };
            let (Ok(parsed), Ok(library)) =
                (parse(&file.bytes), load(&file, Choice::Library, &libraries))
            else {
                continue;
            };
            let features = parsed.forest.features;
            let values = random_rows(&parsed.forest, &mut random)[..20 * features].to_vec();
            let mut expected = vec![0.0; 20 * library.outline().width()];
            let rows = Rows::from_f64(values.clone(), features, Element::F64).unwrap();
            library.predict(&rows, &mut expected).unwrap();
            let slow = values.chunks_exact(features).flat_map(|row| {
                let (raw, prediction) = reference::predict(&parsed.forest, row);
                [prediction, raw].concat()
            });
            let text = String::from_utf8_lossy(&file.bytes);
            assert!(slow.zip(expected).all(|(a, b)| same(a, b)), "{text}");
            agreed += 1;
        }
    }
    assert!(agreed > 100, "only {agreed} were read by both");
}

#[test]
fn threads_share_one_model_of_the_library() {
    let engine = engine(&model("tests/golden/lgb-multiclass"), Choice::Library);
    let text = model("tests/golden/lgb-multiclass");
    let forest = parse(text.as_bytes()).unwrap().forest;
    let values = random_rows(&forest, &mut Random(7));
    let rows = Rows::from_f64(values, forest.features, Element::F64).unwrap();
    let mut expected = vec![0.0; ROWS * engine.outline().width()];
    engine.predict(&rows, &mut expected).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..5 {
                    let mut out = vec![0.0; expected.len()];
                    engine.predict(&rows, &mut out).unwrap();
                    assert!(out.iter().zip(&expected).all(|(a, b)| same(*a, *b)));
                }
            });
        }
    });
}

#[test]
fn broken_texts_do_not_reach_the_library() {
    let broken = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/broken");
    let words = std::fs::read(broken.join("expected.json")).unwrap();
    let words: BTreeMap<String, String> = serde_json::from_slice(&words).unwrap();
    let mut refused = 0;
    for (name, word) in words.iter().filter(|(name, _)| name.ends_with(".txt")) {
        let path = broken.join(name);
        let file = ModelFile {
            format: Format::LightgbmText,
            bytes: std::fs::read(&path).unwrap(),
            path,
        };
        let libraries = Libraries { dir: "none".into() };
        for choice in [Choice::Library, Choice::Forest] {
            let error = load(&file, choice, &libraries).unwrap_err().to_string();
            assert!(error.contains(word), "{name}: no \"{word}\" in: {error}");
        }
        refused += 1;
    }
    assert!(refused > 10);
}
