//! HTTP, by axum: routes, bodies and errors. What a route says is in the modules below.

mod data;
mod decimal;
mod gates;
mod infer;
mod json;
mod metadata;
mod parameters;
mod predict;
mod repository;
mod slots;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use axum::middleware::from_fn;
use axum::response::IntoResponse;
use axum::routing::{any, get, post};
use hyper::body::Incoming;
use tower::ServiceExt;

use super::body::{self, Body, Charge, Held};
use super::{Entrance, Listener, Shared, Unsent, trace};
use crate::drift::Drift;
use crate::error::{Code, Error};
use crate::model::usage::Protocol;
use crate::serve::Measured;
use crate::telemetry::metrics;
use crate::telemetry::trace::{Open, Tracer};
use crate::telemetry::trials::Trials;
pub use infer::decode_infer;

/// What handlers of one listener share.
#[derive(Clone, Debug)]
struct Context {
    shared: Shared,
    listener: Listener,
}

/// The answer of a route.
type Routed = Result<axum::response::Response, Error>;

/// The answer to a request.
type Answer = Result<Response<Body>, Error>;

/// What the path of a prediction request says, as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Target<'a> {
    dialect: Dialect,
    /// `None` is the only one that there is.
    slot: Option<&'a str>,
    version: Option<&'a str>,
}

/// A prediction request without its body.
#[derive(Clone, Copy, Debug)]
struct Call<'a> {
    slot: &'a str,
    revision: Option<u64>,
    headers: &'a HeaderMap,
    /// When its head was there.
    received: Instant,
}

/// How rows and predictions are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    /// The Open Inference Protocol.
    V2,
    /// TensorFlow Serving's `:predict`.
    V1,
}

impl IntoResponse for Error {
    fn into_response(self) -> axum::response::Response {
        error_response(&self).map(axum::body::Body::new)
    }
}

/// The routes of a listener.
pub fn router(shared: Shared, listener: Listener) -> Router {
    let context = Context { shared, listener };
    let router = Router::new()
        .route("/v2", get(metadata::server))
        .route("/v2/health/live", get(metadata::live))
        .route("/v2/health/ready", get(metadata::ready))
        .route("/v2/models/stats", get(metadata::all_statistics))
        .route("/v2/models/{model}", get(metadata::model))
        .route("/v2/models/{model}/ready", get(metadata::model_ready))
        .route("/v2/models/{model}/config", get(metadata::config))
        .route("/v2/models/{model}/stats", get(metadata::statistics))
        .route(
            "/v2/models/{model}/versions/{version}",
            get(metadata::version),
        )
        .route(
            "/v2/models/{model}/versions/{version}/ready",
            get(metadata::version_ready),
        )
        .route(
            "/v2/models/{model}/versions/{version}/config",
            get(metadata::version_config),
        )
        .route(
            "/v2/models/{model}/versions/{version}/stats",
            get(metadata::version_statistics),
        )
        .route("/v2/repository/index", post(repository::index))
        .route("/v2/repository/models/{model}/load", post(repository::load))
        .route(
            "/v2/repository/models/{model}/unload",
            post(repository::unload),
        )
        .route("/v1/feedback", post(slots::feedback))
        .route("/v1/slots", get(slots::all))
        .route("/v1/slots/{slot}", get(slots::one))
        .route("/v1/slots/{slot}/verdict", get(gates::verdict))
        .route("/hooks/flagger/{gate}", post(gates::flagger))
        .route("/v1/slots/{slot}/drift", get(slots::drift))
        .route("/v1/slots/{slot}/decisions", get(slots::decisions))
        .route("/v1/slots/{slot}/promote", post(slots::promote))
        .route("/v1/slots/{slot}/rollback", post(slots::rollback))
        .route("/health", get(slots::health))
        // What SageMaker asks.
        .route("/ping", get(metadata::ready))
        .route("/invocations", any(wrong_method))
        .route("/v1/models/{call}", get(metadata::v1_model))
        // Predictions take the lane of `answer`; here they are paths that want another method.
        .route("/v2/models/{model}/infer", any(wrong_method))
        .route(
            "/v2/models/{model}/versions/{version}/infer",
            any(wrong_method),
        )
        .route("/v1/models/{model}/versions/{call}", any(wrong_method));
    let router = match listener {
        Listener::Public => router,
        Listener::Admin => router.route("/metrics", get(exposition)),
    };
    let router = match &context.shared.tracer {
        None => router,
        Some(_) => router.route_layer(from_fn(trace::note_route)),
    };
    router
        .fallback(|| async { Error::new(Code::NotFound, "no such path") })
        .method_not_allowed_fallback(wrong_method)
        .with_state(context)
}

