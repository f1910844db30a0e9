//! Of `loadtests/generator/http2.rs`.

use super::frames::{self, HEAD, Head, LENGTH_MAX, WINDOW, flag, kind, setting};
use super::http1::Answer;
use super::http2::{Client, PREFIX, Request};
use super::tally::{Failure, Outcome};

struct Case {
    request: Request,
    client: Client,
    out: Vec<u8>,
    body: Option<Vec<u8>>,
}

impl Case {
    fn new(message: &[u8]) -> Case {
        let request = Request::new("/s/m", "h:1", &[], message);
        let mut out = Vec::new();
        let client = Client::open(&request, &mut out);
        assert!(out.starts_with(frames::PREFACE));
        Case {
            request,
            client,
            out: Vec::new(),
            body: Some(Vec::new()),
        }
    }

    /// The frames of a request.
    fn send(&mut self) -> Vec<(Head, Vec<u8>)> {
        let direct = self.client.send(&mut self.request, &mut self.out).to_vec();
        self.out.extend(direct);
        self.written()
    }

    /// The frames written since the last time.
    fn written(&mut self) -> Vec<(Head, Vec<u8>)> {
        let bytes = std::mem::take(&mut self.out);
        let mut at = 0;
        let mut found = Vec::new();
        while let Some(head) = Head::read(&bytes[at..]) {
            at += HEAD + head.length;
            found.push((head, bytes[at - head.length..at].to_vec()));
        }
        assert_eq!(at, bytes.len());
        found
    }

    fn receive(&mut self, bytes: &[u8]) -> Result<Option<Answer>, Failure> {
        let (request, out, body) = (&mut self.request, &mut self.out, &mut self.body);
        self.client.receive(bytes, request, out, body)
    }
}

/// An answer on a stream: :status 200, a message, and trailers with a status.
fn answer(stream: u32, status: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    frames::write(
        &mut bytes,
        kind::HEADERS,
        flag::END_HEADERS,
        stream,
        &[0x88],
    );
    frames::write(&mut bytes, kind::DATA, 0, stream, &[0, 0, 0, 0, 1, 42]);
    bytes.extend(trailers(stream, status));
    bytes
}

fn trailers(stream: u32, status: &str) -> Vec<u8> {
    let mut block = vec![0, 11];
    block.extend_from_slice(b"grpc-status");
    block.push(status.len() as u8);
    block.extend_from_slice(status.as_bytes());
    let mut bytes = Vec::new();
    let flags = flag::END_HEADERS | flag::END_STREAM;
    frames::write(&mut bytes, kind::HEADERS, flags, stream, &block);
    bytes
}

fn ended(status: u16) -> Result<Option<Answer>, Failure> {
    Ok(Some(Answer {
        outcome: Outcome::Status(status),
        reusable: true,
    }))
}

#[test]
fn calls_follow_each_other_on_odd_streams() {
    let mut case = Case::new(b"abc");
    for stream in [1, 3, 5] {
        let sent = case.send();
        assert_eq!(sent.len(), 2);
        assert!(sent.iter().all(|(head, _)| head.stream == stream));
        assert_eq!(sent[1].1, [0, 0, 0, 0, 3, b'a', b'b', b'c']);
        assert!(sent[1].0.has(flag::END_STREAM));
        assert_eq!(case.receive(&answer(stream, "0")), ended(0));
    }
    assert_eq!(case.body.as_ref().unwrap()[..6], [0, 0, 0, 0, 1, 42]);
}

#[test]
fn answers_may_come_byte_by_byte() {
    let mut case = Case::new(b"");
    case.send();
    let bytes = answer(1, "14");
    let (last, before) = bytes.split_last().unwrap();
    for byte in before {
        assert_eq!(case.receive(&[*byte]), Ok(None));
    }
    assert_eq!(case.receive(&[*last]), ended(14));
}

#[test]
fn header_blocks_may_come_in_pieces() {
    let mut case = Case::new(b"");
    case.send();
    let whole = trailers(1, "5");
    let block = &whole[HEAD..];
    let mut bytes = Vec::new();
    frames::write(&mut bytes, kind::HEADERS, flag::END_STREAM, 1, &block[..3]);
    frames::write(&mut bytes, kind::CONTINUATION, 0, 1, &block[3..7]);
    frames::write(
        &mut bytes,
        kind::CONTINUATION,
        flag::END_HEADERS,
        1,
        &block[7..],
    );
    assert_eq!(case.receive(&bytes), ended(5));
}

