//! The binary as a process of its own: one model's folder, and a signal while models load.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::copy_plain;

/// A server with HTTP on a Unix socket, killed when it is dropped.
struct Process {
    child: Child,
    socket: std::path::PathBuf,
}

impl Process {
    /// Serves `models`; the socket and the variables of this test alone.
    fn start(dir: &Path, models: &Path, more: &[&str], variables: &[(&str, &str)]) -> Process {
        let socket = dir.join("http.sock");
        let none = "127.0.0.1:0";
        let child = Command::new(env!("CARGO_BIN_EXE_hedgerow"))
            .arg("serve")
            .arg(models)
            .args(["--http", none, "--grpc", none, "--admin", none])
            .args(more)
            .env("HEDGEROW__SERVER__HTTP_UNIX", &socket)
            .env("HEDGEROW__SERVER__DRAIN_DELAY_MS", "0")
            .envs(variables.iter().copied())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Process { child, socket }
    }

    /// The answer's first line and body, once there is somebody to answer.
    fn get(&self, path: &str) -> String {
        for _ in 0..3000 {
            if let Ok(mut stream) = UnixStream::connect(&self.socket) {
                write!(
                    stream,
                    "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
                )
                .unwrap();
                let mut answer = String::new();
                stream.read_to_string(&mut answer).unwrap();
                return answer;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("nobody answers");
    }

    fn until(&self, path: &str, part: &str) -> String {
        let mut answer = String::new();
        for _ in 0..3000 {
            answer = self.get(path);
            if answer.contains(part) {
                return answer;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("{path}: {answer}");
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn ended(&mut self) -> ExitStatus {
        for _ in 0..3000 {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("it did not end");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _killed = self.child.kill();
        let _ended = self.child.wait();
    }
}

#[test]
fn a_signal_while_models_load_ends_the_server_in_order() {
    for signal in [Signal::TERM, Signal::INT] {
        let dir = tempfile::tempdir().unwrap();
        let models = dir.path().join("models");
        std::fs::create_dir_all(models.join("m")).unwrap();
        copy_plain("models/diabetes-lgbm/1", &models.join("m/1"));
        // A new folder has to hold still for an hour: the server stays at its start.
        let slow = [("HEDGEROW__MODELS__SETTLE_MS", "3600000")];
        let mut process = Process::start(dir.path(), &models, &[], &slow);
        let answer = process.get("/v2/health/ready");
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        process.signal(signal);
        let status = process.ended();
        assert_eq!(status.code(), Some(0), "{status}");
    }
}

#[test]
fn the_folder_of_one_model_or_of_one_slot_is_served_under_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let settled = [("HEDGEROW__MODELS__SETTLE_MS", "0")];
    // The files of one model, as KServe and SageMaker mount them, and folders of revisions.
    let (one, slot) = (dir.path().join("one"), dir.path().join("slot"));
    copy_plain("models/diabetes-lgbm/1", &one);
    std::fs::create_dir_all(&slot).unwrap();
    copy_plain("models/diabetes-lgbm/1", &slot.join("7"));
    for (models, revision) in [(&one, "1"), (&slot, "7")] {
        let mut process = Process::start(dir.path(), models, &["--slot", "sugar"], &settled);
        process.until("/v2/health/ready", "HTTP/1.1 200");
        let about = process.get("/v2/models/sugar");
        assert!(
            about.contains(&format!("\"versions\":[\"{revision}\"]")),
            "{about}"
        );
        assert!(process.get("/v2/models/one").starts_with("HTTP/1.1 404"));
        process.signal(Signal::TERM);
        assert_eq!(process.ended().code(), Some(0));
    }
    // A single model gives way to revisions that come, and nobody serves it as one of many.
    let process = Process::start(
        dir.path(),
        &one,
        &["--slot", "sugar"],
        &[
            ("HEDGEROW__MODELS__SETTLE_MS", "0"),
            ("HEDGEROW__MODELS__POLL_INTERVAL_MS", "20"),
        ],
    );
    process.until("/v2/models/sugar", "\"versions\":[\"1\"]");
    copy_plain("models/diabetes-lgbm/1", &one.join("2"));
    process.until("/v2/models/sugar", "\"versions\":[\"2\"]");
    drop(process);
    std::fs::remove_dir_all(one.join("2")).unwrap();
    let process = Process::start(dir.path(), &one, &[], &settled);
    process.until("/v2/health/ready", "HTTP/1.1 200");
    assert!(process.get("/v2/models/one").starts_with("HTTP/1.1 404"));
}
