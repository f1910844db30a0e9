//! Drift: whether what is served is still what the model was trained on.

pub mod bins;
pub mod profile;
pub mod report;
pub mod window;
