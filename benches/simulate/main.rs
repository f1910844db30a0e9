//! The error rates and the power of the gates, by simulation: `make simulate` prints the table and
//! fails when equal models are promoted more often than the nominal rate and Monte Carlo error allow.
//!
//! Seeds are fixed; a run says the same each time. A few minutes on two cores.

#![expect(clippy::print_stdout, reason = "a table for a person")]

mod scenarios;

use std::process::ExitCode;

use hedgerow::rollout::gate::{Costs, Design, Finding, Gate, Measure, Trial, Verdict};
use hedgerow::rollout::score::{Judged, Pair, Scored, Task, delong};
use hedgerow::rollout::sequential::{Mean, beta_binomial_e_value, rho2_one_sided};
use scenarios::{
    ALPHA, DISTANCE_BETTER, DISTANCE_EQUAL, DISTANCE_MUCH_BETTER, Discordant, Money, Random, Ranks,
    Run,
};

/// One line of the table.
struct Scenario {
    name: &'static str,
    repetitions: u64,
    /// Equal models: promotions are errors.
    null: bool,
    /// What the published simulations of these tests saw: naive, ours, median stop.
    expected: &'static str,
    run: Box<dyn Fn(&mut Random) -> Run + Sync>,
}

fn main() -> ExitCode {
    let filter = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'));
    println!(
        "{:<44} {:>6} {:>8} {:>8} {:>8}   reference (naive, ours, median stop)",
        "scenario", "runs", "naive", "ours", "median"
    );
    let mut good = true;
    for scenario in ranks().into_iter().chain(decisions()).chain(money()) {
        if filter
            .as_ref()
            .is_none_or(|filter| scenario.name.contains(filter))
        {
            good &= report(&scenario);
        }
    }
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn ranks() -> Vec<Scenario> {
    let ranks = |measure, every, distance| Ranks {
        measure,
        rows: 40_000,
        every,
        positives_min: if every == 1_000 { 50 } else { 5 },
        distance,
    };
    let scenario = |name, measure, distance, expected| Scenario {
        name,
        repetitions: 150,
        null: distance == DISTANCE_EQUAL,
        expected,
        run: Box::new(move |random| ranks(measure, 1_000, distance).run(random)),
    };
    let (auc, equal) = (Measure::Auc, DISTANCE_EQUAL);
    vec![
        scenario("auc equal, look/1000, m>=50", auc, equal, "15.3%, 0.7%"),
        Scenario {
            name: "auc equal, look/500, m>=5, no floor",
            repetitions: 150,
            null: true,
            expected: "30%, 1.3%",
            run: Box::new(move |random| ranks(auc, 500, equal).run_without_floor(random)),
        },
        scenario(
            "auc +1.4 points",
            auc,
            DISTANCE_BETTER,
            "100%, 96.7%, 14000 rows",
        ),
        scenario(
            "auc +2.7 points",
            auc,
            DISTANCE_MUCH_BETTER,
            "100%, 100%, 6000 rows",
        ),
        scenario("log_loss equal", Measure::LogLoss, equal, "-"),
        scenario(
            "log_loss, auc +2.7 points",
            Measure::LogLoss,
            DISTANCE_MUCH_BETTER,
            "-",
        ),
        scenario("brier equal", Measure::Brier, equal, "-"),
        scenario(
            "brier, auc +2.7 points",
            Measure::Brier,
            DISTANCE_MUCH_BETTER,
            "-",
        ),
    ]
}

fn decisions() -> Vec<Scenario> {
    let discordant = |better| Discordant {
        pairs: 2_000,
        better,
    };
    let gate = |name, null, better, expected| Scenario {
        name,
        repetitions: 4_000,
        null,
        expected,
        run: Box::new(move |random| discordant(better).run(random)),
    };
    let alone = |name, null, better, expected| Scenario {
        name,
        repetitions: 4_000,
        null,
        expected,
        run: Box::new(move |random| discordant(better).run_two_sided(random)),
    };
    vec![
        alone("mcnemar equal, two-sided e-value", true, 0.5, "37.7%, 2.3%"),
        alone(
            "mcnemar 60/40, two-sided e-value",
            false,
            0.6,
            "100%, 100%, 200 pairs",
        ),
        alone(
            "mcnemar 55/45, two-sided e-value",
            false,
            0.55,
            "99.9%, 93%, 740 pairs",
        ),
        gate("recall_fpr gate, equal", true, 0.5, "-"),
        Scenario {
            name: "recall_fpr gate, equal in both classes",
            repetitions: 4_000,
            null: true,
            expected: "-",
            run: Box::new(move |random| discordant(0.5).run_both_classes(random)),
        },
        gate("recall_fpr gate, 60/40", false, 0.6, "-"),
        gate("recall_fpr gate, 55/45", false, 0.55, "-"),
    ]
}

fn money() -> Vec<Scenario> {
    let scenario = |name, (tilt, spread), expected| Scenario {
        name,
        repetitions: if tilt == 0.5 { 4_000 } else { 500 },
        null: tilt == 0.5,
        expected,
        run: Box::new(move |random| {
            let rows = 20_000;
            Money { rows, tilt, spread }.run(random)
        }),
    };
    vec![
        scenario("cost equal, a bet at every row", (0.5, 0.5), "32%, 3.2%"),
        scenario("cost +40%", (0.7, 0.5), "100%, 100%, 2600 rows"),
        scenario("cost +20%", (0.6, 0.5), "98.6%, 73%, 8000 rows"),
        scenario("cost equal, heavy tails", (0.5, 1.0), "-"),
        scenario("cost +40%, heavy tails", (0.7, 1.0), "-"),
        scenario("cost +20%, heavy tails", (0.6, 1.0), "-"),
    ]
}

/// Runs a scenario and prints its line; false when equal models were promoted too often.
fn report(scenario: &Scenario) -> bool {
    let runs: Vec<Run> = (0..scenario.repetitions)
        .map(|seed| (scenario.run)(&mut Random::new(seed + 1)))
        .collect();
    let share = |promoted: usize| promoted as f64 / runs.len() as f64;
    let naive = share(runs.iter().filter(|run| run.naive.is_some()).count());
    let mut stops: Vec<u64> = runs.iter().filter_map(|run| run.ours).collect();
    stops.sort_unstable();
    let ours = share(stops.len());
    let median = stops
        .get(stops.len() / 2)
        .map_or("-".to_owned(), u64::to_string);
    // Two standard deviations of a rate that is at the nominal one.
    let allowed = ALPHA + 2.0 * (ALPHA * (1.0 - ALPHA) / runs.len() as f64).sqrt();
    let good = !scenario.null || ours <= allowed;
    println!(
        "{:<44} {:>6} {:>7.1}% {:>7.1}% {:>8}   {}{}",
        scenario.name,
        runs.len(),
        100.0 * naive,
        100.0 * ours,
        median,
        scenario.expected,
        if good { "" } else { "   TOO OFTEN" }
    );
    good
}
