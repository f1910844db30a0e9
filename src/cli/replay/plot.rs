//! The plot of a replay: estimate and interval of each gate over the labels so far, as SVG written by
//! hand. Knows numbers and texts only.

use std::fmt::Write as _;

/// What is drawn.
#[derive(Debug)]
pub struct Picture {
    pub title: String,
    pub subtitle: String,
    pub panels: Vec<Panel>,
    /// Decisions, in order; the last is the one that counts.
    pub marks: Vec<Mark>,
}

/// One gate.
#[derive(Debug)]
pub struct Panel {
    pub title: String,
    /// What the numbers are, e.g. `AUC gained`.
    pub unit: &'static str,
    pub bound: f64,
    /// Labels at the first look that was enough; a proof is not undone by a later look.
    pub proven: Option<f64>,
    /// In order of their labels. Those with a NaN or an infinity are left out.
    pub points: Vec<Point>,
}

/// A look.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    pub labels: f64,
    pub estimate: f64,
    pub lower: f64,
    pub upper: f64,
}

/// A decision.
#[derive(Debug)]
pub struct Mark {
    pub labels: f64,
    pub text: String,
}

/// Sizes in pixels.
const WIDTH: f64 = 900.0;
const LEFT: f64 = 84.0;
const RIGHT: f64 = 28.0;
const HEAD: f64 = 84.0;
const PANEL: f64 = 236.0;
/// Below and above a panel: ticks, and the next one's title.
const GAP: f64 = 64.0;
const STYLE: &str = "text{font-family:system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;\
fill:#374151;font-size:12px}.title{font-size:18px;font-weight:600;fill:#111827}\
.sub{font-size:13px;fill:#4b5563}.gate{font-size:14px;font-weight:600;fill:#111827}\
.grid{stroke:#e5e7eb;stroke-width:1}.axis{stroke:#9ca3af;stroke-width:1}\
.band{fill:#2563eb;fill-opacity:.14}.edge{fill:none;stroke:#2563eb;stroke-opacity:.45;stroke-width:1}\
.line{fill:none;stroke:#1d4ed8;stroke-width:2.2;stroke-linejoin:round}\
.bound{stroke:#b91c1c;stroke-width:1.4;stroke-dasharray:6 4}.red{fill:#b91c1c}\
.proof{fill:#ffffff;stroke:#1d4ed8;stroke-width:2.2}\
.mark{stroke:#047857;stroke-width:1.6}.way{stroke:#047857;stroke-width:1;stroke-dasharray:2 3}\
.marked{fill:#047857;font-weight:600}";

/// From numbers to pixels, linear.
#[derive(Clone, Copy, Debug)]
struct Scale {
    from: f64,
    to: f64,
    start: f64,
    end: f64,
}

impl Scale {
    fn at(&self, value: f64) -> f64 {
        self.start + (value - self.from) / (self.to - self.from) * (self.end - self.start)
    }
}

/// The picture as a file's text.
pub fn draw(picture: &Picture) -> String {
    let count = picture.panels.len() as f64;
    let height = HEAD + count * (PANEL + GAP) + 6.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         width=\"{WIDTH}\" height=\"{height}\" role=\"img\">\n<style>{STYLE}</style>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    text(&mut svg, "title", (LEFT, 30.0), "start", &picture.title);
    text(&mut svg, "sub", (LEFT, 51.0), "start", &picture.subtitle);
    legend(&mut svg);
    let points = picture.panels.iter().flat_map(|panel| &panel.points);
    let most = points.map(|point| point.labels).fold(1.0, f64::max);
    for (index, panel) in picture.panels.iter().enumerate() {
        let top = HEAD + index as f64 * (PANEL + GAP) + 22.0;
        let across = Scale {
            from: 0.0,
            to: most,
            start: LEFT,
            end: WIDTH - RIGHT,
        };
        let (from, to) = range(panel);
        let up = Scale {
            from,
            to,
            start: top + PANEL,
            end: top,
        };
        let _written = writeln!(
            svg,
            "<clipPath id=\"panel{index}\"><rect x=\"{LEFT}\" y=\"{top}\" width=\"{}\" \
             height=\"{PANEL}\"/></clipPath>",
            WIDTH - RIGHT - LEFT
        );
        text(&mut svg, "gate", (LEFT, top - 9.0), "start", &panel.title);
        axes(&mut svg, across, up, panel.unit);
        let _written = writeln!(svg, "<g clip-path=\"url(#panel{index})\">");
        course(&mut svg, panel, across, up);
        svg.push_str("</g>\n");
        marks(&mut svg, &picture.marks, across, (top, index == 0));
    }
    svg.push_str("</svg>\n");
    svg
}

