//! The text form of a gate: `cost > 0`, `auc > -0.002`.

use std::error::Error;
use std::fmt;
use std::str::FromStr;

use super::{Gate, Measure};

/// Why a text is no gate. Names what was found and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError(String);

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for ParseError {}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Measure {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let found = Self::ALL.into_iter().find(|measure| measure.name() == text);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            let mut message = format!("measure {text:?}: expected one of {names}");
            if ["f1", "precision", "recall", "pr_auc", "accuracy"].contains(&text) {
                message.push_str(" (plain metrics are reported and never gate)");
            }
            ParseError(message)
        })
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Adding 0 turns −0 into 0.
        write!(f, "{} > {}", self.measure, self.bound + 0.0)
    }
}

impl FromStr for Gate {
    type Err = ParseError;

    /// Blanks around the parts are free; the bound is a finite decimal number.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let Some((measure, bound)) = text.split_once('>') else {
            return Err(ParseError(format!(
                "gate {text:?}: expected a measure, > and a bound, as in \"cost > 0\""
            )));
        };
        let measure: Measure = measure.trim().parse()?;
        let bound = bound.trim();
        let value = bound.parse::<f64>().ok().filter(|value| value.is_finite());
        let Some(value) = value else {
            return Err(ParseError(format!(
                "gate {text:?}: bound {bound:?}: expected a number"
            )));
        };
        if measure == Measure::RecallFpr && value > 0.0 {
            return Err(ParseError(format!(
                "gate {text:?}: recall_fpr takes a bound of 0 (better in one class and worse in none) \
                 or below (not worse by more, in either class)"
            )));
        }
        Ok(Self {
            measure,
            bound: value,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_have_a_text_form() {
        for text in [
            "cost > 0",
            "auc > -0.002",
            "recall_fpr > -0.01",
            "squared_error > 1.5",
        ] {
            assert_eq!(text.parse::<Gate>().unwrap().to_string(), text);
        }
        let gate: Gate = "  brier>-0 ".parse().unwrap();
        assert_eq!(gate.to_string(), "brier > 0");
        let check = |text: &str, expected: &str| {
            assert_eq!(text.parse::<Gate>().unwrap_err().to_string(), expected);
        };
        let names = "cost, auc, recall_fpr, log_loss, brier, squared_error";
        check(
            "f1 > 0",
            &format!(
                "measure \"f1\": expected one of {names} (plain metrics are reported and never gate)"
            ),
        );
        check(
            "speed > 0",
            &format!("measure \"speed\": expected one of {names}"),
        );
        check(
            "auc >= 0",
            "gate \"auc >= 0\": bound \"= 0\": expected a number",
        );
        check(
            "auc > inf",
            "gate \"auc > inf\": bound \"inf\": expected a number",
        );
        check(
            "auc",
            "gate \"auc\": expected a measure, > and a bound, as in \"cost > 0\"",
        );
        check(
            "recall_fpr > 0.1",
            "gate \"recall_fpr > 0.1\": recall_fpr takes a bound of 0 (better in one class and worse in \
             none) or below (not worse by more, in either class)",
        );
    }
}
