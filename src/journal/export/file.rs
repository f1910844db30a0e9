//! One Parquet file: rows are gathered by column and written as row groups; the file gets its name
//! when it is complete and on the disk. A file that is dropped before leaves nothing.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::Type;

use super::Failure;
use super::columns::Schema;
use super::names;
use super::rows::Row;
use super::table::{self, Column, Common};

/// Rows of a row group, and bytes in memory after which it ends all the same.
const GROUP_ROWS: usize = 65_536;
const GROUP_BYTES: usize = 8 << 20;

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

impl File {
    /// Begins the file that is to be at `path`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn create(path: PathBuf, schema: Schema) -> Result<File, Failure> {
        let columns = table::columns(&schema);
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
        let values = table::values(&self.schema, row, common);
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
        column.write(&mut writer)?;
        writer.close()?;
    }
    group.close()?;
    Ok(())
}

fn failure(path: &Path, error: &ParquetError) -> Failure {
    Failure(format!("{}: {error}", path.display()))
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    Failure(format!("{}: {error}", path.display()))
}
