//! Which rows are counted: those that the champion answers, all of a small request and some of a
//! large one, each value as what the caller meant.

use hedgerow::drift::build::served;
use hedgerow::drift::profile::{Profile, Source};

use super::*;
use crate::support::{copy, copy_plain, enlist};

#[tokio::test(flavor = "multi_thread")]
async fn a_large_request_is_sampled_evenly() {
    let site = site(|config| config.api.body_bytes_max = 64 << 20).await;
    let running = &site.running;
    // The score falls from row to row, so that a sample of one part would show.
    let train: Vec<Vec<f64>> = (0..4000).map(|row| vec![f64::from(row); 3]).collect();
    serve(running, revision(script(1, "one"), Some(&train)));
    until_ready(running, "x").await;
    let rows: Vec<Vec<f64>> = (0..50_000)
        .map(|row| vec![f64::from(row) * 4000.0 / 50_000.0; 3])
        .collect();
    let answer = {
        let path = "POST /v2/models/x/infer";
        call(running.addresses.http, path, &body(&rows)).await
    };
    assert_eq!(answer.0, 200);
    let data = answer.1["outputs"][0]["data"].as_array().unwrap();
    assert_eq!(data.len(), 50_000);
    let found = until_report(running, "x", |it| it["windows"][1]["rows"] != 0).await;
    // Every 49th.
    assert_eq!(found["windows"][1]["rows"], 50_000_u64.div_ceil(49));
    let live = feature(&found, 1, "amount")["bins"]["live"].clone();
    let live: Vec<u64> = serde_json::from_value(live).unwrap();
    assert_eq!(live.len(), 4, "{live:?}");
    assert!(
        live.iter().all(|count| (250..=262).contains(count)),
        "{live:?}"
    );
    // The results are those of the same rows.
    let score = &found["windows"][1]["score"]["bins"];
    assert_eq!(score["live"], json!(live));
    site.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_the_champion_answers_is_counted() {
    let site = site(|config| {
        config.serve.slot.cache.capacity_bytes = 1 << 20;
        // The challenger answers half of the requests.
        config.serve.slot.watch.record = true;
    })
    .await;
    let running = &site.running;
    serve(running, revision(script(1, "one"), Some(&draw(4000, 3, 1))));
    enlist(running, "x", script(2, "two"));
    until_ready(running, "x").await;
    let address = running.addresses.http;
    let rows = draw(100, 3, 2);

    // Twice: the second time from the cache.
    for all in [100, 200] {
        predict(running, "x", &rows).await;
        until_rows(running, "x", all).await;
    }
    let hits = |running: &Running| {
        let slot = running.shared.server.registry.slot("x").unwrap();
        let champion = Arc::clone(&slot.roles().unwrap().champion);
        champion
            .usage
            .cache_hits
            .load(std::sync::atomic::Ordering::Relaxed)
    };
    assert_eq!(hits(running), 100);
    // Pinned requests: the champion's count, another's do not.
    for (version, all) in [(2, 200), (1, 300)] {
        let path = format!("POST /v2/models/x/versions/{version}/infer");
        let (status, answer) = call(address, &path, &body(&rows)).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer["model_version"], version.to_string());
        until_rows(running, "x", all).await;
    }

    // A challenger with a share answers some, and those are not the champion's.
    let slot = running.shared.server.registry.slot("x").unwrap();
    slot.set_share(slot.roles().unwrap().challengers[0].revision.uid, 0.5);
    let mut own = 0;
    for seed in 0..40 {
        let rows = draw(10, 3, 100 + seed);
        let (status, answer) = call(address, "POST /v2/models/x/infer", &body(&rows)).await;
        assert_eq!(status, 200, "{answer}");
        own += 10 * usize::from(answer["model_version"] == "1");
    }
    assert!((10..400).contains(&own), "{own} of 400 rows");
    slot.set_share(slot.roles().unwrap().challengers[0].revision.uid, 0.0);
    // The last one is there once what came before it is.
    predict(running, "x", &draw(1, 3, 7)).await;
    let found = until_rows(running, "x", 300 + own + 1).await;
    assert_eq!(found["skipped_rows"], 0);
    site.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_challenger_answers_takes_nothing_of_what_may_be_watched() {
    let site = site(|config| {
        config.serve.slot.watch.record = true;
        // Nothing is recorded and nothing watched: what would have been watched is skipped.
        config.serve.record.rows_per_second_max = 0;
        config.serve.record.watched_rows_per_second_max = 0;
    })
    .await;
    let running = &site.running;
    let rows = draw(200, 3, 1);
    serve(running, revision(script(1, "one"), Some(&rows)));
    let slot = running.shared.server.registry.slot("x").unwrap();
    // A profile of its own makes no difference.
    slot.enlist(revision(script(2, "two"), Some(&rows)), 2);
    let challenger = Arc::clone(&slot.roles().unwrap().challengers[0].revision);
    let skipped = || {
        slot.usage
            .unwatched
            .load(std::sync::atomic::Ordering::Relaxed)
    };
    for (share, expected) in [(1.0, 0), (0.0, 200), (1.0, 200)] {
        slot.set_share(challenger.uid, share);
        predict(running, "x", &rows).await;
        assert_eq!(skipped(), expected, "a share of {share}");
    }
    site.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn explained_rows_are_counted_with_their_scores() {
    let models = tempfile::tempdir().unwrap();
    let place = models.path().join("m/1");
    copy_plain("models/diabetes-lgbm/1", &place);
    let names: Vec<String> = "age sex bmi bp s1 s2 s3 s4 s5 s6"
        .split(' ')
        .map(str::to_string)
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut profile = profile(&names, &draw(2000, 10, 1));
    // What this model says is between 25 and 346.
    let scores: Vec<f64> = (0..2000).map(|row| f64::from(row) / 5.0).collect();
    profile.score = build::score(4, &scores);
    std::fs::write(place.join("profile.json"), profile.json().unwrap()).unwrap();
    let running = start(settings(models.path(), "")).await;
    until_ready(&running, "m").await;
    let mut asked = body(&draw(50, 10, 2));
    asked["parameters"] = json!({"explain": "all"});
    let (status, answer) = call(running.addresses.http, "POST /v2/models/m/infer", &asked).await;
    assert_eq!(status, 200, "{answer}");
    let outputs = answer["outputs"].as_array().unwrap();
    assert_eq!(outputs.len(), 2, "{answer}");
    let explained = until_rows(&running, "m", 50).await;
    predict(&running, "m", &draw(50, 10, 2)).await;
    let both = until_rows(&running, "m", 100).await;
    // The same rows again, without an explanation, double every count.
    let live = |report: &Value| -> Vec<u64> {
        let bins = &report["windows"][1]["score"]["bins"]["live"];
        serde_json::from_value(bins.clone()).unwrap()
    };
    let (one, two) = (live(&explained), live(&both));
    assert_eq!(one.iter().sum::<u64>(), 50);
    let doubled: Vec<u64> = one.iter().map(|count| 2 * count).collect();
    assert_eq!(doubled, two);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_categories_are_unseen_and_not_missing() {
    let models = tempfile::tempdir().unwrap();
    let place = models.path().join("m/1");
    copy("tests/golden/lgb-text-category", &place);
    let golden = std::fs::read_to_string(place.join("golden.json")).unwrap();
    let golden: Value = serde_json::from_str(&golden).unwrap();
    let names: Vec<&str> = golden["columns"]
        .as_array()
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap())
        .collect();
    let columns: Vec<(String, Kind)> = names
        .iter()
        .map(|name| {
            let kind = match *name {
                "city" | "size" => Kind::Category,
                _ => Kind::Number,
            };
            ((*name).to_string(), kind)
        })
        .collect();
    let cities = ["city 00", "city 01", "city 02", "city 03"];
    let numbers = draw(400, 8, 1);
    let profile = served(&columns, 4, 400, |row, column| match column {
        0 => Cell::Text(cities[row % 4]),
        1 => Cell::Number([10.0, 20.0, 30.0, 45.0][row / 4 % 4]),
        _ => Cell::Number(numbers[row][column]),
    });
    // Served rows had what the model does not know as missing; training data names it.
    let profile = Profile {
        source: Source::Training,
        ..profile
    };
    std::fs::write(place.join("profile.json"), profile.json().unwrap()).unwrap();
    let running = start(settings(models.path(), "")).await;
    let ready = until_ready(&running, "m").await;
    assert_eq!(ready["reference"]["rows"], 400, "{ready:#}");

    // By column: known, unknown to both, known to the model and not to the profile, none.
    let sent = [
        (json!("city 01"), json!(20)),
        (json!("city 01"), json!(20)),
        (json!("Atlantis"), json!(99)),
        (json!("city 25"), json!(45)),
        (Value::Null, Value::Null),
    ];
    let instances: Vec<Value> = sent
        .iter()
        .map(|(city, size)| {
            let mut row = serde_json::Map::new();
            for name in &names {
                row.insert((*name).to_string(), json!(0.5));
            }
            row.insert("city".to_string(), city.clone());
            row.insert("size".to_string(), size.clone());
            Value::Object(row)
        })
        .collect();
    let asked = json!({"instances": instances});
    let (status, answer) = call(running.addresses.http, "POST /v1/models/m:predict", &asked).await;
    assert_eq!(status, 200, "{answer}");
    let found = until_rows(&running, "m", 5).await;
    let city = feature(&found, 1, "city");
    assert_eq!(city["type"], "category");
    assert_eq!(
        (&city["bins"]["live_missing"], &city["rows"]),
        (&json!(1), &json!(4)),
        "{city:#}"
    );
    assert_eq!(city["unseen"], 0.5, "{city:#}");
    let size = feature(&found, 1, "size");
    assert_eq!(
        (&size["bins"]["live_missing"], &size["unseen"]),
        (&json!(1), &json!(0.25)),
        "{size:#}"
    );
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_above_the_rate_are_answered_and_called_skipped() {
    let site = site(|config| config.serve.record.watched_rows_per_second_max = 0).await;
    let running = &site.running;
    serve(running, revision(script(1, "one"), Some(&draw(4000, 3, 1))));
    until_ready(running, "x").await;
    predict(running, "x", &draw(2000, 3, 2)).await;
    let found = report(running, "x").await;
    assert_eq!(found["skipped_rows"], 2000);
    assert_eq!(found["windows"][1]["rows"], 0);
    until_metrics(
        running,
        &["hedgerow_drift_skipped_rows_total{slot=\"x\"} 2000"],
    )
    .await;
    site.running.stop().await.unwrap();
}
