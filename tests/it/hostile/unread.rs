//! Clients that never read their answers.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use hedgerow::api::grpc::pb;
use prost::Message;
use rustix::net::{AddressFamily, SocketType, connect, socket, sockopt};

use super::frames::{
    self, END_STREAM, HEADERS, INITIAL_WINDOW, WINDOW_UPDATE, frame, post, request,
};
use super::server::{Server, rest};
use crate::support::{add_gated, config, start, until};

const PATH: &str = "/v1/models/fraud:predict";
const PREDICT: &str = "/inference.GRPCInferenceService/ModelInfer";
const INDEX: &str = "/inference.GRPCInferenceService/RepositoryIndex";

/// A connection whose system takes little that is not read.
fn narrow(address: SocketAddr) -> TcpStream {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    sockopt::set_socket_recv_buffer_size(&socket, 4096).unwrap();
    connect(&socket, &address).unwrap();
    let stream = TcpStream::from(socket);
    let limit = Some(Duration::from_secs(20));
    stream.set_read_timeout(limit).unwrap();
    stream.set_write_timeout(limit).unwrap();
    stream
}

/// A request over gRPC for so many rows of the sample model.
fn message(rows: usize, width: usize) -> Vec<u8> {
    let request = pb::ModelInferRequest {
        model_name: "fraud".to_string(),
        inputs: vec![pb::model_infer_request::InferInputTensor {
            name: "input".to_string(),
            datatype: "FP32".to_string(),
            shape: vec![rows as i64, width as i64],
            ..Default::default()
        }],
        raw_input_contents: vec![vec![0; rows * width * 4].into()],
        ..Default::default()
    };
    let mut bytes = vec![0];
    bytes.extend((request.encoded_len() as u32).to_be_bytes());
    request.encode(&mut bytes).unwrap();
    bytes
}

#[test]
fn http1_answers_that_nobody_reads_stall_and_end_the_connection() {
    let server = Server::start("write_timeout_ms = 1000");
    let before = server.memory();
    // Together more answers than any socket takes.
    let ask = "GET /v2/models/fraud HTTP/1.1\r\nhost: x\r\n\r\n".repeat(100);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut stream = narrow(server.http);
                // The server stops reading, then closes.
                let all = (0..10_000).all(|_| stream.write_all(ask.as_bytes()).is_ok());
                assert!(!all, "everything was read");
            });
        }
        server.until("all are open", || server.connections() >= 4.0);
        for _ in 0..20 {
            server.answers();
            let memory = server.memory();
            assert!(memory < before + 100, "{before} {memory}");
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    server.recovers();
    assert!(server.closed("stalled") >= 4.0);
}

#[test]
fn answers_behind_a_closed_http2_window_end_the_connection() {
    let server = Server::start("write_timeout_ms = 3000");
    let width = server.rows(1).matches(',').count() + 1;
    let body = server.rows(500);
    for window in [0, 1] {
        for (address, path, kind, body) in [
            (server.http, PATH, "application/json", body.as_bytes()),
            (
                server.grpc,
                PREDICT,
                "application/grpc",
                &message(1500, width),
            ),
        ] {
            let mut stream = frames::open(address, &[(INITIAL_WINDOW, window)]);
            for index in 0..4 {
                let ask = request(2 * index + 1, &post(path, kind), body);
                stream.write_all(&ask).unwrap();
            }
            // It goes on to answer pings, and has the window of the connection.
            let more = (1_u32 << 20).to_be_bytes();
            stream
                .write_all(&frame(WINDOW_UPDATE, 0, 0, &more))
                .unwrap();
            assert!(frames::pings(&mut stream), "{address}");
            server.answers();
            server.until("answers wait", || {
                server.metric("hedgerow_answers_bytes{}") > 0.0
            });
            while frames::next(&mut stream).is_some() {}
        }
    }
    server.recovers();
    assert_eq!(server.closed("unread"), 4.0);
    assert_eq!(server.metric("hedgerow_answers_bytes{}"), 0.0);
}

