//! What is kept of rows that were clamped: what the caller sent, and what other revisions make of it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use hedgerow::drift::build::{self, Cell, Kind};
use hedgerow::model::revision::Revision;
use hedgerow::model::rules::Rules;

use super::*;
use crate::support::{Script, scripted, until};

fn first(row: &[f64]) -> Option<f64> {
    row.first().copied()
}

fn second(row: &[f64]) -> Option<f64> {
    row.get(1).copied()
}

/// A revision that answers the value of `amount`, with a rule of its own.
fn ruled(script: Script, rule: &str) -> Arc<Revision> {
    let (mut revision, _gate) = scripted("any", script);
    let own = Arc::get_mut(&mut revision).unwrap();
    let written = SlotRules {
        rules: SlotRules::parse(&[rule.to_string()]).unwrap(),
        defaults: None,
    };
    own.rules = Rules::new(&written, &[], &own.signature);
    revision
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_has_what_was_sent_and_each_revision_its_own_clamp() {
    let (models, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = data.path().display().to_string();
    let mut config = config(models.path());
    config.journal.store = store.clone();
    config.journal.flush_ms = 5;
    // Scripted engines say that a row takes a millisecond.
    config.serve.batch.queue_ms_max = 86_400_000;
    config.serve.record.rows_per_second_max = 1 << 40;
    config.serve.slot.watch.record = true;
    config.rollout.slot.amount_feature = "amount".to_string();
    config.rollout.slot.features_fraction = 1.0;
    let running = start(config).await;
    let script = |id, digest, features: &'static [&'static str], answer| Script {
        features,
        ..Script::new(id, digest, answer)
    };
    let (alike, other): (&'static [_], &'static [_]) = (&["amount", "age"], &["age", "amount"]);
    let wider = "amount: ..50 clamp";
    // The last answers all requests by its challenger: the champion is then the one in shadow.
    let cases = [
        ("alike", alike, wider, 0.0, 10.0, 50.0),
        ("another_order", other, wider, 0.0, 10.0, 50.0),
        ("no_rule", alike, "age: ..1 flag", 0.0, 10.0, 99.0),
        ("rejects", alike, "amount: ..50 reject", 0.0, 10.0, 99.0),
        ("answers", alike, wider, 1.0, 50.0, 10.0),
    ];
    let mut challengers = Vec::new();
    for (slot, features, rule, share, answered, _) in cases {
        let place = running.shared.server.registry.insert(slot);
        let champion = ruled(script(1, "one", alike, first), "amount: ..10 clamp");
        place.commit(champion, Instant::now());
        let answer = if features == alike { first } else { second };
        let challenger = ruled(script(2, "two", features, answer), rule);
        place.enlist(Arc::clone(&challenger), 2);
        place.set_share(challenger.uid, share);
        challengers.push(challenger);
        let rows = [
            json!({"amount": 99, "age": 7}),
            json!({"amount": 3, "age": 7}),
        ];
        let (status, answer) = predict(&running, slot, &rows).await;
        let expected = json!({"predictions": [answered, 3.0], "clamped_rows": 1});
        assert_eq!(status, 200, "{slot}: {answer}");
        for key in ["predictions", "clamped_rows"] {
            assert_eq!(answer[key], expected[key], "{slot}: {answer}");
        }
        until(|| {
            place
                .usage
                .recorded
                .load(std::sync::atomic::Ordering::Relaxed)
                == 2
        })
        .await;
    }
    let rollout = running.shared.rollout.clone().unwrap();
    until(|| rollout.journal().written_rows == 10).await;
    // Nothing is counted in shadow: what was is of those that answered.
    let metrics = metrics(&running).await;
    let counted = metrics.matches("hedgerow_validation_rows_total{").count();
    assert_eq!(counted, cases.len(), "{metrics}");
    for challenger in challengers {
        let shadow = &challenger.usage.shadow;
        let wrong = [&shadow.misfits, &shadow.errors].map(|it| it.load(Ordering::Relaxed));
        assert_eq!(wrong, [0, 0], "{challenger:?}");
    }
    running.stop().await.unwrap();

    let mut store = hedgerow::journal::open(&store).unwrap();
    let sql = "SELECT slot, amount, features, scores, shadows FROM prediction ORDER BY number";
    let found = store.query(sql, &[]).unwrap();
    assert_eq!(found.len(), 10);
    for (slot, _, _, _, answered, shadow) in cases {
        let mut rows = found.iter().filter(|row| row.text(0).unwrap() == slot);
        for (sent, answered, shadow) in [(99.0, answered, shadow), (3.0, 3.0, 3.0)] {
            let row = rows.next().unwrap();
            let json =
                |column| -> Value { serde_json::from_str(&row.text(column).unwrap()).unwrap() };
            assert_eq!(row.real(1).unwrap(), sent, "{slot}");
            assert_eq!(json(2), json!({"amount": sent as i64, "age": 7}), "{slot}");
            assert_eq!(json(3), json!([answered]), "{slot}");
            assert_eq!(json(4)[0]["scores"], json!([shadow]), "{slot}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn drift_sees_what_was_clamped() {
    let models = tempfile::tempdir().unwrap();
    let dir = models.path().join("m/1");
    copy_plain(FRAUD, &dir);
    let (names, golden) = golden(FRAUD);
    let columns: Vec<(String, Kind)> = names.iter().map(|it| (it.clone(), Kind::Number)).collect();
    let profile = build::served(&columns, 4, 400, |row, _| Cell::Number(row as f64 / 400.0));
    std::fs::write(dir.join("profile.json"), profile.json().unwrap()).unwrap();
    let mut config = config(models.path());
    set(&mut config, "m", &["lepton_pT: 0..1 clamp"], None);
    let running = start(config).await;
    let drift = running.shared.drift.clone().unwrap();
    until(|| !drift.report("m").unwrap().windows.is_empty()).await;
    let mut row: Vec<f64> = golden.iter().map(|it| it.as_f64().unwrap()).collect();
    let mut rows = Vec::new();
    for first in [0.5, 98.0, 99.0, -5.0] {
        row[0] = first;
        rows.push(row.clone());
    }
    // Alone and sampled: one of two rows of a request of that many is watched.
    for (times, watched) in [(1, 4), (500, 4 + 1000)] {
        let (status, answer) = infer(&running, "m", &vec![rows.clone(); times].concat()).await;
        let clamped = json!({"clamped_rows": 3 * times});
        assert_eq!((status, &answer["parameters"]), (200, &clamped));
        until(|| drift.report("m").unwrap().windows[1].rows == watched).await;
    }
    let report = serde_json::to_value(drift.report("m").unwrap()).unwrap();
    let features = report["windows"][1]["features"].as_array().unwrap();
    let found = features
        .iter()
        .find(|it| it["name"] == "lepton_pT")
        .unwrap();
    // Three of four rows; of the sampled every first and third, one of them within.
    let share = found["out_of_range"].as_f64().unwrap();
    assert!((share - 503.0 / 1004.0).abs() < 1e-12, "{found:#}");
    running.stop().await.unwrap();
}
