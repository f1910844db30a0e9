//! The controller's thread: a look at every slot twice a second. Every process looks, so that any of
//! them can be asked; the one that holds the journal's lease decides, the others follow.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::acts::{self, conflict};
use super::course::Course;
use super::decide::{Approval, Decision, Stage};
use super::document::{Document, Name};
use super::judge::{self, Judged, Trip};
use super::report::{Report, Trial, Waiting};
use super::score::Task;
use super::{Ask, Done, Shared};
use crate::error::{Code, Error};
use crate::journal::{lease, roles};
use crate::model::slot::{Arrival, Plan};
use crate::serve::record::now_ms;
use crate::task::Supervisor;

/// What a person asks the controller for.
#[derive(Debug)]
pub struct Command {
    pub slot: String,
    pub ask: Ask,
    pub actor: String,
    pub reply: oneshot::Sender<Result<Done, Error>>,
}

/// The thread's state.
pub struct Controller {
    shared: Arc<Shared>,
    commands: Receiver<Command>,
    courses: BTreeMap<String, Course>,
    /// This process's name among those that share the journal.
    holder: String,
    leader: bool,
    journal_error: Option<String>,
    /// Whether the journal was ever read.
    known: bool,
}

/// How often the slots are looked at.
const LOOK: Duration = Duration::from_millis(500);
/// How long the lease holds without being renewed.
const LEASE_MS: i64 = 5_000;
const LEASE: &str = "controller";

impl Controller {
    /// A controller that has looked at nothing yet.
    pub fn new(shared: Arc<Shared>, commands: Receiver<Command>) -> Controller {
        Controller {
            shared,
            commands,
            courses: BTreeMap::new(),
            holder: Uuid::new_v4().to_string(),
            leader: false,
            journal_error: None,
            known: false,
        }
    }

