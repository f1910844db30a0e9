//! `hedgerow check`: loads revisions as the server would, and says what each one is.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use super::page::{Amount, Page};
use crate::config::{Config, Flag};
use crate::model::artifact::{Artifact, MODEL_FILES};
use crate::model::revision::{self, Revision, Settings};

/// Load models as the server would and say what they are.
///
/// PATH is a revision's folder, a slot's folder with revisions, or a folder of slots; then every
/// revision below it is checked. The exit code is 1 when one of them cannot serve.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hedgerow check models/fraud/3
  hedgerow check models/fraud/3 --verify     compare with the format's own library
  hedgerow check models/ --json              one line of JSON for each revision")]
pub struct Arguments {
    /// Folder of one revision, of one slot, or of all slots.
    path: PathBuf,
    /// What computes: auto, forest or library [default: auto].
    #[arg(long, value_name = "ENGINE")]
    engine: Option<String>,
    /// Compare with the format's own library on golden and random rows.
    #[arg(long)]
    verify: bool,
    /// Folder of the optional native libraries.
    #[arg(long, value_name = "DIR")]
    native_dir: Option<String>,
    /// List all features, however many there are.
    #[arg(long)]
    all: bool,
    /// Print one line of JSON for each revision.
    #[arg(long)]
    json: bool,
}

/// A folder of a revision, with its place in the repository as far as the path shows it.
struct Candidate {
    dir: PathBuf,
    slot: String,
    id: u64,
}

impl Arguments {
    /// The flags that were given, as keys of the configuration.
    fn flags(&self) -> Vec<Flag> {
        let verify = self.verify.then(|| "true".to_string());
        let flags = [
            ("--engine", "engine", &self.engine),
            ("--verify", "verify", &verify),
            ("--native-dir", "native_dir", &self.native_dir),
        ];
        flags
            .into_iter()
            .filter_map(|(name, key, value)| {
                let value = value.clone()?;
                Some(Flag {
                    name,
                    section: "models",
                    key,
                    value,
                })
            })
            .collect()
    }
}

/// Checks every revision below the path.
pub fn run(arguments: &Arguments) -> ExitCode {
    let settings = match Config::load(None, &arguments.flags()) {
        Ok(config) => config.revision,
        Err(problems) => return super::complain_of(&problems),
    };
    let candidates = match find(&arguments.path) {
        Ok(candidates) => candidates,
        Err(reason) => return super::complain(&reason),
    };
    let amount = if arguments.all {
        Amount::All
    } else {
        Amount::Some
    };
    let mut broken = 0;
    for (position, candidate) in candidates.iter().enumerate() {
        let page = load(candidate, &settings);
        broken += usize::from(page.is_err());
        let written = match page {
            Ok(page) if arguments.json => super::print(&page.json()),
            Ok(page) => {
                let gap = if position > broken { "\n" } else { "" };
                super::print(&format!("{gap}{}", page.text(amount)))
            }
            Err(reason) => {
                let path = candidate.dir.display().to_string();
                if arguments.json {
                    let line = serde_json::json!({ "path": path, "error": reason });
                    super::print(&format!("{line}\n"));
                }
                super::complain(&format!("{path}: {reason}"));
                continue;
            }
        };
        if written != ExitCode::SUCCESS {
            return written;
        }
    }
    if broken == 0 {
        return ExitCode::SUCCESS;
    }
    if candidates.len() > 1 {
        super::complain(&format!(
            "{broken} of {} revisions cannot serve",
            candidates.len()
        ));
    }
    ExitCode::FAILURE
}

fn load(candidate: &Candidate, settings: &Settings) -> Result<Page, String> {
    let start = Instant::now();
    let revision = prepare(candidate, settings)?;
    Ok(Page::new(&candidate.dir, &revision, start.elapsed()))
}

fn prepare(candidate: &Candidate, settings: &Settings) -> Result<Revision, String> {
    let artifact =
        Artifact::read(&candidate.dir, settings.bytes_max).map_err(|error| error.to_string())?;
    revision::prepare(&candidate.slot, candidate.id, artifact, settings)
}

/// The revisions below a path: itself, those of a slot, or those of every slot.
fn find(path: &Path) -> Result<Vec<Candidate>, String> {
    if path.is_file() {
        return Err(format!(
            "{}: is a file; expected the folder that it lies in",
            path.display()
        ));
    }
    if is_revision(path) {
        return Ok(vec![candidate(path)]);
    }
    let of_slot = revisions(path)?;
    if !of_slot.is_empty() {
        return Ok(of_slot);
    }
    let mut all = Vec::new();
    for (_, dir) in subfolders(path)? {
        all.extend(revisions(&dir)?);
    }
    if all.is_empty() {
        return Err(format!(
            "{}: no model; expected model.json, model.ubj, model.txt, model.onnx or MLmodel here, \
             or in <revision>/ or <slot>/<revision>/ below",
            path.display()
        ));
    }
    Ok(all)
}

fn is_revision(dir: &Path) -> bool {
    MODEL_FILES
        .iter()
        .map(|(name, _)| *name)
        .chain(["MLmodel"])
        .any(|name| dir.join(name).is_file())
}

/// The revisions of a slot's folder, lowest first.
fn revisions(dir: &Path) -> Result<Vec<Candidate>, String> {
    let mut found: Vec<Candidate> = subfolders(dir)?
        .into_iter()
        .filter(|(name, _)| name.parse::<u64>().is_ok())
        .map(|(_, path)| candidate(&path))
        .collect();
    found.sort_by_key(|candidate| candidate.id);
    Ok(found)
}

/// The folders in a folder, by name.
fn subfolders(dir: &Path) -> Result<Vec<(String, PathBuf)>, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", dir.display());
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') && path.is_dir() {
            found.push((name, path));
        }
    }
    found.sort();
    Ok(found)
}

fn candidate(dir: &Path) -> Candidate {
    // `.` has a name too, once it is made absolute.
    let absolute = dir.canonicalize().unwrap_or_else(|_| dir.to_path_buf());
    let name = |path: Option<&Path>| {
        path.and_then(Path::file_name)
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default()
    };
    Candidate {
        dir: dir.to_path_buf(),
        slot: name(absolute.parent()),
        id: name(Some(&absolute)).parse().unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(root: &Path, below: &str) -> Vec<(String, u64)> {
        find(&root.join(below))
            .unwrap()
            .into_iter()
            .map(|candidate| (candidate.slot, candidate.id))
            .collect()
    }

    #[test]
    fn revisions_are_found_from_every_level() {
        let root = tempfile::tempdir().unwrap();
        for dir in ["a/2", "a/10", "a/notes", "b/1", ".git/3"] {
            std::fs::create_dir_all(root.path().join(dir)).unwrap();
        }
        std::fs::write(root.path().join("a/2/model.json"), "{}").unwrap();
        let a = [("a".to_string(), 2), ("a".to_string(), 10)];
        assert_eq!(found(root.path(), "a/2"), a[..1]);
        assert_eq!(found(root.path(), "a"), a);
        let all = [a.as_slice(), &[("b".to_string(), 1)]].concat();
        assert_eq!(found(root.path(), ""), all);
    }

    #[test]
    fn a_path_without_models_says_what_was_expected() {
        let root = tempfile::tempdir().unwrap();
        let reason = |below: &str| find(&root.path().join(below)).err().unwrap_or_default();
        assert!(reason("").contains("no model; expected model.json"));
        assert!(reason("missing").contains("missing: "));
        std::fs::write(root.path().join("model.json"), "{}").unwrap();
        assert!(reason("model.json").contains("is a file"));
    }
}
