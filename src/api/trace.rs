//! Trace Context at the door: read from a request's headers, which for gRPC are its metadata, and
//! told back in `traceresponse`. Spans are named as OpenTelemetry's conventions for HTTP and RPC say.

use std::borrow::Cow;
use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, Version, header};
use axum::middleware::Next;

use super::Shared;
use super::body::Body;
use crate::error::Code;
use crate::telemetry::trace::{Call, Context, End, Open, Value, context};

/// The header by which a caller learns the span of a request that is recorded (Trace Context,
/// draft of level 3).
const RESPONSE: HeaderName = HeaderName::from_static("traceresponse");

/// What a route is called that is not known.
const OTHER: &str = "_OTHER";

/// Characters of what a client wrote that are kept.
const TEXT_MAX: usize = 256;

/// The gRPC status of a method that is not there.
const UNIMPLEMENTED: i64 = 12;

/// gRPC statuses that are the server's fault.
const FAULTS: [i64; 6] = [2, 4, UNIMPLEMENTED, 13, 14, 15];

/// Begins the span of an HTTP request, where it is sampled. Probes and scrapes have none.
pub fn http<'a>(
    shared: &'a Shared,
    parts: &Parts,
    route: Option<&'static str>,
    received: Instant,
) -> Option<Open<'a>> {
    let tracer = shared.tracer.as_ref()?;
    if route.is_none() && is_probe(&parts.method, parts.uri.path()) {
        return None;
    }
    tracer.begin(received, parent(&parts.headers), || {
        (http_call(parts, route), state(&parts.headers))
    })
}

/// Begins the span of a gRPC call, where it is sampled. Probes have none.
pub fn grpc<'a>(shared: &'a Shared, parts: &Parts, received: Instant) -> Option<Open<'a>> {
    let tracer = shared.tracer.as_ref()?;
    let path = parts.uri.path();
    if path.ends_with("Live") || path.ends_with("Ready") {
        return None;
    }
    tracer.begin(received, parent(&parts.headers), || {
        (grpc_call(parts), state(&parts.headers))
    })
}

/// Adds the route that answers to what it answers, for [`end_http`].
pub async fn note_route(
    path: MatchedPath,
    request: Request,
    next: Next,
) -> axum::response::Response {
    let mut response = next.run(request).await;
    response.extensions_mut().insert(path);
    response
}

/// Ends the span of an HTTP request.
pub fn end_http(open: Open<'_>, error: Option<Code>, response: &mut Response<Body>) {
    let status = response.status().as_u16();
    let failed = status >= 500;
    tell(&open, response.headers_mut());
    let mut attributes = vec![(
        "http.response.status_code",
        Value::Number(i64::from(status)),
    )];
    let route = response.extensions_mut().remove::<MatchedPath>();
    let name = route.map(|route| {
        let route = route.as_str().to_string();
        let name = format!("{} {route}", open.trace().name());
        attributes.push(("http.route", Value::Text(route.into())));
        name.into()
    });
    open.end(End {
        name,
        attributes,
        error: match (error, failed) {
            (Some(code), _) => Some(code.name().into()),
            (None, true) => Some(status.to_string().into()),
            (None, false) => None,
        },
        failed,
    });
}

/// Ends the span of a gRPC call. What is answered by trailers alone has its status there, anything
/// else is taken for success.
pub fn end_grpc(open: Open<'_>, error: Option<Code>, response: &mut Response<Body>) {
    let headers = response.headers_mut();
    let told = headers.get("grpc-status").and_then(|it| it.to_str().ok());
    let status: i64 = told.and_then(|it| it.parse().ok()).unwrap_or(0);
    tell(&open, headers);
    open.end(End {
        // Not what a client makes up.
        name: (error.is_none() && status == UNIMPLEMENTED).then(|| OTHER.into()),
        attributes: vec![("rpc.grpc.status_code", Value::Number(status))],
        error: match (error, status) {
            (Some(code), _) => Some(code.name().into()),
            (None, 0) => None,
            (None, _) => Some(status.to_string().into()),
        },
        failed: FAULTS.contains(&status),
    });
}

fn tell(open: &Open<'_>, headers: &mut HeaderMap) {
    let context = open.trace().context.write();
    if let Ok(value) = HeaderValue::from_bytes(&context) {
        headers.insert(RESPONSE, value);
    }
}

/// The caller's span. Of two nobody knows which one counts.
fn parent(headers: &HeaderMap) -> Option<Context> {
    let mut all = headers.get_all("traceparent").iter();
    let parent = all.next()?;
    match all.next() {
        None => Context::parse(parent.as_bytes()),
        Some(_) => None,
    }
}

/// What goes with the caller's span; nothing without one.
fn state(headers: &HeaderMap) -> String {
    let all = headers.get_all("tracestate").iter();
    match parent(headers) {
        Some(_) => context::state(all.map(HeaderValue::as_bytes)),
        None => String::new(),
    }
}

/// Probes of orchestrators, and the page that is scraped. TensorFlow Serving's are of a model's state.
fn is_probe(method: &Method, path: &str) -> bool {
    let of_v1 = |rest: &str| method == Method::GET && !rest.contains('/');
    ["/metrics", "/health", "/ping"].contains(&path)
        || path.starts_with("/v2/health/")
        || path.ends_with("/ready")
        || path.strip_prefix("/v1/models/").is_some_and(of_v1)
}

fn http_call(parts: &Parts, route: Option<&'static str>) -> Call {
    let known = [
        Method::GET,
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::HEAD,
        Method::OPTIONS,
        Method::PATCH,
    ];
    let method = match known.contains(&parts.method) {
        true => Cow::Owned(parts.method.to_string()),
        false => Cow::Borrowed(OTHER),
    };
    let name = match route {
        Some(route) => format!("{method} {route}"),
        None if method == OTHER => "HTTP".to_string(),
        None => method.to_string(),
    };
    let version = match parts.version {
        Version::HTTP_2 => "2",
        Version::HTTP_10 => "1.0",
        _ => "1.1",
    };
    let mut attributes = vec![
        ("http.request.method", Value::Text(method)),
        ("url.scheme", Value::Text("http".into())),
        ("url.path", Value::Text(short(parts.uri.path()))),
        ("network.protocol.version", Value::Text(version.into())),
    ];
    attributes.extend(route.map(|route| ("http.route", Value::Text(route.into()))));
    attributes.extend(agent(&parts.headers));
    Call {
        name: name.into(),
        attributes,
    }
}

fn grpc_call(parts: &Parts) -> Call {
    let path = parts.uri.path().trim_start_matches('/');
    let (service, method) = path.split_once('/').unwrap_or((path, OTHER));
    let mut attributes = vec![
        ("rpc.system", Value::Text("grpc".into())),
        ("rpc.service", Value::Text(short(service))),
        ("rpc.method", Value::Text(short(method))),
    ];
    attributes.extend(agent(&parts.headers));
    Call {
        name: short(path),
        attributes,
    }
}

fn agent(headers: &HeaderMap) -> Option<(&'static str, Value)> {
    let agent = headers.get(header::USER_AGENT)?.to_str().ok()?;
    Some(("user_agent.original", Value::Text(short(agent))))
}

fn short(text: &str) -> Cow<'static, str> {
    Cow::Owned(text.chars().take(TEXT_MAX).collect())
}
