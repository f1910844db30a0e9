//! A comparison with the champion in lines of text: its gates, guards, labels and decision. The page
//! of a slot has one for each challenger, a decision has it as its evidence. Nothing is judged here.

use super::format::{
    Ink, WIDTH, age, count, difference, evidence, money, number, percent, setting, wrapped,
};
use super::report::{Finding, Guard, Part, Trial, Verdict};

/// Where the text of a line begins, behind its name.
pub const INDENT: usize = 14;
/// Guards in a line, and the width of one.
const GUARDS: usize = 2;
const GUARD_WIDTH: usize = 40;

/// A line with its name at the left.
pub fn line(name: &str, value: &str) -> String {
    let pad = INDENT - 2;
    format!("  {name:<pad$}{value}").trim_end().to_string()
}

/// Lines with their name at the left of the first one.
pub fn lines(name: &str, values: &[String]) -> Vec<String> {
    let named = values.iter().enumerate();
    named
        .map(|(index, value)| line(if index == 0 { name } else { "" }, value))
        .collect()
}

/// The mark of a verdict: `✓`, `✗` or `?`.
pub fn mark(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "✓",
        Verdict::Fail => "✗",
        Verdict::Inconclusive => "?",
    }
}

/// A text in the colour of a verdict.
pub fn painted(ink: Ink, verdict: Verdict, text: &str) -> String {
    match verdict {
        Verdict::Pass => ink.good(text),
        Verdict::Fail => ink.bad(text),
        Verdict::Inconclusive => ink.open(text),
    }
}

/// All that is known of a trial.
pub fn text(trial: &Trial, ink: Ink) -> Vec<String> {
    let mut text = decision(trial, ink);
    text.extend(gates(trial, ink));
    text.extend(lines("guards", &guards(&trial.guards, ink)));
    text.extend(lines("labels", &labels(trial)));
    let shadow = trial.standing.shadow;
    if shadow.rows > 0 {
        let told = format!(
            "{} rows; {} errors, {} misfits, {} invalid scores",
            count(shadow.rows),
            count(shadow.errors),
            count(shadow.misfits),
            count(shadow.invalid)
        );
        text.push(line("shadow", &told));
    }
    if trial.saving.is_counted() {
        let saving = trial.saving;
        let told = format!(
            "{} in all; {} a row",
            money(saving.total),
            difference(saving.per_row, saving.lower, saving.upper)
        );
        text.push(line("saved", &told));
    }
    text
}

/// The decision in a word, and its reasons below.
fn decision(trial: &Trial, ink: Ink) -> Vec<String> {
    let word = match trial.decision.as_str() {
        "promote" => ink.good("goes on to the next stage"),
        "rollback" if trial.stage == "previous" => ink.bad("comes back"),
        "rollback" => ink.bad("is given up"),
        "hold" if trial.stage == "previous" => "stays previous".to_string(),
        "hold" => ink.open("holds"),
        other => other.to_string(),
    };
    let mut values = vec![ink.strong(&word)];
    for reason in &trial.reasons {
        for (index, part) in wrapped(reason, WIDTH - INDENT - 2).into_iter().enumerate() {
            values.push(format!("{} {part}", if index == 0 { "-" } else { " " }));
        }
    }
    lines("decision", &values)
}

fn gates(trial: &Trial, ink: Ink) -> Vec<String> {
    if trial.findings.is_empty() {
        return vec![line("gates", "none")];
    }
    let head = format!(
        "  {:<23}{:<31}{:<18}{}",
        "gate", "estimate (interval)", "e-value", "more labels"
    );
    let mut values = vec![ink.faint(head.trim_end())];
    for finding in &trial.findings {
        values.push(gate(finding, ink));
        values.extend(finding.parts.iter().map(|part| ink.faint(&class(part))));
        let told = |reason: &&String| !trial.reasons.iter().any(|it| it.contains(*reason));
        if let Some(reason) = finding.reason.as_ref().filter(told) {
            let parts = wrapped(reason, WIDTH - INDENT - 4);
            values.extend(parts.iter().map(|part| format!("    {part}")));
        }
    }
    lines("gates", &values)
}

fn gate(finding: &Finding, ink: Ink) -> String {
    let needed = match (finding.verdict, finding.needed) {
        (Verdict::Inconclusive, Some(needed)) => format!("about {}", count(needed)),
        (Verdict::Inconclusive, None) => super::format::UNKNOWN.to_string(),
        _ => "none".to_string(),
    };
    let row = format!(
        "{:<23}{:<31}{:<18}{needed}",
        format!("{} > {}", finding.measure, setting(finding.bound)),
        difference(finding.estimate, finding.lower, finding.upper),
        format!(
            "{} of {}",
            evidence(finding.e_value),
            evidence(finding.threshold)
        ),
    );
    let mark = painted(ink, finding.verdict, mark(finding.verdict));
    format!("{mark} {row}")
}

/// A class: rows that only one of both got right stand for its size.
fn class(part: &Part) -> String {
    let row = format!(
        "    {:<21}{:<31}{:<18}{}",
        part.name,
        difference(part.estimate, part.lower, part.upper),
        evidence(part.e_value),
        format_args!("better {}, worse {}", count(part.better), count(part.worse)),
    );
    row.trim_end().to_string()
}

fn guards(guards: &[Guard], ink: Ink) -> Vec<String> {
    let told = |guard: &Guard| {
        let is_upper = guard.name.ends_with("_rate") || guard.name == "latency_ratio";
        let side = if is_upper { "≤" } else { "≥" };
        let text = format!(
            "{} {} ({side} {})",
            guard.name,
            number(guard.value),
            setting(guard.limit)
        );
        let mark = painted(ink, guard.verdict, mark(guard.verdict));
        // Padding counts characters, and colours are characters too.
        format!("{mark} {text:<GUARD_WIDTH$}")
    };
    let rows = guards.chunks(GUARDS);
    rows.map(|row| {
        row.iter()
            .map(told)
            .collect::<String>()
            .trim_end()
            .to_string()
    })
    .collect()
}

/// How many labels, and how much of the traffic they speak of.
fn labels(trial: &Trial) -> Vec<String> {
    let mut text = format!("{} scored by both", count(trial.labels));
    if let Some(positives) = trial.positives {
        text.push_str(&format!(", {} positive", count(positives)));
    }
    if let Some(needed) = trial.needed {
        text.push_str(&format!(", about {} more needed", count(needed)));
    }
    let rates = format!(
        "coverage {}, pairing {}, agreement {}",
        percent(trial.standing.label_coverage),
        percent(trial.pairing),
        percent(trial.agreement)
    );
    // Parts of nothing say nothing.
    match trial.labels {
        0 => vec![text],
        _ => vec![text, rates],
    }
}

/// A trial's heading: whose, at what stage, for how long.
pub fn heading(role: &str, trial: &Trial, now_ms: i64, ink: Ink) -> String {
    let revision = trial.standing.name.revision;
    let title = ink.strong(&format!("{role} {revision}"));
    let in_stage = age(trial.stage_since_ms, now_ms);
    let in_trial = age(trial.standing.since_ms, now_ms);
    match trial.stage.as_str() {
        "previous" => {
            format!(
                "{title}   for {in_stage}; gates here ask whether it is better than the champion"
            )
        }
        stage => format!("{title}   at {stage} for {in_stage}, in trial for {in_trial}"),
    }
}