#[test]
fn answers_that_nobody_takes_leave_room_for_small_ones_only() {
    let server = Server::start("write_timeout_ms = 600000\nanswers_bytes_max = 20000");
    let body = server.rows(500);
    let head = post(PATH, "application/json");
    let mut stream = frames::open(server.http, &[(INITIAL_WINDOW, 0)]);
    for index in 0..20 {
        let ask = request(2 * index + 1, &head, body.as_bytes());
        stream.write_all(&ask).unwrap();
    }
    server.until("answers are refused", || {
        server.metric("hedgerow_sheds_total{reason=\"answers\"}") > 0.0
    });
    assert!(server.metric("hedgerow_answers_bytes{}") <= 20_000.0);
    server.answers();
    let mut other = super::server::connect(server.http);
    other.write_all(&server.predict(&body)).unwrap();
    other
        .shutdown(std::net::Shutdown::Write)
        .unwrap_or_default();
    drop(stream);
    server.recovers();
    // The room is back.
    let mut again = super::server::connect(server.http);
    again.write_all(&server.predict(&body)).unwrap();
    assert_eq!(super::server::status(&mut again), 200);
    drop(again);
    rest(&mut other);
    server.recovers();
}

#[test]
fn calls_that_are_not_grpc_are_not_computed() {
    let server = Server::start("");
    let width = server.rows(1).matches(',').count() + 1;
    let mut stream = frames::open(server.grpc, &[(INITIAL_WINDOW, 0)]);
    for index in 0..4 {
        let head = post(PREDICT, "text/plain");
        let ask = request(2 * index + 1, &head, &message(1500, width));
        stream.write_all(&ask).unwrap();
    }
    let frames = std::iter::from_fn(|| frames::next(&mut stream));
    let refused = frames.filter(|it| it.kind == HEADERS && it.flags & END_STREAM > 0);
    assert_eq!(refused.take(4).count(), 4);
    assert!(frames::pings(&mut stream));
    assert_eq!(server.metric("hedgerow_answers_bytes{}"), 0.0);
    drop(stream);
    server.recovers();
}

#[tokio::test(flavor = "multi_thread")]
async fn large_answers_that_are_no_predictions_are_charged_as_well() {
    let models = tempfile::tempdir().unwrap();
    let running = start(config(models.path())).await;
    for index in 0..200 {
        add_gated(&running, &format!("slot-{index}"));
    }
    let addresses = &running.addresses;
    for (address, path, body) in [
        (addresses.http, "/v2/repository/index", &b"{}"[..]),
        (addresses.grpc, INDEX, &[0; 5]),
    ] {
        let mut stream = frames::open(address, &[(INITIAL_WINDOW, 0)]);
        let ask = request(1, &post(path, "application/grpc"), body);
        stream.write_all(&ask).unwrap();
        until(|| running.shared.answers.used() > 4096).await;
        drop(stream);
        until(|| running.shared.answers.used() == 0).await;
    }
    running.stop().await.unwrap();
}

#[test]
fn large_answers_are_sent_while_the_server_stops() {
    let server = Server::start("");
    let body = server.rows(500);
    let mut stream = frames::open(server.http, &[(INITIAL_WINDOW, 0)]);
    let ask = request(1, &post(PATH, "application/json"), body.as_bytes());
    stream.write_all(&ask).unwrap();
    server.until("the answer waits", || {
        server.metric("hedgerow_answers_bytes{}") > 0.0
    });
    let bytes = server.metric("hedgerow_answers_bytes{}") as usize;
    server.terminate();
    // Longer than a connection on which nothing is in work stays open.
    std::thread::sleep(Duration::from_secs(2));
    let more = (1_u32 << 20).to_be_bytes();
    stream
        .write_all(&frame(WINDOW_UPDATE, 0, 1, &more))
        .unwrap();
    let mut taken = 0;
    while let Some(frame) = frames::next(&mut stream) {
        if frame.kind == frames::DATA {
            taken += frame.payload.len();
        }
    }
    assert_eq!(taken, bytes);
    drop(stream);
    assert!(server.ended());
}

#[test]
fn streams_that_are_reset_give_their_answers_back() {
    let server = Server::start("");
    let body = server.rows(500);
    let head = post(PATH, "application/json");
    let mut stream = frames::open(server.http, &[(INITIAL_WINDOW, 0)]);
    stream
        .write_all(&request(1, &head, body.as_bytes()))
        .unwrap();
    server.until("the answer waits", || {
        server.metric("hedgerow_answers_bytes{}") > 0.0
    });
    let cancel = 8_u32.to_be_bytes();
    stream
        .write_all(&frame(frames::RST_STREAM, 0, 1, &cancel))
        .unwrap();
    server.until("the answer is gone", || {
        server.metric("hedgerow_answers_bytes{}") == 0.0
    });
    server.answers();
    drop(stream);
    server.recovers();
}
