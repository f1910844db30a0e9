//! `parameters.explain` and the extra outputs over every protocol: one table of cases, asked as JSON,
//! with binary tensors, over gRPC with typed and with raw contents.

use std::collections::BTreeMap;
use std::path::Path;

use hedgerow::api::grpc::pb;
use hedgerow::app::Running;
use hedgerow::engine::Extra;
use hedgerow::error::Code;
use hedgerow::tensor::{Element, Rows};
use pb::infer_parameter::ParameterChoice;
use serde_json::{Value, json};

use crate::support::{add_gated, config, http, http_bytes, start};

type Client =
    pb::grpc_inference_service_client::GrpcInferenceServiceClient<tonic::transport::Channel>;

/// A tensor of an answer: its shape, and its values as texts, numbers as `{:?}` of a double.
type Tensors = Vec<(String, Vec<i64>, Vec<String>)>;

const ROWS: usize = 3;

async fn server() -> Running {
    start(config(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("models"),
    ))
    .await
}

/// Some rows of a model of numbers only.
fn values(features: usize) -> Vec<f64> {
    let value = |index: usize| f64::from((index * 7919 % 200) as f32 / 100.0 - 1.0);
    (0..ROWS * features).map(value).collect()
}

fn rows(values: Vec<f64>, features: usize, element: Element) -> Rows {
    Rows::from_f64(values, features, element).unwrap()
}

fn features(running: &Running, model: &str) -> usize {
    let revision = running.shared.server.revision(model, None).unwrap();
    revision.signature.columns.len()
}

fn body(running: &Running, model: &str, explain: &Value, outputs: &[&str]) -> Value {
    let features = features(running, model);
    let mut body = json!({
        "inputs": [{
            "name": "input", "datatype": "FP64", "shape": [ROWS, features],
            "data": values(features),
        }],
        "outputs": outputs.iter().map(|name| json!({ "name": name })).collect::<Vec<_>>(),
        "parameters": {},
    });
    if *explain != Value::Null {
        body["parameters"]["explain"] = explain.clone();
    }
    body
}

fn text(number: f64) -> String {
    format!("{number:?}")
}

/// Values of an answer's tensor, numbers of 32 bits widened.
fn from_json(datatype: &str, value: &Value) -> String {
    match (datatype, value) {
        ("BYTES", Value::String(name)) => name.clone(),
        ("FP32", value) => text(f64::from(value.as_f64().unwrap() as f32)),
        (_, value) => text(value.as_f64().unwrap()),
    }
}

fn from_bytes(datatype: &str, mut bytes: &[u8]) -> Vec<String> {
    let mut values = Vec::new();
    while !bytes.is_empty() {
        let size = match datatype {
            "FP64" => 8,
            "BYTES" => 4 + u32::from_le_bytes(bytes[..4].try_into().unwrap()) as usize,
            _ => 4,
        };
        let (value, rest) = bytes.split_at(size);
        bytes = rest;
        values.push(match datatype {
            "FP64" => text(f64::from_le_bytes(value.try_into().unwrap())),
            "FP32" => text(f64::from(f32::from_le_bytes(value.try_into().unwrap()))),
            "INT32" => text(f64::from(i32::from_le_bytes(value.try_into().unwrap()))),
            "BYTES" => String::from_utf8(value[4..].to_vec()).unwrap(),
            other => panic!("unexpected datatype {other}"),
        });
    }
    values
}

fn shape_of(output: &Value) -> Vec<i64> {
    let shape = output["shape"].as_array().unwrap();
    shape.iter().map(|size| size.as_i64().unwrap()).collect()
}

async fn ask_json(running: &Running, model: &str, body: &Value) -> Result<Tensors, (u16, String)> {
    let path = format!("POST /v2/models/{model}/infer");
    let bytes = body.to_string().into_bytes();
    let (status, _, text) = http(running.addresses.http, &path, "", &bytes).await;
    if status != 200 {
        return Err((status, text));
    }
    let answer: Value = serde_json::from_str(&text).unwrap();
    let outputs = answer["outputs"].as_array().unwrap().iter();
    Ok(outputs
        .map(|output| {
            let datatype = output["datatype"].as_str().unwrap();
            let data = output["data"].as_array().unwrap().iter();
            let values = data.map(|value| from_json(datatype, value)).collect();
            let name = output["name"].as_str().unwrap().to_string();
            (name, shape_of(output), values)
        })
        .collect())
}

