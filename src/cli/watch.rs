//! Looking again and again: what `--watch` does, whatever is looked at.

use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

use super::format;

/// How often to look, and how it is shown.
#[derive(Clone, Copy, Debug)]
pub struct Watch {
    pub seconds: u64,
    /// For programs: nothing is cleared, and a failed look is an object too.
    pub json: bool,
}

/// Longest pause between two looks: a day.
const PAUSE_MAX: u64 = 86_400;
/// To the terminal's first place, and everything behind it away.
const CLEAR: &str = "\u{1b}[H\u{1b}[2J";

impl Watch {
    /// Prints the first look, then others, until nobody reads any more or the process is interrupted.
    pub fn run(self, first: String, look: impl Fn() -> Result<String, String>) -> ExitCode {
        let head = match format::is_terminal() && !self.json {
            true => CLEAR,
            false => "",
        };
        let mut text = first;
        while super::write(&format!("{head}{text}")).is_ok() {
            sleep(Duration::from_secs(self.seconds));
            text = look().unwrap_or_else(|reason| match self.json {
                true => format!("{}\n", serde_json::json!({ "error": reason })),
                false => format!("{reason}\n"),
            });
        }
        ExitCode::SUCCESS
    }
}

/// Reads the value of `--watch`.
///
/// # Errors
/// When it is no number of seconds from 1 to a day.
pub fn seconds(text: &str) -> Result<u64, String> {
    let seconds: Option<u64> = text.parse().ok();
    seconds
        .filter(|it| (1..=PAUSE_MAX).contains(it))
        .ok_or_else(|| {
            format!("expected seconds from 1 to {PAUSE_MAX}; a slot stands before --watch")
        })
}
