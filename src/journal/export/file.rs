//! One Parquet file: rows are gathered by column and written as row groups; the file gets its name
//! when it is complete and on the disk. A file that is dropped before leaves nothing.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::Type;

use super::Failure;
use super::columns::{AFTER, BEFORE, Kind, Schema};
use super::names;
use super::rows::Row;

/// Rows of a row group, and bytes in memory after which it ends all the same.
const GROUP_ROWS: usize = 65_536;
const GROUP_BYTES: usize = 16 << 20;

/// What every row of a file has in common.
#[derive(Clone, Copy, Debug)]
pub struct Common<'a> {
    pub slot: &'a str,
    /// The score from which on a binary prediction is labelled 1.
    pub threshold: Option<f64>,
}

/// A file that is being written.
pub struct File {
    pub schema: Schema,
    pub rows: u64,
    path: PathBuf,
    part: Part,
    parquet: SerializedFileWriter<fs::File>,
    /// The rows of the next row group.
    columns: Vec<Column>,
    gathered: usize,
    gathered_bytes: usize,
}

/// The path of a file that is removed unless it becomes complete.
struct Part(Option<PathBuf>);

struct Column {
    name: String,
    logical: Option<LogicalType>,
    values: Values,
    /// 1 for each value, 0 for each null; none in a column without nulls.
    levels: Option<Vec<i16>>,
}

enum Values {
    Int(Vec<i64>),
    Double(Vec<f64>),
    Text(Vec<ByteArray>),
}

enum Value {
    Null,
    Int(i64),
    Double(f64),
    Text(String),
}

impl File {
    /// Begins the file that is to be at `path`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn create(path: PathBuf, schema: Schema) -> Result<File, Failure> {
        let columns = columns(&schema);
        let fields = columns.iter().map(Column::field);
        let fields = fields.collect::<Result<Vec<_>, _>>();
        let root = fields
            .and_then(|fields| {
                Type::group_type_builder("schema")
                    .with_fields(fields)
                    .build()
            })
            .map_err(|error| failure(&path, &error))?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_created_by(concat!("hedgerow ", env!("CARGO_PKG_VERSION")).to_string())
            .build();
        let part = names::part(&path);
        let file = fs::File::create(&part).map_err(|error| failed(&part, &error))?;
        let part = Part(Some(part));
        let parquet = SerializedFileWriter::new(file, Arc::new(root), Arc::new(properties))
            .map_err(|error| failure(&path, &error))?;
        Ok(File {
            schema,
            rows: 0,
            path,
            part,
            parquet,
            columns,
            gathered: 0,
            gathered_bytes: 0,
        })
    }

    /// Adds a row that fits the schema.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn push(&mut self, row: &Row, common: Common<'_>) -> Result<(), Failure> {
        let values = values(&self.schema, row, common);
        debug_assert_eq!(values.len(), self.columns.len());
        for (column, value) in self.columns.iter_mut().zip(values) {
            self.gathered_bytes += column.push(value);
        }
        self.gathered += 1;
        self.rows += 1;
        if self.gathered >= GROUP_ROWS || self.gathered_bytes >= GROUP_BYTES {
            self.write_group()?;
        }
        Ok(())
    }

    /// Bytes on the disk and in memory.
    pub fn bytes(&self) -> u64 {
        (self.parquet.bytes_written() + self.gathered_bytes) as u64
    }

    /// Completes the file: when this returns, it is on the disk under its name.
    ///
    /// # Errors
    /// When it cannot be written; then it leaves nothing.
    pub fn finish(mut self) -> Result<(), Failure> {
        self.write_group()?;
        let File {
            path,
            mut part,
            parquet,
            ..
        } = self;
        let file = parquet.into_inner();
        let file = file.map_err(|error| failure(&path, &error))?;
        file.sync_all().map_err(|error| failed(&path, &error))?;
        part.keep_as(&path).map_err(|error| failed(&path, &error))
    }

    fn write_group(&mut self) -> Result<(), Failure> {
        if self.gathered == 0 {
            return Ok(());
        }
        let group = self.parquet.next_row_group();
        group
            .and_then(|group| write(group, &mut self.columns))
            .map_err(|error| failure(&self.path, &error))?;
        self.gathered = 0;
        self.gathered_bytes = 0;
        Ok(())
    }
}

impl Part {
    fn keep_as(&mut self, path: &Path) -> io::Result<()> {
        if let Some(part) = &self.0 {
            fs::rename(part, path)?;
        }
        self.0 = None;
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        // The name is as durable as the bytes.
        fs::File::open(folder)?.sync_all()
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if let Some(part) = &self.0 {
            // Where that fails, it is removed before the slot's next file begins.
            let _removed = fs::remove_file(part);
        }
    }
}

fn write(
    mut group: SerializedRowGroupWriter<'_, fs::File>,
    columns: &mut [Column],
) -> Result<(), ParquetError> {
    for column in columns {
        let Some(mut writer) = group.next_column()? else {
            break;
        };
        let levels = column.levels.as_deref();
        match &mut column.values {
            Values::Int(values) => {
                writer
                    .typed::<Int64Type>()
                    .write_batch(values, levels, None)?;
                values.clear();
            }
            Values::Double(values) => {
                writer
                    .typed::<DoubleType>()
                    .write_batch(values, levels, None)?;
                values.clear();
            }
            Values::Text(values) => {
                writer
                    .typed::<ByteArrayType>()
                    .write_batch(values, levels, None)?;
                values.clear();
            }
        }
        writer.close()?;
        if let Some(levels) = &mut column.levels {
            levels.clear();
        }
    }
    group.close()?;
    Ok(())
}

