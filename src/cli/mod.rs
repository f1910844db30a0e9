//! The command line: what its words mean, and how its answers are printed. Flags become keys of the
//! configuration; nothing is decided here that a key could not decide.

mod check;
mod client;
mod decisions;
mod drift;
mod export;
mod format;
mod health;
mod page;
mod profile;
mod promote;
mod replay;
mod report;
mod rollback;
mod serve;
mod status;
mod trial;
mod watch;

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::config::{Config, Problem};
use crate::engine;

/// A low-latency HTTP and gRPC server for gradient-boosted trees.
///
/// XGBoost, LightGBM, CatBoost and ONNX models, exact, hot-swappable, measured.
#[derive(Debug, Parser)]
#[command(
    name = "hedgerow",
    disable_version_flag = true,
    arg_required_else_help = true,
    after_help = "Examples:
  hedgerow serve models/           serve every model below models/
  hedgerow check models/fraud/3    load one model and say what it is
  hedgerow profile train.parquet   count what a model is trained on, to notice drift
  hedgerow status fraud            how a slot of a running server is, and what waiting costs
  hedgerow drift fraud             whether it still sees what it was trained on
  hedgerow promote fraud           let its challenger take the next step
  hedgerow rollback fraud          go back to the previous champion
  hedgerow decisions fraud         what was decided, by whom, on what evidence
  hedgerow --version               version, and the engines that are found here"
)]
struct Arguments {
    /// Print the version and the engines that are found here.
    #[arg(short = 'V', long)]
    version: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Arguments),
    Check(check::Arguments),
    Replay(replay::Arguments),
    Profile(profile::Arguments),
    Health(health::Arguments),
    Status(status::Arguments),
    Drift(drift::Arguments),
    Promote(promote::Arguments),
    Rollback(rollback::Arguments),
    Decisions(decisions::Arguments),
    Export(export::Arguments),
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.command {
        _ if arguments.version => print(&version()),
        Some(Command::Serve(arguments)) => serve::run(&arguments),
        Some(Command::Check(arguments)) => check::run(&arguments),
        Some(Command::Replay(arguments)) => replay::run(&arguments),
        Some(Command::Profile(arguments)) => profile::run(&arguments),
        Some(Command::Health(arguments)) => health::run(&arguments),
        Some(Command::Status(arguments)) => status::run(&arguments),
        Some(Command::Drift(arguments)) => drift::run(&arguments),
        Some(Command::Promote(arguments)) => promote::run(&arguments),
        Some(Command::Rollback(arguments)) => rollback::run(&arguments),
        Some(Command::Decisions(arguments)) => decisions::run(&arguments),
        Some(Command::Export(arguments)) => export::run(&arguments),
        None => print(&Arguments::command().render_help().to_string()),
    }
}

fn version() -> String {
    // A broken environment is for `serve --check` to explain.
    let config = Config::load(None, &[]).unwrap_or_default();
    let libraries = config.revision.libraries;
    let mut text = format!("hedgerow {}\n", env!("CARGO_PKG_VERSION"));
    for (name, found) in engine::available(&libraries) {
        let found = found.unwrap_or_else(|reason| format!("unavailable: {reason}"));
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {name:<12} {found}");
    }
    let _ = writeln!(
        text,
        "native libraries are looked for in {}",
        libraries.dir.display()
    );
    text
}

/// Writes to standard output. A reader that has seen enough (`| head`) is no failure.
fn print(text: &str) -> ExitCode {
    match write(text) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            complain(&format!("hedgerow: standard output: {error}"))
        }
        _ => ExitCode::SUCCESS,
    }
}

/// Writes to standard output, and says when nobody reads any more.
fn write(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// Writes a line to standard error. Where that fails there is nobody left to tell.
fn complain(line: &str) -> ExitCode {
    let _ = writeln!(io::stderr(), "{line}");
    ExitCode::FAILURE
}

fn complain_of(problems: &[Problem]) -> ExitCode {
    for problem in problems {
        complain(&problem.to_string());
    }
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn flags_may_stand_before_and_after_the_folder() {
        for line in [
            "hedgerow serve --http 127.0.0.1:1 models",
            "hedgerow serve models --http 127.0.0.1:1",
        ] {
            let arguments = Arguments::try_parse_from(line.split(' ')).unwrap();
            let Some(Command::Serve(serve)) = arguments.command else {
                panic!("{line}");
            };
            let config = Config::load(None, &serve.flags()).unwrap();
            assert_eq!(config.source.dir, std::path::Path::new("models"));
            assert_eq!(config.api.http.to_string(), "127.0.0.1:1");
        }
    }

    #[test]
    fn the_help_says_the_defaults_as_they_are() {
        let mut command = Arguments::command();
        let serve = command.find_subcommand_mut("serve").unwrap();
        let help = serve.render_long_help().to_string();
        let config = Config::default();
        for default in [
            config.source.dir.display().to_string(),
            config.api.http.to_string(),
            config.api.grpc.to_string(),
            config.api.admin.to_string(),
        ] {
            assert!(help.contains(&format!("[default: {default}]")), "{help}");
        }
    }

    #[test]
    fn the_version_names_every_engine() {
        let text = version();
        for name in ["forest", "xgboost", "lightgbm", "onnxruntime"] {
            assert!(text.contains(&format!("\n  {name} ")), "{text}");
        }
    }
}
