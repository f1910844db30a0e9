//! A watched folder of models: `<dir>/<slot>/<revision>/`.

use std::path::PathBuf;

/// Where models lie and how they are watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub dir: PathBuf,
    /// Milliseconds between two looks at the folder. At least 10.
    pub poll_interval_ms: u64,
    /// A revision's folder is loaded once nothing in it changed for this many milliseconds.
    pub settle_ms: u64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            dir: PathBuf::from("models"),
            poll_interval_ms: 1000,
            settle_ms: 2000,
        }
    }
}
