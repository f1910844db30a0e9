//! `hedgerow.v1`: labels in; trials, decisions and an operator's word.

use serde_json::Value;
use tonic::{Request, Response, Status};

use super::{loop_pb as pb, reply};
use crate::api::control::{actor, limited, loop_of, promoted};
use crate::api::{Listener, Shared, feedback};
use crate::error::{Code, Error};
use crate::journal::labels::Receipt;
use crate::rollout::{Ask, Done};
use pb::feedback_server::Feedback;
use pb::outcome::{Target, Value as Given};
use pb::rollout_server::Rollout;

/// Answers both services.
#[derive(Clone, Debug)]
pub struct Loop {
    pub shared: Shared,
}

/// Decisions of one answer.
const DECISIONS_MAX: u32 = 1000;

#[tonic::async_trait]
impl Feedback for Loop {
    async fn label(
        &self,
        request: Request<pb::LabelRequest>,
    ) -> Result<Response<pb::LabelResponse>, Status> {
        reply(label(&self.shared, request.into_inner()).await)
    }
}

#[tonic::async_trait]
impl Rollout for Loop {
    async fn status(
        &self,
        request: Request<pb::StatusRequest>,
    ) -> Result<Response<pb::StatusResponse>, Status> {
        reply(status(&self.shared, &request.into_inner()))
    }

    async fn promote(
        &self,
        request: Request<pb::PromoteRequest>,
    ) -> Result<Response<pb::Done>, Status> {
        reply(promote(&self.shared, request.into_inner()).await)
    }

    async fn roll_back(
        &self,
        request: Request<pb::RollBackRequest>,
    ) -> Result<Response<pb::Done>, Status> {
        reply(roll_back(&self.shared, request.into_inner()).await)
    }

    async fn decisions(
        &self,
        request: Request<pb::DecisionsRequest>,
    ) -> Result<Response<pb::DecisionsResponse>, Status> {
        reply(decisions(&self.shared, request.into_inner()).await)
    }
}

async fn label(shared: &Shared, request: pb::LabelRequest) -> Result<pb::LabelResponse, Error> {
    let rollout = loop_of(shared)?;
    let count = request.labels.len();
    if count > feedback::LABELS_MAX {
        return Err(Error::new(
            Code::TooLarge,
            format!(
                "{count} labels in one call; at most {} are taken",
                feedback::LABELS_MAX
            ),
        ));
    }
    let sent = request.labels.into_iter().map(sent);
    let checked = sent.map(|sent| feedback::checked(rollout, sent)).collect();
    let results = rollout.label(checked).await?;
    Ok(pb::LabelResponse {
        results: results.iter().map(told).collect(),
    })
}

fn sent(outcome: pb::Outcome) -> feedback::Sent {
    let (prediction_id, key) = match outcome.target {
        Some(Target::PredictionId(id)) => (Some(id), None),
        Some(Target::Key(key)) => (None, Some(Value::String(key))),
        None => (None, None),
    };
    let text = |text: String| (!text.is_empty()).then_some(text);
    feedback::Sent {
        // An id says its row itself.
        row: key.is_some().then_some(outcome.row),
        slot: text(outcome.slot),
        prediction_id,
        key,
        value: outcome.value.map(|value| match value {
            Given::IsPositive(value) => Value::Bool(value),
            Given::Number(number) => Value::from(number),
            Given::Class(class) => Value::String(class),
        }),
        event_time: (outcome.event_at_ms != 0).then(|| outcome.event_at_ms.into()),
        source: text(outcome.source),
        weight: (outcome.weight != 0.0).then_some(outcome.weight),
        ..feedback::Sent::default()
    }
}

fn told(result: &Result<Receipt, String>) -> pb::label_response::Result {
    match result {
        Ok(receipt) => pb::label_response::Result {
            status: receipt.status.name().to_string(),
            feedback_id: receipt.feedback_id.hyphenated().to_string(),
            error: String::new(),
        },
        Err(reason) => pb::label_response::Result {
            status: "refused".to_string(),
            feedback_id: String::new(),
            error: reason.clone(),
        },
    }
}

fn status(shared: &Shared, request: &pb::StatusRequest) -> Result<pb::StatusResponse, Error> {
    shared.check_control(Listener::Public)?;
    let report = loop_of(shared)?.report(&request.slot)?;
    let report = serde_json::to_string(report.as_ref())
        .map_err(|error| Error::internal(format!("report: {error}")))?;
    Ok(pb::StatusResponse { report })
}

async fn promote(shared: &Shared, request: pb::PromoteRequest) -> Result<pb::Done, Error> {
    shared.check_control(Listener::Public)?;
    let revision = (request.revision != 0).then_some(request.revision);
    let actor = actor(given(request.actor))?;
    let done = promoted(shared, &request.slot, (revision, request.force), &actor).await?;
    Ok(answer(done))
}

async fn roll_back(shared: &Shared, request: pb::RollBackRequest) -> Result<pb::Done, Error> {
    shared.check_control(Listener::Public)?;
    let reason = given(request.reason).unwrap_or_else(|| "an operator's word".to_string());
    let ask = Ask::RollBack {
        revision: (request.revision != 0).then_some(request.revision),
        reason: limited("reason", reason)?,
    };
    let actor = actor(given(request.actor))?;
    let done = loop_of(shared)?.ask(&request.slot, ask, &actor).await?;
    Ok(answer(done))
}

async fn decisions(
    shared: &Shared,
    request: pb::DecisionsRequest,
) -> Result<pb::DecisionsResponse, Error> {
    shared.check_control(Listener::Public)?;
    let limit = match request.limit {
        0 => DECISIONS_MAX,
        limit => limit.min(DECISIONS_MAX),
    };
    let rollout = loop_of(shared)?;
    let entries = rollout
        .decisions(&request.slot, request.after_seq, limit)
        .await?;
    let decisions = entries.into_iter().map(|it| pb::decisions_response::Entry {
        slot: it.slot,
        seq: it.seq,
        at_ms: it.at_ms,
        body: it.body,
        previous: it.previous,
        hash: it.hash,
    });
    Ok(pb::DecisionsResponse {
        decisions: decisions.collect(),
    })
}

fn answer(done: Done) -> pb::Done {
    let revision = |name: Option<crate::rollout::document::Name>| name.map_or(0, |it| it.revision);
    pb::Done {
        decision: done.decision.to_string(),
        from_revision: revision(done.from),
        to_revision: revision(done.to),
        stage: done.stage.unwrap_or_default(),
        took_us: done.took_us,
    }
}

fn given(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}
