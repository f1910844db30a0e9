use super::super::gate::Measure;
use super::*;

const DAY_MS: u64 = 86_400_000;

fn finding(verdict: Verdict) -> Finding {
    Finding {
        measure: Measure::Cost,
        bound: 0.0,
        verdict,
        estimate: 1.25,
        lower: 0.5,
        upper: 2.0,
        e_value: 31.5,
        threshold: 20.0,
        count: 5_000,
        needed: (verdict == Verdict::Inconclusive).then_some(1_500),
        reason: (verdict != Verdict::Pass).then(|| "more labels needed".to_owned()),
        parts: Vec::new(),
    }
}

/// A trial in shadow that lacks nothing.
fn ready() -> Evidence {
    Evidence {
        stage: 0,
        findings: vec![finding(Verdict::Pass)],
        labels: 5_000,
        positives: Some(150),
        coverage: 0.95,
        pairing: 0.999,
        rows: 80_000,
        errors: 10,
        invalid: 0,
        agreement: 0.97,
        latency_ratio: 1.1,
        share: None,
        in_stage_ms: 2 * DAY_MS,
        in_trial_ms: 2 * DAY_MS,
        identical: false,
        approved: false,
        cooldown: None,
    }
}

fn policy() -> Policy {
    Policy {
        stages: ["shadow", "5%", "25%", "full"]
            .map(|stage| stage.parse().unwrap())
            .to_vec(),
        agreement_min: 0.9,
        duration_max_ms: 14 * DAY_MS,
        ..Policy::default()
    }
}

fn check(change: impl Fn(&mut Policy, &mut Evidence), decision: Decision, reasons: &[&str]) {
    let (mut policy, mut evidence) = (policy(), ready());
    change(&mut policy, &mut evidence);
    let judgement = decide(&policy, &evidence);
    assert_eq!(judgement.decision, decision, "{judgement:?}");
    assert_eq!(judgement.reasons, reasons);
}

#[test]
fn what_lacks_nothing_goes_on() {
    let reason =
        "cost: provably better than 0 (estimate 1.2500, 0.5000 to 2.0000, e-value 31.5 of 20.0)";
    check(|_, _| {}, Decision::Promote, &[reason, "next stage: 5%"]);
    check(
        |_, evidence| evidence.stage = 2,
        Decision::Promote,
        &[reason, "next stage: full"],
    );
    check(
        |_, evidence| evidence.stage = 3,
        Decision::Hold,
        &["the last stage is reached"],
    );
    check(
        |_, evidence| evidence.stage = 9,
        Decision::Hold,
        &["the last stage is reached"],
    );
}

#[test]
fn each_thing_missing_holds_and_is_named() {
    let hold = |change: fn(&mut Evidence), reason: &str| {
        check(|_, evidence| change(evidence), Decision::Hold, &[reason]);
    };
    hold(
        |evidence| evidence.labels = 812,
        "waiting for labels: 812 of 2,000",
    );
    hold(
        |evidence| evidence.positives = Some(99),
        "waiting for positives: 99 of 100",
    );
    hold(
        |evidence| evidence.in_trial_ms = DAY_MS - 1,
        "waiting for time in trial: 23 h 59 min of 1 d",
    );
    hold(
        |evidence| evidence.findings.clear(),
        "no gate is configured",
    );
    hold(
        |evidence| evidence.identical = true,
        "champion and challenger are the same model",
    );
    hold(
        |evidence| evidence.coverage = 0.5,
        "coverage: 0.5000, expected at least 0.9",
    );
    hold(
        |evidence| evidence.coverage = f64::NAN,
        "coverage: not measured yet",
    );
    hold(
        |evidence| evidence.pairing = 0.98,
        "pairing: 0.9800, expected at least 0.99",
    );
    hold(
        |evidence| evidence.errors = 8_000,
        "error_rate: 0.1000, expected at most 0.001",
    );
    hold(
        |evidence| evidence.errors = 88,
        "error_rate: 0.0011, expected at most 0.001, may be chance",
    );
    hold(
        |evidence| evidence.invalid = 8_000,
        "invalid_rate: 0.1000, expected at most 0.001",
    );
    hold(
        |evidence| evidence.latency_ratio = 3.0,
        "latency_ratio: 3.0000, expected at most 2",
    );
    hold(
        |evidence| evidence.agreement = 0.5,
        "agreement: 0.5000, expected at least 0.9",
    );
    hold(
        |evidence| evidence.findings.push(finding(Verdict::Inconclusive)),
        "cost > 0: inconclusive, more labels needed, about 1,500 more",
    );
}

