//! `hedgerow profile`: every writer's files give the same profile, a model's scores are those that it
//! serves, and what is wrong with a file is said with its place. Runs the binary.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use hedgerow::config::Config;
use hedgerow::drift::profile::{Category, Feature, Profile, Source, Values};
use hedgerow::model::artifact::Artifact;
use hedgerow::model::revision::{self, Reference, Revision};
use hedgerow::tensor::Rows;
use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn model(dir: &str) -> Revision {
    let settings = Config::default().revision;
    let artifact = Artifact::read(&root().join(dir), settings.bytes_max).unwrap();
    revision::prepare("test", 1, artifact, &settings).unwrap()
}

fn run(data: &[&Path], more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hedgerow"))
        .arg("profile")
        .args(data)
        .args(more)
        .current_dir(root())
        .output()
        .unwrap()
}

/// The profile that goes to standard output, and what is said beside it.
fn made(data: &[&Path], more: &[&str]) -> (Profile, String) {
    let output = run(data, more);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    (Profile::parse(&output.stdout).unwrap(), said)
}

fn profile(data: &Path, more: &[&str]) -> Profile {
    made(&[data], more).0
}

/// The complaint about a file, without its folder.
fn complaint(data: &Path, more: &[&str]) -> String {
    let output = run(&[data], more);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(output.stdout.is_empty());
    said.replace(&format!("{}/", data.parent().unwrap().display()), "")
        .trim_end()
        .to_string()
}

fn features(profile: &Profile) -> BTreeMap<&str, &Feature> {
    let features = profile.features.iter();
    features.map(|it| (it.name.as_str(), it)).collect()
}

fn names(feature: &Feature) -> Vec<Category> {
    match &feature.values {
        Values::Category(categories) => categories.names.clone(),
        Values::Number(_) => panic!("{} has numbers", feature.name),
    }
}

