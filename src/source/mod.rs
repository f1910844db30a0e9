//! Where artifacts come from.

pub mod dir;
