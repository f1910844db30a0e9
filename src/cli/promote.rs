//! `hedgerow promote`: a person lets a challenger go on. The server judges and does it; here is only
//! the question and what was done.

use std::process::ExitCode;

use serde_json::{Map, Value};

use super::client::{self, Connection};
use super::report::{Done, Name};
use crate::config;

/// Let a challenger take its next step.
///
/// The step is taken when the evidence allows it; otherwise the server says what is missing, and the
/// exit code is 1. With --force it becomes the champion at once, whatever the evidence. The decision
/// is recorded with the name of who asked.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hedgerow promote fraud                   the only challenger, to its next stage
  hedgerow promote fraud --revision 4
  hedgerow promote fraud --revision 4 --force --actor \"anna, incident 17\"")]
pub struct Arguments {
    /// The slot.
    slot: String,
    /// The revision; needed where several are on trial.
    #[arg(long, value_name = "N")]
    revision: Option<u64>,
    /// Make it the champion whatever the evidence.
    #[arg(long)]
    force: bool,
    /// Who asks, for the record [default: the login name].
    #[arg(long, value_name = "NAME")]
    actor: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

/// Asks the server, and says what it did.
pub fn run(arguments: &Arguments) -> ExitCode {
    let mut body = body(arguments.revision, arguments.actor.as_deref());
    if arguments.force {
        body.insert("force".to_string(), true.into());
    }
    finish(&arguments.connection, &arguments.slot, "/promote", body)
}

/// A question's body: the revision, if one is named, and who asks.
pub fn body(revision: Option<u64>, actor: Option<&str>) -> Map<String, Value> {
    let mut body = Map::new();
    if let Some(revision) = revision {
        body.insert("revision".to_string(), revision.into());
    }
    let actor = actor.map_or_else(config::user_name, str::to_string);
    body.insert("actor".to_string(), actor.into());
    body
}

/// Asks for a change of a slot's roles, and prints what was done or why it was not.
pub fn finish(
    connection: &Connection,
    slot: &str,
    what: &str,
    body: Map<String, Value>,
) -> ExitCode {
    let path = client::slot_path(slot, what);
    let answer = connection
        .client()
        .and_then(|client| client.post(&path, &Value::Object(body)))
        .and_then(|answer| client::parse(&answer, "what was done"));
    match answer {
        Ok(done) => super::print(&format!("{}\n", told(slot, &done))),
        Err(reason) => super::complain(&reason),
    }
}

/// What was done, in a sentence.
fn told(slot: &str, done: &Done) -> String {
    let name = |name: &Option<Name>| match name {
        None => "none".to_string(),
        Some(Name { revision, mark }) if mark.is_empty() => format!("revision {revision}"),
        Some(Name { revision, mark }) => format!("revision {revision} ({mark})"),
    };
    let (from, to) = (name(&done.from), name(&done.to));
    let took = match done.took_us {
        0 => String::new(),
        us => format!("; the change took {us} µs"),
    };
    match (done.decision.as_str(), &done.stage) {
        ("promote", _) => format!("{slot}: {to} is the champion, in place of {from}{took}"),
        ("advance", Some(stage)) => {
            format!("{slot}: {to} is at {stage} now; {from} stays champion{took}")
        }
        ("shadow", _) => format!("{slot}: {to} is on trial now; {from} stays champion"),
        ("hold", _) => format!("{slot}: the trial of {to} has ended; {from} stays champion"),
        ("rollback", _) => {
            format!("{slot}: rolled back; {to} is the champion again, in place of {from}{took}")
        }
        (other, _) => format!("{slot}: {other}, from {from} to {to}{took}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::client::tests::with_server;
    use super::*;

    fn done(decision: &str, stage: Option<&str>) -> Done {
        let name = |revision| {
            Some(Name {
                revision,
                mark: format!("mark{revision}"),
            })
        };
        Done {
            decision: decision.to_string(),
            from: name(3),
            to: name(4),
            stage: stage.map(str::to_string),
            took_us: 7,
        }
    }

    #[test]
    fn what_was_done_is_told_in_a_sentence() {
        let check = |decision: &str, stage: Option<&str>, expected: &str| {
            assert_eq!(told("fraud", &done(decision, stage)), expected);
        };
        check(
            "promote",
            None,
            "fraud: revision 4 (mark4) is the champion, in place of revision 3 (mark3); \
             the change took 7 µs",
        );
        check(
            "advance",
            Some("5%"),
            "fraud: revision 4 (mark4) is at 5% now; revision 3 (mark3) stays champion; \
             the change took 7 µs",
        );
        check(
            "hold",
            None,
            "fraud: the trial of revision 4 (mark4) has ended; revision 3 (mark3) stays champion",
        );
        check(
            "shadow",
            Some("shadow"),
            "fraud: revision 4 (mark4) is on trial now; revision 3 (mark3) stays champion",
        );
        let nothing = told("fraud", &Done::default());
        assert_eq!(nothing, "fraud: , from none to none");
    }

    #[test]
    fn the_question_names_who_asks() {
        let answer = r#"{"decision":"promote","from":null,"to":{"revision":4,"mark":"m"},
            "stage":null,"took_us":0}"#;
        let (code, requests) = with_server(&[(200, answer)], |connection| {
            let arguments = Arguments {
                slot: "fraud".to_string(),
                revision: Some(4),
                force: true,
                actor: Some("anna".to_string()),
                connection: connection.clone(),
            };
            run(&arguments)
        });
        assert_eq!(code, ExitCode::SUCCESS);
        assert!(
            requests[0].starts_with("POST /v1/slots/fraud/promote "),
            "{requests:?}"
        );
        let (_, sent) = requests[0].split_once("\r\n\r\n").unwrap();
        let sent: Value = serde_json::from_str(sent).unwrap();
        assert_eq!(
            sent,
            serde_json::json!({"revision": 4, "force": true, "actor": "anna"})
        );
        assert!(!body(None, None)["actor"].as_str().unwrap().is_empty());
    }

    #[test]
    fn a_refusal_is_exit_code_1() {
        let (code, _) = with_server(&[(409, r#"{"error":"not ready"}"#)], |connection| {
            finish(connection, "fraud", "/promote", body(None, Some("anna")))
        });
        assert_eq!(code, ExitCode::FAILURE);
    }
}
