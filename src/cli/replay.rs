//! `hedgerow replay`: plays a trial over labelled history by the very code that a server runs, and says
//! when it would have promoted the challenger, on how many labels, and what that was worth. Changes
//! nothing but the plot that was asked for.

mod account;
pub(super) mod clock;
mod data;
mod plot;
pub(super) mod scoring;
mod simulate;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use indicatif::{ProgressBar, ProgressStyle};

use self::account::Account;
use self::data::{Labels, Line, Table};
use self::scoring::Scorer;
use self::simulate::{Plan, Row};
use crate::config::Config;
use crate::model::revision::Revision;
use crate::rollout::reading;
use crate::rollout::score::{Pair, Task};
use crate::rollout::{Absence, SlotSettings};

/// Play a trial over labelled history: when would the challenger have been promoted?
///
/// The rows of a CSV file are scored by both revisions, their labels arrive after a delay, and the
/// gates, guards and stages of a server decide. The columns are features by name, a label, and
/// perhaps a time; an empty field and NaN are missing. Exit code 0 whatever was decided.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hedgerow replay --data labelled.csv --champion models/fraud/1 --challenger models/fraud/2
  hedgerow replay --data labelled.csv --champion models/fraud/1 --challenger models/fraud/2 \\
      --policy rollout.toml --time paid_at --labels-delay 6h --plot trial.svg")]
pub struct Arguments {
    /// The CSV file: a header, then one row a line.
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// Folder of the revision that answers.
    #[arg(long, value_name = "DIR")]
    champion: PathBuf,
    /// Folder of the revision that has to be better.
    #[arg(long, value_name = "DIR")]
    challenger: PathBuf,
    /// Column of the labels: 0 or 1, true or false, yes or no, a class or its name, or a number.
    #[arg(long, value_name = "COLUMN", default_value = "label")]
    label: String,
    /// Column of the rows' times: seconds or milliseconds since 1970, or 2026-11-25T10:00:00Z.
    /// Without it, rows are spread evenly.
    #[arg(long, value_name = "COLUMN")]
    time: Option<String>,
    /// Column that is no feature; may be given several times.
    #[arg(long, value_name = "COLUMN")]
    ignore: Vec<String>,
    /// How fast rows come where there is no column of times.
    #[arg(long, value_name = "N", default_value_t = 1000.0, value_parser = rate)]
    rows_per_hour: f64,
    /// From a row to its label, e.g. 90s, 6h, 3d.
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = clock::parse_span)]
    labels_delay: i64,
    /// The wait that a promotion is compared with.
    #[arg(long, value_name = "TIME", default_value = "3d", value_parser = clock::parse_span)]
    against: i64,
    /// Configuration file with [rollout]: gates, costs, stages, minimums. Without it, the defaults.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Take [slots.NAME.rollout] of the policy.
    #[arg(long, value_name = "NAME", requires = "policy")]
    slot: Option<String>,
    /// Look after every N labels [default: 200 looks, but at least 100 labels between two].
    #[arg(long, value_name = "N")]
    look_every: Option<NonZeroUsize>,
    /// Draw estimate and interval of each gate over the labels, as SVG.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Print one object of JSON.
    #[arg(long)]
    json: bool,
}

/// Two revisions and what is to be done with them.
#[derive(Debug)]
pub struct Match {
    pub champion: Revision,
    pub challenger: Revision,
    pub settings: SlotSettings,
    pub task: Task,
}

/// The rows of a file, scored.
#[derive(Debug, Default)]
pub struct History {
    /// In order of their times.
    pub rows: Vec<Row>,
    /// Rows on which the challenger said nothing, and why the first of them.
    pub failed: u64,
    pub failure: Option<String>,
}

/// Columns of a file that are no features.
struct Columns {
    label: usize,
    time: Option<usize>,
    amount: Option<usize>,
}

/// Rows that are scored at a time.
const BLOCK: usize = 256;
/// Rows of a file: about 2 GB of pairs.
const ROWS_MAX: usize = 10_000_000;
/// Looks over the data, and the fewest labels between two, unless told otherwise.
const LOOKS: usize = 200;
const LOOK_EVERY_MIN: usize = 100;

/// Replays a trial.
pub fn run(arguments: &Arguments) -> ExitCode {
    match replay(arguments) {
        Ok(text) => super::print(&text),
        Err(reason) => super::complain(&reason),
    }
}

