//! The prediction log as Parquet files, for Evidently, pandas, DuckDB: predictions that were recorded
//! with features, in the order in which they were written, each exactly once. Only complete files
//! have their names; it never changes the predictions.
//!
//! A row leaves when it is older than [`Settings::wait_ms`], with the outcome that is known then.
//! Columns: `prediction_id`, `ts`, `model`, `version`, `slot`, `revision_mark`, one per feature,
//! `prediction`, `prediction_<class>` per class where there are several, `prediction_label`, `target`,
//! `label_ts`. A feature with the name of another column is called `feature_<name>`.

mod columns;
mod exporter;
mod file;
mod log;
mod names;
mod once;
mod rows;
mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::Journal;
use super::store::StoreError;
use crate::error::Error;
use crate::task::{Priority, Supervisor};
use exporter::Exporter;
pub use log::Target;
pub use once::{Range, Written, export};

/// When files are written, and how large.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The folder of the files; none: nothing is exported.
    pub dir: Option<PathBuf>,
    /// Milliseconds that a row waits for its outcome.
    pub wait_ms: u64,
    /// Milliseconds after which a file is completed.
    pub rotate_ms: u64,
    /// Rows after which it is completed.
    pub rotate_rows: u64,
    /// Bytes after which it is completed, roughly.
    pub rotate_bytes: u64,
    /// Files of a slot that are kept, the newest; 0: all.
    pub files_max: usize,
}

/// A slot whose log is exported.
#[derive(Clone, Debug, PartialEq)]
pub struct Watched {
    pub slot: String,
    /// The score from which on a binary prediction is labelled 1; none for other tasks.
    pub threshold: Option<f64>,
}

/// Why nothing was exported.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Failure(pub String);

/// What was exported of each slot since the start.
#[derive(Debug, Default)]
pub struct Progress(Mutex<BTreeMap<String, Arc<Counts>>>);

/// What was exported of a slot since the start.
#[derive(Debug, Default)]
pub struct Counts {
    rows: AtomicU64,
    files: AtomicU64,
    failures: AtomicU64,
    broken: AtomicU64,
    /// The number of the last row that is counted in `broken`: after a failure it is read again.
    broken_to: AtomicI64,
    /// When the oldest row that is in no complete file was due, or where none could be read, when that
    /// failed first; milliseconds since 1970; 0: none is.
    due_ms: AtomicI64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            dir: None,
            wait_ms: 24 * 60 * 60 * 1000,
            rotate_ms: 60 * 60 * 1000,
            rotate_rows: 1_000_000,
            rotate_bytes: 128 << 20,
            files_max: 0,
        }
    }
}

impl Progress {
    /// All slots that were exported, by name.
    pub fn all(&self) -> Vec<(String, Arc<Counts>)> {
        let slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let each = slots.iter();
        each.map(|(name, counts)| (name.clone(), Arc::clone(counts)))
            .collect()
    }

    fn of(&self, slot: &str) -> Arc<Counts> {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(slots.entry(slot.to_string()).or_default())
    }
}

impl Counts {
    /// Rows in complete files.
    pub fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    /// Complete files.
    pub fn files(&self) -> u64 {
        self.files.load(Ordering::Relaxed)
    }

    /// Times that reading or writing failed; it is tried again.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Rows that are left out because what was recorded of them cannot be read.
    pub fn broken_rows(&self) -> u64 {
        self.broken.load(Ordering::Relaxed)
    }

    /// Seconds since the oldest row that is in no complete file was due; 0 when none is.
    pub fn lag_s(&self, now_ms: i64) -> f64 {
        match self.due_ms.load(Ordering::Relaxed) {
            0 => 0.0,
            due_ms => now_ms.saturating_sub(due_ms).max(0) as f64 / 1e3,
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Failure {
        Failure(error.to_string())
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure(error.message)
    }
}

/// Starts the thread that exports the logs of the slots that `slots` names at each look. Of several
/// processes with one journal, the one that holds the lease exports. `None` without a folder.
///
/// # Errors
/// When the system has no more threads.
pub fn start(
    settings: Settings,
    journal: Journal,
    slots: Box<dyn Fn() -> Vec<Watched> + Send>,
    supervisor: &Supervisor,
) -> std::io::Result<Option<Arc<Progress>>> {
    let Some(dir) = settings.dir.clone() else {
        return Ok(None);
    };
    let progress = Arc::new(Progress::default());
    let exporter = Exporter::new(dir, settings, journal, slots, Arc::clone(&progress));
    let stop = supervisor.clone();
    supervisor.thread("export", Priority::Background, move || exporter.run(&stop))?;
    Ok(Some(progress))
}
