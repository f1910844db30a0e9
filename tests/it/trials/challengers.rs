//! Challengers that are bad in some way: no answer changes, no request fails, and none is promoted.
#![expect(
    clippy::disallowed_methods,
    reason = "a server is stopped beside the test"
)]

use std::sync::atomic::Ordering;

use hedgerow::tensor::Element;

use super::*;
use crate::support::enlist;

fn failing(_row: &[f64]) -> Option<f64> {
    None
}

fn panicking(_row: &[f64]) -> Option<f64> {
    panic!("on purpose")
}

fn nameless(_row: &[f64]) -> Option<f64> {
    Some(f64::NAN)
}

/// Never, if it is not called.
fn first(row: &[f64]) -> Option<f64> {
    row.first().copied()
}

fn second(row: &[f64]) -> Option<f64> {
    row.get(1).copied()
}

/// Predicts all rows in ten requests that must be answered as if there were no challenger, and labels
/// them as [`opposite`] would.
async fn live(running: &Running, slot: &str) {
    let rows = rows();
    let truth = truth(opposite, &rows);
    for (part, rows) in rows.chunks(ROWS / 10).enumerate() {
        let answer = predict(running, slot, rows, &part.to_string()).await;
        assert_eq!(answer["model_version"], "1");
        assert_eq!(answer["outputs"][0]["data"], json!(rows));
    }
    for (part, labels) in truth.chunks(ROWS / 10).enumerate() {
        let answer = label(running, slot, &part.to_string(), labels).await;
        let of = |status: &str| answer["counts"][status].as_u64().unwrap();
        assert_eq!(of("joined") + of("pending"), ROWS as u64 / 10, "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_challenger_changes_no_answer_and_is_never_promoted() {
    let rows = ROWS as u64;
    let site = site(|_| {}).await;
    let running = &site.running;
    let check = async |name: &str, script: Script, counted: (u64, u64), says: &str| {
        add_scripted(running, name, Script::new(1, "one", same));
        until_champion(running, name, 1).await;
        enlist(running, name, script);
        until_on_trial(running, name, 2).await;
        live(running, name).await;
        let report = until_report(running, name, |it| it["champion"]["matured"] == ROWS).await;
        let challenger = &report["challengers"][0];
        let (errors, invalid) = counted;
        let shadow = json!({"rows": rows, "errors": errors, "misfits": 0, "invalid": invalid});
        assert_eq!(challenger["shadow"], shadow);
        assert_eq!(challenger["decision"], "hold", "{challenger:#}");
        let reasons = challenger["reasons"].to_string();
        assert!(reasons.contains(says), "{reasons}");
        assert_eq!(decision_names(running, name).await, ["begin", "shadow"]);
    };
    let new = |digest, answer| Script::new(2, digest, answer);
    tokio::join!(
        check("a", new("two", failing), (rows, 0), "error_rate"),
        check("b", new("two", panicking), (rows, 0), "error_rate"),
        check("c", new("two", nameless), (0, rows), "invalid_rate"),
        check("d", new("one", same), (0, 0), "same model"),
    );
    // A panic in shadow ends nothing.
    assert_eq!(running.supervisor.failure(), None);
    site.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_challenger_is_stuck_answers_and_labels_go_on() {
    // Wide rows fill what may wait for the engines, 32 MB, in a few requests.
    const WIDTH: usize = 1000;
    const BATCH: usize = 500;
    static NAMES: std::sync::LazyLock<Vec<&'static str>> = std::sync::LazyLock::new(|| {
        let name =
            |index: usize| -> &'static str { Box::leak(format!("f{index}").into_boxed_str()) };
        (0..WIDTH).map(name).collect()
    });
    let wide = |id, digest| Script {
        features: &NAMES,
        ..Script::new(id, digest, first)
    };
    let site = site(|_| {}).await;
    let running = &site.running;
    add_scripted(running, "w", wide(1, "one"));
    until_champion(running, "w", 1).await;
    let gate = enlist(running, "w", wide(2, "two"));
    until_on_trial(running, "w", 2).await;
    gate.close();
    let mut client = hedgerow::api::grpc::pb::grpc_inference_service_client::GrpcInferenceServiceClient::connect(
        format!("http://{}", running.addresses.grpc),
    )
    .await
    .unwrap();
    let usage = || {
        slot(running, "w")
            .usage
            .shadow_dropped
            .load(Ordering::Relaxed)
    };
    let mut sent = 0;
    while usage() == 0 && sent < 100 {
        let mut request = crate::server::grpc_request("w", &vec![0.25; WIDTH * BATCH]);
        request.inputs[0].shape = vec![BATCH as i64, WIDTH as i64];
        let answer = client.model_infer(request).await.unwrap().into_inner();
        let values = &answer.outputs[0].contents.as_ref().unwrap().fp64_contents;
        assert!(values.len() == BATCH && values.iter().all(|value| *value == 0.25));
        sent += 1;
    }
    // The first requests wait for the challenger; those above the limit are recorded without it.
    until_written(running, BATCH as u64).await;
    assert!(sent < 100);
    let name = json!({"slot": "w", "key": "nobody", "value": true});
    let (status, answer) = call(running.addresses.http, "POST /v1/feedback", &name).await;
    assert_eq!(
        (status, &answer["status"]),
        (200, &json!("pending")),
        "{answer}"
    );
    gate.open();
    until_written(running, (sent * BATCH) as u64).await;
    site.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_challenger_does_not_hold_up_the_end_and_nothing_is_lost() {
    let Site {
        running,
        _data: data,
        ..
    } = site_of_x(|_| {}).await;
    let gate = enlist(&running, "x", Script::new(2, "two", opposite));
    until_on_trial(&running, "x", 2).await;
    gate.close();
    predict(&running, "x", &[0.9], "first").await;
    until(|| gate.arrived() == 1).await;
    for key in ["second", "third"] {
        predict(&running, "x", &[0.9], key).await;
    }
    let supervisor = running.supervisor.clone();
    let stopped = tokio::spawn(running.stop());
    supervisor.stopping().await;
    gate.open();
    stopped.await.unwrap().unwrap();
    assert_eq!(gate.arrived(), 1);
    let mut store = hedgerow::journal::open(&data.path().display().to_string()).unwrap();
    let rows = store.query("SELECT key, shadows FROM prediction ORDER BY number", &[]);
    let rows = rows.unwrap();
    let keys: Vec<String> = rows.iter().map(|row| row.text(0).unwrap()).collect();
    assert_eq!(keys, ["first", "second", "third"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_record_queue_cannot_hold_is_answered_and_counted() {
    let site = site_of_x(|config| config.serve.record.queue_bytes_max = 5_000).await;
    let running = &site.running;
    predict(running, "x", &[0.5; 1000], "large").await;
    predict(running, "x", &[0.5; 10], "small").await;
    until_written(running, 10).await;
    let usage = &slot(running, "x").usage;
    assert_eq!(usage.record_dropped.load(Ordering::Relaxed), 1000);
    assert_eq!(usage.recorded.load(Ordering::Relaxed), 10);
    site.running.stop().await.unwrap();
}

/// A request by feature name, which must be answered with the values of `a`.
async fn by_name(running: &Running, slot: &str, names: &[&str]) {
    let input = |name: &&str| {
        let value = if *name == "a" { 0.25 } else { 0.75 };
        json!({"name": name, "datatype": "FP64", "shape": [4], "data": [value, value, value, value]})
    };
    let inputs: Vec<Value> = names.iter().map(input).collect();
    let path = format!("POST /v2/models/{slot}/infer");
    let body = json!({"inputs": inputs});
    let (status, answer) = call(running.addresses.http, &path, &body).await;
    assert_eq!(status, 200, "{names:?}: {answer}");
    assert_eq!(
        answer["outputs"][0]["data"],
        json!([0.25, 0.25, 0.25, 0.25])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_challenger_with_other_features_reads_what_it_can_and_misfits_are_counted() {
    let champion = Script {
        features: &["a", "b"],
        ..Script::new(1, "one", first)
    };
    let site = site(|_| {}).await;
    let running = &site.running;
    let check = async |name: &str, challenger: Script, sent: &[&str], misfits: u64| {
        add_scripted(running, name, champion);
        until_champion(running, name, 1).await;
        enlist(running, name, challenger);
        until_on_trial(running, name, 2).await;
        by_name(running, name, sent).await;
        let scored = |it: &Value| it["challengers"][0]["shadow"]["rows"] == 4;
        let report = until_report(running, name, scored).await;
        let shadow = &report["challengers"][0]["shadow"];
        let expected = json!({"rows": 4, "errors": 0, "misfits": misfits, "invalid": 0});
        assert_eq!(*shadow, expected, "{challenger:?} {sent:?}");
        // A name that nobody knows stays an error of the caller.
        let one = |name| json!({"name": name, "datatype": "FP64", "shape": [1], "data": [1]});
        let strange = json!({"inputs": [one("a"), one("b"), one("strange")]});
        let path = format!("POST /v2/models/{name}/infer");
        let (status, answer) = call(running.addresses.http, &path, &strange).await;
        assert_eq!(status, 400, "{answer}");
    };
    let with = |features: &'static [&'static str], answer| Script {
        features,
        ..Script::new(2, "two", answer)
    };
    let single = Script {
        element: Element::F32,
        ..with(&["a", "b"], first)
    };
    tokio::join!(
        check("order", with(&["b", "a"], second), &["a", "b"], 0),
        check("single", single, &["b", "a"], 0),
        check("fewer", with(&["a"], first), &["a", "b"], 0),
        check("more", with(&["a", "b", "c"], first), &["a", "b"], 4),
        check(
            "superset",
            with(&["a", "b", "c"], first),
            &["a", "b", "c"],
            0
        ),
        check("others", with(&["p", "q"], first), &["a", "b"], 4),
    );
    site.running.stop().await.unwrap();
}
