//! A receiver of CloudEvents: an address of this machine that answers every POST with 204 and keeps
//! its body.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use hedgerow::config::Config;
use hedgerow::drift::alarm::Url;

use super::*;

/// What was posted to it, in order.
pub struct Receiver {
    pub address: SocketAddr,
    events: Arc<Mutex<Vec<Value>>>,
}

impl Receiver {
    /// A receiver on a free port, or on this one.
    #[expect(
        clippy::disallowed_methods,
        reason = "the receiver is the test's own thread, not the server's"
    )]
    pub fn start(address: Option<SocketAddr>) -> Receiver {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = TcpListener::bind(address.unwrap_or(any)).unwrap();
        let address = listener.local_addr().unwrap();
        let events = Arc::new(Mutex::new(Vec::new()));
        let taken = Arc::clone(&events);
        // It ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if let Some(event) = receive(stream) {
                    taken.lock().unwrap().push(event);
                }
            }
        });
        Receiver { address, events }
    }

    /// The events that came.
    pub fn events(&self) -> Vec<Value> {
        self.events.lock().unwrap().clone()
    }

    /// Makes a slot's alarms come here.
    pub fn call(&self, config: &mut Config) {
        call_at(config, self.address);
    }
}

/// Makes a slot's alarms go to this address.
pub fn call_at(config: &mut Config, address: SocketAddr) {
    let url = format!("http://{address}/drift");
    config.drift.slot.calls.webhook = Some(Url::parse(&url).unwrap());
}

/// An address of this machine where nobody answers. Its port is none that the kernel gives to others
/// meanwhile, or to a connection that is made to it, which would then meet itself.
pub fn nobody() -> SocketAddr {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    loop {
        let offset = std::process::id() as u16 % 100 * 100 + TAKEN.fetch_add(1, Ordering::Relaxed);
        let address = SocketAddr::from(([127, 0, 0, 1], 20_000 + offset % 10_000));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

fn receive(stream: TcpStream) -> Option<Value> {
    let _limit = stream.set_read_timeout(Some(Duration::from_secs(10)));
    let mut reader = BufReader::new(stream);
    let (mut length, mut line) = (0, String::new());
    loop {
        line.clear();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let answer = b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";
    reader.get_mut().write_all(answer).ok()?;
    serde_json::from_slice(&body).ok()
}
