//! The features of a window, two lines each: live rows above, the reference below. A narrow terminal
//! gets fewer columns, the last ones go first.

use super::super::format::{Ink, UNKNOWN, count, cut, setting};
use super::View;
use super::bins;
use super::words::{colour_of, mark_of, p_value, reason, share, statistic};
use crate::drift::report::{Feature, Thresholds, Verdict, Window};

/// Characters of a name in a terminal, and anywhere.
const NAME: usize = 20;
const NAME_MAX: usize = 200;
/// Columns of a histogram.
const BINS: usize = 14;
/// A bar of PSI, and the place in it where `act` begins.
const BAR: usize = 7;
const ACT_AT: f64 = 5.0;
/// Parts of a character that a bar ends in, in eighths.
const ENDS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];

/// One column behind the name.
struct Column {
    head: &'static str,
    width: usize,
    side: Side,
    /// What live rows say, and what stands below.
    cells: fn(&Feature, &Thresholds) -> [String; 2],
}

#[derive(Clone, Copy)]
enum Side {
    Left,
    Right,
}

/// The most important first: the last ones are left away where there is no room.
const COLUMNS: [Column; 9] = [
    Column {
        head: "PSI",
        width: 7,
        side: Side::Right,
        cells: |it, _| [statistic(it.psi_excess), String::new()],
    },
    Column {
        head: "excess",
        width: BAR,
        side: Side::Left,
        cells: |it, thresholds| [bar(it.psi_excess, thresholds), String::new()],
    },
    Column {
        head: "live/reference",
        width: BINS,
        side: Side::Left,
        cells: |it, _| bins::lines(&it.bins, BINS),
    },
    Column {
        head: "missing",
        width: 7,
        side: Side::Right,
        cells: |it, _| [share(it.missing), share(Some(it.missing_reference))],
    },
    Column {
        head: "KS or χ²",
        width: 8,
        side: Side::Right,
        cells: |it, _| match it.chi2 {
            Some(_) => [statistic(it.chi2), tested(it.chi2_p)],
            None => [statistic(it.ks), tested(it.ks_p)],
        },
    },
    Column {
        head: "JS",
        width: 6,
        side: Side::Right,
        cells: |it, _| [statistic(it.js), String::new()],
    },
    Column {
        head: "W/std",
        width: 6,
        side: Side::Right,
        cells: |it, _| [statistic(it.wasserstein_std), String::new()],
    },
    Column {
        head: "new",
        width: 6,
        side: Side::Right,
        cells: |it, _| [share(it.out_of_range.or(it.unseen)), String::new()],
    },
    Column {
        head: "rows",
        width: 7,
        side: Side::Right,
        cells: |it, _| [short(it.rows), String::new()],
    },
];

/// The worst features of a window, with a heading.
pub fn lines(window: &Window, thresholds: &Thresholds, view: &View) -> Vec<String> {
    let shown: Vec<&Feature> = window.features.iter().take(view.top).collect();
    if shown.is_empty() {
        return vec!["  no features".to_string()];
    }
    let longest = shown.iter().map(|it| it.name.chars().count()).max();
    let name = match view.width {
        Some(_) => NAME,
        None => longest.unwrap_or(0).clamp(NAME, NAME_MAX),
    };
    let columns = fitting(name, view.width);
    let heads = columns.iter().map(|it| padded(it, it.head));
    let heads: Vec<String> = heads.collect();
    let heading = format!("  {:<name$} {}", "feature", heads.join(" "));
    let mut lines = vec![view.ink.faint(heading.trim_end())];
    for feature in &shown {
        let cells: Vec<[String; 2]> = columns
            .iter()
            .map(|column| (column.cells)(feature, thresholds).map(|cell| padded(column, &cell)))
            .collect();
        lines.extend(of_feature(feature, &cells, name, view.ink));
    }
    let more = window.features.len() - shown.len();
    if more > 0 {
        let more = count(more as u64);
        lines.push(
            view.ink
                .faint(&format!("  and {more} more: --all shows them")),
        );
    }
    lines
}

