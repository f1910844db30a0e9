//! The metrics of the exported prediction log.

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;

use super::metrics::{counters, gauges, labels};

/// What was exported of a slot since the start.
#[derive(Clone, Debug, Default)]
pub struct Slot {
    pub slot: String,
    /// Rows in complete files.
    pub rows: u64,
    pub files: u64,
    pub failures: u64,
    /// Rows that cannot be read.
    pub broken_rows: u64,
    pub lag_s: f64,
}

type Count = fn(&Slot) -> u64;

/// Writes the metrics of all slots.
pub fn encode(slots: &[Slot], encoder: &mut DescriptorEncoder) -> fmt::Result {
    let counts: [(&str, &str, Count); 4] = [
        (
            "hedgerow_export_rows",
            "Predictions in complete files of the exported log.",
            |it| it.rows,
        ),
        (
            "hedgerow_export_files",
            "Complete files of the exported log.",
            |it| it.files,
        ),
        (
            "hedgerow_export_failures",
            "Times that the log could not be exported; it is tried again.",
            |it| it.failures,
        ),
        (
            "hedgerow_export_broken_rows",
            "Predictions that are not exported because what was recorded of them cannot be read.",
            |it| it.broken_rows,
        ),
    ];
    for (name, help, count) in counts {
        let each = slots.iter();
        let series = each.map(|it| (labels([("slot", it.slot.as_str())]), count(it)));
        counters(encoder, name, help, series)?;
    }
    let each = slots.iter();
    gauges(
        encoder,
        "hedgerow_export_lag_seconds",
        "How long ago the oldest prediction was due that is in no complete file yet.",
        each.map(|it| (labels([("slot", it.slot.as_str())]), it.lag_s)),
    )
}
