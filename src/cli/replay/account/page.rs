//! A replay in words: a page of 80 to 100 columns, no colours.

use std::fmt::Write as _;

use super::{Account, Ending, Money};
use crate::cli::format::{self, WIDTH, count, evidence, money, percent, time, wrapped};
use crate::cli::replay::clock::span;
use crate::cli::replay::simulate::Step;
use crate::rollout::decide::Decision;
use crate::rollout::gate::{Finding, Verdict};
use crate::rollout::score::Metric;

/// Where the text of a line begins, and how wide a column of the table is.
const INDENT: usize = 14;
const COLUMN: usize = 30;

/// The page of an account.
pub fn text(account: &Account) -> String {
    let mut text = String::new();
    data(&mut text, account);
    text.push('\n');
    models(&mut text, account);
    text.push('\n');
    decision(&mut text, account);
    since(&mut text, account);
    match &account.money {
        Some(balance) => told(&mut text, account, balance),
        None if account.policy.task == "regression" => {}
        None => line(
            &mut text,
            "money",
            "no costs are configured (rollout.cost_…)",
        ),
    }
    text
}

/// What became of the challenger, in a few words.
pub fn headline(account: &Account) -> String {
    let last = &account.last;
    let on = labels(last.labels, last.positives);
    match account.outcome {
        Ending::Promoted => format!("promoted after {} on {on}", span(last.after_ms)),
        Ending::RolledBack => {
            let rollback = account.rollback.as_ref();
            let after = rollback.and_then(|it| it.after_ms).unwrap_or(0);
            let first = span(last.after_ms);
            format!(
                "promoted after {first} on {on}, rolled back after {}",
                span(after)
            )
        }
        Ending::Dismissed => format!("dismissed after {} on {on}", span(last.after_ms)),
        Ending::Held => format!("held: not promoted in {} on {on}", span(last.after_ms)),
    }
}

/// A path, cut at its front to this many characters.
pub fn short(path: &str, width: usize) -> String {
    let len = path.chars().count();
    match len > width {
        true => format!(
            "…{}",
            path.chars().skip(len + 1 - width).collect::<String>()
        ),
        false => path.to_string(),
    }
}

fn data(text: &mut String, account: &Account) {
    let data = &account.data;
    line(text, "data", &data.path);
    let positives = data.positives.map_or(String::new(), |positives| {
        let share = percent(positives as f64 / data.rows.max(1) as f64);
        format!(", {} positives ({share})", count(positives))
    });
    let rows = count(data.rows);
    line(
        text,
        "rows",
        &format!("{rows} in {}{positives}", span(data.period_ms)),
    );
    if let Some(first) = data.first_at_ms {
        line(
            text,
            "",
            &format!("{} to {} UTC", time(first), time(first + data.period_ms)),
        );
    }
    let delay = match data.labels_delay_ms {
        0 => "at once".to_string(),
        delay => format!("{} after the row", span(delay)),
    };
    let horizon = data.counted_after_ms.map_or(String::new(), |ms| {
        format!(
            ", counted at the horizon, {}",
            span(i64::try_from(ms).unwrap_or(i64::MAX))
        )
    });
    let every = count(data.look_every as u64);
    line(
        text,
        "labels",
        &format!("{delay}{horizon}; a look after every {every}"),
    );
    let policy = &account.policy;
    let file = policy.file.as_deref().unwrap_or("the defaults");
    line(text, "policy", file);
    let (gates, stages) = (policy.gates.join(", "), policy.stages.join(" → "));
    line(text, "", &format!("{gates}; {stages}; α {}", policy.alpha));
}

fn models(text: &mut String, account: &Account) {
    let (champion, challenger) = (&account.champion, &account.challenger);
    row(text, "", "champion", "challenger");
    let path = |path: &str| short(path, COLUMN - 2);
    row(
        text,
        "model",
        &path(&champion.path),
        &path(&challenger.path),
    );
    if let (Some(one), Some(two)) = (champion.trees, challenger.trees) {
        row(text, "trees", &count(one as u64), &count(two as u64));
    }
    for (one, two) in champion.metrics.iter().zip(&challenger.metrics) {
        row(text, one.name, &metric(one), &metric(two));
    }
    let agreement = percent(account.agreement);
    if account.policy.task != "regression" {
        line(
            text,
            "agreement",
            &format!("{agreement} of decisions are the same"),
        );
    }
    if account.failed > 0 {
        let reason = account.failure.as_deref().unwrap_or_default();
        let rows = count(account.failed);
        line(
            text,
            "failed",
            &format!("challenger on {rows} rows, first {reason}"),
        );
    }
}

