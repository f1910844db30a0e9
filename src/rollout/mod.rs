//! The loop: challengers are compared with the champion on rows whose outcome is known, and a slot is
//! moved by evidence. This file is what others see of it; the mathematics is in [`score`],
//! [`sequential`], [`gate`] and [`decide`], which know no clock and no slot.

mod acts;
mod controller;
mod course;
pub mod decide;
pub mod document;
mod exporting;
pub mod feedback;
pub mod gate;
mod judge;
pub mod matured;
mod measured;
pub mod reading;
mod recording;
pub mod report;
pub mod score;
pub mod sequential;
mod settings;
mod vitals;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::oneshot;

use crate::error::{Code, Error};
use crate::journal::decisions::{self, Entry};
use crate::journal::{Health, Journal, export};
use crate::model::revision::Revision;
use crate::model::slot::Roles;
use crate::serve::{Server, shadow};
use crate::task::{Priority, Supervisor};
use crate::telemetry::trials::Trials;
use controller::{Command, Controller};
use course::Course;
use document::{Document, Name};
use feedback::Counts;
pub use judge::ratio as latency_ratio;
use report::Report;
pub use settings::{Absence, Kind, Maturity, Settings, SlotSettings};

/// The loop of all slots. Clones share it.
#[derive(Clone)]
pub struct Rollout(Arc<Shared>, SyncSender<Command>);

/// What the controller's thread shares with those who ask.
pub struct Shared {
    server: Arc<Server>,
    journal: Journal,
    settings: Settings,
    reports: Mutex<BTreeMap<String, Arc<Report>>>,
    /// Slots whose roles a person is changing right now: the controller does not put them back.
    overridden: Mutex<BTreeSet<String>>,
    leader: AtomicBool,
    /// Bytes that wait to be scored in shadow.
    backlog: Mutex<Arc<AtomicUsize>>,
    /// Held by each thread of the loop while it runs.
    alive: Arc<()>,
    counts: Counts,
    /// Decisions that this process wrote, by slot and name.
    decisions: Mutex<BTreeMap<(String, &'static str), u64>>,
    /// What was exported of the prediction log.
    export: OnceLock<Arc<export::Progress>>,
}

/// A slot whose roles the controller leaves as they are.
#[derive(Debug)]
pub struct Held<'a> {
    rollout: &'a Rollout,
    slot: &'a str,
}

/// What a person asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// The next step for a challenger, the only one if none is named; `force`: the whole way,
    /// whatever the evidence.
    Promote { revision: Option<u64>, force: bool },
    /// A trial for a revision that is loaded, although it was given up.
    Shadow { revision: u64 },
    /// Back to the previous champion; or, of a challenger that is named, the end of its trial.
    RollBack {
        revision: Option<u64>,
        reason: String,
    },
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Done {
    /// `advance`, `promote`, `hold` or `rollback`.
    pub decision: &'static str,
    /// Who answered before.
    pub from: Option<Name>,
    pub to: Option<Name>,
    pub stage: Option<String>,
    /// Microseconds that the change of roles took.
    pub took_us: u64,
}

/// Questions that may wait for the controller.
const COMMANDS_MAX: usize = 64;

impl Rollout {
    /// Starts the controller.
    ///
    /// # Errors
    /// When the system has no more threads.
    pub fn start(
        server: &Arc<Server>,
        journal: Journal,
        settings: Settings,
        supervisor: &Supervisor,
    ) -> std::io::Result<Rollout> {
        let (sender, commands) = sync_channel(COMMANDS_MAX);
        let shared = Arc::new(Shared {
            server: Arc::clone(server),
            journal: journal.clone(),
            settings: settings.clone(),
            reports: Mutex::default(),
            overridden: Mutex::default(),
            leader: AtomicBool::new(false),
            backlog: Mutex::default(),
            alive: Arc::default(),
            counts: Counts::default(),
            decisions: Mutex::default(),
            export: OnceLock::new(),
        });
        let weak = Arc::downgrade(&shared);
        shared.journal.set_terms(Arc::new(move |slot| {
            // The journal outlives who serves; and before the models were looked at, nobody knows what a
            // slot takes.
            let shared = weak.upgrade()?;
            shared.server.is_started().then(|| shared.terms(slot))?
        }));
        let controller = Controller::new(Arc::clone(&shared), commands);
        let stop = supervisor.clone();
        let alive = Arc::clone(&shared.alive);
        supervisor.thread("controller", Priority::Bulk, move || {
            let _alive = alive;
            controller.run(&stop);
        })?;
        Ok(Rollout(shared, sender))
    }

