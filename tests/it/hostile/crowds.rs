//! Thousands of connections: up to the limit, and beyond.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::frames;
use super::server::{Server, connect, rest};

#[test]
fn a_crowd_up_to_the_limit_is_served_and_the_next_client_is_closed() {
    let server = Server::start("connections_max = 2000");
    let before = server.memory();
    // One is a well-behaved client's, which keeps its connection.
    let mut kept = connect(server.http);
    let ask = server.predict(&server.rows(1));
    kept.write_all(&ask).unwrap();
    assert_eq!(super::server::status(&mut kept), 200);
    let crowd: Vec<TcpStream> = (0..1999)
        .map(|index| connect(server.both()[index % 2]))
        .collect();
    server.until("all are open", || server.connections() == 2000.0);
    assert!(server.memory() < before + 100, "{before}");
    for address in server.both() {
        assert_eq!(rest(&mut connect(address)), b"");
    }
    assert_eq!(
        server.metric("hedgerow_sheds_total{reason=\"connections\"}"),
        2.0
    );
    drop(crowd);
    server.until("only one is left", || server.connections() == 1.0);
    rest_of_answer(&mut kept);
    kept.write_all(&ask).unwrap();
    assert_eq!(super::server::status(&mut kept), 200);
    drop(kept);
    server.recovers();
}

/// What follows a status that was read.
fn rest_of_answer(stream: &mut TcpStream) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let length = head.split_once("content-length: ").unwrap().1;
    let length = length.lines().next().unwrap().parse().unwrap();
    stream.read_exact(&mut vec![0; length]).unwrap();
}

#[test]
fn files_are_left_for_models_and_operators() {
    // Connections may take half of the files.
    let server = Server::with_files("connections_max = 10000", Some(300));
    let crowd: Vec<TcpStream> = (0..400).map(|_| connect(server.http)).collect();
    server.until("all that may are open", || server.connections() == 150.0);
    server.until("the others are refused", || {
        server.metric("hedgerow_sheds_total{reason=\"connections\"}") == 250.0
    });
    server.loads();
    drop(crowd);
    server.recovers();
}

#[test]
fn idle_http2_connections_make_room_when_nearly_all_are_open() {
    let server = Server::start("connections_max = 20\nidle_timeout_ms = 1000");
    let idle = |address: SocketAddr| {
        let mut stream = frames::open(address, &[]);
        let live = frames::block(&[
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "/v2/health/live"),
            (":authority", "x"),
        ]);
        let flags = frames::END_HEADERS | frames::END_STREAM;
        stream
            .write_all(&frames::frame(frames::HEADERS, flags, 1, &live))
            .unwrap();
        stream
    };
    let mut few: Vec<TcpStream> = (0..10)
        .map(|index| idle(server.both()[index % 2]))
        .collect();
    server.until("a few are open", || server.connections() == 10.0);
    std::thread::sleep(std::time::Duration::from_millis(3000));
    assert_eq!(server.connections(), 10.0);
    let mut many: Vec<TcpStream> = (0..10).map(|_| idle(server.http)).collect();
    for stream in few.iter_mut().chain(&mut many).take(3) {
        frames::reason(stream);
    }
    server.until("some were closed", || server.closed("idle") >= 3.0);
    server.answers();
    drop((few, many));
    server.recovers();
}
