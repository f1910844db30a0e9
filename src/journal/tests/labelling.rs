//! Labels: each status, corrections, keys, waiting.

use super::super::labels::Values;
use super::super::outcomes::{self, OutcomeRow};
use super::super::pending::{PENDING_MAX, PENDING_SLOT_MAX};
use super::*;

fn all(store: &mut dyn Store) -> Vec<OutcomeRow> {
    outcomes::after(store, "fraud", 0, 1000).unwrap()
}

/// Value, weight and whether it corrects, of each outcome.
fn values(store: &mut dyn Store) -> Vec<(f64, f64, Option<i64>)> {
    all(store)
        .iter()
        .map(|row| (row.value, row.weight, row.corrects))
        .collect()
}

#[test]
fn a_label_joins_once() {
    on_both(|place| {
        let mut store = place.open();
        let row = prediction(NOW);
        write(&mut *store, std::slice::from_ref(&row));
        let first = put(&mut *store, &label(&row, 1.0), NOW + 10);
        assert_eq!(first.status, Status::Joined);
        let again = put(&mut *store, &label(&row, 1.0), NOW + 20);
        assert_eq!(again.status, Status::Duplicate);
        assert_eq!(again.feedback_id, first.feedback_id);
        assert_eq!(values(&mut *store), [(1.0, 1.0, None)]);
        assert_eq!(count(&mut *store, "label"), 1);
        let outcome = all(&mut *store).remove(0);
        assert_eq!((outcome.id, outcome.at_ms), (row.id, NOW));
        assert_eq!(outcome.matured_ms, NOW + 10);
    });
}

#[test]
fn the_last_arrival_within_the_horizon_wins() {
    on_both(|place| {
        let mut store = place.open();
        let row = prediction(NOW);
        write(&mut *store, std::slice::from_ref(&row));
        let labelled = |value, source: &str, weight| Label {
            source: source.to_string(),
            weight,
            ..label(&row, value)
        };
        let put = |store: &mut dyn Store, value, source: &str, weight| {
            status(store, &labelled(value, source, weight), NOW + 10)
        };
        assert_eq!(put(&mut *store, 1.0, "analyst", 1.0), Status::Joined);
        // Another source says the same: nothing to correct.
        assert_eq!(put(&mut *store, 1.0, "rule", 1.0), Status::Joined);
        let first = all(&mut *store).remove(0).seq;
        assert_eq!(values(&mut *store).len(), 1);
        assert_eq!(put(&mut *store, 0.0, "chargeback", 1.0), Status::Joined);
        assert_eq!(put(&mut *store, 0.0, "chargeback", 2.0), Status::Joined);
        assert_eq!(put(&mut *store, 1.0, "analyst", 1.0), Status::Duplicate);
        let expected = [
            (1.0, 1.0, None),
            (0.0, 1.0, Some(first)),
            (0.0, 2.0, Some(first)),
        ];
        assert_eq!(values(&mut *store), expected);
        assert_eq!(count(&mut *store, "label"), 4);
    });
}

#[test]
fn corrections_in_one_batch_follow_each_other() {
    on_both(|place| {
        let mut store = place.open();
        let row = prediction(NOW);
        write(&mut *store, std::slice::from_ref(&row));
        let batch = [
            label(&row, 1.0),
            label(&row, 1.0),
            label(&row, 0.0),
            label(&row, 1.0),
        ];
        let receipts = labels::put(&mut *store, &batch, NOW + 10, &terms).unwrap();
        let statuses: Vec<&str> = receipts
            .iter()
            .map(|receipt| receipt.status.name())
            .collect();
        assert_eq!(statuses, ["joined", "duplicate", "joined", "joined"]);
        assert_eq!(receipts[0].feedback_id, receipts[1].feedback_id);
        let first = all(&mut *store)[0].seq;
        let expected = [
            (1.0, 1.0, None),
            (0.0, 1.0, Some(first)),
            (1.0, 1.0, Some(first)),
        ];
        assert_eq!(values(&mut *store), expected);
    });
}

#[test]
fn at_the_horizon_a_label_is_late() {
    on_both(|place| {
        let mut store = place.open();
        let (inside, outside) = (prediction(NOW), prediction(NOW));
        write(&mut *store, &[inside.clone(), outside.clone()]);
        let before = NOW + HOUR - 1;
        assert_eq!(
            status(&mut *store, &label(&inside, 1.0), before),
            Status::Joined
        );
        assert_eq!(
            status(&mut *store, &label(&outside, 1.0), NOW + HOUR),
            Status::Late
        );
        let again = status(&mut *store, &label(&outside, 1.0), NOW + HOUR + 5);
        assert_eq!(again, Status::Duplicate);
        // A late correction changes nothing but is kept.
        assert_eq!(
            status(&mut *store, &label(&inside, 0.0), NOW + HOUR),
            Status::Late
        );
        assert_eq!(values(&mut *store), [(1.0, 1.0, None)]);
        assert_eq!(count(&mut *store, "label WHERE late = 1"), 2);
    });
}

