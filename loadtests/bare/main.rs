//! `bare`: servers of the same stack that do nothing, as limits of what a server can answer. The
//! `constant` ones read a request and answer what they always answer; the `parse` ones also decode
//! its tensors, as Hedgerow does, and drop them.

mod grpc;
mod http;
#[path = "../pin.rs"]
mod pin;

use std::error::Error;
use std::io::Write;
use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Serves the Open Inference Protocol without any model.
#[derive(Debug, Parser)]
#[command(name = "bare")]
struct Options {
    /// What is served.
    #[arg(long, value_enum)]
    kind: Kind,
    /// Port on 127.0.0.1; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Rows of every answer.
    #[arg(long, default_value_t = 1)]
    rows: usize,
    /// How the server's tasks run; one thread either way.
    #[arg(long, value_enum, default_value = "current-thread")]
    runtime: Runtime,
    /// The core to run on.
    #[arg(long)]
    core: Option<usize>,
    /// Seconds after which it ends by itself.
    #[arg(long, default_value_t = 3600)]
    seconds: u64,
    /// What cargo passes to benches.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// HTTP, whose body is read and not looked at.
    AxumConstant,
    /// HTTP, whose JSON is decoded to tensors.
    AxumParse,
    /// gRPC, whose message is decoded by prost.
    TonicConstant,
    /// gRPC, whose message is decoded to tensors too.
    TonicParse,
}

/// How the server's tasks run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Runtime {
    /// On the thread that polls the sockets: what Hedgerow's workers do.
    CurrentThread,
    /// On a worker thread of tokio's scheduler for many: the usual way to serve with these crates.
    MultiThread,
}

/// What is done with a request's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Depth {
    Constant,
    Parse,
}

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> ExitCode {
    // A plain `cargo bench` or `cargo test --benches` starts every bench without arguments.
    let bare = |argument: String| argument == "--bench";
    if std::env::args().skip(1).all(bare) {
        let _written = writeln!(std::io::stdout(), "bare: started by the load tests");
        return ExitCode::SUCCESS;
    }
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _written = writeln!(std::io::stderr(), "bare: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(options: &Options) -> Result<()> {
    // Before there are threads: they inherit it.
    if let Some(core) = options.core {
        pin::pin(core)?;
    }
    match options.runtime {
        Runtime::CurrentThread => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(serve(options))
        }
        Runtime::MultiThread => {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()?;
            // Connections are tasks of the worker; this thread only accepts them.
            runtime.block_on(serve(options))
        }
    }
}

async fn serve(options: &Options) -> Result<()> {
    let rows = options.rows;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port)).await?;
    let address = listener.local_addr()?;
    let stop = stop(options.seconds)?;
    writeln!(std::io::stdout(), "listening on {address}")?;
    match options.kind {
        Kind::AxumConstant => http::serve(listener, Depth::Constant, rows, stop).await,
        Kind::AxumParse => http::serve(listener, Depth::Parse, rows, stop).await,
        Kind::TonicConstant => grpc::serve(listener, Depth::Constant, rows, stop).await,
        Kind::TonicParse => grpc::serve(listener, Depth::Parse, rows, stop).await,
    }
}

/// Ends on SIGINT, SIGTERM, and after a time.
fn stop(seconds: u64) -> Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            () = tokio::time::sleep(Duration::from_secs(seconds)) => {}
        }
    })
}

/// The values of an answer of so many rows.
fn values(rows: usize) -> impl Iterator<Item = f32> {
    (0..rows).map(|row| 0.123_456_79 + row as f32 / 1024.0)
}
