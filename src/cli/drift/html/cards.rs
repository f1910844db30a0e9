//! The cards at the head of the page: windows, reference, alarm, score and estimate.

use std::fmt::Write as _;

use super::{NAME, chip, escaped};
use crate::cli::drift::words::{self, Quality, statistic};
use crate::cli::format::{count, cut, setting, time};
use crate::drift::report::{Estimate, Reference, Report, Thresholds, Verdict, Window};

/// Calls of an alarm that are told.
const CALLS: usize = 8;
/// Characters of a fingerprint, and of a threshold.
const SHORT: usize = 16;

/// All cards.
pub fn all(html: &mut String, report: &Report) {
    html.push_str("<section class=\"cards\">\n");
    for window in &report.windows {
        of_window(html, window, &report.thresholds);
    }
    if let Reference::Ready {
        rows,
        source,
        fingerprint,
    } = &report.reference
    {
        let told = match source.as_str() {
            "training" => "rows of training data",
            _ => "rows, the first that were served",
        };
        let told = format!("{told}; profile {}", cut(fingerprint, SHORT));
        card(html, "Reference", &count(*rows), &told);
        let held = &report.alarm;
        let big = format!("{} of {}", held.windows, held.needed);
        card(html, "Alarm", &big, &alarm(report));
    }
    if report.skipped_rows > 0 {
        let told = "rows were answered and not counted: too many in a second";
        card(html, "Skipped", &count(report.skipped_rows), told);
    }
    if let Some(window) = words::lead(report) {
        if let Some(score) = &window.score {
            let big = format!("{} {}", chip(score.verdict), statistic(score.psi_excess));
            let told = format!("PSI excess of the model's scores, {} window", window.name);
            card(html, "Score", &big, &told);
        }
        if let Some(estimate) = &window.estimate {
            estimated(html, estimate);
        }
    }
    html.push_str("</section>\n");
}

fn of_window(html: &mut String, window: &Window, thresholds: &Thresholds) {
    let (rows, over) = (count(window.rows), words::length(window));
    let (from, to) = (time(window.from_ms), time(window.to_ms));
    let (big, told) = match window.verdict {
        Verdict::Unknown => {
            let needed = count(thresholds.rows_min);
            (rows, format!("rows in {over}; {needed} are needed"))
        }
        _ => {
            let drifted = count(words::drifted(window).count() as u64);
            let all = count(window.features.len() as u64);
            let told = format!("features drifted; {rows} rows in {over}");
            (format!("{drifted} of {all}"), told)
        }
    };
    let title = format!("{} window", window.name);
    let big = format!("{} {big}", chip(window.verdict));
    card(html, &title, &big, &format!("{told}, {from} to {to} UTC"));
}

/// `big` is HTML, the other two are texts.
fn card(html: &mut String, title: &str, big: &str, told: &str) {
    let (title, told) = (escaped(title), escaped(told));
    let _written = writeln!(
        html,
        "<div class=\"card\"><h3>{title}</h3><p class=\"big\">{big}</p><p class=\"faint\">{told}</p></div>"
    );
}

fn alarm(report: &Report) -> String {
    let mut told = "short windows in a row at act".to_string();
    if let Some(last) = &report.alarm.last {
        told = format!("{told}; last alarm {} UTC", time(last.at_ms));
        for call in last.calls.iter().take(CALLS) {
            let detail = cut(&call.detail, NAME);
            let detail = if detail.is_empty() {
                detail
            } else {
                format!(" ({detail})")
            };
            let _written = write!(told, ", {} {}{detail}", call.target, call.outcome);
        }
    }
    told
}

fn estimated(html: &mut String, estimate: &Estimate) {
    let row = |it: &Quality| {
        format!(
            "<tr><th>{}<td>{}<td class=\"faint\">{}",
            it.name,
            statistic(it.value),
            statistic(it.reference)
        )
    };
    let rows: Vec<String> = words::qualities(estimate).iter().map(row).collect();
    let threshold = setting(estimate.threshold);
    let threshold = cut(&threshold, SHORT);
    let _written = writeln!(
        html,
        "<div class=\"card quality\"><h3>Quality: estimated (CBPE), not measured</h3>\
         <table class=\"small\"><tr><th><td class=\"faint\">estimate<td class=\"faint\">reference{}</table>\
         <p class=\"faint\">{} rows, positive from {} on</p></div>",
        rows.concat(),
        count(estimate.rows),
        escaped(&threshold)
    );
}
