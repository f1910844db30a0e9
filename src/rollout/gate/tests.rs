use super::super::score::{Pair, Scored, Task};
use super::*;

const ALL: [&str; 5] = [
    "cost > 0",
    "auc > 0",
    "recall_fpr > 0",
    "log_loss > 0",
    "brier > 0",
];

fn design(task: Task, gates: &[&str]) -> Design {
    Design {
        task,
        gates: gates.iter().map(|gate| gate.parse().unwrap()).collect(),
        costs: Costs {
            false_positive: 5.0,
            false_negative: 1.0,
            amount_rate: 1.0,
            limit: 200.0,
        },
        alpha: 0.05,
        t_star: 2_000.0,
        t_star_positives: 100.0,
    }
}

fn binary(gates: &[&str]) -> Design {
    design(Task::Binary { threshold: 0.5 }, gates)
}

fn pair(champion: f64, challenger: f64, label: f64) -> Pair {
    let scored = |score| Scored {
        score,
        right: false,
    };
    Pair {
        champion: scored(champion),
        challenger: scored(challenger),
        label,
        amount: 50.0,
        weight: 1.0,
    }
}

/// `rows` pairs with 20% positives; the champion's scores lean to the truth by `skill[0]`, the
/// challenger's by `skill[1]`.
fn stream(rows: usize, skill: [f64; 2]) -> Vec<Pair> {
    let mut state = 11u64;
    let mut uniform = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1u64 << 53) as f64
    };
    (0..rows)
        .map(|_| {
            let label = f64::from(u8::from(uniform() < 0.2));
            let score = |skill: f64, noise: f64| (1.0 - skill) * noise + skill * label;
            let noise = uniform();
            let mut pair = pair(score(skill[0], noise), 0.0, label);
            pair.challenger.score = score(skill[1], (noise + 0.1 * uniform()).min(1.0));
            pair.amount = 100.0 * uniform();
            pair
        })
        .collect()
}

fn trial(design: Design, pairs: &[Pair]) -> Trial {
    let mut trial = Trial::new(design);
    for pair in pairs {
        trial.push(*pair);
    }
    trial
}

/// Equality that takes NaN for equal to itself.
fn same(a: &[Finding], b: &[Finding]) -> bool {
    format!("{a:?}") == format!("{b:?}")
}

fn reason(finding: &Finding) -> &str {
    finding.reason.as_deref().unwrap_or("")
}

#[test]
fn a_better_challenger_passes_every_gate_and_a_worse_one_fails_it() {
    let findings = trial(binary(&ALL), &stream(6_000, [0.2, 0.5])).look();
    for finding in &findings {
        assert_eq!(finding.verdict, Verdict::Pass, "{finding:?}");
        assert!(finding.e_value >= finding.threshold && finding.estimate > 0.0);
        assert_eq!((finding.needed, &finding.reason), (None, &None));
    }
    let findings = trial(binary(&ALL), &stream(6_000, [0.5, 0.2])).look();
    for finding in &findings {
        assert_eq!(finding.verdict, Verdict::Fail, "{finding:?}");
        assert_eq!(reason(finding), "provably not better than 0");
    }
}

#[test]
fn intervals_hold_the_estimate_and_agree_with_the_verdict() {
    let gates = [
        "auc > -0.01",
        "log_loss > -0.1",
        "brier > -0.01",
        "recall_fpr > -0.05",
    ];
    for skill in [[0.3, 0.3], [0.3, 0.32], [0.3, 0.2], [0.3, 0.28]] {
        for finding in trial(binary(&gates), &stream(4_000, skill)).look() {
            assert!(finding.lower < finding.estimate && finding.estimate < finding.upper);
            match finding.verdict {
                Verdict::Pass => assert!(finding.lower >= finding.bound, "{finding:?}"),
                Verdict::Fail => assert!(finding.upper <= finding.bound, "{finding:?}"),
                Verdict::Inconclusive => {
                    assert!(finding.lower < finding.bound, "{finding:?}");
                    assert_eq!(finding.needed.is_some(), finding.estimate > finding.bound);
                }
            }
        }
    }
}

