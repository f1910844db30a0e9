//! One prediction, a straight line: [`infer`]. Both protocols call it, so both count alike.

pub mod admission;
pub mod batch;
pub mod cache;
pub mod extras;
mod note;
pub mod record;
pub mod request;
pub mod shadow;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwapOption;

use crate::error::{Code, Error};
use crate::model::registry::Registry;
use crate::model::revision::Revision;
use crate::model::slot::{Departed, Plan, Roles, Slot, State};
use crate::model::usage::{Outcome, Protocol, Usage};
use crate::task::Supervisor;
use crate::tensor::Rows;
use admission::Admission;
use batch::{Batcher, Policy};
use cache::Cache;
pub use extras::Explain;
use extras::{Extras, Kind};
use note::{Computed, Note};
use record::{Record, Recorder, Records, Watch};
pub use request::{
    Answer, InferRequest, InferResponse, KEY_MAX, Names, Prediction, Selected, Wanted,
};

/// Settings of the serving path.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Settings {
    pub admission: admission::Settings,
    pub batch: batch::Settings,
    pub record: record::Settings,
    /// For slots without settings of their own. Their cache, if it is on, is one for all of them.
    pub slot: SlotSettings,
    pub slots: BTreeMap<String, SlotSettings>,
}

/// Settings of one slot.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct SlotSettings {
    pub policy: batch::Policy,
    pub cache: cache::Settings,
    pub watch: Watch,
}

/// What answers requests.
#[derive(Debug)]
pub struct Server {
    pub registry: Registry,
    pub admission: Admission,
    pub batcher: Batcher,
    /// Where answered requests go; see [`Server::records`].
    pub recorder: Recorder,
    records: Mutex<Option<Records>>,
    departed: Mutex<Departed>,
    /// Requests that ended before a revision was found.
    pub unresolved: Usage,
    lanes: BTreeMap<String, Lane>,
    other: Lane,
    /// What was decided of each slot, here or elsewhere; `None` until that is known.
    plans: ArcSwapOption<BTreeMap<String, Arc<Plan>>>,
    started: AtomicBool,
    leaving: AtomicBool,
}

/// How a slot's requests are worked on.
#[derive(Debug)]
struct Lane {
    policy: Policy,
    cache: Option<Cache>,
    watch: Watch,
}

/// The rest of the line after the checks: who computes what, until when.
struct Run<'a> {
    batcher: &'a Batcher,
    policy: &'a Policy,
    revision: &'a Arc<Revision>,
    deadline: Option<Instant>,
}

/// Measures a request. Dropped before [`Measured::finish`], the caller went away.
struct Measured<'a> {
    server: &'a Server,
    protocol: Protocol,
    received: Instant,
    revision: Option<Arc<Revision>>,
    finished: bool,
}

impl Server {
    /// A server without models.
    ///
    /// # Errors
    /// When its threads cannot be started.
    pub fn start(settings: &Settings, supervisor: &Supervisor) -> std::io::Result<Server> {
        let lane = |slot: &SlotSettings| Lane {
            policy: slot.policy.clone(),
            cache: Cache::new(&slot.cache),
            watch: slot.watch.clone(),
        };
        let all = settings.slots.values().chain([&settings.slot]);
        let records_max = match all.into_iter().any(|slot| slot.watch.is_on()) {
            true => record::RECORDS_MAX,
            false => 0,
        };
        let (recorder, records) = Recorder::new(settings.record.clone(), records_max);
        let slots = settings.slots.iter();
        Ok(Server {
            registry: Registry::default(),
            admission: Admission::new(settings.admission.clone()),
            batcher: Batcher::start(&settings.batch, supervisor)?,
            recorder,
            records: Mutex::new(Some(records)),
            departed: Mutex::default(),
            unresolved: Usage::default(),
            lanes: slots
                .map(|(name, slot)| (name.clone(), lane(slot)))
                .collect(),
            other: lane(&settings.slot),
            plans: ArcSwapOption::empty(),
            started: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
        })
    }

    /// What was decided of each slot; `None` until that is known. Until then slots with trials load
    /// nothing: the highest revision may be one that was found wanting.
    pub fn plans(&self) -> Option<Arc<BTreeMap<String, Arc<Plan>>>> {
        self.plans.load_full()
    }

    /// Notes what was decided, for the folder's task to load.
    pub fn set_plans(&self, plans: BTreeMap<String, Arc<Plan>>) {
        self.plans.store(Some(Arc::new(plans)));
    }

    /// Notes that the models present at the start were tried.
    pub fn set_started(&self) {
        self.started.store(true, Ordering::Release);
    }

    /// Whether the models present at the start were tried.
    pub fn is_started(&self) -> bool {
        self.started.load(Ordering::Acquire)
    }

    /// Notes that the server is about to stop: it answers, but is no longer ready.
    pub fn set_leaving(&self) {
        self.leaving.store(true, Ordering::Release);
    }

