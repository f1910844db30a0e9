//! Tests that stay valid however often one looks: asymptotic confidence sequences of a mean,
//! e-values of proportions, and betting.
//!
//! All are functions of numbers. This module never sees a row, a model or a clock, and decides
//! nothing: an e-value of at least `1/alpha` at any time has a probability of at most `alpha` when the
//! null hypothesis holds (Ville), and it is `gate` that compares.
//!
//! Sources: Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas, "Time-uniform central limit theory and
//! asymptotic confidence sequences", Annals of Statistics 52(6) 2024, arXiv:2103.06476 (sections 2
//! and appendix B for one side); Howard, Ramdas, McAuliffe, Sekhon 2021 and the `confseq` library
//! (beta-binomial mixtures); Waudby-Smith and Ramdas, arXiv:2010.09686 (betting).

mod beta;
mod betting;
#[cfg(test)]
mod tests;

pub use beta::{
    beta_binomial_e_value, beta_binomial_e_value_above, proportion_e_value_above, share_e_value,
};
pub use betting::Betting;

/// The largest e-value that is told: beyond it the number means nothing, and infinity has no place
/// in JSON.
const E_VALUE_MAX: f64 = 1e300;

/// The search for [`Mean::needed`] gives up beyond this many observations.
const NEEDED_MAX: f64 = 1e12;

/// A sample mean as an asymptotic confidence sequence sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mean {
    pub estimate: f64,
    /// Standard error of `estimate`: the standard deviation of one observation over `√t`.
    pub se: f64,
    /// Intrinsic time, the number of observations behind the estimate, above 0.
    pub t: f64,
}

/// `ρ²` that makes the two-sided sequence of level `alpha` tightest near `t_star` observations:
/// `(−2 ln α + ln(1 − 2 ln α)) / t*`.
///
/// `alpha` lies in (0, 1) and is clamped into it; `t_star` is at least 1. Choose it before the trial
/// starts. Source: arXiv:2103.06476, appendix B, with the Lambert W function approximated.
#[must_use]
pub fn rho2(alpha: f64, t_star: f64) -> f64 {
    let logarithm = -2.0 * alpha.clamp(1e-300, 0.999).ln();
    (logarithm + logarithm.ln_1p()) / t_star.max(1.0)
}

/// As [`rho2`], for a bound on one side only: `2α` in the place of `α`.
#[must_use]
pub fn rho2_one_sided(alpha: f64, t_star: f64) -> f64 {
    rho2(2.0 * alpha, t_star)
}

/// The always-valid p-value of an e-value: `min(1, 1/E)`. Take its running minimum over looks.
/// NaN and e-values below 1 give 1.
#[must_use]
pub fn always_valid_p(e_value: f64) -> f64 {
    if e_value > 1.0 { 1.0 / e_value } else { 1.0 }
}

/// `exp(logarithm)`, never infinite: at most 1e300. NaN gives 0.
#[must_use]
pub fn e_value_of(logarithm: f64) -> f64 {
    if logarithm.is_nan() {
        return 0.0;
    }
    logarithm.min(E_VALUE_MAX.ln()).exp()
}

impl Mean {
    /// How far the two-sided sequence of level `alpha` reaches to each side:
    /// `se·√t·√(2(tρ²+1)/(t²ρ²)·ln(√(tρ²+1)/α))`. NaN when a number is NaN.
    ///
    /// Source: arXiv:2103.06476, theorem 2.2 and proposition 2.5.
    #[must_use]
    pub fn radius(&self, alpha: f64, rho2: f64) -> f64 {
        self.reach(rho2, ((self.t * rho2 + 1.0).sqrt() / alpha).ln())
    }

    /// How far the one-sided sequence of level `alpha` reaches:
    /// `se·√t·√(2(tρ²+1)/(t²ρ²)·ln(1+√(tρ²+1)/(2α)))`. The mean lies above
    /// `estimate − radius_one_sided` at all times with probability `1 − alpha`, asymptotically.
    ///
    /// Source: arXiv:2103.06476, appendix on one-sided sequences (equation 134 of version 7).
    #[must_use]
    pub fn radius_one_sided(&self, alpha: f64, rho2: f64) -> f64 {
        self.reach(rho2, ((self.t * rho2 + 1.0).sqrt() / (2.0 * alpha)).ln_1p())
    }

