//! The metrics' names and their exposition.

/// Everything that is reported.
#[derive(Debug, Default)]
pub struct Metrics {}

impl Metrics {
    /// The exposition of a server's state now, in the Prometheus text format.
    pub fn render(&self, _server: &crate::serve::Server) -> String {
        String::new()
    }
}
