//! A drift profile: how a model's features and scores were distributed where it was trained, as
//! counts in fixed bins. `hedgerow profile` writes it; [`Profile::parse`] reads it and takes nothing
//! that it would have to guess about. Knows no model.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The version of the format below.
pub const VERSION: u64 = 1;
/// Features of a profile.
pub const FEATURES_MAX: usize = 20_000;
/// Bins of one feature.
pub const BINS_MAX: usize = 1_000;
/// Bins of all features together: 8 bytes each, in every pane of every window.
pub const CELLS_MAX: usize = 1 << 18;
/// Names of rare categories of one feature.
pub const RARE_MAX: usize = 10_000;

/// The contents of a `profile.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    pub version: u64,
    pub source: Source,
    /// Rows that were counted.
    pub rows: u64,
    /// SHA-256 of the data's files, hex; empty where rows were served.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub digest: String,
    /// The first 16 hexadecimal digits of the digest of the model that gave the scores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The column that held the label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// In the order of the model's rows.
    pub features: Vec<Feature>,
    /// The model's score: the probability of the second class, or the value of a regression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<Score>,
    /// How often the label was positive, by score.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibration>,
}

/// Where a profile's rows come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The data that the model was trained on.
    Training,
    /// The first rows that were served: what is common now is taken for how it should be.
    Served,
}

impl Source {
    /// `training` or `served`.
    pub fn name(self) -> &'static str {
        match self {
            Source::Training => "training",
            Source::Served => "served",
        }
    }
}

/// One feature.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Feature {
    pub name: String,
    /// Rows without a value.
    pub missing: u64,
    pub values: Values,
}

/// The values of a feature that were there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Values {
    Number(Numbers),
    Category(Categories),
}

/// Numbers in bins: bin `i` holds what is at least `edges[i - 1]` and less than `edges[i]`; the first
/// and the last are open, and hold infinities.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Numbers {
    /// The least and the greatest finite value; none when there was none.
    pub range: Option<[f64; 2]>,
    /// Of the finite values.
    pub mean: f64,
    /// Of the finite values, of the population.
    pub std: f64,
    /// Whether every value was a whole number.
    pub whole: bool,
    /// Ascending.
    pub edges: Vec<f64>,
    /// One more than there are edges.
    pub counts: Vec<u64>,
}

/// Categories, the most frequent first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Categories {
    pub names: Vec<Category>,
    /// One per name.
    pub counts: Vec<u64>,
    /// Those without a count of their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rare: Vec<Category>,
    /// Rows with one of the others.
    pub other: u64,
    /// Whether `names` and `rare` are all that there were. If not, nothing counts as unseen.
    pub complete: bool,
}

/// A category as the data names it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Category {
    Number(f64),
    Text(String),
}

/// The scores of a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Score {
    /// Rows whose score was not a number.
    pub missing: u64,
    pub values: Numbers,
}

/// Rows and positive labels by score, in bins as those of [`Numbers`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    pub edges: Vec<f64>,
    pub rows: Vec<u64>,
    pub positives: Vec<u64>,
}

/// Why a profile is not one, or not one of this model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Broken(pub String);

#[derive(Deserialize)]
struct Versioned {
    version: Option<serde_json::Value>,
}

