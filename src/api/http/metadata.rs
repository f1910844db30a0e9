//! What the server and its models say of themselves: health, metadata, Triton's configuration and
//! statistics.

use std::sync::atomic::Ordering;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::{Context, Routed, json_answer, revision_id};
use crate::engine::Output;
use crate::model::revision::Revision;
use crate::model::usage::{Histogram, Outcome, Protocol, Snapshot};
use crate::serve::extras::available;
use crate::tensor::DType;

const EXTENSIONS: [&str; 4] = [
    "binary_tensor_data",
    "model_repository",
    "statistics",
    "model_configuration",
];

pub async fn server(State(context): State<Context>) -> Response {
    let engines = context.shared.engines.iter().map(|(name, found)| {
        let about = match found {
            Ok(()) => json!({ "available": true }),
            Err(reason) => json!({ "available": false, "reason": reason }),
        };
        ((*name).to_string(), about)
    });
    json_answer(&json!({
        "name": "hedgerow",
        "version": env!("CARGO_PKG_VERSION"),
        "extensions": EXTENSIONS,
        "engines": engines.collect::<serde_json::Map<_, _>>(),
    }))
}

pub async fn live() -> Response {
    json_answer(&json!({ "live": true }))
}

pub async fn ready(State(context): State<Context>) -> Response {
    let ready = context.shared.is_ready();
    readiness(ready, &json!({ "ready": ready }))
}

fn readiness(ready: bool, body: &Value) -> Response {
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, json_answer(body)).into_response()
}

pub async fn model(State(context): State<Context>, Path(model): Path<String>) -> Routed {
    about(&context, &model, None)
}

pub async fn version(
    State(context): State<Context>,
    Path((model, version)): Path<(String, String)>,
) -> Routed {
    about(&context, &model, Some(revision_id(&model, &version)?))
}

pub async fn model_ready(State(context): State<Context>, Path(model): Path<String>) -> Routed {
    is_ready(&context, &model, None)
}

pub async fn version_ready(
    State(context): State<Context>,
    Path((model, version)): Path<(String, String)>,
) -> Routed {
    is_ready(&context, &model, Some(revision_id(&model, &version)?))
}

fn is_ready(context: &Context, model: &str, revision: Option<u64>) -> Routed {
    let server = &context.shared.server;
    server.slot(model)?;
    let ready = server.revision(model, revision).is_ok();
    Ok(readiness(ready, &json!({ "name": model, "ready": ready })))
}

fn about(context: &Context, model: &str, revision: Option<u64>) -> Routed {
    let server = &context.shared.server;
    let found = server.revision(model, revision)?;
    let versions: Vec<String> = match (revision, server.slot(model)?.roles()) {
        (None, Some(roles)) => roles
            .resident()
            .map(|revision| revision.id.to_string())
            .collect(),
        _ => vec![found.id.to_string()],
    };
    let (signature, outline) = (&found.signature, found.outline());
    let features: Vec<&str> = signature
        .columns
        .iter()
        .map(|column| column.name.as_str())
        .collect();
    let outputs: Vec<Value> = signature.outputs.iter().map(output).collect();
    // Not among the outputs: clients that ask for every output they find would pay for them.
    let extras = available(&found).into_iter().map(|(name, dtype, dims)| {
        let shape: Vec<i64> = [-1]
            .into_iter()
            .chain(dims.iter().map(|n| *n as i64))
            .collect();
        json!({ "name": name, "datatype": dtype.name(), "shape": shape })
    });
    let extras: Vec<Value> = extras.collect();
    Ok(json_answer(&json!({
        "name": model,
        "versions": versions,
        "platform": outline.format.platform(),
        "inputs": [{
            "name": signature.input,
            "datatype": signature.element.dtype().name(),
            "shape": [-1, features.len()],
        }],
        "outputs": outputs,
        "parameters": {
            "features": features,
            "extras": extras,
            "objective": outline.objective,
            "engine": outline.engine,
            "revision": found.id,
            "sha256": found.digest,
        },
    })))
}

fn output(output: &Output) -> Value {
    let mut about = json!({
        "name": output.name,
        "datatype": output.dtype.name(),
        "shape": shape(output),
    });
    if !output.labels.is_empty() {
        about["labels"] = json!(output.labels);
    }
    about
}

fn shape(output: &Output) -> Value {
    match output.columns {
        None => json!([-1]),
        Some(columns) => json!([-1, columns]),
    }
}

pub async fn config(State(context): State<Context>, Path(model): Path<String>) -> Routed {
    triton_config(&context, &model, None)
}

pub async fn version_config(
    State(context): State<Context>,
    Path((model, version)): Path<(String, String)>,
) -> Routed {
    triton_config(&context, &model, Some(revision_id(&model, &version)?))
}

