//! Questions to a running server over plain HTTP: where it is, what it answers, and what to try when
//! it does not. It never reads what an answer means.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use serde_json::Value;
use ureq::http::StatusCode;
use ureq::{Agent, Error};

/// Where the server is.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct Connection {
    /// The server's admin address.
    #[arg(
        long,
        value_name = "URL",
        env = "HEDGEROW_URL",
        default_value = "http://127.0.0.1:8082"
    )]
    url: String,
}

/// A server that can be asked.
#[derive(Debug)]
pub struct Client {
    /// Without a slash at the end.
    base: String,
    agent: Agent,
}

/// How long a connection may take: a machine that is there answers within a round trip.
const CONNECT: Duration = Duration::from_secs(5);
/// How long an answer may take: the server's controller may be counting, and decides in turn.
const ANSWER: Duration = Duration::from_secs(60);
/// Bytes of an answer: a page of a thousand decisions with their evidence is a few megabytes.
const ANSWER_BYTES_MAX: u64 = 64 << 20;
/// What stays as it is in a part of a path.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

impl Connection {
    /// To a server on this machine that has this admin address.
    pub fn local(admin: SocketAddr) -> Connection {
        let ip = match admin.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        Connection {
            url: format!("http://{}", SocketAddr::new(ip, admin.port())),
        }
    }

    /// A client of this server. Nothing is sent yet.
    ///
    /// # Errors
    /// When the address is no `http://HOST:PORT`.
    pub fn client(&self) -> Result<Client, String> {
        let url = self.url.trim();
        let host = match url.split_once("://") {
            None => url,
            Some(("http", host)) => host,
            Some(_) => "",
        };
        let host = host.trim_end_matches('/');
        if host.is_empty() {
            return Err(format!("--url: expected http://HOST:PORT, got \"{url}\""));
        }
        // A proxy stands between a person and the internet, not before an admin address.
        let agent = Agent::config_builder()
            .timeout_connect(Some(CONNECT))
            .timeout_global(Some(ANSWER))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .user_agent(concat!("hedgerow/", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(Client {
            base: format!("http://{host}"),
            agent: agent.into(),
        })
    }
}

impl Client {
    /// What stands at a path: the text of a JSON answer.
    ///
    /// # Errors
    /// What the server says, or why it was not reached.
    pub fn get(&self, path: &str) -> Result<String, String> {
        let url = format!("{}{path}", self.base);
        let answer = self.agent.get(&url).header("accept", "application/json");
        self.read(&url, answer.call())
    }

    /// Asks for something to be done, and gives the text of the JSON answer.
    ///
    /// # Errors
    /// What the server says, or why it was not reached.
    pub fn post(&self, path: &str, body: &Value) -> Result<String, String> {
        let url = format!("{}{path}", self.base);
        let ask = self
            .agent
            .post(&url)
            .header("content-type", "application/json");
        self.read(&url, ask.send(body.to_string()))
    }

    fn read(
        &self,
        url: &str,
        answer: Result<ureq::http::Response<ureq::Body>, Error>,
    ) -> Result<String, String> {
        let mut answer = answer.map_err(|error| self.unreached(&error))?;
        let status = answer.status();
        let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX);
        let text = body
            .read_to_string()
            .map_err(|error| self.unreached(&error))?;
        match status.is_success() {
            true => Ok(text),
            false => Err(refusal(url, status, &text)),
        }
    }

    fn unreached(&self, error: &Error) -> String {
        let base = &self.base;
        match error {
            Error::Timeout(_) => format!("{base}: no answer in time ({error})"),
            Error::BadUri(_) | Error::Http(_) => {
                format!("--url: expected http://HOST:PORT, got \"{base}\"")
            }
            Error::BodyExceedsLimit(_) => format!("{base}: the answer is too long"),
            Error::Io(_) | Error::HostNotFound | Error::ConnectionFailed => {
                let reason = match error {
                    Error::Io(reason) => reason.to_string(),
                    _ => error.to_string(),
                };
                format!(
                    "{base}: no server answers ({reason}); start one with \"hedgerow serve\", or \
                     name its admin address with --url or HEDGEROW_URL"
                )
            }
            _ => format!(
                "{base}: {error}; expected the admin address of a hedgerow server, which speaks HTTP"
            ),
        }
    }
}

/// The path of a slot, or of something of it.
pub fn slot_path(slot: &str, rest: &str) -> String {
    format!("/v1/slots/{}{rest}", utf8_percent_encode(slot, PLAIN))
}

/// Reads a JSON text, and takes control characters out of its strings: names and reasons were written
/// by others, and a terminal would obey them.
///
/// # Errors
/// When it is not `what` was expected.
pub fn parse<T: DeserializeOwned>(text: &str, what: &str) -> Result<T, String> {
    let value: Result<Value, _> = serde_json::from_str(text);
    value
        .and_then(|value| serde_json::from_value(clean(value)))
        .map_err(|error| format!("the answer is not {what}: {error}"))
}

/// What a server says of a question that it does not answer.
fn refusal(url: &str, status: StatusCode, text: &str) -> String {
    let said: Option<Value> = serde_json::from_str(text).ok().map(clean);
    match said.as_ref().and_then(|said| said["error"].as_str()) {
        Some(reason) => reason.to_string(),
        None => format!("{url}: {status}; expected the admin address of a hedgerow server"),
    }
}

fn clean(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(text.replace(char::is_control, " ")),
        Value::Array(items) => Value::Array(items.into_iter().map(clean).collect()),
        Value::Object(fields) => Value::Object(
            fields
                .into_iter()
                .map(|(name, value)| (name.replace(char::is_control, " "), clean(value)))
                .collect(),
        ),
        other => other,
    }
}

