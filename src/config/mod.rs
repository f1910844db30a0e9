//! The configuration: one TOML file, environment variables over it, command-line flags over both.
//!
//! [`Config`] is nothing but the other modules' settings; their `Default`s are the defaults. The
//! only module that reads the environment. It never looks for a file that nobody named.

pub mod check;
mod keys;
mod otel;
mod source;

use std::path::{Path, PathBuf};

pub use self::check::{Place, Problem};
use self::keys::Key;
use crate::engine::{Choice, Libraries};
use crate::{api, drift, journal, model, rollout, serve, source as artifacts, telemetry};

/// Everything that can be set.
#[derive(Clone, Debug)]
pub struct Config {
    pub api: api::Settings,
    pub serve: serve::Settings,
    pub source: artifacts::dir::Settings,
    pub revision: model::revision::Settings,
    pub journal: journal::Settings,
    pub export: journal::export::Settings,
    pub rollout: rollout::Settings,
    pub drift: drift::Settings,
    pub telemetry: telemetry::Settings,
    pub trace: telemetry::trace::Settings,
}

/// A command-line flag that sets a key.
#[derive(Clone, Debug)]
pub struct Flag {
    /// As it is typed, e.g. `--http`.
    pub name: &'static str,
    pub section: &'static str,
    pub key: &'static str,
    pub value: String,
}

/// Where SageMaker unpacks a model.
const UNPACKED: &str = "/opt/ml/model";

/// Bytes of a revision's files: above every ensemble that we met, below what would push a small
/// machine into swapping.
const MODEL_BYTES_MAX: u64 = 2 << 30;

impl Default for Config {
    fn default() -> Config {
        Config {
            api: api::Settings::default(),
            serve: serve::Settings::default(),
            source: models_dir(),
            revision: model::revision::Settings {
                engine: Choice::default(),
                verify: false,
                bytes_max: MODEL_BYTES_MAX,
                libraries: Libraries { dir: native_dir() },
                rules: model::rules::Settings::default(),
            },
            journal: journal::Settings::default(),
            export: journal::export::Settings::default(),
            rollout: rollout::Settings::default(),
            drift: drift::Settings::default(),
            telemetry: telemetry::Settings::default(),
            trace: telemetry::trace::Settings::default(),
        }
    }
}

impl Config {
    /// The defaults, then the file, then the environment, then the flags.
    ///
    /// # Errors
    /// Every problem that there is, in the order of their places.
    pub fn load(file: Option<&Path>, flags: &[Flag]) -> Result<Config, Vec<Problem>> {
        let mut problems = Vec::new();
        let text = file.and_then(|path| {
            source::read(path)
                .map_err(|problem| problems.push(problem))
                .ok()
        });
        let named = file.zip(text.as_deref());
        let resolved = Config::resolve(named, source::variables(), flags);
        match resolved {
            Ok(config) if problems.is_empty() => Ok(config),
            Ok(_) => Err(problems),
            Err(more) => {
                problems.extend(more);
                Err(problems)
            }
        }
    }

    /// [`Config::load`] of a file's path and text and of the environment's variables, by name.
    ///
    /// # Errors
    /// Every problem that there is, in the order of their places.
    pub fn resolve(
        file: Option<(&Path, &str)>,
        variables: Vec<(String, String)>,
        flags: &[Flag],
    ) -> Result<Config, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut entries = match file {
            Some((path, text)) => source::from_file(path, text, &mut problems),
            None => Vec::new(),
        };
        entries.extend(otel::entries(&variables));
        entries.extend(source::from_platforms(&variables));
        let of_variables = source::from_variables(variables, &entries, &mut problems);
        entries.extend(of_variables);
        entries.extend(source::from_flags(flags, &mut problems));

        let mut config = Config::default();
        // A slot takes what the file, the environment and the flags say of all slots, so its own
        // keys come last.
        let (of_all, of_slots): (Vec<_>, Vec<_>) =
            entries.iter().partition(|entry| entry.slot.is_none());
        for entry in of_all.into_iter().chain(of_slots) {
            if let Err(reason) = entry.apply(&mut config) {
                problems.push(Problem {
                    place: entry.place.clone(),
                    message: entry.message(&reason),
                });
            }
        }
        config.source.slot = config
            .source
            .slot
            .or_else(|| guessed_slot(Path::new(UNPACKED), &entries));
        check::listeners(&config, &entries, &mut problems);
        check::horizons(&config, &entries, &mut problems);
        check::exports(&config, &entries, &mut problems);
        check::calls(&config, &entries, &mut problems);
        check::drift::limits(&config, &entries, &mut problems);
        check::drift::targets(&config, &entries, &mut problems);
        check::traces(&config, &entries, &mut problems);
        if problems.is_empty() {
            return Ok(config);
        }
        problems.sort_by(|a, b| a.place.cmp(&b.place));
        Err(problems)
    }
}

/// The names of all keys, `section.key`, in the order of the documentation.
pub fn key_names() -> impl Iterator<Item = String> {
    keys::all().map(Key::path)
}

/// Where the optional native libraries lie unless told otherwise: `native` below the working
/// directory where that exists (a checkout), else `../lib/hedgerow/native` beside the executable
/// (an installation).
pub fn native_dir() -> PathBuf {
    let checkout = PathBuf::from("native");
    if checkout.is_dir() {
        return checkout;
    }
    let installed = std::env::current_exe()
        .ok()
        .and_then(|exe| Some(exe.parent()?.parent()?.join("lib/hedgerow/native")));
    installed.unwrap_or(checkout)
}

/// The models folder unless told otherwise: where SageMaker unpacks a model, else `models`.
fn models_dir() -> artifacts::dir::Settings {
    let mut settings = artifacts::dir::Settings::default();
    let unpacked = Path::new(UNPACKED);
    if unpacked.is_dir() {
        settings.dir = unpacked.to_path_buf();
    }
    settings
}

/// The slot of what SageMaker unpacked, where that is the files of one model, as its archives mostly
/// hold, and nobody named another folder.
fn guessed_slot(unpacked: &Path, entries: &[source::Entry]) -> Option<String> {
    let is_named = entries.iter().any(|it| it.key.path() == "models.dir");
    (!is_named && artifacts::dir::is_one_model(unpacked)).then(|| "model".to_string())
}

/// Who runs this process: the login name, or the number of the user where no name is set.
pub fn user_name() -> String {
    let variables = source::variables();
    let of = |wanted: &str| {
        let mut found = variables.iter().filter(|(name, _)| name == wanted);
        found.next().map(|(_, value)| value.trim().to_string())
    };
    let name = of("USER")
        .or_else(|| of("LOGNAME"))
        .filter(|name| !name.is_empty());
    name.unwrap_or_else(|| format!("user {}", rustix::process::getuid().as_raw()))
}

/// Whether a terminal is to be written to in colour: not where `NO_COLOR` is set (no-color.org), and
/// not on one that knows none.
pub fn wants_colour() -> bool {
    colour_of(&source::variables())
}

fn colour_of(variables: &[(String, String)]) -> bool {
    let forbids = |(name, value): &(String, String)| match name.as_str() {
        "NO_COLOR" => !value.is_empty(),
        "TERM" => value == "dumb",
        _ => false,
    };
    !variables.iter().any(forbids)
}

#[cfg(test)]
mod tests;
