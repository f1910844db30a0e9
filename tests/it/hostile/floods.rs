//! Floods of HTTP/2 frames on both ports.

use std::io::Write;
use std::net::TcpStream;

use super::frames::{
    self, ACK, CALM, CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, RST_STREAM,
    SETTINGS, WINDOW_UPDATE, frame, post,
};
use super::server::Server;

const PATH: &str = "/v1/models/fraud:predict";

/// Bytes as often as said, or until the server closes.
fn send(stream: &mut TcpStream, bytes: &[u8], times: usize) -> bool {
    (0..times).all(|_| stream.write_all(bytes).is_ok())
}

/// Runs a flood on both ports; a client that behaves is answered after it, and the process stays
/// small. The flood says whether its connection is to be there afterwards.
fn flood(name: &str, keys: &str, flood: impl Fn(&mut TcpStream) + Sync) {
    let server = Server::start(keys);
    server.answers();
    let before = server.memory();
    std::thread::scope(|scope| {
        for address in server.both() {
            let flood = &flood;
            scope.spawn(move || {
                let mut stream = frames::open(address, &[]);
                flood(&mut stream);
            });
        }
        for _ in 0..10 {
            server.answers();
        }
    });
    let after = server.memory();
    assert!(after < before + 60, "{name}: {before} to {after} MiB");
    server.recovers();
}

#[test]
fn rapid_resets_end_the_connection() {
    flood("rapid reset", "", |stream| {
        let head = post(PATH, "application/json");
        let cancel = 8_u32.to_be_bytes();
        // All in one write, so that many are reset before any is taken up.
        let bytes: Vec<u8> = (0..20_000)
            .flat_map(|index| {
                let id = 2 * index + 1;
                let mut both = frame(HEADERS, END_HEADERS, id, &head);
                both.extend(frame(RST_STREAM, 0, id, &cancel));
                both
            })
            .collect();
        send(stream, &bytes, 1);
        assert_eq!(frames::reason(stream), Some(CALM));
    });
}

#[test]
fn resets_that_the_server_must_send_end_the_connection() {
    // Without a path a request is an error of its stream, which the server resets.
    flood("made you reset", "", |stream| {
        let head = frames::block(&[
            (":method", "POST"),
            (":scheme", "http"),
            (":authority", "x"),
        ]);
        for index in 0..2000 {
            if !send(
                stream,
                &frame(HEADERS, END_HEADERS, 2 * index + 1, &head),
                1,
            ) {
                break;
            }
        }
        assert_eq!(frames::reason(stream), Some(CALM));
    });
}

#[test]
fn pings_and_settings_are_answered_one_by_one() {
    for (name, one) in [
        ("ping", frame(PING, 0, 0, &[7; 8])),
        ("settings", frame(SETTINGS, 0, 0, &[])),
        ("acknowledged pings", frame(PING, ACK, 0, &[7; 8])),
        ("priorities", frame(2, 0, 1, &[0, 0, 0, 0, 9])),
        ("unknown", frame(0xbe, 0xff, 0, &[7; 100])),
    ] {
        // The client does not read: the server stops to read as well, and then closes.
        flood(
            name,
            "write_timeout_ms = 500\nidle_timeout_ms = 3000",
            |stream| {
                stream
                    .set_write_timeout(Some(std::time::Duration::from_secs(10)))
                    .unwrap();
                send(stream, &one.repeat(1000), 500);
            },
        );
    }
}

#[test]
fn continuations_without_end_end_the_connection() {
    flood("continuation", "", |stream| {
        let head = post(PATH, "application/json");
        send(stream, &frame(HEADERS, 0, 1, &head), 1);
        let more = frames::block(&[("name", "value"); 100]);
        assert!(!send(stream, &frame(CONTINUATION, 0, 1, &more), 100_000));
        assert!(matches!(frames::reason(stream), Some(CALM) | None));
    });
    flood("empty continuation", "", |stream| {
        let head = post(PATH, "application/json");
        send(stream, &frame(HEADERS, 0, 1, &head), 1);
        assert!(!send(stream, &frame(CONTINUATION, 0, 1, &[]), 1_000_000));
        assert!(matches!(frames::reason(stream), Some(CALM) | None));
    });
}

#[test]
fn empty_data_ends_the_connection() {
    flood("empty data", "", |stream| {
        let head = post(PATH, "application/json");
        send(stream, &frame(HEADERS, END_HEADERS, 1, &head), 1);
        assert!(!send(stream, &frame(DATA, 0, 1, &[]), 1_000_000));
        assert!(matches!(frames::reason(stream), Some(CALM) | None));
    });
}

#[test]
fn updates_of_windows_overflow_or_cost_nothing() {
    flood("window update", "request_timeout_ms = 1000", |stream| {
        let head = post(PATH, "application/json");
        send(stream, &frame(HEADERS, END_HEADERS, 1, &head), 1);
        let one = frame(WINDOW_UPDATE, 0, 1, &1_u32.to_be_bytes());
        send(stream, &one.repeat(1000), 300);
        assert!(frames::pings(stream));
        let most = frame(WINDOW_UPDATE, 0, 0, &(u32::MAX >> 1).to_be_bytes());
        send(stream, &most, 2);
        assert_eq!(frames::reason(stream), Some(3));
    });
}

#[test]
fn streams_beyond_the_limit_are_refused() {
    flood("many streams", "request_timeout_ms = 3000", |stream| {
        let head = post(PATH, "application/json");
        let opened: Vec<u8> = (0..300)
            .flat_map(|index| frame(HEADERS, END_HEADERS, 2 * index + 1, &head))
            .collect();
        send(stream, &opened, 1);
        let refused = std::iter::from_fn(|| frames::next(stream))
            .filter(|frame| frame.kind == RST_STREAM && frame.payload == 7_u32.to_be_bytes())
            .take(44)
            .count();
        // 256 are open.
        assert_eq!(refused, 44);
        let end = frame(DATA, END_STREAM, 1, b"{}");
        send(stream, &end, 1);
        assert!(frames::pings(stream));
    });
}
