//! A watched folder of models: `<dir>/<slot>/<revision>/`, where a revision's name is a positive
//! whole number. Of each slot the highest revision that loads answers.
//!
//! A revision is taken in once its folder holds still: nothing in it (names, sizes, modification
//! times) changed for `settle_ms`, judged by the modification times themselves or by looking again.
//! Names that begin with a dot or end in `.tmp` or `.part` are not looked at: write aside, then
//! rename. A revision that was refused is tried again when its files change.

mod arrange;
mod folder;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::mpsc;

use super::{Action, Command, Files, Repository};
use crate::error::{Code, Error};
use crate::model::artifact::Artifact;
use crate::model::revision::{self, Reference, Revision};
use crate::model::slot::{Arrival, Plan, Slot, State};
use crate::serve::Server;
use crate::task::{Priority, Supervisor};
use folder::{Listing, Scan, plain_name, scan};

/// Where models lie and how they are watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub dir: PathBuf,
    /// The folder is of this slot alone: `<dir>/<revision>/`, or the files of one revision.
    pub slot: Option<String>,
    /// Milliseconds between two looks at the folder. At least 10.
    pub poll_interval_ms: u64,
    /// A revision's folder is loaded once nothing in it changed for this many milliseconds.
    pub settle_ms: u64,
}

/// The repository's task: looks at the folder, takes commands, prepares and commits.
struct Watcher {
    settings: Settings,
    revisions: Arc<revision::Settings>,
    server: Arc<Server>,
    supervisor: Supervisor,
    commands: mpsc::Receiver<Command>,
    /// What is known of each revision's folder.
    seen: BTreeMap<(String, u64), Seen>,
    /// Slots whose revision was chosen by a command: the highest revision at that time. Newer ones
    /// are taken in, these and older ones are not.
    held: BTreeMap<String, u64>,
    /// Slots that a command unloaded: nothing of them is loaded until another one says so.
    unloaded: BTreeSet<String>,
    /// Folders that were found and are not revisions: warned of once.
    warned: Vec<PathBuf>,
    /// Slots with trials whose revisions were all looked at.
    arranged: BTreeSet<String>,
    /// The plan of each slot that was last worked on.
    plans: BTreeMap<String, Arc<Plan>>,
    /// Whether slots were passed over because what was decided of them is not known yet.
    waits_for_plans: bool,
}

/// A revision's folder as it was last seen.
#[derive(Clone, Debug)]
struct Seen {
    files: Listing,
    since: Instant,
    /// Whether these very files were tried: loaded or refused.
    tried: bool,
    /// Whether they were other ones before, and these were not tried.
    changed: bool,
}

/// Where a revision belongs once it is prepared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Champion,
    Previous,
    Challenger,
    /// Nothing was decided of it: as the slot's `on_arrival` says.
    Newcomer,
}

/// Why a decided revision is refused.
const CHANGED: &str = "its files are not those that were decided on; give them a new number";

/// Time between two looks at revisions that left and may still be in use.
const SWEEP: Duration = Duration::from_millis(200);

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            dir: PathBuf::from("models"),
            slot: None,
            poll_interval_ms: 1000,
            settle_ms: 2000,
        }
    }
}

/// Starts watching. What lies in the folder now is taken in first.
pub fn start(
    settings: Settings,
    revisions: revision::Settings,
    server: Arc<Server>,
    supervisor: &Supervisor,
) -> Repository {
    let (repository, commands) = Repository::new();
    let watcher = Watcher {
        settings,
        revisions: Arc::new(revisions),
        server,
        supervisor: supervisor.clone(),
        commands,
        seen: BTreeMap::new(),
        held: BTreeMap::new(),
        unloaded: BTreeSet::new(),
        warned: Vec::new(),
        plans: BTreeMap::new(),
        arranged: BTreeSet::new(),
        waits_for_plans: false,
    };
    supervisor.spawn("repository", watcher.run());
    repository
}

/// Whether a folder holds the files of one model, and neither revisions nor slots.
pub fn is_one_model(dir: &Path) -> bool {
    folder::is_one_model(dir)
}

/// Whether a folder of this name is taken for a slot.
pub fn is_slot_name(name: &str) -> bool {
    plain_name(name)
}

