//! The allocation budget: how often a prediction may ask the allocator for memory, over both
//! protocols, from the socket to the socket. Counted on the threads that serve, hyper's and h2's
//! own allocations included.
#![cfg(test)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use hedgerow::api::grpc::pb;
use hedgerow::app::{self, Running};
use hedgerow::config::Config;
use hedgerow::drift::build::{self, Kind};
use pb::grpc_inference_service_client::GrpcInferenceServiceClient as Client;
use tokio::runtime::Runtime;

/// The system's allocator, counting.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// Whether this thread's allocations are not to be counted: the client's are not.
    static CLIENT: Cell<bool> = const { Cell::new(false) };
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count(bytes: usize) {
    if !CLIENT.get() {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        BYTES.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

// SAFETY: every call is passed on unchanged to the system's allocator, which keeps the contract.
#[expect(unsafe_code, reason = "a counting allocator is the only way to count")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        unsafe { System.realloc(old, layout, size) }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        unsafe { System.dealloc(old, layout) }
    }
}

/// Requests of a round, and rounds. The lowest round counts: how often the server wakes up for the
/// parts of a body, and what other threads do meanwhile, is the machine's affair.
const ROUND: u64 = 200;
const ROUNDS: u64 = 10;
const REQUESTS: u64 = ROUND * ROUNDS;

/// What serving may take per request: requests to the allocator, and bytes.
struct Budget {
    allocations: u64,
    bytes: u64,
}

/// Runs `ask` until everything is warm, then counts, and compares with the budget.
fn check(what: &str, budget: &Budget, mut ask: impl FnMut()) {
    for _ in 0..200 {
        ask();
    }
    let mut lowest = (u64::MAX, u64::MAX);
    for _ in 0..ROUNDS {
        let before = [&ALLOCATIONS, &BYTES].map(|it| it.load(Ordering::Relaxed));
        for _ in 0..ROUND {
            ask();
        }
        let after = [&ALLOCATIONS, &BYTES].map(|it| it.load(Ordering::Relaxed));
        let each = |index: usize| (after[index] - before[index] + ROUND / 2) / ROUND;
        lowest = (lowest.0.min(each(0)), lowest.1.min(each(1)));
    }
    let (allocations, bytes) = lowest;
    println!("{what}: {allocations} allocations, {bytes} bytes a request");
    assert!(
        allocations <= budget.allocations && bytes <= budget.bytes,
        "{what}: the budget is {} allocations and {} bytes",
        budget.allocations,
        budget.bytes
    );
    // A budget that nobody comes near is none.
    assert!(
        allocations * 3 > 2 * budget.allocations,
        "{what}: set the budget lower"
    );
}

/// Sends one prepared request on a connection again and again; the answers are as long as the first.
struct Http {
    stream: TcpStream,
    request: Vec<u8>,
    answer: Vec<u8>,
    length: usize,
}

impl Http {
    fn new(address: SocketAddr, path: &str, headers: &str, body: &[u8]) -> Http {
        let mut stream = TcpStream::connect(address).unwrap();
        let mut request = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\n{headers}content-length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        stream.write_all(&request).unwrap();
        let mut answer = vec![0; 1 << 16];
        let length = stream.read(&mut answer).unwrap();
        assert!(
            answer.starts_with(b"HTTP/1.1 200"),
            "{:?}",
            text(&answer[..length])
        );
        Http {
            stream,
            request,
            answer,
            length,
        }
    }