/// What the columns mean, in lines of the table's width.
pub fn legend(thresholds: &Thresholds) -> String {
    format!(
        "PSI excess: above what chance alone gives; bars: ┊ watch {}, │ act {}; W/std: Wasserstein \
         distance in standard deviations; new: out of range or an unseen category; below: the \
         reference",
        setting(thresholds.watch),
        setting(thresholds.act)
    )
}

fn of_feature(feature: &Feature, cells: &[[String; 2]], name: usize, ink: Ink) -> [String; 2] {
    let title = format!("{} {:<name$}", mark_of(feature), cut(&feature.name, name));
    let title = painted(ink, colour_of(feature), &title);
    let live: Vec<String> = cells
        .iter()
        .enumerate()
        .map(|(index, [live, _])| match index {
            // PSI and its bar.
            0 | 1 => painted(ink, colour_of(feature), live),
            _ => live.clone(),
        })
        .collect();
    let below: Vec<&str> = cells.iter().map(|[_, below]| below.as_str()).collect();
    let reason = cut(&reason(feature), name);
    let below = format!("  {reason:<name$} {}", below.join(" "));
    [
        format!("{title} {}", live.join(" ")).trim_end().to_string(),
        ink.faint(below.trim_end()),
    ]
}

/// A text in the colour of a verdict.
pub fn painted(ink: Ink, verdict: Verdict, text: &str) -> String {
    match verdict {
        Verdict::None => ink.good(text),
        Verdict::Watch => ink.open(text),
        Verdict::Act => ink.bad(text),
        Verdict::Unknown => ink.faint(text),
    }
}

/// As many columns as there is room for, the first one always.
fn fitting(name: usize, width: Option<usize>) -> Vec<&'static Column> {
    let mut used = 2 + name;
    let room = width.unwrap_or(usize::MAX);
    let columns = COLUMNS.iter().enumerate();
    columns
        .take_while(|(index, column)| {
            used += 1 + column.width;
            used <= room || *index == 0
        })
        .map(|(_, column)| column)
        .collect()
}

fn padded(column: &Column, text: &str) -> String {
    let width = column.width;
    let text = cut(text, width);
    match column.side {
        Side::Left => format!("{text:<width$}"),
        Side::Right => format!("{text:>width$}"),
    }
}

/// PSI to the scale of the thresholds, which are seen where the bar does not reach them.
fn bar(excess: Option<f64>, thresholds: &Thresholds) -> String {
    let Some(excess) = excess.filter(|it| !it.is_nan()) else {
        return UNKNOWN.to_string();
    };
    let cell = |value: f64| value / thresholds.act * ACT_AT;
    let length = match cell(excess) {
        it if it.is_finite() => it.clamp(0.0, BAR as f64),
        _ => 0.0,
    };
    let watch = cell(thresholds.watch).round();
    let draw = |index: usize| {
        let at = index as f64;
        match length - at {
            1.0.. => '█',
            part if part >= 0.125 => ENDS.get((part * 8.0) as usize).copied().unwrap_or(' '),
            _ if at == ACT_AT => '│',
            _ if at == watch => '┊',
            _ => ' ',
        }
    };
    (0..BAR).map(draw).collect()
}

fn tested(p: Option<f64>) -> String {
    match p_value(p).as_str() {
        UNKNOWN => String::new(),
        told => format!("p {told}").replace("p <", "p<"),
    }
}

/// A count in seven characters: `52,110`, `12.3M`.
fn short(rows: u64) -> String {
    let rows_f = rows as f64;
    match rows {
        0..1_000_000 => count(rows),
        1_000_000..10_000_000_000 => format!("{:.1}M", rows_f / 1e6),
        _ => format!("{rows_f:.1e}"),
    }
}
