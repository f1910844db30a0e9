//! An export by hand, straight from a store: what is in the journal now, whether or not a server
//! exported it already. It moves no cursor.

use super::Failure;
use super::log::{Finished, Limits, Log, Target};
use super::rows::{self, Span};
use super::{Settings, Watched};
use crate::journal::store::Store;

/// Which rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Range {
    pub slot: Watched,
    /// From this time on and up to that, milliseconds since 1970.
    pub from_ms: i64,
    pub to_ms: i64,
}

/// What was exported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    pub rows: u64,
    pub files: u64,
    /// Rows that were left out because what was recorded of them cannot be read.
    pub broken: u64,
}

/// Exports the slot's rows. A folder is made when it is missing; `progress` is told how many of how
/// many predictions, of all slots, were passed.
///
/// # Errors
/// What the store or the file system says. Files that are complete by then stay.
pub fn export(
    store: &mut dyn Store,
    range: &Range,
    target: Target,
    mut progress: impl FnMut(u64, u64),
) -> Result<Written, Failure> {
    let settings = Settings::default();
    let mut limits = Limits {
        rows: settings.rotate_rows,
        bytes: settings.rotate_bytes,
    };
    match &target {
        Target::Folder(dir) => std::fs::create_dir_all(dir)
            .map_err(|error| Failure(format!("{}: {error}", dir.display())))?,
        Target::File(_) => {
            limits = Limits {
                rows: u64::MAX,
                bytes: u64::MAX,
            }
        }
    }
    let mut log = Log::new(&range.slot.slot, target, limits);
    let (oldest, newest) = rows::bounds(store)?;
    let mut span = Span {
        slot: range.slot.slot.clone(),
        after: oldest - 1,
        to: newest,
        from_ms: range.from_ms,
        to_ms: range.to_ms,
        before_ms: i64::MAX,
        limit: rows::FEW,
    };
    let mut written = Written::default();
    loop {
        let turn = rows::read(store, &span)?.parsed()?;
        written.broken += turn.broken.len() as u64;
        let mut rest = turn.rows.as_slice();
        while !rest.is_empty() {
            let taken = log.take(rest, range.slot.threshold)?;
            rest = rest.get(taken..).unwrap_or_default();
            if !rest.is_empty() || log.is_full() {
                written.add(log.finish()?);
            }
        }
        span.after = turn.read_to;
        span.limit = turn.limit;
        let passed = |from: i64| u64::try_from(from - oldest + 1).unwrap_or(0);
        progress(passed(span.after), passed(newest));
        if turn.ended {
            written.add(log.finish()?);
            return Ok(written);
        }
    }
}

impl Written {
    fn add(&mut self, finished: Finished) {
        self.rows += finished.rows;
        self.files += finished.files;
    }
}
