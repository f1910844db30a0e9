//! The protocols: HTTP and gRPC, both in front of [`crate::serve::infer`].

use std::net::{Ipv4Addr, SocketAddr};

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
