//! A server in this process on free ports, and an engine that waits until it is told to go on.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Instant, SystemTime};

use hedgerow::app::{self, Running};
use hedgerow::config::Config;
use hedgerow::engine::{Engine, EngineError, Feature, Format, Libraries, Outline, Output};
use hedgerow::model::revision::{Cost, Revision};
use hedgerow::model::signature::Signature;
use hedgerow::tensor::{DType, Element, Rows};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The defaults on free ports, with this models folder, looking every 20 ms.
pub fn config(models: &Path) -> Config {
    let mut config = Config::default();
    let any = ([127, 0, 0, 1], 0).into();
    (config.api.http, config.api.grpc, config.api.admin) = (any, any, any);
    config.source.dir = models.to_path_buf();
    config.source.poll_interval_ms = 20;
    config.source.settle_ms = 0;
    config.revision.libraries = Libraries {
        dir: Path::new(env!("CARGO_MANIFEST_DIR")).join("native"),
    };
    config
}

/// A server that tried the models it was started with.
pub async fn start(config: Config) -> Running {
    let running = app::start(config).await.unwrap();
    running.started().await;
    running
}

/// A request over a connection of its own: status, headers with lower-case names, body.
pub async fn http(
    address: std::net::SocketAddr,
    request: &str,
    headers: &str,
    body: &[u8],
) -> (u16, BTreeMap<String, String>, String) {
    let (status, headers, body) = http_bytes(address, request, headers, body).await;
    (status, headers, String::from_utf8_lossy(&body).into_owned())
}

/// As [`http`], with the body as it came.
pub async fn http_bytes(
    address: std::net::SocketAddr,
    request: &str,
    headers: &str,
    body: &[u8],
) -> (u16, BTreeMap<String, String>, Vec<u8>) {
    let answer = try_http(address, request, headers, body).await;
    answer.unwrap()
}

/// As [`http_bytes`], of a server that may be gone: `None` when it does not answer.
pub async fn try_http(
    address: std::net::SocketAddr,
    request: &str,
    headers: &str,
    body: &[u8],
) -> Option<(u16, BTreeMap<String, String>, Vec<u8>)> {
    let mut stream = tokio::net::TcpStream::connect(address).await.ok()?;
    let head = format!(
        "{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.ok()?;
    // The server may answer before it has read everything.
    let _written = stream.write_all(body).await;
    let mut answer = Vec::new();
    let _read = stream.read_to_end(&mut answer).await;
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
    let (head, body) = answer.split_at(end.unwrap_or(answer.len()));
    let head = String::from_utf8_lossy(head);
    let mut lines = head.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_string()))
        .collect();
    Some((status, headers, body.get(4..).unwrap_or_default().to_vec()))
}

/// The next scripted revision's uid, far from those that the server gives.
static UIDS: AtomicU64 = AtomicU64::new(u64::MAX);

/// What a [`Gated`] engine is and says.
#[derive(Clone, Copy, Debug)]
pub struct Script {
    pub id: u64,
    /// Revisions with the same text are the same files.
    pub digest: &'static str,
    /// Names of its features, or one without a name.
    pub features: &'static [&'static str],
    pub element: Element,
    /// What it says that a row costs: too much to be run inline.
    pub row_ns: u64,
    /// Says what a row's score is; `None` fails the call.
    pub answer: fn(&[f64]) -> Option<f64>,
}

impl Script {
    /// One feature without a name, and this answer.
    pub fn new(id: u64, digest: &'static str, answer: fn(&[f64]) -> Option<f64>) -> Script {
        Script {
            id,
            digest,
            features: &[],
            element: Element::F64,
            row_ns: 1_000_000,
            answer,
        }
    }
}

/// An engine that answers by its script. While its gate is closed, it waits.
#[derive(Debug)]
pub struct Gated {
    outline: Outline,
    answer: fn(&[f64]) -> Option<f64>,
    pub gate: Arc<Gate>,
}

/// A gate that engines wait at.
#[derive(Debug, Default)]
pub struct Gate {
    closed: Mutex<bool>,
    moved: Condvar,
    /// Calls that came to the gate.
    arrived: Mutex<usize>,
}

impl Gate {
    pub fn close(&self) {
        *self.closed.lock().unwrap() = true;
    }

    pub fn open(&self) {
        *self.closed.lock().unwrap() = false;
        self.moved.notify_all();
    }

    pub fn arrived(&self) -> usize {
        *self.arrived.lock().unwrap()
    }

    fn pass(&self) {
        *self.arrived.lock().unwrap() += 1;
        let mut closed = self.closed.lock().unwrap();
        while *closed {
            closed = self.moved.wait(closed).unwrap();
        }
    }
}

