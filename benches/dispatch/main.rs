//! Inline, batch or offload: the policy of `serve/batch` beside fixed ones, over model cost × callers
//! × rows per request. `make bench-dispatch` prints the table and saves it.
//!
//! Callers are tasks on as many serving threads as there are cores, one runtime each, as in the
//! server, but without sockets: what is measured is dispatch and compute. Each caller asks again as
//! soon as it is answered. Policies take turns in short windows, so that a slow spell of the machine
//! hits all; figures are medians over rounds.

mod models;

use std::borrow::Cow;
use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hedgerow::engine::{Choice, Libraries};
use hedgerow::model::artifact::Artifact;
use hedgerow::model::revision::{self, Revision};
use hedgerow::model::usage::Protocol;
use hedgerow::serve::batch::Policy;
use hedgerow::serve::{self, InferRequest, Measured, Names, Server, SlotSettings};
use hedgerow::task::Supervisor;
use hedgerow::tensor::{DType, Tensor, Values};
use models::FEATURES;

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const WINDOW: Duration = Duration::from_millis(250);
const ROUNDS: usize = 3;
const CALLERS: [usize; 3] = [2, 16, 64];
const ROWS: [usize; 3] = [1, 8, 64];

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// What one window showed.
#[derive(Clone, Copy)]
struct Window {
    rows_per_s: f64,
    p50_us: f64,
    p99_us: f64,
}

/// A policy and the server that follows it.
struct Contender {
    name: &'static str,
    server: Arc<Server>,
}

fn policies() -> Vec<(&'static str, Policy)> {
    let adaptive = Policy::default();
    vec![
        ("adaptive (default)", adaptive.clone()),
        (
            "always inline",
            Policy {
                inline_us_max: u64::MAX / 1000,
                // Requests are not gathered.
                max_batch_rows: 1,
                ..adaptive.clone()
            },
        ),
        (
            "always inline, gathered",
            Policy {
                inline_us_max: u64::MAX / 1000,
                ..adaptive.clone()
            },
        ),
        (
            "always offload",
            Policy {
                inline_us_max: 0,
                ..adaptive.clone()
            },
        ),
        (
            "offload, 200 µs delay",
            Policy {
                inline_us_max: 0,
                max_queue_delay_us: 200,
                ..adaptive
            },
        ),
    ]
}

fn main() -> Result<()> {
    // A plain `cargo bench` passes other words.
    let Some(out) = std::env::args().skip_while(|word| word != "--save").nth(1) else {
        writeln_out("usage: make bench-dispatch")?;
        return Ok(());
    };
    let supervisor = Supervisor::default();
    let libraries = Libraries {
        dir: PathBuf::from("native"),
    };
    let models = [
        ("100 trees, 31 leaves", models::forest(100, 31)),
        ("1,000 trees, 63 leaves", models::forest(1000, 63)),
        ("5,000 trees, 127 leaves", models::forest(5000, 127)),
        ("perceptron 30-64-64-1 (ONNX)", models::perceptron(64)),
        ("perceptron 30-1024-1024-1 (ONNX)", models::perceptron(1024)),
    ];
    let cores = std::thread::available_parallelism()?.get();
    let mut page = format!(
        "{cores} cores; windows of {} ms, {ROUNDS} rounds; thousands of rows per second, P50 / P99 in µs.\n",
        WINDOW.as_millis()
    );
    let mut worst = (f64::INFINITY, String::new());
    for (name, files) in models {
        let artifact = Artifact::from_files(Path::new("."), files)?;
        let settings = revision::Settings {
            engine: Choice::Auto,
            verify: false,
            bytes_max: u64::MAX,
            libraries: libraries.clone(),
            rules: Default::default(),
        };
        let revision = match revision::prepare("bench", 1, artifact, &settings) {
            Ok(revision) => Arc::new(revision),
            Err(reason) => {
                writeln!(page, "\n## {name}\n\nleft out: {reason}")?;
                continue;
            }
        };
        let contenders = contenders(&revision, &supervisor)?;
        writeln!(
            page,
            "\n## {name}\n\n{:.1} µs a row alone, {:.1} in a batch of 64.\n",
            revision.cost.row_ns as f64 / 1000.0,
            revision.cost.batch_row_ns as f64 / 1000.0
        )?;
        write!(page, "| rows × callers |")?;
        contenders
            .iter()
            .try_for_each(|it| write!(page, " {} |", it.name))?;
        writeln!(page, " default : best fixed, rows/s | P99 |")?;
        writeln!(page, "|---|{}", "--:|".repeat(contenders.len() + 2))?;
        for rows in ROWS {
            for callers in CALLERS {
                let found = compare(&contenders, rows, callers, cores)?;
                let ratio = cell(&mut page, rows, callers, &found)?;
                if ratio < worst.0 {
                    worst = (ratio, format!("{name}, {rows} rows × {callers} callers"));
                }
                writeln_out(page.lines().last().unwrap_or_default())?;
            }
        }
    }
    writeln!(
        page,
        "\nThe default's worst cell: {:.2} of the best fixed policy's rows per second ({}).",
        worst.0, worst.1
    )?;
    writeln_out(&page)?;
    std::fs::write(out, format!("# Inline, batch or offload\n\n{page}"))?;
    supervisor.stop();
    Ok(())
}

