//! The one integration binary.

#[cfg(all(test, feature = "lightgbm"))]
mod exact_lightgbm;
#[cfg(test)]
mod exact_xgboost;
#[cfg(test)]
mod golden;
