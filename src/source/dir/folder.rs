//! What lies in the models folder: slots, revisions, and their files as they were seen. Reads names and
//! times; opens no file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Names, sizes and modification times below a revision's folder, and the folder's own time.
pub(super) type Listing = Vec<(String, u64, SystemTime)>;

/// The revisions of every slot, as they lie in the folder.
pub(super) type Scan = BTreeMap<String, BTreeMap<u64, Listing>>;

/// Every slot's revisions, and folders inside slots that are not revisions. With `only`, the folder is
/// that slot's: it holds its revisions, or the files of one, which is revision 1.
pub(super) fn scan(dir: &Path, only: Option<&str>) -> std::io::Result<(Scan, Vec<PathBuf>)> {
    let mut found = Scan::new();
    let mut odd = Vec::new();
    if let Some(name) = only {
        let mut revisions = revisions(std::fs::read_dir(dir)?, &mut odd);
        if revisions.is_empty() && is_revision(dir) {
            revisions.insert(1, listing(dir)?);
            odd.clear();
        }
        if !revisions.is_empty() {
            found.insert(name.to_string(), revisions);
        }
        return Ok((found, odd));
    }
    for slot in std::fs::read_dir(dir)? {
        let slot = slot?;
        let name = slot.file_name().to_string_lossy().into_owned();
        if ignored(&name) || !plain_name(&name) || !slot.path().is_dir() {
            continue;
        }
        // A folder may vanish between two steps: then it is not there.
        let Ok(inside) = std::fs::read_dir(slot.path()) else {
            continue;
        };
        let revisions = revisions(inside, &mut odd);
        if !revisions.is_empty() {
            found.insert(name, revisions);
        }
    }
    Ok((found, odd))
}

/// Where a revision's files lie.
pub(super) fn place(dir: &Path, only: Option<&str>, slot: &str, id: u64) -> PathBuf {
    match only {
        Some(_) if dir.join(id.to_string()).is_dir() => dir.join(id.to_string()),
        Some(_) => dir.to_path_buf(),
        None => dir.join(slot).join(id.to_string()),
    }
}

/// The revisions among the folders of a slot.
fn revisions(inside: std::fs::ReadDir, odd: &mut Vec<PathBuf>) -> BTreeMap<u64, Listing> {
    let mut revisions = BTreeMap::new();
    for revision in inside.flatten() {
        let name = revision.file_name().to_string_lossy().into_owned();
        if ignored(&name) || !revision.path().is_dir() {
            continue;
        }
        match name.parse::<u64>() {
            Ok(id) if id > 0 && id.to_string() == name => {
                if let Ok(files) = listing(&revision.path()) {
                    revisions.insert(id, files);
                }
            }
            _ => odd.push(revision.path()),
        }
    }
    revisions
}

/// Whether a folder holds files.
pub(super) fn is_revision(dir: &Path) -> bool {
    let is_file =
        |it: std::fs::DirEntry| !ignored(&it.file_name().to_string_lossy()) && it.path().is_file();
    let mut inside = std::fs::read_dir(dir).into_iter().flatten().flatten();
    inside.any(is_file)
}

/// Whether a folder holds the files of one model, and neither revisions nor slots.
pub(super) fn is_one_model(dir: &Path) -> bool {
    let no_slots = || scan(dir, None).is_ok_and(|(slots, _)| slots.is_empty());
    let no_revisions = || {
        let inside = std::fs::read_dir(dir);
        inside.is_ok_and(|inside| revisions(inside, &mut Vec::new()).is_empty())
    };
    is_revision(dir) && no_slots() && no_revisions()
}

fn listing(dir: &Path) -> std::io::Result<Listing> {
    let mut files = vec![(String::new(), 0, std::fs::metadata(dir)?.modified()?)];
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        // Follows links: Kubernetes mounts files as links to a folder of the moment.
        let about = std::fs::metadata(entry.path())?;
        let name = entry.file_name().to_string_lossy().into_owned();
        files.push((name, about.len(), about.modified()?));
    }
    files.sort();
    Ok(files)
}

pub(super) fn ignored(name: &str) -> bool {
    name.starts_with('.') || name.ends_with(".tmp") || name.ends_with(".part")
}

pub(super) fn plain_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    !name.is_empty() && name.len() <= 200 && name.chars().all(plain) && !ignored(name)
}
