//! The keys of `[trace]`: spans for OpenTelemetry.

use super::{DAY_MS, Key, REQUESTS_MAX, Set, count, one_of, size, text};
use crate::telemetry::trace::{Headers, Protocol, attributes};

const SECTION: &str = "trace";

/// The key whose value no message repeats.
pub const SECRET: &str = "trace.headers";

/// Every key of the section, in the order of the documentation.
pub static KEYS: [Key; 11] = [
    text(SECTION, "endpoint", |c, v| c.trace.set_endpoint(v)),
    text(SECTION, "protocol", |c, v| {
        let words = [
            ("auto", None),
            ("grpc", Some(Protocol::Grpc)),
            ("http", Some(Protocol::Http)),
            // As OpenTelemetry's own variable has it.
            ("http/protobuf", Some(Protocol::Http)),
        ];
        one_of(&mut c.trace.protocol, v, &words)
    }),
    text(SECTION, "headers", |c, v| {
        c.trace.headers = Headers::parse(v)?;
        Ok(())
    }),
    text(SECTION, "service_name", |c, v| {
        if v.is_empty() {
            return Err("expected a name, got nothing".to_string());
        }
        c.trace.service_name = v.to_string();
        Ok(())
    }),
    text(SECTION, "resource", |c, v| {
        c.trace.resource = attributes(v).map_err(|expected| format!("{expected}, got \"{v}\""))?;
        Ok(())
    }),
    Key {
        section: SECTION,
        name: "sample_ratio",
        set: Set::Number(0.0..=1.0, |c, v| c.trace.sample_ratio = v),
    },
    Key {
        section: SECTION,
        name: "sample_by_parent",
        set: Set::Bool(|c, v| c.trace.sample_by_parent = v),
    },
    count(SECTION, "queue_requests_max", 1..=REQUESTS_MAX, |c, v| {
        c.trace.queue_max = size(v);
    }),
    count(SECTION, "batch_requests_max", 1..=10_000, |c, v| {
        c.trace.batch_max = size(v);
    }),
    count(SECTION, "batch_ms", 1..=DAY_MS, |c, v| {
        c.trace.batch_ms = v;
    }),
    count(SECTION, "timeout_ms", 1..=DAY_MS, |c, v| {
        c.trace.timeout_ms = v;
    }),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn the_secret_is_a_key() {
        let path = |key: &Key| format!("{}.{}", key.section, key.name);
        assert!(KEYS.iter().any(|key| path(key) == SECRET));
        assert_eq!(Config::default().trace.endpoint, "");
    }
}
