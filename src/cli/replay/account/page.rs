//! A replay in words: a page of 80 to 100 columns, no colours.

use std::fmt::Write as _;

use super::{Account, Ending, Money};
use crate::cli::replay::clock::{moment, span};
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
        Some(money) => told(&mut text, account, money),
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
        let share = 100.0 * positives as f64 / data.rows.max(1) as f64;
        format!(", {} positives ({share:.1} %)", whole(positives))
    });
    let rows = whole(data.rows);
    line(
        text,
        "rows",
        &format!("{rows} in {}{positives}", span(data.period_ms)),
    );
    if let Some(first) = data.first_at_ms {
        line(
            text,
            "",
            &format!(
                "{} to {} UTC",
                moment(first),
                moment(first + data.period_ms)
            ),
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
    let every = whole(data.look_every as u64);
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
        row(text, "trees", &whole(one as u64), &whole(two as u64));
    }
    for (one, two) in champion.metrics.iter().zip(&challenger.metrics) {
        row(text, one.name, &metric(one), &metric(two));
    }
    let agreement = format!(
        "{:.1} % of decisions are the same",
        100.0 * account.agreement
    );
    if account.policy.task != "regression" {
        line(text, "agreement", &agreement);
    }
    if account.failed > 0 {
        let reason = account.failure.as_deref().unwrap_or_default();
        let rows = whole(account.failed);
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
            &format!("at {} UTC", moment(first + account.last.after_ms)),
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
                whole(needed)
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

fn told(text: &mut String, account: &Account, money: &Money) {
    let (per_hour, lower, upper) = (money.per_hour, money.per_hour_lower, money.per_hour_upper);
    let range = format!("{} to {}", amount(lower), amount(upper));
    line(
        text,
        "money",
        &format!(
            "the challenger saves {} an hour ({range})",
            amount(per_hour)
        ),
    );
    if let Some(saved) = money.since_promotion {
        let until = match account.outcome {
            Ending::RolledBack => "to the rollback",
            _ => "to the end",
        };
        line(
            text,
            "",
            &format!("{} saved from the promotion {until}", amount(saved)),
        );
    }
    if let Some(saved) = money.against_waiting {
        let wait = span(money.against_ms);
        let cut = if money.wait_is_cut {
            ", as far as the rows go"
        } else {
            ""
        };
        let told = match saved >= 0.0 {
            true => format!("{} more than by waiting {wait}{cut}", amount(saved)),
            false => format!(
                "{} less than by promoting untested after {wait}",
                amount(-saved)
            ),
        };
        line(text, "", &told);
    }
    if money.since_promotion.is_none() {
        let all = amount(money.all_rows);
        line(text, "", &format!("{all} saved, had it answered every row"));
    }
}

fn found(finding: &Finding) -> String {
    let gate = format!("{} > {}", finding.measure, finding.bound + 0.0);
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
    format!(
        "{gate}: {verdict}: {} ({} to {}), e-value {} of {}",
        figure(finding.estimate),
        figure(finding.lower),
        figure(finding.upper),
        evidence(finding.e_value),
        evidence(finding.threshold)
    )
}

fn labels(labels: u64, positives: Option<u64>) -> String {
    match positives {
        Some(positives) => format!("{} labels, {} positives", whole(labels), whole(positives)),
        None => format!("{} labels", whole(labels)),
    }
}

fn metric(metric: &Metric) -> String {
    if metric.value.is_nan() {
        return "–".to_string();
    }
    let [value, lower, upper] = [metric.value, metric.lower, metric.upper].map(figure);
    format!("{value} ({lower} to {upper})")
}

fn line(text: &mut String, name: &str, value: &str) {
    // Writing to a string cannot fail.
    let _written = writeln!(text, "{name:<INDENT$}{value}");
}

fn row(text: &mut String, name: &str, one: &str, two: &str) {
    line(text, name, &format!("{one:<COLUMN$}{two}"));
}

/// Four digits behind the point, fewer of large numbers.
fn figure(value: f64) -> String {
    match value.abs() {
        size if size.is_nan() => "–".to_string(),
        size if size < 10.0 => format!("{value:.4}"),
        size if size < 1000.0 => format!("{value:.2}"),
        _ => signed(value),
    }
}

/// Evidence beyond a million is evidence enough.
fn evidence(value: f64) -> String {
    match value > 1e6 {
        true => "over 1,000,000".to_string(),
        false if value < 1000.0 => format!("{}", (value * 10.0).round() / 10.0),
        false => signed(value),
    }
}

fn amount(value: f64) -> String {
    match value.abs() {
        size if size.is_nan() => "–".to_string(),
        size if size < 1000.0 => format!("{value:.2}"),
        _ => signed(value),
    }
}

fn signed(value: f64) -> String {
    let sign = if value < 0.0 { "-" } else { "" };
    format!("{sign}{}", whole(value.abs().round() as u64))
}

/// `12,345`.
fn whole(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!(whole(1_234_567), "1,234,567");
        assert_eq!(
            [figure(0.12345), figure(-12.345), figure(-12_345.6)],
            [
                "0.1235".to_string(),
                "-12.35".to_string(),
                "-12,346".to_string()
            ]
        );
        assert_eq!([figure(f64::NAN), amount(f64::NAN)], ["–", "–"]);
        assert_eq!(
            [1e9, 20.0, 1.23, 2345.6].map(evidence),
            ["over 1,000,000", "20", "1.2", "2,346"]
        );
    }

    #[test]
    fn paths_keep_their_end() {
        assert_eq!(short("models/fraud/2", 20), "models/fraud/2");
        assert_eq!(short("models/fraud/2", 8), "…fraud/2");
    }
}
