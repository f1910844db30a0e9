//! What the drift of a slot leaves behind: counts of windows' panes, which replicas add up; the
//! reference that was made of the first rows served; and the last alarm, which one process delivers.
//! It never says what a count means.

use uuid::Uuid;

use super::store::{Insert, Row, Store, StoreError, Value, transaction};

/// Counts of one process for one pane of a slot's window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pane {
    /// Its writer's own name for it: written again, it is there once.
    pub id: Uuid,
    pub slot: String,
    /// The model and the fingerprint of the profile whose bins were counted.
    pub profile: String,
    /// The process that counted.
    pub writer: Uuid,
    /// Milliseconds since 1970.
    pub start_ms: i64,
    pub rows: u64,
    pub cells: Vec<u64>,
}

/// The last alarm of a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alarm {
    pub slot: String,
    pub id: String,
    pub at_ms: i64,
    pub quiet_until_ms: i64,
    /// JSON, of whoever raised it.
    pub body: String,
    /// JSON: what became of its calls.
    pub calls: String,
    /// Whether all its calls were delivered or given up.
    pub settled: bool,
}

const INSERT: Insert = Insert {
    head: "INSERT INTO drift_pane (id, slot, profile, writer, start_ms, row_count, cells)",
    columns: 7,
    tail: "ON CONFLICT (id) DO NOTHING",
};

/// Cells of one answer.
const CELLS_MAX: usize = 4 << 20;

/// Writes panes.
///
/// # Errors
/// What the store says.
pub fn put_panes(store: &mut dyn Store, panes: &[Pane]) -> Result<(), StoreError> {
    let values: Vec<Value> = panes.iter().flat_map(values).collect();
    transaction(store, |store| INSERT.rows(store, &values).map(|_rows| ()))
}

/// Which panes are read.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub slot: String,
    pub profile: String,
    /// The number of cells that they have.
    pub cells: usize,
    pub from_ms: i64,
    pub after: i64,
}

/// Panes of this profile that start from `from_ms` on, with their number, in its order, after number
/// `after`: at most about four million cells. Panes of another number of cells have none.
///
/// # Errors
/// What the store says.
pub fn panes(store: &mut dyn Store, wanted: &Wanted) -> Result<Vec<(i64, Pane)>, StoreError> {
    let sql = "SELECT number, id, writer, start_ms, row_count, cells FROM drift_pane \
               WHERE slot = $1 AND profile = $2 AND start_ms >= $3 AND number > $4 \
               ORDER BY number LIMIT $5";
    let limit = (CELLS_MAX / wanted.cells.max(1)).clamp(1, 2000) as i64;
    let found = store.query(
        sql,
        &[
            wanted.slot.as_str().into(),
            wanted.profile.as_str().into(),
            wanted.from_ms.into(),
            wanted.after.into(),
            limit.into(),
        ],
    )?;
    let mut panes = Vec::with_capacity(found.len());
    for row in &found {
        // Another's bytes may be anything.
        let Some(cells) = unpacked(row.bytes(5)?, wanted.cells) else {
            continue;
        };
        let pane = Pane {
            id: row.id(1)?,
            slot: wanted.slot.clone(),
            profile: wanted.profile.clone(),
            writer: row.id(2)?,
            start_ms: row.int(3)?,
            rows: u64::try_from(row.int(4)?).unwrap_or_default(),
            cells,
        };
        panes.push((row.int(0)?, pane));
    }
    Ok(panes)
}

/// Removes panes of any slot that start before this time.
///
/// # Errors
/// What the store says.
pub fn forget_panes(store: &mut dyn Store, before_ms: i64) -> Result<u64, StoreError> {
    let sql = "DELETE FROM drift_pane WHERE start_ms < $1";
    store.execute(sql, &[before_ms.into()])
}

/// The reference of a slot's model, which the first process to write one decides. Returns the one
/// that counts.
///
/// # Errors
/// What the store says.
pub fn put_reference(
    store: &mut dyn Store,
    slot: &str,
    mark: &str,
    document: &str,
) -> Result<String, StoreError> {
    let sql = "INSERT INTO drift_reference (slot, mark, document) VALUES ($1, $2, $3) \
               ON CONFLICT (slot, mark) DO NOTHING";
    store.execute(sql, &[slot.into(), mark.into(), document.into()])?;
    Ok(reference(store, slot, mark)?.unwrap_or_else(|| document.to_string()))
}

/// The reference of a slot's model, if there is one.
///
/// # Errors
/// What the store says.
pub fn reference(
    store: &mut dyn Store,
    slot: &str,
    mark: &str,
) -> Result<Option<String>, StoreError> {
    let sql = "SELECT document FROM drift_reference WHERE slot = $1 AND mark = $2";
    let found = store.query(sql, &[slot.into(), mark.into()])?;
    found.first().map(|row| row.text(0)).transpose()
}

