//! Scores the revisions that did not answer, on the very rows that came, each clamped as that
//! revision would: on threads of their own, of low priority, with bounded queues. What happens here
//! reaches no answer.
//!
//! Two threads: one takes records out of the request path's queue and never calls an engine; the
//! other calls the engines. When that one is behind, records go on without shadow scores.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::record::{Input, Queue, Queued, RECORDS_MAX, Record, Records};
use crate::model::revision::Revision;
use crate::task::{Priority, Supervisor};
use crate::tensor::Rows;

/// A record with what the other revisions made of it.
#[derive(Debug)]
pub struct Shadowed {
    pub record: Box<Record>,
    pub scores: Vec<Scores>,
}

/// What one revision made of a record's rows.
#[derive(Debug)]
pub struct Scores {
    pub revision: Arc<Revision>,
    /// `[rows, result width]`, row-major; `None` when it failed or the rows do not fit it.
    pub results: Option<Vec<f64>>,
}

/// Takes what was recorded. Called on the two threads; must not wait.
pub type Sink = Arc<dyn Fn(Vec<Shadowed>) + Send + Sync>;

/// Looks at a record before it goes on. Called on the thread that takes records; must not wait.
pub type Tap = Arc<dyn Fn(&Record) + Send + Sync>;

/// How often the request path's queue is looked at: nobody is woken by a request.
const LOOK: Duration = Duration::from_millis(5);
/// The same while nothing comes.
const LOOK_IDLE: Duration = Duration::from_millis(50);
/// Looks without a record after which nothing comes.
const IDLE_LOOKS: u32 = 200;
/// Records that are worked on together.
const RECORDS: usize = 256;
/// What a round of records may cost, by the measured costs of those that score them: a round is what
/// the next record waits for.
const ROUND_NS: u64 = 50_000_000;
/// A record that waited longer for the engines goes on without shadow scores: its label may be there
/// soon, and is not to wait for a slow challenger.
const PATIENCE: Duration = Duration::from_secs(1);
/// Rows of one engine call.
const ROWS: usize = 4096;
/// Bytes of records that may wait for the engines.
const BYTES: usize = 16 << 20;

/// Starts both threads. They end when the server stops, and pass on what waits. Returns the number of
/// bytes that wait for the engines.
///
/// # Errors
/// When the system has no more threads.
pub fn start(
    records: Records,
    supervisor: &Supervisor,
    tap: Tap,
    sink: Sink,
) -> std::io::Result<Arc<AtomicUsize>> {
    let (queue, waiting) = Queue::new(BYTES, RECORDS_MAX);
    let bytes = queue.counter();
    let stop = supervisor.clone();
    let direct = Arc::clone(&sink);
    supervisor.thread("record", Priority::Bulk, move || {
        take(&records, &queue, &stop, &tap, &direct);
    })?;
    let stop = supervisor.clone();
    supervisor.thread("shadow", Priority::Idle, move || {
        score(&waiting, &stop, &sink);
    })?;
    Ok(bytes)
}

/// Empties the request path's queue again and again.
fn take(records: &Records, shadow: &Queue, supervisor: &Supervisor, tap: &Tap, sink: &Sink) {
    let (mut last, mut idle) = (Instant::now(), 0_u32);
    loop {
        let stopping = supervisor.is_stopping();
        records.allow(last.elapsed());
        last = Instant::now();
        let mut plain = Vec::new();
        idle = idle.saturating_add(1);
        while let Some(queued) = records.next() {
            idle = 0;
            let record = queued.into_record();
            tap(&record);
            if !record.kept {
                continue;
            }
            check(&record);
            let unscored = match record.shadow && has_others(&record) {
                false => Some(record),
                true => shadow.push(record).err().inspect(|it| drop_scores(it)),
            };
            plain.extend(unscored.map(unscored_yet));
            if plain.len() >= RECORDS {
                sink(std::mem::take(&mut plain));
            }
        }
        if !plain.is_empty() {
            sink(plain);
        }
        if stopping {
            return;
        }
        std::thread::sleep(match idle < IDLE_LOOKS {
            true => LOOK,
            false => LOOK_IDLE,
        });
    }
}

