//! Times as a replay reads and writes them: spans such as `3d`, moments such as
//! `2026-11-25T10:00:00Z`. Never asks what time it is.

use crate::cli::format;

const UNITS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];
/// Ten years: beyond, somebody mistyped.
const SPAN_MAX: u64 = 3_650 * DAY_MS as u64;
pub const DAY_MS: i64 = 86_400_000;
pub const HOUR_MS: i64 = 3_600_000;
/// Numbers from here on are milliseconds: as seconds they would lie beyond the year 5000.
const SECONDS_MAX: f64 = 1e11;
/// Moments before and after the year 9999 are no moments.
const MOMENT_MAX: f64 = 253_402_300_799_999.0;

/// Milliseconds of a span such as `90s`, `6h` or `3d`; `0` needs no unit.
///
/// # Errors
/// What was expected.
pub fn parse_span(text: &str) -> Result<i64, String> {
    let text = text.trim();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = &text[digits.len()..];
    let number: Option<u64> = digits.trim().parse().ok();
    if number == Some(0) && unit.is_empty() {
        return Ok(0);
    }
    let factor = UNITS.iter().find(|(name, _)| *name == unit);
    number
        .zip(factor)
        .and_then(|(number, (_, factor))| number.checked_mul(*factor))
        .filter(|ms| *ms <= SPAN_MAX)
        .and_then(|ms| i64::try_from(ms).ok())
        .ok_or_else(|| "expected a time such as 90s, 6h or 3d, at most 3650d".to_string())
}

/// A span in its two largest units: `3 d 4 h`, `12 min`, `0 s`.
pub fn span(ms: i64) -> String {
    format::age(1, ms.saturating_add(1))
}

/// Milliseconds since 1970 of a moment: seconds or milliseconds as a number (from 1e11 on they are
/// milliseconds), or `2026-11-25`, `2026-11-25 10:00`, `2026-11-25T10:00:00.5Z`, `…+02:00`. Without an
/// offset it is UTC.
pub fn parse_moment(text: &str) -> Option<i64> {
    let text = text.trim();
    if let Ok(number) = text.parse::<f64>() {
        let ms = match number.abs() < SECONDS_MAX {
            true => number * 1000.0,
            false => number,
        };
        return (ms.abs() <= MOMENT_MAX).then_some(ms.round() as i64);
    }
    let (date, time) = match text.find(['T', 't', ' ']) {
        Some(at) => (&text[..at], text[at + 1..].trim()),
        None => (text, ""),
    };
    let mut parts = date.splitn(3, '-').map(|part| digits(part, 4));
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let (clock, offset_ms) = offset(time)?;
    Some(days(year, month, day) * DAY_MS + time_of_day(clock)? - offset_ms)
}

/// A clock's text and the offset behind it in milliseconds.
fn offset(time: &str) -> Option<(&str, i64)> {
    if let Some(clock) = time.strip_suffix(['Z', 'z']) {
        return Some((clock, 0));
    }
    let Some(at) = time.find(['+', '-']) else {
        return Some((time, 0));
    };
    let (clock, offset) = time.split_at(at);
    let sign = if offset.starts_with('-') { -1 } else { 1 };
    let (hours, minutes) = match offset[1..].split_once(':') {
        Some((hours, minutes)) => (digits(hours, 2)?, digits(minutes, 2)?),
        None => (digits(&offset[1..], 2)?, 0),
    };
    Some((clock, sign * (hours * HOUR_MS + minutes * 60_000)))
}

fn time_of_day(clock: &str) -> Option<i64> {
    if clock.is_empty() {
        return Some(0);
    }
    let mut parts = clock.splitn(3, ':');
    let (hours, minutes) = (digits(parts.next()?, 2)?, digits(parts.next()?, 2)?);
    let seconds = match parts.next() {
        None => 0.0,
        Some(text) if text.starts_with(|c: char| c.is_ascii_digit()) => text.parse().ok()?,
        Some(_) => return None,
    };
    let fits = hours <= 24 && minutes < 60 && (0.0..61.0).contains(&seconds);
    fits.then(|| hours * HOUR_MS + minutes * 60_000 + (seconds * 1000.0_f64).round() as i64)
}

fn digits(text: &str, most: usize) -> Option<i64> {
    let fine = !text.is_empty() && text.len() <= most && text.bytes().all(|c| c.is_ascii_digit());
    fine.then(|| text.parse().ok()).flatten()
}

/// Days since 1970 of a Gregorian date (Hinnant, "chrono-compatible low-level date algorithms").
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_and_told() {
        for (text, ms) in [
            ("3d", 3 * DAY_MS),
            ("90s", 90_000),
            ("0", 0),
            ("6 h", 6 * HOUR_MS),
        ] {
            assert_eq!(parse_span(text), Ok(ms), "{text}");
        }
        for text in ["", "3", "3x", "-1d", "1.5h", "9999999d"] {
            assert!(parse_span(text).is_err(), "{text}");
        }
        for (ms, text) in [
            (0, "0 s"),
            (72 * HOUR_MS, "3 d"),
            (76 * HOUR_MS, "3 d 4 h"),
            (DAY_MS + 5_000, "1 d"),
            (90_000, "1 min 30 s"),
        ] {
            assert_eq!(span(ms), text);
        }
    }

    #[test]
    fn moments_are_read_in_every_usual_form() {
        let expected = 1_795_600_800_000;
        for text in [
            "1795600800",
            "1795600800000",
            "2026-11-25T10:00:00Z",
            "2026-11-25 10:00",
            "2026-11-25T12:00:00+02:00",
            "2026-11-25T10:00:00.000",
        ] {
            assert_eq!(parse_moment(text), Some(expected), "{text}");
        }
        assert_eq!(format::time(expected), "2026-11-25 10:00:00");
        assert_eq!(parse_moment("1969-12-31T23:59:59.5Z"), Some(-500));
        let leap = parse_moment("2024-02-29").unwrap();
        assert_eq!(format::time(leap), "2024-02-29 00:00:00");
        for text in [
            "",
            "yesterday",
            "2026-13-01",
            "2026-11-25T1000",
            "NaN",
            "inf",
            "2026-11",
        ] {
            assert_eq!(parse_moment(text), None, "{text}");
        }
    }
}
