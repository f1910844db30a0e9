//! The table of keys. The file's reader, the environment, the flags, the check for unknown keys and
//! the test of the example file all read this one list.

mod drift;
mod export;
mod trace;
mod trials;
mod validate;

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use super::source::Value;
use super::{Config, check, native_dir};
use crate::api::ModelControl;
use crate::drift::SlotSettings as SlotDrift;
use crate::engine::Choice;
use crate::model::rules;
use crate::rollout;
use crate::serve::SlotSettings;
use crate::source::dir;
use crate::telemetry::log;

/// One key.
pub struct Key {
    pub section: &'static str,
    pub name: &'static str,
    pub set: Set,
}

/// What a key takes, and where it goes.
pub enum Set {
    /// A whole number within a range.
    Count(RangeInclusive<u64>, fn(&mut Config, u64)),
    /// A number within a range.
    Number(RangeInclusive<f64>, fn(&mut Config, f64)),
    Bool(fn(&mut Config, bool)),
    /// Milliseconds.
    Time(fn(&mut Config, u64)),
    /// A text, refused with what was expected.
    Text(fn(&mut Config, &str) -> Result<(), String>),
    /// The same and more, of all slots or of one.
    SlotCount(RangeInclusive<u64>, fn(&mut OneSlot<'_>, u64)),
    SlotNumber(RangeInclusive<f64>, fn(&mut OneSlot<'_>, f64)),
    SlotBool(fn(&mut OneSlot<'_>, bool)),
    SlotText(fn(&mut OneSlot<'_>, &str) -> Result<(), String>),
    SlotTime(fn(&mut OneSlot<'_>, u64)),
    SlotList(fn(&mut OneSlot<'_>, &[String]) -> Result<(), String>),
}

/// The settings of one slot, or of all that have none of their own.
pub struct OneSlot<'a> {
    pub serve: &'a mut SlotSettings,
    pub rollout: &'a mut rollout::SlotSettings,
    pub rules: &'a mut rules::SlotRules,
    pub drift: &'a mut SlotDrift,
}

// Limits keep a slip of the hand from becoming a machine without memory, and every time far from
// where a clock overflows.
const THREADS_MAX: u64 = 1024;
const REQUESTS_MAX: u64 = 1_000_000;
const ROWS_MAX: u64 = 100_000_000;
const VALUES_MAX: u64 = 1 << 32;
const BYTES_MAX: u64 = 1 << 46;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;
const MINUTE_US: u64 = 60 * 1_000_000;
const YEAR_S: u64 = 366 * 24 * 60 * 60;
const HOUR_S: u64 = 60 * 60;

/// Every key but those of sections in files of their own, in the order of the documentation.
static KEYS: [Key; 45] = [
    text("server", "http", |c, v| address(&mut c.api.http, v)),
    text("server", "grpc", |c, v| address(&mut c.api.grpc, v)),
    text("server", "admin", |c, v| address(&mut c.api.admin, v)),
    text("server", "http_unix", |c, v| {
        socket(&mut c.api.http_unix, v)
    }),
    text("server", "grpc_unix", |c, v| {
        socket(&mut c.api.grpc_unix, v)
    }),
    count("server", "workers", 0..=THREADS_MAX, |c, v| {
        c.api.workers = size(v);
    }),
    count("server", "connections_max", 1..=REQUESTS_MAX, |c, v| {
        c.api.connections_max = size(v);
    }),
    count("server", "busy_poll_us", 0..=MINUTE_US, |c, v| {
        c.api.busy_poll_us = v;
    }),
    count("server", "body_bytes_max", 1..=BYTES_MAX, |c, v| {
        c.api.body_bytes_max = size(v);
    }),
    count("server", "bodies_bytes_max", 1..=BYTES_MAX, |c, v| {
        c.api.bodies_bytes_max = size(v);
    }),
    count("server", "answers_bytes_max", 1..=BYTES_MAX, |c, v| {
        c.api.answers_bytes_max = size(v);
    }),
    count("server", "request_timeout_ms", 0..=DAY_MS, |c, v| {
        c.api.request_timeout_ms = v;
    }),
    count("server", "idle_timeout_ms", 1..=DAY_MS, |c, v| {
        c.api.idle_timeout_ms = v;
    }),
    count("server", "write_timeout_ms", 1..=DAY_MS, |c, v| {
        c.api.write_timeout_ms = v;
    }),
    text("server", "model_control", |c, v| {
        let words = [("admin", ModelControl::Admin), ("all", ModelControl::All)];
        one_of(&mut c.api.model_control, v, &words)
    }),
    count("server", "drain_delay_ms", 0..=DAY_MS, |c, v| {
        c.api.drain_delay_ms = v;
    }),
    count("server", "drain_timeout_ms", 0..=DAY_MS, |c, v| {
        c.api.drain_timeout_ms = v;
    }),
    text("models", "dir", |c, v| path(&mut c.source.dir, v)),
    text("models", "slot", |c, v| {
        if !dir::is_slot_name(v) {
            return Err("letters, digits, \".\", \"-\" and \"_\"".to_string());
        }
        c.source.slot = Some(v.to_string());
        Ok(())
    }),
    count("models", "poll_interval_ms", 10..=DAY_MS, |c, v| {
        c.source.poll_interval_ms = v;
    }),
    count("models", "settle_ms", 0..=DAY_MS, |c, v| {
        c.source.settle_ms = v;
    }),
    text("models", "engine", |c, v| {
        let words = [
            ("auto", Choice::Auto),
            ("forest", Choice::Forest),
            ("library", Choice::Library),
        ];
        one_of(&mut c.revision.engine, v, &words)
    }),
    Key {
        section: "models",
        name: "verify",
        set: Set::Bool(|c, v| c.revision.verify = v),
    },
    count("models", "bytes_max", 1..=BYTES_MAX, |c, v| {
        c.revision.bytes_max = v;
    }),
    text("models", "native_dir", |c, v| {
        if v == "auto" {
            c.revision.libraries.dir = native_dir();
            return Ok(());
        }
        path(&mut c.revision.libraries.dir, v)
    }),
    count("admission", "in_flight_max", 1..=REQUESTS_MAX, |c, v| {
        c.serve.admission.in_flight_max = size(v);
    }),
    count("admission", "rows_max", 1..=ROWS_MAX, |c, v| {
        c.serve.admission.rows_max = size(v);
    }),
    count("admission", "extra_values_max", 1..=VALUES_MAX, |c, v| {
        c.serve.admission.extra_values_max = size(v);
    }),
    count("batch", "threads", 0..=THREADS_MAX, |c, v| {
        c.serve.batch.threads = size(v);
    }),
    count("batch", "queue_rows_max", 1..=ROWS_MAX, |c, v| {
        c.serve.batch.queue_rows_max = size(v);
    }),
    count("batch", "queue_ms_max", 0..=DAY_MS, |c, v| {
        c.serve.batch.queue_ms_max = v;
    }),
    slot_count("batch", "max_batch_rows", 1..=ROWS_MAX, |s, v| {
        s.serve.policy.max_batch_rows = size(v);
    }),
    slot_count("batch", "max_queue_delay_us", 0..=MINUTE_US, |s, v| {
        s.serve.policy.max_queue_delay_us = v;
    }),
    slot_count("batch", "inline_us_max", 0..=MINUTE_US, |s, v| {
        s.serve.policy.inline_us_max = v;
    }),
    slot_count("cache", "capacity_bytes", 0..=BYTES_MAX, |s, v| {
        s.serve.cache.capacity_bytes = v;
    }),
    slot_count("cache", "ttl_s", 0..=YEAR_S, |s, v| {
        s.serve.cache.ttl_s = v;
    }),
    text("journal", "store", |c, v| {
        c.journal.store = v.to_string();
        Ok(())
    }),
    count("journal", "queue_rows_max", 1..=ROWS_MAX, |c, v| {
        c.journal.queue_rows_max = size(v);
    }),
    count("journal", "rows_per_second_max", 0..=ROWS_MAX, |c, v| {
        c.serve.record.rows_per_second_max = v;
    }),
    count("journal", "flush_ms", 1..=HOUR_S, |c, v| {
        c.journal.flush_ms = v
    }),
    count("journal", "retention_days", 0..=36_600, |c, v| {
        c.journal.retention_days = v;
    }),
    count("journal", "bytes_max", 0..=BYTES_MAX, |c, v| {
        c.journal.bytes_max = v;
    }),
    count("telemetry", "window_s", 1..=HOUR_S, |c, v| {
        c.telemetry.window_s = v;
    }),
    text("telemetry", "log_format", |c, v| {
        let words = [
            ("auto", log::Format::Auto),
            ("text", log::Format::Text),
            ("json", log::Format::Json),
        ];
        one_of(&mut c.telemetry.log_format, v, &words)
    }),
    text("telemetry", "log_level", |c, v| {
        log::check_filter(v).map_err(|error| {
            format!("expected a filter such as info or hedgerow=debug,warn, got \"{v}\": {error}")
        })?;
        c.telemetry.log_level = v.to_string();
        Ok(())
    }),
];

/// The section of sections of one slot each.
pub const SLOTS: &str = "slots";

/// Every key there is, in the order of the documentation.
pub fn all() -> impl Iterator<Item = &'static Key> {
    KEYS.iter()
        .chain(&trace::KEYS)
        .chain(&export::KEYS)
        .chain(&validate::KEYS)
        .chain(&trials::KEYS)
        .chain(&drift::KEYS)
}

impl Key {
    /// `section.name`.
    pub fn path(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }

    /// Whether its values are never to be told.
    fn is_secret(&self) -> bool {
        let ends = ["_password", "_token", "_auth"];
        ends.iter().any(|end| self.name.ends_with(end)) || self.path() == trace::SECRET
    }

    /// Stores a value, for one slot or for all.
    ///
    /// # Errors
    /// What was expected.
    pub fn apply(
        &self,
        config: &mut Config,
        slot: Option<&str>,
        value: &Value,
    ) -> Result<(), String> {
        let applied = self.set(config, slot, value);
        // A message is not to repeat what it may be.
        applied.map_err(
            |reason| match (self.is_secret(), reason.split_once(", got ")) {
                (true, Some((expected, _))) => expected.to_string(),
                _ => reason,
            },
        )
    }

    fn set(&self, config: &mut Config, slot: Option<&str>, value: &Value) -> Result<(), String> {
        match &self.set {
            Set::SlotCount(range, set) => set(&mut one_slot(config, slot), value.count(range)?),
            Set::SlotNumber(range, set) => set(&mut one_slot(config, slot), value.number(range)?),
            Set::SlotBool(set) => set(&mut one_slot(config, slot), value.bool()?),
            Set::SlotText(set) => set(&mut one_slot(config, slot), value.text()?)?,
            Set::SlotTime(set) => set(&mut one_slot(config, slot), value.time_ms()?),
            Set::SlotList(set) => set(&mut one_slot(config, slot), &value.list()?)?,
            Set::Count(range, set) => set(config, value.count(range)?),
            Set::Number(range, set) => set(config, value.number(range)?),
            Set::Bool(set) => set(config, value.bool()?),
            Set::Time(set) => set(config, value.time_ms()?),
            Set::Text(set) => set(config, value.text()?)?,
        }
        Ok(())
    }

    fn is_of_slots(&self) -> bool {
        !matches!(
            self.set,
            Set::Count(..) | Set::Number(..) | Set::Bool(_) | Set::Time(_) | Set::Text(_)
        )
    }
}

/// The names of the sections of all slots (`of_slot` false) or of one.
pub fn sections(of_slot: bool) -> Vec<&'static str> {
    let mut names: Vec<&str> = all()
        .filter(|key| !of_slot || key.is_of_slots())
        .map(|key| key.section)
        .collect();
    names.dedup();
    if !of_slot {
        names.push(SLOTS);
    }
    names
}

/// The key with this name, of all slots or of one.
///
/// # Errors
/// What the name may have been meant to be.
pub fn find(slot: Option<&str>, section: &str, name: &str) -> Result<&'static Key, String> {
    let of_slot = slot.is_some();
    let within: Vec<&'static Key> = all()
        .filter(|key| key.section == section && (!of_slot || key.is_of_slots()))
        .collect();
    if within.is_empty() {
        return Err(unknown_section(slot, section));
    }
    if let Some(key) = within.iter().find(|key| key.name == name) {
        return Ok(key);
    }
    let header = header(slot, section);
    let elsewhere = all().find(|key| key.name == name);
    let names: Vec<&str> = within.iter().map(|key| key.name).collect();
    Err(match (elsewhere, check::closest(name, &names)) {
        (Some(key), _) => format!(
            "unknown key \"{name}\" in {header}; it belongs in [{}]",
            key.section
        ),
        (None, Some(meant)) => {
            format!("unknown key \"{name}\" in {header}; did you mean \"{meant}\"?")
        }
        (None, None) => format!(
            "unknown key \"{name}\" in {header}; expected one of {}",
            names.join(", ")
        ),
    })
}

/// The message for a section that does not exist.
pub fn unknown_section(slot: Option<&str>, section: &str) -> String {
    let header = header(slot, section);
    let names = sections(slot.is_some());
    if let Some(meant) = check::closest(section, &names) {
        return format!("unknown section {header}; did you mean \"{meant}\"?");
    }
    if slot.is_none()
        && let Some(key) = all().find(|key| key.name == section)
    {
        return format!("\"{section}\" belongs in [{}]", key.section);
    }
    format!(
        "unknown section {header}; expected one of {}",
        names.join(", ")
    )
}

fn header(slot: Option<&str>, section: &str) -> String {
    match slot {
        Some(slot) => format!("[{SLOTS}.{slot}.{section}]"),
        None => format!("[{section}]"),
    }
}

pub(super) const fn text(
    section: &'static str,
    name: &'static str,
    set: fn(&mut Config, &str) -> Result<(), String>,
) -> Key {
    Key {
        section,
        name,
        set: Set::Text(set),
    }
}

const fn count(
    section: &'static str,
    name: &'static str,
    range: RangeInclusive<u64>,
    set: fn(&mut Config, u64),
) -> Key {
    Key {
        section,
        name,
        set: Set::Count(range, set),
    }
}

const fn slot_count(
    section: &'static str,
    name: &'static str,
    range: RangeInclusive<u64>,
    set: fn(&mut OneSlot<'_>, u64),
) -> Key {
    Key {
        section,
        name,
        set: Set::SlotCount(range, set),
    }
}

fn one_slot<'a>(config: &'a mut Config, slot: Option<&str>) -> OneSlot<'a> {
    let Some(slot) = slot else {
        return OneSlot {
            serve: &mut config.serve.slot,
            rollout: &mut config.rollout.slot,
            rules: &mut config.revision.rules.slot,
            drift: &mut config.drift.slot,
        };
    };
    let serve = config.serve.slot.clone();
    let rollout = config.rollout.slot.clone();
    let rules = config.revision.rules.slot.clone();
    let drift = config.drift.slot.clone();
    let name = || slot.to_string();
    OneSlot {
        serve: config.serve.slots.entry(name()).or_insert(serve),
        rollout: config.rollout.slots.entry(name()).or_insert(rollout),
        rules: config.revision.rules.slots.entry(name()).or_insert(rules),
        drift: config.drift.slots.entry(name()).or_insert(drift),
    }
}

fn size(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

fn address(to: &mut SocketAddr, text: &str) -> Result<(), String> {
    *to = text.parse().map_err(|_| {
        format!(
            "expected an IP address and a port such as 127.0.0.1:8080 or [::]:8080, got \"{text}\""
        )
    })?;
    Ok(())
}

fn path(to: &mut PathBuf, text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("expected a folder, got nothing".to_string());
    }
    *to = PathBuf::from(text);
    Ok(())
}

fn socket(to: &mut Option<PathBuf>, text: &str) -> Result<(), String> {
    // What the address of a Unix socket holds, with its final zero.
    const LENGTH_MAX: usize = 107;
    if text.len() > LENGTH_MAX {
        return Err(format!("expected a path of at most {LENGTH_MAX} bytes"));
    }
    *to = (!text.is_empty()).then(|| PathBuf::from(text));
    Ok(())
}

fn one_of<T: Copy>(to: &mut T, text: &str, words: &[(&str, T)]) -> Result<(), String> {
    let Some((_, value)) = words.iter().find(|(word, _)| *word == text) else {
        let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        return Err(format!(
            "expected one of {}, got \"{text}\"",
            names.join(", ")
        ));
    };
    *to = *value;
    Ok(())
}
