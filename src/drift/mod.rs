//! Drift of what comes in and goes out against a profile of training time.

pub mod alarm;
