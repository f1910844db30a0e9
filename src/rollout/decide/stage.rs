//! The stages a challenger goes through, and their text form: `shadow`, `5%`, `full`.

use std::error::Error;
use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// How much of the traffic a challenger answers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stage {
    /// None: it is scored beside the champion.
    Shadow,
    /// A share in (0, 1).
    Share(f64),
    /// All: it is the champion.
    Full,
}

/// Why a text is no stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageError(String);

impl Stage {
    /// The share of the traffic that the challenger answers, in [0, 1].
    #[must_use]
    pub fn share(self) -> f64 {
        match self {
            Self::Shadow => 0.0,
            Self::Share(share) => share,
            Self::Full => 1.0,
        }
    }

    /// Whether `stages` is a way from shadow to full: it starts with `shadow`, ends with `full`, and
    /// its shares rise in between. The error names the stage that is out of place.
    ///
    /// # Errors
    /// When it is not.
    pub fn check(stages: &[Self]) -> Result<(), StageError> {
        let expected = "expected shadow, rising shares, full";
        if stages.first() != Some(&Self::Shadow) || stages.last() != Some(&Self::Full) {
            return Err(StageError(format!("stages: {expected}")));
        }
        for neighbours in stages.windows(2) {
            let [earlier, later] = [neighbours[0], neighbours[1]];
            if later.share() <= earlier.share() {
                return Err(StageError(format!(
                    "stages: {later} after {earlier}: {expected}"
                )));
            }
        }
        Ok(())
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shadow => f.pad("shadow"),
            // Rounded, so that 0.07 · 100 is told as 7.
            Self::Share(share) => write!(f, "{}%", (share * 1e10).round() / 1e8),
            Self::Full => f.pad("full"),
        }
    }
}

impl FromStr for Stage {
    type Err = StageError;

    fn from_str(text: &str) -> Result<Self, StageError> {
        match text.trim() {
            "shadow" => return Ok(Self::Shadow),
            "full" => return Ok(Self::Full),
            _ => {}
        }
        let percent = text.trim().strip_suffix('%').map(str::trim_end);
        let percent = percent.and_then(|percent| percent.parse::<f64>().ok());
        match percent.filter(|percent| *percent > 0.0 && *percent < 100.0) {
            Some(percent) => Ok(Self::Share(percent / 100.0)),
            None => Err(StageError(format!(
                "stage {text:?}: expected shadow, full, or a share between 0% and 100% such as 5%"
            ))),
        }
    }
}

impl Serialize for Stage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for StageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for StageError {}