/// Triton's `ModelConfig`, which its tools ask for. A `max_batch_size` of 0 means that shapes are
/// given whole.
fn triton_config(context: &Context, model: &str, revision: Option<u64>) -> Routed {
    let found = context.shared.server.revision(model, revision)?;
    let signature = &found.signature;
    let data_type = |dtype: DType| match dtype {
        DType::Bytes => "TYPE_STRING".to_string(),
        dtype => format!("TYPE_{}", dtype.name()),
    };
    let outputs = signature.outputs.iter().map(|output| {
        json!({ "name": output.name, "data_type": data_type(output.dtype), "dims": shape(output) })
    });
    Ok(json_answer(&json!({
        "name": model,
        "platform": found.outline().format.platform(),
        "backend": found.outline().engine,
        "version_policy": { "latest": { "num_versions": 1 } },
        "max_batch_size": 0,
        "input": [{
            "name": signature.input,
            "data_type": data_type(signature.element.dtype()),
            "dims": [-1, signature.columns.len()],
        }],
        "output": outputs.collect::<Vec<_>>(),
    })))
}

pub async fn all_statistics(State(context): State<Context>) -> Response {
    let slots = context.shared.server.registry.slots();
    let roles = slots.values().filter_map(|slot| slot.roles());
    let stats: Vec<Value> = roles
        .flat_map(|roles| {
            roles
                .resident()
                .map(|revision| usage(revision))
                .collect::<Vec<_>>()
        })
        .collect();
    json_answer(&json!({ "model_stats": stats }))
}

pub async fn statistics(State(context): State<Context>, Path(model): Path<String>) -> Routed {
    let server = &context.shared.server;
    server.revision(&model, None)?;
    let roles = server.slot(&model)?.roles();
    let stats = roles.iter().flat_map(|roles| roles.resident());
    let stats: Vec<Value> = stats.map(|revision| usage(revision)).collect();
    Ok(json_answer(&json!({ "model_stats": stats })))
}

pub async fn version_statistics(
    State(context): State<Context>,
    Path((model, version)): Path<(String, String)>,
) -> Routed {
    let id = revision_id(&model, &version)?;
    let found = context.shared.server.revision(&model, Some(id))?;
    Ok(json_answer(&json!({ "model_stats": [usage(&found)] })))
}

/// Triton's statistics. Sizes in `batch_stats` are rounded up to powers of two.
fn usage(revision: &Revision) -> Value {
    let usage = &revision.usage;
    let timed = |snapshot: &Snapshot| json!({ "count": snapshot.count(), "ns": snapshot.sum_ns });
    let mut success = Snapshot::EMPTY;
    let mut fail = Snapshot::EMPTY;
    for protocol in Protocol::ALL {
        for outcome in Outcome::ALL {
            let snapshot = usage.requests(protocol, outcome).snapshot();
            let total = if outcome == Outcome::Ok {
                &mut success
            } else {
                &mut fail
            };
            total.add(&snapshot);
        }
    }
    // As in Triton, each part counts every request that succeeded, those too that waited for
    // nothing, so the counts agree while others are on their way: perf_analyzer insists on both.
    let part = |histogram: &Histogram| json!({ "count": success.count(), "ns": histogram.snapshot().sum_ns });
    let batches = usage
        .batch_rows
        .iter()
        .enumerate()
        .filter_map(|(power, calls)| {
            let (count, ns) = calls.get();
            let infer = json!({ "count": count, "ns": ns });
            (count > 0).then(|| json!({ "batch_size": 1_u64 << power, "compute_infer": infer }))
        });
    let read = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
    json!({
        "name": revision.slot,
        "version": revision.id.to_string(),
        "last_inference": read(&usage.last_inference_ms),
        "inference_count": read(&usage.rows_computed),
        "execution_count": usage.infer.snapshot().count(),
        "inference_stats": {
            "success": timed(&success),
            "fail": timed(&fail),
            "queue": part(&usage.queue),
            "compute_input": part(&usage.decode),
            "compute_infer": part(&usage.infer),
            "compute_output": part(&usage.encode),
            "cache_hit": { "count": read(&usage.cache_hits), "ns": 0 },
            "cache_miss": { "count": read(&usage.cache_misses), "ns": 0 },
        },
        "batch_stats": batches.collect::<Vec<_>>(),
        "memory_usage": [{ "type": "CPU", "id": 0, "byte_size": revision.engine.memory_bytes() }],
    })
}

/// TensorFlow Serving's model status.
pub async fn v1_model(State(context): State<Context>, Path(model): Path<String>) -> Routed {
    let roles = context.shared.server.slot(&model)?.roles();
    let versions = roles
        .iter()
        .flat_map(|roles| roles.resident())
        .map(|revision| {
            json!({
                "version": revision.id.to_string(),
                "state": "AVAILABLE",
                "status": { "error_code": "OK", "error_message": "" },
            })
        });
    Ok(json_answer(
        &json!({ "model_version_status": versions.collect::<Vec<_>>() }),
    ))
}
