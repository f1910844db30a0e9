//! The file that a profile is written to.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::Path;

use super::data;
use crate::drift::profile::Profile;

/// Bytes of a file that may be a profile.
const PROFILE_MAX: u64 = 64 << 20;

/// Whether a profile may be written there.
///
/// # Errors
/// Why not.
pub fn check(path: &Path, force: bool) -> Result<(), String> {
    if path.is_dir() {
        let reason = "is a folder; expected a file, such as profile.json in it";
        return Err(data::at(path, &reason));
    }
    let folder = path.parent().filter(|it| !it.as_os_str().is_empty());
    if let Some(folder) = folder.filter(|it| !it.is_dir()) {
        return Err(data::at(folder, &"no such folder"));
    }
    if force || !path.exists() {
        return Ok(());
    }
    let failed = |error| data::at(path, &error);
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(PROFILE_MAX)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    match Profile::parse(&bytes) {
        Ok(_) => Ok(()),
        Err(error) => {
            let reason = format!("is there and no profile ({error}); --force replaces it");
            Err(data::at(path, &reason))
        }
    }
}

/// Writes a file so that a reader sees all of it or what was there before.
///
/// # Errors
/// When that fails; what was there is still there.
pub fn save(path: &Path, text: &str) -> Result<(), String> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let part = path.with_file_name(format!(".{name}.{}.part", std::process::id()));
    let write = || {
        let mut file = File::create(&part)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&part, path)
    };
    write().map_err(|error| {
        // Best effort: the failure itself is what matters.
        let _ = fs::remove_file(&part);
        data::at(path, &error)
    })
}
