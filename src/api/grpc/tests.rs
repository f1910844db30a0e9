use std::sync::Arc;

use super::*;
use crate::api::{Aside, Budget, Settings};
use crate::engine::{Choice, Format, Libraries, ModelFile};
use crate::model::artifact::Artifact;
use crate::model::revision;
use crate::serve::{self, Server};
use crate::source::Repository;
use crate::task::Supervisor;
use pb::grpc_inference_service_client::GrpcInferenceServiceClient as Client;
use pb::infer_parameter::ParameterChoice;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tower::util::BoxService;

/// Two features, one split: 1 up to a = 0.5, else 2.
const MODEL: &str = "tree
version=v4
num_class=1
num_tree_per_iteration=1
label_index=0
max_feature_idx=1
objective=regression
feature_names=a b
feature_infos=[0:1] [0:1]
tree_sizes=300

Tree=0
num_leaves=2
num_cat=0
split_feature=0
split_gain=1
threshold=0.5
decision_type=2
left_child=-1
right_child=-2
leaf_value=1 2
leaf_weight=1 1
leaf_count=1 1
internal_value=0
internal_weight=2
internal_count=2
is_linear=0
shrinkage=1


end of trees
";

fn shared(supervisor: &Supervisor) -> Shared {
    let server = Server::start(&serve::Settings::default(), supervisor).unwrap();
    let artifact = Artifact {
        model: ModelFile {
            format: Format::LightgbmText,
            path: "model.txt".into(),
            bytes: MODEL.into(),
        },
        digest: "d".to_string(),
        declared: None,
        golden: None,
        mlflow: None,
        profile: None,
    };
    let settings = revision::Settings {
        engine: Choice::Forest,
        verify: false,
        bytes_max: 1 << 20,
        libraries: Libraries { dir: "".into() },
        rules: Default::default(),
    };
    let revision = revision::prepare("m", 3, artifact, &settings).unwrap();
    server.registry.insert("empty");
    let slot = server.registry.insert("m");
    slot.commit(Arc::new(revision), Instant::now());
    server.set_started();
    Shared {
        server: Arc::new(server),
        repository: Repository::new().0,
        rollout: None,
        drift: None,
        settings: Arc::new(Settings {
            body_bytes_max: 1000,
            ..Settings::default()
        }),
        engines: Arc::default(),
        metrics: Arc::new(crate::telemetry::metrics::Metrics::new(
            std::time::Duration::from_secs(60),
            Instant::now(),
        )),
        bodies: Arc::new(Budget::new("server.bodies_bytes_max", 1 << 20)),
        answers: Arc::new(Budget::new("server.answers_bytes_max", 1 << 20)),
        aside: Aside::new(supervisor, 1),
        connections: Arc::default(),
        tracer: None,
        close: Supervisor::default(),
    }
}

/// A client whose calls are answered as on a connection.
fn client(shared: &Shared) -> Client<Lanes> {
    let entrance = Arc::new(Entrance::grpc(shared.clone()));
    Client::new(BoxService::new(tower::service_fn(move |request| {
        let entrance = Arc::clone(&entrance);
        async move { Ok(answer(&entrance, request, &Arc::default()).await) }
    })))
}

type Lanes = BoxService<
    axum::http::Request<tonic::body::Body>,
    axum::http::Response<Body>,
    std::convert::Infallible,
>;

fn request() -> pb::ModelInferRequest {
    pb::ModelInferRequest {
        model_name: "m".to_string(),
        inputs: vec![pb::model_infer_request::InferInputTensor {
            name: "input".to_string(),
            datatype: "FP64".to_string(),
            shape: vec![2, 2],
            contents: Some(pb::InferTensorContents {
                fp64_contents: vec![0.0, 0.0, 1.0, 0.0],
                ..Default::default()
            }),
            ..Default::default()
        }],
        ..Default::default()
    }
}

