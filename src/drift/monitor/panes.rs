//! Panes of windows on their way between the replicas that share a journal: one's own are written,
//! and all that are there are read, one's own of an earlier process among them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use uuid::Uuid;

use super::super::live::{self, State};
use super::super::settings::SlotSettings;
use super::super::window::{ASK_MS, Counts, LATE_MS};
use super::super::{Shared, lock};
use crate::error::Error;
use crate::journal::Journal;
use crate::journal::drift::{self, Pane};

/// Panes that wait for the journal, and their cells; the oldest are dropped.
const WAITING_MAX: usize = 1024;
const CELLS_MAX: usize = 4 << 20;
/// Whole windows whose verdicts are found again after a restart.
const REPLAYED_MAX: i64 = 48;

/// The panes of all slots.
pub struct Panes {
    shared: Arc<Shared>,
    /// This process, as panes name it.
    writer: Uuid,
    waiting: Vec<Pane>,
    known: BTreeMap<String, Known>,
    asked_ms: i64,
}

/// What of a slot's panes is counted here already.
struct Known {
    instance: u64,
    /// By their ids, of the time that is read again.
    seen: BTreeMap<Uuid, i64>,
    /// Whether all that the windows reach was read once.
    read: bool,
}

/// What is read of a slot.
struct Wanted {
    slot: String,
    name: String,
    cells: usize,
    settings: Arc<SlotSettings>,
}

impl Panes {
    /// No panes yet, of the process with this name.
    pub fn new(shared: Arc<Shared>, writer: Uuid) -> Panes {
        Panes {
            shared,
            writer,
            waiting: Vec::new(),
            known: BTreeMap::new(),
            asked_ms: 0,
        }
    }

    /// Forgets slots that are gone.
    pub fn keep(&mut self, is_here: impl Fn(&str) -> bool) {
        self.known.retain(|slot, _| is_here(slot));
    }

    /// Whether what others counted of a slot is in its windows.
    pub fn is_read(&self, slot: &str, instance: u64) -> bool {
        let known = self.known.get(slot);
        known.is_some_and(|it| it.instance == instance && it.read)
    }

    /// Closes the panes that ended, or all of them.
    pub fn close(&mut self, now_ms: i64, all: bool) {
        let shared = Arc::clone(&self.shared);
        for (slot, live) in lock(&shared.lives).iter_mut() {
            let (name, instance) = (live.shared_as(), live.instance);
            let (Some(name), State::Ready(watched)) = (name, &mut live.state) else {
                continue;
            };
            let closed = watched.windows.close(now_ms.saturating_sub(LATE_MS), all);
            watched.windows.forget(now_ms);
            if self.shared.journal.is_none() {
                continue;
            }
            for (start_ms, counts) in closed {
                let id = Uuid::new_v4();
                self.known(slot, instance).seen.insert(id, start_ms);
                self.waiting.push(Pane {
                    id,
                    slot: slot.clone(),
                    profile: name.clone(),
                    writer: self.writer,
                    start_ms,
                    rows: counts.rows,
                    cells: counts.cells,
                });
            }
        }
        let mut cells = 0;
        let newest = self.waiting.iter().rev();
        let kept = newest.take(WAITING_MAX).take_while(|pane| {
            cells += pane.cells.len();
            cells <= CELLS_MAX
        });
        let over = self.waiting.len() - kept.count();
        self.waiting.drain(..over);
        let dropped = &self.shared.dropped_panes;
        dropped.fetch_add(over as u64, Ordering::Relaxed);
    }

    /// Writes panes, and reads those that are not counted here.
    ///
    /// # Errors
    /// As [`Journal::run_blocking`]; what was not written waits.
    pub fn share(&mut self, journal: &Journal, now_ms: i64) -> Result<(), Error> {
        if !self.waiting.is_empty() {
            let panes = Arc::new(std::mem::take(&mut self.waiting));
            let writing = Arc::clone(&panes);
            let written = journal.run_blocking(move |store| drift::put_panes(store, &writing));
            if let Err(error) = written {
                // After a deadline they may be written still; again they are there once.
                self.waiting = Arc::unwrap_or_clone(panes);
                return Err(error);
            }
        }
        let wanted = self.wanted();
        let every = wanted.iter().map(|it| it.settings.lengths.fine_ms()).min();
        let Some(every) = every else { return Ok(()) };
        let is_new = |it: &Wanted| !self.known.get(&it.slot).is_some_and(|known| known.read);
        let waits = now_ms.saturating_sub(self.asked_ms) < every.min(ASK_MS);
        if waits && !wanted.iter().any(is_new) {
            return Ok(());
        }
        self.asked_ms = now_ms;
        for it in &wanted {
            self.read(journal, it, now_ms)?;
        }
        let before_ms = now_ms.saturating_sub(self.kept_ms());
        journal.run_blocking(move |store| drift::forget_panes(store, before_ms))?;
        Ok(())
    }

