//! The threads that serve connections: one runtime per thread, each connection on one of them for
//! its life. Requests then need no lock between threads and wake no other thread. Beside a runtime of
//! many threads, with one core, that is 2 % more requests per second and a P99 that is a tenth lower
//! (docs/performance.md).
//!
//! A connection goes to the thread with the fewest. Sharing the port among listeners of each thread
//! (`SO_REUSEPORT`) would spare the hand-over, but spreads connections by hash: with as few as a
//! pod's sidecar or a gRPC client keep, one thread would often get all of them.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::sync::mpsc;
use tokio::task::coop::has_budget_remaining;
use tokio::time::{Instant, Sleep, sleep};

use super::patient::Patient;
use super::socket::Stream;
use super::spin::Spin;
use crate::api::{Closed, Connections, Entrance, Unsent};
use crate::task::{Priority, Supervisor};

/// The threads.
#[derive(Debug)]
pub struct Workers {
    threads: Vec<Worker>,
    connections: Arc<Connections>,
    settings: Settings,
}

#[derive(Debug)]
struct Worker {
    connections: mpsc::UnboundedSender<Connection>,
    open: Arc<AtomicUsize>,
}

/// A connection and what answers on it.
struct Connection {
    stream: Stream,
    entrance: Arc<Entrance>,
    open: Open,
    settings: Settings,
}

/// Counts a connection for as long as it lives: of its thread, and among all.
struct Open(Arc<AtomicUsize>, Arc<Connections>);

/// Runs the streams of an HTTP/2 connection as tasks of the supervisor.
#[derive(Clone)]
struct Streams(Supervisor);

/// How connections are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Threads; 0 means one per core.
    pub threads: usize,
    /// Connections open at the same time. At least 1.
    pub connections_max: usize,
    /// Of the threads.
    pub priority: Priority,
    /// Microseconds that a thread without work looks for more before it sleeps; 0 is never.
    pub busy_poll_us: u64,
    /// For a request's head to arrive on a connection, pauses between requests included.
    pub idle: Duration,
    /// For a client to go on reading.
    pub write: Duration,
    /// For a client to take large answers that are computed, once its connection was told to close.
    pub take: Duration,
}

/// For answers to be written after everything was asked to stop.
const GRACE: Duration = Duration::from_secs(1);
/// For a client to close a connection on which nothing is in work, once it was asked to.
const LINGER: Duration = Duration::from_secs(1);
/// Bytes of a head of HTTP/1 at the most, and of what is buffered of a body or an answer.
const BUFFER: usize = 64 << 10;
/// Bytes of the headers of a request of HTTP/2 at the most, 32 for each counted besides.
const HEADERS: u32 = 16 << 10;
/// Streams that a client may have reset before they were taken up, and that the server may have reset
/// for the client's errors; then the connection is closed.
const RESETS: (usize, usize) = (20, 256);
/// A client that does not answer HTTP/2 pings for this long is gone.
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Time between those pings.
const PING_INTERVAL: Duration = Duration::from_secs(60);
/// Bytes that a client may send ahead, per stream and per connection: a batch of rows without
/// waiting for window updates.
const WINDOW: u32 = 1 << 20;
/// Requests at the same time on one HTTP/2 connection.
const STREAMS_MAX: u32 = 256;

impl Workers {
    /// Starts the threads, which count in `connections`. They end when `supervisor` stops.
    ///
    /// # Errors
    /// When the system has no more threads.
    pub fn start(
        settings: Settings,
        connections: &Arc<Connections>,
        supervisor: &Supervisor,
        close: &Supervisor,
    ) -> io::Result<Workers> {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let count = match settings.threads {
            0 => cores(),
            threads => threads,
        };
        let mut threads = Vec::with_capacity(count);
        for _ in 0..count {
            let (sender, arriving) = mpsc::unbounded_channel();
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let (stop, close) = (supervisor.clone(), close.clone());
            let open = Arc::<AtomicUsize>::default();
            let connections_of_thread = Arc::clone(&open);
            supervisor.thread("worker", settings.priority, move || {
                let spin = Spin::new(settings.busy_poll_us);
                runtime.block_on(async {
                    tokio::select! {
                        () = take_in(arriving, &close, &spin) => {}
                        () = spin.run() => {}
                        () = ended(&stop, &connections_of_thread) => {}
                    }
                });
            })?;
            threads.push(Worker {
                connections: sender,
                open,
            });
        }
        Ok(Workers {
            threads,
            connections: Arc::clone(connections),
            settings,
        })
    }