#[tokio::test]
async fn a_request_is_answered_as_it_came() {
    let supervisor = Supervisor::default();
    let shared = shared(&supervisor);
    let mut client = client(&shared)
        .accept_compressed(CompressionEncoding::Gzip)
        .send_compressed(CompressionEncoding::Gzip);
    let typed = client.model_infer(request()).await.unwrap().into_inner();
    assert_eq!(
        (typed.model_name.as_str(), typed.model_version.as_str()),
        ("m", "3")
    );
    assert_eq!(typed.id.len(), 36);
    let contents = typed.outputs[0].contents.clone().unwrap();
    assert_eq!(contents.fp64_contents, [1.0, 2.0]);
    assert!(typed.raw_output_contents.is_empty());

    let mut raw = request();
    raw.id = "mine".to_string();
    raw.inputs[0].contents = None;
    let values = [0.0_f64, 0.0, 1.0, 0.0];
    let bytes: Vec<u8> = values.iter().flat_map(|it| it.to_le_bytes()).collect();
    raw.raw_input_contents = vec![bytes.into()];
    let raw = client.model_infer(raw).await.unwrap().into_inner();
    let expected: Vec<u8> = [1.0_f64, 2.0]
        .iter()
        .flat_map(|it| it.to_le_bytes())
        .collect();
    assert_eq!(
        (raw.id.as_str(), &raw.raw_output_contents[0][..]),
        ("mine", &expected[..])
    );
    assert!(raw.outputs[0].contents.is_none());

    let name = "m".to_string();
    let asked = pb::ModelStatisticsRequest {
        name,
        ..Default::default()
    };
    let stats = client
        .model_statistics(asked)
        .await
        .unwrap()
        .into_inner()
        .model_stats;
    let requests = stats[0].inference_stats.unwrap();
    assert_eq!(
        (stats[0].inference_count, requests.success.unwrap().count),
        (4, 2)
    );
}

#[tokio::test]
async fn what_is_wrong_has_its_status() {
    let supervisor = Supervisor::default();
    let mut client = client(&shared(&supervisor));
    let mut check = async |change: &dyn Fn(&mut Request<pb::ModelInferRequest>), expected| {
        let mut request = Request::new(request());
        change(&mut request);
        let status = client.model_infer(request).await.unwrap_err();
        assert_eq!(status.code(), expected, "{}", status.message());
    };
    let late = |it: &mut Request<pb::ModelInferRequest>| {
        it.metadata_mut()
            .insert("grpc-timeout", MetadataValue::from_static("0n"));
    };
    let broken = |it: &mut Request<pb::ModelInferRequest>| {
        it.metadata_mut()
            .insert("grpc-timeout", MetadataValue::from_static("soon"));
    };
    check(&late, tonic::Code::DeadlineExceeded).await;
    check(&broken, tonic::Code::InvalidArgument).await;
    check(
        &|it| it.get_mut().model_name = "x".to_string(),
        tonic::Code::NotFound,
    )
    .await;
    check(
        &|it| it.get_mut().model_name = "empty".to_string(),
        tonic::Code::Unavailable,
    )
    .await;
    check(
        &|it| it.get_mut().model_version = "4".to_string(),
        tonic::Code::NotFound,
    )
    .await;
    check(
        &|it| it.get_mut().model_version = "x".to_string(),
        tonic::Code::NotFound,
    )
    .await;
    check(
        &|it| it.get_mut().inputs.clear(),
        tonic::Code::InvalidArgument,
    )
    .await;
    check(
        &|it| it.get_mut().id = "x".repeat(2000),
        tonic::Code::OutOfRange,
    )
    .await;
    let classification = |it: &mut Request<pb::ModelInferRequest>| {
        let parameter_choice = Some(ParameterChoice::Int64Param(2));
        let mut output = pb::model_infer_request::InferRequestedOutputTensor::default();
        let parameter = pb::InferParameter { parameter_choice };
        output
            .parameters
            .insert("classification".to_string(), parameter);
        it.get_mut().outputs = vec![output];
    };
    check(&classification, tonic::Code::Unimplemented).await;
}

