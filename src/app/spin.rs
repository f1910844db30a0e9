//! Busy polling: a thread that has just worked looks for more work for a while before it sleeps.
//! The kernel needs tens of microseconds to wake a sleeping thread, which is most of the latency of
//! a lone request; a thread that looks costs a core.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// How one thread busy-polls. Clones share it.
#[derive(Clone, Debug)]
pub struct Spin(Option<Arc<State>>);

#[derive(Debug)]
struct State {
    limit: Duration,
    /// Requests so far.
    requests: AtomicU64,
    work: Notify,
}

impl Spin {
    /// Looks for more work for this long after the last request; 0 turns it off.
    pub fn new(limit_us: u64) -> Spin {
        Spin((limit_us > 0).then(|| {
            Arc::new(State {
                limit: Duration::from_micros(limit_us),
                requests: AtomicU64::new(0),
                work: Notify::new(),
            })
        }))
    }

    /// Notes a request.
    pub fn notice(&self) {
        if let Some(state) = &self.0 {
            state.requests.fetch_add(1, Ordering::Relaxed);
            state.work.notify_one();
        }
    }

    /// Keeps the thread's runtime awake while there is work. Never ends.
    pub async fn run(&self) {
        let Some(state) = &self.0 else {
            return std::future::pending().await;
        };
        loop {
            state.work.notified().await;
            let mut seen = state.requests.load(Ordering::Relaxed);
            let mut last = Instant::now();
            while last.elapsed() < state.limit {
                // The runtime polls its sockets without waiting, then comes back.
                tokio::task::yield_now().await;
                let requests = state.requests.load(Ordering::Relaxed);
                if requests != seen {
                    seen = requests;
                    last = Instant::now();
                }
            }
        }
    }
}
