//! The server as a child process with a sample model, and clients that behave.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::copy_plain;

pub struct Server {
    child: Child,
    models: TempDir,
    pub http: SocketAddr,
    pub grpc: SocketAddr,
    pub admin: SocketAddr,
    /// A V1 request of one row.
    row: String,
}

impl Server {
    /// Starts it with these keys of `[server]`.
    pub fn start(keys: &str) -> Server {
        Server::with_files(keys, None)
    }

    /// The same with a limit on open files.
    pub fn with_files(keys: &str, files: Option<usize>) -> Server {
        let models = tempfile::tempdir().unwrap();
        std::fs::create_dir(models.path().join("fraud")).unwrap();
        copy_plain("models/fraud-xgb/1", &models.path().join("fraud/1"));
        let text = format!(
            "[server]\nhttp = \"127.0.0.1:0\"\ngrpc = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n{keys}\n\
             [models]\ndir = \"{}\"\npoll_interval_ms = 20\nsettle_ms = 0\n",
            models.path().display()
        );
        let file = models.path().join(".hedgerow.toml");
        std::fs::write(&file, text).unwrap();
        let limit = files.map_or(String::new(), |files| format!("ulimit -n {files};"));
        let mut child = Command::new("sh")
            .args(["-c", &format!("{limit} exec \"$0\" serve --config \"$1\"")])
            .arg(env!("CARGO_BIN_EXE_hedgerow"))
            .arg(&file)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut after = |mark: &str| -> String {
            let found = lines.find_map(|line| Some(line.unwrap().split_once(mark)?.1.to_string()));
            found.unwrap_or_else(|| panic!("no {mark}"))
        };
        let http = after("HTTP   http://").parse().unwrap();
        let grpc = after("gRPC   ").parse().unwrap();
        let admin = after("admin  http://");
        let row = after("-d '");
        Server {
            child,
            models,
            http,
            grpc,
            admin: admin.split(' ').next().unwrap().parse().unwrap(),
            row: row.trim_end_matches('\'').to_string(),
        }
    }

    /// Both public addresses.
    pub fn both(&self) -> [SocketAddr; 2] {
        [self.http, self.grpc]
    }

    /// A V1 request of so many rows.
    pub fn rows(&self, count: usize) -> String {
        let row = self.row.trim_start_matches("{\"instances\":[");
        let row = row.trim_end_matches("]}");
        format!("{{\"instances\":[{}]}}", vec![row; count].join(","))
    }

    /// The whole request over HTTP/1 with this body.
    pub fn predict(&self, body: &str) -> Vec<u8> {
        let length = body.len();
        let head = "POST /v1/models/fraud:predict HTTP/1.1\r\nhost: x\r\n";
        format!("{head}content-length: {length}\r\n\r\n{body}").into_bytes()
    }

    /// A client that behaves gets its prediction.
    pub fn answers(&self) {
        let mut stream = connect(self.http);
        stream.write_all(&self.predict(&self.rows(1))).unwrap();
        assert_eq!(status(&mut stream), 200);
    }

    /// A new revision is loaded, which takes files.
    pub fn loads(&self) {
        copy_plain("models/fraud-xgb/1", &self.models.path().join("fraud/2"));
        self.until("revision 2", || self.metrics().contains("revision=\"2\""));
    }

    /// An operator's page.
    pub fn metrics(&self) -> String {
        let mut stream = connect(self.admin);
        let request = "GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).unwrap();
        page
    }

    /// How many requests were refused for what they are before their slot was known. gRPC's code is in a
    /// compressed head; the counts tell it.
    pub fn rejected(&self, protocol: &str) -> f64 {
        let page = self.metrics();
        let labels = [
            "slot=\"\"",
            "outcome=\"rejected\"",
            &format!("protocol=\"{protocol}\""),
        ];
        let line = page.lines().find(|line| {
            line.starts_with("hedgerow_request_duration_seconds_count{")
                && labels.iter().all(|it| line.contains(it))
        });
        line.map_or(0.0, |it| it.rsplit(' ').next().unwrap().parse().unwrap())
    }

    /// The value of a series.
    pub fn metric(&self, series: &str) -> f64 {
        let page = self.metrics();
        let line = page.lines().find(|line| line.starts_with(series));
        let line = line.unwrap_or_else(|| panic!("no {series} in {page}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    /// How many connections were closed for this reason.
    pub fn closed(&self, reason: &str) -> f64 {
        self.metric(&format!(
            "hedgerow_connections_closed_total{{reason=\"{reason}\"}}"
        ))
    }

    pub fn connections(&self) -> f64 {
        self.metric("hedgerow_connections{}")
    }

    /// MiB that the process took at the most.
    pub fn memory(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let text = std::fs::read_to_string(path).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.unwrap().trim().trim_end_matches(" kB");
        kib.parse::<u64>().unwrap() / 1024
    }

    /// Asks it to stop.
    pub fn terminate(&self) {
        let id = self.child.id().to_string();
        let status = Command::new("kill").args(["-TERM", &id]).status();
        assert!(status.unwrap().success());
    }

    /// How it ended.
    pub fn ended(mut self) -> bool {
        self.child.wait().unwrap().success()
    }

    /// Waits until something holds, half a minute at the most.
    pub fn until(&self, what: &str, condition: impl Fn() -> bool) {
        let end = Instant::now() + Duration::from_secs(30);
        while !condition() {
            assert!(Instant::now() < end, "{what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// All is as before: clients are answered, and no connection is left.
    pub fn recovers(&self) {
        self.until("no connection is left", || self.connections() == 0.0);
        self.answers();
        self.until("that one is gone", || self.connections() == 0.0);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _killed = self.child.kill();
        let _status = self.child.wait();
    }
}

/// A connection on which nothing takes for ever.
pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    let limit = Some(Duration::from_secs(20));
    stream.set_read_timeout(limit).unwrap();
    stream.set_write_timeout(limit).unwrap();
    stream
}

/// The status of the next answer; 0 when the connection ends instead.
pub fn status(stream: &mut TcpStream) -> u16 {
    let mut head = [0; 12];
    match stream.read_exact(&mut head) {
        Ok(()) => String::from_utf8_lossy(&head[9..]).parse().unwrap(),
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("no answer"),
        Err(_ended) => 0,
    }
}

/// Reads until the server ends the connection, and says what came.
pub fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
            panic!("the connection is still open")
        }
        // A reset is an end as well.
        _ => bytes,
    }
}