#[test]
fn what_cannot_be_taken_is_refused() {
    on_both(|place| {
        let mut store = place.open();
        let row = keyed(NOW, "k");
        let unserved = Prediction {
            slot: "gone".to_string(),
            ..prediction(NOW)
        };
        write(&mut *store, &[row.clone(), unserved.clone()]);
        let base = label(&row, 1.0);
        let slot = |slot: &str, base: &Label| Label {
            slot: Some(slot.to_string()),
            ..base.clone()
        };
        let cases = [
            (
                slot("churn", &base),
                "slot: expected the slot of the prediction",
            ),
            (slot("gone", &base), "slot: expected one that is served"),
            (slot("fr\0ud", &base), "slot: expected one that is served"),
            (label(&unserved, 1.0), "slot: expected one that is served"),
            (
                Label {
                    slot: None,
                    ..label_key("k", 1.0)
                },
                "slot: expected one with a key",
            ),
            (label(&row, f64::NAN), "value: expected a finite number"),
            (
                Label {
                    weight: 0.0,
                    ..base.clone()
                },
                "weight: expected a finite number above 0",
            ),
            (
                Label {
                    source: String::new(),
                    ..base.clone()
                },
                "source: expected a text of 1 to 1024 bytes without a zero byte",
            ),
            (
                label_key("a\0b", 1.0),
                "key: expected a text of 1 to 1024 bytes without a zero byte",
            ),
            (
                Label {
                    event_at_ms: Some(NOW + HOUR),
                    ..base.clone()
                },
                "event time: expected one that is not in the future",
            ),
        ];
        for (label, expected) in cases {
            let expected = Status::Refused(expected.to_string());
            assert_eq!(status(&mut *store, &label, NOW), expected);
        }
        assert_eq!(count(&mut *store, "label"), 0);
        assert_eq!(
            status(&mut *store, &slot("fraud", &base), NOW),
            Status::Joined
        );
    });
}

#[test]
fn a_key_labels_every_prediction_inside_the_horizon() {
    on_both(|place| {
        let mut store = place.open();
        let old = keyed(NOW - HOUR, "card");
        let (first, second) = (keyed(NOW - 10, "card"), keyed(NOW - 5, "card"));
        let other_row = Prediction {
            row: 1,
            ..keyed(NOW, "card")
        };
        let other_slot = Prediction {
            slot: "churn".to_string(),
            ..keyed(NOW, "card")
        };
        write(
            &mut *store,
            &[old, first.clone(), second.clone(), other_row, other_slot],
        );
        assert_eq!(
            status(&mut *store, &label_key("card", 1.0), NOW),
            Status::Joined
        );
        let again = status(&mut *store, &label_key("card", 1.0), NOW);
        assert_eq!(again, Status::Duplicate);
        let mut ids: Vec<Uuid> = all(&mut *store).iter().map(|row| row.id).collect();
        ids.sort();
        let mut expected = vec![first.id, second.id];
        expected.sort();
        assert_eq!(ids, expected);
        assert_eq!(count(&mut *store, "label"), 2);
    });
}

#[test]
fn a_key_with_old_predictions_only_is_late_for_the_last() {
    on_both(|place| {
        let mut store = place.open();
        write(
            &mut *store,
            &[keyed(NOW - 3 * HOUR, "card"), keyed(NOW - 2 * HOUR, "card")],
        );
        assert_eq!(
            status(&mut *store, &label_key("card", 1.0), NOW),
            Status::Late
        );
        assert_eq!(count(&mut *store, "label"), 1);
        assert!(all(&mut *store).is_empty());
    });
}

#[test]
fn a_label_waits_for_its_prediction() {
    on_both(|place| {
        let mut store = place.open();
        let by_id = prediction(NOW);
        let by_key = keyed(NOW, "card");
        let first = put(&mut *store, &label(&by_id, 1.0), NOW + 10);
        assert_eq!(first.status, Status::Pending);
        let again = put(&mut *store, &label(&by_id, 1.0), NOW + 11);
        assert_eq!(
            (again.status, again.feedback_id),
            (Status::Duplicate, first.feedback_id)
        );
        assert_eq!(
            status(&mut *store, &label(&by_id, 0.0), NOW + 12),
            Status::Pending
        );
        assert_eq!(
            status(&mut *store, &label_key("card", 1.0), NOW + 13),
            Status::Pending
        );
        write(&mut *store, &[by_id.clone(), by_key.clone()]);
        assert_eq!(count(&mut *store, "pending"), 0);
        let outcomes = all(&mut *store);
        let of = |id: Uuid| -> Vec<(f64, i64)> {
            let rows = outcomes.iter().filter(|row| row.id == id);
            rows.map(|row| (row.value, row.matured_ms)).collect()
        };
        assert_eq!(of(by_id.id), [(1.0, NOW + 10), (0.0, NOW + 12)]);
        assert_eq!(of(by_key.id), [(1.0, NOW + 13)]);
        let after = put(&mut *store, &label(&by_id, 0.0), NOW + 20);
        assert_eq!(after.status, Status::Duplicate);
    });
}

