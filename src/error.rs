//! The server's one error: a code, a message for the caller, and the table from codes to HTTP and
//! gRPC statuses. Making an error has no side effect.

use std::time::Duration;

/// What a caller is told when a request fails.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    pub code: Code,
    /// Lower case, without a full stop; names the thing and what was expected, and no text that the
    /// client sent as a value.
    pub message: String,
    /// When to come back, where that is known.
    pub retry_after: Option<Duration>,
}

/// The kinds of failure. Their statuses are in [`Code::http`] and [`Code::grpc`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// The request breaks the protocol or does not fit the model.
    InvalidArgument,
    /// No such model, revision or path.
    NotFound,
    /// The path exists, the method does not.
    MethodNotAllowed,
    /// The caller may not do this here.
    Forbidden,
    /// What is asked for does not go with the state of things.
    Conflict,
    /// The body or the number of rows is over its limit.
    TooLarge,
    /// The body's encoding or media type is not one that is read here.
    UnsupportedMedia,
    /// The model is known but does not serve.
    NotReady,
    /// A limit on concurrent work is reached.
    Overloaded,
    /// The server is shutting down.
    Draining,
    /// The caller's deadline passed.
    DeadlineExceeded,
    /// Part of the protocol that is not served.
    Unsupported,
    /// A defect of the server or of an engine.
    Internal,
}

impl Code {
    /// All codes, in the table's order.
    pub const ALL: [Code; 13] = [
        Code::InvalidArgument,
        Code::NotFound,
        Code::MethodNotAllowed,
        Code::Forbidden,
        Code::Conflict,
        Code::TooLarge,
        Code::UnsupportedMedia,
        Code::NotReady,
        Code::Overloaded,
        Code::Draining,
        Code::DeadlineExceeded,
        Code::Unsupported,
        Code::Internal,
    ];

    /// The table: name, HTTP status, gRPC status number.
    fn row(self) -> (&'static str, u16, i32) {
        match self {
            Code::InvalidArgument => ("invalid_argument", 400, 3),
            Code::NotFound => ("not_found", 404, 5),
            Code::MethodNotAllowed => ("method_not_allowed", 405, 12),
            Code::Forbidden => ("forbidden", 403, 7),
            Code::Conflict => ("conflict", 409, 9),
            Code::TooLarge => ("too_large", 413, 11),
            Code::UnsupportedMedia => ("unsupported_media", 415, 3),
            Code::NotReady => ("not_ready", 503, 14),
            Code::Overloaded => ("overloaded", 429, 8),
            Code::Draining => ("draining", 503, 14),
            Code::DeadlineExceeded => ("deadline_exceeded", 504, 4),
            Code::Unsupported => ("unsupported", 501, 12),
            Code::Internal => ("internal", 500, 13),
        }
    }

    /// Its name in metrics and logs.
    pub fn name(self) -> &'static str {
        self.row().0
    }

    /// The HTTP status.
    pub fn http(self) -> u16 {
        self.row().1
    }

    /// The gRPC status number.
    pub fn grpc(self) -> i32 {
        self.row().2
    }
}

impl Error {
    /// An error with this code and message.
    pub fn new(code: Code, message: impl Into<String>) -> Error {
        Error {
            code,
            message: bounded(message.into()),
            retry_after: None,
        }
    }

    /// The request breaks the protocol or does not fit the model.
    pub fn invalid(message: impl Into<String>) -> Error {
        Error::new(Code::InvalidArgument, message)
    }

    /// A defect of the server or of an engine.
    pub fn internal(message: impl Into<String>) -> Error {
        Error::new(Code::Internal, message)
    }

    /// A limit is reached; the caller may come back after a second.
    pub fn overloaded(message: impl Into<String>) -> Error {
        Error {
            retry_after: Some(Duration::from_secs(1)),
            ..Error::new(Code::Overloaded, message)
        }
    }
}

/// Bytes of a message at the most: gRPC sends it in a header, three times as long at the worst, of
/// which clients take 8 KiB.
const MESSAGE_MAX: usize = 2000;

/// The text, or where it is too long its beginning and its end: names that clients chose are in it,
/// and what was expected often stands last.
fn bounded(text: String) -> String {
    if text.len() <= MESSAGE_MAX {
        return text;
    }
    let (begin, end) = (MESSAGE_MAX / 2, text.len() - MESSAGE_MAX / 4);
    let (begin, end) = (
        text.floor_char_boundary(begin),
        text.ceil_char_boundary(end),
    );
    let parts = text.get(..begin).zip(text.get(end..));
    parts.map_or_else(String::new, |(begin, end)| format!("{begin} … {end}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_messages_keep_their_beginning_and_their_end() {
        assert_eq!(
            Error::invalid("a".repeat(MESSAGE_MAX)).message.len(),
            MESSAGE_MAX
        );
        for (name, length) in [("x", 1_000_000), ("é", 1_000_001), ("𝄞", 999_999)] {
            let name = name.repeat(length);
            let message = Error::invalid(format!("input \"{name}\": expected FP32")).message;
            assert!(message.starts_with("input \""), "{message}");
            assert!(message.ends_with("\": expected FP32"), "{message}");
            assert!(message.contains(" … ") && message.len() < MESSAGE_MAX);
        }
    }

    #[test]
    fn no_two_codes_share_a_name() {
        for (index, code) in Code::ALL.iter().enumerate() {
            assert!(
                Code::ALL[..index]
                    .iter()
                    .all(|other| other.name() != code.name())
            );
        }
    }
}
