//! The story of a slot with real models: shadow, evidence, promotion, rollback, restart.

use std::sync::Arc;

use hedgerow::rollout::Kind;
use serde_json::{Value, json};

use super::*;
use crate::support::copy;

const MODELS: &str = "examples/fraud-stream/models/fraud";

/// The golden rows of all four revisions, as many times as makes a thousand.
fn payments() -> Vec<Vec<Value>> {
    let mut rows = Vec::new();
    for revision in 1..=4 {
        let path = format!(
            "{}/{MODELS}/{revision}/golden.json",
            env!("CARGO_MANIFEST_DIR")
        );
        let text = std::fs::read_to_string(path).unwrap();
        let golden: Value = serde_json::from_str(&text).unwrap();
        for row in golden["rows"].as_array().unwrap() {
            rows.push(row.as_array().unwrap().clone());
        }
    }
    rows.into_iter().cycle().take(1000).collect()
}

/// What a revision says of payments.
async fn scores(running: &Running, revision: u64, payments: &[Vec<Value>]) -> Vec<f64> {
    let path = format!("POST /v1/models/fraud/versions/{revision}:predict");
    let body = json!({"instances": payments});
    let (status, answer) = call(running.addresses.http, &path, &body).await;
    assert_eq!(status, 200, "{answer}");
    let scores = answer["predictions"].as_array().unwrap();
    scores.iter().map(|it| it.as_f64().unwrap()).collect()
}

