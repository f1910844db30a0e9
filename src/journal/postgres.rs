//! The store in a PostgreSQL database, in the schema `hedgerow`, over one connection without TLS.
//! Several processes may use it at once. It never repeats a statement by itself.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::time::Duration;

use ::postgres::types::private::BytesMut;
use ::postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use ::postgres::{Client, Config, NoTls, Statement};

use super::schema::{self, Dialect};
use super::store::{Row, Store, StoreError, Value, transaction};

/// Statements kept prepared: the journal has about forty, in up to four lengths.
const STATEMENTS: usize = 192;

/// How long to wait for a connection, unless the address says otherwise.
const CONNECT: Duration = Duration::from_secs(3);

/// How long what was sent may stay unacknowledged before the connection counts as lost.
const UNACKNOWLEDGED: Duration = Duration::from_secs(10);

/// A number of our own, for the lock that keeps two processes from making tables at once.
const MAKING: i64 = 0x6865_6467_6572_6f77;

/// What every connection begins with.
const SESSION: &str =
    "SET statement_timeout = '30s'; SET lock_timeout = '10s'; SET search_path = hedgerow";

const DIALECT: Dialect = Dialect {
    serial: "BIGSERIAL PRIMARY KEY",
    bytes: "BYTEA",
};

/// A connection to the database.
pub struct Postgres {
    client: Client,
    statements: HashMap<String, Statement>,
}

impl Postgres {
    /// Connects to the database of an address such as `postgres://user@host/database` and makes the
    /// tables. The schema `hedgerow` is made when it is missing.
    ///
    /// # Errors
    /// When the address is wrong, nobody answers there, or the tables are newer.
    pub fn open(address: &str) -> Result<Postgres, StoreError> {
        let mut store = Postgres::connect(address)?;
        store.prepare_session().map_err(|error| match error {
            StoreError::Failed(why) | StoreError::Cancelled(why) => StoreError::Away(why),
            other => other,
        })?;
        Ok(store)
    }

    /// Connects to read tables that are there.
    ///
    /// # Errors
    /// As [`Postgres::open`], and when there are none.
    pub fn open_to_read(address: &str) -> Result<Postgres, StoreError> {
        let mut store = Postgres::connect(address)?;
        store.batch(SESSION)?;
        store.batch("SET default_transaction_read_only = on")?;
        schema::check(&mut store)?;
        Ok(store)
    }

    fn connect(address: &str) -> Result<Postgres, StoreError> {
        let mut config: Config = address
            .parse()
            .map_err(|error| StoreError::Away(format!("journal's address: {error}")))?;
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT);
        }
        if config.get_application_name().is_none() {
            config.application_name("hedgerow");
        }
        config.tcp_user_timeout(UNACKNOWLEDGED);
        let client = config.connect(NoTls).map_err(|error| away(&error))?;
        Ok(Postgres {
            client,
            statements: HashMap::new(),
        })
    }

    fn prepare_session(&mut self) -> Result<(), StoreError> {
        self.batch(SESSION)?;
        transaction(self, |store| {
            store.query(
                "SELECT 1 FROM (SELECT pg_advisory_xact_lock($1)) AS held",
                &[MAKING.into()],
            )?;
            let schema = "SELECT 1 FROM pg_namespace WHERE nspname = 'hedgerow'";
            if store.query(schema, &[])?.is_empty() {
                store.execute("CREATE SCHEMA hedgerow", &[])?;
            }
            schema::make(store, &DIALECT)
        })
    }

    fn statement(&mut self, sql: &str) -> Result<Statement, StoreError> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(sql).map_err(|error| failure(&error))?;
        if self.statements.len() >= STATEMENTS {
            self.statements.clear();
        }
        self.statements.insert(sql.to_string(), statement.clone());
        Ok(statement)
    }

    fn batch(&mut self, sql: &str) -> Result<(), StoreError> {
        self.client
            .batch_execute(sql)
            .map_err(|error| failure(&error))
    }
}