fn write(dir: &Path, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

/// A generator of uniform numbers, the same for every run: splitmix64.
struct Random(u64);

impl Random {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Rows of random numbers, some missing, and a label that is positive as often as the model says.
struct Sample {
    csv: String,
    scores: Vec<f64>,
    positives: u64,
}

fn sample(model: &Revision, rows: usize) -> Sample {
    let mut random = Random(5);
    let width = model.signature.names().len();
    let mut value = || match random.uniform() < 0.05 {
        true => f64::NAN,
        false => (random.uniform() * 400.0).round() / 100.0,
    };
    let values: Vec<f64> = (0..rows * width).map(|_| value()).collect();
    let matrix = Rows::from_f64(values.clone(), width, model.signature.element).unwrap();
    let results_width = model.signature.result_width();
    let mut results = vec![0.0; rows * results_width];
    model.engine.predict(&matrix, &mut results).unwrap();
    let mut sample = Sample {
        csv: format!("paid_at,{},bad\n", model.signature.names().join(",")),
        scores: results.iter().step_by(results_width).copied().collect(),
        positives: 0,
    };
    for (row, score) in values.chunks(width).zip(&sample.scores) {
        let is_bad = random.uniform() < *score;
        sample.positives += u64::from(is_bad);
        sample.csv.push_str("2026-11-25");
        for value in row {
            match value.is_nan() {
                true => sample.csv.push_str(",NA"),
                false => write!(sample.csv, ",{value}").unwrap(),
            }
        }
        writeln!(sample.csv, ",{}", if is_bad { "yes" } else { "no" }).unwrap();
    }
    sample
}

const FRAUD: &str = "examples/fraud-stream/models/fraud/4";
const CHURN: &str = "models/churn-lgbm/1";

#[test]
fn files_of_every_writer_give_the_same_profile() {
    let dir = root().join("tests/data/profile");
    let expected = profile(&dir.join("types.csv"), &[]);
    let expected = features(&expected);
    assert_eq!(expected.len(), 21);
    for (file, columns) in [
        ("arrow", 21),
        ("plain", 21),
        ("spark", 20),
        ("pandas", 8),
        ("polars", 8),
        ("fastparquet", 8),
    ] {
        let got = profile(&dir.join(file).with_extension("parquet"), &[]);
        assert_eq!((got.rows, got.features.len()), (240, columns), "{file}");
        for (name, feature) in features(&got) {
            assert_eq!(feature, expected[name], "{file}");
        }
    }
    let texts = names(expected["text"]);
    assert!(
        texts.contains(&Category::Text("été".to_string())),
        "{texts:?}"
    );
    let Values::Number(day) = &expected["day"].values else {
        panic!("a day is a number");
    };
    assert_eq!(day.range.unwrap()[0], 1_764_547_200_000.0);
    let error = complaint(&dir.join("nested.parquet"), &[]);
    assert!(
        error.starts_with("nested.parquet: column \"tags.list.element\" is nested;"),
        "{error}"
    );
    let rest = profile(&dir.join("nested.parquet"), &["--ignore", "tags,place"]);
    assert_eq!(rest.features.len(), 1);
}

#[test]
fn a_model_counts_the_scores_that_it_serves_and_the_labels() {
    let dir = tempfile::tempdir().unwrap();
    let model = model(FRAUD);
    let sample = sample(&model, 3_000);
    let data = write(dir.path(), "history.csv", &sample.csv);
    let more = ["--model", FRAUD, "--label", "bad"];
    let (found, said) = made(&[&data], &more);
    assert!(
        said.contains("note: no features of the model: paid_at\n"),
        "{said}"
    );
    assert_eq!((found.rows, found.source), (3_000, Source::Training));
    assert_eq!(found.model.as_deref(), Some(model.mark()));
    assert_eq!(found.label.as_deref(), Some("bad"));

    let score = found.score.clone().unwrap();
    let mut counts = vec![0; score.values.counts.len()];
    for it in &sample.scores {
        counts[score.values.edges.partition_point(|edge| edge <= it)] += 1;
    }
    assert_eq!((score.missing, score.values.counts), (0, counts));

    let calibration = found.calibration.clone().unwrap();
    assert!(calibration.edges.contains(&0.5));
    assert_eq!(calibration.rows.iter().sum::<u64>(), 3_000);
    assert_eq!(calibration.positives.iter().sum::<u64>(), sample.positives);
    let at = calibration.edges.iter().position(|it| *it == 0.5).unwrap();
    let below = sample.scores.iter().filter(|it| **it < 0.5).count() as u64;
    assert_eq!(calibration.rows[..=at].iter().sum::<u64>(), below);
    let moved = profile(&data, &[&more[..], &["--threshold", "0.3"]].concat());
    assert!(moved.calibration.unwrap().edges.contains(&0.3));

    let no = profile(&data, &[&more[..], &["--positive", "no"]].concat());
    let positives = no.calibration.unwrap().positives;
    assert_eq!(positives.iter().sum::<u64>(), 3_000 - sample.positives);
    let reference = Reference::of(Ok(found), &model.signature);
    assert_eq!(reference.name(), "ready", "{reference:?}");
    let error = complaint(&data, &["--model", FRAUD, "--label", "amount"]);
    assert_eq!(error, "--label \"amount\" is a feature of the model");
}

#[test]
fn a_number_is_counted_where_the_model_reads_it() {
    let dir = tempfile::tempdir().unwrap();
    const CARDS: &str = "models/fraud-xgb/1";
    let names = model(CARDS).signature.names().to_vec();
    let columns = names.join(",");
    // Of 32 such numbers one is a number of 32 bits.
    let card = |row: u64| 412_345_600 + row;
    let rest = ",1".repeat(names.len() - 1);
    let rows: Vec<String> = (0..500).map(|row| format!("{}{rest}", card(row))).collect();
    let data = write(
        dir.path(),
        "cards.csv",
        format!("{columns}\n{}\n", rows.join("\n")),
    );
    let found = profile(&data, &["--model", CARDS]);
    let Values::Number(numbers) = &found.features[0].values else {
        panic!("{found:?}")
    };
    assert!(numbers.edges.len() > 5, "{numbers:?}");
    let mut counts = vec![0; numbers.counts.len()];
    for row in 0..500 {
        let served = f64::from(card(row) as f32);
        counts[numbers
            .edges
            .partition_point(|edge| f64::from(*edge as f32) <= served)] += 1;
    }
    assert_eq!(numbers.counts, counts);
}

#[test]
fn categories_are_those_of_the_model() {
    let dir = tempfile::tempdir().unwrap();
    let model = model(CHURN);
    let columns = &model.signature.columns;
    let header: Vec<&str> = columns.iter().map(|it| it.name.as_str()).collect();
    let mut csv = format!("{}\n", header.join(","));
    for contract in ["Two year", "Two year", "", "One year", "Five year"] {
        let row = header.iter().map(|name| match *name {
            "Contract" => contract,
            "tenure" => "12",
            _ => "",
        });
        csv.push_str(&row.collect::<Vec<&str>>().join(","));
        csv.push('\n');
    }
    let data = write(dir.path(), "churn.csv", csv);
    let found = profile(&data, &["--model", CHURN]);
    let features = features(&found);
    let text = |it: &str| Category::Text(it.to_string());
    let expected = ["Two year", "Five year", "One year"].map(text);
    assert_eq!(names(features["Contract"]), expected);
    assert_eq!(features["Contract"].missing, 1);
    assert_eq!(names(features["gender"]), []);
    assert!(found.score.is_some() && found.calibration.is_none());
    let reference = Reference::of(Ok(found), &model.signature);
    assert_eq!(reference.name(), "ready", "{reference:?}");
}

#[test]
fn parts_are_read_as_one_and_rows_may_be_few() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let header = "id,plan,amount\n";
    let lines: Vec<String> = (0..3_000)
        .map(|row| format!("{row},{},{}\n", ["a", "b", "7"][row % 3], row % 50))
        .collect();
    let whole = write(dir, "whole.csv", format!("{header}{}", lines.concat()));
    std::fs::create_dir(dir.join("parts")).unwrap();
    let first = write(
        &dir.join("parts"),
        "0.csv",
        format!("{header}{}", lines[..1_500].concat()),
    );
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    write!(gzip, "{header}{}", lines[1_500..].concat()).unwrap();
    let second = write(&dir.join("parts"), "1.csv.gz", gzip.finish().unwrap());
    write(&dir.join("parts"), "_SUCCESS", "");

    let (expected, said) = made(&[&whole], &[]);
    assert!(
        said.contains("note: column \"id\" has no value twice"),
        "{said}"
    );
    let text = |it: &str| Category::Text(it.to_string());
    let found = features(&expected);
    assert_eq!(names(found["plan"]), ["7", "a", "b"].map(text));
    let as_folder = profile(&dir.join("parts"), &[]);
    let as_files = made(&[&first, &second], &[]).0;
    assert_eq!(as_folder, as_files);
    assert_eq!(as_folder.features, expected.features);
    assert_ne!(as_folder.digest, expected.digest);

    let few = profile(&whole, &["--rows", "50", "--ignore", "id,plan"]);
    assert_eq!((few.rows, few.features.len()), (50, 1));
    let wide = profile(&whole, &["--bins", "5", "--ignore", "plan"]);
    let Values::Number(id) = &features(&wide)["id"].values else {
        panic!("an id is a number");
    };
    assert_eq!(id.counts, [600; 5]);
}

#[test]
fn a_profile_is_replaced_and_no_other_file() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let data = write(dir, "data.csv", "a,b\n1,2\n3,\n");
    let output = dir.join("profile.json");
    let to = |path: &Path| ["-o", path.to_str().unwrap()].map(str::to_string);
    let written = |more: &[&str]| {
        let to = to(&output);
        let more = [&[to[0].as_str(), to[1].as_str()], more].concat();
        let output = run(&[&data], &more);
        let said = String::from_utf8(output.stderr).unwrap();
        (output.status.success(), output.stdout, said)
    };
    let (ok, table, said) = written(&[]);
    assert!(ok && said.is_empty(), "{said}");
    let table = String::from_utf8(table).unwrap();
    assert!(
        table.contains("\nb        number       3   50.0 %  always 2\n"),
        "{table}"
    );
    assert!(table.contains("\n2 rows\nwritten to "), "{table}");
    let first = std::fs::read(&output).unwrap();
    assert_eq!(Profile::parse(&first).unwrap().rows, 2);

    let (ok, json, said) = written(&["--json", "--rows", "1"]);
    assert!(ok, "{said}");
    let json: Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(json["rows"], 1);
    assert_eq!(json["features"][1]["name"], "b");
    assert_ne!(std::fs::read(&output).unwrap(), first);

    std::fs::write(&output, "precious").unwrap();
    let (ok, _, said) = written(&[]);
    assert!(!ok && said.contains("is there and no profile"), "{said}");
    assert_eq!(std::fs::read(&output).unwrap(), b"precious");
    assert!(written(&["--force"]).0);
    assert_eq!(std::fs::read(&output).unwrap(), first);
    let left = std::fs::read_dir(dir).unwrap().count();
    assert_eq!(left, 2, "nothing but the data and the profile");
    let nowhere = to(&dir.join("none/profile.json"));
    let error = complaint(&data, &[&nowhere[0], &nowhere[1]]);
    assert_eq!(error, "none: no such folder");
    let error = complaint(&data, &["-o", dir.to_str().unwrap()]);
    assert!(error.contains("is a folder; expected a file"), "{error}");
}

