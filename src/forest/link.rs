//! From raw scores to predictions: each library's own functions, in its own precision.
//!
//! The exponentials are the C library's (`expf`, `exp`), as in the libraries themselves, so results
//! agree to the last bit where the library calls them the same way.

use super::ParseError;
use super::onnx::OnnxLink;

/// What turns the raw scores `[outputs]` of a row into its prediction `[width]`.
///
/// Variants ending in 32 compute in 32-bit floats as XGBoost does, those ending in 64 in 64-bit
/// floats as LightGBM does. NaN in gives NaN out, unless said otherwise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Link {
    /// The raw scores themselves.
    Identity,
    /// XGBoost's `common::Sigmoid` per output.
    Sigmoid32,
    /// `expf(x)` per output.
    Exp32,
    /// XGBoost's `common::Softmax` over all outputs.
    Softmax32,
    /// The index of the largest output; the first one on ties. One value.
    Argmax32,
    /// 1 where x > 0, else 0, per output.
    Step32,
    /// `1 / (1 + exp(-slope * x))` per output.
    Sigmoid64 { slope: f64 },
    /// LightGBM's `Common::Softmax` over all outputs.
    Softmax64,
    /// `exp(x)` per output.
    Exp64,
    /// `log1p(exp(x))` per output (LightGBM's `cross_entropy_lambda`).
    Log1pExp64,
    /// `sign(x) * x * x` per output (LightGBM's `reg_sqrt`).
    SignedSquare64,
    /// ONNX Runtime's, for its tree operators.
    Onnx(OnnxLink),
}

impl Link {
    /// Values per prediction for a forest with this many outputs.
    pub fn width(&self, outputs: usize) -> usize {
        match self {
            Link::Argmax32 => 1,
            Link::Onnx(link) => link.width(outputs),
            _ => outputs,
        }
    }

    /// Whether the link can follow a forest with this many outputs.
    ///
    /// # Errors
    /// [`ParseError::Malformed`] with what was expected.
    pub fn check(&self, outputs: usize) -> Result<(), ParseError> {
        if let Link::Onnx(link) = self {
            return link.check(outputs);
        }
        if matches!(self, Link::Softmax32 | Link::Argmax32 | Link::Softmax64) && outputs < 2 {
            return Err(ParseError::Malformed(format!(
                "a softmax needs at least two outputs, got {outputs}"
            )));
        }
        Ok(())
    }

    /// Writes the prediction of one row. `raw` is `[outputs]`, `out` is `[width(outputs)]`.
    pub fn apply(&self, raw: &[f64], out: &mut [f64]) {
        match *self {
            Link::Identity => out.copy_from_slice(raw),
            Link::Sigmoid32 => each(raw, out, |x| f64::from(sigmoid32(x as f32))),
            Link::Exp32 => each(raw, out, |x| f64::from((x as f32).exp())),
            Link::Step32 => each(raw, out, |x| if x > 0.0 { 1.0 } else { 0.0 }),
            Link::Sigmoid64 { slope } => each(raw, out, |x| 1.0 / (1.0 + (-slope * x).exp())),
            Link::Exp64 => each(raw, out, f64::exp),
            Link::Log1pExp64 => each(raw, out, |x| x.exp().ln_1p()),
            Link::SignedSquare64 => each(raw, out, |x| x.signum() * x * x),
            Link::Argmax32 => out[0] = argmax(raw) as f64,
            Link::Softmax32 => softmax32(raw, out),
            Link::Softmax64 => softmax64(raw, out),
            Link::Onnx(link) => link.apply(raw, out),
        }
    }
}

fn each(raw: &[f64], out: &mut [f64], link: impl Fn(f64) -> f64) {
    for (out, raw) in out.iter_mut().zip(raw) {
        *out = link(*raw);
    }
}

/// XGBoost `src/common/math.h`: the exponent is limited to 88.7 and 1e-16 is added to the
/// denominator.
fn sigmoid32(x: f32) -> f32 {
    let exponent = if -x < 88.7 { -x } else { 88.7 };
    1.0 / (exponent.exp() + 1.0 + 1e-16)
}

fn argmax(raw: &[f64]) -> usize {
    let mut best = 0;
    for (index, value) in raw.iter().enumerate() {
        if *value > raw[best] {
            best = index;
        }
    }
    best
}

/// XGBoost `src/common/math.h`: the sum is accumulated in 64 bits.
fn softmax32(raw: &[f64], out: &mut [f64]) {
    let largest = raw.iter().fold(raw[0] as f32, |max, x| max.max(*x as f32));
    let mut sum = 0.0_f64;
    for (out, raw) in out.iter_mut().zip(raw) {
        let value = (*raw as f32 - largest).exp();
        sum += f64::from(value);
        *out = f64::from(value);
    }
    for out in out {
        *out = f64::from(*out as f32 / sum as f32);
    }
}

/// LightGBM `include/LightGBM/utils/common.h`.
fn softmax64(raw: &[f64], out: &mut [f64]) {
    let largest = raw.iter().fold(raw[0], |max, x| max.max(*x));
    let mut sum = 0.0;
    for (out, raw) in out.iter_mut().zip(raw) {
        *out = (raw - largest).exp();
        sum += *out;
    }
    for out in out {
        *out /= sum;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(link: Link, raw: &[f64], expected: &[f64]) {
        let mut out = vec![0.0; link.width(raw.len())];
        link.apply(raw, &mut out);
        assert_eq!(out, expected, "{link:?} of {raw:?}");
    }

    #[test]
    fn links_give_their_known_points() {
        check(Link::Identity, &[1.5, -2.0], &[1.5, -2.0]);
        check(Link::Sigmoid32, &[0.0], &[0.5]);
        check(Link::Sigmoid64 { slope: 0.7 }, &[0.0], &[0.5]);
        check(Link::Exp32, &[0.0], &[1.0]);
        check(Link::Step32, &[0.0, 0.1, -1.0], &[0.0, 1.0, 0.0]);
        check(Link::Argmax32, &[1.0, 3.0, 3.0], &[1.0]);
        check(Link::Softmax32, &[2.0, 2.0], &[0.5, 0.5]);
        check(Link::Softmax64, &[2.0, 2.0], &[0.5, 0.5]);
        check(Link::SignedSquare64, &[-3.0], &[-9.0]);
    }

    #[test]
    fn a_softmax_over_one_output_is_refused() {
        assert!(Link::Softmax32.check(1).is_err());
        assert!(Link::Softmax32.check(2).is_ok());
    }
}
