//! The keys of `[export]`: the prediction log as Parquet files.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use super::{BYTES_MAX, Config, Key, ROWS_MAX, Set, count, size, text};

const SECTION: &str = "export";

/// A file has a few hundred bytes of its own.
const BYTES: RangeInclusive<u64> = 4096..=BYTES_MAX;

/// Every key of the section, in the order of the documentation.
pub static KEYS: [Key; 6] = [
    text(SECTION, "dir", |c, v| {
        c.export.dir = (!v.is_empty()).then(|| PathBuf::from(v));
        Ok(())
    }),
    time("wait", |c, v| c.export.wait_ms = v),
    time("rotate", |c, v| c.export.rotate_ms = v),
    count(SECTION, "rotate_rows", 1..=ROWS_MAX, |c, v| {
        c.export.rotate_rows = v;
    }),
    count(SECTION, "rotate_bytes", BYTES, |c, v| {
        c.export.rotate_bytes = v;
    }),
    count(SECTION, "files_max", 0..=ROWS_MAX, |c, v| {
        c.export.files_max = size(v);
    }),
];

const fn time(name: &'static str, set: fn(&mut Config, u64)) -> Key {
    Key {
        section: SECTION,
        name,
        set: Set::Time(set),
    }
}
