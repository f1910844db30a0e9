//! The files' names: `<slot>-<yyyymmddThhmmss>-<number>.parquet`, of the first row's time (UTC) and
//! number in the journal. The same rows always get the same name, so writing them again replaces
//! them.

use std::path::{Path, PathBuf};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256};

/// What a complete file's name ends in.
const ENDING: &str = ".parquet";

/// What the name of one that is being written ends in.
const PART: &str = ".parquet.part";

/// What stays as it is in a slot's name; other bytes become `%` and two digits.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_');

/// Bytes of a slot's name: file systems take names of 255.
const STEM_MAX: usize = 160;

/// What the names of a slot's files begin with: other slots' files begin with something else.
pub fn stem(slot: &str) -> String {
    let name = utf8_percent_encode(slot, ENCODED).to_string();
    if name.len() <= STEM_MAX {
        return name;
    }
    // All of it is ASCII.
    let cut: String = name.chars().take(STEM_MAX - 17).collect();
    let hash = Sha256::digest(slot);
    let digits: String = hash
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("{cut}-{digits}")
}

/// The name of the file whose first row has this time, in milliseconds since 1970, and number.
pub fn of(stem: &str, at_ms: i64, number: i64) -> String {
    let at = jiff::Timestamp::from_millisecond(at_ms).unwrap_or_default();
    format!("{stem}-{}-{number}{ENDING}", at.strftime("%Y%m%dT%H%M%S"))
}

/// The name of a file until it is complete.
pub fn part(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    PathBuf::from(name)
}

/// The slot's complete files in a folder, oldest first.
///
/// # Errors
/// When the folder cannot be read.
pub fn complete(dir: &Path, stem: &str) -> std::io::Result<Vec<PathBuf>> {
    let mut found = list(dir, stem, ENDING)?;
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// The slot's files that were never completed.
///
/// # Errors
/// When the folder cannot be read.
pub fn parts(dir: &Path, stem: &str) -> std::io::Result<Vec<PathBuf>> {
    let found = list(dir, stem, PART)?;
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// Time and number, and the path.
type Named = ((String, i64), PathBuf);

fn list(dir: &Path, stem: &str, ending: &str) -> std::io::Result<Vec<Named>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let place = name.to_str().and_then(|name| place(name, stem, ending));
        if let Some(place) = place {
            found.push((place, entry.path()));
        }
    }
    Ok(found)
}

/// Time and number in a file's name, where it is one of this slot's.
fn place(name: &str, stem: &str, ending: &str) -> Option<(String, i64)> {
    let inside = name.strip_suffix(ending)?;
    let mut parts = inside.rsplitn(3, '-');
    let number = parts.next()?.parse().ok()?;
    let at = parts.next()?.to_string();
    (parts.next()? == stem).then_some((at, number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_of_its_slot_alone_and_a_plain_file() {
        for slot in [
            "fraud",
            "../etc",
            "a b",
            "ä/ß",
            ".",
            "",
            "x-20260101T000000",
        ] {
            let name = of(&stem(slot), 1_795_000_000_000, 42);
            assert!(!name.contains('/') && !name.starts_with('.'), "{name}");
            assert!(place(&name, &stem(slot), ENDING).is_some(), "{name}");
            assert_eq!(place(&name, "x", ENDING), None, "{name}");
        }
        assert_eq!(
            of(&stem("fraud/eu"), 1_795_000_000_000, 42),
            "fraud%2Feu-20261118T110640-42.parquet"
        );
    }

    #[test]
    fn long_names_fit_and_differ() {
        let (one, two) = ("ä".repeat(127), format!("{}b", "ä".repeat(126)));
        assert_ne!(stem(&one), stem(&two));
        assert!(
            part(Path::new(&of(&stem(&one), i64::MAX, i64::MAX)))
                .as_os_str()
                .len()
                < 255
        );
    }
}
