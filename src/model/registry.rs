//! All slots by name. Reading takes no lock; slots come and go by storing a new map.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::slot::Slot;

/// The served names.
#[derive(Debug, Default)]
pub struct Registry {
    slots: ArcSwap<BTreeMap<String, Arc<Slot>>>,
}

impl Registry {
    /// The slot with this name.
    pub fn slot(&self, name: &str) -> Option<Arc<Slot>> {
        self.slots.load().get(name).cloned()
    }

    /// All slots, in the order of their names.
    pub fn slots(&self) -> Arc<BTreeMap<String, Arc<Slot>>> {
        self.slots.load_full()
    }

    /// The slot with this name, made if it is new.
    pub fn insert(&self, name: &str) -> Arc<Slot> {
        if let Some(slot) = self.slot(name) {
            return slot;
        }
        let slot = Arc::new(Slot::new(name));
        self.slots.rcu(|slots| {
            let mut slots = BTreeMap::clone(slots);
            slots
                .entry(name.to_string())
                .or_insert_with(|| Arc::clone(&slot));
            slots
        });
        // Another caller may have been first.
        self.slot(name).unwrap_or(slot)
    }

    /// Drops a slot. Requests that hold its revision finish with it.
    pub fn remove(&self, name: &str) {
        self.slots.rcu(|slots| {
            let mut slots = BTreeMap::clone(slots);
            slots.remove(name);
            slots
        });
    }
}
