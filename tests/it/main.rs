//! The one integration binary.

mod exact_onnx;
mod golden;
mod random_onnx;
