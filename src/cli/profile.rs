//! `hedgerow profile`: counts the data that a model was trained on, for a server to notice drift by.
//! Reads the data twice and holds a block of rows at a time: it may be larger than memory.

mod csv;
mod data;
mod model;
mod output;
mod parquet;
mod passes;
mod plan;
mod summary;

use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use indicatif::{ProgressBar, ProgressStyle};

use self::data::Files;
use self::model::Model;
use self::passes::Passes;
use self::plan::Plan;
use crate::drift::bins::Bins;
use crate::drift::build::{self, Counter, Labels};
use crate::drift::profile::{Numbers, Profile, Source, VERSION, Values};
use crate::model::revision;

/// Count what a model was trained on, so that a server can notice drift.
///
/// Every column but the label is a feature; with --model, those of the model are, by name, and its
/// scores are counted too. Numbers and true and false are counted in bins, texts as categories. An
/// empty field, NA, NaN and null are missing. Without --output the profile goes to standard output.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hedgerow profile train.parquet --label is_fraud --model models/fraud/4 -o models/fraud/4/profile.json
  hedgerow profile parts/ --ignore id,paid_at -o profile.json
  hedgerow profile train.csv.gz --label churned --positive Yes --model models/churn/1 --json \\
      -o models/churn/1/profile.json

Files are Parquet or CSV with a header, also compressed by gzip; of a folder, all .parquet, .csv and
.csv.gz in it. All have the same columns. Dates and times count in milliseconds.")]
pub struct Arguments {
    /// The data: files, or folders of files.
    #[arg(required = true, value_name = "FILE")]
    data: Vec<PathBuf>,
    /// Column of the labels, which is no feature.
    #[arg(long, value_name = "COLUMN")]
    label: Option<String>,
    /// The label of the positive class [default: 1, true or yes; the others 0, false or no].
    #[arg(long, value_name = "VALUE", requires = "label")]
    positive: Option<String>,
    /// Columns that are no features, such as ids and times.
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',')]
    ignore: Vec<String>,
    /// Folder of the revision that was trained on the data.
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// From this score on a row counts as positive.
    #[arg(long, value_name = "SCORE", default_value_t = 0.5, value_parser = finite)]
    threshold: f64,
    /// Bins of a feature, about; 2 to 100.
    #[arg(long, value_name = "N", default_value_t = build::BINS as u32, value_parser = clap::value_parser!(u32).range(2..=100))]
    bins: u32,
    /// Stop after this many rows.
    #[arg(long, value_name = "N")]
    rows: Option<NonZeroU64>,
    /// Write the profile to this file, or with - to standard output. A profile that is there is replaced.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace the file even if it is no profile.
    #[arg(long, requires = "output")]
    force: bool,
    /// Print one object of JSON about the profile instead of a table.
    #[arg(long, requires = "output")]
    json: bool,
}

/// A profile, and what people should know of it.
#[derive(Debug)]
struct Made {
    profile: Profile,
    notes: Vec<String>,
}

impl Arguments {
    /// The file to write; `None` is standard output.
    fn file(&self) -> Option<&Path> {
        let output = self.output.as_deref();
        output.filter(|it| *it != Path::new("-"))
    }

    fn rows_max(&self) -> u64 {
        self.rows.map_or(u64::MAX, NonZeroU64::get)
    }
}

/// Makes a profile.
pub fn run(arguments: &Arguments) -> ExitCode {
    let made = match make(arguments) {
        Ok(made) => made,
        Err(reason) => return super::complain(&reason),
    };
    for note in &made.notes {
        super::complain(&format!("note: {note}"));
    }
    match told(arguments, &made.profile) {
        Ok(text) => super::print(&text),
        Err(reason) => super::complain(&reason),
    }
}

/// Writes the profile to where it belongs; what goes to standard output.
fn told(arguments: &Arguments, profile: &Profile) -> Result<String, String> {
    let mut text = profile.json().map_err(|error| error.to_string())?;
    text.push('\n');
    let Some(output) = arguments.file() else {
        super::complain(summary::table(profile).trim_end());
        return Ok(text);
    };
    output::save(output, &text)?;
    let output = output.display().to_string();
    Ok(match arguments.json {
        true => summary::json(profile, &output),
        false => format!("{}written to {output}\n", summary::table(profile)),
    })
}

