//! `hedgerow decisions`: what was decided of a slot, by whom and on what evidence, and the proof that
//! nobody changed it since.

mod chain;
mod line;

use std::process::ExitCode;

use super::client::{self, Client, Connection};
use super::format::{self, Ink, WIDTH, count};
use super::report::Slots;
use chain::{Chain, Served};

/// List the decisions of a slot, the newest last, or prove that they are unchanged.
///
/// Decisions are only ever added, each with the hash of the one before. --verify reads all of them,
/// computes every hash anew, and prints the last one; a copy of it that was noted elsewhere also
/// proves that none is missing at the end. The exit code is 1 when a chain does not hold.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hedgerow decisions fraud
  hedgerow decisions fraud --limit 1 --long     the last one with its evidence
  hedgerow decisions fraud --verify
  hedgerow decisions --verify                   the chain of every slot
  hedgerow decisions fraud --json               a line of JSON for each, as it was hashed")]
pub struct Arguments {
    /// The slot; with --verify alone, every slot that has trials.
    #[arg(required_unless_present = "verify")]
    slot: Option<String>,
    /// Read the whole chain and compute every hash anew.
    #[arg(long, conflicts_with_all = ["long", "limit"])]
    verify: bool,
    /// Show all reasons, the evidence and the hashes.
    #[arg(long, conflicts_with = "json")]
    long: bool,
    /// Print one line of JSON for each decision, or for what --verify found.
    #[arg(long)]
    json: bool,
    /// Show this many, the newest.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    #[command(flatten)]
    connection: Connection,
}

/// Asks the server, and prints the decisions or the proof.
pub fn run(arguments: &Arguments) -> ExitCode {
    let client = match arguments.connection.client() {
        Ok(client) => client,
        Err(reason) => return super::complain(&reason),
    };
    let Some(slot) = &arguments.slot else {
        return verify_all(&client, arguments);
    };
    if arguments.verify {
        return verify(&client, slot, arguments);
    }
    match newest(&client, slot, arguments.limit) {
        Ok(newest) => super::print(&text(slot, &newest, arguments, Ink::of_stdout())),
        Err(reason) => super::complain(&reason),
    }
}

/// The newest decisions, as many as were asked for.
fn newest(client: &Client, slot: &str, limit: u32) -> Result<Vec<Served>, String> {
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut newest: Vec<Served> = Vec::new();
    chain::read(client, slot, |page| {
        newest.extend(page);
        let over = newest.len().saturating_sub(most);
        newest.drain(..over);
        Ok(())
    })?;
    Ok(newest)
}

fn text(slot: &str, newest: &[Served], arguments: &Arguments, ink: Ink) -> String {
    if arguments.json {
        // Texts and whole numbers only: there is nothing that JSON cannot hold.
        let lines = newest
            .iter()
            .map(|it| serde_json::to_string(it).unwrap_or_default() + "\n");
        return lines.collect();
    }
    if newest.is_empty() {
        return format!("{slot}: nothing was decided yet\n");
    }
    if arguments.long {
        let pages = newest.iter().map(|served| line::long(served, ink));
        return pages.collect::<Vec<_>>().join("\n");
    }
    // A pipe gets whole lines: it may search them.
    let width = if format::is_terminal() {
        WIDTH
    } else {
        usize::MAX
    };
    let lines = newest.iter().map(|served| line::short(served, width));
    format!(
        "{}\n{}\n",
        ink.faint(&line::heading()),
        lines.collect::<Vec<_>>().join("\n")
    )
}

/// The chains of all slots with trials. One that is broken does not keep the others from being read.
fn verify_all(client: &Client, arguments: &Arguments) -> ExitCode {
    let slots = client
        .get("/v1/slots")
        .and_then(|answer| client::parse::<Slots>(&answer, "a list of slots"));
    let slots = match slots {
        Ok(slots) => slots.slots,
        Err(reason) => return super::complain(&reason),
    };
    if slots.is_empty() && !arguments.json {
        return super::print("no slot has trials\n");
    }
    let mut worst = ExitCode::SUCCESS;
    for slot in slots {
        let code = verify(client, &slot.slot, arguments);
        if code != ExitCode::SUCCESS {
            worst = code;
        }
    }
    worst
}

fn verify(client: &Client, slot: &str, arguments: &Arguments) -> ExitCode {
    let mut chain = Chain::new(slot);
    let read = chain::read(client, slot, |page| chain.add(page));
    match (read, chain.broken()) {
        (_, Some(broken)) => {
            if arguments.json {
                let (seq, reason) = (broken.seq, &broken.reason);
                let line =
                    serde_json::json!({"slot": slot, "holds": false, "seq": seq, "reason": reason});
                super::print(&format!("{line}\n"));
            }
            super::complain(&format!("{slot}: the chain is broken at {broken}"))
        }
        (Err(reason), None) => super::complain(&reason),
        (Ok(()), None) => {
            let (number, hash) = (chain.len(), chain.last_hash());
            super::print(&match arguments.json {
                true => {
                    let line = serde_json::json!({
                        "slot": slot,
                        "holds": true,
                        "decisions": number,
                        "last_hash": hash,
                    });
                    format!("{line}\n")
                }
                false if number == 0 => format!("{slot}: nothing was decided yet\n"),
                false => {
                    let plural = if number == 1 { "" } else { "s" };
                    let number = count(number);
                    format!(
                        "{slot}: {number} decision{plural}, the chain holds; last hash {hash}\n"
                    )
                }
            })
        }
    }
}

#[cfg(test)]
mod tests;
