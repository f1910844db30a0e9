//! The journal's tables. Makes them where they are missing, in one transaction that two processes
//! may run at once, and refuses tables of a newer version. It never removes anything.

use super::store::{Store, StoreError, Value};

/// The version of the tables below.
pub const VERSION: i64 = 2;

/// One text for both stores: `SERIAL` is a key that counts up by itself, `BYTES` a byte string.
///
/// `prediction.scores` and `.shadows` are JSON, in which NaN and infinities are the texts `NaN`,
/// `inf` and `-inf`. `prediction.first_outcome` is the `seq` of the row's first outcome; `labelled` is
/// 1 once a label joined; `deferred` is 1 where labels make no outcome before the
/// horizon ends. `counter` has one row, which every writer of outcomes updates first: so
/// numbers are in the order of commits. Indexes on keys begin with the key: PostgreSQL would use one
/// that begins with the slot to read the whole slot while it has no statistics yet.
/// `prediction_labelled` has `labelled` among its columns so that SQLite prefers it to
/// `prediction_open`, and `prediction_coverage` has `propensity`, without which SQLite would read
/// every row beside the index. Times are milliseconds since 1970.
const TABLES: &str = "
CREATE TABLE IF NOT EXISTS prediction (
    number SERIAL,
    id BYTES NOT NULL,
    row_index BIGINT NOT NULL,
    slot TEXT NOT NULL,
    key TEXT,
    at_ms BIGINT NOT NULL,
    revision BIGINT NOT NULL,
    digest TEXT NOT NULL,
    scores TEXT NOT NULL,
    shadows TEXT NOT NULL,
    amount DOUBLE PRECISION,
    propensity DOUBLE PRECISION NOT NULL,
    features TEXT,
    deferred BIGINT NOT NULL,
    labelled BIGINT NOT NULL DEFAULT 0,
    first_outcome BIGINT
);
CREATE UNIQUE INDEX IF NOT EXISTS prediction_id ON prediction (id, row_index);
CREATE INDEX IF NOT EXISTS prediction_key ON prediction (key, slot, row_index, at_ms, number)
    WHERE key IS NOT NULL;
CREATE INDEX IF NOT EXISTS prediction_open ON prediction (slot, at_ms, number)
    WHERE first_outcome IS NULL AND propensity > 0;
CREATE INDEX IF NOT EXISTS prediction_labelled ON prediction (slot, labelled, at_ms, number)
    WHERE labelled = 1 AND first_outcome IS NULL AND propensity > 0;
CREATE INDEX IF NOT EXISTS prediction_coverage
    ON prediction (slot, at_ms, labelled, first_outcome, propensity) WHERE propensity > 0;
