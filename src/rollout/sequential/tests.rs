use serde_json::Value;

use super::*;

fn cases(kind: &str) -> Vec<Value> {
    let text = include_str!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/golden/rollout/cases.json"
    ));
    let all: Value = serde_json::from_str(text).unwrap();
    all[kind].as_array().unwrap().clone()
}

fn near(found: f64, case: &Value, key: &str) {
    let expected = case[key].as_f64().unwrap();
    let allowed = 1e-9 * expected.abs().max(1.0);
    assert!(
        (found - expected).abs() <= allowed,
        "{key}: {found}, expected {expected} in {case}"
    );
}

fn number(case: &Value, key: &str) -> f64 {
    case[key].as_f64().unwrap()
}

#[test]
fn sequences_of_means_equal_confseq_and_the_paper() {
    for case in cases("sequences") {
        let (alpha, t_star) = (number(&case, "alpha"), number(&case, "t_star"));
        let mean = Mean {
            estimate: number(&case, "estimate"),
            se: number(&case, "se"),
            t: number(&case, "t"),
        };
        let (two, one) = (rho2(alpha, t_star), rho2_one_sided(alpha, t_star));
        near(two, &case, "rho2");
        near(one, &case, "rho2_one_sided");
        near(mean.radius(alpha, two), &case, "radius");
        near(mean.e_value(0.0, two).ln(), &case, "log_e_two_sided");
        near(mean.radius_one_sided(alpha, one), &case, "radius_one_sided");
        near(
            mean.lower(alpha, one) + mean.radius_one_sided(alpha, one),
            &case,
            "estimate",
        );
        // Ours is a lower bound of the half-normal mixture, and close where it matters.
        let (ours, mixture) = (
            mean.e_value_above(0.0, one).ln(),
            number(&case, "log_e_half_normal"),
        );
        assert!(ours <= mixture + 1e-9, "{ours} above {mixture}");
        assert!(
            mixture < 3.0 || ours > mixture - 0.05,
            "{ours} far below {mixture}"
        );
    }
}

#[test]
fn rho_has_the_values_of_the_references() {
    // GrowthBook's own example.
    assert!((rho2(0.05, 100.0).sqrt() - 0.2817).abs() < 1e-4);
    assert!(rho2_one_sided(0.5, 100.0) > 0.0);
}

#[test]
fn an_e_value_passes_exactly_where_its_bound_does() {
    let (alpha, rho2) = (0.05, rho2_one_sided(0.05, 100.0));
    for step in 0..400 {
        let mean = Mean {
            estimate: f64::from(step) * 0.0005,
            se: 0.02,
            t: 150.0,
        };
        let passes = mean.e_value_above(0.03, rho2) >= 1.0 / alpha;
        assert_eq!(passes, mean.lower(alpha, rho2) >= 0.03, "{step}");
        let two = mean.e_value(0.03, rho2) >= 1.0 / alpha;
        assert_eq!(
            two,
            (mean.estimate - 0.03).abs() >= mean.radius(alpha, rho2),
            "{step}"
        );
    }
}

#[test]
fn what_is_needed_is_where_the_bound_crosses() {
    let (alpha, rho2) = (0.05, rho2_one_sided(0.05, 100.0));
    let at = |t: f64| Mean {
        estimate: 0.01,
        se: 0.1 / t.sqrt(),
        t,
    };
    let needed = at(60.0).needed(0.0, alpha, rho2).unwrap();
    assert!(at(needed).lower(alpha, rho2) > 0.0);
    assert!(at(needed - 2.0).lower(alpha, rho2) <= 0.0);
    assert_eq!(at(60.0).needed(0.01, alpha, rho2), None);
    assert_eq!(at(60.0).needed(f64::NAN, alpha, rho2), None);
    let flat = Mean {
        se: 0.0,
        ..at(60.0)
    };
    assert_eq!(flat.needed(0.0, alpha, rho2), None);
    assert_eq!(flat.e_value_above(0.0, rho2), 0.0);
    assert_eq!(flat.e_value(0.0, rho2), 0.0);
}

