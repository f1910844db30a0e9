//! Traces over real sockets: a caller's context comes in by both protocols, spans go out by both of
//! OTLP's, to a receiver in this process. `tests/clients` has others' caller and others' receiver.
#![expect(
    clippy::disallowed_methods,
    reason = "the receiver is the test's own, not the server's"
)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hedgerow::api::grpc::pb;
use hedgerow::app::Running;
use hedgerow::config::Config;
use hedgerow::telemetry::trace::{Headers, Settings};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use pb::grpc_inference_service_client::GrpcInferenceServiceClient as Client;
use prost::Message;

use crate::server::grpc_request;
use crate::support::{add_gated, config, http, start, until};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";
const ASK: &str = r#"{"inputs":[{"name":"input","datatype":"FP64","shape":[2,1],"data":[3,4]}]}"#;

/// What was received: metadata or headers as text, and the message.
#[derive(Clone, Default)]
struct Received(Arc<Mutex<Vec<(String, ExportTraceServiceRequest)>>>);

impl Received {
    fn spans(&self) -> Vec<Span> {
        let received = self.0.lock().unwrap();
        let scopes = received
            .iter()
            .flat_map(|(_, message)| &message.resource_spans)
            .flat_map(|resource| &resource.scope_spans);
        scopes.flat_map(|scope| scope.spans.clone()).collect()
    }

    /// Waits for the spans of so many requests.
    async fn servers(&self, count: usize) -> Vec<Span> {
        until(|| self.spans().iter().filter(|it| it.kind == SERVER).count() >= count).await;
        let mut spans = self.spans();
        spans.retain(|it| it.kind == SERVER);
        assert_eq!(spans.len(), count, "{spans:?}");
        spans
    }
}

const SERVER: i32 = 2;

#[tonic::async_trait]
impl TraceService for Received {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        let head = format!("{:?}", request.metadata());
        self.0.lock().unwrap().push((head, request.into_inner()));
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

/// A receiver of OTLP over gRPC.
async fn grpc_receiver() -> (SocketAddr, Received) {
    let received = Received::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = TraceServiceServer::new(received.clone());
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming(incoming),
    );
    (address, received)
}

/// A receiver of OTLP over HTTP, which answers one request per connection.
fn http_receiver() -> (SocketAddr, Received) {
    let received = Received::default();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let to = received.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut bytes = Vec::new();
            let (head, length) = loop {
                let mut part = [0; 4096];
                let count = stream.read(&mut part).unwrap();
                bytes.extend_from_slice(&part[..count]);
                let end = bytes.windows(4).position(|it| it == b"\r\n\r\n");
                let Some(end) = end else { continue };
                let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
                let length = head.split("content-length: ").nth(1).unwrap();
                let length: usize = length.lines().next().unwrap().parse().unwrap();
                bytes.drain(..end + 4);
                break (head, length);
            };
            let mut rest = vec![0; length - bytes.len()];
            stream.read_exact(&mut rest).unwrap();
            bytes.extend(rest);
            let message = ExportTraceServiceRequest::decode(bytes.as_slice()).unwrap();
            to.0.lock().unwrap().push((head, message));
            let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    (address, received)
}

fn traced(models: &tempfile::TempDir, receiver: SocketAddr, trace: Settings) -> Config {
    let mut config = config(models.path());
    config.trace = Settings {
        endpoint: format!("http://{receiver}"),
        ..trace
    };
    config
}

/// All requests are sampled, and sent soon.
fn all() -> Settings {
    Settings {
        sample_ratio: 1.0,
        batch_ms: 10,
        ..Settings::default()
    }
}

fn traceparent(flags: &str) -> String {
    format!("traceparent: 00-{TRACE}-{PARENT}-{flags}\r\n")
}