#[test]
fn a_dash_is_standard_output_and_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let data = write(dir.path(), "data.csv", "a,b\n1,2\n3,\n");
    let run = |more: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_hedgerow"))
            .args(["profile", "data.csv", "-o", "-"])
            .args(more)
            .current_dir(dir.path())
            .output()
            .unwrap()
    };
    let output = run(&[]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && said.contains("2 rows"), "{said}");
    assert_eq!(output.stdout, self::run(&[&data], &[]).stdout);
    assert_eq!(Profile::parse(&output.stdout).unwrap().rows, 2);
    let refused = run(&["--json"]);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        refused.stdout.is_empty() && said.contains("--json"),
        "{said}"
    );
    let left = std::fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(left, 1, "nothing but the data");
}

#[test]
fn what_is_wrong_with_data_is_said_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let said = |name: &str, bytes: &[u8], more: &[&str]| complaint(&write(dir, name, bytes), more);
    let model = ["--model", FRAUD];
    for (bytes, more, expected) in [
        (
            &b""[..],
            &[][..],
            "d.csv: no header; expected names of columns",
        ),
        (b"a,b\n", &[], "d.csv: no rows"),
        (b"a,a\n1,2\n", &[], "d.csv: column \"a\" appears twice"),
        (
            b"a,b\n1,2\n3\n",
            &[],
            "d.csv:3: 1 fields; expected 2, as in the header",
        ),
        (b"a\n1\n\xff\xfe\n", &[], "d.csv:3: not UTF-8"),
        (
            b"is_fraud,a\n1,2\n",
            &["--label", "is_frud"],
            "d.csv: no column \"is_frud\", the label; did you mean \"is_fraud\"?",
        ),
        (
            b"a,b\n1,2\n",
            &["--ignore", "zzz"],
            "d.csv: no column \"zzz\", which is to be ignored; it has a, b",
        ),
        (
            b"a\n1\n",
            &["--ignore", "a"],
            "d.csv: no column is a feature",
        ),
        (
            b"amout,b\n1,2\n",
            &model,
            "d.csv: no column \"amount\", a feature of the model; did you mean \"amout\"?",
        ),
        (b"\x1f\x8bnot gzip", &[], "d.csv: invalid gzip header"),
    ] {
        assert_eq!(said("d.csv", bytes, more), expected);
    }
    let huge = [b"a\n\"".as_slice(), &vec![b'x'; 20 << 20]].concat();
    let error = said("d.csv", &huge, &[]);
    assert!(
        error.contains("is there a quote that is never closed?"),
        "{error}"
    );
    let missing = complaint(&dir.join("missing.csv"), &[]);
    assert!(
        missing.starts_with("missing.csv: No such file"),
        "{missing}"
    );

    let names = self::model(FRAUD).signature.names().join(",");
    let row = |amount: &str| format!("{amount}{}\n", ",1".repeat(13));
    let text = format!("{names}\n{}{}", row("5"), row("much"));
    assert_eq!(
        said("d.csv", text.as_bytes(), &model),
        "d.csv:3: column \"amount\": expected a number, got \"much\""
    );
    let text = format!("{names}\n{}{}", row("5"), row("1e300"));
    assert_eq!(
        said("d.csv", text.as_bytes(), &model),
        "row 2 of the data: feature \"amount\": the number does not fit a 32-bit float"
    );
    let text = format!("{names},y\n{},2\n", row("5").trim_end());
    let label = [&model[..], &["--label", "y"]].concat();
    assert_eq!(
        said("d.csv", text.as_bytes(), &label),
        "d.csv:2: column \"y\": expected a label of 0 or 1, got \"2\"; --positive names the \
         positive one"
    );
}

