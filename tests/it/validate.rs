//! Rules at the door, over both protocols: what is refused, flagged and changed, what is counted, and
//! what a profile beside a model implies.

mod recorded;

use std::path::Path;

use hedgerow::api::grpc::pb;
use hedgerow::app::Running;
use hedgerow::config::Config;
use hedgerow::model::rules::{Action, SlotRules};
use hedgerow::serve::cache;
use pb::grpc_inference_service_client::GrpcInferenceServiceClient as Client;
use pb::infer_parameter::ParameterChoice;
use serde_json::{Value, json};

use crate::support::{config, copy, copy_plain, http, start};

const FRAUD: &str = "models/fraud-xgb/1";
const CITIES: &str = "tests/golden/lgb-text-category";

/// Column names and the first golden row of a model.
fn golden(dir: &str) -> (Vec<String>, Vec<Value>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(dir)
        .join("golden.json");
    let mut golden: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let names = serde_json::from_value(golden["columns"].take()).unwrap();
    let row = golden["rows"][0].take();
    (names, serde_json::from_value(row).unwrap())
}

fn set(config: &mut Config, slot: &str, rules: &[&str], defaults: Option<Action>) {
    let texts: Vec<String> = rules.iter().map(|it| it.to_string()).collect();
    let rules = SlotRules {
        rules: SlotRules::parse(&texts).unwrap(),
        defaults,
    };
    config.revision.rules.slots.insert(slot.to_string(), rules);
}

/// Rows as records, by feature.
async fn predict(running: &Running, slot: &str, rows: &[Value]) -> (u16, Value) {
    let body = json!({ "instances": rows }).to_string();
    let path = format!("POST /v1/models/{slot}:predict");
    let (status, _, text) = http(running.addresses.http, &path, "", body.as_bytes()).await;
    (status, serde_json::from_str(&text).unwrap())
}

/// Rows as one tensor of numbers.
async fn infer(running: &Running, slot: &str, rows: &[Vec<f64>]) -> (u16, Value) {
    let shape = [rows.len(), rows[0].len()];
    let input = json!({"name": "input", "datatype": "FP64", "shape": shape, "data": rows.concat()});
    let body = json!({ "inputs": [input] }).to_string();
    let path = format!("POST /v2/models/{slot}/infer");
    let (status, _, text) = http(running.addresses.http, &path, "", body.as_bytes()).await;
    (status, serde_json::from_str(&text).unwrap())
}

/// The same over gRPC: the answer's parameters and its first output.
async fn call(
    running: &Running,
    slot: &str,
    rows: &[Vec<f64>],
) -> Result<(Value, Vec<f32>), tonic::Status> {
    let address = format!("http://{}", running.addresses.grpc);
    let mut client = Client::connect(address).await.unwrap();
    let message = pb::ModelInferRequest {
        model_name: slot.to_string(),
        inputs: vec![pb::model_infer_request::InferInputTensor {
            name: "input".to_string(),
            datatype: "FP64".to_string(),
            shape: vec![rows.len() as i64, rows[0].len() as i64],
            contents: Some(pb::InferTensorContents {
                fp64_contents: rows.concat(),
                ..Default::default()
            }),
            ..Default::default()
        }],
        ..Default::default()
    };
    let answer = client.model_infer(message).await?.into_inner();
    let mut parameters = json!({});
    for (name, parameter) in answer.parameters {
        parameters[name] = match parameter.parameter_choice {
            Some(ParameterChoice::Int64Param(count)) => json!(count),
            other => panic!("{other:?}"),
        };
    }
    let contents = answer.outputs[0].contents.clone().unwrap();
    Ok((parameters, contents.fp32_contents))
}

async fn metrics(running: &Running) -> String {
    let (_, _, metrics) = http(running.addresses.admin, "GET /metrics", "", b"").await;
    metrics
}

