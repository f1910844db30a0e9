//! The straight line after a request was assigned: check, compute, answer; by the revision that it
//! was assigned to, or by the champion in its place.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::batch::{self, Batcher, Policy};
use super::cache::{self, Cache};
use super::extras::{Explain, Extras};
use super::note::Note;
use super::request::InferResponse;
use super::{Lane, Server, select};
use crate::error::{Code, Error};
use crate::model::revision::Revision;
use crate::model::rules::Marks;
use crate::model::signature::Read;
use crate::model::slot::{Roles, Slot};
use crate::model::usage::{Outcome, Protocol};
use crate::telemetry::trace::Trace;
use crate::tensor::{Rows, Tensors};

/// The rest of the line after the checks: who computes what, until when.
struct Run<'a> {
    batcher: &'a Batcher,
    policy: &'a Policy,
    revision: &'a Arc<Revision>,
    deadline: Option<Instant>,
    trace: Option<&'a Arc<Trace>>,
}

/// A request that was assigned, without its tensors.
pub struct Job<'a> {
    pub server: &'a Server,
    pub lane: &'a Lane,
    pub slot: Arc<Slot>,
    pub roles: Arc<Roles>,
    pub outputs: &'a [Cow<'a, str>],
    pub explain: Option<Explain>,
    pub deadline: Option<Instant>,
    pub received: Instant,
    pub trace: Option<&'a Arc<Trace>>,
}

impl Job<'_> {
    /// The answer of a revision, and the rows if they are to be recorded.
    pub async fn answer(
        &self,
        revision: &Arc<Revision>,
        mut tensors: Tensors<'_>,
        note: &mut Note<'_>,
    ) -> Result<(InferResponse, Option<Read>), Error> {
        let (server, roles) = (self.server, &self.roles);
        let (wanted, extras) = select(revision, self.outputs, self.explain)?;
        if !roles.alike {
            note.keep(&tensors, &server.recorder);
            let others = || roles.resident().map(|it| &it.signature);
            revision.signature.leave_out_foreign(&mut tensors, others);
        }
        let (mut read, marks) = self.read(revision, tensors)?;
        let count = read.rows.len();
        let _held = server.admission.hold(count);
        if let Some(extras) = &extras {
            server.admission.check_extras(extras, count)?;
        }
        let decoded = Instant::now();
        if self.deadline.is_some_and(|deadline| deadline <= decoded) {
            return Err(batch::late());
        }
        let usage = &revision.usage;
        usage
            .decode
            .record(decoded.saturating_duration_since(self.received));
        if let Some(trace) = self.trace {
            trace.decoded(decoded);
        }
        let run = Run {
            batcher: &server.batcher,
            policy: &self.lane.policy,
            revision,
            deadline: self.deadline,
            trace: self.trace,
        };
        let width = match &extras {
            None => revision.signature.result_width(),
            Some(extras) => extras.result_width,
        };
        let champion = (revision.uid == roles.champion.uid).then_some(&**revision);
        let kept = note.rows(&server.recorder, &self.slot, champion, &read);
        // What is kept is what the caller sent: others clamp it by their own rules.
        if marks.clamped > 0 {
            revision.rules.clamp(&mut read.rows);
        }
        let rows = read.rows;
        let results = match (&self.lane.cache, &extras) {
            // Explanations are wide and seldom asked for twice: the cache is for predictions.
            (_, Some(extras)) => run.explain(rows, Arc::clone(extras)).await?,
            (None, None) => run.compute(rows).await?,
            (Some(cache), None) => run.cached(cache, rows).await?,
        };
        let computed = Instant::now();
        usage.record_answer(count, computed);
        let response = InferResponse {
            revision: Arc::clone(revision),
            rows: count,
            results,
            width,
            wanted,
            extras,
            prediction: note.prediction,
            marks,
            computed,
        };
        Ok((response, kept))
    }

    /// The rows that a revision reads, held against its rules and not clamped yet.
    fn read(&self, revision: &Revision, tensors: Tensors<'_>) -> Result<(Read, Marks), Error> {
        let (signature, rules) = (&revision.signature, &revision.rules);
        // Before any is read: too many would keep this thread.
        let admission = &self.server.admission;
        match tensors.as_slice() {
            [one] if one.shape.len() == 1 => {}
            [first, ..] => admission.check_rows(first.shape.first().copied().unwrap_or(0))?,
            [] => {}
        }
        let read = signature.read(tensors).map_err(|mismatch| {
            rules.count_lacking(&mismatch);
            Error::invalid(mismatch.reason)
        })?;
        admission.check_rows(read.rows.len())?;
        let marks = rules.check(&read.rows, &read.unknown);
        Ok((read, marks.map_err(Error::invalid)?))
    }

    /// Whether the champion may answer what a challenger could not: it failed, or reads requests or
    /// refuses rows in another way.
    pub fn may_step_in(&self, challenger: &Revision, error: &Error) -> bool {
        match error.code {
            Code::Internal => true,
            Code::InvalidArgument => !self.roles.alike || challenger.rules.refuse_by_default(),
            _ => false,
        }
    }

    /// Counts against a challenger what the champion answered in its place.
    pub fn count_failure(&self, revision: &Revision, error: &Error, protocol: Protocol) {
        if error.code == Code::Internal {
            let elapsed = self.received.elapsed();
            return revision
                .usage
                .requests(protocol, Outcome::Failed)
                .record(elapsed);
        }
        // As in shadow, where it is scored once more: rows that do not fit are misfits there too, and
        // those that its rules refuse are scored as they are.
        let shadow = &revision.usage.shadow;
        shadow.rows.fetch_add(1, Ordering::Relaxed);
        shadow.misfits.fetch_add(1, Ordering::Relaxed);
    }
}

