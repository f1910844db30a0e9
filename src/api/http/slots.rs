//! `/v1/feedback` and `/v1/slots`: labels in; trials, decisions and an operator's word.

use std::time::Instant;

use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, header};
use axum::response::IntoResponse;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::fmt::Hyphenated;

use super::{Context, Routed, data, json_answer, read_body, whole_body};
use crate::api::control::{actor, decided, limited, loop_of, promoted};
use crate::api::{Listener, Shared, feedback};
use crate::error::{Code, Error};
use crate::rollout::Ask;
use crate::rollout::feedback::{NAMES, Settled};

/// The body of a promotion; empty for the only challenger's next step.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Promotion {
    revision: Option<u64>,
    #[serde(default)]
    force: bool,
    actor: Option<String>,
}

/// The body of a rollback; empty for the previous champion.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rollback {
    revision: Option<u64>,
    reason: Option<String>,
    actor: Option<String>,
}

/// Which decisions are asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Page {
    #[serde(default)]
    after: i64,
    limit: Option<u32>,
}

/// Decisions of one answer.
const DECISIONS_MAX: u32 = 1000;

/// `POST /v1/feedback`.
pub async fn feedback(State(context): State<Context>, request: axum::extract::Request) -> Routed {
    let shared = &context.shared;
    loop_of(shared)?;
    let deadline = shared.deadline(Instant::now(), None);
    let (parts, body) = request.into_parts();
    let body = read_body(shared, &parts.headers, body, deadline)
        .await
        .map_err(|error| feedback::refused(shared, 1, error))?;
    let read = match body.len() > feedback::LARGE {
        false => feedback::read(&body),
        true => {
            let body = body.clone();
            shared.aside(deadline, move || feedback::read(&body)).await
        }
    };
    let (sent, single) = read.map_err(|error| feedback::unread(shared, error))?;
    let write = move |results: &[Settled]| written(results, single);
    let answer = feedback::taken(shared, deadline, sent, write).await?;
    // Its room is taken until here.
    drop(body);
    let json = HeaderValue::from_static("application/json");
    Ok(([(header::CONTENT_TYPE, json)], answer).into_response())
}

/// The answer to labels: of a single one what became of it, else of each, and how many of each kind.
fn written(results: &[Settled], single: bool) -> Result<Vec<u8>, Error> {
    let mut json = Vec::with_capacity(results.len() * 80 + 128);
    if let (true, [result]) = (single, results) {
        if let Err(refusal) = result {
            return Err(match refusal.later {
                true => Error::overloaded(refusal.reason.clone()),
                false => Error::invalid(refusal.reason.clone()),
            });
        }
        write_result(&mut json, result);
        return Ok(json);
    }
    let mut counts = [0_u64; NAMES.len()];
    json.extend_from_slice(b"{\"results\":[");
    for (index, result) in results.iter().enumerate() {
        if index > 0 {
            json.push(b',');
        }
        write_result(&mut json, result);
        let name = result.as_ref().map_or("refused", |it| it.status.name());
        if let Some(index) = NAMES.iter().position(|it| *it == name) {
            counts[index] += 1;
        }
    }
    let counts: serde_json::Map<String, Value> = NAMES
        .iter()
        .zip(counts)
        .map(|(name, count)| ((*name).to_string(), count.into()))
        .collect();
    json.extend_from_slice(b"],\"counts\":");
    json.extend_from_slice(Value::Object(counts).to_string().as_bytes());
    json.push(b'}');
    Ok(json)
}

fn write_result(json: &mut Vec<u8>, result: &Settled) {
    match result {
        Ok(receipt) => {
            let mut id = [0; Hyphenated::LENGTH];
            let id = receipt.feedback_id.hyphenated().encode_lower(&mut id);
            json.extend_from_slice(b"{\"feedback_id\":\"");
            json.extend_from_slice(id.as_bytes());
            json.extend_from_slice(b"\",\"status\":\"");
            json.extend_from_slice(receipt.status.name().as_bytes());
            json.extend_from_slice(b"\"}");
        }
        Err(refusal) => {
            json.extend_from_slice(b"{\"status\":\"refused\",\"error\":");
            data::write_text(json, &refusal.reason);
            json.extend_from_slice(match refusal.later {
                true => b",\"retry\":true}",
                false => b"}",
            });
        }
    }
}

/// `GET /v1/slots`.
pub async fn all(State(context): State<Context>) -> Routed {
    context.shared.check_trials(context.listener)?;
    let mut slots = Vec::new();
    if let Some(rollout) = &context.shared.rollout {
        for report in rollout.reports() {
            slots.push(value(&rollout.answer(&report))?);
        }
    }
    Ok(json_answer(&json!({ "slots": slots })))
}