#[test]
fn what_cannot_be_judged_is_inconclusive_and_says_why() {
    let check = |pairs: &[Pair], expected: [&str; 5]| {
        let findings = trial(binary(&ALL), pairs).look();
        for (finding, expected) in findings.iter().zip(expected) {
            assert_eq!(finding.verdict, Verdict::Inconclusive, "{finding:?}");
            assert_eq!(reason(finding), expected, "{finding:?}");
            assert!(finding.e_value.is_finite());
        }
    };
    check(&[], ["no labels"; 5]);
    check(
        &[pair(f64::NAN, 0.2, 1.0), pair(0.2, f64::INFINITY, 0.0)],
        ["no labels"; 5],
    );
    let better = pair(0.2, 0.8, 1.0);
    check(
        &[better],
        [
            "more labels needed",
            "one class",
            "one class",
            "one class",
            "one class",
        ],
    );
    let identical: Vec<Pair> = stream(1_000, [0.3, 0.3])
        .into_iter()
        .map(|mut pair| {
            pair.challenger = pair.champion;
            pair
        })
        .collect();
    let (decisions, scores) = ("identical decisions", "identical scores");
    check(&identical, [decisions, scores, decisions, scores, scores]);
    let few = [&stream(60, [0.2, 0.21])[..], &[better]].concat();
    let positives = few.iter().filter(|pair| pair.label > 0.5).count();
    let floor = format!("{positives} positives of 50");
    let more = "more labels needed";
    check(&few, [more, &floor, more, &floor, &floor]);
}

#[test]
fn constant_scores_and_ties_are_no_evidence() {
    let pairs: Vec<Pair> = stream(1_000, [0.3, 0.3])
        .into_iter()
        .map(|row| pair(0.7, 0.7, row.label))
        .collect();
    let finding = &trial(binary(&["auc > -0.01"]), &pairs).look()[0];
    assert_eq!(
        (finding.verdict, reason(finding)),
        (Verdict::Inconclusive, "identical scores")
    );
}

#[test]
fn identical_models_never_pass_a_margin() {
    let pairs: Vec<Pair> = stream(5_000, [0.3, 0.3])
        .into_iter()
        .map(|row| pair(row.champion.score, row.champion.score, row.label))
        .collect();
    let gates = [
        "cost > -1",
        "auc > -0.1",
        "recall_fpr > -0.1",
        "log_loss > -1",
        "brier > -1",
    ];
    for finding in trial(binary(&gates), &pairs).look() {
        assert_eq!(finding.verdict, Verdict::Inconclusive, "{finding:?}");
    }
}

#[test]
fn f1_cannot_hide_a_trade() {
    // Recall rises from 50% to 90%, and so do false alarms, from 1% to 3%: F1 is better.
    let row = |index: u32| {
        let (label, index) = (f64::from(u8::from(index.is_multiple_of(10))), index / 10);
        let score = |positive: bool| if positive { 0.9 } else { 0.1 };
        if label > 0.5 {
            pair(
                score(index.is_multiple_of(2)),
                score(!index.is_multiple_of(10)),
                label,
            )
        } else {
            pair(score(index % 100 < 1), score(index % 100 < 3), label)
        }
    };
    let pairs: Vec<Pair> = (0..5_000).map(row).collect();
    let f1 = super::super::score::f1_difference(0.5, &pairs);
    assert!(f1.lower > 0.0);
    let mut trial = trial(binary(&["recall_fpr > 0"]), &[]);
    let mut last = None;
    for (count, pair) in (1..).zip(&pairs) {
        trial.push(*pair);
        if count % 500 == 0 {
            let finding = trial.look().remove(0);
            assert_ne!(finding.verdict, Verdict::Pass, "{finding:?}");
            last = Some(finding);
        }
    }
    let finding = last.unwrap();
    assert_eq!(finding.verdict, Verdict::Fail, "{finding:?}");
    assert_eq!(
        finding
            .parts
            .iter()
            .map(|part| part.name)
            .collect::<Vec<_>>(),
        ["recall", "fpr"]
    );
    assert!(finding.parts[0].estimate > 0.3 && finding.parts[1].estimate < 0.0);
}

#[test]
fn a_suspect_class_bars_a_pass_without_failing_it() {
    let mut trial = trial(binary(&["recall_fpr > 0"]), &[]);
    for _ in 0..40 {
        trial.push(pair(0.1, 0.9, 1.0));
        trial.push(pair(0.1, 0.1, 0.0));
    }
    for _ in 0..3 {
        trial.push(pair(0.1, 0.9, 0.0));
    }
    let finding = trial.look().remove(0);
    assert_eq!(finding.verdict, Verdict::Inconclusive);
    assert_eq!(reason(&finding), "fpr may have become worse");
    // Three in the other direction clear it.
    for _ in 0..3 {
        trial.push(pair(0.9, 0.1, 0.0));
    }
    assert_eq!(trial.look()[0].verdict, Verdict::Pass);
}

