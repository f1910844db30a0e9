//! The thread that watches: it makes references, closes panes and shares them with other replicas,
//! judges windows that ended, and raises alarms. Counting is done where records are taken out.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::alarm::{self, Alarm, Courier, Drifted, Hooks, Outcome, Target};
use super::live::{self, State};
use super::profile::Profile;
use super::report::{Called, Last, Verdict, Window};
use super::settings::SlotSettings;
use super::window::{ASK_MS, LATE_MS};
use super::{Look, Shared, lock};
use crate::error::Error;
use crate::journal::Journal;
use crate::journal::drift::{self, Pane};
use crate::model::revision::Revision;
use crate::serve::record::now_ms;
use crate::task::Supervisor;

/// How often panes and windows are looked at.
const LOOK: Duration = Duration::from_millis(250);
/// How often windows are measured for metrics.
const MEASURE: Duration = Duration::from_secs(5);
/// How often the journal is asked for a reference that another replica made.
const SEEK: Duration = Duration::from_secs(5);
/// Panes that wait for the journal; the oldest are dropped.
const PANES_MAX: usize = 1024;
/// Time beyond the deadline of an alarm's calls, after which another replica makes them.
const TAKE_OVER_MS: u64 = 60_000;
/// Time that the last records have to be counted when the server stops.
const STOP: Duration = Duration::from_secs(1);

/// Watches all slots.
pub struct Monitor {
    shared: Arc<Shared>,
    /// This process, as panes and alarms name it.
    writer: Uuid,
    courier: Courier,
    hooks: BTreeMap<String, Arc<Hooks>>,
    /// Alarms that this process delivers.
    underway: HashSet<String>,
    panes: Vec<Pane>,
    others: BTreeMap<String, Others>,
    asked_ms: i64,
    measured: Option<Instant>,
    /// When the journal was asked for others' references.
    sought: Option<Instant>,
    journal_failed: bool,
}

/// What was read of a slot's panes that others wrote.
#[derive(Default)]
struct Others {
    profile: String,
    /// Panes that were added, of the time that is read again.
    seen: BTreeMap<Uuid, i64>,
    read: bool,
}

impl Monitor {
    /// A monitor that has looked at nothing.
    pub fn new(shared: Arc<Shared>, courier: Courier) -> Monitor {
        Monitor {
            shared,
            writer: Uuid::new_v4(),
            courier,
            hooks: BTreeMap::new(),
            underway: HashSet::new(),
            panes: Vec::new(),
            others: BTreeMap::new(),
            asked_ms: 0,
            measured: None,
            sought: None,
            journal_failed: false,
        }
    }

    /// Looks until the server stops, then writes what was counted.
    pub fn run(mut self, supervisor: &Supervisor) {
        while !supervisor.is_stopping() {
            self.look(now_ms(), false);
            std::thread::sleep(LOOK);
        }
        let end = Instant::now() + STOP;
        while Arc::strong_count(&self.shared.counting) > 1 && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.look(now_ms(), true);
    }

    fn look(&mut self, now_ms: i64, last: bool) {
        self.begin();
        self.make_references();
        self.close(now_ms, last);
        if let Some(journal) = self.shared.journal.clone() {
            let asked = self.share(&journal, now_ms);
            if let Err(error) = &asked
                && !self.journal_failed
            {
                let error = &error.message;
                tracing::warn!(error, "drift is not shared with the journal");
            }
            self.journal_failed = asked.is_err();
        }
        self.judge(now_ms);
        self.note_calls();
        if self.measured.is_none_or(|at| at.elapsed() >= MEASURE) {
            self.measured = Some(Instant::now());
            self.measure(now_ms);
        }
    }

    /// Begins to count what answers, and forgets what does not.
    fn begin(&mut self) {
        let slots = self.shared.server.registry.slots();
        for name in slots.keys() {
            self.shared.begin(name);
        }
        lock(&self.shared.lives).retain(|name, _| slots.contains_key(name));
        lock(&self.shared.looks).retain(|name, _| slots.contains_key(name));
        self.others.retain(|name, _| slots.contains_key(name));
        self.hooks.retain(|name, _| slots.contains_key(name));
    }

