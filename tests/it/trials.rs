//! The loop over real sockets and real stores: labels come back, evidence moves a slot, and nothing
//! that goes wrong on the way reaches an answer. What the cases share is here.

mod challengers;
mod crash;
mod feedback;
mod outage;
mod refusals;
mod replicas;
mod stages;
mod story;

use std::path::Path;
use std::sync::Arc;

use hedgerow::api::ModelControl;
use hedgerow::app::Running;
use hedgerow::config::Config;
use hedgerow::journal::decisions;
use hedgerow::model::slot::{Arrival, Slot};
use hedgerow::rollout::gate::{Costs, Gate, Measure};
use hedgerow::rollout::{Kind, Maturity};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Script, add_scripted, config, http, start, until};

/// A server with trials and the folders that it was given.
struct Site {
    running: Running,
    models: TempDir,
    _data: TempDir,
}

/// Rows of a batch of evidence; half of them are positive by either revision.
const ROWS: usize = 400;

/// The score is the only feature.
fn same(row: &[f64]) -> Option<f64> {
    Some(row[0])
}

/// The opposite of [`same`].
fn opposite(row: &[f64]) -> Option<f64> {
    Some(1.0 - row[0])
}

/// Settings under which a few hundred labels decide within a second: every mistake costs 1.
fn settings(models: &Path, store: &str) -> Config {
    let mut config = config(models);
    config.journal.store = store.to_string();
    config.journal.flush_ms = 5;
    config.serve.record.rows_per_second_max = 1_000_000;
    // Scripted engines say that a row takes a millisecond.
    config.serve.batch.queue_ms_max = 86_400_000;
    config.serve.slot.watch.arrival = Arrival::Shadow;
    let slot = &mut config.rollout.slot;
    slot.kind = Kind::Binary;
    slot.maturity = Maturity::Label;
    slot.gates = vec![Gate {
        measure: Measure::Cost,
        bound: 0.0,
    }];
    slot.costs = Costs {
        false_positive: 1.0,
        false_negative: 1.0,
        amount_rate: 0.0,
        limit: 1.0,
    };
    slot.policy.labels_min = 300;
    slot.policy.positives_min = 50;
    slot.policy.duration_min_ms = 0;
    slot.policy.share_duration_min_ms = 0;
    slot.promotions_per_day_max = 0;
    slot.rollbacks_per_week_max = 0;
    slot.cooldown_ms = 0;
    config
}

