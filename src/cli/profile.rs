//! `hedgerow profile`: counts the data that a model was trained on, for a server to notice drift by.
//! Reads the data twice and holds a block of rows at a time: it may be larger than memory.

mod csv;
mod data;
mod model;
mod parquet;
mod plan;
mod summary;

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use indicatif::{ProgressBar, ProgressStyle};

use self::data::{Block, Files};
use self::model::Model;
use self::plan::Plan;
use crate::drift::bins::Bins;
use crate::drift::build::{self, Cell, Counter, Labels, Limits, Sketch};
use crate::drift::profile::{Profile, Source, VERSION};
use crate::model::revision;
use crate::tensor::{self, Values};

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
    /// Write the profile to this file. A profile that is there is replaced.
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

/// Sketches of the columns after the first pass.
struct First {
    rows: u64,
    features: Vec<Sketch>,
    score: Option<Sketch>,
}

/// Counts of the second pass.
struct Second {
    rows: u64,
    features: Vec<Counter>,
    score: Option<Counter>,
    labels: Option<Labels>,
}

/// Bytes of a file that may be a profile.
const PROFILE_MAX: u64 = 64 << 20;

impl Arguments {
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
    let Some(output) = &arguments.output else {
        super::complain(summary::table(profile).trim_end());
        return Ok(text);
    };
    save(output, &text)?;
    let output = output.display().to_string();
    Ok(match arguments.json {
        true => summary::json(profile, &output),
        false => format!("{}written to {output}\n", summary::table(profile)),
    })
}

