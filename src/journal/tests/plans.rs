//! Which indexes the stores use, and that what they read stays bounded.

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