impl Engine for Gated {
    fn outline(&self) -> &Outline {
        &self.outline
    }

    fn predict(&self, rows: &Rows, out: &mut [f64]) -> Result<(), EngineError> {
        self.gate.pass();
        let (rows, width) = match rows {
            Rows::F64(rows) => (rows.values().to_vec(), rows.width()),
            Rows::F32(rows) => {
                let values = rows.values().iter().copied().map(f64::from);
                (values.collect(), rows.width())
            }
        };
        for (row, out) in rows.chunks_exact(width).zip(out) {
            let answer = (self.answer)(row);
            *out = answer.ok_or_else(|| EngineError::Failed("on purpose".to_string()))?;
        }
        Ok(())
    }

    fn memory_bytes(&self) -> usize {
        0
    }
}

/// A revision of one feature that answers its value, fails on -1 and panics on -2.
pub fn gated(slot: &str, id: u64) -> (Arc<Revision>, Arc<Gate>) {
    let answer = |row: &[f64]| {
        assert!(row[0] != -2.0, "on purpose");
        (row[0] != -1.0).then_some(row[0])
    };
    let script = Script {
        row_ns: 1_000_000_000,
        ..Script::new(id, "", answer)
    };
    scripted(slot, script)
}

/// A revision with a [`Gated`] engine that is never run inline.
pub fn scripted(slot: &str, script: Script) -> (Arc<Revision>, Arc<Gate>) {
    let named = |name: &&str| Feature {
        name: Some((*name).to_string()),
        ..Feature::default()
    };
    let features = match script.features {
        [] => vec![Feature::default()],
        names => names.iter().map(named).collect(),
    };
    let outline = Outline {
        engine: "gated",
        format: Format::Onnx,
        element: script.element,
        features,
        outputs: vec![Output {
            name: "predict".to_string(),
            dtype: DType::Fp64,
            columns: None,
            offset: 0,
            labels: Vec::new(),
            default: true,
        }],
        objective: String::new(),
        trees: None,
        library_version: None,
        refused_by_forest: None,
    };
    let gate = Arc::new(Gate::default());
    let revision = Revision {
        slot: slot.to_string(),
        id: script.id,
        uid: UIDS.fetch_sub(1, Ordering::Relaxed),
        signature: Signature::new(&outline, None).unwrap(),
        engine: Box::new(Gated {
            outline,
            answer: script.answer,
            gate: Arc::clone(&gate),
        }),
        digest: script.digest.to_string(),
        cost: Cost {
            row_ns: script.row_ns,
            batch_row_ns: script.row_ns,
        },
        reference: hedgerow::model::revision::Reference::None,
        golden_rows: 0,
        verified_rows: 0,
        prepared_at: SystemTime::now(),
        usage: Default::default(),
        rules: Default::default(),
    };
    (Arc::new(revision), gate)
}

/// Adds a slot with a gated revision to a running server.
pub fn add_gated(running: &Running, slot: &str) -> Arc<Gate> {
    let (revision, gate) = gated(slot, 1);
    let slot = running.shared.server.registry.insert(slot);
    slot.commit(revision, Instant::now());
    gate
}

/// Adds a slot with a scripted champion to a running server.
pub fn add_scripted(running: &Running, slot: &str, script: Script) -> Arc<Gate> {
    let (revision, gate) = scripted(slot, script);
    let slot = running.shared.server.registry.insert(slot);
    slot.commit(revision, Instant::now());
    gate
}

/// Puts a scripted challenger on trial in a slot of a running server.
pub fn enlist(running: &Running, slot: &str, script: Script) -> Arc<Gate> {
    let (revision, gate) = scripted(slot, script);
    let slot = running.shared.server.registry.slot(slot).unwrap();
    slot.enlist(revision, 2);
    gate
}

/// Copies a revision's folder from the repository to its place, by a rename as the last step.
pub fn copy(from: &str, to: &Path) {
    copy_if(from, to, |_| true);
}

/// The same without the profile of its training data: nobody watches it, and it implies no rules.
pub fn copy_plain(from: &str, to: &Path) {
    copy_if(from, to, |file| file != "profile.json");
}

fn copy_if(from: &str, to: &Path, wanted: impl Fn(&OsStr) -> bool) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join(from);
    let aside = to.with_extension("part");
    std::fs::create_dir_all(&aside).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_name().unwrap();
        if wanted(file) {
            std::fs::copy(&path, aside.join(file)).unwrap();
        }
    }
    std::fs::rename(aside, to).unwrap();
}

/// Waits until a condition holds, for at most half a minute.
pub async fn until(mut condition: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if condition() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("it did not happen within 30 s");
}
