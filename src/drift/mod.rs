//! Drift: whether what is served is still what the model was trained on.

pub mod alarm;
pub mod bins;
pub mod estimate;
pub mod profile;
pub mod report;
pub mod statistic;
pub mod window;
