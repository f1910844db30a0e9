use super::*;
use crate::rollout::gate::Costs;
use crate::rollout::score::Scored;

const MINUTE_MS: i64 = 60_000;

fn settings() -> SlotSettings {
    let mut settings = SlotSettings {
        costs: Costs {
            false_positive: 1.0,
            false_negative: 1.0,
            amount_rate: 1.0,
            limit: 1.0,
        },
        ..SlotSettings::default()
    };
    settings.policy.duration_min_ms = 0;
    settings.policy.labels_min = 500;
    settings
}

/// A row a minute. In every fifth one of the two is wrong: the champion up to row `turn`, then the
/// challenger.
fn rows(count: i64, turn: i64) -> Vec<Row> {
    let row = |index: i64| {
        let label = f64::from(u8::from(index % 2 == 0));
        let said = |wrong: bool| Scored {
            score: if wrong { 1.0 - label } else { label },
            right: false,
        };
        let fifth = index % 5 == 0;
        Row {
            at_ms: index * MINUTE_MS,
            matures_ms: (index + 60) * MINUTE_MS,
            pair: Pair {
                champion: said(fifth && index < turn),
                challenger: said(fifth && index >= turn),
                label,
                amount: f64::NAN,
                weight: 1.0,
            },
            failed: false,
        }
    };
    (0..count).map(row).collect()
}

fn plan(settings: &SlotSettings) -> Plan<'_> {
    Plan {
        settings,
        task: Task::Binary { threshold: 0.5 },
        look_every: 100,
        latency_ratio: 1.0,
        identical: false,
        to_the_end: false,
    }
}

fn play(plan: &Plan, rows: &[Row]) -> Course {
    let mut seen = 0;
    let course = simulate(plan, rows, |count| seen = count).unwrap();
    assert_eq!(seen, rows.len());
    course
}

#[test]
fn a_better_challenger_is_promoted_when_its_labels_have_come() {
    let settings = settings();
    let rows = rows(2000, 2000);
    let course = play(&plan(&settings), &rows);
    assert_eq!(
        (course.last.decision, course.last.to),
        (Decision::Promote, Some(Stage::Full))
    );
    assert_eq!(
        (course.last.labels, course.last.positives),
        (500, Some(250))
    );
    // The 500th row came after 499 minutes, its label an hour later.
    assert_eq!(course.last.after_ms, 559 * MINUTE_MS);
    let rollback = course.rollback.unwrap();
    assert_eq!((rollback.reason, rollback.labels), (None, 2000 - 559));
    assert_eq!(course.looks.len(), 5);
}

#[test]
fn who_becomes_worse_after_the_promotion_is_rolled_back() {
    let settings = settings();
    let rows = rows(6000, 1000);
    let course = play(&plan(&settings), &rows);
    assert_eq!(course.last.labels, 500);
    let rollback = course.rollback.unwrap();
    assert!(
        rollback
            .reason
            .unwrap()
            .starts_with("the previous champion is provably better")
    );
    let at = rollback.after_ms.unwrap();
    assert!(at > 1000 * MINUTE_MS && at < 4000 * MINUTE_MS, "{at}");
    let saved = |from, to| saving(&plan(&settings), &rows, from * MINUTE_MS, to * MINUTE_MS).total;
    assert_eq!(
        [saved(0, 1000), saved(1000, 2000), saved(500, 1500)],
        [200.0, -200.0, 0.0]
    );
}

#[test]
fn a_worse_challenger_is_dismissed_and_one_that_fails_is_held() {
    let settings = settings();
    let worse = play(&plan(&settings), &rows(2000, 0));
    assert_eq!(worse.last.decision, Decision::Rollback);
    assert!(worse.rollback.is_none());
    let mut failing = rows(2000, 2000);
    for row in failing.iter_mut().step_by(100) {
        row.failed = true;
        row.pair.challenger.score = f64::NAN;
    }
    let failing = play(&plan(&settings), &failing);
    assert_eq!(failing.last.decision, Decision::Hold);
    let reasons = failing.last.reasons.join("\n");
    assert!(reasons.contains("error_rate: 0.01"), "{reasons}");
    assert_eq!(failing.last.labels, 2000 - 20);
}

#[test]
fn a_share_is_passed_in_the_time_of_the_rows_and_approval_comes_at_once() {
    let mut settings = settings();
    settings.policy.stages = vec![Stage::Shadow, Stage::Share(0.1), Stage::Full];
    settings.policy.share_duration_min_ms = 150 * 60_000;
    settings.policy.approval = Approval::Manual;
    let course = play(&plan(&settings), &rows(2000, 2000));
    let after: Vec<i64> = course
        .steps
        .iter()
        .map(|it| it.after_ms / MINUTE_MS)
        .collect();
    assert_eq!(after, [559, 759]);
}

#[test]
fn rows_count_in_the_order_in_which_they_mature() {
    let mut settings = settings();
    settings.gates = vec!["auc > 0".parse().unwrap()];
    let mut rows = rows(1000, 1000);
    // Negatives wait for a horizon of a day: all positives come first.
    for row in rows.iter_mut().filter(|row| row.pair.label == 0.0) {
        row.matures_ms = row.at_ms + 1440 * MINUTE_MS;
    }
    let mut all = plan(&settings);
    all.to_the_end = true;
    let course = play(&all, &rows);
    assert_eq!(
        (course.last.labels, course.last.positives),
        (600, Some(500))
    );
    assert_eq!(course.last.after_ms, (199 + 1440) * MINUTE_MS);
}

#[test]
fn equal_models_are_held_to_the_end() {
    let settings = settings();
    let mut same = plan(&settings);
    same.identical = true;
    same.to_the_end = true;
    let mut rows = rows(2000, 0);
    for row in &mut rows {
        row.pair.challenger = row.pair.champion;
    }
    let course = play(&same, &rows);
    assert_eq!(
        (course.last.decision, course.looks.len()),
        (Decision::Hold, 20)
    );
    assert!(course.steps.is_empty());
    assert!(simulate(&same, &[], |_| ()).is_none());
}
