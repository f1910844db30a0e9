//! Rows of a Parquet file, row group by row group and page by page. Times become milliseconds since
//! 1970 or midnight, decimals the nearest float. Columns of lists, maps and structs are refused.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt as _;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};

use bytes::Bytes;
use half::f16;
use parquet::basic::{ConvertedType, LogicalType, TimeUnit, Type};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::DataType;
use parquet::errors::ParquetError;
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::reader::{ChunkReader, FileReader, Length, SerializedFileReader};
use parquet::schema::types::ColumnDescriptor;

use super::data::{self, Block, Column, Kind, Wanted};
use crate::tensor::Values;

/// A Parquet file that is being read.
pub struct Table {
    path: PathBuf,
    /// In bytes.
    pub size: u64,
    file: SerializedFileReader<Region>,
    rows: u64,
    read: u64,
    /// The next row group.
    group: usize,
    /// Rows left of the one that is being read, and its columns as they were wanted.
    left: usize,
    readers: Vec<(ColumnReader, Meaning)>,
}

/// What a column's stored values stand for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Meaning {
    /// Numbers that are to be multiplied and divided.
    Number(f64, f64),
    Unsigned,
    Half,
    /// Big-endian two's complement, to be divided.
    Decimal(f64),
    Text,
}

/// A file of which parts are read, never beyond its end: a broken file may ask for anything.
struct Region {
    file: Arc<File>,
    len: u64,
}

/// Reads on from a place.
struct Cursor {
    file: Arc<File>,
    place: u64,
}

thread_local! {
    /// Whether a file is being read.
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

const DAY_MS: f64 = 86_400_000.0;

impl Length for Region {
    fn len(&self) -> u64 {
        self.len
    }
}

impl ChunkReader for Region {
    type T = BufReader<Cursor>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(BufReader::new(Cursor {
            file: Arc::clone(&self.file),
            place: start,
        }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let end = start.checked_add(length as u64);
        if end.is_none_or(|end| end > self.len) {
            let reason = format!("{length} bytes at {start}, beyond the end of the file");
            return Err(ParquetError::EOF(reason));
        }
        let mut buffer = vec![0; length];
        self.file.read_exact_at(&mut buffer, start)?;
        Ok(buffer.into())
    }
}

impl Read for Cursor {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.place)?;
        self.place += read as u64;
        Ok(read)
    }
}

impl Table {
    /// Opens a file and reads its schema.
    ///
    /// # Errors
    /// When it is no Parquet file.
    pub fn open(path: &Path) -> Result<Table, String> {
        let file = File::open(path).map_err(|error| data::at(path, &error))?;
        let size = file.metadata().map_or(0, |about| about.len());
        let region = Region {
            file: Arc::new(file),
            len: size,
        };
        let file = guarded(|| SerializedFileReader::new(region))
            .map_err(|reason| data::at(path, &format!("not a Parquet file: {reason}")))?;
        if !file.metadata().row_groups().iter().all(is_placed) {
            let reason = "not a Parquet file: a column lies before its start";
            return Err(data::at(path, &reason));
        }
        let rows = file.metadata().file_metadata().num_rows();
        Ok(Table {
            path: path.to_path_buf(),
            size,
            file,
            rows: u64::try_from(rows).unwrap_or(0),
            read: 0,
            group: 0,
            left: 0,
            readers: Vec::new(),
        })
    }

    /// What the schema names; the parts of a nested column each.
    pub fn columns(&self) -> Vec<Column> {
        let schema = self.file.metadata().file_metadata().schema_descr();
        let columns = schema.columns().iter();
        columns
            .map(|column| {
                let meaning = Meaning::of(column);
                Column {
                    name: column.path().string(),
                    is_text: Some(meaning == Ok(Meaning::Text)),
                    refused: meaning.err(),
                }
            })
            .collect()
    }

    /// The part of the file that the rows read so far are.
    pub fn position(&self) -> u64 {
        let part = self.read as f64 / self.rows.max(1) as f64;
        (part.min(1.0) * self.size as f64) as u64
    }

    /// Reads the next rows, at most `most`; none at the end.
    ///
    /// # Errors
    /// When the file is broken, or a value is not what its column holds.
    pub fn read(
        &mut self,
        wanted: &[Wanted],
        places: &[usize],
        most: usize,
        block: &mut Block,
    ) -> Result<(), String> {
        while self.left == 0 {
            if self.group == self.file.num_row_groups() {
                return Ok(());
            }
            self.next_group(places)
                .map_err(|reason| data::at(&self.path, &reason))?;
        }
        let rows = most.min(self.left);
        let columns = self.readers.iter_mut().zip(&mut block.columns).zip(wanted);
        for (((reader, meaning), column), wanted) in columns {
            let mut target = Target {
                kind: &wanted.kind,
                meaning: *meaning,
                values: column,
            };
            guarded_text(|| target.fill(reader, rows)).map_err(|reason| {
                let (from, to) = (self.read + 1, self.read + rows as u64);
                let place = format!("rows {from} to {to}, column \"{}\"", wanted.column);
                data::at(&self.path, &format!("{place}: {reason}"))
            })?;
        }
        block.rows = rows;
        self.left -= rows;
        self.read += rows as u64;
        Ok(())
    }

