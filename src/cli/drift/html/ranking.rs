//! The ranking: a bar of PSI for each feature, and the thresholds as lines across all of them.

use std::fmt::Write as _;

use super::{NAME, Pair, escaped, length, named};
use crate::cli::drift::words::{self, hundredths};
use crate::cli::format::{count, cut, setting};
use crate::drift::report::{Feature, Report, Thresholds, Window};

/// Features in the ranking.
const RANKED: usize = 40;

/// The ranking of the worst features, which are given in their order.
pub fn section(
    html: &mut String,
    report: &Report,
    (lead, other): (&Window, Option<&Window>),
    pairs: &[Pair],
) {
    let Thresholds { watch, act, .. } = report.thresholds;
    let most = pairs.iter().map(Pair::excess).fold(0.0, f64::max);
    // Beyond four times the threshold a bar is only long.
    let full = most.min(4.0 * act).max(1.2 * act);
    let at = |value: f64| length(value / full);
    let thin = other.map_or(String::new(), |it| {
        format!("; the thin bar is the {} window", escaped(&it.name))
    });
    let _written = write!(
        html,
        "<section><h2>What has moved most</h2>\n<p class=\"faint\">PSI above what chance alone gives, \
         {} window{thin}. Lines: watch from {}, act from {}.</p>\n\
         <div class=\"ranks\" style=\"--watch:{};--act-at:{}\">\n",
        escaped(&lead.name),
        setting(watch),
        setting(act),
        at(watch),
        at(act)
    );
    for (index, pair) in pairs.iter().take(RANKED).enumerate() {
        rank(html, index, pair, full);
    }
    html.push_str("</div>\n");
    if pairs.len() > RANKED {
        let more = count((pairs.len() - RANKED) as u64);
        let _written = writeln!(
            html,
            "<p class=\"faint\">and {more} more, in the table below</p>"
        );
    }
    html.push_str("</section>\n");
}

/// One line of the ranking; `full` is the PSI at the end of its bar.
fn rank(html: &mut String, index: usize, pair: &Pair, full: f64) {
    let feature = pair.lead;
    let bar = |it: &Feature, value: f64, class: &str| {
        let over = if value > full { " over" } else { "" };
        let colour = if it.reason == "psi" {
            it.verdict.name()
        } else {
            "unknown"
        };
        let width = length(value / full);
        format!("<i class=\"{class}{colour}{over}\" style=\"width:{width}\"></i>")
    };
    let thick = feature
        .psi_excess
        .map_or(String::new(), |value| bar(feature, value, ""));
    let thin = pair
        .other
        .and_then(|it| it.psi_excess.map(|value| bar(it, value, "thin ")));
    let thin = thin.unwrap_or_default();
    // What no bar tells.
    let reason = match feature.reason.as_str() {
        "psi" => String::new(),
        _ => {
            let (verdict, reason) = (feature.verdict.name(), words::reason(feature));
            format!(
                "<em class=\"{verdict}\">{}</em>",
                escaped(&cut(&reason, NAME))
            )
        }
    };
    let _written = writeln!(
        html,
        "<a class=\"name\" href=\"#f{index}\">{}</a><div class=\"bar\">{thick}{thin}{reason}</div>\
         <span class=\"value\">{}</span>",
        named(&feature.name),
        feature.psi_excess.map_or("–".to_string(), hundredths)
    );
}