/// Interval, estimate and bound.
fn course(svg: &mut String, panel: &Panel, across: Scale, up: Scale) {
    let points: Vec<Point> = panel
        .points
        .iter()
        .copied()
        .filter(Point::is_known)
        .collect();
    let path = |value: fn(&Point) -> f64, points: &mut dyn Iterator<Item = &Point>| {
        let places = points.map(|point| {
            // Far outside is as good as infinitely far, and keeps the numbers short.
            let y = up
                .at(value(point))
                .clamp(up.end - 2000.0, up.start + 2000.0);
            format!("{:.1},{y:.1}", across.at(point.labels))
        });
        places.collect::<Vec<_>>().join(" ")
    };
    let upper = path(|point| point.upper, &mut points.iter());
    let lower = path(|point| point.lower, &mut points.iter());
    let back = path(|point| point.lower, &mut points.iter().rev());
    let estimate = path(|point| point.estimate, &mut points.iter());
    let y = up.at(panel.bound);
    let _written = write!(
        svg,
        "<polygon class=\"band\" points=\"{upper} {back}\"/>\n\
         <polyline class=\"edge\" points=\"{upper}\"/>\n<polyline class=\"edge\" points=\"{lower}\"/>\n\
         <line class=\"bound\" x1=\"{}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\n\
         <polyline class=\"line\" points=\"{estimate}\"/>\n",
        across.start, across.end
    );
    if let Some(point) = points
        .iter()
        .find(|point| Some(point.labels) == panel.proven)
    {
        let (x, y) = (across.at(point.labels), up.at(point.estimate));
        let _written = writeln!(
            svg,
            "<circle class=\"proof\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"5\"/>"
        );
    }
    if points.is_empty() {
        let middle = (
            across.start.midpoint(across.end),
            up.start.midpoint(up.end) - 12.0,
        );
        text(svg, "sub", middle, "middle", "no estimate");
    }
}

/// Grid, ticks and their numbers, and what the numbers are.
fn axes(svg: &mut String, across: Scale, up: Scale, unit: &str) {
    let step = step(up.to - up.from, 5.0);
    for tick in ticks(up, step) {
        let y = up.at(tick);
        line(svg, "grid", (across.start, y), (across.end, y));
        text(
            svg,
            "",
            (across.start - 8.0, y + 4.0),
            "end",
            &number(tick, step),
        );
    }
    let step = self::step(across.to - across.from, 8.0);
    for tick in ticks(across, step) {
        let x = across.at(tick);
        line(svg, "axis", (x, up.start), (x, up.start + 5.0));
        text(svg, "", (x, up.start + 19.0), "middle", &number(tick, step));
    }
    line(
        svg,
        "axis",
        (across.start, up.start),
        (across.end, up.start),
    );
    line(
        svg,
        "axis",
        (across.start, up.start),
        (across.start, up.end),
    );
    text(svg, "", (across.end, up.start + 34.0), "end", "labels");
    let middle = up.start.midpoint(up.end);
    let _written = writeln!(
        svg,
        "<text transform=\"translate(20 {middle:.1}) rotate(-90)\" text-anchor=\"middle\">\
         {unit}</text>"
    );
}

/// Decisions as upright lines; their words stand above the first panel only.
fn marks(svg: &mut String, marks: &[Mark], across: Scale, (top, with_words): (f64, bool)) {
    for (index, mark) in marks.iter().enumerate() {
        let x = across.at(mark.labels);
        let last = index + 1 == marks.len();
        let class = if last { "mark" } else { "way" };
        line(svg, class, (x, top), (x, top + PANEL));
        if !with_words || !last {
            continue;
        }
        let left = x > across.start.midpoint(across.end);
        let (anchor, shift) = if left { ("end", -6.0) } else { ("start", 6.0) };
        text(svg, "marked", (x + shift, top + 15.0), anchor, &mark.text);
    }
}

fn legend(svg: &mut String) {
    let y = 73.0;
    line(svg, "line", (LEFT, y - 4.0), (LEFT + 26.0, y - 4.0));
    text(svg, "", (LEFT + 32.0, y), "start", "estimate");
    let _written = writeln!(
        svg,
        "<rect class=\"band\" x=\"{}\" y=\"{}\" width=\"26\" height=\"12\"/>",
        LEFT + 104.0,
        y - 10.0
    );
    text(
        svg,
        "",
        (LEFT + 136.0, y),
        "start",
        "interval, valid at every look",
    );
    line(
        svg,
        "bound",
        (LEFT + 318.0, y - 4.0),
        (LEFT + 344.0, y - 4.0),
    );
    text(svg, "", (LEFT + 350.0, y), "start", "bound of the gate");
    let _written = writeln!(
        svg,
        "<circle class=\"proof\" cx=\"{}\" cy=\"{}\" r=\"5\"/>",
        LEFT + 478.0,
        y - 4.0
    );
    text(svg, "", (LEFT + 490.0, y), "start", "proven, once for all");
}

