//! A served name and its roles: one atomic value, read once per request and changed only here.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwapOption;
use sha2::{Digest, Sha256};

use super::revision::Revision;
use super::usage::SlotUsage;

/// A served name.
#[derive(Debug)]
pub struct Slot {
    pub name: String,
    pub usage: SlotUsage,
    roles: ArcSwapOption<Roles>,
    /// Held by whoever changes the roles: the folder's task, the controller, an operator.
    changing: Mutex<()>,
    /// What is known of each revision, for people; never read on the request path.
    states: Mutex<BTreeMap<u64, State>>,
}

/// Roles as they were decided, by revisions that may not be loaded yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub champion: Named,
    pub previous: Option<Named>,
    /// Oldest first.
    pub challengers: Vec<Named>,
    /// Revisions that are not to be tried again.
    pub dismissed: Vec<Named>,
}

/// A revision by its id and what its files were.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    pub id: u64,
    /// [`Revision::mark`].
    pub mark: String,
}

/// What becomes of a new revision of a slot that has a champion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Arrival {
    /// It answers at once.
    #[default]
    Replace,
    /// It is scored on the champion's rows until evidence or an operator decides.
    Shadow,
    /// It is checked and waits for an operator.
    Hold,
}

/// Who does what in a slot. Immutable: a change stores a new value.
#[derive(Clone, Debug)]
pub struct Roles {
    /// Answers.
    pub champion: Arc<Revision>,
    /// Revisions on trial, oldest first.
    pub challengers: Vec<Challenger>,
    /// The last champion, kept resident for an instant rollback.
    pub previous: Option<Arc<Revision>>,
    /// Whether all resident revisions read the same rows from a request.
    pub alike: bool,
}

/// A revision on trial.
#[derive(Clone, Debug)]
pub struct Challenger {
    pub revision: Arc<Revision>,
    /// The part of the traffic that it answers, from 0 (shadow: it is scored on the champion's rows
    /// and never answers) to 1.
    pub share: f64,
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
    /// Resident: it answers, is on trial, or answered until the last swap.
    Ready,
    /// Not resident, for this reason.
    Unavailable(String),
}

impl Roles {
    /// Roles without trials.
    pub fn of(champion: Arc<Revision>, previous: Option<Arc<Revision>>) -> Roles {
        Roles {
            champion,
            challengers: Vec::new(),
            previous,
            alike: true,
        }
    }

    /// The revision that answers a request. `draw` gives the request's place in [0, 1), and is asked
    /// only where challengers have shares.
    pub fn assign(&self, draw: impl FnOnce() -> f64) -> &Arc<Revision> {
        if self.challengers.iter().all(|it| it.share <= 0.0) {
            return &self.champion;
        }
        let draw = draw();
        let mut end = 0.0;
        for challenger in &self.challengers {
            end += challenger.share;
            if draw < end {
                return &challenger.revision;
            }
        }
        &self.champion
    }

    /// The challenger with this uid.
    pub fn challenger(&self, uid: u64) -> Option<&Challenger> {
        self.challengers.iter().find(|it| it.revision.uid == uid)
    }

    /// The resident revision with this id.
    pub fn revision(&self, id: u64) -> Option<&Arc<Revision>> {
        self.resident().find(|revision| revision.id == id)
    }

    /// All resident revisions, the champion first.
    pub fn resident(&self) -> impl Iterator<Item = &Arc<Revision>> {
        let challengers = self.challengers.iter().map(|it| &it.revision);
        std::iter::once(&self.champion)
            .chain(challengers)
            .chain(self.previous.as_ref())
    }

