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
    /// `exp(x)` in 64 bits, rounded to 32, per output: what `survival:aft` calls. `expf` itself is
    /// not always rounded correctly.
    ExpRounded32,
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
    /// A further link of `x / count` per output: LightGBM's random forests, whose raw scores stay
    /// sums while their predictions are of the average.
    Mean64 { count: f64, after: AfterMean },
}

/// What follows the average in [`Link::Mean64`]: the 64-bit links.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum AfterMean {
    Identity,
    Sigmoid { slope: f64 },
    Softmax,
    Exp,
    Log1pExp,
    SignedSquare,
}

impl AfterMean {
    /// The link itself.
    pub fn link(self) -> Link {
        match self {
            AfterMean::Identity => Link::Identity,
            AfterMean::Sigmoid { slope } => Link::Sigmoid64 { slope },
            AfterMean::Softmax => Link::Softmax64,
            AfterMean::Exp => Link::Exp64,
            AfterMean::Log1pExp => Link::Log1pExp64,
            AfterMean::SignedSquare => Link::SignedSquare64,
        }
    }

    /// Applies the link in place.
    fn apply(self, scores: &mut [f64]) {
        match self {
            AfterMean::Identity => {}
            AfterMean::Sigmoid { slope } => replace(scores, |x| sigmoid64(slope, x)),
            AfterMean::Softmax => softmax64(scores),
            AfterMean::Exp => replace(scores, f64::exp),
            AfterMean::Log1pExp => replace(scores, |x| x.exp().ln_1p()),
            AfterMean::SignedSquare => replace(scores, signed_square),
        }
    }
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
        let softmax = match self {
            Link::Mean64 { after, .. } => *after == AfterMean::Softmax,
            link => matches!(link, Link::Softmax32 | Link::Argmax32 | Link::Softmax64),
        };
        if softmax && outputs < 2 {
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
            Link::ExpRounded32 => each(raw, out, |x| f64::from(x.exp() as f32)),
            Link::Step32 => each(raw, out, |x| if x > 0.0 { 1.0 } else { 0.0 }),
            Link::Sigmoid64 { slope } => each(raw, out, |x| sigmoid64(slope, x)),
            Link::Exp64 => each(raw, out, f64::exp),
            Link::Log1pExp64 => each(raw, out, |x| x.exp().ln_1p()),
            Link::SignedSquare64 => each(raw, out, signed_square),
            Link::Argmax32 => out[0] = argmax(raw) as f64,
            Link::Softmax32 => softmax32(raw, out),
            Link::Softmax64 => {
                out.copy_from_slice(raw);
                softmax64(out);
            }
            Link::Mean64 { count, after } => {
                each(raw, out, |x| x / count);
                after.apply(out);
            }
            Link::Onnx(link) => link.apply(raw, out),
        }
    }
}

fn each(raw: &[f64], out: &mut [f64], link: impl Fn(f64) -> f64) {
    for (out, raw) in out.iter_mut().zip(raw) {
        *out = link(*raw);
    }
}

fn replace(scores: &mut [f64], link: impl Fn(f64) -> f64) {
    for score in scores {
        *score = link(*score);
    }
}

fn sigmoid64(slope: f64, x: f64) -> f64 {
    1.0 / (1.0 + (-slope * x).exp())
}

/// LightGBM's sign is an integer: 0 for zero of either sign, and for NaN.
fn signed_square(x: f64) -> f64 {
    f64::from(i8::from(x > 0.0) - i8::from(x < 0.0)) * x * x
}

/// XGBoost `src/common/math.h`: the exponent is limited to 88.7 and 1e-16 is added to the
/// denominator. The comparison is written so that NaN stays NaN, as there.
fn sigmoid32(x: f32) -> f32 {
    let exponent = if 88.7 < -x { 88.7 } else { -x };
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
fn softmax64(scores: &mut [f64]) {
    let largest = scores.iter().fold(scores[0], |max, x| max.max(*x));
    let mut sum = 0.0;
    for score in scores.iter_mut() {
        *score = (*score - largest).exp();
        sum += *score;
    }
    for score in scores {
        *score /= sum;
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
        // The two differ here: the exponential is within 2^-38 of half way.
        let x = f64::from(f32::from_bits(0xbf30_ee23));
        check(
            Link::ExpRounded32,
            &[x],
            &[f64::from(f32::from_bits(0x3f00_420b))],
        );
        check(Link::Step32, &[0.0, 0.1, -1.0], &[0.0, 1.0, 0.0]);
        check(Link::Argmax32, &[1.0, 3.0, 3.0], &[1.0]);
        check(Link::Softmax32, &[2.0, 2.0], &[0.5, 0.5]);
        check(Link::Softmax64, &[2.0, 2.0], &[0.5, 0.5]);
        check(Link::SignedSquare64, &[-3.0, -0.0], &[-9.0, 0.0]);
        let after = AfterMean::Sigmoid { slope: 2.0 };
        check(Link::Mean64 { count: 3.0, after }, &[0.0], &[0.5]);
        let after = AfterMean::Identity;
        check(
            Link::Mean64 { count: 4.0, after },
            &[1.0, 2.0],
            &[0.25, 0.5],
        );
    }

    #[test]
    fn a_softmax_over_one_output_is_refused() {
        assert!(Link::Softmax32.check(1).is_err());
        assert!(Link::Softmax32.check(2).is_ok());
    }
}
