//! A report as one page of HTML for a browser or a printer: no other file, no script, no network.
//! Every text that comes from a server is escaped.

mod cards;
mod chart;
mod numbers;
mod ranking;

use std::collections::HashMap;
use std::fmt::Write as _;

use super::super::format::{count, cut, time};
use super::words::{self, statistic};
use crate::drift::report::{Feature, Reference, Report, Verdict, Window};

/// Features with histograms, so that a page of thousands stays one that a browser opens.
const DRAWN: usize = 200;
/// Characters of a name.
pub const NAME: usize = 120;
const STYLE: &str = include_str!("html/style.css");

/// One feature, in the window that the page is about and in the other one.
#[derive(Clone, Copy)]
struct Pair<'a> {
    lead: &'a Feature,
    other: Option<&'a Feature>,
}

/// The page.
pub fn page(report: &Report) -> String {
    let slot = escaped(&report.slot);
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>Drift of {slot}</title>\n<style>\n{STYLE}</style></head>\n<body><main>\n"
    );
    head(&mut html, report);
    cards::all(&mut html, report);
    if let Some(lead) = words::lead(report) {
        let other = report.windows.iter().find(|it| it.name != lead.name);
        let pairs = paired(lead, other);
        if pairs
            .iter()
            .any(|pair| pair.lead.verdict != Verdict::Unknown)
        {
            ranking::section(&mut html, report, (lead, other), &pairs);
        }
        histograms(&mut html, (lead, other), &pairs);
        for window in [Some(lead), other].into_iter().flatten() {
            numbers::table(&mut html, window);
        }
        numbers::explanations(&mut html, &report.thresholds);
    }
    html.push_str("</main></body></html>\n");
    html
}

/// A text as HTML, in attributes too.
pub fn escaped(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            other => html.push(other),
        }
    }
    html
}

/// A name that somebody else chose: cut, escaped, and read in its own direction.
pub fn named(name: &str) -> String {
    match name.trim().is_empty() {
        true => "<bdi class=\"faint\">(no name)</bdi>".to_string(),
        false => format!("<bdi>{}</bdi>", escaped(&cut(name, NAME))),
    }
}

/// A verdict as a coloured word with its mark.
pub fn chip(verdict: Verdict) -> String {
    let name = verdict.name();
    format!(
        "<span class=\"chip {name}\">{} {name}</span>",
        words::mark(verdict)
    )
}

/// The same of a feature, or that it is ignored.
fn chip_of(feature: &Feature) -> String {
    format!(
        "<span class=\"chip {}\">{} {}</span>",
        words::colour_of(feature).name(),
        words::mark_of(feature),
        words::verdict_of(feature)
    )
}

/// A length in per cent of another, for a style.
pub fn length(part: f64) -> String {
    match part.is_finite() {
        true => format!("{:.2}%", part.clamp(0.0, 1.0) * 100.0),
        false => "0%".to_string(),
    }
}

fn head(html: &mut String, report: &Report) {
    let revision = report
        .revision
        .map_or("nothing loaded".to_string(), |it| format!("revision {it}"));
    let mark = report.mark.as_ref().map_or(String::new(), |mark| {
        format!(" · <code>{}</code>", escaped(&cut(mark, NAME)))
    });
    let until = report.windows.iter().map(|it| it.to_ms).max();
    let until = until.map_or(String::new(), |at| format!(" · until {} UTC", time(at)));
    let (title, told) = headline(report);
    let verdict = report.verdict.name();
    // Writing to a string cannot fail.
    let _written = write!(
        html,
        "<header class=\"{verdict}\"><p class=\"over\">Drift of {} · {revision}{mark}{until}</p>\n\
         <h1><span class=\"badge\">{}</span> {title}</h1>\n<p class=\"told\">{}</p>\n",
        named(&report.slot),
        words::mark(report.verdict),
        escaped(&told)
    );
    let advice = words::advice(report);
    if !advice.is_empty() {
        let _written = writeln!(html, "<p class=\"told\">{}</p>", escaped(&advice.join(" ")));
    }
    if let Reference::Collecting { rows, wanted } = report.reference {
        let part = rows as f64 / wanted.max(1) as f64;
        let _written = writeln!(
            html,
            "<div class=\"track wide\"><i class=\"live\" style=\"width:{}\"></i></div>",
            length(part)
        );
    }
    html.push_str("</header>\n");
}

/// The verdict in words: a title, and what it rests on.
fn headline(report: &Report) -> (&'static str, String) {
    if !matches!(report.reference, Reference::Ready { .. }) {
        let title = match report.reference {
            Reference::Collecting { .. } => "The reference is being collected",
            Reference::Refused { .. } => "The profile was refused",
            _ => "Drift is not watched here",
        };
        return (title, words::reference(&report.reference));
    }
    let title = match report.verdict {
        Verdict::Unknown => "Too few rows to say",
        Verdict::None => "The data are like the reference",
        Verdict::Watch => "The data begin to differ from the reference",
        Verdict::Act => "The data differ from the reference: something is to be done",
    };
    let context = words::context(report);
    let told = context
        .split_once(" — ")
        .map_or(context.as_str(), |(_, told)| told);
    (title, told.to_string())
}

