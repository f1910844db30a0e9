//! Problems of a configuration, each with its place, and the checks that need more than one key.

pub mod drift;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::Config;
use super::source::Entry;

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}")]
pub struct Problem {
    pub place: Place,
    pub message: String,
}

/// Where a value stood.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A file that could not be read.
    Whole(PathBuf),
    /// Line and column start with 1; the column counts characters.
    File {
        path: PathBuf,
        line: usize,
        column: usize,
    },
    Variable(String),
    Flag(&'static str),
}

const DAY_MS: u64 = 86_400_000;

impl Place {
    /// Its line, in a file.
    pub fn line(&self) -> Option<usize> {
        match self {
            Place::File { line, .. } => Some(*line),
            _ => None,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Whole(path) => write!(f, "{}", path.display()),
            Place::File { path, line, column } => {
                write!(f, "{}:{line}:{column}", path.display())
            }
            Place::Variable(name) => f.write_str(name),
            Place::Flag(name) => f.write_str(name),
        }
    }
}

/// Two listeners cannot have one address. The defaults differ, so one of the two was given, and
/// what was given last is to blame. Says nothing while an address is still wrong.
pub fn listeners(config: &Config, entries: &[Entry], problems: &mut Vec<Problem>) {
    let listeners = [
        ("http", config.api.http),
        ("grpc", config.api.grpc),
        ("admin", config.api.admin),
    ];
    let is_of = |entry: &Entry, name: &str| entry.key.section == "server" && entry.key.name == name;
    let refused = |entry: &Entry| problems.iter().any(|it| it.place == entry.place);
    let doubtful = |(name, _): &(&str, SocketAddr)| {
        entries
            .iter()
            .any(|entry| is_of(entry, name) && refused(entry))
    };
    if listeners.iter().any(doubtful) {
        return;
    }
    for (position, (one, one_address)) in listeners.iter().enumerate() {
        for (two, two_address) in &listeners[position + 1..] {
            if !collide(*one_address, *two_address) {
                continue;
            }
            let last = entries
                .iter()
                .filter(|entry| is_of(entry, one) || is_of(entry, two))
                .max_by(|a, b| a.place.cmp(&b.place));
            let Some(entry) = last else {
                continue;
            };
            let (mine, theirs) = if entry.key.name == *one {
                (one_address, (two, two_address))
            } else {
                (two_address, (one, one_address))
            };
            let reason = format!(
                "{mine} collides with server.{}, which is {}",
                theirs.0, theirs.1
            );
            problems.push(Problem {
                place: entry.place.clone(),
                message: entry.message(&reason),
            });
        }
    }
}

/// A prediction that leaves the journal before its horizon never counts. Checked for each slot with
/// trials, and for the slots without settings of their own. To blame is the horizon, or where that is
/// the default, the retention. Says nothing of what is wrong already.
pub fn horizons(config: &Config, entries: &[Entry], problems: &mut Vec<Problem>) {
    let days = config.journal.retention_days;
    let all = (None, &config.serve.slot, config.rollout.slot.horizon_ms);
    let of_slots = config.rollout.slots.iter().map(|(name, rollout)| {
        let serve = config.serve.slots.get(name);
        let serve = serve.unwrap_or(&config.serve.slot);
        (Some(name.as_str()), serve, rollout.horizon_ms)
    });
    for (slot, serve, horizon_ms) in std::iter::once(all).chain(of_slots) {
        let is_kept = days == 0 || horizon_ms <= days.saturating_mul(DAY_MS);
        if is_kept || !serve.watch.is_on() {
            continue;
        }
        let Some(entry) = blamed(slot, entries) else {
            continue;
        };
        if problems.iter().any(|it| it.place == entry.place) {
            continue;
        }
        let of = slot.map_or(String::new(), |slot| format!(" of slot \"{slot}\""));
        let reason = format!(
            "the label_horizon{of} is longer than journal.retention_days, {days}: its predictions would leave before they count"
        );
        problems.push(Problem {
            place: entry.place.clone(),
            message: entry.message(&reason),
        });
    }
}

