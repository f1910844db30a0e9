//! Drift through the real server: rows over HTTP, reports and metrics from the admin address. What
//! the cases share is here.

mod alarms;
mod counted;
mod profiles;
mod replicas;
mod restart;
mod verdicts;
mod webhook;

use std::path::Path;
use std::sync::Arc;

use hedgerow::app::Running;
use hedgerow::config::Config;
use hedgerow::drift::build::{self, Cell, Kind};
use hedgerow::drift::profile::{Profile, Source};
use hedgerow::model::revision::{Reference, Revision};
use hedgerow::serve::record::Drift;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Script, config, http, scripted, start};

/// A server and the folders that it was given.
struct Site {
    running: Running,
    models: TempDir,
    _data: TempDir,
}

/// Features of the scripted slot `x`.
const NAMES: [&str; 3] = ["amount", "age", "balance"];
/// Rows of one request: as many as are watched whole.
const PART: usize = 1000;

/// The settings of these tests: nothing is skipped, and 200 rows are enough to judge.
fn settings(models: &Path, store: &str) -> Config {
    let mut config = config(models);
    config.journal.store = store.to_string();
    config.journal.flush_ms = 5;
    config.serve.record.rows_per_second_max = 1 << 40;
    config.serve.record.watched_rows_per_second_max = 1 << 40;
    // Scripted engines say that a row takes a millisecond.
    config.serve.batch.queue_ms_max = 86_400_000;
    config.drift.slot.terms.thresholds.rows_min = 200;
    config.drift.slot.bins = 4;
    config
}

