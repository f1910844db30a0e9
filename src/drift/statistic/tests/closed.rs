//! Finely binned normal distributions against the closed forms of their distances.

use super::super::chi_squared::upper_gamma;
use super::super::*;

/// `Φ(x)`.
fn normal(x: f64) -> f64 {
    let tail = 0.5 * upper_gamma(0.5, 0.5 * x * x);
    if x < 0.0 { tail } else { 1.0 - tail }
}

/// Of 1e18 rows of a normal distribution, those between neighbouring borders; the outer bins take the
/// tails.
fn normal_counts(edges: &[f64], mean: f64, deviation: f64) -> Vec<u64> {
    let bins = edges.len() - 1;
    let at = |place: usize| (edges[place] - mean) / deviation;
    (0..bins)
        .map(|bin| {
            // Above the mean by the upper tails, so that small differences keep their digits.
            let (low, high) = if at(bin) > 0.0 {
                (-at(bin + 1), -at(bin))
            } else {
                (at(bin), at(bin + 1))
            };
            let mut share = normal(high) - normal(low);
            if bin == 0 {
                share += normal(at(0));
            }
            if bin == bins - 1 {
                share += normal(-at(bins));
            }
            (share * 1e18).round() as u64
        })
        .collect()
}

/// Distances of finely binned N(0, 1) and N(m, s): KL both ways, PSI, KS, Wasserstein.
fn binned(bins: usize, m: f64, s: f64) -> [f64; 5] {
    let edges: Vec<f64> = (0..=bins)
        .map(|edge| -9.0 + 18.0 * edge as f64 / bins as f64)
        .collect();
    let (p, q) = (normal_counts(&edges, 0.0, 1.0), normal_counts(&edges, m, s));
    [
        kl(&p, &q).unwrap(),
        kl(&q, &p).unwrap(),
        psi(&p, &q).unwrap(),
        ks(&p, &q).unwrap(),
        wasserstein(&edges, &p, &q).unwrap(),
    ]
}

/// The same of the distributions themselves.
fn closed(m: f64, s: f64) -> [f64; 5] {
    let forward = s.ln() + (1.0 + m * m) / (2.0 * s * s) - 0.5;
    let backward = -s.ln() + (s * s + m * m) / 2.0 - 0.5;
    let gap = |x: f64| (normal(x) - normal((x - m) / s)).abs();
    let ks = (-90_000..=90_000)
        .map(|step| gap(f64::from(step) * 1e-4))
        .fold(0.0, f64::max);
    // The quantile functions differ by |m + (s − 1)Z|: the mean of a folded normal.
    let d = (s - 1.0).abs();
    let wasserstein = if d == 0.0 {
        m.abs()
    } else {
        d * (2.0 / std::f64::consts::PI).sqrt() * (-m * m / (2.0 * d * d)).exp()
            + m * (1.0 - 2.0 * normal(-m / d))
    };
    [forward, backward, forward + backward, ks, wasserstein]
}

#[test]
fn fine_bins_of_normals_come_near_the_closed_forms() {
    for (m, s) in [(0.5, 1.0), (1.0, 1.0), (0.0, 1.3), (-0.4, 0.8), (0.3, 1.2)] {
        let expected = closed(m, s);
        for bins in [18, 50, 150, 450] {
            let found = binned(bins, m, s);
            // What bins lose falls with the square of their width.
            let width = 18.0 / bins as f64;
            for at in 0..5 {
                let error = (found[at] - expected[at]).abs();
                assert!(
                    error < 0.18 * width * width * expected[at] + 1e-9,
                    "{at} of N({m}, {s}) in {bins} bins: off by {error}"
                );
            }
            // They lose and never gain.
            for at in 0..4 {
                assert!(found[at] <= expected[at] + 1e-9, "{at} of N({m}, {s})");
            }
        }
    }
}
