//! How fast it is: a small form that prints its numbers, run in full by
//! `HEDGEROW_MEASURE_ROWS=100000 cargo test --release journal::tests::measure -- --nocapture`.

use super::super::outcomes;
use super::*;

fn size() -> usize {
    let given = told("HEDGEROW_MEASURE_ROWS");
    given.and_then(|rows| rows.parse().ok()).unwrap_or(2_000)
}

fn report(what: &str, rows: usize, since: Instant) {
    let seconds = since.elapsed().as_secs_f64();
    println!(
        "{what}: {rows} in {seconds:.3} s, {:.0} per second",
        rows as f64 / seconds
    );
}

#[test]
fn rows_labels_and_outcomes_per_second() {
    on_both(|place| {
        let rows_count = size();
        let supervisor = Supervisor::default();
        let settings = Settings {
            queue_rows_max: usize::MAX,
            ..place.settings()
        };
        let journal = Journal::start(settings, &supervisor).unwrap();
        eventually(|| journal.health().connected);
        let kind = journal.health().store;
        let rows: Vec<Prediction> = (0..rows_count)
            .map(|index| Prediction {
                features: Some("{\"amount\":12.5,\"hour\":3,\"country_mismatch\":0}".to_string()),
                amount: Some(12.5),
                shadows: vec![super::super::predictions::Shadow {
                    digest: "fedcba9876543210".to_string(),
                    scores: Some(vec![0.123_456_789]),
                }],
                ..keyed(NOW + index as i64 / 100, &format!("transaction-{index}"))
            })
            .collect();
        let labels: Vec<Label> = rows.iter().step_by(2).map(|row| label(row, 1.0)).collect();
        let by_key: Vec<Label> = rows
            .iter()
            .skip(1)
            .step_by(2)
            .filter_map(|row| row.key.as_deref().map(|key| label_key(key, 1.0)))
            .collect();
        let since = Instant::now();
        for row in rows {
            journal.append(vec![row]);
        }
        report(&format!("{kind}: handed over"), rows_count, since);
        journal.run_blocking(|_store| Ok(())).ok();
        eventually(|| journal.health().written_rows == rows_count as u64);
        report(&format!("{kind}: written"), rows_count, since);
        let mut store = place.open();
        for (what, labels) in [("labels by id", labels), ("labels by key", by_key)] {
            let since = Instant::now();
            let mut longest = Duration::ZERO;
            for turn in labels.chunks(2_000) {
                let began = Instant::now();
                let receipts = labels::put(&mut *store, turn, NOW + HOUR / 2, &terms).unwrap();
                assert!(
                    receipts
                        .iter()
                        .all(|receipt| receipt.status == Status::Joined)
                );
                longest = longest.max(began.elapsed());
            }
            report(&format!("{kind}: {what}"), labels.len(), since);
            println!("{kind}: longest turn {longest:?}");
        }
        let since = Instant::now();
        let read = outcomes::after(&mut *store, "fraud", 0, 1_000_000_000)
            .unwrap()
            .len();
        report(&format!("{kind}: outcomes read"), read, since);
        let since = Instant::now();
        outcomes::coverage(&mut *store, "fraud", 0, i64::MAX).unwrap();
        report(&format!("{kind}: covered"), rows_count, since);
        println!(
            "{kind}: {} bytes per row",
            store.bytes().unwrap() / rows_count as u64
        );
    });
}