fn make(arguments: &Arguments) -> Result<Made, String> {
    if let Some(output) = &arguments.output {
        check_output(output, arguments.force)?;
    }
    let files = Files::find(&arguments.data)?;
    let model = arguments.model.as_deref().map(Model::load).transpose()?;
    let bar = |what| progress(what, files.bytes);
    let hashing = bar("hashing");
    let digest = files.digest(&hashing)?;
    hashing.finish_and_clear();
    let plan = Plan::new(arguments, &files, model.as_ref(), &bar("types"))?;
    let mut notes = plan.notes.clone();
    let first = First::read(arguments, &files, &plan, model.as_ref(), &bar("bins"))?;
    if first.rows == 0 {
        return Err(data::at(files.first(), &"no rows"));
    }
    if model.is_none() {
        notes.extend(first.ids(&plan));
    }
    let rows = first.rows;
    let second = first.count(arguments, &files, &plan, model.as_ref(), &bar("counts"))?;
    if second.rows != rows {
        return Err(data::at(
            files.first(),
            &"the data changed while it was read",
        ));
    }
    let features = plan.features.iter().zip(second.features);
    let features = features.map(|(feature, counter)| counter.feature(&feature.name));
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

impl First {
    fn read(
        arguments: &Arguments,
        files: &Files,
        plan: &Plan,
        model: Option<&Model>,
        bar: &ProgressBar,
    ) -> Result<First, String> {
        let bins = arguments.bins as usize;
        let limits = Limits::new(plan.features.len(), bins);
        let features = plan.features.iter();
        let mut first = First {
            rows: 0,
            features: features.map(|it| Sketch::new(it.kind, limits)).collect(),
            score: model
                .filter(|it| it.has_score())
                .map(|_| Sketch::new(build::Kind::Number, Limits::new(1, bins))),
        };
        files.read(&plan.wanted, arguments.rows_max(), bar, |block| {
            for (sketch, column) in first.features.iter_mut().zip(&block.columns) {
                each(column, |cell| sketch.add(cell));
            }
            if let (Some(sketch), Some(model)) = (&mut first.score, model) {
                for score in scores(model, plan, block, first.rows)? {
                    sketch.add(Cell::Number(score));
                }
            }
            first.rows += block.rows as u64;
            Ok(())
        })?;
        bar.finish_and_clear();
        Ok(first)
    }

    /// Says which columns look like names of their rows.
    fn ids(&self, plan: &Plan) -> Vec<String> {
        let columns = plan.wanted.iter().zip(&self.features);
        columns
            .filter(|(_, sketch)| sketch.is_like_an_id())
            .map(|(wanted, _)| {
                let name = &wanted.column;
                format!("column \"{name}\" has no value twice; --ignore leaves an id out")
            })
            .collect()
    }

    fn count(
        self,
        arguments: &Arguments,
        files: &Files,
        plan: &Plan,
        model: Option<&Model>,
        bar: &ProgressBar,
    ) -> Result<Second, String> {
        let labels = self.score.as_ref().filter(|_| plan.has_label);
        let labels = labels.and_then(Sketch::labels);
        let mut second = Second {
            rows: 0,
            labels: labels.map(|it| it.split(arguments.threshold)),
            features: self.features.into_iter().map(Sketch::counter).collect(),
            score: self.score.map(Sketch::counter),
        };
        files.read(&plan.wanted, arguments.rows_max(), bar, |block| {
            for (counter, column) in second.features.iter_mut().zip(&block.columns) {
                each(column, |cell| counter.add(cell));
            }
            if let (Some(counter), Some(model)) = (&mut second.score, model) {
                let scores = scores(model, plan, block, second.rows)?;
                for score in &scores {
                    counter.add(Cell::Number(*score));
                }
                let label = block.columns.get(plan.features.len());
                if let (Some(counts), Some(Values::F64(labels))) = (&mut second.labels, label) {
                    let known = scores.iter().zip(labels).filter(|(_, it)| !it.is_nan());
                    known.for_each(|(score, label)| counts.add(*score, *label == 1.0));
                }
            }
            second.rows += block.rows as u64;
            Ok(())
        })?;
        bar.finish_and_clear();
        Ok(second)
    }
}

/// What the model says of the rows of a block, before which so many came.
fn scores(model: &Model, plan: &Plan, block: &Block, before: u64) -> Result<Vec<f64>, String> {
    let features = block.columns.get(..plan.features.len());
    model.score(features.unwrap_or_default(), block.rows, before)
}

fn each(column: &Values, mut take: impl FnMut(Cell)) {
    match column {
        Values::F32(numbers) => numbers
            .iter()
            .for_each(|it| take(Cell::Number((*it).into()))),
        Values::F64(numbers) => numbers.iter().for_each(|it| take(Cell::Number(*it))),
        Values::Cells(cells) => cells.iter().for_each(|cell| match cell {
            tensor::Cell::Number(number) => take(Cell::Number(*number)),
            tensor::Cell::Text(text) => take(Cell::Text(text)),
        }),
    }
}

/// Refuses a place that no profile should be written to, before the data is read.
fn check_output(path: &Path, force: bool) -> Result<(), String> {
    if path.is_dir() {
        let reason = "is a folder; expected a file, such as profile.json in it";
        return Err(data::at(path, &reason));
    }
    let folder = path.parent().filter(|it| !it.as_os_str().is_empty());
    if let Some(folder) = folder.filter(|it| !it.is_dir()) {
        return Err(data::at(folder, &"no such folder"));
    }
    if force || !path.exists() {
        return Ok(());
    }
    let failed = |error| data::at(path, &error);
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(PROFILE_MAX)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    match Profile::parse(&bytes) {
        Ok(_) => Ok(()),
        Err(error) => {
            let reason = format!("is there and no profile ({error}); --force replaces it");
            Err(data::at(path, &reason))
        }
    }
}

/// Writes a file so that a reader sees all of it or what was there before.
fn save(path: &Path, text: &str) -> Result<(), String> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let part = path.with_file_name(format!(".{name}.{}.part", std::process::id()));
    let write = || {
        let mut file = File::create(&part)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&part, path)
    };
    write().map_err(|error| {
        // Best effort: the failure itself is what matters.
        let _ = fs::remove_file(&part);
        data::at(path, &error)
    })
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
