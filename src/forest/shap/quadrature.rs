//! Gauss-Legendre quadrature on [0, 1]: `n` points integrate every polynomial of degree up to
//! `2n - 1` exactly.

/// Points and weights of a rule, as many as asked for.
#[derive(Clone, Debug)]
pub struct Rule {
    /// In (0, 1), descending.
    pub points: Vec<f64>,
    /// Positive; their sum is 1.
    pub weights: Vec<f64>,
}

/// Steps of Newton's method: from the usual first guess it converges in about five.
const STEPS: usize = 32;

impl Rule {
    /// The rule with `count` points, at least 1. Costs `count²` operations.
    ///
    /// The points are the roots of the Legendre polynomial of degree `count`, moved from [-1, 1]
    /// (Press et al., Numerical Recipes, section 4.6).
    pub fn new(count: usize) -> Rule {
        let mut rule = Rule {
            points: Vec::with_capacity(count),
            weights: Vec::with_capacity(count),
        };
        for index in 0..count {
            let guess = (index as f64 + 0.75) / (count as f64 + 0.5);
            let mut x = (std::f64::consts::PI * guess).cos();
            let (mut value, mut slope) = legendre(count, x);
            for _ in 0..STEPS {
                let step = value / slope;
                x -= step;
                (value, slope) = legendre(count, x);
                if step.abs() < 1e-15 {
                    break;
                }
            }
            rule.points.push((1.0 + x) / 2.0);
            rule.weights.push(1.0 / ((1.0 - x * x) * slope * slope));
        }
        rule
    }
}

/// The Legendre polynomial of this degree, at least 1, and its derivative, at `x` in (-1, 1).
fn legendre(degree: usize, x: f64) -> (f64, f64) {
    let (mut before, mut value) = (1.0, x);
    for k in 2..=degree {
        let k = k as f64;
        (before, value) = (
            value,
            ((2.0 * k - 1.0) * x * value - (k - 1.0) * before) / k,
        );
    }
    let slope = degree as f64 * (x * value - before) / (x * x - 1.0);
    (value, slope)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_integrates_polynomials_of_up_to_twice_its_points() {
        for count in [1_usize, 2, 3, 4, 8, 16, 64, 256] {
            let rule = Rule::new(count);
            for degree in [0, 1, count, 2 * count - 1] {
                let powers = rule.points.iter().map(|x| x.powi(degree as i32));
                let sum: f64 = powers.zip(&rule.weights).map(|(x, w)| x * w).sum();
                let expected = 1.0 / (degree as f64 + 1.0);
                let error = (sum - expected).abs() / expected;
                assert!(error < 1e-11, "{count} points, degree {degree}: {error}");
            }
        }
    }

    #[test]
    fn points_lie_inside() {
        for count in 1..100 {
            let rule = Rule::new(count);
            assert!(
                rule.points
                    .iter()
                    .all(|point| (0.0..1.0).contains(point) && *point > 0.0)
            );
            assert!(rule.weights.iter().all(|weight| *weight > 0.0));
        }
    }
}