    /// Looks and obeys until the server stops.
    pub fn run(mut self, supervisor: &Supervisor) {
        let mut next = Instant::now();
        while !supervisor.is_stopping() {
            let left = next.saturating_duration_since(Instant::now());
            // Stopping is seen in time.
            match self
                .commands
                .recv_timeout(left.min(Duration::from_millis(100)))
            {
                Ok(command) => self.obey(command),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if Instant::now() >= next {
                self.look();
                next = Instant::now() + LOOK;
            }
        }
        if self.leader {
            let holder = self.holder.clone();
            // Without it the lease ends by itself.
            let _released = self
                .shared
                .journal
                .run_blocking(move |store| lease::release(store, LEASE, &holder));
        }
    }

    fn look(&mut self) {
        let kept = match self.read() {
            Ok(kept) => kept,
            Err(error) => {
                self.leader = false;
                self.journal_error = Some(error.message);
                Vec::new()
            }
        };
        let slots = self.shared.server.registry.slots();
        self.courses.retain(|name, course| {
            slots
                .get(name)
                .is_some_and(|slot| Arc::ptr_eq(slot, &course.slot))
        });
        self.shared.keep(|name| slots.contains_key(name));
        for (name, slot) in slots.iter() {
            let watch = self.shared.server.watch(name);
            if !watch.is_on() {
                continue;
            }
            let mut course = self.courses.remove(name).unwrap_or_else(|| {
                let settings = self.shared.settings.of(name).clone();
                Course::new(Arc::clone(slot), settings, watch.clone())
            });
            // Where the folder says who answers, what was decided before it did is not followed.
            if watch.arrival != Arrival::Replace {
                course.read(kept.iter().find(|it| it.slot == *name));
            }
            self.step(&mut course);
            self.courses.insert(name.clone(), course);
        }
        self.publish(&kept);
    }

    /// Takes or renews the lease, and reads all roles.
    fn read(&mut self) -> Result<Vec<roles::Kept>, Error> {
        let holder = self.holder.clone();
        let (leader, kept) = self.shared.journal.run_blocking(move |store| {
            let leader = lease::acquire(store, LEASE, &holder, LEASE_MS)?;
            Ok((leader, roles::all(store)?))
        })?;
        if leader != self.leader {
            tracing::info!(leader, "the controller's lease");
        }
        self.leader = leader;
        self.journal_error = None;
        self.known = true;
        Ok(kept)
    }

    fn step(&mut self, course: &mut Course) {
        // A journal that is away is asked once in a look; what one slot cannot do others may.
        let mut is_fresh = false;
        if self.journal_error.is_none() {
            let exchanged = self.exchange(course);
            is_fresh = exchanged.is_ok();
            course.error = exchanged.as_ref().err().map(|it| it.message.clone());
            if let Err(error) = exchanged
                && error.code == Code::NotReady
            {
                self.journal_error = Some(error.message);
            }
        }
        // What was read may have other trials than these.
        course.arrange();
        course.forget_outcomes();
        if !self.shared.is_overridden(&course.slot.name) {
            self.shared.server.bury(course.follow());
        }
        let (report, action) = self.judge(course);
        self.shared.report(report);
        if let Some(action) = action {
            self.act(course, action, is_fresh);
        }
    }

    /// Writes what waits for the journal, and takes what is new in it.
    fn exchange(&mut self, course: &mut Course) -> Result<(), Error> {
        let journal = self.shared.journal.clone();
        self.settle(course)?;
        course.arrange();
        course.take_outcomes(&journal, self.leader)?;
        if course.watch.arrival != Arrival::Replace {
            self.enroll(course)?;
        }
        Ok(())
    }

    /// Writes a rollback that was carried out while the journal was away: onto what is kept now, where
    /// the champion is still the one that was turned back.
    fn settle(&mut self, course: &mut Course) -> Result<(), Error> {
        let Some((document, record)) = course.pending.clone() else {
            return Ok(());
        };
        let Some(mut kept) = course.refresh(&self.shared.journal)? else {
            course.pending = None;
            return Ok(());
        };
        let turned_back = document.previous.as_ref().map(|it| &it.name);
        if Some(&kept.champion) != turned_back {
            // Others decided the same, or went on: theirs stands.
            tracing::warn!(
                slot = course.slot.name,
                champion = kept.champion.revision,
                "a rollback that was not written is overtaken by what others decided"
            );
            course.document = Some(kept);
            course.pending = None;
            return Ok(());
        }
        let reason = document
            .dismissed
            .last()
            .map_or("", |it| it.reason.as_str());
        kept.roll_back(now_ms(), course.seq.unwrap_or(0), reason);
        kept.rolled_back_ms.clone_from(&document.rolled_back_ms);
        if self.shared.write(course, kept, record)? {
            course.pending = None;
        }
        Ok(())
    }

    /// Takes the slot's first champion and its new challengers into the document.
    fn enroll(&mut self, course: &mut Course) -> Result<(), Error> {
        if !self.leader || course.pending.is_some() {
            return Ok(());
        }
        let Some(roles) = course.slot.roles() else {
            return Ok(());
        };
        let now = now_ms();
        let Some(document) = course.document.clone() else {
            let name = Name::from(roles.champion.named());
            let what = json!({"to": name, "reasons": ["the first revision of the slot"]});
            let record = judge::record(course, "begin", "controller", what);
            self.shared
                .write(course, Document::new(name, now), record)?;
            return Ok(());
        };
        if let Some(gone) = course.gone(&document).into_iter().next() {
            return self.let_go(course, document, &gone);
        }
        for challenger in &roles.challengers {
            let name = Name::from(challenger.revision.named());
            if document.knows(&name) {
                continue;
            }
            return self.enlist(course, document, name);
        }
        Ok(())
    }

    /// Ends the role of a revision whose folder is gone.
    fn let_go(
        &mut self,
        course: &mut Course,
        document: Document,
        gone: &Name,
    ) -> Result<(), Error> {
        let (now, seq) = (now_ms(), course.seq.unwrap_or(0));
        let mut after = document.clone();
        let (decision, to, reason) = if *gone == document.champion {
            // Nobody goes back by himself to what was rolled back from.
            let Some(previous) = document.previous.as_ref().filter(|it| it.sound) else {
                return Ok(());
            };
            let reason = "the champion's folder is gone";
            after.roll_back(now, seq, reason);
            ("rollback", previous.name.clone(), reason)
        } else {
            let reason = "its folder is gone";
            after.dismiss(gone, now, reason);
            ("hold", gone.clone(), reason)
        };
        let what = json!({"from": document.champion, "to": to, "reasons": [reason]});
        let record = judge::record(course, decision, "controller", what);
        self.shared.write(course, after, record)?;
        Ok(())
    }

    fn enlist(&mut self, course: &mut Course, document: Document, name: Name) -> Result<(), Error> {
        let (now, seq) = (now_ms(), course.seq.unwrap_or(0));
        let mut after = document.clone();
        let left = after.enlist(name.clone(), (now, seq), course.watch.challengers_max);
        let what = json!({
            "from": document.champion,
            "to": name,
            "stage": "shadow",
            "dismissed": left,
            "reasons": ["a new revision arrived"],
        });
        let record = judge::record(course, "shadow", "controller", what);
        let written = self.shared.write(course, after, record)?;
        if written {
            tracing::info!(
                slot = course.slot.name,
                revision = name.revision,
                "challenger in shadow"
            );
        }
        Ok(())
    }

    /// Judges all trials of a slot: the report, and what is to be done if this process decides.
    fn judge(&self, course: &mut Course) -> (Report, Option<Action>) {
        let now = now_ms();
        let mut report = self.blank(course, now);
        let mut action = None;
        let (previous, trip) = judge::previous(course);
        if let (Some(trip), Some(trial)) = (trip, &previous) {
            action = Some(Action::RollBack(trip, Box::new(trial.clone())));
        }
        let sound = course.document.as_ref().and_then(|it| it.previous.as_ref());
        let sound = sound.is_some_and(|it| it.sound);
        report.can_roll_back = sound && previous.as_ref().is_some_and(|it| it.standing.resident);
        report.previous = previous;
        if action.is_none() && judge::is_settled(course) {
            action = Some(Action::Retest);
        }
        let trials = course
            .document
            .as_ref()
            .map_or(0, |it| it.challengers.len());
        for index in 0..trials {
            let Some(judged) = judge::challenger(course, index, now) else {
                continue;
            };
            report.challengers.push(judged.report.clone());
            if judged.judgement.decision != Decision::Hold && action.is_none() {
                action = Some(Action::Trial(Box::new(judged)));
            }
        }
        if course.settings.is_priced() {
            report.cost_of_waiting = waiting(&report, course.counted.rows_per_hour);
        }
        (report, action)
    }

    fn blank(&self, course: &mut Course, now: i64) -> Report {
        let settings = course.settings.clone();
        let champion = match &course.document {
            Some(document) => Some((document.champion.clone(), document.since_ms)),
            // Without trials the folder says who answers.
            None => course
                .slot
                .roles()
                .map(|roles| (Name::from(roles.champion.named()), 0)),
        };
        let gates = course
            .task
            .map_or_else(Vec::new, |task| settings.gates(&task));
        Report {
            slot: course.slot.name.clone(),
            at_ms: now,
            task: course.task.map(|task| match task {
                Task::Binary { .. } => "binary",
                Task::Multiclass => "multiclass",
                Task::Regression => "regression",
            }),
            on_arrival: match course.watch.arrival {
                Arrival::Replace => "replace",
                Arrival::Shadow => "shadow",
                Arrival::Hold => "hold",
            },
            stages: settings
                .policy
                .stages
                .iter()
                .map(Stage::to_string)
                .collect(),
            approval: match settings.policy.approval {
                Approval::Automatic => "automatic",
                Approval::Manual => "manual",
            },
            gates: gates.iter().map(ToString::to_string).collect(),
            leader: self.leader,
            journal_error: self.journal_error.clone().or_else(|| course.error.clone()),
            rows_per_hour: course.counted.rows_per_hour,
            champion: champion.map(|(name, since)| judge::standing(course, &name, since)),
            challengers: Vec::new(),
            previous: None,
            can_roll_back: false,
            cost_of_waiting: None,
            dismissed: course.document.as_ref().map_or_else(Vec::new, |it| {
                let skip = it.dismissed.len().saturating_sub(10);
                it.dismissed[skip..].to_vec()
            }),
        }
    }

    /// Carries out what was decided, if it is for this process to decide. A champion that breaks is
    /// turned back by whoever sees it, also while the journal is away; then it is written later.
    fn act(&mut self, course: &mut Course, action: Action, is_fresh: bool) {
        // Evidence is acted on by the one that decides, and only where it has seen all there is.
        let may = is_fresh && self.leader && course.pending.is_none();
        let done = match action {
            Action::RollBack(trip, trial) if trip.is_hard || may => {
                let reason = trip.reason;
                acts::roll_back(&self.shared, course, "controller", &reason, Some(*trial))
            }
            Action::Retest if may => acts::retest(&self.shared, course),
            Action::Trial(judged) if may => {
                acts::conclude(&self.shared, course, &judged, "controller")
            }
            _ => return,
        };
        let complaint = done.err().map(|error| error.message);
        if complaint.is_some() && complaint != course.complaint {
            let reason = complaint.as_deref();
            tracing::warn!(slot = course.slot.name, reason, "not done as decided");
        }
        course.complaint = complaint;
    }

    fn obey(&mut self, command: Command) {
        let Command {
            slot,
            ask,
            actor,
            reply,
        } = command;
        let result = match self.courses.remove(&slot) {
            None => Err(conflict(format!("slot \"{slot}\" has no trials"))),
            Some(mut course) => {
                let result = acts::obey(&self.shared, &mut course, &ask, &actor);
                let (report, _action) = self.judge(&mut course);
                self.shared.report(report);
                self.courses.insert(slot.clone(), course);
                result
            }
        };
        self.shared.end_override(&slot);
        self.publish(&[]);
        // Who asked may be gone.
        let _sent = reply.send(result);
    }

    /// Tells the folder's task what was decided. Before the journal was read nothing is told.
    fn publish(&self, kept: &[roles::Kept]) {
        let server = &self.shared.server;
        let known = server.plans();
        if !self.known {
            return;
        }
        let mut plans = known.as_deref().cloned().unwrap_or_default();
        let mut changed = known.is_none();
        let of_others = kept
            .iter()
            .filter(|it| !self.courses.contains_key(&it.slot))
            .filter_map(|it| Some((it.slot.clone(), serde_json::from_str(&it.document).ok()?)));
        let of_courses = self
            .courses
            .iter()
            .filter_map(|(name, course)| Some((name.clone(), course.document.clone()?)));
        for (name, document) in of_courses.chain(of_others) {
            let document: Document = document;
            let plan: Plan = document.plan();
            if plans.get(&name).is_none_or(|it| **it != plan) {
                plans.insert(name, Arc::new(plan));
                changed = true;
            }
        }
        if changed {
            server.set_plans(plans);
        }
        self.shared.leader.store(self.leader, Ordering::Relaxed);
    }
}

/// What a look leads to.
enum Action {
    RollBack(Trip, Box<Trial>),
    Retest,
    Trial(Box<Judged>),
}

/// What an hour of waiting costs, by the challenger that saves most.
fn waiting(report: &Report, rows_per_hour: f64) -> Option<Waiting> {
    let best = report
        .challengers
        .iter()
        .filter(|it| it.saving.per_row.is_finite() && it.labels > 0)
        .max_by(|a, b| a.saving.per_row.total_cmp(&b.saving.per_row))?;
    Some(Waiting {
        revision: best.standing.name.revision,
        per_hour: best.saving.per_row * rows_per_hour,
        lower: best.saving.lower * rows_per_hour,
        upper: best.saving.upper * rows_per_hour,
    })
}
