//! The columns of a file: their types, and the values that a row has in them.

use std::sync::Arc;

use parquet::basic::{LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::writer::SerializedColumnWriter;
use parquet::schema::types::Type;

use super::columns::{AFTER, BEFORE, Kind, Schema};
use super::rows::Row;

/// What every row of a file has in common.
#[derive(Clone, Copy, Debug)]
pub struct Common<'a> {
    pub slot: &'a str,
    /// The score from which on a binary prediction is labelled 1.
    pub threshold: Option<f64>,
}

/// A column of a file with the values of its next row group.
pub struct Column {
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

/// One value.
pub enum Value {
    Null,
    Int(i64),
    Double(f64),
    Text(String),
}

/// The columns of a file, in order.
pub fn columns(schema: &Schema) -> Vec<Column> {
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
pub fn values(schema: &Schema, row: &Row, common: Common<'_>) -> Vec<Value> {
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

    /// It, as a file's schema has it.
    ///
    /// # Errors
    /// What the format says.
    pub fn field(&self) -> Result<Arc<Type>, ParquetError> {
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
    pub fn push(&mut self, value: Value) -> usize {
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

    /// Writes what was gathered as the column's part of a row group, and forgets it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&mut self, writer: &mut SerializedColumnWriter<'_>) -> Result<(), ParquetError> {
        let levels = self.levels.as_deref();
        match &mut self.values {
            Values::Int(values) => {
                let typed = writer.typed::<Int64Type>();
                typed.write_batch(values, levels, None)?;
                values.clear();
            }
            Values::Double(values) => {
                let typed = writer.typed::<DoubleType>();
                typed.write_batch(values, levels, None)?;
                values.clear();
            }
            Values::Text(values) => {
                let typed = writer.typed::<ByteArrayType>();
                typed.write_batch(values, levels, None)?;
                values.clear();
            }
        }
        if let Some(levels) = &mut self.levels {
            levels.clear();
        }
        Ok(())
    }
}
