//! `hedgerow drift`: whether a slot still sees what its model was trained on, in the terminal or as a
//! page of HTML. It shows what the server has judged and judges nothing.

mod bins;
mod html;
mod page;
mod table;
mod words;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ValueEnum;

use super::client::{self, Client, Connection};
use super::format::{self, Ink};
use super::watch::{self, Watch};
use crate::drift::report::{Reference, Report, Verdict, Window};
use words::context;

/// Say how far the data of a slot have drifted from its reference.
///
/// Live rows of a short and of a long window are compared with what the model was trained on, feature
/// by feature, worst first. The reference is the profile.json beside the model (see "hedgerow
/// profile"), or, with drift.watch = "on", the first rows that were served.
///
/// The exit code is 0 whatever was found; with --fail-on it is 1 when the verdict is as bad as that, and
/// when there can be none: the reference is refused, or drift is not watched. While there are too few
/// rows for a verdict it is 0. It is 1 too when the server could not be asked.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hedgerow drift fraud
  hedgerow drift fraud --all --window both
  hedgerow drift fraud --watch 10           again every ten seconds
  hedgerow drift fraud --html drift.html    a page with every histogram
  hedgerow drift fraud --fail-on act        for cron and CI
  hedgerow drift fraud --json               what GET /v1/slots/fraud/drift answers

Marks: ✓ none, ! watch, ✗ act, ? too few rows, – no number, or ignored.
PSI is told above what chance alone gives (\"excess\"); verdicts rest on it.
Colours are left away where NO_COLOR is set and where no terminal reads.")]
pub struct Arguments {
    /// The slot.
    slot: String,
    #[command(flatten)]
    connection: Connection,
    /// Show this many features, the worst.
    #[arg(long, value_name = "N", default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..))]
    top: u32,
    /// Show all features.
    #[arg(long, conflicts_with = "top")]
    all: bool,
    /// Show the features of this window [default: the one with the worse verdict].
    #[arg(long, value_enum)]
    window: Option<Which>,
    /// Print the server's JSON as it is.
    #[arg(long)]
    json: bool,
    /// Write a page for a browser to this file: it needs no other file and no network.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Look again and again, every so many seconds [default pause: 2].
    #[arg(
        long,
        value_name = "SECONDS",
        num_args = 0..=1,
        default_missing_value = "2",
        value_parser = watch::seconds,
        conflicts_with_all = ["html", "fail_on"]
    )]
    watch: Option<u64>,
    /// Exit with 1 when the verdict is this one or a worse one, or nothing is watched; too few rows: 0.
    #[arg(long, value_enum, value_name = "VERDICT")]
    fail_on: Option<Limit>,
}

/// Windows to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Which {
    Short,
    Long,
    Both,
}

/// A verdict that is a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Limit {
    Watch,
    Act,
}

/// How a report is shown in a terminal.
#[derive(Clone, Copy, Debug)]
struct View {
    ink: Ink,
    /// The last column; where no terminal reads, lines are as long as their names.
    width: Option<usize>,
    /// Features of a table.
    top: usize,
    window: Option<Which>,
}

/// What one look gave.
#[derive(Debug)]
struct Look {
    text: String,
    verdict: Verdict,
    /// Whether there will be a verdict.
    is_watched: bool,
}

/// Asks, and shows what is answered.
pub fn run(arguments: &Arguments) -> ExitCode {
    let client = match arguments.connection.client() {
        Ok(client) => client,
        Err(reason) => return super::complain(&reason),
    };
    let view = arguments.view();
    let first = match look(&client, arguments, &view) {
        Ok(first) => first,
        Err(reason) => return super::complain(&reason),
    };
    if let Some(seconds) = arguments.watch {
        let json = arguments.json;
        let again = || look(&client, arguments, &view).map(|look| look.text);
        return Watch { seconds, json }.run(first.text, again);
    }
    let printed = super::print(&first.text);
    match arguments.fail_on.is_some_and(|limit| first.fails(limit)) {
        true => ExitCode::FAILURE,
        false => printed,
    }
}

fn look(client: &Client, arguments: &Arguments, view: &View) -> Result<Look, String> {
    let answer = client.get(&client::slot_path(&arguments.slot, "/drift"))?;
    let report: Report = client::parse(&answer, "a report of drift")?;
    if let Some(path) = &arguments.html {
        write(path, &report)?;
    }
    let text = match (arguments.json, &arguments.html) {
        (true, _) => format!("{}\n", answer.trim_end()),
        (false, Some(path)) => format!("{}: {}\n", path.display(), context(&report)),
        (false, None) => page::text(&report, view),
    };
    let is_blind = matches!(
        report.reference,
        Reference::Off { .. } | Reference::Refused { .. }
    );
    Ok(Look {
        text,
        verdict: report.verdict,
        is_watched: !is_blind,
    })
}

fn write(path: &Path, report: &Report) -> Result<(), String> {
    std::fs::write(path, html::page(report)).map_err(|error| format!("{}: {error}", path.display()))
}

impl Arguments {
    fn view(&self) -> View {
        let top = usize::try_from(self.top).unwrap_or(usize::MAX);
        View {
            ink: Ink::of_stdout(),
            width: format::is_terminal().then(format::width),
            top: if self.all { usize::MAX } else { top },
            window: self.window,
        }
    }
}

impl Which {
    fn has(self, window: &Window) -> bool {
        match self {
            Which::Short => window.name == "short",
            Which::Long => window.name == "long",
            Which::Both => true,
        }
    }
}

impl Look {
    fn fails(&self, limit: Limit) -> bool {
        !self.is_watched || limit.is_reached(self.verdict)
    }
}

impl Limit {
    fn is_reached(self, verdict: Verdict) -> bool {
        match self {
            Limit::Watch => verdict >= Verdict::Watch,
            Limit::Act => verdict >= Verdict::Act,
        }
    }
}

#[cfg(test)]
mod tests;
