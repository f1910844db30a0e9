//! A profile made ready for counting: where each value of a model's row belongs. Counting a row
//! allocates nothing and fails for no value.

use std::collections::HashMap;
use std::ops::Range;

use super::profile::{Broken, Calibration, Categories, Category, Numbers, Profile, Values};

/// How a model reads a feature.
#[derive(Clone, Debug, PartialEq)]
pub struct Column<'a> {
    pub name: &'a str,
    pub reading: Reading,
}

/// What a value of a row stands for.
#[derive(Clone, Debug, PartialEq)]
pub enum Reading {
    /// Itself. `single`: it was rounded to 32 bits.
    Number { single: bool },
    /// The category at this place of the list.
    Coded(Vec<Category>),
    /// A category that is a number.
    Code,
}

/// A profile's bins. Every count of a window has its place among [`Bins::len`] cells:
///
/// - of numbers their bins, then the missing, those below and those above the reference's range
///   (which are in the outer bins too);
/// - of categories their bins, then the rare ones, the unseen and the missing;
/// - of the score as of numbers;
/// - of the calibration the rows of each bin from the threshold on, then those below it.
#[derive(Clone, Debug)]
pub struct Bins {
    profile: Profile,
    fingerprint: String,
    columns: Vec<Cells>,
    score: Option<Cells>,
    calibration: Option<(Calibration, usize)>,
    len: usize,
}

/// Where a column's counts are.
#[derive(Clone, Debug)]
struct Cells {
    start: usize,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Number(Line),
    Category(Table),
}

/// Bins on the line of numbers.
#[derive(Clone, Debug)]
struct Line {
    edges: Vec<f64>,
    low: f64,
    high: f64,
}

/// Bins by code.
#[derive(Clone, Debug)]
struct Table {
    /// The cell of each small code, from the column's first.
    codes: Vec<u32>,
    /// The cells of other codes, by the bits of the number.
    others: HashMap<u64, u32>,
    /// Bins of single categories; after them come the rare, the unseen and the missing.
    named: usize,
    /// Where the unseen go: among the rare when the reference does not list all that it has.
    unknown: usize,
}

/// Cells of numbers after their bins: missing, below, above.
const BESIDE: usize = 3;
/// Codes that are looked up without hashing.
const CODES: usize = 4096;

impl Bins {
    /// The bins of a profile for a model with these columns.
    ///
    /// # Errors
    /// Where the profile is not one of this model: other features, in another order, or of another
    /// type.
    pub fn new(mut profile: Profile, columns: &[Column<'_>]) -> Result<Bins, Broken> {
        same_names(&profile, columns)?;
        let fingerprint = profile.fingerprint()?;
        for (feature, column) in profile.features.iter_mut().zip(columns) {
            if let (Values::Number(numbers), Reading::Number { single: true }) =
                (&mut feature.values, &column.reading)
            {
                merge(numbers);
            }
        }
        let mut len = 0;
        let mut place = |kind: Kind| {
            let start = len;
            len += kind.cells();
            Cells { start, kind }
        };
        let mut cells = Vec::with_capacity(columns.len());
        for (feature, column) in profile.features.iter().zip(columns) {
            cells.push(place(kind_of(&feature.values, column)?));
        }
        let score = profile.score.as_ref();
        let score = score.map(|it| place(Kind::Number(Line::new(&it.values, false))));
        let calibration = profile.calibration.clone().map(|it| {
            let start = len;
            len += 2 * it.rows.len();
            (it, start)
        });
        Ok(Bins {
            columns: cells,
            score,
            calibration,
            len,
            fingerprint,
            profile,
        })
    }

    /// The profile.
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// [`Profile::fingerprint`].
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The number of cells.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no cells: never.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Counts a row in [`Bins::len`] cells. Values beyond the columns are left out.
    pub fn count<T: Copy + Into<f64>>(&self, row: &[T], cells: &mut [u64]) {
        for (column, value) in self.columns.iter().zip(row) {
            column.count((*value).into(), cells);
        }
    }

    /// Counts a row's score, and on which side of the threshold it is.
    pub fn count_score(&self, score: f64, threshold: f64, cells: &mut [u64]) {
        if let Some(column) = &self.score {
            column.count(score, cells);
        }
        if let Some((calibration, start)) = &self.calibration
            && !score.is_nan()
        {
            let below = match score >= threshold {
                true => 0,
                false => calibration.rows.len(),
            };
            add(cells, start + below + bin(&calibration.edges, score));
        }
    }

    /// Moves a value that was counted as missing to the unseen categories: the model does not know
    /// the category and took it for missing.
    pub fn recount_unseen(&self, column: usize, cells: &mut [u64]) {
        let Some(Cells {
            start,
            kind: Kind::Category(table),
        }) = self.columns.get(column)
        else {
            return;
        };
        if let Some(missing) = cells.get_mut(start + table.named + 2)
            && *missing > 0
        {
            *missing -= 1;
            add(cells, start + table.unknown);
        }
    }

    /// The cells of a feature.
    pub fn feature(&self, column: usize) -> Option<Range<usize>> {
        self.columns.get(column).map(Cells::range)
    }

    /// The cells of the score.
    pub fn score(&self) -> Option<Range<usize>> {
        self.score.as_ref().map(Cells::range)
    }

    /// The calibration, and the cells of the rows from the threshold on and of those below it.
    pub fn calibration(&self) -> Option<(&Calibration, Range<usize>, Range<usize>)> {
        let (calibration, start) = self.calibration.as_ref()?;
        let bins = calibration.rows.len();
        Some((
            calibration,
            *start..start + bins,
            start + bins..start + 2 * bins,
        ))
    }
}

impl Cells {
    fn range(&self) -> Range<usize> {
        self.start..self.start + self.kind.cells()
    }