    fn reach(&self, rho2: f64, logarithm: f64) -> f64 {
        let spread = self.t * rho2 + 1.0;
        self.se * self.t.sqrt() * (2.0 * spread / (self.t * self.t * rho2) * logarithm).sqrt()
    }

    /// Lower end of the one-sided sequence.
    #[must_use]
    pub fn lower(&self, alpha: f64, rho2: f64) -> f64 {
        self.estimate - self.radius_one_sided(alpha, rho2)
    }

    /// Upper end of the one-sided sequence.
    #[must_use]
    pub fn upper(&self, alpha: f64, rho2: f64) -> f64 {
        self.estimate + self.radius_one_sided(alpha, rho2)
    }

    /// Two-sided e-value against "the mean is `mu0`":
    /// `exp(ρ²·t·z²/(2(tρ²+1)))/√(tρ²+1)` with `z = (estimate − mu0)/se`. At least `1/α` exactly when
    /// [`Mean::radius`] of `α` leaves `mu0` out. A standard error that is not above 0 gives 0: no
    /// evidence.
    ///
    /// Source: arXiv:2103.06476 (equation 155 of version 7); the algebra of mSPRT.
    #[must_use]
    pub fn e_value(&self, mu0: f64, rho2: f64) -> f64 {
        if self.se.is_nan() || self.se <= 0.0 {
            return 0.0;
        }
        e_value_of(self.exponent(mu0, rho2) - 0.5 * (self.t * rho2).ln_1p())
    }

    /// One-sided e-value against "the mean is at most `mu0`":
    /// `2(exp(ρ²·t·z²/(2(tρ²+1))) − 1)/√(tρ²+1)` when the estimate is above `mu0`, else 0.
    ///
    /// It lies below the half-normal mixture `2·exp(x²/2)·Φ(x)/√(tρ²+1)` and is chosen because it is
    /// at least `1/α` exactly when [`Mean::lower`] of `α` is at least `mu0`.
    #[must_use]
    pub fn e_value_above(&self, mu0: f64, rho2: f64) -> f64 {
        if self.se.is_nan() || self.se <= 0.0 || self.estimate.is_nan() || self.estimate <= mu0 {
            return 0.0;
        }
        let exponent = self.exponent(mu0, rho2);
        let normaliser = std::f64::consts::LN_2 - 0.5 * (self.t * rho2).ln_1p();
        if exponent > 30.0 {
            return e_value_of(exponent + normaliser);
        }
        exponent.exp_m1() * normaliser.exp()
    }

    fn exponent(&self, mu0: f64, rho2: f64) -> f64 {
        let z = (self.estimate - mu0) / self.se;
        rho2 * self.t * z * z / (2.0 * (self.t * rho2 + 1.0))
    }

    /// How many observations in all bring [`Mean::lower`] above `bound`, when the estimate and the
    /// spread stay as they are. `None` when the estimate is not above `bound`, when the standard
    /// error is not above 0, or beyond 1e12.
    #[must_use]
    pub fn needed(&self, bound: f64, alpha: f64, rho2: f64) -> Option<f64> {
        let deviation = self.se * self.t.sqrt();
        if !deviation.is_finite() || deviation <= 0.0 || self.estimate.is_nan() {
            return None;
        }
        let crosses = |t: f64| {
            let mean = Self {
                se: deviation / t.sqrt(),
                t,
                ..*self
            };
            mean.lower(alpha, rho2) > bound
        };
        if self.estimate <= bound {
            return None;
        }
        let mut high = self.t.max(1.0);
        while !crosses(high) {
            high *= 2.0;
            if high > NEEDED_MAX {
                return None;
            }
        }
        let mut low = high / 2.0;
        if low < self.t {
            return Some(high);
        }
        while high - low > 1.0 {
            let middle = f64::midpoint(low, high);
            if crosses(middle) {
                high = middle;
            } else {
                low = middle;
            }
        }
        Some(high.ceil())
    }
}
