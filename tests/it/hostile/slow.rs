//! Clients that take their time, or are gone.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use super::frames::{self, HEADERS};
use super::server::{Server, connect, rest, status};

/// Sends a byte on each connection again and again, until all are closed.
fn trickle(server: &Server, streams: &mut Vec<TcpStream>, bytes: &[u8]) {
    for byte in bytes.iter().cycle().take(400) {
        streams.retain_mut(|stream| stream.write_all(&[*byte]).is_ok());
        if streams.is_empty() {
            return;
        }
        server.answers();
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("{} connections are still open", streams.len());
}

#[test]
fn heads_that_come_byte_by_byte_are_given_up() {
    let server = Server::start("idle_timeout_ms = 1000");
    for (begin, byte) in [("GET /v2 HTTP/1.1\r\nx: ", b"y"), ("POST /v2", b"a")] {
        let mut streams: Vec<TcpStream> = (0..100).map(|_| connect(server.http)).collect();
        for stream in &mut streams {
            stream.write_all(begin.as_bytes()).unwrap();
        }
        server.until("all are open", || server.connections() >= 100.0);
        trickle(&server, &mut streams, byte);
    }
    server.recovers();
    assert_eq!(server.closed("silent"), 200.0);
}

#[test]
fn silent_connections_are_closed_on_both_ports() {
    let server = Server::start("idle_timeout_ms = 3000");
    let before = server.memory();
    let mut streams: Vec<TcpStream> = (0..400)
        .map(|index| connect(server.both()[index % 2]))
        .collect();
    server.until("all are open", || server.connections() >= 400.0);
    server.answers();
    assert!(server.memory() < before + 50, "{before}");
    for stream in &mut streams {
        assert_eq!(rest(stream), b"");
    }
    server.recovers();
    assert_eq!(server.closed("silent"), 400.0);
}

#[test]
fn a_preface_of_http2_without_a_request_is_closed() {
    let server = Server::start("idle_timeout_ms = 1000");
    for address in server.both() {
        let mut stream = connect(address);
        stream.write_all(super::frames::PREFACE).unwrap();
        stream.write_all(&super::frames::settings(&[])).unwrap();
        rest(&mut stream);
    }
    server.recovers();
    assert_eq!(server.closed("silent"), 2.0);
}

#[test]
fn a_pause_between_requests_ends_too() {
    let server = Server::start("idle_timeout_ms = 1000");
    let mut stream = connect(server.http);
    stream.write_all(&server.predict(&server.rows(1))).unwrap();
    assert!(rest(&mut stream).starts_with(b"HTTP/1.1 200"));
    server.recovers();
}

#[test]
fn bodies_that_come_byte_by_byte_run_out_of_time() {
    let server = Server::start("request_timeout_ms = 1000");
    let head = "POST /v1/models/fraud:predict HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n";
    let mut streams: Vec<TcpStream> = (0..50).map(|_| connect(server.http)).collect();
    for stream in &mut streams {
        stream.write_all(head.as_bytes()).unwrap();
    }
    server.until("all are open", || server.connections() >= 50.0);
    server.answers();
    let mut answered: Vec<TcpStream> = streams.iter().map(|it| it.try_clone().unwrap()).collect();
    trickle(&server, &mut streams, b"1");
    for stream in &mut answered {
        // A reset may overtake the answer.
        let status = status(stream);
        assert!(status == 504 || status == 0, "{status}");
    }
    server.recovers();
}

#[test]
fn calls_that_the_router_reads_run_out_of_time_too() {
    let server = Server::start("request_timeout_ms = 1000");
    let methods = ["Health/Check", "Health/Watch"];
    let mut streams: Vec<TcpStream> = methods
        .map(|method| {
            let mut stream = frames::open(server.grpc, &[]);
            let head = frames::post(&format!("/grpc.health.v1.{method}"), "application/grpc");
            // The message never comes.
            let head = frames::frame(HEADERS, frames::END_HEADERS, 1, &head);
            stream.write_all(&head).unwrap();
            stream
        })
        .into();
    for stream in &mut streams {
        let kind = std::iter::from_fn(|| frames::next(stream)).find(|it| it.kind == HEADERS);
        let end = frames::END_STREAM;
        assert!(kind.is_some_and(|it| it.flags & end == end));
    }
    drop(streams);
    server.recovers();
}

#[test]
fn a_body_that_never_ends_does_not_keep_the_server_from_ending() {
    // The delay is for the heads to be read.
    let server = Server::start("drain_delay_ms = 1000\ndrain_timeout_ms = 4000");
    let whole = server.predict(&server.rows(1));
    let mut half = connect(server.http);
    half.write_all(&whole[..whole.len() - 1]).unwrap();
    let mut call = frames::open(server.grpc, &[]);
    let head = frames::post(
        "/inference.GRPCInferenceService/ModelInfer",
        "application/grpc",
    );
    let head = frames::frame(HEADERS, frames::END_HEADERS, 1, &head);
    call.write_all(&head).unwrap();
    server.until("both are open", || server.connections() == 2.0);
    server.terminate();
    assert_eq!(status(&mut half), 503);
    let kind = std::iter::from_fn(|| frames::next(&mut call)).find(|it| it.kind == HEADERS);
    assert!(kind.is_some_and(|it| it.flags & frames::END_STREAM != 0));
    assert!(server.ended());
}

#[test]
fn half_closed_and_vanished_clients_leave_nothing_behind() {
    let server = Server::start("request_timeout_ms = 2000\nidle_timeout_ms = 2000");
    for address in server.both() {
        // Nothing, a part of a head, a part of a body, a whole request; then no more.
        let whole = server.predict(&server.rows(1));
        for sent in [&b""[..], b"POST /v2", &whole[..whole.len() - 1], &whole] {
            let mut stream = connect(address);
            stream.write_all(sent).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            rest(&mut stream);
            let mut gone = connect(address);
            gone.write_all(sent).unwrap();
        }
    }
    server.recovers();
}
