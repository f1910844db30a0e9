//! A slot's drift on a page of the terminal: the verdict and what it rests on, then the features.

use super::super::format::{Ink, WIDTH, count, cut, setting, time, wrapped};
use super::super::trial::{INDENT, line, lines};
use super::words::{advice, drifted, features, lead, length, mark, qualities};
use super::words::{reference, share, statistic, thresholds};
use super::{View, table};
use crate::drift::report::{Estimate, Feature, Held, Reference, Report, Verdict, Window};

/// Cells of the bar of rows that are collected.
const BAR: u64 = 30;
/// Characters of a verdict and its mark.
const VERDICT: usize = 11;
/// Calls of an alarm that are shown.
const CALLS: usize = 8;

/// The page.
pub fn text(report: &Report, view: &View) -> String {
    let room = room(view);
    let mut text = head(report, room, view.ink);
    if let Reference::Ready { .. } = &report.reference {
        text.extend(lines(
            "thresholds",
            &folded(&thresholds(&report.thresholds), room),
        ));
        for window in &report.windows {
            text.extend(of_window(window, report, view));
        }
        text.extend(alarm(&report.alarm, room));
    }
    let shown = shown(report, view);
    for window in &shown {
        let score = window.score.iter();
        text.extend(score.flat_map(|score| of_score(score, &window.name, view)));
        text.extend(window.estimate.iter().flat_map(|it| estimate(it, room)));
    }
    if report.skipped_rows > 0 {
        let rows = count(report.skipped_rows);
        let told = format!("{rows} rows were answered and not counted: too many in a second");
        text.extend(lines("skipped", &folded(&told, room)));
    }
    for window in &shown {
        text.push(String::new());
        text.push(title(window, view.ink));
        text.extend(table::lines(window, &report.thresholds, view));
    }
    if !shown.is_empty() {
        text.push(String::new());
        let legend = table::legend(&report.thresholds);
        text.extend(
            folded(&legend, view.width.unwrap_or(WIDTH))
                .iter()
                .map(|it| view.ink.faint(it)),
        );
    }
    if let Some(width) = view.width {
        text = text.iter().map(|line| clipped(line, width)).collect();
    }
    text.join("\n") + "\n"
}

fn head(report: &Report, room: usize, ink: Ink) -> Vec<String> {
    let revision = match (report.revision, &report.mark) {
        (Some(revision), Some(mark)) => format!("revision {revision} ({mark})"),
        (Some(revision), None) => format!("revision {revision}"),
        (None, _) => "nothing loaded".to_string(),
    };
    let verdict = format!("{} {}", mark(report.verdict), report.verdict.name());
    let verdict = table::painted(ink, report.verdict, &verdict);
    let mut text = vec![
        format!(
            "{}   {revision} · drift: {verdict}",
            ink.strong(&report.slot)
        ),
        String::new(),
    ];
    text.extend(lines(
        "reference",
        &folded(&reference(&report.reference), room),
    ));
    if let Reference::Collecting { rows, wanted } = report.reference {
        text.push(line("", &progress(rows, wanted)));
    }
    for told in advice(report) {
        text.extend(folded(told, room).iter().map(|it| line("", it)));
    }
    text
}

/// Windows whose features are shown: what was asked for, or the one that the verdict rests on.
fn shown<'a>(report: &'a Report, view: &View) -> Vec<&'a Window> {
    match view.window {
        Some(which) => {
            let windows = report.windows.iter();
            windows.filter(|window| which.has(window)).collect()
        }
        None => lead(report).into_iter().collect(),
    }
}

/// `! watch    52,110 rows over 1 h, until … UTC; 2 of 14 features`.
fn of_window(window: &Window, report: &Report, view: &View) -> Vec<String> {
    let (rows, over, until) = (count(window.rows), length(window), time(window.to_ms));
    let told = match window.verdict {
        Verdict::Unknown => {
            let needed = count(report.thresholds.rows_min);
            format!("{rows} of {needed} rows over {over}, until {until} UTC")
        }
        _ => {
            let many = count(drifted(window).count() as u64);
            let all = features(window.features.len());
            format!("{rows} rows over {over}, until {until} UTC; {many} of {all}")
        }
    };
    judged(&window.name, window.verdict, &told, view)
}

