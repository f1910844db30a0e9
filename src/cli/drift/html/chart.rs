//! Histograms: numbers as columns in SVG, categories as bars beside their names. Reference, the window
//! that the page is about, and the other one, as shares of the rows with a value.

use std::fmt::Write as _;

use super::super::bins;
use super::{escaped, length, named};
use crate::cli::format::{count, percent};
use crate::drift::report::{Bins, Feature};

/// Columns of a number, and bars of a category.
const COLUMNS: usize = 40;
const BARS: usize = 12;
/// The picture's size and its margins, in pixels of a card of usual width.
const WIDTH: f64 = 380.0;
const HEIGHT: f64 = 170.0;
const LEFT: f64 = 36.0;
const RIGHT: f64 = 10.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 22.0;
/// The width of a character of a label, and the room between two.
const CHARACTER: f64 = 6.0;
const GAP: f64 = 10.0;

/// One or several neighbouring bins.
struct Column {
    /// As HTML.
    name: String,
    reference: f64,
    live: f64,
    other: Option<f64>,
}

/// Draws a feature's bins, or says that there are none.
pub fn histogram(html: &mut String, feature: &Feature, other: Option<&Bins>) {
    let len = bins::len(&feature.bins);
    if len == 0 {
        html.push_str("<p class=\"none\">no histogram</p>\n");
    } else if feature.kind == "category" {
        bars(html, &categories(&feature.bins, other, len));
    } else {
        columns(html, &feature.bins, other, len);
    }
}

/// Shares of all bins, in three lists of this length.
fn shares(bins: &Bins, other: Option<&Bins>, len: usize) -> Vec<Column> {
    let reference = bins::shares(&bins.reference, len);
    let live = bins::shares(&bins.live, len);
    // Other bins are of another reference: not to be drawn beside these. Nor is what has no rows.
    let is_alike =
        |it: &&Bins| bins::len(it) == len && it.edges == bins.edges && it.names == bins.names;
    let other = other
        .filter(is_alike)
        .filter(|it| it.live.iter().any(|count| *count > 0));
    let other = other.map(|it| bins::shares(&it.live, len));
    let columns = reference.into_iter().zip(live).enumerate();
    columns
        .map(|(index, (reference, live))| Column {
            name: String::new(),
            reference,
            live,
            other: other.as_ref().and_then(|it| it.get(index).copied()),
        })
        .collect()
}

fn sum<'a>(columns: impl Iterator<Item = &'a Column> + Clone, name: String) -> Column {
    let others = columns.clone().filter_map(|it| it.other);
    let others = others.reduce(|one, two| one + two);
    Column {
        name,
        reference: columns.clone().map(|it| it.reference).sum(),
        live: columns.map(|it| it.live).sum(),
        other: others,
    }
}

/// The largest categories in the profile's order, and the others together.
fn categories(bins: &Bins, other: Option<&Bins>, len: usize) -> Vec<Column> {
    let mut all = shares(bins, other, len);
    for (index, column) in all.iter_mut().enumerate() {
        column.name = match bins.names.get(index) {
            Some(name) => named(name),
            None => format!("<bdi class=\"faint\">bin {}</bdi>", index + 1),
        };
    }
    if len <= BARS {
        return all;
    }
    let largest = |it: &Column| it.reference.max(it.live);
    let mut order: Vec<usize> = (0..len).collect();
    let height = |index: &usize| all.get(*index).map_or(0.0, largest);
    order.sort_by(|one, two| height(two).total_cmp(&height(one)));
    let mut kept: Vec<bool> = vec![false; len];
    for index in order.into_iter().take(BARS - 1) {
        if let Some(kept) = kept.get_mut(index) {
            *kept = true;
        }
    }
    let rest = all.iter().zip(&kept).filter(|(_, kept)| !**kept);
    let rest = rest.map(|(column, _)| column);
    let many = count((len + 1 - BARS) as u64);
    let rest = sum(rest, format!("<span class=\"faint\">{many} others</span>"));
    let shown = all.into_iter().zip(kept).filter(|(_, kept)| *kept);
    let mut shown: Vec<Column> = shown.map(|(column, _)| column).collect();
    shown.push(rest);
    shown
}

