//! Builds the server from its configuration, binds the listeners, drains at shutdown. The one module
//! that knows every other.

mod announce;
mod descriptors;
mod patient;
mod socket;
mod spin;
mod workers;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::api::{self, Aside, Budget, Connections, Entrance, Shared};
use crate::config::Config;
use crate::drift::{self, Drift};
use crate::engine;
use crate::journal::{self, Journal};
use crate::rollout::{self, Rollout};
use crate::serve::{Server, record, shadow};
use crate::source::dir;
use crate::task::{Priority, Supervisor};
use crate::telemetry::{log, metrics::Metrics, trace::Tracer};
use socket::Listener;
use workers::Workers;

/// The bound addresses of a running server.
#[derive(Clone, Debug)]
pub struct Addresses {
    pub http: SocketAddr,
    pub grpc: SocketAddr,
    pub admin: SocketAddr,
    pub http_unix: Option<PathBuf>,
    pub grpc_unix: Option<PathBuf>,
}

/// Time that the journal gets at shutdown to write what waits.
const JOURNAL_LIMIT: Duration = Duration::from_secs(5);

/// Time that traces get at shutdown: what the exporter gives itself, and a little more.
const TRACES_LIMIT: Duration = Duration::from_secs(4);

/// Connections of operators open at the same time.
const OPERATORS_MAX: usize = 256;

/// A server that answers.
#[derive(Debug)]
pub struct Running {
    pub addresses: Addresses,
    pub shared: Shared,
    pub supervisor: Supervisor,
    /// Tells the listeners to take no more connections and to finish those they have.
    close: Supervisor,
    settings: Arc<api::Settings>,
    journal: Option<Journal>,
}

/// Serves until SIGTERM or SIGINT, then drains.
///
/// # Errors
/// Why the server could not start, or that a task of it panicked or did not end in time.
pub fn run(mut config: Config) -> Result<(), String> {
    log::init(config.telemetry.log_format, &config.telemetry.log_level)?;
    config.api.connections_max = descriptors::room(config.api.connections_max);
    // Huge pages made the server three times as large and no model faster, and the kernel takes
    // its time to clear one while a request waits. Where they cannot be turned off, they stay.
    let _off = rustix::thread::disable_transparent_huge_pages(true);
    // Requests have threads of their own; this runtime accepts connections, watches the models
    // folder and moves the metrics' window.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let ended = runtime.block_on(async {
        let dir = config.source.dir.display().to_string();
        // From here on: a container's first process ignores what it does not catch, and models may
        // take long to load.
        let mut signals = Signals::new()?;
        let running = start(config).await?;
        tokio::select! {
            () = async { running.announce(&dir).await; running.ended().await } => {}
            () = signals.one() => {}
        }
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
    let listeners = Listeners::bind(&settings).await?;
    let addresses = listeners.addresses(&settings)?;
    let engines = engine::present(&config.revision.libraries);
    let window = Duration::from_secs(config.telemetry.window_s);
    let metrics = Arc::new(Metrics::new(window, started));
    let tracer = Tracer::start(config.trace, &supervisor)?.map(Arc::new);
    let parts = start_parts(
        config.journal,
        (config.rollout, config.drift),
        &server,
        &supervisor,
    )
    .map_err(|error| error.to_string())?;
    if let Some(rollout) = &parts.rollout {
        let started = rollout.export(config.export, &supervisor);
        started.map_err(|error| error.to_string())?;
    } else if config.export.dir.is_some() {
        tracing::warn!(
            key = "export.dir",
            "nothing is exported: no slot records predictions"
        );
    }
    let repository = dir::start(
        config.source,
        config.revision,
        Arc::clone(&server),
        &supervisor,
    );
    let close = Supervisor::default();
    let shared = Shared {
        server: Arc::clone(&server),
        repository,
        rollout: parts.rollout,
        drift: parts.drift,
        settings: Arc::clone(&settings),
        engines: Arc::new(engines),
        metrics: Arc::clone(&metrics),
        bodies: Arc::new(Budget::new(
            "server.bodies_bytes_max",
            settings.bodies_bytes_max,
        )),
        answers: Arc::new(Budget::new(
            "server.answers_bytes_max",
            settings.answers_bytes_max,
        )),
        aside: Aside::new(&supervisor, settings.workers),
        connections: Arc::default(),
        tracer,
        close: close.clone(),
    };
    listeners.serve(&shared, &supervisor, &close)?;
    tick(metrics, server, &supervisor);
    Ok(Running {
        addresses,
        shared,
        supervisor,
        close,
        settings,
        journal: parts.journal,
    })
}

/// What looks at answered requests.
#[derive(Default)]
struct Parts {
    journal: Option<Journal>,
    rollout: Option<Rollout>,
    drift: Option<Drift>,
}