/// Answers a request: predictions by a straight lane, all else by the router. What of it is large is
/// counted as `unsent`.
pub async fn answer(
    entrance: &Entrance,
    request: Request<Incoming>,
    unsent: &Arc<Unsent>,
) -> Response<Body> {
    let received = Instant::now();
    let shared = &entrance.shared;
    let (parts, body) = request.into_parts();
    let target = match parts.method == Method::POST {
        true => Target::of(parts.uri.path()),
        false => None,
    };
    let route = target.as_ref().map(Target::route);
    let open = trace::http(shared, &parts, route, received);
    let trace = open.as_ref().map(Open::trace);
    let mut measured = target
        .is_some()
        .then(|| Measured::start(&shared.server, Protocol::Http, received, trace));
    let answer = match (target, &mut measured) {
        (Some(target), Some(measured)) => {
            let call = (target, &parts.headers, received);
            predict(shared, call, measured, body).await
        }
        _ => {
            let request = Request::from_parts(parts, axum::body::Body::new(body));
            routed(entrance, request).await
        }
    };
    let mut error = answer.as_ref().err().map(|error| error.code);
    let mut response = answer.unwrap_or_else(|error| error_response(&error));
    if let Err(full) = unsent.hold(response.body_mut(), &shared.answers) {
        error = Some(full.code);
        response = error_response(&full);
    }
    // Moved whatever it is: it borrows from what follows.
    measured.into_iter().for_each(|it| it.finish(error));
    if let Some(open) = open {
        trace::end_http(open, error, &mut response);
    }
    response
}

async fn routed(entrance: &Entrance, request: axum::extract::Request) -> Answer {
    let response = match entrance.router.clone().oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    match entrance.listener {
        Listener::Public => body::whole(response).await,
        // The metrics are answered however much room clients took.
        Listener::Admin => Ok(response.map(Body::Routed)),
    }
}

async fn predict(
    shared: &Shared,
    (target, headers, received): (Target<'_>, &HeaderMap, Instant),
    measured: &mut Measured<'_>,
    body: Incoming,
) -> Answer {
    let slot = match target.slot {
        Some(slot) => decoded(slot)?,
        None => Cow::Owned(only_slot(shared)?),
    };
    let call = Call {
        slot: &slot,
        revision: match target.version {
            None => None,
            Some(version) => Some(revision_id(&slot, version)?),
        },
        headers,
        received,
    };
    // The same limit holds for the body to arrive as for the work on it.
    let deadline = shared.deadline(received, None);
    let body = read_body(shared, headers, body, deadline).await?;
    match target.dialect {
        Dialect::V2 => infer::infer(shared, &call, measured, body).await,
        Dialect::V1 => predict::predict(shared, &call, measured, body).await,
    }
}

impl<'a> Target<'a> {
    /// What a path asks for; `None` when it is not of predictions.
    fn of(path: &'a str) -> Option<Target<'a>> {
        if path == "/invocations" {
            return Some(Target {
                dialect: Dialect::V1,
                slot: None,
                version: None,
            });
        }
        let (dialect, rest) = match path.as_bytes().get(..4)? {
            b"/v2/" => (Dialect::V2, path[4..].strip_suffix("/infer")?),
            b"/v1/" => (Dialect::V1, path[4..].strip_suffix(":predict")?),
            _ => return None,
        };
        let mut segments = rest.strip_prefix("models/")?.split('/');
        let slot = segments.next().filter(|slot| !slot.is_empty())?;
        let version = match (segments.next(), segments.next(), segments.next()) {
            (None, ..) => None,
            (Some("versions"), Some(version), None) => Some(version),
            _ => return None,
        };
        Some(Target {
            dialect,
            slot: Some(slot),
            version,
        })
    }

    /// Its path without what it names.
    fn route(&self) -> &'static str {
        if self.slot.is_none() {
            return "/invocations";
        }
        match (self.dialect, self.version) {
            (Dialect::V2, None) => "/v2/models/{model}/infer",
            (Dialect::V2, Some(_)) => "/v2/models/{model}/versions/{version}/infer",
            (Dialect::V1, None) => "/v1/models/{model}:predict",
            (Dialect::V1, Some(_)) => "/v1/models/{model}/versions/{version}:predict",
        }
    }
}

/// The name of the slot, where there is one and no more.
fn only_slot(shared: &Shared) -> Result<String, Error> {
    let slots = shared.server.registry.slots();
    let mut names = slots.keys();
    match (names.next(), names.next()) {
        (Some(name), None) => Ok(name.clone()),
        _ => Err(Error::new(
            Code::NotFound,
            format!(
                "/invocations: expected one model, there are {}; ask /v1/models/NAME:predict",
                slots.len()
            ),
        )),
    }
}

/// A segment of a path without its percent signs.
fn decoded(segment: &str) -> Result<Cow<'_, str>, Error> {
    percent_encoding::percent_decode_str(segment)
        .decode_utf8()
        .map_err(|_| Error::new(Code::NotFound, "path: expected UTF-8"))
}

