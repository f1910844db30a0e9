//! A served name and its roles: one atomic value, read once per request and changed only here.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwapOption;

use super::revision::Revision;
use super::usage::SlotUsage;

/// A served name.
#[derive(Debug)]
pub struct Slot {
    pub name: String,
    pub usage: SlotUsage,
    roles: ArcSwapOption<Roles>,
    /// What is known of each revision, for people; never read on the request path.
    states: Mutex<BTreeMap<u64, State>>,
}

/// Who does what in a slot. Immutable: a change stores a new value.
#[derive(Clone, Debug)]
pub struct Roles {
    /// Answers.
    pub champion: Arc<Revision>,
    /// The last champion, kept resident for an instant rollback.
    pub previous: Option<Arc<Revision>>,
}

/// Revisions that a slot no longer has, each perhaps still in use by requests. Freeing a large one
/// takes milliseconds: whoever gets them keeps them until nobody else does, and drops them where
/// nobody waits.
pub type Departed = Vec<Arc<Revision>>;

/// What became of a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Seen, waiting until its files hold still.
    Settling,
    /// Being prepared.
    Loading,
    /// Resident: it answers, or it did until the last swap.
    Ready,
    /// Not resident, for this reason.
    Unavailable(String),
}

impl Roles {
    /// The revision that answers a request.
    pub fn assign(&self) -> &Arc<Revision> {
        &self.champion
    }

    /// The resident revision with this id.
    pub fn revision(&self, id: u64) -> Option<&Arc<Revision>> {
        self.resident().find(|revision| revision.id == id)
    }

    /// All resident revisions, the champion first.
    pub fn resident(&self) -> impl Iterator<Item = &Arc<Revision>> {
        std::iter::once(&self.champion).chain(self.previous.as_ref())
    }
}

impl Slot {
    /// A slot without a revision.
    pub fn new(name: &str) -> Slot {
        Slot {
            name: name.to_string(),
            usage: SlotUsage::default(),
            roles: ArcSwapOption::empty(),
            states: Mutex::default(),
        }
    }

    /// The roles now; `None` while nothing is loaded.
    pub fn roles(&self) -> Option<Arc<Roles>> {
        self.roles.load_full()
    }

    /// Makes a prepared revision the champion; the champion until now becomes the previous one.
    /// `started` is when its prepare began. One atomic store; cannot fail. Returns what left.
    pub fn commit(&self, revision: Arc<Revision>, started: Instant) -> Departed {
        let id = revision.id;
        let before = self.roles();
        let previous = before.as_ref().map(|roles| Arc::clone(&roles.champion));
        let departed = self.store(
            Some(Roles {
                champion: revision,
                previous,
            }),
            before,
            "another revision answers",
        );
        self.set_state(id, State::Ready);
        self.usage.swap_duration.record(started.elapsed());
        departed
    }

    /// Drops the resident revision with this id for `reason`; without its champion the slot goes
    /// back to the previous one, if there is one. Returns what left.
    pub fn retire(&self, id: u64, reason: &str) -> Departed {
        let Some(before) = self.roles() else {
            return Departed::new();
        };
        let keep = |revision: &Arc<Revision>| (revision.id != id).then(|| Arc::clone(revision));
        let previous = before.previous.as_ref().and_then(keep);
        let after = match keep(&before.champion) {
            Some(champion) => Some(Roles { champion, previous }),
            None => previous.map(|champion| Roles {
                champion,
                previous: None,
            }),
        };
        self.store(after, Some(before), reason)
    }

    /// Drops all revisions for `reason`, and returns them.
    pub fn unload(&self, reason: &str) -> Departed {
        let before = self.roles();
        self.store(None, before, reason)
    }

    /// What became of each revision, by id.
    pub fn states(&self) -> BTreeMap<u64, State> {
        self.lock().clone()
    }

    /// Notes what became of a revision.
    pub fn set_state(&self, id: u64, state: State) {
        self.lock().insert(id, state);
    }

    /// Forgets a revision whose folder is gone.
    pub fn forget(&self, id: u64) {
        self.lock().remove(&id);
    }

    fn store(&self, after: Option<Roles>, before: Option<Arc<Roles>>, reason: &str) -> Departed {
        let uid = |roles: &Roles| roles.champion.uid;
        if after.as_ref().map(uid) != before.as_deref().map(uid) {
            self.usage.swaps.fetch_add(1, Ordering::Relaxed);
        }
        let after_has = |is: &dyn Fn(&Revision) -> bool| {
            let mut resident = after.iter().flat_map(Roles::resident);
            resident.any(|revision| is(revision))
        };
        let departed: Departed = before
            .iter()
            .flat_map(|roles| roles.resident())
            .filter(|left| !after_has(&|revision| revision.uid == left.uid))
            .cloned()
            .collect();
        // A revision that was loaded again is still there under its id.
        let gone: Vec<u64> = departed
            .iter()
            .map(|left| left.id)
            .filter(|id| !after_has(&|revision| revision.id == *id))
            .collect();
        self.roles.store(after.map(Arc::new));
        for id in gone {
            self.set_state(id, State::Unavailable(reason.to_string()));
        }
        departed
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, State>> {
        // A panic while it was held cannot have left a state half written.
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
