//! HTTP/1.1 as a client that only counts needs it: one request, the same every time, and of answers
//! the status and where they end. Pure: bytes in, bytes out.

use memchr::{memchr, memchr_iter};

use super::tally::{Failure, Outcome};

/// A request that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    pub outcome: Outcome,
    /// Whether the connection takes another request.
    pub reusable: bool,
}

/// Reads the answers of one connection.
#[derive(Debug, Default)]
pub struct Reader {
    state: State,
    /// The start of a head, or of a chunk's size, of which the rest has not come.
    held: Vec<u8>,
    head: Head,
}

/// Where an answer's next byte belongs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Head,
    /// So many bytes of the body are to come.
    Body(u64),
    ChunkSize,
    /// So many bytes of the chunk and its line end are to come; the body has the first of the two.
    Chunk {
        body: u64,
        end: u8,
    },
    Trailers,
    /// The body ends with the connection.
    UntilClose,
}

/// What a head says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Head {
    status: u16,
    length: Option<u64>,
    chunked: bool,
    close: bool,
}

/// Bytes of a head at the most.
const HEAD_MAX: usize = 64 << 10;

impl Reader {
    /// Takes bytes that came. `body` gets those of the body.
    ///
    /// # Errors
    /// [`Failure::Protocol`] when they are not an answer.
    pub fn receive(
        &mut self,
        mut bytes: &[u8],
        body: &mut Option<Vec<u8>>,
    ) -> Result<Option<Answer>, Failure> {
        loop {
            let answer = match self.state {
                State::Head => match self.read_head(&mut bytes)? {
                    true => self.body_or_end(),
                    false => return Ok(None),
                },
                State::Body(left) => {
                    let taken = take(&mut bytes, left, body);
                    self.state = State::Body(left - taken);
                    (left == taken).then(|| self.end())
                }
                State::UntilClose => {
                    take(&mut bytes, u64::MAX, body);
                    None
                }
                _ => self.read_chunked(&mut bytes, body)?,
            };
            match (answer, bytes.is_empty()) {
                (None, true) => return Ok(None),
                (None, false) => {}
                (Some(answer), true) => return Ok(Some(answer)),
                // There was only one request to answer.
                (Some(_), false) => return Err(Failure::Protocol),
            }
        }
    }

    /// The connection was closed: the answer that this ends, if any.
    pub fn closed(&mut self) -> Option<Answer> {
        (self.state == State::UntilClose).then(|| self.end())
    }

    /// Reads a head that is there whole; keeps what is there of one that is not.
    fn read_head(&mut self, bytes: &mut &[u8]) -> Result<bool, Failure> {
        if self.held.is_empty()
            && let Some((head, length)) = Head::read(bytes)?
        {
            // The usual case: nothing is copied.
            self.head = head;
            *bytes = &bytes[length..];
            return Ok(true);
        }
        let before = self.held.len();
        self.held.extend_from_slice(bytes);
        let Some((head, length)) = Head::read(&self.held)? else {
            *bytes = &[];
            let fits = self.held.len() <= HEAD_MAX;
            return fits.then_some(false).ok_or(Failure::Protocol);
        };
        self.head = head;
        *bytes = &bytes[length - before..];
        self.held.clear();
        Ok(true)
    }

    fn body_or_end(&mut self) -> Option<Answer> {
        let head = self.head;
        self.state = match (head.status, head.chunked, head.length) {
            // An interim answer; the one that counts follows.
            (..200, ..) => State::Head,
            (204 | 304, ..) => return Some(self.end()),
            (_, true, _) => State::ChunkSize,
            (_, _, Some(0)) => return Some(self.end()),
            (_, _, Some(length)) => State::Body(length),
            (_, _, None) => State::UntilClose,
        };
        None
    }

    fn read_chunked(
        &mut self,
        bytes: &mut &[u8],
        body: &mut Option<Vec<u8>>,
    ) -> Result<Option<Answer>, Failure> {
        if let State::Chunk { body: left, end } = self.state {
            let left = left - take(bytes, left, body);
            let end = end - take(bytes, if left == 0 { end.into() } else { 0 }, &mut None) as u8;
            self.state = match (left, end) {
                (0, 0) => State::ChunkSize,
                _ => State::Chunk { body: left, end },
            };
            return Ok(None);
        }
        let Some(position) = memchr(b'\n', bytes) else {
            self.held.extend_from_slice(bytes);
            *bytes = &[];
            let fits = self.held.len() <= HEAD_MAX;
            return fits.then_some(None).ok_or(Failure::Protocol);
        };
        self.held.extend_from_slice(&bytes[..position]);
        *bytes = &bytes[position + 1..];
        let line = self.held.trim_ascii();
        let ended = self.state == State::Trailers && line.is_empty();
        if self.state == State::ChunkSize {
            self.state = match chunk_size(line).ok_or(Failure::Protocol)? {
                0 => State::Trailers,
                body => State::Chunk { body, end: 2 },
            };
        }
        self.held.clear();
        Ok(ended.then(|| self.end()))
    }