    /// Whether the server is about to stop.
    pub fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Acquire)
    }

    /// The other end of the recorder's queue, for the one that takes it first.
    pub fn records(&self) -> Option<Records> {
        lock(&self.records).take()
    }

    /// What is kept of a slot's predictions.
    pub fn watch(&self, slot: &str) -> &Watch {
        &self.lanes.get(slot).unwrap_or(&self.other).watch
    }

    /// Whether the predictions of any slot are recorded.
    pub fn records_any(&self) -> bool {
        let mut lanes = self.lanes.values().chain([&self.other]);
        lanes.any(|lane| lane.watch.is_on())
    }

    /// Keeps revisions that left their slots until [`Server::departed`] finds them unused: freeing a
    /// large one would take a request's thread for milliseconds.
    pub fn bury(&self, departed: Departed) {
        if !departed.is_empty() {
            lock(&self.departed).extend(departed);
        }
    }

    /// Takes out the departed revisions that no request uses any more.
    pub fn departed(&self) -> Departed {
        let mut departed = lock(&self.departed);
        let in_use = |revision: &Arc<Revision>| Arc::strong_count(revision) > 1;
        let (in_use, free) = std::mem::take(&mut *departed).into_iter().partition(in_use);
        *departed = in_use;
        free
    }

    /// The slot with this name.
    ///
    /// # Errors
    /// [`Code::NotFound`].
    pub fn slot(&self, name: &str) -> Result<Arc<Slot>, Error> {
        self.registry
            .slot(name)
            .ok_or_else(|| Error::new(Code::NotFound, format!("unknown model \"{}\"", short(name))))
    }

    /// The revision that answers requests for a slot: the one with `revision` as its id, or the one
    /// that the roles assign.
    ///
    /// # Errors
    /// [`Code::NotFound`] and [`Code::NotReady`].
    pub fn revision(&self, slot: &str, revision: Option<u64>) -> Result<Arc<Revision>, Error> {
        let slot = self.slot(slot)?;
        let roles = roles_of(&slot)?;
        match revision {
            None => Ok(Arc::clone(&roles.champion)),
            Some(id) => resident(&slot, &roles, id),
        }
    }

    /// The cache of each slot that has one of its own, and of all the others together under `None`.
    pub fn caches(&self) -> impl Iterator<Item = (Option<&str>, &Cache)> {
        let own = self
            .lanes
            .iter()
            .map(|(name, lane)| (Some(name.as_str()), lane));
        own.chain([(None, &self.other)])
            .filter_map(|(name, lane)| Some((name, lane.cache.as_ref()?)))
    }
}

/// Answers a request.
///
/// # Errors
/// With the code and message that the caller is to get; see [`Code`].
pub async fn infer(server: &Server, request: InferRequest<'_>) -> Result<InferResponse, Error> {
    let mut measured = Measured {
        server,
        protocol: request.protocol,
        received: request.received,
        revision: None,
        finished: false,
    };
    let result = line(server, request, &mut measured).await;
    measured.finish(&result);
    result
}

async fn line(
    server: &Server,
    request: InferRequest<'_>,
    measured: &mut Measured<'_>,
) -> Result<InferResponse, Error> {
    let slot = server.slot(request.slot)?;
    let _permit = server.admission.enter()?;
    // The only read of live state: a swap from here on does not concern this request.
    let roles = roles_of(&slot)?;
    let lane = server.lanes.get(request.slot).unwrap_or(&server.other);
    let key = request.key.as_deref();
    let mut note = Note::new(&lane.watch, &request)?;
    let revision = match request.revision {
        None => Arc::clone(roles.assign(|| note.draw(&slot, key))),
        Some(id) => resident(&slot, &roles, id)?,
    };
    measured.revision = Some(Arc::clone(&revision));
    let (wanted, extras) = select(&revision, &request.outputs, request.explain)?;
    let mut tensors = request.tensors;
    if !roles.alike {
        note.keep(&tensors, &server.recorder);
        let others = || roles.resident().map(|it| &it.signature);
        revision.signature.leave_out_foreign(&mut tensors, others);
    }
    let rows = revision
        .signature
        .check(tensors)
        .map_err(|mismatch| Error::invalid(mismatch.0))?;
    let count = rows.len();
    server.admission.check_rows(count)?;
    if let Some(extras) = &extras {
        server.admission.check_extras(extras, count)?;
    }
    let decoded = Instant::now();
    if request.deadline.is_some_and(|deadline| deadline <= decoded) {
        return Err(batch::late());
    }
    let usage = &revision.usage;
    usage
        .decode
        .record(decoded.saturating_duration_since(request.received));
    let run = Run {
        batcher: &server.batcher,
        policy: &lane.policy,
        revision: &revision,
        deadline: request.deadline,
    };
    let width = match &extras {
        None => revision.signature.result_width(),
        Some(extras) => extras.result_width,
    };
    let recorded = note.admit(&server.recorder, &slot, count);
    let kept = recorded.then(|| rows.clone());
    let results = match (&lane.cache, &extras) {
        // Explanations are wide and seldom asked for twice: the cache is for predictions.
        (_, Some(extras)) => run.explain(rows, Arc::clone(extras)).await?,
        (None, None) => run.compute(rows).await?,
        (Some(cache), None) => run.cached(cache, rows).await?,
    };
    let computed = Instant::now();
    revision.usage.record_answer(count, computed);
    if let Some(rows) = kept {
        let computed = Computed {
            rows,
            results: results.clone(),
            width,
        };
        server.recorder.record(Record {
            key: request.key.map(Cow::into_owned),
            ..note.record(slot, roles, Arc::clone(&revision), computed)
        });
    }
    Ok(InferResponse {
        revision,
        rows: count,
        results,
        width,
        wanted,
        extras,
        prediction: note.prediction,
        computed,
    })
}

