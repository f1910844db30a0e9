//! gRPC over HTTP/2 (RFC 9113) as a client that only counts needs it: one method, one message, one
//! stream at a time. Pure: bytes in, bytes out.

use super::frames::{self, HEAD, Head, LENGTH_MAX, WINDOW, WINDOW_MAX, flag, kind, setting};
use super::hpack::{Blocks, Meaning, Meanings, TABLE_BYTES};
use super::http1::Answer;
use super::tally::{Failure, Outcome};

/// What all connections send, and what is known of answers.
#[derive(Debug)]
pub struct Request {
    first: Option<Frames>,
    later: Frames,
    plain: Frames,
    /// The message with its prefix.
    message: Vec<u8>,
    meanings: Meanings,
}

/// A request's frames but for the stream's id.
#[derive(Debug)]
struct Frames {
    bytes: Vec<u8>,
    /// Where the frame with all of the message starts; the end when the message needs several.
    data_at: usize,
}

/// One connection.
#[derive(Debug)]
pub struct Client {
    /// The start of a frame of which the rest has not come.
    held: Vec<u8>,
    /// The id of the last stream; its request is in flight or answered. 0 before the first.
    stream: u32,
    in_flight: bool,
    encoding: Encoding,
    /// Bytes that the server lets us send: on the connection and on the stream.
    window: i64,
    stream_window: i64,
    initial_window: i64,
    frame_max: usize,
    /// Bytes of the message that wait for a window.
    unsent: usize,
    /// Bytes that the server sent and was not given back.
    received: u32,
    /// A header block of which the rest has not come, and whether the stream ends with it.
    block: Option<(Vec<u8>, bool)>,
    meaning: Meaning,
    leaving: bool,
    answer: Option<Answer>,
}

/// How the next request's headers are written; see [`Blocks`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    First,
    Later,
    Plain,
}

/// Bytes before a message: whether it is compressed, and its length.
pub const PREFIX: usize = 5;
/// An update of the table's size to 0: what a server with a smaller table must be told, and allowed
/// at the start of every block.
const NO_TABLE: u8 = 0x20;
/// Received bytes are given back when they are half of the window.
const GIVE_BACK: u32 = WINDOW_MAX / 2;
/// The error code CANCEL.
const CANCEL: u32 = 8;
/// A header block's bytes at the most.
const BLOCK_MAX: usize = 64 << 10;
/// gRPC's codes for answers that have none.
const UNKNOWN: u16 = 2;
const UNAVAILABLE: u16 = 14;

impl Request {
    /// A call of the method at `path`. `headers` are names in lower case and values.
    pub fn new(path: &str, authority: &str, headers: &[(&str, &str)], body: &[u8]) -> Request {
        let has = |wanted: &str| headers.iter().any(|(name, _)| *name == wanted);
        let mut all = vec![(":path", path)];
        if !has(":authority") {
            all.push((":authority", authority));
        }
        for own in [("content-type", "application/grpc"), ("te", "trailers")] {
            if !has(own.0) {
                all.push(own);
            }
        }
        all.extend(headers);
        let blocks = Blocks::new(&all);
        let mut message = vec![0];
        message.extend_from_slice(&(body.len() as u32).to_be_bytes());
        message.extend_from_slice(body);
        let plain = [&[NO_TABLE][..], &blocks.plain].concat();
        Request {
            first: blocks.first.map(|block| Frames::new(&block, &message)),
            later: Frames::new(&blocks.later, &message),
            plain: Frames::new(&plain, &message),
            message,
            meanings: Meanings::default(),
        }
    }
}

impl Frames {
    fn new(block: &[u8], message: &[u8]) -> Frames {
        let mut bytes = Vec::new();
        let parts = block.chunks(LENGTH_MAX);
        let last = parts.len() - 1;
        for (index, part) in parts.enumerate() {
            let (kind, flags) = match (index == 0, index == last) {
                (true, true) => (kind::HEADERS, flag::END_HEADERS),
                (true, false) => (kind::HEADERS, 0),
                (false, true) => (kind::CONTINUATION, flag::END_HEADERS),
                (false, false) => (kind::CONTINUATION, 0),
            };
            frames::write(&mut bytes, kind, flags, 0, part);
        }
        let data_at = bytes.len();
        if message.len() <= LENGTH_MAX {
            frames::write(&mut bytes, kind::DATA, flag::END_STREAM, 0, message);
        }
        Frames { bytes, data_at }
    }

    /// Writes a stream's id into all frames.
    fn set_stream(&mut self, stream: u32) {
        let mut at = 0;
        while let Some(head) = Head::read(&self.bytes[at..]) {
            self.bytes[at + HEAD - 4..at + HEAD].copy_from_slice(&stream.to_be_bytes());
            at += HEAD + head.length;
        }
    }
}

