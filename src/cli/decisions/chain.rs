//! A slot's decisions as they are served, page by page, and the proof of their chain. A page is
//! checked and let go, so that a chain of any length fits.

use serde::{Deserialize, Serialize};

use super::super::client::{self, Client};
use crate::journal::decisions::{Broken, Entry, GENESIS, verify};

/// One decision as the server gives it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Served {
    pub slot: String,
    pub seq: i64,
    pub at_ms: i64,
    /// JSON, to the byte as it was hashed.
    pub body: String,
    pub previous: String,
    pub hash: String,
}

#[derive(Debug, Deserialize)]
struct Page {
    decisions: Vec<Served>,
}

/// A chain that is checked as its pages come.
#[derive(Debug)]
pub struct Chain {
    slot: String,
    last: Option<Entry>,
    len: u64,
    broken: Option<Broken>,
}

/// Decisions of one question: the most that the server gives.
const PAGE: usize = 1_000;

/// Reads all decisions of a slot, a page at a time, until a page is empty or `each` fails.
///
/// # Errors
/// What the server says, and what `each` says.
pub fn read(
    client: &Client,
    slot: &str,
    mut each: impl FnMut(Vec<Served>) -> Result<(), String>,
) -> Result<(), String> {
    let mut after = 0;
    loop {
        let path = client::slot_path(slot, &format!("/decisions?after={after}&limit={PAGE}"));
        let answer = client.get(&path)?;
        // The body is hashed, so it is taken as it is: not by way of `client::parse`.
        let page: Page = serde_json::from_str(&answer)
            .map_err(|error| format!("the answer is not a page of decisions: {error}"))?;
        let Some(last) = page.decisions.last() else {
            return Ok(());
        };
        // Whatever its order: a server that gives the same again would be asked for ever.
        let further = last.seq.max(after);
        let is_stuck = further == after;
        each(page.decisions)?;
        if is_stuck {
            return Err(format!(
                "{slot}: the server gives decisions up to {after} again"
            ));
        }
        after = further;
    }
}

impl Chain {
    /// The chain of this slot, of which nothing was read.
    pub fn new(slot: &str) -> Chain {
        Chain {
            slot: slot.to_string(),
            last: None,
            len: 0,
            broken: None,
        }
    }

    /// Checks the decisions that follow.
    ///
    /// # Errors
    /// When the chain is broken there: then [`Chain::broken`] has the place.
    pub fn add(&mut self, page: Vec<Served>) -> Result<(), String> {
        let mut entries: Vec<Entry> = self.last.take().into_iter().collect();
        let known = entries.len();
        entries.extend(page.into_iter().map(Entry::from));
        let checked = match entries.first() {
            Some(first) if first.slot != self.slot => Err(Broken {
                seq: first.seq,
                reason: format!(
                    "it is of slot \"{}\"",
                    first.slot.replace(char::is_control, " ")
                ),
            }),
            Some(first) if known == 0 && first.seq != 1 => Err(Broken {
                seq: first.seq,
                reason: "entries before it are missing".to_string(),
            }),
            _ => verify(&entries),
        };
        if let Err(broken) = checked {
            let reason = broken.to_string();
            self.broken = Some(broken);
            return Err(reason);
        }
        self.len += (entries.len() - known) as u64;
        self.last = entries.pop();
        Ok(())
    }

    /// Where it does not hold.
    pub fn broken(&self) -> Option<&Broken> {
        self.broken.as_ref()
    }

    /// Decisions that hold.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// The hash of the last decision that holds.
    pub fn last_hash(&self) -> &str {
        self.last.as_ref().map_or(GENESIS, |entry| &entry.hash)
    }
}

impl From<Served> for Entry {
    fn from(served: Served) -> Entry {
        Entry {
            slot: served.slot,
            seq: served.seq,
            at_ms: served.at_ms,
            body: served.body,
            previous: served.previous,
            hash: served.hash,
        }
    }
}
