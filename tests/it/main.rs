//! The one integration binary.

mod exact_onnx;
mod golden;
mod onnx_engine;
mod random_onnx;
