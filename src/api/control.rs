//! An operator's word on a slot's trials, as both protocols pass it on.

use super::Shared;
use crate::error::{Code, Error};
use crate::journal::decisions::Entry;
use crate::model::slot::Arrival;
use crate::rollout::{Ask, Done, Rollout};

/// Bytes of an actor's name and of a reason.
const TEXT_MAX: usize = 1000;
/// The actor of what the controller decides by itself.
const CONTROLLER: &str = "controller";

/// Promotes; a revision that is not loaded is loaded first, and without force begins its trial.
///
/// # Errors
/// As [`Rollout::ask`], and why the revision cannot be loaded; [`Code::Conflict`] where new revisions
/// answer at once.
pub async fn promoted(
    shared: &Shared,
    slot: &str,
    (revision, force): (Option<u64>, bool),
    actor: &str,
) -> Result<Done, Error> {
    let rollout = loop_of(shared)?;
    // Says what is wrong with a slot that has no trials.
    let _report = rollout.report(slot)?;
    if shared.server.watch(slot).arrival == Arrival::Replace {
        return Err(Error::new(
            Code::Conflict,
            format!(
                "slot \"{slot}\": on_arrival is \"replace\", so the folder decides who answers here"
            ),
        ));
    }
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

/// A slot's decisions after `after_seq`, at most `limit`.
///
/// # Errors
/// [`Code::NotFound`] for an unknown slot that never had one, and what the journal says.
pub async fn decided(
    shared: &Shared,
    slot: &str,
    after_seq: i64,
    limit: u32,
) -> Result<Vec<Entry>, Error> {
    let entries = loop_of(shared)?.decisions(slot, after_seq, limit).await?;
    if entries.is_empty() && after_seq <= 0 {
        // A slot that does not exist has no decisions either.
        shared.server.slot(slot)?;
    }
    Ok(entries)
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
/// When the name is too long, or that of the controller, which signs its own decisions.
pub fn actor(given: Option<String>) -> Result<String, Error> {
    let given = given.filter(|it| !it.trim().is_empty());
    let actor = limited("actor", given.unwrap_or_else(|| "operator".to_string()))?;
    match actor.trim().eq_ignore_ascii_case(CONTROLLER) {
        true => Err(Error::invalid(
            "actor: expected a person's name; \"controller\" stands for the server itself",
        )),
        false => Ok(actor),
    }
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