async fn ask_binary(running: &Running, model: &str, body: &Value) -> Tensors {
    let mut body = body.clone();
    body["parameters"]["binary_data_output"] = json!(true);
    let path = format!("POST /v2/models/{model}/infer");
    let bytes = body.to_string().into_bytes();
    let (status, headers, answer) = http_bytes(running.addresses.http, &path, "", &bytes).await;
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
    let length = headers["inference-header-content-length"].parse().unwrap();
    let (head, mut rest) = answer.split_at(length);
    let head: Value = serde_json::from_slice(head).unwrap();
    let mut tensors = Tensors::new();
    for output in head["outputs"].as_array().unwrap() {
        let size = output["parameters"]["binary_data_size"].as_u64().unwrap();
        let (bytes, others) = rest.split_at(size as usize);
        rest = others;
        tensors.push((
            output["name"].as_str().unwrap().to_string(),
            shape_of(output),
            from_bytes(output["datatype"].as_str().unwrap(), bytes),
        ));
    }
    tensors
}

async fn ask_grpc(
    running: &Running,
    model: &str,
    body: &Value,
    raw: bool,
) -> Result<Tensors, tonic::Status> {
    let features = features(running, model);
    let mut request = pb::ModelInferRequest {
        model_name: model.to_string(),
        inputs: vec![pb::model_infer_request::InferInputTensor {
            name: "input".to_string(),
            datatype: "FP64".to_string(),
            shape: vec![ROWS as i64, features as i64],
            ..Default::default()
        }],
        ..Default::default()
    };
    let values = values(features);
    if raw {
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        request.raw_input_contents = vec![bytes.into()];
    } else {
        request.inputs[0].contents = Some(pb::InferTensorContents {
            fp64_contents: values,
            ..Default::default()
        });
    }
    for output in body["outputs"].as_array().unwrap() {
        request
            .outputs
            .push(pb::model_infer_request::InferRequestedOutputTensor {
                name: output["name"].as_str().unwrap().to_string(),
                ..Default::default()
            });
    }
    let choice = match &body["parameters"]["explain"] {
        Value::Null => None,
        Value::String(text) => Some(ParameterChoice::StringParam(text.clone())),
        Value::Bool(value) => Some(ParameterChoice::BoolParam(*value)),
        number if number.is_i64() => number.as_i64().map(ParameterChoice::Int64Param),
        number => number.as_f64().map(ParameterChoice::DoubleParam),
    };
    if choice.is_some() {
        let parameter = pb::InferParameter {
            parameter_choice: choice,
        };
        request.parameters.insert("explain".to_string(), parameter);
    }
    let address = format!("http://{}", running.addresses.grpc);
    let mut client = Client::connect(address).await.unwrap();
    let answer = client.model_infer(request).await?.into_inner();
    let mut tensors = Tensors::new();
    for (index, output) in answer.outputs.iter().enumerate() {
        let values = if raw {
            from_bytes(&output.datatype, &answer.raw_output_contents[index])
        } else {
            let contents = output.contents.clone().unwrap();
            let mut values: Vec<String> = contents.fp64_contents.into_iter().map(text).collect();
            values.extend(
                contents
                    .fp32_contents
                    .into_iter()
                    .map(|value| text(value.into())),
            );
            values.extend(
                contents
                    .int_contents
                    .into_iter()
                    .map(|value| text(value.into())),
            );
            let texts = contents.bytes_contents.into_iter();
            values.extend(texts.map(|value| String::from_utf8(value.to_vec()).unwrap()));
            values
        };
        tensors.push((output.name.clone(), output.shape.clone(), values));
    }
    Ok(tensors)
}

/// What the engine says itself, as the answer's texts.
fn of_engine(running: &Running, model: &str, extra: Extra) -> (Vec<i64>, Vec<f64>) {
    let revision = running.shared.server.revision(model, None).unwrap();
    let features = features(running, model);
    let mut shape = vec![ROWS as i64];
    let dims = revision.engine.extra_shape(extra).unwrap();
    shape.extend(dims.iter().map(|size| *size as i64));
    let mut out = vec![0.0; ROWS * dims.iter().product::<usize>()];
    let element = revision.signature.element;
    let rows = rows(values(features), features, element);
    revision.engine.extra(extra, &rows, &mut out).unwrap();
    if element == Element::F32 {
        out = out
            .into_iter()
            .map(|value| f64::from(value as f32))
            .collect();
    }
    (shape, out)
}

