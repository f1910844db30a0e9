//! All statistics of a window in a table, and what each of them means.

use std::fmt::Write as _;

use super::{escaped, named};
use crate::cli::drift::words::{colour_of, mark_of, p_value, share, statistic, verdict_of};
use crate::cli::format::{count, setting};
use crate::drift::report::{Feature, Thresholds, Window};

const HEADS: [&str; 18] = [
    "feature",
    "type",
    "verdict",
    "PSI",
    "by chance",
    "excess",
    "KL",
    "JS",
    "KS",
    "KS p",
    "W",
    "W / std",
    "χ²",
    "χ² p",
    "missing",
    "was missing",
    "new",
    "rows",
];

/// What a number is called, what it says, and how it is computed.
const MEANINGS: [[&str; 3]; 11] = [
    [
        "PSI, population stability index",
        "How far the shares of the bins have moved. 0 is not at all. An empty bin counts as a tiny share.",
        "Σ (live − reference) · ln(live / reference)",
    ],
    [
        "by chance",
        "The PSI of two samples of the same distribution: few rows and many bins make it large.",
        "(bins − 1) · (1 / reference rows + 1 / live rows)",
    ],
    [
        "excess",
        "What is left of PSI. Verdicts rest on it.",
        "max(0, PSI − by chance)",
    ],
    [
        "KL, Kullback-Leibler divergence",
        "How surprising the reference would be to somebody who expects live rows, in nats.",
        "Σ reference · ln(reference / live)",
    ],
    [
        "JS, Jensen-Shannon divergence",
        "The same against the mean of both: alike in both directions, from 0 to ln 2 = 0.693.",
        "½ KL(live, mean) + ½ KL(reference, mean)",
    ],
    [
        "KS, Kolmogorov-Smirnov distance",
        "The largest difference of the shares below a value, looked for at the borders of the bins. \
         Numbers only.",
        "max |share of live below x − share of reference below x|",
    ],
    [
        "p",
        "How likely chance alone would give a distance like this. With many rows the smallest difference \
         is sure and may still not matter: verdicts do not rest on it.",
        "from 0 to 1",
    ],
    [
        "W, Wasserstein distance",
        "How far values must be moved on average to turn one distribution into the other: in the feature's \
         unit, and in standard deviations of the reference. Numbers only.",
        "∫ |share of live below x − share of reference below x| dx",
    ],
    [
        "χ²",
        "How far the counts of categories are from those of one common distribution. Categories only.",
        "Σ (counted − expected)² / expected",
    ],
    [
        "missing",
        "The part of the rows without a value; in the histograms they do not count.",
        "rows without a value / rows",
    ],
    [
        "new",
        "Out of range: the part of the values below the reference's least or above its greatest. Unseen: \
         that of categories which the reference does not have.",
        "new values / values",
    ],
];

/// The table of a window, closed.
pub fn table(html: &mut String, window: &Window) {
    let _written = write!(
        html,
        "<details><summary>All numbers, {} window ({} features)</summary>\n<div class=\"scroll\">\
         <table class=\"all\"><thead><tr>",
        escaped(&window.name),
        count(window.features.len() as u64)
    );
    for head in HEADS {
        let _written = write!(html, "<th>{head}");
    }
    html.push_str("</thead><tbody>\n");
    for feature in window.score.iter().chain(&window.features) {
        row(html, feature);
    }
    html.push_str("</tbody></table></div></details>\n");
}

/// Cells end where the next one begins: closing tags would be a third of a page of thousands.
fn row(html: &mut String, it: &Feature) {
    let _written = write!(
        html,
        "<tr><th>{}<td>{}<td class=\"{}\">{} {}",
        named(&it.name),
        escaped(&crate::cli::format::cut(&it.kind, 12)),
        colour_of(it).name(),
        mark_of(it),
        verdict_of(it)
    );
    let cells = [
        statistic(it.psi),
        statistic(it.psi_null),
        statistic(it.psi_excess),
        statistic(it.kl),
        statistic(it.js),
        statistic(it.ks),
        p_value(it.ks_p),
        statistic(it.wasserstein),
        statistic(it.wasserstein_std),
        statistic(it.chi2),
        p_value(it.chi2_p),
        share(it.missing),
        share(Some(it.missing_reference)),
        share(it.out_of_range.or(it.unseen)),
        count(it.rows),
    ];
    for cell in cells {
        let _written = write!(html, "<td>{}", escaped(&cell));
    }
    html.push('\n');
}

/// What the numbers mean, closed.
pub fn explanations(html: &mut String, thresholds: &Thresholds) {
    html.push_str("<details><summary>What the numbers mean</summary>\n<dl>\n");
    for [name, meaning, formula] in MEANINGS {
        let _written = writeln!(
            html,
            "<dt>{}<dd>{}<br><code>{}</code>",
            escaped(name),
            escaped(meaning),
            escaped(formula)
        );
    }
    let _written = writeln!(
        html,
        "<dt>Verdicts<dd>none below an excess of {}, watch from there on, act from {} on; unknown while a \
         window has fewer than {} rows. A feature that came with training and does not come at all now \
         is at act, whatever its PSI.\
         <dt>Quality, estimated (CBPE)<dd>Confidence-based performance estimation: from the scores alone, \
         as if each score meant what it meant in training. It is no measurement, and cannot see that \
         scores no longer mean that.</dl></details>",
        setting(thresholds.watch),
        setting(thresholds.act),
        count(thresholds.rows_min)
    );
}