fn replay(arguments: &Arguments) -> Result<String, String> {
    let players = load(arguments)?;
    let history = score(arguments, &players)?;
    let rows = &history.rows;
    let every = arguments.look_every.map_or(0, NonZeroUsize::get);
    let plan = Plan {
        settings: &players.settings,
        task: players.task,
        look_every: match every {
            0 => (rows.len() / LOOKS).max(LOOK_EVERY_MIN),
            every => every,
        },
        latency_ratio: crate::rollout::latency_ratio(&players.challenger, &players.champion),
        identical: players.challenger.mark() == players.champion.mark(),
        to_the_end: arguments.plot.is_some(),
    };
    let bar = progress(
        "looking",
        rows.len() as u64,
        "{human_pos} of {human_len} labels",
    );
    let course = simulate::simulate(&plan, rows, |taken| bar.set_position(taken as u64));
    bar.finish_and_clear();
    let course = course.ok_or_else(|| format!("{}: no rows", arguments.data.display()))?;
    let account = Account::new(arguments, (&players, &history), &plan, &course);
    if let Some(path) = &arguments.plot {
        let svg = plot::draw(&account.picture(&plan, &course));
        std::fs::write(path, svg).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    match arguments.json {
        true => Ok(account.json()),
        false => Ok(account.text()),
    }
}

/// Reads the policy and loads both revisions.
fn load(arguments: &Arguments) -> Result<Match, String> {
    let config = Config::load(arguments.policy.as_deref(), &[]).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        lines.join("\n")
    })?;
    let settings = match &arguments.slot {
        None => config.rollout.slot.clone(),
        Some(name) => config.rollout.slots.get(name).cloned().ok_or_else(|| {
            let file = arguments.policy.as_deref().unwrap_or(Path::new(""));
            format!("{}: no [slots.{name}.rollout]", file.display())
        })?,
    };
    let horizon_ms = i64::try_from(settings.horizon_ms).unwrap_or(i64::MAX);
    if arguments.labels_delay > horizon_ms {
        let (delay, horizon) = (clock::span(arguments.labels_delay), clock::span(horizon_ms));
        return Err(format!(
            "labels come after {delay}, and rollout.label_horizon is {horizon}: none would count"
        ));
    }
    let champion = scoring::load(&arguments.champion, &config.revision)?;
    let challenger = scoring::load(&arguments.challenger, &config.revision)?;
    let task = reading::task(&settings, &champion);
    Ok(Match {
        champion,
        challenger,
        settings,
        task,
    })
}

/// Scores all rows of the file, and puts them in order of their times.
fn score(arguments: &Arguments, players: &Match) -> Result<History, String> {
    let mut table = Table::open(&arguments.data)?;
    let columns = Columns::find(&table, arguments, players)?;
    let champion = Scorer::new("champion", &players.champion, &table)?;
    let challenger = Scorer::new("challenger", &players.challenger, &table)?;
    check_classes(players.task, champion.classes(), challenger.classes())?;
    let names = scoring::class_names(&players.champion);
    let labels = Labels::new(players.task, champion.classes(), names);
    let bar = progress("scoring", table.bytes(), "{bytes} of {total_bytes}");
    let mut history = History::default();
    loop {
        let lines = table.read(BLOCK)?;
        if lines.is_empty() {
            break;
        }
        if history.rows.len() + lines.len() > ROWS_MAX {
            return Err(format!(
                "{}: more than {ROWS_MAX} rows",
                arguments.data.display()
            ));
        }
        let said = champion
            .score(&lines)
            .into_iter()
            .zip(challenger.score(&lines));
        for (line, (first, second)) in lines.iter().zip(said) {
            let complain = |reason: String| table.complaint(line, &reason);
            let first = first.map_err(complain)?;
            let label = columns.label(&labels, line, arguments).map_err(complain)?;
            let at_ms = columns
                .at_ms(line, arguments, history.rows.len())
                .map_err(complain)?;
            let amount = columns.amount(line).map_err(complain)?;
            let second = second
                .map_err(|reason| history.fail(table.complaint(line, &reason)))
                .ok();
            history.rows.push(Row {
                at_ms,
                matures_ms: at_ms + waits(&players.settings, arguments.labels_delay, label),
                failed: second.is_none(),
                pair: Pair {
                    champion: reading::scored(&players.task, Some(&first), label),
                    challenger: reading::scored(&players.task, second.as_deref(), label),
                    label,
                    amount,
                    weight: 1.0,
                },
            });
        }
        bar.set_position(table.position());
    }
    bar.finish_and_clear();
    history.rows.sort_by_key(|row| row.at_ms);
    Ok(history)
}

