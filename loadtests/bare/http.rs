//! HTTP, by axum as it comes.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use hedgerow::api::http::decode_infer;
use tokio::net::TcpListener;

use super::{Depth, Result, values};

/// What the handler needs.
#[derive(Clone)]
struct Canned {
    depth: Depth,
    answer: Bytes,
}

/// Serves until `stop` ends; connections that are open then are closed.
pub async fn serve(
    listener: TcpListener,
    depth: Depth,
    rows: usize,
    stop: impl Future<Output = ()>,
) -> Result<()> {
    let answer = answer(rows).into();
    let router = Router::new()
        .route("/v2/health/ready", get(|| async { StatusCode::OK }))
        .route("/v2/models/{model}/infer", post(infer))
        // Bodies of any size, as far as a load test goes.
        .layer(axum::extract::DefaultBodyLimit::disable())
        .with_state(Canned { depth, answer });
    let listener = listener.tap_io(|stream| {
        // Answers are one write each; waiting for more would only delay them.
        let _set = stream.set_nodelay(true);
    });
    tokio::select! {
        served = axum::serve(listener, router).into_future() => served?,
        () = stop => {}
    }
    Ok(())
}

async fn infer(State(canned): State<Canned>, body: Bytes) -> Response {
    if canned.depth == Depth::Parse {
        match decode_infer(&body, None) {
            Ok(tensors) => {
                std::hint::black_box(&tensors);
            }
            Err(error) => return (StatusCode::BAD_REQUEST, error.message).into_response(),
        }
    }
    ([(header::CONTENT_TYPE, "application/json")], canned.answer).into_response()
}

/// An answer in the form, and about of the length, of Hedgerow's.
fn answer(rows: usize) -> String {
    let values: Vec<String> = values(rows).map(|value| value.to_string()).collect();
    format!(
        "{{\"model_name\":\"bare\",\"model_version\":\"1\",\"id\":\"00000000-0000-7000-8000-000000000000\",\"outputs\":[{{\"name\":\"predict\",\"shape\":[{rows}],\"datatype\":\"FP32\",\"data\":[{}]}}]}}",
        values.join(",")
    )
}
