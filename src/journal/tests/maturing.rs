//! Outcomes: absence, order, coverage, and what scores survive.

use super::super::outcomes::{self, Coverage};
use super::super::predictions::Shadow;
use super::super::store::transaction;
use super::*;

#[test]
fn absence_matures_once_and_the_oldest_first() {
    on_both(|place| {
        let mut store = place.open();
        let rows: Vec<Prediction> = [3, 1, 2, 4].map(|at| prediction(NOW + at)).to_vec();
        write(&mut *store, &rows);
        assert_eq!(
            status(&mut *store, &label(&rows[2], 1.0), NOW + 10),
            Status::Joined
        );
        let mut closed = |limit| mature(&mut *store, NOW + 3, NOW + HOUR, limit).unwrap();
        assert_eq!((closed(1), closed(10), closed(10)), (1, 1, 0));
        let outcomes = outcomes::after(&mut *store, "fraud", 0, 10).unwrap();
        let seen: Vec<(i64, f64)> = outcomes
            .iter()
            .map(|row| (row.at_ms - NOW, row.value))
            .collect();
        assert_eq!(seen, [(2, 1.0), (1, 0.0), (3, 0.0)]);
        assert!(outcomes.is_sorted_by_key(|row| row.seq));
        let later = outcomes::after(&mut *store, "fraud", outcomes[0].seq, 1).unwrap();
        assert_eq!(later, outcomes[1..2]);
        assert!(
            outcomes::after(&mut *store, "churn", 0, 10)
                .unwrap()
                .is_empty()
        );
    });
}

#[test]
fn a_label_corrects_an_absence() {
    on_both(|place| {
        let mut store = place.open();
        let (confirmed, corrected) = (prediction(NOW), prediction(NOW));
        write(&mut *store, &[confirmed.clone(), corrected.clone()]);
        // A replica whose clock runs ahead matured them too early.
        assert_eq!(mature(&mut *store, NOW, NOW + HOUR, 10).unwrap(), 2);
        assert_eq!(
            status(&mut *store, &label(&confirmed, 0.0), NOW + 5),
            Status::Joined
        );
        assert_eq!(
            status(&mut *store, &label(&corrected, 1.0), NOW + 5),
            Status::Joined
        );
        let outcomes = outcomes::after(&mut *store, "fraud", 0, 10).unwrap();
        assert_eq!(outcomes.len(), 3);
        let first = outcomes
            .iter()
            .find(|row| row.id == corrected.id)
            .unwrap()
            .seq;
        assert_eq!(
            (outcomes[2].value, outcomes[2].corrects),
            (1.0, Some(first))
        );
        assert_eq!(outcomes[2].id, corrected.id);
    });
}

#[test]
fn coverage_counts_labels_and_absence_apart() {
    on_both(|place| {
        let mut store = place.open();
        let rows: Vec<Prediction> = (0..6).map(|at| prediction(NOW + at)).collect();
        write(&mut *store, &rows);
        assert_eq!(
            status(&mut *store, &label(&rows[1], 1.0), NOW + 10),
            Status::Joined
        );
        // Late labels do not count.
        assert_eq!(
            status(&mut *store, &label(&rows[2], 1.0), NOW + 2 * HOUR),
            Status::Late
        );
        assert_eq!(mature(&mut *store, NOW + 3, NOW + HOUR, 10).unwrap(), 3);
        let covered = outcomes::coverage(&mut *store, "fraud", NOW + 1, NOW + 6).unwrap();
        let expected = Coverage {
            predictions: 5,
            labelled: 1,
            with_outcome: 3,
        };
        assert_eq!(covered, expected);
    });
}