    /// Takes records, with shadow scores where there are any, into the journal.
    pub fn sink(&self) -> shadow::Sink {
        let (journal, settings) = (self.0.journal.clone(), self.0.settings.clone());
        let alive = Arc::clone(&self.0.alive);
        Arc::new(move |shadowed| {
            let _alive = &alive;
            journal.append(recording::predictions(shadowed, &settings));
        })
    }

    /// Says where the bytes that wait to be scored in shadow are counted.
    pub fn set_backlog(&self, backlog: Arc<AtomicUsize>) {
        *lock(&self.0.backlog) = backlog;
    }

    /// A slot as the controller last saw it.
    ///
    /// # Errors
    /// [`Code::NotFound`] for an unknown slot, [`Code::NotReady`] before the first look, and
    /// [`Code::Conflict`] for one without trials.
    pub fn report(&self, slot: &str) -> Result<Arc<Report>, Error> {
        // An unknown slot says so itself.
        self.0.server.slot(slot)?;
        if !self.0.server.watch(slot).is_on() {
            return Err(no_trials(slot));
        }
        let reports = lock(&self.0.reports);
        reports.get(slot).cloned().ok_or_else(|| {
            Error::new(
                Code::NotReady,
                format!("slot \"{slot}\" was not looked at yet"),
            )
        })
    }

    /// All slots with trials, by name, as the controller last saw them.
    pub fn reports(&self) -> Vec<Arc<Report>> {
        lock(&self.0.reports).values().cloned().collect()
    }

    /// Keeps the controller from changing a slot's roles until the next [`Rollout::ask`] is done or the
    /// returned value is dropped: who asks may go away before.
    #[must_use]
    pub fn hold<'a>(&'a self, slot: &'a str) -> Held<'a> {
        lock(&self.0.overridden).insert(slot.to_string());
        Held {
            rollout: self,
            slot,
        }
    }

    /// Does what a person asks for; `actor` is their name, for the record.
    ///
    /// # Errors
    /// [`Code::Conflict`] with why it does not go, [`Code::NotFound`] for an unknown slot,
    /// [`Code::Overloaded`], and what the journal says.
    pub async fn ask(&self, slot: &str, ask: Ask, actor: &str) -> Result<Done, Error> {
        let found = self.0.server.slot(slot)?;
        if !self.0.server.watch(slot).is_on() {
            return Err(no_trials(slot));
        }
        // A rollback does not wait for the controller, which may be counting: the pointer first.
        let mut took_us = None;
        if let Ask::RollBack { revision, .. } = &ask
            && let Some(roles) = found.roles()
            && revision.is_none_or(|it| it == roles.champion.id)
            && (revision.is_some() || roles.challengers.iter().all(|it| it.share <= 0.0))
            && let Some(previous) = self.0.way_back(&roles, slot)
            && lock(&self.0.overridden).insert(slot.to_string())
        {
            let began = Instant::now();
            self.0.server.bury(found.promote(previous.uid));
            took_us = Some(began.elapsed().as_micros() as u64);
        }
        let (reply, answer) = oneshot::channel();
        let command = Command {
            slot: slot.to_string(),
            ask,
            actor: actor.to_string(),
            reply,
        };
        let sent = self.1.try_send(command);
        if sent.is_err() {
            self.0.end_override(slot);
            return Err(Error::overloaded("the controller has too much to do"));
        }
        let stopped = || Error::new(Code::Draining, "the server is shutting down");
        let mut done = answer.await.unwrap_or_else(|_dropped| Err(stopped()))?;
        if let Some(took_us) = took_us {
            done.took_us = took_us;
        }
        Ok(done)
    }

