//! What is linear in a forest: LightGBM's linear leaves (`linear_tree`) and XGBoost's linear
//! booster (`gblinear`), evaluated in each library's order and precision.
//!
//! [`super::reference`] and every kernel call the same two functions, [`LinearLeaves::value`] and
//! [`linear_scores`].

use super::ParseError;
use super::reference::ZERO_THRESHOLD;

/// The linear parts of a forest; the default is none.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Linear {
    /// One per tree, or empty where no tree has linear leaves.
    pub leaves: Vec<LinearLeaves>,
    /// A linear booster's weights, `[features, outputs]`, row-major, 32-bit floats. Empty where the
    /// forest is one of trees; else it has no trees, and its base is bias plus base score.
    pub weights: Vec<f64>,
}

/// The linear models in the leaves of one tree.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct LinearLeaves {
    /// What each leaf's sum starts from. Empty where the tree's leaves are plain.
    pub constants: Vec<f64>,
    /// Leaf `i` has the terms `starts[i]..starts[i + 1]`. One more than there are leaves.
    pub starts: Vec<u32>,
    /// The feature of each term.
    pub features: Vec<u32>,
    /// The coefficient of each term.
    pub coefficients: Vec<f64>,
}

impl Linear {
    /// Whether the forest is one of plain trees.
    pub fn is_empty(&self) -> bool {
        self.leaves.is_empty() && self.weights.is_empty()
    }

    /// The linear models of a tree, where it has them.
    pub fn of_tree(&self, tree: usize) -> Option<&LinearLeaves> {
        self.leaves
            .get(tree)
            .filter(|leaves| !leaves.constants.is_empty())
    }

    /// Bytes held on the heap, roughly.
    pub fn memory_bytes(&self) -> usize {
        let leaves: usize = self.leaves.iter().map(LinearLeaves::memory_bytes).sum();
        leaves + size_of_val(self.leaves.as_slice()) + size_of_val(self.weights.as_slice())
    }
}

impl LinearLeaves {
    /// What leaf `leaf` says of a row: its constant, plus each term in order, in 64 bits; `plain`,
    /// the leaf's ordinary value, where a feature of some term is NaN. As LightGBM's
    /// `Tree::Predict`, whose rows have 0.0 for magnitudes up to [`ZERO_THRESHOLD`].
    ///
    /// `row` is `[features]`, widened without loss.
    pub fn value<T: Copy + Into<f64>>(&self, leaf: usize, plain: f64, row: &[T]) -> f64 {
        let terms = self.starts[leaf] as usize..self.starts[leaf + 1] as usize;
        let mut sum = self.constants[leaf];
        for (feature, coefficient) in self.features[terms.clone()]
            .iter()
            .zip(&self.coefficients[terms])
        {
            let value: f64 = row[*feature as usize].into();
            if value.is_nan() {
                return plain;
            }
            let value = if value.abs() <= ZERO_THRESHOLD {
                0.0
            } else {
                value
            };
            sum += coefficient * value;
        }
        sum
    }

    /// Checks what [`LinearLeaves::value`] relies on, for a tree of `leaves` leaves.
    ///
    /// # Errors
    /// [`ParseError::Malformed`] with what was expected.
    pub fn check(&self, leaves: usize, features: usize) -> Result<(), ParseError> {
        if *self == LinearLeaves::default() {
            return Ok(());
        }
        let terms = self.features.len();
        let whole = self.constants.len() == leaves
            && self.starts.len() == leaves + 1
            && self.starts.is_sorted()
            && self.starts.last().map(|end| *end as usize) == Some(terms)
            && self.coefficients.len() == terms;
        if !whole {
            return Err(ParseError::Malformed(
                "the linear models of its leaves are torn".to_string(),
            ));
        }
        match self
            .features
            .iter()
            .find(|term| **term as usize >= features)
        {
            Some(term) => Err(ParseError::Malformed(format!(
                "a linear leaf has feature {term}, but the model has {features}"
            ))),
            None => Ok(()),
        }
    }

    fn memory_bytes(&self) -> usize {
        size_of_val(self.constants.as_slice())
            + size_of_val(self.starts.as_slice())
            + size_of_val(self.features.as_slice())
            + size_of_val(self.coefficients.as_slice())
    }
}

/// The raw scores of XGBoost's linear booster: `base`, plus each value times its weight in order of
/// the features, all in 32 bits; missing values are left out. As `GBLinear::Pred`.
///
/// `weights` is `[features, outputs]`, `base` and `out` are `[outputs]`, `row` is `[features]`.
pub fn linear_scores<T: Copy + Into<f64>>(
    weights: &[f64],
    base: &[f64],
    row: &[T],
    out: &mut [f64],
) {
    out.copy_from_slice(base);
    for (value, weights) in row.iter().zip(weights.chunks_exact(base.len().max(1))) {
        let value: f64 = (*value).into();
        if value.is_nan() {
            continue;
        }
        for (score, weight) in out.iter_mut().zip(weights) {
            // A product of two 32-bit floats is exact in 64 bits, so it is rounded once.
            let term = (value * weight) as f32;
            *score = f64::from(*score as f32 + term);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves() -> LinearLeaves {
        LinearLeaves {
            constants: vec![1.0, 2.0],
            starts: vec![0, 2, 2],
            features: vec![1, 0],
            coefficients: vec![0.5, -1.0],
        }
    }

    #[test]
    fn a_linear_leaf_is_its_constant_and_its_terms() {
        assert_eq!(leaves().value(0, 9.0, &[3.0, 4.0]), 0.0);
        assert_eq!(leaves().value(1, 9.0, &[f64::NAN, 4.0]), 2.0);
        assert_eq!(leaves().value(0, 9.0, &[f64::NAN, 4.0]), 9.0);
        // 1e-36 is read as zero, and infinity times zero is NaN as in the library.
        let mut infinite = leaves();
        infinite.coefficients[0] = f64::INFINITY;
        assert!(infinite.value(0, 9.0, &[0.0, 1e-36]).is_nan());
        assert_eq!(leaves().value(0, 9.0, &[1e-36, -1e-36]), 1.0);
    }

    #[test]
    fn a_linear_booster_skips_what_is_missing() {
        let mut out = [0.0; 2];
        let weights = [1.0, 2.0, 10.0, 20.0];
        linear_scores(&weights, &[0.5, 0.25], &[3.0, f32::NAN], &mut out);
        assert_eq!(out, [3.5, 6.25]);
    }

    #[test]
    fn torn_linear_leaves_are_found() {
        assert!(leaves().check(2, 2).is_ok());
        assert!(leaves().check(3, 2).is_err());
        assert!(leaves().check(2, 1).is_err());
        let mut torn = leaves();
        torn.starts[1] = 3;
        assert!(torn.check(2, 2).is_err());
        assert!(LinearLeaves::default().check(7, 1).is_ok());
    }
}