impl Run<'_> {
    // What only hands on is no future of its own: it would hold the rows once more.
    fn compute(&self, rows: Rows) -> impl Future<Output = Result<Vec<f64>, Error>> {
        let work = self.work(rows, None);
        self.batcher
            .run(self.revision, work, self.policy, self.deadline)
    }

    fn explain(
        &self,
        rows: Rows,
        extras: Arc<Extras>,
    ) -> impl Future<Output = Result<Vec<f64>, Error>> {
        let work = self.work(rows, Some(extras));
        self.batcher
            .run(self.revision, work, self.policy, self.deadline)
    }

    fn work(&self, rows: Rows, extras: Option<Arc<Extras>>) -> batch::Work {
        batch::Work {
            rows,
            extras,
            trace: self.trace.cloned(),
        }
    }

    /// Takes what the cache has, computes what nobody else computes, and waits for the rest.
    async fn cached(&self, cache: &Cache, rows: Rows) -> Result<Vec<f64>, Error> {
        let width = self.revision.signature.result_width();
        let mut results = vec![0.0; rows.len() * width];
        let mut put = |row: usize, result: &[f64]| {
            results[row * width..(row + 1) * width].copy_from_slice(result);
        };
        let found = cache.lookup(self.revision.uid, &rows);
        let (usage, hits) = (&self.revision.usage, found.hits.len() as u64);
        usage.cache_hits.fetch_add(hits, Ordering::Relaxed);
        usage
            .cache_misses
            .fetch_add(rows.len() as u64 - hits, Ordering::Relaxed);
        if let Some(trace) = self.trace {
            trace.looked_up(hits, rows.len() as u64 - hits);
        }
        for (row, result) in &found.hits {
            put(*row, result);
        }
        if !found.claimed.is_empty() {
            let computed = self.compute(rows.select(&found.claimed)).await?;
            for (row, result) in found.claimed.iter().zip(computed.chunks_exact(width)) {
                put(*row, result);
            }
            found.claim.finish(&computed, width);
        }
        let mut abandoned = Vec::new();
        for (row, waiting) in found.joined {
            match self.arrival(waiting).await? {
                Some(result) => put(row, &result),
                None => abandoned.push(row),
            }
        }
        if !abandoned.is_empty() {
            let computed = self.compute(rows.select(&abandoned)).await?;
            for (row, result) in abandoned.iter().zip(computed.chunks_exact(width)) {
                put(*row, result);
            }
        }
        Ok(results)
    }

    /// The result that another caller computes; `None` when that one gave up.
    async fn arrival(&self, mut waiting: cache::Waiting) -> Result<Option<Arc<[f64]>>, Error> {
        let arrived = waiting.wait_for(Option::is_some);
        let arrived = match self.deadline {
            None => arrived.await,
            Some(deadline) => tokio::time::timeout_at(deadline.into(), arrived)
                .await
                .map_err(|_elapsed| batch::late())?,
        };
        Ok(arrived.ok().and_then(|result| result.clone()))
    }
}
