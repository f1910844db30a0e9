//! Pages of slots, from reports as the server serialises them.

use clap::Parser as _;

use super::super::client::tests::with_server;
use super::super::format;
use super::super::report::Verdict;
use super::*;
use crate::drift::report as drift;
use crate::rollout::decide::{self, Approval, Evidence, Policy, Stage};
use crate::rollout::document;
use crate::rollout::gate::{self, Measure};
use crate::rollout::report as served;
use crate::rollout::score::Metric;

const DAY: i64 = 86_400_000;
const NOW: i64 = 1_795_641_243_000;

#[derive(Debug, clap::Parser)]
struct Line {
    #[command(flatten)]
    arguments: Arguments,
}

fn name(revision: u64) -> document::Name {
    document::Name {
        revision,
        mark: format!("{revision}f8e7d6c5b4a3021"),
    }
}

fn standing(revision: u64, since_ms: i64, shift: f64) -> served::Standing {
    let metric = |name: &'static str, value: f64| Metric {
        name,
        value,
        lower: value - 0.0123,
        upper: value + 0.0117,
    };
    let mut metrics = vec![
        metric("f1", 0.7123 + shift),
        metric("precision", 0.81 + shift),
        metric("recall", 0.64 + shift),
        metric("auc", 0.9312 + shift),
        metric("pr_auc", 0.7011 + shift),
        metric("log_loss", 0.1312 - shift),
    ];
    metrics.push(Metric::undefined("brier"));
    served::Standing {
        name: name(revision),
        resident: true,
        since_ms,
        matured: 8_120,
        label_coverage: 0.971,
        metrics,
        shadow: served::ShadowCounts {
            rows: 120_334,
            errors: 0,
            misfits: 3,
            invalid: 0,
        },
    }
}

fn finding(measure: Measure, verdict: gate::Verdict, estimate: f64) -> gate::Finding {
    let is_open = verdict == gate::Verdict::Inconclusive;
    gate::Finding {
        measure,
        bound: 0.0,
        verdict,
        estimate,
        lower: estimate - 0.0134,
        upper: estimate + 0.0125,
        e_value: if is_open { 8.44 } else { 3.21e9 },
        threshold: 20.0,
        count: 8_120,
        needed: is_open.then_some(1_912),
        reason: is_open.then(|| "the interval reaches below the bound".to_string()),
        parts: Vec::new(),
    }
}

/// A trial whose decision and reasons are those of the real policy.
fn trial(revision: u64, findings: Vec<gate::Finding>, policy: &Policy) -> served::Trial {
    let evidence = Evidence {
        stage: 0,
        findings: findings.clone(),
        labels: 8_120,
        positives: Some(132),
        coverage: 0.971,
        pairing: 0.998,
        rows: 120_334,
        errors: 3,
        invalid: 0,
        agreement: 0.9891,
        latency_ratio: 1.02,
        share: None,
        in_stage_ms: 3 * DAY as u64,
        in_trial_ms: 3 * DAY as u64,
        identical: false,
        approved: false,
        cooldown: None,
    };
    let judgement = decide::decide(policy, &evidence);
    served::Trial {
        standing: standing(revision, NOW - 3 * DAY - 4 * 3_600_000, 0.0211),
        stage: "shadow".to_string(),
        stage_since_ms: NOW - 3 * DAY,
        labels: 8_120,
        positives: Some(132),
        pairing: 0.998,
        agreement: 0.9891,
        needed: findings.iter().filter_map(|it| it.needed).max(),
        findings,
        guards: judgement.guards,
        decision: judgement.decision,
        reasons: judgement.reasons,
        saving: served::Money {
            total: 8_544.12,
            per_row: 1.0522,
            lower: 1.0388,
            upper: 1.0647,
        },
    }
}

fn policy() -> Policy {
    Policy {
        stages: vec![Stage::Shadow, Stage::Share(0.05), Stage::Full],
        approval: Approval::Manual,
        ..Policy::default()
    }
}