CREATE TABLE IF NOT EXISTS label (
    number SERIAL,
    feedback_id BYTES NOT NULL,
    prediction BIGINT NOT NULL,
    source TEXT NOT NULL,
    value DOUBLE PRECISION NOT NULL,
    weight DOUBLE PRECISION NOT NULL,
    event_at_ms BIGINT,
    arrived_ms BIGINT NOT NULL,
    late BIGINT NOT NULL
);
CREATE INDEX IF NOT EXISTS label_prediction ON label (prediction);
CREATE TABLE IF NOT EXISTS pending (
    number SERIAL,
    feedback_id BYTES NOT NULL,
    slot TEXT,
    id BYTES,
    key TEXT,
    row_index BIGINT NOT NULL,
    source TEXT NOT NULL,
    value DOUBLE PRECISION NOT NULL,
    weight DOUBLE PRECISION NOT NULL,
    event_at_ms BIGINT,
    arrived_ms BIGINT NOT NULL,
    horizon_ms BIGINT,
    expires_ms BIGINT NOT NULL
);
CREATE INDEX IF NOT EXISTS pending_id ON pending (id) WHERE id IS NOT NULL;
CREATE INDEX IF NOT EXISTS pending_key ON pending (key, slot) WHERE key IS NOT NULL;
CREATE INDEX IF NOT EXISTS pending_slot ON pending (slot);
CREATE INDEX IF NOT EXISTS pending_expires ON pending (expires_ms);
CREATE TABLE IF NOT EXISTS outcome (
    seq BIGINT PRIMARY KEY,
    prediction BIGINT NOT NULL,
    slot TEXT NOT NULL,
    value DOUBLE PRECISION NOT NULL,
    weight DOUBLE PRECISION NOT NULL,
    matured_ms BIGINT NOT NULL,
    corrects BIGINT
);
CREATE INDEX IF NOT EXISTS outcome_slot ON outcome (slot, seq);
CREATE INDEX IF NOT EXISTS outcome_prediction ON outcome (prediction);
CREATE TABLE IF NOT EXISTS counter (
    name TEXT PRIMARY KEY,
    value BIGINT NOT NULL
);
INSERT INTO counter (name, value) VALUES ('outcome', 0) ON CONFLICT (name) DO NOTHING;
CREATE TABLE IF NOT EXISTS roles (
    slot TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    document TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS decision (
    slot TEXT NOT NULL,
    seq BIGINT NOT NULL,
    at_ms BIGINT NOT NULL,
    body TEXT NOT NULL,
    previous TEXT NOT NULL,
    hash TEXT NOT NULL,
    PRIMARY KEY (slot, seq)
);
CREATE TABLE IF NOT EXISTS lease (
    name TEXT PRIMARY KEY,
    holder TEXT NOT NULL,
    until_ms BIGINT NOT NULL
)";

/// What version 2 added. `drift_pane.cells` are counts as variable-length integers; `id` is the
/// writer's own, so that a pane written twice is there once. `drift_alarm` has the last alarm of each
/// slot; `holder` delivers it, until `until_ms`, and `calls` is JSON: what became of each call.
const DRIFT: &str = "
CREATE TABLE IF NOT EXISTS drift_pane (
    number SERIAL,
    id BYTES NOT NULL,
    slot TEXT NOT NULL,
    profile TEXT NOT NULL,
    writer BYTES NOT NULL,
    start_ms BIGINT NOT NULL,
    row_count BIGINT NOT NULL,
    cells BYTES NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS drift_pane_id ON drift_pane (id);
CREATE INDEX IF NOT EXISTS drift_pane_start ON drift_pane (slot, profile, start_ms, number);
CREATE INDEX IF NOT EXISTS drift_pane_age ON drift_pane (start_ms);
CREATE TABLE IF NOT EXISTS drift_reference (
    slot TEXT NOT NULL,
    mark TEXT NOT NULL,
    document TEXT NOT NULL,
    PRIMARY KEY (slot, mark)
);
CREATE TABLE IF NOT EXISTS drift_alarm (
    slot TEXT PRIMARY KEY,
    id TEXT NOT NULL,
    at_ms BIGINT NOT NULL,
    quiet_until_ms BIGINT NOT NULL,
    body TEXT NOT NULL,
    calls TEXT NOT NULL,
    settled BIGINT NOT NULL,
    holder TEXT NOT NULL,
    until_ms BIGINT NOT NULL
)";

/// How a store writes what differs.
pub struct Dialect {
    pub serial: &'static str,
    pub bytes: &'static str,
}

/// Makes the tables where they are missing. To be called inside a transaction that keeps other
/// callers out.
///
/// # Errors
/// [`StoreError::Newer`], or what the store says.
pub fn make(store: &mut dyn Store, dialect: &Dialect) -> Result<(), StoreError> {
    store.execute(
        "CREATE TABLE IF NOT EXISTS journal_version (version BIGINT NOT NULL)",
        &[],
    )?;
    let found = version(store)?;
    let mut make = |tables: &str| {
        let tables = tables
            .replace("SERIAL", dialect.serial)
            .replace("BYTES", dialect.bytes);
        for statement in tables.split(';') {
            store.execute(statement, &[])?;
        }
        Ok::<(), StoreError>(())
    };
    match found {
        Some(VERSION) => return Ok(()),
        Some(_) => make(DRIFT)?,
        None => {
            make(TABLES)?;
            make(DRIFT)?;
        }
    }
    let note = match found {
        Some(_) => "UPDATE journal_version SET version = $1",
        None => "INSERT INTO journal_version (version) VALUES ($1)",
    };
    store.execute(note, &[Value::Int(VERSION)])?;
    Ok(())
}

/// Finds tables of this version or an older one, and changes nothing.
///
/// # Errors
/// [`StoreError::Newer`], or what the store says where there are none.
pub fn check(store: &mut dyn Store) -> Result<(), StoreError> {
    match version(store)? {
        Some(_) => Ok(()),
        None => Err(StoreError::Failed("it has no tables yet".to_string())),
    }
}

/// The version of the tables that are there.
fn version(store: &mut dyn Store) -> Result<Option<i64>, StoreError> {
    let found = store.query("SELECT version FROM journal_version", &[])?;
    let found = found.first().map(|row| row.int(0)).transpose()?;
    match found {
        Some(found) if found > VERSION => Err(StoreError::Newer {
            found,
            known: VERSION,
        }),
        found => Ok(found),
    }
}
