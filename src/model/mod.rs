//! Models: what is in a revision's folder, and slots that revisions are served from.
//!
//! Loading is prepare ([`revision::prepare`]: may fail, takes time, off the serving threads) and
//! commit ([`slot::Slot::commit`]: one atomic store, cannot fail).

pub mod artifact;
pub mod golden;
pub mod mlflow;
pub mod registry;
pub mod revision;
pub mod rules;
pub mod score;
pub mod signature;
pub mod slot;
pub mod usage;
