//! What a split asks, so that the answer takes no branch in the common cases.

use crate::forest::reference::{ZERO_THRESHOLD, goes_left};
use crate::forest::{Forest, Missing, Split, Test};

/// A split's question.
#[derive(Clone, Copy, Debug)]
pub enum Asked {
    /// A value goes left when it is below `at`; one that is missing where `missing_left` says.
    Below {
        at: f64,
        missing_left: bool,
        /// Whether magnitudes up to [`ZERO_THRESHOLD`] are missing too; NaN always is.
        zero_missing: bool,
    },
    /// Anything else, as the forest has it.
    Other(Split),
}

impl Asked {
    /// The question of a split.
    pub fn new(forest: &Forest, split: &Split) -> Asked {
        let at = match split.test {
            Test::Less(at) => at,
            // At infinity there is no next number.
            Test::LessEq(at) if at < f64::INFINITY => at.next_up(),
            _ => return Asked::Other(*split),
        };
        Asked::Below {
            at,
            // Where NaN is read as 0.0, this is where 0.0 goes.
            missing_left: goes_left(forest, split, f64::NAN),
            zero_missing: matches!(split.missing, Missing::ZeroLeft | Missing::ZeroRight),
        }
    }

    /// Where a value goes, as [`goes_left`] of the split says.
    #[inline(always)]
    pub fn goes_left(&self, forest: &Forest, value: f64) -> bool {
        match self {
            Asked::Below {
                at,
                missing_left,
                zero_missing,
            } => {
                let zero = *zero_missing & (value.abs() <= ZERO_THRESHOLD);
                let missing = value.is_nan() | zero;
                (missing & *missing_left) | (!missing & (value < *at))
            }
            Asked::Other(split) => goes_left(forest, split, value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forest::{Arithmetic, Base, Child, Combine, Link};

    #[test]
    fn values_go_where_the_split_sends_them() {
        let forest = Forest {
            features: 1,
            outputs: 1,
            arithmetic: Arithmetic::F64,
            trees: Vec::new(),
            sets: Vec::new(),
            base: vec![0.0],
            base_order: Base::First,
            combine: Combine::Sum,
            link: Link::Identity,
            linear: Default::default(),
        };
        let edges = [
            0.0,
            5e-324,
            1e-36,
            ZERO_THRESHOLD,
            1.0,
            1e300,
            f64::MAX,
            f64::INFINITY,
        ];
        let mut values = vec![f64::NAN];
        for edge in edges {
            values.extend([
                edge,
                -edge,
                edge.next_up(),
                -edge.next_up(),
                edge.next_down(),
            ]);
        }
        let all_missing = [
            Missing::NanLeft,
            Missing::NanRight,
            Missing::NanIsZero,
            Missing::ZeroLeft,
            Missing::ZeroRight,
        ];
        for at in values.iter().copied().filter(|at| !at.is_nan()) {
            for test in [
                Test::Less(at),
                Test::LessEq(at),
                Test::Greater(at),
                Test::Equal(at),
            ] {
                for missing in all_missing {
                    let split = Split {
                        feature: 0,
                        test,
                        missing,
                        left: Child::Leaf(0),
                        right: Child::Leaf(1),
                    };
                    let asked = Asked::new(&forest, &split);
                    for value in &values {
                        let expected = goes_left(&forest, &split, *value);
                        assert_eq!(
                            asked.goes_left(&forest, *value),
                            expected,
                            "{split:?} {value:e}"
                        );
                    }
                }
            }
        }
    }
}
