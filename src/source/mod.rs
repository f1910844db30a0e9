//! Where artifacts come from, and the one task that takes them in: it alone prepares and commits
//! revisions, one after the other, off the serving threads.

pub mod dir;

use std::collections::BTreeMap;

use tokio::sync::{mpsc, oneshot};

use crate::error::{Code, Error};

/// Asks the repository's task to load and unload. Clones share the task.
#[derive(Clone, Debug)]
pub struct Repository {
    commands: mpsc::Sender<Command>,
}

/// The files of a model given in a request, by revision and name.
pub type Files = BTreeMap<u64, BTreeMap<String, Vec<u8>>>;

/// What the repository's task is asked to do.
#[derive(Debug)]
pub(crate) struct Command {
    pub slot: String,
    pub action: Action,
    pub reply: oneshot::Sender<Result<(), Error>>,
}

#[derive(Debug)]
pub(crate) enum Action {
    /// Load this revision, or the highest one; from the folder, or from these files.
    Load {
        revision: Option<u64>,
        files: Files,
    },
    Unload,
}

/// Commands that may wait for the repository's task.
const COMMANDS_MAX: usize = 64;

impl Repository {
    pub(crate) fn new() -> (Repository, mpsc::Receiver<Command>) {
        let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
        (Repository { commands }, receiver)
    }

    /// Loads a slot's revision (`None`: its highest) and makes it the champion; returns when it
    /// answers. With `files`, of these files instead of the folder's.
    ///
    /// # Errors
    /// [`Code::NotFound`] for an unknown slot or revision, [`Code::InvalidArgument`] with the reason
    /// why a revision is refused, [`Code::Overloaded`] when too many commands wait.
    pub async fn load(&self, slot: &str, revision: Option<u64>, files: Files) -> Result<(), Error> {
        self.send(slot, Action::Load { revision, files }).await
    }

    /// Unloads a slot. It stays unloaded until it is loaded again or gets a new revision.
    ///
    /// # Errors
    /// [`Code::NotFound`] for an unknown slot, [`Code::Overloaded`] when too many commands wait.
    pub async fn unload(&self, slot: &str) -> Result<(), Error> {
        self.send(slot, Action::Unload).await
    }

    async fn send(&self, slot: &str, action: Action) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        let command = Command {
            slot: slot.to_string(),
            action,
            reply,
        };
        let stopping = || Error::new(Code::Draining, "the server is shutting down");
        self.commands
            .try_send(command)
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => {
                    Error::overloaded(format!("{COMMANDS_MAX} repository commands are waiting"))
                }
                mpsc::error::TrySendError::Closed(_) => stopping(),
            })?;
        answer.await.unwrap_or_else(|_dropped| Err(stopping()))
    }
}