impl Store for Postgres {
    fn kind(&self) -> &'static str {
        "postgres"
    }

    fn execute(&mut self, sql: &str, values: &[Value]) -> Result<u64, StoreError> {
        let statement = self.statement(sql)?;
        let values: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| value as _).collect();
        self.client
            .execute(&statement, &values)
            .map_err(|error| failure(&error))
    }

    fn query(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Row>, StoreError> {
        let statement = self.statement(sql)?;
        let values: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| value as _).collect();
        let rows = self
            .client
            .query(&statement, &values)
            .map_err(|error| failure(&error))?;
        rows.iter().map(read).collect()
    }

    fn begin(&mut self) -> Result<(), StoreError> {
        // The default isolation: after the wait for a lock, the next statement sees what its last
        // holder committed.
        self.batch("BEGIN ISOLATION LEVEL READ COMMITTED")
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        self.batch("COMMIT")
    }

    fn rollback(&mut self) -> Result<(), StoreError> {
        self.batch("ROLLBACK")
    }

    fn now_ms(&mut self) -> Result<i64, StoreError> {
        let sql = "SELECT CAST(floor(extract(epoch FROM clock_timestamp()) * 1000) AS BIGINT)";
        let rows = self.query(sql, &[])?;
        rows.first().map_or_else(
            || Err(StoreError::Failed("the clock gave no row".to_string())),
            |row| row.int(0),
        )
    }

    fn bytes(&mut self) -> Result<u64, StoreError> {
        // A relation stays as large as it once was, so its size says too much after rows were
        // deleted: then rows that live, times their width as the last ANALYZE saw it and 220 bytes for
        // a row's head and its entries in indexes. LEAST passes over a width that is not known.
        let sql = "SELECT CAST(COALESCE(sum(LEAST(pg_total_relation_size(relid), \
             n_live_tup * ((SELECT sum(avg_width) FROM pg_stats \
                 WHERE schemaname = 'hedgerow' AND tablename = relname) + 220))), 0) AS BIGINT) \
             FROM pg_stat_user_tables WHERE schemaname = 'hedgerow'";
        let rows = self.query(sql, &[])?;
        let bytes = rows.first().map_or(Ok(0), |row| row.int(0))?;
        Ok(u64::try_from(bytes).unwrap_or(0))
    }
}

impl ToSql for Value {
    fn to_sql(
        &self,
        kind: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        match self {
            Value::Null => Ok(IsNull::Yes),
            Value::Int(value) => value.to_sql(kind, out),
            Value::Real(value) => value.to_sql(kind, out),
            Value::Text(value) => value.to_sql(kind, out),
            Value::Bytes(value) => value.to_sql(kind, out),
        }
    }

    fn accepts(kind: &Type) -> bool {
        [Type::INT8, Type::FLOAT8, Type::TEXT, Type::BYTEA].contains(kind)
    }

    to_sql_checked!();
}

fn read(row: &::postgres::Row) -> Result<Row, StoreError> {
    let mut values = Vec::with_capacity(row.len());
    for (index, column) in row.columns().iter().enumerate() {
        let value = match *column.type_() {
            Type::INT8 => row.try_get(index).map(|value: Option<i64>| value.into()),
            Type::INT4 => row
                .try_get(index)
                .map(|value: Option<i32>| value.map(i64::from).into()),
            Type::FLOAT8 => row.try_get(index).map(|value: Option<f64>| value.into()),
            Type::TEXT => row.try_get(index).map(|value: Option<&str>| value.into()),
            Type::BYTEA => row.try_get(index).map(|value: Option<&[u8]>| {
                value.map_or(Value::Null, |bytes| Value::Bytes(bytes.to_vec()))
            }),
            ref other => {
                return Err(StoreError::Failed(format!(
                    "column {index}: type {other} is not read"
                )));
            }
        };
        values.push(value.map_err(|error| failure(&error))?);
    }
    Ok(Row(values))
}

/// Errors of the connection and of the server as a whole are [`StoreError::Away`]: SQLSTATE classes
/// 08 (connection), 25006 (a standby), 40 (rolled back), 53 (resources), 55P03 (a lock), 57 (told to
/// stop), 58 (system). 57014 is one statement that was cancelled or took longer than its limit: the
/// connection is as good as before.
fn failure(error: &::postgres::Error) -> StoreError {
    let Some(database) = error.as_db_error() else {
        if error.is_closed()
            || error
                .source()
                .is_some_and(|source| source.is::<std::io::Error>())
        {
            return away(error);
        }
        return StoreError::Failed(message(error));
    };
    let code = database.code().code();
    if code == "57014" {
        return StoreError::Cancelled(message(error));
    }
    let is_away = ["08", "40", "53", "57", "58"]
        .iter()
        .any(|class| code.starts_with(class));
    if is_away || code == "25006" || code == "55P03" {
        return away(error);
    }
    StoreError::Failed(format!("{} ({code})", database.message()))
}

fn away(error: &::postgres::Error) -> StoreError {
    StoreError::Away(message(error))
}

/// The error with its cause, which alone says what happened.
fn message(error: &::postgres::Error) -> String {
    if let Some(database) = error.as_db_error() {
        return database.message().to_string();
    }
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
