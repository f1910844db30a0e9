//! The request parameter `explain`, as every protocol reads it.

use crate::error::Error;
use crate::serve::Explain;

/// Reads `"all"`, or a number of features as a text.
///
/// # Errors
/// Anything else.
pub fn from_text(text: &str) -> Result<Explain, Error> {
    if text == "all" {
        return Ok(Explain::All);
    }
    text.parse().map(Explain::Top).map_err(|_| expected())
}

/// Reads a number of features. Whether the model has as many is checked later.
///
/// # Errors
/// When it is no whole number from 0.
pub fn from_number(number: f64) -> Result<Explain, Error> {
    if number.fract() == 0.0 && (0.0..=9e15).contains(&number) {
        return Ok(Explain::Top(number as u64));
    }
    Err(expected())
}

/// What is allowed.
pub fn expected() -> Error {
    Error::invalid(
        "parameter \"explain\": expected \"all\" or a number of features from 1 to all that the model has",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_or_a_number_and_nothing_else() {
        assert_eq!(from_text("all"), Ok(Explain::All));
        assert_eq!(from_text("3"), Ok(Explain::Top(3)));
        assert_eq!(from_number(3.0), Ok(Explain::Top(3)));
        for text in ["", "ALL", "-1", "1.5", "3 ", "99999999999999999999"] {
            assert!(from_text(text).is_err(), "{text}");
        }
        for number in [-1.0, 1.5, f64::NAN, f64::INFINITY, 1e300] {
            assert!(from_number(number).is_err(), "{number}");
        }
    }
}
