//! The one place that spawns: named tasks and threads, told to stop by one token. A panic in any of
//! them is logged and stops the server.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use thread_priority::unix::{NormalThreadSchedulePolicy, ThreadSchedulePolicy};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Owns all tasks. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Supervisor(Arc<Tasks>);

#[derive(Debug, Default)]
struct Tasks {
    stop: CancellationToken,
    /// Set before `stop` is cancelled.
    stopping: AtomicBool,
    tracker: TaskTracker,
    failure: OnceLock<String>,
}

/// How much of a processor a thread gets that others want too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// As much as the others.
    Normal,
    /// A tenth: large requests, for which small ones do not wait.
    Bulk,
    /// What they leave, one part in seventy: nobody waits for it.
    Background,
    /// Only what nobody else wants; whoever wakes takes the processor at once, where the others may
    /// first finish a slice of milliseconds.
    Idle,
}

impl Priority {
    /// As `nice` has it, where each step is a quarter more or less.
    fn nice(self) -> i32 {
        match self {
            Priority::Normal => 0,
            Priority::Bulk => 10,
            Priority::Background | Priority::Idle => 19,
        }
    }
}

/// Reports a panic when it is dropped by one.
struct Guard {
    name: &'static str,
    supervisor: Supervisor,
}

impl Supervisor {
    /// Runs a task on the current runtime. It should end soon after [`Supervisor::stopping`].
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let guard = self.guard(name);
        self.0.tracker.spawn(async move {
            let _guard = guard;
            task.await;
        });
    }

    /// Runs blocking work on the runtime's blocking threads and gives its result; `None` when it
    /// panicked or the runtime is gone.
    pub async fn blocking<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let guard = self.guard(name);
        let task = self.0.tracker.spawn_blocking(move || {
            let _guard = guard;
            work()
        });
        task.await.ok()
    }

    /// Starts work on a thread of its own. Its result is in the receiver, which fails when the work
    /// panics.
    ///
    /// # Errors
    /// When the system has no more threads.
    pub fn work<T: Send + 'static>(
        &self,
        name: &'static str,
        priority: Priority,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> std::io::Result<oneshot::Receiver<T>> {
        let (reply, result) = oneshot::channel();
        self.thread(name, priority, move || {
            // Who asked may be gone.
            let _sent = reply.send(work());
        })?;
        Ok(result)
    }

    /// Runs a thread of its own. It must end by itself once the server stops.
    ///
    /// # Errors
    /// When the system has no more threads.
    pub fn thread(
        &self,
        name: &'static str,
        priority: Priority,
        work: impl FnOnce() + Send + 'static,
    ) -> std::io::Result<()> {
        let guard = self.guard(name);
        std::thread::Builder::new()
            .name(name.to_string())
            .spawn(move || {
                let _guard = guard;
                if priority != Priority::Normal {
                    let thread = Some(rustix::thread::gettid());
                    // Where the system refuses it, the work is done all the same.
                    let _lowered = rustix::process::setpriority_process(thread, priority.nice());
                }
                if priority == Priority::Idle {
                    let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
                    let id = thread_priority::unix::thread_native_id();
                    let least = thread_priority::ThreadPriority::Min;
                    // As above.
                    let _idle =
                        thread_priority::unix::set_thread_priority_and_policy(id, least, idle);
                }
                work();
            })
            .map(|_handle| ())
    }

    /// Asks everything to stop.
    pub fn stop(&self) {
        self.0.stopping.store(true, Ordering::Release);
        self.0.stop.cancel();
    }

    /// Whether everything was asked to stop. Costs nothing.
    pub fn is_stopping(&self) -> bool {
        self.0.stopping.load(Ordering::Acquire)
    }

    /// Resolves when everything was asked to stop.
    pub async fn stopping(&self) {
        self.0.stop.cancelled().await;
    }

    /// The name of the first task that panicked.
    pub fn failure(&self) -> Option<&str> {
        self.0.failure.get().map(String::as_str)
    }

    /// Waits until all tasks have ended; false when that takes longer than `limit`.
    pub async fn drain(&self, limit: Duration) -> bool {
        self.0.tracker.close();
        tokio::time::timeout(limit, self.0.tracker.wait())
            .await
            .is_ok()
    }

    fn guard(&self, name: &'static str) -> Guard {
        Guard {
            name,
            supervisor: self.clone(),
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        tracing::error!(task = self.name, "a task panicked; the server stops");
        // Only the first one counts.
        let _set = self.supervisor.0.failure.set(self.name.to_string());
        self.supervisor.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_stops_everything_and_is_named() {
        let supervisor = Supervisor::default();
        supervisor.spawn("fine", {
            let supervisor = supervisor.clone();
            async move { supervisor.stopping().await }
        });
        supervisor.spawn("broken", async { panic!("on purpose") });
        supervisor.stopping().await;
        assert_eq!(supervisor.failure(), Some("broken"));
        assert!(supervisor.drain(Duration::from_secs(10)).await);
    }

    #[tokio::test]
    async fn blocking_work_gives_its_result() {
        let supervisor = Supervisor::default();
        assert_eq!(supervisor.blocking("sum", || 1 + 1).await, Some(2));
        assert_eq!(supervisor.failure(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_ends_at_its_limit() {
        let supervisor = Supervisor::default();
        supervisor.spawn("stuck", std::future::pending());
        assert!(!supervisor.drain(Duration::from_secs(5)).await);
    }
}
