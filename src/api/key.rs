//! The caller's own name of a request. It is the same text whether it comes with a prediction or with
//! a label, as a text, a number or a header. What a key names is never looked at.

use std::borrow::Cow;

use axum::http::HeaderMap;

use crate::error::Error;

/// Up to here, either way, every whole number is a 64-bit float of its own.
const WHOLE_MAX: f64 = 9e15;

/// What a key may be.
pub const EXPECTED: &str =
    "expected a text, or a whole number up to 9e15; any other number: send it as a text";

/// The digits of a key that was written as a number, in whatever notation: `4.2e1` is `42`. `None`
/// for a fraction, NaN, and what is beyond 9e15 either way.
pub fn digits(number: f64) -> Option<String> {
    let is_whole = number.fract() == 0.0 && number.abs() <= WHOLE_MAX;
    is_whole.then(|| (number as i64).to_string())
}

/// The key of a request: its own, or the one of the header `x-hedgerow-key`.
///
/// # Errors
/// When the header is not UTF-8.
pub fn of<'a>(
    own: Option<Cow<'a, str>>,
    headers: &'a HeaderMap,
) -> Result<Option<Cow<'a, str>>, Error> {
    if own.is_some() {
        return Ok(own);
    }
    let Some(given) = headers.get("x-hedgerow-key") else {
        return Ok(None);
    };
    let text = std::str::from_utf8(given.as_bytes());
    text.map(|text| Some(Cow::Borrowed(text)))
        .map_err(|_| Error::invalid("header x-hedgerow-key: expected UTF-8"))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn whole_numbers_are_their_digits() {
        for (number, expected) in [
            (42.0, Some("42")),
            (4.2e1, Some("42")),
            (-7.0, Some("-7")),
            (-0.0, Some("0")),
            (9e15, Some("9000000000000000")),
            (9.1e15, None),
            (0.5, None),
            (f64::NAN, None),
            (f64::NEG_INFINITY, None),
        ] {
            assert_eq!(digits(number).as_deref(), expected, "{number}");
        }
    }

    #[test]
    fn a_header_is_the_key_of_a_request_without_one() {
        let check = |value: &[u8], expected: Result<&str, ()>| {
            let mut headers = HeaderMap::new();
            headers.insert("x-hedgerow-key", HeaderValue::from_bytes(value).unwrap());
            let found = of(None, &headers).map_err(|_| ());
            assert_eq!(found, expected.map(|it| Some(Cow::Borrowed(it))));
            let own = of(Some("own".into()), &headers).unwrap();
            assert_eq!(own.as_deref(), Some("own"));
        };
        check(b"42", Ok("42"));
        check("Zürich".as_bytes(), Ok("Zürich"));
        check(b"Z\xfcrich", Err(()));
        assert_eq!(of(None, &HeaderMap::new()), Ok(None));
    }
}