/// A server with an empty models folder, on SQLite; `change` has the last word on its settings.
async fn site(change: impl FnOnce(&mut Config)) -> Site {
    let (models, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut config = settings(models.path(), &data.path().display().to_string());
    change(&mut config);
    let running = start(config).await;
    Site {
        running,
        models,
        _data: data,
    }
}

/// As [`site`], with a slot `x` that [`same`] answers, and that the controller has looked at.
async fn site_of_x(change: impl FnOnce(&mut Config)) -> Site {
    let site = site(change).await;
    add_scripted(&site.running, "x", Script::new(1, "one", same));
    until_report(&site.running, "x", |report| {
        report["champion"]["revision"] == 1 && report["champion"]["since_ms"] != 0
    })
    .await;
    site
}

fn slot(running: &Running, name: &str) -> Arc<Slot> {
    running.shared.server.registry.slot(name).unwrap()
}

/// A slot's report; null before the first look.
fn report(running: &Running, slot: &str) -> Value {
    let rollout = running.shared.rollout.as_ref().unwrap();
    let report = rollout.report(slot).ok();
    report.map_or(Value::Null, |it| serde_json::to_value(&*it).unwrap())
}

/// Waits for a report of which something holds, and gives it.
async fn until_report(running: &Running, slot: &str, condition: impl Fn(&Value) -> bool) -> Value {
    for _ in 0..3000 {
        let now = report(running, slot);
        if condition(&now) {
            return now;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("it did not happen within 30 s: {:#}", report(running, slot));
}

/// Waits until a revision is on trial as its slot's only challenger.
async fn until_on_trial(running: &Running, slot: &str, revision: u64) {
    until_report(running, slot, |it| {
        let challengers = it["challengers"].as_array().map(Vec::as_slice);
        matches!(challengers, Some([only]) if only["revision"] == revision)
    })
    .await;
}

/// Waits until this revision is the champion, for the controller and for requests.
async fn until_champion(running: &Running, name: &str, revision: u64) {
    until_report(running, name, |it| it["champion"]["revision"] == revision).await;
    let champion = || slot(running, name).roles().map(|it| it.champion.id);
    until(|| champion() == Some(revision)).await;
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

/// Predicts rows in one request under a key, which must succeed: the answer.
async fn predict(running: &Running, slot: &str, rows: &[f64], key: &str) -> Value {
    let path = format!("POST /v2/models/{slot}/infer");
    let (status, answer) = call(running.addresses.http, &path, &infer_body(rows, key)).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

fn infer_body(rows: &[f64], key: &str) -> Value {
    json!({
        "parameters": {"key": key},
        "inputs": [{"name": "input", "datatype": "FP64", "shape": [rows.len(), 1], "data": rows}],
    })
}

/// Waits until so many predictions of this process are in the journal.
async fn until_written(running: &Running, rows: u64) {
    let rollout = running.shared.rollout.clone().unwrap();
    until(|| rollout.journal().written_rows >= rows).await;
}

/// Rows that [`same`] and [`opposite`] judge differently, half of them positive by each.
fn rows() -> Vec<f64> {
    (0..ROWS)
        .map(|row| if row % 2 == 0 { 0.9 } else { 0.1 })
        .collect()
}

/// Whether the revision that knows best says the positive class; every tenth label is noise.
fn truth(best: fn(&[f64]) -> Option<f64>, rows: &[f64]) -> Vec<bool> {
    let score = |row: &f64| best(&[*row]).unwrap() >= 0.5;
    let noisy = |(index, row)| score(row) != (index % 10 == 3);
    rows.iter().enumerate().map(noisy).collect()
}

/// Sends labels of a request's rows, by its key, as lines: the answer.
async fn label(running: &Running, slot: &str, key: &str, labels: &[bool]) -> Value {
    let line = |(row, value): (usize, &bool)| {
        json!({"slot": slot, "key": key, "row": row, "value": value}).to_string()
    };
    let lines: Vec<String> = labels.iter().enumerate().map(line).collect();
    lines_in(running, &lines.join("\n")).await
}

/// Sends labels as they are written: the answer, which must be one.
async fn lines_in(running: &Running, lines: &str) -> Value {
    let address = running.addresses.http;
    let (status, _, text) = http(address, "POST /v1/feedback", "", lines.as_bytes()).await;
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).unwrap()
}

/// A batch of evidence: predictions, written, and labels by what `best` says of them.
async fn evidence(running: &Running, slot: &str, key: &str, best: fn(&[f64]) -> Option<f64>) {
    let rollout = running.shared.rollout.clone().unwrap();
    let before = rollout.journal().written_rows;
    predict(running, slot, &rows(), key).await;
    until_written(running, before + ROWS as u64).await;
    let answer = label(running, slot, key, &truth(best, &rows())).await;
    assert_eq!(answer["counts"]["joined"], ROWS, "{}", answer["counts"]);
}

/// A slot's decisions: that their chain holds, and what each was.
async fn decided(running: &Running, slot: &str) -> Vec<(String, Value)> {
    let path = format!("GET /v1/slots/{slot}/decisions");
    let (status, answer) = call(running.addresses.admin, &path, &Value::Null).await;
    assert_eq!(status, 200, "{answer}");
    let decisions = answer["decisions"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_string();
    let entry = |it: &Value| decisions::Entry {
        slot: text(&it["slot"]),
        seq: it["seq"].as_i64().unwrap(),
        at_ms: it["at_ms"].as_i64().unwrap(),
        body: text(&it["body"]),
        previous: text(&it["previous"]),
        hash: text(&it["hash"]),
    };
    let entries: Vec<_> = decisions.iter().map(entry).collect();
    decisions::verify(&entries).unwrap();
    let record = |it: &Value| (text(&it["record"]["decision"]), it["record"].clone());
    decisions.iter().map(record).collect()
}

/// The names of a slot's decisions, in order.
async fn decision_names(running: &Running, slot: &str) -> Vec<String> {
    let decisions = decided(running, slot).await;
    decisions.into_iter().map(|(name, _)| name).collect()
}

/// An operator's word on a slot.
async fn tell(running: &Running, slot: &str, word: &str, body: Value) -> (u16, Value) {
    let path = format!("POST /v1/slots/{slot}/{word}");
    call(running.addresses.admin, &path, &body).await
}
