//! What the journal asks of a database: statements with numbered parameters, transactions, a clock
//! and a size. One SQL text serves both stores. It never knows what is in the tables.

use uuid::Uuid;

use crate::error::{Code, Error};

/// Rows of one statement: the sizes that lists are cut into, largest first, so that only a handful
/// of texts per statement are prepared.
const CHUNKS: [usize; 4] = [512, 64, 8, 1];

/// Queries of one statement: SQLite takes 500, and PostgreSQL's plans take longer than 64 queries.
const UNION_MAX: usize = 64;

/// A database with the journal's tables, reached over one connection.
///
/// Both stores take the same SQL: parameters are `$1`, `$2`, … A statement that fails inside a
/// transaction leaves it to be rolled back. Every call may block for as long as the database takes.
pub trait Store: Send {
    /// `sqlite` or `postgres`.
    fn kind(&self) -> &'static str;

    /// Runs a statement that returns no rows; gives the number of rows it changed.
    ///
    /// # Errors
    /// What the database says; [`StoreError::Away`] when it cannot be reached or written.
    fn execute(&mut self, sql: &str, values: &[Value]) -> Result<u64, StoreError>;

    /// Runs a statement and gives all its rows.
    ///
    /// # Errors
    /// As [`Store::execute`].
    fn query(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Row>, StoreError>;

    /// Begins a transaction that may write. Illegal inside another one.
    ///
    /// # Errors
    /// As [`Store::execute`].
    fn begin(&mut self) -> Result<(), StoreError>;

    /// Makes the transaction's changes durable and visible.
    ///
    /// # Errors
    /// As [`Store::execute`]; then nothing of it happened, or it is not known.
    fn commit(&mut self) -> Result<(), StoreError>;

    /// Undoes the transaction.
    ///
    /// # Errors
    /// As [`Store::execute`].
    fn rollback(&mut self) -> Result<(), StoreError>;

    /// Milliseconds since 1970 by the clock that all users of the store share: PostgreSQL's own,
    /// and the machine's for SQLite, which only processes of one machine use.
    ///
    /// # Errors
    /// As [`Store::execute`].
    fn now_ms(&mut self) -> Result<i64, StoreError>;

    /// Bytes that the journal's rows take, indexes included: SQLite's pages in use; PostgreSQL's
    /// relations, less the share of them that is free for new rows as its statistics see it.
    ///
    /// # Errors
    /// As [`Store::execute`].
    fn bytes(&mut self) -> Result<u64, StoreError>;
}

/// One value of a statement or of a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Int(i64),
    /// SQLite keeps NaN as null: numbers that may be NaN are kept as text.
    Real(f64),
    Text(String),
    Bytes(Vec<u8>),
}

/// One row of an answer, by column number.
#[derive(Clone, Debug, PartialEq)]
pub struct Row(pub Vec<Value>);

/// Why the store did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached, read or written now and may come back.
    #[error("the journal's store is away: {0}")]
    Away(String),
    /// Its tables were made by a newer Hedgerow.
    #[error(
        "the journal's tables are of version {found}, expected at most {known}: a newer hedgerow made them"
    )]
    Newer { found: i64, known: i64 },
    /// It gave this statement up, which took too long or was cancelled; again it may do.
    #[error("the journal's store gave up a statement: {0}")]
    Cancelled(String),
    /// It refused this statement; others may do.
    #[error("the journal's store refused a statement: {0}")]
    Failed(String),
}

/// An `INSERT` of many rows: what is before and behind `VALUES (…), (…)`.
pub struct Insert {
    pub head: &'static str,
    pub columns: usize,
    pub tail: &'static str,
}

