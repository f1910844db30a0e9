//! Reads values from the file, the environment and the flags, and remembers where each one stood.
//! Knows which keys there are, not what they mean.
//!
//! A variable is `HEDGEROW__SECTION__KEY` or `HEDGEROW__SLOTS__NAME__SECTION__KEY`; sections and
//! keys are read without regard to case. A slot's NAME stands for the slot of the file that differs
//! from it in case at the most; where the file has none, it is taken in lower case, or as it is
//! written when it has a lower-case letter.

use std::collections::BTreeSet;
use std::ops::{Range, RangeInclusive};
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{self, Key, SLOTS};
use super::{Config, Flag, Place, Problem};

/// A value for a key.
pub struct Entry {
    pub key: &'static Key,
    /// For a key of one slot: its name.
    pub slot: Option<String>,
    pub place: Place,
    pub value: Value,
}

/// A value as it was written.
pub enum Value {
    Integer(i128),
    Float(f64),
    Bool(bool),
    Text(String),
    /// Texts.
    List(Vec<String>),
    /// From the environment or a flag: whatever the key makes of it.
    Word(String),
    /// Something that no key takes, e.g. `an array`.
    Other(&'static str),
}

/// A century: far from where a clock overflows.
const TIME_MS_MAX: u64 = 100 * 366 * 86_400_000;

const PREFIX: &str = "HEDGEROW__";

/// Variables by which a platform says the port of HTTP: SageMaker and Vertex AI.
const PORTS: [&str; 2] = ["SAGEMAKER_BIND_TO_PORT", "AIP_HTTP_PORT"];

/// A file while it is read.
struct File<'a> {
    path: &'a Path,
    text: &'a str,
    entries: Vec<Entry>,
    problems: Vec<Problem>,
}

impl Entry {
    /// Stores the value.
    ///
    /// # Errors
    /// What was expected.
    pub fn apply(&self, config: &mut Config) -> Result<(), String> {
        self.key.apply(config, self.slot.as_deref(), &self.value)
    }

    /// A reason, with the key's name where the place does not show it.
    pub fn message(&self, reason: &str) -> String {
        match (&self.place, &self.slot) {
            (Place::File { .. }, Some(slot)) => {
                format!("{SLOTS}.{slot}.{}: {reason}", self.key.path())
            }
            (Place::File { .. }, None) => format!("{}: {reason}", self.key.path()),
            _ => reason.to_string(),
        }
    }
}

impl Value {
    /// The value as a whole number in the range.
    pub fn count(&self, range: &RangeInclusive<u64>) -> Result<u64, String> {
        let expected = format!(
            "expected a whole number from {} to {}",
            range.start(),
            range.end()
        );
        let number = match self {
            Value::Integer(number) => Some(*number),
            Value::Word(word) => word.replace('_', "").parse().ok(),
            _ => None,
        };
        let Some(number) = number else {
            return Err(format!("{expected}, got {}", self.described()));
        };
        u64::try_from(number)
            .ok()
            .filter(|number| range.contains(number))
            .ok_or_else(|| format!("{expected}, got {number}"))
    }

    /// The value as a number in the range.
    pub fn number(&self, range: &RangeInclusive<f64>) -> Result<f64, String> {
        let expected = format!(
            "expected a number from {} to {}",
            range.start(),
            range.end()
        );
        let number = match self {
            Value::Integer(number) => Some(*number as f64),
            Value::Float(number) => Some(*number),
            Value::Word(word) => word.parse().ok(),
            _ => None,
        };
        let Some(number) = number else {
            return Err(format!("{expected}, got {}", self.described()));
        };
        match range.contains(&number) {
            true => Ok(number),
            false => Err(format!("{expected}, got {number}")),
        }
    }

    /// The value as a time such as "45d", in milliseconds.
    pub fn time_ms(&self) -> Result<u64, String> {
        const UNITS: [(&str, u64); 5] = [
            ("ms", 1),
            ("s", 1_000),
            ("m", 60_000),
            ("h", 3_600_000),
            ("d", 86_400_000),
        ];
        let expected = "expected a time such as \"90s\", \"6h\" or \"45d\"";
        let text = match self {
            Value::Text(text) | Value::Word(text) => text.trim(),
            _ => return Err(format!("{expected}, got {}", self.described())),
        };
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit = &text[digits.len()..];
        let factor = UNITS.iter().find(|(name, _)| *name == unit);
        let number: Option<u64> = digits.trim().parse().ok();
        number
            .zip(factor)
            .and_then(|(number, (_, factor))| number.checked_mul(*factor))
            .filter(|ms| *ms <= TIME_MS_MAX)
            .ok_or_else(|| format!("{expected}, got {}", self.described()))
    }