    fn next_group(&mut self, places: &[usize]) -> Result<(), String> {
        let file = &self.file;
        let group = self.group;
        let (left, readers) = guarded(|| {
            let group = file.get_row_group(group)?;
            let schema = group.metadata().schema_descr_ptr();
            let mut readers = Vec::with_capacity(places.len());
            for place in places {
                let column = schema.column(*place);
                let meaning = Meaning::of(&column).map_err(ParquetError::General)?;
                readers.push((group.get_column_reader(*place)?, meaning));
            }
            Ok((group.metadata().num_rows(), readers))
        })?;
        self.left = usize::try_from(left).map_err(|_| format!("row group {group}: {left} rows"))?;
        self.readers = readers;
        self.group += 1;
        Ok(())
    }
}

impl Meaning {
    /// Why not, where a column is none of numbers or texts.
    fn of(column: &ColumnDescriptor) -> Result<Meaning, String> {
        if column.max_rep_level() > 0 || column.path().parts().len() > 1 {
            return Err("is nested; expected numbers or texts".to_string());
        }
        let (logical, converted) = (column.logical_type_ref(), column.converted_type());
        let scale = match (logical, converted) {
            (Some(LogicalType::Decimal(decimal)), _) => Some(decimal.scale),
            (_, ConvertedType::DECIMAL) => Some(column.type_scale()),
            _ => None,
        };
        let divisor = scale.map(|scale| 10_f64.powi(scale));
        let refused = |what: &str| Err(format!("holds {what}; expected numbers or texts"));
        match column.physical_type() {
            Type::BOOLEAN | Type::FLOAT | Type::DOUBLE => Ok(Meaning::Number(1.0, 1.0)),
            Type::INT96 => Ok(Meaning::Number(1.0, 1e6)),
            Type::INT32 | Type::INT64 => Ok(match (divisor, logical, converted) {
                (Some(divisor), ..) => Meaning::Number(1.0, divisor),
                (_, Some(LogicalType::Integer(it)), _) if !it.is_signed => Meaning::Unsigned,
                (_, None, ConvertedType::UINT_32 | ConvertedType::UINT_64) => Meaning::Unsigned,
                (_, Some(LogicalType::Date), _) | (_, _, ConvertedType::DATE) => {
                    Meaning::Number(DAY_MS, 1.0)
                }
                (_, Some(LogicalType::Timestamp(it) | LogicalType::Time(it)), _) => {
                    Meaning::Number(1.0, per_ms(it.unit))
                }
                (_, _, ConvertedType::TIMESTAMP_MICROS | ConvertedType::TIME_MICROS) => {
                    Meaning::Number(1.0, 1e3)
                }
                _ => Meaning::Number(1.0, 1.0),
            }),
            Type::FIXED_LEN_BYTE_ARRAY => match (divisor, logical) {
                (Some(divisor), _) => Ok(Meaning::Decimal(divisor)),
                (_, Some(LogicalType::Float16)) => Ok(Meaning::Half),
                _ => refused("bytes"),
            },
            Type::BYTE_ARRAY => match (divisor, logical) {
                (Some(divisor), _) => Ok(Meaning::Decimal(divisor)),
                // Older writers do not say that their texts are texts.
                (_, None | Some(LogicalType::String | LogicalType::Enum | LogicalType::Json)) => {
                    Ok(Meaning::Text)
                }
                _ => refused("bytes"),
            },
        }
    }

    fn bytes(self, bytes: &[u8]) -> f64 {
        match (self, bytes) {
            (Meaning::Half, [low, high]) => f16::from_le_bytes([*low, *high]).to_f64(),
            (Meaning::Decimal(divisor), _) => decimal(bytes) / divisor,
            _ => f64::NAN,
        }
    }

    fn long(self, number: i64) -> f64 {
        // Nanoseconds are too many for a float's 53 bits; the milliseconds that they are often are not.
        match self {
            Meaning::Number(_, over) if over > 1.0 && number.unsigned_abs() >> 53 > 0 => {
                let over = over as i64;
                (number / over) as f64 + (number % over) as f64 / over as f64
            }
            _ => self.number(number as f64, number as u64 as f64),
        }
    }

    fn number(self, signed: f64, unsigned: f64) -> f64 {
        match self {
            Meaning::Number(by, over) => signed * by / over,
            _ => unsigned,
        }
    }
}

/// The column of a block that is filled.
struct Target<'a> {
    kind: &'a Kind,
    meaning: Meaning,
    values: &'a mut Values,
}

