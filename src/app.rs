//! Builds the server from its configuration, binds the listeners, drains at shutdown. The one module
//! that knows every other.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::api::{self, Listener, Shared};
use crate::config::Config;
use crate::engine;
use crate::model::slot::State;
use crate::serve::Server;
use crate::source::dir;
use crate::task::Supervisor;
use crate::telemetry::{log, metrics::Metrics};

/// The bound addresses of a running server.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    pub http: SocketAddr,
    pub grpc: SocketAddr,
    pub admin: SocketAddr,
}

/// A server that answers.
#[derive(Debug)]
pub struct Running {
    pub addresses: Addresses,
    pub shared: Shared,
    pub supervisor: Supervisor,
    /// Tells the listeners to take no more connections and to finish those they have.
    close: Supervisor,
    settings: Arc<api::Settings>,
}

/// For a request's head to arrive on a connection, keep-alive pauses included.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);

/// Runs the streams of an HTTP/2 connection as tasks of the supervisor.
#[derive(Clone)]
struct Streams(Supervisor);

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Streams {
    fn execute(&self, stream: F) {
        self.0.spawn("stream", stream);
    }
}

/// Serves until SIGTERM or SIGINT, then drains.
///
/// # Errors
/// Why the server could not start, or that a task of it panicked or did not end in time.
pub fn run(config: Config) -> Result<(), String> {
    log::init(config.telemetry.log_format, &config.telemetry.log_level)?;
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if config.api.workers > 0 {
        builder.worker_threads(config.api.workers);
    }
    let runtime = builder
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let ended = runtime.block_on(async {
        let dir = config.source.dir.display().to_string();
        let running = start(config).await?;
        running.announce(&dir).await;
        running.until_signal().await?;
        running.stop().await
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended
}

/// Starts a server: binds the listeners, then takes models in.
///
/// # Errors
/// When a listener cannot be bound or the models folder does not exist.
pub async fn start(config: Config) -> Result<Running, String> {
    let started = Instant::now();
    if !config.source.dir.is_dir() {
        return Err(format!(
            "models: \"{}\" is not a folder",
            config.source.dir.display()
        ));
    }
    let supervisor = Supervisor::default();
    let server = Server::start(&config.serve, &supervisor).map_err(|error| error.to_string())?;
    let server = Arc::new(server);
    let settings = Arc::new(config.api);
    let http = bind("server.http", settings.http).await?;
    let grpc = bind("server.grpc", settings.grpc).await?;
    let admin = bind("server.admin", settings.admin).await?;
    let local = |name: &str, listener: &TcpListener| {
        listener
            .local_addr()
            .map_err(|error| format!("server.{name}: {error}"))
    };
    let addresses = Addresses {
        http: local("http", &http)?,
        grpc: local("grpc", &grpc)?,
        admin: local("admin", &admin)?,
    };
    let libraries = config.revision.libraries.clone();
    let engines = supervisor
        .blocking("engines", move || engine::available(&libraries))
        .await
        .unwrap_or_default();
    let window = Duration::from_secs(config.telemetry.window_s);
    let metrics = Arc::new(Metrics::new(window, started));
    let repository = dir::start(
        config.source,
        config.revision,
        Arc::clone(&server),
        &supervisor,
    );
    let shared = Shared {
        server: Arc::clone(&server),
        repository,
        settings: Arc::clone(&settings),
        engines: Arc::new(engines),
        metrics: Arc::clone(&metrics),
    };
    let close = Supervisor::default();
    accept(
        http,
        api::http::router(shared.clone(), Listener::Public),
        &supervisor,
        &close,
    );
    accept(
        admin,
        api::http::router(shared.clone(), Listener::Admin),
        &supervisor,
        &close,
    );
    accept(grpc, api::grpc::router(shared.clone()), &supervisor, &close);
    tick(metrics, server, &supervisor);
    Ok(Running {
        addresses,
        shared,
        supervisor,
        close,
        settings,
    })
}

impl Running {
    /// Waits until the models present at the start were tried.
    pub async fn started(&self) {
        while !self.shared.server.is_started() {
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(5)) => {}
                () = self.supervisor.stopping() => return,
            }
        }
    }

    /// Stops taking work, lets what is in flight finish, and ends every task.
    ///
    /// # Errors
    /// That a task panicked, or that something did not end in time.
    pub async fn stop(self) -> Result<(), String> {
        let delay = Duration::from_millis(self.settings.drain_delay_ms);
        tracing::info!(delay_ms = self.settings.drain_delay_ms, "draining");
        self.shared.server.set_leaving();
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = self.supervisor.stopping() => {}
        }
        let limit = Duration::from_millis(self.settings.drain_timeout_ms);
        self.shared.server.admission.drain();
        self.close.stop();
        let finished = self.close.drain(limit).await;
        self.supervisor.stop();
        let ended = self.supervisor.drain(Duration::from_secs(10)).await;
        if let Some(task) = self.supervisor.failure().or(self.close.failure()) {
            return Err(format!("task \"{task}\" panicked"));
        }
        if !finished || !ended {
            return Err(
                "requests in flight did not finish within server.drain_timeout_ms".to_string(),
            );
        }
        tracing::info!("stopped");
        Ok(())
    }

    async fn until_signal(&self) -> Result<(), String> {
        let failed = |error: std::io::Error| format!("signals: {error}");
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = self.supervisor.stopping() => {}
            () = self.close.stopping() => {}
        }
        Ok(())
    }

    /// Says on standard output what is served and where, with a first request to try.
    async fn announce(&self, dir: &str) {
        self.started().await;
        let mut page = String::from("\n");
        let slots = self.shared.server.registry.slots();
        let mut example = None;
        for slot in slots.values() {
            let Some(roles) = slot.roles() else {
                let reason = slot.states().pop_last().map(|(id, state)| match state {
                    State::Unavailable(reason) => format!("revision {id}: {reason}"),
                    _ => format!("revision {id} is loading"),
                });
                page += &format!(
                    "  {:<20} not served: {}\n",
                    slot.name,
                    reason.unwrap_or_default()
                );
                continue;
            };
            let (champion, outline) = (&roles.champion, roles.champion.outline());
            page += &format!(
                "  {:<20} revision {}, {} features, {}, {:.1} µs a row\n",
                slot.name,
                champion.id,
                outline.features.len(),
                outline.engine,
                champion.cost.row_ns as f64 / 1000.0
            );
            example.get_or_insert((slot.name.clone(), outline.features.len()));
        }
        let Addresses { http, grpc, admin } = self.addresses;
        let page = format!(
            "\nServing {} of {} models from {dir}:\n{page}\n  HTTP   http://{http}\n  gRPC   {grpc}\n  admin  http://{admin} (metrics, loading and unloading)\n",
            slots.values().filter(|slot| slot.roles().is_some()).count(),
            slots.len()
        );
        let try_it = example.map(|(slot, features)| {
            let row = vec!["0.5"; features].join(",");
            format!(
                "\nTry:\n  curl -s http://127.0.0.1:{}/v1/models/{slot}:predict -d '{{\"instances\":[[{row}]]}}'\n\n",
                http.port()
            )
        });
        let mut out = std::io::stdout().lock();
        // Nobody may be reading.
        let _written = out.write_all((page + &try_it.unwrap_or_default()).as_bytes());
    }
}

