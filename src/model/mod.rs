//! Models: what is in a revision's folder, and slots that revisions are served from.

pub mod golden;
