//! The protocols: HTTP and gRPC, both in front of [`crate::serve::infer`].

mod body;
mod control;
mod explain;
mod feedback;
pub mod grpc;
pub mod http;
mod key;
mod trace;
mod unsent;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use tokio::sync::Semaphore;
use uuid::fmt::Hyphenated;

use crate::drift::Drift;
use crate::error::{Code, Error};
use crate::model::usage::Protocol;
use crate::rollout::Rollout;
use crate::serve::{Prediction, Server, record};
use crate::source::Repository;
use crate::task::{Priority, Supervisor};
use crate::telemetry::trace::Tracer;
pub use body::{Body, Budget};
pub use unsent::Unsent;

/// What every protocol's handlers share.
#[derive(Clone, Debug)]
pub struct Shared {
    pub server: Arc<Server>,
    pub repository: Repository,
    /// Labels and trials; `None` when no slot has any.
    pub rollout: Option<Rollout>,
    /// `None` when no slot's drift may be watched.
    pub drift: Option<Drift>,
    pub settings: Arc<Settings>,
    /// The engines that models may have here: name, and why it is missing.
    pub engines: Arc<Vec<(&'static str, Result<(), String>)>>,
    /// Writes what `/metrics` answers.
    pub metrics: Arc<crate::telemetry::metrics::Metrics>,
    /// Room for large bodies.
    pub bodies: Arc<Budget>,
    /// Room for large answers that clients have not taken.
    pub answers: Arc<Budget>,
    /// Runs what would keep a serving thread for too long.
    pub aside: Aside,
    pub connections: Arc<Connections>,
    /// `None` when nothing is traced.
    pub tracer: Option<Arc<Tracer>>,
    /// Stops when the listeners close.
    pub close: Supervisor,
}

/// Connections of all listeners.
#[derive(Debug, Default)]
pub struct Connections {
    open: AtomicUsize,
    /// Closed at once because too many were open.
    refused: AtomicU64,
    /// Closed for a reason of the client's making, by [`Closed`].
    closed: [AtomicU64; 4],
}

/// Why the server closed a connection on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// No request's head came in time.
    Silent,
    /// Nothing was asked for long, and others need the room.
    Idle,
    /// The client did not read what was written.
    Stalled,
    /// The client did not take a large answer.
    Unread,
}

impl Closed {
    /// All, in the order of their numbers, with their names in the metrics.
    pub const NAMES: [(Closed, &'static str); 4] = [
        (Closed::Silent, "silent"),
        (Closed::Idle, "idle"),
        (Closed::Stalled, "stalled"),
        (Closed::Unread, "unread"),
    ];
}

/// What answers the requests of one listener's connections.
#[derive(Clone, Debug)]
pub struct Entrance {
    pub shared: Shared,
    router: Router,
    protocol: Protocol,
    listener: Listener,
}

/// Decoding of large bodies, off the serving threads.
#[derive(Clone, Debug)]
pub struct Aside {
    supervisor: Supervisor,
    /// As many at a time as there are serving threads: each may take several times its body's size.
    places: Arc<Semaphore>,
}

/// Bodies above this many bytes are decoded aside: they take a serving thread longer than handing
/// them over does, about 100 µs per 64 KiB of JSON.
const LARGE: usize = 64 << 10;

/// Inputs and outputs, or fields of a message, of one request at the most: each takes far more memory
/// than the bytes that it may be sent in.
const PARTS_MAX: usize = 1 << 16;

/// The listener that a request came by: what it may do depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// HTTP or gRPC for clients.
    Public,
    /// For operators.
    Admin,
}

