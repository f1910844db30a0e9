//! Of `loadtests/generator/schedule.rs`.

use super::schedule::{Arrival, Arrivals, Phase};

fn phase(rate: f64, start_s: u64, end_s: u64) -> Phase {
    Phase {
        rate: Some(rate),
        start_ns: start_s * 1_000_000_000,
        end_ns: end_s * 1_000_000_000,
    }
}

fn all(phases: &[Phase], seed: u64) -> Vec<Arrival> {
    let mut arrivals = Arrivals::new(phases.to_vec(), seed);
    let mut found = Vec::new();
    while let Some(arrival) = arrivals.next() {
        found.push(arrival);
        arrivals.advance();
    }
    found
}

#[test]
fn gaps_are_exponential_at_the_asked_rate() {
    let found = all(&[phase(10_000.0, 0, 20)], 7);
    // 200,000 expected, standard deviation 447.
    assert!(found.len().abs_diff(200_000) < 2_000, "{}", found.len());
    let gaps: Vec<f64> = found
        .windows(2)
        .map(|pair| (pair[1].at_ns - pair[0].at_ns) as f64)
        .collect();
    let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
    let spread = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
    assert!((mean / 100_000.0 - 1.0).abs() < 0.01, "{mean}");
    // The standard deviation of exponential gaps is their mean; 1/e of them are longer.
    assert!((spread.sqrt() / mean - 1.0).abs() < 0.02);
    let longer = gaps.iter().filter(|gap| **gap > mean).count() as f64 / gaps.len() as f64;
    assert!((longer - (-1.0_f64).exp()).abs() < 0.01, "{longer}");
}

#[test]
fn phases_follow_each_other_and_a_phase_without_rate_is_a_pause() {
    let phases = [phase(1000.0, 0, 1), phase(0.0, 1, 2), phase(5000.0, 2, 3)];
    assert_eq!(phases[0].seconds(), 1.0);
    let found = all(&phases, 1);
    for arrival in &found {
        let phase = phases[arrival.phase];
        assert!((phase.start_ns..phase.end_ns).contains(&arrival.at_ns));
    }
    let count = |phase| {
        found
            .iter()
            .filter(|arrival| arrival.phase == phase)
            .count()
    };
    assert!(count(0).abs_diff(1000) < 150 && count(1) == 0 && count(2).abs_diff(5000) < 350);
}

#[test]
fn equal_seeds_give_equal_arrivals() {
    let phases = [phase(1000.0, 0, 1)];
    assert_eq!(all(&phases, 3), all(&phases, 3));
    assert_ne!(all(&phases, 3), all(&phases, 4));
}
