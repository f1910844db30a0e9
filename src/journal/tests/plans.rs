//! Which indexes the stores use, and that what they read stays bounded.

use super::super::join::{self, JOINED_MAX};
use super::super::outcomes;
use super::super::store::Value;
use super::*;

/// How the store runs a statement, as it says itself.
fn plan(store: &mut dyn Store, sql: &str, values: &[Value]) -> String {
    let (explain, column) = match store.kind() {
        "sqlite" => ("EXPLAIN QUERY PLAN", 3),
        _ => ("EXPLAIN", 0),
    };
    let rows = store.query(&format!("{explain} {sql}"), values).unwrap();
    let lines: Vec<String> = rows.iter().map(|row| row.text(column).unwrap()).collect();
    lines.join("\n")
}

/// A store whose predictions are many, of which few are labelled and wait.
fn filled(place: &Place) -> Box<dyn Store> {
    let mut store = place.open();
    let rows: Vec<Prediction> = (0..4000)
        .map(|at| Prediction {
            deferred: at % 100 == 0,
            propensity: f64::from(u8::from(at % 7 != 0)),
            ..prediction(NOW + at)
        })
        .collect();
    write(&mut *store, &rows);
    let labels: Vec<Label> = rows.iter().step_by(50).map(|row| label(row, 1.0)).collect();
    labels::put(&mut *store, &labels, NOW + 4000, &terms).unwrap();
    if store.kind() == "postgres" {
        store.execute("VACUUM ANALYZE prediction", &[]).unwrap();
    }
    store
}

#[test]
fn coverage_reads_an_index_only() {
    on_both(|place| {
        let mut store = filled(place);
        let (from_ms, to_ms) = (NOW + 10, NOW + 3000);
        let values = ["fraud".into(), from_ms.into(), to_ms.into()];
        if store.kind() == "postgres" {
            // So few rows are read faster one after the other.
            store.execute("SET enable_seqscan = off", &[]).unwrap();
        }
        let plan = plan(&mut *store, outcomes::COVERAGE, &values);
        let expected = match store.kind() {
            "sqlite" => "USING COVERING INDEX prediction_coverage (slot=? AND at_ms>? AND at_ms<?)",
            _ => "Index Only Scan using prediction_coverage",
        };
        assert!(plan.contains(expected), "{plan}");
        let covered = outcomes::coverage(&mut *store, "fraud", from_ms, to_ms).unwrap();
        let counts = |condition: &dyn Fn(i64) -> bool| {
            let within = (10..3000).filter(|at| at % 7 != 0 && condition(*at));
            within.count() as u64
        };
        let expected = outcomes::Coverage {
            predictions: counts(&|_| true),
            labelled: counts(&|at| at % 50 == 0),
            with_outcome: counts(&|at| at % 50 == 0 && at % 100 != 0),
        };
        assert_eq!(covered, expected);
    });
}

#[test]
fn what_is_open_has_an_index_for_each_condition() {
    on_both(|place| {
        let mut store = filled(place);
        let values = ["fraud".into(), (NOW + 4000).into(), 10_i64.into()];
        for (condition, expected) in [
            ("", "prediction_open"),
            ("AND labelled = 1", "prediction_labelled"),
        ] {
            let plan = plan(&mut *store, &outcomes::open(condition), &values);
            let is_sorted = plan.contains("TEMP B-TREE") || plan.contains("Sort");
            assert!(plan.contains(expected) && !is_sorted, "{plan}");
        }
    });
}

#[test]
fn the_newest_of_a_key_come_from_its_index() {
    on_both(|place| {
        let mut store = place.open();
        let rows: Vec<Prediction> = (0..4000).map(|at| keyed(NOW + at, "card")).collect();
        write(&mut *store, &rows);
        for within in ["> $2", "<= $2"] {
            let one = join::newest(within, JOINED_MAX)
                .replace("{first}", "$3")
                .replace("{second}", "$4");
            let values = ["fraud".into(), NOW.into(), "card".into(), 0_i64.into()];
            let plan = plan(&mut *store, &one, &values);
            let is_sorted = plan.contains("TEMP B-TREE") || plan.contains("Sort");
            assert!(plan.contains("prediction_key") && !is_sorted, "{plan}");
        }
    });
}

#[test]
fn a_label_by_key_joins_the_newest_only() {
    on_both(|place| {
        let mut store = place.open();
        let others = (0..2000).map(|row| Prediction {
            row,
            ..keyed(NOW + 5000, "card")
        });
        let own = (0..1200).map(|at| keyed(NOW + at, "card"));
        let rows: Vec<Prediction> = own.chain(others.skip(1)).collect();
        write(&mut *store, &rows);
        let first = status(&mut *store, &label_key("card", 1.0), NOW + 5000);
        assert_eq!(first, Status::Joined);
        let joined = outcomes::after(&mut *store, "fraud", 0, 10_000).unwrap();
        let times: Vec<i64> = joined.iter().map(|row| row.at_ms - NOW).collect();
        assert_eq!(times, (200..1200).collect::<Vec<i64>>());
        // One of the others by its id, and the key again: they stay apart.
        let batch = [label(&rows[7], 1.0), label_key("card", 1.0)];
        let receipts = labels::put(&mut *store, &batch, NOW + 5000, &terms).unwrap();
        assert_eq!(receipts[0].status, Status::Joined);
        assert_eq!(receipts[1].status, Status::Duplicate);
        assert_eq!(count(&mut *store, "outcome"), 1001);
    });
}

#[test]
fn a_key_is_late_for_its_last_prediction_whatever_else_the_batch_names() {
    on_both(|place| {
        let mut store = place.open();
        let (older, last) = (keyed(NOW - 3 * HOUR, "card"), keyed(NOW - 2 * HOUR, "card"));
        write(&mut *store, &[older.clone(), last.clone()]);
        let batch = [label(&older, 1.0), label_key("card", 0.0)];
        let receipts = labels::put(&mut *store, &batch, NOW, &terms).unwrap();
        assert!(receipts.iter().all(|it| it.status == Status::Late));
        let again = status(&mut *store, &label(&last, 0.0), NOW);
        assert_eq!(again, Status::Duplicate);
    });
}
