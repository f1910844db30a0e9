//! `hedgerow status`: what a running server says of its slots, once or again and again.

mod page;
mod table;

use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

use super::client::{self, Client, Connection};
use super::format::{self, Ink};
use super::report::{Report, Slots};

/// Say how the slots of a running server are.
///
/// With SLOT: its roles, the quality of each revision, what each challenger still has to prove, and
/// what waiting costs. Without: one line for each slot that has trials.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hedgerow status
  hedgerow status fraud
  hedgerow status fraud --watch       again every two seconds
  hedgerow status fraud --json        what GET /v1/slots/fraud answers

Marks: ✓ proven or as it should be, ? not known yet, ✗ disproven or broken, – no number.
Colours are left away where NO_COLOR is set and where no terminal reads.")]
pub struct Arguments {
    /// The slot; all of them without it.
    slot: Option<String>,
    #[command(flatten)]
    connection: Connection,
    /// Print the server's JSON as it is.
    #[arg(long)]
    json: bool,
    /// Look again and again, every so many seconds [default pause: 2].
    #[arg(
        long,
        value_name = "SECONDS",
        num_args = 0..=1,
        default_missing_value = "2",
        value_parser = seconds
    )]
    watch: Option<u64>,
}

/// Longest pause between two looks: a day.
const PAUSE_MAX: u64 = 86_400;
/// To the terminal's first place, and everything behind it away.
const CLEAR: &str = "\u{1b}[H\u{1b}[2J";

/// Asks, and prints what is answered.
pub fn run(arguments: &Arguments) -> ExitCode {
    let client = match arguments.connection.client() {
        Ok(client) => client,
        Err(reason) => return super::complain(&reason),
    };
    let ink = Ink::of_stdout();
    // A server that is not there from the beginning is not waited for.
    let first = match look(&client, arguments, ink) {
        Ok(text) => text,
        Err(reason) => return super::complain(&reason),
    };
    let Some(seconds) = arguments.watch else {
        return super::print(&first);
    };
    let head = match format::is_terminal() && !arguments.json {
        true => CLEAR,
        false => "",
    };
    let mut text = first;
    // Until nobody reads any more, or the process is interrupted.
    while super::write(&format!("{head}{text}")).is_ok() {
        sleep(Duration::from_secs(seconds));
        text = look(&client, arguments, ink).unwrap_or_else(|reason| match arguments.json {
            true => format!("{}\n", serde_json::json!({ "error": reason })),
            false => format!("{reason}\n"),
        });
    }
    ExitCode::SUCCESS
}

fn look(client: &Client, arguments: &Arguments, ink: Ink) -> Result<String, String> {
    let answer = match &arguments.slot {
        Some(slot) => client.get(&client::slot_path(slot, ""))?,
        None => client.get("/v1/slots")?,
    };
    if arguments.json {
        return Ok(format!("{}\n", answer.trim_end()));
    }
    match &arguments.slot {
        Some(_) => {
            let report: Report = client::parse(&answer, "the report of a slot")?;
            Ok(page::text(&report, ink))
        }
        None => {
            let slots: Slots = client::parse(&answer, "a list of slots")?;
            Ok(table::text(&slots.slots, ink))
        }
    }
}

fn seconds(text: &str) -> Result<u64, String> {
    let seconds: Option<u64> = text.parse().ok();
    seconds
        .filter(|it| (1..=PAUSE_MAX).contains(it))
        .ok_or_else(|| {
            format!("expected seconds from 1 to {PAUSE_MAX}; a slot stands before --watch")
        })
}

#[cfg(test)]
mod tests;
