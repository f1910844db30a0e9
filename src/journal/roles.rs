//! The roles of slots as they were decided: one document per slot, changed only by who knows its
//! present generation, together with the decision that changed it. It never reads the document.

use super::decisions;
use super::store::{Store, StoreError, transaction};

/// A slot's roles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub slot: String,
    /// Counts up from 1 with every change.
    pub generation: i64,
    pub document: String,
}

/// The slot's roles; None when none were ever decided.
///
/// # Errors
/// What the store says.
pub fn read(store: &mut dyn Store, slot: &str) -> Result<Option<Kept>, StoreError> {
    let sql = "SELECT slot, generation, document FROM roles WHERE slot = $1";
    Ok(query(store, sql, Some(slot))?.pop())
}

/// All slots' roles, by name.
///
/// # Errors
/// What the store says.
pub fn all(store: &mut dyn Store) -> Result<Vec<Kept>, StoreError> {
    let sql = "SELECT slot, generation, document FROM roles ORDER BY slot";
    query(store, sql, None)
}

fn query(store: &mut dyn Store, sql: &str, slot: Option<&str>) -> Result<Vec<Kept>, StoreError> {
    let values: Vec<_> = slot.map(Into::into).into_iter().collect();
    let rows = store.query(sql, &values)?;
    rows.iter()
        .map(|row| {
            Ok(Kept {
                slot: row.text(0)?,
                generation: row.int(1)?,
                document: row.text(2)?,
            })
        })
        .collect()
}

/// Sets the slot's roles if their generation is still the expected one (0: none yet), and appends
/// the decision, a JSON text, to the slot's chain in the same transaction. Gives the new generation;
/// None when somebody else was first: then nothing is changed.
///
/// # Errors
/// What the store says; then nothing is changed.
pub fn decide(
    store: &mut dyn Store,
    slot: &str,
    expected_generation: i64,
    document: &str,
    decision: Option<&str>,
) -> Result<Option<i64>, StoreError> {
    let at_ms = store.now_ms()?;
    transaction(store, |store| {
        let changed = if expected_generation == 0 {
            let sql = "INSERT INTO roles (slot, generation, document) VALUES ($1, 1, $2) \
                       ON CONFLICT (slot) DO NOTHING";
            store.execute(sql, &[slot.into(), document.into()])?
        } else {
            let sql = "UPDATE roles SET generation = generation + 1, document = $1 \
                       WHERE slot = $2 AND generation = $3";
            let values = [document.into(), slot.into(), expected_generation.into()];
            store.execute(sql, &values)?
        };
        if changed == 0 {
            return Ok(None);
        }
        if let Some(body) = decision {
            // The slot's row in `roles` is locked: nobody else appends to its chain.
            decisions::append(store, slot, at_ms, body)?;
        }
        Ok(Some(expected_generation + 1))
    })
}