#[test]
fn positives_have_a_floor_and_only_binary_slots_have_them() {
    check(
        |policy, evidence| {
            policy.positives_min = 0;
            evidence.positives = Some(20);
        },
        Decision::Hold,
        &["waiting for positives: 20 of 50"],
    );
    let (policy, mut evidence) = (policy(), ready());
    evidence.positives = None;
    assert_eq!(decide(&policy, &evidence).decision, Decision::Promote);
}

#[test]
fn a_failed_gate_dismisses_at_once() {
    check(
        |_, evidence| {
            evidence.labels = 100;
            evidence.cooldown = Some("two rollbacks in 7 d".to_owned());
            evidence.findings.push(finding(Verdict::Fail));
        },
        Decision::Rollback,
        &[
            "cost: provably not better than 0 (estimate 1.2500, 0.5000 to 2.0000, e-value 31.5 of 20.0)",
        ],
    );
}

#[test]
fn too_long_is_dismissed_unless_a_person_is_what_is_missing() {
    check(
        |_, evidence| {
            evidence.in_trial_ms = 14 * DAY_MS;
            evidence.labels = 812;
        },
        Decision::Rollback,
        &[
            "inconclusive after 14 d",
            "waiting for labels: 812 of 2,000",
        ],
    );
    check(
        |policy, evidence| {
            evidence.in_trial_ms = 30 * DAY_MS;
            policy.approval = Approval::Manual;
        },
        Decision::Hold,
        &["ready for 5%: waits for approval"],
    );
}

#[test]
fn a_person_approves_what_is_ready_and_nothing_else() {
    let (mut policy, mut evidence) = (policy(), ready());
    policy.approval = Approval::Manual;
    evidence.approved = true;
    assert_eq!(decide(&policy, &evidence).decision, Decision::Promote);
    evidence.findings[0] = finding(Verdict::Inconclusive);
    assert_eq!(decide(&policy, &evidence).decision, Decision::Hold);
}

#[test]
fn a_cooldown_stops_automation_and_no_person() {
    let cooldown = |approved| {
        move |_: &mut Policy, evidence: &mut Evidence| {
            evidence.cooldown = Some("two rollbacks in 7 d".to_owned());
            evidence.approved = approved;
        }
    };
    let reason = "ready for 5%, but automation pauses: two rollbacks in 7 d";
    check(cooldown(false), Decision::Hold, &[reason]);
    let (mut policy, mut evidence) = (policy(), ready());
    cooldown(true)(&mut policy, &mut evidence);
    assert_eq!(decide(&policy, &evidence).decision, Decision::Promote);
}

#[test]
fn a_share_has_its_own_time_split_and_nerves() {
    let share = |challenger, champion| {
        Some(ShareCounts {
            expected: 0.05,
            challenger,
            champion,
        })
    };
    check(
        |_, evidence| {
            evidence.stage = 1;
            evidence.in_stage_ms = 90_000;
            evidence.share = share(50, 950);
        },
        Decision::Hold,
        &["waiting for time in this stage: 1 min 30 s of 1 h"],
    );
    check(
        |_, evidence| {
            evidence.stage = 1;
            evidence.share = share(200, 800);
        },
        Decision::Hold,
        &["share_p: 0.0000, expected at least 0.001"],
    );
    let fatal = |change: fn(&mut Evidence), reason: &str| {
        let change = |_: &mut Policy, evidence: &mut Evidence| {
            evidence.stage = 1;
            change(evidence);
        };
        check(change, Decision::Rollback, &[reason]);
    };
    fatal(
        |evidence| evidence.errors = 8_000,
        "error_rate: 0.1000, expected at most 0.001",
    );
    fatal(
        |evidence| evidence.invalid = 8_000,
        "invalid_rate: 0.1000, expected at most 0.001",
    );
    fatal(
        |evidence| evidence.latency_ratio = 3.0,
        "latency_ratio: 3.0000, expected at most 2",
    );
}