/// Notes an alarm, unless the slot's last one asks for quiet still: then false. `holder` delivers it,
/// until `until_ms`.
///
/// # Errors
/// What the store says.
pub fn raise(
    store: &mut dyn Store,
    alarm: &Alarm,
    holder: &str,
    until_ms: i64,
) -> Result<bool, StoreError> {
    let sql = "INSERT INTO drift_alarm \
               (slot, id, at_ms, quiet_until_ms, body, calls, settled, holder, until_ms) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) \
               ON CONFLICT (slot) DO UPDATE SET id = excluded.id, at_ms = excluded.at_ms, \
               quiet_until_ms = excluded.quiet_until_ms, body = excluded.body, \
               calls = excluded.calls, settled = excluded.settled, holder = excluded.holder, \
               until_ms = excluded.until_ms \
               WHERE drift_alarm.quiet_until_ms <= excluded.at_ms \
               AND drift_alarm.id <> excluded.id";
    let values = [
        alarm.slot.as_str().into(),
        alarm.id.as_str().into(),
        alarm.at_ms.into(),
        alarm.quiet_until_ms.into(),
        alarm.body.as_str().into(),
        alarm.calls.as_str().into(),
        i64::from(alarm.settled).into(),
        holder.into(),
        until_ms.into(),
    ];
    Ok(store.execute(sql, &values)? > 0)
}

/// The last alarm of each slot.
///
/// # Errors
/// What the store says.
pub fn alarms(store: &mut dyn Store) -> Result<Vec<Alarm>, StoreError> {
    let sql = "SELECT slot, id, at_ms, quiet_until_ms, body, calls, settled FROM drift_alarm";
    store.query(sql, &[])?.iter().map(alarm).collect()
}

/// Takes over the delivery of an alarm whose holder did not settle it in time; false when another
/// does.
///
/// # Errors
/// What the store says.
pub fn take_over(
    store: &mut dyn Store,
    id: &str,
    holder: &str,
    until_ms: i64,
) -> Result<bool, StoreError> {
    let now_ms = store.now_ms()?;
    let sql = "UPDATE drift_alarm SET holder = $2, until_ms = $3 \
               WHERE id = $1 AND settled = 0 AND until_ms <= $4";
    let values = [id.into(), holder.into(), until_ms.into(), now_ms.into()];
    Ok(store.execute(sql, &values)? > 0)
}

/// Notes what became of an alarm's calls. Unless they are settled, the next one may take them over
/// at once; `in_vain`: they reached nobody, and the next alarm is not to be quiet.
///
/// # Errors
/// What the store says.
pub fn note_calls(
    store: &mut dyn Store,
    id: &str,
    calls: &str,
    settled: bool,
    in_vain: bool,
) -> Result<(), StoreError> {
    let sql = "UPDATE drift_alarm SET calls = $2, settled = $3, \
               until_ms = CASE WHEN CAST($3 AS BIGINT) = 0 THEN 0 ELSE until_ms END, \
               quiet_until_ms = CASE WHEN CAST($4 AS BIGINT) = 1 THEN at_ms ELSE quiet_until_ms END \
               WHERE id = $1 AND settled <= $3";
    let values = [
        id.into(),
        calls.into(),
        i64::from(settled).into(),
        i64::from(in_vain).into(),
    ];
    store.execute(sql, &values)?;
    Ok(())
}

fn values(pane: &Pane) -> [Value; 7] {
    [
        pane.id.into(),
        pane.slot.as_str().into(),
        pane.profile.as_str().into(),
        pane.writer.into(),
        pane.start_ms.into(),
        i64::try_from(pane.rows).unwrap_or(i64::MAX).into(),
        Value::Bytes(packed(&pane.cells)),
    ]
}

fn alarm(row: &Row) -> Result<Alarm, StoreError> {
    Ok(Alarm {
        slot: row.text(0)?,
        id: row.text(1)?,
        at_ms: row.int(2)?,
        quiet_until_ms: row.int(3)?,
        body: row.text(4)?,
        calls: row.text(5)?,
        settled: row.int(6)? != 0,
    })
}

/// Counts as variable-length integers, seven bits a byte, the lowest first.
fn packed(cells: &[u64]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(cells.len() + cells.len() / 4);
    for cell in cells {
        let mut left = *cell;
        while left >= 0x80 {
            bytes.push(left as u8 | 0x80);
            left >>= 7;
        }
        bytes.push(left as u8);
    }
    bytes
}

/// The counts of such bytes; `None` when they are none, or another number of them.
fn unpacked(bytes: &[u8], count: usize) -> Option<Vec<u64>> {
    let mut cells = Vec::with_capacity(count.min(bytes.len()));
    let (mut cell, mut shift) = (0_u64, 0_u32);
    for byte in bytes {
        let bits = u64::from(byte & 0x7f);
        if shift > 63 || bits << shift >> shift != bits {
            return None;
        }
        cell |= bits << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            if cells.len() >= count {
                return None;
            }
            cells.push(cell);
            (cell, shift) = (0, 0);
        }
    }
    (shift == 0 && cells.len() == count).then_some(cells)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn counts_are_read_as_they_were_written(cells in prop::collection::vec(any::<u64>(), 0..50)) {
            let count = cells.len();
            prop_assert_eq!(unpacked(&packed(&cells), count + 1), None);
            prop_assert_eq!(unpacked(&packed(&cells), count), Some(cells));
        }

        #[test]
        fn other_bytes_are_no_counts_and_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..50)) {
            let _counts = unpacked(&bytes, 20);
        }
    }
}