impl Run<'_> {
    async fn compute(&self, rows: Rows) -> Result<Vec<f64>, Error> {
        self.batcher
            .run(self.revision, rows, self.policy, self.deadline)
            .await
    }

    async fn explain(&self, rows: Rows, extras: Arc<Extras>) -> Result<Vec<f64>, Error> {
        let work = batch::Work {
            rows,
            extras: Some(extras),
        };
        self.batcher
            .run(self.revision, work, self.policy, self.deadline)
            .await
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

fn roles_of(slot: &Slot) -> Result<Arc<Roles>, Error> {
    if let Some(roles) = slot.roles() {
        return Ok(roles);
    }
    let name = &slot.name;
    let reason = match slot.states().pop_last() {
        None => "it has no revision".to_string(),
        Some((id, State::Unavailable(reason))) => format!("revision {id}: {reason}"),
        Some((id, _)) => format!("revision {id} is loading"),
    };
    Err(Error::new(
        Code::NotReady,
        format!("model \"{name}\" is not loaded: {reason}"),
    ))
}

fn resident(slot: &Slot, roles: &Roles, id: u64) -> Result<Arc<Revision>, Error> {
    roles.revision(id).cloned().ok_or_else(|| {
        let name = &slot.name;
        Error::new(
            Code::NotFound,
            format!("model \"{name}\" has no loaded revision {id}"),
        )
    })
}

/// What a request asks for, by name or by default, and the extras among it.
fn select(
    revision: &Revision,
    names: &[Cow<'_, str>],
    explain: Option<Explain>,
) -> Result<(Selected, Option<Arc<Extras>>), Error> {
    let all = &revision.signature.outputs;
    let mut wanted = Selected::new();
    let mut kinds = Vec::new();
    if names.is_empty() {
        let default = all.iter().enumerate().filter(|(_, output)| output.default);
        wanted.extend(default.map(|(index, _)| Wanted::Output(index)));
    }
    for name in names {
        let next = match all.iter().position(|output| output.name == **name) {
            Some(index) => Wanted::Output(index),
            None => match Kind::named(revision, name) {
                None => return Err(unknown_output(revision, name)),
                Some(kind) => match kinds.iter().position(|known| *known == kind) {
                    Some(index) => Wanted::Extra(index),
                    None => {
                        kinds.push(kind);
                        Wanted::Extra(kinds.len() - 1)
                    }
                },
            },
        };
        if wanted.contains(&next) {
            return Err(Error::invalid(format!(
                "output \"{name}\" is asked for twice"
            )));
        }
        wanted.push(next);
    }
    let named = kinds.len();
    let extras = Extras::new(revision, kinds, explain)?;
    let count = extras.as_ref().map_or(0, |extras| extras.tensors.len());
    wanted.extend((named..count).map(Wanted::Extra));
    Ok((wanted, extras.map(Arc::new)))
}

fn unknown_output(revision: &Revision, name: &str) -> Error {
    let outputs = revision.signature.outputs.iter();
    let mut names: Vec<String> = outputs.map(|output| output.name.clone()).collect();
    let extras = extras::available(revision).into_iter();
    names.extend(extras.map(|(name, _, _)| name));
    Error::invalid(format!(
        "output \"{}\" is not an output of this model; expected {}",
        short(name),
        names.join(", ")
    ))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What they guard is changed in one step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A client's name, cut to what an error message can hold.
fn short(name: &str) -> String {
    name.chars().take(100).collect()
}

impl Measured<'_> {
    fn finish(mut self, result: &Result<InferResponse, Error>) {
        self.finished = true;
        let error = match result {
            Ok(response) => {
                let elapsed = response.computed.saturating_duration_since(self.received);
                let usage = &response.revision.usage;
                return usage.requests(self.protocol, Outcome::Ok).record(elapsed);
            }
            Err(error) => error,
        };
        self.record(match error.code {
            Code::DeadlineExceeded => Outcome::Deadline,
            Code::Overloaded | Code::Draining => Outcome::Shed,
            Code::Internal => Outcome::Failed,
            _ => Outcome::Rejected,
        });
    }

    fn record(&self, outcome: Outcome) {
        let usage = match &self.revision {
            Some(revision) => &revision.usage,
            None => &self.server.unresolved,
        };
        usage
            .requests(self.protocol, outcome)
            .record(self.received.elapsed());
    }
}

impl Drop for Measured<'_> {
    fn drop(&mut self) {
        if !self.finished {
            self.record(Outcome::Cancelled);
        }
    }
}
