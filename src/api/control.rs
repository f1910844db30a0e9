//! An operator's word on a slot's trials, as both protocols pass it on.

use super::Shared;
use crate::error::{Code, Error};
use crate::rollout::{Ask, Done, Rollout};

/// Bytes of an actor's name and of a reason.
const TEXT_MAX: usize = 1000;

/// Promotes; a revision that is not loaded is loaded first, and without force begins its trial.
///
/// # Errors
/// As [`Rollout::ask`], and why the revision cannot be loaded.
pub async fn promoted(
    shared: &Shared,
    slot: &str,
    (revision, force): (Option<u64>, bool),
    actor: &str,
) -> Result<Done, Error> {
    let rollout = loop_of(shared)?;
    // Says what is wrong with a slot that has no trials.
    let _report = rollout.report(slot)?;
    let roles = shared.server.slot(slot)?.roles();
    let resident = |id: u64| roles.as_ref().is_some_and(|it| it.revision(id).is_some());
    // A revision that was given up is not to leave again before it is asked for.
    let _held;
    if let Some(id) = revision.filter(|id| !resident(*id)) {
        _held = rollout.hold(slot);
        let files = crate::source::Files::new();
        shared.repository.load(slot, Some(id), files).await?;
        if !force {
            return rollout.ask(slot, Ask::Shadow { revision: id }, actor).await;
        }
    }
    rollout
        .ask(slot, Ask::Promote { revision, force }, actor)
        .await
}

/// The loop, where any slot is in it.
///
/// # Errors
/// [`Code::Conflict`] with what turns it on.
pub fn loop_of(shared: &Shared) -> Result<&Rollout, Error> {
    shared.rollout.as_ref().ok_or_else(|| {
        Error::new(
            Code::Conflict,
            "no slot has trials: set on_arrival = \"shadow\" (or record = true) in [rollout] or [slots.NAME.rollout]",
        )
    })
}

/// Who asks.
///
/// # Errors
/// When the name is too long.
pub fn actor(given: Option<String>) -> Result<String, Error> {
    limited("actor", given.unwrap_or_else(|| "operator".to_string()))
}

/// A text of an operator.
///
/// # Errors
/// When it is too long.
pub fn limited(key: &str, text: String) -> Result<String, Error> {
    match text.len() > TEXT_MAX {
        true => Err(Error::invalid(format!(
            "{key}: expected at most {TEXT_MAX} bytes"
        ))),
        false => Ok(text),
    }
}
