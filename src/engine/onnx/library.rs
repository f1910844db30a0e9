//! ONNX Runtime's library: found, opened and initialised once per process.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ort::environment::Environment;

use crate::engine::{EngineError, Libraries};

/// The library of this process, once it is open. It stays open.
static LIBRARY: Mutex<Option<Library>> = Mutex::new(None);

#[derive(Clone)]
struct Library {
    environment: Environment,
    path: PathBuf,
}

/// The environment; the first call opens the library. Later calls get the same one, even where
/// they name another folder: a process holds one ONNX Runtime.
///
/// # Errors
/// [`EngineError::Unavailable`] with the path that was tried.
pub fn environment(libraries: &Libraries) -> Result<Environment, EngineError> {
    open(libraries).map(|library| library.environment)
}

/// The library's version, e.g. `1.31.1`, from its file's name; else its build.
///
/// # Errors
/// Why the library cannot be used.
pub fn version(libraries: &Libraries) -> Result<String, String> {
    let library = open(libraries).map_err(|error| error.to_string())?;
    let name = library.path.to_string_lossy();
    let version = name.rsplit_once(".so.").map(|(_, version)| version);
    Ok(version.unwrap_or(ort::info()).to_string())
}

/// Whether the library's file is there; it is not opened.
///
/// # Errors
/// Where it was looked for.
pub fn present(libraries: &Libraries) -> Result<(), String> {
    find(libraries).map(drop).map_err(|error| error.to_string())
}

fn open(libraries: &Libraries) -> Result<Library, EngineError> {
    let mut library = LIBRARY.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(library) = library.as_ref() {
        return Ok(library.clone());
    }
    let path = find(libraries)?;
    let unavailable = |error: String| {
        EngineError::Unavailable(format!("ONNX Runtime at {}: {error}", path.display()))
    };
    let environment = ort::init_from(&path)
        .map_err(|error| unavailable(error.to_string()))?
        .with_name("hedgerow")
        .build()
        .map_err(|error| unavailable(error.to_string()))?;
    let opened = Library { environment, path };
    *library = Some(opened.clone());
    Ok(opened)
}

/// The file `onnxruntime/capi/libonnxruntime.so*`, as in the wheel; the last one by name.
fn find(libraries: &Libraries) -> Result<PathBuf, EngineError> {
    let dir = libraries.dir.join("onnxruntime").join("capi");
    let mut found: Vec<PathBuf> = std::fs::read_dir(&dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| is_library(path))
        .collect();
    found.sort();
    found.pop().ok_or_else(|| {
        EngineError::Unavailable(format!(
            "ONNX Runtime: there is no libonnxruntime.so in {}",
            dir.display()
        ))
    })
}

fn is_library(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with("libonnxruntime.so"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_library_is_unavailable_and_names_its_folder() {
        let libraries = Libraries {
            dir: PathBuf::from("/nowhere"),
        };
        let error = find(&libraries).unwrap_err().to_string();
        assert!(error.contains("/nowhere/onnxruntime/capi"), "{error}");
    }
}
