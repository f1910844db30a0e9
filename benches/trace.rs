//! What tracing costs a request on the thread that serves it. `make bench-trace`. `off` is a server
//! without a receiver; `unsampled` is one with a receiver and a request that the ratio or its caller
//! leaves out; `sampled` notes all four steps and goes into the queue, whose other end sends real
//! spans to a receiver here.

#![expect(
    clippy::unwrap_used,
    reason = "a bench that cannot start says why and measures nothing"
)]

use std::hint::black_box;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use hedgerow::model::usage::Dispatch;
use hedgerow::task::{Priority, Supervisor};
use hedgerow::telemetry::trace::{
    Call, Context, End, EngineCall, Facts, Protocol, Settings, Tracer, Value,
};

/// Requests between two looks at the queue: they fit it.
const CHUNK: u64 = 1024;

const HEADER: &[u8] = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Takes one export of a connection.
fn take(listener: &TcpListener) -> Result<()> {
    let (mut stream, _) = listener.accept()?;
    let mut bytes = Vec::new();
    let mut part = vec![0; 1 << 16];
    let mut wanted = usize::MAX;
    while bytes.len() < wanted {
        let count = stream.read(&mut part)?;
        bytes.extend_from_slice(part.get(..count).unwrap_or_default());
        if wanted == usize::MAX
            && let Some(end) = bytes.windows(4).position(|it| it == b"\r\n\r\n")
        {
            let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
            let length = head.split("content-length: ").nth(1).unwrap_or_default();
            wanted = end + 4 + length.lines().next().unwrap_or_default().parse::<usize>()?;
        }
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")?;
    Ok(())
}

/// A tracer that sends to a receiver in this process.
fn tracer(ratio: f64, supervisor: &Supervisor) -> Result<Option<Tracer>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let endpoint = format!("http://{}", listener.local_addr()?);
    supervisor.thread("receiver", Priority::Normal, move || {
        // Until the process ends.
        while take(&listener).is_ok() {}
    })?;
    let settings = Settings {
        endpoint,
        protocol: Some(Protocol::Http),
        sample_ratio: ratio,
        queue_max: 2 * CHUNK as usize,
        batch_ms: 1,
        ..Settings::default()
    };
    Ok(Tracer::start(settings, supervisor)?)
}

/// A request as the server notes it.
fn request(tracer: Option<&Tracer>, header: Option<&[u8]>, received: Instant) -> bool {
    let Some(tracer) = tracer else { return false };
    let parent = header.and_then(Context::parse);
    let open = tracer.begin(received, parent, || {
        let text = |text: &'static str| Value::Text(text.to_string().into());
        let call = Call {
            name: "POST /v2/models/{model}/infer".to_string().into(),
            attributes: vec![
                ("http.request.method", text("POST")),
                ("url.scheme", Value::Text("http".into())),
                ("url.path", text("/v2/models/fraud/infer")),
                ("network.protocol.version", Value::Text("1.1".into())),
                ("http.route", Value::Text("/v2/models/{model}/infer".into())),
                ("user_agent.original", text("bench")),
            ],
        };
        (call, String::new())
    });
    let Some(open) = open else { return false };
    let trace = open.trace();
    trace.decoded(received);
    trace.queued(received);
    trace.computed(&EngineCall {
        start: received,
        took: Duration::from_micros(10),
        rows: 1,
        dispatch: Dispatch::Inline,
    });
    trace.answered(Facts {
        slot: "fraud".to_string(),
        revision: 1,
        rows: 1,
        prediction: None,
        computed: Some(received),
    });
    black_box(trace.context.write());
    open.end(End {
        attributes: vec![("http.response.status_code", Value::Number(200))],
        ..End::default()
    });
    true
}

fn sent(tracer: &Tracer) -> u64 {
    let counts = tracer.counts();
    counts.exported + counts.dropped + counts.failed
}

fn all(criterion: &mut Criterion) {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(1).enable_all().build().unwrap();
    // The exporter waits by its clock.
    let _entered = runtime.enter();
    let supervisor = Supervisor::default();
    let start = |ratio| tracer(ratio, &supervisor).unwrap().unwrap();
    let (some, every) = (start(0.01), start(1.0));
    let mut group = criterion.benchmark_group("trace");
    group.bench_function("off", |bench| {
        bench.iter(|| black_box(request(black_box(None), None, Instant::now())));
    });
    group.bench_function("unsampled, ratio 0.01", |bench| {
        // One in a hundred is sampled, and part of the mean.
        bench.iter(|| black_box(request(black_box(Some(&some)), None, Instant::now())));
    });
    group.bench_function("unsampled, by its caller", |bench| {
        bench.iter(|| {
            black_box(request(
                black_box(Some(&every)),
                Some(HEADER),
                Instant::now(),
            ))
        });
    });
    group.bench_function("sampled", |bench| {
        bench.iter_custom(|count| {
            let mut took = Duration::ZERO;
            let mut left = count;
            while left > 0 {
                let chunk = left.min(CHUNK);
                let before = sent(&every);
                let begin = Instant::now();
                for _ in 0..chunk {
                    black_box(request(Some(&every), None, Instant::now()));
                }
                took += begin.elapsed();
                // What is sent meanwhile is not the request's.
                while sent(&every) < before + chunk {
                    std::thread::sleep(Duration::from_micros(100));
                }
                left -= chunk;
            }
            took
        });
    });
    group.finish();
    supervisor.stop();
}

criterion_group!(benches, all);
criterion_main!(benches);