    fn count(&self, value: f64, cells: &mut [u64]) {
        match &self.kind {
            Kind::Number(line) => {
                let bins = self.start + line.edges.len() + 1;
                if value.is_nan() {
                    return add(cells, bins);
                }
                add(cells, self.start + bin(&line.edges, value));
                if value < line.low {
                    add(cells, bins + 1);
                } else if value > line.high {
                    add(cells, bins + 2);
                }
            }
            Kind::Category(table) => add(cells, self.start + table.cell(value)),
        }
    }
}

impl Kind {
    fn cells(&self) -> usize {
        match self {
            Kind::Number(line) => line.edges.len() + 1 + BESIDE,
            Kind::Category(table) => table.named + 3,
        }
    }
}

impl Line {
    fn new(numbers: &Numbers, single: bool) -> Line {
        // A value that was rounded to 32 bits is to stay on its side of the edge. Rounding keeps the
        // order, so rounding the edge does that.
        let round = |value: f64| match single {
            true => f64::from(value as f32),
            false => value,
        };
        let [low, high] = numbers.range.unwrap_or([f64::INFINITY, f64::NEG_INFINITY]);
        Line {
            edges: numbers.edges.iter().copied().map(round).collect(),
            low: round(low),
            high: round(high),
        }
    }
}

/// Merges bins whose edges are one number in 32 bits: live rows cannot tell them apart.
fn merge(numbers: &mut Numbers) {
    let mut place = 1;
    while place < numbers.edges.len() {
        let pair = numbers.edges.get(place - 1).zip(numbers.edges.get(place));
        if !pair.is_some_and(|(a, b)| *a as f32 == *b as f32) {
            place += 1;
            continue;
        }
        numbers.edges.remove(place);
        // The bin between the two edges, which no rounded value is in, joins the one above.
        let between = numbers.counts.remove(place);
        if let Some(above) = numbers.counts.get_mut(place) {
            *above = above.saturating_add(between);
        }
    }
}

impl Table {
    fn new(categories: &Categories, codes: Option<&[Category]>) -> Table {
        let named = categories.names.len();
        let unknown = match categories.complete {
            true => named + 1,
            false => named,
        };
        let mut cells = HashMap::new();
        for (place, name) in categories.names.iter().enumerate() {
            cells.insert(key(name), place as u32);
        }
        for name in &categories.rare {
            cells.insert(key(name), named as u32);
        }
        let mut table = Table {
            codes: vec![unknown as u32; CODES],
            others: HashMap::new(),
            named,
            unknown,
        };
        match codes {
            Some(codes) => {
                for (code, name) in codes.iter().enumerate() {
                    if let Some(cell) = cells.get(&key(name)) {
                        table.set(code as f64, *cell);
                    }
                }
            }
            None => {
                for name in categories.names.iter().chain(&categories.rare) {
                    if let (Category::Number(number), Some(cell)) = (name, cells.get(&key(name))) {
                        table.set(*number, *cell);
                    }
                }
            }
        }
        let last = table.codes.iter().rposition(|cell| *cell != unknown as u32);
        table.codes.truncate(last.map_or(0, |last| last + 1));
        table.codes.shrink_to_fit();
        table
    }

