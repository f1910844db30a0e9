//! The admin address is closed to the world unless an operator opens it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use hedgerow::config::Config;

use super::server::{Server, connect, status};

#[test]
fn the_admin_address_is_loopback_by_default_and_nothing_else() {
    let settings = Config::default().api;
    assert!(settings.admin.ip().is_loopback(), "{}", settings.admin);
    // The clients' are open to all; that they are, is what makes the next line a test.
    assert!(settings.http.ip().is_unspecified());
    // Another address of this machine reaches a server that listens on all of them, and not this one.
    let server = Server::start("");
    let other = SocketAddr::from(([127, 0, 0, 2], server.admin.port()));
    assert!(TcpStream::connect(other).is_err());
}

#[test]
fn the_public_addresses_do_not_answer_operators() {
    let server = Server::start("");
    for (request, expected) in [
        ("GET /metrics", 404),
        ("POST /v2/repository/models/fraud/unload", 403),
        ("POST /v2/repository/models/fraud/load", 403),
        ("POST /v1/slots/fraud/promote", 403),
        ("POST /v1/slots/fraud/rollback", 403),
    ] {
        for address in server.both() {
            let mut stream = connect(address);
            let ask = format!(
                "{request} HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{{}}"
            );
            stream.write_all(ask.as_bytes()).unwrap();
            if address == server.http {
                assert_eq!(status(&mut stream), expected, "{request}");
                continue;
            }
            // gRPC's refusals are statuses within an answer without a body.
            let mut answer = Vec::new();
            let _ended = stream.read_to_end(&mut answer);
            let answer = String::from_utf8_lossy(&answer);
            assert!(answer.ends_with("\r\n\r\n"), "{request}: {answer}");
        }
    }
    server.recovers();
}