#[test]
fn a_waiting_label_for_another_slot_is_an_orphan() {
    on_both(|place| {
        let mut store = place.open();
        let row = prediction(NOW);
        let wrong = Label {
            slot: Some("churn".to_string()),
            ..label(&row, 1.0)
        };
        assert_eq!(status(&mut *store, &wrong, NOW), Status::Pending);
        write(&mut *store, std::slice::from_ref(&row));
        assert_eq!(
            count(&mut *store, "pending") + count(&mut *store, "label"),
            0
        );
    });
}

/// A minute for labels of 0 or 1.
fn strict(slot: &str) -> Option<Terms> {
    (slot == "fraud").then_some(Terms {
        horizon_ms: 60_000,
        values: Values::Binary,
    })
}

#[test]
fn a_waiting_label_without_a_slot_is_held_against_its_predictions_slot() {
    on_both(|place| {
        let mut store = place.open();
        let check = |store: &mut dyn Store, value: f64, after_ms: i64, expected: (u64, u64)| {
            let row = prediction(NOW);
            let label = label(&row, value);
            assert_eq!(status(store, &label, NOW + after_ms), Status::Pending);
            let inserted = predictions::insert(store, &[row], &strict).unwrap();
            assert_eq!(
                (inserted.waited.met, inserted.waited.orphans),
                expected,
                "{value} after {after_ms} ms"
            );
            assert_eq!(count(store, "pending"), 0);
        };
        check(&mut *store, 1.0, 59_999, (1, 0));
        check(&mut *store, 7.0, 59_999, (0, 1));
        assert_eq!(count(&mut *store, "label"), 1);
        check(&mut *store, 1.0, 60_000, (1, 0));
        assert_eq!(count(&mut *store, "label WHERE late = 1"), 1);
        assert_eq!(values(&mut *store), [(1.0, 1.0, None)]);
    });
}

#[test]
fn a_waiting_label_without_a_slot_waits_on_for_terms() {
    on_both(|place| {
        let mut store = place.open();
        let rows = [prediction(NOW), prediction(NOW), prediction(NOW)];
        let named = Label {
            slot: Some("fraud".to_string()),
            ..label(&rows[0], 1.0)
        };
        let unnamed = [label(&rows[1], 1.0), label(&rows[2], 7.0)];
        for label in unnamed.iter().chain([&named]) {
            assert_eq!(status(&mut *store, label, NOW + 1), Status::Pending);
        }
        let unknown = |_slot: &str| None;
        let inserted = predictions::insert(&mut *store, &rows, &unknown).unwrap();
        assert_eq!((inserted.waited.met, inserted.waited.orphans), (1, 0));
        let swept = labels::expire(&mut *store, NOW + 2, 100, &unknown).unwrap();
        assert_eq!((swept.met, swept.orphans), (0, 0));
        let swept = labels::expire(&mut *store, NOW + 3, 100, &strict).unwrap();
        assert_eq!((swept.met, swept.orphans), (1, 1));
        assert_eq!(values(&mut *store).len(), 2);
    });
}

#[test]
fn nobody_knows_an_orphan() {
    on_both(|place| {
        let mut store = place.open();
        let old = label(&prediction(NOW - 300_000), 1.0);
        assert_eq!(status(&mut *store, &old, NOW), Status::Orphan);
        let young = label(&prediction(NOW - 299_999), 1.0);
        assert_eq!(status(&mut *store, &young, NOW), Status::Pending);
        let random = Label {
            target: Target::Prediction {
                id: Uuid::new_v4(),
                row: 0,
            },
            ..young.clone()
        };
        assert_eq!(status(&mut *store, &random, NOW), Status::Orphan);
        let other_row = prediction(NOW - HOUR);
        write(&mut *store, std::slice::from_ref(&other_row));
        let other_row = label(
            &Prediction {
                row: 1,
                ..other_row
            },
            1.0,
        );
        assert_eq!(status(&mut *store, &other_row, NOW), Status::Orphan);
        assert_eq!(count(&mut *store, "pending"), 1);
    });
}

