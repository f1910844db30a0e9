//! Lines, words and numbers of LightGBM's text format.

use std::str::FromStr;

use super::ParseError;

/// The text of a file that LightGBM's own reader takes as we do: UTF-8, no NUL, and no carriage
/// return but in front of a line feed.
pub fn checked(bytes: &[u8]) -> Result<&str, ParseError> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        ParseError::Malformed(format!(
            "not a lightgbm text model: not utf-8 at byte {}",
            error.valid_up_to()
        ))
    })?;
    let stray = |(at, byte): (usize, &u8)| {
        *byte == 0 || (*byte == b'\r' && bytes.get(at + 1) != Some(&b'\n'))
    };
    if let Some(at) = bytes.iter().enumerate().position(stray) {
        return malformed(format!(
            "not a lightgbm text model: control character at byte {at}"
        ));
    }
    Ok(text)
}

/// Every line from byte `start` on: where it starts, and its text without the line end.
pub fn lines(text: &str, start: usize) -> impl Iterator<Item = (usize, &str)> {
    let mut next = start;
    text[start..].split_inclusive('\n').map(move |line| {
        let at = next;
        next += line.len();
        let line = line.strip_suffix('\n').unwrap_or(line);
        (at, line.strip_suffix('\r').unwrap_or(line))
    })
}

/// The parts between spaces.
pub fn words(value: &str) -> impl Iterator<Item = &str> {
    value.split(' ').filter(|word| !word.is_empty())
}

/// A whole number.
pub fn whole<T: FromStr>(word: &str) -> Option<T> {
    word.trim().parse().ok()
}

/// A floating-point number as `strtod` reads it, correctly rounded, `inf` and `nan` included.
/// `None` for hexadecimal, which the library never writes.
pub fn real(word: &str) -> Option<f64> {
    word.parse().ok()
}

/// A parameter of an objective, as the library's own `Common::Atof` reads it: digits before and
/// after the point are gathered apart, so the last bit can differ from `strtod`'s.
///
/// `None` for what is no plain decimal number, and for more than 22 digits after the point, whose
/// power of ten is not exact.
pub fn parameter(word: &str) -> Option<f64> {
    let (mantissa, exponent) = match word.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (word, 0),
    };
    let (before, after) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if before.is_empty() || after.len() > 22 {
        return None;
    }
    let mut value = gathered(before)?;
    if mantissa.contains('.') {
        value += gathered(after)? / power_of_ten(after.len());
    }
    let scale = scale(exponent.unsigned_abs().min(308));
    Some(if exponent < 0 {
        value / scale
    } else {
        value * scale
    })
}

fn gathered(digits: &str) -> Option<f64> {
    let mut value = 0.0;
    for digit in digits.bytes() {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value * 10.0 + f64::from(digit - b'0');
    }
    Some(value)
}

/// Exact up to 10^22.
fn power_of_ten(exponent: usize) -> f64 {
    (0..exponent).fold(1.0, |power, _| power * 10.0)
}

fn scale(mut exponent: u32) -> f64 {
    let mut scale = 1.0;
    for (step, factor) in [(50, 1e50), (8, 1e8), (1, 10.0)] {
        while exponent >= step {
            scale *= factor;
            exponent -= step;
        }
    }
    scale
}

pub fn malformed<T>(reason: impl Into<String>) -> Result<T, ParseError> {
    Err(ParseError::Malformed(reason.into()))
}
