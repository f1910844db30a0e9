//! The one integration binary.

#[cfg(feature = "lightgbm")]
mod exact_lightgbm;
mod golden;
