//! What leaves the journal: the oldest predictions with their labels and outcomes, by age and by
//! size, in small steps. Decisions and roles never leave.

use super::outcomes;
use super::store::{Store, StoreError, Value, transaction};

/// Of the limit, what is left in use once rows left because of it: so that not every row that comes
/// makes another one leave.
const KEEP: f64 = 0.95;

/// Removes predictions made before `before_ms`, in the order in which they were written, at most
/// `limit`; gives how many. A prediction that is not that old keeps the ones written after it.
///
/// # Errors
/// What the store says; then nothing is removed.
pub fn by_age(store: &mut dyn Store, before_ms: i64, limit: u32) -> Result<u64, StoreError> {
    transaction(store, |store| {
        let sql = "SELECT number, at_ms FROM prediction ORDER BY number LIMIT $1";
        let rows = store.query(sql, &[i64::from(limit).into()])?;
        let mut last = None;
        let mut count = 0;
        for row in &rows {
            if row.int(1)? >= before_ms {
                break;
            }
            last = Some(row.int(0)?);
            count += 1;
        }
        if let Some(last) = last {
            // Labels that join take the rows in another order.
            outcomes::lock(store)?;
            let last = [Value::Int(last)];
            store.execute("DELETE FROM label WHERE prediction <= $1", &last)?;
            store.execute("DELETE FROM outcome WHERE prediction <= $1", &last)?;
            store.execute("DELETE FROM prediction WHERE number <= $1", &last)?;
        }
        Ok(count)
    })
}

/// How many of the oldest predictions are to leave so that the store's rows take 95 % of `bytes_max`
/// again: their share of all predictions is the share of bytes that is too much. 0 within the limit.
///
/// # Errors
/// What the store says.
pub fn excess(store: &mut dyn Store, bytes_max: u64) -> Result<u64, StoreError> {
    let bytes = store.bytes()?;
    if bytes <= bytes_max {
        return Ok(0);
    }
    let count = store.query("SELECT count(*) FROM prediction", &[])?;
    let count = count.first().map_or(Ok(0), |row| row.int(0))?;
    let share = 1.0 - KEEP * bytes_max as f64 / bytes as f64;
    Ok((count as f64 * share).ceil() as u64)
}
