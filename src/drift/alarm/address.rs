//! Where a target is, what opens it, and whose word is taken for it. Nothing secret is ever printed: a
//! webhook's path is often its password.

use std::fmt;

use ureq::http::Uri;
use ureq::tls::{Certificate, PemItem, parse_pem};

/// Bytes of an address or a secret.
const LEN_MAX: usize = 4_096;

/// A password, token or key. It prints as `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// # Errors
    /// When it is empty, longer than 4 KiB, or has control characters, such as the line end of the
    /// file it came from. The message never has the secret in it.
    pub fn parse(text: &str) -> Result<Secret, String> {
        if text.is_empty() || text.len() > LEN_MAX || text.contains(char::is_control) {
            return Err("expected 1 to 4096 bytes without control characters".to_string());
        }
        Ok(Secret(text.to_string()))
    }

    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// An absolute `http://` or `https://` address. It prints without its path and query.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    /// As given, without a slash at the end of a path.
    text: String,
    /// Bytes of `text` before the path.
    origin_len: usize,
}

impl Url {
    /// # Errors
    /// When it is no such address, or has a user, a password or a fragment.
    pub fn parse(text: &str) -> Result<Url, String> {
        const EXPECTED: &str = "expected http://HOST[:PORT][/PATH] or https://…";
        if text.len() > LEN_MAX {
            return Err(format!("{EXPECTED} of at most {LEN_MAX} bytes"));
        }
        let uri: Uri = text.parse().map_err(|_| EXPECTED.to_string())?;
        let (Some("http" | "https"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(EXPECTED.to_string());
        };
        if authority.as_str().contains('@') {
            return Err(format!(
                "{EXPECTED} without a user or password: they have keys of their own"
            ));
        }
        if authority.host().is_empty() {
            return Err(format!("{EXPECTED}: the host is missing"));
        }
        if has_bad_port(authority.as_str(), authority.host(), authority.port_u16()) {
            return Err(format!("{EXPECTED} with a port of 1 to 65535"));
        }
        if text.contains('#') {
            return Err(format!("{EXPECTED} without a fragment (#…)"));
        }
        let scheme_len = text.find("://").map_or(0, |at| at + "://".len());
        let text = match uri.query() {
            None => text.trim_end_matches('/').to_string(),
            Some(_) => text.to_string(),
        };
        Ok(Url {
            text,
            origin_len: scheme_len + authority.as_str().len(),
        })
    }

    /// As [`Url::parse`], for an address that paths are put behind.
    ///
    /// # Errors
    /// Also when it has a query.
    pub fn parse_base(text: &str) -> Result<Url, String> {
        let url = Url::parse(text)?;
        if url.text.contains('?') {
            return Err("expected an address without a query (?…)".to_string());
        }
        Ok(url)
    }

    /// Scheme, host and port.
    pub fn origin(&self) -> &str {
        self.text.get(..self.origin_len).unwrap_or_default()
    }

    /// What stands behind the origin: empty, or a path without a slash at its end.
    pub fn path(&self) -> &str {
        self.text.get(self.origin_len..).unwrap_or_default()
    }

    pub(super) fn expose(&self) -> &str {
        &self.text
    }
}

/// A colon behind the host without a number of 1 to 65535.
fn has_bad_port(authority: &str, host: &str, port: Option<u16>) -> bool {
    authority.len() > host.len() && port.is_none_or(|port| port == 0)
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.origin())?;
        if self.path().is_empty() {
            return Ok(());
        }
        f.write_str("/…")
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// Certificates of authorities that vouch for `https://` targets, in the place of the public ones.
#[derive(Clone, PartialEq, Eq)]
pub struct Authorities {
    /// DER.
    certificates: Vec<Vec<u8>>,
}

impl Authorities {
    /// Reads a PEM file; what it has besides certificates is left out.
    ///
    /// # Errors
    /// When it is broken or has no certificate.
    pub fn parse(pem: &[u8]) -> Result<Authorities, String> {
        let mut certificates = Vec::new();
        for item in parse_pem(pem) {
            match item {
                Ok(PemItem::Certificate(certificate)) => {
                    certificates.push(certificate.der().to_vec());
                }
                Ok(_) => {}
                Err(error) => return Err(format!("expected PEM certificates: {error}")),
            }
        }
        if certificates.is_empty() {
            return Err("expected PEM certificates, found none".to_string());
        }
        Ok(Authorities { certificates })
    }

