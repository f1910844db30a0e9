//! `hedgerow serve`: starts the server, or only checks its configuration.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::app;
use crate::config::{Config, Flag};

/// Serve the models of a folder over HTTP and gRPC.
///
/// The folder holds <slot>/<revision>/ with one model each; the highest revision of a slot answers,
/// and new ones are taken in while the server runs.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Settings come from the configuration file, then from variables such as
HEDGEROW__SERVER__HTTP=127.0.0.1:9000, then from the flags here; the last one wins.
No file is read unless it is named.

Examples:
  hedgerow serve models/
  hedgerow serve /mnt/models --slot fraud
  hedgerow serve --config hedgerow.toml
  hedgerow serve --config hedgerow.toml --check
  hedgerow serve models/ --http 127.0.0.1:9000 --grpc 127.0.0.1:9001"
)]
pub struct Arguments {
    /// Folder of models [default: models].
    dir: Option<String>,
    /// The folder is of this one slot: it holds its revisions, or the files of one model.
    #[arg(long, value_name = "NAME")]
    slot: Option<String>,
    /// Configuration file, TOML.
    #[arg(long, value_name = "FILE", env = "HEDGEROW_CONFIG")]
    config: Option<PathBuf>,
    /// Address of HTTP [default: 0.0.0.0:8080].
    #[arg(long, value_name = "ADDR")]
    http: Option<String>,
    /// Address of gRPC [default: 0.0.0.0:8081].
    #[arg(long, value_name = "ADDR")]
    grpc: Option<String>,
    /// Address of metrics and of loading models [default: 127.0.0.1:8082].
    #[arg(long, value_name = "ADDR")]
    admin: Option<String>,
    /// Check the configuration, print every problem with its place, and do not serve.
    #[arg(long)]
    check: bool,
}

impl Arguments {
    /// The flags that were given, as keys of the configuration.
    pub fn flags(&self) -> Vec<Flag> {
        let flags = [
            ("DIR", "models", "dir", &self.dir),
            ("--slot", "models", "slot", &self.slot),
            ("--http", "server", "http", &self.http),
            ("--grpc", "server", "grpc", &self.grpc),
            ("--admin", "server", "admin", &self.admin),
        ];
        flags
            .into_iter()
            .filter_map(|(name, section, key, value)| {
                let value = value.clone()?;
                Some(Flag {
                    name,
                    section,
                    key,
                    value,
                })
            })
            .collect()
    }
}

/// Serves until it is told to stop.
pub fn run(arguments: &Arguments) -> ExitCode {
    let config = match Config::load(arguments.config.as_deref(), &arguments.flags()) {
        Ok(config) => config,
        Err(problems) => return super::complain_of(&problems),
    };
    if arguments.check {
        return super::print("configuration is valid\n");
    }
    match app::run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => super::complain(&format!("hedgerow: {reason}")),
    }
}
