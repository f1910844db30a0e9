//! Of `loadtests/generator/frames.rs`.

use super::frames::{HEAD, Head, content, flag, kind, setting, settings, write_settings};

#[test]
fn heads_come_back_as_they_were_written() {
    let head = Head {
        length: 0x01_02_03,
        kind: kind::HEADERS,
        flags: flag::END_HEADERS,
        stream: 0x7fff_fffd,
    };
    let mut bytes = Vec::new();
    head.write(&mut bytes);
    assert_eq!(bytes, [1, 2, 3, 1, 4, 0x7f, 0xff, 0xff, 0xfd]);
    assert_eq!(Head::read(&bytes), Some(head));
    assert_eq!(Head::read(&bytes[..8]), None);
    // The reserved bit is ignored.
    bytes[5] |= 0x80;
    assert_eq!(Head::read(&bytes), Some(head));
}

#[test]
fn settings_come_back_as_they_were_written() {
    let wanted = [
        (setting::ENABLE_PUSH, 0),
        (setting::MAX_FRAME_SIZE, 1 << 20),
    ];
    let mut bytes = Vec::new();
    write_settings(&mut bytes, &wanted);
    assert_eq!(bytes.len(), HEAD + 12);
    let read: Vec<_> = settings(&bytes[HEAD..]).unwrap().collect();
    assert_eq!(read, wanted);
    assert!(settings(&bytes[HEAD + 1..]).is_none());
}

#[test]
fn padding_and_priority_are_no_content() {
    let head = |kind, flags| Head {
        length: 0,
        kind,
        flags,
        stream: 1,
    };
    let padded = head(kind::DATA, flag::PADDED);
    assert_eq!(content(padded, &[2, 7, 8, 0, 0]), Some(&[7, 8][..]));
    assert_eq!(content(padded, &[3, 7, 8]), None);
    assert_eq!(content(padded, &[]), None);
    let both = head(kind::HEADERS, flag::PADDED | flag::PRIORITY);
    assert_eq!(content(both, &[1, 0, 0, 0, 0, 9, 42, 0]), Some(&[42][..]));
    assert_eq!(content(both, &[1, 0, 0]), None);
}