    fn known(&mut self, slot: &str, instance: u64) -> &mut Known {
        let fresh = || Known {
            instance,
            seen: BTreeMap::new(),
            read: false,
        };
        let known = self.known.entry(slot.to_string()).or_insert_with(fresh);
        if known.instance != instance {
            *known = fresh();
        }
        known
    }

    fn wanted(&mut self) -> Vec<Wanted> {
        let shared = Arc::clone(&self.shared);
        let mut wanted = Vec::new();
        for (slot, live) in lock(&shared.lives).iter() {
            if let (Some(name), State::Ready(watched)) = (live.shared_as(), &live.state) {
                self.known(slot, live.instance);
                wanted.push(Wanted {
                    slot: slot.clone(),
                    name,
                    cells: watched.bins.len(),
                    settings: Arc::clone(live.settings()),
                });
            }
        }
        wanted
    }

    /// How long panes are of use to any slot, whether it is served now or not.
    fn kept_ms(&self) -> i64 {
        let settings = &self.shared.settings;
        let all = settings.slots.values().chain([&settings.slot]);
        all.map(kept_ms).max().unwrap_or(i64::MAX)
    }

    fn read(&mut self, journal: &Journal, wanted: &Wanted, now_ms: i64) -> Result<(), Error> {
        let Wanted {
            slot,
            name,
            cells,
            settings,
        } = wanted;
        let Some(known) = self.known.get_mut(slot) else {
            return Ok(());
        };
        // At first all that a window reaches; then what a slow writer may still add.
        let again_ms = settings
            .lengths
            .fine_ms()
            .saturating_mul(4)
            .saturating_add(60_000);
        let reach_ms = match known.read {
            true => again_ms,
            false => kept_ms(settings),
        };
        let from_ms = now_ms.saturating_sub(reach_ms);
        let mut before = (!known.read).then(|| Before::new(settings, now_ms));
        let mut after = 0;
        loop {
            let wanted = drift::Wanted {
                slot: slot.clone(),
                profile: name.clone(),
                cells: *cells,
                from_ms,
                after,
            };
            let panes = journal.run_blocking(move |store| drift::panes(store, &wanted))?;
            let Some((last, _)) = panes.last() else { break };
            after = *last;
            let mut lives = lock(&self.shared.lives);
            let live = lives
                .get_mut(slot)
                .filter(|it| it.instance == known.instance);
            let Some(State::Ready(watched)) = live.map(|live| &mut live.state) else {
                return Ok(());
            };
            for (_, pane) in panes {
                // Of a replica whose clock is ahead: read again when its time has come.
                if pane.start_ms > now_ms || known.seen.contains_key(&pane.id) {
                    continue;
                }
                known.seen.insert(pane.id, pane.start_ms);
                let counts = live::counts(pane.rows, pane.cells);
                watched.windows.join(pane.start_ms, &counts, now_ms);
                if let Some(before) = &mut before {
                    before.add(pane.start_ms, &counts);
                }
            }
        }
        let keep = now_ms.saturating_sub(again_ms.max(reach_ms).saturating_mul(2));
        known.seen.retain(|_, start| *start >= keep);
        known.read = true;
        if let Some(before) = before {
            before.replay(&self.shared, slot, known.instance);
        }
        Ok(())
    }
}

/// Whole windows that ended before this process began to count.
struct Before {
    settings: Arc<SlotSettings>,
    last: i64,
    windows: BTreeMap<i64, Counts>,
}

impl Before {
    fn new(settings: &Arc<SlotSettings>, now_ms: i64) -> Before {
        Before {
            settings: Arc::clone(settings),
            last: settings.lengths.last_ended(now_ms, true),
            windows: BTreeMap::new(),
        }
    }

    fn add(&mut self, start_ms: i64, counts: &Counts) {
        let number = start_ms.div_euclid(self.settings.lengths.tumbling_ms());
        let wanted = i64::from(self.settings.alarm_windows).min(REPLAYED_MAX);
        if number > self.last || number <= self.last.saturating_sub(wanted) {
            return;
        }
        let cells = counts.cells.len();
        let window = self.windows.entry(number);
        window.or_insert_with(|| Counts::new(cells)).add(counts);
    }

    /// Judges them again, in order: how many in a row are to be acted upon does not end with a process.
    fn replay(self, shared: &Shared, slot: &str, instance: u64) {
        for (number, counts) in self.windows {
            let mut lives = lock(&shared.lives);
            let live = lives.get_mut(slot).filter(|it| it.instance == instance);
            let Some(live) = live.filter(|it| !it.is_judged(number)) else {
                continue;
            };
            live.judge_again(number, counts);
        }
    }
}

/// How long a slot's panes are of use.
fn kept_ms(settings: &SlotSettings) -> i64 {
    let long = i64::try_from(settings.lengths.long_ms).unwrap_or(i64::MAX / 4);
    let whole = settings.lengths.tumbling_ms();
    let windows = i64::from(settings.alarm_windows).min(REPLAYED_MAX) + 1;
    let short = whole.saturating_mul(windows.max(2));
    long.max(short).saturating_add(settings.lengths.fine_ms())
}
