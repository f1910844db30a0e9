//! Alarms: who gives one, what it calls, and what became of that. With a journal one process gives an
//! alarm for all, and another takes over when it does not come through.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::super::alarm::{self, Alarm, Courier, Drifted, Hooks, Outcome, Target};
use super::super::report::{Called, Last, Verdict, Window};
use super::super::{Ended, Shared, lock};
use crate::error::Error;
use crate::journal::Journal;
use crate::journal::drift;

/// Time beyond the deadline of an alarm's calls, after which another replica makes them.
const TAKE_OVER_MS: u64 = 60_000;
/// Alarms whose calls are to be noted while the journal is away.
const UNNOTED_MAX: usize = 256;

/// The alarms of all slots.
pub struct Alarms {
    shared: Arc<Shared>,
    /// This process, as the journal names it.
    holder: String,
    courier: Courier,
    hooks: BTreeMap<String, Arc<Hooks>>,
    /// Alarms that this process delivers.
    underway: HashSet<String>,
    /// What the journal did not take yet.
    unnoted: Vec<Ended>,
}

impl Alarms {
    /// No alarms yet, of the process with this name.
    pub fn new(shared: Arc<Shared>, holder: String, courier: Courier) -> Alarms {
        Alarms {
            shared,
            holder,
            courier,
            hooks: BTreeMap::new(),
            underway: HashSet::new(),
            unnoted: Vec::new(),
        }
    }

    /// Forgets slots that are gone.
    pub fn keep(&mut self, is_here: impl Fn(&str) -> bool) {
        self.hooks.retain(|slot, _| is_here(slot));
    }

    /// Alarms on their way.
    pub fn underway(&self) -> usize {
        self.courier.underway()
    }

    /// Takes note of others' alarms, and takes over those that nobody delivers.
    ///
    /// # Errors
    /// As [`Journal::run_blocking`].
    pub fn read(&mut self, journal: &Journal, now_ms: i64) -> Result<(), Error> {
        for kept in journal.run_blocking(drift::alarms)? {
            let calls: Vec<Outcome> = serde_json::from_str(&kept.calls).unwrap_or_default();
            let last = Last {
                id: kept.id.clone(),
                at_ms: kept.at_ms,
                quiet_until_ms: kept.quiet_until_ms,
                calls: called(&calls, kept.settled),
            };
            let mine =
                self.underway.contains(&kept.id) || self.unnoted.iter().any(|it| it.id == kept.id);
            let mut alarms = lock(&self.shared.alarms);
            // One that the journal did not take is newer, and what it was not told is known here.
            if !mine
                && alarms
                    .get(&kept.slot)
                    .is_none_or(|it| it.at_ms <= kept.at_ms)
            {
                alarms.insert(kept.slot.clone(), last);
            }
            drop(alarms);
            let is_here = lock(&self.shared.lives).contains_key(&kept.slot);
            if kept.settled || !is_here || mine {
                continue;
            }
            let Ok(body) = serde_json::from_str::<Alarm>(&kept.body) else {
                continue;
            };
            let (id, holder) = (kept.id.clone(), self.holder.clone());
            let until_ms = now_ms.saturating_add_unsigned(self.patience(&kept.slot));
            let taken = journal
                .run_blocking(move |store| drift::take_over(store, &id, &holder, until_ms))?;
            if taken {
                let done: Vec<Target> = calls.iter().map(Outcome::target).collect();
                self.deliver(body, &done);
            }
        }
        Ok(())
    }

    /// Gives an alarm, unless there was one within the cool-down.
    pub fn raise(&mut self, alarm: Alarm, now_ms: i64) {
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
            let holder = self.holder.clone();
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
        let Alarm {
            slot,
            revision,
            id,
            rows,
            ..
        } = &alarm;
        tracing::warn!(slot, revision, id, rows, "drift: {sentence}");
        *lock(&self.shared.raised).entry(slot.clone()).or_default() += 1;
        lock(&self.shared.alarms).insert(slot.clone(), last);
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
    pub fn note(&mut self) {
        let ended = std::mem::take(&mut *lock(&self.shared.ended));
        for it in &ended {
            self.underway.remove(&it.id);
        }
        self.unnoted.extend(ended);
        let over = self.unnoted.len().saturating_sub(UNNOTED_MAX);
        self.unnoted.drain(..over);
        let mut left = std::mem::take(&mut self.unnoted).into_iter();
        while let Some(it) = left.next() {
            if let Err(error) = self.note_one(&it) {
                let (slot, error) = (&it.slot, error.message);
                tracing::warn!(
                    slot,
                    error,
                    "what became of an alarm is not in the journal yet"
                );
                self.unnoted = std::iter::once(it).chain(left).collect();
                return;
            }
        }
    }

    fn note_one(&self, ended: &Ended) -> Result<(), Error> {
        let Ended {
            slot,
            id,
            outcomes,
            stopping,
        } = ended;
        // What the server's end cut short is for the next one to do.
        let cut = |it: &&Outcome| {
            matches!(
                it,
                Outcome::Failed {
                    permanent: false,
                    ..
                }
            )
        };
        let settled = !(*stopping && outcomes.iter().any(|it| cut(&it)));
        // An alarm that reached nobody asks for no quiet.
        let in_vain =
            settled && !outcomes.is_empty() && !outcomes.iter().any(Outcome::is_delivered);
        let mut alarms = lock(&self.shared.alarms);
        if let Some(last) = alarms.get_mut(slot).filter(|last| last.id == *id) {
            last.calls = called(outcomes, settled);
            if in_vain {
                last.quiet_until_ms = last.at_ms;
            }
        }
        drop(alarms);
        let Some(journal) = &self.shared.journal else {
            return Ok(());
        };
        let kept: Vec<&Outcome> = match settled {
            true => outcomes.iter().collect(),
            false => outcomes.iter().filter(|it| !cut(it)).collect(),
        };
        let (id, calls) = (id.clone(), serde_json::to_string(&kept).unwrap_or_default());
        journal.run_blocking(move |store| drift::note_calls(store, &id, &calls, settled, in_vain))
    }

    /// Milliseconds that this process has for an alarm's calls.
    fn patience(&self, slot: &str) -> u64 {
        let calls = &self.shared.settings.of(slot).calls;
        let deadline_ms = calls.hooks().unwrap_or_default().deadline_ms;
        deadline_ms.saturating_add(TAKE_OVER_MS)
    }
}

/// The alarm of a window.
pub fn alarm_of(slot: &str, revision: u64, mark: &str, held: u32, window: &Window) -> Alarm {
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
        let (name, detail) = match outcome {
            Outcome::Delivered { run, .. } => ("delivered", run.clone().unwrap_or_default()),
            Outcome::Failed { reason, .. } if settled => ("failed", reason.clone()),
            Outcome::Failed { reason, .. } => ("waits", reason.clone()),
        };
        Called {
            target: outcome.target().name().to_string(),
            outcome: name.to_string(),
            detail,
        }
    });
    each.collect()
}
