//! `hedgerow replay`: the better model is promoted, an equal one is held, and what is wrong with a file
//! is said with its place. Runs the binary.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use hedgerow::config::Config;
use hedgerow::model::artifact::Artifact;
use hedgerow::model::revision::{self, Revision};
use hedgerow::tensor::Rows;
use serde_json::Value;

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

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn model(dir: &str) -> Revision {
    let settings = Config::default().revision;
    let artifact = Artifact::read(&root().join(dir), settings.bytes_max).unwrap();
    revision::prepare("test", 1, artifact, &settings).unwrap()
}

/// Rows of random features, each with the label that `label` makes of the model's scores: then the
/// model is as good as any can be.
fn write_csv(path: &Path, truth: &Revision, rows: usize, label: fn(&[f64], &mut Random) -> f64) {
    let mut random = Random(7);
    let names = truth.signature.names();
    let mut values: Vec<f64> = (0..rows * names.len())
        .map(|_| random.uniform() * 4.0 - 2.0)
        .collect();
    // As they will be read, and some of them missing.
    for value in values.iter_mut() {
        *value = match random.uniform() < 0.02 {
            true => f64::NAN,
            false => (*value * 1000.0).round() / 1000.0,
        };
    }
    let width = truth.signature.result_width();
    let mut results = vec![0.0; rows * width];
    let matrix = Rows::from_f64(values.clone(), names.len(), truth.signature.element).unwrap();
    truth.engine.predict(&matrix, &mut results).unwrap();
    let output = truth
        .signature
        .outputs
        .iter()
        .find(|output| output.default)
        .unwrap();
    let mut text = format!("{},label\n", names.join(","));
    for (row, results) in values.chunks(names.len()).zip(results.chunks(width)) {
        for value in row {
            match value.is_nan() {
                true => text.push_str("NaN,"),
                false => write!(text, "{value},").unwrap(),
            }
        }
        let scores = &results[output.offset..output.offset + output.len()];
        writeln!(text, "{}", label(scores, &mut random)).unwrap();
    }
    std::fs::write(path, text).unwrap();
}

fn replay(data: &Path, champion: &str, challenger: &str, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hedgerow"))
        .arg("replay")
        .arg("--data")
        .arg(data)
        .args(["--champion", champion, "--challenger", challenger])
        .args(more)
        .current_dir(root())
        .output()
        .unwrap()
}