/// Lines of a text with a verdict before it.
fn judged(name: &str, verdict: Verdict, told: &str, view: &View) -> Vec<String> {
    let mut told = folded(told, room(view).saturating_sub(VERDICT).max(VERDICT));
    for (index, line) in told.iter_mut().enumerate() {
        let before = match index {
            0 => format!("{} {}", mark(verdict), verdict.name()),
            _ => String::new(),
        };
        let before = table::painted(view.ink, verdict, &format!("{before:<VERDICT$}"));
        line.insert_str(0, &before);
    }
    lines(name, &told)
}

fn title(window: &Window, ink: Ink) -> String {
    let name = window.name.to_uppercase();
    let (from, to) = (time(window.from_ms), time(window.to_ms));
    format!(
        "{}   {from} to {to} UTC, worst first",
        ink.strong(&format!("{name} WINDOW"))
    )
}

fn alarm(held: &Held, room: usize) -> Vec<String> {
    let told = format!(
        "{} of {} short windows in a row at act; from {} on there is an alarm",
        held.windows, held.needed, held.needed
    );
    let mut told = folded(&told, room);
    let Some(last) = &held.last else {
        return lines("alarm", &told);
    };
    let (at, quiet) = (time(last.at_ms), time(last.quiet_until_ms));
    let last_told = format!("the last at {at} UTC, no other until {quiet} UTC");
    told.extend(folded(&last_told, room));
    let mut text = lines("alarm", &told);
    let mut calls: Vec<String> = Vec::new();
    for call in last.calls.iter().take(CALLS) {
        let detail = match call.detail.is_empty() {
            true => String::new(),
            false => format!(": {}", call.detail),
        };
        calls.extend(folded(
            &format!("{} {}{detail}", call.target, call.outcome),
            room,
        ));
    }
    text.extend(lines("calls", &calls));
    text
}

fn of_score(score: &Feature, window: &str, view: &View) -> Vec<String> {
    let told = format!(
        "{window}: PSI excess {}, JS {}, KS {}, Wasserstein {} std",
        statistic(score.psi_excess),
        statistic(score.js),
        statistic(score.ks),
        statistic(score.wasserstein_std)
    );
    judged("score", score.verdict, &told, view)
}

/// Never to be taken for a measurement.
fn estimate(estimate: &Estimate, room: usize) -> Vec<String> {
    let qualities = qualities(estimate).into_iter().map(|it| {
        let (now, then) = (statistic(it.value), statistic(it.reference));
        format!("{} {now} (reference {then})", it.name)
    });
    let qualities: Vec<String> = qualities.collect();
    let rows = count(estimate.rows);
    let threshold = cut(&setting(estimate.threshold), 12);
    let told = format!("estimated (CBPE), not measured; {rows} rows, positive from {threshold} on");
    let mut told = folded(&told, room);
    told.extend(folded(&qualities.join(", "), room));
    lines("quality", &told)
}

fn progress(rows: u64, wanted: u64) -> String {
    let part = match wanted {
        0 => 1.0,
        _ => (rows as f64 / wanted as f64).min(1.0),
    };
    let full = (part * BAR as f64) as usize;
    let rest = (BAR as usize).saturating_sub(full);
    format!(
        "{}{} {}",
        "█".repeat(full),
        "░".repeat(rest),
        share(Some(part))
    )
}

/// Characters behind the names of lines.
fn room(view: &View) -> usize {
    let width = view.width.unwrap_or(WIDTH);
    width.saturating_sub(INDENT).max(INDENT)
}

/// In lines, long words cut: a reason may be one.
fn folded(text: &str, width: usize) -> Vec<String> {
    let lines = wrapped(text, width);
    lines.iter().map(|line| cut(line, width)).collect()
}

/// A line's first `width` characters, with all of its colours.
fn clipped(line: &str, width: usize) -> String {
    let mut shown = 0;
    let mut in_colour = false;
    let is_kept = |character: &char| {
        in_colour |= *character == '\u{1b}';
        let is_kept = in_colour || shown < width;
        if !in_colour {
            shown += 1;
        }
        in_colour &= *character != 'm';
        is_kept
    };
    line.chars().filter(is_kept).collect()
}
