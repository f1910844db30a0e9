//! All slots, a line each.

use super::super::format::{Ink, age, count, money_interval};
use super::super::report::{Report, Trial};
use super::super::trial::{mark, painted};
use super::page::problems;

/// One cell of a line, and how it looks in colour. Both have the same characters.
struct Cell {
    plain: String,
    painted: String,
}

/// Blanks between two columns.
const GAP: usize = 3;

/// A table of all slots, problems of the journal above it.
pub fn text(reports: &[Report], ink: Ink) -> String {
    if reports.is_empty() {
        return "no slot has trials: set on_arrival or record in [rollout] or [slots.NAME.rollout]\n"
            .to_string();
    }
    let heads = [
        "slot",
        "champion",
        "challengers",
        "labels",
        "cost of waiting an hour",
    ];
    let mut rows = vec![heads.map(|head| Cell::new(head, ink.faint(head)))];
    rows.extend(reports.iter().map(|report| row(report, ink)));
    let width = |column: usize| {
        let widths = rows.iter().map(|row| row[column].width());
        widths.max().unwrap_or(0)
    };
    let widths = [0, 1, 2, 3].map(width);
    let mut text = of_journal(reports, ink);
    for row in &rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            line.push_str(&cell.painted);
            let pad = widths
                .get(column)
                .map_or(0, |width| width + GAP - cell.width());
            line.push_str(&" ".repeat(pad));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

impl Cell {
    fn new(plain: &str, painted: String) -> Cell {
        Cell {
            plain: plain.to_string(),
            painted,
        }
    }

    fn width(&self) -> usize {
        self.plain.chars().count()
    }
}

/// What is wrong with the journal, once for all slots that say the same.
fn of_journal(reports: &[Report], ink: Ink) -> String {
    let mut said: Vec<String> = Vec::new();
    for problem in reports.iter().flat_map(|report| problems(report, ink)) {
        if !said.contains(&problem) {
            said.push(problem);
        }
    }
    said.iter().map(|problem| format!("{problem}\n")).collect()
}

fn row(report: &Report, ink: Ink) -> [Cell; 5] {
    let champion = report.champion.as_ref().map_or("none".to_string(), |it| {
        let revision = it.name.revision;
        match it.since_ms {
            0 => revision.to_string(),
            since => format!("{revision} for {}", age(since, report.at_ms)),
        }
    });
    let labels = report.challengers.iter().map(|it| it.labels).max();
    let labels = labels.or(report.champion.as_ref().map(|it| it.matured));
    let labels = count(labels.unwrap_or(0));
    let waiting = match &report.cost_of_waiting {
        Some(it) if it.per_hour != 0.0 => money_interval(it.per_hour, it.lower, it.upper),
        _ => super::super::format::UNKNOWN.to_string(),
    };
    [
        Cell::new(&report.slot, ink.strong(&report.slot)),
        Cell::new(&champion, champion.clone()),
        challengers(&report.challengers, ink),
        Cell::new(&labels, labels.clone()),
        Cell::new(&waiting, waiting.clone()),
    ]
}

/// `4 at shadow ? hold; 5 at 5% ✓ promote`.
fn challengers(trials: &[Trial], ink: Ink) -> Cell {
    let told = |trial: &Trial| {
        let verdict = trial.verdict();
        let lead = format!("{} at {} ", trial.standing.name.revision, trial.stage);
        let word = format!("{} {}", mark(verdict), trial.decision);
        (
            format!("{lead}{word}"),
            format!("{lead}{}", painted(ink, verdict, &word)),
        )
    };
    let (plain, painted): (Vec<String>, Vec<String>) = trials.iter().map(told).unzip();
    match plain.is_empty() {
        true => Cell::new("none", "none".to_string()),
        false => Cell::new(&plain.join("; "), painted.join("; ")),
    }
}
