//! ONNX Runtime's way from raw scores to what its tree operators put out, bit for bit
//! (`core/providers/cpu/ml/ml_common.h`, `write_scores`). Everything after the sums is in 32-bit
//! floats, and so is every result, whatever the trees compute in.

use super::ParseError;

/// What follows the raw scores of a tree operator.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OnnxLink {
    pub columns: Columns,
    pub transform: Transform,
}

/// How raw scores become the columns that are transformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Columns {
    /// Each is a column.
    Each,
    /// One score s becomes the columns 1 - s and s.
    Complement,
    /// One score s becomes the columns -s and s.
    Mirror,
}

/// The `post_transform` of the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transform {
    /// Rounding to 32 bits alone.
    None,
    Logistic,
    Softmax,
    /// A softmax that leaves columns within 1e-7 of zero out of the sum.
    SoftmaxZero,
    /// ONNX Runtime's approximation of the inverse normal distribution function.
    Probit,
}

impl OnnxLink {
    /// Values per prediction for a forest with this many outputs.
    pub fn width(&self, outputs: usize) -> usize {
        match self.columns {
            Columns::Each => outputs,
            Columns::Complement | Columns::Mirror => 2,
        }
    }

    /// Whether the link can follow a forest with this many outputs.
    ///
    /// # Errors
    /// [`ParseError::Malformed`] with what was expected.
    pub fn check(&self, outputs: usize) -> Result<(), ParseError> {
        if self.columns != Columns::Each && outputs != 1 {
            return Err(ParseError::Malformed(format!(
                "two columns of one score need one output, got {outputs}"
            )));
        }
        Ok(())
    }

    /// Writes the prediction of one row. `raw` is `[outputs]`, `out` is `[width(outputs)]`.
    pub fn apply(&self, raw: &[f64], out: &mut [f64]) {
        match (self.columns, raw) {
            (Columns::Complement, [score, ..]) => out.copy_from_slice(&[1.0 - score, *score]),
            (Columns::Mirror, [score, ..]) => out.copy_from_slice(&[-score, *score]),
            _ => out.copy_from_slice(raw),
        }
        for value in out.iter_mut() {
            *value = f64::from(*value as f32);
        }
        match self.transform {
            Transform::None => {}
            Transform::Logistic => each(out, logistic),
            Transform::Probit => each(out, probit),
            Transform::Softmax => softmax(out),
            Transform::SoftmaxZero => softmax_zero(out),
        }
    }
}

/// `out` holds 32-bit floats, and `link` is applied to each.
fn each(out: &mut [f64], link: impl Fn(f32) -> f32) {
    for value in out {
        *value = f64::from(link(*value as f32));
    }
}

/// `ComputeLogistic`: symmetric, so that it never overflows.
fn logistic(x: f32) -> f32 {
    let value = 1.0 / (1.0 + (-x.abs()).exp());
    if x < 0.0 { 1.0 - value } else { value }
}

/// `ComputeProbit`: √2 times `ErfInv(2x - 1)`. NaN outside 0 to 1.
fn probit(x: f32) -> f32 {
    std::f32::consts::SQRT_2 * erf_inverse(2.0 * x - 1.0)
}

/// `ErfInv`: Winitzki's approximation with a = 0.147.
fn erf_inverse(x: f32) -> f32 {
    let sign = if x < 0.0 { -1.0 } else { 1.0 };
    let log = ((1.0 - x) * (1.0 + x)).ln();
    let half = 2.0 / (std::f32::consts::PI * 0.147) + 0.5 * log;
    let scaled = 1.0 / 0.147 * log;
    sign * (-half + (half * half - scaled).sqrt()).sqrt()
}

/// `ComputeSoftmax`: the sum is accumulated in 32 bits.
fn softmax(out: &mut [f64]) {
    let largest = largest(out);
    let mut sum = 0.0_f32;
    for value in out.iter_mut() {
        let power = (*value as f32 - largest).exp();
        sum += power;
        *value = f64::from(power);
    }
    each(out, |power| power / sum);
}

/// `ComputeSoftmaxZero`.
fn softmax_zero(out: &mut [f64]) {
    let largest = largest(out);
    let shrink = (-largest).exp();
    let mut sum = 0.0_f32;
    for value in out.iter_mut() {
        let x = *value as f32;
        let power = if !(-1e-7..=1e-7).contains(&x) && !x.is_nan() {
            let power = (x - largest).exp();
            sum += power;
            power
        } else {
            x * shrink
        };
        *value = f64::from(power);
    }
    each(out, |power| power / sum);
}

/// The largest value; NaN is never larger.
fn largest(values: &[f64]) -> f32 {
    values.iter().fold(
        f32::MIN,
        |max, x| if *x as f32 > max { *x as f32 } else { max },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(columns: Columns, transform: Transform, raw: &[f64], expected: &[f64]) {
        let link = OnnxLink { columns, transform };
        let mut out = vec![0.0; link.width(raw.len())];
        link.apply(raw, &mut out);
        assert_eq!(out, expected, "{link:?} of {raw:?}");
    }

    #[test]
    fn links_give_their_known_points() {
        check(Columns::Each, Transform::None, &[0.5, -2.0], &[0.5, -2.0]);
        check(Columns::Complement, Transform::None, &[0.25], &[0.75, 0.25]);
        check(Columns::Mirror, Transform::None, &[0.25], &[-0.25, 0.25]);
        check(Columns::Mirror, Transform::Logistic, &[0.0], &[0.5, 0.5]);
        check(Columns::Each, Transform::Softmax, &[2.0, 2.0], &[0.5, 0.5]);
        check(
            Columns::Each,
            Transform::SoftmaxZero,
            &[0.0, 3.0],
            &[0.0, 1.0],
        );
    }

    #[test]
    fn probit_is_near_the_inverse_normal_distribution() {
        let link = OnnxLink {
            columns: Columns::Each,
            transform: Transform::Probit,
        };
        let mut out = [0.0; 3];
        link.apply(&[0.975, 0.5, 1.5], &mut out);
        assert!((out[0] - 1.96).abs() < 0.01, "{}", out[0]);
        assert!(out[1].abs() < 1e-3, "{}", out[1]);
        assert!(out[2].is_nan());
    }

    #[test]
    fn results_are_32_bit_floats() {
        check(
            Columns::Each,
            Transform::None,
            &[0.1],
            &[f64::from(0.1_f32)],
        );
    }

    #[test]
    fn two_columns_of_several_scores_are_refused() {
        let link = OnnxLink {
            columns: Columns::Mirror,
            transform: Transform::None,
        };
        assert!(link.check(2).is_err());
        assert!(link.check(1).is_ok());
    }
}