    /// The champion of a slot, if it is the one that is counted.
    fn champion(&self, slot: &str, uid: u64) -> Option<Arc<Revision>> {
        let roles = self.shared.server.registry.slot(slot)?.roles()?;
        (roles.champion.uid == uid).then(|| Arc::clone(&roles.champion))
    }

    /// Makes references of rows that were collected, or takes those that others made.
    fn make_references(&mut self) {
        let mut found = Vec::new();
        // Another replica may have made one.
        let asks = self.sought.is_none_or(|at| at.elapsed() >= SEEK);
        for (slot, live) in lock(&self.shared.lives).iter_mut() {
            let collected = live.collected();
            if live.wants_reference() && (collected.is_some() || asks) {
                found.push((slot.clone(), live.uid, collected));
            }
        }
        if asks {
            self.sought = Some(Instant::now());
        }
        for (slot, uid, collected) in found {
            let Some(champion) = self.champion(&slot, uid) else {
                continue;
            };
            let bins = self.shared.settings.of(&slot).bins;
            let own = collected.map(|it| it.profile(&champion, bins));
            let profile = match (own, &self.shared.journal) {
                (own, None) => own,
                (own, Some(journal)) => self.common_reference(journal, &slot, &champion, own),
            };
            let Some(profile) = profile else { continue };
            let rows = profile.rows;
            let made = profile
                .check()
                .and_then(|()| live::bins(profile, &champion));
            if let Some(live) = lock(&self.shared.lives)
                .get_mut(&slot)
                .filter(|it| it.uid == uid)
            {
                match made {
                    Ok(bins) => {
                        live.watch(bins);
                        let revision = champion.id;
                        tracing::info!(
                            slot,
                            revision,
                            rows,
                            "the first rows served are the reference for drift"
                        );
                    }
                    Err(error) => {
                        let reason = error.to_string();
                        tracing::warn!(slot, reason, "no reference for drift");
                        live.state = State::Failed(reason);
                    }
                }
            }
        }
    }

    /// The reference that all replicas use: the first that was written.
    fn common_reference(
        &self,
        journal: &Journal,
        slot: &str,
        champion: &Revision,
        own: Option<Profile>,
    ) -> Option<Profile> {
        let (slot, mark) = (slot.to_string(), champion.mark().to_string());
        let document = own.as_ref().and_then(|it| it.json().ok());
        let found = journal.run_blocking(move |store| match document {
            Some(document) => drift::put_reference(store, &slot, &mark, &document).map(Some),
            None => drift::reference(store, &slot, &mark),
        });
        // While the journal is away each replica goes by its own.
        match found {
            Ok(found) => found
                .and_then(|json| Profile::parse(json.as_bytes()).ok())
                .or(own),
            Err(_away) => own,
        }
    }

    /// Closes the panes that ended, or all of them.
    fn close(&mut self, now_ms: i64, all: bool) {
        for (slot, live) in lock(&self.shared.lives).iter_mut() {
            let Some(profile) = live.shared_as() else {
                continue;
            };
            let State::Ready(watched) = &mut live.state else {
                continue;
            };
            let closed = watched.windows.close(now_ms.saturating_sub(LATE_MS), all);
            watched.windows.forget(now_ms);
            if self.shared.journal.is_none() {
                continue;
            }
            self.panes
                .extend(closed.into_iter().map(|(start_ms, counts)| Pane {
                    id: Uuid::new_v4(),
                    slot: slot.clone(),
                    profile: profile.clone(),
                    writer: self.writer,
                    start_ms,
                    rows: counts.rows,
                    cells: counts.cells,
                }));
        }
        let over = self.panes.len().saturating_sub(PANES_MAX);
        self.panes.drain(..over);
        self.shared
            .dropped_panes
            .fetch_add(over as u64, Ordering::Relaxed);
    }