/// A prediction that waits to be exported for as long as it stays in the journal never leaves it for a
/// file. To blame is the wait, or where that is the default, the retention.
pub fn exports(config: &Config, entries: &[Entry], problems: &mut Vec<Problem>) {
    let days = config.journal.retention_days;
    let is_kept = days == 0 || config.export.wait_ms < days.saturating_mul(DAY_MS);
    if is_kept || config.export.dir.is_none() {
        return;
    }
    let set = |section: &str, name: &str| {
        let is_it = |entry: &&Entry| entry.key.section == section && entry.key.name == name;
        entries.iter().rfind(is_it)
    };
    let entry = set("export", "wait").or_else(|| set("journal", "retention_days"));
    let Some(entry) = entry else {
        return;
    };
    if problems.iter().all(|it| it.place != entry.place) {
        let reason = format!(
            "export.wait is not shorter than journal.retention_days, {days}: predictions would leave before they are exported"
        );
        problems.push(Problem {
            place: entry.place.clone(),
            message: entry.message(&reason),
        });
    }
}

/// What an alarm calls needs more than an address. Says nothing while one of its keys is still wrong.
pub fn calls(config: &Config, entries: &[Entry], problems: &mut Vec<Problem>) {
    let all = (None, &config.drift.slot);
    let of_slots = config.drift.slots.iter();
    let of_slots = of_slots.map(|(name, drift)| (Some(name.as_str()), drift));
    for (slot, drift) in std::iter::once(all).chain(of_slots) {
        let Err((_, reason)) = drift.calls.hooks() else {
            continue;
        };
        let is_call = |entry: &&Entry| {
            let of = entry.slot.as_deref();
            entry.key.section == "drift"
                && (of.is_none() || of == slot)
                && reason.contains(&entry.key.path())
        };
        let Some(entry) = entries.iter().rfind(is_call) else {
            continue;
        };
        if problems.iter().all(|it| it.place != entry.place) {
            problems.push(Problem {
                place: entry.place.clone(),
                message: entry.message(&reason),
            });
        }
    }
}

/// The endpoint of traces goes with their protocol. Says nothing while one of them is still wrong.
pub fn traces(config: &Config, entries: &[Entry], problems: &mut Vec<Problem>) {
    let Err(reason) = config.trace.check() else {
        return;
    };
    let is_endpoint = |entry: &&Entry| entry.key.path() == "trace.endpoint";
    let Some(entry) = entries.iter().rfind(is_endpoint) else {
        return;
    };
    let of_traces = |it: &Entry| it.key.section == "trace";
    let mut all = entries.iter().filter(|it| of_traces(it));
    if all.all(|it| problems.iter().all(|known| known.place != it.place)) {
        problems.push(Problem {
            place: entry.place.clone(),
            message: entry.message(&reason),
        });
    }
}

/// What set a slot's horizon, else what set the retention.
fn blamed<'a>(slot: Option<&str>, entries: &'a [Entry]) -> Option<&'a Entry> {
    let is_horizon = |entry: &&Entry| {
        let of = entry.slot.as_deref();
        entry.key.name == "label_horizon" && (of.is_none() || of == slot)
    };
    let is_retention =
        |entry: &&Entry| entry.key.section == "journal" && entry.key.name == "retention_days";
    // The last word holds; a slot's own comes after what is said of all.
    let horizons = entries.iter().filter(is_horizon);
    let horizon = horizons.max_by_key(|entry| entry.slot.is_some());
    horizon.or_else(|| entries.iter().rfind(is_retention))
}

/// Port 0 is another port for each; the unspecified address stands for all of its family, and that
/// of IPv6 for both families.
fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    let covers = |wide: SocketAddr, other: SocketAddr| {
        wide.ip().is_unspecified() && (wide.is_ipv6() || other.is_ipv4())
    };
    a.port() == b.port() && a.port() != 0 && (a.ip() == b.ip() || covers(a, b) || covers(b, a))
}

/// The candidate that `word` was probably meant to be: the one with the fewest edits, if they are
/// at most a third of its length.
pub fn closest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    candidates
        .iter()
        .map(|candidate| (edits(word, candidate), *candidate))
        .filter(|(edits, candidate)| edits * 3 <= candidate.len().max(3))
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance in bytes.
fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