/// Counts the scores that were answered, and those that are not finite.
fn check(record: &Record) {
    let revision = &record.answered;
    let width = revision.signature.result_width();
    let rows = record.results.chunks_exact(record.width);
    let is_valid = |row: &&[f64]| row[..width].iter().all(|value| value.is_finite());
    let valid = rows.filter(is_valid).count();
    let usage = &revision.usage;
    usage
        .checked
        .fetch_add(record.rows as u64, Ordering::Relaxed);
    usage
        .checked_invalid
        .fetch_add((record.rows - valid) as u64, Ordering::Relaxed);
}

fn has_others(record: &Record) -> bool {
    !record.roles.challengers.is_empty() || record.roles.previous.is_some()
}

fn unscored_yet(record: Box<Record>) -> Shadowed {
    Shadowed {
        record,
        scores: Vec::new(),
    }
}

/// Counts a record that goes on without shadow scores.
fn drop_scores(record: &Record) {
    let dropped = &record.slot.usage.shadow_dropped;
    dropped.fetch_add(record.rows as u64, Ordering::Relaxed);
}

/// Scores what waits until the other thread has gone.
fn score(waiting: &Receiver<Queued>, supervisor: &Supervisor, sink: &Sink) {
    loop {
        let mut next = match waiting.recv_timeout(Duration::from_millis(200)) {
            Ok(first) => Some(first),
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let (mut round, mut late, mut cost) = (Vec::new(), Vec::new(), 0_u64);
        while let Some(queued) = next {
            let (record, waited) = queued.into_parts();
            if waited > PATIENCE || supervisor.is_stopping() {
                drop_scores(&record);
                late.push(unscored_yet(record));
            } else {
                cost = cost.saturating_add(cost_of(&record));
                round.push(record);
            }
            let full = round.len() + late.len() >= RECORDS || cost >= ROUND_NS;
            next = match full {
                true => None,
                false => waiting.try_recv().ok(),
            };
        }
        if !late.is_empty() {
            sink(late);
        }
        if !round.is_empty() {
            sink(scored(round));
        }
    }
}

/// What scoring a record takes, in nanoseconds, as far as measured costs tell.
fn cost_of(record: &Record) -> u64 {
    let others = record.roles.resident();
    others
        .filter(|it| it.uid != record.answered.uid)
        .map(|it| it.cost.batch_row_ns.saturating_mul(record.rows as u64))
        .fold(0, u64::saturating_add)
}

#[expect(
    clippy::vec_box,
    reason = "a record goes from queue to queue by its pointer"
)]
/// Scores records: each revision gets the rows of as many of them as possible in one call.
fn scored(records: Vec<Box<Record>>) -> Vec<Shadowed> {
    let mut done: Vec<Shadowed> = records.into_iter().map(unscored_yet).collect();
    let mut left: Vec<(usize, Arc<Revision>)> = Vec::new();
    for (index, shadowed) in done.iter().enumerate() {
        let record = &shadowed.record;
        let others = record.roles.resident();
        let others = others.filter(|it| it.uid != record.answered.uid);
        left.extend(others.map(|it| (index, Arc::clone(it))));
    }
    while let Some((_, revision)) = left.first() {
        let revision = Arc::clone(revision);
        let (mine, others) = left.into_iter().partition(|(_, it)| it.uid == revision.uid);
        left = others;
        score_with(&revision, &mine, &mut done);
    }
    done
}

fn score_with(revision: &Arc<Revision>, mine: &[(usize, Arc<Revision>)], done: &mut [Shadowed]) {
    let mut call = Call::default();
    for (index, _) in mine {
        let shadowed = &mut done[*index];
        match read(revision, &shadowed.record) {
            None => misfit(revision, shadowed),
            Some(rows) => call.add(*index, rows),
        }
        if call.rows.as_ref().is_some_and(|rows| rows.len() >= ROWS) {
            call.run(revision, done);
        }
    }
    call.run(revision, done);
}