    /// The value as a list of texts; in the environment they are separated by commas.
    pub fn list(&self) -> Result<Vec<String>, String> {
        match self {
            Value::List(list) => Ok(list.clone()),
            Value::Word(word) => Ok(word
                .split(',')
                .map(str::trim)
                .filter(|it| !it.is_empty())
                .map(str::to_string)
                .collect()),
            _ => Err(format!(
                "expected a list of texts in quotes, got {}",
                self.described()
            )),
        }
    }

    /// The value as `true` or `false`.
    pub fn bool(&self) -> Result<bool, String> {
        match self {
            Value::Bool(value) => Ok(*value),
            Value::Word(word) if word == "true" => Ok(true),
            Value::Word(word) if word == "false" => Ok(false),
            _ => Err(format!("expected true or false, got {}", self.described())),
        }
    }

    /// The value as text.
    pub fn text(&self) -> Result<&str, String> {
        match self {
            Value::Text(text) | Value::Word(text) => Ok(text),
            _ => Err(format!(
                "expected a text in quotes, got {}",
                self.described()
            )),
        }
    }

    fn described(&self) -> String {
        match self {
            Value::Integer(number) => number.to_string(),
            Value::Float(number) => number.to_string(),
            Value::List(_) => "a list".to_string(),
            Value::Bool(value) => value.to_string(),
            Value::Text(text) => format!("the text \"{text}\""),
            Value::Word(word) => format!("\"{word}\""),
            Value::Other(what) => (*what).to_string(),
        }
    }
}

/// The text of a file.
pub fn read(path: &Path) -> Result<String, Problem> {
    let whole = |message: String| Problem {
        place: Place::Whole(path.to_path_buf()),
        message,
    };
    let bytes = std::fs::read(path).map_err(|error| whole(format!("cannot be read: {error}")))?;
    String::from_utf8(bytes).map_err(|_| whole("is not UTF-8 text".to_string()))
}

/// The values of a file. What is not a value of a known key becomes a problem.
pub fn from_file(path: &Path, text: &str, problems: &mut Vec<Problem>) -> Vec<Entry> {
    let mut file = File {
        path,
        text,
        entries: Vec::new(),
        problems: Vec::new(),
    };
    let (root, errors) = DeTable::parse_recoverable(text);
    file.root(root.get_ref());
    if errors.is_empty() {
        problems.append(&mut file.problems);
        return file.entries;
    }
    // What was read from a broken line is a guess of the parser's: not worth a message.
    let syntax: Vec<Problem> = errors
        .iter()
        .map(|error| file.problem(error.span().unwrap_or(0..0), error.message().to_string()))
        .collect();
    let broken: BTreeSet<usize> = syntax.iter().filter_map(|it| it.place.line()).collect();
    let sound = |place: &Place| place.line().is_none_or(|line| !broken.contains(&line));
    problems.extend(file.problems.into_iter().filter(|it| sound(&it.place)));
    problems.extend(syntax);
    file.entries.retain(|entry| sound(&entry.place));
    file.entries
}

impl File<'_> {
    fn root(&mut self, root: &DeTable<'_>) {
        for (name, value) in root {
            match (name.get_ref().as_ref(), value.get_ref()) {
                (SLOTS, DeValue::Table(slots)) => self.slots(slots),
                (section, DeValue::Table(table)) if keys::sections(false).contains(&section) => {
                    self.section(None, section, table);
                }
                (section, _) if keys::sections(false).contains(&section) => self.not_a_table(value),
                (section, _) => self.refuse(name.span(), keys::unknown_section(None, section)),
            }
        }
    }

    fn slots(&mut self, slots: &DeTable<'_>) {
        for (slot, sections) in slots {
            let DeValue::Table(sections) = sections.get_ref() else {
                self.not_a_table(sections);
                continue;
            };
            let slot = slot.get_ref().as_ref();
            for (name, value) in sections {
                let section = name.get_ref().as_ref();
                let known = keys::sections(true).contains(&section);
                match value.get_ref() {
                    DeValue::Table(table) if known => self.section(Some(slot), section, table),
                    _ if known => self.not_a_table(value),
                    _ => self.refuse(name.span(), keys::unknown_section(Some(slot), section)),
                }
            }
        }
    }

    fn section(&mut self, slot: Option<&str>, section: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            match keys::find(slot, section, name.get_ref()) {
                Ok(key) => self.entries.push(Entry {
                    key,
                    slot: slot.map(str::to_string),
                    place: self.place(value.span()),
                    value: decoded(value.get_ref()),
                }),
                Err(message) => self.refuse(name.span(), message),
            }
        }
    }

    fn not_a_table(&mut self, value: &Spanned<DeValue<'_>>) {
        let message = format!(
            "expected a section with keys, got {}",
            decoded(value.get_ref()).described()
        );
        self.refuse(value.span(), message);
    }

    fn refuse(&mut self, span: Range<usize>, message: String) {
        let problem = self.problem(span, message);
        self.problems.push(problem);
    }

    fn problem(&self, span: Range<usize>, message: String) -> Problem {
        Problem {
            place: self.place(span),
            message,
        }
    }

    fn place(&self, span: Range<usize>) -> Place {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Place::File {
            path: self.path.to_path_buf(),
            line: 1 + before.matches('\n').count(),
            column: 1 + before[line_start..].chars().count(),
        }
    }
}

