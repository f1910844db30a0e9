//! Training data in files: which files, their columns, and rows in blocks, file after file and as
//! often as they are wanted. Knows no format and no model.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use indicatif::ProgressBar;
use sha2::{Digest, Sha256};

use super::{csv, parquet};
use crate::config::check::closest;
use crate::tensor::{Cell, Values};

/// The files of a data set, all with the same columns.
#[derive(Debug)]
pub struct Files {
    paths: Vec<PathBuf>,
    /// All together.
    pub bytes: u64,
}

/// A column as a file has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    /// Why it cannot be read; `None` where it can.
    pub refused: Option<String>,
    /// Whether it holds texts; a CSV file does not say.
    pub is_text: Option<bool>,
}

/// A column that is to be read.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Its name in the files.
    pub column: String,
    pub kind: Kind,
}

/// What a column's values mean.
#[derive(Clone, Debug)]
pub enum Kind {
    Number,
    /// Categories that are texts.
    Texts(Texts),
    /// A label: 0, 1, or NaN where there is none. Positive is 1 and true, or this value.
    Label(Option<String>),
}

/// Categories that are texts, and those that a model knows.
#[derive(Clone, Debug, Default)]
pub struct Texts {
    known: HashSet<String>,
    /// Code 0 first; none where the model's categories are not all texts.
    codes: Vec<String>,
    /// Whether a model says which are known: then a number is not a text.
    has_model: bool,
}

/// Some rows, column by column, as they were wanted: texts are [`Values::Cells`], all else
/// [`Values::F64`]. NaN is a missing value.
#[derive(Debug, Default)]
pub struct Block {
    pub rows: usize,
    pub columns: Vec<Values>,
}

/// A file that is being read.
enum Table {
    Csv(csv::Table),
    Parquet(parquet::Table),
}

/// Rows of a block.
pub const ROWS: usize = 1_024;
/// Files of a data set.
const FILES_MAX: usize = 100_000;

impl Files {
    /// Files as they are named; of a folder, those whose names end as data does, in order of name.
    ///
    /// # Errors
    /// When one is none that can be read twice, or a folder holds none.
    pub fn find(given: &[PathBuf]) -> Result<Files, String> {
        let mut found = Files {
            paths: Vec::new(),
            bytes: 0,
        };
        for path in given {
            match path.is_dir() {
                true => found.add_folder(path)?,
                false => found.add(path.clone())?,
            }
        }
        Ok(found)
    }

    fn add(&mut self, path: PathBuf) -> Result<(), String> {
        let about = std::fs::metadata(&path).map_err(|error| at(&path, &error))?;
        if !about.is_file() {
            let expected = "is no regular file; expected one, because it is read twice";
            return Err(at(&path, &expected));
        }
        if self.paths.len() == FILES_MAX {
            return Err(at(&path, &format!("more than {FILES_MAX} files")));
        }
        self.bytes += about.len();
        self.paths.push(path);
        Ok(())
    }

    fn add_folder(&mut self, dir: &Path) -> Result<(), String> {
        let mut inside = Vec::new();
        for entry in std::fs::read_dir(dir).map_err(|error| at(dir, &error))? {
            let entry = entry.map_err(|error| at(dir, &error))?;
            let name = entry.file_name().to_string_lossy().to_lowercase();
            // Spark leaves its own files beside the parts.
            let is_hidden = name.starts_with(['.', '_']);
            let ends = [".parquet", ".csv", ".csv.gz"];
            if !is_hidden && ends.iter().any(|end| name.ends_with(end)) {
                inside.push(entry.path());
            }
        }
        if inside.is_empty() {
            let expected = "no .parquet, .csv or .csv.gz in the folder itself";
            return Err(at(dir, &expected));
        }
        inside.sort();
        inside.into_iter().try_for_each(|path| self.add(path))
    }

    /// For messages.
    pub fn first(&self) -> &Path {
        self.paths.first().map_or(Path::new(""), PathBuf::as_path)
    }

