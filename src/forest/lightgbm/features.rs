//! What the text says about features: names, which are categorical, and pandas' categories.
//!
//! The text does not say which features pandas' lists of categories belong to. Python pairs them
//! with the columns of category type, in order; those are the categorical features, unless there
//! were ordered categories (which train as numbers) or categorical features of other types.

use std::collections::{HashMap, HashSet};

use serde_json::value::RawValue;

use super::ParseError;
use super::text::{lines, malformed, whole, words};
use crate::forest::{Category, Feature, FeatureKind, Test, Tree, Unknown};

/// Which features some tree tests as a category.
pub fn split_on(trees: &[Tree], features: usize) -> Vec<bool> {
    let mut categorical = vec![false; features];
    for split in trees.iter().flat_map(|tree| &tree.splits) {
        if let (Test::In(_), Some(flag)) = (split.test, categorical.get_mut(split.feature as usize))
        {
            *flag = true;
        }
    }
    categorical
}

/// The features in row order. `rest` is the text behind the trees; `categorical` marks those that
/// trees test as categories.
///
/// # Errors
/// When `feature_infos` or `pandas_categorical` is broken; [`ParseError::Unsupported`] when it
/// cannot be told which features pandas' categories belong to.
pub fn read(
    header: &HashMap<&str, &str>,
    rest: &str,
    mut categorical: Vec<bool>,
) -> Result<Vec<Feature>, ParseError> {
    let names: Vec<&str> =
        words(header.get("feature_names").copied().unwrap_or_default()).collect();
    let infos: Vec<Info> = words(header.get("feature_infos").copied().unwrap_or_default())
        .map(Info::read)
        .collect();
    if infos.len() != names.len() {
        return malformed(format!(
            "lightgbm: {} feature_infos for {} feature_names",
            infos.len(),
            names.len()
        ));
    }
    for (flag, info) in categorical.iter_mut().zip(&infos) {
        *flag |= matches!(info, Info::Codes { .. });
    }
    for index in categorical_parameter(rest, &names) {
        if let Some(flag) = categorical.get_mut(index) {
            *flag = true;
        }
    }
    let lists = pandas_categories(rest)?;
    let owners = owners(&lists, &infos, &categorical)?;
    let mut kinds: Vec<FeatureKind> = categorical.into_iter().map(kind_of_codes).collect();
    for (categories, owner) in lists.into_iter().zip(owners) {
        kinds[owner] = FeatureKind::Category {
            categories,
            unknown: Unknown::Missing,
        };
    }
    let feature = |(name, kind): (&str, FeatureKind)| Feature {
        name: Some(name.to_string()),
        kind,
    };
    Ok(names.into_iter().zip(kinds).map(feature).collect())
}

fn kind_of_codes(categorical: bool) -> FeatureKind {
    if !categorical {
        return FeatureKind::Number;
    }
    FeatureKind::Category {
        categories: Vec::new(),
        unknown: Unknown::Missing,
    }
}

/// What the training data held, from `feature_infos`.
#[derive(Debug)]
enum Info {
    /// `[min:max]`.
    Range { min: f64, max: f64 },
    /// `3:0:-1:2`, category codes; -1 stands for missing and rare ones.
    Codes { largest: i64 },
    /// `none`: constant, or too rare to be split on.
    Nothing,
}

impl Info {
    fn read(word: &str) -> Info {
        if let Some(range) = word.strip_prefix('[') {
            let (min, max) = range
                .trim_end_matches(']')
                .split_once(':')
                .unwrap_or_default();
            return Info::Range {
                min: min.parse().unwrap_or(f64::NAN),
                max: max.parse().unwrap_or(f64::NAN),
            };
        }
        match word.split(':').map(whole::<i64>).max() {
            Some(Some(largest)) => Info::Codes { largest },
            _ => Info::Nothing,
        }
    }

    /// Whether the column can hold the codes of this many categories.
    fn fits(&self, categories: usize) -> bool {
        match self {
            Info::Range { min, max } => {
                min.fract() == 0.0 && max.fract() == 0.0 && *min >= 0.0 && *max < categories as f64
            }
            Info::Codes { largest } => *largest < categories as i64,
            Info::Nothing => true,
        }
    }
}