    fn end(&mut self) -> Answer {
        let reusable = !self.head.close && self.state != State::UntilClose;
        self.state = State::Head;
        Answer {
            outcome: Outcome::Status(self.head.status),
            reusable,
        }
    }
}

impl Head {
    /// A head and its length; `None` when it is not there whole.
    fn read(bytes: &[u8]) -> Result<Option<(Head, usize)>, Failure> {
        let mut ends = memchr_iter(b'\n', bytes);
        let Some(first) = ends.next() else {
            return Ok(None);
        };
        let mut head = Head::status_line(&bytes[..first]).ok_or(Failure::Protocol)?;
        let mut start = first + 1;
        for end in ends {
            let line = &bytes[start..end];
            start = end + 1;
            match line.first() {
                None | Some(b'\r') => return Ok(Some((head, start))),
                // Most headers are told apart by their first letter.
                Some(b'c' | b'C' | b't' | b'T') => head.header(line)?,
                Some(_) => {}
            }
        }
        Ok(None)
    }

    fn status_line(line: &[u8]) -> Option<Head> {
        let rest = line.strip_prefix(b"HTTP/1.")?;
        let (minor, rest) = rest.split_first()?;
        let digits = rest.strip_prefix(b" ")?.get(..3)?;
        let mut status = 0;
        for digit in digits {
            status = status * 10 + u16::from(digit.wrapping_sub(b'0'));
        }
        (100..600).contains(&status).then_some(Head {
            status,
            close: *minor == b'0',
            ..Head::default()
        })
    }

    fn header(&mut self, line: &[u8]) -> Result<(), Failure> {
        let Some(colon) = memchr(b':', line) else {
            return Ok(());
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            self.length = Some(number(value, 10).ok_or(Failure::Protocol)?);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.chunked = value.eq_ignore_ascii_case(b"chunked");
        } else if name.eq_ignore_ascii_case(b"connection") {
            self.close = match value.eq_ignore_ascii_case(b"close") {
                true => true,
                false => self.close && !value.eq_ignore_ascii_case(b"keep-alive"),
            };
        }
        Ok(())
    }
}

/// The bytes of a request. `headers` are names in lower case and values.
pub fn request(path: &str, host: &str, headers: &[(&str, &str)], body: Option<&[u8]>) -> Vec<u8> {
    let method = if body.is_some() { "POST" } else { "GET" };
    let mut bytes = format!("{method} {path} HTTP/1.1\r\n").into_bytes();
    let has = |wanted: &str| headers.iter().any(|(name, _)| *name == wanted);
    let mut header = |name: &str, value: &str| {
        bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    };
    if !has("host") {
        header("host", host);
    }
    if let Some(body) = body {
        if !has("content-type") {
            header("content-type", "application/json");
        }
        header("content-length", &body.len().to_string());
    }
    for (name, value) in headers {
        header(name, value);
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body.unwrap_or_default());
    bytes
}

/// Moves up to `most` bytes to the body, and says how many.
fn take(bytes: &mut &[u8], most: u64, body: &mut Option<Vec<u8>>) -> u64 {
    let length = bytes.len().min(usize::try_from(most).unwrap_or(usize::MAX));
    let (taken, rest) = bytes.split_at(length);
    if let Some(body) = body {
        body.extend_from_slice(taken);
    }
    *bytes = rest;
    length as u64
}

/// The size that a chunk's first line says; extensions may follow it.
fn chunk_size(line: &[u8]) -> Option<u64> {
    let end = memchr(b';', line).unwrap_or(line.len());
    number(line[..end].trim_ascii(), 16)
}

/// A number of up to 15 digits.
fn number(digits: &[u8], base: u64) -> Option<u64> {
    if digits.is_empty() || digits.len() > 15 {
        return None;
    }
    digits.iter().try_fold(0, |number, digit| {
        let value = u64::from(char::from(*digit).to_digit(base as u32)?);
        Some(number * base + value)
    })
}
