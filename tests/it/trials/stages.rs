//! Stages, shares, a person's word, and the way back.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use hedgerow::api::ModelControl;
use hedgerow::api::grpc::{loop_pb, pb};
use hedgerow::error::Code;
use hedgerow::rollout::Absence;
use hedgerow::rollout::decide::{Approval, Stage};
use loop_pb::rollout_client::RolloutClient;
use pb::infer_parameter::ParameterChoice;

use super::*;
use crate::support::{copy, enlist};

/// A champion that breaks on what the challenger's trial did not show.
fn brittle_nan(row: &[f64]) -> Option<f64> {
    Some(if row[0] > 5.0 { f64::NAN } else { 1.0 - row[0] })
}

fn brittle_failing(row: &[f64]) -> Option<f64> {
    (row[0] <= 5.0).then_some(1.0 - row[0])
}

/// Which revision answers each key, and how often.
async fn answered_by(running: &Running, keys: std::ops::Range<u32>) -> BTreeMap<u32, String> {
    let address = format!("http://{}", running.addresses.grpc);
    let mut client =
        pb::grpc_inference_service_client::GrpcInferenceServiceClient::connect(address)
            .await
            .unwrap();
    let mut answered = BTreeMap::new();
    for key in keys {
        let mut request = crate::server::grpc_request("x", &[0.9]);
        let choice = ParameterChoice::StringParam(format!("card-{key}"));
        let parameter = pb::InferParameter {
            parameter_choice: Some(choice),
        };
        request.parameters.insert("key".to_string(), parameter);
        let answer = client.model_infer(request).await.unwrap().into_inner();
        let score = answer.outputs[0].contents.as_ref().unwrap().fp64_contents[0];
        // The revision that is named is the one that answered.
        let expected = if answer.model_version == "1" {
            0.9
        } else {
            1.0 - 0.9
        };
        assert_eq!(score, expected);
        answered.insert(key, answer.model_version);
    }
    answered
}