/// The reasons by a sort of all contributions.
fn of_reasons(running: &Running, model: &str, top: usize) -> Tensors {
    let (mut shape, values) = of_engine(running, model, Extra::Contributions);
    let revision = running.shared.server.revision(model, None).unwrap();
    let columns = shape.pop().unwrap() as usize;
    shape.push(top as i64);
    let (mut names, mut contributions) = (Vec::new(), Vec::new());
    for values in values.chunks(columns) {
        let mut left: BTreeMap<usize, f64> =
            values[..columns - 1].iter().copied().enumerate().collect();
        for _ in 0..top {
            let largest = left
                .values()
                .fold(-1.0_f64, |max, value| max.max(value.abs()));
            let (feature, value) = left
                .iter()
                .find(|(_, value)| value.abs() == largest)
                .unwrap();
            let (feature, value) = (*feature, *value);
            left.remove(&feature);
            names.push(revision.signature.columns[feature].name.clone());
            contributions.push(text(value));
        }
    }
    vec![
        ("reasons".to_string(), shape.clone(), names),
        ("reason_contributions".to_string(), shape, contributions),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn explanations_are_the_engines_over_every_protocol() {
    let running = server().await;
    let tensor = |model: &str, name: &str, extra: Extra| {
        let (shape, values) = of_engine(&running, model, extra);
        (
            name.to_string(),
            shape,
            values.into_iter().map(text).collect(),
        )
    };
    for model in ["diabetes-lgbm", "fraud-xgb", "dermatology-xgb"] {
        let all = || tensor(model, "contributions", Extra::Contributions);
        let leaves = || tensor(model, "leaves", Extra::Leaves);
        let last = features(&running, model);
        let mixed = [vec![leaves()], of_reasons(&running, model, 1)].concat();
        let cases: [(Value, &[&str], Tensors); 8] = [
            (json!("all"), &[], vec![all()]),
            (json!(3), &[], of_reasons(&running, model, 3)),
            (json!("2"), &[], of_reasons(&running, model, 2)),
            (json!(last), &[], of_reasons(&running, model, last)),
            (Value::Null, &["leaves"], vec![leaves()]),
            (
                Value::Null,
                &["contributions", "leaves"],
                vec![all(), leaves()],
            ),
            (
                json!("all"),
                &["leaves", "contributions"],
                vec![leaves(), all()],
            ),
            (json!(1), &["leaves"], mixed),
        ];
        let plain = ask_json(&running, model, &body(&running, model, &Value::Null, &[])).await;
        let plain = plain.unwrap();
        for (explain, outputs, expected) in cases {
            let body = body(&running, model, &explain, outputs);
            // With no outputs named, the prediction comes first, and is what it is without.
            let expected = match outputs {
                [] => [plain.clone(), expected].concat(),
                _ => expected,
            };
            let name = format!("{model}, {explain}, {outputs:?}");
            assert_eq!(
                ask_json(&running, model, &body).await.unwrap(),
                expected,
                "{name}"
            );
            assert_eq!(
                ask_binary(&running, model, &body).await,
                expected,
                "{name}, binary"
            );
            for raw in [false, true] {
                let got = ask_grpc(&running, model, &body, raw).await.unwrap();
                assert_eq!(got, expected, "{name}, gRPC, raw {raw}");
            }
        }
    }
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn contributions_add_up_to_the_raw_score() {
    let running = server().await;
    for (model, scores) in [
        ("diabetes-lgbm", 1),
        ("fraud-xgb", 1),
        ("dermatology-xgb", 6),
    ] {
        let body = body(&running, model, &json!("all"), &["raw", "contributions"]);
        let answer = ask_json(&running, model, &body).await.unwrap();
        let numbers = |values: &[String]| -> Vec<f64> {
            values.iter().map(|value| value.parse().unwrap()).collect()
        };
        let (raw, all) = (numbers(&answer[0].2), numbers(&answer[1].2));
        assert_eq!(raw.len(), ROWS * scores);
        for (raw, parts) in raw.iter().zip(all.chunks(all.len() / raw.len())) {
            let sum: f64 = parts.iter().sum();
            assert!(
                (raw - sum).abs() < 1e-5 * raw.abs().max(1.0),
                "{raw} and {sum}"
            );
        }
    }
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_explained_is_refused_alike_by_both_protocols() {
    let running = server().await;
    add_gated(&running, "gated");
    let model = "diabetes-lgbm";
    let allowed = "expected \"all\" or a number of features from 1 to";
    let onnx = "how much training data came to each node, which onnx models do not say";
    let cases: [(&str, Value, &[&str], &str); 13] = [
        (
            model,
            json!(0),
            &[],
            "expected \"all\" or a number of features from 1 to 10",
        ),
        (
            model,
            json!(11),
            &[],
            "expected \"all\" or a number of features from 1 to 10",
        ),
        (model, json!(-1), &[], allowed),
        (model, json!(1.5), &[], allowed),
        (model, json!("some"), &[], allowed),
        (model, json!(true), &[], allowed),
        (
            model,
            Value::Null,
            &["reasons"],
            "needs the parameter \"explain\" with a number",
        ),
        (
            model,
            json!("all"),
            &["reasons"],
            "needs the parameter \"explain\" with a number",
        ),
        (model, Value::Null, &["leaves", "leaves"], "asked for twice"),
        (
            model,
            Value::Null,
            &["nothing"],
            "expected predict, raw, contributions, leaves",
        ),
        ("cancer-catboost", json!("all"), &[], onnx),
        (
            "cancer-catboost",
            Value::Null,
            &["leaves"],
            "no numbers in onnx models",
        ),
        ("gated", json!(1), &[], "not supported by the engine gated"),
    ];
    for (model, explain, outputs, says) in cases {
        let body = body(&running, model, &explain, outputs);
        let name = format!("{model}, {explain}, {outputs:?}");
        let (status, text) = ask_json(&running, model, &body).await.unwrap_err();
        let error: Value = serde_json::from_str(&text).unwrap();
        let error = error["error"].as_str().unwrap();
        assert_eq!(status, Code::InvalidArgument.http(), "{name}: {error}");
        assert!(error.contains(says), "{name}: {error}");
        let status = ask_grpc(&running, model, &body, false).await.unwrap_err();
        assert_eq!(status.code() as i32, Code::InvalidArgument.grpc(), "{name}");
        assert!(status.message().contains(says), "{name}: {status:?}");
    }
    running.stop().await.unwrap();

    let mut settings = config(&Path::new(env!("CARGO_MANIFEST_DIR")).join("models"));
    settings.serve.admission.extra_values_max = ROWS * 11 - 1;
    let running = start(settings).await;
    let all = body(&running, model, &json!("all"), &[]);
    let (status, text) = ask_json(&running, model, &all).await.unwrap_err();
    assert_eq!(status, Code::TooLarge.http());
    assert!(text.contains("admission.extra_values_max is 32"), "{text}");
    let fewer = body(&running, model, &json!(2), &[]);
    assert!(ask_json(&running, model, &fewer).await.is_ok());
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prediction_comes_with_its_reasons() {
    let running = server().await;
    for (model, scores) in [("diabetes-lgbm", 1), ("dermatology-xgb", 6)] {
        let features = features(&running, model);
        let instances: Vec<_> = values(features)
            .chunks(features)
            .map(<[f64]>::to_vec)
            .collect();
        let path = format!("POST /v1/models/{model}:predict");
        let ask = async |explain: Value| {
            let body = json!({ "instances": instances, "parameters": { "explain": explain } });
            let bytes = body.to_string().into_bytes();
            http(running.addresses.http, &path, "", &bytes).await
        };
        let (status, _, text) = ask(json!(2)).await;
        assert_eq!(status, 200, "{text}");
        let answer: Value = serde_json::from_str(&text).unwrap();
        let expected = of_reasons(&running, model, 2);
        let names: Vec<Value> = answer["predictions"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|prediction| {
                let reasons = prediction["reasons"].as_array().unwrap().clone();
                let first = &prediction["reason_contributions"][0];
                match scores {
                    1 => {
                        assert!(first.is_f64());
                        reasons
                    }
                    _ => {
                        assert_eq!(
                            (reasons.len(), first.as_array().unwrap().len()),
                            (scores, 2)
                        );
                        reasons
                            .iter()
                            .flat_map(|one| one.as_array().unwrap().clone())
                            .collect()
                    }
                }
            })
            .collect();
        assert_eq!(names, expected[0].2);
        assert_eq!(ask(json!("no")).await.0, 400);
        let (status, _, text) = ask(Value::Null).await;
        assert!(status == 200 && !text.contains("reasons"), "{text}");
    }
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_lists_what_may_be_asked_for() {
    let running = server().await;
    let about = async |model: &str| -> Value {
        let path = format!("GET /v2/models/{model}");
        let (_, _, text) = http(running.addresses.http, &path, "", b"").await;
        serde_json::from_str(&text).unwrap()
    };
    assert_eq!(
        about("diabetes-lgbm").await["parameters"]["extras"][0],
        json!({ "name": "contributions", "datatype": "FP64", "shape": [-1, 11] })
    );
    let extras = about("dermatology-xgb").await["parameters"]["extras"].clone();
    assert_eq!(extras[0]["shape"], json!([-1, 6, 35]));
    assert_eq!(
        (&extras[1]["name"], &extras[1]["datatype"]),
        (&json!("leaves"), &json!("INT32"))
    );
    assert_eq!(
        about("cancer-catboost").await["parameters"]["extras"],
        json!([])
    );
    running.stop().await.unwrap();
}