#[test]
fn no_traffic_holds() {
    let (policy, mut evidence) = (policy(), ready());
    (evidence.rows, evidence.errors, evidence.labels) = (0, 0, 0);
    evidence.positives = Some(0);
    for rate in [
        &mut evidence.coverage,
        &mut evidence.pairing,
        &mut evidence.agreement,
    ] {
        *rate = f64::NAN;
    }
    evidence.latency_ratio = f64::NAN;
    let judgement = decide(&policy, &evidence);
    assert_eq!(judgement.decision, Decision::Hold);
    let open = |guard: &&Guard| guard.verdict == Verdict::Inconclusive;
    assert_eq!(judgement.guards.iter().filter(open).count(), 6);
    // NaN is null, in the journal too.
    assert!(serde_json::to_value(&judgement).unwrap()["guards"][0]["value"].is_null());
}

#[test]
fn a_champion_trips_on_breakage_and_on_proof() {
    let policy = Policy::default();
    let health = Health {
        rows: 10_000,
        errors: 5,
        slow_windows: 2,
        findings: vec![finding(Verdict::Inconclusive)],
        ..Health::default()
    };
    assert_eq!(trip(&policy, &health), None);
    assert_eq!(trip(&policy, &Health::default()), None);
    let check = |change: fn(&mut Health), expected: &str| {
        let mut health = health.clone();
        change(&mut health);
        assert_eq!(trip(&policy, &health).as_deref(), Some(expected));
    };
    check(
        |health| (health.rows, health.errors) = (3, 3),
        "failed requests: 3 of 3, expected at most 0.001",
    );
    check(
        |health| health.invalid = 1_000,
        "invalid scores: 1,000 of 10,000, expected at most 0.001",
    );
    check(
        |health| health.slow_windows = 3,
        "P99 over its limit in 3 of 5 windows",
    );
    check(
        |health| health.findings.push(finding(Verdict::Pass)),
        "the previous champion is provably better: cost \
         (estimate 1.2500, 0.5000 to 2.0000, e-value 31.5 of 20.0)",
    );
    let mut margin = health.clone();
    margin.findings.push(Finding {
        bound: -0.002,
        ..finding(Verdict::Pass)
    });
    assert_eq!(trip(&policy, &margin), None);
    let mut lone = health;
    (lone.rows, lone.errors) = (1, 1);
    assert_eq!(trip(&policy, &lone), None);
}

#[test]
fn rates_are_over_their_limit_where_the_docs_say() {
    for (events, rows) in [(2, 2), (4, 100), (13, 2_000)] {
        assert!(guards::is_over(events, rows, 0.001), "{events} in {rows}");
    }
    for (events, rows) in [(1, 1), (1, 100), (5, 2_000), (100, 100_000)] {
        assert!(!guards::is_over(events, rows, 0.001), "{events} in {rows}");
    }
}

#[test]
fn stages_have_a_text_form() {
    for text in ["shadow", "5%", "0.5%", "7%", "33.3%", "full"] {
        assert_eq!(text.parse::<Stage>().unwrap().to_string(), text);
    }
    assert_eq!(" 25 % ".parse::<Stage>().unwrap(), Stage::Share(0.25));
    for text in ["0%", "100%", "-5%", "NaN%", "5", "half", ""] {
        let expected = format!(
            "stage {text:?}: expected shadow, full, or a share between 0% and 100% such as 5%"
        );
        assert_eq!(text.parse::<Stage>().unwrap_err().to_string(), expected);
    }
    let check = |stages: &[&str]| {
        let stages: Vec<Stage> = stages.iter().map(|stage| stage.parse().unwrap()).collect();
        Stage::check(&stages).map_err(|error| error.to_string())
    };
    assert_eq!(check(&["shadow", "5%", "25%", "full"]), Ok(()));
    assert_eq!(check(&["shadow", "full"]), Ok(()));
    let order = "stages: expected shadow, rising shares, full";
    assert_eq!(check(&["5%", "full"]), Err(order.to_owned()));
    assert_eq!(check(&["shadow"]), Err(order.to_owned()));
    assert_eq!(check(&[]), Err(order.to_owned()));
    let order = "stages: 5% after 25%: expected shadow, rising shares, full";
    assert_eq!(
        check(&["shadow", "25%", "5%", "full"]),
        Err(order.to_owned())
    );
}

#[test]
fn numbers_are_told_as_people_read_them() {
    assert_eq!(
        ["0", "999", "1,000", "1,234,567"],
        [0, 999, 1_000, 1_234_567].map(thousands)[..]
    );
    let told = [0, 59_999, 60_000, 3_600_000, 90_061_000].map(duration);
    assert_eq!(["0 s", "59 s", "1 min", "1 h", "1 d 1 h"], told[..]);
}
