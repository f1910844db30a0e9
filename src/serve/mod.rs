//! One prediction, a straight line: [`infer`].

pub mod admission;
pub mod batch;
pub mod cache;
pub mod request;

use std::collections::BTreeMap;

/// Settings of the serving path.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Settings {
    pub admission: admission::Settings,
    pub batch: batch::Settings,
    /// For slots without settings of their own. Their cache, if it is on, is one for all of them.
    pub slot: SlotSettings,
    pub slots: BTreeMap<String, SlotSettings>,
}

/// Settings of one slot.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct SlotSettings {
    pub policy: batch::Policy,
    pub cache: cache::Settings,
}
