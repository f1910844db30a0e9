use serde_json::{Value, json};

use super::super::airflow::{Airflow, Version, parse_dag, parse_url, run_id};
use super::super::{Hooks, Secret, Settings, Target};
use super::{Reply, Request, alarm, other_alarm, says, with_server};

fn hooks(url: &str, version: Version) -> Hooks {
    Hooks::new(Settings {
        airflow: Some(Airflow {
            url: parse_url(url).unwrap(),
            dag: parse_dag("re-train.é").unwrap(),
            version,
            user: "admin".to_string(),
            password: Secret::parse("secret").unwrap(),
        }),
        ..Settings::default()
    })
}

fn lines(requests: &[Request]) -> Vec<&str> {
    requests
        .iter()
        .map(|request| request.line.as_str())
        .collect()
}

/// Airflow 3 whose first token is no longer good for the second run.
fn three(requests: &[Request]) -> Reply {
    let request = requests.last().unwrap();
    let logins = requests
        .iter()
        .filter(|r| r.line == "POST /auth/token")
        .count();
    match request.line.as_str() {
        "GET /api/v2/version" => says(200, r#"{"version":"3.3.2","git_version":null}"#),
        "POST /auth/token" => says(201, json!({"access_token": format!("token{logins}")})),
        "POST /api/v2/dags/re-train.%C3%A9/dagRuns" => {
            let is_second = request.json()["dag_run_id"] == run_id(&other_alarm(2));
            match is_second && request.has("authorization: Bearer token1") {
                true => says(401, r#"{"detail":"Invalid JWT token"}"#),
                false => says(200, json!({"dag_run_id": request.json()["dag_run_id"]})),
            }
        }
        _ => says(404, "{}"),
    }
}

#[test]
fn version_3_is_found_and_a_token_serves_until_it_is_refused() {
    let ((), requests) = with_server(three, |url| {
        let hooks = hooks(url, Version::Auto);
        for number in 1..=3 {
            let run = hooks.call(Target::Airflow, &other_alarm(number)).unwrap();
            assert_eq!(run, Some(run_id(&other_alarm(number))));
        }
        assert!(!format!("{hooks:?}").contains("token2"));
    });
    let trigger = "POST /api/v2/dags/re-train.%C3%A9/dagRuns";
    assert_eq!(
        lines(&requests),
        [
            "GET /api/v2/version",
            "POST /auth/token",
            trigger,
            trigger,
            "POST /auth/token",
            trigger,
            trigger
        ]
    );
    assert_eq!(
        requests[1].json(),
        json!({"username": "admin", "password": "secret"})
    );
    let sent = requests[2].json();
    assert_eq!(sent["dag_run_id"], format!("{}__other-1", "hedgerow"));
    assert_eq!(sent["logical_date"], Value::Null);
    assert!(sent.as_object().unwrap().contains_key("logical_date"));
    let conf = serde_json::to_value(other_alarm(1)).unwrap();
    assert_eq!(sent["conf"], conf);
    assert!(requests[6].has("authorization: Bearer token2"));
}

#[test]
fn a_run_that_is_there_is_a_delivery() {
    let reply = |requests: &[Request]| match requests.last().unwrap().line.as_str() {
        "POST /auth/token" => three(requests),
        _ => says(
            409,
            r#"{"detail":{"reason":"Unique constraint violation"}}"#,
        ),
    };
    for version in [Version::Two, Version::Three] {
        let (result, _) = with_server(reply, |url| {
            hooks(url, version).call(Target::Airflow, &alarm())
        });
        assert_eq!(result, Ok(Some(run_id(&alarm()))));
    }
}

#[test]
fn version_2_is_found_and_remembered() {
    let two = |requests: &[Request]| match requests.last().unwrap().line.as_str() {
        "GET /api/v1/version" => says(200, r#"{"version":"2.10.5"}"#),
        "POST /api/v1/dags/re-train.%C3%A9/dagRuns" => says(200, r#"{"dag_run_id":"x"}"#),
        _ => says(404, "<html>"),
    };
    let ((), requests) = with_server(two, |url| {
        let hooks = hooks(url, Version::Auto);
        for number in 1..=2 {
            hooks.call(Target::Airflow, &other_alarm(number)).unwrap();
        }
    });
    let trigger = "POST /api/v1/dags/re-train.%C3%A9/dagRuns";
    assert_eq!(
        lines(&requests),
        [
            "GET /api/v2/version",
            "GET /api/v1/version",
            trigger,
            trigger
        ]
    );
    assert!(requests[3].has("authorization: Basic YWRtaW46c2VjcmV0"));
    assert!(!requests[3].body.contains("logical_date"));
}

#[test]
fn a_server_that_was_upgraded_is_looked_at_again() {
    // Version 2 at first; after the first run there is version 3.
    let reply = |requests: &[Request]| {
        let is_upgraded = requests.iter().any(|r| r.line.starts_with("POST /api/v1"));
        match requests.last().unwrap().line.as_str() {
            "GET /api/v1/version" => says(200, r#"{"version":"2.10.5"}"#),
            _ if is_upgraded && requests.len() > 3 => three(requests),
            "POST /api/v1/dags/re-train.%C3%A9/dagRuns" => says(200, r#"{"dag_run_id":"x"}"#),
            _ => says(404, ""),
        }
    };
    let ((), _) = with_server(reply, |url| {
        let hooks = hooks(url, Version::Auto);
        assert!(hooks.call(Target::Airflow, &other_alarm(1)).is_ok());
        // The first alarm after it is not lost.
        let run = hooks.call(Target::Airflow, &other_alarm(3)).unwrap();
        assert_eq!(run, Some(run_id(&other_alarm(3))));
    });
}

#[test]
fn a_dag_that_is_missing_is_looked_for_once_more() {
    // It is there for the first run only.
    let reply = |requests: &[Request]| {
        let runs = requests.iter().filter(|r| r.line.ends_with("/dagRuns"));
        match requests.last().unwrap().line.ends_with("/dagRuns") && runs.count() > 1 {
            true => says(404, r#"{"detail":"no DAG"}"#),
            false => three(requests),
        }
    };
    let ((), requests) = with_server(reply, |url| {
        let hooks = hooks(url, Version::Auto);
        hooks.call(Target::Airflow, &other_alarm(1)).unwrap();
        let failure = hooks.call(Target::Airflow, &other_alarm(3)).unwrap_err();
        assert!(failure.permanent);
        assert_eq!(failure.reason, "Airflow answered 404: no DAG");
    });
    let runs = requests.iter().filter(|r| r.line.ends_with("/dagRuns"));
    assert_eq!(runs.count(), 3);
}

#[test]
fn a_refused_password_is_told_without_it() {
    let reply = |_: &[Request]| says(401, r#"{"detail":[{"input":{"password":"secret"}}]}"#);
    let (result, _) = with_server(reply, |url| {
        hooks(url, Version::Three).call(Target::Airflow, &alarm())
    });
    let failure = result.unwrap_err();
    assert!(failure.permanent);
    assert_eq!(failure.reason, "Airflow's /auth/token answered 401");
}

#[test]
fn refusals_are_told_in_airflows_words_and_misfits_are_tried_again() {
    for (status, body, permanent, reason) in [
        (
            404,
            r#"{"detail":"Dag with dag_id: 'x' not found"}"#,
            true,
            "Airflow answered 404: Dag with dag_id: 'x' not found",
        ),
        (503, "", false, "Airflow answered 503"),
        (
            200,
            "<html>log in</html>",
            false,
            "Airflow answered 200 without a DAG run",
        ),
        (
            200,
            r#"{"dag_run"#,
            false,
            "Airflow answered 200 without a DAG run",
        ),
        (200, "[]", false, "Airflow answered 200 without a DAG run"),
    ] {
        let (result, _) = with_server(
            |_: &[Request]| says(status, body),
            |url| hooks(url, Version::Two).call(Target::Airflow, &alarm()),
        );
        let failure = result.unwrap_err();
        assert_eq!(
            (failure.permanent, failure.reason.as_str()),
            (permanent, reason)
        );
    }
}

#[test]
fn what_is_no_airflow_is_told() {
    for (status, permanent) in [(404, true), (200, true), (302, true), (503, false)] {
        let (result, _) = with_server(
            |_: &[Request]| says(status, "{}"),
            |url| hooks(url, Version::Auto).call(Target::Airflow, &alarm()),
        );
        let failure = result.unwrap_err();
        assert_eq!(failure.permanent, permanent, "{failure:?}");
        assert!(
            failure.reason.contains("/api/v2/version answered"),
            "{failure:?}"
        );
    }
}

#[test]
fn settings_are_checked() {
    assert_eq!(Version::parse("auto"), Ok(Version::Auto));
    assert_eq!(Version::parse("3"), Ok(Version::Three));
    assert!(Version::parse("1").is_err());
    for dag in ["", "a/b", "a b", "a\n", &"x".repeat(251)] {
        assert!(parse_dag(dag).is_err(), "{dag}");
    }
    for url in ["http://a/api/v2", "http://a/x/api/v1/", "http://a?x", "a"] {
        assert!(parse_url(url).is_err(), "{url}");
    }
}
