//! The thread that delivers alarms, and the queue in front of it. Calls are made one after the other;
//! a target that is away pauses on its own and holds up no other for longer than one try.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use super::delivery::Delivery;
use super::{Alarm, Hooks, Outcome, Target};
use crate::task::{Priority, Supervisor};

/// Alarms on their way at a time.
pub const ALARMS_MAX: usize = 64;

/// How often an idle thread looks whether the server stops.
const LOOK: Duration = Duration::from_millis(100);

/// Takes alarms. Clones share the thread.
#[derive(Clone, Debug)]
pub struct Courier {
    sender: SyncSender<Delivery>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Alarms that were taken and not yet reported.
    underway: AtomicUsize,
    refused: AtomicU64,
    counts: [Counters; Target::ALL.len()],
}

#[derive(Debug, Default)]
struct Counters {
    attempts: AtomicU64,
    delivered: AtomicU64,
    failed: AtomicU64,
}

/// What happened at one target since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    pub target: Target,
    /// Tries, of which most fail while a target is away.
    pub attempts: u64,
    /// Alarms that the target has.
    pub delivered: u64,
    /// Alarms that it refused or that were given up.
    pub failed: u64,
}

impl Courier {
    /// Starts the thread. It calls `report` once for every alarm that [`Courier::send`] took: when all
    /// targets have an outcome, or when the server stops. `report` should be quick: alarms wait.
    ///
    /// # Errors
    /// When the system has no more threads.
    pub fn start(
        supervisor: &Supervisor,
        report: impl Fn(&Alarm, &[Outcome]) + Send + 'static,
    ) -> io::Result<Courier> {
        let (sender, receiver) = sync_channel(ALARMS_MAX);
        let shared = Arc::new(Shared::default());
        let round = Round {
            supervisor: supervisor.clone(),
            receiver,
            shared: shared.clone(),
            open: Vec::new(),
            report,
        };
        supervisor.thread("alarm", Priority::Background, move || round.run())?;
        Ok(Courier { sender, shared })
    }

    /// Takes an alarm for all targets of its slot but those that are `done` (after a restart). False,
    /// and counted, when [`ALARMS_MAX`] are underway or the server stops. Never waits.
    pub fn send(&self, hooks: &Arc<Hooks>, alarm: Alarm, done: &[Target]) -> bool {
        let underway = &self.shared.underway;
        if underway.fetch_add(1, Ordering::AcqRel) < ALARMS_MAX {
            let delivery = Delivery::new(alarm, hooks.clone(), done, Instant::now());
            if self.sender.try_send(delivery).is_ok() {
                return true;
            }
        }
        underway.fetch_sub(1, Ordering::AcqRel);
        self.shared.refused.fetch_add(1, Ordering::Relaxed);
        false
    }

    /// Alarms that were taken and not yet reported.
    pub fn underway(&self) -> usize {
        self.shared.underway.load(Ordering::Acquire).min(ALARMS_MAX)
    }

    /// Alarms that were not taken since the start.
    pub fn refused(&self) -> u64 {
        self.shared.refused.load(Ordering::Relaxed)
    }

    /// What happened since the start, in the order of [`Target::ALL`].
    pub fn counts(&self) -> [Count; Target::ALL.len()] {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Target::ALL.map(|target| {
            let counters = &self.shared.counts[target as usize];
            Count {
                target,
                attempts: load(&counters.attempts),
                delivered: load(&counters.delivered),
                failed: load(&counters.failed),
            }
        })
    }
}

/// The thread's own state.
struct Round<F> {
    supervisor: Supervisor,
    receiver: Receiver<Delivery>,
    shared: Arc<Shared>,
    /// Alarms with open calls, at most [`ALARMS_MAX`].
    open: Vec<Delivery>,
    report: F,
}

impl<F: Fn(&Alarm, &[Outcome])> Round<F> {
    fn run(mut self) {
        while !self.supervisor.is_stopping() {
            let now = Instant::now();
            match self.due(now) {
                Some((index, target)) => self.call(index, target),
                None => {
                    if !self.wait(now) {
                        return;
                    }
                }
            }
            self.open.extend(self.receiver.try_iter());
            self.report_ended();
        }
        self.open.extend(self.receiver.try_iter());
        for delivery in &mut self.open {
            delivery.abandon();
        }
        self.report_ended();
    }

    /// The call that is due, those first that were tried least: a new alarm does not wait for targets
    /// that are away.
    fn due(&self, now: Instant) -> Option<(usize, Target)> {
        let next = self.open.iter().enumerate();
        next.filter_map(|(index, delivery)| Some((index, delivery.next()?)))
            .filter(|(_, (_, due, _))| *due <= now)
            .min_by_key(|(_, (attempts, due, _))| (*attempts, *due))
            .map(|(index, (_, _, target))| (index, target))
    }

    /// Waits for an alarm or until a call is due; false when neither can come any more.
    fn wait(&mut self, now: Instant) -> bool {
        let next = self.open.iter().filter_map(Delivery::next);
        let next = next.map(|(_, due, _)| due.saturating_duration_since(now));
        let pause = next.min().unwrap_or(LOOK).min(LOOK);
        match self.receiver.recv_timeout(pause) {
            Ok(delivery) => self.open.push(delivery),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) if self.open.is_empty() => return false,
            Err(RecvTimeoutError::Disconnected) => std::thread::sleep(pause),
        }
        true
    }

    fn call(&mut self, index: usize, target: Target) {
        let Some(delivery) = self.open.get_mut(index) else {
            return;
        };
        let result = delivery.hooks.call(target, &delivery.alarm);
        let counters = &self.shared.counts[target as usize];
        counters.attempts.fetch_add(1, Ordering::Relaxed);
        let (slot, id) = (delivery.alarm.slot.clone(), delivery.alarm.id.clone());
        if let Err(failure) = &result {
            let reason = failure.reason.as_str();
            tracing::debug!(
                slot,
                alarm = id,
                target = target.name(),
                reason,
                "a try failed"
            );
        }
        let outcome = delivery.tried(target, result, Instant::now(), random());
        match outcome {
            None => {}
            Some(Outcome::Delivered { run, attempts, .. }) => {
                counters.delivered.fetch_add(1, Ordering::Relaxed);
                let run = run.as_deref();
                tracing::info!(
                    slot,
                    alarm = id,
                    target = target.name(),
                    run,
                    attempts,
                    "delivered"
                );
            }
            Some(Outcome::Failed {
                reason, attempts, ..
            }) => {
                counters.failed.fetch_add(1, Ordering::Relaxed);
                tracing::error!(
                    slot,
                    alarm = id,
                    target = target.name(),
                    attempts,
                    reason,
                    "an alarm was not delivered"
                );
            }
        }
    }

    fn report_ended(&mut self) {
        let report = &self.report;
        let underway = &self.shared.underway;
        self.open.retain(|delivery| {
            if delivery.next().is_some() {
                return true;
            }
            report(&delivery.alarm, &delivery.outcomes());
            underway.fetch_sub(1, Ordering::AcqRel);
            false
        });
    }
}

/// A number of 0 to 1 that differs between replicas.
fn random() -> f64 {
    let bits = RandomState::new().hash_one(Instant::now());
    bits as f64 / u64::MAX as f64
}
