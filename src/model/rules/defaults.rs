//! Rules that nobody wrote: what the profile of the training data and MLflow's signature say of a
//! feature's values.

use super::{Action, Check, Rule};
use crate::drift::profile::{Category, Feature, Profile, Values};
use crate::model::mlflow::MlModel;

/// The rules that a revision's folder implies, the profile's first. A profile gives the range of its
/// numbers, its categories where it knows all of them, and that a feature is required which was never
/// missing; MLflow's signature gives whole numbers and what is required.
pub fn of(profile: Option<&Profile>, mlflow: Option<&MlModel>, action: Action) -> Vec<Rule> {
    let mut rules = Vec::new();
    let mut add = |feature: &str, check: Check| {
        let action = match action {
            Action::Clamp if !check.kind().is_clampable() => Action::Flag,
            action => action,
        };
        rules.push(Rule {
            feature: feature.to_string(),
            check,
            action,
        });
    };
    for feature in profile.iter().flat_map(|it| &it.features) {
        if let Some(check) = values(feature) {
            add(&feature.name, check);
        }
        if feature.missing == 0 {
            add(&feature.name, Check::Required);
        }
    }
    for column in mlflow.iter().flat_map(|it| &it.columns) {
        if column.whole {
            add(&column.name, Check::Whole);
        }
        if column.required {
            add(&column.name, Check::Required);
        }
    }
    rules
}

/// What the values of a feature were; `None` where the profile does not say it.
fn values(feature: &Feature) -> Option<Check> {
    match &feature.values {
        Values::Number(numbers) => {
            let [low, high] = numbers.range?;
            Some(Check::Range { low, high })
        }
        Values::Category(categories) if categories.complete => {
            let names = categories.names.iter().chain(&categories.rare);
            Some(Check::Categories(names.map(name).collect()))
        }
        Values::Category(_) => None,
    }
}

/// A number in the shortest form that reads back as the same.
fn name(category: &Category) -> String {
    match category {
        Category::Number(number) => number.to_string(),
        Category::Text(text) => text.clone(),
    }
}