#[test]
fn a_large_message_waits_for_windows() {
    let mut case = Case::new(&vec![7; 100_000]);
    let mut data: Vec<u8> = Vec::new();
    let mut sent = case.send();
    let length = |sent: &[(Head, Vec<u8>)]| sent.iter().map(|(_, part)| part.len()).sum::<usize>();
    assert_eq!(length(&sent[1..]), WINDOW as usize);
    // The connection's window alone is not enough, nor is the stream's.
    for (stream, more) in [(0, 30_000_u32), (1, 1000), (1, 1 << 20), (0, 1 << 20)] {
        for (head, part) in sent.drain(..).filter(|(head, _)| head.kind == kind::DATA) {
            assert!(head.length <= LENGTH_MAX && !head.has(flag::END_STREAM));
            data.extend(part);
        }
        let mut update = Vec::new();
        frames::write(
            &mut update,
            kind::WINDOW_UPDATE,
            0,
            stream,
            &more.to_be_bytes(),
        );
        assert_eq!(case.receive(&update), Ok(None));
        sent = case.written();
    }
    assert!(sent.last().unwrap().0.has(flag::END_STREAM));
    data.extend(sent.into_iter().flat_map(|(_, part)| part));
    assert_eq!(data.len(), PREFIX + 100_000);
    assert_eq!(case.receive(&answer(1, "0")), ended(0));
}

#[test]
fn settings_change_windows_and_headers() {
    let mut case = Case::new(&[7; 100]);
    let mut settings = Vec::new();
    let wanted = [
        (setting::INITIAL_WINDOW_SIZE, 50),
        (setting::HEADER_TABLE_SIZE, 0),
    ];
    frames::write_settings(&mut settings, &wanted);
    assert_eq!(case.receive(&settings), Ok(None));
    let written = case.written();
    assert!(written[0].0.kind == kind::SETTINGS && written[0].0.has(flag::ACK));
    let sent = case.send();
    // The table is given up.
    assert_eq!(sent[0].1[0], 0x20);
    assert_eq!(sent[1].1.len(), 50);
    let mut settings = Vec::new();
    frames::write_settings(&mut settings, &[(setting::INITIAL_WINDOW_SIZE, 1000)]);
    assert_eq!(case.receive(&settings), Ok(None));
    let written = case.written();
    assert_eq!((written[1].0.kind, written[1].1.len()), (kind::DATA, 55));
}

#[test]
fn pings_are_answered() {
    let mut case = Case::new(b"");
    let mut ping = Vec::new();
    frames::write(&mut ping, kind::PING, 0, 0, b"12345678");
    assert_eq!(case.receive(&ping), Ok(None));
    let written = case.written();
    assert!(written[0].0.has(flag::ACK) && written[0].1 == b"12345678");
}

#[test]
fn a_refusal_before_the_message_was_sent_ends_the_stream() {
    let mut case = Case::new(&vec![7; 100_000]);
    case.send();
    assert_eq!(case.receive(&trailers(1, "8")), ended(8));
    assert_eq!(case.written()[0].0.kind, kind::RST_STREAM);
    // What comes late for the old stream does not touch the next.
    let mut late = Vec::new();
    frames::write(&mut late, kind::RST_STREAM, 0, 1, &[0; 4]);
    case.send();
    assert_eq!(case.receive(&late), Ok(None));
}

#[test]
fn resets_and_leaving_servers_are_failures() {
    let failed = |failure, reusable| {
        Ok(Some(Answer {
            outcome: Outcome::Failed(failure),
            reusable,
        }))
    };
    let mut case = Case::new(b"");
    case.send();
    let mut reset = Vec::new();
    frames::write(&mut reset, kind::RST_STREAM, 0, 1, &[0, 0, 0, 2]);
    assert_eq!(case.receive(&reset), failed(Failure::Reset, true));
    case.send();
    let mut goaway = Vec::new();
    frames::write(&mut goaway, kind::GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]);
    assert_eq!(case.receive(&goaway), failed(Failure::Gone, false));
    // Without a request in flight it only means that the connection is of no more use.
    let mut case = Case::new(b"");
    assert_eq!(case.receive(&goaway), Err(Failure::Gone));
}

#[test]
fn what_is_not_http2_is_a_failure() {
    let mut case = Case::new(b"");
    let http1 = b"HTTP/1.1 400 Bad Request\r\n\r\n";
    assert_eq!(case.receive(http1), Err(Failure::Protocol));
}
