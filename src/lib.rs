//! Hedgerow: a low-latency HTTP and gRPC server for gradient-boosted trees.
//!
//! ARCHITECTURE.md has the map; the modules below are listed by layer, and a module imports only
//! what stands above it.

// Layer 0: pure.
pub mod forest;
pub mod tensor;
// Layer 1.
pub mod engine;
pub mod model;
// Layer 2.
pub mod error;
pub mod serve;
pub mod task;
pub mod telemetry;
// Layer 3.
pub mod drift;
pub mod journal;
pub mod rollout;
pub mod source;
// Layer 4.
pub mod api;
// Layer 5.
pub mod app;
pub mod cli;
pub mod config;
