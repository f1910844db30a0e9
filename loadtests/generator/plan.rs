//! What the options ask for: the request, the phases, and what counts as which end. Pure, but for
//! reading the body's file.

use std::path::PathBuf;

use super::connection::Request;
use super::http1;
use super::http2;
use super::options::{Options, Protocol};
use super::schedule::Phase;
use super::tally::{Outcome, Verdict};

/// What every request is.
///
/// # Errors
/// When its body cannot be read.
pub fn request(options: &Options) -> Result<Request, String> {
    let read = |path: &PathBuf| {
        std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
    };
    let body = options.body.as_ref().map(read).transpose()?;
    let path = options.path.as_deref().unwrap_or("/");
    let host = options.address.as_deref().unwrap_or("localhost");
    let headers: Vec<(&str, &str)> = options
        .headers
        .iter()
        .map(|header| (&header.name[..], &header.value[..]))
        .collect();
    Ok(match options.protocol {
        Protocol::Http => Request::Http(http1::request(path, host, &headers, body.as_deref())),
        Protocol::Grpc => {
            let body = body.unwrap_or_default();
            let request = http2::Request::new(path, host, &headers, &body);
            Request::Grpc(Box::new(request))
        }
    })
}

/// The warm-up, then what counts.
pub fn phases(options: &Options) -> Vec<Phase> {
    let ns = |seconds: f64| (seconds * 1e9) as u64;
    let warm_ns = ns(options.warmup);
    let rate = |index: usize| options.rate.get(index).map(|rate| rate.requests_per_s);
    let mut phases = vec![Phase {
        rate: rate(0),
        start_ns: 0,
        end_ns: warm_ns,
    }];
    if options.rate.is_empty() {
        let length_ns = match options.requests {
            Some(_) => u64::MAX - warm_ns,
            None => ns(options.seconds),
        };
        phases.push(Phase {
            rate: None,
            start_ns: warm_ns,
            end_ns: warm_ns + length_ns,
        });
    }
    let mut start_ns = warm_ns;
    for rate in &options.rate {
        let end_ns = start_ns + ns(rate.seconds);
        phases.push(Phase {
            rate: Some(rate.requests_per_s),
            start_ns,
            end_ns,
        });
        start_ns = end_ns;
    }
    phases
}

/// What the end of a request means.
pub fn verdict(protocol: Protocol, outcome: Outcome) -> Verdict {
    match (protocol, outcome) {
        (Protocol::Http, Outcome::Status(200..300)) => Verdict::Ok,
        (Protocol::Http, Outcome::Status(429 | 503)) => Verdict::Refused,
        (Protocol::Grpc, Outcome::Status(0)) => Verdict::Ok,
        // RESOURCE_EXHAUSTED and UNAVAILABLE.
        (Protocol::Grpc, Outcome::Status(8 | 14)) => Verdict::Refused,
        _ => Verdict::Error,
    }
}
