//! What a starting server says on standard output.

use std::io::Write;

use super::{Addresses, Running};
use crate::model::slot::State;

impl Running {
    /// Says on standard output what is served and where, with a first request to try.
    pub(super) async fn announce(&self, dir: &str) {
        self.started().await;
        let mut page = String::from("\n");
        let slots = self.shared.server.registry.slots();
        let mut example = None;
        for slot in slots.values() {
            let Some(roles) = slot.roles() else {
                let reason = slot.states().pop_last().map(|(id, state)| match state {
                    State::Unavailable(reason) => format!("revision {id}: {reason}"),
                    _ => format!("revision {id} is loading"),
                });
                page += &format!(
                    "  {:<20} not served: {}\n",
                    slot.name,
                    reason.unwrap_or_default()
                );
                continue;
            };
            let (champion, outline) = (&roles.champion, roles.champion.outline());
            page += &format!(
                "  {:<20} revision {}, {} features, {}, {:.1} µs a row\n",
                slot.name,
                champion.id,
                outline.features.len(),
                outline.engine,
                champion.cost.row_ns as f64 / 1000.0
            );
            example.get_or_insert((slot.name.clone(), outline.features.len()));
        }
        let Addresses {
            http, grpc, admin, ..
        } = &self.addresses;
        let page = format!(
            "\nServing {} of {} models from {dir}:\n{page}\n  HTTP   http://{http}\n  gRPC   {grpc}\n  admin  http://{admin} (metrics, loading and unloading)\n",
            slots.values().filter(|slot| slot.roles().is_some()).count(),
            slots.len()
        );
        let try_it = example.map(|(slot, features)| {
            let row = vec!["0.5"; features].join(",");
            format!(
                "\nTry:\n  curl -s http://127.0.0.1:{}/v1/models/{slot}:predict -d '{{\"instances\":[[{row}]]}}'\n\n",
                http.port()
            )
        });
        let mut out = std::io::stdout().lock();
        // Nobody may be reading.
        let _written = out.write_all((page + &try_it.unwrap_or_default()).as_bytes());
    }
}