fn contenders(revision: &Arc<Revision>, supervisor: &Supervisor) -> Result<Vec<Contender>> {
    let mut contenders = Vec::new();
    for (name, policy) in policies() {
        let settings = serve::Settings {
            slot: SlotSettings {
                policy,
                ..SlotSettings::default()
            },
            ..serve::Settings::default()
        };
        let server = Server::start(&settings, supervisor)?;
        let slot = server.registry.insert("bench");
        drop(slot.commit(Arc::clone(revision), Instant::now()));
        contenders.push(Contender {
            name,
            server: Arc::new(server),
        });
    }
    Ok(contenders)
}

/// The median window of every contender, taken in turns.
fn compare(
    contenders: &[Contender],
    rows: usize,
    callers: usize,
    cores: usize,
) -> Result<Vec<Window>> {
    let mut windows = vec![Vec::new(); contenders.len()];
    for _ in 0..ROUNDS {
        for (contender, windows) in contenders.iter().zip(&mut windows) {
            windows.push(window(&contender.server, rows, callers, cores)?);
        }
    }
    let median = |windows: &[Window], pick: fn(&Window) -> f64| {
        let mut values: Vec<f64> = windows.iter().map(pick).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    Ok(windows
        .iter()
        .map(|windows| Window {
            rows_per_s: median(windows, |it| it.rows_per_s),
            p50_us: median(windows, |it| it.p50_us),
            p99_us: median(windows, |it| it.p99_us),
        })
        .collect())
}

fn window(server: &Arc<Server>, rows: usize, callers: usize, cores: usize) -> Result<Window> {
    let end = Instant::now() + WINDOW;
    let threads: Vec<_> = (0..cores)
        .map(|thread| {
            let server = Arc::clone(server);
            let mine = callers / cores + usize::from(thread < callers % cores);
            std::thread::Builder::new().spawn(move || serve(&server, rows, mine, end))
        })
        .collect();
    let mut times = Vec::new();
    for thread in threads {
        let done = thread?.join().map_err(|_| "a serving thread panicked")?;
        times.extend(done.map_err(|error| error.to_string())?);
    }
    times.sort_unstable();
    let at = |q: f64| {
        times
            .get((times.len() as f64 * q) as usize)
            .map_or(f64::NAN, |it| it.as_secs_f64() * 1e6)
    };
    Ok(Window {
        rows_per_s: (times.len() * rows) as f64 / WINDOW.as_secs_f64(),
        p50_us: at(0.5),
        p99_us: at(0.99),
    })
}

/// Asks on behalf of `callers` on a runtime of this thread until `end`; how long each request took.
fn serve(
    server: &Arc<Server>,
    rows: usize,
    callers: usize,
    end: Instant,
) -> std::result::Result<Vec<Duration>, std::io::Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let tasks = tokio::task::LocalSet::new();
    let handles: Vec<_> = (0..callers)
        .map(|caller| {
            let server = Arc::clone(server);
            tasks.spawn_local(async move {
                let mut times = Vec::new();
                let values: Vec<f32> = (0..rows * FEATURES)
                    .map(|at| ((at * 7919 + caller * 104_729) % 2000) as f32 / 1000.0 - 1.0)
                    .collect();
                while Instant::now() < end {
                    // The request is there; those that came before it on this thread are answered
                    // first, as those of other connections are.
                    let start = Instant::now();
                    tokio::task::yield_now().await;
                    let mut measured = Measured::start(&server, Protocol::Http, start, None);
                    let answer = serve::infer(&mut measured, request(&values, rows)).await;
                    measured.finish(answer.as_ref().err().map(|error| error.code));
                    if answer.is_ok() {
                        times.push(start.elapsed());
                    }
                }
                times
            })
        })
        .collect();
    let mut times = Vec::new();
    runtime.block_on(tasks.run_until(async {
        for handle in handles {
            times.extend(handle.await.unwrap_or_default());
        }
    }));
    Ok(times)
}

fn request(values: &[f32], rows: usize) -> InferRequest<'static> {
    InferRequest {
        slot: "bench",
        revision: None,
        tensors: vec![Tensor {
            name: Cow::Borrowed(""),
            dtype: DType::Fp32,
            shape: [rows, FEATURES].into_iter().collect(),
            values: Values::F32(values.to_vec()),
        }],
        outputs: Names::new(),
        explain: None,
        key: None,
        deadline: None,
    }
}

/// Adds a line; how many of the best fixed policy's rows per second the first one reaches.
fn cell(page: &mut String, rows: usize, callers: usize, found: &[Window]) -> Result<f64> {
    write!(page, "| {rows} × {callers} |")?;
    for window in found {
        write!(
            page,
            " {:.1}, {:.0} / {:.0} |",
            window.rows_per_s / 1000.0,
            window.p50_us,
            window.p99_us
        )?;
    }
    let (own, fixed) = found.split_first().ok_or("no policies")?;
    let best = fixed.iter().map(|it| it.rows_per_s).fold(0.0, f64::max);
    let lowest = fixed
        .iter()
        .map(|it| it.p99_us)
        .fold(f64::INFINITY, f64::min);
    let ratio = own.rows_per_s / best;
    writeln!(page, " {ratio:.2} | {:.2} |", own.p99_us / lowest)?;
    Ok(ratio)
}

fn writeln_out(line: &str) -> Result<()> {
    use std::io::Write;
    writeln!(std::io::stdout(), "{line}")?;
    Ok(())
}
