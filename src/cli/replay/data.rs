//! Labelled history in a CSV file: its header, its lines in blocks, and what a label or a time in it
//! says. Every complaint names the file and the line. Knows no model.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use csv::StringRecord;

use crate::rollout::reading;
use crate::rollout::score::Task;

/// A CSV file that is being read.
#[derive(Debug)]
pub struct Table {
    path: PathBuf,
    reader: csv::Reader<File>,
    header: Vec<String>,
    bytes: u64,
}

/// One line of values.
#[derive(Debug)]
pub struct Line {
    /// As an editor counts it, the header is 1; behind empty lines, the first of those.
    pub number: u64,
    pub fields: StringRecord,
}

/// How labels are written.
#[derive(Debug)]
pub struct Labels {
    task: Task,
    classes: usize,
    /// Names of classes, to their numbers.
    names: HashMap<String, f64>,
}

impl Table {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    /// When it cannot be read, is empty, or names a column twice.
    pub fn open(path: &Path) -> Result<Table, String> {
        let failed = |error: std::io::Error| format!("{}: {error}", path.display());
        let file = File::open(path).map_err(failed)?;
        let about = file.metadata().map_err(failed)?;
        if about.is_dir() {
            return Err(format!(
                "{}: is a folder; expected a CSV file",
                path.display()
            ));
        }
        let mut reader = csv::ReaderBuilder::new()
            .flexible(true)
            .trim(csv::Trim::All)
            .from_reader(file);
        let header = reader.headers().map_err(|error| failure(path, &error))?;
        let table = Table {
            path: path.to_path_buf(),
            header: header.iter().map(str::to_string).collect(),
            bytes: about.len(),
            reader,
        };
        if table.header.iter().all(String::is_empty) {
            return Err(format!(
                "{}: no header; expected names of columns",
                path.display()
            ));
        }
        for (position, name) in table.header.iter().enumerate() {
            if table.header[..position].contains(name) {
                return Err(format!(
                    "{}:1: column \"{name}\" appears twice",
                    path.display()
                ));
            }
        }
        Ok(table)
    }

    /// The names of the columns.
    pub fn header(&self) -> &[String] {
        &self.header
    }

    /// The file's size in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes read so far.
    pub fn position(&self) -> u64 {
        self.reader.position().byte()
    }

    /// The place of a column.
    ///
    /// # Errors
    /// When there is none of this name; `what` says what it is for.
    pub fn column(&self, name: &str, what: &str) -> Result<usize, String> {
        let found = self.header.iter().position(|it| it == name);
        found.ok_or_else(|| {
            let path = self.path.display();
            format!(
                "{path}: no column \"{name}\", {what}; it has {}",
                self.listed()
            )
        })
    }

    /// Reads the next lines, at most `most`; none at the end.
    ///
    /// # Errors
    /// When a line cannot be read or has another number of fields than the header.
    pub fn read(&mut self, most: usize) -> Result<Vec<Line>, String> {
        let mut lines = Vec::with_capacity(most);
        while lines.len() < most {
            let mut fields = StringRecord::new();
            match self.reader.read_record(&mut fields) {
                Ok(false) => break,
                Ok(true) => {}
                Err(error) => return Err(failure(&self.path, &error)),
            }
            let number = fields.position().map_or(0, csv::Position::line);
            let line = Line { number, fields };
            let (got, expected) = (line.fields.len(), self.header.len());
            if got != expected {
                let reason = format!("{got} fields; expected {expected}, as in the header");
                return Err(self.complaint(&line, &reason));
            }
            lines.push(line);
        }
        Ok(lines)
    }

    /// A complaint about a line: `file:line: reason`.
    pub fn complaint(&self, line: &Line, reason: &str) -> String {
        format!("{}:{}: {reason}", self.path.display(), line.number)
    }

    /// The names of the columns, the first ones of many.
    fn listed(&self) -> String {
        const SHOWN: usize = 12;
        let mut names = self.header[..self.header.len().min(SHOWN)].join(", ");
        if self.header.len() > SHOWN {
            names.push_str(", …");
        }
        names
    }
}

impl Labels {
    /// Labels of a task with this many classes, whose names may stand for their numbers.
    pub fn new(task: Task, classes: usize, names: &[String]) -> Labels {
        let named = match task {
            Task::Regression => &[],
            _ => names,
        };
        let numbered = named.iter().enumerate();
        Labels {
            task,
            classes,
            names: numbered
                .map(|(class, name)| (name.clone(), class as f64))
                .collect(),
        }
    }

