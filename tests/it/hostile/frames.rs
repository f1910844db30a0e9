//! Frames of HTTP/2 (RFC 9113), written by hand, right ones and wrong ones.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::server::connect;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;
pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;
/// The setting of a stream's first window.
pub const INITIAL_WINDOW: u16 = 4;
/// GOAWAY's reason for those who ask too much.
pub const CALM: u32 = 11;

/// A frame that came.
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

pub fn settings(values: &[(u16, u32)]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (name, value) in values {
        payload.extend(name.to_be_bytes());
        payload.extend(value.to_be_bytes());
    }
    frame(SETTINGS, 0, 0, &payload)
}

/// A header block (RFC 7541) of literals that are not indexed, names and values below 128 bytes.
pub fn block(headers: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in headers {
        bytes.push(0);
        for text in [name, value] {
            bytes.push(u8::try_from(text.len()).unwrap() & 0x7f);
            bytes.extend(text.as_bytes());
        }
    }
    bytes
}

/// The headers of a request.
pub fn post(path: &str, content_type: &str) -> Vec<u8> {
    block(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "x"),
        ("content-type", content_type),
    ])
}

/// A whole request.
pub fn request(stream: u32, head: &[u8], body: &[u8]) -> Vec<u8> {
    let mut bytes = frame(HEADERS, END_HEADERS, stream, head);
    let mut pieces = body.chunks(16_384).peekable();
    while let Some(piece) = pieces.next() {
        let end = if pieces.peek().is_none() {
            END_STREAM
        } else {
            0
        };
        bytes.extend(frame(DATA, end, stream, piece));
    }
    bytes
}

/// A connection on which both said hello: the server's settings hold once they are acknowledged.
pub fn open(address: SocketAddr, values: &[(u16, u32)]) -> TcpStream {
    let mut stream = connect(address);
    stream.write_all(PREFACE).unwrap();
    stream.write_all(&settings(values)).unwrap();
    let theirs = next(&mut stream).unwrap();
    assert_eq!((theirs.kind, theirs.flags), (SETTINGS, 0));
    stream.write_all(&frame(SETTINGS, ACK, 0, &[])).unwrap();
    // What may be sent is 64 KiB until it says more.
    while next(&mut stream).unwrap().kind != WINDOW_UPDATE {}
    stream
}

/// The next frame; `None` when the connection ends.
pub fn next(stream: &mut TcpStream) -> Option<Frame> {
    let mut head = [0; 9];
    exact(stream, &mut head)?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
    let mut payload = vec![0; length];
    exact(stream, &mut payload)?;
    Some(Frame {
        kind: head[3],
        flags: head[4],
        stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
        payload,
    })
}

fn exact(stream: &mut TcpStream, bytes: &mut [u8]) -> Option<()> {
    match stream.read_exact(bytes) {
        Ok(()) => Some(()),
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("no frame came"),
        Err(_ended) => None,
    }
}

/// Reads on until the server ends the connection, and says the reason that it gave.
pub fn reason(stream: &mut TcpStream) -> Option<u32> {
    let mut reason = None;
    while let Some(frame) = next(stream) {
        if frame.kind == GOAWAY {
            let code = frame.payload[4..8].try_into().unwrap();
            reason = Some(u32::from_be_bytes(code));
        }
    }
    reason
}

/// Whether a ping is answered: everything before it was taken.
pub fn pings(stream: &mut TcpStream) -> bool {
    if stream.write_all(&frame(PING, 0, 0, b"together")).is_err() {
        return false;
    }
    while let Some(frame) = next(stream) {
        // Why there is none, should the test fail.
        if frame.kind == GOAWAY {
            println!("{:?}", String::from_utf8_lossy(&frame.payload));
        }
        if frame.kind == PING && frame.flags == ACK && frame.payload == b"together" {
            return true;
        }
    }
    false
}
