//! The rules of one column as numbers, and what one value breaks of them.

use std::sync::atomic::AtomicU64;

use super::{Action, Check, EVERY, Kind, Rule};
use crate::model::signature::Column;
use crate::tensor::Element;

/// The rules of one column.
#[derive(Debug)]
pub struct Ruled {
    pub index: usize,
    /// As the element of the rows rounds them; infinite where there is none.
    pub low: f64,
    pub high: f64,
    /// What is below and what is above becomes this: `low` and `high`, or the whole numbers between
    /// them where only whole ones are allowed.
    nearest: [f64; 2],
    /// Codes of categories, or numbers; sorted.
    allowed: Vec<f64>,
    /// Whether a number within the range breaks no rule but that it is to be whole.
    plain: bool,
    whole: bool,
    tallies: [Option<Tally>; Kind::ALL.len()],
}

/// One rule: what follows from it, and how often it was broken.
#[derive(Debug)]
pub struct Tally {
    pub action: Action,
    pub origin: Origin,
    /// Rows that broke it.
    pub rows: AtomicU64,
}

/// Where a rule comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Written,
    Default,
}

/// What one value breaks.
#[derive(Debug, Default)]
pub struct Verdict {
    /// By kind.
    pub broken: [bool; Kind::ALL.len()],
    /// What it becomes, where that is another number.
    pub clamped: Option<f64>,
}

impl Origin {
    /// Its key in the configuration.
    pub fn key(self) -> &'static str {
        match self {
            Origin::Written => "validate.rules",
            Origin::Default => "validate.defaults",
        }
    }
}

impl Ruled {
    /// The rules of a column: the first of each kind. `None` when there is none. Why a rule that is
    /// written for this very feature does not fit it goes to `unfit`.
    pub fn new<'a>(
        (index, column): (usize, &Column),
        element: Element,
        rules: impl Iterator<Item = (&'a Rule, Origin)>,
        unfit: &mut Vec<String>,
    ) -> Option<Ruled> {
        let mut ruled = Ruled {
            index,
            low: f64::NEG_INFINITY,
            high: f64::INFINITY,
            nearest: [f64::NEG_INFINITY, f64::INFINITY],
            allowed: Vec::new(),
            plain: true,
            whole: false,
            tallies: [const { None }; Kind::ALL.len()],
        };
        for (rule, origin) in rules {
            let kind = rule.check.kind();
            if ruled.tally(kind).is_some() {
                continue;
            }
            let mut reasons = Vec::new();
            if ruled.set(&rule.check, column, element, &mut reasons) {
                ruled.tallies[kind as usize] = Some(Tally {
                    action: rule.action,
                    origin,
                    rows: AtomicU64::new(0),
                });
            }
            if origin == Origin::Written && rule.feature != EVERY {
                let told = |reason| format!("feature \"{}\": {reason}", column.name);
                unfit.extend(reasons.into_iter().map(told));
            }
        }
        ruled.nearest = [ruled.low, ruled.high];
        let whole = [ruled.low.ceil(), ruled.high.floor()];
        if ruled.tally(Kind::Whole).is_some() && whole[0] <= whole[1] {
            ruled.nearest = whole;
        }
        ruled.tallies().next()?;
        Some(ruled)
    }

    /// Takes a check over; false where the column cannot have it. What does not fit is told.
    fn set(
        &mut self,
        check: &Check,
        column: &Column,
        element: Element,
        reasons: &mut Vec<String>,
    ) -> bool {
        match check {
            Check::Range { .. } | Check::Whole if column.has_categories() => {
                reasons.push(format!("a category has no {}", check.kind().name()));
                return false;
            }
            Check::Range { low, high } => {
                // Rounded as the rows are, so that a value on the bound is within it.
                (self.low, self.high) = (rounded(*low, element), rounded(*high, element));
            }
            Check::Whole => self.whole = true,
            Check::Required => {}
            Check::Categories(names) => {
                let mut allowed = Vec::with_capacity(names.len());
                for name in names {
                    match column.code(name) {
                        // Adding zero makes one bit pattern of both zeros.
                        Some(code) => allowed.push(rounded(code, element) + 0.0),
                        None => reasons.push(unknown(column, name)),
                    }
                }
                if allowed.is_empty() {
                    return false;
                }
                allowed.sort_unstable_by(f64::total_cmp);
                (self.allowed, self.plain) = (allowed, false);
            }
        }
        true
    }

    /// Whether a value surely breaks no rule; quick where most do not.
    #[inline]
    pub fn is_fine(&self, number: f64) -> bool {
        // The cast is cheaper than rounding, and gives another number where it does not fit.
        self.plain
            && number >= self.low
            && number <= self.high
            && (!self.whole || number as i64 as f64 == number)
    }

    /// What a value breaks. NaN is a missing value, or one whose category the model does not know.
    pub fn judge(&self, number: f64, is_unknown: impl Fn() -> bool) -> Verdict {
        let mut verdict = Verdict::default();
        if number.is_nan() {
            let kind = match is_unknown() {
                true => Kind::Category,
                false => Kind::Required,
            };
            verdict.broken[kind as usize] = self.tally(kind).is_some();
            return verdict;
        }
        let mut now = number;
        if self.tally(Kind::Category).is_some() {
            // Adding zero makes one bit pattern of both zeros.
            let found = self
                .allowed
                .binary_search_by(|it| it.total_cmp(&(number + 0.0)));
            verdict.broken[Kind::Category as usize] = found.is_err();
        }
        let whole = number.round_ties_even();
        // The range is for the value as it was sent.
        let mut is_out = !(self.low..=self.high).contains(&number);
        if let Some(tally) = self.tally(Kind::Whole)
            && whole != number
        {
            verdict.broken[Kind::Whole as usize] = true;
            let [low, high] = self.nearest;
            let nearest = if is_out {
                whole
            } else {
                whole.max(low).min(high)
            };
            now = clamp(tally, now, nearest);
            // A bound that is not whole: there is no whole number within the range.
            is_out |= tally.action == Action::Clamp && nearest.fract() != 0.0;
        }
        if let Some(tally) = self.tally(Kind::Range)
            && is_out
        {
            verdict.broken[Kind::Range as usize] = true;
            let nearest = self.nearest[usize::from(number.max(whole) > self.high)];
            now = clamp(tally, now, nearest);
        }
        verdict.clamped = (now != number).then_some(now);
        verdict
    }

    /// Whether any of its rules changes a value.
    pub fn clamps(&self) -> bool {
        self.tallies().any(|(_, it)| it.action == Action::Clamp)
    }

    /// The rule of one kind.
    pub fn tally(&self, kind: Kind) -> Option<&Tally> {
        self.tallies[kind as usize].as_ref()
    }

    /// All rules, with their kinds.
    pub fn tallies(&self) -> impl Iterator<Item = (Kind, &Tally)> {
        let tally = |kind| Some((kind, self.tally(kind)?));
        Kind::ALL.into_iter().filter_map(tally)
    }
}

fn clamp(tally: &Tally, number: f64, nearest: f64) -> f64 {
    match tally.action {
        Action::Clamp => nearest,
        Action::Flag | Action::Reject => number,
    }
}

fn rounded(number: f64, element: Element) -> f64 {
    match element {
        Element::F32 => f64::from(number as f32),
        Element::F64 => number,
    }
}

fn unknown(column: &Column, name: &str) -> String {
    match column.has_categories() {
        true => format!("the model does not know the category \"{name}\""),
        false => format!("it is a number for the model, and \"{name}\" is not"),
    }
}