    /// The name of the role that a resident revision has.
    pub fn role(&self, uid: u64) -> &'static str {
        if self.champion.uid == uid {
            return "champion";
        }
        match self.challenger(uid) {
            Some(_) => "challenger",
            None => "previous",
        }
    }

    /// With a resident revision as the champion; the champion until now becomes the previous one.
    fn promoted(&self, uid: u64) -> Option<Roles> {
        let next = self.resident().find(|it| it.uid == uid)?;
        if next.uid == self.champion.uid {
            return None;
        }
        Some(Roles {
            champion: Arc::clone(next),
            challengers: self.others(uid),
            previous: Some(Arc::clone(&self.champion)),
            alike: self.alike,
        })
    }

    fn others(&self, uid: u64) -> Vec<Challenger> {
        let others = self.challengers.iter().filter(|it| it.revision.uid != uid);
        others.cloned().collect()
    }

    /// Without the revision, wherever it is; `None` when nothing would answer.
    fn without(&self, gone: impl Fn(&Revision) -> bool) -> Option<Roles> {
        let keep = |it: &Arc<Revision>| (!gone(it)).then(|| Arc::clone(it));
        let mut challengers = self.challengers.clone();
        challengers.retain(|it| !gone(&it.revision));
        let previous = self.previous.as_ref().and_then(keep);
        match (keep(&self.champion), previous) {
            (Some(champion), previous) => Some(Roles {
                champion,
                challengers,
                previous,
                alike: self.alike,
            }),
            (None, Some(champion)) => Some(Roles {
                champion,
                challengers,
                previous: None,
                alike: self.alike,
            }),
            // A challenger was not approved to answer, but there is nobody else.
            (None, None) => None,
        }
    }
}

impl Plan {
    /// What the plan calls the revision with this id; `None` when it does not name it.
    pub fn named(&self, id: u64) -> Option<&Named> {
        let dismissed = || self.dismissed.iter().find(|it| it.id == id);
        self.resident(id).or_else(dismissed)
    }

    /// The same, of revisions that are to be loaded.
    pub fn resident(&self, id: u64) -> Option<&Named> {
        let others = self.previous.iter().chain(&self.challengers);
        std::iter::once(&self.champion)
            .chain(others)
            .find(|it| it.id == id)
    }
}

impl Slot {
    /// A slot without a revision.
    pub fn new(name: &str) -> Slot {
        Slot {
            name: name.to_string(),
            usage: SlotUsage::default(),
            roles: ArcSwapOption::empty(),
            changing: Mutex::default(),
            states: Mutex::default(),
        }
    }

    /// The roles now; `None` while nothing is loaded.
    pub fn roles(&self) -> Option<Arc<Roles>> {
        self.roles.load_full()
    }

