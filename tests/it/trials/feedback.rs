//! What becomes of a label, over both protocols by the same table.

use hedgerow::api::grpc::loop_pb;
use hedgerow::error::Code;
use hedgerow::rollout::SlotSettings;
use loop_pb::feedback_client::FeedbackClient;
use loop_pb::label_response::Result as Told;
use loop_pb::outcome::{Target, Value as Given};
use serde_json::Map;
use tonic::transport::Channel;

use super::*;
use crate::support::copy;

/// A label as the table writes it; HTTP gets it so, gRPC as a message.
fn outcome(sent: &Value) -> Option<loop_pb::Outcome> {
    let text = |key: &str| sent[key].as_str().map(str::to_string);
    let target = match (text("prediction_id"), text("key")) {
        (Some(_), Some(_)) => return None,
        (Some(id), None) => Some(Target::PredictionId(id)),
        (None, key) => key.map(Target::Key),
    };
    // Keys that a message has no place for.
    let known = [
        "slot",
        "prediction_id",
        "key",
        "row",
        "value",
        "event_time",
        "weight",
    ];
    let is_known = |key: &String| known.contains(&key.as_str());
    if !sent.as_object().unwrap().keys().all(is_known) || sent["weight"] == 0 {
        return None;
    }
    Some(loop_pb::Outcome {
        slot: text("slot").unwrap_or_default(),
        target,
        row: sent["row"].as_u64().unwrap_or(0) as u32,
        value: match &sent["value"] {
            Value::Bool(value) => Some(Given::IsPositive(*value)),
            Value::Number(number) => number.as_f64().map(Given::Number),
            Value::String(class) => Some(Given::Class(class.clone())),
            _ => None,
        },
        event_at_ms: sent["event_time"].as_i64().unwrap_or(0),
        source: String::new(),
        weight: sent["weight"].as_f64().unwrap_or(0.0),
    })
}

/// Sends labels in one call, and gives the status and the error of each.
async fn send(
    running: &Running,
    grpc: &mut FeedbackClient<Channel>,
    over: &str,
    sent: &[Value],
) -> Vec<(String, String)> {
    if over == "http" {
        let answer = lines_in(running, &Value::from(sent).to_string()).await;
        let results = answer["results"].as_array().unwrap();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
        let each = results
            .iter()
            .map(|it| (text(&it["status"]), text(&it["error"])));
        return each.collect();
    }
    let labels = sent.iter().filter_map(outcome).collect();
    let answer = grpc.label(loop_pb::LabelRequest { labels }).await.unwrap();
    let each = |it: Told| (it.status, it.error);
    answer.into_inner().results.into_iter().map(each).collect()
}

async fn client(running: &Running) -> FeedbackClient<Channel> {
    let address = format!("http://{}", running.addresses.grpc);
    FeedbackClient::connect(address).await.unwrap()
}