/// Which feature each list belongs to, ascending: the categorical features where they fit, else the
/// only order-preserving choice that fits.
fn owners(
    lists: &[Vec<Category>],
    infos: &[Info],
    categorical: &[bool],
) -> Result<Vec<usize>, ParseError> {
    let flagged: Vec<usize> = (0..infos.len())
        .filter(|index| categorical[*index])
        .collect();
    let fit = |(list, feature): (&Vec<Category>, &usize)| infos[*feature].fits(list.len());
    if flagged.len() == lists.len() && lists.iter().zip(&flagged).all(fit) {
        return Ok(flagged);
    }
    // The first and the last possible choice are the same when there is only one.
    let forwards = embed(lists.iter(), infos.iter().enumerate());
    let mut backwards = embed(lists.iter().rev(), infos.iter().enumerate().rev());
    backwards.reverse();
    if forwards.len() == lists.len() && forwards == backwards {
        return Ok(forwards);
    }
    Err(ParseError::Unsupported(format!(
        "lightgbm: pandas_categorical has {} lists for {} categorical features, and it cannot be told which features they belong to",
        lists.len(),
        flagged.len()
    )))
}

/// Gives each list the next feature that fits it; shorter than the lists when they run out.
fn embed<'a>(
    lists: impl Iterator<Item = &'a Vec<Category>>,
    mut infos: impl Iterator<Item = (usize, &'a Info)>,
) -> Vec<usize> {
    let mut owners = Vec::new();
    for list in lists {
        match infos.find(|(_, info)| info.fits(list.len())) {
            Some((feature, _)) => owners.push(feature),
            None => break,
        }
    }
    owners
}

/// The indices in the training parameter `categorical_feature`: `0,2` or `name:city,size`.
fn categorical_parameter(rest: &str, names: &[&str]) -> Vec<usize> {
    let value = lines(rest, 0).find_map(|(_, line)| {
        line.strip_prefix("[categorical_feature: ")?
            .strip_suffix(']')
    });
    let value = value.unwrap_or_default();
    let Some(listed) = value.strip_prefix("name:") else {
        return value.split(',').filter_map(whole).collect();
    };
    let listed: HashSet<&str> = listed.split(',').collect();
    let index = |(index, name): (usize, &&str)| listed.contains(name).then_some(index);
    names.iter().enumerate().filter_map(index).collect()
}

/// Python's last line, `pandas_categorical:` and a list of lists or `null`.
fn pandas_categories(rest: &str) -> Result<Vec<Vec<Category>>, ParseError> {
    let last = rest.trim_end().rsplit('\n').next().unwrap_or_default();
    let Some(json) = last.strip_prefix("pandas_categorical:") else {
        return Ok(Vec::new());
    };
    let lists: Option<Vec<Vec<&RawValue>>> = serde_json::from_str(json)
        .map_err(|error| ParseError::Malformed(format!("lightgbm: pandas_categorical: {error}")))?;
    let mut read = Vec::new();
    for list in lists.unwrap_or_default() {
        let categories: Option<Vec<Category>> =
            list.iter().map(|raw| category(raw.get())).collect();
        let Some(categories) = categories else {
            return malformed("lightgbm: pandas_categorical: a category is no text and no number");
        };
        if !distinct(&categories) {
            return Err(ParseError::Unsupported(
                "lightgbm: pandas_categorical: two categories are the same number".to_string(),
            ));
        }
        read.push(categories);
    }
    Ok(read)
}

/// A category as JSON. Booleans are the numbers 0 and 1, which they equal in pandas.
fn category(json: &str) -> Option<Category> {
    match json {
        "false" => Some(Category::Number(0.0)),
        "true" => Some(Category::Number(1.0)),
        text if text.starts_with('"') => serde_json::from_str(text).ok().map(Category::Text),
        // Correctly rounded, as clients' numbers are.
        number => number.parse().ok().map(Category::Number),
    }
}

fn distinct(categories: &[Category]) -> bool {
    let mut seen = HashSet::new();
    categories.iter().all(|category| match category {
        // -0.0 + 0.0 is +0.0, which it equals.
        Category::Number(number) => seen.insert((number + 0.0).to_bits()),
        Category::Text(_) => true,
    })
}
