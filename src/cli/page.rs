//! What is said of a loaded revision: a page for people, a line of JSON for programs.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::engine::{Category, FeatureKind, Layouts};
use crate::model::revision::{Reference, Revision};

/// What is said of a revision.
#[derive(Debug, Serialize)]
pub struct Page {
    path: String,
    format: &'static str,
    library: &'static str,
    library_version: Option<String>,
    engine: &'static str,
    refused_by_forest: Option<String>,
    objective: String,
    trees: Option<usize>,
    /// The datatype that the engine computes on.
    input_datatype: String,
    features: Vec<Feature>,
    outputs: Vec<Output>,
    memory_bytes: usize,
    digest: String,
    golden_rows: usize,
    verified_rows: usize,
    profile: Profile,
    /// Rules of the configuration that name a feature which this model does not have.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unfit_rules: Vec<String>,
    row_ns: u64,
    batch_row_ns: u64,
    /// How trees are laid out; absent where a library computes.
    #[serde(skip_serializing_if = "Option::is_none")]
    layout: Option<Layout>,
    /// Reading, parsing, checking and measuring together.
    load_ms: f64,
}

/// What live rows would be compared with.
#[derive(Debug, Serialize)]
struct Profile {
    /// `none`, `refused` or `ready`.
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    rows: Option<u64>,
    /// Why it is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

#[derive(Debug, Serialize)]
struct Layout {
    one_row: &'static str,
    block: &'static str,
    /// Absent where rows are taken one after the other.
    #[serde(skip_serializing_if = "Option::is_none")]
    block_from_rows: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instructions: Option<String>,
    coded_row_bytes: usize,
    bytes_per_split: f64,
    measured: Vec<Measured>,
    /// All of it, for people.
    #[serde(skip)]
    described: String,
}

#[derive(Debug, Serialize)]
struct Measured {
    layout: &'static str,
    one_row_ns: Option<u64>,
    block_row_ns: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Feature {
    name: String,
    /// `number` or `category`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The categories that the model knows; absent where it knows codes only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    categories: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Output {
    name: String,
    datatype: String,
    /// -1 is the number of rows.
    shape: Vec<i64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    labels: Vec<String>,
    default: bool,
}

/// How much of a long list is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    Some,
    All,
}

/// Names of a list that are shown: two or three lines.
const SHOWN: usize = 20;
/// Where the text of a page begins, and its last column on a plain terminal.
const INDENT: usize = 14;
const WIDTH: usize = 80;

impl Profile {
    fn of(reference: &Reference) -> Profile {
        Profile {
            state: reference.name(),
            rows: reference.profile().map(|profile| profile.rows),
            reason: match reference {
                Reference::Refused(reason) => Some(reason.clone()),
                _ => None,
            },
        }
    }

    fn described(&self) -> String {
        match (self.rows, &self.reason) {
            (Some(rows), _) => format!("of {rows} rows"),
            (None, Some(reason)) => format!("refused: {reason}"),
            (None, None) => "no profile.json: hedgerow profile makes one".to_string(),
        }
    }
}

impl Page {
    /// Describes a revision that took this long to load.
    pub fn new(dir: &Path, revision: &Revision, took: Duration) -> Page {
        let outline = revision.outline();
        Page {
            path: dir.display().to_string(),
            format: outline.format.platform(),
            library: outline.format.library(),
            library_version: outline.library_version.clone(),
            engine: outline.engine,
            refused_by_forest: outline.refused_by_forest.clone(),
            objective: outline.objective.clone(),
            trees: outline.trees,
            input_datatype: outline.element.dtype().to_string(),
            features: features(revision),
            outputs: outputs(revision),
            memory_bytes: revision.engine.memory_bytes(),
            digest: revision.digest.clone(),
            golden_rows: revision.golden_rows,
            verified_rows: revision.verified_rows,
            profile: Profile::of(&revision.reference),
            unfit_rules: revision.rules.unfit().to_vec(),
            row_ns: revision.cost.row_ns,
            batch_row_ns: revision.cost.batch_row_ns,
            layout: revision.engine.layouts().map(Layout::new),
            load_ms: took.as_micros() as f64 / 1e3,
        }
    }

