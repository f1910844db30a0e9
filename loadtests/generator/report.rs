//! The report: one JSON object. README.md beside this file says what each key means.

use serde_json::{Map, Value, json};

use super::options::Options;
use super::run::Outcomes;
use super::tally::{Interval, Tally, microseconds, quantile_us};

/// What became of a run.
pub fn report(options: &Options, outcomes: &Outcomes) -> Value {
    let mut report = Map::new();
    report.insert("protocol".into(), options.protocol.name().into());
    report.insert("connections".into(), options.connections.into());
    let mut sum: Option<Tally> = None;
    for (_, tally) in &outcomes.phases {
        match &mut sum {
            Some(sum) => sum.add(tally),
            None => sum = Some(tally.clone()),
        }
    }
    if let Some(sum) = sum {
        write_tally(&mut report, &sum, outcomes.seconds);
    }
    let share = (outcomes.core_share * 1000.0).round() / 1000.0;
    report.insert("generator_cpu".into(), share.into());
    if !options.rate.is_empty() {
        let phases = outcomes.phases.iter().map(|(phase, tally)| {
            let mut part = Map::new();
            part.insert("rate".into(), phase.rate.into());
            write_tally(&mut part, tally, phase.seconds());
            Value::Object(part)
        });
        report.insert("phases".into(), phases.collect());
    }
    if let Some((start_ns, intervals)) = &outcomes.intervals {
        let intervals = intervals.iter().map(|it| interval(it, *start_ns));
        report.insert("intervals".into(), intervals.collect());
    }
    Value::Object(report)
}

fn write_tally(out: &mut Map<String, Value>, tally: &Tally, seconds: f64) {
    let rps = match seconds > 0.0 {
        true => tally.ok_meanwhile as f64 / seconds,
        false => 0.0,
    };
    let max = (!tally.ok.is_empty()).then(|| microseconds(tally.ok.max()));
    let statuses: Map<String, Value> = tally
        .statuses()
        .map(|(status, count)| (status, count.into()))
        .collect();
    let parts: [(&str, Value); 20] = [
        ("seconds", ((seconds * 1e6).round() / 1e6).into()),
        ("sent", tally.sent.into()),
        ("requests", tally.ended().into()),
        ("ok", tally.ok.len().into()),
        ("refused", tally.refused.len().into()),
        ("errors", tally.errors.into()),
        ("dropped", tally.dropped.into()),
        ("unfinished", tally.unfinished.into()),
        ("rps", ((rps * 10.0).round() / 10.0).into()),
        ("p50_us", quantile_us(&tally.ok, 0.5).into()),
        ("p90_us", quantile_us(&tally.ok, 0.9).into()),
        ("p95_us", quantile_us(&tally.ok, 0.95).into()),
        ("p99_us", quantile_us(&tally.ok, 0.99).into()),
        ("p999_us", quantile_us(&tally.ok, 0.999).into()),
        ("max_us", max.into()),
        ("refused_p50_us", quantile_us(&tally.refused, 0.5).into()),
        ("refused_p99_us", quantile_us(&tally.refused, 0.99).into()),
        ("late_p99_us", quantile_us(&tally.late, 0.99).into()),
        ("statuses", Value::Object(statuses)),
        ("bytes_read", tally.bytes_read.into()),
    ];
    for (key, value) in parts {
        out.insert(key.into(), value);
    }
}

fn interval(interval: &Interval, start_ns: u64) -> Value {
    json!({
        "at_ms": (interval.start_ns - start_ns) / 1_000_000,
        "ok": interval.ok,
        "refused": interval.refused,
        "errors": interval.errors,
        "p99_us": interval.p99_us,
    })
}
