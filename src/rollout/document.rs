//! What was decided of a slot, as the journal keeps it: roles by id and mark, stages, and since when.
//! One JSON document a slot; every change of it comes with a decision.

use serde::{Deserialize, Serialize};

use crate::model::slot::{Named, Plan};

/// The roles of a slot, and where its trials stand.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Document {
    pub champion: Name,
    /// Since when it answers, in milliseconds since 1970.
    pub since_ms: i64,
    pub previous: Option<Previous>,
    /// Oldest first.
    pub challengers: Vec<OnTrial>,
    /// Revisions that are not to be tried again, the newest last; at most [`DISMISSED_MAX`].
    #[serde(default)]
    pub dismissed: Vec<Dismissed>,
    /// When the controller promoted and rolled back by itself, for its limits; the last week's.
    #[serde(default)]
    pub promoted_ms: Vec<i64>,
    #[serde(default)]
    pub rolled_back_ms: Vec<i64>,
}

/// A revision by its id and its mark: the first characters of its digest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Name {
    pub revision: u64,
    pub mark: String,
}

/// The champion before this one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Previous {
    #[serde(flatten)]
    pub name: Name,
    /// The test that may roll back counts from the outcome after this one.
    pub from_seq: i64,
    /// Whether the controller may go back to it: not when it was itself rolled back from.
    pub sound: bool,
}

/// A challenger and its stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OnTrial {
    #[serde(flatten)]
    pub name: Name,
    /// Index into the slot's stages.
    pub stage: usize,
    pub since_ms: i64,
    pub stage_since_ms: i64,
    /// The last outcome before its trial.
    pub from_seq: i64,
    /// A person said that it may take its next step.
    #[serde(default)]
    pub approved: bool,
}

/// A revision that was given up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dismissed {
    #[serde(flatten)]
    pub name: Name,
    pub at_ms: i64,
    pub reason: String,
}

/// Revisions that a slot remembers having given up.
const DISMISSED_MAX: usize = 200;
/// What the limits of the controller look back on.
pub const WEEK_MS: i64 = 7 * 86_400_000;

impl From<Named> for Name {
    fn from(named: Named) -> Name {
        Name {
            revision: named.id,
            mark: named.mark,
        }
    }
}

impl From<&Name> for Named {
    fn from(name: &Name) -> Named {
        Named {
            id: name.revision,
            mark: name.mark.clone(),
        }
    }
}

impl Document {
    /// A slot whose champion was not chosen by evidence: the first.
    pub fn new(champion: Name, now_ms: i64) -> Document {
        Document {
            champion,
            since_ms: now_ms,
            ..Document::default()
        }
    }

    /// What the folder's task is to load.
    pub fn plan(&self) -> Plan {
        Plan {
            champion: Named::from(&self.champion),
            previous: self.previous.as_ref().map(|it| Named::from(&it.name)),
            challengers: self
                .challengers
                .iter()
                .map(|it| Named::from(&it.name))
                .collect(),
            dismissed: self
                .dismissed
                .iter()
                .map(|it| Named::from(&it.name))
                .collect(),
        }
    }

    /// The trial of a challenger.
    pub fn challenger(&self, name: &Name) -> Option<&OnTrial> {
        self.challengers.iter().find(|it| it.name == *name)
    }

    /// Whether it has a role or was given up.
    pub fn knows(&self, name: &Name) -> bool {
        self.champion == *name
            || self.previous.as_ref().is_some_and(|it| it.name == *name)
            || self.challengers.iter().any(|it| it.name == *name)
            || self.dismissed.iter().any(|it| it.name == *name)
    }

    /// Begins a challenger's trial at a time and after an outcome. One that was given up is on trial
    /// again. The oldest leave when there are more than `max`; returns them.
    pub fn enlist(&mut self, name: Name, (now_ms, from_seq): (i64, i64), max: usize) -> Vec<Name> {
        self.dismissed.retain(|it| it.name != name);
        self.challengers.push(OnTrial {
            name,
            stage: 0,
            since_ms: now_ms,
            stage_since_ms: now_ms,
            from_seq,
            approved: false,
        });
        let over = self.challengers.len().saturating_sub(max.max(1));
        let oldest = self.challengers[..over].iter().map(|it| it.name.clone());
        let oldest: Vec<Name> = oldest.collect();
        for name in &oldest {
            self.dismiss(name, now_ms, "a newer challenger took its place");
        }
        oldest
    }

    /// Takes a challenger to a stage before the last.
    pub fn advance(&mut self, name: &Name, stage: usize, now_ms: i64) {
        for challenger in &mut self.challengers {
            if challenger.name == *name {
                challenger.stage = stage;
                challenger.stage_since_ms = now_ms;
                challenger.approved = false;
            }
        }
    }