#[test]
fn e_values_stay_finite() {
    let mean = Mean {
        estimate: 1.0,
        se: 1e-9,
        t: 1e6,
    };
    let rho2 = rho2(0.05, 100.0);
    for e_value in [
        mean.e_value(0.0, rho2),
        mean.e_value_above(0.0, rho2),
        beta_binomial_e_value(1e6, 0.0, 10.0),
        beta_binomial_e_value_above(1e6, 0.0, 10.0),
        proportion_e_value_above(1_000_000, 1_000_000, 0.001),
        proportion_e_value_above(1, 1, 0.0),
        share_e_value(0.01, 1_000_000, 0),
    ] {
        assert!(e_value.is_finite() && e_value > 1e100, "{e_value}");
    }
    assert!(beta_binomial_e_value_above(0.0, 1e6, 10.0) < 1e-3);
    assert_eq!(e_value_of(f64::NAN), 0.0);
    assert_eq!(always_valid_p(f64::NAN), 1.0);
    assert_eq!(always_valid_p(0.2), 1.0);
    assert_eq!(always_valid_p(50.0), 0.02);
}

#[test]
fn mixtures_equal_confseq_and_numerical_integration() {
    for case in cases("beta_binomials") {
        let (better, worse) = (number(&case, "better"), number(&case, "worse"));
        near(
            beta_binomial_e_value(better, worse, 10.0).ln(),
            &case,
            "log_e",
        );
        near(
            beta_binomial_e_value_above(better, worse, 10.0).ln(),
            &case,
            "log_e_above",
        );
    }
    for case in cases("proportions") {
        let (events, trials) = (
            case["events"].as_u64().unwrap(),
            case["trials"].as_u64().unwrap(),
        );
        let found = proportion_e_value_above(events, trials, number(&case, "limit"));
        near(found.ln(), &case, "log_e");
    }
    for case in cases("shares") {
        let counts = [&case["challenger"], &case["champion"]].map(|count| count.as_u64().unwrap());
        let found = share_e_value(number(&case, "expected"), counts[0], counts[1]);
        near(found.ln(), &case, "log_e");
    }
}

#[test]
fn odd_arguments_prove_nothing() {
    assert_eq!(share_e_value(0.0, 5, 5), 1.0);
    assert_eq!(share_e_value(f64::NAN, 5, 5), 1.0);
    assert_eq!(proportion_e_value_above(5, 5, 1.0), 1.0);
    assert_eq!(proportion_e_value_above(0, 100, 0.0), 1.0);
    assert!((proportion_e_value_above(0, 0, 0.1) - 1.0).abs() < 1e-12);
    assert!((beta_binomial_e_value_above(0.0, 0.0, 10.0) - 1.0).abs() < 1e-12);
    // Far below its limit, nothing is proven either: the null is "at most".
    assert!(proportion_e_value_above(0, 1_000_000, 0.01) < 1e-6);
}

#[test]
fn betting_equals_confseq() {
    for case in cases("bets") {
        let mut betting = Betting::default();
        for x in case["x"].as_array().unwrap() {
            betting.push(x.as_f64().unwrap());
        }
        assert_eq!(betting.count(), 300);
        near(betting.log_wealth(), &case, "log_wealth");
        near(betting.e_value().ln(), &case, "log_wealth_max");
    }
}

#[test]
fn a_bettor_survives_the_worst_and_keeps_what_was_proven() {
    let mut betting = Betting::default();
    betting.push(f64::NAN);
    assert_eq!((betting.count(), betting.e_value()), (0, 1.0));
    assert_eq!(betting.needed(0.05), None);
    for _ in 0..40 {
        betting.push(1e300);
    }
    let proven = betting.e_value();
    assert!(proven > 1e6);
    for _ in 0..1000 {
        betting.push(f64::NEG_INFINITY);
    }
    assert_eq!(betting.e_value(), proven);
    assert!(betting.log_wealth() < 0.0 && betting.log_wealth().is_finite());
    assert_eq!(betting.needed(0.05), Some(1040.0));
}

#[test]
fn a_bettor_foresees_about_when_it_will_have_won() {
    let play = |rounds: u64| {
        let mut betting = Betting::default();
        for round in 0..rounds {
            betting.push(if round % 10 < 7 { 0.3 } else { -0.3 });
        }
        betting
    };
    let needed = play(30).needed(0.05).unwrap() as u64;
    let won = (30..)
        .find(|rounds| play(*rounds).e_value() >= 20.0)
        .unwrap();
    assert!(needed.abs_diff(won) <= won / 2, "{needed}, {won}");
}
