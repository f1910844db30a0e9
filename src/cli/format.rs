//! Numbers, times and texts as people read them in a terminal, and its colours. Nothing here knows
//! what the numbers mean.

use std::io::{self, IsTerminal as _};

use crate::config;

/// The last column of a page: wide enough for three revisions side by side.
pub const WIDTH: usize = 100;
/// What stands for a number that nobody knows.
pub const UNKNOWN: &str = "–";

/// Colours, or none.
#[derive(Clone, Copy, Debug)]
pub struct Ink {
    is_on: bool,
}

impl Ink {
    /// Colours where standard output is a terminal that wants them.
    pub fn of_stdout() -> Ink {
        Ink {
            is_on: is_terminal() && config::wants_colour(),
        }
    }

    /// No colours.
    #[cfg(test)]
    pub fn none() -> Ink {
        Ink { is_on: false }
    }

    /// Colours wherever it is read.
    #[cfg(test)]
    pub fn always() -> Ink {
        Ink { is_on: true }
    }

    /// A name or a heading.
    pub fn strong(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// Proven, or as it should be.
    pub fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    /// Disproven, or broken.
    pub fn bad(self, text: &str) -> String {
        self.paint("31", text)
    }

    /// Not known yet.
    pub fn open(self, text: &str) -> String {
        self.paint("33", text)
    }

    /// Beside the point.
    pub fn faint(self, text: &str) -> String {
        self.paint("2", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        match self.is_on && !text.is_empty() {
            true => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            false => text.to_string(),
        }
    }
}

/// Whether a person reads what is printed.
pub fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// The last column of a page: [`WIDTH`], or that of a narrower terminal.
pub fn width() -> usize {
    let columns = rustix::termios::tcgetwinsize(io::stdout()).map_or(0, |size| size.ws_col);
    match usize::from(columns) {
        0 => WIDTH,
        columns => columns.min(WIDTH),
    }
}

/// A whole number: `12,345`.
pub fn count(number: u64) -> String {
    grouped(&number.to_string())
}

/// A number with four digits behind the point, fewer for large ones and more for tiny ones: `0.9123`,
/// `12.35`, `12,345`. [`UNKNOWN`] for NaN and infinities.
pub fn number(value: f64) -> String {
    fixed(value, decimals(value))
}

/// A number as it was set: `0.001`, `2`.
pub fn setting(value: f64) -> String {
    match value.is_finite() {
        // Adding 0 turns −0 into 0.
        true => (value + 0.0).to_string(),
        false => UNKNOWN.to_string(),
    }
}

/// A value and its interval, to the same digit: `0.8123 (0.8001 to 0.8240)`.
pub fn interval(value: f64, lower: f64, upper: f64) -> String {
    let digits = common_decimals([value, lower, upper]);
    spanned(value, lower, upper, |it| fixed(it, digits))
}

/// As [`interval`], of a difference: every number has its sign.
pub fn difference(value: f64, lower: f64, upper: f64) -> String {
    let digits = common_decimals([value, lower, upper]);
    spanned(value, lower, upper, |it| signed(it, &fixed(it, digits)))
}

/// Money and its interval: `1,043 (220 to 1,866)`.
pub fn money_interval(value: f64, lower: f64, upper: f64) -> String {
    let largest = [value, lower, upper]
        .into_iter()
        .filter(|it| it.is_finite());
    let largest = largest.fold(0.0, |largest: f64, it| largest.max(it.abs()));
    let digits = money_decimals(largest);
    spanned(value, lower, upper, |it| fixed(it, digits))
}

/// Money without its currency, which nobody told: `12.34`, `1,043`.
pub fn money(value: f64) -> String {
    fixed(value, money_decimals(value))
}

/// A part of a whole: `97.1 %`.
pub fn percent(value: f64) -> String {
    match value.is_finite() {
        true if value == 1.0 || value == 0.0 => format!("{} %", value * 100.0),
        true => format!("{:.1} %", value * 100.0),
        false => UNKNOWN.to_string(),
    }
}

/// Evidence: `8.4`, `1,234`, `3.2e12`.
pub fn evidence(value: f64) -> String {
    match value.abs() {
        it if !it.is_finite() => UNKNOWN.to_string(),
        1e7.. => format!("{value:.1e}"),
        100.0.. => fixed(value, 0),
        _ => match fixed(value, 1) {
            whole if whole.ends_with(".0") => whole.trim_end_matches(".0").to_string(),
            other => other,
        },
    }
}

/// A time between two moments in its two largest units: `3 d 4 h`, `12 min`, `0 s`. [`UNKNOWN`] when
/// the earlier one is not known (0).
pub fn age(from_ms: i64, to_ms: i64) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    if from_ms <= 0 {
        return UNKNOWN.to_string();
    }
    // Clocks of two machines differ.
    let mut rest = u64::try_from(to_ms.saturating_sub(from_ms)).unwrap_or(0) / 1000;
    let mut parts = Vec::new();
    for (size, unit) in UNITS {
        let number = rest / size;
        rest %= size;
        if number > 0 {
            parts.push(format!("{number} {unit}"));
        }
        // Not `1 d 5 s`: the second unit is the next one or none.
        if parts.len() == 2 || (!parts.is_empty() && number == 0) {
            break;
        }
    }
    match parts.is_empty() {
        true => "0 s".to_string(),
        false => parts.join(" "),
    }
}

/// A moment in UTC: `2026-11-25 21:14:03`. [`UNKNOWN`] for 0 and before.
///
/// Days are turned into a date as in Howard Hinnant's "chrono-Compatible Low-Level Date Algorithms",
/// `civil_from_days`.
pub fn time(at_ms: i64) -> String {
    if at_ms <= 0 {
        return UNKNOWN.to_string();
    }
    let seconds = at_ms / 1000;
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    // Eras of 400 years begin on 1 March of the year 0.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let leaps = day_of_era / 1_460 + day_of_era / 146_096 - day_of_era / 36_524;
    let year_of_era = (day_of_era - leaps) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

/// A text in lines of at most `width` characters; a longer word keeps a line of its own.
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_string()),
        }
    }
    lines
}