impl History {
    fn fail(&mut self, reason: String) {
        self.failed += 1;
        self.failure.get_or_insert(reason);
    }
}

impl Columns {
    fn find(table: &Table, arguments: &Arguments, players: &Match) -> Result<Columns, String> {
        let amount = players.settings.amount_feature.as_str();
        let mut known = vec![arguments.label.as_str(), amount];
        known.extend(arguments.time.as_deref());
        for name in &arguments.ignore {
            table.column(name, "which is to be ignored")?;
            known.push(name);
        }
        let label = table.column(&arguments.label, "the label (--label names it)")?;
        let time = arguments.time.as_deref();
        let time = time
            .map(|name| table.column(name, "the time"))
            .transpose()?;
        let amount = match amount {
            "" => None,
            name => Some(table.column(name, "rollout.cost_amount_feature")?),
        };
        scoring::refuse_foreign(table, &known, [&players.champion, &players.challenger])?;
        Ok(Columns {
            label,
            time,
            amount,
        })
    }

    fn label(&self, labels: &Labels, line: &Line, arguments: &Arguments) -> Result<f64, String> {
        let text = line.fields.get(self.label).unwrap_or_default();
        let named = |reason| format!("label \"{}\": {reason}", arguments.label);
        labels.read(text).map_err(named)
    }

    /// The time of a row; of the row at this place where rows are spread evenly.
    fn at_ms(&self, line: &Line, arguments: &Arguments, place: usize) -> Result<i64, String> {
        let Some(column) = self.time else {
            let hours = place as f64 / arguments.rows_per_hour;
            return Ok((hours * clock::HOUR_MS as f64).round() as i64);
        };
        let text = line.fields.get(column).unwrap_or_default();
        clock::parse_moment(text).ok_or_else(|| {
            let name = arguments.time.as_deref().unwrap_or_default();
            let expected = "expected a time such as 2026-11-25T10:00:00Z or 1795600800";
            format!("time \"{name}\": {expected}, got \"{text}\"")
        })
    }

    /// The money at stake in a row; NaN: none.
    fn amount(&self, line: &Line) -> Result<f64, String> {
        let text = self.amount.and_then(|column| line.fields.get(column));
        match text.unwrap_or_default() {
            "" => Ok(f64::NAN),
            text => text
                .parse()
                .map_err(|_| format!("amount: expected a number, got \"{text}\"")),
        }
    }
}

/// Milliseconds until a row counts: until its label comes, or the horizon where all rows wait for it,
/// or where a label of 0 is one that never comes.
fn waits(settings: &SlotSettings, labels_delay_ms: i64, label: f64) -> i64 {
    let absent = settings.absence == Absence::Negative && label == 0.0;
    match settings.is_deferred() || absent {
        true => i64::try_from(settings.horizon_ms).unwrap_or(i64::MAX / 4),
        false => labels_delay_ms,
    }
}

fn check_classes(task: Task, champion: usize, challenger: usize) -> Result<(), String> {
    if champion != challenger {
        return Err(format!(
            "the champion gives {champion} scores for a row, the challenger {challenger}: they \
             cannot be compared"
        ));
    }
    match (task, champion) {
        (Task::Multiclass, 1) => Err("rollout.task is multiclass, but the models give one score \
                                      for a row"
            .to_string()),
        (Task::Binary { .. } | Task::Regression, 2..) => Err(format!(
            "rollout.task is not multiclass, but the models give {champion} scores for a row"
        )),
        _ => Ok(()),
    }
}

/// A bar on standard error, which is not there unless that is a terminal.
fn progress(what: &'static str, len: u64, counts: &str) -> ProgressBar {
    let bar = ProgressBar::new(len);
    let template = format!("{{prefix:>9}} {{bar:40}} {counts}, {{eta}} left");
    match ProgressStyle::with_template(&template) {
        Ok(style) => bar.with_style(style).with_prefix(what),
        // The plain bar says enough.
        Err(_) => bar,
    }
}

fn rate(text: &str) -> Result<f64, String> {
    let number: Option<f64> = text.parse().ok();
    let fits = |rate: &f64| *rate >= 1e-3 && *rate <= 1e9;
    number
        .filter(fits)
        .ok_or_else(|| "expected a number from 0.001 to 1e9".to_string())
}