    fn set(&mut self, code: f64, cell: u32) {
        match small(code).and_then(|code| self.codes.get_mut(code)) {
            Some(slot) => *slot = cell,
            None => {
                self.others.insert((code + 0.0).to_bits(), cell);
            }
        }
    }

    fn cell(&self, value: f64) -> usize {
        if value.is_nan() {
            return self.named + 2;
        }
        if let Some(cell) = small(value).and_then(|code| self.codes.get(code)) {
            return *cell as usize;
        }
        if self.others.is_empty() {
            return self.unknown;
        }
        let known = self.others.get(&(value + 0.0).to_bits());
        known.map_or(self.unknown, |cell| *cell as usize)
    }
}

/// The number of edges that are not above the value.
fn bin(edges: &[f64], value: f64) -> usize {
    // Without a branch: few edges are compared faster than searched.
    edges.iter().map(|edge| usize::from(*edge <= value)).sum()
}

fn add(cells: &mut [u64], place: usize) {
    if let Some(cell) = cells.get_mut(place) {
        *cell += 1;
    }
}

/// A whole number that is small enough for a table.
fn small(value: f64) -> Option<usize> {
    let code = value as usize;
    (code < CODES && code as f64 == value).then_some(code)
}

fn key(category: &Category) -> String {
    match category {
        Category::Number(number) => format!("n{}", (number + 0.0).to_bits()),
        Category::Text(text) => format!("t{text}"),
    }
}

fn kind_of(values: &Values, column: &Column<'_>) -> Result<Kind, Broken> {
    match (values, &column.reading) {
        (Values::Number(numbers), Reading::Number { single }) => {
            Ok(Kind::Number(Line::new(numbers, *single)))
        }
        // The codes of categories are numbers.
        (Values::Number(numbers), Reading::Code) => Ok(Kind::Number(Line::new(numbers, false))),
        (Values::Category(categories), Reading::Coded(codes)) => {
            Ok(Kind::Category(Table::new(categories, Some(codes))))
        }
        (Values::Category(categories), Reading::Code) if has_numbers(categories) => {
            Ok(Kind::Category(Table::new(categories, None)))
        }
        (Values::Category(_), Reading::Code | Reading::Number { .. }) => refuse(format!(
            "feature \"{}\" has categories, and the model reads numbers",
            column.name
        )),
        (Values::Number(_), Reading::Coded(_)) => refuse(format!(
            "feature \"{}\" has numbers, and the model reads categories",
            column.name
        )),
    }
}

fn has_numbers(categories: &Categories) -> bool {
    let mut names = categories.names.iter().chain(&categories.rare);
    names.all(|name| matches!(name, Category::Number(_)))
}

fn same_names(profile: &Profile, columns: &[Column<'_>]) -> Result<(), Broken> {
    let (got, expected) = (profile.features.len(), columns.len());
    if let Some((place, (feature, column))) = profile
        .features
        .iter()
        .zip(columns)
        .enumerate()
        .find(|(_, (feature, column))| feature.name != column.name)
    {
        let elsewhere = columns.iter().any(|column| column.name == feature.name);
        let reason = match elsewhere {
            true => "the features are in another order",
            false => "the model has no such feature",
        };
        return refuse(format!(
            "feature {place} is \"{}\", and \"{}\" in the model: {reason}",
            feature.name, column.name
        ));
    }
    match got == expected {
        true => Ok(()),
        false => refuse(format!("it has {got} features, and the model {expected}")),
    }
}

fn refuse<T>(reason: String) -> Result<T, Broken> {
    Err(Broken(reason))
}

#[cfg(test)]
mod tests;
