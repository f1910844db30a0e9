//! Drift: whether what is served is still what the model was trained on.

pub mod build;
pub mod profile;
pub mod report;
