//! HTTP, by axum: routes, bodies and errors. What a route says is in the modules below.

mod data;
mod infer;
mod json;
mod metadata;
mod predict;
mod repository;

use std::io::Read;
use std::time::Instant;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::json;

use super::{Listener, Shared};
use crate::error::{Code, Error};
use crate::telemetry::metrics;

/// What handlers of one listener share.
#[derive(Clone, Debug)]
struct Context {
    shared: Shared,
    listener: Listener,
}

type Answer = Result<Response, Error>;

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.code.http()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = json!({ "error": self.message }).to_string();
        let mut response =
            (status, [(header::CONTENT_TYPE, "application/json")], body).into_response();
        if let Some(after) = self.retry_after {
            let seconds = HeaderValue::from(after.as_secs().max(1));
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        response
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
        .route("/v2/models/{model}/infer", post(infer_model))
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
        .route(
            "/v2/models/{model}/versions/{version}/infer",
            post(infer_version),
        )
        .route("/v2/repository/index", post(repository::index))
        .route("/v2/repository/models/{model}/load", post(repository::load))
        .route(
            "/v2/repository/models/{model}/unload",
            post(repository::unload),
        )
        .route(
            "/v1/models/{call}",
            get(metadata::v1_model).post(predict_model),
        )
        .route("/v1/models/{model}/versions/{call}", post(predict_version));
    let router = match listener {
        Listener::Public => router,
        Listener::Admin => router.route("/metrics", get(exposition)),
    };
    router
        .fallback(|| async { Error::new(Code::NotFound, "no such path") })
        .method_not_allowed_fallback(|| async {
            Error::new(Code::MethodNotAllowed, "the path does not have this method")
        })
        .with_state(context)
}

async fn infer_model(
    State(context): State<Context>,
    Path(model): Path<String>,
    request: Request,
) -> Answer {
    let (headers, body) = read_body(&context.shared, request).await?;
    infer::infer(&context.shared, model, None, &headers, body).await
}

async fn infer_version(
    State(context): State<Context>,
    Path((model, version)): Path<(String, String)>,
    request: Request,
) -> Answer {
    let revision = revision_id(&model, &version)?;
    let (headers, body) = read_body(&context.shared, request).await?;
    infer::infer(&context.shared, model, Some(revision), &headers, body).await
}

async fn predict_model(
    State(context): State<Context>,
    Path(call): Path<String>,
    request: Request,
) -> Answer {
    let model = before_predict(&call)?.to_string();
    let (headers, body) = read_body(&context.shared, request).await?;
    predict::predict(&context.shared, model, None, &headers, body).await
}

async fn predict_version(
    State(context): State<Context>,
    Path((model, call)): Path<(String, String)>,
    request: Request,
) -> Answer {
    let revision = revision_id(&model, before_predict(&call)?)?;
    let (headers, body) = read_body(&context.shared, request).await?;
    predict::predict(&context.shared, model, Some(revision), &headers, body).await
}

async fn exposition(State(context): State<Context>) -> Answer {
    let shared = &context.shared;
    let text = shared
        .metrics
        .render(&shared.server, Instant::now())
        .map_err(|_| Error::internal("the metrics cannot be written"))?;
    Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response())
}

fn before_predict(call: &str) -> Result<&str, Error> {
    call.strip_suffix(":predict")
        .ok_or_else(|| Error::new(Code::NotFound, "no such path; expected …:predict"))
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
async fn read_body(shared: &Shared, request: Request) -> Result<(HeaderMap, Bytes), Error> {
    let (parts, body) = request.into_parts();
    let limit = shared.settings.body_bytes_max;
    // The same limit holds for the body to arrive as for the work on it.
    let bytes = match shared.deadline(Instant::now(), None) {
        None => collect(body, limit).await?,
        Some(deadline) => tokio::time::timeout_at(deadline.into(), collect(body, limit))
            .await
            .map_err(|_elapsed| {
                Error::new(
                    Code::DeadlineExceeded,
                    "the body did not arrive within server.request_timeout_ms",
                )
            })??,
    };
    let encoding = parts.headers.get(header::CONTENT_ENCODING);
    let bytes = match encoding.map(HeaderValue::as_bytes) {
        None | Some(b"identity") => bytes,
        Some(b"gzip") => gunzip(&bytes, limit)?,
        Some(_) => {
            return Err(Error::new(
                Code::UnsupportedMedia,
                "content-encoding: expected gzip or identity",
            ));
        }
    };
    Ok((parts.headers, bytes))
}

async fn collect(body: Body, limit: usize) -> Result<Bytes, Error> {
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.downcast_ref::<LengthLimitError>().is_some() => Err(too_large(limit)),
        Err(_) => Err(Error::invalid("the body ended early")),
    }
}

fn gunzip(bytes: &[u8], limit: usize) -> Result<Bytes, Error> {
    let mut out = Vec::new();
    let mut decoder = flate2::read::MultiGzDecoder::new(bytes).take(limit as u64 + 1);
    decoder
        .read_to_end(&mut out)
        .map_err(|_| Error::invalid("the body is not whole gzip data"))?;
    if out.len() > limit {
        return Err(too_large(limit));
    }
    Ok(out.into())
}

fn too_large(limit: usize) -> Error {
    Error::new(
        Code::TooLarge,
        format!("the body is larger than server.body_bytes_max, {limit} bytes"),
    )
}

fn json_answer(value: &serde_json::Value) -> Response {
    (
        [(header::CONTENT_TYPE, "application/json")],
        value.to_string(),
    )
        .into_response()
}