    /// SHA-256 of the files' bytes one after the other, hex: what `cat FILES | sha256sum` prints.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn digest(&self, bar: &ProgressBar) -> Result<String, String> {
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 1 << 20];
        for path in &self.paths {
            let failed = |error| at(path, &error);
            let mut file = File::open(path).map_err(failed)?;
            loop {
                let read = file.read(&mut buffer).map_err(failed)?;
                if read == 0 {
                    break;
                }
                hash.update(buffer.get(..read).unwrap_or_default());
                bar.inc(read as u64);
            }
        }
        let hash = hash.finalize();
        Ok(hash.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// The columns of the first file.
    ///
    /// # Errors
    /// When it cannot be read, or names a column twice.
    pub fn columns(&self) -> Result<Vec<Column>, String> {
        let path = self.first();
        let columns = Table::open(path)?.columns();
        let mut names = HashSet::new();
        match columns.iter().find(|it| !names.insert(&it.name)) {
            Some(twice) => Err(at(
                path,
                &format!("column \"{}\" appears twice", twice.name),
            )),
            None => Ok(columns),
        }
    }

    /// Which of these columns hold a text that is no number, in the rows that will be read.
    ///
    /// # Errors
    /// As [`Files::read`].
    pub fn texts(
        &self,
        columns: &[&str],
        rows_max: u64,
        bar: &ProgressBar,
    ) -> Result<Vec<bool>, String> {
        let wanted: Vec<Wanted> = columns
            .iter()
            .map(|name| Wanted {
                column: (*name).to_string(),
                kind: Kind::Texts(Texts::default()),
            })
            .collect();
        let mut found = vec![false; wanted.len()];
        self.read(&wanted, rows_max, bar, |block| {
            for (found, column) in found.iter_mut().zip(&block.columns) {
                let Values::Cells(cells) = column else {
                    continue;
                };
                let is_text = |cell: &Cell| matches!(cell, Cell::Text(it) if number(it).is_none());
                *found = *found || cells.iter().any(is_text);
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// Reads all rows of some columns, at most `rows_max` of them; `take` is given each block and may
    /// take its values.
    ///
    /// # Errors
    /// When a file lacks a column or holds something else, with its place; or as `take` says.
    pub fn read(
        &self,
        wanted: &[Wanted],
        rows_max: u64,
        bar: &ProgressBar,
        mut take: impl FnMut(&mut Block) -> Result<(), String>,
    ) -> Result<(), String> {
        let mut block = Block::default();
        let (mut rows, mut before) = (0_u64, 0);
        for path in &self.paths {
            let mut table = Table::open(path)?;
            let places = places(path, &table.columns(), wanted)?;
            loop {
                let most = usize::try_from(rows_max - rows).unwrap_or(ROWS).min(ROWS);
                if most == 0 {
                    return Ok(());
                }
                block.clear(wanted);
                table.read(wanted, &places, most, &mut block)?;
                if block.rows == 0 {
                    break;
                }
                rows += block.rows as u64;
                take(&mut block)?;
                bar.set_position(before + table.position());
                bar.set_message(super::super::format::count(rows));
            }
            before += table.size();
        }
        Ok(())
    }
}

impl Table {
    fn open(path: &Path) -> Result<Table, String> {
        let failed = |error| at(path, &error);
        let mut start = Vec::new();
        let file = File::open(path).map_err(failed)?;
        file.take(4).read_to_end(&mut start).map_err(failed)?;
        let named = path
            .extension()
            .is_some_and(|it| it.eq_ignore_ascii_case("parquet"));
        match named || start == b"PAR1" {
            true => parquet::Table::open(path).map(Table::Parquet),
            false => csv::Table::open(path, start.starts_with(&[0x1f, 0x8b])).map(Table::Csv),
        }
    }

    fn columns(&self) -> Vec<Column> {
        match self {
            Table::Csv(table) => table.columns(),
            Table::Parquet(table) => table.columns(),
        }
    }

    fn read(
        &mut self,
        wanted: &[Wanted],
        places: &[usize],
        most: usize,
        block: &mut Block,
    ) -> Result<(), String> {
        match self {
            Table::Csv(table) => table.read(wanted, places, most, block),
            Table::Parquet(table) => table.read(wanted, places, most, block),
        }
    }

    /// Bytes read so far, or the part of the file that they stand for.
    fn position(&self) -> u64 {
        match self {
            Table::Csv(table) => table.position(),
            Table::Parquet(table) => table.position(),
        }
    }

    fn size(&self) -> u64 {
        match self {
            Table::Csv(table) => table.size,
            Table::Parquet(table) => table.size,
        }
    }
}

impl Kind {
    /// What a text in a file means. Nothing, `NA`, `NaN` and `null` are missing.
    ///
    /// # Errors
    /// What was expected.
    pub fn text(&self, text: &str) -> Result<Cell, String> {
        match self {
            Kind::Texts(texts) => Ok(texts.text(text)),
            Kind::Label(_) if is_missing(text) => Ok(Cell::Number(f64::NAN)),
            Kind::Label(Some(positive)) => {
                // 1, 1.0 and true are one value, as a Parquet file has it.
                let numbers = number(text).zip(number(positive));
                let is_positive = text == positive || numbers.is_some_and(|(a, b)| a == b);
                Ok(Cell::Number(f64::from(u8::from(is_positive))))
            }
            Kind::Label(None) => label(text).map(Cell::Number),
            Kind::Number => match number(text) {
                Some(number) => Ok(Cell::Number(number)),
                None => Err(format!("expected a number, got \"{}\"", shown(text))),
            },
        }
    }

    /// What a number in a file means; NaN is missing.
    ///
    /// # Errors
    /// What was expected.
    pub fn number(&self, number: f64) -> Result<Cell, String> {
        match self {
            Kind::Texts(texts) => Ok(texts.code(number)),
            Kind::Label(_) if !number.is_nan() => self.text(&number.to_string()),
            _ => Ok(Cell::Number(number)),
        }
    }
}

impl Texts {
    /// Of a model that knows these categories, of which `texts` are texts.
    pub fn new(texts: Vec<String>, categories: usize) -> Texts {
        Texts {
            known: texts.iter().cloned().collect(),
            codes: if texts.len() == categories {
                texts
            } else {
                Vec::new()
            },
            has_model: true,
        }
    }

    /// A name, or one's code, as clients write it.
    fn text(&self, text: &str) -> Cell {
        if self.known.contains(text) {
            return Cell::Text(text.to_string());
        }
        if is_missing(text) {
            return Cell::Number(f64::NAN);
        }
        match text.parse() {
            Ok(code) if self.has_model => self.code(code),
            _ => Cell::Text(text.to_string()),
        }
    }

    fn code(&self, code: f64) -> Cell {
        let is_code = code >= 0.0 && code.fract() == 0.0;
        match self.codes.get(code as usize) {
            Some(name) if is_code => Cell::Text(name.clone()),
            _ if self.has_model || code.is_nan() => Cell::Number(code),
            _ => Cell::Text(code.to_string()),
        }
    }
}

impl Block {
    fn clear(&mut self, wanted: &[Wanted]) {
        self.rows = 0;
        self.columns.resize(wanted.len(), Values::F64(Vec::new()));
        for (column, wanted) in self.columns.iter_mut().zip(wanted) {
            match (&wanted.kind, column) {
                (Kind::Texts(_), Values::Cells(cells)) => cells.clear(),
                (Kind::Texts(_), column) => *column = Values::Cells(Vec::with_capacity(ROWS)),
                (_, Values::F64(numbers)) => numbers.clear(),
                (_, column) => *column = Values::F64(Vec::with_capacity(ROWS)),
            }
        }
    }
}

/// Appends a value to a column of a block.
pub fn push(column: &mut Values, cell: Cell) {
    match (column, cell) {
        (Values::Cells(cells), cell) => cells.push(cell),
        (Values::F64(numbers), Cell::Number(number)) => numbers.push(number),
        // No kind but texts gives a text.
        (Values::F64(numbers), Cell::Text(_)) => numbers.push(f64::NAN),
        (Values::F32(_), _) => {}
    }
}

/// The number that a text is: NaN where it stands for nothing, 1 and 0 for true and false.
pub fn number(text: &str) -> Option<f64> {
    match text.parse() {
        Ok(number) => Some(number),
        Err(_) if is_missing(text) => Some(f64::NAN),
        Err(_) if text.eq_ignore_ascii_case("true") => Some(1.0),
        Err(_) if text.eq_ignore_ascii_case("false") => Some(0.0),
        Err(_) => None,
    }
}

/// A message with the file that it is about.
pub fn at(path: &Path, reason: &dyn std::fmt::Display) -> String {
    format!("{}: {reason}", path.display())
}

/// The complaint that there is no such column, with the name that was probably meant.
pub fn no_column(path: &Path, name: &str, what: &str, columns: &[Column]) -> String {
    let names: Vec<&str> = columns.iter().map(|it| it.name.as_str()).collect();
    let hint = match closest(name, &names) {
        Some(meant) => format!("did you mean \"{meant}\"?"),
        None => {
            let more = if names.len() > 12 { ", …" } else { "" };
            let listed: Vec<&str> = names.into_iter().take(12).collect();
            format!("it has {}{more}", listed.join(", "))
        }
    };
    at(path, &format!("no column \"{name}\", {what}; {hint}"))
}

/// The first characters of a text, for messages.
fn shown(text: &str) -> String {
    super::super::format::cut(text, 40)
}

fn is_missing(text: &str) -> bool {
    matches!(text, "" | "NA")
        || text.eq_ignore_ascii_case("nan")
        || text.eq_ignore_ascii_case("null")
}

fn label(text: &str) -> Result<f64, String> {
    let lower = text.to_ascii_lowercase();
    match (lower.as_str(), text.parse::<f64>()) {
        ("true" | "yes", _) => Ok(1.0),
        ("false" | "no", _) => Ok(0.0),
        (_, Ok(number)) if number == 0.0 || number == 1.0 => Ok(number),
        _ => Err(format!(
            "expected a label of 0 or 1, got \"{}\"; --positive names the positive one",
            shown(text)
        )),
    }
}

fn places(path: &Path, columns: &[Column], wanted: &[Wanted]) -> Result<Vec<usize>, String> {
    let known: HashMap<&str, usize> = columns
        .iter()
        .enumerate()
        .map(|(place, column)| (column.name.as_str(), place))
        .collect();
    let mut places = Vec::with_capacity(wanted.len());
    for Wanted { column, .. } in wanted {
        let place = known.get(column.as_str()).copied();
        let place = place.ok_or_else(|| no_column(path, column, "which is wanted", columns))?;
        if let Some(reason) = columns.get(place).and_then(|it| it.refused.as_ref()) {
            return Err(at(path, &format!("column \"{column}\": {reason}")));
        }
        places.push(place);
    }
    Ok(places)
}