fn make(arguments: &Arguments) -> Result<Made, String> {
    match arguments.file() {
        Some(output) => output::check(output, arguments.force)?,
        None if arguments.json => return Err("--json wants the profile in a file".to_string()),
        None => {}
    }
    let files = Files::find(&arguments.data)?;
    let model = arguments.model.as_deref().map(Model::load).transpose()?;
    let bar = |what| progress(what, files.bytes);
    let hashing = bar("hashing");
    let digest = files.digest(&hashing)?;
    hashing.finish_and_clear();
    let plan = Plan::new(arguments, &files, model.as_ref(), &bar("types"))?;
    let mut notes = plan.notes.clone();
    let passes = Passes {
        arguments,
        files: &files,
        plan: &plan,
        model: model.as_ref(),
    };
    let first = passes.sketch(&bar("bins"))?;
    if first.rows == 0 {
        return Err(data::at(files.first(), &"no rows"));
    }
    if model.is_none() {
        notes.extend(passes.ids(&first));
    }
    let rows = first.rows;
    let second = passes.count(first, &bar("counts"))?;
    if second.rows != rows {
        return Err(data::at(
            files.first(),
            &"the data changed while it was read",
        ));
    }
    let features = plan.features.iter().zip(second.features);
    let is_single = model.as_ref().is_some_and(Model::is_single);
    let features = features.map(|(feature, counter)| {
        let mut feature = counter.feature(&feature.name);
        if is_single && let Values::Number(numbers) = &mut feature.values {
            shorten(numbers);
        }
        feature
    });
    let calibration = second.labels.map(Labels::calibration);
    if let Some(None) = calibration {
        let note = "the label has one value only: no estimate of the model's quality from it";
        notes.push(note.to_string());
    }
    if model.as_ref().is_some_and(|it| it.classes() > 1) {
        notes.push("of several classes, the score is that of the likeliest".to_string());
    }
    let profile = Profile {
        version: VERSION,
        source: Source::Training,
        rows,
        digest,
        model: model.as_ref().map(|it| it.revision.mark().to_string()),
        label: arguments.label.clone(),
        features: features.collect(),
        score: second.score.and_then(Counter::score),
        calibration: calibration.flatten(),
    };
    check(&profile, model.as_ref())?;
    Ok(Made { profile, notes })
}

/// Writes what are numbers of 32 bits with no more digits than those need: 0.1, not
/// 0.10000000149011612. A model that reads 32 bits takes both for the same.
fn shorten(numbers: &mut Numbers) {
    let range = numbers.range.iter_mut().flatten();
    for value in numbers.edges.iter_mut().chain(range) {
        let single = *value as f32;
        if f64::from(single) == *value {
            *value = single.to_string().parse().unwrap_or(*value);
        }
    }
}

/// Whether a server would take it.
fn check(profile: &Profile, model: Option<&Model>) -> Result<(), String> {
    profile.check().map_err(|error| error.to_string())?;
    let Some(model) = model else {
        return Ok(());
    };
    let columns = revision::columns(&model.revision.signature);
    match Bins::new(profile.clone(), &columns) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("the profile does not fit the model: {error}")),
    }
}

/// A bar on standard error, which is not there unless that is a terminal.
fn progress(what: &'static str, len: u64) -> ProgressBar {
    let bar = ProgressBar::new(len);
    let template = "{prefix:>9} {bar:40} {bytes} of {total_bytes} {msg}, {eta} left";
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style).with_prefix(what),
        // The plain bar says enough.
        Err(_) => bar,
    }
}

fn finite(text: &str) -> Result<f64, String> {
    let number: Option<f64> = text.parse().ok();
    number
        .filter(|it| it.is_finite())
        .ok_or_else(|| "expected a number".to_string())
}
