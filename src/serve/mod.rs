//! One prediction, a straight line: [`infer`]. Both protocols call it, so both count alike.

pub mod admission;
pub mod batch;
pub mod cache;
pub mod extras;
mod job;
mod note;
pub mod record;
pub mod request;
pub mod shadow;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwapOption;

use crate::error::{Code, Error};
use crate::model::registry::Registry;
use crate::model::revision::Revision;
use crate::model::slot::{Departed, Plan, Roles, Slot, State};
use crate::model::usage::{Exemplar, Outcome, Protocol, Usage};
use crate::task::Supervisor;
use crate::telemetry::trace::{Facts, Trace};
use admission::Admission;
use batch::{Batcher, Policy};
use cache::Cache;
pub use extras::Explain;
use extras::{Extras, Kind};
use job::Job;
use note::{Computed, Note};
use record::{Drift, Record, Recorder, Records, Watch};
pub use request::{
    Answer, InferRequest, InferResponse, KEY_MAX, Names, Parameter, Prediction, Selected, Wanted,
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

/// Measures a request, from its head to its answer's bytes. Dropped before [`Measured::finish`], the
/// caller went away.
pub struct Measured<'a> {
    server: &'a Server,
    protocol: Protocol,
    received: Instant,
    trace: Option<&'a Arc<Trace>>,
    revision: Option<Arc<Revision>>,
    /// When its results were there.
    computed: Option<Instant>,
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
        let records_max = match all
            .into_iter()
            .any(|slot| slot.watch.is_on() || slot.watch.drift != Drift::Off)
        {
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

    /// Whether the drift of any slot may be watched; with `On`, certainly is.
    pub fn watches_any(&self, least: Drift) -> bool {
        let mut lanes = self.lanes.values().chain([&self.other]);
        lanes.any(|lane| match lane.watch.drift {
            Drift::Off => false,
            Drift::Auto => least == Drift::Auto,
            Drift::On => true,
        })
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

/// Answers a request. What becomes of its answer is for the caller to [`Measured::finish`].
///
/// # Errors
/// With the code and message that the client is to get; see [`Code`].
pub async fn infer(
    measured: &mut Measured<'_>,
    request: InferRequest<'_>,
) -> Result<InferResponse, Error> {
    let server = measured.server;
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
    // A challenger's share is not to cost the caller an answer: the champion steps in.
    let is_on_trial = request.revision.is_none() && revision.uid != roles.champion.uid;
    let spare = is_on_trial.then(|| request.tensors.clone());
    let job = Job {
        server,
        lane,
        slot,
        roles,
        outputs: &request.outputs,
        explain: request.explain,
        deadline: request.deadline,
        received: measured.received,
        trace: measured.trace,
    };
    measured.revision = Some(Arc::clone(&revision));
    let answered = match (
        job.answer(&revision, request.tensors, &mut note).await,
        spare,
    ) {
        (Err(error), Some(tensors)) if job.may_step_in(&revision, &error) => {
            job.count_failure(&revision, &error, measured.protocol);
            let champion = Arc::clone(&job.roles.champion);
            measured.revision = Some(Arc::clone(&champion));
            // Rare, so its state is not part of every request's.
            Box::pin(job.answer(&champion, tensors, &mut note)).await
        }
        (answered, _) => answered,
    };
    let (response, read) = answered?;
    if let Some(read) = read {
        let computed = Computed {
            read,
            results: note.results(&response.results, response.width),
            width: response.width,
        };
        let answered = Arc::clone(&response.revision);
        server.recorder.record(Record {
            key: request.key.map(Cow::into_owned),
            ..note.record(job.slot, job.roles, answered, computed)
        });
    }
    measured.computed = Some(response.computed);
    if let Some(trace) = measured.trace {
        trace.answered(facts(&response));
    }
    Ok(response)
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

impl<'a> Measured<'a> {
    /// Begins with what was there at `received`, the end of the request's head; steps are noted in
    /// `trace`, where it is sampled.
    pub fn start(
        server: &'a Server,
        protocol: Protocol,
        received: Instant,
        trace: Option<&'a Arc<Trace>>,
    ) -> Measured<'a> {
        Measured {
            server,
            protocol,
            received,
            trace,
            revision: None,
            computed: None,
            finished: false,
        }
    }

    /// Notes what the client is told: its predictions, or this error. An answered request took until
    /// its results were there, any other until now.
    pub fn finish(mut self, error: Option<Code>) {
        self.finished = true;
        let outcome = match error {
            None => Outcome::Ok,
            Some(Code::DeadlineExceeded) => Outcome::Deadline,
            Some(Code::Overloaded | Code::Draining) => Outcome::Shed,
            // A slot without a champion is not the caller's fault either.
            Some(Code::Internal | Code::NotReady) => Outcome::Failed,
            Some(_) => Outcome::Rejected,
        };
        self.record(outcome);
    }

    fn record(&self, outcome: Outcome) {
        let usage = match &self.revision {
            Some(revision) => &revision.usage,
            None => &self.server.unresolved,
        };
        let end = match outcome {
            Outcome::Ok => self.computed,
            _ => None,
        };
        let end = end.unwrap_or_else(Instant::now);
        let elapsed = end.saturating_duration_since(self.received);
        usage.requests(self.protocol, outcome).record(elapsed);
        if let Some(trace) = self.trace {
            usage.exemplify(self.protocol, outcome, example(trace, elapsed));
            if let (Some(revision), None) = (&self.revision, self.computed) {
                trace.answered(refused(revision));
            }
        }
    }
}

/// What a trace tells of an answer.
fn facts(response: &InferResponse) -> Facts {
    Facts {
        rows: response.rows,
        prediction: response.prediction.map(|it| it.id),
        computed: Some(response.computed),
        ..refused(&response.revision)
    }
}

/// What a trace tells of a request that a revision did not answer.
fn refused(revision: &Revision) -> Facts {
    Facts {
        slot: revision.slot.clone(),
        revision: revision.id,
        rows: 0,
        prediction: None,
        computed: None,
    }
}

fn example(trace: &Trace, duration: Duration) -> Exemplar {
    Exemplar {
        duration,
        trace: trace.context.trace,
        span: trace.context.span,
        at: SystemTime::now(),
    }
}

impl Drop for Measured<'_> {
    fn drop(&mut self) {
        if !self.finished {
            self.record(Outcome::Cancelled);
        }
    }
}
