//! Which slots' logs are exported, and what is known of them by their champions.

use std::sync::Arc;

use super::score::Task;
use super::settings::Settings;
use super::{Rollout, reading};
use crate::journal::export::{self, Watched};
use crate::serve::{Server, record};
use crate::task::Supervisor;
use crate::telemetry;

impl Rollout {
    /// Starts the export of the prediction log, where it has a folder. To be called once.
    ///
    /// # Errors
    /// When the system has no more threads.
    pub fn export(
        &self,
        settings: export::Settings,
        supervisor: &Supervisor,
    ) -> std::io::Result<()> {
        let (server, slots) = (Arc::clone(&self.0.server), self.0.settings.clone());
        if settings.dir.is_some() {
            warn(&slots);
        }
        let slots = Box::new(move || watched(&server, &slots));
        let started = export::start(settings, self.0.journal.clone(), slots, supervisor)?;
        if let Some(progress) = started {
            // Only the first counts.
            let _set = self.0.export.set(progress);
        }
        Ok(())
    }

    /// What was exported, as the metrics have it.
    pub(super) fn exported(&self) -> Vec<telemetry::export::Slot> {
        let all = self.0.export.get().map_or_else(Vec::new, |it| it.all());
        let now_ms = record::now_ms();
        let each = all.into_iter();
        each.map(|(slot, counts)| telemetry::export::Slot {
            slot,
            rows: counts.rows(),
            files: counts.files(),
            failures: counts.failures(),
            broken_rows: counts.broken_rows(),
            lag_s: counts.lag_s(now_ms),
        })
        .collect()
    }
}

/// The slots that record and have a champion, which says what their scores mean.
fn watched(server: &Server, settings: &Settings) -> Vec<Watched> {
    let slots = server.registry.slots();
    let recording = slots.iter().filter(|(name, _)| server.watch(name).is_on());
    recording
        .filter_map(|(name, slot)| {
            let task = reading::task(settings.of(name), &slot.roles()?.champion);
            Some(Watched {
                slot: name.clone(),
                threshold: match task {
                    Task::Binary { threshold } => Some(threshold),
                    Task::Multiclass | Task::Regression => None,
                },
            })
        })
        .collect()
}

/// Rows without features are not exported.
fn warn(settings: &Settings) {
    let of_slots = settings.slots.iter();
    let own = of_slots.map(|(name, slot)| (format!("slots.{name}.rollout."), slot));
    let all = ("rollout.".to_string(), &settings.slot);
    for (section, slot) in std::iter::once(all).chain(own) {
        if slot.features_fraction <= 0.0 {
            tracing::warn!(
                key = format!("{section}features_fraction"),
                "nothing is exported of predictions that are recorded without features: the key is 0"
            );
        }
    }
}
