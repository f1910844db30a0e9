use serde_json::{Value, json};

use super::super::prefect::{Deployment, Prefect, parse_url};
use super::super::{Hooks, Secret, Settings, Target};
use super::{Reply, Request, alarm, says, with_server};

fn hooks(url: &str, auth: &str) -> Hooks {
    Hooks::new(Settings {
        prefect: Some(Prefect {
            url: parse_url(url).unwrap(),
            deployment: Deployment::parse("re train/prod?").unwrap(),
            auth: Some(Secret::parse(auth).unwrap()),
        }),
        ..Settings::default()
    })
}

/// Prefect with a deployment that declares these parameters.
fn declares(parameters: Value) -> impl Fn(&[Request]) -> Reply {
    move |requests| match requests.last().unwrap().line.as_str() {
        "GET /api/deployments/name/re%20train/prod%3F" => {
            let schema = json!({"properties": parameters, "required": []});
            says(
                200,
                json!({"id": "e9-9", "parameter_openapi_schema": schema}),
            )
        }
        "POST /api/deployments/e9-9/create_flow_run" => says(201, r#"{"id":"run-1"}"#),
        _ => says(404, ""),
    }
}

#[test]
fn a_flow_run_is_created_once_per_alarm() {
    let (result, requests) = with_server(declares(json!({})), |url| {
        hooks(url, "admin:secret").call(Target::Prefect, &alarm())
    });
    assert_eq!(result, Ok(Some("run-1".to_string())));
    assert_eq!(requests.len(), 2);
    for request in &requests {
        assert!(
            request.has("authorization: Basic YWRtaW46c2VjcmV0"),
            "{request:?}"
        );
    }
    assert_eq!(
        requests[1].json(),
        json!({"parameters": {}, "idempotency_key": alarm().id, "tags": ["hedgerow", "drift"]})
    );
}

#[test]
fn a_flow_gets_what_it_declares() {
    let sent = |declared: Value| {
        let (_, requests) = with_server(declares(declared), |url| {
            hooks(url, "pnu_key").call(Target::Prefect, &alarm())
        });
        assert!(requests[1].has("authorization: Bearer pnu_key"));
        requests[1].json()["parameters"].clone()
    };
    let all =
        json!({"slot": {}, "revision": {}, "features": {}, "reason": {}, "alarm": {}, "x": {}});
    assert_eq!(
        sent(all),
        json!({
            "slot": "fraud",
            "revision": 3,
            "features": ["amount", "country"],
            "reason": alarm().sentence(),
            "alarm": alarm(),
        })
    );
    assert_eq!(
        sent(json!({"slot": {"type": "string"}})),
        json!({"slot": "fraud"})
    );
    for none in [json!({"x": {}}), json!([]), json!("slot"), Value::Null] {
        assert_eq!(sent(none), json!({}));
    }
}

#[test]
fn refusals_are_told_in_prefects_words() {
    let refuses = |status: u16, body: &'static str, at: &'static str| {
        let reply = move |requests: &[Request]| {
            let is_here = requests.last().unwrap().line.starts_with(at);
            match is_here {
                true => says(status, body),
                false => declares(json!({}))(requests),
            }
        };
        let (result, _) = with_server(reply, |url| {
            hooks(url, "admin:secret").call(Target::Prefect, &alarm())
        });
        let failure = result.unwrap_err();
        (failure.permanent, failure.reason)
    };
    let said = |permanent, reason: &str| (permanent, reason.to_string());
    assert_eq!(
        refuses(404, r#"{"detail":"Deployment not found"}"#, "GET"),
        said(true, "Prefect answered 404: Deployment not found")
    );
    assert_eq!(
        refuses(401, r#"{"exception_message":"Unauthorized"}"#, "GET"),
        said(
            true,
            r#"Prefect answered 401: {"exception_message":"Unauthorized"}"#
        )
    );
    assert_eq!(
        refuses(
            409,
            r#"{"detail":"'reason' is a required property"}"#,
            "POST"
        ),
        said(
            true,
            "Prefect answered 409: 'reason' is a required property"
        )
    );
    assert_eq!(
        refuses(500, "", "POST"),
        said(false, "Prefect answered 500")
    );
    assert_eq!(
        refuses(200, "<html>", "GET"),
        said(false, "Prefect answered 200 without a deployment")
    );
    assert_eq!(
        refuses(201, "{", "POST"),
        said(false, "Prefect answered 201 without a flow run")
    );
}

#[test]
fn settings_are_checked() {
    assert_eq!(parse_url("http://a:4200/").unwrap().path(), "/api");
    assert_eq!(parse_url("https://a/x/api/").unwrap().path(), "/x/api");
    for name in ["", "flow", "/prod", "flow/", "a/b/c", "a/b\n"] {
        assert!(Deployment::parse(name).is_err(), "{name}");
    }
}
