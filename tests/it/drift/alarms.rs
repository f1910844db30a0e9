//! Alarms: after so many windows in a row, once, to a webhook that may be away.

use std::sync::atomic::{AtomicBool, Ordering};

use super::webhook::{Receiver, call_at, nobody};
use super::*;

/// Short windows of three seconds, two of which raise an alarm.
fn short(config: &mut Config) {
    config.drift.slot.lengths.short_ms = 3_000;
    config.drift.slot.alarm_windows = 2;
}

/// Runs `during` while rows come, 300 every tenth of a second.
pub async fn while_rows_come<T>(
    running: &Running,
    feature: Option<usize>,
    during: impl Future<Output = T>,
) -> T {
    let ended = AtomicBool::new(false);
    let rows = async {
        let mut seed = 1000;
        while !ended.load(Ordering::Relaxed) {
            let mut rows = draw(300, 3, seed);
            if let Some(feature) = feature {
                rows = shifted(rows, feature);
            }
            seed += 1;
            predict(running, "x", &rows).await;
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    let during = async {
        let done = during.await;
        ended.store(true, Ordering::Relaxed);
        done
    };
    tokio::join!(during, rows).0
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alarm_is_given_once_and_few_rows_change_nothing() {
    let receiver = Receiver::start(None);
    let site = site(|config| {
        short(config);
        receiver.call(config);
    })
    .await;
    let running = &site.running;
    serve(running, revision(script(1, "one"), Some(&draw(4000, 3, 1))));
    until_ready(running, "x").await;
    // Two windows more than it takes.
    let held = while_rows_come(
        running,
        Some(1),
        until_report(running, "x", |it| {
            it["alarm"]["windows"].as_u64() >= Some(4) && !it["alarm"]["last"].is_null()
        }),
    )
    .await;
    assert_eq!(held["alarm"]["needed"], 2);
    let told = until_report(running, "x", |it| {
        it["alarm"]["last"]["calls"][0]["outcome"] == "delivered"
    })
    .await;
    let [event] = &receiver.events()[..] else {
        panic!("{:#?}", receiver.events())
    };
    assert_eq!(
        (&event["specversion"], &event["type"], &event["subject"]),
        (
            &json!("1.0"),
            &json!("io.hedgerow.drift.alarm"),
            &json!("x")
        )
    );
    assert_eq!(event["id"], told["alarm"]["last"]["id"]);
    assert_eq!(event["data"]["features"][0]["name"], "age");
    assert_eq!(event["data"]["windows"], 2);
    until_metrics(
        running,
        &[
            "hedgerow_drift_alarms_total{slot=\"x\"} 1",
            "hedgerow_drift_calls_total{target=\"webhook\",outcome=\"delivered\"} 1",
            "hedgerow_drift_alarm{slot=\"x\"} 1.0",
        ],
    )
    .await;

    // Five rows of no drift: their window ends, is judged, and neither raises nor resets.
    let before = until_later(running, "x", 10_000).await;
    assert_eq!(before["windows"][0]["rows"], 0);
    predict(running, "x", &draw(5, 3, 9)).await;
    let later = until_later(running, "x", 10_000).await;
    assert_eq!(later["windows"][0]["rows"], 0);
    assert_eq!(later["alarm"]["windows"], before["alarm"]["windows"]);

    // Enough of them reset.
    while_rows_come(
        running,
        None,
        until_report(running, "x", |it| it["alarm"]["windows"] == 0),
    )
    .await;
    assert_eq!(receiver.events().len(), 1);
    site.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_cooldown_there_is_another_alarm() {
    let receiver = Receiver::start(None);
    let site = site(|config| {
        short(config);
        config.drift.slot.cooldown_ms = 2_000;
        receiver.call(config);
    })
    .await;
    let running = &site.running;
    serve(running, revision(script(1, "one"), Some(&draw(4000, 3, 1))));
    until_ready(running, "x").await;
    let two = until_report(running, "x", |_| receiver.events().len() >= 2);
    while_rows_come(running, Some(0), two).await;
    let events = receiver.events();
    assert_ne!(events[0]["id"], events[1]["id"]);
    let at = |event: &Value| event["data"]["at_ms"].as_i64().unwrap();
    assert!(at(&events[1]) >= at(&events[0]) + 2_000);
    site.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_is_away_costs_no_answer_and_gets_the_alarm_after_a_restart() {
    let address = nobody();
    let site = site(|config| {
        watch_on(config);
        short(config);
        call_at(config, address);
    })
    .await;
    let running = &site.running;
    let rows = draw(4000, 3, 1);
    serve(running, revision(script(1, "one"), Some(&rows)));
    until_ready(running, "x").await;
    let raised = while_rows_come(
        running,
        Some(2),
        until_report(running, "x", |it| !it["alarm"]["last"].is_null()),
    )
    .await;
    let id = raised["alarm"]["last"]["id"].clone();
    assert_eq!(raised["alarm"]["last"]["calls"], json!([]));
    let metrics = until_metrics(
        running,
        &[
            "hedgerow_drift_alarms_total{slot=\"x\"} 1",
            "hedgerow_drift_calls_total{target=\"webhook\",outcome=\"delivered\"} 0",
            "hedgerow_drift_calls_total{target=\"webhook\",outcome=\"failed\"} 0",
        ],
    )
    .await;
    let attempts = "hedgerow_drift_call_attempts_total{target=\"webhook\"} ";
    let attempts = metrics.lines().find_map(|it| it.strip_prefix(attempts));
    assert!(attempts.unwrap().parse::<u64>().unwrap() > 0);
    predict(running, "x", &rows).await;
    let Site {
        running,
        models,
        _data,
    } = site;
    running.stop().await.unwrap();

    let receiver = Receiver::start(Some(address));
    let store = _data.path().join("journal").display().to_string();
    let mut config = settings(models.path(), &store);
    watch_on(&mut config);
    short(&mut config);
    receiver.call(&mut config);
    let running = start(config).await;
    serve(&running, revision(script(1, "one"), Some(&rows)));
    let told = until_report(&running, "x", |it| {
        it["alarm"]["last"]["calls"][0]["outcome"] == "delivered"
    })
    .await;
    assert_eq!(told["alarm"]["last"]["id"], id);
    let events = receiver.events();
    assert_eq!((events.len(), &events[0]["id"]), (1, &id));
    running.stop().await.unwrap();
}
