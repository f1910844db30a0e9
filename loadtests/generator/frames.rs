//! Frames of HTTP/2 (RFC 9113, section 4): heads, and those frames that a client writes. Pure.

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Bytes after the head.
    pub length: usize,
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
}

/// Bytes of a head.
pub const HEAD: usize = 9;
/// What a client sends before its first frame.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes that every peer takes in one frame; no frame that it sends us is larger, as we do not
/// announce more.
pub const LENGTH_MAX: usize = 16_384;
/// The largest window, and the largest stream id.
pub const WINDOW_MAX: u32 = (1 << 31) - 1;
/// A connection's window, and a stream's, until something else is said.
pub const WINDOW: i64 = 65_535;

/// Kinds of frames.
pub mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// Flags of frames.
pub mod flag {
    pub const ACK: u8 = 0x1;
    pub const END_STREAM: u8 = 0x1;
    pub const END_HEADERS: u8 = 0x4;
    pub const PADDED: u8 = 0x8;
    pub const PRIORITY: u8 = 0x20;
}

/// Settings.
pub mod setting {
    pub const HEADER_TABLE_SIZE: u16 = 1;
    pub const ENABLE_PUSH: u16 = 2;
    pub const INITIAL_WINDOW_SIZE: u16 = 4;
    pub const MAX_FRAME_SIZE: u16 = 5;
}

impl Head {
    /// Reads the head that bytes start with.
    pub fn read(bytes: &[u8]) -> Option<Head> {
        let [l2, l1, l0, kind, flags, stream @ ..] = *bytes.first_chunk::<HEAD>()?;
        Some(Head {
            length: u32::from_be_bytes([0, l2, l1, l0]) as usize,
            kind,
            flags,
            // The highest bit is reserved.
            stream: u32::from_be_bytes(stream) & WINDOW_MAX,
        })
    }

    /// Appends it.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(self.length as u32).to_be_bytes()[1..]);
        out.extend_from_slice(&[self.kind, self.flags]);
        out.extend_from_slice(&self.stream.to_be_bytes());
    }

    /// Whether a flag is set.
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Appends a frame.
pub fn write(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let head = Head {
        length: payload.len(),
        kind,
        flags,
        stream,
    };
    head.write(out);
    out.extend_from_slice(payload);
}

/// Appends a frame of settings.
pub fn write_settings(out: &mut Vec<u8>, settings: &[(u16, u32)]) {
    let mut payload = Vec::with_capacity(settings.len() * 6);
    for (id, value) in settings {
        payload.extend_from_slice(&id.to_be_bytes());
        payload.extend_from_slice(&value.to_be_bytes());
    }
    write(out, kind::SETTINGS, 0, 0, &payload);
}

/// The settings of a frame's payload; `None` when its length is not one of settings.
pub fn settings(payload: &[u8]) -> Option<impl Iterator<Item = (u16, u32)>> {
    let (settings, rest) = payload.as_chunks::<6>();
    let read = |[i1, i0, value @ ..]: &[u8; 6]| {
        (u16::from_be_bytes([*i1, *i0]), u32::from_be_bytes(*value))
    };
    rest.is_empty().then(|| settings.iter().map(read))
}

/// A payload without its padding and priority; `None` when there is less than those take.
pub fn content(head: Head, payload: &[u8]) -> Option<&[u8]> {
    let mut content = payload;
    // Continuations have no such flag.
    if head.kind != kind::CONTINUATION && head.has(flag::PADDED) {
        let (padding, rest) = content.split_first()?;
        content = &rest[..rest.len().checked_sub(usize::from(*padding))?];
    }
    if head.kind == kind::HEADERS && head.has(flag::PRIORITY) {
        content = content.get(5..)?;
    }
    Some(content)
}