fn bars(html: &mut String, columns: &[Column]) {
    let top = top(columns);
    html.push_str("<div class=\"bars\">\n");
    for column in columns {
        let tick = column.other.map_or(String::new(), |share| {
            format!("<b style=\"left:{}\"></b>", length(share / top))
        });
        let _written = writeln!(
            html,
            "<span class=\"cat\">{}</span><div class=\"both\"><i class=\"ref\" style=\"width:{}\"></i>\
             <i class=\"live\" style=\"width:{}\"></i>{tick}</div><span class=\"value\">{}</span>",
            column.name,
            length(column.reference / top),
            length(column.live / top),
            percent(column.live)
        );
    }
    html.push_str("</div>\n");
}

fn columns(html: &mut String, bins: &Bins, other: Option<&Bins>, len: usize) {
    let per = bins::per_column(len, COLUMNS);
    let borders = borders(bins, len, per);
    let all = shares(bins, other, len);
    let groups = all.chunks(per).enumerate();
    let columns: Vec<Column> = groups
        .map(|(index, group)| {
            let [from, to] =
                [index, index + 1].map(|at| borders.get(at).map_or("", String::as_str));
            let name = match (from, to) {
                ("", to) => format!("below {to}"),
                (from, "") => format!("from {from} on"),
                (from, to) => format!("{from} to {to}"),
            };
            sum(group.iter(), name)
        })
        .collect();
    let top = round_up(top(&columns));
    let _written = write!(
        html,
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"histogram\">"
    );
    axis(html, top);
    draw(html, &columns, top);
    labels(html, &borders);
    html.push_str("</svg>\n");
    if per > 1 {
        let len = count(len as u64);
        let _written = writeln!(html, "<p class=\"faint\">{len} bins, {per} to a column</p>");
    }
}

fn y(share: f64, top: f64) -> f64 {
    let height = HEIGHT - TOP - BOTTOM;
    HEIGHT - BOTTOM - (share / top).clamp(0.0, 1.0) * height
}

/// Lines at nothing, half and all of the scale.
fn axis(html: &mut String, top: f64) {
    for share in [0.0, top / 2.0, top] {
        let y = y(share, top);
        let digits = usize::from(top < 0.1 && share > 0.0);
        let _written = write!(
            html,
            "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{}\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{:.digits$} %</text>",
            WIDTH - RIGHT,
            LEFT - 5.0,
            y + 3.5,
            share * 100.0
        );
    }
}

/// The reference behind, live rows before it, the other window as a tick, and the numbers in a tip.
fn draw(html: &mut String, columns: &[Column], top: f64) {
    let step = (WIDTH - LEFT - RIGHT) / columns.len() as f64;
    let floor = HEIGHT - BOTTOM;
    let [mut reference, mut live, mut ticks] = [const { String::new() }; 3];
    for (index, column) in columns.iter().enumerate() {
        let x = LEFT + index as f64 * step;
        let wide = (step - 1.0).min(70.0);
        let left = x + (step - wide) / 2.0;
        let thin = wide * 0.5;
        let _written = write!(
            reference,
            "M{left:.1} {floor}V{:.1}h{wide:.1}V{floor}z",
            y(column.reference, top)
        );
        let inner = left + (wide - thin) / 2.0;
        let _written = write!(
            live,
            "M{inner:.1} {floor}V{:.1}h{thin:.1}V{floor}z",
            y(column.live, top)
        );
        if let Some(share) = column.other {
            let _written = write!(ticks, "M{left:.1} {:.1}h{wide:.1}", y(share, top));
        }
    }
    let _written = write!(
        html,
        "<path class=\"ref\" d=\"{reference}\"/><path class=\"live\" d=\"{live}\"/><path class=\"tick\" d=\"{ticks}\"/>"
    );
    for (index, column) in columns.iter().enumerate() {
        let other = column.other.map_or(String::new(), |it| {
            format!(", other window {}", percent(it))
        });
        let _written = write!(
            html,
            "<rect class=\"tip\" x=\"{:.1}\" y=\"{TOP}\" width=\"{step:.1}\" height=\"{}\"><title>{}: reference {}, live {}{other}</title></rect>",
            LEFT + index as f64 * step,
            HEIGHT - TOP - BOTTOM,
            escaped(&column.name),
            percent(column.reference),
            percent(column.live)
        );
    }
}