impl Target<'_> {
    fn fill(&mut self, reader: &mut ColumnReader, rows: usize) -> Result<(), String> {
        let meaning = self.meaning;
        match reader {
            ColumnReader::BoolColumnReader(reader) => {
                self.numbers(reader, rows, |it| f64::from(u8::from(*it)))
            }
            ColumnReader::Int32ColumnReader(reader) => self.numbers(reader, rows, |it| {
                meaning.number(f64::from(*it), f64::from(*it as u32))
            }),
            ColumnReader::Int64ColumnReader(reader) => {
                self.numbers(reader, rows, |it| meaning.long(*it))
            }
            ColumnReader::Int96ColumnReader(reader) => {
                self.numbers(reader, rows, |it| it.to_millis() as f64)
            }
            ColumnReader::FloatColumnReader(reader) => {
                self.numbers(reader, rows, |it| f64::from(*it))
            }
            ColumnReader::DoubleColumnReader(reader) => self.numbers(reader, rows, |it| *it),
            ColumnReader::FixedLenByteArrayColumnReader(reader) => {
                self.numbers(reader, rows, |it| meaning.bytes(it.data()))
            }
            ColumnReader::ByteArrayColumnReader(reader) if meaning != Meaning::Text => {
                self.numbers(reader, rows, |it| meaning.bytes(it.data()))
            }
            ColumnReader::ByteArrayColumnReader(reader) => {
                let kind = self.kind;
                self.each(reader, rows, |value, values| {
                    let text = match value {
                        None => "",
                        Some(it) => std::str::from_utf8(it.data()).map_err(|_| "not UTF-8")?,
                    };
                    data::push(values, kind.text(text)?);
                    Ok(())
                })
            }
        }
    }

    fn numbers<T: DataType>(
        &mut self,
        reader: &mut ColumnReaderImpl<T>,
        rows: usize,
        number: impl Fn(&T::T) -> f64,
    ) -> Result<(), String> {
        let kind = self.kind;
        self.each(reader, rows, |value, values| {
            let number = value.map_or(f64::NAN, &number);
            match (kind, values) {
                (Kind::Number, Values::F64(numbers)) => numbers.push(number),
                (_, values) => data::push(values, kind.number(number)?),
            }
            Ok(())
        })
    }

    /// Reads rows, and hands on the value of each or that it has none.
    fn each<T: DataType>(
        &mut self,
        reader: &mut ColumnReaderImpl<T>,
        rows: usize,
        mut take: impl FnMut(Option<&T::T>, &mut Values) -> Result<(), String>,
    ) -> Result<(), String> {
        let (mut levels, mut stored) = (Vec::new(), Vec::new());
        let (read, ..) = reader
            .read_records(rows, Some(&mut levels), None, &mut stored)
            .map_err(|error| error.to_string())?;
        if read != rows {
            return Err(format!("{read} values; expected {rows}"));
        }
        if levels.is_empty() {
            return stored
                .iter()
                .try_for_each(|value| take(Some(value), self.values));
        }
        // The column is no part of a nested one: its level is 1 where there is a value.
        let mut stored = stored.iter();
        for level in levels {
            let value = if level > 0 { stored.next() } else { None };
            take(value, self.values)?;
        }
        Ok(())
    }
}

/// Whether no place or length of a row group's columns is negative, on which the reader would panic.
fn is_placed(group: &RowGroupMetaData) -> bool {
    group.columns().iter().all(|column| {
        let start = column.dictionary_page_offset().unwrap_or(0);
        start
            .min(column.data_page_offset())
            .min(column.compressed_size())
            >= 0
    })
}

fn per_ms(unit: TimeUnit) -> f64 {
    match unit {
        TimeUnit::MILLIS => 1.0,
        TimeUnit::MICROS => 1e3,
        TimeUnit::NANOS => 1e6,
    }
}

/// A big-endian number in two's complement.
fn decimal(bytes: &[u8]) -> f64 {
    let Some((first, rest)) = bytes.split_first() else {
        return f64::NAN;
    };
    if bytes.len() <= 16 {
        let start = i128::from(*first as i8);
        return rest
            .iter()
            .fold(start, |sum, it| sum << 8 | i128::from(*it)) as f64;
    }
    let start = f64::from(*first as i8);
    rest.iter()
        .fold(start, |sum, it| sum * 256.0 + f64::from(*it))
}

/// What a reader gives. It may panic on a broken file.
fn guarded<T>(read: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, String> {
    guarded_text(|| read().map_err(|error| error.to_string()))
}

fn guarded_text<T>(read: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    static QUIET: Once = Once::new();
    // What panics here is the file's fault, and told as such: the process says no more.
    QUIET.call_once(|| {
        let told = panic::take_hook();
        panic::set_hook(Box::new(move |about| {
            if !GUARDED.get() {
                told(about);
            }
        }));
    });
    GUARDED.set(true);
    let read = panic::catch_unwind(AssertUnwindSafe(read));
    GUARDED.set(false);
    read.unwrap_or_else(|_| Err("the file is broken".to_string()))
}

#[cfg(test)]
mod tests;