#[tokio::test(flavor = "multi_thread")]
async fn each_stage_waits_for_approval_and_shares_are_sticky_by_key() {
    let site = site_of_x(|config| {
        let policy = &mut config.rollout.slot.policy;
        policy.stages = vec![Stage::Shadow, Stage::Share(0.5), Stage::Full];
        policy.approval = Approval::Manual;
    })
    .await;
    let running = &site.running;
    enlist(running, "x", Script::new(2, "two", opposite));
    until_on_trial(running, "x", 2).await;
    let early = answered_by(running, 0..20).await;
    assert!(early.values().all(|version| version == "1"));
    let (status, refused) = tell(running, "x", "promote", Value::Null).await;
    assert_eq!(status, 409);
    assert!(
        refused["error"]
            .as_str()
            .unwrap()
            .contains("waiting for labels: 0 of 300"),
        "{refused}"
    );

    evidence(running, "x", "batch", opposite).await;
    let waits = |report: &Value, for_stage: &str| {
        let reasons = report["challengers"][0]["reasons"].to_string();
        reasons.contains(&format!("ready for {for_stage}: waits for approval"))
    };
    until_report(running, "x", |it| waits(it, "50%")).await;
    let (status, done) = tell(
        running,
        "x",
        "promote",
        json!({"revision": 2, "actor": "ada"}),
    )
    .await;
    assert_eq!(
        (status, &done["decision"], &done["stage"]),
        (200, &json!("advance"), &json!("50%")),
        "{done}"
    );
    let answered = answered_by(running, 0..2000).await;
    let new = answered.values().filter(|version| *version == "2").count();
    // Four standard deviations either way.
    assert!((910..=1090).contains(&new), "{new}");
    let again = answered_by(running, 0..200).await;
    assert!(again.iter().all(|(key, version)| answered[key] == *version));

    until_report(running, "x", |it| waits(it, "full")).await;
    let (status, done) = tell(running, "x", "promote", Value::Null).await;
    assert_eq!(
        (status, &done["decision"]),
        (200, &json!("promote")),
        "{done}"
    );
    let late = answered_by(running, 0..20).await;
    assert!(late.values().all(|version| version == "2"));
    assert_eq!(
        decision_names(running, "x").await,
        ["begin", "shadow", "advance", "promote"]
    );
    site.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_promotes_by_force_and_a_held_revision_by_its_number() {
    const MODELS: &str = "examples/fraud-stream/models/fraud";
    let site = site(|config| config.serve.slot.watch.arrival = Arrival::Hold).await;
    let running = &site.running;
    let of = |revision: u64| site.models.path().join(format!("fraud/{revision}"));
    copy(&format!("{MODELS}/1"), &of(1));
    until_champion(running, "fraud", 1).await;
    copy(&format!("{MODELS}/2"), &of(2));
    let state = || format!("{:?}", slot(running, "fraud").states().get(&2));
    until(|| state().contains("waits for an operator")).await;
    let resident = || slot(running, "fraud").roles().unwrap().resident().count();
    assert_eq!(resident(), 1);
    for (body, status, says) in [
        (Value::Null, 409, "nothing is on trial"),
        (json!({"revision": 1}), 409, "champion already"),
        (json!({"revision": 7}), 404, "no revision 7"),
        (json!({"revison": 2}), 400, "unknown field"),
    ] {
        let (got, answer) = tell(running, "fraud", "promote", body).await;
        assert_eq!(got, status, "{answer}");
        assert!(answer["error"].as_str().unwrap().contains(says), "{answer}");
    }
    let (status, done) = tell(running, "fraud", "promote", json!({"revision": 2})).await;
    assert_eq!(
        (status, &done["decision"]),
        (200, &json!("shadow")),
        "{done}"
    );
    until_on_trial(running, "fraud", 2).await;
    let (status, done) = tell(
        running,
        "fraud",
        "promote",
        json!({"force": true, "actor": "ada"}),
    )
    .await;
    assert_eq!(
        (status, &done["decision"]),
        (200, &json!("promote")),
        "{done}"
    );
    assert_eq!(slot(running, "fraud").roles().unwrap().champion.id, 2);
    let decisions = decided(running, "fraud").await;
    let (name, record) = decisions.last().unwrap();
    assert_eq!(
        (name.as_str(), &record["actor"]),
        ("promote", &json!("ada"))
    );
    assert!(record["reasons"].to_string().contains("forced"), "{record}");
    let (status, _) = tell(running, "nothing", "promote", Value::Null).await;
    assert_eq!(status, 404);
    for path in ["GET /v1/slots/nothing", "GET /v1/slots/nothing/decisions"] {
        let (status, answer) = call(running.addresses.admin, path, &Value::Null).await;
        assert_eq!(status, 404, "{answer}");
    }
    let (_, all) = call(running.addresses.admin, "GET /v1/slots", &Value::Null).await;
    assert_eq!(all["slots"][0]["slot"], "fraud", "{all}");
    for (query, status, count) in [
        ("after=1&limit=1", 200, Some(1)),
        ("after=99", 200, Some(0)),
        ("limit=x", 400, None),
        ("page=1", 400, None),
    ] {
        let path = format!("GET /v1/slots/fraud/decisions?{query}");
        let (got, answer) = call(running.addresses.admin, &path, &Value::Null).await;
        let found = answer["decisions"].as_array().map(Vec::len);
        assert_eq!((got, found), (status, count), "{query}: {answer}");
    }
    site.running.stop().await.unwrap();
}

/// A slot whose challenger 2 was promoted by evidence.
async fn promoted(script: Script) -> Site {
    let site = site_of_x(|_| {}).await;
    enlist(&site.running, "x", script);
    until_on_trial(&site.running, "x", 2).await;
    evidence(&site.running, "x", "trial", opposite).await;
    until_champion(&site.running, "x", 2).await;
    site
}

#[tokio::test(flavor = "multi_thread")]
async fn a_champion_that_turns_bad_is_rolled_back_by_labels() {
    let site = promoted(Script::new(2, "two", opposite)).await;
    let running = &site.running;
    evidence(running, "x", "later", same).await;
    until_champion(running, "x", 1).await;
    let report = until_report(running, "x", |it| it["dismissed"][0]["revision"] == 2).await;
    assert_eq!(report["previous"]["revision"], 2);
    let decisions = decided(running, "x").await;
    let (name, record) = decisions.last().unwrap();
    assert_eq!(
        (name.as_str(), &record["actor"]),
        ("rollback", &json!("controller"))
    );
    assert!(
        record["reasons"].to_string().contains("provably better"),
        "{record}"
    );
    assert_eq!(record["evidence"]["findings"][0]["verdict"], "pass");
    let (_, _, metrics) = http(running.addresses.admin, "GET /metrics", "", b"").await;
    for line in [
        "hedgerow_rollout_leader{} 1",
        "hedgerow_journal_connected{} 1",
        r#"hedgerow_feedback_labels_total{status="joined"} 800"#,
        r#"hedgerow_decisions_total{slot="x",decision="rollback"} 1"#,
        r#"hedgerow_quality_outcomes{slot="x",revision="1",role="champion"} 800"#,
    ] {
        assert!(metrics.contains(line), "no {line} in\n{metrics}");
    }
    site.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_champion_that_breaks_is_rolled_back_without_labels() {
    let check = async |answer: fn(&[f64]) -> Option<f64>, status: u16, says: &str| {
        let site = promoted(Script::new(2, "two", answer)).await;
        let running = &site.running;
        for row in 0..20 {
            let body = infer_body(&[9.0], &row.to_string());
            let (got, answer) =
                call(running.addresses.http, "POST /v2/models/x/infer", &body).await;
            // Those after the rollback are answered by the old one.
            assert!(got == status || got == 200, "{got}: {answer}");
        }
        until_champion(running, "x", 1).await;
        let decisions = decided(running, "x").await;
        let (name, record) = decisions.last().unwrap();
        assert_eq!(name, "rollback");
        assert!(record["reasons"].to_string().contains(says), "{record}");
        site.running.stop().await.unwrap();
    };
    check(brittle_nan, 200, "invalid scores").await;
    check(brittle_failing, 500, "failed requests").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_challenger_takes_the_place_of_the_oldest() {
    let site = site_of_x(|_| {}).await;
    let running = &site.running;
    for (revision, digest) in [(2, "two"), (3, "three"), (4, "four")] {
        enlist(running, "x", Script::new(revision, digest, opposite));
        until_report(running, "x", |it| {
            let challengers = it["challengers"].as_array().map(Vec::as_slice);
            matches!(challengers, Some([.., last]) if last["revision"] == revision)
        })
        .await;
    }
    let report = report(running, "x");
    let on_trial: Vec<&Value> = (0..2)
        .map(|at| &report["challengers"][at]["revision"])
        .collect();
    assert_eq!(on_trial, [&json!(3), &json!(4)]);
    assert_eq!(report["dismissed"][0]["revision"], 2);
    let (status, refused) = tell(running, "x", "promote", Value::Null).await;
    assert_eq!(status, 409, "{refused}");
    assert!(
        refused["error"].as_str().unwrap().contains("name one"),
        "{refused}"
    );
    site.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_ends_when_it_is_lost_or_takes_too_long() {
    for (duration_max_ms, says) in [(0, "provably not better"), (1, "inconclusive after")] {
        let change = |config: &mut Config| {
            config.rollout.slot.policy.duration_max_ms = duration_max_ms;
        };
        let site = site_of_x(change).await;
        let running = &site.running;
        let challenger = Script::new(2, "two", opposite);
        enlist(running, "x", challenger);
        if duration_max_ms == 0 {
            until_on_trial(running, "x", 2).await;
            evidence(running, "x", "batch", same).await;
        }
        let ended = |it: &Value| it["dismissed"][0]["revision"] == 2;
        let report = until_report(running, "x", ended).await;
        let reason = report["dismissed"][0]["reason"].as_str().unwrap();
        assert!(reason.contains(says), "{reason}");
        let resident = || slot(running, "x").roles().unwrap().resident().count();
        until(|| resident() == 1).await;
        // Offered again, it leaves again, and nothing more is decided.
        enlist(running, "x", challenger);
        until(|| resident() == 1).await;
        let names = decision_names(running, "x").await;
        assert_eq!(names, ["begin", "shadow", "hold"]);
        site.running.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_are_served_over_grpc_where_that_is_allowed() {
    for allowed in [false, true] {
        let site = site_of_x(|config| {
            if allowed {
                config.api.model_control = ModelControl::All;
            }
        })
        .await;
        let running = &site.running;
        enlist(running, "x", Script::new(2, "two", opposite));
        until_on_trial(running, "x", 2).await;
        let address = format!("http://{}", running.addresses.grpc);
        let mut client = RolloutClient::connect(address).await.unwrap();
        let slot = || "x".to_string();
        let status = client.status(loop_pb::StatusRequest { slot: slot() }).await;
        if !allowed {
            assert_eq!(status.unwrap_err().code(), tonic::Code::PermissionDenied);
            let path = "GET /v1/slots/x";
            let (status, _) = call(running.addresses.http, path, &Value::Null).await;
            assert_eq!(status, 403);
            site.running.stop().await.unwrap();
            continue;
        }
        let told: Value = serde_json::from_str(&status.unwrap().into_inner().report).unwrap();
        assert_eq!(told["challengers"][0]["revision"], 2);
        let ask = |force| loop_pb::PromoteRequest {
            slot: slot(),
            revision: 2,
            force,
            actor: "ada".to_string(),
        };
        let refused = client.promote(ask(false)).await.unwrap_err();
        assert!(refused.message().contains("not ready"), "{refused}");
        let done = client.promote(ask(true)).await.unwrap().into_inner();
        assert_eq!(
            (done.decision.as_str(), done.from_revision, done.to_revision),
            ("promote", 1, 2)
        );
        let back = loop_pb::RollBackRequest {
            slot: slot(),
            reason: "a test".to_string(),
            ..Default::default()
        };
        let done = client.roll_back(back.clone()).await.unwrap().into_inner();
        assert_eq!(
            (done.decision.as_str(), done.from_revision, done.to_revision),
            ("rollback", 2, 1)
        );
        let refused = client.roll_back(back).await.unwrap_err();
        assert_eq!(refused.code() as i32, Code::Conflict.grpc());
        let all = loop_pb::DecisionsRequest {
            slot: slot(),
            after_seq: 2,
            limit: 0,
        };
        let decisions = client.decisions(all).await.unwrap().into_inner().decisions;
        assert_eq!(
            decisions.iter().map(|it| it.seq).collect::<Vec<_>>(),
            [3, 4]
        );
        assert!(decisions[1].body.contains("a test"));
        site.running.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_regression_is_decided_by_its_squared_error() {
    let site = site_of_x(|config| {
        config.rollout.slot.kind = Kind::Regression;
        config.rollout.slot.gates.clear();
    })
    .await;
    let running = &site.running;
    enlist(running, "x", Script::new(2, "two", opposite));
    until_on_trial(running, "x", 2).await;
    predict(running, "x", &rows(), "batch").await;
    until_written(running, ROWS as u64).await;
    let line = |(row, value): (usize, f64)| {
        let noise = (row % 7) as f64 / 100.0;
        json!({"slot": "x", "key": "batch", "row": row, "value": 1.0 - value + noise}).to_string()
    };
    let lines: Vec<String> = rows().into_iter().enumerate().map(line).collect();
    let answer = lines_in(running, &lines.join("\n")).await;
    assert_eq!(answer["counts"]["joined"], ROWS);
    until_champion(running, "x", 2).await;
    let decisions = decided(running, "x").await;
    let evidence = &decisions[2].1["evidence"];
    assert_eq!(evidence["findings"][0]["measure"], "squared_error");
    site.running.stop().await.unwrap();
}

fn score_of_two(row: &[f64]) -> Option<f64> {
    row.first().copied()
}

fn opposite_of_two(row: &[f64]) -> Option<f64> {
    row.first().map(|score| 1.0 - score)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_reported_by_the_horizon_did_not_happen_and_a_miss_costs_its_amount() {
    let site = site(|config| {
        let slot = &mut config.rollout.slot;
        slot.absence = Absence::Negative;
        slot.maturity = Maturity::Auto;
        slot.horizon_ms = 3_000;
        slot.amount_feature = "amount".to_string();
        slot.costs = Costs {
            false_positive: 1.0,
            false_negative: 0.0,
            amount_rate: 0.5,
            limit: 100.0,
        };
    })
    .await;
    let running = &site.running;
    let of_two = |id, digest, answer| Script {
        features: &["score", "amount"],
        ..Script::new(id, digest, answer)
    };
    add_scripted(running, "x", of_two(1, "one", score_of_two));
    until_champion(running, "x", 1).await;
    enlist(running, "x", of_two(2, "two", opposite_of_two));
    until_on_trial(running, "x", 2).await;
    // Every other payment is fraud and of 20, which the champion misses; of the others it flags all.
    let payments: Vec<Value> = rows().iter().map(|score| json!([score, 20])).collect();
    let body = json!({"instances": payments, "parameters": {"key": "batch"}});
    let path = "POST /v1/models/x:predict";
    let (status, answer) = call(running.addresses.http, path, &body).await;
    assert_eq!(status, 200, "{answer}");
    until_written(running, ROWS as u64).await;
    let line = |row| json!({"slot": "x", "key": "batch", "row": row, "value": true}).to_string();
    let frauds: Vec<String> = (0..ROWS).filter(|row| row % 2 == 1).map(line).collect();
    let answer = lines_in(running, &frauds.join("\n")).await;
    assert_eq!(answer["counts"]["joined"], ROWS / 2, "{}", answer["counts"]);
    until_champion(running, "x", 2).await;
    let decisions = decided(running, "x").await;
    let evidence = &decisions[2].1["evidence"];
    assert_eq!(evidence["labels"], ROWS);
    assert_eq!(evidence["positives"], ROWS / 2);
    // 1 for each false alarm, and half of 20 for each miss.
    assert_eq!(evidence["saving"]["total"], (ROWS / 2) as f64 * 11.0);
    site.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn rollbacks_at_the_same_time_go_back_once() {
    let site = site_of_x(|_| {}).await;
    let running = &site.running;
    enlist(running, "x", Script::new(2, "two", opposite));
    until_on_trial(running, "x", 2).await;
    let (status, done) = tell(running, "x", "promote", json!({"force": true})).await;
    assert_eq!(status, 200, "{done}");
    let ask = || tell(running, "x", "rollback", Value::Null);
    let (one, two, three) = tokio::join!(ask(), ask(), ask());
    let mut statuses = [one.0, two.0, three.0];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409, 409]);
    until_champion(running, "x", 1).await;
    assert_eq!(slot(running, "x").usage.swaps.load(Ordering::Relaxed), 3);
    site.running.stop().await.unwrap();
}

/// Fails on every row.
fn failing(_row: &[f64]) -> Option<f64> {
    None
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_that_fails_or_does_not_fit_is_answered_by_the_champion() {
    let other_names = Script {
        features: &["x", "y"],
        ..Script::new(2, "other", same)
    };
    for script in [Script::new(2, "failing", failing), other_names] {
        let site = site_of_x(|_config| {}).await;
        let running = &site.running;
        enlist(running, "x", script);
        until_on_trial(running, "x", 2).await;
        let slot = slot(running, "x");
        let uid = slot.roles().unwrap().challengers[0].revision.uid;
        // The controller puts the share back to what was decided at its next look.
        slot.set_share(uid, 1.0);
        let answer = predict(running, "x", &[0.25], "a").await;
        assert_eq!(answer["model_version"], "1", "{answer}");
        let seen = until_report(running, "x", |report| {
            let shadow = &report["challengers"][0]["shadow"];
            let count = |key: &str| shadow[key].as_u64().unwrap_or(0);
            count("errors") + count("misfits") > 0
        });
        seen.await;
    }
}
