//! What operators and callers are refused, over both protocols.

use axum::http::Request;
use hedgerow::api::grpc::loop_pb;
use hedgerow::error::Code;
use loop_pb::feedback_client::FeedbackClient;
use loop_pb::rollout_client::RolloutClient;
use tonic::codec::CompressionEncoding::Gzip;
use tonic::transport::Channel;
use tower::ServiceExt;

use super::*;
use crate::support::copy;

async fn channel(running: &Running) -> Channel {
    let address = format!("http://{}", running.addresses.grpc);
    Channel::from_shared(address)
        .unwrap()
        .connect()
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn where_new_revisions_answer_at_once_nobody_promotes() {
    let site = site(|config| {
        config.serve.slot.watch.arrival = Arrival::Replace;
        config.serve.slot.watch.record = true;
        config.api.model_control = ModelControl::All;
    })
    .await;
    let running = &site.running;
    let model = "models/dermatology-xgb/1";
    copy(model, &site.models.path().join("skin/1"));
    until_champion(running, "skin", 1).await;
    copy(model, &site.models.path().join("skin/2"));
    until_champion(running, "skin", 2).await;
    for force in [false, true] {
        let body = json!({"revision": 1, "force": force});
        let (status, answer) = tell(running, "skin", "promote", body).await;
        assert_eq!(status, 409, "{answer}");
        let error = answer["error"].as_str().unwrap();
        assert!(error.contains("the folder decides"), "{error}");
        let request = loop_pb::PromoteRequest {
            slot: "skin".to_string(),
            revision: 1,
            force,
            actor: String::new(),
        };
        let mut client = RolloutClient::new(channel(running).await);
        let refused = client.promote(request).await.unwrap_err();
        assert_eq!(refused.code() as i32, Code::Conflict.grpc());
    }
    let roles = slot(running, "skin").roles().unwrap();
    assert_eq!((roles.champion.id, roles.challengers.len()), (2, 0));
    site.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_is_not_the_controller_and_a_slot_exists() {
    let site = site_of_x(|config| config.api.model_control = ModelControl::All).await;
    let running = &site.running;
    let mut client = RolloutClient::new(channel(running).await)
        .send_compressed(Gzip)
        .accept_compressed(Gzip);
    for word in ["promote", "rollback"] {
        let body = json!({"actor": "Controller"});
        let (status, answer) = tell(running, "x", word, body).await;
        assert_eq!(status, 400, "{answer}");
        let body = json!({"reason": 4111, "actor": "anna"});
        let (status, answer) = tell(running, "x", word, body).await;
        assert_eq!(status, 400, "{answer}");
        assert!(!answer.to_string().contains("4111"), "{answer}");
    }
    let request = loop_pb::RollBackRequest {
        slot: "x".to_string(),
        actor: "controller".to_string(),
        ..loop_pb::RollBackRequest::default()
    };
    let refused = client.roll_back(request).await.unwrap_err();
    assert_eq!(refused.code() as i32, Code::InvalidArgument.grpc());
    let of = |slot: &str| loop_pb::DecisionsRequest {
        slot: slot.to_string(),
        ..loop_pb::DecisionsRequest::default()
    };
    let refused = client.decisions(of("nothing")).await.unwrap_err();
    assert_eq!(refused.code() as i32, Code::NotFound.grpc());
    client.decisions(of("x")).await.unwrap();
    site.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_public_address_says_where_trials_are_and_not_what_the_store_says() {
    let site = site_of_x(|_| {}).await;
    let running = &site.running;
    let (status, answer) = call(running.addresses.http, "GET /v1/slots", &Value::Null).await;
    assert_eq!(status, 403);
    let expected = "trials are looked at and moved on the admin address";
    assert!(answer["error"].as_str().unwrap().starts_with(expected));
    let mut client = RolloutClient::new(channel(running).await);
    let request = loop_pb::StatusRequest {
        slot: "x".to_string(),
    };
    let refused = client.status(request).await.unwrap_err();
    assert!(refused.message().starts_with(expected), "{refused}");
    site.running.stop().await.unwrap();

    let site = super::site(|config| {
        config.journal.store = "postgres://anna:secret@127.0.0.1:1/hedgerow".to_string();
    })
    .await;
    let running = &site.running;
    let rollout = running.shared.rollout.clone().unwrap();
    until(|| rollout.journal().error.is_some()).await;
    let addresses = &running.addresses;
    for (address, is_told) in [(addresses.http, false), (addresses.admin, true)] {
        let (_, answer) = call(address, "GET /health", &Value::Null).await;
        assert_eq!(answer["journal"]["error"].is_string(), is_told, "{answer}");
        assert_eq!(answer["degraded"], true);
    }
    site.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_come_over_grpc_plain_or_packed_and_in_no_other_way() {
    let site = site_of_x(|_| {}).await;
    let running = &site.running;
    let label = |row| loop_pb::Outcome {
        slot: "x".to_string(),
        target: Some(loop_pb::outcome::Target::Key("k".to_string())),
        row,
        value: Some(loop_pb::outcome::Value::IsPositive(true)),
        ..loop_pb::Outcome::default()
    };
    // Small and large ones, and those that are large when they are unpacked.
    for rows in [1, 150, 5_000] {
        let labels: Vec<loop_pb::Outcome> = (0..rows).map(label).collect();
        let plain = FeedbackClient::new(channel(running).await);
        for mut client in [plain.clone(), plain.send_compressed(Gzip)] {
            let labels = labels.clone();
            let answer = client
                .label(loop_pb::LabelRequest { labels })
                .await
                .unwrap();
            let results = answer.into_inner().results;
            assert_eq!(results.len(), rows as usize);
            assert!(results.iter().all(|it| it.error.is_empty()));
        }
    }
    for (method, content_type, encoding, code) in [
        (
            "POST",
            "application/grpc",
            "identity",
            Code::InvalidArgument,
        ),
        (
            "POST",
            "application/grpc+json",
            "identity",
            Code::Unsupported,
        ),
        (
            "POST",
            "application/json",
            "identity",
            Code::UnsupportedMedia,
        ),
        ("POST", "application/grpc", "deflate", Code::Unsupported),
        (
            "GET",
            "application/grpc",
            "identity",
            Code::MethodNotAllowed,
        ),
    ] {
        let request = Request::builder()
            .method(method)
            .uri(format!(
                "http://{}/hedgerow.v1.Feedback/Label",
                running.addresses.grpc
            ))
            .header("content-type", content_type)
            .header("grpc-encoding", encoding)
            .body(tonic::body::Body::empty())
            .unwrap();
        let answer = channel(running).await.oneshot(request).await.unwrap();
        let status = answer.headers()["grpc-status"].to_str().unwrap();
        assert_eq!(status, code.grpc().to_string(), "{method} {content_type}");
    }
    site.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_that_take_too_long_are_given_up_and_their_room_is_given_back() {
    let site = site_of_x(|config| config.api.request_timeout_ms = 1).await;
    let running = &site.running;
    let line = "{\"slot\":\"x\",\"key\":\"k\",\"value\":1}\n";
    let (status, _, text) = http(
        running.addresses.http,
        "POST /v1/feedback",
        "",
        line.repeat(50_000).as_bytes(),
    )
    .await;
    assert_eq!(status, 504, "{text}");
    until(|| running.shared.bodies.used() == 0).await;
    site.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_says_whether_anything_costs() {
    for (price, is_configured) in [(1.0, true), (0.0, false)] {
        let site = site_of_x(|config| {
            config.rollout.slot.costs.false_positive = price;
            config.rollout.slot.costs.false_negative = 0.0;
        })
        .await;
        let admin = site.running.addresses.admin;
        let (_, answer) = call(admin, "GET /v1/slots/x", &Value::Null).await;
        assert_eq!(answer["costs_configured"], is_configured);
        assert_eq!(answer["champion"]["revision"], 1);
        let (_, answer) = call(admin, "GET /v1/slots", &Value::Null).await;
        assert_eq!(answer["slots"][0]["costs_configured"], is_configured);
        site.running.stop().await.unwrap();
    }
}