#[cfg(test)]
pub mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::thread::scope;

    use super::*;

    /// Answers one request after the other, each on its own connection, while `ask` runs; gives what
    /// `ask` gave and the requests' texts.
    pub fn with_server<T>(
        answers: &[(u16, &str)],
        ask: impl FnOnce(&Connection) -> T,
    ) -> (T, Vec<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        scope(|scope| {
            let serving = scope.spawn(|| {
                let answer = |(status, body): &(u16, &str)| {
                    let (mut stream, _) = listener.accept().unwrap();
                    let mut request = Vec::new();
                    while !is_whole(&request) {
                        let mut block = [0; 4096];
                        let len = stream.read(&mut block).unwrap();
                        request.extend_from_slice(&block[..len]);
                    }
                    let len = body.len();
                    let head = format!("HTTP/1.1 {status} -\r\ncontent-length: {len}\r\n");
                    write!(stream, "{head}connection: close\r\n\r\n{body}").unwrap();
                    String::from_utf8(request).unwrap()
                };
                answers.iter().map(answer).collect()
            });
            let result = ask(&Connection { url });
            (result, serving.join().unwrap())
        })
    }

    /// Whether a request's head and as many bytes as it announces are there.
    fn is_whole(request: &[u8]) -> bool {
        let text = String::from_utf8_lossy(request).to_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            return false;
        };
        let announced = head.split("content-length:").nth(1);
        let announced = announced.and_then(|rest| rest.lines().next());
        body.len() >= announced.map_or(0, |len| len.trim().parse().unwrap())
    }

    fn at(url: &str) -> Connection {
        Connection {
            url: url.to_string(),
        }
    }

    #[test]
    fn a_server_is_asked_and_its_answer_is_read() {
        let (answer, requests) = with_server(&[(200, r#"{"slots":[]}"#)], |connection| {
            connection
                .client()
                .unwrap()
                .get(&slot_path("a b/c", "/decisions?after=3"))
        });
        assert_eq!(answer.unwrap(), r#"{"slots":[]}"#);
        assert!(requests[0].starts_with("GET /v1/slots/a%20b%2Fc/decisions?after=3 HTTP/1.1\r\n"));
    }

    #[test]
    fn what_the_server_refuses_is_told_in_its_words() {
        let said = r#"{"error":"slot \"x\" has no trials\u001b[2J"}"#;
        let (answer, requests) = with_server(&[(409, said)], |connection| {
            let body = serde_json::json!({"force": true});
            connection
                .client()
                .unwrap()
                .post("/v1/slots/x/promote", &body)
        });
        assert_eq!(answer.unwrap_err(), "slot \"x\" has no trials [2J");
        assert!(
            requests[0].ends_with("\r\n\r\n{\"force\":true}"),
            "{requests:?}"
        );
        let (answer, _) = with_server(&[(404, "nothing here")], |connection| {
            connection.client().unwrap().get("/v1/slots")
        });
        let reason = answer.unwrap_err();
        assert!(
            reason.contains("/v1/slots: 404") && reason.contains("admin address"),
            "{reason}"
        );
    }

    #[test]
    fn a_server_that_is_not_there_is_named_with_what_to_try() {
        let free = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let reason = at(&free.to_string())
            .client()
            .unwrap()
            .get("/v1/slots")
            .unwrap_err();
        for part in [format!("http://{free}: no server answers"), "--url".into()] {
            assert!(reason.contains(&part), "{reason}");
        }
        for url in ["", "https://host:1", "http://", "ftp://host"] {
            let reason = at(url).client().map(|_| ()).unwrap_err();
            assert!(
                reason.starts_with("--url: expected http://HOST:PORT"),
                "{reason}"
            );
        }
    }
}
