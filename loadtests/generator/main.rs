//! `load`: requests over HTTP/1.1 or gRPC from one thread, and what became of them as one JSON
//! object on stdout. README.md beside this file says what is measured and how.

mod connection;
mod exchange;
mod frames;
mod hpack;
mod http1;
mod http2;
mod options;
#[path = "../pin.rs"]
mod pin;
mod plan;
mod report;
mod run;
mod schedule;
mod socket;
mod tally;

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use options::Options;
use run::Run;

fn main() -> ExitCode {
    // A plain `cargo bench` or `cargo test --benches` starts every bench without arguments.
    let bare = |argument: String| argument == "--bench";
    if std::env::args().skip(1).all(bare) {
        let _written = writeln!(std::io::stdout(), "load: see loadtests/generator/README.md");
        return ExitCode::SUCCESS;
    }
    let options = Options::parse();
    match measure(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _written = writeln!(std::io::stderr(), "load: {error}");
            ExitCode::from(2)
        }
    }
}

fn measure(options: &Options) -> Result<(), Box<dyn Error>> {
    let mut run = Run::new(options)?;
    run.set_up()?;
    run.drive()?;
    let answer = run.first_answer();
    if let (Some(path), Some(answer)) = (&options.answer, answer) {
        std::fs::write(path, answer)
            .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }
    let report = report::report(options, &run.into_outcome());
    writeln!(std::io::stdout(), "{report}")?;
    Ok(())
}
