//! The chi-squared test of two samples, and the incomplete gamma function behind its p-value.

use super::totals;

/// Where series and continued fractions stop at the latest. They need some `9·√a` steps, so this
/// covers a million million degrees of freedom.
const STEPS: u32 = 10_000_000;

/// The outcome of [`chi_squared`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChiSquared {
    /// At least 0.
    pub statistic: f64,
    /// Bins with rows on either side, less 1.
    pub degrees: usize,
    /// The probability of a statistic this large when both samples come from one distribution, 0 to
    /// 1. It underflows to 0.
    pub p_value: f64,
}

/// Pearson's chi-squared test that two samples of counts come from one distribution:
/// `Σ (observed − expected)²/expected` over both rows of the table, expected from its margins. For two
/// rows that is `n·m·Σ (p − q)²/(r + l)`, with `p = r/n` of the reference and `q = l/m` of the live
/// rows.
///
/// Bins empty on both sides are left out; one bin has no degree of freedom, so a statistic of 0 and a
/// p-value of 1. The p-value is meant for bins that expect some five rows or more. With many rows it
/// is tiny for differences that do not matter: it tells chance from drift, not little from much.
///
/// Source: `scipy.stats.chi2_contingency` with `correction=False`. Evidently's `chisquare.py` tests
/// goodness of fit instead: it scales the reference to the live rows and takes it as exact, so its
/// statistic is larger by about `1 + m/n`, and infinite where a category is new.
#[must_use]
pub fn chi_squared(reference: &[u64], live: &[u64]) -> Option<ChiSquared> {
    let (n, m) = totals(reference, live)?;
    let (mut sum, mut bins) = (0.0, 0_usize);
    for (&r, &l) in reference.iter().zip(live) {
        if r == 0 && l == 0 {
            continue;
        }
        let (r, l) = (r as f64, l as f64);
        let difference = r / n - l / m;
        sum += difference * difference / (r + l);
        bins += 1;
    }
    let statistic = n * m * sum;
    let degrees = bins.saturating_sub(1);
    let p_value = match degrees {
        0 => 1.0,
        _ => upper_gamma(0.5 * degrees as f64, 0.5 * statistic),
    };
    Some(ChiSquared {
        statistic,
        degrees,
        p_value,
    })
}

/// The regularised upper incomplete gamma function `Q(a, x) = Γ(a, x)/Γ(a)`, 0 to 1, for `a` of at
/// least ½ and finite `x` of at least 0. It falls from 1 at 0 and underflows to 0.
///
/// Source: NIST Digital Library of Mathematical Functions, 8.7.1 (series) and 8.9.2 (continued
/// fraction, its even part by Lentz's method).
pub fn upper_gamma(a: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 1.0;
    }
    let front = front(a, x);
    if front == 0.0 {
        return if x < a { 1.0 } else { 0.0 };
    }
    let value = if x < a + 1.0 {
        1.0 - front * series(a, x)
    } else {
        front * a * fraction(a, x)
    };
    value.clamp(0.0, 1.0)
}

/// `x^a·e^(−x)/Γ(a + 1)`. Written about `x = a`, so that no large numbers cancel:
/// `exp(−a(u − ln(1 + u)) − μ(a))/√(2πa)` with `u = (x − a)/a`.
fn front(a: f64, x: f64) -> f64 {
    let u = (x - a) / a;
    (-a * (u - u.ln_1p()) - stirling(a)).exp() / (2.0 * std::f64::consts::PI * a).sqrt()
}

/// `μ(a) = ln Γ(a) − (a − ½) ln a + a − ½ ln 2π`: Stirling's series from 10 on (error below 1e-15),
/// the recurrence `μ(a) = μ(a + 1) + (a + ½) ln(1 + 1/a) − 1` below.
fn stirling(a: f64) -> f64 {
    let (mut a, mut sum) = (a, 0.0);
    while a < 10.0 {
        sum += (a + 0.5) * (1.0 / a).ln_1p() - 1.0;
        a += 1.0;
    }
    let r = 1.0 / (a * a);
    let series =
        1.0 / 12.0 - r * (1.0 / 360.0 - r * (1.0 / 1260.0 - r * (1.0 / 1680.0 - r / 1188.0)));
    sum + series / a
}

/// `Σ x^k/((a + 1)…(a + k))` over `k ≥ 0`.
fn series(a: f64, x: f64) -> f64 {
    let (mut term, mut sum) = (1.0, 1.0);
    for step in 1..STEPS {
        term *= x / (a + f64::from(step));
        sum += term;
        if term < 1e-17 * sum {
            break;
        }
    }
    sum
}

/// The continued fraction of `Γ(a, x)/(x^a·e^(−x))`: `1/(x + 1 − a − 1(1 − a)/(x + 3 − a − …))`.
fn fraction(a: f64, x: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let away = |value: f64| if value.abs() < TINY { TINY } else { value };
    let mut b = x + 1.0 - a;
    let mut c = 1.0 / TINY;
    let mut d = 1.0 / away(b);
    let mut result = d;
    for step in 1..STEPS {
        let k = f64::from(step);
        let numerator = -k * (k - a);
        b += 2.0;
        d = 1.0 / away(numerator * d + b);
        c = away(b + numerator / c);
        result *= d * c;
        if (d * c - 1.0).abs() < 1e-15 {
            break;
        }
    }
    result
}