/// The first `width` characters of a text, the last one an ellipsis where something is cut.
pub fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_string();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

fn spanned(value: f64, lower: f64, upper: f64, told: impl Fn(f64) -> String) -> String {
    match (value.is_finite(), lower.is_finite() || upper.is_finite()) {
        (_, true) => format!("{} ({} to {})", told(value), told(lower), told(upper)),
        (true, false) => told(value),
        (false, false) => UNKNOWN.to_string(),
    }
}

fn signed(value: f64, text: &str) -> String {
    let is_positive = value.is_finite() && value > 0.0;
    format!("{}{text}", if is_positive { "+" } else { "" })
}

/// Digits behind the point that a number of this size is told with.
fn decimals(value: f64) -> usize {
    match value.abs() {
        1000.0.. => 0,
        100.0.. => 1,
        10.0.. => 2,
        0.001.. => 4,
        it if it > 0.0 => 6,
        _ => 0,
    }
}

/// Digits for several numbers together: those of the largest.
fn common_decimals(values: [f64; 3]) -> usize {
    let told = values.into_iter().filter(|it| it.is_finite() && *it != 0.0);
    told.map(decimals).min().unwrap_or(0)
}

fn money_decimals(value: f64) -> usize {
    match value.abs() {
        100.0.. => 0,
        0.1.. => 2,
        it if it > 0.0 => 4,
        _ => 0,
    }
}

/// With this many digits behind the point, in groups of three before it.
fn fixed(value: f64, digits: usize) -> String {
    if !value.is_finite() {
        return UNKNOWN.to_string();
    }
    let text = format!("{:.digits$}", value.abs());
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let is_zero = text.bytes().all(|digit| matches!(digit, b'0' | b'.'));
    let sign = if value < 0.0 && !is_zero { "-" } else { "" };
    let point = if fraction.is_empty() { "" } else { "." };
    format!("{sign}{}{point}{fraction}", grouped(whole))
}

fn grouped(digits: &str) -> String {
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_told_to_the_digit_that_matters() {
        let check = |value: f64, expected: &str| assert_eq!(number(value), expected);
        check(0.912_345, "0.9123");
        check(0.000_123, "0.000123");
        check(-12.345, "-12.35");
        check(12_345.6, "12,346");
        check(-0.000_000_01, "0.000000");
        check(0.0, "0");
        check(f64::NAN, "–");
        check(f64::INFINITY, "–");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(count(999), "999");
        assert_eq!(setting(-0.0), "0");
        assert_eq!(setting(0.001), "0.001");
        assert_eq!(percent(0.9712), "97.1 %");
        assert_eq!(percent(1.0), "100 %");
        assert_eq!(money(1_043.4), "1,043");
        assert_eq!(money(12.345), "12.35");
        assert_eq!(evidence(8.44), "8.4");
        assert_eq!(evidence(20.0), "20");
        assert_eq!(evidence(3.21e12), "3.2e12");
    }

    #[test]
    fn intervals_share_their_digits_and_unknown_ends_show() {
        assert_eq!(interval(0.8123, 0.8, 0.82), "0.8123 (0.8000 to 0.8200)");
        assert_eq!(interval(f64::NAN, f64::NAN, f64::NAN), "–");
        assert_eq!(interval(0.5, f64::NAN, f64::NAN), "0.5000");
        assert_eq!(interval(0.0, 0.0, 0.0123), "0.0000 (0.0000 to 0.0123)");
        assert_eq!(difference(0.01, -0.002, f64::NAN), "+0.0100 (-0.0020 to –)");
        assert_eq!(
            money_interval(1043.0, -20.5, 1866.0),
            "1,043 (-20 to 1,866)"
        );
    }

    #[test]
    fn times_are_told_in_two_units_and_moments_in_utc() {
        let check = |ms: i64, expected: &str| assert_eq!(age(1, 1 + ms), expected);
        check(0, "0 s");
        check(-5_000, "0 s");
        check(59_000, "59 s");
        check(12 * 60_000, "12 min");
        check(76 * 3_600_000, "3 d 4 h");
        check(86_400_000 + 5_000, "1 d");
        assert_eq!(age(0, 5_000), "–");
        assert_eq!(time(1_795_641_243_000), "2026-11-25 21:14:03");
        assert_eq!(time(951_782_400_000), "2000-02-29 00:00:00");
        assert_eq!(time(4_107_542_399_999), "2100-02-28 23:59:59");
        assert_eq!(time(0), "–");
    }

    #[test]
    fn texts_are_wrapped_and_cut() {
        assert_eq!(wrapped("one two three", 8), ["one two", "three"]);
        assert_eq!(wrapped("", 8), Vec::<String>::new());
        assert_eq!(cut("abcdef", 4), "abc…");
        assert_eq!(cut("abcd", 4), "abcd");
        let ink = Ink { is_on: true };
        assert_eq!(ink.good("yes"), "\u{1b}[32myes\u{1b}[0m");
        assert_eq!(Ink::none().good("yes"), "yes");
    }
}
