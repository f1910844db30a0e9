//! A profile.json beside a model: broken ones are refused and the model serves, and a change of it
//! while the server runs changes nothing else.

use std::path::PathBuf;

use hedgerow::drift::profile::Values;
use hedgerow::model::slot::{Arrival, Slot};

use super::*;
use crate::support::{copy_plain, until};

/// As models/diabetes-lgbm names its features.
const DIABETES: [&str; 10] = [
    "age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6",
];

fn diabetes() -> Profile {
    profile(&DIABETES, &draw(2000, 10, 1))
}

/// Replaces a revision's profile in one step.
fn put(models: &Path, place: &str, document: &str) -> PathBuf {
    let path = models.join(place).join("profile.json");
    let aside = models.join(".profile");
    std::fs::write(&aside, document).unwrap();
    std::fs::rename(aside, &path).unwrap();
    path
}

fn slot(running: &Running, name: &str) -> Arc<Slot> {
    running.shared.server.registry.slot(name).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_that_is_none_of_the_model_is_refused_and_the_model_serves() {
    let models = tempfile::tempdir().unwrap();
    let text = |change: fn(&mut Profile)| {
        let mut profile = diabetes();
        change(&mut profile);
        serde_json::to_string(&profile).unwrap()
    };
    let whole = text(|_| {});
    let cases = [
        (
            "order",
            text(|it| it.features.swap(0, 1)),
            "the features are in another order",
        ),
        (
            "other",
            text(|it| it.features[3].name = "glucose".to_string()),
            "the model has no such feature",
        ),
        (
            "fewer",
            text(|it| it.features.truncate(9)),
            "it has 9 features, and the model 10",
        ),
        ("version", text(|it| it.version = 2), "version"),
        ("cut", whole[..whole.len() / 2].to_string(), "EOF"),
        ("empty", String::new(), "EOF"),
        (
            "nan",
            text(|it| match &mut it.features[0].values {
                Values::Number(numbers) => numbers.edges[0] = f64::NAN,
                Values::Category(_) => unreachable!(),
            }),
            "null",
        ),
        (
            "falling",
            text(|it| match &mut it.features[0].values {
                Values::Number(numbers) => numbers.edges.reverse(),
                Values::Category(_) => unreachable!(),
            }),
            "is not below the next",
        ),
    ];
    for (name, document, _) in &cases {
        copy_plain(
            "models/diabetes-lgbm/1",
            &models.path().join(name).join("1"),
        );
        put(models.path(), &format!("{name}/1"), document);
    }
    // Also where everything is watched.
    let mut config = settings(models.path(), "");
    config.journal.store = models.path().join(".journal").display().to_string();
    watch_on(&mut config);
    let running = start(config).await;
    for (name, _, reason) in &cases {
        predict(&running, name, &draw(10, 10, 2)).await;
        let found = report(&running, name).await;
        assert_eq!(found["reference"]["state"], "refused", "{name}: {found:#}");
        let text = found["reference"]["reason"].as_str().unwrap();
        assert!(
            text.starts_with("profile.json: ") && text.contains(reason),
            "{name}: {text}"
        );
        let line = format!("hedgerow_drift_reference{{slot=\"{name}\",state=\"refused\"}} 1.0");
        until_metrics(&running, &[&line]).await;
        // What is refused is not counted, nor called skipped.
        assert_eq!(found["skipped_rows"], 0);
    }
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_comes_changes_and_goes_while_the_model_serves() {
    for arrival in [Arrival::Replace, Arrival::Shadow] {
        let site = site(|config| config.serve.slot.watch.arrival = arrival).await;
        let (running, models) = (&site.running, site.models.path());
        copy_plain("models/diabetes-lgbm/1", &models.join("m/1"));
        until(|| running.shared.server.registry.slot("m").is_some()).await;
        let roles = || slot(running, "m").roles();
        until(|| roles().is_some()).await;
        if arrival == Arrival::Replace {
            // So that there is a previous one to be kept.
            copy_plain("models/diabetes-lgbm/1", &models.join("m/2"));
            until(|| roles().unwrap().champion.id == 2).await;
        }
        let before = roles().unwrap();
        let (id, digest) = (before.champion.id, before.champion.digest.clone());
        let kept = || {
            let now = roles().unwrap();
            assert_eq!((now.champion.id, &now.champion.digest), (id, &digest));
            let previous = |it: &hedgerow::model::slot::Roles| it.previous.as_ref().map(|it| it.id);
            assert_eq!(previous(&now), previous(&before), "{arrival:?}");
            assert!(now.challengers.is_empty());
        };
        let place = format!("m/{id}");
        let off = report(running, "m").await;
        assert_eq!(off["reference"]["state"], "off");

        let path = put(models, &place, &diabetes().json().unwrap());
        let first = until_ready(running, "m").await;
        kept();
        predict(running, "m", &draw(500, 10, 2)).await;
        until_rows(running, "m", 500).await;

        // The same again: counting goes on.
        let uid = || roles().unwrap().champion.uid;
        let was = uid();
        put(models, &place, &diabetes().json().unwrap());
        until(|| uid() != was).await;
        predict(running, "m", &draw(100, 10, 3)).await;
        until_rows(running, "m", 600).await;
        kept();

        let other = profile(&DIABETES, &draw(3000, 10, 9));
        put(models, &place, &other.json().unwrap());
        let changed = until_report(running, "m", |it| it["reference"]["rows"] == 3000).await;
        assert_ne!(
            changed["reference"]["fingerprint"],
            first["reference"]["fingerprint"]
        );
        assert_eq!(changed["windows"][1]["rows"], 0);
        kept();

        put(models, &place, "{");
        until_report(running, "m", |it| it["reference"]["state"] == "refused").await;
        predict(running, "m", &draw(10, 10, 4)).await;
        kept();

        std::fs::remove_file(&path).unwrap();
        until_report(running, "m", |it| it["reference"]["state"] == "off").await;
        kept();
        if let Some(rollout) = &running.shared.rollout {
            let known = serde_json::to_value(&*rollout.report("m").unwrap()).unwrap();
            assert_eq!(known["champion"]["revision"], id, "{known:#}");
            assert_eq!(known["challengers"], json!([]));
        }
        site.running.stop().await.unwrap();
    }
}
