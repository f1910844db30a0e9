//! The prediction cache of a slot.

/// A prediction cache.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Settings {
    /// Bytes of rows and results that it may hold; 0 turns it off.
    pub capacity_bytes: u64,
    /// Seconds that a result stays; 0 means until it is pushed out.
    pub ttl_s: u64,
}
