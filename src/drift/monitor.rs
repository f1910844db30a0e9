//! The thread that watches: it makes references, closes panes and shares them with other replicas,
//! judges windows that ended, and raises alarms. Counting is done where records are taken out.

mod alarms;
mod panes;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::alarm::Courier;
use super::live::{self, State};
use super::profile::Profile;
use super::{Look, Shared, lock, measure};
use crate::journal::Journal;
use crate::journal::drift;
use crate::model::revision::Revision;
use crate::serve::record::now_ms;
use crate::task::Supervisor;
use alarms::Alarms;
use panes::Panes;

/// How often panes and windows are looked at.
const LOOK: Duration = Duration::from_millis(250);
/// How often windows are measured for metrics, and the journal is asked for alarms.
const MEASURE: Duration = Duration::from_secs(5);
/// How often the journal is asked for a reference that another replica made.
const SEEK: Duration = Duration::from_secs(5);
/// Time that the last records have to be counted when the server stops, and calls to end.
const STOP: Duration = Duration::from_secs(1);

/// Watches all slots.
pub struct Monitor {
    shared: Arc<Shared>,
    panes: Panes,
    alarms: Alarms,
    measured: Option<Instant>,
    /// When the journal was asked for others' references.
    sought: Option<Instant>,
    journal_failed: bool,
}

impl Monitor {
    /// A monitor that has looked at nothing.
    pub fn new(shared: Arc<Shared>, courier: Courier) -> Monitor {
        let writer = Uuid::new_v4();
        Monitor {
            panes: Panes::new(Arc::clone(&shared), writer),
            alarms: Alarms::new(Arc::clone(&shared), writer.to_string(), courier),
            shared,
            measured: None,
            sought: None,
            journal_failed: false,
        }
    }

    /// Looks until the server stops, then writes what was counted and what became of calls.
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
        let end = Instant::now() + STOP;
        while self.alarms.underway() > 0 && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.alarms.note();
    }

    fn look(&mut self, now_ms: i64, last: bool) {
        self.begin();
        self.make_references();
        self.panes.close(now_ms, last);
        let asks = self.measured.is_none_or(|at| at.elapsed() >= MEASURE);
        if let Some(journal) = self.shared.journal.clone() {
            let mut shared = self.panes.share(&journal, now_ms);
            if asks && shared.is_ok() {
                shared = self.alarms.read(&journal, now_ms);
            }
            if let Err(error) = &shared
                && !self.journal_failed
            {
                let error = &error.message;
                tracing::warn!(error, "drift is not shared with the journal");
            }
            self.journal_failed = shared.is_err();
        }
        self.judge(now_ms);
        self.alarms.note();
        if asks {
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
        self.panes.keep(|name| slots.contains_key(name));
        self.alarms.keep(|name| slots.contains_key(name));
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

    /// The reference that all replicas with the same settings use: the first that was written.
    fn common_reference(
        &self,
        journal: &Journal,
        slot: &str,
        champion: &Revision,
        own: Option<Profile>,
    ) -> Option<Profile> {
        // Other settings make another reference; the first under these stays.
        let settings = self.shared.settings.of(slot);
        let mark = format!(
            "{} of {} rows in {} bins",
            champion.mark(),
            settings.reference_rows,
            settings.bins
        );
        let slot = slot.to_string();
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

    /// Judges the short windows that ended. Measures them while rows go on being counted.
    fn judge(&mut self, now_ms: i64) {
        let shares = self.shared.journal.is_some() && !self.journal_failed;
        let mut ended = Vec::new();
        for (slot, live) in lock(&self.shared.lives).iter_mut() {
            // At first without what others counted a window would be judged by a part of its rows.
            if shares && !self.panes.is_read(slot, live.instance) {
                continue;
            }
            let settings = Arc::clone(live.settings());
            let last = settings.lengths.last_ended(now_ms, shares);
            let State::Ready(watched) = &mut live.state else {
                continue;
            };
            for sum in watched.ended(last, settings.lengths) {
                let (settings, bins) = (Arc::clone(&settings), Arc::clone(&watched.bins));
                ended.push((slot.clone(), live.instance, settings, bins, sum));
            }
        }
        for (slot, instance, settings, bins, sum) in ended {
            let length_ms = settings.lengths.short_ms;
            let window = measure::window(&bins, &sum, "short", length_ms, &settings.terms);
            let (verdict, rows) = (window.verdict.name(), window.rows);
            tracing::debug!(slot, verdict, rows, "window judged");
            let raised = match lock(&self.shared.lives).get_mut(&slot) {
                Some(live) if live.instance == instance => live
                    .held(&window)
                    .filter(|held| *held >= settings.alarm_windows)
                    .map(|held| alarms::alarm_of(&slot, live.revision, &live.mark, held, &window)),
                _ => None,
            };
            if let Some(alarm) = raised {
                self.alarms.raise(alarm, now_ms);
            }
        }
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
