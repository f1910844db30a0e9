//! `hedgerow export`: recorded predictions as Parquet files, straight from the journal's store, with or
//! without a server beside it. It changes nothing in the journal.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use indicatif::{ProgressBar, ProgressStyle};

use super::format::count;
use super::replay::clock;
use crate::journal::export::{self, Range, Target, Watched, Written};
use crate::journal::{self, store::Store};

/// Write recorded predictions, their features and outcomes to Parquet files.
///
/// Takes the predictions that were recorded with features (rollout.features_fraction), with the
/// outcomes that are known now. Columns: prediction_id, ts, model, version, slot, revision_mark, one
/// per feature, prediction, prediction_label, target, label_ts; of several classes also
/// prediction_0, prediction_1 and so on. A feature with the name of another column is called
/// feature_NAME.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hedgerow export --slot fraud -o fraud.parquet
  hedgerow export --journal /var/lib/hedgerow --slot fraud --since 2026-11-01 -o log/
  hedgerow export --journal postgres://hedgerow@db/hedgerow --slot fraud \\
      --threshold 0.5 -o fraud.parquet")]
pub struct Arguments {
    /// The journal, as journal.store has it: a folder, or postgres://USER:PASSWORD@HOST/DATABASE.
    #[arg(
        long,
        value_name = "STORE",
        env = "HEDGEROW__JOURNAL__STORE",
        hide_env_values = true,
        default_value = "hedgerow-data"
    )]
    journal: String,
    /// The slot.
    #[arg(long, value_name = "NAME")]
    slot: String,
    /// Only predictions from this time on: 2026-11-25, 2026-11-25T10:00:00Z, 1795600800.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<i64>,
    /// Only predictions up to this time.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<i64>,
    /// A binary score of at least this is labelled 1, of less 0; without it there is no label.
    #[arg(long, value_name = "SCORE")]
    threshold: Option<f64>,
    /// One file, where the name ends in .parquet and all rows have the same columns; else a folder.
    #[arg(short, long, value_name = "PATH")]
    output: PathBuf,
}

/// Exports the rows, and says how many.
pub fn run(arguments: &Arguments) -> ExitCode {
    match write(arguments) {
        Ok(text) => super::print(&text),
        Err(reason) => super::complain(&reason),
    }
}

fn write(arguments: &Arguments) -> Result<String, String> {
    let range = Range {
        slot: Watched {
            slot: arguments.slot.clone(),
            threshold: arguments.threshold,
        },
        from_ms: arguments.since.unwrap_or(i64::MIN),
        to_ms: arguments.until.unwrap_or(i64::MAX),
    };
    let mut store = open(&arguments.journal)?;
    let is_file = arguments
        .output
        .extension()
        .is_some_and(|it| it == "parquet");
    let target = match is_file {
        true => Target::File(arguments.output.clone()),
        false => Target::Folder(arguments.output.clone()),
    };
    let bar = progress();
    let written = export::export(store.as_mut(), &range, target, |passed, of| {
        bar.set_length(of);
        bar.set_position(passed);
    });
    bar.finish_and_clear();
    said(&written.map_err(|error| error.to_string())?, arguments)
}

fn said(written: &Written, arguments: &Arguments) -> Result<String, String> {
    if written.rows == 0 {
        return Err(format!(
            "slot \"{}\": no predictions with features in that time; see rollout.features_fraction",
            arguments.slot
        ));
    }
    let output = arguments.output.display();
    let mut text = format!(
        "{} rows in {} at {output}\n",
        count(written.rows),
        match written.files {
            1 => "1 file".to_string(),
            files => format!("{} files", count(files)),
        },
    );
    if written.broken > 0 {
        text.push_str(&format!(
            "{} rows are left out: what was recorded of them cannot be read\n",
            count(written.broken)
        ));
    }
    Ok(text)
}

/// Opens a journal that is there: to make one is the server's.
fn open(store: &str) -> Result<Box<dyn Store>, String> {
    let is_address = store.contains("://");
    if !is_address && !Path::new(store).join("journal.db").is_file() {
        return Err(format!(
            "{store}: no journal; expected a folder with journal.db"
        ));
    }
    journal::open_to_read(store).map_err(|error| error.to_string())
}

fn moment(text: &str) -> Result<i64, String> {
    let expected = || "expected a time such as 2026-11-25T10:00:00Z or 1795600800".to_string();
    clock::parse_moment(text).ok_or_else(expected)
}

/// A bar on standard error, which is not there unless that is a terminal.
fn progress() -> ProgressBar {
    let template = "exporting {bar:40} {human_pos} of {human_len} predictions, {eta} left";
    let bar = ProgressBar::new(0);
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        // The plain bar says enough.
        Err(_) => bar,
    }
}