    /// The place of a key in [0, 1): the same for equal keys of this slot, in every process. Shares
    /// are sticky by it without keeping anything.
    pub fn draw(&self, key: &[u8]) -> f64 {
        let hash = Sha256::new()
            .chain_update(self.name.as_bytes())
            .chain_update([0])
            .chain_update(key)
            .finalize();
        let (first, _) = hash.split_at(8);
        let bits = first
            .iter()
            .fold(0, |bits, byte| bits << 8 | u64::from(*byte));
        (bits >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Makes a prepared revision the champion; the champion until now becomes the previous one.
    /// `started` is when its prepare began. One atomic store; cannot fail. Returns what left.
    pub fn commit(&self, revision: Arc<Revision>, started: Instant) -> Departed {
        let id = revision.id;
        let departed = self.change("another revision answers", |before| {
            Some(Roles {
                challengers: before.map_or_else(Vec::new, |roles| {
                    let mut others = roles.challengers.clone();
                    others.retain(|it| it.revision.id != id);
                    others
                }),
                previous: before.map(|roles| Arc::clone(&roles.champion)),
                champion: revision,
                alike: true,
            })
        });
        self.set_state(id, State::Ready);
        self.usage.swap_duration.record(started.elapsed());
        departed
    }

    /// Takes a prepared revision as a challenger in shadow, in the place of one with its id; where
    /// nothing answers yet, as the champion. The oldest leave when there are more than `max`.
    /// Returns what left.
    pub fn enlist(&self, revision: Arc<Revision>, max: usize) -> Departed {
        let id = revision.id;
        let departed = self.change("a newer challenger took its place", |before| {
            let Some(before) = before else {
                return Some(Roles::of(revision, None));
            };
            let mut challengers = before.challengers.clone();
            challengers.retain(|it| it.revision.id != id);
            challengers.push(Challenger {
                revision,
                share: 0.0,
            });
            let over = challengers.len().saturating_sub(max.max(1));
            challengers.drain(..over);
            Some(Roles {
                challengers,
                ..before.clone()
            })
        });
        self.set_state(id, State::Ready);
        departed
    }

    /// Takes a prepared revision as the previous one, as at a start after a promotion.
    pub fn retain(&self, revision: Arc<Revision>) -> Departed {
        let id = revision.id;
        let departed = self.change("another revision is kept", |before| match before {
            None => Some(Roles::of(revision, None)),
            Some(before) => Some(Roles {
                previous: Some(revision),
                ..before.clone()
            }),
        });
        self.set_state(id, State::Ready);
        departed
    }

    /// Puts a revision in the place of a resident one of the same files, whose profile is another.
    /// `None`: no such one is resident. Returns what left.
    pub fn renew(&self, revision: &Arc<Revision>) -> Option<Departed> {
        let is_same = |it: &Arc<Revision>| it.id == revision.id && it.digest == revision.digest;
        if !self.roles()?.resident().any(is_same) {
            return None;
        }
        Some(self.change("its profile was replaced", |before| {
            let mut roles = before?.clone();
            let challengers = roles.challengers.iter_mut().map(|it| &mut it.revision);
            let places = std::iter::once(&mut roles.champion).chain(challengers);
            for place in places.chain(roles.previous.as_mut()) {
                if is_same(place) {
                    *place = Arc::clone(revision);
                }
            }
            Some(roles)
        }))
    }

    /// Makes a resident revision the champion, by a pointer; nothing is loaded. Does nothing when it
    /// is not resident or answers already. Returns what left.
    pub fn promote(&self, uid: u64) -> Departed {
        self.change("two newer revisions answered since", |before| {
            before?.promoted(uid).or_else(|| before.cloned())
        })
    }

    /// Gives a challenger this part of the traffic, from 0 to 1.
    pub fn set_share(&self, uid: u64, share: f64) {
        let share = share.clamp(0.0, 1.0);
        let change = |before: Option<&Roles>| {
            let mut roles = before?.clone();
            for challenger in &mut roles.challengers {
                if challenger.revision.uid == uid {
                    challenger.share = share;
                }
            }
            Some(roles)
        };
        // Nobody leaves by a change of shares.
        let _none = self.change("", change);
    }

    /// Ends a challenger's trial. Returns what left.
    pub fn dismiss(&self, uid: u64, reason: &str) -> Departed {
        self.change(reason, |before| {
            let before = before?;
            Some(Roles {
                challengers: before.others(uid),
                ..before.clone()
            })
        })
    }

    /// Drops the resident revision with this id for `reason`; without its champion the slot goes
    /// back to the previous one, if there is one. Returns what left.
    pub fn retire(&self, id: u64, reason: &str) -> Departed {
        self.change(reason, |before| before?.without(|it| it.id == id))
    }

    /// Drops all revisions for `reason`, and returns them.
    pub fn unload(&self, reason: &str) -> Departed {
        self.change(reason, |_before| None)
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

    /// Stores what `change` makes of the roles.
    fn change(
        &self,
        reason: &str,
        change: impl FnOnce(Option<&Roles>) -> Option<Roles>,
    ) -> Departed {
        // Nothing that it guards can be left half done.
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.roles();
        let mut after = change(before.as_deref());
        if let Some(roles) = &mut after {
            let champion = &roles.champion.signature;
            let alike = |it: &Arc<Revision>| it.signature.reads_like(champion);
            let all_alike = roles.resident().all(alike);
            roles.alike = all_alike;
        }
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

#[cfg(test)]
pub(crate) mod tests;
