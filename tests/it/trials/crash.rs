//! The binary as a process of its own, killed without a warning.
#![expect(
    clippy::disallowed_methods,
    reason = "concurrent callers are the test's own tasks, not the server's"
)]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use hedgerow::journal::{self, store};
use uuid::Uuid;

use super::*;
use crate::support::{copy, try_http};

/// A server in a process of its own, killed when it is dropped.
pub struct Process {
    child: Child,
    pub models: Arc<TempDir>,
    store: String,
    http: SocketAddr,
    admin: SocketAddr,
}

/// Puts a revision of the fraud models into a models folder.
pub fn copy_to(models: &Path, revision: u64) {
    let from = format!("examples/fraud-stream/models/fraud/{revision}");
    copy(&from, &models.join(format!("fraud/{revision}")));
}

impl Process {
    /// A server with an empty models folder and this store.
    pub async fn start(store: &str) -> Process {
        Process::run(Arc::new(tempfile::tempdir().unwrap()), store).await
    }

    async fn run(models: Arc<TempDir>, store: &str) -> Process {
        let text = format!(
            "[server]\nhttp = \"127.0.0.1:0\"\ngrpc = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n\
             [models]\ndir = \"{}\"\npoll_interval_ms = 20\nsettle_ms = 0\n\
             [journal]\nstore = \"{store}\"\nflush_ms = 5\nrows_per_second_max = 100000\n\
             [rollout]\non_arrival = \"shadow\"\n",
            models.path().display()
        );
        let file = models.path().join(".hedgerow.toml");
        std::fs::write(&file, text).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_hedgerow"))
            .args(["serve", "--config"])
            .arg(&file)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let out = child.stdout.take().unwrap();
        let read = tokio::task::spawn_blocking(move || addresses(BufReader::new(out)));
        let (http, admin) = read.await.unwrap();
        Process {
            child,
            models,
            store: store.to_string(),
            http,
            admin,
        }
    }

    pub fn copy(&self, revision: u64) {
        copy_to(self.models.path(), revision);
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// The same after it was killed, with what it left behind.
    async fn again(mut self) -> Process {
        self.kill();
        Process::run(Arc::clone(&self.models), &self.store.clone()).await
    }

    /// Waits until something holds of the slot's report.
    pub async fn until_slot(&self, condition: impl Fn(&Value) -> bool) -> Value {
        self.until("GET /v1/slots/fraud", condition).await
    }

    async fn until(&self, request: &str, condition: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        for _ in 0..1500 {
            last = call(self.admin, request, &Value::Null).await.1;
            if condition(&last) {
                return last;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        panic!("it did not happen within 30 s: {last:#}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _killed = self.child.kill();
        let _ended = self.child.wait();
    }
}

/// The addresses of HTTP and admin, from the page that a starting server prints.
fn addresses(mut out: impl BufRead) -> (SocketAddr, SocketAddr) {
    let mut page = String::new();
    loop {
        let after = |word: &str| {
            let (_, rest) = page.split_once(word)?;
            let (_, rest) = rest.split_once("http://")?;
            rest.split_whitespace().next()?.parse().ok()
        };
        if let (Some(http), Some(admin)) = (after("HTTP"), after("admin")) {
            return (http, admin);
        }
        assert!(out.read_line(&mut page).unwrap() > 0, "{page}");
    }
}

/// One prediction and the label of the one before: the prediction's id; `None` once nobody answers.
async fn step(address: SocketAddr, before: Option<Uuid>) -> Option<Uuid> {
    let body = br#"{"instances": [[120, 1, 0.2, 0, 12, 4000, 0, 1, 90, 0, 3, 1, 0, 60]]}"#;
    let (_, _, answer) = try_http(address, "POST /v1/models/fraud:predict", "", body).await?;
    let answer: Value = serde_json::from_slice(&answer).ok()?;
    let id = answer["prediction_id"].as_str()?.parse().ok()?;
    if let Some(before) = before {
        let label = json!({"prediction_id": before.to_string(), "value": false}).to_string();
        try_http(address, "POST /v1/feedback", "", label.as_bytes()).await?;
    }
    Some(id)
}

/// The predictions in a store.
fn kept(store: &str) -> BTreeSet<Uuid> {
    let mut store = journal::open(store).unwrap();
    let rows = store.query("PRAGMA integrity_check", &[]).unwrap();
    assert_eq!(rows[0].0, [store::Value::Text("ok".to_string())]);
    let rows = store.query("SELECT id FROM prediction", &[]).unwrap();
    rows.iter().map(|row| row.id(0).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_in_the_middle_roles_predictions_and_decisions_are_there() {
    let data = tempfile::tempdir().unwrap();
    let path = data.path().join("journal").display().to_string();
    let mut server = Process::start(&path).await;
    server.copy(1);
    server
        .until_slot(|it| it["champion"]["revision"] == 1)
        .await;
    server.copy(2);
    server
        .until_slot(|it| it["challengers"][0]["revision"] == 2)
        .await;
    for (word, body) in [
        ("promote", json!({"force": true})),
        ("rollback", Value::Null),
    ] {
        let request = format!("POST /v1/slots/fraud/{word}");
        let (status, done) = call(server.admin, &request, &body).await;
        assert_eq!(status, 200, "{done}");
    }

    // What was written before the kill was asked for; then more, of which the end may be lost.
    let mut written = BTreeSet::new();
    let mut last = None;
    for _ in 0..100 {
        last = step(server.http, last).await;
        written.insert(last.unwrap());
    }
    server
        .until("GET /health", |it| it["journal"]["queued_rows"] == 0)
        .await;
    let after = Arc::new(Mutex::new(Vec::new()));
    let flows: Vec<_> = (0..4)
        .map(|_| {
            let (http, after) = (server.http, Arc::clone(&after));
            tokio::spawn(async move {
                let mut last = None;
                while let Some(id) = step(http, last).await {
                    after.lock().unwrap().push(id);
                    last = Some(id);
                }
            })
        })
        .collect();
    until(|| after.lock().unwrap().len() >= 200).await;
    server.kill();
    for flow in flows {
        flow.await.unwrap();
    }
    let kept_then = kept(&path);
    let lost = written.difference(&kept_then).count();
    assert_eq!(lost, 0, "of {}", written.len());
    let answered = after.lock().unwrap().clone();
    let survived = answered.iter().filter(|id| kept_then.contains(*id)).count();
    // Predictions of a process in order: what is lost is the end.
    assert!(survived > 0, "none of {}", answered.len());

    let server = server.again().await;
    let report = server
        .until_slot(|it| it["champion"]["resident"] == true && it["leader"] == true)
        .await;
    assert_eq!(report["champion"]["revision"], 1);
    assert_eq!(report["challengers"], json!([]));
    assert_eq!(report["dismissed"][0]["revision"], 2);
    let answer = call(server.admin, "GET /v1/slots/fraud/decisions", &Value::Null)
        .await
        .1;
    let names = answer["decisions"].as_array().unwrap().iter();
    let names: Vec<&Value> = names.map(|it| &it["record"]["decision"]).collect();
    assert_eq!(names, ["begin", "shadow", "promote", "rollback"]);
    let label = |id: &Uuid| json!({"prediction_id": id.to_string(), "value": true});
    let all: Vec<Value> = written.iter().map(label).collect();
    let sent = Value::from(all);
    let (status, answer) = call(server.http, "POST /v1/feedback", &sent).await;
    assert_eq!(
        (status, &answer["counts"]["joined"]),
        (200, &json!(written.len())),
        "{}",
        answer["counts"]
    );
    assert!(step(server.http, None).await.is_some());
}