/// Settings of the listeners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub http: SocketAddr,
    pub grpc: SocketAddr,
    pub admin: SocketAddr,
    /// Unix sockets beside the addresses, for clients on the same machine.
    pub http_unix: Option<PathBuf>,
    pub grpc_unix: Option<PathBuf>,
    /// Threads that serve clients' connections; 0 means one per core.
    pub workers: usize,
    /// Connections of clients open at the same time. At least 1.
    pub connections_max: usize,
    /// Microseconds that a serving thread looks for more work before it sleeps; 0 is never.
    pub busy_poll_us: u64,
    /// Bytes of a request's body at the most, before and after decompression.
    pub body_bytes_max: usize,
    /// Bytes that the bodies above 4 KiB may take together, until they are decoded.
    pub bodies_bytes_max: usize,
    /// Bytes that the answers above 4 KiB may take together, until clients have taken them.
    pub answers_bytes_max: usize,
    /// Milliseconds after which a request without a deadline of its own is given up; 0 means never.
    pub request_timeout_ms: u64,
    /// Milliseconds for a request's head to arrive, pauses between requests included. At least 1.
    pub idle_timeout_ms: u64,
    /// Milliseconds that a write may wait for the client to read. At least 1.
    pub write_timeout_ms: u64,
    pub model_control: ModelControl,
    /// Milliseconds between readiness going off and the listeners closing.
    pub drain_delay_ms: u64,
    /// Milliseconds that requests in flight get to finish at shutdown.
    pub drain_timeout_ms: u64,
}

/// Where models may be loaded and unloaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ModelControl {
    /// On the admin address only.
    #[default]
    Admin,
    /// On the HTTP and gRPC addresses too.
    All,
}

impl Default for Settings {
    fn default() -> Settings {
        let any = Ipv4Addr::UNSPECIFIED;
        Settings {
            http: (any, 8080).into(),
            grpc: (any, 8081).into(),
            admin: (Ipv4Addr::LOCALHOST, 8082).into(),
            http_unix: None,
            grpc_unix: None,
            workers: 0,
            connections_max: 10_000,
            busy_poll_us: 0,
            body_bytes_max: 64 << 20,
            bodies_bytes_max: 256 << 20,
            answers_bytes_max: 256 << 20,
            request_timeout_ms: 60_000,
            idle_timeout_ms: 75_000,
            write_timeout_ms: 30_000,
            model_control: ModelControl::Admin,
            drain_delay_ms: 0,
            drain_timeout_ms: 20_000,
        }
    }
}

