//! Requests to a real server in this process that serves the sample models: whatever a client sends, it
//! answers in time, is never at fault itself, and no thread of it panics.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use hedgerow::app::{self, Running};
use hedgerow::config::Config;
use hedgerow::engine::Libraries;
use tokio::runtime::Runtime;

/// Seconds after which a request that was not answered counts as hanging; the fuzzer gives up later.
const LIMIT_S: u64 = 8;
/// Bytes of a request's body at the most.
const BODY_MAX: usize = 1 << 16;
/// Headers that say how a request is framed or who answers it: the harness writes these.
const FRAMING: [&str; 8] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "upgrade",
    "expect",
    "te",
    "trailer",
];
/// What the gRPC target calls; the input's first byte chooses.
const METHODS: [&str; 13] = [
    "inference.GRPCInferenceService/ModelInfer",
    "hedgerow.v1.Feedback/Label",
    "inference.GRPCInferenceService/ModelMetadata",
    "inference.GRPCInferenceService/ModelReady",
    "inference.GRPCInferenceService/ModelConfig",
    "inference.GRPCInferenceService/ModelStatistics",
    "inference.GRPCInferenceService/RepositoryIndex",
    "inference.GRPCInferenceService/RepositoryModelLoad",
    "inference.GRPCInferenceService/ServerMetadata",
    "hedgerow.v1.Rollout/Status",
    "hedgerow.v1.Rollout/Decisions",
    "grpc.health.v1.Health/Check",
    "inference.GRPCInferenceService/NoSuchMethod",
];

/// The server and its runtime, for as long as the process lives.
struct Served {
    runtime: Runtime,
    running: Running,
}

/// A connection over which one request follows the other.
static LINE: Mutex<Option<BufReader<TcpStream>>> = Mutex::new(None);
/// The same of gRPC.
static CHANNEL: Mutex<Option<h2::client::SendRequest<bytes::Bytes>>> = Mutex::new(None);

fn served() -> &'static Served {
    static SERVED: OnceLock<Served> = OnceLock::new();
    SERVED.get_or_init(|| {
        let runtime = Runtime::new().expect("a runtime");
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let dir = here.join("artifacts/served");
        // What the last run left.
        let _gone = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).expect("a folder");
        let mut config = Config::default();
        let any = ([127, 0, 0, 1], 0).into();
        (config.api.http, config.api.grpc, config.api.admin) = (any, any, any);
        config.api.workers = 1;
        config.api.body_bytes_max = BODY_MAX;
        config.api.request_timeout_ms = 2_000;
        config.source.dir = here.join("../models");
        config.source.settle_ms = 0;
        // The engines of others are not what is fuzzed.
        config.revision.libraries = Libraries { dir: dir.clone() };
        config.journal.store = dir.display().to_string();
        let running = runtime
            .block_on(async {
                let running = app::start(config).await?;
                running.started().await;
                Ok::<_, String>(running)
            })
            .expect("a server");
        Served { runtime, running }
    })
}

/// Sends a request over HTTP. The input reads as a request does: `METHOD PATH`, headers a line each, an
/// empty line, the body; its length is added.
///
/// # Panics
/// When the server does not answer, or answers 500.
pub fn http(input: &[u8]) {
    let Some(request) = request(input) else {
        return;
    };
    let mut line = LINE.lock().expect("one thread");
    // The server may have closed the last connection meanwhile; a new one must do.
    let kept = line.take().and_then(|kept| exchange(kept, &request));
    let answered = kept.or_else(|| {
        let address = served().running.addresses.http;
        let stream = TcpStream::connect(address).expect("the server takes connections");
        stream.set_nodelay(true).expect("a socket");
        let limit = Some(Duration::from_secs(LIMIT_S));
        stream.set_read_timeout(limit).expect("a socket");
        exchange(BufReader::new(stream), &request)
    });
    let (stream, status, body) = answered.expect("an answer");
    assert_ne!(status, 500, "{}", String::from_utf8_lossy(&body));
    assert!((200..600).contains(&status), "status {status}");
    *line = stream;
}