/// `{"slot": "x", "key": key, "value": value}` with what else is named.
fn keyed(key: &str, value: impl Into<Value>, more: &[(&str, Value)]) -> Value {
    let mut label = Map::from_iter([
        ("slot".to_string(), "x".into()),
        ("key".to_string(), key.into()),
        ("value".to_string(), value.into()),
    ]);
    for (name, value) in more {
        label.insert((*name).to_string(), value.clone());
    }
    Value::Object(label)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_status_of_a_label_is_the_same_over_both_protocols() {
    let site = site_of_x(|config| {
        let mut brief = config.rollout.slot.clone();
        brief.horizon_ms = 1;
        config.rollout.slots.insert("brief".to_string(), brief);
    })
    .await;
    let running = &site.running;
    add_scripted(running, "brief", Script::new(1, "one", same));
    let mut grpc = client(running).await;
    for over in ["http", "grpc"] {
        let key = |name: &str| format!("{over}-{name}");
        let written = running
            .shared
            .rollout
            .clone()
            .unwrap()
            .journal()
            .written_rows;
        let answer = predict(running, "x", &[0.9, 0.1], &key("known")).await;
        let id = answer["parameters"]["prediction_id"].as_str().unwrap();
        let old = predict(running, "brief", &[0.9], &key("old")).await;
        let old = old["parameters"]["prediction_id"].clone();
        until_written(running, written + 3).await;
        let of_id = |id: &str| json!({"prediction_id": id, "value": true});
        let known = key("known");
        let table = [
            (keyed(&known, true, &[]), "joined", ""),
            (keyed(&known, 1, &[]), "duplicate", ""),
            (of_id(id), "duplicate", ""),
            (keyed(&known, false, &[]), "joined", ""),
            (of_id(&format!("{id}.1")), "joined", ""),
            (keyed(&known, true, &[("row", 1.into())]), "duplicate", ""),
            (
                json!({"prediction_id": id, "row": 1, "value": true}),
                "duplicate",
                "",
            ),
            (keyed(&key("early"), true, &[]), "pending", ""),
            (keyed(&key("early"), true, &[]), "duplicate", ""),
            (json!({"prediction_id": old, "value": true}), "late", ""),
            (of_id("6f1b3c52-7a51-4a0e-9d8c-0f3d7f4e2b11"), "orphan", ""),
            (
                keyed(&known, true, &[("slot", "nothing".into())]),
                "refused",
                "served",
            ),
            (
                json!({"slot": "brief", "prediction_id": id, "value": 1}),
                "refused",
                "slot of the prediction",
            ),
            (json!({"key": known, "value": true}), "refused", "slot"),
            (keyed(&known, 0.5, &[]), "refused", "true, false, 1 or 0"),
            (keyed(&known, "fraud", &[]), "refused", "class"),
            (json!({"slot": "x", "key": known}), "refused", "value"),
            (
                keyed(
                    &known,
                    true,
                    &[("event_time", 32_503_680_000_000_i64.into())],
                ),
                "refused",
                "future",
            ),
            (of_id("17"), "refused", "prediction_id"),
            (
                json!({"prediction_id": id, "value": 0.5}),
                "refused",
                "true, false, 1 or 0",
            ),
            (json!({"slot": "x", "value": true}), "refused", "key"),
            (
                keyed(&known, true, &[("weight", json!(-1.0))]),
                "refused",
                "weight",
            ),
            (
                keyed(&known, true, &[("weight", json!(0))]),
                "refused",
                "weight",
            ),
            (
                keyed(&known, true, &[("prediction_id", id.into())]),
                "refused",
                "both",
            ),
            (
                keyed(&known, true, &[("lable", true.into())]),
                "refused",
                "unknown field",
            ),
        ];
        let expected = table
            .iter()
            .filter(|it| over == "http" || outcome(&it.0).is_some());
        let sent: Vec<Value> = table.iter().map(|it| it.0.clone()).collect();
        let told = send(running, &mut grpc, over, &sent).await;
        for ((label, status, says), (got, error)) in expected.zip(&told) {
            assert_eq!(got, status, "{over} {label}: {error}");
            assert!(
                error.contains(says) && error.is_empty() == says.is_empty(),
                "{over} {label}: {error}"
            );
        }
        assert_eq!(told.len(), if over == "http" { 25 } else { 22 });

        // Once the prediction is there the label that waited is its outcome.
        predict(running, "x", &[0.9], &key("early")).await;
        until_written(running, written + 4).await;
        let again = [keyed(&key("early"), true, &[])];
        assert_eq!(
            send(running, &mut grpc, over, &again).await[0].0,
            "duplicate"
        );
        let expected = if over == "http" { 3 } else { 6 };
        until_report(running, "x", |it| it["champion"]["matured"] == expected).await;
    }
    let (_, _, metrics) = http(running.addresses.admin, "GET /metrics", "", b"").await;
    assert!(metrics.contains(r#"status="orphan"} 2"#), "{metrics}");
    for name in [
        r#"hedgerow_feedback_waited_labels_total{outcome="met"} "#,
        r#"hedgerow_feedback_waited_labels_total{outcome="expired"} 0"#,
        "hedgerow_journal_removed_rows_total{} 0",
    ] {
        assert!(metrics.contains(name), "expected {name} in {metrics}");
    }
    site.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_cannot_be_taken_say_why() {
    let site = site_of_x(|config| config.api.body_bytes_max = 8 << 20).await;
    let running = &site.running;
    let label = r#"{"slot":"x","key":"k","value":1}"#;
    let many = format!("[{}]", vec![label; 100_001].join(","));
    let zeros = format!("[{}0]", "0,".repeat(3 << 20));
    let spaces = " ".repeat((8 << 20) + 1);
    for (body, status, says) in [
        (
            r#"{"slot":"x","key":"k","value":0.5}"#,
            400,
            "true, false, 1 or 0",
        ),
        (r#"{"slot":"x","kex":"k","value":1}"#, 400, "unknown field"),
        ("", 400, "expected a JSON object"),
        ("[1", 400, "not JSON"),
        (&many, 413, "at most 100000"),
        (&zeros, 413, "at most 100000"),
        (
            r#"{"slot":"x","key":[[0]],"value":1}"#,
            400,
            "expected a text, a number",
        ),
        (
            r#"{"slot":"x","key":0.5,"value":1}"#,
            400,
            "send it as a text",
        ),
        (
            r#"{"slot":"x","key":"k","value":1,"source":""}"#,
            400,
            "source: expected 1 to 100 bytes",
        ),
        (&spaces, 413, "body"),
    ] {
        let (got, _, text) = http(
            running.addresses.http,
            "POST /v1/feedback",
            "",
            body.as_bytes(),
        )
        .await;
        assert_eq!(got, status, "{}: {text}", &body[..body.len().min(80)]);
        assert!(text.contains(says), "{text}");
    }
    let one = loop_pb::Outcome {
        slot: "x".to_string(),
        target: Some(Target::Key("k".to_string())),
        value: Some(Given::IsPositive(true)),
        ..loop_pb::Outcome::default()
    };
    let labels = vec![one.clone(); 100_001];
    let refused = client(running)
        .await
        .label(loop_pb::LabelRequest { labels })
        .await;
    assert_eq!(refused.unwrap_err().code() as i32, Code::TooLarge.grpc());
    // Two bytes of a message each.
    let labels = vec![loop_pb::Outcome::default(); 1 << 20];
    let refused = client(running)
        .await
        .label(loop_pb::LabelRequest { labels })
        .await;
    assert_eq!(refused.unwrap_err().code() as i32, Code::TooLarge.grpc());
    assert_eq!(running.shared.bodies.used(), 0);
    // Four bodies with too many, and eight that count as one each.
    let (_, _, metrics) = http(running.addresses.admin, "GET /metrics", "", b"").await;
    let refused = format!("{{status=\"refused\"}} {}", 4 * 100_001 + 8);
    assert!(
        metrics.contains(&refused),
        "expected {refused} in {metrics}"
    );
    site.running.stop().await.unwrap();

    // A server whose slots have no trials has no use for labels.
    let models = tempfile::tempdir().unwrap();
    let running = start(config(models.path())).await;
    let labels = vec![one];
    let refused = client(&running)
        .await
        .label(loop_pb::LabelRequest { labels })
        .await;
    assert_eq!(refused.unwrap_err().code() as i32, Code::Conflict.grpc());
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_labels_of_one_request_are_taken() {
    let site = site_of_x(|_| {}).await;
    let running = &site.running;
    let rows: Vec<f64> = (0..10_000).map(|row| f64::from(row % 10) / 10.0).collect();
    predict(running, "x", &rows, "bulk").await;
    until_written(running, 10_000).await;
    let answer = label(running, "x", "bulk", &truth(same, &rows)).await;
    assert_eq!(answer["counts"]["joined"], 10_000, "{}", answer["counts"]);
    until_report(running, "x", |it| it["champion"]["matured"] == 10_000).await;
    site.running.stop().await.unwrap();
}

/// The share of requests that the caller is asked to let through, and what becomes of the others.
#[tokio::test(flavor = "multi_thread")]
async fn blocked_rows_count_only_where_they_were_held_out() {
    for (share, fewest, most) in [(1.0, 60, 60), (0.5, 10, 50)] {
        let hold_out = |slot: &mut SlotSettings| slot.holdout_share = share;
        let site = site_of_x(|config| {
            hold_out(&mut config.rollout.slot);
            config.serve.slot.watch.holdout_share = share;
        })
        .await;
        let running = &site.running;
        let mut held_out = 0;
        let mut labels = Vec::new();
        for row in 0..60 {
            let answer = predict(running, "x", &[0.9], &row.to_string()).await;
            held_out += usize::from(answer["parameters"]["holdout"] == true);
            labels.push(keyed(&row.to_string(), true, &[]).to_string());
        }
        assert!((fewest..=most).contains(&held_out), "{share}: {held_out}");
        // The last one is not blocked, and outcomes count in their order.
        predict(running, "x", &[0.1], "last").await;
        labels.push(keyed("last", false, &[]).to_string());
        until_written(running, 61).await;
        let answer = lines_in(running, &labels.join("\n")).await;
        assert_eq!(answer["counts"]["joined"], 61, "{answer}");
        let report = until_report(running, "x", |it| it["champion"]["matured"] != 0).await;
        assert_eq!(report["champion"]["matured"], held_out + 1);
        site.running.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_come_in_the_body_or_in_a_header_and_are_limited() {
    let site = site_of_x(|_| {}).await;
    let running = &site.running;
    let path = "POST /v2/models/x/infer";
    let body = r#"{"inputs":[{"name":"input","datatype":"FP64","shape":[1,1],"data":[0.9]}]}"#;
    let header = "x-hedgerow-key: 42\r\n";
    let address = running.addresses.http;
    let (status, _, text) = http(address, path, header, body.as_bytes()).await;
    assert_eq!(status, 200, "{text}");
    until_written(running, 1).await;
    let sent = json!({"slot": "x", "key": 42, "value": true, "source": "analyst", "weight": 2.5});
    let (_, answer) = call(address, "POST /v1/feedback", &sent).await;
    assert_eq!(answer["status"], "joined", "{answer}");
    let written = br#"{"slot":"x","key":4.2e1,"value":true,"source":"analyst","weight":2.5}"#;
    let (_, _, text) = http(address, "POST /v1/feedback", "", written).await;
    assert!(text.contains("duplicate"), "{text}");
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packed, sent.to_string().as_bytes()).unwrap();
    let packed = packed.finish().unwrap();
    let header = "content-encoding: gzip\r\n";
    let (_, _, text) = http(address, "POST /v1/feedback", header, &packed).await;
    assert!(text.contains("duplicate"), "{text}");
    let numbered = body.replace("{\"inputs\"", "{\"parameters\":{\"key\":420e-1},\"inputs\"");
    let (status, _, text) = http(address, path, "", numbered.as_bytes()).await;
    assert_eq!(status, 200, "{text}");
    until_written(running, 2).await;
    let both = json!({"slot": "x", "key": "42", "value": true, "source": "second"});
    let (_, answer) = call(address, "POST /v1/feedback", &both).await;
    assert_eq!(answer["status"], "joined", "{answer}");
    let (status, _, text) =
        http(address, path, "x-hedgerow-key: Zürich\r\n", body.as_bytes()).await;
    assert_eq!(status, 200, "{text}");
    until_written(running, 3).await;
    let sent_there = json!({"slot": "x", "key": "Zürich", "value": true});
    let (_, answer) = call(address, "POST /v1/feedback", &sent_there).await;
    assert_eq!(answer["status"], "joined", "{answer}");
    for key in [String::new(), "k".repeat(257)] {
        let (status, answer) = call(address, path, &infer_body(&[0.9], &key)).await;
        assert_eq!(status, 400, "{answer}");
        let sent = json!({"slot": "x", "key": key, "value": true});
        let (status, answer) = call(address, "POST /v1/feedback", &sent).await;
        assert_eq!(status, 400, "{answer}");
    }
    site.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn classes_are_labels_by_number_or_name() {
    let site = site(|config| {
        config.rollout.slot.kind = Kind::Auto;
        config.rollout.slot.gates.clear();
    })
    .await;
    let running = &site.running;
    let model = "models/dermatology-xgb/1";
    copy(model, &site.models.path().join("skin/1"));
    until_champion(running, "skin", 1).await;
    let path = format!("{}/{model}/golden.json", env!("CARGO_MANIFEST_DIR"));
    let golden: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let rows = golden["rows"].as_array().unwrap();
    let body = json!({"instances": rows, "parameters": {"key": "batch"}});
    let path = "POST /v1/models/skin:predict";
    let (status, answer) = call(running.addresses.http, path, &body).await;
    assert_eq!(status, 200, "{answer}");
    until_written(running, rows.len() as u64).await;
    let best = |scores: &Value| {
        let scores = scores.as_array().unwrap().iter();
        let scores = scores.map(|it| it.as_f64().unwrap()).enumerate();
        scores.max_by(|a, b| a.1.total_cmp(&b.1)).unwrap().0
    };
    let line = |(row, scores): (usize, &Value)| {
        json!({"slot": "skin", "key": "batch", "row": row, "value": best(scores)}).to_string()
    };
    let predicted = golden["outputs"]["predict"].as_array().unwrap();
    let lines: Vec<String> = predicted.iter().enumerate().map(line).collect();
    let answer = lines_in(running, &lines.join("\n")).await;
    assert_eq!(answer["counts"]["joined"], rows.len(), "{answer}");
    let matured = |it: &Value| it["champion"]["matured"] == rows.len();
    let report = until_report(running, "skin", matured).await;
    assert_eq!(report["task"], "multiclass");
    let metrics = report["champion"]["metrics"].as_array().unwrap();
    let accuracy = metrics.iter().find(|it| it["name"] == "accuracy").unwrap();
    assert_eq!(accuracy["value"], 1.0);
    for (value, expected) in [
        (json!("psoriasis"), 200),
        (json!("freckles"), 400),
        (json!(6), 400),
        (json!(0.5), 400),
        (json!(-1), 400),
    ] {
        let sent = json!({"slot": "skin", "key": "batch", "value": value});
        let (status, answer) = call(running.addresses.http, "POST /v1/feedback", &sent).await;
        assert_eq!(status, expected, "{value}: {answer}");
    }
    site.running.stop().await.unwrap();
}
