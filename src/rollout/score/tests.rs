use std::time::{Duration, Instant};

use serde_json::Value;

use super::*;

fn cases() -> Value {
    serde_json::from_str(include_str!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/golden/rollout/cases.json"
    )))
    .unwrap()
}

fn numbers(case: &Value, key: &str) -> Vec<f64> {
    let values = case[key].as_array().unwrap();
    values.iter().map(|value| value.as_f64().unwrap()).collect()
}

fn outcomes(case: &Value, scores: &str) -> Vec<Outcome> {
    let (labels, weights) = (numbers(case, "labels"), numbers(case, "weights"));
    let rows = numbers(case, scores).into_iter().enumerate();
    rows.map(|(row, score)| Outcome {
        scored: Scored {
            score,
            right: case["right"][row].as_bool().unwrap_or(false),
        },
        label: labels[row],
        weight: weights[row],
    })
    .collect()
}

fn outcome(score: f64, label: f64) -> Outcome {
    Outcome {
        scored: Scored {
            score,
            right: false,
        },
        label,
        weight: 1.0,
    }
}

fn check(task: &Task, outcomes: &[Outcome], expected: &Value) {
    let found = metrics(task, outcomes);
    for (name, expected) in expected.as_object().unwrap() {
        let metric = found.iter().find(|metric| metric.name == name).unwrap();
        let expected = expected.as_f64().unwrap();
        assert!(
            (metric.value - expected).abs() <= 1e-9 * expected.max(1.0),
            "{metric:?}, {expected}"
        );
        assert!(
            metric.lower <= metric.value && metric.value <= metric.upper,
            "{metric:?}"
        );
    }
}

#[test]
fn metrics_equal_scikit_learn() {
    let cases = cases();
    for case in cases["binary"].as_array().unwrap() {
        let task = Task::Binary {
            threshold: case["threshold"].as_f64().unwrap(),
        };
        let mut rows = outcomes(case, "champion");
        check(&task, &rows, &case["metrics"]);
        // Invalid rows change nothing.
        rows.push(outcome(f64::NAN, 1.0));
        rows.push(outcome(f64::INFINITY, 0.0));
        rows.push(outcome(0.5, f64::NAN));
        let mut weightless = outcome(0.5, 1.0);
        weightless.weight = 0.0;
        rows.push(weightless);
        check(&task, &rows, &case["metrics"]);
    }
    let case = &cases["regression"];
    check(
        &Task::Regression,
        &outcomes(case, "scores"),
        &case["metrics"],
    );
    let case = &cases["multiclass"];
    check(
        &Task::Multiclass,
        &outcomes(case, "scores"),
        &case["metrics"],
    );
}

#[test]
fn delong_equals_placements_over_all_pairs() {
    for case in cases()["binary"].as_array().unwrap() {
        let (labels, weights) = (numbers(case, "labels"), numbers(case, "weights"));
        let (champion, challenger) = (numbers(case, "champion"), numbers(case, "challenger"));
        let rows: Vec<Judged> = (0..labels.len())
            .map(|row| Judged {
                champion: champion[row],
                challenger: challenger[row],
                positive: labels[row] == 1.0,
                weight: weights[row],
            })
            .collect();
        let found = delong(&rows).unwrap();
        let expected = &case["delong"];
        for (value, key) in [
            (found.auc_champion, "auc_champion"),
            (found.auc_challenger, "auc_challenger"),
            (found.difference, "difference"),
            (found.variance, "variance"),
            (found.positives as f64, "positives"),
            (found.negatives as f64, "negatives"),
        ] {
            let expected = expected[key].as_f64().unwrap();
            assert!(
                (value - expected).abs() < 1e-12,
                "{key}: {value}, {expected}"
            );
        }
    }
}