fn account(data: &Path, champion: &str, challenger: &str, more: &[&str]) -> Value {
    let output = replay(data, champion, challenger, &[&["--json"], more].concat());
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
    assert_eq!(complaint, "", "no terminal, no progress");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The first line of what a replay complains of.
fn complaint(data: &Path, champion: &str, challenger: &str, more: &[&str]) -> String {
    let output = replay(data, champion, challenger, more);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let text = String::from_utf8(output.stderr).unwrap();
    let text = text.replace(&format!("{}/", data.parent().unwrap().display()), "");
    text.lines().next().unwrap_or_default().to_string()
}

const FRAUD: &str = "models/fraud-xgb/1";
const BETTER: &str = "examples/fraud-xgb-2";
/// An hour each, so that the trial lasts as long as the policy wants.
const SLOWLY: [&str; 2] = ["--rows-per-hour", "60"];

#[test]
fn the_better_of_two_binary_models_is_promoted() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("labelled.csv");
    write_csv(&data, &model(BETTER), 4000, |scores, random| {
        f64::from(u8::from(random.uniform() < scores[0]))
    });
    let policy = dir.path().join("policy.toml");
    let text = "[slots.fraud.rollout]\nlatency_ratio_max = 0\nstages = [\"shadow\", \"10%\", \"full\"]\n\
                gates = [\"auc > 0\"]\ncost_false_positive = 5.0\ncost_false_negative = 10.0\n";
    std::fs::write(&policy, text).unwrap();
    let plot = dir.path().join("plot.svg");
    let [policy, plot] = [policy.to_str().unwrap(), plot.to_str().unwrap()];
    let more = [
        "--policy",
        policy,
        "--slot",
        "fraud",
        "--plot",
        plot,
        "--labels-delay",
        "2h",
    ];
    let more = [more.as_slice(), &SLOWLY].concat();

    let promoted = account(&data, FRAUD, BETTER, &more);
    assert_eq!(promoted["outcome"], "promoted", "{promoted}");
    let steps = promoted["steps"].as_array().unwrap();
    let stages: Vec<&Value> = steps.iter().map(|step| &step["to"]).collect();
    assert_eq!(stages, ["10%", "full"]);
    // 2,000 labels are the default's minimum; the first share lasts an hour, and a look is 100 rows.
    assert_eq!(
        (steps[0]["labels"].as_u64(), steps[1]["labels"].as_u64()),
        (Some(2000), Some(2100))
    );
    // 2,100 rows at 60 an hour, the last one's label two hours later.
    assert_eq!(steps[1]["after_ms"], 2_099 * 60_000 + 2 * 3_600_000);
    assert_eq!(promoted["rollback"]["reason"], Value::Null);
    // Rows since the promotion, which is 120 rows after the last label's row.
    assert_eq!(promoted["rollback"]["labels"], 4000 - 2_219);
    assert!(promoted["money"]["since_promotion"].as_f64().unwrap() > 0.0);
    assert!(promoted["money"]["against_waiting"].as_f64().unwrap() > 0.0);
    let svg = std::fs::read_to_string(plot).unwrap();
    assert!(
        svg.starts_with("<svg") && svg.contains("auc &gt; 0") && svg.contains(">promoted after")
    );

    let back = account(&data, BETTER, FRAUD, &more);
    assert_eq!(back["outcome"], "dismissed", "{back}");
    assert_eq!(back["last"]["findings"][0]["verdict"], "fail");
    let same = account(&data, BETTER, BETTER, &more);
    assert_eq!(same["outcome"], "held", "{same}");

    let page = replay(&data, FRAUD, BETTER, &more);
    let page = String::from_utf8(page.stdout).unwrap();
    assert!(
        page.contains("\ndecision      promoted after 1 d 12 h on 2,100 labels"),
        "{page}"
    );
}

#[test]
fn regressions_and_classes_are_compared_too() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("labelled.csv");
    let noisy = |scores: &[f64], random: &mut Random| scores[0] + random.uniform() - 0.5;
    write_csv(&data, &model("tests/golden/lgb-deep"), 2400, noisy);
    let [poor, good] = ["tests/golden/lgb-l1", "tests/golden/lgb-deep"];
    let promoted = account(&data, poor, good, &SLOWLY);
    assert_eq!(promoted["outcome"], "promoted", "{promoted}");
    assert_eq!(promoted["policy"]["gates"][0], "squared_error > 0");
    assert_eq!(promoted["money"], Value::Null);

    let drawn = |scores: &[f64], random: &mut Random| {
        let mut left = random.uniform();
        let taken = scores.iter().position(|score| {
            left -= score;
            left < 0.0
        });
        taken.unwrap_or(scores.len() - 1) as f64
    };
    write_csv(&data, &model("tests/golden/xgb-softprob"), 2400, drawn);
    let [poor, good] = [
        "tests/golden/xgb-forest-softprob",
        "tests/golden/xgb-softprob",
    ];
    let promoted = account(&data, poor, good, &SLOWLY);
    assert_eq!(promoted["outcome"], "promoted", "{promoted}");
    assert_eq!(promoted["policy"]["gates"][0], "log_loss > 0");
    let unlike = complaint(&data, good, "tests/golden/lgb-l1", &[]);
    assert!(
        unlike.starts_with("the champion gives 3 scores for a row, the challenger 1"),
        "{unlike}"
    );
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("d.csv");
    let [one, two] = ["tests/golden/xgb-binary", "tests/golden/xgb-dart"];
    let header = "alpha,beta,gamma,delta,epsilon,zeta";
    let check = |text: &str, more: &[&str], expected: &str| {
        std::fs::write(&data, text).unwrap();
        let got = complaint(&data, one, two, more);
        assert!(got.contains(expected), "{got}\nexpected {expected}");
    };
    check("", &[], "d.csv: no header");
    check(&format!("{header},label\n"), &[], "d.csv: no rows");
    check(
        &format!("{header}\n1,2,3,4,5,6\n"),
        &[],
        "d.csv: no column \"label\", the label (--label",
    );
    check(
        "alpha,label\n1,2\n",
        &[],
        "d.csv: no column \"beta\", a feature of the champion",
    );
    check(
        &format!("{header},note,label\n"),
        &[],
        "\"note\" is no feature of champion or challenger",
    );
    check(
        &format!("{header},label\n"),
        &["--time", "at"],
        "no column \"at\", the time",
    );
    let row = |label: &str| format!("{header},label\n1,,NaN,4,5,6,1\n1,2,3,4,5,6,{label}\n");
    check(
        &row("maybe"),
        &[],
        "d.csv:3: label \"label\": expected 0 or 1, got \"maybe\"",
    );
    check(
        &row(""),
        &[],
        "d.csv:3: label \"label\": expected 0 or 1, got nothing",
    );
    check(
        &row("1,1"),
        &[],
        "d.csv:3: 8 fields; expected 7, as in the header",
    );
    let text = row("1").replace("1,2,3", "1,x,3");
    check(
        &text,
        &[],
        "d.csv:3: feature \"beta\": expected a number, got a string",
    );
    let timed = row("1")
        .replace("zeta,label", "zeta,label,at")
        .replace("6,1\n", "6,1,soon\n");
    check(
        &timed,
        &["--time", "at"],
        "d.csv:2: time \"at\": expected a time such as",
    );
    check(
        &row("1"),
        &["--labels-delay", "8d"],
        "labels come after 8 d, and rollout.label_horizon is 7 d",
    );
    check(&row("1"), &["--policy", "missing.toml"], "missing.toml");
}

