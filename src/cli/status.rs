//! `hedgerow status`: what a running server says of its slots, once or again and again.

mod page;
mod table;

use std::process::ExitCode;

use super::client::{self, Client, Connection};
use super::format::Ink;
use super::report::{Report, Slots};
use super::watch::{self, Watch};

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
        value_parser = watch::seconds
    )]
    watch: Option<u64>,
}

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
    match arguments.watch {
        Some(seconds) => {
            let json = arguments.json;
            Watch { seconds, json }.run(first, || look(&client, arguments, ink))
        }
        None => super::print(&first),
    }
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

#[cfg(test)]
mod tests;