/// Borders beneath, as many as there is room for: both ends, and from the left what fits between.
fn labels(html: &mut String, borders: &[String]) {
    let Some(last) = borders.len().checked_sub(1).filter(|last| *last > 0) else {
        return;
    };
    let step = (WIDTH - LEFT - RIGHT) / last as f64;
    let width = |text: &str| text.chars().count() as f64 * CHARACTER;
    let end = borders.last().map_or("", String::as_str);
    let until = WIDTH - RIGHT / 2.0 - width(end) - GAP;
    let mut free = 0.0;
    let mut before = "";
    for (index, text) in borders.iter().enumerate() {
        let x = LEFT + index as f64 * step;
        let wide = width(text);
        let (anchor, from, x) = match index {
            0 => ("start", LEFT - 8.0, LEFT - 8.0),
            _ if index == last => ("end", f64::MAX, WIDTH - RIGHT / 2.0),
            _ => ("middle", x - wide / 2.0, x),
        };
        let fits = index == last
            || (from >= free && from + wide <= until && text != before && text != end);
        if !fits || text.is_empty() {
            continue;
        }
        free = from + wide + GAP;
        before = text;
        let _written = write!(
            html,
            "<text x=\"{x:.1}\" y=\"{}\" text-anchor=\"{anchor}\">{}</text>",
            HEIGHT - 6.0,
            escaped(text)
        );
    }
}

/// The borders of columns of `per` bins each, one more than columns; empty where none is known, and
/// at an end where the reference does not reach into the outer bin.
fn borders(bins: &Bins, len: usize, per: usize) -> Vec<String> {
    let range = bins
        .range
        .filter(|range| range.iter().all(|it| it.is_finite()));
    let (first, last) = (bins.edges.first(), bins.edges.last());
    let low = range.map(|it| it[0]);
    let low = low.filter(|low| first.is_none_or(|edge| low < edge));
    let high = range.map(|it| it[1]);
    let high = high.filter(|high| last.is_none_or(|edge| high >= edge));
    let inner = |at: usize| at.checked_sub(1).and_then(|at| bins.edges.get(at).copied());
    let mut values: Vec<Option<f64>> = vec![low];
    values.extend((1..len).filter(|at| at.is_multiple_of(per)).map(inner));
    values.push(high);
    let digits = digits(values.iter().flatten().copied());
    let told = |value: &Option<f64>| value.map_or(String::new(), |value| number(value, digits));
    values.iter().map(told).collect()
}

/// Significant digits that tell borders apart: three, and more where they are close to each other and
/// far from 0.
fn digits(values: impl Iterator<Item = f64> + Clone) -> usize {
    let finite = values.filter(|it| it.is_finite());
    let low = finite.clone().fold(f64::INFINITY, f64::min);
    let high = finite.fold(f64::NEG_INFINITY, f64::max);
    let ratio = low.abs().max(high.abs()) / (high - low);
    match ratio.is_finite() && ratio > 2.0 {
        true => (3.0 + (ratio / 2.0).log10().ceil()).min(15.0) as usize,
        false => 3,
    }
}

/// A number of this many significant digits, shortest: `0.25`, `1,250`, `1.25e9`.
fn number(value: f64, digits: usize) -> String {
    if value == 0.0 {
        return "0".to_string();
    }
    let power = value.abs().log10().floor();
    if !(-4.0..(digits.max(6) as f64)).contains(&power) {
        let text = format!("{value:.*e}", digits.saturating_sub(1));
        return match text.split_once('e') {
            Some((head, power)) => format!("{}e{power}", trimmed(head)),
            None => text,
        };
    }
    let behind = (digits as f64 - 1.0 - power).clamp(0.0, 20.0) as usize;
    let text = format!("{value:.behind$}");
    trimmed(&text).to_string()
}

fn trimmed(text: &str) -> &str {
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => text,
    }
}

/// The greatest share, and never 0.
fn top(columns: &[Column]) -> f64 {
    let shares = columns
        .iter()
        .flat_map(|it| [it.reference, it.live, it.other.unwrap_or(0.0)]);
    let top = shares.fold(0.0, f64::max);
    if top > 0.0 { top } else { 1.0 }
}

/// The next round share: 1, 2, 4, 6, 8 or 10 times a power of ten, all of the rows at most.
fn round_up(share: f64) -> f64 {
    let power = 10.0_f64.powf(share.log10().floor());
    let factors = [1.0, 2.0, 4.0, 6.0, 8.0];
    let factor = factors.into_iter().find(|it| it * power >= share * 0.999);
    (factor.unwrap_or(10.0) * power).min(1.0)
}