#[test]
fn missing_folders_and_files_are_named_and_columns_can_be_ignored() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("d.csv");
    let [one, two] = ["tests/golden/xgb-binary", "tests/golden/xgb-dart"];
    let header = "alpha,beta,gamma,delta,epsilon,zeta";
    let missing = complaint(&data, "nowhere", two, &[]);
    assert_eq!(
        missing,
        "nowhere: no such folder; expected that of a revision"
    );
    let missing = complaint(&dir.path().join("none.csv"), one, two, &[]);
    assert!(missing.starts_with("none.csv: "), "{missing}");
    let ignored = format!("{header},note,label\n1,2,3,4,5,6,x,1\n");
    std::fs::write(&data, ignored).unwrap();
    let held = account(&data, one, two, &["--ignore", "note"]);
    assert_eq!(held["outcome"], "held");
}

/// The sample of HIGGS behind examples/replay, as its train.py writes it, but without times.
fn higgs(dir: &Path, header: &str) -> Option<PathBuf> {
    let folder = root().join("../shared/data/lightgbm/examples/binary_classification");
    let train = std::fs::read_to_string(folder.join("binary.train")).ok()?;
    let test = std::fs::read_to_string(folder.join("binary.test")).ok()?;
    let mut text = format!("label,{header}\n");
    for line in train.lines().skip(2500).chain(test.lines()) {
        text.push_str(&line.replace('\t', ","));
        text.push('\n');
    }
    let path = dir.join("higgs.csv");
    std::fs::write(&path, text).unwrap();
    Some(path)
}

#[test]
fn the_example_promotes_the_better_and_holds_the_equal() {
    let dir = tempfile::tempdir().unwrap();
    let [champion, challenger, reseeded] =
        ["champion", "challenger", "reseeded"].map(|it| format!("examples/replay/{it}"));
    let header = model(&champion).signature.names().join(",");
    let Some(data) = higgs(dir.path(), &header) else {
        println!("skipped: no ../shared/data/lightgbm");
        return;
    };
    let more = [
        "--policy",
        "examples/replay/policy.toml",
        "--rows-per-hour",
        "20",
    ];
    let outcome = |one: &str, two: &str| account(&data, one, two, &more)["outcome"].clone();
    assert_eq!(outcome(&champion, &challenger), "promoted");
    assert_eq!(outcome(&challenger, &champion), "dismissed");
    assert_eq!(outcome(&challenger, &challenger), "held");
    assert_eq!(outcome(&challenger, &reseeded), "held");
}