#[test]
fn a_correction_gives_what_a_fresh_trial_gives() {
    let gates = [
        &ALL[..],
        &["auc > -0.01", "recall_fpr > -0.02", "cost > -1"],
    ]
    .concat();
    let mut pairs = stream(800, [0.25, 0.4]);
    let mut corrected = trial(binary(&gates), &pairs[..500]);
    corrected.look();
    for index in [0, 3, 250, 499] {
        pairs[index].label = 1.0 - pairs[index].label;
        pairs[index].weight = 2.0;
        assert!(corrected.replace(index, pairs[index]));
    }
    pairs[7].challenger.score = f64::NAN;
    assert!(corrected.replace(7, pairs[7]));
    assert!(!corrected.replace(500, pairs[500]));
    for pair in &pairs[500..] {
        corrected.push(*pair);
    }
    let mut fresh = trial(binary(&gates), &pairs);
    assert_eq!(corrected.cost_difference(), fresh.cost_difference());
    assert_eq!((corrected.len(), corrected.invalid()), (800, 1));
    assert_eq!(corrected.positives(), fresh.positives());
    assert!(same(&corrected.look(), &fresh.look()));
}

#[test]
fn a_pass_is_latched_until_a_correction() {
    let better = stream(3_000, [0.2, 0.5]);
    let mut trial = trial(binary(&["auc > 0", "cost > 0"]), &better);
    assert!(
        trial
            .look()
            .iter()
            .all(|finding| finding.verdict == Verdict::Pass)
    );
    // A spell without difference widens nothing that is proven.
    for pair in stream(300, [0.5, 0.45]) {
        trial.push(pair);
    }
    assert!(
        trial
            .look()
            .iter()
            .all(|finding| finding.verdict == Verdict::Pass)
    );
    for (index, pair) in better.iter().enumerate() {
        let mut equal = *pair;
        equal.challenger = equal.champion;
        trial.replace(index, equal);
    }
    assert!(
        trial
            .look()
            .iter()
            .all(|finding| finding.verdict != Verdict::Pass)
    );
}

#[test]
fn a_swapped_trial_proves_the_opposite() {
    let design = Design {
        alpha: 0.005,
        ..binary(&["cost > 0", "auc > 0.002"])
    };
    assert_eq!(design.gates[1].to_string(), "auc > 0.002");
    let swapped = |skill| {
        let pairs: Vec<Pair> = stream(6_000, skill)
            .into_iter()
            .map(Pair::swapped)
            .collect();
        trial(design.clone(), &pairs).look()
    };
    for finding in swapped([0.5, 0.2]) {
        assert_eq!((finding.verdict, finding.threshold), (Verdict::Pass, 200.0));
    }
    for finding in swapped([0.2, 0.5]) {
        assert_eq!(finding.verdict, Verdict::Fail);
    }
}

#[test]
fn evidence_that_turns_fails() {
    let mut trial = trial(binary(&["cost > 0"]), &stream(3_000, [0.2, 0.5]));
    assert_eq!(trial.look()[0].verdict, Verdict::Pass);
    for pair in stream(30_000, [0.5, 0.2]) {
        trial.push(pair);
    }
    assert_eq!(trial.look()[0].verdict, Verdict::Fail);
}

#[test]
fn a_look_without_news_says_the_same() {
    let mut trial = trial(binary(&ALL), &stream(500, [0.2, 0.3]));
    assert!(same(&trial.look(), &trial.look()));
}

#[test]
fn weights_count_as_repeated_rows_would_in_estimates() {
    let mut pairs = stream(2_000, [0.3, 0.4]);
    let mut repeated = Vec::new();
    for (index, pair) in pairs.iter_mut().enumerate() {
        repeated.push(*pair);
        if index % 3 == 0 {
            repeated.push(*pair);
            pair.weight = 2.0;
        }
    }
    let (mut weighted, mut plain) = (trial(binary(&ALL), &pairs), trial(binary(&ALL), &repeated));
    for (a, b) in weighted.look().iter().zip(plain.look()) {
        assert!((a.estimate - b.estimate).abs() < 1e-9, "{a:?} {b:?}");
        // Fewer rows know less.
        assert!(a.lower <= b.lower + 1e-9, "{a:?} {b:?}");
    }
    let (weighted, plain) = (weighted.cost_difference(), plain.cost_difference());
    assert!((weighted.total - plain.total).abs() < 1e-6 * plain.total.abs());
}

#[test]
fn money_is_counted_in_full_and_tested_truncated() {
    let mut trial = Trial::new(binary(&["cost > 0"]));
    let mut row = pair(0.1, 0.9, 1.0);
    row.amount = 10_000.0;
    trial.push(row);
    let mut alarm = pair(0.1, 0.9, 0.0);
    alarm.amount = f64::NAN;
    trial.push(alarm);
    let saving = trial.cost_difference();
    assert_eq!((saving.total, saving.mean), (9_996.0, 4_998.0));
    assert!(saving.lower < saving.mean && saving.mean < saving.upper);
    assert_eq!(trial.look()[0].estimate, f64::midpoint(200.0, -5.0));
}

