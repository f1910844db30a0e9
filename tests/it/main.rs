//! The one integration binary.

// Clippy takes helpers for test code only below `cfg(test)`.
#[cfg(test)]
mod boundaries;
#[cfg(test)]
mod config;
#[cfg(test)]
mod drift;
#[cfg(all(test, feature = "lightgbm"))]
mod exact_lightgbm;
#[cfg(test)]
mod exact_onnx;
#[cfg(test)]
mod exact_shap;
#[cfg(test)]
mod exact_xgboost;
#[cfg(test)]
mod explain;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod hooks;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod load;
#[cfg(test)]
mod onnx_engine;
#[cfg(test)]
mod platforms;
#[cfg(test)]
mod postgres;
#[cfg(test)]
mod process;
#[cfg(test)]
mod profile;
#[cfg(test)]
mod random_onnx;
#[cfg(test)]
mod replay;
#[cfg(test)]
mod server;
#[cfg(test)]
mod sockets;
#[cfg(test)]
mod support;
#[cfg(test)]
mod trace;
#[cfg(test)]
mod trials;
#[cfg(test)]
mod validate;
#[cfg(test)]
mod watch;