#[test]
fn scores_survive_whatever_they_are() {
    on_both(|place| {
        let mut store = place.open();
        let scores = vec![
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            -0.0,
            0.1,
            1e300,
            f64::MIN_POSITIVE,
        ];
        let shadow = |scores| Shadow {
            digest: "fedcba9876543210".to_string(),
            scores,
        };
        let row = Prediction {
            scores: scores.clone(),
            shadows: vec![
                shadow(Some(scores.clone())),
                shadow(None),
                shadow(Some(Vec::new())),
            ],
            amount: Some(12.5),
            propensity: 0.125,
            row: 3,
            features: Some("{\"amount\":12.5}".to_string()),
            ..keyed(NOW, "schlüssel")
        };
        let no_amount = Prediction {
            amount: Some(f64::NAN),
            ..prediction(NOW)
        };
        write(&mut *store, &[row.clone(), no_amount.clone()]);
        assert_eq!(mature(&mut *store, NOW, NOW, 10).unwrap(), 2);
        let outcomes = outcomes::after(&mut *store, "fraud", 0, 10).unwrap();
        let outcome = outcomes
            .iter()
            .find(|outcome| outcome.id == row.id)
            .unwrap();
        let bits = |scores: &[f64]| {
            scores
                .iter()
                .map(|score| score.to_bits())
                .collect::<Vec<_>>()
        };
        assert_eq!(bits(&outcome.scores), bits(&scores));
        assert_eq!(outcome.shadows.len(), 3);
        assert_eq!(
            bits(outcome.shadows[0].scores.as_deref().unwrap()),
            bits(&scores)
        );
        assert_eq!(outcome.shadows[1..], row.shadows[1..]);
        assert_eq!(
            (outcome.amount, outcome.propensity, outcome.row),
            (Some(12.5), 0.125, 3)
        );
        assert_eq!(outcome.digest, row.digest);
        let other = outcomes
            .iter()
            .find(|outcome| outcome.id == no_amount.id)
            .unwrap();
        assert_eq!(other.amount, None);
    });
}

#[test]
fn writing_a_row_again_changes_nothing() {
    on_both(|place| {
        let mut store = place.open();
        let row = prediction(NOW);
        let rows = vec![row.clone(); 3];
        assert_eq!(
            predictions::insert(&mut *store, &rows, &terms)
                .unwrap()
                .rows,
            1
        );
        assert_eq!(
            predictions::insert(&mut *store, &rows, &terms)
                .unwrap()
                .rows,
            0
        );
        assert_eq!(count(&mut *store, "prediction"), 1);
    });
}

#[test]
fn numbers_follow_the_order_of_commits() {
    on_both(|place| {
        let mut reader = place.open();
        let rows: Vec<Prediction> = (0..200).map(|at| prediction(NOW + at)).collect();
        write(&mut *reader, &rows);
        let (left, right) = rows.split_at(100);
        std::thread::scope(|scope| {
            let writers: Vec<_> = [left, right]
                .into_iter()
                .map(|rows| {
                    scope.spawn(move || {
                        let mut store = place.open();
                        for row in rows {
                            let done = status(&mut *store, &label(row, 1.0), NOW + 300);
                            assert_eq!(done, Status::Joined);
                        }
                    })
                })
                .collect();
            let mut seen = Vec::new();
            loop {
                let is_over = writers.iter().all(|writer| writer.is_finished());
                let last = seen.last().copied().unwrap_or(0);
                let new = outcomes::after(&mut *reader, "fraud", last, 1000).unwrap();
                if is_over && new.is_empty() {
                    break;
                }
                seen.extend(new.iter().map(|row| row.seq));
            }
            assert_eq!(seen.len(), 200, "outcomes were passed over");
        });
    });
}

#[test]
fn two_who_label_the_same_rows_make_one_first_outcome_each() {
    on_both(|place| {
        let rows: Vec<Prediction> = (0..100).map(|at| prediction(NOW + at)).collect();
        write(&mut *place.open(), &rows);
        std::thread::scope(|scope| {
            for (source, value) in [("analyst", 1.0), ("chargeback", 0.0)] {
                let rows = &rows;
                scope.spawn(move || {
                    let mut store = place.open();
                    for row in rows {
                        let label = Label {
                            source: source.to_string(),
                            ..label(row, value)
                        };
                        let done = status(&mut *store, &label, NOW + 300);
                        assert_eq!(done, Status::Joined);
                    }
                });
            }
        });
        let outcomes = outcomes::after(&mut *place.open(), "fraud", 0, 1000).unwrap();
        assert_eq!(outcomes.len(), 200);
        for row in &rows {
            let mut own = outcomes.iter().filter(|outcome| outcome.id == row.id);
            let (first, second) = (own.next().unwrap(), own.next().unwrap());
            assert_eq!((first.corrects, second.corrects), (None, Some(first.seq)));
        }
    });
}

