//! What a recorded row's features are, and which columns rows have. Features are kept as JSON by
//! name: numbers, texts for categories, null for what is missing, and `inf` and `-inf` for numbers
//! that JSON does not have. So one row alone may leave open whether a column is one of numbers.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

use super::rows::Row;

/// The value of a feature that is not missing.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[serde(untagged)]
pub enum Cell {
    Number(f64),
    Text(String),
}

/// A row's features by name, in the signature's order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Features(pub Vec<(String, Option<Cell>)>);

/// What a column's values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Number,
    Text,
}

/// The columns that differ from file to file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schema {
    /// Features by name.
    pub features: Vec<(String, Kind)>,
    /// Scores of a row; 1 for a binary model or a regression.
    pub classes: usize,
}

/// The names of the columns that every file has, before and after those of the features.
pub const BEFORE: [&str; 6] = [
    "prediction_id",
    "ts",
    "model",
    "version",
    "slot",
    "revision_mark",
];
pub const AFTER: [&str; 4] = ["prediction", "prediction_label", "target", "label_ts"];

impl Schema {
    /// The columns of a row. What its own values leave open, later rows of the same revision say, or
    /// else what was `known` before.
    pub fn of(row: &Row, later: &[Row], known: &[&Schema]) -> Schema {
        let same = later.iter().filter(|it| it.digest == row.digest);
        let alike: Vec<&Row> = std::iter::once(row).chain(same).collect();
        let features = row.features.0.iter().enumerate().map(|(place, (name, _))| {
            let kinds = alike.iter().map(|it| it.features.0.get(place));
            let kind = kinds
                .filter_map(|found| kind(found.filter(|(it, _)| it == name)?.1.as_ref()?))
                .next();
            let earlier = || known.iter().rev().find_map(|schema| schema.kind(name));
            let kind = kind.or_else(earlier).unwrap_or(Kind::Number);
            (name.clone(), kind)
        });
        Schema {
            features: features.collect(),
            classes: row.scores.len(),
        }
    }

    /// Whether a row has these columns.
    pub fn fits(&self, row: &Row) -> bool {
        let cells = &row.features.0;
        let alike = |((name, column), (own, cell)): (&(String, Kind), &(String, Option<Cell>))| {
            name == own
                && match cell.as_ref() {
                    None => true,
                    // An infinity, or a category of that name.
                    Some(cell) => kind(cell).is_none_or(|it| it == *column),
                }
        };
        self.classes == row.scores.len()
            && self.features.len() == cells.len()
            && self.features.iter().zip(cells).all(alike)
    }

    /// The names of the features' columns, no two alike, and unlike the others': DuckDB takes names
    /// that differ in case alone for the same, so those are avoided too.
    pub fn columns(&self) -> Vec<String> {
        let mut fixed: BTreeSet<String> = BEFORE
            .iter()
            .chain(&AFTER)
            .map(ToString::to_string)
            .collect();
        fixed.extend(self.class_columns());
        let own: BTreeSet<&str> = self
            .features
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        let mut taken = BTreeSet::new();
        let mut columns = Vec::with_capacity(self.features.len());
        for (name, _) in &self.features {
            let mut column = name.clone();
            while fixed.contains(&column.to_lowercase())
                || taken.contains(&column)
                || column != *name && own.contains(column.as_str())
            {
                column.insert_str(0, "feature_");
            }
            taken.insert(column.clone());
            columns.push(column);
        }
        columns
    }

    /// The columns of the classes' scores, by the numbers that labels have; none for one score.
    pub fn class_columns(&self) -> Vec<String> {
        match self.classes {
            0 | 1 => Vec::new(),
            classes => (0..classes).map(|it| format!("prediction_{it}")).collect(),
        }
    }

    fn kind(&self, name: &str) -> Option<Kind> {
        let mut features = self.features.iter();
        features.find(|(it, _)| it == name).map(|(_, kind)| *kind)
    }
}

impl Cell {
    /// The number that it is or stands for.
    pub fn number(&self) -> Option<f64> {
        match self {
            Cell::Number(number) => Some(*number),
            Cell::Text(text) => infinity(text),
        }
    }

    /// Its text.
    pub fn text(&self) -> String {
        match self {
            Cell::Number(number) => number.to_string(),
            Cell::Text(text) => text.clone(),
        }
    }
}

/// What a value says of its column.
fn kind(cell: &Cell) -> Option<Kind> {
    match cell {
        Cell::Number(_) => Some(Kind::Number),
        Cell::Text(text) => infinity(text).is_none().then_some(Kind::Text),
    }
}

fn infinity(text: &str) -> Option<f64> {
    match text {
        "inf" => Some(f64::INFINITY),
        "-inf" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

impl<'de> Deserialize<'de> for Features {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Features, D::Error> {
        deserializer.deserialize_map(InOrder)
    }
}

/// Keeps the order, which a map would not.
struct InOrder;

impl<'de> Visitor<'de> for InOrder {
    type Value = Features;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of features")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Features, A::Error> {
        let mut features = Vec::new();
        while let Some(entry) = map.next_entry()? {
            features.push(entry);
        }
        Ok(Features(features))
    }
}
