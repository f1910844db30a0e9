use std::net::TcpListener;

use super::super::client::Failure;
use super::super::{Hooks, Target};
use super::{Reply, Request, alarm, says, settings_of, webhook, with_server};

/// One try against a server that always does the same.
fn try_once(
    reply: impl Fn(&[Request]) -> Reply + Sync,
    timeout_ms: u64,
) -> (Result<Option<String>, Failure>, Vec<Request>) {
    with_server(reply, |url| {
        let mut settings = settings_of(webhook(&format!("{url}/T0/secret"), Some("secret")));
        settings.timeout_ms = timeout_ms;
        let result = Hooks::new(settings).call(Target::Webhook, &alarm());
        if let Err(failure) = &result {
            assert!(!failure.reason.contains("secret"), "{failure:?}");
            assert!(!failure.reason.contains(char::is_control), "{failure:?}");
            assert!(failure.reason.chars().count() < 800);
        }
        result
    })
}

#[test]
fn the_alarm_is_posted_as_an_event() {
    let (result, requests) = try_once(|_| says(204, ""), 8_000);
    assert_eq!(result, Ok(None));
    let [request] = &requests[..] else {
        panic!("{requests:?}")
    };
    assert_eq!(request.line, "POST /T0/secret");
    for header in [
        "content-type: application/cloudevents+json",
        "authorization: Bearer secret",
        concat!("user-agent: hedgerow/", env!("CARGO_PKG_VERSION")),
    ] {
        assert!(request.has(header), "{header}: {}", request.head);
    }
    assert_eq!(request.json(), alarm().cloud_event());
}

#[test]
fn answers_are_worth_another_try_or_not() {
    for (status, permanent) in [
        (400, true),
        (401, true),
        (403, true),
        (404, true),
        (409, true),
        (422, true),
        (408, false),
        (425, false),
        (429, false),
        (500, false),
        (502, false),
        (503, false),
        (599, false),
    ] {
        let (result, _) = try_once(|_| says(status, "no\u{1b}[2J\r\nmore"), 8_000);
        let failure = result.unwrap_err();
        assert_eq!(failure.permanent, permanent, "{status}");
        // The page may repeat the address, which is a secret.
        let expected = format!("the webhook answered {status}");
        assert_eq!(failure.reason, expected);
    }
}

#[test]
fn a_page_that_repeats_the_request_is_not_told() {
    let echo = |requests: &[Request]| {
        let request = requests.last().unwrap();
        says(404, format!("no {}, {}", request.line, request.head))
    };
    let failure = try_once(echo, 8_000).0.unwrap_err();
    assert_eq!(failure.reason, "the webhook answered 404");
}

#[test]
fn a_redirect_is_not_followed() {
    for (status, to, told) in [
        (301, "location: /T0/secret/\r\n", ""),
        (302, "location: //other.example/T0/secret\r\n", ""),
        (303, "location: https://me:secret@other.example/\r\n", ""),
        (
            307,
            "location: https://other.example/T0/secret?key=secret\r\n",
            " (https://other.example)",
        ),
        (
            308,
            "location: https://other.example\r\n",
            " (https://other.example)",
        ),
    ] {
        let (result, requests) = try_once(|_| Reply::Says(status, to, String::new()), 8_000);
        let failure = result.unwrap_err();
        assert!(failure.permanent);
        assert_eq!(
            failure.reason,
            format!(
                "the webhook answered {status}{told}; redirects are not followed, set the \
                 address that answers"
            )
        );
        assert_eq!(requests.len(), 1);
    }
}

#[test]
fn of_a_body_without_an_end_only_the_start_is_read() {
    assert_eq!(try_once(|_| Reply::Endless(200), 8_000).0, Ok(None));
    let failure = try_once(|_| Reply::Endless(400), 8_000).0.unwrap_err();
    assert!(
        failure.permanent && failure.reason == "the webhook answered 400",
        "{failure:?}"
    );
}

#[test]
fn silence_and_noise_are_worth_another_try() {
    let failure = try_once(|_| Reply::Hangs, 50).0.unwrap_err();
    assert!(
        !failure.permanent && failure.reason.starts_with("no answer in time"),
        "{failure:?}"
    );
    let failure = try_once(|_| Reply::Garbage, 8_000).0.unwrap_err();
    assert!(
        !failure.permanent && failure.reason.starts_with("not reached"),
        "{failure:?}"
    );
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let hooks = Hooks::new(settings_of(webhook(&format!("http://{free}/secret"), None)));
    let failure = hooks.call(Target::Webhook, &alarm()).unwrap_err();
    assert!(
        !failure.permanent && failure.reason.contains("refused"),
        "{failure:?}"
    );
    assert!(!failure.reason.contains("secret"));
}

#[test]
fn a_target_that_is_not_set_is_not_called() {
    let hooks = Hooks::new(settings_of(webhook("http://127.0.0.1:1", None)));
    assert_eq!(hooks.targets(), [Target::Webhook]);
    assert!(hooks.call(Target::Prefect, &alarm()).unwrap_err().permanent);
}
