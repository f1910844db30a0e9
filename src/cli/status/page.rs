//! One slot on a page that a person reads at a glance: problems first, then who answers, what waiting
//! costs, how good each revision is, and what each challenger still has to prove.

use super::super::format::{
    Ink, UNKNOWN, WIDTH, age, count, cut, interval, money, money_interval, number, percent, time,
    wrapped,
};
use super::super::report::{Report, Standing, Trial, Value, Waiting};
use super::super::trial::{self, INDENT, line};

/// Revisions side by side in the table of metrics, and the width of one.
const COLUMNS: usize = 3;
const COLUMN: usize = 28;
/// Revisions that were given up, as far as they are shown.
const GIVEN_UP: usize = 3;
/// Drifted features that are named, and the characters of a name.
const NAMED: usize = 3;
const NAME: usize = 24;
const HOURS_A_DAY: f64 = 24.0;

/// The page.
pub fn text(report: &Report, ink: Ink) -> String {
    let mut lines = problems(report, ink);
    lines.extend(head(report, ink));
    lines.push(String::new());
    lines.extend(roles(report, ink));
    lines.push(String::new());
    lines.extend(waiting(report, ink));
    lines.extend(drift(report, ink));
    lines.extend(metrics(report, ink));
    for challenger in &report.challengers {
        lines.push(String::new());
        lines.push(trial::heading("CHALLENGER", challenger, report.at_ms, ink));
        lines.extend(trial::text(challenger, ink));
        lines.extend(hint(report, challenger));
    }
    if let Some(previous) = &report.previous {
        lines.push(String::new());
        lines.push(trial::heading("PREVIOUS", previous, report.at_ms, ink));
        lines.extend(trial::text(previous, ink));
    }
    lines.extend(given_up(report, ink));
    let mut text = lines.join("\n");
    text.push('\n');
    text
}

/// Why nothing can be decided, when that is so.
pub fn problems(report: &Report, ink: Ink) -> Vec<String> {
    let Some(reason) = &report.journal_error else {
        return Vec::new();
    };
    let told = format!("journal: {reason}; no decision can be written until it is well again");
    let parts = wrapped(&told, WIDTH - 2).into_iter().enumerate();
    parts
        .map(|(index, part)| ink.bad(&format!("{} {part}", if index == 0 { "✗" } else { " " })))
        .collect()
}

fn head(report: &Report, ink: Ink) -> Vec<String> {
    let mut parts = vec![
        report
            .task
            .clone()
            .unwrap_or_else(|| "nothing loaded".to_string()),
    ];
    if report.rows_per_hour.is_finite() {
        parts.push(format!(
            "{} rows an hour",
            count(report.rows_per_hour.round() as u64)
        ));
    }
    parts.push(match report.leader {
        true => "this process decides".to_string(),
        false => "another process decides".to_string(),
    });
    parts.push(format!("{} UTC", time(report.at_ms)));
    let mut lines = vec![format!(
        "{}   {}",
        ink.strong(&report.slot),
        parts.join(" · ")
    )];
    let join = |list: &[String], between: &str| match list.is_empty() {
        true => "none".to_string(),
        false => list.join(between),
    };
    let policy = format!(
        "on arrival: {} · stages: {} · approval: {}",
        report.on_arrival,
        join(&report.stages, ", "),
        report.approval
    );
    let gates = format!("gates: {}", join(&report.gates, " and "));
    for part in [policy, gates] {
        lines.extend(wrapped(&part, WIDTH).iter().map(|line| ink.faint(line)));
    }
    lines
}

