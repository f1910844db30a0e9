//! The one integration binary.

mod exact_xgboost;
mod golden;
