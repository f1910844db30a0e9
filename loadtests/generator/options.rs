//! The command line.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{ArgGroup, Parser, ValueEnum};

/// Sends requests over HTTP/1.1 or gRPC and prints what became of them as one JSON object.
#[derive(Debug, Parser)]
#[command(name = "load", group = ArgGroup::new("target").required(true).args(["address", "unix"]))]
pub struct Options {
    /// What is spoken.
    #[arg(long, value_enum)]
    pub protocol: Protocol,
    /// Host and port of the server.
    #[arg(long, value_name = "HOST:PORT")]
    pub address: Option<String>,
    /// Unix socket of the server.
    #[arg(long, value_name = "PATH")]
    pub unix: Option<PathBuf>,
    /// The request's path; for gRPC the method's.
    #[arg(
        long,
        default_value_if("protocol", "grpc", "/inference.GRPCInferenceService/ModelInfer"),
        required_if_eq("protocol", "http")
    )]
    pub path: Option<String>,
    /// The request's body; for gRPC one message without its prefix. Without it: GET.
    #[arg(long, value_name = "FILE", required_if_eq("protocol", "grpc"))]
    pub body: Option<PathBuf>,
    /// A header of every request, `name: value`; may be given again.
    #[arg(long = "header", value_name = "NAME: VALUE")]
    pub headers: Vec<Header>,
    /// Connections; each has one request in flight at the most.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub connections: u32,
    /// Seconds of the closed loop.
    #[arg(long, conflicts_with = "requests", value_parser = seconds, default_value = "10")]
    pub seconds: f64,
    /// Requests of the closed loop, instead of seconds.
    #[arg(long)]
    pub requests: Option<u64>,
    /// Seconds of requests that do not count, at first; in the open loop at the first rate.
    #[arg(long, value_parser = seconds, default_value = "0")]
    pub warmup: f64,
    /// Open loop: phases of so many requests per second for so many seconds.
    #[arg(
        long,
        value_name = "R:S,…",
        value_delimiter = ',',
        conflicts_with_all = ["requests", "seconds"]
    )]
    pub rate: Vec<Rate>,
    /// Open loop: arrivals that wait for a connection at the most; others are dropped.
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    pub waiting_max: usize,
    /// Seed of the arrivals of the open loop.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// The core to run on.
    #[arg(long)]
    pub core: Option<usize>,
    /// Never sleep while waiting for answers: leaves the wake-up out of the latencies.
    #[arg(long)]
    pub spin: bool,
    /// Where the first answer's body is written; for gRPC its message without the prefix.
    #[arg(long, value_name = "FILE")]
    pub answer: Option<PathBuf>,
    /// What every good answer's body has to hold, byte by byte; others are errors.
    #[arg(long, value_name = "FILE")]
    pub expect: Option<PathBuf>,
    /// Milliseconds of the intervals that are reported one by one.
    #[arg(long, value_name = "M", value_parser = clap::value_parser!(u64).range(1..))]
    pub interval_ms: Option<u64>,
    /// What cargo passes to benches.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    Http,
    Grpc,
}

/// A header as it is given.
#[derive(Clone, Debug)]
pub struct Header {
    /// In lower case.
    pub name: String,
    pub value: String,
}

/// A phase of the open loop.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    pub requests_per_s: f64,
    pub seconds: f64,
}

impl Protocol {
    /// As it is given and reported.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Http => "http",
            Protocol::Grpc => "grpc",
        }
    }
}

impl FromStr for Header {
    type Err = String;

    fn from_str(text: &str) -> Result<Header, String> {
        let (name, value) = text.split_once(':').ok_or("expected `name: value`")?;
        let (name, value) = (name.trim().to_ascii_lowercase(), value.trim().to_string());
        let broken = |byte: u8| byte.is_ascii_control();
        if name.is_empty() || name.bytes().chain(value.bytes()).any(broken) {
            return Err("expected a name, and no control characters".to_string());
        }
        Ok(Header { name, value })
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Rate, String> {
        let (rate, length) = text
            .split_once(':')
            .ok_or("expected requests per second and seconds, R:S")?;
        let requests_per_s: f64 = rate.parse().map_err(|_| "R is not a number")?;
        if !(0.0..=10_000_000.0).contains(&requests_per_s) {
            return Err("R: expected 0 to 10,000,000 requests per second".to_string());
        }
        Ok(Rate {
            requests_per_s,
            seconds: seconds(length)?,
        })
    }
}

/// A length of time, a day at the most.
fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "expected seconds")?;
    match (0.0..=86_400.0).contains(&seconds) {
        true => Ok(seconds),
        false => Err("expected 0 to 86,400 seconds".to_string()),
    }
}
