//! W3C Trace Context, level 2: the headers `traceparent` and `tracestate`, read and written.

/// The place of a span among others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// Never zero.
    pub trace: [u8; 16],
    /// Never zero.
    pub span: [u8; 8],
    pub flags: u8,
}

/// The flag of a trace that is recorded.
pub const SAMPLED: u8 = 1;

/// The flag of a trace id whose last 56 bits are random.
pub const RANDOM: u8 = 2;

/// Characters of a header `traceparent`.
pub const LENGTH: usize = 55;

/// Characters of a `tracestate` that is passed on: what everybody has to (section 3.3.1.5).
const STATE_MAX: usize = 512;

impl Context {
    /// Reads a `traceparent`: `00-<32 hex>-<16 hex>-<2 hex>`, of a later version perhaps with more
    /// behind it. `None` for anything else: the trace then begins here.
    pub fn parse(header: &[u8]) -> Option<Context> {
        let (known, rest) = header.split_at_checked(LENGTH)?;
        let dashes = [2, 35, 52].iter().all(|at| known.get(*at) == Some(&b'-'));
        let version = hex::<1>(known.get(..2)?)?[0];
        let ends = match version {
            0 => rest.is_empty(),
            0xff => false,
            _ => rest.first().is_none_or(|next| *next == b'-'),
        };
        let context = Context {
            trace: hex(known.get(3..35)?)?,
            span: hex(known.get(36..52)?)?,
            flags: hex::<1>(known.get(53..)?)?[0],
        };
        let valid = dashes && ends && context.trace != [0; 16] && context.span != [0; 8];
        valid.then_some(context)
    }

    /// Whether the caller records this trace.
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// The header's value.
    pub fn write(&self) -> [u8; LENGTH] {
        let mut out = *b"00-00000000000000000000000000000000-0000000000000000-00";
        let parts = [
            (3, &self.trace[..]),
            (36, &self.span[..]),
            (53, &[self.flags & (SAMPLED | RANDOM)][..]),
        ];
        for (from, bytes) in parts {
            let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
            for (out, digit) in out.iter_mut().skip(from).zip(digits) {
                *out = b"0123456789abcdef"[usize::from(digit)];
            }
        }
        out
    }
}

/// The `tracestate` of headers in their order, as it is passed on; empty where it is too long, or of
/// characters that it may not have.
pub fn state<'a>(headers: impl Iterator<Item = &'a [u8]>) -> String {
    let mut state = String::new();
    for header in headers {
        let text = std::str::from_utf8(header).unwrap_or("\n").trim();
        let plain = text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
        if !state.is_empty() && !text.is_empty() {
            state.push(',');
        }
        if !plain || state.len() + text.len() > STATE_MAX {
            return String::new();
        }
        state.push_str(text);
    }
    state
}

/// Bytes of their digits, which are in lower case.
fn hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut out = [0; N];
    for (out, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = *pair else { return None };
        *out = digit(high)? << 4 | digit(low)?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_header_is_read_and_written() {
        let context = Context::parse(GOOD.as_bytes()).unwrap();
        assert_eq!(context.trace[..2], [0x0a, 0xf7]);
        assert_eq!(context.span[7], 0x31);
        assert!(context.is_sampled());
        assert_eq!(context.write(), GOOD.as_bytes());
        // Flags that are not known are not passed on.
        let other = Context::parse(GOOD.replace("-01", "-f2").as_bytes()).unwrap();
        assert!(!other.is_sampled());
        assert!(other.write().ends_with(b"-02"));
    }

    #[test]
    fn later_versions_may_say_more() {
        let later = GOOD.replacen("00", "cc", 1);
        assert!(Context::parse(later.as_bytes()).is_some());
        assert!(Context::parse(format!("{later}-what").as_bytes()).is_some());
        assert!(Context::parse(format!("{later}.what").as_bytes()).is_none());
    }

    #[test]
    fn anything_else_is_no_context() {
        let zero = "0".repeat(32);
        for bad in [
            String::new(),
            GOOD[..54].to_string(),
            format!("{GOOD}-"),
            GOOD.to_uppercase(),
            GOOD.replacen("00", "ff", 1),
            GOOD.replacen("00", "0x", 1),
            GOOD.replace('-', "_"),
            GOOD.replace("0af7651916cd43dd8448eb211c80319c", &zero),
            GOOD.replace("b7ad6b7169203331", &zero[..16]),
            GOOD.replace("0af", "0ag"),
            "é".repeat(40),
        ] {
            assert_eq!(Context::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_a_context_or_none(bytes in proptest::collection::vec(0_u8.., 0..80)) {
            let _read = Context::parse(&bytes);
            let _state = state([bytes.as_slice(), b"a=1"].into_iter());
        }

        #[test]
        fn what_is_written_is_read(trace in 1_u128.., span in 1_u64.., flags in 0_u8..4) {
            let (trace, span) = (trace.to_be_bytes(), span.to_be_bytes());
            let context = Context { trace, span, flags };
            proptest::prop_assert_eq!(Context::parse(&context.write()), Some(context));
        }
    }

    #[test]
    fn states_are_joined_within_their_limit() {
        let check = |headers: &[&[u8]], expected: &str| {
            assert_eq!(state(headers.iter().copied()), expected);
        };
        check(&[], "");
        check(&[b"a=1", b"", b" b=2,c=3 "], "a=1,b=2,c=3");
        check(&[b"a=\xff"], "");
        check(&[b"a=\x07"], "");
        let long = "x".repeat(512);
        check(&[long.as_bytes()], &long);
        check(&[long.as_bytes(), b""], &long);
        check(&[&long.as_bytes()[2..], b"y"], &format!("{},y", &long[2..]));
        // The comma counts.
        check(&[&long.as_bytes()[1..], b"y"], "");
        check(&["x".repeat(513).as_bytes()], "");
    }
}