#[test]
fn labels_and_predictions_that_come_at_once_meet() {
    on_both(|place| {
        let rows: Vec<Prediction> = (0..200).map(|at| prediction(NOW + at)).collect();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut store = place.open();
                for row in &rows {
                    write(&mut *store, std::slice::from_ref(row));
                }
            });
            let mut store = place.open();
            for row in &rows {
                let done = status(&mut *store, &label(row, 1.0), NOW + 300);
                assert!(matches!(done, Status::Joined | Status::Pending));
            }
        });
        let mut store = place.open();
        labels::expire(&mut *store, NOW + 301, 1000, &terms).unwrap();
        assert_eq!(count(&mut *store, "pending"), 0);
        let outcomes = outcomes::after(&mut *store, "fraud", 0, 1000).unwrap();
        assert_eq!(outcomes.len(), 200);
        assert!(outcomes.iter().all(|outcome| outcome.corrects.is_none()));
    });
}

#[test]
fn a_transaction_that_fails_leaves_nothing() {
    on_both(|place| {
        let mut store = place.open();
        let failed = transaction(&mut *store, |store| {
            store.execute("INSERT INTO lease VALUES ('a', 'b', 1)", &[])?;
            store.execute("INSERT INTO lease VALUES ('a', 'b', 1)", &[])
        });
        assert!(failed.is_err());
        assert_eq!(count(&mut *store, "lease"), 0);
    });
}

#[test]
fn what_is_deferred_takes_its_last_label_when_the_horizon_ends() {
    on_both(|place| {
        let mut store = place.open();
        let deferred = |at_ms| Prediction {
            deferred: true,
            ..prediction(at_ms)
        };
        let (fraud, silent) = (deferred(NOW), deferred(NOW + 1));
        write(&mut *store, &[fraud.clone(), silent.clone()]);
        for (value, at_ms) in [(1.0, NOW + 10), (0.0, NOW + 20), (1.0, NOW + 30)] {
            let label = label(&fraud, value);
            assert_eq!(put(&mut *store, &label, at_ms).status, Status::Joined);
        }
        assert!(
            outcomes::after(&mut *store, "fraud", 0, 10)
                .unwrap()
                .is_empty()
        );
        // Where absence means nothing, only what is labelled is closed.
        let closing = |absent| outcomes::Closing {
            slot: "fraud",
            before_ms: NOW + 1,
            now_ms: NOW + HOUR,
            absent,
            limit: 10,
        };
        assert_eq!(outcomes::mature(&mut *store, closing(None)).unwrap(), 1);
        assert_eq!(outcomes::mature(&mut *store, closing(None)).unwrap(), 0);
        assert_eq!(
            outcomes::mature(&mut *store, closing(Some(0.0))).unwrap(),
            1
        );
        let rows = outcomes::after(&mut *store, "fraud", 0, 10).unwrap();
        let seen: Vec<(i64, f64)> = rows.iter().map(|it| (it.at_ms, it.value)).collect();
        assert_eq!(seen, [(NOW, 1.0), (NOW + 1, 0.0)]);
    });
}

#[test]
fn a_label_corrects_what_absence_closed_before_its_turn() {
    on_both(|place| {
        let mut store = place.open();
        let row = Prediction {
            deferred: true,
            ..prediction(NOW)
        };
        write(&mut *store, std::slice::from_ref(&row));
        // Another replica's clock closes it while the label waits for its turn.
        assert_eq!(mature(&mut *store, NOW, NOW + HOUR, 10).unwrap(), 1);
        let arrived = NOW + HOUR - 1;
        for value in [1.0, 1.0, 0.0] {
            let done = status(&mut *store, &label(&row, value), arrived);
            assert!(matches!(done, Status::Joined | Status::Duplicate));
        }
        let rows = outcomes::after(&mut *store, "fraud", 0, 10).unwrap();
        let seen: Vec<(f64, Option<i64>)> = rows.iter().map(|it| (it.value, it.corrects)).collect();
        let first = rows[0].seq;
        assert_eq!(seen, [(0.0, None), (1.0, Some(first)), (0.0, Some(first))]);
        assert_eq!(mature(&mut *store, NOW, NOW + HOUR, 10).unwrap(), 0);
    });
}
