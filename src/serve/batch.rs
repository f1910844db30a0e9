//! Rows to results: inline when that is cheap, else on compute threads, batched by rows.

/// The compute threads and their queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Compute threads; 0 means one per core.
    pub threads: usize,
    /// Rows that may wait for a compute thread, all slots together. At least 1.
    pub queue_rows_max: usize,
}

/// How a slot's rows are batched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Rows of one engine call at the most. At least 1.
    pub max_batch_rows: usize,
    /// Microseconds that a batch with room left waits for more rows.
    pub max_queue_delay_us: u64,
    /// Requests expected to take up to this many microseconds run on the calling task.
    pub inline_us_max: u64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            threads: 0,
            queue_rows_max: 100_000,
        }
    }
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            max_batch_rows: 256,
            max_queue_delay_us: 0,
            inline_us_max: 50,
        }
    }
}
