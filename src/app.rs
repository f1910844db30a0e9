//! Builds the server from its configuration, binds the listeners, drains at shutdown.

use crate::config::Config;

/// Serves until it is told to stop.
///
/// # Errors
/// Why the server could not start.
pub fn run(_config: Config) -> Result<(), String> {
    Err("not built yet".to_string())
}
