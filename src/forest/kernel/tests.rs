//! The kernel against the reference on random forests and rows.