    /// What a label says: a name of a class, a number, or `true`, `false`, `yes` or `no` of a binary
    /// one.
    ///
    /// # Errors
    /// What was expected.
    pub fn read(&self, text: &str) -> Result<f64, String> {
        let number = match text {
            _ if self.names.contains_key(text) => self.names.get(text).copied(),
            _ => text.parse().ok().or_else(|| self.boolean(text)),
        };
        let fits = |label: &f64| {
            reading::values(&self.task, self.classes)
                .check(*label)
                .is_ok()
        };
        number.filter(fits).ok_or_else(|| {
            let got = match text.is_empty() {
                true => "nothing".to_string(),
                false => format!("\"{text}\""),
            };
            format!("expected {}, got {got}", self.expected())
        })
    }

    /// `true`, `false`, `yes` and `no` of a binary task, in any case.
    fn boolean(&self, text: &str) -> Option<f64> {
        if !matches!(self.task, Task::Binary { .. }) {
            return None;
        }
        match text.to_ascii_lowercase().as_str() {
            "true" | "yes" => Some(1.0),
            "false" | "no" => Some(0.0),
            _ => None,
        }
    }

    fn expected(&self) -> String {
        let mut names: Vec<(&String, &f64)> = self.names.iter().collect();
        names.sort_by(|a, b| a.1.total_cmp(b.1));
        let names: Vec<String> = names
            .iter()
            .map(|(name, _)| format!("\"{name}\""))
            .collect();
        let or = match names.is_empty() {
            true => String::new(),
            false => format!(", or {}", names.join(", ")),
        };
        match self.task {
            Task::Binary { .. } => format!("0 or 1{or}"),
            Task::Multiclass => format!("a class from 0 to {}{or}", self.classes.saturating_sub(1)),
            Task::Regression => "a number".to_string(),
        }
    }
}

fn failure(path: &Path, error: &csv::Error) -> String {
    let path = path.display();
    let line = error.position().map(csv::Position::line);
    let place = line.map_or(String::new(), |line| format!(":{line}"));
    match error.kind() {
        csv::ErrorKind::Io(error) => format!("{path}: {error}"),
        csv::ErrorKind::Utf8 { .. } => format!("{path}{place}: not UTF-8"),
        _ => format!("{path}{place}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> Result<Table, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("d.csv");
        std::fs::write(&path, text).unwrap();
        Table::open(&path).map_err(|error| error.replace(&path.display().to_string(), "d.csv"))
    }

    #[test]
    fn lines_come_in_blocks_and_know_their_numbers() {
        let mut table = table("a,b\n1, x \n\"2\ny\",3\n\n4,5\n").unwrap();
        let first = table.read(2).unwrap();
        assert_eq!(first[0].fields, vec!["1", "x"]);
        assert_eq!((first.len(), first[1].number), (2, 3));
        let rest = table.read(2).unwrap();
        assert_eq!((rest.len(), rest[0].number), (1, 5));
        assert!(table.read(2).unwrap().is_empty());
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_with_its_place() {
        assert!(table("").unwrap_err().contains("no header"));
        let error = table("a,b,a\n").unwrap_err();
        assert_eq!(error, "d.csv:1: column \"a\" appears twice");
        let mut short = table("a,b\n1,2\n3\n").unwrap();
        let error = short.read(9).unwrap_err();
        assert!(
            error.ends_with(":3: 1 fields; expected 2, as in the header"),
            "{error}"
        );
        let error = short.column("c", "the label").unwrap_err();
        assert!(
            error.ends_with("no column \"c\", the label; it has a, b"),
            "{error}"
        );
        let missing = Table::open(Path::new("missing.csv")).unwrap_err();
        assert!(missing.starts_with("missing.csv: "), "{missing}");
    }

    #[test]
    fn labels_are_names_booleans_or_numbers() {
        let names = ["stays".to_string(), "leaves".to_string()];
        let binary = Labels::new(Task::Binary { threshold: 0.5 }, 1, &names);
        for (text, label) in [("leaves", 1.0), ("False", 0.0), ("Yes", 1.0), ("1.0", 1.0)] {
            assert_eq!(binary.read(text), Ok(label), "{text}");
        }
        let expected = "expected 0 or 1, or \"stays\", \"leaves\", got";
        assert_eq!(binary.read("2"), Err(format!("{expected} \"2\"")));
        assert_eq!(binary.read(""), Err(format!("{expected} nothing")));
        let classes = Labels::new(Task::Multiclass, 3, &[]);
        assert_eq!(classes.read("2"), Ok(2.0));
        assert!(
            classes
                .read("3")
                .unwrap_err()
                .starts_with("expected a class from 0 to 2")
        );
        assert!(classes.read("true").is_err());
        let number = Labels::new(Task::Regression, 1, &[]);
        assert_eq!(number.read("-1.5"), Ok(-1.5));
        assert_eq!(
            number.read("NaN"),
            Err("expected a number, got \"NaN\"".to_string())
        );
    }
}
