//! Rows of a CSV file, also a compressed one. Every complaint names the file and the line.

use std::cell::Cell as Shared;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use csv::{Position, Reader, ReaderBuilder, StringRecord, Trim};
use flate2::read::MultiGzDecoder;

use super::data::{self, Block, Column, Kind, Wanted};
use crate::tensor::Values;

/// A CSV file that is being read.
pub struct Table {
    path: PathBuf,
    /// In bytes.
    pub size: u64,
    reader: Reader<Counted<Box<dyn Read>>>,
    header: Vec<String>,
    record: StringRecord,
    /// Bytes of the file that were read.
    position: Rc<Shared<u64>>,
    /// Bytes of text that were read since the last line.
    pending: Rc<Shared<u64>>,
}

/// Counts what is read, and fails when that is too much.
struct Counted<R> {
    inner: R,
    count: Rc<Shared<u64>>,
    most: u64,
}

/// Bytes of a line: a quote that is never closed must not read the whole file into memory.
const LINE_MAX: u64 = 16 << 20;

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.count.get() > self.most {
            let limit = self.most >> 20;
            return Err(io::Error::other(format!(
                "a line of more than {limit} MiB; is there a quote that is never closed?"
            )));
        }
        let read = self.inner.read(buffer)?;
        self.count.set(self.count.get() + read as u64);
        Ok(read)
    }
}

impl Table {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    /// When it cannot be read or is empty.
    pub fn open(path: &Path, is_compressed: bool) -> Result<Table, String> {
        let file = File::open(path).map_err(|error| data::at(path, &error))?;
        let size = file.metadata().map_or(0, |about| about.len());
        let [position, pending] = [Rc::default(), Rc::default()];
        let file = Counted {
            inner: file,
            count: Rc::clone(&position),
            most: u64::MAX,
        };
        let text: Box<dyn Read> = match is_compressed {
            true => Box::new(MultiGzDecoder::new(BufReader::new(file))),
            false => Box::new(file),
        };
        let mut reader = ReaderBuilder::new()
            .flexible(true)
            .trim(Trim::All)
            .buffer_capacity(64 << 10)
            .from_reader(Counted {
                inner: text,
                count: Rc::clone(&pending),
                most: LINE_MAX,
            });
        let header = reader.headers().map_err(|error| failure(path, &error))?;
        let header: Vec<String> = header.iter().map(str::to_string).collect();
        if header.iter().all(String::is_empty) {
            return Err(data::at(path, &"no header; expected names of columns"));
        }
        Ok(Table {
            path: path.to_path_buf(),
            size,
            reader,
            header,
            record: StringRecord::new(),
            position,
            pending,
        })
    }

    /// What the header names.
    pub fn columns(&self) -> Vec<Column> {
        let names = self.header.iter();
        names
            .map(|name| Column {
                name: name.clone(),
                refused: None,
                is_text: None,
            })
            .collect()
    }

    /// Bytes of the file that were read.
    pub fn position(&self) -> u64 {
        self.position.get()
    }

    /// Reads the next rows, at most `most`; none at the end.
    ///
    /// # Errors
    /// When a line cannot be read, has another number of fields than the header, or a field of it is
    /// not what its column holds.
    pub fn read(
        &mut self,
        wanted: &[Wanted],
        places: &[usize],
        most: usize,
        block: &mut Block,
    ) -> Result<(), String> {
        while block.rows < most {
            let read = self.reader.read_record(&mut self.record);
            if !read.map_err(|error| failure(&self.path, &error))? {
                break;
            }
            self.pending.set(0);
            let (got, expected) = (self.record.len(), self.header.len());
            if got != expected {
                let reason = format!("{got} fields; expected {expected}, as in the header");
                return Err(self.complaint(&reason));
            }
            let places = wanted.iter().zip(places).zip(&mut block.columns);
            for ((wanted, place), column) in places {
                let text = self.record.get(*place).unwrap_or_default();
                if let (Kind::Number, Values::F64(numbers), Ok(number)) =
                    (&wanted.kind, &mut *column, text.parse())
                {
                    numbers.push(number);
                    continue;
                }
                let cell = wanted.kind.text(text);
                let cell = cell.map_err(|reason| {
                    self.complaint(&format!("column \"{}\": {reason}", wanted.column))
                })?;
                data::push(column, cell);
            }
            block.rows += 1;
        }
        Ok(())
    }

    fn complaint(&self, reason: &str) -> String {
        let line = self.record.position().map_or(0, Position::line);
        format!("{}:{line}: {reason}", self.path.display())
    }
}

fn failure(path: &Path, error: &csv::Error) -> String {
    let path = path.display();
    let line = error.position().map(Position::line);
    let place = line.map_or(String::new(), |line| format!(":{line}"));
    match error.kind() {
        csv::ErrorKind::Io(error) => format!("{path}: {error}"),
        csv::ErrorKind::Utf8 { .. } => format!("{path}{place}: not UTF-8"),
        _ => format!("{path}{place}: {error}"),
    }
}