#[tokio::test]
async fn models_and_health_are_told() {
    let supervisor = Supervisor::default();
    let shared = shared(&supervisor);
    let mut client = client(&shared);
    let name = "m".to_string();
    let asked = pb::ModelMetadataRequest {
        name: name.clone(),
        ..Default::default()
    };
    let model = client.model_metadata(asked).await.unwrap().into_inner();
    assert_eq!(
        (model.versions[0].as_str(), model.platform.as_str()),
        ("3", "lightgbm_text")
    );
    assert_eq!(model.inputs[0].shape, [-1, 2]);
    assert_eq!(model.properties["features"], r#"["a","b"]"#);
    let asked = pb::ModelConfigRequest {
        name: name.clone(),
        ..Default::default()
    };
    let config = client
        .model_config(asked)
        .await
        .unwrap()
        .into_inner()
        .config
        .unwrap();
    assert_eq!(config.backend, "forest");
    let index = client
        .repository_index(pb::RepositoryIndexRequest::default())
        .await
        .unwrap();
    assert_eq!(index.into_inner().models[0].state, "READY");
    let load = pb::RepositoryModelLoadRequest {
        model_name: name,
        ..Default::default()
    };
    let refused = client.repository_model_load(load).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::PermissionDenied);

    let mut health = HealthClient::new(router(shared.clone()));
    let asked = |service: &str| HealthCheckRequest {
        service: service.to_string(),
    };
    // The slot "empty" has no revision: it is not ready itself, the server is.
    assert_eq!(
        health
            .check(asked(SERVICE))
            .await
            .unwrap()
            .into_inner()
            .status,
        1
    );
    assert_eq!(
        health.check(asked("x")).await.unwrap_err().code(),
        tonic::Code::NotFound
    );
    let mut watch = health.watch(asked("")).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status, 1);
    shared.server.set_leaving();
    assert_eq!(
        health.check(asked("")).await.unwrap().into_inner().status,
        2
    );
}

#[test]
fn only_grpc_is_read_and_what_is_read_is_told() {
    let of = |content: &'static str, encoding: &'static str| {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content));
        headers.insert("grpc-encoding", HeaderValue::from_static(encoding));
        Packing::of(&headers)
    };
    for content in [
        "application/grpc",
        "application/grpc+proto",
        "application/grpc;charset=utf-8",
        "application/grpc+proto;charset=utf-8",
    ] {
        assert_eq!(of(content, "identity"), Ok(Packing::Plain), "{content}");
        assert_eq!(of(content, "gzip"), Ok(Packing::Gzip), "{content}");
        let refused = refusal(of(content, "zstd").unwrap_err());
        assert_eq!(refused.headers()["grpc-status"], "12");
        assert_eq!(refused.headers()["grpc-accept-encoding"], "gzip,identity");
    }
    let json = of("application/grpc+json", "identity").unwrap_err();
    assert_eq!(json.code, Code::Unsupported);
    for content in ["text/plain", "application/grpc-web", "application/json", ""] {
        let refused = refusal(of(content, "identity").unwrap_err());
        assert_eq!(refused.status(), 415, "{content}");
    }
    assert!(Packing::of(&HeaderMap::new()).is_err());
}

#[test]
fn a_version_is_empty_or_a_positive_integer() {
    assert_eq!(version(""), Ok(None));
    assert_eq!(version("7"), Ok(Some(7)));
    for text in ["0", "-1", "+1", "1.0", "v1", " 1", "99999999999999999999"] {
        assert_eq!(version(text).unwrap_err().code, Code::NotFound, "{text}");
    }
}

#[test]
fn an_error_keeps_its_code_message_and_time_to_come_back() {
    for code in Code::ALL {
        let status = status(Error::new(code, "message"));
        assert_eq!(status.code() as i32, code.grpc());
        assert_eq!(status.message(), "message");
        assert!(status.metadata().get("retry-after").is_none());
    }
    let status = status(Error::overloaded("full"));
    assert_eq!(status.metadata().get("retry-after").unwrap(), "1");
}

#[test]
fn reflection_knows_the_descriptors() {
    let builder = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS);
    assert!(builder.build_v1().is_ok());
    let name = <GrpcInferenceServiceServer<Inference> as tonic::server::NamedService>::NAME;
    assert_eq!(name, SERVICE);
}
