//! The keys of `[drift]`: what is watched, from where on something is to be done, and who is called.

use std::ops::RangeInclusive;

use super::{Key, OneSlot, ROWS_MAX, Set, count, one_of, size, slot_count};
use crate::drift::alarm::{Authorities, Secret, Url, airflow, prefect};
use crate::serve::record::Drift;

const SECTION: &str = "drift";
const PSI: RangeInclusive<f64> = 0.0..=100.0;

/// Every key of the section, in the order of the documentation.
pub static KEYS: [Key; 24] = [
    choice("watch", |s, v| {
        let words = [
            ("auto", Drift::Auto),
            ("on", Drift::On),
            ("off", Drift::Off),
        ];
        one_of(&mut s.serve.watch.drift, v, &words)
    }),
    time("short_window", |s, v| s.drift.lengths.short_ms = v),
    time("long_window", |s, v| s.drift.lengths.long_ms = v),
    slot_count(SECTION, "rows_min", 1..=ROWS_MAX, |s, v| {
        s.drift.terms.thresholds.rows_min = v;
    }),
    number("psi_watch", |s, v| s.drift.terms.thresholds.watch = v),
    number("psi_act", |s, v| s.drift.terms.thresholds.act = v),
    Key {
        section: SECTION,
        name: "ignore",
        set: Set::SlotList(|s, v| {
            s.drift.terms.ignore = v.iter().cloned().collect();
            Ok(())
        }),
    },
    slot_count(SECTION, "reference_rows", 1000..=1_000_000, |s, v| {
        s.drift.reference_rows = size(v);
    }),
    slot_count(SECTION, "reference_bins", 2..=100, |s, v| {
        s.drift.bins = size(v);
    }),
    slot_count(SECTION, "alarm_windows", 1..=1000, |s, v| {
        s.drift.alarm_windows = u32::try_from(v).unwrap_or(u32::MAX);
    }),
    time("cooldown", |s, v| s.drift.cooldown_ms = v),
    choice("webhook_url", |s, v| {
        address(&mut s.drift.calls.webhook, v, Url::parse)
    }),
    choice("webhook_token", |s, v| {
        secret(&mut s.drift.calls.webhook_token, v)
    }),
    choice("airflow_url", |s, v| {
        address(&mut s.drift.calls.airflow, v, airflow::parse_url)
    }),
    choice("airflow_dag", |s, v| {
        s.drift.calls.airflow_dag = match v {
            "" => String::new(),
            name => airflow::parse_dag(name)?,
        };
        Ok(())
    }),
    choice("airflow_version", |s, v| {
        s.drift.calls.airflow_version = airflow::Version::parse(v)?;
        Ok(())
    }),
    choice("airflow_user", |s, v| {
        s.drift.calls.airflow_user = v.to_string();
        Ok(())
    }),
    choice("airflow_password", |s, v| {
        secret(&mut s.drift.calls.airflow_password, v)
    }),
    choice("prefect_url", |s, v| {
        address(&mut s.drift.calls.prefect, v, prefect::parse_url)
    }),
    choice("prefect_deployment", |s, v| {
        s.drift.calls.prefect_deployment = match v {
            "" => None,
            name => Some(prefect::Deployment::parse(name)?),
        };
        Ok(())
    }),
    choice("prefect_auth", |s, v| {
        secret(&mut s.drift.calls.prefect_auth, v)
    }),
    choice("ca_file", |s, v| {
        s.drift.calls.authorities = match v {
            "" => None,
            path => {
                let pem = std::fs::read(path).map_err(|error| format!("{path}: {error}"))?;
                Some(Authorities::parse(&pem).map_err(|error| format!("{path}: {error}"))?)
            }
        };
        Ok(())
    }),
    count(SECTION, "rows_per_second_max", 0..=ROWS_MAX, |c, v| {
        c.serve.record.watched_rows_per_second_max = v;
    }),
    count(SECTION, "features_in_metrics", 0..=1000, |c, v| {
        c.drift.features_in_metrics = size(v);
    }),
];

/// An address; nothing for none.
fn address(
    to: &mut Option<Url>,
    text: &str,
    parse: fn(&str) -> Result<Url, String>,
) -> Result<(), String> {
    *to = match text {
        "" => None,
        text => Some(parse(text)?),
    };
    Ok(())
}

/// A secret, or `file:` and the path of a file that holds it; nothing for none.
fn secret(to: &mut Option<Secret>, text: &str) -> Result<(), String> {
    let read;
    let text = match text.strip_prefix("file:") {
        None => text,
        Some(path) => {
            read = std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
            let line = read.strip_suffix('\n').unwrap_or(&read);
            line.strip_suffix('\r').unwrap_or(line)
        }
    };
    *to = match text {
        "" => None,
        text => Some(Secret::parse(text)?),
    };
    Ok(())
}

const fn choice(name: &'static str, set: fn(&mut OneSlot<'_>, &str) -> Result<(), String>) -> Key {
    Key {
        section: SECTION,
        name,
        set: Set::SlotText(set),
    }
}

const fn number(name: &'static str, set: fn(&mut OneSlot<'_>, f64)) -> Key {
    Key {
        section: SECTION,
        name,
        set: Set::SlotNumber(PSI, set),
    }
}

const fn time(name: &'static str, set: fn(&mut OneSlot<'_>, u64)) -> Key {
    Key {
        section: SECTION,
        name,
        set: Set::SlotTime(set),
    }
}