fn report() -> served::Report {
    let open = vec![
        finding(Measure::Cost, gate::Verdict::Pass, 1.0522),
        finding(Measure::Auc, gate::Verdict::Inconclusive, 0.0108),
    ];
    let back = vec![finding(Measure::Cost, gate::Verdict::Inconclusive, -0.0213)];
    let mut previous = trial(2, back, &policy());
    previous.findings[0].needed = None;
    previous.needed = None;
    previous.stage = "previous".to_string();
    previous.standing.since_ms = NOW - 12 * DAY;
    previous.standing.resident = false;
    previous.guards = Vec::new();
    previous.decision = decide::Decision::Hold;
    previous.reasons = vec!["the champion was not found worse".to_string()];
    previous.saving = served::Money {
        total: 0.0,
        per_row: f64::NAN,
        lower: f64::NAN,
        upper: f64::NAN,
    };
    served::Report {
        slot: "fraud".to_string(),
        at_ms: NOW,
        task: Some("binary"),
        on_arrival: "shadow",
        stages: ["shadow", "5%", "full"].map(str::to_string).to_vec(),
        approval: "manual",
        gates: vec!["cost > 0".to_string(), "auc > 0".to_string()],
        leader: true,
        journal_error: None,
        rows_per_hour: 12_345.4,
        champion: Some(standing(3, NOW - 12 * DAY, 0.0)),
        challengers: vec![trial(4, open, &policy())],
        can_roll_back: true,
        previous: Some(previous),
        cost_of_waiting: Some(served::Waiting {
            revision: 4,
            per_hour: 12_989.4,
            lower: 12_824.4,
            upper: 13_144.1,
        }),
        dismissed: vec![document::Dismissed {
            name: name(1),
            at_ms: NOW - 5 * DAY,
            reason: "auc: provably not better than 0".to_string(),
        }],
    }
}

fn read(report: &served::Report) -> Report {
    let json = serde_json::to_string(report).unwrap();
    client::parse(&json, "the report of a slot").unwrap()
}

fn page(report: &served::Report) -> String {
    page::text(&read(report), Ink::none())
}

fn contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "expected {part:?} in\n{text}");
    }
}

#[test]
fn a_page_tells_the_slot_at_a_glance() {
    let page = page(&report());
    assert_eq!(page, include_str!("example.txt"), "\n{page}");
    assert!(
        page.lines()
            .all(|line| line.chars().count() <= format::WIDTH),
        "{page}"
    );
}

#[test]
fn trouble_comes_first() {
    let mut report = report();
    report.journal_error = Some("the journal's store is away: disk full".to_string());
    let page = page(&report);
    let first = "✗ journal: the journal's store is away: disk full; no decision can be written";
    assert!(page.starts_with(first), "{page}");
}

#[test]
fn whoever_waits_for_a_person_says_how() {
    let mut report = report();
    let proven = vec![finding(Measure::Auc, gate::Verdict::Pass, 0.02)];
    report.challengers = vec![trial(4, proven, &policy())];
    contains(
        &page(&report),
        &[
            "waits for approval",
            "next        hedgerow promote fraud --revision 4",
        ],
    );
}

#[test]
fn a_slot_of_which_nothing_is_known_has_a_page_too() {
    let mut report = report();
    report.task = None;
    report.champion = None;
    report.challengers = Vec::new();
    report.previous = None;
    report.cost_of_waiting = None;
    report.rows_per_hour = f64::NAN;
    report.leader = false;
    let page = page(&report);
    contains(
        &page,
        &[
            "nothing loaded · another process decides",
            "none: nothing answers yet",
        ],
    );
    contains(
        &page,
        &[
            "COST OF WAITING   –   no challenger",
            "no prediction has its outcome yet",
        ],
    );
}

#[test]
fn without_costs_nothing_is_said_to_cost_nothing() {
    let mut report = report();
    report.challengers[0].saving = served::Money {
        total: 0.0,
        per_row: 0.0,
        lower: f64::NAN,
        upper: f64::NAN,
    };
    contains(
        &page(&report),
        &["COST OF WAITING   –   no costs are configured"],
    );
    assert!(!page(&report).contains("saved"));
    let mut told = read(&report);
    told.costs_configured = Some(false);
    contains(
        &page::text(&told, Ink::none()),
        &["COST OF WAITING   –   no costs are configured: see cost_false_positive in [rollout]"],
    );
}

#[test]
fn what_a_slot_sees_is_told_beside_its_revisions() {
    let with = |verdict, drifted, worst: &[(&str, f64)]| {
        let context = drift::Context {
            verdict,
            window: "short".to_string(),
            rows: 52_110,
            drifted,
            features: 14,
            worst: worst
                .iter()
                .map(|(name, psi)| (name.to_string(), *psi))
                .collect(),
        };
        let mut json = serde_json::to_value(report()).unwrap();
        json["drift"] = serde_json::to_value(context).unwrap();
        let told = client::parse(&json.to_string(), "the report of a slot").unwrap();
        page::text(&told, Ink::none())
    };
    let page = with(
        drift::Verdict::Act,
        5,
        &[
            ("session_seconds", 0.858),
            ("distance_km", 0.53),
            ("a", 1e300),
        ],
    );
    contains(
        &page,
        &[
            "\nDRIFT             ✗ act   session_seconds (PSI 0.86), distance_km (PSI 0.53), a (PSI",
            "of 14 features, 52,110 rows in the short window\n\nQUALITY",
        ],
    );
    assert!(
        page.lines()
            .all(|line| line.chars().count() <= format::WIDTH),
        "{page}"
    );
    for (verdict, told) in [
        (
            drift::Verdict::None,
            "✓ none   0 of 14 features, 52,110 rows in the short window",
        ),
        (
            drift::Verdict::Watch,
            "! watch   the score, 0 of 14 features",
        ),
        (
            drift::Verdict::Unknown,
            "? unknown   too few rows to say, 52,110 rows",
        ),
    ] {
        contains(&with(verdict, 0, &[]), &[told]);
    }
    assert!(!self::page(&report()).contains("DRIFT"));
}

