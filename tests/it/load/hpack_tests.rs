//! Of `loadtests/generator/hpack.rs`.

use httlib_hpack::Decoder;

use super::hpack::{Blocks, Meaning, Meanings, TABLE_BYTES};

const HEADERS: [(&str, &str); 4] = [
    (":path", "/inference.GRPCInferenceService/ModelInfer"),
    (":authority", "127.0.0.1:8081"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
];

fn decode(decoder: &mut Decoder<'_>, block: &[u8]) -> Vec<(String, String)> {
    let mut headers = Vec::new();
    decoder.decode(&mut block.to_vec(), &mut headers).unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    headers
        .into_iter()
        .map(|(name, value, _)| (text(name), text(value)))
        .collect()
}

#[test]
fn every_block_says_the_same() {
    let long = "x".repeat(300);
    let mut headers = HEADERS.to_vec();
    headers.push(("x-long", &long));
    let blocks = Blocks::new(&headers);
    let mut expected = vec![(":method", "POST"), (":scheme", "http")];
    expected.extend(&headers);
    let expected: Vec<_> = expected
        .into_iter()
        .map(|(name, value)| (name.to_string(), value.to_string()))
        .collect();
    let mut decoder = Decoder::default();
    let first = blocks.first.unwrap();
    assert_eq!(decode(&mut decoder, &first), expected);
    for _ in 0..3 {
        assert_eq!(decode(&mut decoder, &blocks.later), expected);
    }
    assert_eq!(decode(&mut Decoder::default(), &blocks.plain), expected);
    assert_eq!(blocks.later.len(), 2 + headers.len());
}

#[test]
fn headers_larger_than_the_table_are_not_put_in() {
    let long = "x".repeat(TABLE_BYTES);
    assert_eq!(Blocks::new(&[("x-long", &long)]).first, None);
}

#[test]
fn statuses_are_read() {
    let mut meanings = Meanings::default();
    // An update of the table's size, :status 200, and grpc-status spelled out.
    let block = b"\x20\x88\x00\x0bgrpc-status\x0214";
    let expected = Meaning {
        http_status: Some(200),
        grpc_status: Some(14),
    };
    for _ in 0..2 {
        assert_eq!(meanings.of(block), Some(expected));
    }
    // The same in Huffman's code (RFC 7541, appendix B), as most servers write it.
    let mut coded = vec![0x88, 0x40, 0x80];
    httlib_huffman::encode(b"grpc-status", &mut coded).unwrap();
    coded[2] |= (coded.len() - 3) as u8;
    coded.extend([0x82, 0x0b, 0x5f]);
    assert_eq!(coded.len(), 14);
    assert_eq!(meanings.of(&coded), Some(expected));
    // :status spelled out.
    let expected_504 = Some(Meaning {
        http_status: Some(504),
        grpc_status: None,
    });
    assert_eq!(meanings.of(b"\x08\x03504"), expected_504);
    // Cut short anywhere, or with a reference to a table that is not there.
    for broken in [
        &b"\x20\x88\x00\x0bgrpc"[..],
        b"\x08\x03",
        b"\x08",
        b"\xff",
        b"\xbe",
        b"\x7e\x0114",
    ] {
        assert_eq!(meanings.of(broken), None, "{broken:x?}");
    }
    // More blocks than are kept.
    for other in b'a'..=b'z' {
        let block = [&b"\x00\x04date\x01"[..], &[other]].concat();
        assert_eq!(meanings.of(&block), Some(Meaning::default()));
    }
    assert_eq!(meanings.of(block), Some(expected));
}