/// A server with an empty models folder, on SQLite; `change` has the last word on its settings.
async fn site(change: impl FnOnce(&mut Config)) -> Site {
    let (models, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = data.path().join("journal").display().to_string();
    let mut config = settings(models.path(), &store);
    change(&mut config);
    Site {
        running: start(config).await,
        models,
        _data: data,
    }
}

/// The mean of the row.
fn mean(row: &[f64]) -> Option<f64> {
    Some(row.iter().sum::<f64>() / row.len() as f64)
}

fn script(id: u64, digest: &'static str) -> Script {
    Script {
        features: &NAMES,
        ..Script::new(id, digest, mean)
    }
}

/// A revision of three features, with a profile of `rows` or none.
fn revision(script: Script, rows: Option<&[Vec<f64>]>) -> Arc<Revision> {
    let (mut revision, _gate) = scripted("x", script);
    if let Some(rows) = rows {
        let own = Arc::get_mut(&mut revision).unwrap();
        let scores: Vec<f64> = rows.iter().filter_map(|row| mean(row)).collect();
        let profile = Profile {
            score: build::score(4, &scores),
            ..profile(&NAMES, rows)
        };
        own.reference = Reference::of(Ok(profile), &own.signature);
        assert_eq!(own.reference.name(), "ready");
    }
    revision
}

/// Makes slot `x` of a running server answer by this revision.
fn serve(running: &Running, revision: Arc<Revision>) {
    let slot = running.shared.server.registry.insert("x");
    let departed = slot.commit(revision, std::time::Instant::now());
    running.shared.server.bury(departed);
}

/// A profile of rows as of a training: four bins each.
fn profile(names: &[&str], rows: &[Vec<f64>]) -> Profile {
    let columns: Vec<(String, Kind)> = names
        .iter()
        .map(|name| ((*name).to_string(), Kind::Number))
        .collect();
    let cell = |row: usize, column: usize| Cell::Number(rows[row][column]);
    Profile {
        source: Source::Training,
        ..build::served(&columns, 4, rows.len(), cell)
    }
}

/// Rows of numbers from 0 to 1, the same for the same seed.
fn draw(count: usize, width: usize, seed: u64) -> Vec<Vec<f64>> {
    let mut state = seed;
    let mut next = || {
        // SplitMix64.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    };
    (0..count)
        .map(|_| (0..width).map(|_| next()).collect())
        .collect()
}

/// The same rows, with one feature moved half its range up.
fn shifted(mut rows: Vec<Vec<f64>>, feature: usize) -> Vec<Vec<f64>> {
    for row in &mut rows {
        row[feature] += 0.5;
    }
    rows
}

/// A JSON call: status and answer; null where that is no JSON.
async fn call(address: std::net::SocketAddr, request: &str, body: &Value) -> (u16, Value) {
    let body = match body {
        Value::Null => Vec::new(),
        body => body.to_string().into_bytes(),
    };
    let (status, _, text) = http(address, request, "", &body).await;
    (status, serde_json::from_str(&text).unwrap_or(Value::Null))
}

fn body(rows: &[Vec<f64>]) -> Value {
    let data: Vec<f64> = rows.iter().flatten().copied().collect();
    json!({"inputs": [{
        "name": "input", "datatype": "FP64", "shape": [rows.len(), rows[0].len()], "data": data,
    }]})
}

/// Predicts rows, in requests that are watched whole.
async fn predict(running: &Running, slot: &str, rows: &[Vec<f64>]) {
    for part in rows.chunks(PART) {
        let path = format!("POST /v2/models/{slot}/infer");
        let (status, answer) = call(running.addresses.http, &path, &body(part)).await;
        assert_eq!(status, 200, "{answer}");
    }
}

async fn report(running: &Running, slot: &str) -> Value {
    let path = format!("GET /v1/slots/{slot}/drift");
    call(running.addresses.admin, &path, &Value::Null).await.1
}

/// Waits for a report of which something holds, for at most a minute, and gives it.
async fn until_report(running: &Running, slot: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    for _ in 0..3000 {
        last = report(running, slot).await;
        if holds(&last) {
            return last;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("it did not happen within a minute: {last:#}");
}

/// Waits until a slot's rows are counted against a reference.
async fn until_ready(running: &Running, slot: &str) -> Value {
    until_report(running, slot, |it| it["reference"]["state"] == "ready").await
}

/// Waits until the long window has so many rows.
async fn until_rows(running: &Running, slot: &str, rows: usize) -> Value {
    until_report(running, slot, |it| it["windows"][1]["rows"] == rows).await
}

/// Waits until the server's own clock, as its reports tell it, is so much later.
async fn until_later(running: &Running, slot: &str, ms: i64) -> Value {
    let clock = |report: &Value| report["windows"][0]["to_ms"].as_i64();
    let from = clock(&report(running, slot).await).unwrap();
    until_report(running, slot, |it| clock(it) > Some(from + ms)).await
}

/// Waits until the metrics have all these lines.
async fn until_metrics(running: &Running, lines: &[&str]) -> String {
    let mut last = String::new();
    for _ in 0..3000 {
        (_, _, last) = http(running.addresses.admin, "GET /metrics", "", b"").await;
        if lines.iter().all(|line| last.lines().any(|it| it == *line)) {
            return last;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let drift = last.lines().filter(|it| it.contains("drift"));
    panic!(
        "{lines:?} is not in\n{}",
        drift.collect::<Vec<_>>().join("\n")
    );
}

/// One feature of a window of a report.
fn feature<'a>(report: &'a Value, window: usize, name: &str) -> &'a Value {
    let features = report["windows"][window]["features"].as_array().unwrap();
    let found = features.iter().find(|it| it["name"] == name);
    found.unwrap()
}

/// The long window's counts, feature by feature.
fn counts(report: &Value) -> Vec<(Value, Value)> {
    let all = NAMES.iter().map(|name| &feature(report, 1, name)["bins"]);
    let score = &report["windows"][1]["score"]["bins"];
    all.chain([score])
        .map(|bins| (bins["live"].clone(), bins["live_missing"].clone()))
        .collect()
}

/// Drift is watched with and without a profile.
fn watch_on(config: &mut Config) {
    config.serve.slot.watch.drift = Drift::On;
}
