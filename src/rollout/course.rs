//! One slot's way through its trials: the document as it was decided, the outcomes since, and the
//! roles of this process, which follow the document.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::decide::Stage;
use super::document::{Document, Name};
use super::matured::{Matured, Paired};
use super::reading;
use super::score::Task;
use super::settings::{Absence, SlotSettings};
use super::vitals::Vitals;
use crate::error::Error;
use crate::journal::outcomes::{self, Closing, Coverage, OutcomeRow};
use crate::journal::{Journal, roles};
use crate::model::revision::Revision;
use crate::model::slot::Slot;
use crate::serve::record::{Watch, now_ms};

/// One slot.
#[derive(Debug)]
pub struct Course {
    pub slot: Arc<Slot>,
    pub settings: SlotSettings,
    pub watch: Watch,
    /// As its champion looked when the trials began.
    pub task: Option<Task>,
    pub generation: i64,
    /// `None` until a champion answers.
    pub document: Option<Document>,
    /// A decision that was carried out here and is not written yet.
    pub pending: Option<(Document, (&'static str, String))>,
    pub matured: Matured,
    /// Each challenger against the champion, in the document's order.
    pub trials: Vec<Paired>,
    /// The previous champion against the one that replaced it.
    pub rollback: Option<Paired>,
    pub vitals: Option<Vitals>,
    pub counted: Counted,
    /// The number of the last outcome that was taken; `None` before the first look.
    pub seq: Option<i64>,
    /// Requests answered by champion and challenger when the challenger's stage began.
    pub split: Option<Split>,
    /// Marks of challengers that were loaded here: what never was may still arrive.
    loaded: BTreeSet<String>,
}

/// Counts that the journal is asked for now and then.
#[derive(Debug)]
pub struct Counted {
    at: Option<Instant>,
    /// Of predictions older than the horizon, since the champion answers.
    pub coverage: Coverage,
    /// Predictions per hour, over the last hour or since the champion answers.
    pub rows_per_hour: f64,
}

/// Answered requests at the beginning of a stage.
#[derive(Clone, Debug, PartialEq)]
pub struct Split {
    pub mark: String,
    pub stage: usize,
    pub challenger: u64,
    pub champion: u64,
}

/// Outcomes of one question to the journal, and questions of one step: the rest is for the next.
const OUTCOMES: u32 = 5_000;
const QUESTIONS: usize = 20;
/// Earlier outcomes that are read at the start, for the metrics.
const HISTORY: u32 = 20_000;
/// How often the journal is asked for counts.
const COUNT_EVERY: Duration = Duration::from_secs(3);
/// Predictions that are closed for want of a label in one step.
const CLOSE: u32 = 5_000;
const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 3_600_000;

impl Course {
    /// A slot that nothing is known of.
    pub fn new(slot: Arc<Slot>, settings: SlotSettings, watch: Watch) -> Course {
        Course {
            slot,
            settings,
            watch,
            task: None,
            generation: 0,
            document: None,
            pending: None,
            matured: Matured::default(),
            trials: Vec::new(),
            rollback: None,
            vitals: None,
            counted: Counted {
                at: None,
                coverage: Coverage::default(),
                rows_per_hour: 0.0,
            },
            seq: None,
            split: None,
            loaded: BTreeSet::new(),
        }
    }

    /// The loaded revision with this name.
    pub fn resident(&self, name: &Name) -> Option<Arc<Revision>> {
        let roles = self.slot.roles()?;
        let found = roles.resident().find(|it| Name::from(it.named()) == *name);
        found.cloned()
    }

    /// A challenger that was loaded here and whose folder is no longer there.
    pub fn gone(&mut self, document: &Document) -> Option<Name> {
        let (states, roles) = (self.slot.states(), self.slot.roles()?);
        let challengers = roles.challengers.iter();
        self.loaded = challengers
            .map(|it| it.revision.mark().to_string())
            .chain(std::mem::take(&mut self.loaded))
            .filter(|mark| document.challenger(mark).is_some())
            .collect();
        let names = document.challengers.iter().map(|it| &it.name);
        let mut gone =
            names.filter(|it| self.loaded.contains(&it.mark) && !states.contains_key(&it.revision));
        gone.next().cloned()
    }

    /// Takes the document as it is kept, unless a decision of ours waits to be written.
    pub fn read(&mut self, kept: Option<&roles::Kept>) {
        let Some(kept) = kept else { return };
        if self.pending.is_some() || kept.generation <= self.generation {
            return;
        }
        match serde_json::from_str(&kept.document) {
            Ok(document) => {
                self.generation = kept.generation;
                self.document = Some(document);
            }
            Err(error) => {
                tracing::error!(slot = self.slot.name, %error, "the journal's roles cannot be read");
            }
        }
    }

    /// Writes a document with the decision that led to it. False when somebody else was first, and
    /// then nothing is changed.
    ///
    /// # Errors
    /// What the journal says.
    pub fn write(
        &mut self,
        journal: &Journal,
        document: Document,
        decision: Option<String>,
    ) -> Result<bool, Error> {
        let json = serde_json::to_string(&document)
            .map_err(|error| Error::internal(format!("roles: {error}")))?;
        let (slot, generation) = (self.slot.name.clone(), self.generation);
        let written = journal.run_blocking(move |store| {
            roles::decide(store, &slot, generation, &json, decision.as_deref())
        })?;
        let Some(generation) = written else {
            return Ok(false);
        };
        self.generation = generation;
        self.document = Some(document);
        Ok(true)
    }

    /// Makes the roles of this process what the document says, as far as its revisions are loaded.
    /// Returns the revisions that left.
    pub fn follow(&self) -> Vec<Arc<Revision>> {
        let Some(document) = &self.document else {
            return Vec::new();
        };
        let mut left = Vec::new();
        if let Some(champion) = self.resident(&document.champion) {
            let answers = self.slot.roles().map(|roles| roles.champion.uid);
            if answers != Some(champion.uid) {
                left.extend(self.slot.promote(champion.uid));
            }
        }
        let Some(roles) = self.slot.roles() else {
            return left;
        };
        for challenger in &roles.challengers {
            let name = Name::from(challenger.revision.named());
            let uid = challenger.revision.uid;
            if let Some(trial) = document.challengers.iter().find(|it| it.name == name) {
                let share = self.stage(trial.stage).share();
                if challenger.share != share {
                    self.slot.set_share(uid, share);
                }
            } else if let Some(gone) = document.dismissed.iter().find(|it| it.name == name) {
                left.extend(self.slot.dismiss(uid, &gone.reason));
            }
        }
        left
    }

    /// A stage of the slot.
    pub fn stage(&self, index: usize) -> Stage {
        let stages = &self.settings.policy.stages;
        stages.get(index).copied().unwrap_or(Stage::Shadow)
    }

    /// Makes the trials those of the document; one that is new here takes the outcomes that it missed.
    ///
    /// # Errors
    /// What the journal says; the trial is tried again at the next look.
    pub fn arrange(&mut self, journal: &Journal) -> Result<(), Error> {
        let (Some(document), Some(task)) = (&self.document, self.task) else {
            return Ok(());
        };
        let champion = &document.champion.mark;
        let mut known = std::mem::take(&mut self.trials);
        known.extend(self.rollback.take());
        let mut wanted = Vec::new();
        for trial in &document.challengers {
            let design = self.settings.promotion(task);
            let start = (trial.since_ms, trial.from_seq);
            wanted.push(Paired::new(champion, &trial.name.mark, start, design));
        }
        let sound = document.previous.as_ref().filter(|it| it.sound);
        if let Some(previous) = sound {
            let design = self.settings.rollback(task);
            let start = (document.since_ms, previous.from_seq);
            wanted.push(Paired::new(champion, &previous.name.mark, start, design));
        }
        let has_rollback = sound.is_some();
        let (slot, seq) = (self.slot.name.clone(), self.seq.unwrap_or(0));
        let mut ready = Vec::new();
        for mut paired in wanted {
            paired.needs_amount = !self.settings.amount_feature.is_empty();
            let old = known.iter().position(|it| it.is_of(&paired));
            if let Some(index) = old {
                paired = known.swap_remove(index);
            } else {
                let missed = (paired.from_seq, Some(seq));
                take(journal, &slot, missed, |row| paired.push(row))?;
            }
            ready.push(paired);
        }
        self.rollback = match has_rollback {
            true => ready.pop(),
            false => None,
        };
        self.trials = ready;
        Ok(())
    }

    /// Closes predictions that waited for their label long enough, and takes new outcomes.
    ///
    /// # Errors
    /// What the journal says.
    pub fn take_outcomes(&mut self, journal: &Journal, leader: bool) -> Result<(), Error> {
        if self.task.is_none() {
            self.task = self
                .slot
                .roles()
                .map(|roles| reading::task(&self.settings, &roles.champion));
        }
        let Some(task) = self.task else { return Ok(()) };
        let name = self.slot.name.clone();
        let absent = match self.settings.absence {
            Absence::Negative => Some(0.0),
            Absence::Nothing => None,
        };
        if leader && (absent.is_some() || self.settings.is_deferred()) {
            let (slot, now) = (name.clone(), now_ms());
            let before_ms = now.saturating_sub_unsigned(self.settings.horizon_ms);
            let _closed = journal.run_blocking(move |store| {
                let closing = Closing {
                    slot: &slot,
                    before_ms,
                    now_ms: now,
                    absent,
                    limit: CLOSE,
                };
                outcomes::mature(store, closing)
            })?;
        }
        let from = match self.seq {
            Some(seq) => seq,
            None => {
                let slot = name.clone();
                journal.run_blocking(move |store| outcomes::recent(store, &slot, HISTORY))?
            }
        };
        let (matured, trials, rollback) = (&mut self.matured, &mut self.trials, &mut self.rollback);
        let seq = take(journal, &name, (from, None), |row| {
            matured.push(&task, row);
            for trial in trials.iter_mut().chain(rollback.as_mut()) {
                trial.push(row);
            }
        })?;
        self.seq = Some(seq);
        self.count(journal)
    }

    /// Asks for counts, when that was not done for a while.
    fn count(&mut self, journal: &Journal) -> Result<(), Error> {
        if self.counted.at.is_some_and(|at| at.elapsed() < COUNT_EVERY) {
            return Ok(());
        }
        let now = now_ms();
        let since = self.document.as_ref().map_or(0, |it| it.since_ms);
        let closed = now.saturating_sub_unsigned(self.settings.horizon_ms);
        let hour = since.max(now - HOUR_MS);
        let slot = self.slot.name.clone();
        let (coverage, recent) = journal.run_blocking(move |store| {
            let coverage = match closed > since {
                true => outcomes::coverage(store, &slot, since, closed)?,
                false => Coverage::default(),
            };
            let recent = outcomes::coverage(store, &slot, hour, now)?;
            Ok((coverage, recent))
        })?;
        // Of a few seconds no hour can be told.
        let hours = (now - hour).max(MINUTE_MS) as f64 / HOUR_MS as f64;
        self.counted = Counted {
            at: Some(Instant::now()),
            coverage,
            rows_per_hour: recent.predictions as f64 / hours,
        };
        Ok(())
    }

    /// The part of the closed predictions that has a label. 1 where absence is a label too, and
    /// before any prediction is closed.
    pub fn label_coverage(&self) -> f64 {
        let Coverage {
            predictions,
            labelled,
            ..
        } = self.counted.coverage;
        match predictions {
            0 => 1.0,
            _ if self.settings.absence == Absence::Negative => 1.0,
            _ => labelled as f64 / predictions as f64,
        }
    }

    /// Notes how requests are split from the beginning of a stage on, and gives what came since.
    pub fn split(&mut self, mark: &str, stage: usize) -> Option<(u64, u64)> {
        let roles = self.slot.roles()?;
        let challenger = roles.challengers.iter();
        let challenger = challenger
            .map(|it| &it.revision)
            .find(|it| it.mark() == mark)?;
        let answered = |revision: &Revision| {
            let usage = &revision.usage;
            let failed = usage.ended(crate::model::usage::Outcome::Failed).count();
            usage.ended(crate::model::usage::Outcome::Ok).count() + failed
        };
        let now = Split {
            mark: mark.to_string(),
            stage,
            challenger: answered(challenger),
            champion: answered(&roles.champion),
        };
        let same = |it: &&Split| it.mark == now.mark && it.stage == now.stage;
        let began = match self.split.as_ref().filter(same) {
            Some(began) => began.clone(),
            None => {
                self.split = Some(now.clone());
                now.clone()
            }
        };
        Some((
            now.challenger.saturating_sub(began.challenger),
            now.champion.saturating_sub(began.champion),
        ))
    }
}

/// Gives a slot's outcomes after one number, up to another or as far as one step goes; returns the
/// number of the last one.
fn take(
    journal: &Journal,
    slot: &str,
    (from, to): (i64, Option<i64>),
    mut each: impl FnMut(&OutcomeRow),
) -> Result<i64, Error> {
    let mut seq = from;
    let mut questions = 0;
    while to.is_some() || questions < QUESTIONS {
        let name = slot.to_string();
        let rows =
            journal.run_blocking(move |store| outcomes::after(store, &name, seq, OUTCOMES))?;
        for row in &rows {
            if to.is_some_and(|to| row.seq > to) {
                return Ok(seq);
            }
            each(row);
            seq = row.seq;
        }
        if rows.len() < OUTCOMES as usize {
            return Ok(seq);
        }
        questions += 1;
    }
    Ok(seq)
}
