//! What can be set of traces.

use std::fmt;

use percent_encoding::percent_decode_str;
use ureq::http::{HeaderName, HeaderValue};

/// Settings of traces.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// `http://host:port` of an OTLP receiver, perhaps with a path; empty: nothing is traced.
    pub endpoint: String,
    /// Whether HTTP sends spans to the endpoint as it is: see [`Settings::url`].
    pub exact: bool,
    /// `None` goes by the endpoint: see [`Settings::protocol`].
    pub protocol: Option<Protocol>,
    pub headers: Headers,
    /// The part of the requests that are sampled where no caller decides, 0..=1.
    pub sample_ratio: f64,
    /// Whether a caller's decision is followed.
    pub sample_by_parent: bool,
    pub service_name: String,
    /// Attributes of the resource beside the service's name, version and instance.
    pub resource: Vec<(String, String)>,
    /// Requests that wait to be exported. At least 1.
    pub queue_max: usize,
    /// Requests of one export at the most. At least 1.
    pub batch_max: usize,
    /// Milliseconds that a request waits for others before it is exported.
    pub batch_ms: u64,
    /// Milliseconds that one try to export may take.
    pub timeout_ms: u64,
}

/// How spans are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Grpc,
    /// Protobuf over HTTP.
    Http,
}

/// Headers of each export. Their values are secrets: they are never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers(pub Vec<(HeaderName, HeaderValue)>);

/// Where OTLP over HTTP takes spans.
const PATH: &str = "/v1/traces";

/// The port that OTLP over HTTP has.
const HTTP_PORT: &str = ":4318";

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            endpoint: String::new(),
            exact: false,
            protocol: None,
            headers: Headers::default(),
            sample_ratio: 0.01,
            sample_by_parent: true,
            service_name: "hedgerow".to_string(),
            resource: Vec::new(),
            queue_max: 2048,
            batch_max: 256,
            batch_ms: 1000,
            timeout_ms: 10_000,
        }
    }
}

impl Settings {
    /// The protocol that is set, or the one of the endpoint: HTTP where its port is 4318 or its path
    /// ends as HTTP's, else gRPC.
    pub fn protocol(&self) -> Protocol {
        let has_path = self.endpoint.trim_end_matches('/').ends_with(PATH);
        // Between the scheme's two slashes and the next one.
        let host = self.endpoint.split('/').nth(2).unwrap_or_default();
        match self.protocol {
            Some(protocol) => protocol,
            None if has_path || host.ends_with(HTTP_PORT) => Protocol::Http,
            None => Protocol::Grpc,
        }
    }

    /// Where HTTP sends spans: the endpoint with `/v1/traces` behind it, unless that is there or the
    /// endpoint is exact.
    pub fn url(&self) -> String {
        if self.exact {
            return self.endpoint.clone();
        }
        let base = self.endpoint.trim_end_matches('/');
        match base.ends_with(PATH) {
            true => base.to_string(),
            false => format!("{base}{PATH}"),
        }
    }

    /// What contradicts itself.
    ///
    /// # Errors
    /// The key that is to blame, and why.
    pub fn check(&self) -> Result<(), String> {
        let is_tls = self.endpoint.starts_with("https://");
        if is_tls && self.protocol() == Protocol::Grpc {
            return Err(
                "gRPC is sent in the clear; with https set trace.protocol = \"http\", or put a collector beside the server"
                    .to_string(),
            );
        }
        Ok(())
    }

    /// Sets the endpoint.
    ///
    /// # Errors
    /// What was expected. The text is not repeated: it may have a password in it.
    pub fn set_endpoint(&mut self, text: &str) -> Result<(), String> {
        let rest = text
            .strip_prefix("http://")
            .or_else(|| text.strip_prefix("https://"));
        let is_address = |rest: &str| {
            let host = rest.split('/').next().unwrap_or_default();
            let plain = rest
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && !b"@?#".contains(&byte));
            !host.is_empty() && plain && text.parse::<ureq::http::Uri>().is_ok()
        };
        if !text.is_empty() && !rest.is_some_and(is_address) {
            return Err(
                "expected an address such as http://localhost:4317, without a password or a question mark"
                    .to_string(),
            );
        }
        self.endpoint = text.to_string();
        self.exact = false;
        Ok(())
    }
}

