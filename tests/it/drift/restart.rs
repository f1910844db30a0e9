//! The journal: windows outlive the process, an older store is brought up to date, a newer one is
//! left alone.

use hedgerow::journal::{self, store::StoreError};

use super::*;

/// Twelve seconds: panes of one.
fn short(config: &mut Config) {
    watch_on(config);
    config.drift.slot.lengths.short_ms = 12_000;
}

fn panes(store: &str) -> i64 {
    let mut store = journal::open(store).unwrap();
    let sql = "SELECT COALESCE(SUM(row_count), 0) FROM drift_pane";
    store.query(sql, &[]).unwrap()[0].int(0).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_outlive_the_process_whether_it_stops_or_is_cut_off() {
    let (models, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = data.path().join("journal").display().to_string();
    let mut config = settings(models.path(), &store);
    short(&mut config);
    let train = draw(4000, 3, 1);
    let again = async || {
        let running = start(config.clone()).await;
        serve(&running, revision(script(1, "one"), Some(&train)));
        until_ready(&running, "x").await;
        running
    };
    let running = again().await;
    predict(&running, "x", &draw(700, 3, 2)).await;
    let first = until_rows(&running, "x", 700).await;
    // At once: the pane is not over yet.
    running.stop().await.unwrap();
    assert_eq!(panes(&store), 700);

    let running = again().await;
    let second = until_rows(&running, "x", 700).await;
    assert_eq!(counts(&second), counts(&first));
    predict(&running, "x", &draw(300, 3, 3)).await;
    until_rows(&running, "x", 1000).await;
    // Nothing is said to it: what was written is all that is left.
    for _ in 0..3000 {
        if panes(&store) == 1000 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let cut_off = running;

    let running = again().await;
    let third = until_rows(&running, "x", 1000).await;
    assert_eq!(counts(&third), counts(&report(&cut_off, "x").await));
    // Another model has windows of its own.
    serve(&running, revision(script(2, "two"), Some(&train)));
    let other = until_report(&running, "x", |it| {
        it["revision"] == 2 && it["reference"]["state"] == "ready"
    })
    .await;
    assert_eq!(other["windows"][1]["rows"], 0);
    predict(&running, "x", &draw(10, 3, 4)).await;
    until_rows(&running, "x", 10).await;
    running.stop().await.unwrap();
    cut_off.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reference_of_served_rows_outlives_the_process() {
    let (models, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = data.path().join("journal").display().to_string();
    let mut config = settings(models.path(), &store);
    short(&mut config);
    config.drift.slot.reference_rows = 1000;
    let running = start(config.clone()).await;
    serve(&running, revision(script(1, "one"), None));
    until_report(&running, "x", |it| it["reference"]["state"] == "collecting").await;
    predict(&running, "x", &draw(1000, 3, 1)).await;
    let made = until_ready(&running, "x").await;
    running.stop().await.unwrap();
    let running = start(config).await;
    serve(&running, revision(script(1, "one"), None));
    let found = until_ready(&running, "x").await;
    assert_eq!(found["reference"], made["reference"]);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_version_1_gets_the_new_tables_and_keeps_its_predictions() {
    let (models, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = data.path().join("journal").display().to_string();
    let mut config = settings(models.path(), &store);
    short(&mut config);
    config.serve.slot.watch.record = true;
    let run = async |rows: usize, all: u64| {
        let running = start(config.clone()).await;
        serve(
            &running,
            revision(script(1, "one"), Some(&draw(4000, 3, 1))),
        );
        until_ready(&running, "x").await;
        predict(&running, "x", &draw(rows, 3, 2)).await;
        until_rows(&running, "x", rows).await;
        let rollout = running.shared.rollout.clone().unwrap();
        crate::support::until(|| rollout.journal().written_rows >= all).await;
        drop(rollout);
        running.stop().await.unwrap();
    };
    run(50, 50).await;
    {
        // As version 1 had left it.
        let mut old = journal::open(&store).unwrap();
        for table in ["drift_pane", "drift_reference", "drift_alarm"] {
            old.execute(&format!("DROP TABLE {table}"), &[]).unwrap();
        }
        let sql = "UPDATE journal_version SET version = 1";
        old.execute(sql, &[]).unwrap();
    }
    run(70, 70).await;
    assert_eq!(panes(&store), 70);
    let mut now = journal::open(&store).unwrap();
    let number = |store: &mut dyn journal::store::Store, sql: &str| {
        store.query(sql, &[]).unwrap()[0].int(0).unwrap()
    };
    let version = number(&mut *now, "SELECT version FROM journal_version");
    assert_eq!(version, journal::schema::VERSION);
    let kept = number(&mut *now, "SELECT COUNT(*) FROM prediction");
    assert_eq!(kept, 120);

    now.execute("UPDATE journal_version SET version = 1000", &[])
        .unwrap();
    assert!(matches!(
        journal::open(&store),
        Err(StoreError::Newer { found: 1000, .. })
    ));
    // The server answers, and says that it cannot write.
    let running = start(config.clone()).await;
    serve(
        &running,
        revision(script(1, "one"), Some(&draw(4000, 3, 1))),
    );
    until_ready(&running, "x").await;
    predict(&running, "x", &draw(10, 3, 5)).await;
    until_rows(&running, "x", 10).await;
    let mut health = Value::Null;
    for _ in 0..1000 {
        health = call(running.addresses.admin, "GET /health", &Value::Null)
            .await
            .1;
        if health["journal"]["error"].is_string() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let error = health["journal"]["error"].as_str().unwrap();
    assert!(error.contains("1000"), "{error}");
    assert_eq!(number(&mut *now, "SELECT COUNT(*) FROM prediction"), 120);
    running.stop().await.unwrap();
}
