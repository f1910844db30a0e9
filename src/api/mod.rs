//! The protocols: HTTP and gRPC, both in front of [`crate::serve::infer`].

mod explain;
pub mod grpc;
pub mod http;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::{Code, Error};
use crate::serve::Server;
use crate::source::Repository;

/// What every protocol's handlers share.
#[derive(Clone, Debug)]
pub struct Shared {
    pub server: Arc<Server>,
    pub repository: Repository,
    pub settings: Arc<Settings>,
    /// The engines of this binary: name, and version or why it is missing.
    pub engines: Arc<Vec<(&'static str, Result<String, String>)>>,
    /// Writes what `/metrics` answers.
    pub metrics: Arc<crate::telemetry::metrics::Metrics>,
}

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
    /// Threads that read and write sockets; 0 means one per core.
    pub workers: usize,
    /// Bytes of a request's body at the most, before and after decompression.
    pub body_bytes_max: usize,
    /// Milliseconds after which a request without a deadline of its own is given up; 0 means never.
    pub request_timeout_ms: u64,
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
            workers: 0,
            body_bytes_max: 64 << 20,
            request_timeout_ms: 60_000,
            model_control: ModelControl::Admin,
            drain_delay_ms: 0,
            drain_timeout_ms: 20_000,
        }
    }
}

impl Shared {
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
