//! Rules at the door: what a slot's rows must look like, as the configuration says it, and what
//! becomes of those that do not. [`Rules`] holds them against rows; [`defaults`] are what a revision's
//! folder implies.

mod column;
mod counts;
pub mod defaults;
mod door;

use std::collections::BTreeMap;
use std::str::FromStr;

pub use counts::Count;
pub use door::{Marks, Rules};

/// The rules of all slots.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Settings {
    /// For slots without rules of their own.
    pub slot: SlotRules,
    pub slots: BTreeMap<String, SlotRules>,
}

/// The rules of one slot.
#[derive(Clone, Debug, PartialEq)]
pub struct SlotRules {
    pub rules: Vec<Rule>,
    /// What becomes of rows that break a rule which nobody wrote, but which a revision's own files
    /// imply; `None`: there are no such rules. What cannot be clamped is then flagged.
    pub defaults: Option<Action>,
}

/// One rule, written `FEATURE: CHECK ACTION`.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// The name of a feature, or [`EVERY`].
    pub feature: String,
    pub check: Check,
    pub action: Action,
}

/// What a value must be. A missing value breaks no rule but [`Check::Required`].
#[derive(Clone, Debug, PartialEq)]
pub enum Check {
    /// A number from `low` to `high`, both included; infinite where that end is open.
    Range { low: f64, high: f64 },
    /// A number without a fraction. What an infinity is, is a matter of the range.
    Whole,
    /// One of these categories; of a feature that is a number, one of these numbers.
    Categories(Vec<String>),
    /// There.
    Required,
}

/// The kinds of [`Check`]: a feature has one rule of each at the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Range,
    Whole,
    Category,
    Required,
}

/// What becomes of a row that breaks a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Its request is refused.
    Reject,
    /// It is answered as it is; the answer says how many of its rows were flagged.
    Flag,
    /// Its value becomes the nearest that is allowed, and it is answered; the answer says how many of
    /// its rows were changed.
    Clamp,
}

/// The name that stands for every feature that a rule can be of.
pub const EVERY: &str = "*";

impl Default for SlotRules {
    fn default() -> SlotRules {
        SlotRules {
            rules: Vec::new(),
            defaults: Some(Action::Flag),
        }
    }
}

impl Settings {
    /// The rules of a slot.
    pub fn of(&self, slot: &str) -> &SlotRules {
        self.slots.get(slot).unwrap_or(&self.slot)
    }
}

impl SlotRules {
    /// Reads a list of rules.
    ///
    /// # Errors
    /// The rule that is wrong, or goes with none of the others, and what was expected.
    pub fn parse(texts: &[String]) -> Result<Vec<Rule>, String> {
        let mut rules: Vec<Rule> = Vec::with_capacity(texts.len());
        for text in texts {
            let wrong = |reason: &str| format!("rule \"{text}\": {reason}");
            let rule: Rule = text.parse().map_err(|reason: String| wrong(&reason))?;
            for other in rules.iter().filter(|it| it.feature == rule.feature) {
                if let Some(reason) = rule.check.conflict(&other.check) {
                    return Err(wrong(&reason));
                }
            }
            rules.push(rule);
        }
        Ok(rules)
    }
}

impl Check {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Check::Range { .. } => Kind::Range,
            Check::Whole => Kind::Whole,
            Check::Categories(_) => Kind::Category,
            Check::Required => Kind::Required,
        }
    }

    /// Why one feature cannot have both.
    fn conflict(&self, other: &Check) -> Option<String> {
        match (self, other) {
            _ if self.kind() == other.kind() => {
                let name = self.kind().name();
                Some(format!("another one says the {name} of this feature"))
            }
            (Check::Range { low, high }, Check::Whole)
            | (Check::Whole, Check::Range { low, high })
                if low.ceil() > high.floor() =>
            {
                Some(format!("no whole number lies in {low}..{high}"))
            }
            _ => None,
        }
    }
}

impl Kind {
    pub const ALL: [Kind; 4] = [Kind::Range, Kind::Whole, Kind::Category, Kind::Required];

    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Range => "range",
            Kind::Whole => "whole",
            Kind::Category => "category",
            Kind::Required => "required",
        }
    }

    /// Whether a value that breaks it has a nearest one that does not.
    pub fn is_clampable(self) -> bool {
        matches!(self, Kind::Range | Kind::Whole)
    }
}

impl Action {
    pub const ALL: [Action; 3] = [Action::Reject, Action::Flag, Action::Clamp];

    /// Its name in the configuration and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Action::Reject => "reject",
            Action::Flag => "flag",
            Action::Clamp => "clamp",
        }
    }
}

impl FromStr for Rule {
    type Err = String;

    /// A feature's name ends at the first colon that a space follows.
    fn from_str(text: &str) -> Result<Rule, String> {
        const FORM: &str = "expected \"FEATURE: CHECK ACTION\", such as \"amount: 0..1000 flag\"";
        let (feature, rest) = text.split_once(": ").ok_or(FORM)?;
        let (check, action) = rest.trim().rsplit_once(' ').ok_or(FORM)?;
        let (feature, said) = (feature.trim(), check.trim());
        if feature.is_empty() {
            return Err(FORM.to_string());
        }
        let action = Action::ALL
            .into_iter()
            .find(|it| it.name() == action)
            .ok_or_else(|| {
                format!("expected reject, flag or clamp at its end, got \"{action}\"")
            })?;
        let check: Check = said.parse()?;
        let kind = check.kind();
        if action == Action::Clamp && !kind.is_clampable() {
            return Err(format!(
                "\"{said}\" cannot be clamped; expected reject or flag"
            ));
        }
        if feature == EVERY && kind == Kind::Category {
            return Err("expected the name of one feature before \"in\"".to_string());
        }
        Ok(Rule {
            feature: feature.to_string(),
            check,
            action,
        })
    }
}

impl FromStr for Check {
    type Err = String;

    fn from_str(text: &str) -> Result<Check, String> {
        if let Some(names) = text.strip_prefix("in ") {
            let names: Vec<String> = names.split('|').map(|it| it.trim().to_string()).collect();
            return match names.iter().any(String::is_empty) {
                true => Err("expected names with | between them after \"in\"".to_string()),
                false => Ok(Check::Categories(names)),
            };
        }
        if let Some((low, high)) = text.split_once("..") {
            return range(low.trim(), high.trim());
        }
        match text {
            "whole" => Ok(Check::Whole),
            "required" => Ok(Check::Required),
            _ => Err(format!(
                "expected LOW..HIGH, whole, required or \"in A|B\", got \"{text}\""
            )),
        }
    }
}

/// A range; an end that is empty is open.
fn range(low: &str, high: &str) -> Result<Check, String> {
    let end = |text: &str, open: f64| match text.parse::<f64>() {
        _ if text.is_empty() => Ok(open),
        Ok(number) if number.is_finite() => Ok(number),
        _ => Err(format!(
            "expected a number at both ends of \"..\", or at one, got \"{text}\""
        )),
    };
    let (low, high) = (end(low, f64::NEG_INFINITY)?, end(high, f64::INFINITY)?);
    match low <= high && (low.is_finite() || high.is_finite()) {
        true => Ok(Check::Range { low, high }),
        false => Err(format!(
            "no number lies in {low}..{high}, or every number does"
        )),
    }
}

#[cfg(test)]
mod tests;