impl Connections {
    /// Those open now.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// How many were refused.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Counts one more.
    pub fn enter(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one less.
    pub fn leave(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts one that was refused.
    pub fn refuse(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one that was closed for this reason.
    pub fn close(&self, reason: Closed) {
        self.closed[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How many were closed, by reason.
    pub fn closed(&self) -> [(&'static str, u64); 4] {
        Closed::NAMES.map(|(reason, name)| {
            let count = self.closed[reason as usize].load(Ordering::Relaxed);
            (name, count)
        })
    }
}

impl Entrance {
    /// Answers HTTP.
    pub fn http(shared: Shared, listener: Listener) -> Entrance {
        Entrance {
            router: http::router(shared.clone(), listener),
            shared,
            protocol: Protocol::Http,
            listener,
        }
    }

    /// Answers gRPC.
    pub fn grpc(shared: Shared) -> Entrance {
        Entrance {
            router: grpc::router(shared.clone()),
            shared,
            protocol: Protocol::Grpc,
            listener: Listener::Public,
        }
    }

    /// Answers a request of a connection that counts what of it is `unsent`.
    pub async fn answer(&self, request: Request<Incoming>, unsent: &Arc<Unsent>) -> Response<Body> {
        match self.protocol {
            Protocol::Http => http::answer(self, request, unsent).await,
            Protocol::Grpc => grpc::answer(self, request, unsent).await,
        }
    }
}

impl Aside {
    /// Decodes on threads of the supervisor, `workers` bodies at a time; 0 means one per core. The
    /// cores of a node may be many more than what a container has memory for.
    pub fn new(supervisor: &Supervisor, workers: usize) -> Aside {
        let places = match workers {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            workers => workers.min(Semaphore::MAX_PERMITS),
        };
        Aside {
            supervisor: supervisor.clone(),
            places: Arc::new(Semaphore::new(places)),
        }
    }
}

impl Shared {
    /// Whether a body of this size is decoded [`Shared::aside`].
    fn is_large(&self, bytes: usize) -> bool {
        bytes > LARGE
    }

    /// Runs work off the serving threads. The work keeps its place until it is done, whoever waits
    /// for it: a caller that goes away makes no room for the next one.
    ///
    /// # Errors
    /// What the work says, and [`Code::DeadlineExceeded`].
    async fn aside<T: Send + 'static>(
        &self,
        deadline: Option<Instant>,
        work: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let gone = || Error::internal("the decoding thread is gone");
        let waiting = async {
            let place = Arc::clone(&self.aside.places).acquire_owned().await;
            let place = place.map_err(|_| gone())?;
            let work = move || {
                let _place = place;
                work()
            };
            let done = self
                .aside
                .supervisor
                .work("decode", Priority::Bulk, work)
                .map_err(|_| Error::overloaded("no thread for a large body"))?;
            done.await.unwrap_or_else(|_panicked| Err(gone()))
        };
        match deadline {
            None => waiting.await,
            Some(deadline) => tokio::time::timeout_at(deadline.into(), waiting)
                .await
                .map_err(|_elapsed| {
                    Error::new(Code::DeadlineExceeded, "the body was not decoded in time")
                })?,
        }
    }

    /// Resolves when a body that is still on its way is waited for no longer: the listeners are closed,
    /// and half the time that requests have to finish is over.
    async fn leaves(&self) {
        self.close.stopping().await;
        tokio::time::sleep(Duration::from_millis(self.settings.drain_timeout_ms / 2)).await;
    }

    /// Whether models may be loaded and unloaded by this listener.
    ///
    /// # Errors
    /// [`Code::Forbidden`] with the place where they may.
    pub fn check_control(&self, listener: Listener) -> Result<(), Error> {
        if listener == Listener::Admin || self.settings.model_control == ModelControl::All {
            return Ok(());
        }
        Err(Error::new(
            Code::Forbidden,
            "models are loaded and unloaded on the admin address; server.model_control = \"all\" allows it here",
        ))
    }

    /// Whether trials may be looked at and moved by this listener.
    ///
    /// # Errors
    /// [`Code::Forbidden`] with the place where they may.
    pub fn check_trials(&self, listener: Listener) -> Result<(), Error> {
        self.check_control(listener).map_err(|error| {
            Error::new(
                error.code,
                "trials are looked at and moved on the admin address; server.model_control = \"all\" allows it here",
            )
        })
    }

    /// Ready: the models present at the start were tried, and the server is not about to stop. A
    /// model that does not load is not ready itself; it does not take the others out of service.
    pub fn is_ready(&self) -> bool {
        self.server.is_started() && !self.server.is_leaving()
    }

    /// The earlier of the caller's timeout and the configured one, counted from `received`.
    pub fn deadline(&self, received: Instant, timeout: Option<Duration>) -> Option<Instant> {
        let limit = match self.settings.request_timeout_ms {
            0 => None,
            ms => Some(Duration::from_millis(ms)),
        };
        let shorter = match (timeout, limit) {
            (Some(timeout), Some(limit)) => Some(timeout.min(limit)),
            (timeout, limit) => timeout.or(limit),
        };
        shorter.and_then(|shorter| received.checked_add(shorter))
    }
}

/// # Errors
/// When a request has more parts than [`PARTS_MAX`].
fn check_count(parts: usize) -> Result<(), Error> {
    match parts {
        0..=PARTS_MAX => Ok(()),
        _ => Err(Error::invalid(format!(
            "body: expected at most {PARTS_MAX} inputs and outputs"
        ))),
    }
}

/// The id of a request that brought none: its prediction's, or a new one; written into `buffer`.
fn request_id(prediction: Option<Prediction>, buffer: &mut [u8; Hyphenated::LENGTH]) -> &str {
    let id = match prediction {
        Some(prediction) => prediction.id,
        None => record::new_id(),
    };
    id.hyphenated().encode_lower(buffer)
}