impl Profile {
    /// Reads a `profile.json`.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn parse(bytes: &[u8]) -> Result<Profile, Broken> {
        let broken = |error: serde_json::Error| Broken(error.to_string());
        let Versioned { version } = serde_json::from_slice(bytes).map_err(broken)?;
        match version {
            None => return refuse("it has no version"),
            Some(version) if version != VERSION => {
                return refuse(format!("version {version}; expected {VERSION}"));
            }
            Some(_) => {}
        }
        let profile: Profile = serde_json::from_slice(bytes).map_err(broken)?;
        profile.check()?;
        Ok(profile)
    }

    /// As it is written to a file.
    ///
    /// # Errors
    /// When a number in it is not finite, which [`Profile::check`] refuses.
    pub fn json(&self) -> Result<String, Broken> {
        serde_json::to_string(self).map_err(|error| Broken(error.to_string()))
    }

    /// SHA-256 of its contents, hex: windows of equal profiles add up.
    ///
    /// # Errors
    /// As [`Profile::json`].
    pub fn fingerprint(&self) -> Result<String, Broken> {
        let hash = Sha256::digest(self.json()?.as_bytes());
        Ok(hash.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Whether all of it fits together.
    ///
    /// # Errors
    /// What does not, and where.
    pub fn check(&self) -> Result<(), Broken> {
        if self.rows == 0 {
            return refuse("it counts no rows");
        }
        if self.features.is_empty() || self.features.len() > FEATURES_MAX {
            let count = self.features.len();
            return refuse(format!("{count} features; expected 1 to {FEATURES_MAX}"));
        }
        let mut names = HashSet::with_capacity(self.features.len());
        for feature in &self.features {
            let name = &feature.name;
            if !names.insert(name) {
                return refuse(format!("feature \"{name}\" appears twice"));
            }
            let at = |Broken(reason)| Broken(format!("feature \"{name}\": {reason}"));
            feature
                .values
                .check(feature.missing, self.rows)
                .map_err(at)?;
        }
        let cells: usize = self.features.iter().map(|it| it.values.bins()).sum();
        if cells > CELLS_MAX {
            return refuse(format!(
                "{cells} bins of all features; expected at most {CELLS_MAX}"
            ));
        }
        if let Some(score) = &self.score {
            let at = |Broken(reason)| Broken(format!("score: {reason}"));
            score.values.check(score.missing, self.rows).map_err(at)?;
        }
        if let Some(calibration) = &self.calibration {
            let at = |Broken(reason)| Broken(format!("calibration: {reason}"));
            calibration.check().map_err(at)?;
        }
        Ok(())
    }
}

impl Values {
    /// Bins of its own.
    pub fn bins(&self) -> usize {
        match self {
            Values::Number(numbers) => numbers.counts.len(),
            Values::Category(categories) => categories.counts.len(),
        }
    }

    fn check(&self, missing: u64, rows: u64) -> Result<(), Broken> {
        match self {
            Values::Number(numbers) => numbers.check(missing, rows),
            Values::Category(categories) => categories.check(missing, rows),
        }
    }
}

impl Numbers {
    fn check(&self, missing: u64, rows: u64) -> Result<(), Broken> {
        ascending(&self.edges)?;
        fits("counts", self.counts.len(), self.edges.len() + 1)?;
        sums(self.counts.iter().chain([&missing]), rows)?;
        if let Some([low, high]) = self.range
            && !(low.is_finite() && high.is_finite() && low <= high)
        {
            return refuse(format!("range from {low} to {high}"));
        }
        if !(self.mean.is_finite() && self.std.is_finite() && self.std >= 0.0) {
            return refuse(format!("mean {} and std {}", self.mean, self.std));
        }
        Ok(())
    }
}

impl Categories {
    fn check(&self, missing: u64, rows: u64) -> Result<(), Broken> {
        if self.names.len() > BINS_MAX || self.rare.len() > RARE_MAX {
            let (names, rare) = (self.names.len(), self.rare.len());
            return refuse(format!(
                "{names} categories and {rare} rare ones; expected at most {BINS_MAX} and {RARE_MAX}"
            ));
        }
        fits("counts", self.counts.len(), self.names.len())?;
        sums(self.counts.iter().chain([&missing, &self.other]), rows)?;
        let mut known = HashSet::new();
        for category in self.names.iter().chain(&self.rare) {
            let key = match category {
                Category::Number(number) if !number.is_finite() => {
                    return refuse(format!("category {number}"));
                }
                // Adding zero makes one bit pattern of both zeros.
                Category::Number(number) => format!("n{}", (number + 0.0).to_bits()),
                Category::Text(text) => format!("t{text}"),
            };
            if !known.insert(key) {
                return refuse(format!("category {category:?} appears twice"));
            }
        }
        Ok(())
    }
}

impl Calibration {
    fn check(&self) -> Result<(), Broken> {
        ascending(&self.edges)?;
        fits("rows", self.rows.len(), self.edges.len() + 1)?;
        fits("positives", self.positives.len(), self.rows.len())?;
        if self
            .rows
            .iter()
            .zip(&self.positives)
            .any(|(rows, positives)| positives > rows)
        {
            return refuse("more positives than rows in a bin");
        }
        Ok(())
    }
}

fn ascending(edges: &[f64]) -> Result<(), Broken> {
    if edges.len() >= BINS_MAX {
        let count = edges.len();
        return refuse(format!("{count} edges; expected fewer than {BINS_MAX}"));
    }
    if let Some(edge) = edges.iter().find(|edge| !edge.is_finite()) {
        return refuse(format!("edge {edge}; expected a finite number"));
    }
    match edges.windows(2).find(|pair| pair[0] >= pair[1]) {
        Some(pair) => refuse(format!(
            "edge {} is not below the next, {}",
            pair[0], pair[1]
        )),
        None => Ok(()),
    }
}

fn fits(what: &str, got: usize, expected: usize) -> Result<(), Broken> {
    match got == expected {
        true => Ok(()),
        false => refuse(format!("{got} {what}; expected {expected}")),
    }
}

fn sums<'a>(counts: impl Iterator<Item = &'a u64>, rows: u64) -> Result<(), Broken> {
    let sum = counts.fold(0_u64, |sum, count| sum.saturating_add(*count));
    match sum == rows {
        true => Ok(()),
        false => refuse(format!(
            "its counts add up to {sum}; expected {rows}, the number of rows"
        )),
    }
}

fn refuse<T>(reason: impl Into<String>) -> Result<T, Broken> {
    Err(Broken(reason.into()))
}

#[cfg(test)]
mod tests;
