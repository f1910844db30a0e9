//! Requests of one revision that are there at the same time on one serving thread, computed in one
//! call. The first of them waits until its thread has looked at every other connection that is
//! ready, and then computes for all that joined it: no other thread is woken, and what waits would
//! have waited for the requests before it anyway.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::oneshot;

use super::queue::Answer;
use super::{Policy, Work, call, compute, note};
use crate::error::Error;
use crate::model::revision::{BATCH, Revision};
use crate::model::usage::Dispatch;
use crate::telemetry::trace::Trace;
use crate::tensor::Rows;

thread_local! {
    /// The calls of this thread that can still be joined, by their revision's uid.
    static OPEN: RefCell<Vec<(u64, Shared)>> = const { RefCell::new(Vec::new()) };
}

/// A call that can be joined. Its lock is free whenever it is wanted, unless tasks move between threads.
type Shared = Arc<Mutex<Gathered>>;

/// Who joined the first request of a call.
#[derive(Debug)]
struct Gathered {
    /// Whether it can still be joined.
    open: bool,
    /// Rows of the call so far, the first request's included.
    len: usize,
    /// The rows of those who joined, in their order.
    rows: Option<Rows>,
    joined: Joined,
}

type Joined = Vec<Guest>;

/// One who joined.
#[derive(Debug)]
struct Guest {
    /// How many rows it waits for.
    len: usize,
    reply: oneshot::Sender<Vec<f64>>,
    trace: Option<Arc<Trace>>,
}

/// The request that computes for those that joined it. Dropped before it did, they compute
/// themselves.
struct First(Shared);

/// What a request gains at the least, for which gathering is worth its own cost: two passes over
/// the runtime's queue and a look at the sockets, about a microsecond.
const GAIN_NS: u64 = 2_000;

/// Time that a call may take a serving thread for, once it has more rows than a block.
const CALL_NS: u64 = 500_000;

/// Whether a request of so many rows is worth gathering: it costs half as much at the most, and less
/// by [`GAIN_NS`].
pub fn pays(revision: &Revision, rows: usize) -> bool {
    let in_batch = revision.cost.batch_row_ns.saturating_mul(rows as u64);
    let alone = revision.cost.of(rows);
    in_batch.saturating_mul(2) <= alone && alone - in_batch >= GAIN_NS
}

/// Whether a request that is dear alone costs up to `inline_ns` among others, and neither it alone nor
/// a whole block takes the serving thread for longer than [`CALL_NS`].
pub fn makes_cheap(revision: &Revision, rows: usize, inline_ns: u64) -> bool {
    let row_ns = revision.cost.batch_row_ns;
    pays(revision, rows)
        && row_ns.saturating_mul(rows as u64) <= inline_ns
        && row_ns.saturating_mul(BATCH as u64) <= CALL_NS
        && revision.cost.of(rows) <= CALL_NS
}

/// Rows of one call.
fn rows_max(revision: &Revision, policy: &Policy) -> usize {
    let in_time = (CALL_NS / revision.cost.batch_row_ns.max(1)) as usize;
    in_time.max(BATCH).min(policy.max_batch_rows)
}

/// Computes rows with those of other requests that are there.
///
/// # Errors
/// What the engine says of these rows.
pub async fn run(revision: &Arc<Revision>, work: &Work, policy: &Policy) -> Answer {
    let alone = || compute(revision, work, Dispatch::Inline);
    let count = work.rows.len();
    if let Some(trace) = &work.trace {
        trace.queued(Instant::now());
    }
    if let Some(result) = join(revision.uid, work, rows_max(revision, policy)) {
        // Failed for all, or given up by the first: these rows are tried alone.
        return match result.await {
            Ok(results) => Ok(results),
            Err(_dropped) => alone(),
        };
    }
    let first = First::open(revision.uid, count);
    tokio::task::yield_now().await;
    let (others, joined) = first.close();
    let Some(others) = others else {
        return alone();
    };
    let mut all = work.rows.clone();
    // Rows of one revision are of one width.
    if !all.append(&others) {
        return Err(Error::internal("rows of another width were gathered"));
    }
    let Ok((mut results, call)) = call(revision, &all.into(), Dispatch::Inline) else {
        drop(joined);
        return alone();
    };
    note(work.trace.as_ref(), &call);
    let width = revision.signature.result_width();
    let mut at = count * width;
    for guest in joined {
        let end = at + guest.len * width;
        note(guest.trace.as_ref(), &call);
        // Its caller may be gone.
        let _sent = guest.reply.send(results[at..end].to_vec());
        at = end;
    }
    results.truncate(count * width);
    Ok(results)
}

/// Joins a call of this thread that has room for these rows.
fn join(uid: u64, work: &Work, rows_max: usize) -> Option<oneshot::Receiver<Vec<f64>>> {
    let rows = &work.rows;
    OPEN.with_borrow(|open| {
        let (_, shared) = open.iter().find(|(of, _)| *of == uid)?;
        let mut gathered = lock(shared);
        if !gathered.open || gathered.len + rows.len() > rows_max {
            return None;
        }
        let before = gathered.rows.get_or_insert_with(|| rows.slice(0, 0));
        if !before.append(rows) {
            return None;
        }
        gathered.len += rows.len();
        let (reply, result) = oneshot::channel();
        gathered.joined.push(Guest {
            len: rows.len(),
            reply,
            trace: work.trace.clone(),
        });
        Some(result)
    })
}

impl First {
    /// Lets others join a request of `len` rows from now on, instead of an earlier one that had no
    /// more room.
    fn open(uid: u64, len: usize) -> First {
        let shared = Arc::new(Mutex::new(Gathered {
            open: true,
            len,
            rows: None,
            joined: Joined::new(),
        }));
        OPEN.with_borrow_mut(|open| {
            open.retain(|(of, shared)| *of != uid && lock(shared).open);
            open.push((uid, Arc::clone(&shared)));
        });
        First(shared)
    }

    /// Lets nobody join any more. The rows of those who did, if any, and who they are.
    fn close(self) -> (Option<Rows>, Joined) {
        let mut gathered = lock(&self.0);
        gathered.open = false;
        (gathered.rows.take(), std::mem::take(&mut gathered.joined))
    }
}

impl Drop for First {
    fn drop(&mut self) {
        let mut gathered = lock(&self.0);
        gathered.open = false;
        gathered.joined.clear();
    }
}

fn lock(shared: &Shared) -> MutexGuard<'_, Gathered> {
    // A panic stops the server; until then it is whole.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
