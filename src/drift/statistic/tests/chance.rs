//! What chance alone gives, by simulation, and the verdict above it.

use super::super::*;
use super::{Draw, near};

/// The mean and the standard deviation of PSI over `times` pairs of samples of one distribution.
fn simulated(shares: &[f64], n: u64, m: u64, times: usize) -> (f64, f64) {
    let mut draw = Draw(n ^ m);
    let mut sample = |rows: u64| {
        let mut counts = vec![0_u64; shares.len()];
        for _ in 0..rows {
            let mut left = draw.uniform();
            let bin = shares.iter().position(|share| {
                left -= share;
                left < 0.0
            });
            counts[bin.unwrap_or(0)] += 1;
        }
        counts
    };
    let found: Vec<f64> = (0..times)
        .map(|_| psi(&sample(n), &sample(m)).unwrap())
        .collect();
    let mean = found.iter().sum::<f64>() / times as f64;
    let squares = found.iter().map(|psi| (psi - mean).powi(2));
    (mean, (squares.sum::<f64>() / (times - 1) as f64).sqrt())
}

#[test]
fn samples_of_one_distribution_have_the_null_psi_on_average() {
    let uneven = [0.4, 0.3, 0.15, 0.1, 0.05];
    for (shares, n, m) in [
        (vec![0.5; 2], 1_000, 300),
        (uneven.to_vec(), 2_000, 1_000),
        (vec![0.1; 10], 5_000, 500),
        (vec![0.05; 20], 3_000, 3_000),
    ] {
        let times = 300;
        let (mean, deviation) = simulated(&shares, n, m, times);
        let expected = null_psi(shares.len(), n, m);
        let spread = null_psi_deviation(shares.len(), n, m);
        let allowed = 4.0 * spread / (times as f64).sqrt() + 0.03 * expected;
        near(mean, expected, 0.0, allowed);
        near(deviation, spread, 0.25, 0.0);
    }
}

#[test]
fn zeros_lift_small_samples_above_the_null_psi() {
    let (mean, _) = simulated(&[0.1; 10], 5_000, 20, 200);
    let ratio = mean / null_psi(10, 5_000, 20);
    assert!((2.0..3.0).contains(&ratio), "{ratio}");
}

#[test]
fn the_null_level_of_no_bins_and_of_no_rows() {
    assert_eq!(null_psi(0, 0, 0), 0.0);
    assert_eq!(null_psi(1, 0, 10), 0.0);
    assert_eq!(null_psi_deviation(1, 0, 10), 0.0);
    assert_eq!(null_psi(3, 0, 10), f64::INFINITY);
    assert_eq!(null_psi(11, 1_000, 100), 10.0 * (0.001 + 0.01));
    assert_eq!(excess(0.3, 0.1), 0.3 - 0.1);
    assert_eq!(excess(0.1, 0.3), 0.0);
    assert_eq!(excess(0.1, f64::INFINITY), 0.0);
    assert_eq!(excess(f64::NAN, 0.0), 0.0);
}

#[test]
fn a_threshold_is_reached_when_equalled() {
    let thresholds = Thresholds {
        watch: 0.1,
        act: 0.25,
    };
    for (excess, expected) in [
        (0.0, Verdict::None),
        (0.099, Verdict::None),
        (0.1, Verdict::Watch),
        (0.249, Verdict::Watch),
        (0.25, Verdict::Act),
        (f64::INFINITY, Verdict::Act),
        (f64::NAN, Verdict::None),
    ] {
        assert_eq!(verdict(excess, thresholds), expected, "{excess}");
    }
    assert!(Verdict::None < Verdict::Watch && Verdict::Watch < Verdict::Act);
    let names = [Verdict::None, Verdict::Watch, Verdict::Act].map(Verdict::name);
    assert_eq!(names, ["none", "watch", "act"]);
}