    /// Writes panes, and reads those of others.
    fn share(&mut self, journal: &Journal, now_ms: i64) -> Result<(), Error> {
        if !self.panes.is_empty() {
            let panes = self.panes.clone();
            journal.run_blocking(move |store| drift::put_panes(store, &panes))?;
            self.panes.clear();
        }
        let watched: Vec<(String, String, SlotTimes)> = lock(&self.shared.lives)
            .iter()
            .filter_map(|(slot, live)| {
                let times = SlotTimes::of(live.settings());
                Some((slot.clone(), live.shared_as()?, times))
            })
            .collect();
        let every = watched.iter().map(|(_, _, times)| times.fine_ms).min();
        if now_ms.saturating_sub(self.asked_ms) < every.unwrap_or(ASK_MS).min(ASK_MS) {
            return Ok(());
        }
        self.asked_ms = now_ms;
        let mut oldest = 0;
        for (slot, profile, times) in watched {
            self.read_panes(journal, &slot, profile, times, now_ms)?;
            oldest = oldest.max(times.kept_ms);
        }
        if oldest > 0 {
            let before_ms = now_ms.saturating_sub(oldest);
            journal.run_blocking(move |store| drift::forget_panes(store, before_ms))?;
        }
        self.read_alarms(journal, now_ms)
    }

    fn read_panes(
        &mut self,
        journal: &Journal,
        slot: &str,
        profile: String,
        times: SlotTimes,
        now_ms: i64,
    ) -> Result<(), Error> {
        let others = self.others.entry(slot.to_string()).or_default();
        if others.profile != profile {
            *others = Others {
                profile,
                ..Others::default()
            };
        }
        // At first all that a window reaches; then what a slow writer may still add.
        let again_ms = 4 * times.fine_ms + 60_000;
        let reach_ms = match others.read {
            true => again_ms,
            false => times.kept_ms,
        };
        let from_ms = now_ms.saturating_sub(reach_ms);
        let mut after = 0;
        loop {
            let (name, profile, writer) = (slot.to_string(), others.profile.clone(), self.writer);
            let panes = journal.run_blocking(move |store| {
                drift::panes(store, &name, &profile, writer, from_ms, after)
            })?;
            let Some((last, _)) = panes.last() else { break };
            after = *last;
            let mut lives = lock(&self.shared.lives);
            let Some(State::Ready(watched)) = lives.get_mut(slot).map(|live| &mut live.state)
            else {
                break;
            };
            for (_, pane) in panes {
                // Of a replica whose clock is ahead: read again when its time has come.
                if pane.start_ms > now_ms {
                    continue;
                }
                if others.seen.insert(pane.id, pane.start_ms).is_none() {
                    let counts = live::counts(pane.rows, pane.cells);
                    watched.windows.join(pane.start_ms, &counts, now_ms);
                }
            }
        }
        let keep = now_ms.saturating_sub(2 * again_ms.max(reach_ms));
        others.seen.retain(|_, start| *start >= keep);
        others.read = true;
        Ok(())
    }

    /// Takes note of others' alarms, and takes over those that nobody delivers.
    fn read_alarms(&mut self, journal: &Journal, now_ms: i64) -> Result<(), Error> {
        let alarms = journal.run_blocking(drift::alarms)?;
        for kept in alarms {
            let calls: Vec<Outcome> = serde_json::from_str(&kept.calls).unwrap_or_default();
            lock(&self.shared.alarms).insert(
                kept.slot.clone(),
                Last {
                    id: kept.id.clone(),
                    at_ms: kept.at_ms,
                    quiet_until_ms: kept.quiet_until_ms,
                    calls: called(&calls, kept.settled),
                },
            );
            let is_here = lock(&self.shared.lives).contains_key(&kept.slot);
            if kept.settled || !is_here || self.underway.contains(&kept.id) {
                continue;
            }
            let Ok(body) = serde_json::from_str::<Alarm>(&kept.body) else {
                continue;
            };
            let (id, holder) = (kept.id.clone(), self.writer.to_string());
            let until_ms = now_ms.saturating_add_unsigned(self.patience(&kept.slot));
            let mine = journal
                .run_blocking(move |store| drift::take_over(store, &id, &holder, until_ms))?;
            if mine {
                let done: Vec<Target> = calls.iter().map(Outcome::target).collect();
                self.deliver(body, &done);
            }
        }
        Ok(())
    }