impl Watcher {
    async fn run(mut self) {
        let supervisor = self.supervisor.clone();
        let mut interval =
            tokio::time::interval(Duration::from_millis(self.settings.poll_interval_ms));
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // Not a sleep that every other branch would begin anew.
        let mut sweep = tokio::time::interval(SWEEP);
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = supervisor.stopping() => return,
                Some(command) = self.commands.recv() => self.command(command).await,
                _ = interval.tick() => self.look().await,
                _ = sweep.tick() => {
                    self.sweep();
                    // The next look at the folder may be long after the journal has answered.
                    if self.waits_for_plans && self.server.plans().is_some() {
                        self.look().await;
                    }
                }
            }
        }
    }

    /// Frees departed revisions that no request uses any more, off the serving threads.
    fn sweep(&mut self) {
        let free = self.server.departed();
        if !free.is_empty() {
            // Without a thread they are freed here.
            let work = move || drop(free);
            let _freeing = self.supervisor.work("free", Priority::Background, work);
        }
    }

    /// One look at the folder: what is new is loaded, what is gone is dropped.
    async fn look(&mut self) {
        let (dir, only) = (self.settings.dir.clone(), self.settings.slot.clone());
        let Some(scan) = self
            .supervisor
            .blocking("scan", move || scan(&dir, only.as_deref()))
            .await
        else {
            return;
        };
        let (scan, odd) = match scan {
            Ok(found) => found,
            Err(error) => {
                // The last good champions go on answering.
                tracing::warn!(dir = %self.settings.dir.display(), %error, "cannot read the models folder");
                return;
            }
        };
        for path in odd {
            if !self.warned.contains(&path) && self.warned.len() < 1000 {
                tracing::warn!(path = %path.display(), "not a revision: expected a whole number as its name");
                self.warned.push(path);
            }
        }
        let dir = &self.settings.dir;
        if scan.is_empty() && folder::is_revision(dir) && !self.warned.contains(dir) {
            tracing::warn!(
                dir = %dir.display(),
                "no slots, but files: the folder of one model is served with --slot NAME"
            );
            self.warned.push(dir.clone());
        }
        self.drop_what_is_gone(&scan).await;
        let names: Vec<String> = scan.keys().cloned().collect();
        for (name, revisions) in scan {
            self.look_at(&name, revisions).await;
        }
        if names.iter().all(|name| self.was_tried(name)) {
            self.server.set_started();
        }
    }

    /// Whether a slot answers, or nothing that it has can.
    fn was_tried(&self, name: &str) -> bool {
        let slot = self.server.registry.slot(name);
        let answers = slot.is_some_and(|slot| slot.roles().is_some());
        let held = self.held.contains_key(name);
        let mine = self.seen.iter().filter(|(key, _)| key.0 == name);
        // With trials some revisions are not to be loaded at all.
        let arranged = self.arranged.contains(name);
        answers || held || arranged || mine.into_iter().all(|(_, seen)| seen.tried)
    }

    /// Loads the highest revision of a slot that has settled and was not tried, unless a higher one
    /// answers already.
    async fn look_at(&mut self, name: &str, revisions: BTreeMap<u64, Listing>) {
        if revisions.is_empty() {
            return;
        }
        let slot = self.server.registry.insert(name);
        for (id, files) in &revisions {
            self.note(&slot, *id, files);
        }
        if self.server.watch(name).arrival != Arrival::Replace {
            return self.arrange(&slot, revisions).await;
        }
        let floor = self.held.get(name).copied();
        for (id, _) in revisions.into_iter().rev() {
            if floor.is_some_and(|floor| id <= floor) {
                return;
            }
            let answers = slot.roles().map(|roles| roles.champion.id);
            let Some(seen) = self.seen.get(&(name.to_string(), id)) else {
                continue;
            };
            if seen.tried {
                // The highest one that answers, or one that was refused: then the next lower.
                if answers.is_some_and(|answers| answers >= id) {
                    return;
                }
                continue;
            }
            if !settled(seen, self.settings.settle_ms) {
                slot.set_state(id, State::Settling);
                // While a champion answers, wait for the newer one; without, take the next.
                if answers.is_some() {
                    return;
                }
                continue;
            }
            if answers.is_some_and(|answers| answers > id) {
                slot.set_state(
                    id,
                    State::Unavailable("a higher revision answers".to_string()),
                );
                return;
            }
            let loaded = self.load(&slot, id, None, Place::Champion).await;
            if let Some(seen) = self.seen.get_mut(&(name.to_string(), id)) {
                seen.tried = true;
            }
            if loaded.is_ok() {
                self.held.remove(name);
            }
        }
    }

    /// Remembers a revision's files; changed files are to be tried again.
    fn note(&mut self, slot: &Slot, id: u64, files: &Listing) {
        let key = (slot.name.clone(), id);
        match self.seen.get_mut(&key) {
            Some(seen) if seen.files == *files => {}
            known => {
                let seen = Seen {
                    files: files.clone(),
                    since: Instant::now(),
                    tried: false,
                    changed: known.is_some(),
                };
                match known {
                    Some(known) => *known = seen,
                    None => {
                        self.seen.insert(key, seen);
                    }
                }
            }
        }
    }

    async fn drop_what_is_gone(&mut self, scan: &Scan) {
        let here = |name: &str, id: u64| scan.get(name).is_some_and(|ids| ids.contains_key(&id));
        let gone: Vec<(String, u64)> = self
            .seen
            .keys()
            .filter(|(name, id)| !here(name, *id))
            .cloned()
            .collect();
        for (name, id) in gone {
            self.seen.remove(&(name.clone(), id));
            let Some(slot) = self.server.registry.slot(&name) else {
                continue;
            };
            self.server.bury(slot.retire(id, "its folder is gone"));
            self.refuse_given_up(&slot);
            slot.forget(id);
            tracing::info!(slot = name, revision = id, "revision removed");
            // A lower revision in the folder may have to answer again.
            for (key, seen) in &mut self.seen {
                let loaded = slot
                    .roles()
                    .is_some_and(|roles| roles.revision(key.1).is_some());
                if key.0 == name && !loaded {
                    seen.tried = false;
                }
            }
            if !scan.contains_key(&name) {
                self.held.remove(&name);
                self.unloaded.remove(&name);
                self.server.registry.remove(&name);
                tracing::info!(slot = name, "slot removed");
            }
        }
    }

    async fn command(&mut self, command: Command) {
        let Command {
            slot,
            action,
            reply,
        } = command;
        let result = match action {
            Action::Unload => self.unload(&slot),
            Action::Load { revision, files } => self.load_on_command(&slot, revision, files).await,
        };
        // Who asked may be gone.
        let _sent = reply.send(result);
    }

    fn unload(&mut self, name: &str) -> Result<(), Error> {
        let slot = self.server.slot(name)?;
        self.server.bury(slot.unload("unloaded"));
        self.held.insert(name.to_string(), self.highest(name));
        self.unloaded.insert(name.to_string());
        tracing::info!(slot = name, "slot unloaded");
        Ok(())
    }

    async fn load_on_command(
        &mut self,
        name: &str,
        revision: Option<u64>,
        mut files: Files,
    ) -> Result<(), Error> {
        self.look().await;
        let known = self.server.registry.slot(name);
        if known.is_none() && files.is_empty() {
            return Err(self
                .server
                .slot(name)
                .err()
                .unwrap_or_else(|| Error::internal("no slot")));
        }
        if !plain_name(name) {
            return Err(Error::invalid(
                "a model's name is letters, digits, dots, dashes and underscores",
            ));
        }
        let in_folder = self
            .seen
            .keys()
            .filter(|key| key.0 == name)
            .map(|key| key.1);
        let absent = self.absent_champion(name);
        let wanted = match files.keys().copied().max() {
            None => absent.or_else(|| in_folder.max()),
            given => given,
        };
        let Some(id) = revision.or(wanted) else {
            return Err(Error::new(
                Code::NotFound,
                format!("model \"{name}\" has no revision"),
            ));
        };
        let given = files.remove(&id);
        if given.is_none() && !self.seen.contains_key(&(name.to_string(), id)) {
            return Err(Error::new(
                Code::NotFound,
                format!("model \"{name}\" has no revision {id}"),
            ));
        }
        let slot = self.server.registry.insert(name);
        let place = match self.server.watch(name).arrival {
            Arrival::Replace => Place::Champion,
            // Where there are trials, an operator's load begins one, or brings back who answers.
            _ if absent == Some(id) => Place::Champion,
            _ => Place::Challenger,
        };
        let roles = slot.roles();
        if place == Place::Challenger && roles.is_some_and(|it| it.revision(id).is_some()) {
            return match given {
                None => Ok(()),
                Some(_) => Err(Error::invalid(format!(
                    "model \"{name}\": revision {id} is resident; give other files a new number"
                ))),
            };
        }
        self.load(&slot, id, given, place).await.map_err(|reason| {
            Error::invalid(format!("model \"{name}\", revision {id}: {reason}"))
        })?;
        let hold = self.highest(name).max(id);
        self.unloaded.remove(name);
        self.held.insert(name.to_string(), hold);
        Ok(())
    }

    fn highest(&self, name: &str) -> u64 {
        let ids = self
            .seen
            .keys()
            .filter(|key| key.0 == name)
            .map(|key| key.1);
        ids.max().unwrap_or(0)
    }

    /// Gives a prepared revision its place, and names it.
    fn take_in(
        &mut self,
        slot: &Slot,
        revision: Revision,
        started: Instant,
        place: Place,
    ) -> &'static str {
        let watch = self.server.watch(&slot.name);
        let (max, id) = (watch.challengers_max, revision.id);
        let waits = place == Place::Newcomer && watch.arrival == Arrival::Hold;
        if waits && slot.roles().is_some() {
            let reason = "it can serve, and waits for an operator: hedgerow promote";
            slot.set_state(id, State::Unavailable(reason.to_string()));
            return "held";
        }
        let revision = Arc::new(revision);
        // One that is to answer and does not yet is committed.
        let answers = slot.roles().is_some_and(|it| it.champion.id == id);
        if (place != Place::Champion || answers)
            && let Some(departed) = slot.renew(&revision)
        {
            self.server.bury(departed);
            slot.set_state(id, State::Ready);
            return "as before";
        }
        let (departed, role) = match place {
            Place::Champion => (slot.commit(revision, started), "champion"),
            Place::Previous => (slot.retain(revision), "previous"),
            Place::Challenger | Place::Newcomer => (slot.enlist(revision, max), "challenger"),
        };
        self.server.bury(departed);
        role
    }

    /// Prepares a revision off the serving threads; `mark`: what its files have to be.
    async fn prepare(
        &self,
        name: &str,
        id: u64,
        files: Option<BTreeMap<String, Vec<u8>>>,
        mark: Option<String>,
    ) -> Result<Revision, String> {
        let only = self.settings.slot.as_deref();
        let dir = folder::place(&self.settings.dir, only, name, id);
        let settings = Arc::clone(&self.revisions);
        let name = name.to_string();
        let work = move || {
            let revision = prepare(&name, id, &dir, files, &settings)?;
            match mark {
                Some(mark) if mark != revision.mark() => Err(CHANGED.to_string()),
                _ => Ok(revision),
            }
        };
        // Until the server is ready nobody else wants the processor.
        let priority = match self.server.is_started() {
            true => Priority::Background,
            false => Priority::Normal,
        };
        match self.supervisor.work("prepare", priority, work) {
            Ok(result) => result
                .await
                .unwrap_or_else(|_panicked| Err("preparing it panicked".to_string())),
            Err(error) => Err(format!("no thread to prepare it: {error}")),
        }
    }

    /// Prepares a revision off the serving threads and commits it. The slot stays as it was when
    /// that fails; the reason goes to the log, the slot's state and its counter.
    async fn load(
        &mut self,
        slot: &Arc<Slot>,
        id: u64,
        files: Option<BTreeMap<String, Vec<u8>>>,
        place: Place,
    ) -> Result<(), String> {
        let started = Instant::now();
        slot.set_state(id, State::Loading);
        let mark = match place {
            Place::Newcomer => None,
            _ if self.server.watch(&slot.name).arrival == Arrival::Replace => None,
            _ => self.decided(&slot.name, id).map(|it| it.mark),
        };
        let prepared = self.prepare(&slot.name, id, files, mark).await;
        match prepared {
            Ok(revision) => {
                let (id, cost) = (revision.id, revision.cost);
                let engine = revision.outline().engine;
                let digest = revision.digest.clone();
                for unfit in revision.rules.unfit() {
                    tracing::warn!(slot = slot.name, revision = id, "validate.rules: {unfit}");
                }
                let profile = revision.reference.name();
                if let Reference::Refused(reason) = &revision.reference {
                    tracing::warn!(
                        slot = slot.name,
                        revision = id,
                        reason,
                        "profile refused: the revision serves, and its drift is not watched"
                    );
                }
                let role = self.take_in(slot, revision, started, place);
                tracing::info!(
                    slot = slot.name,
                    revision = id,
                    role,
                    engine,
                    digest,
                    profile,
                    row_ns = cost.row_ns,
                    load_ms = started.elapsed().as_millis() as u64,
                    "revision loaded"
                );
                Ok(())
            }
            Err(reason) => {
                slot.usage
                    .refusals
                    .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                slot.set_state(id, State::Unavailable(reason.clone()));
                let answers = slot.roles().map(|roles| roles.champion.id);
                tracing::warn!(
                    slot = slot.name,
                    revision = id,
                    reason,
                    answers,
                    "revision refused"
                );
                Err(reason)
            }
        }
    }
}

fn prepare(
    name: &str,
    id: u64,
    dir: &Path,
    files: Option<BTreeMap<String, Vec<u8>>>,
    settings: &revision::Settings,
) -> Result<Revision, String> {
    let artifact = match files {
        Some(files) => Artifact::from_files(dir, files),
        None => Artifact::read(dir, settings.bytes_max),
    };
    let artifact = artifact.map_err(|error| error.to_string())?;
    revision::prepare(name, id, artifact, settings)
}

/// Whether nothing changed for `settle_ms`: since we first saw it so, or by its own times.
fn settled(seen: &Seen, settle_ms: u64) -> bool {
    let settle = Duration::from_millis(settle_ms);
    let still = |time: &SystemTime| time.elapsed().is_ok_and(|age| age >= settle);
    seen.since.elapsed() >= settle || seen.files.iter().all(|(_, _, time)| still(time))
}
