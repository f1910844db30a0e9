//! Drift: whether what is served is still what the model was trained on. Rows are counted in bins,
//! off the request path; windows of counts are compared with a profile of the training data. It asks
//! for a retraining, and changes nobody's role.

pub mod alarm;
pub mod bins;
pub mod build;
pub mod estimate;
mod live;
pub mod measure;
mod monitor;
pub mod profile;
pub mod report;
pub mod settings;
pub mod statistic;
pub mod window;

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::journal::Journal;
use crate::model::revision::{self, Revision};
use crate::serve::Server;
use crate::serve::record::{self, Record, now_ms};
use crate::serve::shadow::Tap;
use crate::task::{Priority, Supervisor};
use crate::telemetry::drift as telemetry;
use alarm::{Courier, Outcome};
use live::{Live, State};
use report::{Context, Held, Last, Reference, Report, Verdict, Window};
pub use settings::{Settings, SlotSettings};

/// The monitor of all slots. Clones share it.
#[derive(Clone)]
pub struct Drift {
    shared: Arc<Shared>,
    courier: Courier,
    /// Held by the monitor's thread while it runs.
    alive: Weak<()>,
}

/// What the monitor's thread shares with those who count and ask.
pub struct Shared {
    server: Arc<Server>,
    journal: Option<Journal>,
    settings: Settings,
    /// By slot.
    lives: Mutex<BTreeMap<String, Live>>,
    looks: Mutex<BTreeMap<String, Arc<Look>>>,
    /// The last alarm of each slot.
    alarms: Mutex<BTreeMap<String, Last>>,
    /// Alarms that this process gave, by slot.
    raised: Mutex<BTreeMap<String, u64>>,
    /// Calls that ended and are to be noted.
    ended: Mutex<Vec<Ended>>,
    dropped_panes: AtomicU64,
    /// Held by who counts records.
    counting: Arc<()>,
}

/// What became of an alarm's calls.
struct Ended {
    slot: String,
    id: String,
    outcomes: Vec<Outcome>,
    /// Whether the server was stopping: then some may have been cut short.
    stopping: bool,
}

/// A slot as it was last measured.
pub struct Look {
    windows: Vec<Window>,
    alarmed: bool,
}

impl Drift {
    /// Starts the monitor. With a journal windows outlive the process and are those of all replicas.
    ///
    /// # Errors
    /// When the system has no more threads.
    pub fn start(
        server: &Arc<Server>,
        journal: Option<Journal>,
        settings: Settings,
        supervisor: &Supervisor,
    ) -> io::Result<Drift> {
        let shared = Arc::new(Shared {
            server: Arc::clone(server),
            journal,
            settings,
            lives: Mutex::default(),
            looks: Mutex::default(),
            alarms: Mutex::default(),
            raised: Mutex::default(),
            ended: Mutex::default(),
            dropped_panes: AtomicU64::new(0),
            counting: Arc::default(),
        });
        let (noting, stop) = (Arc::clone(&shared), supervisor.clone());
        let courier = Courier::start(supervisor, move |alarm, outcomes| {
            lock(&noting.ended).push(Ended {
                slot: alarm.slot.clone(),
                id: alarm.id.clone(),
                outcomes: outcomes.to_vec(),
                stopping: stop.is_stopping(),
            });
        })?;
        let monitor = monitor::Monitor::new(Arc::clone(&shared), courier.clone());
        let (held, stop) = (Arc::new(()), supervisor.clone());
        let alive = Arc::downgrade(&held);
        supervisor.thread("drift", Priority::Bulk, move || {
            let _alive = held;
            monitor.run(&stop);
        })?;
        Ok(Drift {
            shared,
            courier,
            alive,
        })
    }

    /// Counts records, where they are taken out of the request path's queue.
    pub fn tap(&self) -> Tap {
        let shared = Arc::clone(&self.shared);
        let counting = Arc::clone(&self.shared.counting);
        Arc::new(move |record| {
            let _counting = &counting;
            shared.count(record);
        })
    }