fn series(slot: &str, feature: &str, check: &str, action: &str, rows: u64) -> String {
    format!(
        "hedgerow_validation_rows_total{{slot=\"{slot}\",revision=\"1\",feature=\"{feature}\",check=\"{check}\",action=\"{action}\"}} {rows}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_refused_flagged_and_clamped_over_both_protocols() {
    let models = tempfile::tempdir().unwrap();
    let mut config = config(models.path());
    for slot in ["plain", "reject", "flag", "clamp"] {
        copy_plain(FRAUD, &models.path().join(slot).join("1"));
    }
    set(&mut config, "plain", &[], Some(Action::Flag));
    set(
        &mut config,
        "reject",
        &["lepton_pT: 0.5..0.75 reject"],
        None,
    );
    set(
        &mut config,
        "flag",
        &["lepton_pT: 0.5..0.75 flag", "*: required flag"],
        None,
    );
    set(
        &mut config,
        "clamp",
        &["lepton_pT: 0.5..0.75 clamp", "lepton_qT: 0.. flag"],
        None,
    );
    let running = start(config).await;
    let (names, golden) = golden(FRAUD);
    let row: Vec<f64> = golden.iter().map(|it| it.as_f64().unwrap()).collect();
    let with = |first: f64| [&[first], &row[1..]].concat();
    let record = |row: &[f64]| -> Value {
        let pairs = names.iter().zip(row);
        pairs
            .map(|(name, value)| (name.clone(), json!(value)))
            .collect()
    };
    let sent = [row.clone(), with(99.0), with(-1.0)];
    let records = sent.clone().map(|it| record(&it));
    let allowed = [row.clone(), with(0.75), with(0.5)];

    let (status, as_sent) = infer(&running, "plain", &sent).await;
    assert_eq!((status, &as_sent["parameters"]), (200, &Value::Null));
    let (_, as_allowed) = infer(&running, "plain", &allowed).await;
    assert_ne!(as_sent["outputs"], as_allowed["outputs"]);
    for (slot, parameters, like) in [
        ("plain", json!({}), &as_sent),
        ("flag", json!({"flagged_rows": 2}), &as_sent),
        ("clamp", json!({"clamped_rows": 2}), &as_allowed),
    ] {
        let (status, answer) = infer(&running, slot, &sent).await;
        assert_eq!(
            (status, &answer["outputs"]),
            (200, &like["outputs"]),
            "{slot}"
        );
        let got = answer.get("parameters").cloned().unwrap_or(json!({}));
        assert_eq!(got, parameters, "{slot}");
        let (got, values) = call(&running, slot, &sent).await.unwrap();
        assert_eq!(got, parameters, "{slot}");
        let data: Vec<f32> = serde_json::from_value(like["outputs"][0]["data"].clone()).unwrap();
        assert_eq!(values, data, "{slot}");
        let (status, mut answer) = predict(&running, slot, &records).await;
        assert_eq!(status, 200, "{answer}");
        answer
            .as_object_mut()
            .unwrap()
            .remove("predictions")
            .unwrap();
        assert_eq!(answer, parameters, "{slot}");
    }
    let said = "feature \"lepton_pT\", row 1: 99 is above 0.75 (validate.rules); 2 values in all";
    for (status, answer) in [
        infer(&running, "reject", &sent).await,
        predict(&running, "reject", &records).await,
    ] {
        assert_eq!((status, &answer["error"]), (400, &json!(said)));
    }
    let refused = call(&running, "reject", &sent).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    assert_eq!(refused.message(), said);
    assert_eq!(infer(&running, "reject", &allowed).await.0, 200);

    let metrics = metrics(&running).await;
    let count = metrics.matches("hedgerow_validation_rows_total{").count();
    assert_eq!(count, 3, "{metrics}");
    for action in ["reject", "flag", "clamp"] {
        let line = series(action, "lepton_pT", "range", action, 6);
        assert!(metrics.contains(&line), "no {line} in\n{metrics}");
    }
    // A name that this model does not have is no reason to refuse it, and is not silent.
    let unfit = |slot| {
        let revision = running.shared.server.revision(slot, None).unwrap();
        revision.rules.unfit().to_vec()
    };
    assert_eq!(
        unfit("clamp"),
        ["feature \"lepton_qT\": the model has none"]
    );
    assert!(unfit("flag").is_empty());
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_served_without_a_feature_says_so_at_once() {
    let models = tempfile::tempdir().unwrap();
    copy_plain(FRAUD, &models.path().join("m/1"));
    let running = start(config(models.path())).await;
    let (names, row) = golden(FRAUD);
    let record = |left_out: &[&str]| -> Value {
        let pairs = names.iter().zip(&row);
        let kept = pairs.filter(|(name, _)| !left_out.contains(&name.as_str()));
        kept.map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    };
    let said = "feature \"m_bb\" is missing";
    let (status, answer) = predict(&running, "m", &[record(&["m_bb"]), record(&["m_bb"])]).await;
    assert_eq!((status, &answer["error"]), (400, &json!(said)));
    // Some rows have it.
    for rows in [
        [record(&[]), record(&["m_bb"])],
        [record(&["m_bb"]), record(&[])],
    ] {
        let (status, answer) = predict(&running, "m", &rows).await;
        assert_eq!(status, 400);
        let error = answer["error"].as_str().unwrap();
        assert!(error.contains("feature \"m_bb\", row 1: "), "{error}");
    }
    let tensors = names.iter().zip(&row).filter(|(name, _)| *name != "m_bb");
    let tensor = |(name, value): (&String, &Value)| json!({"name": name, "datatype": "FP64", "shape": [1], "data": [value]});
    let inputs: Vec<Value> = tensors.clone().map(tensor).collect();
    let body = json!({ "inputs": inputs }).to_string();
    let path = "POST /v2/models/m/infer";
    let (status, _, text) = http(running.addresses.http, path, "", body.as_bytes()).await;
    assert_eq!(status, 400);
    assert!(text.contains("m_bb\\\" is missing"), "{text}");
    let message = pb::ModelInferRequest {
        model_name: "m".to_string(),
        inputs: tensors
            .map(|(name, value)| pb::model_infer_request::InferInputTensor {
                name: name.clone(),
                datatype: "FP64".to_string(),
                shape: vec![1],
                contents: Some(pb::InferTensorContents {
                    fp64_contents: vec![value.as_f64().unwrap()],
                    ..Default::default()
                }),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    };
    let address = format!("http://{}", running.addresses.grpc);
    let mut client = Client::connect(address).await.unwrap();
    let refused = client.model_infer(message).await.unwrap_err();
    assert_eq!(refused.message(), said);
    let (_, answer) = predict(&running, "m", &[record(&["m_bb", "m_jj"])]).await;
    let said = "2 features are missing: \"m_jj\", \"m_bb\"";
    assert_eq!(answer["error"], said);
    let metrics = metrics(&running).await;
    for (feature, rows) in [("m_bb", 5), ("m_jj", 1)] {
        let line = series("m", feature, "feature", "reject", rows);
        assert!(metrics.contains(&line), "no {line} in\n{metrics}");
    }
    running.stop().await.unwrap();
}

/// A profile of the model with cities: "city 07" and sizes but 10 never came, `alpha` was from 0 to 1
/// and never missing.
fn profile() -> Value {
    let category = |names: Value, counts: Value| json!({"category": {"names": names, "counts": counts, "other": 0, "complete": true}});
    let number = |low: f64, high: f64| json!({"number": {"range": [low, high], "mean": 0.5, "std": 0.1, "whole": false, "edges": [], "counts": [10]}});
    let city = category(json!(["city 01", "city 02"]), json!([5, 4]));
    let mut features = vec![
        json!({"name": "city", "missing": 1, "values": city}),
        json!({"name": "size", "missing": 0, "values": category(json!([10]), json!([10]))}),
        json!({"name": "alpha", "missing": 0, "values": number(0.0, 1.0)}),
    ];
    for name in ["beta", "gamma", "delta", "epsilon", "zeta"] {
        features.push(json!({"name": name, "missing": 0, "values": number(-100.0, 100.0)}));
    }
    json!({"version": 1, "source": "training", "rows": 10, "features": features})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_beside_the_model_implies_rules() {
    let models = tempfile::tempdir().unwrap();
    let mut config = config(models.path());
    for slot in ["default", "off", "reject", "own"] {
        let dir = models.path().join(slot).join("1");
        std::fs::create_dir_all(models.path().join(slot)).unwrap();
        copy(CITIES, &dir);
        std::fs::write(dir.join("profile.json"), profile().to_string()).unwrap();
    }
    set(&mut config, "off", &[], None);
    set(&mut config, "reject", &[], Some(Action::Reject));
    set(
        &mut config,
        "own",
        &["alpha: ..9 flag", "city: in city 07 flag"],
        Some(Action::Flag),
    );
    let running = start(config).await;
    let row = |city: Value, size: Value, alpha: Value| json!({"city": city, "size": size, "alpha": alpha, "beta": 0, "gamma": 1, "delta": 2, "epsilon": 3, "zeta": 4});
    let null = Value::Null;
    let good = row(json!("city 01"), json!(10), json!(0.5));
    let missing_city = row(null.clone(), json!(10), json!(0.5));
    let unseen = row(json!("city 07"), json!(10), json!(0.5));
    let unknown = row(json!("Atlantis"), json!(20), json!(0.5));
    let far = row(json!("city 02"), json!(10), json!(1.5));
    let nothing = row(json!("city 02"), json!(10), null);
    let rows = [good.clone(), missing_city, unseen, unknown, far, nothing];
    for (slot, flagged) in [
        ("default", json!(4)),
        ("off", Value::Null),
        ("own", json!(4)),
    ] {
        let (status, answer) = predict(&running, slot, &rows).await;
        assert_eq!(
            (status, &answer["flagged_rows"]),
            (200, &flagged),
            "{slot}: {answer}"
        );
    }
    let (status, answer) = predict(&running, "reject", &rows).await;
    assert_eq!(status, 400);
    let said = "feature \"city\", row 2: the category is not one of those that are allowed (validate.defaults); 5 values in all";
    assert_eq!(answer["error"], said);
    assert_eq!(predict(&running, "reject", &[good]).await.0, 200);
    let metrics = metrics(&running).await;
    for line in [
        series("default", "city", "category", "flag", 2),
        series("default", "size", "category", "flag", 1),
        series("default", "alpha", "range", "flag", 1),
        series("default", "alpha", "required", "flag", 1),
        series("own", "city", "category", "flag", 4),
        series("reject", "city", "category", "reject", 2),
    ] {
        assert!(metrics.contains(&line), "no {line} in\n{metrics}");
    }
    assert!(
        !metrics.contains("{slot=\"off\",revision=\"1\",feature"),
        "{metrics}"
    );
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cache_knows_rows_as_they_are_clamped() {
    let models = tempfile::tempdir().unwrap();
    copy_plain(FRAUD, &models.path().join("m/1"));
    let mut config = config(models.path());
    config.serve.slot.cache = cache::Settings {
        capacity_bytes: 1 << 20,
        ttl_s: 0,
    };
    set(&mut config, "m", &["lepton_pT: ..2 clamp"], None);
    let running = start(config).await;
    let (_, golden) = golden(FRAUD);
    let mut row: Vec<f64> = golden.iter().map(|it| it.as_f64().unwrap()).collect();
    for first in [98.0, 99.0] {
        row[0] = first;
        let (status, answer) = infer(&running, "m", &[row.clone()]).await;
        assert_eq!(
            (status, &answer["parameters"]),
            (200, &json!({"clamped_rows": 1}))
        );
    }
    let revision = running.shared.server.revision("m", None).unwrap();
    let hits = &revision.usage.cache_hits;
    assert_eq!(hits.load(std::sync::atomic::Ordering::Relaxed), 1);
    running.stop().await.unwrap();
}
