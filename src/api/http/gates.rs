//! What rollout controllers outside ask: Argo Rollouts' `web` metric and Flagger's webhooks. They only
//! ask: what they do with the answer, they do to pods.

use std::collections::HashMap;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::Deserialize;
use serde_json::{Value, json};

use super::slots::body;
use super::{Context, Routed, json_answer};
use crate::api::Shared;
use crate::api::control::loop_of;
use crate::error::{Code, Error};
use crate::rollout::decide::Decision;
use crate::rollout::report::Trial;

/// What Flagger posts. It may send more in later versions.
#[derive(Debug, Default, Deserialize)]
struct Call {
    /// Of the Canary.
    #[serde(default)]
    name: String,
    /// As written in the Canary; `slot` names the slot, which else has the Canary's name.
    #[serde(default)]
    metadata: HashMap<String, String>,
}

/// What a slot's trial has earned.
struct Earned {
    decision: Decision,
    journal_is_well: bool,
    data: Value,
}

/// `GET /v1/slots/{slot}/verdict`: `decision` is what the oldest challenger has earned, or `rollback`
/// where the previous champion has.
pub async fn verdict(State(context): State<Context>, Path(slot): Path<String>) -> Routed {
    context.shared.check_trials(context.listener)?;
    let earned = earned(&context.shared, &slot)?;
    Ok(json_answer(&json!({"data": earned.data})))
}

/// `POST /hooks/flagger/{gate}`: 200 goes on, 409 does not. `confirm-promotion` opens once a challenger
/// has earned its promotion; `confirm-rollout` and `confirm-traffic-increase` while nothing has to go
/// back; `rollback` once something has. While the journal is away none opens.
pub async fn flagger(
    State(context): State<Context>,
    Path(gate): Path<String>,
    request: axum::extract::Request,
) -> Routed {
    context.shared.check_trials(context.listener)?;
    let opens: fn(&Decision) -> bool = match gate.as_str() {
        "confirm-promotion" => |it| *it == Decision::Promote,
        "confirm-rollout" | "confirm-traffic-increase" => |it| *it != Decision::Rollback,
        "rollback" => |it| *it == Decision::Rollback,
        _ => {
            return Err(Error::new(
                Code::NotFound,
                "no such gate; expected confirm-rollout, confirm-traffic-increase, \
                 confirm-promotion or rollback",
            ));
        }
    };
    let call: Call = body(&context.shared, request).await?;
    let slot = call.metadata.get("slot").unwrap_or(&call.name);
    let earned = earned(&context.shared, slot)?;
    let status = match earned.journal_is_well && opens(&earned.decision) {
        true => StatusCode::OK,
        false => StatusCode::CONFLICT,
    };
    let answer = json_answer(&json!({"data": earned.data}));
    Ok((status, answer).into_response())
}

fn earned(shared: &Shared, slot: &str) -> Result<Earned, Error> {
    let report = loop_of(shared)?.report(slot)?;
    let is_back = |it: &&Trial| it.decision == Decision::Rollback;
    let back = report.previous.iter().find(is_back);
    let trial = back.or(report.challengers.first());
    let decision = trial.map_or(Decision::Hold, |it| it.decision);
    let journal_is_well = report.journal_error.is_none();
    Ok(Earned {
        decision,
        journal_is_well,
        data: json!({
            "decision": decision,
            "ok": journal_is_well,
            "revision": trial.map(|it| it.standing.name.revision),
            "champion": report.champion.as_ref().map(|it| it.name.revision),
            "reasons": trial.map_or_else(Vec::new, |it| it.reasons.clone()),
        }),
    })
}