/// The columns of a file, in order.
fn columns(schema: &Schema) -> Vec<Column> {
    let [id, ts, model, version, slot, mark] = BEFORE;
    let [prediction, label, target, label_ts] = AFTER;
    let mut columns = vec![
        Column::text(id),
        Column::time(ts),
        Column::text(model),
        Column::text(version),
        Column::text(slot),
        Column::text(mark),
    ];
    for (name, (_, kind)) in schema.columns().iter().zip(&schema.features) {
        columns.push(match kind {
            Kind::Number => Column::double(name),
            Kind::Text => Column::text(name).nullable(),
        });
    }
    columns.push(Column::double(prediction));
    columns.extend(
        schema
            .class_columns()
            .iter()
            .map(|name| Column::double(name)),
    );
    columns.push(Column::int(label).nullable());
    columns.push(Column::double(target));
    columns.push(Column::time(label_ts).nullable());
    columns
}

/// The values of a row, one for each column.
fn values(schema: &Schema, row: &Row, common: Common<'_>) -> Vec<Value> {
    let slot = || Value::Text(common.slot.to_string());
    let mut values = vec![
        Value::Text(row.prediction_id()),
        Value::Int(row.at_ms),
        slot(),
        Value::Text(row.revision.to_string()),
        slot(),
        Value::Text(row.digest.clone()),
    ];
    for ((_, kind), (_, cell)) in schema.features.iter().zip(&row.features.0) {
        let cell = cell.as_ref();
        values.push(match kind {
            Kind::Number => cell
                .and_then(|it| it.number())
                .map_or(Value::Null, Value::Double),
            Kind::Text => cell.map_or(Value::Null, |it| Value::Text(it.text())),
        });
    }
    let best = best(&row.scores);
    let score = best.and_then(|best| row.scores.get(best).copied());
    values.push(score.map_or(Value::Null, Value::Double));
    let label = match row.scores.as_slice() {
        [score] => {
            if let Some(threshold) = common.threshold.filter(|_| !score.is_nan()) {
                Value::Int(i64::from(*score >= threshold))
            } else {
                Value::Null
            }
        }
        scores => {
            values.extend(scores.iter().map(|score| Value::Double(*score)));
            best.map_or(Value::Null, |best| Value::Int(best as i64))
        }
    };
    values.push(label);
    let (target, since) = row.outcome.unzip();
    values.push(target.map_or(Value::Null, Value::Double));
    values.push(since.map_or(Value::Null, Value::Int));
    values
}

/// The place of the first of the highest scores; `None` when none is a number.
fn best(scores: &[f64]) -> Option<usize> {
    let mut best: Option<(usize, f64)> = None;
    for (place, score) in scores.iter().enumerate() {
        if !score.is_nan() && best.is_none_or(|(_, highest)| *score > highest) {
            best = Some((place, *score));
        }
    }
    best.map(|(place, _)| place)
}

impl Column {
    fn new(name: &str, logical: Option<LogicalType>, values: Values) -> Column {
        Column {
            name: name.to_string(),
            logical,
            values,
            levels: None,
        }
    }

    fn text(name: &str) -> Column {
        Column::new(name, Some(LogicalType::String), Values::Text(Vec::new()))
    }

    fn int(name: &str) -> Column {
        Column::new(name, None, Values::Int(Vec::new()))
    }

    /// Numbers may be missing in every column of them.
    fn double(name: &str) -> Column {
        Column::new(name, None, Values::Double(Vec::new())).nullable()
    }

    /// A moment in UTC, to the millisecond.
    fn time(name: &str) -> Column {
        let logical = LogicalType::timestamp(true, TimeUnit::MILLIS);
        Column::new(name, Some(logical), Values::Int(Vec::new()))
    }

    fn nullable(self) -> Column {
        Column {
            levels: Some(Vec::new()),
            ..self
        }
    }

    fn field(&self) -> Result<Arc<Type>, ParquetError> {
        let physical = match self.values {
            Values::Int(_) => Physical::INT64,
            Values::Double(_) => Physical::DOUBLE,
            Values::Text(_) => Physical::BYTE_ARRAY,
        };
        let repetition = match self.levels {
            None => Repetition::REQUIRED,
            Some(_) => Repetition::OPTIONAL,
        };
        let built = Type::primitive_type_builder(&self.name, physical)
            .with_logical_type(self.logical.clone())
            .with_repetition(repetition)
            .build();
        built.map(Arc::new)
    }

    /// Adds a value; gives the bytes that it takes.
    fn push(&mut self, value: Value) -> usize {
        let size = match (&mut self.values, value) {
            (Values::Int(values), Value::Int(value)) => {
                values.push(value);
                size_of::<i64>()
            }
            (Values::Double(values), Value::Double(value)) => {
                values.push(value);
                size_of::<f64>()
            }
            (Values::Text(values), Value::Text(value)) => {
                let size = size_of::<ByteArray>() + value.len();
                values.push(ByteArray::from(value.into_bytes()));
                size
            }
            _ => 0,
        };
        if let Some(levels) = &mut self.levels {
            levels.push(i16::from(size > 0));
        }
        size + size_of::<i16>()
    }
}

fn failure(path: &Path, error: &ParquetError) -> Failure {
    Failure(format!("{}: {error}", path.display()))
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    Failure(format!("{}: {error}", path.display()))
}