    /// What is said of a slot now.
    ///
    /// # Errors
    /// For an unknown slot.
    pub fn report(&self, slot: &str) -> Result<Report, Error> {
        let found = self.shared.server.slot(slot)?;
        let settings = self.shared.settings.of(slot);
        let champion = found.roles().map(|roles| Arc::clone(&roles.champion));
        let mut report = Report {
            slot: slot.to_string(),
            revision: champion.as_ref().map(|it| it.id),
            mark: champion.as_ref().map(|it| it.mark().to_string()),
            reference: self.shared.reference(slot, champion.as_deref()),
            thresholds: settings.terms.thresholds,
            verdict: Verdict::Unknown,
            windows: Vec::new(),
            alarm: Held {
                windows: 0,
                needed: settings.alarm_windows,
                last: lock(&self.shared.alarms).get(slot).cloned(),
            },
            skipped_rows: found.usage.unwatched.load(Ordering::Relaxed),
        };
        let sums = match lock(&self.shared.lives).get(slot).map(|live| &live.state) {
            Some(State::Ready(watched)) => Some(watched.sums(now_ms())),
            _ => None,
        };
        if let (Some(sums), Reference::Ready { .. }) = (sums, &report.reference) {
            report.windows = sums.measure(settings);
            report.alarm.windows = sums.held;
        }
        report.verdict = live::verdict(&report.windows);
        Ok(report)
    }

    /// What a person weighs with a decision on a slot, as it was last measured.
    pub fn context(&self, slot: &str) -> Option<Context> {
        lock(&self.shared.looks).get(slot)?.context()
    }

    /// All of it, as the metrics have it.
    pub fn metrics(&self) -> telemetry::Drift {
        let top = self.shared.settings.features_in_metrics;
        let looks = lock(&self.shared.looks).clone();
        let raised = lock(&self.shared.raised).clone();
        let mut slots = Vec::new();
        for name in self.shared.server.registry.slots().keys() {
            let champion = self.shared.champion(name);
            let reference = self.shared.reference(name, champion.as_deref());
            if matches!(reference, Reference::Off { .. }) {
                continue;
            }
            let look = looks.get(name);
            let rows_min = self.shared.settings.of(name).terms.thresholds.rows_min;
            slots.push(telemetry::SlotDrift {
                name: name.clone(),
                reference: reference.name(),
                windows: look.map_or_else(Vec::new, |look| look.metrics(top, rows_min)),
                alarmed: look.is_some_and(|look| look.alarmed),
                alarms: raised.get(name).copied().unwrap_or(0),
            });
        }
        telemetry::Drift {
            slots,
            calls: self
                .courier
                .counts()
                .iter()
                .map(|it| telemetry::Calls {
                    target: it.target.name(),
                    attempts: it.attempts,
                    delivered: it.delivered,
                    failed: it.failed,
                })
                .collect(),
            refused_alarms: self.courier.refused(),
            dropped_panes: self.shared.dropped_panes.load(Ordering::Relaxed),
        }
    }

    /// Waits until the monitor has written what it counted, once the server was told to stop; false
    /// when that takes longer than `limit`. Blocks.
    pub fn close(&self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        let runs = || self.alive.strong_count() > 0;
        while runs() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
        }
        !runs()
    }
}

impl Shared {
    fn champion(&self, slot: &str) -> Option<Arc<Revision>> {
        let roles = self.server.registry.slot(slot)?.roles()?;
        Some(Arc::clone(&roles.champion))
    }

    fn watches(&self, slot: &str, champion: &Revision) -> bool {
        self.server.watch(slot).watches(champion)
    }

    /// Begins to count the champion of a slot, if it is to be watched and is not yet.
    fn begin(&self, slot: &str) {
        let champion = self.champion(slot);
        let champion = champion.filter(|it| self.watches(slot, it));
        let mut lives = lock(&self.lives);
        match champion {
            None => {
                lives.remove(slot);
            }
            Some(champion) if lives.get(slot).is_some_and(|it| it.uid == champion.uid) => {}
            Some(champion) => {
                let known = lives.get_mut(slot);
                if known.is_some_and(|it| it.goes_on(&champion)) {
                    return;
                }
                let settings = Arc::new(self.settings.of(slot).clone());
                lives.insert(slot.to_string(), Live::new(&champion, settings));
            }
        }
    }

    /// Counts the rows of a record, if the champion of now answered it.
    fn count(&self, record: &Record) {
        let (slot, answered) = (&record.slot, &record.answered);
        let is_champion = |uid| slot.roles().is_some_and(|it| it.champion.uid == uid);
        if !is_champion(answered.uid) || !self.watches(&slot.name, answered) {
            return;
        }
        let mut lives = lock(&self.lives);
        if lives
            .get(&slot.name)
            .is_none_or(|it| it.uid != answered.uid)
        {
            drop(lives);
            self.begin(&slot.name);
            lives = lock(&self.lives);
        }
        if let Some(live) = lives
            .get_mut(&slot.name)
            .filter(|it| it.uid == answered.uid)
        {
            live.count(record);
        }
    }