    /// One line of JSON.
    pub fn json(&self) -> String {
        // Strings and numbers only: there is nothing that JSON cannot hold.
        let mut line = serde_json::to_string(self).unwrap_or_default();
        line.push('\n');
        line
    }

    /// A page for people.
    pub fn text(&self, amount: Amount) -> String {
        let mut text = format!("{}\n", self.path);
        let mut line = |name: &str, value: &str| {
            let pad = INDENT - 2;
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  {name:<pad$}{value}");
        };
        let version = self.library_version.as_deref();
        let written = version.map_or(String::new(), |version| format!(", version {version}"));
        line("format", &format!("{}{written}", self.format));
        line("engine", self.engine);
        if let Some(reason) = &self.refused_by_forest {
            line("", &format!("not forest: {reason}"));
        }
        if !self.objective.is_empty() {
            line("objective", &self.objective);
        }
        if let Some(trees) = self.trees {
            line("trees", &trees.to_string());
        }
        let count = self.features.len();
        line("features", &format!("{count} of {}", self.input_datatype));
        let names = self.features.iter().map(Feature::described).collect();
        for names in wrapped(names, amount) {
            line("", &names);
        }
        for (position, output) in self.outputs.iter().enumerate() {
            let name = if position == 0 { "outputs" } else { "" };
            line(name, &output.described());
            let mut labels = output.labels.clone();
            if let Some(first) = labels.first_mut() {
                first.insert_str(0, "labels: ");
            }
            for labels in wrapped(labels, amount) {
                line("", &format!("  {labels}"));
            }
        }
        line("memory", &bytes(self.memory_bytes));
        line("digest", &self.digest);
        line("golden", &self.golden());
        line("verified", &self.verified());
        line("profile", &self.profile.described());
        for rule in &self.unfit_rules {
            line("rule", &format!("not of this model: {rule}"));
        }
        line(
            "cost",
            &format!(
                "{} for one row, {} for each of 64",
                nanoseconds(self.row_ns),
                nanoseconds(self.batch_row_ns)
            ),
        );
        if let Some(layout) = &self.layout {
            line("layout", &layout.described);
            for measured in layout.table() {
                line("", &measured);
            }
        }
        line("loaded in", &format!("{:.1} ms", self.load_ms));
        text
    }

    fn golden(&self) -> String {
        match self.golden_rows {
            0 => "no golden.json".to_string(),
            rows => format!("{rows} rows, all reproduced"),
        }
    }

    fn verified(&self) -> String {
        match self.verified_rows {
            0 if self.engine == self.library => "the library itself computes".to_string(),
            0 => format!("not compared with {} (--verify does)", self.library),
            rows => format!("{rows} rows, all as {} gives them", self.library),
        }
    }
}

impl Layout {
    fn new(layouts: Layouts) -> Layout {
        let ns = |ns: f64| ns.round() as u64;
        Layout {
            one_row: layouts.one,
            block: layouts.block,
            block_from_rows: Some(layouts.block_from).filter(|from| *from != usize::MAX),
            instructions: layouts.isa.map(|isa| isa.to_string()),
            coded_row_bytes: layouts.lanes,
            bytes_per_split: layouts.bytes_per_split,
            measured: (layouts.measured.iter())
                .map(|measured| Measured {
                    layout: measured.layout,
                    one_row_ns: measured.one_ns.map(ns),
                    block_row_ns: measured.block_row_ns.map(ns),
                })
                .collect(),
            described: layouts.to_string(),
        }
    }