async fn bind(key: &str, address: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(address)
        .await
        .map_err(|error| format!("{key}: cannot listen on {address}: {error}"))
}

/// Serves a listener's connections. Each is a task of `close`, which is how a drain waits for them.
fn accept(listener: TcpListener, router: Router, supervisor: &Supervisor, close: &Supervisor) {
    let (close, supervisor) = (close.clone(), supervisor.clone());
    let connections = close.clone();
    close.spawn("listener", async move {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = connections.stopping() => return,
                () = supervisor.stopping() => return,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    // Out of file descriptors, most likely: give others the time to close theirs.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            // Answers are one write each; waiting for more would only delay them.
            let _set = stream.set_nodelay(true);
            let stop = connections.clone();
            let service = TowerToHyperService::new(router.clone());
            connections.spawn("connection", async move {
                let mut builder = auto::Builder::new(Streams(stop.clone()));
                // A client that sends its head byte by byte, or nothing, does not stay for ever.
                builder
                    .http1()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEAD_TIMEOUT);
                let connection = builder.serve_connection(TokioIo::new(stream), service);
                tokio::pin!(connection);
                tokio::select! {
                    // An error is the client's: it went away or does not speak HTTP.
                    _ended = connection.as_mut() => return,
                    () = stop.stopping() => connection.as_mut().graceful_shutdown(),
                }
                let _ended = connection.await;
            });
        }
    });
}

/// Moves the window of the sliding quantiles.
fn tick(metrics: Arc<Metrics>, server: Arc<Server>, supervisor: &Supervisor) {
    let stop = supervisor.clone();
    supervisor.spawn("metrics", async move {
        let mut interval = tokio::time::interval(metrics.step());
        loop {
            tokio::select! {
                now = interval.tick() => metrics.tick(&server, now.into_std()),
                () = stop.stopping() => return,
            }
        }
    });
}