#[test]
fn huge_amounts_and_scores_break_nothing() {
    let mut pairs = stream(500, [0.2, 0.4]);
    for (index, pair) in pairs.iter_mut().enumerate() {
        pair.amount = [1e300, f64::INFINITY, -1e300, f64::NAN, 3.0][index % 5];
        pair.weight = [1.0, 1e30, 1e-30, 1e300, 2.0][index % 5];
        pair.champion.score = if index % 7 == 0 {
            1e60
        } else {
            pair.champion.score
        };
    }
    let mut trial = trial(binary(&ALL), &pairs);
    for finding in trial.look() {
        assert!(
            !finding.estimate.is_infinite() && finding.e_value.is_finite(),
            "{finding:?}"
        );
    }
    assert_eq!(trial.invalid(), 100);
    assert!(trial.cost_difference().total.is_finite());
}

#[test]
fn regression_and_multiclass_have_their_own_gates() {
    let regression = stream(2_000, [0.2, 0.5]);
    let finding = trial(
        design(Task::Regression, &["squared_error > 0"]),
        &regression,
    )
    .look();
    assert_eq!(finding[0].verdict, Verdict::Pass);
    let multiclass: Vec<Pair> = (0..2_000)
        .map(|index| {
            let mut pair = pair(0.5, 0.6 + 0.01 * f64::from(index % 7), f64::from(index % 3));
            pair.champion.right = index % 2 == 0;
            pair.challenger.right = index % 4 != 1;
            pair
        })
        .collect();
    let gates = ["log_loss > 0", "cost > 0", "auc > 0"];
    let mut trial = trial(design(Task::Multiclass, &gates), &multiclass);
    let findings = trial.look();
    assert_eq!(findings[0].verdict, Verdict::Pass, "{:?}", findings[0]);
    assert_eq!(findings[1].verdict, Verdict::Pass, "{:?}", findings[1]);
    assert_eq!(
        reason(&findings[2]),
        "auc is not defined for a multiclass slot"
    );
    assert_eq!(trial.positives(), 0);
}

#[test]
fn one_heavy_row_is_not_fifty() {
    let mut pairs = stream(500, [0.2, 0.5]);
    pairs
        .iter_mut()
        .find(|pair| pair.label > 0.5)
        .unwrap()
        .weight = 1_000.0;
    for finding in trial(
        binary(&["auc > 0", "brier > 0", "recall_fpr > -0.1"]),
        &pairs,
    )
    .look()
    {
        assert_eq!(finding.verdict, Verdict::Inconclusive);
        assert_eq!(reason(&finding), "1 positives of 50");
    }
}

#[test]
fn a_design_that_makes_no_sense_is_inconclusive() {
    let mut design = binary(&["cost > 0", "recall_fpr > 0"]);
    design.costs.limit = f64::NAN;
    design.gates[1].bound = 0.5;
    let findings = trial(design, &stream(500, [0.1, 0.9])).look();
    assert!(reason(&findings[0]).starts_with("costs: expected"));
    assert_eq!(reason(&findings[1]), "recall_fpr takes no bound of 0.5");
}

#[test]
fn what_is_needed_comes_about_true() {
    for gate in [
        "auc > 0",
        "brier > 0",
        "log_loss > 0",
        "recall_fpr > 0",
        "cost > 0",
    ] {
        let pairs = stream(60_000, [0.3, 0.37]);
        let mut trial = Trial::new(binary(&[gate]));
        let (mut foreseen, mut passed) = (None, None);
        for (count, pair) in (1u64..).zip(&pairs) {
            trial.push(*pair);
            if count % 1_000 != 0 {
                continue;
            }
            let finding = trial.look().remove(0);
            if finding.verdict == Verdict::Pass {
                passed = Some(count);
                break;
            }
            foreseen = foreseen.or(finding.needed.map(|needed| count + needed));
        }
        let passed = passed.unwrap_or_else(|| panic!("{gate} never passed"));
        if let Some(foreseen) = foreseen {
            assert!(
                (passed / 6..=passed * 6).contains(&foreseen),
                "{gate}: {foreseen}, {passed}"
            );
        }
    }
}

#[test]
fn a_finding_is_plain_json() {
    let finding = &trial(binary(&["recall_fpr > 0"]), &stream(500, [0.2, 0.3])).look()[0];
    let json = serde_json::to_value(finding).unwrap();
    assert_eq!(json["measure"], "recall_fpr");
    assert!(json["parts"][0]["better"].is_u64());
    assert_eq!(json["threshold"], 20.0);
}