/// `GET /v1/slots/{slot}`.
pub async fn one(State(context): State<Context>, Path(slot): Path<String>) -> Routed {
    context.shared.check_trials(context.listener)?;
    let rollout = loop_of(&context.shared)?;
    let report = rollout.report(&slot)?;
    let mut answer = value(&rollout.answer(&report))?;
    // What a person weighs with a decision; it decides nothing.
    let context = context
        .shared
        .drift
        .as_ref()
        .and_then(|it| it.context(&slot));
    if let (Some(context), Some(answer)) = (context, answer.as_object_mut()) {
        answer.insert("drift".to_string(), value(&context)?);
    }
    Ok(json_answer(&answer))
}

/// `GET /v1/slots/{slot}/drift`.
pub async fn drift(State(context): State<Context>, Path(slot): Path<String>) -> Routed {
    let shared = &context.shared;
    shared.check_trials(context.listener)?;
    let Some(drift) = shared.drift.clone() else {
        return Err(Error::new(
            Code::Conflict,
            "drift is not watched in any slot: drift.watch is off",
        ));
    };
    let deadline = shared.deadline(Instant::now(), None);
    // A model of many features takes milliseconds.
    let report = shared
        .aside(deadline, move || value(&drift.report(&slot)?))
        .await?;
    Ok(json_answer(&report))
}

/// `GET /v1/slots/{slot}/decisions`.
pub async fn decisions(
    State(context): State<Context>,
    Path(slot): Path<String>,
    page: Result<Query<Page>, axum::extract::rejection::QueryRejection>,
) -> Routed {
    context.shared.check_trials(context.listener)?;
    let Query(page) = page.map_err(|_| {
        Error::invalid("query: expected \"after\" and \"limit\", whole numbers, and nothing else")
    })?;
    let limit = page.limit.unwrap_or(DECISIONS_MAX).clamp(1, DECISIONS_MAX);
    let entries = decided(&context.shared, &slot, page.after, limit).await?;
    let entries: Vec<Value> = entries
        .iter()
        .map(|it| {
            json!({
                "slot": it.slot,
                "seq": it.seq,
                "at_ms": it.at_ms,
                "body": it.body,
                "record": serde_json::from_str::<Value>(&it.body).unwrap_or_default(),
                "previous": it.previous,
                "hash": it.hash,
            })
        })
        .collect();
    Ok(json_answer(&json!({"decisions": entries})))
}

/// `POST /v1/slots/{slot}/promote`.
pub async fn promote(
    State(context): State<Context>,
    Path(slot): Path<String>,
    request: axum::extract::Request,
) -> Routed {
    context.shared.check_trials(context.listener)?;
    let asked: Promotion = body(&context.shared, request).await?;
    let actor = actor(asked.actor)?;
    let done = promoted(
        &context.shared,
        &slot,
        (asked.revision, asked.force),
        &actor,
    )
    .await?;
    Ok(json_answer(&value(&done)?))
}

/// `POST /v1/slots/{slot}/rollback`.
pub async fn rollback(
    State(context): State<Context>,
    Path(slot): Path<String>,
    request: axum::extract::Request,
) -> Routed {
    context.shared.check_trials(context.listener)?;
    let asked: Rollback = body(&context.shared, request).await?;
    let reason = asked
        .reason
        .unwrap_or_else(|| "an operator's word".to_string());
    let ask = Ask::RollBack {
        revision: asked.revision,
        reason: limited("reason", reason)?,
    };
    let actor = actor(asked.actor)?;
    let done = loop_of(&context.shared)?.ask(&slot, ask, &actor).await?;
    Ok(json_answer(&value(&done)?))
}

/// `GET /health`: whether the process is well, the journal included. 200 while it answers.
pub async fn health(State(context): State<Context>) -> Routed {
    let shared = &context.shared;
    let journal = shared.rollout.as_ref().map(|rollout| {
        let health = rollout.journal();
        json!({
            "store": health.store,
            "connected": health.connected,
            // A store's words may name machines and users.
            "error": health.error.filter(|_| context.listener == Listener::Admin),
            "queued_rows": health.queued_rows,
            "dropped_rows": health.dropped_rows,
            "lag_ms": health.lag_ms,
            "leader": rollout.is_leader(),
        })
    });
    let degraded = shared
        .rollout
        .as_ref()
        .is_some_and(|it| !it.journal().connected);
    let answer = json!({
        "live": true,
        "ready": shared.is_ready(),
        "degraded": degraded,
        "journal": journal,
    });
    Ok(json_answer(&answer).into_response())
}

/// The body of a request, or the default of an empty one.
pub async fn body<T: Default + for<'a> Deserialize<'a>>(
    shared: &Shared,
    request: axum::extract::Request,
) -> Result<T, Error> {
    let body = whole_body(shared, request).await?;
    if body.trim_ascii().is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(&body)
        .map_err(|error| Error::invalid(format!("body: {}", feedback::told(&error))))
}

fn value<T: serde::Serialize>(of: &T) -> Result<Value, Error> {
    serde_json::to_value(of).map_err(|error| Error::internal(format!("report: {error}")))
}
