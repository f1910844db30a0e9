//! The store in one SQLite file: `journal.db` in a folder, in write-ahead mode, so that a killed
//! process leaves a file that opens clean. It never waits longer than five seconds for another
//! process.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, OpenFlags, ToSql, params_from_iter};

use super::schema::{self, Dialect};
use super::store::{Row, Store, StoreError, Value, transaction};

/// How long a statement waits for another process's transaction.
const BUSY: Duration = Duration::from_secs(5);

/// Statements kept prepared: the journal has about forty, in up to four lengths.
const STATEMENTS: usize = 192;

/// Tries to switch a new file to write-ahead mode, which SQLite refuses without waiting while
/// another process does the same.
const TRIES: u32 = 50;

const DIALECT: Dialect = Dialect {
    serial: "INTEGER PRIMARY KEY",
    bytes: "BLOB",
};

/// A connection to the file.
pub struct Sqlite {
    connection: Connection,
}

impl Sqlite {
    /// Opens the file in `folder`, which is made when it is missing, and makes its tables.
    ///
    /// # Errors
    /// When the folder or the file cannot be opened and written, or its tables are newer.
    pub fn open(folder: &Path) -> Result<Sqlite, StoreError> {
        std::fs::create_dir_all(folder)
            .map_err(|error| StoreError::Away(format!("folder {}: {error}", folder.display())))?;
        let connection = Connection::open(folder.join("journal.db")).map_err(failure)?;
        connection.busy_timeout(BUSY).map_err(failure)?;
        write_ahead(&connection)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        let mut store = Sqlite { connection };
        transaction(&mut store, |store| schema::make(store, &DIALECT))?;
        Ok(store)
    }

    /// Opens the file in `folder` to read.
    ///
    /// # Errors
    /// When there is none, or its tables are newer.
    pub fn open_to_read(folder: &Path) -> Result<Sqlite, StoreError> {
        // A reader of a file in write-ahead mode writes beside it.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection =
            Connection::open_with_flags(folder.join("journal.db"), flags).map_err(failure)?;
        connection.busy_timeout(BUSY).map_err(failure)?;
        let query_only = connection.execute_batch("PRAGMA query_only = ON");
        query_only.map_err(failure)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        let mut store = Sqlite { connection };
        schema::check(&mut store)?;
        Ok(store)
    }

    fn pragma(&self, name: &str) -> Result<u64, StoreError> {
        let value: i64 = self
            .connection
            .pragma_query_value(None, name, |row| row.get(0))
            .map_err(failure)?;
        Ok(u64::try_from(value).unwrap_or(0))
    }
}

impl Store for Sqlite {
    fn kind(&self) -> &'static str {
        "sqlite"
    }

    fn execute(&mut self, sql: &str, values: &[Value]) -> Result<u64, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached(&numbered(sql))
            .map_err(failure)?;
        let changed = statement
            .execute(params_from_iter(values))
            .map_err(failure)?;
        Ok(changed as u64)
    }

    fn query(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Row>, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached(&numbered(sql))
            .map_err(failure)?;
        let columns = statement.column_count();
        let mut rows = statement.query(params_from_iter(values)).map_err(failure)?;
        let mut found = Vec::new();
        while let Some(row) = rows.next().map_err(failure)? {
            let mut values = Vec::with_capacity(columns);
            for column in 0..columns {
                values.push(read(row.get_ref(column).map_err(failure)?));
            }
            found.push(Row(values));
        }
        Ok(found)
    }

    fn begin(&mut self) -> Result<(), StoreError> {
        // Immediate: a transaction that reads first and writes later could be refused in between.
        self.connection
            .execute_batch("BEGIN IMMEDIATE")
            .map_err(failure)
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        self.connection.execute_batch("COMMIT").map_err(failure)
    }

    fn rollback(&mut self) -> Result<(), StoreError> {
        self.connection.execute_batch("ROLLBACK").map_err(failure)
    }

    fn now_ms(&mut self) -> Result<i64, StoreError> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = since
            .ok()
            .and_then(|time| i64::try_from(time.as_millis()).ok());
        now.ok_or_else(|| StoreError::Failed("the machine's clock is before 1970".to_string()))
    }

    fn bytes(&mut self) -> Result<u64, StoreError> {
        let used = self
            .pragma("page_count")?
            .saturating_sub(self.pragma("freelist_count")?);
        Ok(used * self.pragma("page_size")?)
    }
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Value::Null => ValueRef::Null,
            Value::Int(value) => ValueRef::Integer(*value),
            Value::Real(value) => ValueRef::Real(*value),
            Value::Text(value) => ValueRef::Text(value.as_bytes()),
            Value::Bytes(value) => ValueRef::Blob(value),
        }))
    }
}

/// Write-ahead mode, and a file that is flushed to the disk at checkpoints: a killed process loses
/// nothing that was committed, a machine that loses power the last moments.
fn write_ahead(connection: &Connection) -> Result<(), StoreError> {
    let mut tries = 0;
    loop {
        match connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL") {
            Ok(()) => return Ok(()),
            Err(error) if tries < TRIES && is_busy(&error) => {
                tries += 1;
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(error) => return Err(failure(error)),
        }
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    )
}

/// SQLite numbers parameters by `?1`; `$1` is a name to it, numbered by its first appearance.
fn numbered(sql: &str) -> String {
    sql.replace('$', "?")
}

fn read(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(value) => Value::Int(value),
        ValueRef::Real(value) => Value::Real(value),
        ValueRef::Text(value) => Value::Text(String::from_utf8_lossy(value).into_owned()),
        ValueRef::Blob(value) => Value::Bytes(value.to_vec()),
    }
}

fn failure(error: rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(
            ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::CannotOpen
            | ErrorCode::PermissionDenied
            | ErrorCode::ReadOnly
            | ErrorCode::SystemIoFailure
            | ErrorCode::DiskFull
            | ErrorCode::DatabaseCorrupt
            | ErrorCode::NotADatabase
            | ErrorCode::FileLockingProtocolFailed
            | ErrorCode::OutOfMemory,
        ) => StoreError::Away(error.to_string()),
        _ => StoreError::Failed(error.to_string()),
    }
}
