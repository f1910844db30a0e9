//! The files of a slot that are being written. Rows of revisions with other features or classes go to
//! a file of their own; all files of a slot are completed together, so that one number says how far
//! it was exported.

use std::path::{Path, PathBuf};

use super::Failure;
use super::columns::Schema;
use super::file::File;
use super::names;
use super::rows::Row;
use super::table::Common;

/// Files of a slot that are open at the same time; then all are completed.
const FILES_MAX: usize = 4;

/// Where rows go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A folder, in which files are named by their first row.
    Folder(PathBuf),
    /// One file of rows with the same columns.
    File(PathBuf),
}

/// When a file is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub rows: u64,
    /// On the disk and in memory.
    pub bytes: u64,
}

/// A slot's files.
pub struct Log {
    slot: String,
    stem: String,
    target: Target,
    limits: Limits,
    files: Vec<File>,
    /// Columns of the last files, for what a row leaves open.
    known: Vec<Schema>,
}

/// What was completed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Finished {
    pub files: u64,
    pub rows: u64,
}

impl Log {
    /// No files yet.
    pub fn new(slot: &str, target: Target, limits: Limits) -> Log {
        Log {
            slot: slot.to_string(),
            stem: names::stem(slot),
            target,
            limits,
            files: Vec::new(),
            known: Vec::new(),
        }
    }

    /// Adds rows in their order until a file is full or there is no room for a row's columns; gives how
    /// many. Then [`Log::finish`] makes room.
    ///
    /// # Errors
    /// When a file cannot be written, or the one file is not for all of them.
    pub fn take(&mut self, rows: &[Row], threshold: Option<f64>) -> Result<usize, Failure> {
        for (place, row) in rows.iter().enumerate() {
            let later = rows.get(place + 1..).unwrap_or_default();
            let found = self.files.iter().position(|file| file.schema.fits(row));
            let index = match found {
                Some(index) => index,
                None if self.files.len() >= FILES_MAX => return Ok(place),
                None => self.begin(row, later)?,
            };
            let common = Common {
                slot: &self.slot,
                threshold,
            };
            if let Some(file) = self.files.get_mut(index) {
                file.push(row, common)?;
            }
            if self.is_full() {
                return Ok(place + 1);
            }
        }
        Ok(rows.len())
    }

    /// Whether there are no open files.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Whether one of the files is full.
    pub fn is_full(&self) -> bool {
        let Limits { rows, bytes } = self.limits;
        let mut files = self.files.iter();
        files.any(|file| file.rows >= rows || file.bytes() >= bytes)
    }

    /// Completes all files.
    ///
    /// # Errors
    /// When one cannot be written: then those before it are complete, and are written again in the
    /// same place by whoever begins anew.
    pub fn finish(&mut self) -> Result<Finished, Failure> {
        let mut finished = Finished::default();
        for file in self.files.drain(..) {
            finished.files += 1;
            finished.rows += file.rows;
            file.finish()?;
        }
        Ok(finished)
    }

    /// Removes what a process left that ended before its files were complete.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn clean(&self) -> Result<(), Failure> {
        let Target::Folder(dir) = &self.target else {
            return Ok(());
        };
        let parts = names::parts(dir, &self.stem).map_err(|error| failed(dir, &error))?;
        remove(&parts)
    }

    /// Removes the oldest files above `max`; 0 is no limit.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn keep(&self, max: usize) -> Result<(), Failure> {
        let Target::Folder(dir) = &self.target else {
            return Ok(());
        };
        if max == 0 {
            return Ok(());
        }
        let all = names::complete(dir, &self.stem).map_err(|error| failed(dir, &error))?;
        remove(all.get(..all.len().saturating_sub(max)).unwrap_or_default())
    }

    /// Begins a file for a row; gives its place.
    fn begin(&mut self, row: &Row, later: &[Row]) -> Result<usize, Failure> {
        let known: Vec<&Schema> = self.known.iter().collect();
        let schema = Schema::of(row, later, &known);
        let path = match &self.target {
            Target::Folder(dir) => dir.join(names::of(&self.stem, row.at_ms, row.number)),
            Target::File(path) if self.files.is_empty() => path.clone(),
            Target::File(path) => {
                return Err(Failure(format!(
                    "{}: from {} on, rows have other columns: export to a folder",
                    path.display(),
                    row.prediction_id()
                )));
            }
        };
        if !self.known.contains(&schema) {
            self.known.push(schema.clone());
            let over = self.known.len().saturating_sub(FILES_MAX);
            self.known.drain(..over);
        }
        self.files.push(File::create(path, schema)?);
        Ok(self.files.len() - 1)
    }
}

pub(super) fn remove(paths: &[PathBuf]) -> Result<(), Failure> {
    for path in paths {
        match std::fs::remove_file(path) {
            // Somebody else removed it.
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(failed(path, &error));
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

fn failed(path: &Path, error: &std::io::Error) -> Failure {
    Failure(format!("{}: {error}", path.display()))
}