    /// A slot's decisions after `after_seq`, in order, at most `limit`.
    ///
    /// # Errors
    /// What the journal says.
    pub async fn decisions(
        &self,
        slot: &str,
        after_seq: i64,
        limit: u32,
    ) -> Result<Vec<Entry>, Error> {
        let slot = slot.to_string();
        let list = move |store: &mut dyn crate::journal::store::Store| {
            decisions::list(store, &slot, after_seq, limit)
        };
        self.0.journal.run(list).await
    }

    /// How the journal is.
    pub fn journal(&self) -> Health {
        self.0.journal.health()
    }

    /// Whether this process decides.
    pub fn is_leader(&self) -> bool {
        self.0.leader.load(Ordering::Relaxed)
    }

    /// All of it, as the metrics have it.
    pub fn metrics(&self) -> Trials {
        let mut decisions = lock(&self.0.decisions).clone();
        // A counter that appears with its first event hides that event from `increase`.
        for report in self.reports() {
            for decision in ["promote", "rollback"] {
                decisions
                    .entry((report.slot.clone(), decision))
                    .or_default();
            }
        }
        let mut trials = Trials {
            journal: Some(measured::journal(&self.journal())),
            leader: self.is_leader(),
            labels: self.0.counts.all(),
            record_bytes: lock(&self.0.backlog).load(Ordering::Relaxed),
            decisions: decisions
                .iter()
                .map(|((slot, decision), count)| (slot.clone(), *decision, *count))
                .collect(),
            export: self.exported(),
            ..Trials::default()
        };
        for report in self.reports() {
            measured::add(&report, &mut trials);
        }
        trials
    }

    /// Waits, once the server was told to stop, until the threads of the loop have handed what was
    /// answered to the journal; false when that takes longer than `limit`. Blocks.
    pub fn finish(&self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        let runs = || Arc::strong_count(&self.0.alive) > 1;
        while runs() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
        }
        !runs()
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.rollout.0.end_override(self.slot);
    }
}

impl std::fmt::Debug for Rollout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rollout")
            .field("settings", &self.0.settings)
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// Forgets the reports of slots that are gone.
    fn keep(&self, is_here: impl Fn(&str) -> bool) {
        lock(&self.reports).retain(|name, _| is_here(name));
    }

    fn report(&self, report: Report) {
        lock(&self.reports).insert(report.slot.clone(), Arc::new(report));
    }

    /// Writes a document with the decision that led to it, and counts it. False when somebody else was
    /// first.
    fn write(
        &self,
        course: &mut Course,
        document: Document,
        record: (&'static str, String),
    ) -> Result<bool, Error> {
        let (decision, body) = record;
        let written = course.write(&self.journal, document, Some(body))?;
        if written {
            let name = (course.slot.name.clone(), decision);
            *lock(&self.decisions).entry(name).or_default() += 1;
        }
        Ok(written)
    }

    /// The previous champion, where it was decided so and it was not itself rolled back from: asked
    /// twice, a rollback is not to bring that one back.
    fn way_back(&self, roles: &Roles, slot: &str) -> Option<Arc<Revision>> {
        let plans = self.server.plans()?;
        let plan = plans.get(slot)?;
        let previous = roles.previous.as_ref()?;
        let named = previous.named();
        let as_decided =
            plan.champion == roles.champion.named() && plan.previous.as_ref() == Some(&named);
        (as_decided && !plan.dismissed.contains(&named)).then(|| Arc::clone(previous))
    }

    fn is_overridden(&self, slot: &str) -> bool {
        lock(&self.overridden).contains(slot)
    }

    fn end_override(&self, slot: &str) {
        lock(&self.overridden).remove(slot);
    }
}

fn no_trials(slot: &str) -> Error {
    Error::new(
        Code::Conflict,
        format!(
            "slot \"{slot}\" has no trials: set on_arrival or record in [slots.{slot}.rollout]"
        ),
    )
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What they guard is changed in one step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
