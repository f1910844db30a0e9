//! `hedgerow rollback`: a person goes back to the previous champion, or ends a challenger's trial.
//! The server does it; here is only the question.

use std::process::ExitCode;

use super::client::Connection;
use super::promote::{body, finish};

/// Go back to the previous champion, at once.
///
/// The previous champion is still loaded, so nothing is read from disk. With the revision of a
/// challenger, its trial ends and the champion stays. The decision is recorded with the name of who
/// asked and the reason.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hedgerow rollback fraud --reason \"declines too many customers\"
  hedgerow rollback fraud --revision 5     revision 5 is on trial: ends it")]
pub struct Arguments {
    /// The slot.
    slot: String,
    /// The champion, or a challenger whose trial is to end [default: the champion].
    #[arg(long, value_name = "N")]
    revision: Option<u64>,
    /// Why, for the record.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Who asks, for the record [default: the login name].
    #[arg(long, value_name = "NAME")]
    actor: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

/// Asks the server, and says what it did.
pub fn run(arguments: &Arguments) -> ExitCode {
    let mut body = body(arguments.revision, arguments.actor.as_deref());
    if let Some(reason) = &arguments.reason {
        body.insert("reason".to_string(), reason.as_str().into());
    }
    finish(&arguments.connection, &arguments.slot, "/rollback", body)
}

#[cfg(test)]
mod tests {
    use super::super::client::tests::with_server;
    use super::*;

    #[test]
    fn the_question_has_the_reason() {
        let answer = r#"{"decision":"rollback","from":null,"to":null,"stage":null,"took_us":9}"#;
        let (code, requests) = with_server(&[(200, answer)], |connection| {
            let arguments = Arguments {
                slot: "fraud".to_string(),
                revision: None,
                reason: Some("too many declines".to_string()),
                actor: Some("anna".to_string()),
                connection: connection.clone(),
            };
            run(&arguments)
        });
        assert_eq!(code, ExitCode::SUCCESS);
        assert!(
            requests[0].starts_with("POST /v1/slots/fraud/rollback "),
            "{requests:?}"
        );
        let (_, sent) = requests[0].split_once("\r\n\r\n").unwrap();
        let sent: serde_json::Value = serde_json::from_str(sent).unwrap();
        let expected = serde_json::json!({"reason": "too many declines", "actor": "anna"});
        assert_eq!(sent, expected);
    }
}