/// Predicts payments and labels them as revision 2 would, one half by key and one by id.
async fn live(running: &Running, payments: &[Vec<Value>], truth: &[bool]) {
    let written = running
        .shared
        .rollout
        .clone()
        .unwrap()
        .journal()
        .written_rows;
    let body = json!({"instances": payments, "parameters": {"key": "batch"}});
    let path = "POST /v1/models/fraud:predict";
    let (status, answer) = call(running.addresses.http, path, &body).await;
    assert_eq!(status, 200, "{answer}");
    until_written(running, written + payments.len() as u64).await;
    let id = answer["prediction_id"].as_str().unwrap();
    let line = |(row, value): (usize, &bool)| match row % 2 {
        0 => json!({"slot": "fraud", "key": "batch", "row": row, "value": value}).to_string(),
        _ => json!({"prediction_id": format!("{id}.{row}"), "value": value}).to_string(),
    };
    let lines: Vec<String> = truth.iter().enumerate().map(line).collect();
    let answer = lines_in(running, &lines.join("\n")).await;
    assert_eq!(
        answer["counts"]["joined"],
        payments.len(),
        "{}",
        answer["counts"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_challenger_is_promoted_by_evidence_and_rolled_back_by_a_word_also_after_a_restart() {
    let (models, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let of_slot = |revision: u64| models.path().join(format!("fraud/{revision}"));
    copy(&format!("{MODELS}/1"), &of_slot(1));
    let config = || {
        let mut config = settings(models.path(), &data.path().display().to_string());
        config.rollout.slot.kind = Kind::Auto;
        config
    };
    let running = start(config()).await;
    until_champion(&running, "fraud", 1).await;
    copy(&format!("{MODELS}/2"), &of_slot(2));
    until_on_trial(&running, "fraud", 2).await;

    let payments = payments();
    let wise = scores(&running, 2, &payments).await;
    let truth: Vec<bool> = wise.iter().map(|score| *score >= 0.5).collect();
    live(&running, &payments, &truth).await;
    until_champion(&running, "fraud", 2).await;
    let path = "GET /v1/slots/fraud";
    let (status, report) = call(running.addresses.admin, path, &Value::Null).await;
    assert_eq!(status, 200, "{report}");
    assert_eq!(report["task"], "binary");
    assert_eq!(report["previous"]["revision"], 1);
    let path = "GET /v1/slots/fraud/verdict";
    let (_, verdict) = call(running.addresses.admin, path, &Value::Null).await;
    assert_eq!(verdict["data"]["champion"], 2, "{verdict}");
    let gate = async |gate: &str, body: &Value| {
        let path = format!("POST /hooks/flagger/{gate}");
        call(running.addresses.admin, &path, body).await
    };
    let canary = json!({"name": "fraud", "namespace": "models", "phase": "Progressing"});
    for (name, status) in [
        ("confirm-rollout", 200),
        ("confirm-traffic-increase", 200),
        ("confirm-promotion", 409),
        ("rollback", 409),
        ("event", 404),
    ] {
        let (found, answer) = gate(name, &canary).await;
        assert_eq!(found, status, "{name}: {answer}");
    }
    let named = |slot: &str| json!({"name": "pods", "metadata": {"slot": slot}});
    let (status, answer) = gate("confirm-rollout", &named("fraud")).await;
    assert_eq!((status, &answer), (200, &verdict));
    assert_eq!(gate("rollback", &named("nobody")).await.0, 404);
    assert_eq!(gate("rollback", &json!(7)).await.0, 400);
    let decisions = decided(&running, "fraud").await;
    let names: Vec<&str> = decisions.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["begin", "shadow", "promote"]);
    let promotion = &decisions[2].1;
    assert_eq!(promotion["actor"], "controller");
    assert_eq!(promotion["evidence"]["findings"][0]["verdict"], "pass");

    // Back at once: the very same revision in memory, and no second step back.
    let roles = slot(&running, "fraud").roles().unwrap();
    let (new, old) = (roles.champion.uid, roles.previous.clone().unwrap());
    let (status, done) = tell(&running, "fraud", "rollback", json!({"actor": "ada"})).await;
    assert_eq!(
        (status, &done["to"]["revision"]),
        (200, &json!(1)),
        "{done}"
    );
    let roles = slot(&running, "fraud").roles().unwrap();
    assert!(Arc::ptr_eq(&roles.champion, &old));
    assert_eq!(roles.previous.as_ref().map(|it| it.uid), Some(new));
    let (status, refused) = tell(&running, "fraud", "rollback", Value::Null).await;
    assert_eq!(status, 409, "{refused}");
    assert_eq!(slot(&running, "fraud").roles().unwrap().champion.id, 1);

    // One more that an operator gives up.
    copy(&format!("{MODELS}/3"), &of_slot(3));
    until_on_trial(&running, "fraud", 3).await;
    let (status, done) = tell(&running, "fraud", "rollback", json!({"revision": 3})).await;
    assert_eq!((status, &done["decision"]), (200, &json!("hold")), "{done}");
    let names = decision_names(&running, "fraud").await;
    assert_eq!(names[3..], ["rollback", "shadow", "hold"]);
    running.stop().await.unwrap();

    let running = start(config()).await;
    until_champion(&running, "fraud", 1).await;
    // What was given up is not tried again; what comes new is.
    copy(&format!("{MODELS}/4"), &of_slot(4));
    until_on_trial(&running, "fraud", 4).await;
    let roles = slot(&running, "fraud").roles().unwrap();
    let mut resident: Vec<u64> = roles.resident().map(|it| it.id).collect();
    resident.sort_unstable();
    assert_eq!(resident, [1, 2, 4]);
    assert_eq!(decision_names(&running, "fraud").await.len(), 7);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_trials_nothing_is_recorded_or_said() {
    let (models, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = data.path().join("hedgerow-data");
    let mut plain = crate::support::config(models.path());
    plain.journal.store = store.display().to_string();
    let running = start(plain).await;
    add_scripted(&running, "x", Script::new(1, "one", same));
    let body =
        br#"{"id":"7","inputs":[{"name":"input","datatype":"FP64","shape":[1,1],"data":[0.25]}]}"#;
    let ask = async |running: &Running| {
        let address = running.addresses.http;
        http(address, "POST /v2/models/x/infer", "", body).await.2
    };
    let expected = r#"{"model_name":"x","model_version":"1","id":"7","outputs":[{"name":"predict","shape":[1],"datatype":"FP64","data":[0.25]}]}"#;
    assert_eq!(ask(&running).await, expected);
    let path = "POST /v1/feedback";
    let (status, answer) = call(
        running.addresses.http,
        path,
        &json!({"key": "a", "value": 1}),
    )
    .await;
    assert_eq!(status, 409, "{answer}");
    for request in [
        "GET /v1/slots/x",
        "POST /v1/slots/x/promote",
        "POST /v1/slots/x/rollback",
    ] {
        let (status, answer) = call(running.addresses.admin, request, &Value::Null).await;
        assert_eq!(status, 409, "{request}: {answer}");
    }
    running.stop().await.unwrap();
    assert!(!store.exists());

    // With trials there is the id besides, and nothing else changes.
    let site = site_of_x(|_| {}).await;
    let answer = ask(&site.running).await;
    let (start, rest) = answer
        .split_once(r#""parameters":{"prediction_id":""#)
        .unwrap();
    let (_id, end) = rest.split_once("\"},").unwrap();
    assert_eq!(format!("{start}{end}"), expected);
    site.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn slots_do_not_mix_and_folders_that_go_end_their_trials() {
    let site = site(|_| {}).await;
    let of = |name: &str, revision: u64| site.models.path().join(format!("{name}/{revision}"));
    for name in ["a", "b"] {
        copy(&format!("{MODELS}/1"), &of(name, 1));
    }
    let running = &site.running;
    for name in ["a", "b"] {
        until_champion(running, name, 1).await;
        copy(&format!("{MODELS}/2"), &of(name, 2));
        until_on_trial(running, name, 2).await;
    }
    let body = json!({"instances": [payments()[0]], "parameters": {"key": "k"}});
    let (status, answer) = call(running.addresses.http, "POST /v1/models/a:predict", &body).await;
    assert_eq!(status, 200, "{answer}");
    until_written(running, 1).await;
    let sent = json!([
        {"slot": "b", "key": "k", "value": true},
        {"slot": "b", "prediction_id": answer["prediction_id"], "value": true},
        {"slot": "a", "key": "k", "value": true},
    ]);
    let (_, answer) = call(running.addresses.http, "POST /v1/feedback", &sent).await;
    let statuses: Vec<&Value> = (0..3).map(|at| &answer["results"][at]["status"]).collect();
    assert_eq!(statuses, ["pending", "refused", "joined"], "{answer}");

    std::fs::remove_dir_all(of("a", 2)).unwrap();
    let report = until_report(running, "a", |it| it["challengers"] == json!([])).await;
    assert_eq!(report["dismissed"][0]["reason"], "its folder is gone");
    let (status, _) = call(running.addresses.http, "POST /v1/models/a:predict", &body).await;
    assert_eq!(status, 200);
    // Of slot b the champion goes: the one before it answers again, and that is a decision.
    let (status, _) = tell(running, "b", "promote", json!({"force": true})).await;
    assert_eq!(status, 200);
    until_champion(running, "b", 2).await;
    std::fs::remove_dir_all(of("b", 2)).unwrap();
    until_champion(running, "b", 1).await;
    let decisions = decided(running, "b").await;
    let (name, record) = decisions.last().unwrap();
    assert_eq!(name, "rollback");
    assert_eq!(record["reasons"][0], "the champion's folder is gone");
    std::fs::remove_dir_all(site.models.path().join("b")).unwrap();
    until(|| running.shared.server.registry.slot("b").is_none()).await;
    let (status, _) = call(running.addresses.admin, "GET /v1/slots/b", &Value::Null).await;
    assert_eq!(status, 404);
    let rollout = running.shared.rollout.clone().unwrap();
    let names = || {
        let reports = rollout.reports().into_iter();
        reports.map(|it| it.slot.clone()).collect::<Vec<_>>()
    };
    until(|| names() == ["a"]).await;
    site.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_only_recorded_is_measured_and_never_moved() {
    let site = site(|config| {
        let watch = &mut config.serve.slot.watch;
        (watch.arrival, watch.record) = (Arrival::Replace, true);
    })
    .await;
    let running = &site.running;
    add_scripted(running, "x", Script::new(1, "one", same));
    add_scripted(running, "x", Script::new(2, "two", opposite));
    until_report(running, "x", |it| it["champion"]["revision"] == 2).await;
    evidence(running, "x", "batch", same).await;
    let report = until_report(running, "x", |it| it["champion"]["matured"] == ROWS).await;
    assert_eq!(report["champion"]["metrics"][0]["name"], "f1");
    for word in ["promote", "rollback"] {
        let (status, answer) = tell(running, "x", word, Value::Null).await;
        assert_eq!(status, 409, "{answer}");
        assert_eq!(slot(running, "x").roles().unwrap().champion.id, 2);
    }
    assert_eq!(decision_names(running, "x").await, [""; 0]);
    site.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_challenger_does_not_answer_because_its_champion_is_gone() {
    let site = site(|_| {}).await;
    let of = |revision: u64| site.models.path().join(format!("fraud/{revision}"));
    let running = &site.running;
    copy(&format!("{MODELS}/1"), &of(1));
    until_champion(running, "fraud", 1).await;
    copy(&format!("{MODELS}/2"), &of(2));
    until_on_trial(running, "fraud", 2).await;
    std::fs::remove_dir_all(of(1)).unwrap();
    let of_slot = slot(running, "fraud");
    until(|| of_slot.roles().is_none()).await;
    // Another slot that is taken in shows that the folder was looked at again.
    copy(&format!("{MODELS}/1"), &site.models.path().join("other/1"));
    until_champion(running, "other", 1).await;
    let body = json!({"instances": [payments()[0]]});
    let path = "POST /v1/models/fraud:predict";
    let (status, answer) = call(running.addresses.http, path, &body).await;
    assert_eq!(status, 503, "{answer}");
    assert!(
        answer["error"].as_str().unwrap().contains("no champion"),
        "{answer}"
    );
    let word = json!({"revision": 2, "force": true});
    let (status, done) = tell(running, "fraud", "promote", word).await;
    assert_eq!(status, 200, "{done}");
    until_champion(running, "fraud", 2).await;
    let (status, answer) = call(running.addresses.http, path, &body).await;
    assert_eq!(status, 200, "{answer}");
    site.running.stop().await.unwrap();
}

/// A command of the repository.
async fn repository(running: &Running, word: &str) {
    let path = format!("POST /v2/repository/models/fraud/{word}");
    let (status, answer) = call(running.addresses.admin, &path, &Value::Null).await;
    assert_eq!(status, 200, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unloaded_slot_comes_back_with_the_champion_that_was_decided() {
    let models = tempfile::tempdir().unwrap();
    let of = |revision: u64| models.path().join(format!("fraud/{revision}"));
    copy(&format!("{MODELS}/1"), &of(1));
    let data = tempfile::tempdir().unwrap();
    let config = || settings(models.path(), &data.path().display().to_string());
    let running = start(config()).await;
    until_champion(&running, "fraud", 1).await;
    copy(&format!("{MODELS}/2"), &of(2));
    until_on_trial(&running, "fraud", 2).await;
    let resident = || {
        let roles = slot(&running, "fraud").roles();
        roles.map_or_else(Vec::new, |it| it.resident().map(|it| it.id).collect())
    };
    // What is resident is not loaded a second time.
    repository(&running, "load").await;
    assert_eq!(resident(), [1, 2]);
    let (status, done) = tell(&running, "fraud", "rollback", json!({"revision": 2})).await;
    assert_eq!(status, 200, "{done}");
    repository(&running, "unload").await;
    assert_eq!(resident(), [0; 0]);
    repository(&running, "load").await;
    assert_eq!(resident(), [1]);
    // A person may have a revision tried again that was given up.
    let (status, done) = tell(&running, "fraud", "promote", json!({"revision": 2})).await;
    assert_eq!(
        (status, &done["decision"]),
        (200, &json!("shadow")),
        "{done}"
    );
    until_on_trial(&running, "fraud", 2).await;
    assert_eq!(resident(), [1, 2]);
    running.stop().await.unwrap();

    // The journal answers after the first look at the folder, whose next one is an hour later.
    let mut seldom = config();
    seldom.source.poll_interval_ms = 3_600_000;
    let running = start(seldom).await;
    until_champion(&running, "fraud", 1).await;
    running.stop().await.unwrap();
}
