//! The journal is away: predictions go on, the health page says so, and what comes back is written.
#![expect(
    clippy::disallowed_methods,
    reason = "the cluster is started and stopped beside the test's runtime"
)]

use std::net::SocketAddr;

use super::*;
use crate::postgres::{self, Cluster};
use crate::support::{copy, enlist};

/// A cluster and the address of a database in it; stopping and starting it may take a while.
async fn cluster() -> Option<(Arc<Cluster>, String)> {
    let started = tokio::task::spawn_blocking(|| {
        let cluster = postgres::start()?;
        let database = cluster.database();
        Some((Arc::new(cluster), database))
    });
    started.await.unwrap()
}

async fn stop(cluster: &Arc<Cluster>) {
    let cluster = Arc::clone(cluster);
    tokio::task::spawn_blocking(move || cluster.stop())
        .await
        .unwrap();
}

async fn resume(cluster: &Arc<Cluster>) {
    let cluster = Arc::clone(cluster);
    tokio::task::spawn_blocking(move || cluster.resume())
        .await
        .unwrap();
}

/// Waits for a health page of which something holds.
async fn until_health(address: SocketAddr, condition: impl Fn(&Value) -> bool) -> Value {
    for _ in 0..3000 {
        let (status, health) = call(address, "GET /health", &Value::Null).await;
        assert_eq!(status, 200, "{health}");
        if condition(&health) {
            return health;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("it did not happen within 30 s");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_store_is_away_predictions_go_on_and_the_health_page_says_so() {
    let Some((cluster, database)) = cluster().await else {
        return;
    };
    let site = site_of_x(|config| {
        config.journal.store = database;
        config.journal.queue_rows_max = 50;
    })
    .await;
    let running = &site.running;
    let (http, admin) = (running.addresses.http, running.addresses.admin);
    predict(running, "x", &[0.9; 10], "before").await;
    until_written(running, 10).await;
    let health = until_health(admin, |it| it["journal"]["lag_ms"] == 0).await;
    assert_eq!(
        (&health["degraded"], &health["ready"]),
        (&json!(false), &json!(true)),
        "{health}"
    );

    stop(&cluster).await;
    let part = [0.9; 40];
    for key in ["a", "b", "c", "d"] {
        predict(running, "x", &part, key).await;
    }
    for address in [http, admin] {
        let health = until_health(address, |it| it["degraded"] == true).await;
        let journal = &health["journal"];
        assert_eq!(
            (&journal["connected"], &journal["store"]),
            (&json!(false), &json!("postgres"))
        );
        // The store's own words are for operators.
        assert_eq!(journal["error"].is_string(), address == admin, "{health}");
    }
    let health = until_health(admin, |it| it["journal"]["dropped_rows"] == 110).await;
    assert_eq!(health["journal"]["queued_rows"], 50);
    let sent = json!({"slot": "x", "key": "before", "value": true});
    let (status, answer) = call(http, "POST /v1/feedback", &sent).await;
    assert_eq!(status, 503, "{answer}");
    let report = until_report(running, "x", |it| !it["journal_error"].is_null()).await;
    assert_eq!(report["champion"]["revision"], 1);
    predict(running, "x", &[0.9], "during").await;

    resume(&cluster).await;
    until_health(admin, |it| {
        it["degraded"] == false && it["journal"]["queued_rows"] == 0
    })
    .await;
    let health = until_health(admin, |it| it["journal"]["lag_ms"] == 0).await;
    assert_eq!(health["journal"]["error"], Value::Null);
    until_report(running, "x", |it| it["journal_error"].is_null()).await;
    let (status, answer) = call(http, "POST /v1/feedback", &sent).await;
    assert_eq!(
        (status, &answer["status"]),
        (200, &json!("joined")),
        "{answer}"
    );
    until_report(running, "x", |it| it["champion"]["matured"] == 1).await;
    site.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_with_trials_waits_for_the_store_at_the_start() {
    let Some((cluster, database)) = cluster().await else {
        return;
    };
    stop(&cluster).await;
    let models = tempfile::tempdir().unwrap();
    copy(
        "examples/fraud-stream/models/fraud/1",
        &models.path().join("fraud/1"),
    );
    // It is not ready, so it is not waited for.
    let running = hedgerow::app::start(settings(models.path(), &database))
        .await
        .unwrap();
    let (http, admin) = (running.addresses.http, running.addresses.admin);
    until(|| running.shared.server.registry.slot("fraud").is_some()).await;
    let body = json!({"instances": [[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]]});
    let path = "POST /v1/models/fraud:predict";
    let health = until_health(admin, |it| !it["journal"]["error"].is_null()).await;
    assert_eq!(
        (&health["ready"], &health["degraded"]),
        (&json!(false), &json!(true))
    );
    let (status, answer) = call(http, path, &body).await;
    assert_eq!(status, 503, "{answer}");
    let says = answer["error"].as_str().unwrap();
    assert!(says.contains("journal"), "{says}");
    let (status, ..) = crate::support::http(http, "GET /v2/health/ready", "", b"").await;
    assert_eq!(status, 503);

    resume(&cluster).await;
    running.started().await;
    until_champion(&running, "fraud", 1).await;
    let (status, answer) = call(http, path, &body).await;
    assert_eq!(status, 200, "{answer}");
    until_health(admin, |it| it["ready"] == true && it["degraded"] == false).await;
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_does_not_wait_for_the_store_and_is_recorded_later() {
    let Some((cluster, database)) = cluster().await else {
        return;
    };
    let site = site_of_x(|config| config.journal.store = database).await;
    let running = &site.running;
    enlist(running, "x", Script::new(2, "two", opposite));
    until_on_trial(running, "x", 2).await;
    let (status, done) = tell(running, "x", "promote", json!({"force": true})).await;
    assert_eq!(status, 200, "{done}");
    stop(&cluster).await;
    until_report(running, "x", |it| !it["journal_error"].is_null()).await;
    let (status, refused) = tell(
        running,
        "x",
        "promote",
        json!({"revision": 1, "force": true}),
    )
    .await;
    assert_eq!(status, 503, "{refused}");
    let (status, done) = tell(running, "x", "rollback", json!({"actor": "ada"})).await;
    assert_eq!(
        (status, &done["to"]["revision"]),
        (200, &json!(1)),
        "{done}"
    );
    until_champion(running, "x", 1).await;
    resume(&cluster).await;
    until_report(running, "x", |it| it["journal_error"].is_null()).await;
    let names = decision_names(running, "x").await;
    assert_eq!(names, ["begin", "shadow", "promote", "rollback"]);
    until_champion(running, "x", 1).await;
    site.running.stop().await.unwrap();
}