/// For callers, who are not told the store's own text: it may name its user, host or tables. The
/// journal's health and the log have it.
impl From<StoreError> for Error {
    fn from(error: StoreError) -> Error {
        match error {
            StoreError::Away(_) => Error::new(Code::NotReady, "the journal's store is away"),
            StoreError::Newer { .. } => Error::new(Code::NotReady, error.to_string()),
            StoreError::Cancelled(_) => Error::new(
                Code::DeadlineExceeded,
                "the journal's store gave up a statement",
            ),
            StoreError::Failed(_) => Error::internal("the journal's store refused a statement"),
        }
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Value {
        Value::Int(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Value {
        Value::Real(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Value {
        Value::Text(value.to_string())
    }
}

impl From<Uuid> for Value {
    fn from(value: Uuid) -> Value {
        Value::Bytes(value.as_bytes().to_vec())
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Value {
        value.map_or(Value::Null, Into::into)
    }
}

impl Row {
    /// A whole number.
    ///
    /// # Errors
    /// When the column is something else or not there.
    pub fn int(&self, column: usize) -> Result<i64, StoreError> {
        match self.0.get(column) {
            Some(Value::Int(value)) => Ok(*value),
            _ => Err(unexpected(column, "a whole number")),
        }
    }

    /// A whole number or null.
    ///
    /// # Errors
    /// As [`Row::int`].
    pub fn int_or_null(&self, column: usize) -> Result<Option<i64>, StoreError> {
        self.or_null(column, Row::int)
    }

    /// A number.
    ///
    /// # Errors
    /// As [`Row::int`].
    pub fn real(&self, column: usize) -> Result<f64, StoreError> {
        match self.0.get(column) {
            Some(Value::Real(value)) => Ok(*value),
            _ => Err(unexpected(column, "a number")),
        }
    }

    /// A number or null.
    ///
    /// # Errors
    /// As [`Row::int`].
    pub fn real_or_null(&self, column: usize) -> Result<Option<f64>, StoreError> {
        self.or_null(column, Row::real)
    }

    /// A text.
    ///
    /// # Errors
    /// As [`Row::int`].
    pub fn text(&self, column: usize) -> Result<String, StoreError> {
        match self.0.get(column) {
            Some(Value::Text(value)) => Ok(value.clone()),
            _ => Err(unexpected(column, "a text")),
        }
    }

    /// A text or null.
    ///
    /// # Errors
    /// As [`Row::int`].
    pub fn text_or_null(&self, column: usize) -> Result<Option<String>, StoreError> {
        self.or_null(column, Row::text)
    }

    /// A byte string.
    ///
    /// # Errors
    /// As [`Row::int`].
    pub fn bytes(&self, column: usize) -> Result<&[u8], StoreError> {
        match self.0.get(column) {
            Some(Value::Bytes(value)) => Ok(value),
            _ => Err(unexpected(column, "bytes")),
        }
    }

    /// An id of 16 bytes.
    ///
    /// # Errors
    /// As [`Row::int`].
    pub fn id(&self, column: usize) -> Result<Uuid, StoreError> {
        match self.0.get(column) {
            Some(Value::Bytes(value)) => {
                Uuid::from_slice(value).map_err(|_error| unexpected(column, "an id of 16 bytes"))
            }
            _ => Err(unexpected(column, "an id of 16 bytes")),
        }
    }

    /// An id or null.
    ///
    /// # Errors
    /// As [`Row::int`].
    pub fn id_or_null(&self, column: usize) -> Result<Option<Uuid>, StoreError> {
        self.or_null(column, Row::id)
    }

    fn or_null<T>(
        &self,
        column: usize,
        read: impl FnOnce(&Row, usize) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        if self.0.get(column) == Some(&Value::Null) {
            return Ok(None);
        }
        read(self, column).map(Some)
    }
}

impl Insert {
    /// Inserts rows that lie one behind the other in `values`; gives the number of rows inserted.
    ///
    /// # Errors
    /// As [`Store::execute`].
    pub fn rows(&self, store: &mut dyn Store, values: &[Value]) -> Result<u64, StoreError> {
        let mut inserted = 0;
        let mut rest = values;
        while !rest.is_empty() {
            let rows = chunk(rest.len() / self.columns);
            let (now, later) = rest.split_at((rows * self.columns).min(rest.len()));
            let tuples = tuples(rows, &vec!["$"; self.columns]);
            let sql = format!("{} VALUES {tuples} {}", self.head, self.tail);
            inserted += store.execute(&sql, now)?;
            rest = later;
        }
        Ok(inserted)
    }
}

/// Does work in one transaction: all of it or, when it fails, nothing.
///
/// # Errors
/// What the work or the store says.
pub fn transaction<T>(
    store: &mut dyn Store,
    work: impl FnOnce(&mut dyn Store) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    store.begin()?;
    let done = work(store).and_then(|value| store.commit().map(|()| value));
    if done.is_err() {
        // The first error says more than one of the rollback.
        let _undone = store.rollback();
    }
    done
}

/// Runs a query whose text has `{list}` in place of a list of parameters, for any number of `keys`.
/// `before` are the values of the parameters `$1`, … that stand before the list.
///
/// # Errors
/// As [`Store::query`].
pub fn query_in(
    store: &mut dyn Store,
    sql: &str,
    before: &[Value],
    keys: &[Value],
) -> Result<Vec<Row>, StoreError> {
    let mut found = Vec::new();
    for keys in keys.chunks(CHUNKS[0]) {
        let (sql, values) = with_list(sql, before, keys);
        found.extend(store.query(&sql, &values)?);
    }
    Ok(found)
}

/// Runs a query once for each pair of keys, many in one statement: its text has `{first}` and
/// `{second}` in place of their parameters, and may have an order and a limit of its own. `before` are
/// the values of the parameters `$1`, … that all share.
///
/// # Errors
/// As [`Store::query`].
pub fn query_each(
    store: &mut dyn Store,
    sql: &str,
    before: &[Value],
    keys: &[[Value; 2]],
) -> Result<Vec<Row>, StoreError> {
    let mut found = Vec::new();
    let mut rest = keys;
    while !rest.is_empty() {
        let (now, later) = rest.split_at(chunk(rest.len().min(UNION_MAX)));
        let mut queries = Vec::with_capacity(now.len());
        let mut values = before.to_vec();
        for pair in now {
            let first = format!("${}", values.len() + 1);
            let second = format!("${}", values.len() + 2);
            let query = sql.replace("{first}", &first).replace("{second}", &second);
            queries.push(format!("SELECT * FROM ({query}) AS found"));
            values.extend_from_slice(pair);
        }
        found.extend(store.query(&queries.join(" UNION ALL "), &values)?);
        rest = later;
    }
    Ok(found)
}

/// As [`query_in`], for statements that return no rows; gives the number of rows changed.
///
/// # Errors
/// As [`Store::execute`].
pub fn execute_in(
    store: &mut dyn Store,
    sql: &str,
    before: &[Value],
    keys: &[Value],
) -> Result<u64, StoreError> {
    let mut changed = 0;
    for keys in keys.chunks(CHUNKS[0]) {
        let (sql, values) = with_list(sql, before, keys);
        changed += store.execute(&sql, &values)?;
    }
    Ok(changed)
}

/// Runs a statement whose text has `{rows}` in place of tuples of whole numbers, which lie one
/// behind the other in `values`.
///
/// # Errors
/// As [`Store::execute`].
pub fn execute_rows(
    store: &mut dyn Store,
    sql: &str,
    columns: usize,
    values: &[Value],
) -> Result<(), StoreError> {
    let mut rest = values;
    while !rest.is_empty() {
        let rows = chunk(rest.len() / columns);
        let (now, later) = rest.split_at((rows * columns).min(rest.len()));
        let tuples = tuples(rows, &vec!["CAST($ AS BIGINT)"; columns]);
        store.execute(&sql.replace("{rows}", &tuples), now)?;
        rest = later;
    }
    Ok(())
}

/// The statement for one list, which is filled up with its last key to a size of [`CHUNKS`].
fn with_list(sql: &str, before: &[Value], keys: &[Value]) -> (String, Vec<Value>) {
    let size = CHUNKS.iter().rev().find(|size| **size >= keys.len());
    let size = *size.unwrap_or(&keys.len());
    let mut list = String::new();
    for index in 0..size {
        if index > 0 {
            list.push(',');
        }
        list.push('$');
        list.push_str(&(before.len() + index + 1).to_string());
    }
    let mut values = before.to_vec();
    values.extend_from_slice(keys);
    if let Some(last) = keys.last() {
        values.resize(before.len() + size, last.clone());
    }
    (sql.replace("{list}", &list), values)
}

/// The largest chunk that is not longer than `rows`, at least 1.
fn chunk(rows: usize) -> usize {
    let fits = CHUNKS.iter().find(|size| **size <= rows);
    fits.copied().unwrap_or(1)
}

/// `($1, $2), ($3, $4)`: each column's text with its `$` numbered.
fn tuples(rows: usize, columns: &[&str]) -> String {
    let mut text = String::new();
    let mut number = 0;
    for row in 0..rows {
        text.push_str(if row == 0 { "(" } else { ", (" });
        for (index, column) in columns.iter().enumerate() {
            if index > 0 {
                text.push_str(", ");
            }
            number += 1;
            text.push_str(&column.replace('$', &format!("${number}")));
        }
        text.push(')');
    }
    text
}

fn unexpected(column: usize, expected: &str) -> StoreError {
    StoreError::Failed(format!("column {column}: expected {expected}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_lists_are_numbered() {
        assert_eq!(tuples(2, &["$", "$"]), "($1, $2), ($3, $4)");
        let (sql, values) = with_list(
            "a = $1 AND b IN ({list})",
            &[1.into()],
            &[2.into(), 3.into()],
        );
        assert_eq!(sql, "a = $1 AND b IN ($2,$3,$4,$5,$6,$7,$8,$9)");
        assert_eq!(values.len(), 9);
        assert_eq!(values[8], Value::Int(3));
    }
}