    /// What a slot's live rows are compared with.
    fn reference(&self, slot: &str, champion: Option<&Revision>) -> Reference {
        let off = |reason: &str| Reference::Off {
            reason: reason.to_string(),
        };
        let Some(champion) = champion else {
            return off("no revision answers");
        };
        if self.server.watch(slot).drift == record::Drift::Off {
            return off("drift.watch is off");
        }
        match &champion.reference {
            revision::Reference::Refused(reason) => Reference::Refused {
                reason: reason.clone(),
            },
            _ if !self.watches(slot, champion) => off(
                "there is no profile.json beside the model; drift.watch = \"on\" makes a reference of the first rows served",
            ),
            _ => match lock(&self.lives)
                .get(slot)
                .filter(|it| it.uid == champion.uid)
            {
                Some(live) => live.reference(),
                None => off("it is about to be watched"),
            },
        }
    }
}

impl Look {
    fn of(windows: Vec<Window>, alarmed: bool) -> Look {
        Look { windows, alarmed }
    }

    /// The worse window's verdict.
    fn context(&self) -> Option<Context> {
        let window = self.windows.iter().rev().max_by_key(|it| it.verdict)?;
        let drifted = || {
            window
                .features
                .iter()
                .filter(|it| it.verdict >= Verdict::Watch)
        };
        let named = |it: &report::Feature| (it.name.clone(), it.psi_excess.unwrap_or(0.0));
        Some(Context {
            verdict: window.verdict,
            window: window.name.clone(),
            rows: window.rows,
            drifted: drifted().count(),
            features: window.features.len(),
            worst: drifted().take(3).map(named).collect(),
        })
    }

    /// Both windows, with the worst features of each.
    fn metrics(&self, top: usize, rows_min: u64) -> Vec<telemetry::Window> {
        let each = self.windows.iter().map(|window| {
            let count = |verdict| {
                let features = window.features.iter();
                features.filter(|it| it.verdict == verdict).count()
            };
            let excess = |it: &report::Feature| it.psi_excess.unwrap_or(0.0);
            // Of few rows chance says more than drift.
            let estimate = window.estimate.iter().filter(|it| it.rows >= rows_min);
            let estimate = estimate.flat_map(|it| {
                [
                    ("precision", it.precision),
                    ("recall", it.recall),
                    ("f1", it.f1),
                    ("auc", it.auc),
                ]
            });
            telemetry::Window {
                name: match window.name.as_str() {
                    "short" => "short",
                    _ => "long",
                },
                rows: window.rows,
                verdict: match window.verdict {
                    Verdict::Unknown => -1.0,
                    Verdict::None => 0.0,
                    Verdict::Watch => 1.0,
                    Verdict::Act => 2.0,
                },
                drift_share: window.drift_share,
                watched: count(Verdict::Watch),
                acted: count(Verdict::Act),
                features: worst(window, top)
                    .map(|it| (it.name.clone(), excess(it)))
                    .collect(),
                score: window.score.iter().find(|it| is_judged(it)).map(excess),
                estimate: estimate
                    .filter_map(|(name, value)| Some((name, value?)))
                    .collect(),
            }
        });
        each.collect()
    }
}

/// Whether a feature has a verdict: it has enough rows, and is not ignored.
fn is_judged(it: &report::Feature) -> bool {
    it.verdict != Verdict::Unknown && it.reason != "ignored"
}

/// The features of the highest PSI, of those that are judged.
fn worst(window: &Window, count: usize) -> impl Iterator<Item = &report::Feature> {
    let features = window.features.iter().filter(|it| is_judged(it));
    let mut features: Vec<&report::Feature> = features.collect();
    let excess = |it: &report::Feature| it.psi_excess.unwrap_or(0.0);
    features.sort_by(|a, b| excess(b).total_cmp(&excess(a)));
    features.into_iter().take(count)
}

impl std::fmt::Debug for Drift {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Drift")
            .field("settings", &self.shared.settings)
            .finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What they guard is changed in one step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
