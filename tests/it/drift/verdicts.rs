//! What is said of rows: nothing of the same ones, the feature's name of shifted ones, and why
//! nothing is watched where nothing is.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn the_same_rows_are_no_drift_and_a_shifted_feature_is_named_first() {
    let site = site(|config| config.drift.features_in_metrics = 2).await;
    let running = &site.running;
    serve(running, revision(script(1, "one"), Some(&draw(4000, 3, 1))));
    let ready = until_ready(running, "x").await;
    assert_eq!(ready["reference"]["source"], "training");
    assert_eq!(ready["reference"]["rows"], 4000);
    assert_eq!(
        (&ready["revision"], &ready["verdict"]),
        (&json!(1), &json!("unknown"))
    );

    predict(running, "x", &draw(3000, 3, 2)).await;
    let same = until_rows(running, "x", 3000).await;
    assert_eq!(same["verdict"], "none");
    for window in [0, 1] {
        assert_eq!(same["windows"][window]["rows"], 3000);
        assert_eq!(same["windows"][window]["drift_share"], 0.0);
    }
    until_metrics(
        running,
        &[
            "hedgerow_drift_reference{slot=\"x\",state=\"ready\"} 1.0",
            "hedgerow_drift_rows{slot=\"x\",window=\"long\"} 3000.0",
            "hedgerow_drift_verdict{slot=\"x\",window=\"long\"} 0.0",
            "hedgerow_drift_alarm{slot=\"x\"} 0.0",
        ],
    )
    .await;

    predict(running, "x", &shifted(draw(9000, 3, 3), 2)).await;
    let drifted = until_rows(running, "x", 12_000).await;
    assert_eq!(drifted["verdict"], "act");
    let worst = &drifted["windows"][1]["features"][0];
    assert_eq!(
        (&worst["name"], &worst["verdict"], &worst["reason"]),
        (&json!("balance"), &json!("act"), &json!("psi"))
    );
    assert!(worst["out_of_range"].as_f64().unwrap() > 0.3, "{worst:#}");
    assert_eq!(feature(&drifted, 1, "age")["verdict"], "none");
    let metrics = until_metrics(
        running,
        &[
            "hedgerow_drift_rows{slot=\"x\",window=\"long\"} 12000.0",
            "hedgerow_drift_verdict{slot=\"x\",window=\"short\"} 2.0",
            "hedgerow_drift_features{slot=\"x\",window=\"long\",verdict=\"act\"} 1.0",
        ],
    )
    .await;
    let series = |window: &str| {
        let start = format!("hedgerow_drift_psi{{slot=\"x\",window=\"{window}\"");
        let found = metrics.lines().filter(|line| line.starts_with(&start));
        found.map(str::to_string).collect::<Vec<_>>()
    };
    for window in ["short", "long"] {
        let series = series(window);
        assert_eq!(series.len(), 2, "{series:?}");
        assert!(series.iter().any(|it| it.contains("balance")), "{series:?}");
    }
    site.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_profile_the_first_rows_become_the_reference() {
    let site = site(|config| {
        watch_on(config);
        config.drift.slot.reference_rows = 2000;
    })
    .await;
    let running = &site.running;
    serve(running, revision(script(1, "one"), None));
    let before = until_report(running, "x", |it| it["reference"]["state"] == "collecting").await;
    assert_eq!(before["reference"]["wanted"], 2000);
    predict(running, "x", &draw(1500, 3, 1)).await;
    until_report(running, "x", |it| it["reference"]["rows"] == 1500).await;
    until_metrics(
        running,
        &["hedgerow_drift_reference{slot=\"x\",state=\"collecting\"} 1.0"],
    )
    .await;
    predict(running, "x", &draw(500, 3, 2)).await;
    let ready = until_ready(running, "x").await;
    assert_eq!(
        (&ready["reference"]["source"], &ready["reference"]["rows"]),
        (&json!("served"), &json!(2000))
    );
    // The reference's own rows are not counted again.
    assert_eq!(ready["windows"][1]["rows"], 0);
    predict(running, "x", &shifted(draw(2000, 3, 3), 0)).await;
    let drifted = until_rows(running, "x", 2000).await;
    assert_eq!(
        (
            &drifted["verdict"],
            &drifted["windows"][1]["features"][0]["name"]
        ),
        (&json!("act"), &json!("amount"))
    );
    // The score is the mean of the row.
    assert_eq!(drifted["windows"][1]["score"]["type"], "number");
    site.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_served_reference_stays_until_another_is_asked_for() {
    let first = site(|config| {
        watch_on(config);
        config.drift.slot.reference_rows = 1000;
    })
    .await;
    serve(&first.running, revision(script(1, "one"), None));
    until_report(&first.running, "x", |it| {
        it["reference"]["state"] == "collecting"
    })
    .await;
    predict(&first.running, "x", &draw(1000, 3, 1)).await;
    until_ready(&first.running, "x").await;
    let Site {
        running,
        models,
        _data,
    } = first;
    running.stop().await.unwrap();
    for (rows, sent) in [(1000, 0), (1001, 1001)] {
        let store = _data.path().join("journal").display().to_string();
        let mut config = settings(models.path(), &store);
        watch_on(&mut config);
        config.drift.slot.reference_rows = rows;
        let running = start(config).await;
        serve(&running, revision(script(1, "one"), None));
        if sent > 0 {
            predict(&running, "x", &draw(sent, 3, 2)).await;
        }
        let found = until_ready(&running, "x").await;
        assert_eq!(found["reference"]["rows"], rows);
        running.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_is_not_watched_says_why() {
    let site = site(|config| {
        let mut off = config.serve.slot.clone();
        off.watch.drift = Drift::Off;
        config.serve.slots.insert("off".to_string(), off);
    })
    .await;
    let running = &site.running;
    for slot in ["off", "plain", "empty"] {
        running.shared.server.registry.insert(slot);
    }
    for slot in ["off", "plain"] {
        crate::support::add_scripted(running, slot, script(1, "one"));
    }
    for (slot, reason) in [
        ("off", "drift.watch is off"),
        ("plain", "there is no profile.json beside the model"),
        ("empty", "no revision answers"),
    ] {
        let found = report(running, slot).await;
        assert_eq!(found["reference"]["state"], "off", "{found:#}");
        let text = found["reference"]["reason"].as_str().unwrap();
        assert!(text.contains(reason), "{text}");
        assert_eq!(found["verdict"], "unknown");
        assert_eq!(found["windows"], json!([]));
    }
    let admin = running.addresses.admin;
    let (status, _) = call(admin, "GET /v1/slots/nope/drift", &Value::Null).await;
    assert_eq!(status, 404);
    site.running.stop().await.unwrap();
}