impl Headers {
    /// Reads `name=value,name=value` with percent signs in the values, as OpenTelemetry has it.
    ///
    /// # Errors
    /// What was expected, without a value.
    pub fn parse(text: &str) -> Result<Headers, String> {
        let expected = || "expected name=value,name=value".to_string();
        let mut headers = Vec::new();
        for (name, value) in attributes(text).map_err(|_| expected())? {
            let name = name.to_ascii_lowercase();
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| expected())?;
            let mut value = HeaderValue::from_str(&value).map_err(|_| expected())?;
            if name.as_str().ends_with("-bin") {
                return Err("a name that ends in -bin is not sent".to_string());
            }
            value.set_sensitive(true);
            headers.push((name, value));
        }
        Ok(Headers(headers))
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|(name, _)| name))
            .finish()
    }
}

/// Reads `key=value,key=value`, with percent signs in the values.
///
/// # Errors
/// What was expected.
pub fn attributes(text: &str) -> Result<Vec<(String, String)>, String> {
    let parts = text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let (key, value) = part.split_once('=')?;
            let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
            let key = key.trim();
            (!key.is_empty()).then(|| (key.to_string(), value.into_owned()))
        })
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| "expected key=value,key=value".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(endpoint: &str) -> Settings {
        let mut settings = Settings::default();
        settings.set_endpoint(endpoint).unwrap();
        settings
    }

    #[test]
    fn the_endpoint_says_the_protocol_unless_it_is_set() {
        for (endpoint, protocol, url) in [
            ("http://a:4317", Protocol::Grpc, "http://a:4317/v1/traces"),
            ("http://a:4318", Protocol::Http, "http://a:4318/v1/traces"),
            ("http://a:4318/", Protocol::Http, "http://a:4318/v1/traces"),
            (
                "http://a:4318/otlp",
                Protocol::Http,
                "http://a:4318/otlp/v1/traces",
            ),
            (
                "https://a/otlp/v1/traces",
                Protocol::Http,
                "https://a/otlp/v1/traces",
            ),
        ] {
            let settings = with(endpoint);
            assert_eq!(settings.protocol(), protocol, "{endpoint}");
            assert_eq!(settings.url(), url);
        }
        let mut settings = with("http://a:9");
        settings.protocol = Some(Protocol::Http);
        assert_eq!(settings.protocol(), Protocol::Http);
        assert!(with("https://a:4317").check().is_err());
        assert!(with("https://a:4318").check().is_ok());
    }

    #[test]
    fn an_endpoint_is_an_address_and_is_not_repeated() {
        for bad in [
            "localhost:4317",
            "http://",
            "http:///v1/traces",
            "http://me:secret@a:1",
            "http://a/?secret",
            "http://a b",
        ] {
            let error = Settings::default().set_endpoint(bad).unwrap_err();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn headers_are_read_and_not_shown() {
        let headers = Headers::parse("API-Key=a%20b, x=1 ,").unwrap();
        assert_eq!(headers.0[0].0, "api-key");
        assert_eq!(headers.0[0].1, "a b");
        assert_eq!(format!("{headers:?}"), "[\"api-key\", \"x\"]");
        for bad in [
            "secret",
            "=secret",
            "a b=secret",
            "a=%0asecret",
            "a-bin=secret",
        ] {
            let error = Headers::parse(bad).unwrap_err();
            assert!(!error.contains("secret"), "{error}");
        }
        let found = attributes("a=1,b=x%2Cy=z").unwrap();
        assert_eq!(found[1], ("b".to_string(), "x,y=z".to_string()));
    }
}