    pub(super) fn certificates(&self) -> impl Iterator<Item = Certificate<'static>> {
        let certificates = self.certificates.iter();
        certificates.map(|der| Certificate::from_der(der).to_owned())
    }
}

impl fmt::Debug for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authorities({})", self.certificates.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_http_with_a_host_and_without_secrets() {
        for (text, origin, path) in [
            ("http://a", "http://a", ""),
            ("https://a.example:8443/", "https://a.example:8443", ""),
            ("http://[::1]:80/x/y/", "http://[::1]:80", "/x/y"),
            ("https://a/T0/B0?key=1/", "https://a", "/T0/B0?key=1/"),
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!((url.origin(), url.path()), (origin, path));
        }
        for (text, expected) in [
            ("", "expected http://"),
            ("a.example/x", "expected http://"),
            ("ftp://a/", "expected http://"),
            ("http://", "expected http://"),
            ("http:///x", "expected http://"),
            ("http://:80/x", "expected http://"),
            ("http://a b/", "expected http://"),
            ("http://a/\n", "expected http://"),
            ("http://a:70000/", "expected http://"),
            ("http://a:/", "port"),
            ("http://a:0/", "port"),
            ("http://me:secret@a/", "keys of their own"),
            ("http://me@a/", "keys of their own"),
            ("http://a/x#y", "fragment"),
        ] {
            let reason = Url::parse(text).unwrap_err();
            assert!(reason.contains(expected), "{text:?}: {reason}");
            assert!(!reason.contains("secret"), "{reason}");
        }
        assert!(Url::parse(&format!("http://a/{}", "x".repeat(5_000))).is_err());
        assert!(Url::parse_base("http://a/x?y").is_err());
    }

    #[test]
    fn nothing_prints_what_opens_a_target() {
        let url = Url::parse("https://hooks.example/T0/B0/secret").unwrap();
        assert_eq!(
            format!("{url} {url:?}")
                .matches("https://hooks.example/…")
                .count(),
            2
        );
        let secret = Secret::parse("secret").unwrap();
        assert_eq!(format!("{secret} {secret:?} {secret:#?}"), "*** *** ***");
        for text in ["", "secret\n", "sec\0ret"] {
            assert!(!Secret::parse(text).unwrap_err().contains("sec"));
        }
    }

    #[test]
    fn authorities_are_pem_certificates() {
        let block = |name: &str, text: &str| {
            format!("-----BEGIN {name}-----\n{text}\n-----END {name}-----\n")
        };
        let pem = block("CERTIFICATE", "AAEC") + &block("CERTIFICATE", "AAED");
        let read = Authorities::parse(pem.as_bytes()).unwrap();
        assert_eq!(read.certificates, [[0, 1, 2], [0, 1, 3]]);
        assert_eq!(format!("{read:?}"), "Authorities(2)");
        for pem in [
            String::new(),
            "text".to_string(),
            block("PRIVATE KEY", "AAEC"),
            block("CERTIFICATE", "*"),
            "-----BEGIN CERTIFICATE-----\nAAEC".to_string(),
        ] {
            let reason = Authorities::parse(pem.as_bytes()).unwrap_err();
            assert!(reason.contains("PEM certificates"), "{pem}: {reason}");
        }
        assert!(Authorities::parse(&[0xff, 0, 0xfe]).is_err());
    }
}
