//! JSON and protobuf that is none, or too deep, or lies about its lengths.

use std::io::Write;

use super::frames::{self, DATA, HEADERS, post};
use super::server::{Server, connect, status};

const PATHS: [&str; 4] = [
    "/v1/models/fraud:predict",
    "/v2/models/fraud/infer",
    "/v1/feedback",
    "/v2/repository/index",
];

fn ask(server: &Server, path: &str, body: &[u8]) -> u16 {
    let mut stream = connect(server.http);
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    // The server may answer before it has read everything.
    let _cut_off = stream.write_all(body);
    status(&mut stream)
}

#[test]
fn json_that_is_none_is_a_clients_error() {
    let server = Server::start("");
    let before = server.memory();
    let deep = |open: &str| open.repeat(500_000).into_bytes();
    let number = |digits: usize| format!("{{\"instances\":[[{}]]}}", "9".repeat(digits));
    let bodies: Vec<Vec<u8>> = vec![
        b"".to_vec(),
        b"{".to_vec(),
        b"null".to_vec(),
        b"\xff\xfe".to_vec(),
        b"{\"instances\":[[\"\\ud800\"]]}".to_vec(),
        deep("["),
        deep("{\"instances\":["),
        deep("{\"inputs\":[{\"data\":["),
        deep("{\"a\":"),
        number(1_000_000).into_bytes(),
        b"{\"instances\":[[1e999999999999]]}".to_vec(),
        b"{\"instances\":[[-]]}".to_vec(),
        b"{\"inputs\":[{\"name\":\"input\",\"datatype\":\"FP32\",\"shape\":[9223372036854775807,9223372036854775807],\"data\":[1]}]}".to_vec(),
        b"{\"inputs\":[{\"name\":\"input\",\"datatype\":\"FP32\",\"shape\":[-1,18446744073709551616],\"data\":[1]}]}".to_vec(),
        b"{\"inputs\":[{\"name\":\"input\",\"datatype\":\"BYTES\",\"shape\":[1],\"parameters\":{\"binary_data_size\":18446744073709551615}}]}".to_vec(),
    ];
    for body in &bodies {
        for path in PATHS {
            let status = ask(&server, path, body);
            // An empty index request is a right one, and so is null.
            let fine = path.ends_with("index") && status == 200;
            assert!(
                fine || (400..500).contains(&status),
                "{path} {status} {:.60}",
                String::from_utf8_lossy(body)
            );
        }
    }
    server.answers();
    assert!(
        server.memory() < before + 100,
        "{before} {}",
        server.memory()
    );
    server.recovers();
}

#[test]
fn protobuf_that_is_none_is_a_clients_error() {
    let server = Server::start("");
    let before = server.memory();
    // Groups in groups, and messages in messages that say they are long.
    let long = [0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f];
    let bodies: Vec<Vec<u8>> = vec![
        vec![],
        vec![0xff; 64],
        vec![0x0b; 200_000],
        long.repeat(1000),
        [&[0x2a, 0x05][..], &long[..5]].concat(),
        // A shape of a varint that does not end.
        [&[0x2a, 0x0d, 0x1a, 0x0b][..], &[0xff; 11]].concat(),
        vec![0x3a; 100_000],
    ];
    for method in [
        "/inference.GRPCInferenceService/ModelInfer",
        "/inference.GRPCInferenceService/ModelMetadata",
        "/inference.GRPCInferenceService/RepositoryModelLoad",
        "/hedgerow.v1.Feedback/Label",
        "/grpc.health.v1.Health/Check",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    ] {
        for body in &bodies {
            // With the right length, and with wrong ones.
            for length in [body.len() as u32, u32::MAX, 1] {
                let mut message = vec![0];
                message.extend(length.to_be_bytes());
                message.extend(body);
                let mut stream = frames::open(server.grpc, &[]);
                let head = post(method, "application/grpc");
                let sent = stream.write_all(&frames::request(1, &head, &message));
                let answered = std::iter::from_fn(|| frames::next(&mut stream)).any(|it| {
                    it.kind == HEADERS || it.kind == DATA || it.kind == frames::RST_STREAM
                });
                assert!(sent.is_err() || answered, "{method} {length}");
            }
        }
    }
    server.answers();
    assert!(
        server.memory() < before + 100,
        "{before} {}",
        server.memory()
    );
    server.recovers();
}
