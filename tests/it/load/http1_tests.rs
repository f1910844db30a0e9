//! Of `loadtests/generator/http1.rs`.

use super::http1::{Answer, Reader, request};
use super::tally::{Failure, Outcome};

/// Reads an answer whole, and again byte by byte: both must say the same.
fn read(bytes: &[u8]) -> Result<Option<(Answer, Vec<u8>)>, Failure> {
    let mut body = Some(Vec::new());
    let mut reader = Reader::default();
    let whole = reader.receive(bytes, &mut body)?;
    let whole = whole.or_else(|| reader.closed());
    let mut pieces = Some(Vec::new());
    let mut reader = Reader::default();
    let mut answer = None;
    for byte in bytes {
        assert_eq!(answer, None, "ended early");
        answer = reader.receive(&[*byte], &mut pieces)?;
    }
    assert_eq!(answer.or_else(|| reader.closed()), whole);
    assert_eq!(pieces, body);
    Ok(whole.zip(body))
}

#[test]
fn answers_end_where_their_head_says() {
    for (bytes, status, reusable, body) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab",
            200,
            true,
            "ab",
        ),
        ("HTTP/1.1 503 x\r\ncontent-length:0\r\n\r\n", 503, true, ""),
        ("HTTP/1.1 204 \r\ndate: now\r\n\r\n", 204, true, ""),
        (
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 1\r\n\r\na",
            200,
            false,
            "a",
        ),
        (
            "HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\na",
            200,
            false,
            "a",
        ),
        ("HTTP/1.1 200 OK\r\n\r\nall", 200, false, "all"),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n",
            200,
            true,
            "abc0123456789",
        ),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\na",
            200,
            true,
            "a",
        ),
    ] {
        let (answer, found) = read(bytes.as_bytes()).unwrap().unwrap();
        assert_eq!(answer.outcome, Outcome::Status(status), "{bytes}");
        assert_eq!(answer.reusable, reusable, "{bytes}");
        assert_eq!(found, body.as_bytes(), "{bytes}");
    }
}

#[test]
fn what_is_no_answer_is_a_failure() {
    for bytes in [
        "HTTP/2 200\r\n\r\n",
        "HTTP/1.1 abc\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nab",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
    ] {
        let mut reader = Reader::default();
        let found = reader.receive(bytes.as_bytes(), &mut None);
        assert_eq!(found, Err(Failure::Protocol), "{bytes}");
    }
    let part = Reader::default().receive(b"HTTP/1.1 200 OK\r\ncontent-le", &mut None);
    assert_eq!(part, Ok(None));
}

#[test]
fn requests_have_what_they_need() {
    let bytes = request("/p", "h:1", &[("x-a", "b")], Some(b"{}"));
    let expected = "POST /p HTTP/1.1\r\nhost: h:1\r\ncontent-type: application/json\r\ncontent-length: 2\r\nx-a: b\r\n\r\n{}";
    assert_eq!(bytes, expected.as_bytes());
    let bytes = request("/p", "h", &[], None);
    assert_eq!(bytes, b"GET /p HTTP/1.1\r\nhost: h\r\n\r\n");
}
