//! The server over real sockets: every status of the table over both protocols, overload, deadlines,
//! drain, panic, cache.
#![expect(
    clippy::disallowed_methods,
    reason = "concurrent callers are the test's own tasks, not the server's"
)]

use hedgerow::api::grpc::pb;
use hedgerow::app::Running;
use hedgerow::error::Code;
use hedgerow::serve::cache;

use crate::support::{add_gated, config, http, start, until};

type Client =
    pb::grpc_inference_service_client::GrpcInferenceServiceClient<tonic::transport::Channel>;

async fn client(running: &Running) -> Client {
    Client::connect(format!("http://{}", running.addresses.grpc))
        .await
        .unwrap()
}

pub fn grpc_request(model: &str, values: &[f64]) -> pb::ModelInferRequest {
    pb::ModelInferRequest {
        model_name: model.to_string(),
        inputs: vec![pb::model_infer_request::InferInputTensor {
            name: "input".to_string(),
            datatype: "FP64".to_string(),
            shape: vec![values.len() as i64, 1],
            contents: Some(pb::InferTensorContents {
                fp64_contents: values.to_vec(),
                ..Default::default()
            }),
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn body(values: &[f64]) -> Vec<u8> {
    format!(
        r#"{{"inputs":[{{"name":"input","datatype":"FP64","shape":[{},1],"data":{values:?}}}]}}"#,
        values.len()
    )
    .into_bytes()
}

/// Both protocols fail with this code, and say this.
async fn both_fail(running: &Running, model: &str, values: &[f64], code: Code, says: &str) {
    let path = format!("POST /v2/models/{model}/infer");
    let (status, headers, text) = http(running.addresses.http, &path, "", &body(values)).await;
    assert_eq!(status, code.http(), "{text}");
    let error: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(error["error"].as_str().unwrap().contains(says), "{text}");
    let status = client(running)
        .await
        .model_infer(grpc_request(model, values))
        .await
        .unwrap_err();
    assert_eq!(status.code() as i32, code.grpc(), "{status:?}");
    assert!(status.message().contains(says), "{status:?}");
    if code == Code::Overloaded {
        assert_eq!(headers["retry-after"], "1");
        assert_eq!(status.metadata().get("retry-after").unwrap(), "1");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_status_is_the_same_over_both_protocols() {
    let models = tempfile::tempdir().unwrap();
    let mut settings = config(models.path());
    settings.serve.admission.rows_max = 4;
    let running = start(settings).await;
    add_gated(&running, "echo");
    running.shared.server.registry.insert("empty");

    both_fail(
        &running,
        "nothing",
        &[1.0],
        Code::NotFound,
        "unknown model \"nothing\"",
    )
    .await;
    both_fail(&running, "empty", &[1.0], Code::NotReady, "not loaded").await;
    both_fail(
        &running,
        "echo",
        &[1.0; 5],
        Code::TooLarge,
        "admission.rows_max is 4",
    )
    .await;
    both_fail(&running, "echo", &[], Code::InvalidArgument, "").await;
    both_fail(&running, "echo", &[-1.0], Code::Internal, "on purpose").await;

    // What HTTP alone has.
    let address = running.addresses.http;
    assert_eq!(http(address, "GET /nothing", "", b"").await.0, 404);
    assert_eq!(http(address, "DELETE /v2", "", b"").await.0, 405);
    let encoded = "content-encoding: br\r\n";
    assert_eq!(
        http(address, "POST /v2/models/echo/infer", encoded, b"x")
            .await
            .0,
        415
    );
    let (status, _, text) = http(address, "POST /v2/repository/models/echo/unload", "", b"").await;
    assert_eq!(status, 403, "{text}");
    let unsupported =
        br#"{"inputs":[],"outputs":[{"name":"predict","parameters":{"classification":2}}]}"#;
    assert_eq!(
        http(address, "POST /v2/models/echo/infer", "", unsupported)
            .await
            .0,
        501
    );

    let (status, _, text) = http(
        address,
        "POST /v2/models/echo/infer",
        "",
        &body(&[2.5, 3.0]),
    )
    .await;
    assert_eq!(status, 200, "{text}");
    assert!(
        text.contains(r#""shape":[2],"datatype":"FP64","data":[2.5,3.0]"#),
        "{text}"
    );
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_the_limit_is_refused_before_and_after_gzip() {
    let models = tempfile::tempdir().unwrap();
    let mut settings = config(models.path());
    settings.api.body_bytes_max = 1000;
    let running = start(settings).await;
    add_gated(&running, "echo");
    let (status, _, text) = http(
        running.addresses.http,
        "POST /v2/models/echo/infer",
        "",
        &[b' '; 1001],
    )
    .await;
    assert_eq!(status, 413, "{text}");
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, bytes).unwrap();
        encoder.finish().unwrap()
    };
    let header = "content-encoding: gzip\r\n";
    let path = "POST /v2/models/echo/infer";
    assert_eq!(
        http(
            running.addresses.http,
            path,
            header,
            &gzip(&[b' '; 100_000])
        )
        .await
        .0,
        413
    );
    assert_eq!(
        http(running.addresses.http, path, header, &gzip(&body(&[1.0])))
            .await
            .0,
        200
    );
    assert_eq!(
        http(running.addresses.http, path, header, b"not gzip")
            .await
            .0,
        400
    );
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn packed_messages_are_answered_up_to_the_limit() {
    let models = tempfile::tempdir().unwrap();
    let mut settings = config(models.path());
    settings.api.body_bytes_max = 1 << 20;
    let running = start(settings).await;
    add_gated(&running, "echo");
    let mut client = client(&running)
        .await
        .send_compressed(tonic::codec::CompressionEncoding::Gzip);
    // A few bytes, what is unpacked aside, and what is small only until it is unpacked.
    for count in [1, 20_000, 100_000, 1_000_000] {
        let answer = client
            .model_infer(grpc_request("echo", &vec![7.0; count]))
            .await;
        match answer {
            Ok(answer) => {
                let outputs = answer.into_inner().outputs;
                let values = &outputs[0].contents.as_ref().unwrap().fp64_contents;
                assert!(count <= 100_000 && *values == vec![7.0; count]);
            }
            Err(status) => {
                assert_eq!(count, 1_000_000, "{status}");
                assert_eq!(status.code() as i32, Code::TooLarge.grpc(), "{status}");
            }
        }
    }
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn overload_is_refused_at_once_and_passes() {
    let models = tempfile::tempdir().unwrap();
    let mut settings = config(models.path());
    settings.serve.admission.in_flight_max = 1;
    let running = start(settings).await;
    let gate = add_gated(&running, "echo");
    gate.close();
    let mut inside = client(&running).await;
    let waiting =
        tokio::spawn(async move { inside.model_infer(grpc_request("echo", &[7.0])).await });
    until(|| gate.arrived() == 1).await;
    both_fail(
        &running,
        "echo",
        &[1.0],
        Code::Overloaded,
        "admission.in_flight_max",
    )
    .await;
    gate.open();
    let answer = waiting.await.unwrap().unwrap().into_inner();
    assert_eq!(
        answer.outputs[0].contents.as_ref().unwrap().fp64_contents,
        [7.0]
    );
    let (status, ..) = http(
        running.addresses.http,
        "POST /v2/models/echo/infer",
        "",
        &body(&[1.0]),
    )
    .await;
    assert_eq!(status, 200);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_ends_a_request_over_both_protocols() {
    let models = tempfile::tempdir().unwrap();
    let running = start(config(models.path())).await;
    let gate = add_gated(&running, "echo");
    gate.close();
    let path = "POST /v2/models/echo/infer";
    let header = "x-request-timeout-ms: 20\r\n";
    let (status, _, text) = http(running.addresses.http, path, header, &body(&[1.0])).await;
    assert_eq!(status, 504, "{text}");
    let mut request = tonic::Request::new(grpc_request("echo", &[1.0]));
    request.set_timeout(std::time::Duration::from_millis(20));
    let status = client(&running)
        .await
        .model_infer(request)
        .await
        .unwrap_err();
    // The client's own timer may be first; both say that the deadline passed.
    assert!(
        matches!(
            status.code(),
            tonic::Code::DeadlineExceeded | tonic::Code::Cancelled
        ),
        "{status:?}"
    );
    gate.open();
    running.stop().await.unwrap();
}

/// Waits until nobody listens there.
async fn until_refused(address: std::net::SocketAddr) {
    while tokio::net::TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_finishes_what_is_in_flight_and_refuses_the_rest() {
    let models = tempfile::tempdir().unwrap();
    let running = start(config(models.path())).await;
    let gate = add_gated(&running, "echo");
    let address = running.addresses.http;
    assert_eq!(http(address, "GET /v2/health/ready", "", b"").await.0, 200);
    running.shared.server.admission.drain();
    both_fail(&running, "echo", &[1.0], Code::Draining, "shutting down").await;
    running.stop().await.unwrap();

    let running = start(config(models.path())).await;
    let gate_two = add_gated(&running, "echo");
    gate_two.close();
    let address = running.addresses.http;
    let waiting = tokio::spawn(async move {
        http(address, "POST /v2/models/echo/infer", "", &body(&[7.0])).await
    });
    until(|| gate_two.arrived() == 1).await;
    let stopping = tokio::spawn(running.stop());
    // What is in flight outlives the listener.
    until_refused(address).await;
    gate_two.open();
    assert_eq!(waiting.await.unwrap().0, 200);
    stopping.await.unwrap().unwrap();
    assert_eq!(gate.arrived(), 0);
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_stops_the_server_and_is_named() {
    let models = tempfile::tempdir().unwrap();
    let running = start(config(models.path())).await;
    add_gated(&running, "echo");
    let (status, ..) = http(
        running.addresses.http,
        "POST /v2/models/echo/infer",
        "",
        &body(&[-2.0]),
    )
    .await;
    assert_eq!(status, 500);
    running.supervisor.stopping().await;
    assert_eq!(
        running.stop().await,
        Err("task \"compute\" panicked".to_string())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_rows_are_computed_once_and_counted() {
    let models = tempfile::tempdir().unwrap();
    let mut settings = config(models.path());
    settings.serve.slot.cache = cache::Settings {
        capacity_bytes: 1 << 20,
        ttl_s: 0,
    };
    let running = start(settings).await;
    let gate = add_gated(&running, "echo");
    gate.close();
    let address = running.addresses.http;
    let ask =
        move || async move { http(address, "POST /v2/models/echo/infer", "", &body(&[7.0])).await };
    let first = tokio::spawn(ask());
    until(|| gate.arrived() == 1).await;
    let second = tokio::spawn(ask());
    let server = running.shared.server.clone();
    until(|| server.admission.in_flight() == 2).await;
    gate.open();
    assert_eq!(
        (first.await.unwrap().0, second.await.unwrap().0),
        (200, 200)
    );
    assert_eq!(ask().await.0, 200);
    assert_eq!(gate.arrived(), 1);
    let (_, _, metrics) = http(running.addresses.admin, "GET /metrics", "", b"").await;
    for line in [
        r#"hedgerow_cache_hits_total{slot="echo",revision="1"} 1"#,
        r#"hedgerow_rows_computed_total{slot="echo",revision="1"} 1"#,
        r#"hedgerow_rows_total{slot="echo",revision="1"} 3"#,
    ] {
        assert!(metrics.contains(line), "no {line} in\n{metrics}");
    }
    // Series leave with their revision, and a client's word never makes one.
    http(
        address,
        "POST /v2/models/made-up-name/infer",
        "",
        &body(&[1.0]),
    )
    .await;
    server.registry.remove("echo");
    let (_, _, metrics) = http(running.addresses.admin, "GET /metrics", "", b"").await;
    assert!(
        !metrics.contains("echo") && !metrics.contains("made-up-name"),
        "{metrics}"
    );
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_arrive_is_given_up() {
    let models = tempfile::tempdir().unwrap();
    let mut settings = config(models.path());
    settings.api.request_timeout_ms = 50;
    let running = start(settings).await;
    let mut stream = tokio::net::TcpStream::connect(running.addresses.http)
        .await
        .unwrap();
    let head = b"POST /v2/models/x/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n{";
    tokio::io::AsyncWriteExt::write_all(&mut stream, head)
        .await
        .unwrap();
    let mut answer = [0; 12];
    tokio::io::AsyncReadExt::read_exact(&mut stream, &mut answer)
        .await
        .unwrap();
    assert_eq!(&answer, b"HTTP/1.1 504");
    running.stop().await.unwrap();
}