    /// Gives a connection to the thread with the fewest, or closes it when there are too many.
    pub fn serve(&self, stream: Stream, entrance: &Arc<Entrance>) {
        let open = |worker: &&Worker| worker.open.load(Ordering::Relaxed);
        let Some(worker) = self.threads.iter().min_by_key(open) else {
            return;
        };
        if self.connections.open() >= self.settings.connections_max {
            self.connections.refuse();
            return;
        }
        let connection = Connection {
            stream,
            entrance: Arc::clone(entrance),
            open: Open::new(&worker.open, &self.connections),
            settings: self.settings,
        };
        // A thread that is gone stops the server; until then its connections are closed.
        let _sent = worker.connections.send(connection);
    }
}

/// Resolves when everything was asked to stop and this thread's connections are closed, or [`GRACE`]
/// later: after a panic, those who wait are still told that their request failed.
async fn ended(stop: &Supervisor, open: &AtomicUsize) {
    stop.stopping().await;
    let end = Instant::now() + GRACE;
    while open.load(Ordering::Relaxed) > 0 && Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Serves connections as they come, each as a task of `close`: a drain waits for them. Never ends.
async fn take_in(
    mut arriving: mpsc::UnboundedReceiver<Connection>,
    close: &Supervisor,
    spin: &Spin,
) {
    while let Some(connection) = arriving.recv().await {
        let spin = spin.clone();
        close.spawn("connection", serve(connection, close.clone(), spin));
    }
    // The listeners are gone, and the connections that they accepted are not: this thread runs them
    // until everything is asked to stop.
    std::future::pending().await
}

async fn serve(connection: Connection, stop: Supervisor, spin: Spin) {
    let Connection {
        stream,
        entrance,
        open,
        settings,
    } = connection;
    // What cannot be registered with this thread's runtime is closed.
    let Ok(stream) = stream.registered() else {
        return;
    };
    let asked = Arc::new(Asked::default());
    let heard = Arc::clone(&asked);
    let service = service_fn(move |request| {
        let in_flight = heard.enter();
        spin.notice();
        let entrance = Arc::clone(&entrance);
        async move { Ok::<_, Infallible>(entrance.answer(request, &in_flight.0.unsent).await) }
    });
    let builder = builder(&stop, settings.idle);
    let stream = Patient::new(stream, settings.write);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let is_crowded = || open.1.open() >= settings.connections_max.saturating_mul(9).div_ceil(10);
    match until(connection.as_mut(), &stop, &asked, &settings, is_crowded).await {
        Until::Ended(Ok(())) => {}
        Until::Ended(Err(error)) => {
            // The client's: it went away, does not speak HTTP, or is too slow.
            if let Some(reason) = slowness(error.as_ref()) {
                open.1.close(reason);
            }
        }
        Until::Closed(Closed::Idle) => {
            open.1.close(Closed::Idle);
            connection.as_mut().graceful_shutdown();
            finish(connection, &asked, settings.take).await;
        }
        Until::Closed(reason) => open.1.close(reason),
        Until::Stopping => {
            connection.as_mut().graceful_shutdown();
            finish(connection, &asked, settings.take).await;
        }
    }
    drop(open);
}

/// Whether a connection ended because its client was too slow.
fn slowness(error: &(dyn std::error::Error + 'static)) -> Option<Closed> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<hyper::Error>()
            && error.is_timeout()
        {
            return Some(Closed::Silent);
        }
        if let Some(error) = error.downcast_ref::<io::Error>()
            && error.kind() == io::ErrorKind::TimedOut
        {
            return Some(Closed::Stalled);
        }
        cause = error.source();
    }
    None
}

/// Polls a connection that was told to close, while requests of it are in work and [`LINGER`] longer:
/// a client of HTTP/2 that answers nothing would keep it open, and the server from ending. Large
/// answers that are computed are in work until they are sent, for `take` at the most.
async fn finish<T>(
    mut connection: Pin<&mut impl Future<Output = T>>,
    asked: &Asked,
    take: Duration,
) {
    let mut computed_since = Instant::now();
    let mut idle_since = computed_since;
    loop {
        tokio::select! {
            _ended = connection.as_mut() => return,
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
        }
        if asked.in_flight.load(Ordering::Relaxed) > 0 {
            computed_since = Instant::now();
            idle_since = computed_since;
        } else if asked.unsent.any() && computed_since.elapsed() < take {
            idle_since = Instant::now();
        } else if idle_since.elapsed() >= LINGER {
            return;
        }
    }
}

/// What was asked on a connection.
#[derive(Debug, Default)]
struct Asked {
    /// Requests.
    count: AtomicUsize,
    in_flight: AtomicUsize,
    unsent: Arc<Unsent>,
}

/// Counts a request for as long as it is in work.
struct InFlight(Arc<Asked>);

impl Asked {
    fn enter(self: &Arc<Asked>) -> InFlight {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(Arc::clone(self))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a connection came to.
enum Until<T> {
    Ended(T),
    /// Everything was asked to stop.
    Stopping,
    /// Its time is over.
    Closed(Closed),
}

/// Polls a connection until one of those. The stop signal is polled once: this task is then woken by
/// it, and a flag says so; polling it with every request would take a lock each time. hyper's own
/// timeout for heads begins only when it knows the protocol's version.
async fn until<T>(
    mut connection: Pin<&mut impl Future<Output = T>>,
    stop: &Supervisor,
    asked: &Asked,
    settings: &Settings,
    is_crowded: impl Fn() -> bool,
) -> Until<T> {
    let mut stopping = pin!(stop.stopping());
    let (silence, unread) = (pin!(sleep(settings.idle)), pin!(sleep(settings.write)));
    let mut silence = Alarm::new(silence, settings.idle);
    let mut unread = Alarm::new(unread, settings.write);
    let mut waits = false;
    let mut before = 0;
    poll_fn(|context| {
        if let Poll::Ready(ended) = connection.as_mut().poll(context) {
            return Poll::Ready(Until::Ended(ended));
        }
        if stop.is_stopping() {
            return Poll::Ready(Until::Stopping);
        }
        if !waits {
            waits = true;
            if stopping.as_mut().poll(context).is_ready() {
                return Poll::Ready(Until::Stopping);
            }
        }
        if !asked.unsent.any() {
            unread.is_set = false;
        } else if unread.rings(context) && asked.unsent.turn() {
            return Poll::Ready(Until::Closed(Closed::Unread));
        }
        if silence.rings(context) {
            let count = asked.count.load(Ordering::Relaxed);
            let is_idle = count == before && asked.in_flight.load(Ordering::Relaxed) == 0;
            before = count;
            if count == 0 {
                return Poll::Ready(Until::Closed(Closed::Silent));
            }
            if is_idle && is_crowded() {
                return Poll::Ready(Until::Closed(Closed::Idle));
            }
        }
        Poll::Pending
    })
    .await
}

/// Rings again and again. It is polled when it is set and when it rings, not with every request: the
/// task that it wakes is always the same.
struct Alarm<'a> {
    sleep: Pin<&'a mut Sleep>,
    period: Duration,
    is_set: bool,
}

impl<'a> Alarm<'a> {
    fn new(sleep: Pin<&'a mut Sleep>, period: Duration) -> Alarm<'a> {
        Alarm {
            sleep,
            period,
            is_set: false,
        }
    }

    fn rings(&mut self, context: &mut Context<'_>) -> bool {
        // Without budget a timer takes no waker; this task is then polled again soon.
        let rang = self.is_set && self.sleep.is_elapsed();
        if !has_budget_remaining() {
            return false;
        }
        if rang || !self.is_set {
            self.is_set = true;
            self.sleep.as_mut().reset(Instant::now() + self.period);
            // Registers this task to be woken.
            let _pending = self.sleep.as_mut().poll(context);
        }
        rang
    }
}

fn builder(stop: &Supervisor, idle: Duration) -> auto::Builder<Streams> {
    let mut builder = auto::Builder::new(Streams(stop.clone()));
    // A client that sends its head byte by byte, or nothing, does not stay for ever.
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(idle)
        .max_buf_size(BUFFER)
        // Head and body in one buffer: answers are small, and one slice is cheaper to send than two
        // (4 % more requests per second).
        .writev(false);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADERS)
        .max_pending_accept_reset_streams(RESETS.0)
        .max_local_error_reset_streams(RESETS.1)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW);
    builder
}

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Streams {
    fn execute(&self, stream: F) {
        self.0.spawn("stream", stream);
    }
}

impl Open {
    fn new(thread: &Arc<AtomicUsize>, all: &Arc<Connections>) -> Open {
        thread.fetch_add(1, Ordering::Relaxed);
        all.enter();
        Open(Arc::clone(thread), Arc::clone(all))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
        self.1.leave();
    }
}