    fn ask(&mut self) {
        self.stream.write_all(&self.request).unwrap();
        self.stream
            .read_exact(&mut self.answer[..self.length])
            .unwrap();
        assert!(self.answer.starts_with(b"HTTP/1.1 200"));
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn json(rows: usize, width: usize) -> Vec<u8> {
    let values: Vec<String> = (0..rows * width)
        .map(|index| format!("{}.{:06}", index % 7, index * 7919 % 1_000_000))
        .collect();
    format!(
        "{{\"id\":\"1\",\"inputs\":[{{\"name\":\"input\",\"shape\":[{rows},{width}],\"datatype\":\"FP32\",\"data\":[{}]}}]}}",
        values.join(", ")
    )
    .into_bytes()
}

fn message(rows: usize, width: usize, raw: bool) -> pb::ModelInferRequest {
    let values: Vec<f32> = (0..rows * width).map(|index| index as f32 / 7.0).collect();
    let bytes: Vec<u8> = values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    pb::ModelInferRequest {
        model_name: "fraud-xgb".to_string(),
        id: "1".to_string(),
        inputs: vec![pb::model_infer_request::InferInputTensor {
            name: "input".to_string(),
            datatype: "FP32".to_string(),
            shape: vec![rows as i64, width as i64],
            contents: (!raw).then(|| pb::InferTensorContents {
                fp32_contents: values,
                ..Default::default()
            }),
            ..Default::default()
        }],
        raw_input_contents: if raw { vec![bytes.into()] } else { Vec::new() },
        ..Default::default()
    }
}

#[test]
fn predictions_stay_within_their_allocation_budgets() {
    CLIENT.set(true);
    // The client's tasks stay on this thread; the server has runtimes of its own.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let server = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let models = sample();
    let running = start(&server, models.path());
    let names: Vec<String> = {
        let revision = running.shared.server.revision("fraud-xgb", None).unwrap();
        let columns = revision.signature.columns.iter();
        columns.map(|column| column.name.clone()).collect()
    };
    let width = names.len();
    let http = running.addresses.http;
    let path = "/v2/models/fraud-xgb/infer";
    for (rows, budget) in [
        (
            1,
            Budget {
                allocations: 12,
                bytes: 11_500,
            },
        ),
        (
            64,
            Budget {
                allocations: 18,
                bytes: 50_000,
            },
        ),
    ] {
        let mut client = Http::new(http, path, "", &json(rows, width));
        check(&format!("HTTP, JSON, {rows} rows"), &budget, || {
            client.ask()
        });
    }
    let header = "inference-header-content-length: 0\r\n";
    let bytes = vec![0; width * 4];
    let mut client = Http::new(http, path, header, &bytes);
    let budget = Budget {
        allocations: 16,
        bytes: 11_000,
    };
    check("HTTP, binary, 1 row", &budget, || client.ask());
    let grpc = format!("http://{}", running.addresses.grpc);
    let mut client = runtime.block_on(Client::connect(grpc)).unwrap();
    for (what, rows, raw, budget) in [
        (
            "typed, 1 row",
            1,
            false,
            Budget {
                allocations: 30,
                bytes: 12_800,
            },
        ),
        (
            "raw, 1 row",
            1,
            true,
            Budget {
                allocations: 30,
                bytes: 12_800,
            },
        ),
        (
            "raw, 64 rows",
            64,
            true,
            Budget {
                allocations: 36,
                bytes: 30_000,
            },
        ),
    ] {
        let message = message(rows, width, raw);
        check(&format!("gRPC, {what}"), &budget, || {
            let answer = runtime
                .block_on(client.model_infer(message.clone()))
                .unwrap();
            assert_eq!(answer.into_inner().outputs[0].shape, [rows as i64]);
        });
    }
    drop(client);
    server.block_on(running.stop()).unwrap();
    watched(&server, &names);
}

/// A server of one thread.
fn start(runtime: &Runtime, models: &Path) -> Running {
    let mut config = Config::default();
    let any = ([127, 0, 0, 1], 0).into();
    (config.api.http, config.api.grpc, config.api.admin) = (any, any, any);
    config.api.workers = 1;
    config.source.dir = models.to_path_buf();
    config.source.poll_interval_ms = 3_600_000;
    // The folder is new, and is looked at once.
    config.source.settle_ms = 0;
    config.telemetry.window_s = 3600;
    // As many rows are watched as come.
    config.serve.record.watched_rows_per_second_max = 1 << 40;
    runtime.block_on(async {
        let running = app::start(config).await.unwrap();
        running.started().await;
        running
    })
}

/// A folder with a sample model without its profile: nobody watches it.
fn sample() -> tempfile::TempDir {
    let models = tempfile::tempdir().unwrap();
    let place = models.path().join("fraud-xgb/1");
    std::fs::create_dir_all(&place).unwrap();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/fraud-xgb/1");
    for file in ["model.ubj", "signature.json"] {
        std::fs::copy(from.join(file), place.join(file)).unwrap();
    }
    models
}

/// The same of a revision with a profile: its rows are copied, put in a queue, taken out and counted.
fn watched(runtime: &Runtime, names: &[String]) {
    let models = sample();
    let columns: Vec<(String, Kind)> = names
        .iter()
        .map(|name| (name.clone(), Kind::Number))
        .collect();
    let profile = build::served(&columns, 20, 2000, |row, column| {
        build::Cell::Number(((row * 7919 + column * 31) % 2000) as f64)
    });
    let place = models.path().join("fraud-xgb/1/profile.json");
    std::fs::write(place, profile.json().unwrap()).unwrap();
    let running = start(runtime, models.path());
    let http = running.addresses.http;
    let path = "/v2/models/fraud-xgb/infer";
    let mut asked = 0;
    for (rows, budget) in [
        (
            1,
            Budget {
                allocations: 15,
                bytes: 12_000,
            },
        ),
        // 21 or 28 by the machine's load: the thread that counts may take one request at a time, or several.
        (
            64,
            Budget {
                allocations: 29,
                bytes: 64_000,
            },
        ),
    ] {
        let mut client = Http::new(http, path, "", &json(rows, names.len()));
        let what = format!("HTTP, JSON, {rows} rows, watched");
        check(&what, &budget, || client.ask());
        asked += (1 + 200 + REQUESTS) * rows as u64;
    }
    // Every row was.
    let drift = running.shared.drift.clone().unwrap();
    let report = || drift.report("fraud-xgb").unwrap();
    for _ in 0..1000 {
        if report().windows[1].rows == asked {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert_eq!(
        (report().windows[1].rows, report().skipped_rows),
        (asked, 0)
    );
    runtime.block_on(running.stop()).unwrap();
}
