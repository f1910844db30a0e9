//! The statistics against SciPy and Evidently (`tests/oracles/drift_statistic.py`) and against pen and
//! paper; below, against closed forms, by simulation, and on any counts at all.

mod chance;
mod closed;
mod properties;

use super::chi_squared::upper_gamma;
use super::*;

const ORACLE: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/oracles/drift_statistic.tsv"
));

/// The generator of `tests/oracles/draw.py`.
struct Draw(u64);

impl Draw {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    /// Evenly in [0, 1).
    fn uniform(&mut self) -> f64 {
        self.below(1 << 31) as f64 / (1_u64 << 31) as f64
    }

    fn counts(&mut self, kind: &str, bins: usize) -> Vec<u64> {
        let mut counts: Vec<u64> = (0..bins)
            .map(|_| {
                let r = self.below(1 << 31);
                match kind {
                    "plain" => 1 + r % 1000,
                    "holes" if r.is_multiple_of(3) => 0,
                    "holes" => r % 100,
                    "large" => r * (r % 1000),
                    "spread" if r.is_multiple_of(5) => 0,
                    "spread" => 1 << (r % 40),
                    "close" => 1_000_000_000 + r % 100_000,
                    _ => panic!("no kind {kind}"),
                }
            })
            .collect();
        counts[0] += 1;
        counts
    }
}

fn rows_of(name: &str) -> Vec<Vec<&'static str>> {
    let rows = ORACLE.lines().map(|line| line.split('\t').collect());
    rows.filter(|row: &Vec<&str>| row[0] == name).collect()
}

fn numbers(row: &[&str]) -> Vec<f64> {
    row.iter().map(|text| text.parse().unwrap()).collect()
}

#[track_caller]
fn near(found: f64, expected: f64, relative: f64, absolute: f64) {
    assert!(
        (found - expected).abs() <= relative * expected.abs() + absolute,
        "{found}, expected {expected}"
    );
}

#[test]
fn histograms_equal_scipy_and_evidently() {
    let rows = rows_of("histogram");
    assert_eq!(rows.len(), 50);
    for row in rows {
        let bins: usize = row[3].parse().unwrap();
        let mut draw = Draw(row[2].parse().unwrap());
        let (r, l) = (draw.counts(row[1], bins), draw.counts(row[1], bins));
        let mut edges = vec![-3.0];
        for bin in 0..bins {
            edges.push(edges[bin] + draw.below(8) as f64 / 4.0);
        }
        let expected = numbers(&row[4..]);
        near(psi(&r, &l).unwrap(), expected[0], 1e-12, 1e-15);
        near(kl(&r, &l).unwrap(), expected[1], 1e-12, 1e-15);
        // A square root: 1e-8 of the distance is 1e-16 of the divergence.
        near(js_distance(&r, &l).unwrap(), expected[2], 1e-12, 1e-8);
        near(js(&r, &l).unwrap(), expected[2] * expected[2], 1e-12, 1e-15);
        let d = ks(&r, &l).unwrap();
        near(d, expected[3], 1e-12, 1e-15);
        let (n, m) = (r.iter().sum(), l.iter().sum());
        near(ks_p_value(d, n, m), expected[4], 1e-9, 1e-15);
        near(
            wasserstein(&edges, &r, &l).unwrap(),
            expected[5],
            1e-12,
            1e-14,
        );
        let test = chi_squared(&r, &l).unwrap();
        near(test.statistic, expected[6], 1e-9, 0.0);
        assert_eq!(test.degrees as f64, expected[7]);
        near(test.p_value, expected[8], 1e-9, 1e-15);
    }
}

#[test]
fn tails_equal_scipy() {
    for row in rows_of("chi2") {
        let [degrees, x, p] = numbers(&row[1..])[..] else {
            panic!("{row:?}")
        };
        near(upper_gamma(degrees / 2.0, x / 2.0), p, 1e-10, 1e-300);
    }
    for row in rows_of("kolmogorov") {
        let [x, p] = numbers(&row[1..])[..] else {
            panic!("{row:?}")
        };
        // Two samples of two rows: the square root of nm/(n+m) is 1.
        near(ks_p_value(x, 2, 2), p, 1e-12, 0.0);
    }
}

