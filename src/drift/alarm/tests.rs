//! Every target against a server of this process that answers as it is told, over real sockets. What
//! the cases share is here.

mod airflow;
mod courier;
mod prefect;
mod webhook;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::scope;

use serde_json::Value;

use super::{Alarm, Drifted, Secret, Settings, Url, Webhook};

pub fn alarm() -> Alarm {
    let feature = |name: &str, psi, reason: &str| Drifted {
        name: name.to_string(),
        psi,
        threshold: 0.25,
        reason: reason.to_string(),
    };
    Alarm {
        id: "fraud-f02b95ed-3-0123456789abcdef-1800000000000".to_string(),
        slot: "fraud".to_string(),
        revision: 3,
        mark: "0123456789abcdef".to_string(),
        at_ms: 1_800_000_000_000,
        window_ms: 60_000,
        windows: 3,
        rows: 5_000,
        features: vec![
            feature("amount", 0.41, "psi"),
            feature("country", 0.1, "unseen"),
        ],
    }
}

/// An alarm with another id.
fn other_alarm(number: usize) -> Alarm {
    Alarm {
        id: format!("other-{number}"),
        ..alarm()
    }
}

pub fn webhook(url: &str, token: Option<&str>) -> Webhook {
    Webhook {
        url: Url::parse(url).unwrap(),
        token: token.map(|token| Secret::parse(token).unwrap()),
    }
}

/// A webhook only.
pub fn settings_of(webhook: Webhook) -> Settings {
    Settings {
        webhook: Some(webhook),
        ..Settings::default()
    }
}

/// With pauses of a millisecond.
fn eager(settings: Settings) -> Settings {
    Settings {
        pause_first_ms: 1,
        pause_last_ms: 1,
        ..settings
    }
}

/// What the server got.
#[derive(Clone, Debug, Default)]
struct Request {
    /// Method and path.
    line: String,
    /// Lower case, one per line.
    head: String,
    body: String,
}

impl Request {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    fn has(&self, header: &str) -> bool {
        self.head.lines().any(|line| line == header)
    }
}

/// What the server does with a request.
enum Reply {
    /// Status, more headers (each with its line end), body.
    Says(u16, &'static str, String),
    /// Bytes that are no HTTP.
    Garbage,
    /// A head, and a body that never ends.
    Endless(u16),
    /// Nothing until the client goes.
    Hangs,
}

fn says(status: u16, body: impl ToString) -> Reply {
    Reply::Says(status, "", body.to_string())
}

/// Runs `ask` with the address of a server that answers with `reply`, which gets the requests so far,
/// the new one last. Gives what `ask` gave and all requests.
fn with_server<T>(
    reply: impl Fn(&[Request]) -> Reply + Sync,
    ask: impl FnOnce(&str) -> T,
) -> (T, Vec<Request>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let requests = Mutex::new(Vec::new());
    let ended = AtomicBool::new(false);
    let result = scope(|scope| {
        scope.spawn(|| {
            for stream in listener.incoming() {
                if ended.load(Ordering::Acquire) {
                    return;
                }
                let (stream, requests, reply) = (stream.unwrap(), &requests, &reply);
                scope.spawn(move || serve(stream, requests, reply));
            }
        });
        let _end = End(&ended, address);
        ask(&format!("http://{address}"))
    });
    (result, requests.into_inner().unwrap())
}

/// Ends the server, also when a test fails.
struct End<'a>(&'a AtomicBool, SocketAddr);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
        let _woken = TcpStream::connect(self.1);
    }
}

fn serve(
    mut stream: TcpStream,
    requests: &Mutex<Vec<Request>>,
    reply: &impl Fn(&[Request]) -> Reply,
) {
    let Some(request) = read(&mut stream) else {
        return;
    };
    let reply = {
        let mut requests = requests.lock().unwrap();
        requests.push(request);
        reply(&requests)
    };
    // The client may be gone: that is what some tests are about.
    let _written = match reply {
        Reply::Says(status, headers, body) => {
            let len = body.len();
            write!(
                stream,
                "HTTP/1.1 {status} -\r\ncontent-length: {len}\r\n{headers}\r\n{body}"
            )
        }
        Reply::Garbage => stream.write_all(b"220 mail.example ESMTP\r\n"),
        Reply::Endless(status) => {
            let head = format!("HTTP/1.1 {status} -\r\ncontent-length: 999999999999\r\n\r\n");
            let mut written = stream.write_all(head.as_bytes());
            while written.is_ok() {
                written = stream.write_all(&[b'x'; 65_536]);
            }
            written
        }
        Reply::Hangs => stream.read(&mut [0]).map(|_| ()),
    };
}

/// A whole request; none when the client sends nothing.
fn read(stream: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    let mut block = [0; 4_096];
    loop {
        let len = stream.read(&mut block).ok().filter(|len| *len > 0)?;
        bytes.extend_from_slice(&block[..len]);
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let (line, fields) = head.split_once("\r\n").unwrap();
        let fields = fields.replace("\r\n", "\n");
        let announced = fields
            .lines()
            .find_map(|field| field.strip_prefix("content-length: "))
            .map_or(0, |len| len.parse().unwrap());
        if body.len() >= announced {
            return Some(Request {
                line: line.trim_end_matches(" HTTP/1.1").to_string(),
                head: fields,
                body: body.to_string(),
            });
        }
    }
}
