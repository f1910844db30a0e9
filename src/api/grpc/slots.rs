//! `hedgerow.v1.Rollout`: trials, decisions and an operator's word.

use tonic::{Request, Response, Status};

use super::{loop_pb as pb, reply};
use crate::api::control::{actor, decided, limited, loop_of, promoted};
use crate::api::{Listener, Shared};
use crate::error::Error;
use crate::rollout::{Ask, Done};
use pb::rollout_server::Rollout;

/// Answers the service.
#[derive(Clone, Debug)]
pub struct Loop {
    pub shared: Shared,
}

/// Decisions of one answer.
const DECISIONS_MAX: u32 = 1000;

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

fn status(shared: &Shared, request: &pb::StatusRequest) -> Result<pb::StatusResponse, Error> {
    shared.check_trials(Listener::Public)?;
    let rollout = loop_of(shared)?;
    let report = rollout.report(&request.slot)?;
    let report = serde_json::to_string(&rollout.answer(&report))
        .map_err(|error| Error::internal(format!("report: {error}")))?;
    Ok(pb::StatusResponse { report })
}

async fn promote(shared: &Shared, request: pb::PromoteRequest) -> Result<pb::Done, Error> {
    shared.check_trials(Listener::Public)?;
    let revision = (request.revision != 0).then_some(request.revision);
    let actor = actor(given(request.actor))?;
    let done = promoted(shared, &request.slot, (revision, request.force), &actor).await?;
    Ok(answer(done))
}

async fn roll_back(shared: &Shared, request: pb::RollBackRequest) -> Result<pb::Done, Error> {
    shared.check_trials(Listener::Public)?;
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
    shared.check_trials(Listener::Public)?;
    let limit = match request.limit {
        0 => DECISIONS_MAX,
        limit => limit.min(DECISIONS_MAX),
    };
    let entries = decided(shared, &request.slot, request.after_seq, limit).await?;
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