fn decoded(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::Integer(number) => i128::from_str_radix(number.as_str(), number.radix())
            .map_or(Value::Other("a number that is too large"), Value::Integer),
        DeValue::Boolean(value) => Value::Bool(*value),
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Float(number) => number
            .as_str()
            .replace('_', "")
            .parse()
            .map_or(Value::Other("a number that cannot be read"), Value::Float),
        DeValue::Datetime(_) => Value::Other("a date"),
        DeValue::Array(items) => {
            let texts = items.iter().map(|item| match item.get_ref() {
                DeValue::String(text) => Some(text.to_string()),
                _ => None,
            });
            texts
                .collect::<Option<Vec<String>>>()
                .map_or(Value::Other("a list of other things"), Value::List)
        }
        DeValue::Table(_) => Value::Other("a section"),
    }
}

/// The variables of the environment that are ours, by name.
pub fn variables() -> Vec<(String, String)> {
    // A name or value that is not UTF-8 keeps its place with a replacement character, and is
    // refused there.
    std::env::vars_os()
        .map(|(name, value)| {
            let lossy = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
            (lossy(name), lossy(value))
        })
        .collect()
}

/// The port of HTTP, where a platform says it.
pub fn from_platforms(variables: &[(String, String)]) -> Vec<Entry> {
    let ports = variables
        .iter()
        .filter(|(name, _)| PORTS.contains(&name.as_str()));
    let entry = |(name, port): &(String, String)| {
        Some(Entry {
            key: keys::find(None, "server", "http").ok()?,
            slot: None,
            place: Place::Variable(name.clone()),
            value: Value::Word(format!("0.0.0.0:{port}")),
        })
    };
    ports.filter_map(entry).collect()
}

/// The values of variables. `of_file` says which slots the file has.
pub fn from_variables(
    mut variables: Vec<(String, String)>,
    of_file: &[Entry],
    problems: &mut Vec<Problem>,
) -> Vec<Entry> {
    let slots: BTreeSet<&str> = of_file
        .iter()
        .filter_map(|entry| entry.slot.as_deref())
        .collect();
    variables.retain(|(name, _)| name.starts_with(PREFIX));
    variables.sort();
    let mut entries = Vec::new();
    for (name, value) in variables {
        let place = Place::Variable(name.clone());
        match variable(&name, &slots) {
            Ok((key, slot)) => entries.push(Entry {
                key,
                slot,
                place,
                value: Value::Word(value),
            }),
            Err(message) => problems.push(Problem { place, message }),
        }
    }
    entries
}

fn variable(name: &str, slots: &BTreeSet<&str>) -> Result<(&'static Key, Option<String>), String> {
    let path = name.strip_prefix(PREFIX).unwrap_or(name);
    let parts: Vec<&str> = path.split("__").collect();
    let lower = |part: &str| part.to_ascii_lowercase();
    match parts.as_slice() {
        // A slot's own name may have two underscores in it.
        [first, slot @ .., section, key] if lower(first) == SLOTS && !slot.is_empty() => {
            let slot = slot_name(&slot.join("__"), slots)?;
            let key = keys::find(Some(&slot), &lower(section), &lower(key))?;
            Ok((key, Some(slot)))
        }
        [section, key] if lower(section) != SLOTS => {
            Ok((keys::find(None, &lower(section), &lower(key))?, None))
        }
        _ => Err(format!(
            "expected {PREFIX}SECTION__KEY or {PREFIX}SLOTS__NAME__SECTION__KEY"
        )),
    }
}

fn slot_name(name: &str, slots: &BTreeSet<&str>) -> Result<String, String> {
    if slots.contains(name) {
        return Ok(name.to_string());
    }
    let alike: Vec<&str> = slots
        .iter()
        .copied()
        .filter(|slot| slot.eq_ignore_ascii_case(name))
        .collect();
    match alike.as_slice() {
        [] if name.chars().any(|c| c.is_ascii_lowercase()) => Ok(name.to_string()),
        [] => Ok(name.to_ascii_lowercase()),
        [slot] => Ok((*slot).to_string()),
        [one, two, ..] => Err(format!(
            "\"{name}\" may be slot \"{one}\" or slot \"{two}\" of the file; write it as it is there"
        )),
    }
}

/// The values of flags.
pub fn from_flags(flags: &[Flag], problems: &mut Vec<Problem>) -> Vec<Entry> {
    let mut entries = Vec::new();
    for flag in flags {
        let place = Place::Flag(flag.name);
        match keys::find(None, flag.section, flag.key) {
            Ok(key) => entries.push(Entry {
                key,
                slot: None,
                place,
                value: Value::Word(flag.value.clone()),
            }),
            Err(message) => problems.push(Problem { place, message }),
        }
    }
    entries
}
