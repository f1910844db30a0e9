//! What is done to a slot: by the controller on evidence, or by a person. Each change is a document
//! and the decision that led to it, written together; the roles of this process follow.

use std::time::Instant;

use serde_json::{Value, json};

use super::course::Course;
use super::decide::{Decision, Stage};
use super::document::Name;
use super::judge::{self, Judged};
use super::report::Trial;
use super::{Ask, Done, Shared};
use crate::error::{Code, Error};
use crate::serve::record::now_ms;

/// Does what a person asks for.
///
/// # Errors
/// Why it does not go.
pub fn obey(shared: &Shared, course: &mut Course, ask: &Ask, actor: &str) -> Result<Done, Error> {
    match ask {
        Ask::RollBack {
            revision: None,
            reason,
        } => {
            if let Some(sharing) = course.sharing() {
                return Err(conflict(format!(
                    "revision {sharing} has a share of the traffic: name it, or the champion, by its number"
                )));
            }
            roll_back(shared, course, actor, reason, None)
        }
        Ask::RollBack {
            revision: Some(revision),
            reason,
        } => give_up(shared, course, *revision, actor, reason),
        Ask::Shadow { revision } => enlist(shared, course, *revision, actor),
        Ask::Promote { revision, force } => {
            let name = wanted(course, *revision)?;
            if *force {
                return promote(shared, course, name, actor);
            }
            approve(shared, course, &name, actor)
        }
    }
}

/// Begins a trial, on a person's word.
fn enlist(shared: &Shared, course: &mut Course, revision: u64, actor: &str) -> Result<Done, Error> {
    let name = wanted(course, Some(revision))?;
    let Some(document) = course.document.clone() else {
        return Err(conflict("no champion answers yet"));
    };
    let (now, seq) = (now_ms(), course.seq.unwrap_or(0));
    let mut after = document.clone();
    if document.challenger(&name).is_none() {
        let max = course.watch.challengers_max;
        let left = after.enlist(name.clone(), (now, seq), max);
        let what = json!({
            "from": document.champion,
            "to": name,
            "stage": "shadow",
            "dismissed": left,
            "reasons": ["a person asked for its trial"],
        });
        let record = judge::record(course, "shadow", actor, what);
        if !shared.write(course, after, record)? {
            return Err(beaten());
        }
        course.arrange();
    }
    Ok(Done {
        decision: "shadow",
        from: Some(document.champion),
        to: Some(name),
        stage: Some("shadow".to_string()),
        took_us: 0,
    })
}

/// Goes back to the previous champion: first here, by a pointer, then in the journal.
pub fn roll_back(
    shared: &Shared,
    course: &mut Course,
    actor: &str,
    reason: &str,
    trial: Option<Trial>,
) -> Result<Done, Error> {
    let began = Instant::now();
    let Some(document) = course.document.clone() else {
        return Err(conflict("nothing was promoted"));
    };
    if let Some(previous) = document.previous.as_ref().filter(|it| !it.sound) {
        let revision = previous.name.revision;
        return Err(conflict(format!(
            "revision {revision} was rolled back from; promote it by its number, with force, to have it again"
        )));
    }
    let (now, mut after) = (now_ms(), document.clone());
    if !after.roll_back(now, course.seq.unwrap_or(0), reason) {
        return Err(conflict("there is no previous champion"));
    }
    let Some(back) = course.resident(&after.champion) else {
        return Err(conflict(format!(
            "revision {} is not loaded",
            after.champion.revision
        )));
    };
    shared.server.bury(course.slot.promote(back.uid));
    let took_us = began.elapsed().as_micros() as u64;
    if actor == "controller" {
        after.rolled_back_ms.push(now);
    }
    let done = Done {
        decision: "rollback",
        from: Some(document.champion.clone()),
        to: Some(after.champion.clone()),
        stage: None,
        took_us,
    };
    let what = json!({
        "from": document.champion,
        "to": after.champion,
        "reasons": [reason],
        "evidence": trial,
    });
    let record = judge::record(course, "rollback", actor, what);
    tracing::warn!(
        slot = course.slot.name,
        from = document.champion.revision,
        to = after.champion.revision,
        actor,
        reason,
        "rolled back"
    );
    match shared.write(course, after.clone(), record.clone()) {
        Ok(true) => {}
        // Something else was decided meanwhile; that is no reason, unless it was of the champion.
        Ok(false) => again(shared, course, &document.champion, (reason, record))?,
        // It is done here, and written when the journal is back.
        Err(_) => {
            course.document = Some(after.clone());
            course.pending = Some((after, record));
        }
    }
    course.arrange();
    shared.server.bury(course.follow());
    Ok(done)
}