#[test]
fn p_values_of_any_argument_lie_between_0_and_1() {
    for a in [0.5, 1.0, 7.5, 500.0, 1e6, 1e9] {
        let mut before = 1.0;
        for x in [
            0.0, 1e-300, 1e-9, 0.5, 0.999, 1.0, 1.001, 2.0, 1e3, 1e18, 1e300,
        ] {
            let q = upper_gamma(a, (a * x).min(f64::MAX));
            assert!((0.0..=before).contains(&q), "Q({a}, {a}·{x}) = {q}");
            before = q;
        }
        // The median lies between a − 1/3 and a.
        assert!(upper_gamma(a, a) < 0.5 && upper_gamma(a, (a - 1.0 / 3.0).max(0.0)) > 0.5);
    }
    for d in [0.0, 5e-324, 1e-300, 1e-9, 0.01, 0.5, 1.0, f64::MAX] {
        for n in [0, 1, 1000, u64::MAX] {
            let p = ks_p_value(d, n, 7);
            assert!((0.0..=1.0).contains(&p), "{d} {n}: {p}");
        }
    }
    assert_eq!(ks_p_value(f64::NAN, 10, 10), 1.0);
    assert_eq!(ks_p_value(0.5, 0, 10), 1.0);
}

#[test]
fn small_cases_have_the_values_of_pen_and_paper() {
    // Shares ½, ½ and ¼, ¾.
    let (r, l) = ([2, 2], [1, 3]);
    near(psi(&r, &l).unwrap(), 0.25 * 3.0_f64.ln(), 1e-15, 0.0);
    near(
        kl(&r, &l).unwrap(),
        0.5 * 2.0_f64.ln() + 0.5 * (2.0_f64 / 3.0).ln(),
        1e-14,
        0.0,
    );
    assert_eq!(ks(&r, &l), Some(0.25));
    // 4·4·(1/16)·(1/3 + 1/5).
    near(
        chi_squared(&r, &l).unwrap().statistic,
        8.0 / 15.0,
        1e-15,
        0.0,
    );
    // Nothing in common.
    assert_eq!(js(&[5, 0], &[0, 7]), Some(std::f64::consts::LN_2));
    assert_eq!(ks(&[5, 0], &[0, 7]), Some(1.0));
    // A rectangle moved by its width; F and G crossing in the middle of a bin; a point mass moved.
    assert_eq!(wasserstein(&[0.0, 2.0, 4.0], &[1, 0], &[0, 1]), Some(2.0));
    assert_eq!(
        wasserstein(&[0.0, 1.0, 2.0, 3.0], &[1, 0, 1], &[0, 2, 0]),
        Some(0.75)
    );
    assert_eq!(
        wasserstein(&[1.0, 1.0, 4.0, 4.0], &[3, 0, 0], &[0, 0, 9]),
        Some(3.0)
    );
}

#[test]
fn evidentlys_shares_replace_zeros() {
    // The smallest other share is above 0.0001: an empty bin has 0.0001.
    let expected = (0.5 - 1e-4) * (0.5_f64 / 1e-4).ln() + 0.5 * 2.0_f64.ln();
    near(psi(&[1, 1], &[2, 0]).unwrap(), expected, 1e-14, 0.0);
    // It is 0.0001, so an empty bin has 1e-10.
    let (r, l) = ([9_999, 1, 0], [9_998, 1, 1]);
    let expected = (1e-10 - 1e-4) * (1e-10_f64 / 1e-4).ln() + (0.9999_f64 / 0.9998).ln() * 1e-4;
    near(psi(&r, &l).unwrap(), expected, 1e-10, 0.0);
    // A bin without any rows counts where both sides are replaced differently.
    let with = psi(&[9_999, 1, 0], &[5, 5, 0]).unwrap();
    let without = psi(&[9_999, 1], &[5, 5]).unwrap();
    near(
        with - without,
        (1e-4 - 1e-10) * (1e-4_f64 / 1e-10).ln(),
        1e-9,
        0.0,
    );
    assert_eq!(occupied(&[9_999, 1, 0, 0], &[5, 5, 0, 1]), 3);
}

#[test]
fn without_rows_or_bins_there_is_no_distance() {
    for (r, l) in [
        (&[][..], &[][..]),
        (&[0, 0], &[1, 2]),
        (&[1, 2], &[0, 0]),
        (&[1, 2], &[1, 2, 3]),
    ] {
        assert_eq!(psi(r, l), None);
        assert_eq!(kl(r, l), None);
        assert_eq!(js(r, l), None);
        assert_eq!(js_distance(r, l), None);
        assert_eq!(ks(r, l), None);
        assert_eq!(chi_squared(r, l), None);
        assert_eq!(wasserstein(&[0.0, 1.0, 2.0], r, l), None);
    }
    for edges in [
        &[][..],
        &[0.0, 1.0],
        &[0.0, 2.0, 1.0],
        &[0.0, 1.0, f64::INFINITY],
        &[0.0, f64::NAN, 2.0],
        &[-f64::MAX, 0.0, f64::MAX],
    ] {
        assert_eq!(wasserstein(edges, &[1, 2], &[2, 1]), None, "{edges:?}");
    }
    let only = chi_squared(&[0, 7], &[0, 9]).unwrap();
    assert_eq!((only.statistic, only.degrees, only.p_value), (0.0, 0, 1.0));
}
