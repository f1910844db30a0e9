//! How long a caller waits: the `grpc-timeout` header and the `timeout` parameter.

use std::collections::HashMap;
use std::time::Duration;

use super::pb;
use super::pb::infer_parameter::ParameterChoice;
use crate::error::Error;

/// Reads a `grpc-timeout`: one to eight digits and a unit, as the gRPC protocol over HTTP/2 has it.
///
/// # Errors
/// Anything else.
pub fn parse(text: &str) -> Result<Duration, Error> {
    let unit = text.chars().next_back();
    let amount = unit.map_or("", |unit| &text[..text.len() - unit.len_utf8()]);
    let digits = (1..=8).contains(&amount.len()) && amount.bytes().all(|b| b.is_ascii_digit());
    // Not more than eight digits: no unit's multiplication overflows.
    match (amount.parse::<u64>(), unit) {
        (Ok(amount), Some('H')) if digits => Ok(Duration::from_secs(amount * 3600)),
        (Ok(amount), Some('M')) if digits => Ok(Duration::from_secs(amount * 60)),
        (Ok(amount), Some('S')) if digits => Ok(Duration::from_secs(amount)),
        (Ok(amount), Some('m')) if digits => Ok(Duration::from_millis(amount)),
        (Ok(amount), Some('u')) if digits => Ok(Duration::from_micros(amount)),
        (Ok(amount), Some('n')) if digits => Ok(Duration::from_nanos(amount)),
        _ => Err(Error::invalid(
            "grpc-timeout: expected one to eight digits and one of H, M, S, m, u, n",
        )),
    }
}

/// Reads the parameter `timeout`, in microseconds; 0 is none, as in Triton.
///
/// # Errors
/// Anything but an integer that is not negative.
pub fn parameter(
    parameters: &HashMap<String, pb::InferParameter>,
) -> Result<Option<Duration>, Error> {
    let Some(parameter) = parameters.get("timeout") else {
        return Ok(None);
    };
    let us = match parameter.parameter_choice {
        Some(ParameterChoice::Int64Param(us)) => u64::try_from(us).ok(),
        Some(ParameterChoice::Uint64Param(us)) => Some(us),
        _ => None,
    };
    match us {
        None => Err(Error::invalid(
            "parameter \"timeout\": expected microseconds as an integer that is not negative",
        )),
        Some(0) => Ok(None),
        Some(us) => Ok(Some(Duration::from_micros(us))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_digits_and_a_unit() {
        let good = [
            ("1H", Duration::from_secs(3600)),
            ("2M", Duration::from_secs(120)),
            ("99999999S", Duration::from_secs(99_999_999)),
            ("100m", Duration::from_millis(100)),
            ("0005u", Duration::from_micros(5)),
            ("0n", Duration::ZERO),
            ("99999999H", Duration::from_secs(99_999_999 * 3600)),
        ];
        for (text, expected) in good {
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
        for text in [
            "",
            "S",
            "1",
            "123456789S",
            "1s",
            "1 S",
            "-1S",
            "+1S",
            "1.5S",
            "1é",
            "é",
            "1SS",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_parameter_is_microseconds() {
        let check = |choice: ParameterChoice| {
            let parameter_choice = Some(choice);
            let parameter = pb::InferParameter { parameter_choice };
            parameter_of(parameter)
        };
        let us = |us| Ok(Some(Duration::from_micros(us)));
        assert_eq!(parameter(&HashMap::new()), Ok(None));
        assert_eq!(check(ParameterChoice::Int64Param(0)), Ok(None));
        assert_eq!(check(ParameterChoice::Int64Param(5)), us(5));
        assert_eq!(check(ParameterChoice::Uint64Param(5)), us(5));
        assert!(check(ParameterChoice::Int64Param(-1)).is_err());
        assert!(check(ParameterChoice::StringParam("5".to_string())).is_err());
        assert!(check(ParameterChoice::DoubleParam(5.0)).is_err());
    }

    fn parameter_of(value: pb::InferParameter) -> Result<Option<Duration>, Error> {
        parameter(&HashMap::from([("timeout".to_string(), value)]))
    }
}