/// The request in HTTP/1.1; `None` when it is none.
fn request(input: &[u8]) -> Option<Vec<u8>> {
    let end = input.windows(2).position(|two| two == b"\n\n")?;
    let head = std::str::from_utf8(&input[..end]).ok()?;
    let body = &input[end + 2..];
    if body.len() > 2 * BODY_MAX || head.len() > 4096 {
        return None;
    }
    let mut lines = head.split('\n');
    let (method, path) = lines.next()?.split_once(' ')?;
    // An answer to HEAD has a length and no body.
    let is_method = (1..10).contains(&method.len())
        && method.bytes().all(|byte| byte.is_ascii_uppercase())
        && !["HEAD", "CONNECT"].contains(&method);
    let is_path = path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_method || !is_path {
        return None;
    }
    let mut request = format!("{method} {path} HTTP/1.1\r\nhost: fuzz\r\n");
    for header in lines {
        let (name, value) = header.split_once(": ")?;
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        let is_value = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
        if name.is_empty()
            || !name.bytes().all(is_name)
            || !value.bytes().all(is_value)
            || FRAMING.contains(&name.to_ascii_lowercase().as_str())
        {
            return None;
        }
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
    let mut request = request.into_bytes();
    request.extend(body);
    Some(request)
}

type Answer = (Option<BufReader<TcpStream>>, u16, Vec<u8>);

/// The connection if it stays open, status and body; `None` when the server closed it.
fn exchange(mut stream: BufReader<TcpStream>, request: &[u8]) -> Option<Answer> {
    // The server may answer before it has read everything.
    let _written = stream.get_mut().write_all(request);
    let mut line = String::new();
    let mut read = |stream: &mut BufReader<TcpStream>| {
        line.clear();
        match stream.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(line.trim_end().to_ascii_lowercase()),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                panic!("no answer within {LIMIT_S} s")
            }
            Err(_closed) => None,
        }
    };
    let status = read(&mut stream)?.split(' ').nth(1)?.parse().ok()?;
    let (mut length, mut stays) = (0, true);
    loop {
        let header = read(&mut stream)?;
        if header.is_empty() {
            break;
        }
        match header.split_once(": ") {
            Some(("content-length", value)) => length = value.parse().expect("a length"),
            Some(("connection", "close")) => stays = false,
            Some(("transfer-encoding", value)) => panic!("{value}: answers have a length"),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some((stays.then_some(stream), status, body))
}

/// Sends a call over gRPC: the first byte chooses the method, the second whether the message is said to
/// be compressed, the rest is the message.
///
/// # Panics
/// When the server does not answer, or says that it is at fault itself.
pub fn grpc(input: &[u8]) {
    let [method, packed, message @ ..] = input else {
        return;
    };
    let method = METHODS[usize::from(*method) % METHODS.len()];
    let packed = packed & 1;
    let mut body = vec![packed];
    body.extend((message.len() as u32).to_be_bytes());
    body.extend(message);
    let served = served();
    let limit = Duration::from_secs(LIMIT_S);
    let call = async {
        tokio::time::timeout(limit, call(method, packed == 1, body.into()))
            .await
            .unwrap_or_else(|_elapsed| panic!("no answer within {LIMIT_S} s"))
    };
    let status = served.runtime.block_on(call);
    let (code, message) = status.unwrap_or_else(|error| panic!("{method}: {error}"));
    // UNKNOWN, INTERNAL and DATA_LOSS say that the server failed.
    assert!(!["2", "13", "15"].contains(&code.as_str()), "{method}: {code} {message}");
}

/// The status of a call, and its message.
async fn call(
    method: &str,
    packed: bool,
    body: bytes::Bytes,
) -> Result<(String, String), h2::Error> {
    let kept = CHANNEL.lock().expect("one thread").take();
    let mut channel = match kept {
        Some(channel) => channel.ready().await?,
        None => {
            let address = served().running.addresses.grpc;
            let stream = tokio::net::TcpStream::connect(address).await;
            let stream = stream.expect("the server takes connections");
            let (channel, connection) = h2::client::handshake(stream).await?;
            tokio::spawn(connection);
            channel.ready().await?
        }
    };
    let mut request = http::Request::post(format!("http://fuzz/{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    if packed {
        request = request.header("grpc-encoding", "gzip");
    }
    let request = request.body(()).expect("a request");
    let (answer, mut sending) = channel.send_request(request, false)?;
    // The server may answer before it has read everything.
    let _sent = sending.send_data(body, true);
    let (head, mut stream) = answer.await?.into_parts();
    while let Some(data) = stream.data().await {
        let data = data?;
        stream.flow_control().release_capacity(data.len())?;
    }
    let trailers = stream.trailers().await?;
    *CHANNEL.lock().expect("one thread") = Some(channel);
    let of = |name: &str| {
        let value = trailers.as_ref().and_then(|it| it.get(name));
        let value = value.or_else(|| head.headers.get(name));
        value.map(|it| String::from_utf8_lossy(it.as_bytes()).into_owned())
    };
    let code = of("grpc-status").unwrap_or_else(|| panic!("{method}: no status"));
    Ok((code, of("grpc-message").unwrap_or_default()))
}