#[test]
fn a_broken_parquet_file_is_refused_and_never_a_panic() {
    let dir = tempfile::tempdir().unwrap();
    let whole = std::fs::read(root().join("tests/data/profile/pandas.parquet")).unwrap();
    let mut files: Vec<Vec<u8>> = (0..12)
        .map(|part| whole[..whole.len() * part / 12].to_vec())
        .skip(1)
        .collect();
    let mut random = Random(9);
    files.extend((0..60).map(|_| {
        let mut bytes = whole.clone();
        for _ in 0..3 {
            let place = (random.uniform() * bytes.len() as f64) as usize;
            bytes[place] = (random.uniform() * 256.0) as u8;
        }
        bytes
    }));
    let mut refused = 0;
    for bytes in files {
        let data = write(dir.path(), "d.parquet", bytes);
        let output = run(&[&data], &[]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(matches!(output.status.code(), Some(0 | 1)), "{said}");
        assert!(!said.contains("panicked"), "{said}");
        refused += usize::from(output.status.code() == Some(1));
        assert!(
            said.contains("d.parquet: ") || output.status.success(),
            "{said}"
        );
    }
    assert!(refused >= 11 + 20, "{refused}");
    let wrong = write(dir.path(), "d.parquet", b"PAR1 is not enough");
    assert!(complaint(&wrong, &[]).starts_with("d.parquet: not a Parquet file: "));
}

#[test]
fn the_profiles_of_the_examples_are_their_models() {
    for dir in [
        "examples/fraud-stream/models/fraud/1",
        "examples/fraud-stream/models/fraud/2",
        "examples/fraud-stream/models/fraud/3",
        FRAUD,
    ] {
        let model = model(dir);
        assert_eq!(
            model.reference.name(),
            "ready",
            "{dir}: {:?}",
            model.reference
        );
        let profile = model.reference.profile().unwrap();
        assert_eq!(profile.model.as_deref(), Some(model.mark()), "{dir}");
        assert!(profile.score.is_some(), "{dir}");
    }
}