/// The features of a window, the worst first in either of both.
fn paired<'a>(lead: &'a Window, other: Option<&'a Window>) -> Vec<Pair<'a>> {
    let mut names: HashMap<&str, &Feature> = HashMap::new();
    for feature in other.iter().flat_map(|window| &window.features) {
        names.entry(&feature.name).or_insert(feature);
    }
    let pairs = lead.features.iter().map(|feature| Pair {
        lead: feature,
        other: names.get(feature.name.as_str()).copied(),
    });
    let mut pairs: Vec<Pair<'a>> = pairs.collect();
    // Stable: the server's order among those that are alike.
    pairs.sort_by_key(|pair| std::cmp::Reverse(pair.verdict()));
    pairs
}

impl Pair<'_> {
    fn verdict(&self) -> Verdict {
        let other = self.other.map_or(Verdict::Unknown, |it| it.verdict);
        self.lead.verdict.max(other)
    }

    fn excess(&self) -> f64 {
        let of = |it: &Feature| it.psi_excess.filter(|it| it.is_finite()).unwrap_or(0.0);
        of(self.lead).max(self.other.map_or(0.0, of))
    }
}

fn histograms(html: &mut String, (lead, other): (&Window, Option<&Window>), pairs: &[Pair]) {
    let mark = other.map_or(String::new(), |it| {
        format!(
            "<span><i class=\"key tick\"></i>{} window</span>",
            escaped(&it.name)
        )
    });
    let _written = write!(
        html,
        "<section><h2>Histograms</h2>\n<p class=\"legend\"><span><i class=\"key ref\"></i>reference</span>\
         <span><i class=\"key live\"></i>{} window</span>{mark}</p>\n\
         <p class=\"faint\">Shares of the rows with a value. Columns are the profile's bins: they hold about \
         equally many reference rows, so they are drawn equally wide and not to scale; the numbers \
         beneath are their borders. The outer columns hold what lies beyond, too.</p>\n<div class=\"grid\">\n",
        escaped(&lead.name)
    );
    if let Some(score) = &lead.score {
        let other = other.and_then(|it| it.score.as_ref());
        let pair = Pair { lead: score, other };
        one(html, "score", "The model's score", &pair);
    }
    for (index, pair) in pairs.iter().take(DRAWN).enumerate() {
        one(html, &format!("f{index}"), &pair.lead.name, pair);
    }
    html.push_str("</div>\n");
    if pairs.len() > DRAWN {
        let more = count((pairs.len() - DRAWN) as u64);
        let _written = writeln!(
            html,
            "<p class=\"faint\">{more} more features are not drawn; the table has them.</p>"
        );
    }
    html.push_str("</section>\n");
}

/// One feature: its histogram, what is missing and new, and the most telling numbers.
fn one(html: &mut String, id: &str, name: &str, pair: &Pair) {
    let feature = pair.lead;
    let second = pair.other.filter(|it| it.verdict > feature.verdict);
    let second = second.map_or(String::new(), |it| {
        format!(
            " <span class=\"chip {0}\">other window: {0}</span>",
            it.verdict.name()
        )
    });
    let _written = writeln!(
        html,
        "<article class=\"card\" id=\"{id}\"><h3>{}{second} {}</h3>\n<p class=\"faint\">{}</p>",
        named(name),
        chip_of(feature),
        escaped(&told(feature))
    );
    chart::histogram(html, feature, pair.other.map(|it| &it.bins));
    html.push_str("<div class=\"parts\">");
    let missing = (feature.missing, Some(feature.missing_reference));
    part(html, "missing", missing);
    if feature.out_of_range.is_some() {
        part(html, "out of range", (feature.out_of_range, None));
    }
    if feature.unseen.is_some() {
        part(html, "unseen", (feature.unseen, None));
    }
    html.push_str("</div></article>\n");
}

/// The numbers that are known: `PSI excess 0.4132 (act from 0.25 on) · JS 0.0512 · …`.
fn told(feature: &Feature) -> String {
    let reason = cut(&words::reason(feature), NAME);
    let mut parts = vec![match feature.psi_excess {
        Some(_) => format!("PSI excess {} ({reason})", statistic(feature.psi_excess)),
        None => reason,
    }];
    let mut add = |name: &str, value: Option<f64>, rest: &str| {
        parts.extend(value.map(|_| format!("{name} {}{rest}", statistic(value))));
    };
    add("JS", feature.js, "");
    add(
        "KS",
        feature.ks,
        &format!(" (p {})", words::p_value(feature.ks_p)),
    );
    add("W", feature.wasserstein_std, " std");
    add(
        "χ²",
        feature.chi2,
        &format!(" (p {})", words::p_value(feature.chi2_p)),
    );
    parts.push(format!("{} rows", count(feature.rows)));
    parts.join(" · ")
}

/// A share of the rows as a bar, before that of the reference.
fn part(html: &mut String, name: &str, (live, reference): (Option<f64>, Option<f64>)) {
    let bar = |class: &str, value: Option<f64>| {
        let width = length(value.unwrap_or(0.0));
        format!("<i class=\"{class}\" style=\"width:{width}\"></i>")
    };
    let was = reference.map_or(String::new(), |_| {
        format!(" (reference {})", words::share(reference))
    });
    let _written = write!(
        html,
        "<span>{name}</span><div class=\"both\">{}{}</div><span>{}{was}</span>",
        bar("ref", reference),
        bar("live", live),
        words::share(live)
    );
}
