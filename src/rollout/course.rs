//! One slot's way through its trials: the document as it was decided, the outcomes since, and the
//! roles of this process, which follow the document.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::decide::Stage;
use super::document::{Document, Name, OnTrial, WEEK_MS};
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
    /// Marks of revisions that were loaded here, for what never was may still arrive; and in how many
    /// looks in a row their folders were not there.
    loaded: BTreeMap<String, u32>,
    /// Why the journal did not do what it was last asked for this slot.
    pub error: Option<String>,
    /// What was last complained of, to say it once.
    pub complaint: Option<String>,
}

/// Counts that the journal is asked for now and then.
#[derive(Debug)]
pub struct Counted {
    at: Option<Instant>,
    /// Of predictions that the horizon closed in the last week, since the champion answers.
    pub coverage: Coverage,
    /// Predictions per hour, by the last ten minutes or since the champion answers.
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
const COUNT_EVERY: Duration = Duration::from_secs(10);
/// Predictions that are closed for want of a label in one step.
const CLOSE: u32 = 5_000;
/// Looks after which a folder is gone, and not just being replaced.
const MISSED: u32 = 4;
const MINUTE_MS: i64 = 60_000;
/// What the rows of an hour are told from.
const RECENT_MS: i64 = 10 * MINUTE_MS;
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
            loaded: BTreeMap::new(),
            error: None,
            complaint: None,
        }
    }

    /// The loaded revision with this name.
    pub fn resident(&self, name: &Name) -> Option<Arc<Revision>> {
        let roles = self.slot.roles()?;
        let found = roles.resident().find(|it| Name::from(it.named()) == *name);
        found.cloned()
    }

    /// Revisions with a role that were loaded here and whose folders have not been there for a while.
    pub fn gone(&mut self, document: &Document) -> Vec<Name> {
        let (states, roles) = (self.slot.states(), self.slot.roles());
        let on_trial = document.challengers.iter().map(|it| &it.name);
        let names = on_trial.chain([&document.champion]);
        let resident = |name: &Name| {
            let mut all = roles.iter().flat_map(|roles| roles.resident());
            all.any(|it| Name::from(it.named()) == *name)
        };
        let mut loaded = BTreeMap::new();
        for name in names {
            let before = self.loaded.get(&name.mark).copied();
            let missed = match (states.contains_key(&name.revision), before) {
                (true, None) if !resident(name) => continue,
                (true, _) => 0,
                (false, None) => continue,
                (false, Some(missed)) => missed + 1,
            };
            loaded.insert(name.mark.clone(), missed);
        }
        let is_gone = |mark: &str| loaded.get(mark).is_some_and(|it| *it >= MISSED);
        let on_trial = document.challengers.iter().map(|it| &it.name);
        let gone = on_trial.chain([&document.champion]);
        let gone = gone.filter(|it| is_gone(&it.mark)).cloned().collect();
        self.loaded = loaded;
        gone
    }

    /// Takes the document as it is kept, unless a decision of ours waits to be written.
    pub fn read(&mut self, kept: Option<&roles::Kept>) {
        let Some(kept) = kept else { return };
        if self.pending.is_some() || kept.generation == self.generation {
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

    /// Takes the generation that the journal has now, and gives the document there.
    ///
    /// # Errors
    /// What the journal says.
    pub fn refresh(&mut self, journal: &Journal) -> Result<Option<Document>, Error> {
        let slot = self.slot.name.clone();
        let kept = journal.run_blocking(move |store| roles::read(store, &slot))?;
        self.generation = kept.as_ref().map_or(0, |it| it.generation);
        Ok(kept.and_then(|it| serde_json::from_str(&it.document).ok()))
    }

    /// Forgets the outcomes of revisions that are not in the slot any more.
    pub fn forget_outcomes(&mut self) {
        let roles = self.slot.roles();
        let residents = roles.iter().flat_map(|roles| roles.resident());
        let mut marks: Vec<&str> = residents.map(|it| it.mark()).collect();
        if let Some(document) = &self.document {
            let trials = document.challengers.iter().map(|it| it.name.mark.as_str());
            let previous = document.previous.iter().map(|it| it.name.mark.as_str());
            marks.extend(
                trials
                    .chain(previous)
                    .chain([document.champion.mark.as_str()]),
            );
        }
        self.matured.keep(&marks);
    }

    /// A challenger that has a share of the traffic.
    pub fn sharing(&self) -> Option<u64> {
        let mut trials = self.document.iter().flat_map(|it| &it.challengers);
        let sharing = trials.find(|it| self.stage(it.stage).share() > 0.0);
        sharing.map(|it| it.name.revision)
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
            } else if challenger.share > 0.0 {
                // A decision ago it had a share.
                self.slot.set_share(uid, 0.0);
            }
        }
        left
    }

    /// A stage of the slot.
    pub fn stage(&self, index: usize) -> Stage {
        let stages = &self.settings.policy.stages;
        stages.get(index).copied().unwrap_or(Stage::Shadow)
    }

    /// Makes the trials those of the document. One that is new here takes the outcomes that it missed
    /// with the next looks, and is not judged before.
    pub fn arrange(&mut self) {
        let (Some(document), Some(task)) = (&self.document, self.task) else {
            return;
        };
        let champion = &document.champion.mark;
        let mut known = std::mem::take(&mut self.trials);
        known.extend(self.rollback.take());
        let needs_amount = !self.settings.amount_feature.is_empty();
        let mut kept = |mut new: Paired| {
            new.needs_amount = needs_amount;
            let old = known.iter().position(|it| it.is_of(&new));
            old.map_or(new, |index| known.swap_remove(index))
        };
        for trial in &document.challengers {
            let design = self.settings.promotion(task);
            let start = (trial.since_ms, trial.from_seq);
            let new = Paired::new(champion, &trial.name.mark, start, design);
            self.trials.push(kept(new));
        }
        if let Some(previous) = document.previous.as_ref().filter(|it| it.sound) {
            let design = self.settings.rollback(task);
            let start = (document.since_ms, previous.from_seq);
            let new = Paired::new(champion, &previous.name.mark, start, design);
            self.rollback = Some(kept(new));
        }
    }

    /// The trial of a challenger of the document, if it has taken what there is.
    pub fn trial(&mut self, of: &OnTrial) -> Option<&mut Paired> {
        let document = self.document.as_ref()?;
        let (champion, seq) = (document.champion.mark.as_str(), self.seq);
        let start = (of.since_ms, of.from_seq);
        self.trials
            .iter_mut()
            .find(|it| it.is_about(champion, &of.name.mark, start))
            .filter(|it| Some(it.at_seq) >= seq)
    }

    /// The test of the document's previous champion, if it has taken what there is.
    pub fn rollback(&mut self) -> Option<&mut Paired> {
        let document = self.document.as_ref()?;
        let previous = document.previous.as_ref().filter(|it| it.sound)?;
        let (champion, seq) = (document.champion.mark.as_str(), self.seq);
        let start = (document.since_ms, previous.from_seq);
        self.rollback
            .as_mut()
            .filter(|it| it.is_about(champion, &previous.name.mark, start))
            .filter(|it| Some(it.at_seq) >= seq)
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
        for trial in self.trials.iter_mut().chain(self.rollback.as_mut()) {
            trial.catch_up(journal, &name, from)?;
        }
        let (matured, trials, rollback) = (&mut self.matured, &mut self.trials, &mut self.rollback);
        let mut all: Vec<&mut Paired> = trials.iter_mut().chain(rollback.as_mut()).collect();
        // One that is behind would skip what lies between.
        all.retain(|it| it.at_seq >= from);
        let mut seq = from;
        let taken = take(journal, &name, (&mut seq, None), |row| {
            matured.push(&task, row);
            for trial in &mut all {
                trial.push(row);
            }
        });
        for trial in all {
            trial.at_seq = trial.at_seq.max(seq);
        }
        // What was taken before a failure is taken.
        self.seq = Some(seq);
        taken?;
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
        // All that was closed in months would be long to count, and says less of now.
        let (from, recently) = (since.max(closed - WEEK_MS), since.max(now - RECENT_MS));
        let slot = self.slot.name.clone();
        let (coverage, recent) = journal.run_blocking(move |store| {
            let coverage = match closed > since {
                true => outcomes::coverage(store, &slot, from, closed)?,
                false => Coverage::default(),
            };
            let recent = outcomes::coverage(store, &slot, recently, now)?;
            Ok((coverage, recent))
        })?;
        // Of a few seconds no hour can be told.
        let hours = (now - recently).max(MINUTE_MS) as f64 / HOUR_MS as f64;
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

/// Gives a slot's outcomes after a number, up to another or as far as one step goes, and keeps the
/// number of the last one that was given. True when there are no more.
///
/// # Errors
/// What the journal says; what was given before stays given.
pub fn take(
    journal: &Journal,
    slot: &str,
    (seq, to): (&mut i64, Option<i64>),
    mut each: impl FnMut(&OutcomeRow),
) -> Result<bool, Error> {
    for _ in 0..QUESTIONS {
        let (name, from) = (slot.to_string(), *seq);
        let rows =
            journal.run_blocking(move |store| outcomes::after(store, &name, from, OUTCOMES))?;
        for row in &rows {
            if to.is_some_and(|to| row.seq > to) {
                return Ok(true);
            }
            each(row);
            *seq = row.seq;
        }
        if rows.len() < OUTCOMES as usize {
            return Ok(true);
        }
    }
    Ok(false)
}
