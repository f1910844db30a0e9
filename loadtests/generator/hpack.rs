//! Header blocks of HTTP/2 (HPACK, RFC 7541). Requests: written here, by three rules, as their
//! headers never change. Answers: only their statuses are read; the code of their texts (Huffman's)
//! by a crate. Pure.

use std::borrow::Cow;
use std::ops::Range;

use httlib_huffman::DecoderSpeed;

/// The header block of a request, as it is written at different times of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocks {
    /// The first request's: tells the server to keep the headers in its table. `None` when they do
    /// not fit there.
    pub first: Option<Vec<u8>>,
    /// Those after it: a byte or two per header, as gRPC's own clients send them.
    pub later: Vec<u8>,
    /// For servers with a small table: nothing is kept.
    pub plain: Vec<u8>,
    /// What the headers take in the server's table.
    pub table_bytes: usize,
}

/// What an answer's header block says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meaning {
    pub http_status: Option<u16>,
    pub grpc_status: Option<u16>,
}

/// Reads answers' blocks. Servers are told to have no table (`SETTINGS_HEADER_TABLE_SIZE` 0), so
/// equal bytes mean equal headers, whatever came before and on whatever connection: the last blocks
/// are kept with what they mean, and the usual answer costs a comparison.
#[derive(Debug, Default)]
pub struct Meanings {
    known: Vec<(Vec<u8>, Meaning)>,
    oldest: usize,
}

/// A server's table until it says otherwise.
pub const TABLE_BYTES: usize = 4096;
/// Blocks that are kept: heads, which change with the second, and trailers.
const KNOWN_MAX: usize = 8;
/// What RFC 7541 adds to the bytes of an entry of the table.
const ENTRY_OVERHEAD: usize = 32;
/// Where the table's own entries begin.
const DYNAMIC: usize = 62;
/// Headers whose name has an entry in the static table.
const NAMES: [(&str, usize); 4] = [
    (":authority", 1),
    (":path", 4),
    ("content-type", 31),
    ("user-agent", 58),
];
/// The entries of the static table that are a status, and which.
const STATUSES: Range<usize> = 8..15;
const STATUS_VALUES: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
/// `:method: POST` and `:scheme: http`, whole entries of the static table.
const POST_HTTP: [u8; 2] = [0x83, 0x86];

impl Blocks {
    /// The blocks of a POST over http with these headers; pseudo headers come first.
    pub fn new(headers: &[(&str, &str)]) -> Blocks {
        let mut first = POST_HTTP.to_vec();
        let mut later = first.clone();
        let mut plain = first.clone();
        for (index, (name, value)) in headers.iter().enumerate() {
            literal(&mut first, 0x40, 6, name, value);
            literal(&mut plain, 0x00, 4, name, value);
            // The last one that was put in has the lowest number.
            integer(&mut later, 0x80, 7, DYNAMIC + headers.len() - 1 - index);
        }
        let entry = |(name, value): &(&str, &str)| name.len() + value.len() + ENTRY_OVERHEAD;
        let table_bytes = headers.iter().map(entry).sum();
        Blocks {
            first: (table_bytes <= TABLE_BYTES).then_some(first),
            later,
            plain,
            table_bytes,
        }
    }
}

impl Meanings {
    /// What a block says; `None` when it is broken.
    pub fn of(&mut self, block: &[u8]) -> Option<Meaning> {
        if let Some((_, meaning)) = self.known.iter().find(|(known, _)| known == block) {
            return Some(*meaning);
        }
        let meaning = read(block)?;
        if self.known.len() < KNOWN_MAX {
            self.known.push((block.to_vec(), meaning));
        } else {
            self.known[self.oldest] = (block.to_vec(), meaning);
            self.oldest = (self.oldest + 1) % KNOWN_MAX;
        }
        Some(meaning)
    }
}

/// Reads the statuses of a block that refers to no table but the static one; `None` when it is cut
/// short or refers to another.
fn read(mut block: &[u8]) -> Option<Meaning> {
    let mut meaning = Meaning::default();
    while let Some(first) = block.first().copied() {
        if first & 0xe0 == 0x20 {
            // An update of the table's size, which stays 0.
            take_integer(&mut block, 5)?;
            continue;
        }
        let is_whole = first & 0x80 != 0;
        let prefix = match (is_whole, first & 0x40 != 0) {
            (true, _) => 7,
            (false, true) => 6,
            (false, false) => 4,
        };
        let index = take_integer(&mut block, prefix)?;
        if index >= DYNAMIC || (is_whole && index == 0) {
            return None;
        }
        let is_status = STATUSES.contains(&index);
        if is_whole {
            if is_status {
                meaning.http_status = Some(STATUS_VALUES[index - STATUSES.start]);
            }
            continue;
        }
        let is_grpc_status = index == 0 && *take_text(&mut block)? == b"grpc-status"[..];
        let value = take_text(&mut block)?;
        let number = || std::str::from_utf8(&value).ok()?.parse().ok();
        if is_status {
            meaning.http_status = Some(number()?);
        } else if is_grpc_status {
            meaning.grpc_status = Some(number()?);
        }
    }
    Some(meaning)
}

/// Takes an integer of which the first `prefix` bits share a byte with something else.
fn take_integer(bytes: &mut &[u8], prefix: u8) -> Option<usize> {
    let (first, mut rest) = bytes.split_first()?;
    let most = (1 << prefix) - 1;
    let mut value = usize::from(*first) & most;
    if value == most {
        for shift in [0, 7, 14, 21] {
            let (byte, after) = rest.split_first()?;
            rest = after;
            value += usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                *bytes = rest;
                return Some(value);
            }
        }
        // Larger than any block.
        return None;
    }
    *bytes = rest;
    Some(value)
}

fn take_text<'a>(bytes: &mut &'a [u8]) -> Option<Cow<'a, [u8]>> {
    let is_coded = bytes.first()? & 0x80 != 0;
    let length = take_integer(bytes, 7)?;
    let (text, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    if !is_coded {
        return Some(Cow::Borrowed(text));
    }
    let mut plain = Vec::new();
    httlib_huffman::decode(text, &mut plain, DecoderSpeed::FourBits).ok()?;
    Some(Cow::Owned(plain))
}

/// Appends a header whose value, and whose name if it is not a usual one, is spelled out.
fn literal(out: &mut Vec<u8>, kind: u8, prefix: u8, name: &str, value: &str) {
    match NAMES.iter().find(|(known, _)| *known == name) {
        Some((_, index)) => integer(out, kind, prefix, *index),
        None => {
            out.push(kind);
            text(out, name);
        }
    }
    text(out, value);
}

/// Appends a text that is not Huffman coded.
fn text(out: &mut Vec<u8>, text: &str) {
    integer(out, 0, 7, text.len());
    out.extend_from_slice(text.as_bytes());
}

/// Appends an integer of which the first `prefix` bits share a byte with `kind` (section 5.1).
fn integer(out: &mut Vec<u8>, kind: u8, prefix: u8, value: usize) {
    let most = (1 << prefix) - 1;
    if value < most {
        return out.push(kind | value as u8);
    }
    out.push(kind | most as u8);
    let mut rest = value - most;
    while rest >= 128 {
        out.push(0x80 | (rest & 0x7f) as u8);
        rest >>= 7;
    }
    out.push(rest as u8);
}
