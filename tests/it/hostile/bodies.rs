//! Giant bodies: announced, chunked and packed.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::frames::{self, DATA, END_HEADERS, HEADERS, frame, post};
use super::server::{Server, connect, status};

const HEAD: &str = "POST /v1/models/fraud:predict HTTP/1.1\r\nhost: x\r\n";

/// Something once, then something a number of times, packed.
fn packed(begin: &[u8], part: &[u8], times: usize) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(begin).unwrap();
    let block = part.repeat(1000);
    for _ in 0..times / 1000 {
        encoder.write_all(&block).unwrap();
    }
    encoder.finish().unwrap()
}

/// A length of a field: a varint of four bytes.
fn varint(length: usize) -> [u8; 4] {
    let seven = |index: usize| (length >> (7 * index) & 0x7f) as u8;
    [seven(0) | 0x80, seven(1) | 0x80, seven(2) | 0x80, seven(3)]
}

fn refused(server: &Server, headers: &str, body: &[u8]) -> u16 {
    let mut stream = connect(server.http);
    let head = format!("{HEAD}{headers}\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let _cut_off = stream.write_all(body);
    status(&mut stream)
}

/// The headers of a call whose message is packed.
fn gzipped(path: &str) -> Vec<u8> {
    frames::block(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "x"),
        ("content-type", "application/grpc"),
        ("grpc-encoding", "gzip"),
    ])
}

#[test]
fn giant_bodies_are_refused_before_they_are_taken() {
    let server = Server::start("body_bytes_max = 1000000");
    let before = server.memory();
    for length in ["1000001", "18446744073709551615"] {
        let announced = refused(&server, &format!("content-length: {length}"), b"");
        assert!([400, 413, 431].contains(&announced), "{announced}");
    }
    for length in ["-1", "18446744073709551616", "1, 2", "x"] {
        let wrong = refused(&server, &format!("content-length: {length}"), b"1");
        assert!(wrong == 400 || wrong == 431, "{length}: {wrong}");
    }
    let mut chunk = b"10000\r\n".to_vec();
    chunk.extend([b'1'; 0x10000]);
    chunk.extend(b"\r\n");
    let chunked = "transfer-encoding: chunked";
    // The answer may be overtaken by a reset, for the client goes on to write.
    let status = refused(&server, chunked, &chunk.repeat(100));
    assert!(status == 413 || status == 0, "{status}");
    for body in [&b"FFFFFFFFFFFFFFFFF\r\n"[..], b"x\r\n", b"-1\r\n"] {
        assert_eq!(refused(&server, chunked, body), 400);
    }
    // A chunk's extension and a trailer without end.
    for begin in [&b"1;"[..], b"0\r\nx: "] {
        let body = [begin, &[b'y'; 1 << 20]].concat();
        let status = refused(&server, chunked, &body);
        assert!(status == 400 || status == 0, "{status}");
    }
    server.answers();
    assert!(server.memory() < before + 50, "{before}");
    server.recovers();
}

#[test]
fn gzip_bombs_are_refused_at_the_limit() {
    let server = Server::start("body_bytes_max = 4000000");
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    for _ in 0..100 {
        encoder.write_all(&[b' '; 1 << 20]).unwrap();
    }
    let bomb = encoder.finish().unwrap();
    let before = server.memory();
    let headers = format!("content-encoding: gzip\r\ncontent-length: {}", bomb.len());
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(refused(&server, &headers, &bomb), 413));
        }
    });
    // Over gRPC as a message of its own.
    let mut message = vec![1];
    message.extend((bomb.len() as u32).to_be_bytes());
    message.extend(&bomb);
    let head = gzipped("/inference.GRPCInferenceService/ModelInfer");
    let mut stream = frames::open(server.grpc, &[]);
    stream
        .write_all(&frames::request(1, &head, &message))
        .unwrap();
    let answer = std::iter::from_fn(|| frames::next(&mut stream)).find(|it| it.kind == HEADERS);
    assert!(answer.is_some_and(|it| it.flags & frames::END_STREAM != 0));
    assert!(frames::pings(&mut stream));
    assert_eq!(
        [server.rejected("grpc"), server.rejected("http")],
        [1.0, 8.0]
    );
    server.answers();
    assert!(
        server.memory() < before + 80,
        "{before} {}",
        server.memory()
    );
    drop(stream);
    server.recovers();
}

#[test]
fn bodies_of_many_small_parts_take_little_more_than_their_bytes() {
    const PARTS: usize = 4_000_000;
    let server = Server::start("body_bytes_max = 40000000");
    let before = server.memory();
    // Inputs, outputs, values and parameters without anything in them, and one shape of many ones.
    let shape = [&[0x2a][..], &varint(PARTS + 5), &[0x1a], &varint(PARTS)].concat();
    let messages = [
        packed(b"", &[0x2a, 0], PARTS),
        packed(b"", &[0x32, 0], PARTS),
        packed(b"", &[0x3a, 0], PARTS),
        packed(b"", &[0x22, 0], PARTS),
        packed(&shape, &[1], PARTS),
    ];
    for bytes in &messages {
        let mut message = vec![1];
        message.extend((bytes.len() as u32).to_be_bytes());
        message.extend(bytes);
        let mut stream = frames::open(server.grpc, &[]);
        let head = gzipped("/inference.GRPCInferenceService/ModelInfer");
        stream
            .write_all(&frames::request(1, &head, &message))
            .unwrap();
        let answer = std::iter::from_fn(|| frames::next(&mut stream)).find(|it| it.kind == HEADERS);
        assert!(answer.is_some());
    }
    assert_eq!(server.rejected("grpc"), messages.len() as f64);
    let texts: [(&str, &[u8]); 4] = [
        ("{\"outputs\":[", b"{},"),
        ("{\"inputs\":[", b"{\"name\":\"a\"},"),
        ("{\"inputs\":[{\"name\":\"a\",\"shape\":[", b"1,"),
        ("{\"inputs\":[{\"name\":\"a\",\"shape\":[1],\"x\":[", b"[],"),
    ];
    for (begin, part) in texts {
        let body = packed(begin.as_bytes(), part, PARTS * 2 / part.len());
        let mut stream = connect(server.http);
        let head = format!(
            "POST /v2/models/fraud/infer HTTP/1.1\r\nhost: x\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&body).unwrap();
        assert_eq!(status(&mut stream), 400, "{begin}");
    }
    assert_eq!(server.rejected("http"), texts.len() as f64);
    server.answers();
    let after = server.memory();
    assert!(after < before + 130, "{before} {after}");
    server.recovers();
}

#[test]
fn bodies_of_many_streams_share_their_room() {
    let server = Server::start("bodies_bytes_max = 2000000");
    let before = server.memory();
    let head = post("/v1/models/fraud:predict", "application/json");
    for address in server.both() {
        let mut stream = frames::open(address, &[]);
        let mut bytes = Vec::new();
        for index in 0..60 {
            bytes.extend(frame(HEADERS, END_HEADERS, 2 * index + 1, &head));
            bytes.extend(frame(DATA, 0, 2 * index + 1, &[b' '; 16_384]));
        }
        // The rest never comes.
        stream.write_all(&bytes).unwrap();
        assert!(frames::pings(&mut stream), "{address}");
        server.answers();
        drop(stream);
    }
    assert!(server.memory() < before + 50, "{before}");
    assert!(server.metric("hedgerow_bodies_bytes{}") <= 2_000_000.0);
    server.until("the room is back", || {
        server.metric("hedgerow_bodies_bytes{}") == 0.0
    });
    server.recovers();
}