impl Client {
    /// A connection just opened. `out` gets what is sent before any request.
    pub fn open(request: &Request, out: &mut Vec<u8>) -> Client {
        out.extend_from_slice(frames::PREFACE);
        let settings = [
            // Makes equal header blocks mean the same; see `Meanings`.
            (setting::HEADER_TABLE_SIZE, 0),
            (setting::ENABLE_PUSH, 0),
            // A server never waits for this client: a stream's window is not given back at all, the
            // connection's once in a gigabyte.
            (setting::INITIAL_WINDOW_SIZE, WINDOW_MAX),
        ];
        frames::write_settings(out, &settings);
        write_update(out, WINDOW_MAX - WINDOW as u32);
        Client {
            held: Vec::new(),
            stream: 0,
            in_flight: false,
            encoding: match request.first {
                Some(_) => Encoding::First,
                None => Encoding::Plain,
            },
            window: WINDOW,
            stream_window: 0,
            initial_window: WINDOW,
            frame_max: LENGTH_MAX,
            unsent: 0,
            received: 0,
            block: None,
            meaning: Meaning::default(),
            leaving: false,
            answer: None,
        }
    }

    /// Starts a request: what is to be written after `out`, if not all of it went there. Not to be
    /// called before the last one is answered.
    pub fn send<'a>(&mut self, request: &'a mut Request, out: &mut Vec<u8>) -> &'a [u8] {
        // Clients' streams have odd ids.
        self.stream = if self.stream == 0 { 1 } else { self.stream + 2 };
        self.in_flight = true;
        self.meaning = Meaning::default();
        self.stream_window = self.initial_window;
        let length = request.message.len();
        let frames = match (self.encoding, &mut request.first) {
            (Encoding::First, Some(first)) => {
                self.encoding = Encoding::Later;
                first
            }
            (Encoding::Later, _) => &mut request.later,
            (Encoding::First | Encoding::Plain, _) => &mut request.plain,
        };
        frames.set_stream(self.stream);
        if length <= LENGTH_MAX && length as i64 <= self.window.min(self.stream_window) {
            self.window -= length as i64;
            self.stream_window -= length as i64;
            return &frames.bytes;
        }
        out.extend_from_slice(&frames.bytes[..frames.data_at]);
        self.unsent = length;
        self.send_more(&request.message, out);
        &[]
    }

    /// Takes bytes that came. `out` gets what they call for, `body` what messages they hold.
    ///
    /// # Errors
    /// When the connection is of no more use.
    pub fn receive(
        &mut self,
        bytes: &[u8],
        request: &mut Request,
        out: &mut Vec<u8>,
        body: &mut Option<Vec<u8>>,
    ) -> Result<Option<Answer>, Failure> {
        if self.held.is_empty() {
            let used = self.read_frames(bytes, request, out, body)?;
            self.held.extend_from_slice(&bytes[used..]);
        } else {
            let mut held = std::mem::take(&mut self.held);
            held.extend_from_slice(bytes);
            let used = self.read_frames(&held, request, out, body)?;
            held.drain(..used);
            self.held = held;
        }
        let answer = self.answer.take();
        match answer.is_none() && self.leaving && !self.in_flight {
            true => Err(Failure::Gone),
            false => Ok(answer),
        }
    }

    /// Reads all frames that are there whole, and says how many bytes they take.
    fn read_frames(
        &mut self,
        bytes: &[u8],
        request: &mut Request,
        out: &mut Vec<u8>,
        body: &mut Option<Vec<u8>>,
    ) -> Result<usize, Failure> {
        let mut at = 0;
        while let Some(head) = Head::read(&bytes[at..]) {
            if head.length > LENGTH_MAX {
                return Err(Failure::Protocol);
            }
            let start = at + HEAD;
            let Some(payload) = bytes.get(start..start + head.length) else {
                break;
            };
            at = start + head.length;
            match head.kind {
                kind::DATA => self.take_data(head, payload, out, body)?,
                kind::HEADERS | kind::CONTINUATION => {
                    self.take_block(head, payload, request, out)?;
                }
                _ => self.take_control(head, payload, request, out)?,
            }
        }
        Ok(at)
    }

    fn take_data(
        &mut self,
        head: Head,
        payload: &[u8],
        out: &mut Vec<u8>,
        body: &mut Option<Vec<u8>>,
    ) -> Result<(), Failure> {
        self.received += head.length as u32;
        if self.received > GIVE_BACK {
            write_update(out, self.received);
            self.received = 0;
        }
        if !self.is_current(head) {
            return Ok(());
        }
        if let Some(body) = body {
            let content = frames::content(head, payload).ok_or(Failure::Protocol)?;
            body.extend_from_slice(content);
        }
        if head.has(flag::END_STREAM) {
            // A call ends with trailers.
            self.end(Outcome::Failed(Failure::Protocol), out);
        }
        Ok(())
    }

    fn take_block(
        &mut self,
        head: Head,
        payload: &[u8],
        request: &mut Request,
        out: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        let part = frames::content(head, payload).ok_or(Failure::Protocol)?;
        let (before, ends) = match head.kind {
            kind::HEADERS => (Vec::new(), head.has(flag::END_STREAM)),
            _ => self.block.take().ok_or(Failure::Protocol)?,
        };
        if before.len() + part.len() > BLOCK_MAX {
            return Err(Failure::Protocol);
        }
        if !head.has(flag::END_HEADERS) {
            self.block = Some(([&before, part].concat(), ends));
            return Ok(());
        }
        if !self.is_current(head) {
            return Ok(());
        }
        let meaning = match before.is_empty() {
            true => request.meanings.of(part),
            false => request.meanings.of(&[&before, part].concat()),
        };
        let meaning = meaning.ok_or(Failure::Protocol)?;
        self.meaning = Meaning {
            http_status: meaning.http_status.or(self.meaning.http_status),
            grpc_status: meaning.grpc_status.or(self.meaning.grpc_status),
        };
        if ends {
            self.end(Outcome::Status(status(self.meaning)), out);
        }
        Ok(())
    }

    /// All frames but data and headers.
    fn take_control(
        &mut self,
        head: Head,
        payload: &[u8],
        request: &Request,
        out: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        match head.kind {
            kind::SETTINGS if !head.has(flag::ACK) => {
                let settings = frames::settings(payload).ok_or(Failure::Protocol)?;
                for (id, value) in settings {
                    self.set(id, value)?;
                }
                frames::write(out, kind::SETTINGS, flag::ACK, 0, &[]);
                self.send_more(&request.message, out);
            }
            kind::PING if !head.has(flag::ACK) => {
                frames::write(out, kind::PING, flag::ACK, 0, payload);
            }
            kind::WINDOW_UPDATE => {
                let more = i64::from(word(payload).ok_or(Failure::Protocol)? & WINDOW_MAX);
                if head.stream == 0 {
                    self.window += more;
                } else if self.is_current(head) {
                    self.stream_window += more;
                }
                self.send_more(&request.message, out);
            }
            kind::RST_STREAM if self.is_current(head) => {
                self.unsent = 0;
                self.end(Outcome::Failed(Failure::Reset), out);
            }
            kind::GOAWAY => {
                self.leaving = true;
                let last = word(payload).ok_or(Failure::Protocol)? & WINDOW_MAX;
                if self.in_flight && self.stream > last {
                    self.end(Outcome::Failed(Failure::Gone), out);
                }
            }
            kind::PUSH_PROMISE => return Err(Failure::Protocol),
            _ => {}
        }
        Ok(())
    }

    fn set(&mut self, id: u16, value: u32) -> Result<(), Failure> {
        match id {
            setting::HEADER_TABLE_SIZE if (value as usize) < TABLE_BYTES => {
                self.encoding = Encoding::Plain;
            }
            setting::INITIAL_WINDOW_SIZE => {
                let window = i64::from(value);
                // Open streams change by the difference (section 6.9.2).
                self.stream_window += window - self.initial_window;
                self.initial_window = window;
            }
            setting::MAX_FRAME_SIZE => {
                self.frame_max = value as usize;
                if self.frame_max < LENGTH_MAX {
                    return Err(Failure::Protocol);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Sends what the windows let through.
    fn send_more(&mut self, message: &[u8], out: &mut Vec<u8>) {
        while self.unsent > 0 {
            let window = usize::try_from(self.window.min(self.stream_window)).unwrap_or(0);
            let length = self.unsent.min(window).min(self.frame_max);
            if length == 0 {
                return;
            }
            let start = message.len() - self.unsent;
            self.unsent -= length;
            self.window -= length as i64;
            self.stream_window -= length as i64;
            let flags = if self.unsent == 0 {
                flag::END_STREAM
            } else {
                0
            };
            let part = &message[start..start + length];
            frames::write(out, kind::DATA, flags, self.stream, part);
        }
    }

    fn end(&mut self, outcome: Outcome, out: &mut Vec<u8>) {
        if self.unsent > 0 {
            // The server did not want the rest.
            let code = CANCEL.to_be_bytes();
            frames::write(out, kind::RST_STREAM, 0, self.stream, &code);
            self.unsent = 0;
        }
        self.in_flight = false;
        self.answer = Some(Answer {
            outcome,
            reusable: !self.leaving && self.stream < WINDOW_MAX - 2,
        });
    }

    fn is_current(&self, head: Head) -> bool {
        self.in_flight && head.stream == self.stream
    }
}

/// The call's status; gRPC's own mapping of HTTP's where a proxy answered.
fn status(meaning: Meaning) -> u16 {
    match (meaning.grpc_status, meaning.http_status) {
        (Some(status), _) => status,
        (None, Some(429 | 502 | 503 | 504)) => UNAVAILABLE,
        (None, _) => UNKNOWN,
    }
}

fn write_update(out: &mut Vec<u8>, bytes: u32) {
    frames::write(out, kind::WINDOW_UPDATE, 0, 0, &bytes.to_be_bytes());
}

fn word(payload: &[u8]) -> Option<u32> {
    payload.first_chunk().map(|word| u32::from_be_bytes(*word))
}