#[test]
fn many_revisions_are_compared_with_the_champion_in_blocks() {
    let mut report = report();
    let open = || vec![finding(Measure::Auc, gate::Verdict::Inconclusive, 0.01)];
    report.challengers = (4..7)
        .map(|revision| trial(revision, open(), &policy()))
        .collect();
    let page = page(&report);
    assert_eq!(page.matches("3 champion").count(), 2, "{page}");
    contains(&page, &["6 at shadow                 2 previous"]);
}

#[test]
fn classes_of_a_gate_have_lines_of_their_own() {
    let mut report = report();
    let mut both = finding(Measure::RecallFpr, gate::Verdict::Fail, 0.01);
    both.parts = vec![gate::Part {
        name: "recall",
        count: 132,
        better: 12,
        worse: 40,
        estimate: -0.2121,
        lower: -0.3,
        upper: -0.1,
        e_value: 0.0,
        e_value_worse: 900.0,
    }];
    report.challengers = vec![trial(4, vec![both], &policy())];
    let page = page(&report);
    contains(
        &page,
        &["✗ recall_fpr > 0", "    recall  ", "better 12, worse 40"],
    );
    contains(&page, &["is given up"]);
}

#[test]
fn all_slots_are_a_table() {
    let (mut other, mut away) = (report(), report());
    other.slot = "churn-in-europe".to_string();
    other.challengers = Vec::new();
    other.cost_of_waiting = None;
    away.slot = "idle".to_string();
    away.champion = None;
    away.challengers[0].findings = vec![finding(Measure::Auc, gate::Verdict::Fail, -0.1)];
    away.journal_error = Some("disk full".to_string());
    let reports = [read(&report()), read(&other), read(&away)];
    assert_eq!(reports[2].challengers[0].verdict(), Verdict::Fail);
    let table = table::text(&reports, Ink::none());
    let lines: Vec<&str> = table.lines().collect();
    let expected = [
        "✗ journal: disk full; no decision can be written until it is well again",
        "slot              champion     challengers          labels   cost of waiting an hour",
        "fraud             3 for 12 d   4 at shadow ? hold   8,120    12,989 (12,824 to 13,144)",
        "churn-in-europe   3 for 12 d   none                 8,120    –",
        "idle              none         4 at shadow ✗ hold   8,120    12,989 (12,824 to 13,144)",
    ];
    assert_eq!(lines, expected);
    assert!(table::text(&[], Ink::none()).contains("no slot has trials"));
}

#[test]
fn a_look_gives_a_page_or_the_server_s_json() {
    let json = serde_json::to_string(&report()).unwrap();
    let all = format!("{{\"slots\":[{json}]}}");
    let look_with = |line: &str, answer: &str| {
        let arguments = Line::parse_from(line.split(' ')).arguments;
        let (text, requests) = with_server(&[(200, answer)], |connection| {
            look(&connection.client().unwrap(), &arguments, Ink::none())
        });
        (text, requests[0].lines().next().unwrap().to_string())
    };
    let (text, request) = look_with("status fraud", &json);
    assert_eq!(text.unwrap(), include_str!("example.txt"));
    assert_eq!(request, "GET /v1/slots/fraud HTTP/1.1");
    let (text, request) = look_with("status", &all);
    contains(&text.unwrap(), &["fraud   3 for 12 d"]);
    assert_eq!(request, "GET /v1/slots HTTP/1.1");
    let (text, _) = look_with("status fraud --json", &json);
    assert_eq!(text.unwrap(), format!("{json}\n"));
    let (text, _) = look_with("status fraud", "3");
    contains(
        &text.unwrap_err(),
        &["the answer is not the report of a slot"],
    );
}

#[test]
fn watching_takes_seconds_or_none() {
    let watch = |line: &str| {
        let parsed = Line::try_parse_from(line.split(' '));
        parsed
            .map(|line| line.arguments.watch)
            .map_err(|error| error.to_string())
    };
    assert_eq!(watch("status fraud"), Ok(None));
    assert_eq!(watch("status fraud --watch"), Ok(Some(2)));
    assert_eq!(watch("status fraud --watch 5 --json"), Ok(Some(5)));
    contains(
        &watch("status --watch fraud").unwrap_err(),
        &["a slot stands before --watch"],
    );
    assert!(watch("status fraud --watch 0").is_err());
}
