//! What the outside sees of the server: metrics, logs and traces.

pub mod drift;
mod exemplars;
pub mod export;
pub mod log;
pub mod metrics;
pub mod trace;
pub mod trials;

/// Settings of metrics and logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The span of the sliding latency quantiles, in seconds. At least 1.
    pub window_s: u64,
    pub log_format: log::Format,
    /// A filter as `tracing` reads it: `info`, `debug`, `hedgerow=debug,warn`, …
    pub log_level: String,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            window_s: 60,
            log_format: log::Format::Auto,
            log_level: "info".to_string(),
        }
    }
}
