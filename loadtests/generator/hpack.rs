//! Header blocks of HTTP/2 (HPACK, RFC 7541). Requests: written here, by three rules, as their
//! headers never change. Answers: read by a crate, for they may be Huffman coded. Pure.

use httlib_hpack::Decoder;

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

fn read(block: &[u8]) -> Option<Meaning> {
    let mut headers = Vec::new();
    let mut decoder = Decoder::with_dynamic_size(0);
    decoder.decode(&mut block.to_vec(), &mut headers).ok()?;
    let mut meaning = Meaning::default();
    for (name, value, _flags) in headers {
        let number = || std::str::from_utf8(&value).ok()?.parse().ok();
        match &name[..] {
            b":status" => meaning.http_status = Some(number()?),
            b"grpc-status" => meaning.grpc_status = Some(number()?),
            _ => {}
        }
    }
    Some(meaning)
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