#[test]
fn waiting_ends() {
    on_both(|place| {
        let mut store = place.open();
        let row = prediction(NOW);
        assert_eq!(status(&mut *store, &label(&row, 1.0), NOW), Status::Pending);
        assert_eq!(
            status(&mut *store, &label_key("card", 1.0), NOW + 1),
            Status::Pending
        );
        let early = labels::expire(&mut *store, NOW + 299_999, 100, &terms).unwrap();
        assert_eq!((early.met, early.orphans), (0, 0));
        let first = labels::expire(&mut *store, NOW + 300_000, 100, &terms).unwrap();
        assert_eq!((first.met, first.orphans), (0, 1));
        let second = labels::expire(&mut *store, NOW + 300_001, 100, &terms).unwrap();
        assert_eq!((second.met, second.orphans), (0, 1));
        write(&mut *store, &[row]);
        assert!(all(&mut *store).is_empty());
    });
}

#[test]
fn a_sweep_joins_what_a_writer_missed() {
    on_both(|place| {
        let mut store = place.open();
        let (by_id, by_key) = (prediction(NOW), keyed(NOW, "card"));
        write(&mut *store, &[by_id.clone(), by_key]);
        // As if the label and the prediction had been written at the same moment.
        let sql = "INSERT INTO pending (feedback_id, slot, id, key, row_index, source, value, weight, \
                   arrived_ms, horizon_ms, expires_ms) VALUES ($1, $2, $3, $4, 0, 'a', 1, 1, $5, $6, $5)";
        let mut wait = |id: Option<Uuid>, key: Option<&str>| {
            let feedback_id = id_at(NOW).into();
            let values = [
                feedback_id,
                "fraud".into(),
                id.into(),
                key.into(),
                NOW.into(),
                HOUR.into(),
            ];
            store.execute(sql, &values).unwrap();
        };
        wait(Some(by_id.id), None);
        wait(None, Some("card"));
        let swept = labels::expire(&mut *store, NOW + HOUR, 100, &terms).unwrap();
        assert_eq!((swept.met, swept.orphans), (2, 0));
        assert_eq!(all(&mut *store).len(), 2);
        assert_eq!(count(&mut *store, "pending"), 0);
    });
}

#[test]
fn only_so_many_labels_wait() {
    let place = Place::sqlite();
    let mut store = place.open();
    let terms = |_slot: &str| terms("fraud");
    let mut put = |slot: Option<&str>, count: i64| -> Vec<Status> {
        let waiting = |index: i64| match slot {
            Some(slot) => Label {
                slot: Some(slot.to_string()),
                ..label_key(&index.to_string(), 1.0)
            },
            None => label(&prediction(NOW), 1.0),
        };
        let labels: Vec<Label> = (0..count).map(waiting).collect();
        let receipts = labels::put(&mut *store, &labels, NOW, &terms).unwrap();
        receipts.into_iter().map(|receipt| receipt.status).collect()
    };
    let is_busy = |status: &Status| matches!(status, Status::Busy(_)) && status.name() == "refused";
    // One slot's labels, or those without one, leave room for others; all together are limited too.
    for slot in [Some("a"), None, Some("b"), Some("c")] {
        let statuses = put(slot, PENDING_SLOT_MAX + 1);
        let (last, others) = statuses.split_last().unwrap();
        assert!(others.iter().all(|status| *status == Status::Pending));
        assert!(is_busy(last), "{last:?}");
        // What waits already is no more work.
        if slot.is_some() {
            assert_eq!(put(slot, 1), [Status::Duplicate]);
        }
    }
    assert!(is_busy(&put(Some("d"), 1)[0]));
    assert_eq!(count(&mut *store, "pending"), PENDING_MAX);
}

#[test]
fn rows_without_a_possible_outcome_never_count() {
    on_both(|place| {
        let mut store = place.open();
        let never = Prediction {
            propensity: 0.0,
            ..prediction(NOW)
        };
        let broken = Prediction {
            propensity: f64::NAN,
            ..prediction(NOW)
        };
        write(&mut *store, &[never.clone(), broken.clone()]);
        assert_eq!(
            status(&mut *store, &label(&never, 1.0), NOW),
            Status::Joined
        );
        assert_eq!(
            status(&mut *store, &label(&broken, 1.0), NOW),
            Status::Joined
        );
        assert_eq!(mature(&mut *store, NOW, NOW + HOUR, 10).unwrap(), 0);
        assert!(all(&mut *store).is_empty());
        let coverage = outcomes::coverage(&mut *store, "fraud", 0, NOW + 1).unwrap();
        assert_eq!(coverage, outcomes::Coverage::default());
    });
}