/// Rows of several records for one engine call.
#[derive(Default)]
struct Call {
    rows: Option<Rows>,
    /// The records, and how many rows each has.
    members: Vec<(usize, usize)>,
}

impl Call {
    fn add(&mut self, index: usize, rows: Rows) {
        self.members.push((index, rows.len()));
        match &mut self.rows {
            None => self.rows = Some(rows),
            Some(all) => {
                // All are of one signature's shape.
                let _fits = all.append(&rows);
            }
        }
    }

    fn run(&mut self, revision: &Arc<Revision>, done: &mut [Shadowed]) {
        let Some(rows) = self.rows.take() else { return };
        let results = predicted(revision, &rows);
        let width = revision.signature.result_width();
        let mut start = 0;
        for (index, count) in self.members.drain(..) {
            let own = start..start + count;
            start += count;
            let results = match &results {
                Some(all) => Some(all[own.start * width..own.end * width].to_vec()),
                // One record's rows may be all that is wrong with the call.
                None => predicted(revision, &rows.slice(own.start, own.end)),
            };
            count_in(revision, count, results.as_deref());
            done[index].scores.push(Scores {
                revision: Arc::clone(revision),
                results,
            });
        }
    }
}

/// Notes that a record's rows do not fit a revision.
fn misfit(revision: &Arc<Revision>, shadowed: &mut Shadowed) {
    let rows = shadowed.record.rows as u64;
    let shadow = &revision.usage.shadow;
    shadow.rows.fetch_add(rows, Ordering::Relaxed);
    shadow.misfits.fetch_add(rows, Ordering::Relaxed);
    shadowed.scores.push(Scores {
        revision: Arc::clone(revision),
        results: None,
    });
}

/// A record's rows as this revision reads them and its own rules clamp them, uncounted; `None` when
/// they do not fit it. What its rules would refuse is scored as it is: the caller got an answer.
fn read(revision: &Revision, record: &Record) -> Option<Rows> {
    let mut rows = match &record.input {
        Input::Both(rows, tensors)
            if !revision.signature.reads_like(&record.answered.signature) =>
        {
            let check = || {
                let mut tensors = tensors.clone();
                let roles = &record.roles;
                revision
                    .signature
                    .leave_out_foreign(&mut tensors, || roles.resident().map(|it| &it.signature));
                revision.signature.check(tensors)
            };
            // What a caller sent is not to stop the server from here.
            let read = catch_unwind(AssertUnwindSafe(check)).ok()?.ok()?;
            (read.len() == rows.len()).then_some(read)?
        }
        Input::Rows(rows) | Input::Both(rows, _) => rows.clone(),
    };
    revision.rules.clamp(&mut rows);
    Some(rows)
}

/// What the revision says; `None` when it fails or panics.
fn predicted(revision: &Revision, rows: &Rows) -> Option<Vec<f64>> {
    let mut results = vec![0.0; rows.len() * revision.signature.result_width()];
    // An engine keeps no state between calls that a panic could leave broken.
    let done = catch_unwind(AssertUnwindSafe(|| {
        revision.engine.predict(rows, &mut results).is_ok()
    }));
    done.unwrap_or(false).then_some(results)
}

fn count_in(revision: &Revision, rows: usize, results: Option<&[f64]>) {
    let shadow = &revision.usage.shadow;
    shadow.rows.fetch_add(rows as u64, Ordering::Relaxed);
    let Some(results) = results else {
        shadow.errors.fetch_add(rows as u64, Ordering::Relaxed);
        return;
    };
    let width = revision.signature.result_width();
    let is_valid = |row: &&[f64]| row.iter().all(|value| value.is_finite());
    let valid = results.chunks_exact(width).filter(is_valid).count();
    shadow
        .invalid
        .fetch_add((rows - valid) as u64, Ordering::Relaxed);
}
