//! Files are read back by the crate's own reader; the real clients' tests read them with others.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use tempfile::TempDir;

use super::columns::{Cell, Features, Kind, Schema};
use super::exporter::Exporter;
use super::log::{self, Limits, Log};
use super::rows::{self, Row};
use super::*;
use crate::journal::lease;
use crate::journal::outcomes::{Closing, mature};
use crate::journal::predictions::Prediction;
use crate::journal::tests::{HOUR, NOW, Place, label, on_both, prediction, put, write};

const DAY: i64 = 24 * HOUR;

/// A file's rows, by column.
type Table = Vec<BTreeMap<String, Field>>;

fn table(path: &Path) -> Table {
    let reader = SerializedFileReader::new(fs::File::open(path).unwrap()).unwrap();
    let rows = reader.get_row_iter(None).unwrap().map(Result::unwrap);
    rows.map(|row| row.into_columns().into_iter().collect())
        .collect()
}

fn column_names(path: &Path) -> Vec<String> {
    let reader = SerializedFileReader::new(fs::File::open(path).unwrap()).unwrap();
    let schema = reader.metadata().file_metadata().schema_descr_ptr();
    let columns = schema.columns().iter();
    columns.map(|column| column.name().to_string()).collect()
}

/// Everything in the folder, in order of the names.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(dir)
        .map(|all| all.map(|entry| entry.unwrap().path()).collect())
        .unwrap_or_default();
    found.sort();
    found
}

/// All rows of all files.
fn all(dir: &Path) -> Table {
    files(dir).iter().flat_map(|path| table(path)).collect()
}

fn text(value: &str) -> Field {
    Field::Str(value.to_string())
}

fn row(number: i64, features: &str, scores: &[f64]) -> Row {
    Row {
        number,
        id: uuid::Uuid::from_u128(7),
        row: 0,
        at_ms: NOW,
        revision: 3,
        digest: "0123456789abcdef".to_string(),
        scores: scores.to_vec(),
        features: serde_json::from_str(features).unwrap(),
        outcome: None,
    }
}

const ANY: Limits = Limits {
    rows: u64::MAX,
    bytes: u64::MAX,
};

/// Rows in one file, read back.
fn written(rows: &[Row], threshold: Option<f64>) -> Table {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("log.parquet");
    let mut log = Log::new("fraud", Target::File(path.clone()), ANY);
    assert_eq!(log.take(rows, threshold).unwrap(), rows.len());
    log.finish().unwrap();
    table(&path)
}

fn with(at_ms: i64, features: &str) -> Prediction {
    Prediction {
        features: Some(features.to_string()),
        ..prediction(at_ms)
    }
}

/// Runs an export of `fraud` by looks, on a running journal.
struct Site {
    journal: Journal,
    supervisor: Supervisor,
    dir: TempDir,
}