async fn ask(running: &Running, slot: &str, headers: &str) -> (u16, Option<String>) {
    let path = format!("POST /v2/models/{slot}/infer");
    let (status, headers, _) = http(running.addresses.http, &path, headers, ASK.as_bytes()).await;
    (status, headers.get("traceresponse").cloned())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn text(span: &Span, key: &str) -> String {
    let found = span.attributes.iter().find(|it| it.key == key);
    let value = found
        .and_then(|it| it.value.clone())
        .and_then(|it| it.value);
    match value {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    }
}

async fn metrics(running: &Running) -> String {
    let (_, headers, page) = http(running.addresses.admin, "GET /metrics", "", b"").await;
    assert!(headers["content-type"].starts_with("application/openmetrics-text"));
    page
}

#[tokio::test(flavor = "multi_thread")]
async fn a_context_comes_in_by_both_protocols_and_spans_go_out() {
    let models = tempfile::tempdir().unwrap();
    let (receiver, received) = grpc_receiver().await;
    let settings = Settings {
        headers: Headers::parse("api-key=s3cret").unwrap(),
        ..all()
    };
    let running = start(traced(&models, receiver, settings)).await;
    add_gated(&running, "echo");
    let headers = format!("{}tracestate: vendor=1\r\n", traceparent("01"));
    let (status, response) = ask(&running, "echo", &headers).await;
    assert_eq!(status, 200);
    let mut request = tonic::Request::new(grpc_request("echo", &[5.0]));
    let context = format!("00-{TRACE}-{PARENT}-01").parse().unwrap();
    request.metadata_mut().insert("traceparent", context);
    let address = format!("http://{}", running.addresses.grpc);
    let mut client = Client::connect(address).await.unwrap();
    let answer = client.model_infer(request).await.unwrap();
    let grpc_response = answer.metadata().get("traceresponse").unwrap().clone();

    let servers = received.servers(2).await;
    let all = received.spans();
    for (span, name, response) in [
        (
            &servers[0],
            "POST /v2/models/{model}/infer",
            response.unwrap(),
        ),
        (
            &servers[1],
            "inference.GRPCInferenceService/ModelInfer",
            grpc_response.to_str().unwrap().to_string(),
        ),
    ] {
        assert_eq!(span.name, name);
        assert_eq!(hex(&span.trace_id), TRACE);
        assert_eq!(hex(&span.parent_span_id), PARENT);
        assert_eq!(response, format!("00-{TRACE}-{}-01", hex(&span.span_id)));
        assert_eq!(text(span, "hedgerow.slot"), "echo");
        assert_eq!(text(span, "hedgerow.revision"), "1");
        assert_eq!(span.status, None);
        let children: Vec<&Span> = all
            .iter()
            .filter(|it| it.parent_span_id == span.span_id)
            .collect();
        let names: Vec<&str> = children.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["decode", "queue", "infer", "encode"]);
        for child in &children {
            let inside = span.start_time_unix_nano..=span.end_time_unix_nano;
            assert!(inside.contains(&child.start_time_unix_nano), "{child:?}");
            assert!(inside.contains(&child.end_time_unix_nano), "{child:?}");
            assert_eq!(child.trace_id, span.trace_id);
        }
        assert!(
            children
                .windows(2)
                .all(|it| it[0].end_time_unix_nano <= it[1].start_time_unix_nano)
        );
        let rows = text(span, "hedgerow.rows");
        assert_eq!(text(children[2], "hedgerow.batch_rows"), rows);
    }
    assert_eq!(servers[0].trace_state, "vendor=1");
    assert_eq!(text(&servers[0], "hedgerow.rows"), "2");
    assert_eq!(text(&servers[0], "http.response.status_code"), "200");
    assert_eq!(text(&servers[0], "http.route"), "/v2/models/{model}/infer");
    assert_eq!(text(&servers[1], "rpc.grpc.status_code"), "0");
    let head = received.0.lock().unwrap()[0].0.clone();
    assert!(head.contains("api-key"), "{head}");

    // The histogram names an example of its bucket.
    until(|| running.shared.tracer.as_ref().unwrap().counts().exported == 2).await;
    let page = metrics(&running).await;
    let span = hex(&servers[0].span_id);
    let exemplar = format!("# {{trace_id=\"{TRACE}\",span_id=\"{span}\"}} ");
    let lines: Vec<&str> = page.lines().filter(|it| it.contains(&exemplar)).collect();
    assert_eq!(lines.len(), 1, "{page}");
    assert!(lines[0].starts_with("hedgerow_request_duration_seconds_bucket{"));
    assert!(lines[0].contains("protocol=\"http\"") && lines[0].contains("outcome=\"ok\""));
    assert!(
        page.contains("hedgerow_traces_total{outcome=\"exported\"} 2\n"),
        "{page}"
    );
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_sampled_is_not_exported() {
    let models = tempfile::tempdir().unwrap();
    let (receiver, received) = grpc_receiver().await;
    let running = start(traced(&models, receiver, all())).await;
    add_gated(&running, "echo");
    // The caller decided, though the ratio is 1.
    assert_eq!(ask(&running, "echo", &traceparent("00")).await, (200, None));
    // Probes and scrapes are no requests.
    for path in [
        "GET /v2/health/ready",
        "GET /v2/models/echo/ready",
        "GET /ping",
        "GET /v1/models/echo",
    ] {
        assert_eq!(http(running.addresses.http, path, "", b"").await.0, 200);
    }
    metrics(&running).await;
    // Two contexts are none: the trace begins here.
    let two = traceparent("01") + &traceparent("01");
    let (_, response) = ask(&running, "echo", &two).await;
    let servers = received.servers(1).await;
    assert_eq!(hex(&servers[0].parent_span_id), "");
    assert_ne!(hex(&servers[0].trace_id), TRACE);
    // Sampled, and of a random id.
    assert!(response.unwrap().ends_with("-03"));
    running.stop().await.unwrap();

    let none = Settings {
        sample_ratio: 0.0,
        ..all()
    };
    let running = start(traced(&models, receiver, none)).await;
    add_gated(&running, "echo");
    assert_eq!(ask(&running, "echo", "").await, (200, None));
    assert!(ask(&running, "echo", &traceparent("01")).await.1.is_some());
    received.servers(2).await;
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_told_with_its_code() {
    let models = tempfile::tempdir().unwrap();
    let (receiver, received) = grpc_receiver().await;
    let running = start(traced(&models, receiver, all())).await;
    add_gated(&running, "echo");
    assert_eq!(ask(&running, "none", "").await.0, 404);
    http(running.addresses.http, "GET /v2/models/none", "", b"").await;
    let address = format!("http://{}", running.addresses.grpc);
    let mut client = Client::connect(address).await.unwrap();
    client
        .model_infer(grpc_request("echo", &[-1.0]))
        .await
        .unwrap_err();
    http(running.addresses.http, "POST /invocations", "", b"{}").await;
    let servers = received.servers(4).await;
    let [unknown, routed, failed, invoked] = &servers[..] else {
        panic!("{servers:?}")
    };
    assert_eq!(text(unknown, "error.type"), "not_found");
    assert_eq!(text(unknown, "http.response.status_code"), "404");
    // The caller's fault is no error of a server's span.
    assert_eq!(unknown.status, None);
    assert_eq!(routed.name, "GET /v2/models/{model}");
    assert_eq!(text(routed, "http.response.status_code"), "404");
    let status = failed.status.as_ref().unwrap();
    assert_eq!((status.code, status.message.as_str()), (2, "internal"));
    assert_eq!(text(failed, "rpc.grpc.status_code"), "13");
    assert_eq!(text(failed, "hedgerow.slot"), "echo");
    assert_eq!(invoked.name, "POST /invocations");
    assert_eq!(text(invoked, "http.route"), "/invocations");
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_room_is_told_as_refused() {
    let models = tempfile::tempdir().unwrap();
    let (receiver, received) = grpc_receiver().await;
    let mut config = traced(&models, receiver, all());
    config.api.answers_bytes_max = 1;
    let running = start(config).await;
    add_gated(&running, "echo");
    let body = format!("{{\"instances\":[{}[1]]}}", "[1],".repeat(2000));
    let path = "POST /v1/models/echo:predict";
    let (status, _, text_of) = http(running.addresses.http, path, "", body.as_bytes()).await;
    assert_eq!(status, 429, "{text_of}");
    assert_eq!(running.shared.answers.refused(), 1);
    let address = format!("http://{}", running.addresses.grpc);
    let mut client = Client::connect(address).await.unwrap();
    let refused = client.model_infer(grpc_request("echo", &[1.0; 2000])).await;
    assert_eq!(refused.unwrap_err().code(), tonic::Code::ResourceExhausted);
    assert_eq!(running.shared.answers.refused(), 2);
    for span in received.servers(2).await {
        assert_eq!(text(&span, "error.type"), "overloaded");
    }
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_sent_when_the_server_stops() {
    let models = tempfile::tempdir().unwrap();
    let (receiver, received) = http_receiver();
    let settings = Settings {
        protocol: Some(hedgerow::telemetry::trace::Protocol::Http),
        headers: Headers::parse("api-key=s3cret").unwrap(),
        service_name: "scores".to_string(),
        // Longer than the test.
        batch_ms: 3_600_000,
        ..all()
    };
    let running = start(traced(&models, receiver, settings)).await;
    add_gated(&running, "echo");
    ask(&running, "echo", &traceparent("01")).await;
    assert!(received.spans().is_empty());
    running.stop().await.unwrap();
    let servers = received.servers(1).await;
    assert_eq!(hex(&servers[0].trace_id), TRACE);
    let received = received.0.lock().unwrap();
    let (head, message) = &received[0];
    assert!(head.starts_with("post /v1/traces http/1.1"), "{head}");
    assert!(
        head.contains("content-type: application/x-protobuf"),
        "{head}"
    );
    assert!(head.contains("api-key: s3cret"), "{head}");
    let resource = message.resource_spans[0].resource.as_ref().unwrap();
    let name = resource
        .attributes
        .iter()
        .find(|it| it.key == "service.name");
    let name = name.and_then(|it| it.value.clone()).and_then(|it| it.value);
    assert_eq!(name, Some(Value::StringValue("scores".to_string())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_away_costs_no_answer() {
    for protocol in [
        hedgerow::telemetry::trace::Protocol::Grpc,
        hedgerow::telemetry::trace::Protocol::Http,
    ] {
        let models = tempfile::tempdir().unwrap();
        // Bound and not listened on: a connection is refused.
        let nobody = tokio::net::TcpSocket::new_v4().unwrap();
        nobody.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let settings = Settings {
            protocol: Some(protocol),
            queue_max: 1,
            batch_max: 1,
            ..all()
        };
        let running = start(traced(&models, nobody.local_addr().unwrap(), settings)).await;
        add_gated(&running, "echo");
        let tracer = Arc::clone(running.shared.tracer.as_ref().unwrap());
        for _ in 0..20 {
            assert_eq!(ask(&running, "echo", "").await.0, 200);
        }
        // One is tried, one waits.
        assert!(tracer.counts().dropped >= 15, "{:?}", tracer.counts());
        let begin = Instant::now();
        running.stop().await.unwrap();
        assert!(begin.elapsed() < Duration::from_secs(20));
        let counts = tracer.counts();
        assert_eq!(counts.exported, 0);
        assert_eq!(counts.dropped + counts.failed, 20);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_never_answers_does_not_hold_up_the_end() {
    use hedgerow::telemetry::trace::Protocol;
    for protocol in [Protocol::Grpc, Protocol::Http] {
        let models = tempfile::tempdir().unwrap();
        let receiver = TcpListener::bind("127.0.0.1:0").unwrap();
        let settings = Settings {
            protocol: Some(protocol),
            batch_max: 1,
            // Longer than the test.
            timeout_ms: 3_600_000,
            ..all()
        };
        let running = start(traced(&models, receiver.local_addr().unwrap(), settings)).await;
        add_gated(&running, "echo");
        let (tracer, supervisor) = (running.shared.tracer.clone(), running.supervisor.clone());
        for _ in 0..3 {
            assert_eq!(ask(&running, "echo", "").await.0, 200);
        }
        // One is tried before the stop, two wait.
        let _held = tokio::task::spawn_blocking(move || {
            let (mut stream, _) = receiver.accept().unwrap();
            stream.read_exact(&mut [0; 16]).unwrap();
            (receiver, stream)
        })
        .await
        .unwrap();
        running.stop().await.unwrap();
        let tracer = tracer.unwrap();
        assert_eq!(tracer.counts().failed, 3, "{protocol:?}");
        // The thread ends, in order: no runtime can end under it.
        assert!(tracer.close(Duration::from_secs(10)));
        assert_eq!(supervisor.failure(), None);
    }
}