fn roles(report: &Report, ink: Ink) -> Vec<String> {
    let row = |cells: [&str; 6]| {
        let [role, revision, mark, stage, in_role, in_stage] = cells;
        format!("  {role:<12}{revision:<10}{mark:<18}{stage:<12}{in_role:<14}{in_stage:<14}")
    };
    let head = row(["role", "revision", "digest", "stage", "for", "at stage for"]);
    let mut lines = vec![ink.faint(head.trim_end())];
    let mut add = |role: &str, standing: &Standing, stage: &str, since: Option<i64>| {
        let in_stage = since.map_or(String::new(), |since| age(since, report.at_ms));
        let line = row([
            role,
            &standing.name.revision.to_string(),
            &cut(&standing.name.mark, 16),
            stage,
            &age(standing.since_ms, report.at_ms),
            &in_stage,
        ]);
        let note = match standing.resident {
            true => String::new(),
            false => ink.bad("not loaded"),
        };
        lines.push(format!("{line}{note}").trim_end().to_string());
    };
    if let Some(champion) = &report.champion {
        add("champion", champion, "answers", None);
    }
    for trial in &report.challengers {
        add(
            "challenger",
            &trial.standing,
            &trial.stage,
            Some(trial.stage_since_ms),
        );
    }
    if let Some(previous) = &report.previous {
        add("previous", &previous.standing, "shadow", None);
    }
    if report.champion.is_none() {
        lines.push(line("champion", "none: nothing answers yet"));
    }
    lines
}

/// Money an hour, and by the day, since people think in days.
fn waiting(report: &Report, ink: Ink) -> Vec<String> {
    let title = ink.strong("COST OF WAITING");
    let challengers = &report.challengers;
    let value = match &report.cost_of_waiting {
        _ if challengers.is_empty() => format!("{UNKNOWN}   no challenger"),
        _ if report.costs_configured == Some(false) => {
            format!("{UNKNOWN}   no costs are configured: see cost_false_positive in [rollout]")
        }
        None => format!("{UNKNOWN}   nothing is known of a challenger yet"),
        Some(_) if challengers.iter().all(|it| !it.saving.is_counted()) => {
            format!("{UNKNOWN}   no costs are configured, or no row cost a difference")
        }
        Some(it) => {
            let sum = money_interval(it.per_hour, it.lower, it.upper);
            let side = side(it);
            let day = money((it.per_hour * HOURS_A_DAY).abs());
            let sum = match it.lower > 0.0 {
                true => ink.bad(&sum),
                false => sum,
            };
            format!("{sum} an hour, {day} a day: {side}")
        }
    };
    vec![format!("{title}   {value}"), String::new()]
}

fn side(waiting: &Waiting) -> String {
    let revision = waiting.revision;
    if waiting.lower > 0.0 {
        return format!("revision {revision} would save it");
    }
    if waiting.upper < 0.0 {
        return format!("revision {revision} would cost more");
    }
    format!("by revision {revision}, not certain yet")
}

/// Whether the champion still sees what it was trained on.
fn drift(report: &Report, ink: Ink) -> Vec<String> {
    let Some(drift) = &report.drift else {
        return Vec::new();
    };
    let verdict = match drift.verdict.as_str() {
        "none" => ink.good("✓ none"),
        "watch" => ink.open("! watch"),
        "act" => ink.bad("✗ act"),
        _ => ink.faint("? unknown"),
    };
    let (window, rows) = (cut(&drift.window, 8), count(drift.rows));
    let named = drift.worst.iter();
    let mut worst: Vec<String> = named
        .take(NAMED)
        .map(|(name, psi)| {
            let psi = format!("{psi:.2}");
            format!("{} (PSI {})", cut(name, NAME), cut(&psi, 8))
        })
        .collect();
    if worst.is_empty() && matches!(drift.verdict.as_str(), "watch" | "act") {
        worst.push("the score".to_string());
    }
    let of = match drift.verdict.as_str() {
        "none" | "watch" | "act" => format!("{} of {} features", drift.drifted, drift.features),
        _ => "too few rows to say".to_string(),
    };
    worst.push(format!("{of}, {rows} rows in the {window} window"));
    let mut told = wrapped(&worst.join(", "), WIDTH - 2 * INDENT).into_iter();
    let first = told.next().unwrap_or_default();
    let mut lines = vec![format!(
        "{}             {verdict}   {first}",
        ink.strong("DRIFT")
    )];
    lines.extend(told.map(|it| line("", &format!("    {it}"))));
    lines.push(String::new());
    lines
}