fn decision(text: &mut String, account: &Account) {
    line(text, "decision", &headline(account));
    if let (Some(first), true) = (account.data.first_at_ms, account.outcome != Ending::Held) {
        line(
            text,
            "",
            &format!("at {} UTC", time(first + account.last.after_ms)),
        );
    }
    for step in &account.steps {
        let (Decision::Promote, Some(to)) = (step.decision, step.to) else {
            continue;
        };
        if account.policy.stages.len() > 2 {
            let (after, on) = (span(step.after_ms), labels(step.labels, step.positives));
            line(
                text,
                "",
                &format!("{} → {to} after {after} on {on}", step.from),
            );
        }
    }
    for finding in &account.last.findings {
        line(text, "", &found(finding));
    }
    if matches!(account.outcome, Ending::Held | Ending::Dismissed) {
        why(text, &account.last);
    }
    if let Some(needed) = account.needed {
        line(
            text,
            "",
            &format!(
                "about {} more labels are likely to be enough",
                count(needed)
            ),
        );
    }
}

/// Reasons that no finding tells already.
fn why(text: &mut String, last: &Step) {
    for reason in &last.reasons {
        let told = last
            .findings
            .iter()
            .any(|it| reason.starts_with(it.measure.name()));
        if !told {
            line(text, "", reason);
        }
    }
}

fn since(text: &mut String, account: &Account) {
    let Some(rollback) = &account.rollback else {
        return;
    };
    let on = labels(rollback.labels, None);
    match &rollback.reason {
        Some(reason) => line(text, "rolled back", reason),
        None if rollback.labels == 0 => line(text, "since then", "no labels of later rows"),
        None => {
            let told = match rollback.confirmed {
                0 => format!("the old champion was not found better in {on}"),
                1 => format!("the new champion was proven better again, in {on}"),
                tests => format!("the new champion was proven better {tests} times, in {on}"),
            };
            line(text, "since then", &told);
            for finding in &rollback.findings {
                line(text, "", &format!("old against new: {}", found(finding)));
            }
        }
    }
}

fn told(text: &mut String, account: &Account, balance: &Money) {
    let [per_hour, lower, upper] = [
        balance.per_hour,
        balance.per_hour_lower,
        balance.per_hour_upper,
    ];
    let per_hour = format::money_interval(per_hour, lower, upper);
    line(
        text,
        "money",
        &format!("the challenger saves {per_hour} an hour"),
    );
    if let Some(saved) = balance.since_promotion {
        let until = match account.outcome {
            Ending::RolledBack => "to the rollback",
            _ => "to the end",
        };
        let saved = money(saved);
        line(
            text,
            "",
            &format!("{saved} saved from the promotion {until}"),
        );
    }
    if let Some(saved) = balance.against_waiting {
        let wait = span(balance.against_ms);
        let cut = match balance.wait_is_cut {
            true => ", as far as the rows go",
            false => "",
        };
        let told = match saved >= 0.0 {
            true => format!("{} more than by waiting {wait}{cut}", money(saved)),
            false => {
                let lost = money(-saved);
                format!("{lost} less than by promoting untested after {wait}")
            }
        };
        line(text, "", &told);
    }
    if balance.since_promotion.is_none() {
        let all = money(balance.all_rows);
        line(text, "", &format!("{all} saved, had it answered every row"));
    }
}

fn found(finding: &Finding) -> String {
    let gate = format!("{} > {}", finding.measure, format::setting(finding.bound));
    let verdict = match finding.verdict {
        Verdict::Pass => "proven".to_string(),
        Verdict::Fail => "provably not so".to_string(),
        Verdict::Inconclusive => match &finding.reason {
            Some(reason) => format!("inconclusive, {reason}"),
            None => "inconclusive".to_string(),
        },
    };
    if finding.estimate.is_nan() {
        return format!("{gate}: {verdict}");
    }
    let told = format::difference(finding.estimate, finding.lower, finding.upper);
    let [got, threshold] = [finding.e_value, finding.threshold].map(evidence);
    format!("{gate}: {verdict}: {told}, e-value {got} of {threshold}")
}

fn labels(labels: u64, positives: Option<u64>) -> String {
    match positives {
        Some(positives) => format!("{} labels, {} positives", count(labels), count(positives)),
        None => format!("{} labels", count(labels)),
    }
}

fn metric(metric: &Metric) -> String {
    format::interval(metric.value, metric.lower, metric.upper)
}

fn line(text: &mut String, name: &str, value: &str) {
    for (index, value) in wrapped(value, WIDTH - INDENT).iter().enumerate() {
        let name = if index == 0 { name } else { "" };
        // Writing to a string cannot fail.
        let _written = writeln!(text, "{name:<INDENT$}{value}");
    }
}

fn row(text: &mut String, name: &str, one: &str, two: &str) {
    let _written = writeln!(text, "{name:<INDENT$}{one:<COLUMN$}{two}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_keep_their_end() {
        assert_eq!(short("models/fraud/2", 20), "models/fraud/2");
        assert_eq!(short("models/fraud/2", 8), "…fraud/2");
    }

    #[test]
    fn long_lines_go_on_below() {
        let mut text = String::new();
        line(&mut text, "why", &["because"; 12].join(" "));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].starts_with("why           because because"));
        assert_eq!(lines[1], "              because because");
    }
}
