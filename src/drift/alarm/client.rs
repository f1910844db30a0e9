//! Requests to targets: within the time of one try, straight (no proxy, no redirect), with a limit on
//! what is read. It knows which answers are worth another try.

use std::time::{Duration, Instant, SystemTime};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use ureq::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body, Error, RequestBuilder};

use super::{Authorities, Url};

/// Bytes of an answer that are read; more is left unread.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// Characters of a target's own words that are told.
const WORDS_MAX: usize = 300;

/// What stays as it is in a part of a path.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// Makes tries.
#[derive(Debug)]
pub(super) struct Client {
    agent: Agent,
    timeout: Duration,
}

/// One try: all its requests end at the same time.
#[derive(Debug)]
pub(super) struct Try<'a> {
    agent: &'a Agent,
    end: Instant,
}

/// What a target answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub status: StatusCode,
    headers: HeaderMap,
    /// The first [`ANSWER_BYTES_MAX`] bytes.
    text: String,
}

/// Why a try failed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// One line without control characters or secrets.
    pub reason: String,
    /// Whether another try is of no use.
    pub permanent: bool,
    /// Whether the target has no such address, or none of that method: 404, 405.
    pub missing: bool,
    /// When the target wants to be asked again.
    pub retry_after: Option<Duration>,
}

impl Client {
    pub fn new(timeout: Duration, authorities: Option<&Authorities>) -> Client {
        let roots = match authorities {
            Some(authorities) => RootCerts::from(authorities.certificates()),
            None => RootCerts::WebPki,
        };
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            // Alarms are hours apart: a kept connection would be dead.
            .max_idle_connections(0)
            .user_agent(concat!("hedgerow/", env!("CARGO_PKG_VERSION")))
            .build()
            .into();
        Client { agent, timeout }
    }

    /// A try that begins now.
    pub fn attempt(&self) -> Try<'_> {
        Try {
            agent: &self.agent,
            end: Instant::now() + self.timeout,
        }
    }
}

impl Try<'_> {
    /// # Errors
    /// When nothing answers in time. An answer of any status is none.
    pub fn get(&self, url: &str, authorization: Option<&str>) -> Result<Answer, Failure> {
        let request = authorized(self.agent.get(url), authorization)?;
        let request = request.config().timeout_global(self.left()).build();
        answered(request.call())
    }

    /// As [`Try::get`], with a JSON body.
    ///
    /// # Errors
    /// As above.
    pub fn post(
        &self,
        url: &str,
        authorization: Option<&str>,
        media_type: &str,
        body: &Value,
    ) -> Result<Answer, Failure> {
        let request = authorized(self.agent.post(url), authorization)?;
        let request = request.header(header::CONTENT_TYPE, media_type);
        let request = request.config().timeout_global(self.left()).build();
        answered(request.send(body.to_string()))
    }

    fn left(&self) -> Option<Duration> {
        let left = self.end.saturating_duration_since(Instant::now());
        // Zero would be no limit for some clients.
        Some(left.max(Duration::from_millis(1)))
    }
}

fn authorized<B>(
    request: RequestBuilder<B>,
    authorization: Option<&str>,
) -> Result<RequestBuilder<B>, Failure> {
    let request = request.header(header::ACCEPT, "application/json");
    let Some(authorization) = authorization else {
        return Ok(request);
    };
    let mut value = HeaderValue::from_str(authorization).map_err(|_| {
        Failure::permanent("the token has characters that no header may have".to_string())
    })?;
    value.set_sensitive(true);
    Ok(request.header(header::AUTHORIZATION, value))
}

fn answered(answer: Result<Response<Body>, Error>) -> Result<Answer, Failure> {
    use std::io::Read as _;
    let (parts, mut body) = answer
        .map_err(|error| Failure::unreached(&error))?
        .into_parts();
    let mut bytes = Vec::new();
    // The status says what happened; of words that break off or come too late, the first ones do.
    let _end = body
        .as_reader()
        .take(ANSWER_BYTES_MAX)
        .read_to_end(&mut bytes);
    Ok(Answer {
        status: parts.status,
        headers: parts.headers,
        text: String::from_utf8_lossy(&bytes).into_owned(),
    })
}

