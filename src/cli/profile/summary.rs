//! What a profile holds, for people and as JSON.

use serde_json::{Value, json};

use super::super::format::{self, count, cut, percent};
use crate::drift::profile::{Categories, Category, Numbers, Profile, Values};

/// A line of the table.
struct Line {
    name: String,
    kind: &'static str,
    bins: usize,
    missing: u64,
    values: String,
}

/// Characters of a name, and of what is said of values.
const NAME: usize = 32;
const VALUES: usize = 48;

/// A line per feature, and one of what was counted.
pub fn table(profile: &Profile) -> String {
    let features = profile
        .features
        .iter()
        .map(|feature| match &feature.values {
            Values::Number(numbers) => Line {
                name: feature.name.clone(),
                kind: "number",
                bins: numbers.counts.len(),
                missing: feature.missing,
                values: range(numbers),
            },
            Values::Category(categories) => Line {
                name: feature.name.clone(),
                kind: "category",
                bins: categories.counts.len(),
                missing: feature.missing,
                values: names(categories),
            },
        });
    let score = profile.score.iter().map(|score| Line {
        name: "(score)".to_string(),
        kind: "number",
        bins: score.values.counts.len(),
        missing: score.missing,
        values: range(&score.values),
    });
    let lines: Vec<Line> = features.chain(score).collect();
    let longest = lines.iter().map(|line| line.name.chars().count()).max();
    let width = longest.unwrap_or(0).clamp("feature".len(), NAME);
    let mut text = format!(
        "{:<width$}  {:<8}  {:>4}  {:>7}  values\n",
        "feature", "type", "bins", "missing"
    );
    for line in &lines {
        text.push_str(&format!(
            "{:<width$}  {:<8}  {:>4}  {:>7}  {}\n",
            cut(&line.name, width),
            line.kind,
            line.bins,
            percent(line.missing as f64 / profile.rows.max(1) as f64),
            line.values,
        ));
    }
    if let Some((rows, positives)) = labelled(profile) {
        let share = percent(positives as f64 / rows.max(1) as f64);
        text.push_str(&format!("{} labels, {share} positive\n", count(rows)));
    }
    text.push_str(&format!("{} rows\n", count(profile.rows)));
    text
}

/// One object.
pub fn json(profile: &Profile, output: &str) -> String {
    let features = profile.features.iter().map(|feature| {
        let mut said = match &feature.values {
            Values::Number(numbers) => of_numbers(numbers),
            Values::Category(it) => json!({
                "type": "category",
                "categories": it.names.len() + it.rare.len(),
                "complete": it.complete,
                "bins": it.counts.len(),
            }),
        };
        said["name"] = json!(feature.name);
        said["missing"] = json!(feature.missing);
        said
    });
    let score = profile.score.as_ref().map(|score| {
        let mut said = of_numbers(&score.values);
        said["missing"] = json!(score.missing);
        said
    });
    let calibration = labelled(profile).map(|(rows, positives)| {
        json!({
            "bins": profile.calibration.as_ref().map_or(0, |it| it.rows.len()),
            "rows": rows,
            "positives": positives,
        })
    });
    let features: Vec<Value> = features.collect();
    let said = json!({
        "output": output,
        "rows": profile.rows,
        "digest": profile.digest,
        "model": profile.model,
        "label": profile.label,
        "features": features,
        "score": score,
        "calibration": calibration,
    });
    format!("{said}\n")
}

fn of_numbers(numbers: &Numbers) -> Value {
    json!({
        "type": "number",
        "range": numbers.range,
        "mean": numbers.mean,
        "std": numbers.std,
        "whole": numbers.whole,
        "bins": numbers.counts.len(),
    })
}

/// Labels that were counted, and the positive ones.
fn labelled(profile: &Profile) -> Option<(u64, u64)> {
    let calibration = profile.calibration.as_ref()?;
    Some((
        calibration.rows.iter().sum(),
        calibration.positives.iter().sum(),
    ))
}

fn range(numbers: &Numbers) -> String {
    match numbers.range {
        None => "none".to_string(),
        Some([low, high]) if low == high => format!("always {}", format::setting(low)),
        Some([low, high]) => format!("{} to {}", number(low), number(high)),
    }
}

/// Small whole numbers have no digits behind the point.
fn number(value: f64) -> String {
    match value.fract() == 0.0 && value.abs() < 1e3 {
        true => format::setting(value),
        false => format::number(value),
    }
}

fn names(categories: &Categories) -> String {
    let names = categories.names.iter().map(|name| match name {
        Category::Text(text) => text.clone(),
        Category::Number(number) => format::setting(*number),
    });
    let listed: Vec<String> = names.take(8).collect();
    let listed = match listed.is_empty() {
        true => "none".to_string(),
        false => cut(&listed.join(", "), VALUES),
    };
    let known = categories.names.len() + categories.rare.len();
    match (categories.complete, known) {
        (true, ..=8) => listed,
        (true, _) => format!("{listed} ({} in all)", count(known as u64)),
        (false, _) => format!("{listed} (more than are counted)"),
    }
}