/// What of the axis is shown: the intervals but for the widest, which are the first ones, the
/// estimates after them, and the bound.
fn range(panel: &Panel) -> (f64, f64) {
    let known: Vec<Point> = panel
        .points
        .iter()
        .copied()
        .filter(Point::is_known)
        .collect();
    let settled = known.get(known.len() / 8..).unwrap_or_default();
    let mut from = panel.bound;
    let mut to = panel.bound;
    for point in settled {
        from = from.min(point.lower);
        to = to.max(point.upper);
    }
    let room = match to > from {
        true => (to - from) * 0.06,
        false => from.abs().max(1.0) * 0.1,
    };
    (from - room, to + room)
}

/// The distance of ticks, 1, 2 or 5 times a power of ten, so that there are about `count`.
fn step(span: f64, count: f64) -> f64 {
    let rough = span / count;
    let power = 10.0_f64.powf(rough.log10().floor());
    let factors = [1.0, 2.0, 5.0, 10.0];
    let factor = factors
        .into_iter()
        .find(|factor| factor * power >= rough * 0.999);
    factor.unwrap_or(10.0) * power
}

fn ticks(scale: Scale, step: f64) -> impl Iterator<Item = f64> {
    let first = (scale.from / step).ceil() as i64;
    let last = (scale.to / step).floor() as i64;
    // A span of a few steps: this many at most, whatever the rounding.
    (first..=last)
        .take(30)
        .map(move |index| index as f64 * step)
}

/// A tick's number: as many digits as its step needs, thousands apart.
fn number(value: f64, step: f64) -> String {
    let digits = (-step.log10().floor()).clamp(0.0, 9.0) as usize;
    let text = format!("{:.digits$}", value.abs());
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let sign = if value < -step / 2.0 { "−" } else { "" };
    format!("{sign}{grouped}{rest}")
}

fn line(svg: &mut String, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
    // Writing to a string cannot fail.
    let _written = writeln!(
        svg,
        "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>"
    );
}

fn text(svg: &mut String, class: &str, (x, y): (f64, f64), anchor: &str, words: &str) {
    let words = words
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    let _written = writeln!(
        svg,
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>"
    );
}

impl Point {
    fn is_known(&self) -> bool {
        [self.estimate, self.lower, self.upper]
            .iter()
            .all(|it| it.is_finite())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(points: Vec<Point>) -> Picture {
        Picture {
            title: "a < b".to_string(),
            subtitle: String::new(),
            panels: vec![Panel {
                title: "auc > 0".to_string(),
                unit: "AUC gained",
                bound: 0.0,
                proven: Some(50.0),
                points,
            }],
            marks: vec![Mark {
                labels: 50.0,
                text: "promoted".to_string(),
            }],
        }
    }

    fn point(labels: f64, estimate: f64) -> Point {
        Point {
            labels,
            estimate,
            lower: estimate - 0.1,
            upper: estimate + 0.1,
        }
    }

    #[test]
    fn looks_without_an_estimate_are_left_out() {
        let svg = draw(&picture(vec![
            point(10.0, f64::NAN),
            point(50.0, 0.1),
            point(100.0, 0.2),
        ]));
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        assert!(svg.contains("a &lt; b") && svg.contains(">auc &gt; 0<"));
        assert!(svg.contains(">promoted</text>"));
        // One in the legend, one where the proof was.
        assert_eq!(svg.matches("<circle").count(), 2);
        let line = svg.split("class=\"line\" points=\"").nth(1).unwrap();
        assert_eq!(line.split('"').next().unwrap().split(' ').count(), 2);
    }

    #[test]
    fn nothing_to_draw_is_said() {
        for points in [vec![], vec![point(10.0, f64::NAN)]] {
            let svg = draw(&picture(points));
            assert!(svg.contains("no estimate") && !svg.contains("NaN"), "{svg}");
        }
    }

    #[test]
    fn ticks_are_round_numbers() {
        assert_eq!(step(1.0, 5.0), 0.2);
        assert_eq!(step(7_400.0, 8.0), 1_000.0);
        assert_eq!(number(-0.05, 0.01), "−0.05");
        assert_eq!(number(12_000.0, 1_000.0), "12,000");
        assert_eq!(number(-0.0, 0.01), "0.00");
    }
}
