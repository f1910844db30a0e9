//! Slots with trials: what was decided is loaded, newcomers are taken as `on_arrival` says, and who was
//! given up does not answer by itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::folder::Listing;
use super::{Place, Watcher, settled};
use crate::model::slot::{Arrival, Named, Plan, Roles, Slot, State};

/// Why nothing of a slot with trials is loaded at first.
const UNREAD: &str = "what was decided of it is not known before the journal answers";

/// Why a challenger is not loaded.
const NO_CHAMPION: &str = "its slot has no champion, and it answers only when it is promoted";

impl Watcher {
    /// Loads what was decided for a slot with trials, and takes newcomers as its `on_arrival` says.
    pub(super) async fn arrange(&mut self, slot: &Arc<Slot>, revisions: BTreeMap<u64, Listing>) {
        let unread = State::Unavailable(UNREAD.to_string());
        let plans = self.server.plans();
        self.waits_for_plans = plans.is_none();
        let Some(plans) = plans else {
            for id in revisions.into_keys() {
                slot.set_state(id, unread.clone());
            }
            return;
        };
        for (id, state) in slot.states() {
            if state == unread {
                slot.forget(id);
            }
        }
        if self.unloaded.contains(&slot.name) {
            return;
        }
        let plan = plans.get(&slot.name).cloned();
        self.forget_tries(slot, plan.as_ref());
        let places = plan.as_deref().map_or_else(Vec::new, places);
        for (named, place) in &places {
            let roles = slot.roles();
            let resident = |it: &Arc<Roles>| it.revision(named.id).is_some();
            if roles.as_ref().is_some_and(resident) {
                // Its profile may be another by now.
                let key = (slot.name.clone(), named.id);
                if self.seen.get(&key).is_some_and(|seen| seen.changed) {
                    self.try_load(slot, named.id, *place).await;
                }
                continue;
            }
            if !revisions.contains_key(&named.id) {
                continue;
            }
            let was_given_up = || plan.as_ref().is_some_and(|it| it.dismissed.contains(named));
            let may_answer = match place {
                Place::Challenger => false,
                Place::Previous => !was_given_up(),
                Place::Champion | Place::Newcomer => true,
            };
            if roles.is_none() && !may_answer {
                // Alone it would answer, which nobody approved.
                let state = State::Unavailable(NO_CHAMPION.to_string());
                slot.set_state(named.id, state);
                continue;
            }
            self.try_load(slot, named.id, *place).await;
        }
        let floor = self.held.get(&slot.name).copied().unwrap_or(0);
        let decided = plan.as_ref().map_or(0, |plan| plan.champion.id);
        for id in revisions.into_keys().rev() {
            if id <= floor || plan.as_ref().is_some_and(|plan| plan.named(id).is_some()) {
                continue;
            }
            let champion = slot.roles().map(|roles| roles.champion.id);
            match champion {
                // The first revision of a slot that nothing was decided of answers.
                None if plan.is_none() => self.try_load(slot, id, Place::Champion).await,
                Some(champion) if id > champion.max(decided) => {
                    self.try_load(slot, id, Place::Newcomer).await;
                }
                _ => {}
            }
        }
        let waits = |state: &State| matches!(state, State::Settling | State::Loading);
        if !slot.states().values().any(waits) {
            self.arranged.insert(slot.name.clone());
        }
    }

    /// What was decided to be loaded under this id.
    pub(super) fn decided(&self, name: &str, id: u64) -> Option<Named> {
        let plans = self.server.plans()?;
        plans.get(name)?.resident(id).cloned()
    }

    /// The revision that was decided to answer, where it lies in the folder and is not loaded.
    pub(super) fn absent_champion(&self, name: &str) -> Option<u64> {
        let plans = self.server.plans()?;
        let id = plans.get(name)?.champion.id;
        let is_here = self.seen.contains_key(&(name.to_string(), id));
        let roles = self.server.registry.slot(name)?.roles();
        let is_loaded = roles.is_some_and(|roles| roles.revision(id).is_some());
        (is_here && !is_loaded).then_some(id)
    }

    /// A new plan may ask for what was tried before.
    fn forget_tries(&mut self, slot: &Slot, plan: Option<&Arc<Plan>>) {
        let Some(plan) = plan else { return };
        let known = self.plans.get(&slot.name);
        if known.is_some_and(|known| Arc::ptr_eq(known, plan)) {
            return;
        }
        self.plans.insert(slot.name.clone(), Arc::clone(plan));
        for (named, _) in places(plan) {
            if let Some(seen) = self.seen.get_mut(&(slot.name.clone(), named.id)) {
                seen.tried = false;
            }
        }
    }

    /// Loads a revision that has settled and was not tried.
    async fn try_load(&mut self, slot: &Arc<Slot>, id: u64, place: Place) {
        let key = (slot.name.clone(), id);
        let Some(seen) = self.seen.get(&key) else {
            return;
        };
        if seen.tried {
            return;
        }
        let roles = slot.roles();
        if let Some(resident) = roles.as_ref().and_then(|roles| roles.revision(id)) {
            if !settled(seen, self.settings.settle_ms) {
                return;
            }
            let mark = resident.mark().to_string();
            self.renew(slot, id, mark).await;
        } else if settled(seen, self.settings.settle_ms) {
            // The reason is logged and in the slot's state.
            let _loaded = self.load(slot, id, None, place).await;
        } else {
            return slot.set_state(id, State::Settling);
        }
        if let Some(seen) = self.seen.get_mut(&key) {
            (seen.tried, seen.changed) = (true, false);
        }
    }

    /// Takes the new profile of a resident revision; its other files stay what was decided on.
    async fn renew(&mut self, slot: &Arc<Slot>, id: u64, mark: String) {
        match self.prepare(&slot.name, id, None, Some(mark)).await {
            Ok(revision) => {
                let profile = revision.reference.name();
                if let Some(departed) = slot.renew(&Arc::new(revision)) {
                    self.server.bury(departed);
                    tracing::info!(slot = slot.name, revision = id, profile, "profile loaded");
                }
            }
            Err(reason) => tracing::warn!(
                slot = slot.name,
                revision = id,
                reason,
                "its files changed while it is resident: they are not loaded"
            ),
        }
    }

    /// Without its champion a slot goes back to the previous one, but not to what was rolled back from.
    pub(super) fn refuse_given_up(&self, slot: &Slot) {
        let plans = self.server.plans();
        let plan = plans.as_ref().and_then(|plans| plans.get(&slot.name));
        let Some((plan, roles)) = plan.zip(slot.roles()) else {
            return;
        };
        let with_trials = self.server.watch(&slot.name).arrival != Arrival::Replace;
        if with_trials && plan.dismissed.contains(&roles.champion.named()) {
            self.server.bury(slot.unload(NO_CHAMPION));
        }
    }
}

/// The revisions that a plan wants loaded, the champion first, and where each belongs.
fn places(plan: &Plan) -> Vec<(&Named, Place)> {
    let previous = plan.previous.iter().map(|it| (it, Place::Previous));
    let challengers = plan.challengers.iter().map(|it| (it, Place::Challenger));
    std::iter::once((&plan.champion, Place::Champion))
        .chain(previous)
        .chain(challengers)
        .collect()
}