impl Answer {
    /// The body as JSON; null when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    /// The failure that an answer without success is: "Airflow answered 404: …".
    pub fn failure(&self, who: &str) -> Failure {
        let mut failure = self.silent_failure(who);
        let words = self.words();
        if !words.is_empty() {
            failure.reason = format!("{}: {words}", failure.reason);
        }
        failure
    }

    /// As [`Answer::failure`] without the body, which may repeat what was sent.
    pub fn silent_failure(&self, who: &str) -> Failure {
        let status = self.status.as_u16();
        let mut reason = format!("{who} answered {status}");
        if self.status.is_redirection() {
            let place = self.headers.get(header::LOCATION);
            let place = place.and_then(|place| place.to_str().ok());
            // A path may hold what opens the target.
            let place = place.and_then(|place| Url::parse(place).ok());
            let place = place.map(|place| format!(" ({})", clean(place.origin())));
            reason.push_str(&place.unwrap_or_default());
            reason.push_str("; redirects are not followed, set the address that answers");
        }
        Failure {
            reason,
            permanent: !matches!(status, 408 | 425 | 429 | 500..),
            missing: matches!(status, 404 | 405),
            retry_after: self.retry_after(),
        }
    }

    /// An answer of success without what belongs into it; the next try finds what was started.
    pub fn unexpected(&self, who: &str, expected: &str) -> Failure {
        Failure {
            reason: format!("{who} answered {} without {expected}", self.status.as_u16()),
            permanent: false,
            missing: false,
            retry_after: None,
        }
    }

    /// What the target says of itself: `detail` of a JSON answer, else the text.
    fn words(&self) -> String {
        match self.json()["detail"].as_str() {
            Some(detail) => clean(detail),
            None => clean(&self.text),
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        let value = self.headers.get(header::RETRY_AFTER)?.to_str().ok()?;
        retry_after(value, SystemTime::now())
    }
}

/// `Retry-After`: seconds, or a date (RFC 9110, 10.2.3).
fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new()
        .parse_timestamp(value.trim())
        .ok()?;
    let date = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(date.as_second()).ok()?);
    Some(date.duration_since(now).unwrap_or_default())
}

impl Failure {
    pub fn permanent(reason: String) -> Failure {
        Failure {
            reason,
            permanent: true,
            missing: false,
            retry_after: None,
        }
    }

    fn unreached(error: &Error) -> Failure {
        // Others may quote the address, which may be a secret.
        let reason = match error {
            Error::BadUri(_) | Error::Http(_) => "the address cannot be asked".to_string(),
            Error::Timeout(_) => format!("no answer in time ({error})"),
            Error::Io(reason) => format!("not reached: {reason}"),
            other => format!("not reached: {other}"),
        };
        Failure {
            reason: clean(&reason),
            permanent: matches!(error, Error::BadUri(_) | Error::Http(_)),
            missing: false,
            retry_after: None,
        }
    }
}

/// A value as a part of a path.
pub(super) fn segment(value: &str) -> String {
    utf8_percent_encode(value, PLAIN).to_string()
}

/// The first characters of a text that others wrote, in one line without control characters.
pub(super) fn clean(text: &str) -> String {
    let text: String = text
        .trim_matches(|c: char| c.is_whitespace() || c.is_control())
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(WORDS_MAX + 1)
        .collect();
    match text.char_indices().nth(WORDS_MAX) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        for (value, seconds) in [
            ("0", Some(0)),
            (" 120 ", Some(120)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("Sun, 06 Nov 1994 08:48:37 GMT", Some(0)),
            ("-1", None),
            ("soon", None),
            ("", None),
        ] {
            let expected = seconds.map(Duration::from_secs);
            assert_eq!(retry_after(value, now), expected, "{value}");
        }
    }

    #[test]
    fn words_of_others_are_one_short_line() {
        assert_eq!(clean(" a\r\nb\u{1b}[2J\0 "), "a  b [2J");
        let cut = clean(&"é".repeat(1_000));
        assert_eq!(cut.chars().count(), WORDS_MAX + 1);
        assert!(cut.ends_with('…'));
        assert_eq!(clean(&"é".repeat(WORDS_MAX)).chars().count(), WORDS_MAX);
    }

    #[test]
    fn parts_of_paths_are_encoded() {
        assert_eq!(segment("a b/c?d#é%"), "a%20b%2Fc%3Fd%23%C3%A9%25");
        assert_eq!(segment("re-train_2.x~"), "re-train_2.x~");
    }
}
