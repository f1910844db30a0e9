//! The keys of `[rollout]`: what becomes of a new revision, and what it has to show.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use super::{Key, OneSlot, Set, one_of, slot_count};
use crate::model::slot::Arrival;
use crate::rollout::decide::{Approval, Stage};
use crate::rollout::gate::Gate;
use crate::rollout::{Absence, Kind, Maturity};

const SECTION: &str = "rollout";
const SHARE: RangeInclusive<f64> = 0.0..=1.0;
const MONEY: RangeInclusive<f64> = 0.0..=1e12;
const COUNT: RangeInclusive<u64> = 0..=1_000_000_000;

/// Every key of the section, in the order of the documentation.
pub static KEYS: [Key; 37] = [
    choice("on_arrival", |s, v| {
        let words = [
            ("replace", Arrival::Replace),
            ("shadow", Arrival::Shadow),
            ("hold", Arrival::Hold),
        ];
        one_of(&mut s.serve.watch.arrival, v, &words)
    }),
    Key {
        section: SECTION,
        name: "record",
        set: Set::SlotBool(|s, v| s.serve.watch.record = v),
    },
    list("stages", |s, v| {
        s.rollout.policy.stages = stages(v)?;
        Ok(())
    }),
    choice("approval", |s, v| {
        let words = [
            ("automatic", Approval::Automatic),
            ("manual", Approval::Manual),
        ];
        one_of(&mut s.rollout.policy.approval, v, &words)
    }),
    list("gates", |s, v| {
        s.rollout.gates = match v {
            // Those that suit the task.
            [] => Vec::new(),
            gates => parsed::<Gate>(gates)?,
        };
        Ok(())
    }),
    number("alpha", 1e-6..=0.5, |s, v| s.rollout.alpha = v),
    choice("task", |s, v| {
        let words = [
            ("auto", Kind::Auto),
            ("binary", Kind::Binary),
            ("multiclass", Kind::Multiclass),
            ("regression", Kind::Regression),
        ];
        one_of(&mut s.rollout.kind, v, &words)
    }),
    number("threshold", -1e12..=1e12, |s, v| {
        s.rollout.threshold = v;
        s.drift.terms.threshold = v;
    }),
    time("label_horizon", |s, v| s.rollout.horizon_ms = v),
    choice("absence_means", |s, v| {
        let words = [
            ("nothing", Absence::Nothing),
            ("negative", Absence::Negative),
        ];
        one_of(&mut s.rollout.absence, v, &words)
    }),
    choice("maturity", |s, v| {
        let words = [
            ("auto", Maturity::Auto),
            ("label", Maturity::Label),
            ("horizon", Maturity::Horizon),
        ];
        one_of(&mut s.rollout.maturity, v, &words)
    }),
    number("cost_false_positive", MONEY, |s, v| {
        s.rollout.costs.false_positive = v;
    }),
    number("cost_false_negative", MONEY, |s, v| {
        s.rollout.costs.false_negative = v;
    }),
    choice("cost_amount_feature", |s, v| {
        s.rollout.amount_feature = v.to_string();
        Ok(())
    }),
    number("cost_amount_rate", MONEY, |s, v| {
        s.rollout.costs.amount_rate = v;
    }),
    number("cost_limit", 1e-9..=1e12, |s, v| s.rollout.costs.limit = v),
    slot_count(SECTION, "labels_min", COUNT, |s, v| {
        s.rollout.policy.labels_min = v;
    }),
    slot_count(SECTION, "positives_min", COUNT, |s, v| {
        s.rollout.policy.positives_min = v;
    }),
    time("duration_min", |s, v| {
        s.rollout.policy.duration_min_ms = v;
    }),
    time("duration_max", |s, v| {
        s.rollout.policy.duration_max_ms = v;
    }),
    time("stage_min", |s, v| {
        s.rollout.policy.share_duration_min_ms = v
    }),
    number("coverage_min", SHARE, |s, v| {
        s.rollout.policy.coverage_min = v;
    }),
    number("pairing_min", SHARE, |s, v| {
        s.rollout.policy.pairing_min = v;
    }),
    number("error_rate_max", SHARE, |s, v| {
        s.rollout.policy.error_rate_max = v;
    }),
    number("invalid_rate_max", SHARE, |s, v| {
        s.rollout.policy.invalid_rate_max = v;
    }),
    number("latency_ratio_max", 0.0..=1e9, |s, v| {
        s.rollout.policy.latency_ratio_max = v;
    }),
    number("agreement_min", SHARE, |s, v| {
        s.rollout.policy.agreement_min = v;
    }),
    number("p99_ms_max", 0.0..=1e9, |s, v| s.rollout.p99_ms_max = v),
    number("rollback_alpha", 1e-6..=0.5, |s, v| {
        s.rollout.rollback_alpha = v;
    }),
    number("rollback_margin", 0.0..=1e12, |s, v| {
        s.rollout.rollback_margin = v;
    }),
    time("cooldown", |s, v| s.rollout.cooldown_ms = v),
    slot_count(SECTION, "promotions_per_day_max", COUNT, |s, v| {
        s.rollout.promotions_per_day_max = v;
    }),
    slot_count(SECTION, "rollbacks_per_week_max", COUNT, |s, v| {
        s.rollout.rollbacks_per_week_max = v;
    }),
    number("shadow_fraction", SHARE, |s, v| {
        s.serve.watch.shadow_fraction = v;
    }),
    number("holdout_share", SHARE, |s, v| {
        s.serve.watch.holdout_share = v;
        s.rollout.holdout_share = v;
    }),
    slot_count(SECTION, "challengers_max", 1..=8, |s, v| {
        s.serve.watch.challengers_max = usize::try_from(v).unwrap_or(usize::MAX);
    }),
    number("features_fraction", SHARE, |s, v| {
        s.rollout.features_fraction = v;
    }),
];

fn stages(texts: &[String]) -> Result<Vec<Stage>, String> {
    let stages = parsed::<Stage>(texts)?;
    Stage::check(&stages).map_err(|error| error.to_string())?;
    Ok(stages)
}

fn parsed<T: FromStr<Err: Display>>(texts: &[String]) -> Result<Vec<T>, String> {
    if texts.is_empty() {
        return Err("expected one at least".to_string());
    }
    let parse = |text: &String| text.parse().map_err(|error: T::Err| error.to_string());
    texts.iter().map(parse).collect()
}

const fn choice(name: &'static str, set: fn(&mut OneSlot<'_>, &str) -> Result<(), String>) -> Key {
    Key {
        section: SECTION,
        name,
        set: Set::SlotText(set),
    }
}

const fn number(
    name: &'static str,
    range: RangeInclusive<f64>,
    set: fn(&mut OneSlot<'_>, f64),
) -> Key {
    Key {
        section: SECTION,
        name,
        set: Set::SlotNumber(range, set),
    }
}

const fn time(name: &'static str, set: fn(&mut OneSlot<'_>, u64)) -> Key {
    Key {
        section: SECTION,
        name,
        set: Set::SlotTime(set),
    }
}

const fn list(
    name: &'static str,
    set: fn(&mut OneSlot<'_>, &[String]) -> Result<(), String>,
) -> Key {
    Key {
        section: SECTION,
        name,
        set: Set::SlotList(set),
    }
}
