//! `hedgerow health`: whether the server on this machine is ready, or alive, by the exit code. For a container
//! engine, whose images need no other program to ask with.

use std::path::PathBuf;
use std::process::ExitCode;

use super::client::{Client, Connection};
use crate::config::Config;

/// Say whether the server on this machine is ready, or alive: exit code 0 when it is, else 1.
///
/// It asks the admin address of the configuration, as `hedgerow serve` would take it from the same
/// file and the same variables.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example, in a Dockerfile:
  HEALTHCHECK CMD [\"hedgerow\", \"health\"]")]
pub struct Arguments {
    /// Configuration file of the server, TOML.
    #[arg(long, value_name = "FILE", env = "HEDGEROW_CONFIG")]
    config: Option<PathBuf>,
    /// Ask whether it answers at all, be it ready or not.
    #[arg(long)]
    alive: bool,
}

/// Asks, and prints what is answered.
pub fn run(arguments: &Arguments) -> ExitCode {
    let config = match Config::load(arguments.config.as_deref(), &[]) {
        Ok(config) => config,
        Err(problems) => return super::complain_of(&problems),
    };
    let client = Connection::local(config.api.admin).client();
    match client.and_then(|client| ask(&client, arguments.alive)) {
        Ok(()) if arguments.alive => super::print("alive\n"),
        Ok(()) => super::print("ready\n"),
        Err(reason) => super::complain(&reason),
    }
}

fn ask(client: &Client, alive: bool) -> Result<(), String> {
    let path = match alive {
        true => "/v2/health/live",
        false => "/v2/health/ready",
    };
    client.get(path).map(drop)
}

#[cfg(test)]
mod tests {
    use super::super::client::tests::with_server;
    use super::*;

    #[test]
    fn a_server_is_ready_when_it_says_so() {
        for (answer, expected) in [(200, true), (503, false)] {
            for (alive, path) in [(false, "ready"), (true, "live")] {
                let (asked, requests) = with_server(&[(answer, "{}")], |connection| {
                    connection.client().and_then(|client| ask(&client, alive))
                });
                assert_eq!(asked.is_ok(), expected, "{asked:?}");
                assert!(requests[0].starts_with(&format!("GET /v2/health/{path} ")));
            }
        }
    }

    #[test]
    fn a_server_that_listens_everywhere_is_asked_on_the_loopback() {
        for (admin, url) in [
            ("0.0.0.0:9", "http://127.0.0.1:9"),
            ("[::]:9", "http://[::1]:9"),
            ("10.0.0.7:9", "http://10.0.0.7:9"),
        ] {
            let connection = Connection::local(admin.parse().unwrap());
            assert_eq!(
                format!("{connection:?}"),
                format!("Connection {{ url: \"{url}\" }}")
            );
        }
    }
}
