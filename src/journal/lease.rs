//! Leases: who, of the processes that share a store, may do what only one should. Time is the
//! store's. It never tells a holder that it lost: a holder renews, and stops when that fails.

use super::store::{Store, StoreError};

/// Takes the lease, or renews it, for `ttl_ms` milliseconds from now; false while another holds it.
///
/// # Errors
/// What the store says.
pub fn acquire(
    store: &mut dyn Store,
    name: &str,
    holder: &str,
    ttl_ms: i64,
) -> Result<bool, StoreError> {
    let now_ms = store.now_ms()?;
    let sql = "INSERT INTO lease (name, holder, until_ms) VALUES ($1, $2, $3) \
               ON CONFLICT (name) DO UPDATE \
               SET holder = excluded.holder, until_ms = excluded.until_ms \
               WHERE lease.holder = excluded.holder OR lease.until_ms <= $4";
    let values = [
        name.into(),
        holder.into(),
        now_ms.saturating_add(ttl_ms).into(),
        now_ms.into(),
    ];
    Ok(store.execute(sql, &values)? > 0)
}

/// Gives the lease back; nothing happens when another holds it.
///
/// # Errors
/// What the store says.
pub fn release(store: &mut dyn Store, name: &str, holder: &str) -> Result<(), StoreError> {
    let sql = "DELETE FROM lease WHERE name = $1 AND holder = $2";
    store.execute(sql, &[name.into(), holder.into()])?;
    Ok(())
}

/// Who holds the lease now.
///
/// # Errors
/// What the store says.
pub fn holder(store: &mut dyn Store, name: &str) -> Result<Option<String>, StoreError> {
    let now_ms = store.now_ms()?;
    let sql = "SELECT holder FROM lease WHERE name = $1 AND until_ms > $2";
    let rows = store.query(sql, &[name.into(), now_ms.into()])?;
    rows.first().map(|row| row.text(0)).transpose()
}