/// An error as a whole answer.
pub(super) fn error_response(error: &Error) -> Response<Body> {
    let mut json = b"{\"error\":".to_vec();
    data::write_text(&mut json, &error.message);
    json.push(b'}');
    let mut response = json_response(json);
    *response.status_mut() =
        StatusCode::from_u16(error.code.http()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if let Some(after) = error.retry_after {
        let seconds = HeaderValue::from(after.as_secs().max(1));
        response.headers_mut().insert(header::RETRY_AFTER, seconds);
    }
    response
}

fn json_response(json: Vec<u8>) -> Response<Body> {
    response(json, "application/json")
}

fn response(body: Vec<u8>, content_type: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::Whole(Some(body.into())));
    let content_type = HeaderValue::from_static(content_type);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, content_type);
    response
}

async fn wrong_method() -> Error {
    Error::new(Code::MethodNotAllowed, "the path does not have this method")
}

async fn exposition(State(context): State<Context>) -> Routed {
    let shared = &context.shared;
    let doors = metrics::Doors {
        connections: shared.connections.open(),
        connections_refused: shared.connections.refused(),
        bodies_bytes: shared.bodies.used(),
        bodies_refused: shared.bodies.refused(),
        traces: shared.tracer.as_deref().map(Tracer::counts),
        answers_bytes: shared.answers.used(),
        answers_refused: shared.answers.refused(),
        closed: shared.connections.closed(),
    };
    let drift = shared.drift.as_ref().map(Drift::metrics);
    let drift = drift.unwrap_or_default();
    let text = shared
        .metrics
        .render(
            &shared.server,
            (&doors, trials(shared), drift),
            Instant::now(),
        )
        .map_err(|_| Error::internal("the metrics cannot be written"))?;
    Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response())
}

/// The loop, for the metrics.
fn trials(shared: &Shared) -> Trials {
    let (waiting, _max) = shared.server.recorder.waiting();
    let mut trials = match &shared.rollout {
        None => return Trials::default(),
        Some(rollout) => rollout.metrics(),
    };
    trials.record_bytes += waiting;
    trials
}

fn revision_id(model: &str, version: &str) -> Result<u64, Error> {
    version.parse().map_err(|_| {
        let model: String = model.chars().take(100).collect();
        Error::new(
            Code::NotFound,
            format!("model \"{model}\": a revision is a positive whole number"),
        )
    })
}

/// Reads a body up to the limit, which holds again for what comes out of gzip.
async fn read_body<B>(
    shared: &Shared,
    headers: &HeaderMap,
    body: B,
    deadline: Option<Instant>,
) -> Result<Held, Error>
where
    B: hyper::body::Body<Data = Bytes> + Unpin,
{
    let limit = shared.settings.body_bytes_max;
    let mut charge = Charge::new(&shared.bodies);
    let bytes = body::read(body, limit, deadline, shared.leaves(), &mut charge).await?;
    match headers
        .get(header::CONTENT_ENCODING)
        .map(HeaderValue::as_bytes)
    {
        None | Some(b"identity") => Ok(Held::new(bytes, charge)),
        Some(b"gzip") => unpacked(shared, bytes, charge, deadline).await,
        Some(_) => Err(Error::new(
            Code::UnsupportedMedia,
            "content-encoding: expected gzip or identity",
        )),
    }
}

/// What comes out of gzip.
async fn unpacked(
    shared: &Shared,
    bytes: Bytes,
    mut charge: Charge,
    deadline: Option<Instant>,
) -> Result<Held, Error> {
    let limit = shared.settings.body_bytes_max;
    if let Some(out) = body::gunzip_small(&bytes, limit, &mut charge)? {
        return Ok(Held::new(out, charge));
    }
    let work = move || {
        let out = body::gunzip(&bytes, limit, &mut charge)?;
        Ok(Held::new(out, charge))
    };
    shared.aside(deadline, work).await
}

/// The body of a request that is not a prediction.
async fn whole_body(shared: &Shared, request: axum::extract::Request) -> Result<Held, Error> {
    let (parts, body) = request.into_parts();
    let deadline = shared.deadline(Instant::now(), None);
    read_body(shared, &parts.headers, body, deadline).await
}

fn json_answer(value: &serde_json::Value) -> axum::response::Response {
    (
        [(header::CONTENT_TYPE, "application/json")],
        value.to_string(),
    )
        .into_response()
}
