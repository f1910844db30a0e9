//! Several processes on one PostgreSQL: labels reach any of them, one decides, all follow.

use super::*;
use crate::postgres;
use crate::support::enlist;

/// Two servers on one database, each with slot `x`, the one that decides first. None without
/// PostgreSQL.
async fn pair() -> Option<(Site, Site)> {
    let database = postgres::shared()?.database();
    let one = site_of_x(|config| config.journal.store.clone_from(&database)).await;
    let two = site_of_x(|config| config.journal.store.clone_from(&database)).await;
    let leads = |site: &Site| site.running.shared.rollout.as_ref().unwrap().is_leader();
    until(|| leads(&one) != leads(&two)).await;
    Some(if leads(&one) { (one, two) } else { (two, one) })
}

/// Predictions of one server and their labels by another.
async fn across(
    predicting: &Running,
    labelling: &Running,
    key: &str,
    best: fn(&[f64]) -> Option<f64>,
) {
    let rollout = predicting.shared.rollout.clone().unwrap();
    let before = rollout.journal().written_rows;
    predict(predicting, "x", &rows(), key).await;
    until_written(predicting, before + ROWS as u64).await;
    let answer = label(labelling, "x", key, &truth(best, &rows())).await;
    assert_eq!(answer["counts"]["joined"], ROWS, "{}", answer["counts"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_replicas_decides_both_follow_and_the_lease_passes_on() {
    let Some((leader, follower)) = pair().await else {
        return;
    };
    let both = [&leader.running, &follower.running];
    for running in both {
        enlist(running, "x", Script::new(2, "two", opposite));
    }
    for running in both {
        until_on_trial(running, "x", 2).await;
    }
    across(&leader.running, &follower.running, "first", opposite).await;
    for running in both {
        until_champion(running, "x", 2).await;
        assert_eq!(
            decision_names(running, "x").await,
            ["begin", "shadow", "promote"]
        );
    }

    // A label that came before its prediction, at the other one.
    let early = json!({"slot": "x", "key": "early", "value": true}).to_string();
    let answer = lines_in(&leader.running, &early).await;
    assert_eq!(answer["status"], "pending");
    let matured = report(&leader.running, "x")["champion"]["matured"]
        .as_u64()
        .unwrap();
    predict(&follower.running, "x", &[0.9], "early").await;
    for running in both {
        until_report(running, "x", |it| it["champion"]["matured"] == matured + 1).await;
    }

    // A person's word to the one that does not decide.
    let (status, done) = tell(&follower.running, "x", "rollback", json!({"actor": "ada"})).await;
    assert_eq!(
        (status, &done["to"]["revision"]),
        (200, &json!(1)),
        "{done}"
    );
    for running in both {
        until_champion(running, "x", 1).await;
    }

    leader.running.stop().await.unwrap();
    let rollout = follower.running.shared.rollout.clone().unwrap();
    until(|| rollout.is_leader()).await;
    enlist(&follower.running, "x", Script::new(3, "three", opposite));
    until_on_trial(&follower.running, "x", 3).await;
    across(&follower.running, &follower.running, "last", opposite).await;
    until_champion(&follower.running, "x", 3).await;
    let names = decision_names(&follower.running, "x").await;
    assert_eq!(names[3..], ["rollback", "shadow", "promote"]);
    drop(rollout);
    follower.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_death_of_the_one_that_decides_hands_its_lease_over() {
    let Some(cluster) = postgres::shared() else {
        return;
    };
    let database = cluster.database();
    let mut killed = super::crash::Process::start(&database).await;
    killed.copy(1);
    killed
        .until_slot(|it| it["champion"]["revision"] == 1 && it["leader"] == true)
        .await;
    let site = site(|config| config.journal.store.clone_from(&database)).await;
    let running = &site.running;
    super::crash::copy_to(site.models.path(), 1);
    until_report(running, "fraud", |it| it["champion"]["since_ms"] != 0).await;
    let rollout = running.shared.rollout.clone().unwrap();
    assert!(!rollout.is_leader());
    killed.kill();
    until(|| rollout.is_leader()).await;
    super::crash::copy_to(site.models.path(), 2);
    until_on_trial(running, "fraud", 2).await;
    drop(rollout);
    site.running.stop().await.unwrap();
}