    /// Makes a revision the champion. Trials of the others begin anew, against it.
    pub fn promote(&mut self, name: Name, now_ms: i64, from_seq: i64) {
        self.challengers.retain(|it| it.name != name);
        self.dismissed.retain(|it| it.name != name);
        let old = std::mem::replace(&mut self.champion, name);
        self.previous = Some(Previous {
            name: old,
            from_seq,
            sound: true,
        });
        self.since_ms = now_ms;
        self.restart(now_ms, from_seq);
    }

    /// Goes back to the previous champion; the one that it replaces is given up.
    pub fn roll_back(&mut self, now_ms: i64, from_seq: i64, reason: &str) -> bool {
        let Some(previous) = self.previous.take() else {
            return false;
        };
        self.dismissed.retain(|it| it.name != previous.name);
        let bad = std::mem::replace(&mut self.champion, previous.name);
        self.give_up(bad.clone(), now_ms, reason);
        self.previous = Some(Previous {
            name: bad,
            from_seq,
            sound: false,
        });
        self.since_ms = now_ms;
        self.restart(now_ms, from_seq);
        true
    }

    /// Begins a new test of whether to roll back, from the next outcome on. What speaks for the champion
    /// now would hide for long that it turns bad later.
    pub fn retest(&mut self, from_seq: i64) {
        if let Some(previous) = &mut self.previous {
            previous.from_seq = from_seq;
        }
    }

    /// Ends a challenger's trial.
    pub fn dismiss(&mut self, name: &Name, now_ms: i64, reason: &str) {
        let gone = self.challengers.iter().position(|it| it.name == *name);
        if let Some(index) = gone {
            let gone = self.challengers.remove(index);
            self.give_up(gone.name, now_ms, reason);
        }
    }

    fn give_up(&mut self, name: Name, now_ms: i64, reason: &str) {
        self.dismissed.push(Dismissed {
            name,
            at_ms: now_ms,
            reason: reason.to_string(),
        });
        let over = self.dismissed.len().saturating_sub(DISMISSED_MAX);
        self.dismissed.drain(..over);
    }

    fn restart(&mut self, now_ms: i64, from_seq: i64) {
        for challenger in &mut self.challengers {
            *challenger = OnTrial {
                name: challenger.name.clone(),
                stage: 0,
                since_ms: now_ms,
                stage_since_ms: now_ms,
                from_seq,
                approved: false,
            };
        }
        let recent = |at: &i64| now_ms - at < WEEK_MS;
        self.promoted_ms.retain(recent);
        self.rolled_back_ms.retain(recent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(revision: u64) -> Name {
        Name {
            revision,
            mark: format!("mark-{revision}"),
        }
    }

    #[test]
    fn a_promotion_keeps_the_old_champion_and_begins_other_trials_anew() {
        let mut document = Document::new(name(1), 10);
        document.enlist(name(2), (20, 5), 2);
        document.enlist(name(3), (30, 6), 2);
        document.advance(&name(3), 1, 35);
        document.promote(name(2), 40, 9);
        assert_eq!(document.champion, name(2));
        let previous = document.previous.as_ref().unwrap();
        assert_eq!(
            (&previous.name, previous.from_seq, previous.sound),
            (&name(1), 9, true)
        );
        let third = document.challenger(&name(3)).unwrap();
        assert_eq!((third.stage, third.since_ms, third.from_seq), (0, 40, 9));
        assert!(document.knows(&name(1)) && !document.knows(&name(4)));
    }

    #[test]
    fn a_rollback_gives_up_the_champion_and_is_not_undone_by_itself() {
        let mut document = Document::new(name(1), 10);
        assert!(!document.roll_back(15, 0, "nothing to go back to"));
        document.promote(name(2), 20, 5);
        assert!(document.roll_back(30, 8, "worse"));
        assert_eq!(document.champion, name(1));
        assert!(!document.previous.as_ref().unwrap().sound);
        assert_eq!(document.dismissed[0].name, name(2));
        let plan = document.plan();
        assert_eq!(plan.previous.map(|it| it.id), Some(2));
        // A person may still want it.
        document.promote(name(2), 40, 9);
        assert!(document.dismissed.is_empty() && document.previous.unwrap().sound);
    }

    #[test]
    fn documents_come_back_from_json() {
        let mut document = Document::new(name(1), 10);
        document.enlist(name(2), (20, 5), 2);
        document.promote(name(2), 30, 6);
        document.enlist(name(3), (40, 7), 2);
        document.dismiss(&name(3), 50, "superseded");
        let json = serde_json::to_string(&document).unwrap();
        assert_eq!(serde_json::from_str::<Document>(&json).unwrap(), document);
    }
}
