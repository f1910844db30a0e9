//! E-values of proportions by mixtures over Beta distributions, and the special functions they need.
//!
//! Exact for any number of observations: no approximation by a normal distribution. Counts may be
//! huge; logarithms are used throughout.

use super::e_value_of;

/// Two-sided e-value against "`better` and `worse` are equally likely" (sequential McNemar):
/// `B(a+b, a+c)/B(a, a)·2^(b+c)` with the Beta(`prior`, `prior`) mixture.
///
/// `better` and `worse` count the discordant pairs, at least 0; `prior` is above 0, about 10 (the
/// mixture expects shares near `0.5 ± 0.5/√(2·prior)`). No pairs give 1.
///
/// Source: Howard et al. 2021, beta-binomial mixture; `confseq.boundaries.beta_binomial_mixture`.
#[must_use]
pub fn beta_binomial_e_value(better: f64, worse: f64, prior: f64) -> f64 {
    e_value_of(log_mixture(better, worse, prior))
}

/// One-sided e-value against "`better` is at most as likely as `worse`": the mixture of
/// [`beta_binomial_e_value`] cut to shares above one half,
/// `2·B(a+b, a+c)/B(a, a)·2^(b+c)·P(Beta(a+b, a+c) > 1/2)`. No pairs give 1.
///
/// Every part of the mixture is a likelihood ratio that falls on average when the share is below one
/// half, so it is valid for the whole composite null.
#[must_use]
pub fn beta_binomial_e_value_above(better: f64, worse: f64, prior: f64) -> f64 {
    let above = ln_beta_above(0.5, prior + better, prior + worse);
    e_value_of(log_mixture(better, worse, prior) + std::f64::consts::LN_2 + above)
}

fn log_mixture(better: f64, worse: f64, prior: f64) -> f64 {
    ln_beta(prior + better, prior + worse) - ln_beta(prior, prior)
        + (better + worse) * std::f64::consts::LN_2
}

/// One-sided e-value against "events happen at most at the rate `limit`", after `events` in `trials`:
/// the likelihood ratio averaged over rates spread evenly on (`limit`, 1).
///
/// `limit` lies in [0, 1): with 0 the first event is proof, and without any there is none. No trials
/// give 1; more events than trials count as all.
#[must_use]
pub fn proportion_e_value_above(events: u64, trials: u64, limit: f64) -> f64 {
    let (events, trials) = (events.min(trials) as f64, trials as f64);
    if limit <= 0.0 {
        return if events > 0.0 {
            e_value_of(f64::INFINITY)
        } else {
            1.0
        };
    }
    if limit.is_nan() || limit >= 1.0 {
        return 1.0;
    }
    let (a, b) = (events + 1.0, trials - events + 1.0);
    let above = ln_beta_above(limit, a, b);
    let null = events * limit.ln() + (trials - events + 1.0) * (-limit).ln_1p();
    e_value_of(ln_beta(a, b) + above - null)
}

/// Two-sided e-value against "each unit goes to the challenger with probability `expected`", the
/// share-ratio check: `B(a+x, b+n−x)/(B(a, b)·p^x·(1−p)^(n−x))`, with `a:b` as `expected` and the
/// smaller of both at 1 or more.
///
/// Units must be assigned independently: count keys, not the rows of a sticky key. `expected` outside
/// (0, 1) gives 1: there is no split to check.
#[must_use]
pub fn share_e_value(expected: f64, challenger: u64, champion: u64) -> f64 {
    if expected.is_nan() || expected <= 0.0 || expected >= 1.0 {
        return 1.0;
    }
    let prior = 1.0 / expected.min(1.0 - expected);
    let (a, b) = (prior * expected, prior * (1.0 - expected));
    let (x, y) = (challenger as f64, champion as f64);
    let null = x * expected.ln() + y * (-expected).ln_1p();
    e_value_of(ln_beta(a + x, b + y) - ln_beta(a, b) - null)
}

/// `ln B(a, b)` for positive `a` and `b`.
fn ln_beta(a: f64, b: f64) -> f64 {
    ln_gamma(a) + ln_gamma(b) - ln_gamma(a + b)
}

/// `ln Γ(x)` for positive `x`: Stirling's series from 10 on (error below 1e-15), the recurrence
/// `Γ(x) = Γ(x+1)/x` below.
fn ln_gamma(x: f64) -> f64 {
    let (mut x, mut product) = (x, 1.0);
    while x < 10.0 {
        product *= x;
        x += 1.0;
    }
    let r = 1.0 / (x * x);
    let series =
        (1.0 / 12.0 - r * (1.0 / 360.0 - r * (1.0 / 1260.0 - r * (1.0 / 1680.0 - r / 1188.0)))) / x;
    (x - 0.5) * x.ln() - x + 0.5 * (2.0 * std::f64::consts::PI).ln() + series - product.ln()
}

/// `ln P(Beta(a, b) > x)`, for `x` in (0, 1): one minus the regularised incomplete beta function. In
/// logarithms, because the far tail meets an equally large factor.
fn ln_beta_above(x: f64, a: f64, b: f64) -> f64 {
    let front = a * x.ln() + b * (-x).ln_1p() - ln_beta(a, b);
    if x < (a + 1.0) / (a + b + 2.0) {
        let below = front.exp() * fraction(x, a, b) / a;
        return (-below.min(1.0)).ln_1p();
    }
    (front + (fraction(1.0 - x, b, a) / b).ln()).min(0.0)
}

/// The continued fraction of the incomplete beta function by Lentz's method. It converges in
/// O(√max(a, b)) steps; the limit covers counts to 1e9.
///
/// Source: NIST Digital Library of Mathematical Functions, 8.17.22.
fn fraction(x: f64, a: f64, b: f64) -> f64 {
    const TINY: f64 = 1e-300;
    const STEPS: u32 = 100_000;
    let away = |value: f64| if value.abs() < TINY { TINY } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / away(1.0 - (a + b) * x / (a + 1.0));
    let mut result = d;
    for step in 1..STEPS {
        let m = f64::from(step);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        d = 1.0 / away(1.0 + even * d);
        c = away(1.0 + even / c);
        result *= d * c;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        d = 1.0 / away(1.0 + odd * d);
        c = away(1.0 + odd / c);
        result *= d * c;
        if (d * c - 1.0).abs() < 1e-15 {
            break;
        }
    }
    result
}
