use std::net::TcpListener;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use super::super::courier::ALARMS_MAX;
use super::super::prefect::{self, Deployment};
use super::super::{Alarm, Courier, Hooks, Outcome, Prefect, Settings, Target};
use super::{Reply, Request, alarm, eager, other_alarm, says, settings_of, webhook, with_server};
use crate::task::Supervisor;

type Reports = Receiver<(Alarm, Vec<Outcome>)>;

fn courier(supervisor: &Supervisor) -> (Courier, Reports) {
    let (sender, reports) = channel();
    let report = move |alarm: &Alarm, outcomes: &[Outcome]| {
        sender.send((alarm.clone(), outcomes.to_vec())).unwrap();
    };
    (Courier::start(supervisor, report).unwrap(), reports)
}

#[test]
fn a_target_that_was_busy_gets_the_same_alarm() {
    let reply = |requests: &[Request]| match requests.len() {
        1 => says(500, ""),
        2 => Reply::Garbage,
        3 => Reply::Says(503, "retry-after: 3600\r\n", String::new()),
        _ => says(200, ""),
    };
    let ((), requests) = with_server(reply, |url| {
        let supervisor = Supervisor::default();
        let (courier, reports) = courier(&supervisor);
        let hooks = Arc::new(Hooks::new(eager(settings_of(webhook(url, None)))));
        assert!(courier.send(&hooks, alarm(), &[]));
        let expected = Outcome::Delivered {
            target: Target::Webhook,
            run: None,
            attempts: 4,
        };
        assert_eq!(reports.recv().unwrap(), (alarm(), vec![expected]));
        let [count, airflow, _] = courier.counts();
        assert_eq!((count.attempts, count.delivered, count.failed), (4, 1, 0));
        assert_eq!((airflow.target, airflow.attempts), (Target::Airflow, 0));
        supervisor.stop();
    });
    assert!(
        requests
            .iter()
            .all(|request| request.body == requests[0].body)
    );
}

#[test]
fn a_target_that_stays_away_is_given_up_and_holds_up_no_other() {
    let reply = |requests: &[Request]| match requests.last().unwrap().line.as_str() {
        "GET /api/deployments/name/retrain/prod" => says(200, r#"{"id":"d"}"#),
        _ => says(201, r#"{"id":"run-1"}"#),
    };
    let ((), requests) = with_server(reply, |url| {
        let supervisor = Supervisor::default();
        let (courier, reports) = courier(&supervisor);
        let free = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let hooks = Arc::new(Hooks::new(eager(Settings {
            prefect: Some(Prefect {
                url: prefect::parse_url(url).unwrap(),
                deployment: Deployment::parse("retrain/prod").unwrap(),
                auth: None,
            }),
            // Given up with the first failure.
            deadline_ms: 0,
            ..settings_of(webhook(&format!("http://{free}"), None))
        })));
        courier.send(&hooks, alarm(), &[]);
        let (_, outcomes) = reports.recv().unwrap();
        let [
            Outcome::Failed {
                target: Target::Webhook,
                reason,
                attempts: 1,
                permanent: false,
            },
            Outcome::Delivered {
                target: Target::Prefect,
                attempts: 1,
                ..
            },
        ] = &outcomes[..]
        else {
            panic!("{outcomes:?}")
        };
        assert!(reason.starts_with("given up: not reached"), "{reason}");
        // What is done is not done again.
        courier.send(&hooks, other_alarm(1), &[Target::Webhook, Target::Prefect]);
        assert_eq!(reports.recv().unwrap(), (other_alarm(1), Vec::new()));
        supervisor.stop();
    });
    assert_eq!(requests.len(), 2);
}

#[test]
fn a_new_alarm_goes_before_what_is_tried_again() {
    // The first alarm never gets through; all others do.
    let reply = |requests: &[Request]| match requests.last().unwrap().json()["id"] == alarm().id {
        true => says(503, ""),
        false => says(200, ""),
    };
    let ((), _) = with_server(reply, |url| {
        let supervisor = Supervisor::default();
        let (courier, reports) = courier(&supervisor);
        let hooks = Arc::new(Hooks::new(eager(settings_of(webhook(url, None)))));
        courier.send(&hooks, alarm(), &[]);
        for number in 0..20 {
            courier.send(&hooks, other_alarm(number), &[]);
            let (reported, outcomes) = reports.recv().unwrap();
            assert_eq!(reported, other_alarm(number));
            assert!(outcomes.iter().all(Outcome::is_delivered));
        }
        supervisor.stop();
        let (reported, outcomes) = reports.recv().unwrap();
        assert_eq!(reported, alarm());
        let [Outcome::Failed { reason, .. }] = &outcomes[..] else {
            panic!("{outcomes:?}")
        };
        assert!(reason.starts_with("the server stopped"), "{reason}");
    });
}

#[test]
fn more_alarms_than_the_limit_are_refused_and_counted() {
    let ((), _) = with_server(
        |_: &[Request]| Reply::Hangs,
        |url| {
            let supervisor = Supervisor::default();
            let (courier, reports) = courier(&supervisor);
            let mut settings = settings_of(webhook(url, None));
            settings.timeout_ms = 100;
            let hooks = Arc::new(Hooks::new(settings));
            for number in 0..ALARMS_MAX {
                assert!(courier.send(&hooks, other_alarm(number), &[]));
            }
            assert!(!courier.send(&hooks, alarm(), &[]));
            assert_eq!((courier.underway(), courier.refused()), (ALARMS_MAX, 1));
            supervisor.stop();
            // Every alarm that was taken is reported, and then the thread is gone.
            assert_eq!(reports.iter().count(), ALARMS_MAX);
            assert_eq!(courier.underway(), 0);
            assert!(!courier.send(&hooks, alarm(), &[]));
            assert_eq!(courier.refused(), 2);
        },
    );
}

#[test]
fn without_a_courier_the_thread_ends_after_its_alarms() {
    let ((), _) = with_server(
        |requests: &[Request]| says(if requests.len() == 1 { 500 } else { 200 }, ""),
        |url| {
            let (courier, reports) = courier(&Supervisor::default());
            let hooks = Arc::new(Hooks::new(eager(settings_of(webhook(url, None)))));
            courier.send(&hooks, alarm(), &[]);
            drop(courier);
            assert_eq!(reports.iter().count(), 1);
        },
    );
}
