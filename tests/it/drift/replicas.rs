//! Two processes on one PostgreSQL: their windows are one, their reference is one, and their alarm
//! comes once.

use hedgerow::drift::alarm::{Alarm, Drifted, event};
use hedgerow::journal::{self, drift};
use hedgerow::serve::record::now_ms;

use super::alarms::while_rows_come;
use super::webhook::Receiver;
use super::*;
use crate::postgres;

/// Two servers on one database. None without PostgreSQL.
async fn pair(change: impl Fn(&mut Config)) -> Option<[Site; 2]> {
    let database = postgres::shared()?.database();
    let one = async || {
        site(|config| {
            watch_on(config);
            config.drift.slot.lengths.short_ms = 12_000;
            config.journal.store.clone_from(&database);
            change(config);
        })
        .await
    };
    Some([one().await, one().await])
}

async fn stop(sites: [Site; 2]) {
    for site in sites {
        site.running.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_report_the_sum_of_all_rows_as_one_server_would() {
    let Some(sites) = pair(|_| {}).await else {
        return;
    };
    let alone = site(|_| {}).await;
    let train = draw(4000, 3, 1);
    let all = [&sites[0].running, &sites[1].running, &alone.running];
    for running in all {
        serve(running, revision(script(1, "one"), Some(&train)));
        until_ready(running, "x").await;
    }
    let mut sent = 0;
    for seed in 0..12 {
        let rows = match seed {
            0..6 => draw(150, 3, seed),
            _ => shifted(draw(250, 3, seed), 1),
        };
        sent += rows.len();
        let half = usize::from(seed % 3 == 0);
        predict(all[half], "x", &rows).await;
        predict(&alone.running, "x", &rows).await;
        tokio::time::sleep(std::time::Duration::from_millis(150)).await;
    }
    let expected = until_rows(&alone.running, "x", sent).await;
    for site in &sites {
        let found = until_rows(&site.running, "x", sent).await;
        assert_eq!(counts(&found), counts(&expected));
        let said = |it: &Value| {
            let window = &it["windows"][1];
            let name = &window["features"][0]["name"];
            let psi = &window["features"][0]["psi"];
            (window["verdict"].clone(), name.clone(), psi.clone())
        };
        assert_eq!(said(&found), said(&expected));
        // Nothing is added twice, however often it is read.
        let later = until_later(&site.running, "x", 4_000).await;
        assert_eq!(counts(&later), counts(&expected));
    }
    alone.running.stop().await.unwrap();
    stop(sites).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_go_by_one_reference_of_served_rows() {
    let Some(sites) = pair(|config| config.drift.slot.reference_rows = 1000).await else {
        return;
    };
    let [one, two] = [&sites[0].running, &sites[1].running];
    for running in [one, two] {
        serve(running, revision(script(1, "one"), None));
        until_report(running, "x", |it| it["reference"]["state"] == "collecting").await;
    }
    // Not enough at the one, and other rows than at the other.
    predict(two, "x", &draw(300, 3, 5)).await;
    predict(one, "x", &draw(1000, 3, 6)).await;
    let made = until_ready(one, "x").await["reference"].clone();
    assert_eq!(until_ready(two, "x").await["reference"], made);
    assert_eq!(made["rows"], 1000);

    // Both have enough at about the same time.
    for running in [one, two] {
        serve(running, revision(script(2, "two"), None));
        until_report(running, "x", |it| {
            it["revision"] == 2 && it["reference"]["state"] == "collecting"
        })
        .await;
    }
    let rows = [draw(1000, 3, 7), draw(1000, 3, 8)];
    tokio::join!(predict(one, "x", &rows[0]), predict(two, "x", &rows[1]));
    let made = until_ready(one, "x").await["reference"].clone();
    assert_eq!(until_ready(two, "x").await["reference"], made);
    predict(two, "x", &draw(50, 3, 9)).await;
    until_rows(one, "x", 50).await;
    stop(sites).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_give_one_alarm() {
    let receiver = Receiver::start(None);
    let Some(sites) = pair(|config| {
        config.drift.slot.lengths.short_ms = 3_000;
        receiver.call(config);
    })
    .await
    else {
        return;
    };
    let train = draw(4000, 3, 1);
    let [one, two] = [&sites[0].running, &sites[1].running];
    for running in [one, two] {
        serve(running, revision(script(1, "one"), Some(&train)));
        until_ready(running, "x").await;
    }
    let delivered = |running| {
        until_report(running, "x", |it| {
            it["alarm"]["last"]["calls"][0]["outcome"] == "delivered"
                && it["alarm"]["windows"].as_u64() >= Some(4)
        })
    };
    let both = async { tokio::join!(delivered(one), delivered(two)) };
    let rows = while_rows_come(one, Some(0), while_rows_come(two, Some(0), both));
    let (first, second) = Box::pin(rows).await;
    assert_eq!(first["alarm"]["last"]["id"], second["alarm"]["last"]["id"]);
    let events = receiver.events();
    assert_eq!(events.len(), 1, "{events:#?}");
    assert_eq!(events[0]["id"], first["alarm"]["last"]["id"]);
    stop(sites).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_replica_did_not_deliver_another_does_under_the_same_id() {
    let receiver = Receiver::start(None);
    let Some(cluster) = postgres::shared() else {
        return;
    };
    let database = cluster.database();
    // One that died after it had claimed the alarm.
    let at_ms = now_ms() - 1_000;
    let alarm = Alarm {
        id: event::id("x", 1, "one", at_ms),
        slot: "x".to_string(),
        revision: 1,
        mark: "one".to_string(),
        at_ms,
        window_ms: 12_000,
        windows: 2,
        rows: 500,
        features: vec![Drifted {
            name: "age".to_string(),
            psi: 0.5,
            threshold: 0.25,
            reason: "psi".to_string(),
        }],
    };
    let kept = drift::Alarm {
        slot: "x".to_string(),
        id: alarm.id.clone(),
        at_ms,
        quiet_until_ms: at_ms + 86_400_000,
        body: serde_json::to_string(&alarm).unwrap(),
        calls: "[]".to_string(),
        settled: false,
    };
    let store = &*database;
    let on_store = async |work: fn(&mut dyn journal::store::Store, &drift::Alarm)| {
        let (address, kept) = (store.to_string(), kept.clone());
        #[expect(
            clippy::disallowed_methods,
            reason = "the store is the test's own, beside the server"
        )]
        let done = tokio::task::spawn_blocking(move || {
            work(&mut *journal::open(&address).unwrap(), &kept);
        });
        done.await.unwrap();
    };
    on_store(|store, kept| {
        assert!(drift::raise(store, kept, "dead", kept.at_ms + 600_000).unwrap());
    })
    .await;

    let site = site(|config| {
        watch_on(config);
        config.drift.slot.lengths.short_ms = 12_000;
        config.journal.store.clone_from(&database);
        receiver.call(config);
    })
    .await;
    let running = &site.running;
    serve(running, revision(script(1, "one"), Some(&draw(4000, 3, 1))));
    until_ready(running, "x").await;
    // It is known, and left to who claimed it.
    let known = until_report(running, "x", |it| it["alarm"]["last"]["id"] == alarm.id).await;
    assert_eq!(known["alarm"]["last"]["calls"], json!([]));
    until_later(running, "x", 2_500).await;
    assert_eq!(receiver.events(), [Value::Null; 0]);

    // Its time is over.
    on_store(|store, kept| {
        let sql = "UPDATE drift_alarm SET until_ms = $1 WHERE id = $2";
        let values = [kept.at_ms.into(), kept.id.as_str().into()];
        assert_eq!(store.execute(sql, &values).unwrap(), 1);
    })
    .await;
    until_report(running, "x", |it| {
        it["alarm"]["last"]["calls"][0]["outcome"] == "delivered"
    })
    .await;
    let events = receiver.events();
    assert_eq!((events.len(), &events[0]["id"]), (1, &json!(alarm.id)));
    assert_eq!(events[0]["data"], json!(alarm));
    site.running.stop().await.unwrap();
}