    /// What was measured, one line per layout.
    fn table(&self) -> Vec<String> {
        let cell = |ns: Option<u64>| ns.map_or("-".to_string(), nanoseconds);
        let row = |name: &str, one: &str, block: &str| format!("{name:<12}{one:>12}{block:>16}");
        let mut lines = Vec::new();
        if !self.measured.is_empty() {
            lines.push(row("measured", "one row", "a row of 64"));
        }
        for measured in &self.measured {
            let (one, block) = (cell(measured.one_row_ns), cell(measured.block_row_ns));
            lines.push(row(measured.layout, &one, &block));
        }
        lines
    }
}

impl Feature {
    fn described(&self) -> String {
        match (self.kind, self.categories.len()) {
            ("category", 0) => format!("{} (category)", self.name),
            ("category", known) => format!("{} (one of {known})", self.name),
            _ => self.name.clone(),
        }
    }
}

impl Output {
    fn described(&self) -> String {
        let shape: Vec<String> = self
            .shape
            .iter()
            .map(|size| match size {
                -1 => "n".to_string(),
                size => size.to_string(),
            })
            .collect();
        let asked = if self.default { "" } else { ", when asked for" };
        format!(
            "{} {} [{}]{asked}",
            self.name,
            self.datatype,
            shape.join(", ")
        )
    }
}

fn features(revision: &Revision) -> Vec<Feature> {
    let columns = revision.signature.columns.iter();
    columns
        .map(|column| {
            let (kind, categories) = match &column.kind {
                FeatureKind::Number => ("number", Vec::new()),
                FeatureKind::Category { categories, .. } => {
                    ("category", categories.iter().map(category).collect())
                }
            };
            Feature {
                name: column.name.clone(),
                kind,
                categories,
            }
        })
        .collect()
}

fn category(category: &Category) -> String {
    match category {
        Category::Text(name) => name.clone(),
        Category::Number(number) => number.to_string(),
    }
}

fn outputs(revision: &Revision) -> Vec<Output> {
    let outputs = revision.signature.outputs.iter();
    outputs
        .map(|output| {
            let mut shape = vec![-1];
            shape.extend(output.columns.map(|columns| columns as i64));
            Output {
                name: output.name.clone(),
                datatype: output.dtype.to_string(),
                shape,
                labels: output.labels.clone(),
                default: output.default,
            }
        })
        .collect()
}

/// Names in lines of the page's width.
fn wrapped(mut names: Vec<String>, amount: Amount) -> Vec<String> {
    let more = match amount {
        Amount::Some => names.len().saturating_sub(SHOWN),
        Amount::All => 0,
    };
    if more > 0 {
        names.truncate(SHOWN);
    }
    let last = names.len().saturating_sub(1);
    for name in names.iter_mut().take(last) {
        name.push(',');
    }
    if more > 0 {
        names.push(format!("… and {more} more"));
    }
    let mut lines: Vec<String> = Vec::new();
    for name in names {
        match lines.last_mut() {
            Some(line) if INDENT + line.chars().count() + 1 + name.chars().count() <= WIDTH => {
                line.push(' ');
                line.push_str(&name);
            }
            _ => lines.push(name),
        }
    }
    lines
}

fn bytes(count: usize) -> String {
    let mut size = count as f64;
    for unit in ["B", "KiB", "MiB"] {
        if size < 1024.0 {
            let digits = usize::from(unit != "B");
            return format!("{size:.digits$} {unit}");
        }
        size /= 1024.0;
    }
    format!("{size:.1} GiB")
}

fn nanoseconds(count: u64) -> String {
    match count {
        0..10_000 => format!("{count} ns"),
        10_000..10_000_000 => format!("{:.1} µs", count as f64 / 1e3),
        _ => format!("{:.1} ms", count as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_are_cut_and_wrapped() {
        let names: Vec<String> = (0..118).map(|i| format!("feature_{i}")).collect();
        let lines = wrapped(names.clone(), Amount::Some);
        assert!(
            lines.iter().all(|line| line.len() + INDENT <= WIDTH + 2),
            "{lines:?}"
        );
        assert!(lines.concat().ends_with("feature_19 … and 98 more"));
        let all = wrapped(names, Amount::All);
        assert!(all.concat().ends_with("feature_117"));
        assert!(wrapped(Vec::new(), Amount::Some).is_empty());
    }

    #[test]
    fn a_profile_is_told_by_its_rows() {
        let profile = |rows, reason| Profile {
            state: "",
            rows,
            reason,
        };
        assert_eq!(profile(Some(7), None).described(), "of 7 rows");
        let refused = profile(None, Some("why".to_string()));
        assert_eq!(refused.described(), "refused: why");
    }

    #[test]
    fn amounts_have_units() {
        assert_eq!(bytes(17), "17 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(3 << 30), "3.0 GiB");
        assert_eq!(nanoseconds(480), "480 ns");
        assert_eq!(nanoseconds(12_340), "12.3 µs");
        assert_eq!(nanoseconds(12_340_000), "12.3 ms");
    }
}
