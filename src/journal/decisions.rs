//! Decisions with their evidence: per slot a chain to which entries are only ever added, each bound
//! to the one before by a hash. It never changes or removes an entry and never reads its body.

use sha2::{Digest, Sha256};

use super::store::{Store, StoreError};

/// What the first entry of a chain has in place of the hash before.
pub const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// One decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub slot: String,
    /// From 1, without gaps.
    pub seq: i64,
    /// Milliseconds since 1970.
    pub at_ms: i64,
    /// JSON.
    pub body: String,
    /// The hash of the entry before, in hexadecimal; [`GENESIS`] for the first.
    pub previous: String,
    /// [`hash`] of this entry, in hexadecimal.
    pub hash: String,
}

/// Where a chain does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("decision {seq}: {reason}")]
pub struct Broken {
    pub seq: i64,
    pub reason: String,
}

/// Appends to the slot's chain, inside a transaction that keeps others from doing the same.
pub(super) fn append(
    store: &mut dyn Store,
    slot: &str,
    at_ms: i64,
    body: &str,
) -> Result<(), StoreError> {
    let sql = "SELECT seq, hash FROM decision WHERE slot = $1 ORDER BY seq DESC LIMIT 1";
    let rows = store.query(sql, &[slot.into()])?;
    let (last, previous) = match rows.first() {
        Some(row) => (row.int(0)?, row.text(1)?),
        None => (0, GENESIS.to_string()),
    };
    let mut entry = Entry {
        slot: slot.to_string(),
        seq: last + 1,
        at_ms,
        body: body.to_string(),
        previous,
        hash: String::new(),
    };
    entry.hash = hash(&entry);
    let sql = "INSERT INTO decision (slot, seq, at_ms, body, previous, hash) \
               VALUES ($1, $2, $3, $4, $5, $6)";
    let values = [
        entry.slot.as_str().into(),
        entry.seq.into(),
        entry.at_ms.into(),
        entry.body.as_str().into(),
        entry.previous.as_str().into(),
        entry.hash.as_str().into(),
    ];
    store.execute(sql, &values).map(|_inserted| ())
}

/// The slot's decisions after `after_seq`, in order, at most `limit`.
///
/// # Errors
/// What the store says.
pub fn list(
    store: &mut dyn Store,
    slot: &str,
    after_seq: i64,
    limit: u32,
) -> Result<Vec<Entry>, StoreError> {
    let sql = "SELECT slot, seq, at_ms, body, previous, hash FROM decision \
               WHERE slot = $1 AND seq > $2 ORDER BY seq LIMIT $3";
    let values = [slot.into(), after_seq.into(), i64::from(limit).into()];
    let rows = store.query(sql, &values)?;
    rows.iter()
        .map(|row| {
            Ok(Entry {
                slot: row.text(0)?,
                seq: row.int(1)?,
                at_ms: row.int(2)?,
                body: row.text(3)?,
                previous: row.text(4)?,
                hash: row.text(5)?,
            })
        })
        .collect()
}

/// SHA-256 of `previous`, slot, seq, time and body with a line feed between them, in hexadecimal.
/// `entry.hash` is not read.
pub fn hash(entry: &Entry) -> String {
    let text = format!(
        "{}\n{}\n{}\n{}\n{}",
        entry.previous, entry.slot, entry.seq, entry.at_ms, entry.body
    );
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether entries of one slot follow each other unchanged. Entries that begin at 1 are a whole
/// chain so far; of others the first one's `previous` is taken as it is. No entries are a chain. That
/// entries at the end are missing cannot be seen: compare the last hash with one noted elsewhere.
///
/// # Errors
/// The first entry that does not hold, and why.
pub fn verify(entries: &[Entry]) -> Result<(), Broken> {
    let mut before: Option<&Entry> = None;
    for entry in entries {
        let broken = |reason: &str| {
            Err(Broken {
                seq: entry.seq,
                reason: reason.to_string(),
            })
        };
        if let Some(before) = before {
            if entry.slot != before.slot {
                return broken("expected the slot of the one before");
            }
            if entry.seq != before.seq + 1 {
                return broken("entries before it are missing or out of order");
            }
            if entry.previous != before.hash {
                return broken("it does not follow from the one before");
            }
        } else if entry.seq == 1 && entry.previous != GENESIS {
            return broken("the first entry expected nothing before it");
        }
        if entry.hash != hash(entry) {
            return broken("it was changed after it was written");
        }
        before = Some(entry);
    }
    Ok(())
}