/// Starts the loop and the monitor of drift where any slot has them, and the threads that hand them
/// records.
fn start_parts(
    journal: journal::Settings,
    (rollout, drift): (rollout::Settings, drift::Settings),
    server: &Arc<Server>,
    supervisor: &Supervisor,
) -> std::io::Result<Parts> {
    let mut parts = Parts::default();
    // Where alarms call somebody, replicas and restarts are not to call twice.
    let watches = server.watches_any(record::Drift::Auto) && drift.calls_any();
    if server.records_any() || server.watches_any(record::Drift::On) || watches {
        parts.journal = Some(Journal::start(journal, supervisor)?);
    }
    if let Some(journal) = parts.journal.clone().filter(|_| server.records_any()) {
        parts.rollout = Some(Rollout::start(server, journal, rollout, supervisor)?);
    }
    if server.watches_any(record::Drift::Auto) {
        parts.drift = Some(Drift::start(
            server,
            parts.journal.clone(),
            drift,
            supervisor,
        )?);
    }
    let tap = parts.drift.as_ref().map(Drift::tap);
    let sink = parts.rollout.as_ref().map(Rollout::sink);
    if let Some(records) = server.records().filter(|_| tap.is_some() || sink.is_some()) {
        let tap = tap.unwrap_or_else(|| Arc::new(|_record| {}));
        let sink = sink.unwrap_or_else(|| Arc::new(drop));
        let backlog = shadow::start(records, supervisor, tap, sink)?;
        if let Some(rollout) = &parts.rollout {
            rollout.set_backlog(backlog);
        }
    }
    Ok(parts)
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
        let (rollout, drift) = (self.shared.rollout.clone(), self.shared.drift.clone());
        let journal = self.journal.clone();
        let close = move || {
            // What they counted and answered is written before the journal is closed.
            let end = Instant::now() + JOURNAL_LIMIT;
            let left = || end.saturating_duration_since(Instant::now());
            let drift = drift.is_none_or(|it| it.close(left()));
            let rollout = rollout.is_none_or(|it| it.finish(left()));
            journal.is_none_or(|it| it.close(left())) && drift && rollout
        };
        if self.supervisor.blocking("close", close).await != Some(true) {
            tracing::warn!("the journal did not take everything that was answered and counted");
        }
        if let Some(tracer) = self.shared.tracer.clone() {
            let sent = move || tracer.close(TRACES_LIMIT);
            if self.supervisor.blocking("traces", sent).await != Some(true) {
                tracing::warn!("the receiver of traces did not take everything in time");
            }
        }
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

    /// Waits until a task panicked.
    async fn ended(&self) {
        tokio::select! {
            () = self.supervisor.stopping() => {}
            () = self.close.stopping() => {}
        }
    }
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Signals, String> {
        let catch = |kind| signal(kind).map_err(|error| format!("signals: {error}"));
        Ok(Signals {
            terminate: catch(SignalKind::terminate())?,
            interrupt: catch(SignalKind::interrupt())?,
        })
    }

    /// Waits for one of them.
    async fn one(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// The sockets of a server.
struct Listeners {
    http: Vec<Listener>,
    grpc: Vec<Listener>,
    admin: Listener,
}

impl Listeners {
    async fn bind(settings: &api::Settings) -> Result<Listeners, String> {
        let mut http = vec![Listener::tcp("server.http", settings.http).await?];
        let mut grpc = vec![Listener::tcp("server.grpc", settings.grpc).await?];
        if let Some(path) = &settings.http_unix {
            http.push(Listener::unix("server.http_unix", path)?);
        }
        if let Some(path) = &settings.grpc_unix {
            grpc.push(Listener::unix("server.grpc_unix", path)?);
        }
        let admin = Listener::tcp("server.admin", settings.admin).await?;
        Ok(Listeners { http, grpc, admin })
    }

    fn addresses(&self, settings: &api::Settings) -> Result<Addresses, String> {
        let local = |name: &str, listener: Option<&Listener>| {
            listener
                .and_then(Listener::address)
                .ok_or_else(|| format!("server.{name}: the socket has no address"))
        };
        Ok(Addresses {
            http: local("http", self.http.first())?,
            grpc: local("grpc", self.grpc.first())?,
            admin: local("admin", Some(&self.admin))?,
            http_unix: settings.http_unix.clone(),
            grpc_unix: settings.grpc_unix.clone(),
        })
    }

    /// Hands clients' connections to threads that serve nothing else, and the operators' to one
    /// more: a scrape of the metrics delays no prediction.
    fn serve(
        self,
        shared: &Shared,
        supervisor: &Supervisor,
        close: &Supervisor,
    ) -> Result<(), String> {
        let start = |settings, connections: &Arc<Connections>| {
            let workers = Workers::start(settings, connections, supervisor, close);
            workers.map(Arc::new).map_err(|error| error.to_string())
        };
        let settings = workers::Settings {
            threads: shared.settings.workers,
            connections_max: shared.settings.connections_max,
            priority: Priority::Normal,
            busy_poll_us: shared.settings.busy_poll_us,
            idle: Duration::from_millis(shared.settings.idle_timeout_ms),
            write: Duration::from_millis(shared.settings.write_timeout_ms),
            // Before a drain gives up.
            take: Duration::from_millis(shared.settings.drain_timeout_ms / 2),
        };
        let clients = start(settings, &shared.connections)?;
        let one = workers::Settings {
            threads: 1,
            connections_max: OPERATORS_MAX,
            // A scrape of a hundred models takes ten milliseconds.
            priority: Priority::Bulk,
            busy_poll_us: 0,
            ..settings
        };
        // Clients that take every connection do not lock the operators out.
        let operators = start(one, &Arc::default())?;
        let http = Entrance::http(shared.clone(), api::Listener::Public);
        for listener in self.http {
            listener.hand_over(http.clone(), Arc::clone(&clients), supervisor, close);
        }
        let grpc = Entrance::grpc(shared.clone());
        for listener in self.grpc {
            listener.hand_over(grpc.clone(), Arc::clone(&clients), supervisor, close);
        }
        let admin = Entrance::http(shared.clone(), api::Listener::Admin);
        self.admin.hand_over(admin, operators, supervisor, close);
        Ok(())
    }
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