impl Site {
    fn new(place: &Place) -> Site {
        let supervisor = Supervisor::default();
        Site {
            journal: place.start(&supervisor),
            supervisor,
            dir: TempDir::new().unwrap(),
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    fn exporter(&self, change: impl FnOnce(&mut Settings)) -> (Exporter, Arc<Progress>) {
        let mut settings = Settings {
            dir: Some(self.path()),
            rotate_ms: 0,
            ..Settings::default()
        };
        change(&mut settings);
        let progress = Arc::new(Progress::default());
        let slots = || {
            vec![Watched {
                slot: "fraud".to_string(),
                threshold: Some(0.5),
            }]
        };
        let mut exporter = Exporter::new(
            self.path(),
            settings,
            self.journal.clone(),
            Box::new(slots),
            Arc::clone(&progress),
        );
        exporter.settle = std::time::Duration::ZERO;
        (exporter, progress)
    }

    fn append(&self, rows: Vec<Prediction>) {
        self.journal
            .run_blocking(move |store| {
                write(store, &rows);
                Ok(())
            })
            .unwrap();
    }

    fn cursor(&self) -> i64 {
        let cursor = self
            .journal
            .run_blocking(|store| rows::cursor(store, "fraud"));
        cursor.unwrap()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.supervisor.stop();
    }
}

/// Looks until nothing more is due, without the time that numbers take to settle; the first look only
/// learns which they are.
fn look(exporter: &mut Exporter) {
    for _ in 0..2 {
        while exporter.look().unwrap() {}
    }
}

#[test]
fn columns_are_in_their_order_with_their_values() {
    let mut one = row(9, r#"{"amount":12.5,"land":"DE","größe":null}"#, &[0.75]);
    one.row = 2;
    one.outcome = Some((1.0, NOW + HOUR));
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("log.parquet");
    let mut log = Log::new("fraud", Target::File(path.clone()), ANY);
    log.take(
        &[
            one,
            row(10, r#"{"amount":null,"land":null,"größe":-1}"#, &[f64::NAN]),
        ],
        Some(0.5),
    )
    .unwrap();
    log.finish().unwrap();
    let expected = [
        "prediction_id",
        "ts",
        "model",
        "version",
        "slot",
        "revision_mark",
        "amount",
        "land",
        "größe",
        "prediction",
        "prediction_label",
        "target",
        "label_ts",
    ];
    assert_eq!(column_names(&path), expected);
    let rows = table(&path);
    let id = "00000000-0000-0000-0000-000000000007";
    for (column, first, second) in [
        ("prediction_id", text(&format!("{id}.2")), text(id)),
        (
            "ts",
            Field::TimestampMillis(NOW),
            Field::TimestampMillis(NOW),
        ),
        ("model", text("fraud"), text("fraud")),
        ("version", text("3"), text("3")),
        ("slot", text("fraud"), text("fraud")),
        (
            "revision_mark",
            text("0123456789abcdef"),
            text("0123456789abcdef"),
        ),
        ("amount", Field::Double(12.5), Field::Null),
        ("land", text("DE"), Field::Null),
        ("größe", Field::Null, Field::Double(-1.0)),
        ("prediction", Field::Double(0.75), Field::Null),
        ("prediction_label", Field::Long(1), Field::Null),
        ("target", Field::Double(1.0), Field::Null),
        ("label_ts", Field::TimestampMillis(NOW + HOUR), Field::Null),
    ] {
        assert_eq!(rows[0][column], first, "{column}");
        assert_eq!(rows[1][column], second, "{column}");
    }
}

#[test]
fn a_binary_label_follows_the_threshold_and_a_regression_has_none() {
    let rows = [
        row(1, "{}", &[0.3]),
        row(2, "{}", &[0.2999]),
        row(3, "{}", &[f64::INFINITY]),
    ];
    let labels = |threshold| -> Vec<Field> {
        let table = written(&rows, threshold);
        table
            .iter()
            .map(|it| it["prediction_label"].clone())
            .collect()
    };
    assert_eq!(
        labels(Some(0.3)),
        [Field::Long(1), Field::Long(0), Field::Long(1)]
    );
    assert_eq!(labels(None), [Field::Null, Field::Null, Field::Null]);
    assert_eq!(
        written(&rows, None)[2]["prediction"],
        Field::Double(f64::INFINITY)
    );
}

#[test]
fn classes_have_a_column_each_and_the_label_is_the_best() {
    let rows = written(
        &[
            row(1, r#"{"prediction_1":5}"#, &[0.2, 0.7, 0.1]),
            row(2, r#"{"prediction_1":6}"#, &[f64::NAN, 0.5, 0.5]),
            row(3, r#"{"prediction_1":7}"#, &[f64::NAN; 3]),
        ],
        Some(0.5),
    );
    assert_eq!(rows[0]["prediction"], Field::Double(0.7));
    assert_eq!(rows[0]["prediction_label"], Field::Long(1));
    assert_eq!(rows[0]["prediction_0"], Field::Double(0.2));
    assert_eq!(rows[0]["prediction_2"], Field::Double(0.1));
    assert_eq!(rows[0]["feature_prediction_1"], Field::Double(5.0));
    assert_eq!(rows[1]["prediction_label"], Field::Long(1));
    assert_eq!(rows[2]["prediction"], Field::Null);
    assert_eq!(rows[2]["prediction_label"], Field::Null);
}

#[test]
fn infinities_come_back_as_numbers_and_categories_as_they_are() {
    let rows = written(
        &[
            row(1, r#"{"x":"inf","c":null}"#, &[0.0]),
            row(2, r#"{"x":"-inf","c":"inf"}"#, &[0.0]),
            row(3, r#"{"x":0.1,"c":"7"}"#, &[0.0]),
        ],
        None,
    );
    let of = |column: &str| -> Vec<Field> { rows.iter().map(|it| it[column].clone()).collect() };
    let infinities = [f64::INFINITY, f64::NEG_INFINITY, 0.1].map(Field::Double);
    assert_eq!(of("x"), infinities);
    assert_eq!(of("c"), [Field::Null, text("inf"), text("7")]);
}

#[test]
fn a_feature_never_has_the_name_of_another_column() {
    let features = |names: &[&str]| Schema {
        features: names
            .iter()
            .map(|it| (it.to_string(), Kind::Number))
            .collect(),
        classes: 2,
    };
    for (names, columns) in [
        (vec!["target", "amount"], vec!["feature_target", "amount"]),
        (vec!["TS", "Ts"], vec!["feature_TS", "feature_Ts"]),
        (
            vec!["slot", "feature_slot", "prediction_1"],
            vec![
                "feature_feature_slot",
                "feature_slot",
                "feature_prediction_1",
            ],
        ),
        (vec!["prediction_2", ""], vec!["prediction_2", ""]),
    ] {
        assert_eq!(features(&names).columns(), columns);
    }
}

#[test]
fn other_features_begin_another_file() {
    let dir = TempDir::new().unwrap();
    let limits = Limits {
        rows: 100,
        bytes: u64::MAX,
    };
    let mut log = Log::new("fraud", Target::Folder(dir.path().to_path_buf()), limits);
    let rows = [
        row(1, r#"{"a":1}"#, &[0.1]),
        row(2, r#"{"a":1,"b":2}"#, &[0.2]),
        row(3, r#"{"a":3}"#, &[0.3]),
        row(4, r#"{"a":"x"}"#, &[0.4]),
        row(5, r#"{"a":3}"#, &[0.5, 0.5]),
        row(6, r#"{"a":null}"#, &[0.6]),
        row(7, r#"{"z":1}"#, &[0.7]),
    ];
    assert_eq!(log.take(&rows, None).unwrap(), 6, "a fifth file waits");
    assert_eq!(log.finish().unwrap().files, 4);
    assert_eq!(log.take(&rows[6..], None).unwrap(), 1);
    log.finish().unwrap();
    let counts: Vec<usize> = files(dir.path()).iter().map(|it| table(it).len()).collect();
    assert_eq!(counts, [3, 1, 1, 1, 1]);

    let path = dir.path().join("one.parquet");
    let mut one = Log::new("fraud", Target::File(path.clone()), ANY);
    let reason = one.take(&rows, None).unwrap_err().to_string();
    assert!(reason.contains("rows have other columns"), "{reason}");
    drop(one);
    assert!(!path.exists() && !names::part(&path).exists());
}

#[test]
fn what_a_column_holds_is_said_by_later_rows_or_earlier_files() {
    let missing = row(1, r#"{"c":null}"#, &[0.0]);
    let later = [row(2, r#"{"c":"DE"}"#, &[0.0])];
    let kind = |later: &[Row], known: &[&Schema]| Schema::of(&missing, later, known).features[0].1;
    assert_eq!(kind(&[], &[]), Kind::Number);
    assert_eq!(kind(&later, &[]), Kind::Text);
    let known = Schema::of(&later[0], &[], &[]);
    assert_eq!(kind(&[], &[&known]), Kind::Text);
    let mut other = later[0].clone();
    other.digest = "another".to_string();
    assert_eq!(kind(&[other], &[]), Kind::Number);
}

#[test]
fn features_keep_their_order() {
    let features: Features = serde_json::from_str(r#"{"z":1,"a":"x","m":null}"#).unwrap();
    let expected = [
        ("z".to_string(), Some(Cell::Number(1.0))),
        ("a".to_string(), Some(Cell::Text("x".to_string()))),
        ("m".to_string(), None),
    ];
    assert_eq!(features.0, expected);
    assert!(serde_json::from_str::<Features>("[1]").is_err());
    assert!(serde_json::from_str::<Features>(r#"{"a":[1]}"#).is_err());
}

#[test]
fn each_row_leaves_once_when_it_is_old_enough_with_its_present_outcome() {
    on_both(|place| {
        let site = Site::new(place);
        let now = crate::serve::record::now_ms();
        let old = with(now - 2 * DAY, r#"{"a":1}"#);
        let young = with(now - HOUR, r#"{"a":3}"#);
        let mut other = with(now - 2 * DAY, r#"{"a":4}"#);
        other.slot = "churn".to_string();
        site.append(vec![
            old.clone(),
            other,
            prediction(now - 2 * DAY),
            with(now - 2 * DAY, r#"{"a":2}"#),
            young,
            with(now - 2 * DAY, r#"{"a":5}"#),
        ]);
        let labelled = old.clone();
        site.journal
            .run_blocking(move |store| {
                put(store, &label(&labelled, 0.0), now - 2 * DAY);
                put(store, &label(&labelled, 1.0), now - 2 * DAY + 5);
                Ok(())
            })
            .unwrap();
        let (mut exporter, progress) = site.exporter(|_| {});
        assert!(!exporter.look().unwrap());
        assert!(files(&site.path()).is_empty(), "nothing is settled yet");
        look(&mut exporter);
        let rows = all(&site.path());
        let features: Vec<Field> = rows.iter().map(|row| row["a"].clone()).collect();
        assert_eq!(features, [Field::Double(1.0), Field::Double(2.0)]);
        assert_eq!(rows[0]["target"], Field::Double(1.0), "the correction");
        assert_eq!(
            rows[0]["label_ts"],
            Field::TimestampMillis(now - 2 * DAY + 5)
        );
        assert_eq!(rows[1]["target"], Field::Null);
        assert_eq!(rows[0]["prediction_id"], text(&old.id.to_string()));
        assert_eq!(site.cursor(), 4);
        let counts = progress.all()[0].1.clone();
        assert_eq!(
            (counts.rows(), counts.files(), counts.failures()),
            (2, 1, 0)
        );

        // Another process goes on where this one stopped; the young row is old now.
        drop(exporter);
        site.journal
            .run_blocking(|store| store.execute("DELETE FROM lease", &[]))
            .unwrap();
        let (mut next, _) = site.exporter(|settings| settings.wait_ms = 0);
        look(&mut next);
        let features: Vec<Field> = all(&site.path())
            .iter()
            .map(|row| row["a"].clone())
            .collect();
        assert_eq!(features, [1.0, 2.0, 3.0, 5.0].map(Field::Double));
        look(&mut next);
        assert_eq!(files(&site.path()).len(), 2, "an empty log writes no files");
    });
}

#[test]
fn an_outcome_by_absence_is_a_target() {
    let place = Place::sqlite();
    let site = Site::new(&place);
    site.append(vec![with(NOW - 2 * DAY, r#"{"a":1}"#)]);
    let closing = Closing {
        slot: "fraud",
        before_ms: NOW,
        now_ms: NOW,
        absent: Some(0.0),
        limit: 10,
    };
    site.journal
        .run_blocking(move |store| mature(store, closing))
        .unwrap();
    let (mut exporter, _) = site.exporter(|settings| settings.wait_ms = 0);
    look(&mut exporter);
    assert_eq!(all(&site.path())[0]["target"], Field::Double(0.0));
    assert_eq!(
        all(&site.path())[0]["label_ts"],
        Field::TimestampMillis(NOW)
    );
}

#[test]
fn files_are_full_by_rows_and_by_bytes_and_old_by_time() {
    let place = Place::sqlite();
    let site = Site::new(&place);
    let rows = |from: i64| -> Vec<Prediction> {
        let each = from..from + 10;
        each.map(|it| with(NOW - DAY * 2 + it, &format!("{{\"a\":{it}}}")))
            .collect()
    };
    site.append(rows(0));
    let (mut exporter, _) = site.exporter(|settings| {
        settings.rotate_ms = 1 << 40;
        settings.rotate_rows = 4;
        settings.files_max = 2;
    });
    look(&mut exporter);
    // Two full files of the ten rows; the last two rows wait in one that is not complete.
    let names: Vec<String> = files(&site.path())
        .iter()
        .map(|it| it.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    assert_eq!(names.len(), 3, "{names:?}");
    assert!(
        names[0].ends_with("-1.parquet") && names[1].ends_with("-5.parquet"),
        "{names:?}"
    );
    assert!(names[2].ends_with("-9.parquet.part"), "{names:?}");
    assert_eq!(site.cursor(), 8);
    site.append(rows(10));
    look(&mut exporter);
    let complete = names::complete(&site.path(), "fraud").unwrap();
    let kept: Vec<usize> = complete.iter().map(|it| table(it).len()).collect();
    assert_eq!(kept, [4, 4], "the newest two");
    assert_eq!(site.cursor(), 20);
    drop(exporter);

    let mut small = Log::new(
        "fraud",
        Target::Folder(site.path()),
        Limits {
            rows: u64::MAX,
            bytes: 1000,
        },
    );
    let rows: Vec<Row> = (0..100)
        .map(|it| row(1000 + it, r#"{"a":1}"#, &[0.0]))
        .collect();
    let taken = small.take(&rows, None).unwrap();
    assert!((2..50).contains(&taken), "{taken}");
    assert!(small.is_full());
}

#[test]
fn a_crash_loses_no_row_and_writes_none_twice() {
    on_both(|place| {
        let site = Site::new(place);
        let rows: Vec<Prediction> = (0..6)
            .map(|it| with(NOW - 2 * DAY + it, &format!("{{\"a\":{it}}}")))
            .collect();
        site.append(rows[..4].to_vec());
        let (mut first, _) = site.exporter(|_| {});
        look(&mut first);
        assert_eq!(site.cursor(), 4);
        drop(first);
        // The file is complete, and the cursor was not moved yet; another file was begun.
        let begun = site.path().join("fraud-20260101T000000-5.parquet.part");
        fs::write(&begun, "PAR1").unwrap();
        let foreign = site.path().join("fraud-eu-20260101T000000-5.parquet.part");
        fs::write(&foreign, "PAR1").unwrap();
        site.journal
            .run_blocking(|store| {
                store.execute("DELETE FROM counter WHERE name = 'export/fraud'", &[])?;
                store.execute("DELETE FROM lease", &[])
            })
            .unwrap();
        site.append(rows[4..].to_vec());
        let (mut second, _) = site.exporter(|_| {});
        look(&mut second);
        assert!(!begun.exists() && foreign.exists());
        fs::remove_file(foreign).unwrap();
        let found: Vec<Field> = all(&site.path())
            .iter()
            .map(|row| row["a"].clone())
            .collect();
        assert_eq!(found, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0].map(Field::Double));
        assert_eq!(files(&site.path()).len(), 1);
    });
}

#[test]
fn one_process_exports_at_a_time() {
    let place = Place::sqlite();
    let site = Site::new(&place);
    site.append(vec![with(NOW - 2 * DAY, r#"{"a":1}"#)]);
    site.journal
        .run_blocking(|store| lease::acquire(store, "export", "another", 60_000))
        .unwrap();
    let (mut exporter, _) = site.exporter(|_| {});
    look(&mut exporter);
    assert!(files(&site.path()).is_empty());
    site.journal
        .run_blocking(|store| lease::release(store, "export", "another"))
        .unwrap();
    look(&mut exporter);
    assert_eq!(files(&site.path()).len(), 1);
}

#[test]
fn a_folder_that_cannot_be_written_is_a_failure_that_passes() {
    let place = Place::sqlite();
    let site = Site::new(&place);
    site.append(vec![with(NOW - 2 * DAY, r#"{"a":1}"#)]);
    fs::write(site.path(), "a file in its place").unwrap();
    let (mut exporter, progress) = site.exporter(|_| {});
    let reason = exporter.look().unwrap_err().to_string();
    assert!(reason.contains("log"), "{reason}");
    let counts = progress.all()[0].1.clone();
    assert_eq!(counts.failures(), 1);
    let later = crate::serve::record::now_ms() + HOUR;
    assert!(counts.lag_s(later) >= 3600.0, "no file could be begun");
    fs::remove_file(site.path()).unwrap();
    look(&mut exporter);
    assert_eq!(all(&site.path()).len(), 1);
    assert_eq!(counts.lag_s(later), 0.0);
}

#[test]
fn the_lag_of_a_failure_ends_with_it() {
    let place = Place::sqlite();
    let site = Site::new(&place);
    fs::write(site.path(), "a file in its place").unwrap();
    let (mut exporter, progress) = site.exporter(|_| {});
    exporter.look().unwrap_err();
    let counts = progress.all()[0].1.clone();
    assert!(counts.lag_s(i64::MAX) > 0.0);
    fs::remove_file(site.path()).unwrap();
    look(&mut exporter);
    assert_eq!(counts.lag_s(i64::MAX), 0.0, "nothing is due");
}

#[test]
fn what_was_just_written_is_not_settled() {
    let place = Place::sqlite();
    let site = Site::new(&place);
    site.append(vec![with(NOW - 2 * DAY, r#"{"a":1}"#)]);
    let (mut exporter, _) = site.exporter(|_| {});
    exporter.settle = std::time::Duration::MAX;
    look(&mut exporter);
    look(&mut exporter);
    assert!(files(&site.path()).is_empty());
}

#[test]
fn a_file_that_is_gone_needs_no_removal() {
    let dir = TempDir::new().unwrap();
    assert_eq!(log::remove(&[dir.path().join("gone")]), Ok(()));
    let reason = log::remove(&[dir.path().to_path_buf()]).unwrap_err();
    assert!(
        reason
            .to_string()
            .contains(&dir.path().display().to_string())
    );
}

#[test]
fn a_journal_that_counts_from_one_again_is_followed() {
    let place = Place::sqlite();
    let site = Site::new(&place);
    let old = || with(NOW - 2 * DAY, r#"{"a":1}"#);
    site.append(vec![old(), old(), old()]);
    let (mut exporter, _) = site.exporter(|_| {});
    look(&mut exporter);
    assert_eq!(site.cursor(), 3);
    site.journal
        .run_blocking(|store| store.execute("DELETE FROM prediction", &[]))
        .unwrap();
    site.append(vec![with(NOW - DAY - 1, r#"{"a":2}"#)]);
    look(&mut exporter);
    assert_eq!(site.cursor(), 1);
    assert_eq!(all(&site.path()).len(), 4);
}

#[test]
fn a_cursor_above_every_prediction_is_set_back_before_a_file_is_complete() {
    on_both(|place| {
        let site = Site::new(place);
        site.append(vec![with(NOW - 2 * DAY, r#"{"a":1}"#)]);
        site.journal
            .run_blocking(|store| rows::advance(store, "fraud", 0, 1_000))
            .unwrap();
        let (mut exporter, _) = site.exporter(|settings| settings.rotate_ms = 1 << 40);
        look(&mut exporter);
        assert_eq!(site.cursor(), 0);
        assert_eq!(files(&site.path()).len(), 1, "it is not complete");
    });
}

#[test]
fn rows_that_cannot_be_read_are_left_out_and_counted() {
    let place = Place::sqlite();
    let site = Site::new(&place);
    site.append(vec![
        with(NOW - 2 * DAY, r#"{"a":1}"#),
        with(NOW - 2 * DAY, r#"{"a":{"#),
        with(NOW - 2 * DAY, r#"{"a":3}"#),
    ]);
    let (mut exporter, progress) = site.exporter(|_| {});
    look(&mut exporter);
    assert_eq!(all(&site.path()).len(), 2);
    assert_eq!(progress.all()[0].1.broken_rows(), 1);
}

#[test]
fn rows_that_cannot_be_read_are_counted_once() {
    let place = Place::sqlite();
    let site = Site::new(&place);
    let (mut exporter, progress) = site.exporter(|_| {});
    look(&mut exporter);
    site.append(vec![
        with(NOW - 2 * DAY, r#"{"a":1}"#),
        with(NOW - 2 * DAY, r#"{"a":{"#),
    ]);
    // No file can be begun in the place of a folder.
    let place = site.path().join(names::of("fraud", NOW - 2 * DAY, 1));
    fs::create_dir(names::part(&place)).unwrap();
    exporter.look().unwrap();
    exporter.look().unwrap_err();
    let counts = progress.all()[0].1.clone();
    assert_eq!((counts.failures(), counts.broken_rows()), (1, 1));
    fs::remove_dir(names::part(&place)).unwrap();
    look(&mut exporter);
    assert_eq!(all(&site.path()).len(), 1);
    assert_eq!((counts.failures(), counts.broken_rows()), (1, 1));
}

#[test]
fn an_export_by_hand_reads_a_range_and_moves_nothing() {
    on_both(|place| {
        let mut store = place.open();
        let rows: Vec<Prediction> = (0..200)
            .map(|it| with(NOW + it, &format!("{{\"a\":{it}}}")))
            .collect();
        write(store.as_mut(), &rows);
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("log.parquet");
        let range = |slot: &str| Range {
            slot: Watched {
                slot: slot.to_string(),
                threshold: None,
            },
            from_ms: NOW + 10,
            to_ms: NOW + 189,
        };
        let mut seen = Vec::new();
        let written = export(
            store.as_mut(),
            &range("fraud"),
            Target::File(path.clone()),
            |passed, of| seen.push((passed, of)),
        );
        assert_eq!(
            (written.unwrap().rows, seen.last()),
            (180, Some(&(200, 200)))
        );
        let table = table(&path);
        assert_eq!(table.first().unwrap()["a"], Field::Double(10.0));
        assert_eq!(table.last().unwrap()["a"], Field::Double(189.0));
        assert_eq!(rows::cursor(store.as_mut(), "fraud").unwrap(), 0);
        let none = dir.path().join("none.parquet");
        let written = export(
            store.as_mut(),
            &range("churn"),
            Target::File(none.clone()),
            |_, _| {},
        );
        assert_eq!(written.unwrap(), Written::default());
        assert!(!none.exists());
    });
}
