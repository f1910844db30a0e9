//! A column of categories: which of them get a count of their own, and the counts.

use std::collections::HashMap;

use super::super::profile::{Categories, Category, RARE_MAX};
use super::Cell;

/// A first pass over categories.
#[derive(Clone, Debug)]
pub struct Sketch {
    known: Known,
    known_max: usize,
    counted_max: usize,
    /// Whether every category is known.
    complete: bool,
}

/// A second pass over categories.
#[derive(Clone, Debug)]
pub struct Counter {
    names: Known,
    rare: Vec<Category>,
    other: u64,
    complete: bool,
}

/// Categories and their counts. Numbers by their bits.
#[derive(Clone, Debug, Default)]
struct Known {
    texts: HashMap<String, u64>,
    numbers: HashMap<u64, u64>,
}

/// The most frequent categories, which have a count of their own: so many at most.
pub const NAMES: usize = 100;
/// Categories that are told apart.
pub const KNOWN_MAX: usize = NAMES + RARE_MAX;
/// Bytes of a category's name; a longer one is one of the others.
const TEXT_MAX: usize = 256;
/// Rows from which a column of nothing but different texts is conspicuous.
const ID_MIN: usize = 1_000;

impl Sketch {
    /// Of no rows; tells at most `known_max` categories apart, of which `counted_max` get a count.
    pub fn new(known_max: usize, counted_max: usize) -> Sketch {
        Sketch {
            known: Known::default(),
            known_max,
            counted_max,
            complete: true,
        }
    }

    /// Takes a category; NaN is none.
    pub fn add(&mut self, cell: Cell) {
        if is_missing(cell) {
            return;
        }
        if let Some(count) = self.known.count(cell) {
            *count += 1;
            return;
        }
        let room = self.known.len() < self.known_max;
        match cell {
            Cell::Text(text) if room && text.len() <= TEXT_MAX => {
                self.known.texts.insert(text.to_string(), 1);
            }
            Cell::Number(number) if room && number.is_finite() => {
                self.known.numbers.insert(bits(number), 1);
            }
            _ => self.complete = false,
        }
    }

    /// Whether there are many, and hardly any text came twice.
    pub fn is_like_an_id(&self) -> bool {
        let texts = &self.known.texts;
        let once = texts.values().filter(|count| **count == 1).count();
        texts.len() >= ID_MIN && once * 10 >= texts.len() * 9
    }

    /// The most frequent ones get counts, in a second pass.
    pub fn counter(self) -> Counter {
        let mut names = Known::default();
        let mut rare = Vec::new();
        for (place, (category, _)) in self.known.sorted().into_iter().enumerate() {
            match category {
                Category::Text(text) if place < self.counted_max => {
                    names.texts.insert(text, 0);
                }
                Category::Number(number) if place < self.counted_max => {
                    names.numbers.insert(bits(number), 0);
                }
                category => rare.push(category),
            }
        }
        if !self.complete {
            // A part of what there was says nothing of what there was not.
            rare.clear();
        }
        Counter {
            names,
            rare,
            other: 0,
            complete: self.complete,
        }
    }
}

impl Counter {
    /// Counts a category; whether it was one.
    pub fn add(&mut self, cell: Cell) -> bool {
        if is_missing(cell) {
            return false;
        }
        match self.names.count(cell) {
            Some(count) => *count += 1,
            None => self.other += 1,
        }
        true
    }

    pub fn categories(self) -> Categories {
        let (names, counts) = self.names.sorted().into_iter().unzip();
        Categories {
            names,
            counts,
            rare: self.rare,
            other: self.other,
            complete: self.complete,
        }
    }
}

impl Known {
    fn len(&self) -> usize {
        self.texts.len() + self.numbers.len()
    }

    fn count(&mut self, cell: Cell) -> Option<&mut u64> {
        match cell {
            Cell::Text(text) => self.texts.get_mut(text),
            Cell::Number(number) => self.numbers.get_mut(&bits(number)),
        }
    }

    /// The most frequent first; numbers before texts, and in their order, where counts are equal.
    fn sorted(self) -> Vec<(Category, u64)> {
        let mut numbers: Vec<(f64, u64)> = self
            .numbers
            .into_iter()
            .map(|(bits, count)| (f64::from_bits(bits), count))
            .collect();
        numbers.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut texts: Vec<(String, u64)> = self.texts.into_iter().collect();
        texts.sort();
        let numbers = numbers
            .into_iter()
            .map(|(number, count)| (Category::Number(number), count));
        let texts = texts
            .into_iter()
            .map(|(text, count)| (Category::Text(text), count));
        let mut all: Vec<(Category, u64)> = numbers.chain(texts).collect();
        all.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        all
    }
}

fn is_missing(cell: Cell) -> bool {
    matches!(cell, Cell::Number(number) if number.is_nan())
}

/// Adding zero makes one bit pattern of both zeros.
fn bits(number: f64) -> u64 {
    (number + 0.0).to_bits()
}