    /// Judges the short windows that ended. Measures them while rows go on being counted.
    fn judge(&mut self, now_ms: i64) {
        let shared = self.journal_wait();
        let mut ended = Vec::new();
        for (slot, live) in lock(&self.shared.lives).iter_mut() {
            let settings = Arc::clone(live.settings());
            let uid = live.uid;
            if let State::Ready(watched) = &mut live.state {
                let wait = settings.lengths.patience_ms(shared);
                let last = now_ms
                    .saturating_sub(wait)
                    .div_euclid(settings.lengths.tumbling_ms())
                    - 1;
                let sums = watched.ended(last, settings.lengths);
                let bins = Arc::clone(&watched.bins);
                ended.extend(sums.into_iter().map(|sum| {
                    (
                        slot.clone(),
                        uid,
                        Arc::clone(&settings),
                        Arc::clone(&bins),
                        sum,
                    )
                }));
            }
        }
        for (slot, uid, settings, bins, sum) in ended {
            let length_ms = settings.lengths.short_ms;
            let window = super::measure::window(&bins, &sum, "short", length_ms, &settings.terms);
            tracing::debug!(
                slot,
                verdict = window.verdict.name(),
                rows = window.rows,
                "window judged"
            );
            let raised = match lock(&self.shared.lives).get_mut(&slot) {
                Some(live) if live.uid == uid => live
                    .held(window.verdict)
                    .filter(|held| *held >= settings.alarm_windows)
                    .map(|held| alarm_of(&slot, live.revision, &live.mark, held, &window)),
                _ => None,
            };
            if let Some(alarm) = raised {
                self.raise(alarm, now_ms);
            }
        }
    }

    /// Whether others' panes are waited for.
    fn journal_wait(&self) -> bool {
        self.shared.journal.is_some() && !self.journal_failed
    }

    /// Gives an alarm, unless there was one within the cool-down.
    fn raise(&mut self, alarm: Alarm, now_ms: i64) {
        let settings = self.shared.settings.of(&alarm.slot);
        let last = Last {
            id: alarm.id.clone(),
            at_ms: alarm.at_ms,
            quiet_until_ms: alarm.at_ms.saturating_add_unsigned(settings.cooldown_ms),
            calls: Vec::new(),
        };
        let known = lock(&self.shared.alarms).get(&alarm.slot).cloned();
        if known.is_some_and(|it| it.quiet_until_ms > alarm.at_ms || it.id == alarm.id) {
            return;
        }
        if let Some(journal) = &self.shared.journal {
            let kept = drift::Alarm {
                slot: alarm.slot.clone(),
                id: alarm.id.clone(),
                at_ms: last.at_ms,
                quiet_until_ms: last.quiet_until_ms,
                body: serde_json::to_string(&alarm).unwrap_or_default(),
                calls: "[]".to_string(),
                settled: false,
            };
            let holder = self.writer.to_string();
            let until_ms = now_ms.saturating_add_unsigned(self.patience(&alarm.slot));
            match journal.run_blocking(move |store| drift::raise(store, &kept, &holder, until_ms)) {
                // Another replica gives it, or it is quiet.
                Ok(false) => return,
                Ok(true) => {}
                // Better twice than never: the calls have the same id everywhere.
                Err(error) => {
                    let error = error.message;
                    tracing::warn!(slot = alarm.slot, error, "the alarm is not in the journal");
                }
            }
        }
        let sentence = alarm.sentence();
        tracing::warn!(
            slot = alarm.slot,
            revision = alarm.revision,
            id = alarm.id,
            rows = alarm.rows,
            "drift: {sentence}"
        );
        *lock(&self.shared.raised)
            .entry(alarm.slot.clone())
            .or_default() += 1;
        lock(&self.shared.alarms).insert(alarm.slot.clone(), last);
        self.deliver(alarm, &[]);
    }

    fn deliver(&mut self, alarm: Alarm, done: &[Target]) {
        let hooks = self.hooks.entry(alarm.slot.clone()).or_insert_with(|| {
            let calls = &self.shared.settings.of(&alarm.slot).calls;
            // What is missing was said when the configuration was read.
            Arc::new(Hooks::new(calls.hooks().unwrap_or_default()))
        });
        self.underway.insert(alarm.id.clone());
        let id = alarm.id.clone();
        if !self.courier.send(hooks, alarm, done) {
            // Another replica, or this one later, takes it over.
            self.underway.remove(&id);
            tracing::warn!(id, "too many alarms are underway");
        }
    }

