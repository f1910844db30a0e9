//! Settings of drift, of all slots and of one.

use std::collections::{BTreeMap, BTreeSet};

use super::alarm;
use super::measure::Terms;
use super::report::Thresholds;
use super::window::Lengths;

/// Settings of drift.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Features of a slot that have series of their own: those of the highest PSI.
    pub features_in_metrics: usize,
    /// For slots without settings of their own.
    pub slot: SlotSettings,
    pub slots: BTreeMap<String, SlotSettings>,
}

/// Settings of one slot.
#[derive(Clone, Debug, PartialEq)]
pub struct SlotSettings {
    pub lengths: Lengths,
    pub terms: Terms,
    /// Short windows in a row whose verdict is `act`, until there is an alarm.
    pub alarm_windows: u32,
    /// Time after an alarm without another.
    pub cooldown_ms: u64,
    /// Rows that become the reference where there is no profile.
    pub reference_rows: usize,
    /// Bins of each number of such a reference.
    pub bins: usize,
    pub hooks: alarm::Settings,
}

const HOUR_MS: u64 = 60 * 60 * 1000;

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            features_in_metrics: 10,
            slot: SlotSettings::default(),
            slots: BTreeMap::new(),
        }
    }
}

impl Default for SlotSettings {
    fn default() -> SlotSettings {
        SlotSettings {
            lengths: Lengths {
                short_ms: HOUR_MS,
                long_ms: 24 * HOUR_MS,
            },
            terms: Terms {
                thresholds: Thresholds {
                    watch: 0.1,
                    act: 0.25,
                    rows_min: 1000,
                },
                ignore: BTreeSet::new(),
                threshold: 0.5,
            },
            alarm_windows: 2,
            cooldown_ms: 24 * HOUR_MS,
            reference_rows: 10_000,
            bins: 20,
            hooks: alarm::Settings::default(),
        }
    }
}

impl Settings {
    /// The settings of a slot.
    pub fn of(&self, slot: &str) -> &SlotSettings {
        self.slots.get(slot).unwrap_or(&self.slot)
    }
}