#[test]
fn nothing_and_one_class_are_undefined() {
    let task = Task::Binary { threshold: 0.5 };
    let tasks = [task, Task::Multiclass, Task::Regression];
    for metric in tasks.iter().flat_map(|task| metrics(task, &[])) {
        assert!(metric.value.is_nan() && metric.lower.is_nan() && metric.upper.is_nan());
    }
    let defined = |rows: &[Outcome]| {
        let all = metrics(&task, rows).into_iter();
        all.filter(|metric| !metric.value.is_nan())
            .map(|metric| metric.name)
            .collect::<Vec<_>>()
    };
    let negatives = [outcome(0.2, 0.0), outcome(0.3, 0.0)];
    assert_eq!(defined(&negatives), ["log_loss", "brier"]);
    let positives = [outcome(0.2, 1.0), outcome(0.7, 1.0)];
    assert_eq!(
        defined(&positives),
        ["f1", "precision", "recall", "pr_auc", "log_loss", "brier"]
    );
    assert_eq!(
        defined(&[outcome(f64::NAN, 1.0), outcome(f64::NAN, 0.0)]),
        [""; 0]
    );
    assert_eq!(delong(&[]), None);
    let undefined = serde_json::to_value(Metric::undefined("auc")).unwrap();
    assert_eq!(undefined["value"], Value::Null);
}

#[test]
fn huge_numbers_stay_numbers() {
    let rows = [outcome(1e60, -1e60), outcome(1.0, 2.0), outcome(1e300, 0.0)];
    for metric in metrics(&Task::Regression, &rows) {
        assert!(
            metric.value.is_finite() && metric.upper.is_finite(),
            "{metric:?}"
        );
    }
}

#[test]
fn negative_zero_ties_with_zero() {
    let rows = [(0.0, true), (-0.0, false), (0.0, false), (-0.0, true)];
    let rows = rows.map(|(score, positive)| Judged {
        champion: score,
        challenger: score,
        positive,
        weight: 1.0,
    });
    let found = delong(&rows).unwrap();
    assert_eq!((found.auc_champion, found.variance), (0.5, 0.0));
}

/// Labels and scores of a mediocre model, in turn.
fn stream(rows: usize) -> Vec<Outcome> {
    let mut state = 7u64;
    let mut uniform = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1u64 << 53) as f64
    };
    (0..rows)
        .map(|_| {
            let label = f64::from(u8::from(uniform() < 0.1));
            outcome(uniform() * 0.7 + 0.3 * label, label)
        })
        .collect()
}

#[test]
fn intervals_hold_about_as_often_as_they_say() {
    let task = Task::Binary { threshold: 0.6 };
    let truth = metrics(&task, &stream(200_000));
    let rows = stream(60_000);
    let samples: Vec<_> = rows
        .chunks(1_000)
        .map(|chunk| metrics(&task, chunk))
        .collect();
    for (index, truth) in truth.iter().enumerate() {
        let holds = |sample: &&Vec<Metric>| {
            sample[index].lower <= truth.value && truth.value <= sample[index].upper
        };
        let share = samples.iter().filter(holds).count() as f64 / samples.len() as f64;
        assert!((0.85..=1.0).contains(&share), "{}: {share}", truth.name);
    }
}

#[test]
fn the_difference_of_f1_is_paired() {
    let pairs: Vec<Pair> = stream(2_000)
        .into_iter()
        .map(|row| {
            let mut better = row.scored;
            better.score += 0.05 * (2.0 * row.label - 1.0);
            Pair {
                champion: row.scored,
                challenger: better,
                label: row.label,
                amount: f64::NAN,
                weight: 1.0,
            }
        })
        .collect();
    let found = f1_difference(0.6, &pairs);
    let side = |side: fn(&Pair) -> Scored| {
        let rows = pairs
            .iter()
            .map(|pair| outcome(side(pair).score, pair.label));
        metrics(&Task::Binary { threshold: 0.6 }, &rows.collect::<Vec<_>>())[0]
    };
    let (champion, challenger) = (side(|pair| pair.champion), side(|pair| pair.challenger));
    assert!((found.value - (challenger.value - champion.value)).abs() < 1e-12);
    assert!(found.lower > 0.0 && found.lower < found.value && found.value < found.upper);
    // Narrower than the difference of two intervals would be.
    assert!(found.upper - found.lower < champion.upper - champion.lower);
    assert!(f1_difference(0.5, &[]).value.is_nan());
}

#[test]
fn two_hundred_thousand_rows_cost_little() {
    let (rows, task) = (stream(200_000), Task::Binary { threshold: 0.5 });
    let start = Instant::now();
    assert_eq!(metrics(&task, &rows).len(), 7);
    // Below 100 ms optimised; the limit leaves room for a debug build on a busy machine.
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
}
