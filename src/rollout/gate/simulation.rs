//! The scenarios of `make simulate` in a small form: a few repetitions with fixed seeds.

#[path = "../../../benches/simulate/scenarios.rs"]
mod scenarios;

use super::super::score::{Judged, Pair, Scored, Task, delong};
use super::super::sequential::{Mean, beta_binomial_e_value, rho2_one_sided};
use super::{Costs, Design, Finding, Gate, Measure, Trial, Verdict};
use scenarios::{
    ALPHA, DISTANCE_BETTER, DISTANCE_EQUAL, DISTANCE_MUCH_BETTER, Discordant, Money, Random, Ranks,
    Run,
};

/// How many of `repetitions` promoted: by naive peeking, and by us.
fn promoted(repetitions: u64, run: impl Fn(&mut Random) -> Run) -> (usize, usize) {
    let runs: Vec<Run> = (1..=repetitions)
        .map(|seed| run(&mut Random::new(seed)))
        .collect();
    let count = |of: fn(&Run) -> bool| runs.iter().filter(|run| of(run)).count();
    (
        count(|run| run.naive.is_some()),
        count(|run| run.ours.is_some()),
    )
}

#[test]
fn equal_ranks_are_rarely_promoted_and_better_ones_are() {
    let ranks = |rows, distance| Ranks {
        measure: Measure::Auc,
        rows,
        every: 1_000,
        positives_min: 50,
        distance,
    };
    let (_, ours) = promoted(15, |random| ranks(9_000, DISTANCE_EQUAL).run(random));
    assert!(ours <= 2, "{ours} of 15");
    let (_, ours) = promoted(4, |random| ranks(16_000, DISTANCE_MUCH_BETTER).run(random));
    assert_eq!(ours, 4);
    let (naive, _) = promoted(2, |random| ranks(9_000, DISTANCE_BETTER).run(random));
    assert!(naive > 0);
    let tiny = ranks(2_000, DISTANCE_EQUAL);
    assert!(tiny.run_without_floor(&mut Random::new(1)).ours.is_none());
}

#[test]
fn equal_decisions_are_rarely_promoted_and_better_ones_are() {
    let pairs = |pairs, better| Discordant { pairs, better };
    let (naive, ours) = promoted(200, |random| pairs(600, 0.5).run(random));
    assert!(naive > 40, "{naive} of 200");
    assert!(ours as f64 <= 200.0 * ALPHA, "{ours} of 200");
    let (_, ours) = promoted(200, |random| pairs(600, 0.5).run_two_sided(random));
    assert!(ours as f64 <= 200.0 * ALPHA, "{ours} of 200");
    let (_, ours) = promoted(200, |random| pairs(600, 0.5).run_both_classes(random));
    assert!(ours as f64 <= 200.0 * ALPHA, "{ours} of 200");
    let (_, ours) = promoted(30, |random| pairs(1_000, 0.6).run(random));
    assert_eq!(ours, 30);
}

#[test]
fn equal_money_is_rarely_promoted_and_saved_money_is() {
    let money = |rows, tilt| Money {
        rows,
        tilt,
        spread: 0.5,
    };
    let (naive, ours) = promoted(60, |random| money(6_000, 0.5).run(random));
    assert!(naive > 8, "{naive} of 60");
    assert!(ours <= 6, "{ours} of 60");
    let (_, ours) = promoted(20, |random| money(8_000, 0.7).run(random));
    assert!(ours >= 18, "{ours} of 20");
}