    /// Notes what became of calls.
    fn note_calls(&mut self) {
        let done = std::mem::take(&mut *lock(&self.shared.called));
        for (slot, id, outcomes, stopping) in done {
            self.underway.remove(&id);
            // What the server's end cut short is for the next one to do.
            let cut = |it: &Outcome| {
                matches!(
                    it,
                    Outcome::Failed {
                        permanent: false,
                        ..
                    }
                )
            };
            let settled = !(stopping && outcomes.iter().any(cut));
            let mut alarms = lock(&self.shared.alarms);
            if let Some(last) = alarms.get_mut(&slot).filter(|last| last.id == id) {
                last.calls = called(&outcomes, settled);
            }
            drop(alarms);
            let Some(journal) = &self.shared.journal else {
                continue;
            };
            let kept: Vec<Outcome> = match settled {
                true => outcomes,
                false => outcomes.into_iter().filter(|it| !cut(it)).collect(),
            };
            let calls = serde_json::to_string(&kept).unwrap_or_default();
            let noted =
                journal.run_blocking(move |store| drift::note_calls(store, &id, &calls, settled));
            if let Err(error) = noted {
                tracing::warn!(
                    slot,
                    error = error.message,
                    "what became of an alarm is not in the journal"
                );
            }
        }
    }

    /// Milliseconds that this process has for an alarm's calls.
    fn patience(&self, slot: &str) -> u64 {
        let calls = &self.shared.settings.of(slot).calls;
        let deadline_ms = calls.hooks().unwrap_or_default().deadline_ms;
        deadline_ms.saturating_add(TAKE_OVER_MS)
    }

    /// Measures all windows for metrics.
    fn measure(&self, now_ms: i64) {
        let sums: Vec<_> = lock(&self.shared.lives)
            .iter()
            .filter_map(|(slot, live)| {
                let State::Ready(watched) = &live.state else {
                    return None;
                };
                Some((
                    slot.clone(),
                    watched.sums(now_ms),
                    Arc::clone(live.settings()),
                ))
            })
            .collect();
        let mut looks = BTreeMap::new();
        for (slot, sums, settings) in sums {
            let windows = sums.measure(&settings);
            looks.insert(
                slot,
                Arc::new(Look::of(windows, sums.held >= settings.alarm_windows)),
            );
        }
        *lock(&self.shared.looks) = looks;
    }
}

/// Times of a slot's windows, in milliseconds.
#[derive(Clone, Copy)]
struct SlotTimes {
    fine_ms: i64,
    /// How long panes are of use.
    kept_ms: i64,
}

impl SlotTimes {
    fn of(settings: &SlotSettings) -> SlotTimes {
        let long = i64::try_from(settings.lengths.long_ms).unwrap_or(i64::MAX / 4);
        let short = settings.lengths.tumbling_ms().saturating_mul(2);
        SlotTimes {
            fine_ms: settings.lengths.fine_ms(),
            kept_ms: long.max(short).saturating_add(settings.lengths.fine_ms()),
        }
    }
}

fn alarm_of(slot: &str, revision: u64, mark: &str, held: u32, window: &Window) -> Alarm {
    let drifted = window.features.iter().chain(&window.score);
    let drifted = drifted.filter(|it| it.verdict == Verdict::Act);
    Alarm {
        id: alarm::event::id(slot, revision, mark, window.to_ms),
        slot: slot.to_string(),
        revision,
        mark: mark.to_string(),
        at_ms: window.to_ms,
        window_ms: window.length_ms,
        windows: held,
        rows: window.rows,
        features: drifted
            .take(alarm::event::FEATURES_MAX)
            .map(|it| Drifted {
                name: it.name.clone(),
                psi: it.psi_excess.unwrap_or_default(),
                threshold: it.threshold,
                reason: it.reason.clone(),
            })
            .collect(),
    }
}

/// What became of calls, for people.
fn called(outcomes: &[Outcome], settled: bool) -> Vec<Called> {
    let each = outcomes.iter().map(|outcome| {
        let (outcome_name, detail) = match outcome {
            Outcome::Delivered { run, .. } => ("delivered", run.clone().unwrap_or_default()),
            Outcome::Failed { reason, .. } => match settled {
                true => ("failed", reason.clone()),
                false => ("waits", reason.clone()),
            },
        };
        Called {
            target: outcome.target().name().to_string(),
            outcome: outcome_name.to_string(),
            detail,
        }
    });
    each.collect()
}