fn metrics(report: &Report, ink: Ink) -> Vec<String> {
    let champion = report
        .champion
        .iter()
        .map(|it| ("champion".to_string(), it));
    let challengers = report
        .challengers
        .iter()
        .map(|it| (format!("at {}", it.stage), &it.standing));
    let previous = report
        .previous
        .iter()
        .map(|it| ("previous".to_string(), &it.standing));
    let all: Vec<(String, &Standing)> = champion.chain(challengers).chain(previous).collect();
    let title = ink.strong("QUALITY");
    if all.iter().all(|(_, it)| it.matured == 0) {
        let why = "no prediction has its outcome yet";
        return vec![format!("{title}           {why}")];
    }
    let note = ink.faint("on rows with their outcome; 95% intervals, for one look");
    let mut lines = vec![format!("{title}           {note}")];
    // The champion is what the others are compared with, so it begins every block.
    let (first, rest) = all.split_at(1);
    let blocks: Vec<&[(String, &Standing)]> = match rest.is_empty() {
        true => vec![&[]],
        false => rest.chunks(COLUMNS - 1).collect(),
    };
    for block in blocks {
        lines.extend(side_by_side(&[first, block].concat(), ink));
    }
    lines
}

fn side_by_side(standings: &[(String, &Standing)], ink: Ink) -> Vec<String> {
    let row = |name: &str, cell: &dyn Fn(&Standing) -> String| {
        let cells = standings
            .iter()
            .map(|(_, it)| format!("{:<COLUMN$}", cell(it)));
        line(name, &cells.collect::<String>())
    };
    let heads = standings.iter().map(|(role, it)| {
        let head = format!("{} {role}", it.name.revision);
        format!("{:<COLUMN$}", cut(&head, COLUMN - 1))
    });
    let mut lines = vec![ink.faint(&line("", &heads.collect::<String>()))];
    lines.push(row("labelled", &|it| count(it.matured)));
    lines.push(row("coverage", &|it| percent(it.label_coverage)));
    let mut names: Vec<&str> = Vec::new();
    for metric in standings.iter().flat_map(|(_, it)| &it.metrics) {
        if !names.contains(&metric.name.as_str()) {
            names.push(&metric.name);
        }
    }
    for name in names {
        let cell = |it: &Standing| {
            let found = it.metrics.iter().find(|metric| metric.name == name);
            found.map_or(UNKNOWN.to_string(), |metric| value(metric.value))
        };
        lines.push(row(cut(label(name), INDENT - 3).as_str(), &cell));
    }
    lines
}

fn value(value: Value) -> String {
    match value.value.is_finite() {
        true => interval(value.value, value.lower, value.upper),
        false => number(value.value),
    }
}

/// A metric's name as people write it.
fn label(name: &str) -> &str {
    match name {
        "f1" => "F1",
        "auc" => "AUC",
        "pr_auc" => "PR-AUC",
        "log_loss" => "log loss",
        "brier" => "Brier",
        "rmse" => "RMSE",
        "mae" => "MAE",
        other => other,
    }
}

/// What a person can do, where a person is waited for. The server's reason begins with "ready for".
fn hint(report: &Report, challenger: &Trial) -> Option<String> {
    let is_ready = challenger.decision == "hold"
        && challenger
            .reasons
            .iter()
            .any(|reason| reason.starts_with("ready for"));
    let revision = challenger.standing.name.revision;
    is_ready.then(|| {
        line(
            "next",
            &format!("hedgerow promote {} --revision {revision}", report.slot),
        )
    })
}

/// The last revisions that were given up, the newest first.
fn given_up(report: &Report, ink: Ink) -> Vec<String> {
    let mut lines = Vec::new();
    if !report.dismissed.is_empty() {
        lines.extend([String::new(), ink.strong("GIVEN UP")]);
    }
    for gone in report.dismissed.iter().rev().take(GIVEN_UP) {
        let when = format!("{} ago", age(gone.at_ms, report.at_ms));
        let told = format!("{when:<16}{}", gone.reason);
        let told = cut(&told, WIDTH - INDENT);
        lines.push(line(&gone.name.revision.to_string(), &told));
    }
    lines
}
