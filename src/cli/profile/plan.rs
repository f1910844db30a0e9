//! Which columns of the files are features, and how each of them is read.

use std::collections::HashSet;

use indicatif::ProgressBar;

use super::Arguments;
use super::data::{self, Column, Files, Kind, Texts, Wanted};
use super::model::Model;
use crate::drift::build;
use crate::engine::FeatureKind;

/// What is read, and what it is counted as.
#[derive(Debug, Default)]
pub struct Plan {
    /// The features in their order; behind them the label, where it is counted.
    pub wanted: Vec<Wanted>,
    pub features: Vec<Feature>,
    /// Whether there is a label behind the features.
    pub has_label: bool,
    /// What people should know.
    pub notes: Vec<String>,
}

/// A feature of the profile.
#[derive(Clone, Debug)]
pub struct Feature {
    pub name: String,
    pub kind: build::Kind,
}

/// Columns that a note names.
const NAMED_MAX: usize = 8;

impl Plan {
    /// Finds the features: those of the model, or all columns but the label and those that are to be
    /// ignored.
    ///
    /// # Errors
    /// When a column is missing or cannot be read.
    pub fn new(
        arguments: &Arguments,
        files: &Files,
        model: Option<&Model>,
        bar: &ProgressBar,
    ) -> Result<Plan, String> {
        let columns = files.columns()?;
        let path = files.first();
        let find = |name: &str, what: &str| match columns.iter().any(|it| is_named(it, name)) {
            true => Ok(()),
            false => Err(data::no_column(path, name, what, &columns)),
        };
        if let Some(label) = &arguments.label {
            find(label, "the label")?;
        }
        for name in &arguments.ignore {
            find(name, "which is to be ignored")?;
        }
        let is_left_out = |column: &Column| {
            let mut names = arguments.ignore.iter().chain(&arguments.label);
            names.any(|name| is_named(column, name))
        };
        let candidates = columns.iter().filter(|it| !is_left_out(it));
        let candidates: Vec<&Column> = candidates.collect();
        let mut plan = match model {
            Some(model) => Plan::of_model(arguments, model, files, &columns, &candidates)?,
            None => Plan::of_data(arguments, files, &candidates, bar)?,
        };
        if plan.features.is_empty() {
            return Err(data::at(path, &"no column is a feature"));
        }
        plan.add_label(arguments, model);
        Ok(plan)
    }

    fn of_model(
        arguments: &Arguments,
        model: &Model,
        files: &Files,
        columns: &[Column],
        candidates: &[&Column],
    ) -> Result<Plan, String> {
        let mut plan = Plan::default();
        let names = model.revision.signature.names();
        let given: HashSet<&str> = candidates.iter().map(|it| it.name.as_str()).collect();
        let known = |name: &str| given.contains(name);
        let by_place = model.is_nameless()
            && candidates.len() == names.len()
            && !names.iter().all(|name| known(name));
        if by_place {
            let note = "the model does not name its features: columns are taken in their order";
            plan.notes.push(note.to_string());
        }
        for (place, feature) in model.revision.signature.columns.iter().enumerate() {
            let name = &feature.name;
            if arguments.label.as_ref() == Some(name) {
                return Err(format!("--label \"{name}\" is a feature of the model"));
            }
            let column = match candidates.get(place) {
                Some(column) if by_place => column.name.clone(),
                _ if known(name) => name.clone(),
                _ => {
                    let what = "a feature of the model";
                    return Err(data::no_column(files.first(), name, what, columns));
                }
            };
            let (kind, counted) = reading(&feature.kind);
            plan.wanted.push(Wanted { column, kind });
            plan.features.push(Feature {
                name: name.clone(),
                kind: counted,
            });
        }
        let used: HashSet<&str> = plan.wanted.iter().map(|it| it.column.as_str()).collect();
        let extra = candidates.iter().map(|it| it.name.as_str());
        let extra: Vec<&str> = extra.filter(|name| !used.contains(name)).collect();
        if !extra.is_empty() {
            let listed = listed(&extra);
            plan.notes
                .push(format!("no features of the model: {listed}"));
        }
        if !model.has_score() {
            let note = "the model gives no score of numbers: there is none in the profile";
            plan.notes.push(note.to_string());
        }
        Ok(plan)
    }

    fn of_data(
        arguments: &Arguments,
        files: &Files,
        candidates: &[&Column],
        bar: &ProgressBar,
    ) -> Result<Plan, String> {
        for column in candidates {
            if let Some(reason) = &column.refused {
                let name = &column.name;
                let reason = format!("column \"{name}\" {reason}; --ignore leaves a column out");
                return Err(data::at(files.first(), &reason));
            }
        }
        let unsaid = candidates.iter().filter(|it| it.is_text.is_none());
        let unsaid: Vec<&str> = unsaid.map(|it| it.name.as_str()).collect();
        let found = match unsaid.is_empty() {
            true => Vec::new(),
            false => files.texts(&unsaid, arguments.rows_max(), bar)?,
        };
        let mut found = found.into_iter();
        let mut plan = Plan::default();
        for column in candidates {
            let is_text = column.is_text.or_else(|| found.next()).unwrap_or(false);
            let (kind, counted) = match is_text {
                true => (Kind::Texts(Texts::default()), build::Kind::Category),
                false => (Kind::Number, build::Kind::Number),
            };
            plan.wanted.push(Wanted {
                column: column.name.clone(),
                kind,
            });
            plan.features.push(Feature {
                name: column.name.clone(),
                kind: counted,
            });
        }
        Ok(plan)
    }

    fn add_label(&mut self, arguments: &Arguments, model: Option<&Model>) {
        let (Some(label), Some(model)) = (&arguments.label, model) else {
            return;
        };
        if !model.is_binary() {
            let note = "the model does not tell two classes apart: the label is left out";
            self.notes.push(note.to_string());
            return;
        }
        self.has_label = true;
        self.wanted.push(Wanted {
            column: label.clone(),
            kind: Kind::Label(arguments.positive.clone()),
        });
    }
}

/// How a feature of a model is read from files, and counted.
fn reading(kind: &FeatureKind) -> (Kind, build::Kind) {
    if *kind == FeatureKind::Number {
        return (Kind::Number, build::Kind::Number);
    }
    let (texts, categories) = Model::texts(kind);
    match texts.is_empty() {
        true => (Kind::Number, build::Kind::Category),
        false => (
            Kind::Texts(Texts::new(texts, categories)),
            build::Kind::Category,
        ),
    }
}

/// Whether a column has this name, or is a part of a nested one that has.
fn is_named(column: &Column, name: &str) -> bool {
    let rest = column.name.strip_prefix(name);
    rest.is_some_and(|rest| rest.is_empty() || column.refused.is_some() && rest.starts_with('.'))
}

fn listed(names: &[&str]) -> String {
    let shown = names.get(..names.len().min(NAMED_MAX)).unwrap_or_default();
    match names.len() - shown.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
