//! What the journal's thread does beside writing, a little at a time: labels that wait meet their
//! predictions or expire, old rows leave, and the store is measured. It never looks at the queue.

use super::labels::{Expired, Terms};
use super::store::{Store, StoreError};
use super::{Settings, labels, retention};

/// Predictions that one sweep removes: tens of milliseconds.
const SWEEP_ROWS: u32 = 2_000;

/// Labels that one sweep joins or gives up.
const SWEEP_LABELS: u32 = 10_000;

const DAY_MS: i64 = 86_400_000;

/// What one sweep did.
#[derive(Default)]
pub(super) struct Cleaned {
    pub waited: Expired,
    pub removed: u64,
    pub excess: u64,
    pub bytes: Option<u64>,
    pub has_more: bool,
}

/// Does one sweep. With `measure` it also looks at the labels that wait, of which each is looked up, and
/// counts the store's bytes; `excess` rows are still to leave because there were too many.
///
/// # Errors
/// What the store says.
pub(super) fn clean(
    store: &mut dyn Store,
    settings: &Settings,
    measure: bool,
    excess: u64,
    terms: &dyn Fn(&str) -> Option<Terms>,
) -> Result<Cleaned, StoreError> {
    let now_ms = store.now_ms()?;
    let mut cleaned = Cleaned {
        excess,
        ..Cleaned::default()
    };
    if measure {
        cleaned.waited = labels::expire(store, now_ms, SWEEP_LABELS, terms)?;
        cleaned.bytes = Some(store.bytes()?);
        if settings.bytes_max > 0 && excess == 0 {
            cleaned.excess = retention::excess(store, settings.bytes_max)?;
        }
    }
    if settings.retention_days > 0 {
        let days = i64::try_from(settings.retention_days).unwrap_or(i64::MAX);
        let before_ms = now_ms.saturating_sub(days.saturating_mul(DAY_MS));
        cleaned.removed = retention::by_age(store, before_ms, SWEEP_ROWS)?;
    }
    if cleaned.excess > 0 {
        let limit = u32::try_from(cleaned.excess).unwrap_or(u32::MAX);
        let removed = retention::by_age(store, i64::MAX, limit.min(SWEEP_ROWS))?;
        cleaned.excess = match removed {
            0 => 0,
            removed => cleaned.excess.saturating_sub(removed),
        };
        cleaned.removed += removed;
    }
    cleaned.has_more = cleaned.excess > 0
        || cleaned.removed >= u64::from(SWEEP_ROWS)
        || cleaned.waited.met + cleaned.waited.orphans >= u64::from(SWEEP_LABELS);
    Ok(cleaned)
}