/// Writes a rollback onto what is kept now, where that has the same champion.
fn again(
    shared: &Shared,
    course: &mut Course,
    champion: &Name,
    (reason, record): (&str, (&'static str, String)),
) -> Result<(), Error> {
    let kept = course.refresh(&shared.journal)?;
    let Some(mut kept) = kept.filter(|it| it.champion == *champion) else {
        return Err(beaten());
    };
    kept.roll_back(now_ms(), course.seq.unwrap_or(0), reason);
    match shared.write(course, kept, record)? {
        true => Ok(()),
        false => Err(beaten()),
    }
}

/// Takes a challenger to its next stage, or ends its trial.
pub fn conclude(
    shared: &Shared,
    course: &mut Course,
    judged: &Judged,
    actor: &str,
) -> Result<Done, Error> {
    let Some(document) = course.document.clone() else {
        return Err(conflict("nothing is on trial"));
    };
    let (name, now) = (judged.trial.name.clone(), now_ms());
    let seq = course.seq.unwrap_or(0);
    let next = judged.trial.stage + 1;
    let stage = course.stage(next);
    let mut after = document.clone();
    let decision = match (judged.judgement.decision, stage) {
        (Decision::Promote, Stage::Full) => {
            after.promote(name.clone(), now, seq);
            if actor == "controller" {
                after.promoted_ms.push(now);
            }
            "promote"
        }
        (Decision::Promote, _) => {
            after.advance(&name, next, now);
            "advance"
        }
        (Decision::Rollback, _) => {
            after.dismiss(&name, now, &judged.judgement.reasons.join("; "));
            "hold"
        }
        (Decision::Hold, _) => return Err(conflict(judged.judgement.reasons.join("; "))),
    };
    let stage = (decision == "advance").then(|| stage.to_string());
    let what = json!({
        "from": document.champion,
        "to": name,
        "stage": stage,
        "reasons": judged.judgement.reasons,
        "evidence": judged.report,
    });
    let record = judge::record(course, decision, actor, what);
    if !shared.write(course, after, record)? {
        return Err(beaten());
    }
    shared.server.bury(course.follow());
    tracing::info!(
        slot = course.slot.name,
        revision = name.revision,
        decision,
        stage,
        actor,
        verdicts = judge::verdicts(&judged.report.findings),
        reasons = judged.judgement.reasons.join("; "),
        "decided"
    );
    course.arrange();
    Ok(Done {
        decision,
        from: Some(document.champion),
        to: Some(name),
        stage,
        took_us: 0,
    })
}

/// Ends a challenger's trial, or goes back when the revision is the champion.
fn give_up(
    shared: &Shared,
    course: &mut Course,
    revision: u64,
    actor: &str,
    reason: &str,
) -> Result<Done, Error> {
    let Some(document) = course.document.clone() else {
        return Err(conflict("nothing is on trial"));
    };
    if document.champion.revision == revision {
        return roll_back(shared, course, actor, reason, None);
    }
    let on_trial = document.challengers.iter();
    let Some(trial) = on_trial
        .map(|it| &it.name)
        .find(|it| it.revision == revision)
    else {
        return Err(conflict(format!("revision {revision} is not on trial")));
    };
    let mut after = document.clone();
    after.dismiss(trial, now_ms(), reason);
    let what = json!({"from": document.champion, "to": trial, "reasons": [reason]});
    let record = judge::record(course, "hold", actor, what);
    if !shared.write(course, after, record)? {
        return Err(beaten());
    }
    shared.server.bury(course.follow());
    course.arrange();
    Ok(Done {
        decision: "hold",
        from: Some(document.champion.clone()),
        to: Some(trial.clone()),
        stage: None,
        took_us: 0,
    })
}

/// Makes a revision the champion without evidence, on a person's word.
fn promote(shared: &Shared, course: &mut Course, name: Name, actor: &str) -> Result<Done, Error> {
    let Some(document) = course.document.clone() else {
        return Err(conflict("no champion answers yet"));
    };
    if course.resident(&name).is_none() {
        return Err(conflict(format!(
            "revision {} is not loaded",
            name.revision
        )));
    }
    let index = document.challengers.iter().position(|it| it.name == name);
    let evidence: Option<Value> = index
        .and_then(|index| judge::challenger(course, index, now_ms()))
        .and_then(|judged| serde_json::to_value(judged.report).ok());
    let mut after = document.clone();
    after.promote(name.clone(), now_ms(), course.seq.unwrap_or(0));
    let what = json!({
        "from": document.champion,
        "to": name,
        "reasons": ["forced: a person promoted it whatever the evidence"],
        "evidence": evidence,
    });
    let record = judge::record(course, "promote", actor, what);
    if !shared.write(course, after, record)? {
        return Err(beaten());
    }
    shared.server.bury(course.follow());
    course.arrange();
    tracing::warn!(
        slot = course.slot.name,
        revision = name.revision,
        actor,
        "promoted by force"
    );
    Ok(Done {
        decision: "promote",
        from: Some(document.champion),
        to: Some(name),
        stage: None,
        took_us: 0,
    })
}

/// Lets a challenger take its next step, if the evidence allows it.
fn approve(shared: &Shared, course: &mut Course, name: &Name, actor: &str) -> Result<Done, Error> {
    let trials = course
        .document
        .iter_mut()
        .flat_map(|it| &mut it.challengers);
    let mut index = None;
    for (position, trial) in trials.enumerate() {
        if trial.name == *name {
            trial.approved = true;
            index = Some(position);
        }
    }
    let judged = index.and_then(|index| judge::challenger(course, index, now_ms()));
    let trials = course
        .document
        .iter_mut()
        .flat_map(|it| &mut it.challengers);
    for trial in trials {
        trial.approved = false;
    }
    let Some(judged) = judged else {
        return Err(conflict(format!(
            "revision {} is not on trial",
            name.revision
        )));
    };
    if judged.judgement.decision == Decision::Promote {
        return conclude(shared, course, &judged, actor);
    }
    Err(conflict(format!(
        "revision {} is not ready: {}; \"force\" promotes it all the same",
        name.revision,
        judged.judgement.reasons.join("; ")
    )))
}

/// Begins a new test of whether to roll back. It changes no role, so it is no decision.
pub fn retest(shared: &Shared, course: &mut Course) -> Result<Done, Error> {
    let Some(mut after) = course.document.clone() else {
        return Err(conflict("nothing was promoted"));
    };
    after.retest(course.seq.unwrap_or(0));
    course.write(&shared.journal, after, None)?;
    course.arrange();
    Ok(Done {
        decision: "retest",
        from: None,
        to: None,
        stage: None,
        took_us: 0,
    })
}

/// The revision that a person means.
fn wanted(course: &Course, revision: Option<u64>) -> Result<Name, Error> {
    let Some(document) = &course.document else {
        return Err(conflict("no champion answers yet"));
    };
    let Some(revision) = revision else {
        return match document.challengers.as_slice() {
            [] => Err(conflict("nothing is on trial")),
            [only] => Ok(only.name.clone()),
            _ => Err(conflict("several revisions are on trial; name one")),
        };
    };
    if document.champion.revision == revision {
        return Err(conflict(format!(
            "revision {revision} is the champion already"
        )));
    }
    let roles = course.slot.roles();
    let resident = roles.as_ref().and_then(|roles| roles.revision(revision));
    resident
        .map(|it| Name::from(it.named()))
        .ok_or_else(|| conflict(format!("revision {revision} is not loaded")))
}

/// Another process decided at the same time.
fn beaten() -> Error {
    conflict("another process decided at the same time; look again")
}

/// What is asked for does not go with the state of things.
pub fn conflict(message: impl Into<String>) -> Error {
    Error::new(Code::Conflict, message)
}
