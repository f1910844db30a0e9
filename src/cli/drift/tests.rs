//! Reports as a server serialises them, in the terminal and as HTML.

use clap::Parser as _;

use super::super::client::tests::with_server;
use super::super::format;
use super::*;
use crate::drift::report::{Bins, Called, Estimate, Feature, Held, Last, Thresholds};

const HOUR: u64 = 3_600_000;
const NOW: i64 = 1_795_641_243_000;

#[derive(Debug, clap::Parser)]
struct Line {
    #[command(flatten)]
    arguments: Arguments,
}

fn number(name: &str, verdict: Verdict, excess: f64) -> Feature {
    let live = match verdict {
        Verdict::None => vec![100, 100, 102, 98],
        _ => vec![20, 60, 120, 200],
    };
    Feature {
        name: name.to_string(),
        kind: "number".to_string(),
        verdict,
        reason: "psi".to_string(),
        threshold: if verdict == Verdict::Act { 0.25 } else { 0.1 },
        rows: 52_110,
        psi: Some(excess + 0.002),
        psi_null: Some(0.002),
        psi_excess: Some(excess),
        kl: Some(0.21),
        js: Some(0.0512),
        ks: Some(0.2031),
        ks_p: Some(1e-30),
        wasserstein: Some(61.2),
        wasserstein_std: Some(0.6212),
        out_of_range: Some(0.004),
        chi2: None,
        chi2_p: None,
        unseen: None,
        missing: Some(0.123),
        missing_reference: 0.001,
        bins: Bins {
            edges: vec![10.0, 50.5, 1_250.0],
            range: Some([0.01, 90_000.0]),
            names: Vec::new(),
            reference: vec![300_000; 4],
            live,
            reference_missing: 1_200,
            live_missing: 7_310,
        },
    }
}

fn category(name: &str, names: &[&str], verdict: Verdict, excess: f64) -> Feature {
    let counts = |least: u64| (0..names.len() as u64).map(|it| least + it).collect();
    Feature {
        kind: "category".to_string(),
        ks: None,
        ks_p: None,
        wasserstein: None,
        wasserstein_std: None,
        out_of_range: None,
        chi2: Some(52.23),
        chi2_p: Some(0.0341),
        unseen: Some(0.053),
        bins: Bins {
            edges: Vec::new(),
            range: None,
            names: names.iter().map(|it| (*it).to_string()).collect(),
            reference: counts(1_000),
            live: counts(1),
            reference_missing: 0,
            live_missing: 0,
        },
        ..number(name, verdict, excess)
    }
}

/// It came with training and does not come any more.
fn gone(name: &str) -> Feature {
    let mut feature = number(name, Verdict::Act, 0.0);
    feature.reason = "missing".to_string();
    feature.rows = 0;
    for statistic in [
        &mut feature.psi,
        &mut feature.psi_null,
        &mut feature.psi_excess,
        &mut feature.kl,
        &mut feature.js,
        &mut feature.ks,
        &mut feature.ks_p,
        &mut feature.wasserstein,
        &mut feature.wasserstein_std,
        &mut feature.out_of_range,
    ] {
        *statistic = None;
    }
    feature.missing = Some(1.0);
    feature.bins.live = vec![0; 4];
    feature
}

fn window(name: &str, length_ms: u64, features: Vec<Feature>) -> Window {
    let worst = features.iter().map(|it| it.verdict).max();
    Window {
        name: name.to_string(),
        length_ms,
        from_ms: NOW - length_ms as i64,
        to_ms: NOW,
        rows: 52_110,
        verdict: worst.unwrap_or(Verdict::None),
        drift_share: 0.5,
        features,
        score: Some(number("score", Verdict::None, 0.012)),
        estimate: Some(Estimate {
            rows: 52_110,
            threshold: 0.5,
            precision: Some(0.7812),
            recall: Some(0.6123),
            f1: Some(0.6865),
            auc: None,
            reference_precision: Some(0.8123),
            reference_recall: Some(0.6404),
            reference_f1: Some(0.7161),
            reference_auc: Some(0.9234),
        }),
    }
}

fn report() -> Report {
    let mut ignored = number("request_no", Verdict::None, 3.3);
    ignored.reason = "ignored".to_string();
    let short = vec![
        gone("ip_reputation"),
        number("amount", Verdict::Act, 0.4132),
        number("device_age_days", Verdict::Watch, 0.15),
        category(
            "country",
            &["DE", "FR", "other", "unseen"],
            Verdict::None,
            0.04,
        ),
        number("hour_of_day", Verdict::None, 0.0),
        ignored,
    ];
    let long = vec![
        number("amount", Verdict::Watch, 0.12),
        number("hour_of_day", Verdict::None, 0.0),
    ];
    Report {
        slot: "fraud".to_string(),
        revision: Some(3),
        mark: Some("3f8e7d6c5b4a3021".to_string()),
        reference: Reference::Ready {
            source: "training".to_string(),
            rows: 1_200_000,
            fingerprint: "9a".repeat(32),
        },
        thresholds: Thresholds {
            watch: 0.1,
            act: 0.25,
            rows_min: 1_000,
        },
        verdict: Verdict::Act,
        windows: vec![
            window("short", HOUR, short),
            window("long", 24 * HOUR, long),
        ],
        alarm: Held {
            windows: 2,
            needed: 3,
            last: Some(Last {
                id: "x".to_string(),
                at_ms: NOW - 43_200_000,
                quiet_until_ms: NOW + 1_000,
                calls: [
                    ("webhook", "delivered", ""),
                    ("airflow", "failed", "503 Service Unavailable"),
                ]
                .map(|(target, outcome, detail)| Called {
                    target: target.to_string(),
                    outcome: outcome.to_string(),
                    detail: detail.to_string(),
                })
                .to_vec(),
            }),
        },
        skipped_rows: 1_234,
    }
}

/// A report without a reference.
fn without(reference: Reference) -> Report {
    Report {
        reference,
        verdict: Verdict::Unknown,
        windows: Vec::new(),
        ..report()
    }
}

fn view(width: Option<usize>) -> View {
    View {
        ink: Ink::none(),
        width,
        top: 15,
        window: None,
    }
}

fn page(report: &Report) -> String {
    page::text(report, &view(None))
}

fn contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "expected {part:?} in\n{text}");
    }
}

fn lacks(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(!text.contains(part), "expected no {part:?} in\n{text}");
    }
}

/// Every tag that is opened is closed, but for those that HTML closes itself.
fn is_whole(html: &str) -> bool {
    let tags = [
        "main", "header", "section", "article", "div", "svg", "span", "a", "bdi", "p", "table",
        "details", "dl",
    ];
    let count = |open: &str| html.matches(open).count();
    tags.iter().all(|tag| {
        let opened = count(&format!("<{tag}>")) + count(&format!("<{tag} "));
        opened == count(&format!("</{tag}>"))
    })
}

#[test]
fn a_page_tells_the_drift_at_a_glance() {
    let page = page(&report());
    assert_eq!(page, include_str!("example.txt"), "\n{page}");
    let widths = page.lines().map(|line| line.chars().count());
    assert!(widths.max() <= Some(format::WIDTH), "{page}");
}

#[test]
fn narrow_terminals_get_the_most_important_columns() {
    for width in [1, 20, 40, 60, 80, 100] {
        let page = page::text(&report(), &view(Some(width)));
        let widest = page.lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(width), "{width}\n{page}");
    }
    let page = page::text(&report(), &view(Some(56)));
    contains(&page, &["amount                0.4132"]);
    contains(&page, &["PSI excess  live/reference\n"]);
}

#[test]
fn names_are_whole_where_no_terminal_reads() {
    let mut report = report();
    let name = "a_name_of_more_than_twenty_characters";
    report.windows[0].features[1].name = name.to_string();
    contains(&page(&report), &[&format!("{name}  0.4132")]);
    contains(
        &page::text(&report, &view(Some(100))),
        &["a_name_of_more_than…  0.4132"],
    );
}

#[test]
fn colours_are_closed_and_take_no_place() {
    let view = View {
        ink: Ink::always(),
        ..view(Some(40))
    };
    for line in page::text(&report(), &view).lines() {
        let [open, close] = ["\u{1b}[", "\u{1b}[0m"].map(|it| line.matches(it).count());
        assert_eq!(open, 2 * close, "{line:?}");
    }
}

#[test]
fn as_many_features_are_shown_as_were_asked_for() {
    let shown = |top, window| {
        let view = View {
            top,
            window,
            ..view(None)
        };
        page::text(&report(), &view)
    };
    let page = shown(2, None);
    contains(
        &page,
        &["SHORT WINDOW", "✗ amount", "and 4 more: --all shows them"],
    );
    lacks(&page, &["device_age_days", "LONG WINDOW"]);
    let page = shown(15, Some(Which::Long));
    contains(&page, &["LONG WINDOW", "! amount", "long: PSI excess"]);
    lacks(&page, &["SHORT WINDOW", "ip_reputation"]);
    contains(
        &shown(1, Some(Which::Both)),
        &["SHORT WINDOW", "LONG WINDOW"],
    );
}

#[test]
fn the_window_with_the_worse_verdict_leads() {
    let mut report = report();
    report.windows[0].verdict = Verdict::Unknown;
    contains(
        &page(&report),
        &["LONG WINDOW", "52,110 of 1,000 rows over 1 h"],
    );
    contains(
        &context(&report),
        &["amount (PSI 0.12); 1 of 2 features over 1 d, 52,110 rows"],
    );
}

#[test]
fn who_has_no_reference_is_told_how_to_get_one() {
    let off = without(Reference::Off {
        reason: "there is no profile".to_string(),
    });
    let refused = without(Reference::Refused {
        reason: "it has no feature \"amount\"".to_string(),
    });
    let collecting = without(Reference::Collecting {
        rows: 12_000,
        wanted: 20_000,
    });
    contains(
        &page(&off),
        &[
            "drift: ? unknown",
            "off: there is no profile",
            "hedgerow profile",
            "drift.watch = \"on\"",
        ],
    );
    contains(
        &page(&refused),
        &[
            "the profile was refused: it has no feature \"amount\"",
            "hedgerow profile",
        ],
    );
    contains(
        &page(&collecting),
        &[
            "the first 20,000 rows",
            "12,000 so far",
            "██████████████████░░░░░░░░░░░░ 60.0 %",
        ],
    );
    for report in [&off, &refused, &collecting] {
        lacks(&page(report), &["alarm", "WINDOW", "feature  "]);
        assert!(is_whole(&html::page(report)));
    }
    assert_eq!(context(&off), "drift: off — there is no profile");
    assert_eq!(
        context(&refused),
        "drift: off — the profile was refused: it has no feature \"amount\""
    );
    assert_eq!(
        context(&collecting),
        "drift: collecting — 12,000 of 20,000 rows"
    );
    contains(
        &html::page(&collecting),
        &["The reference is being collected", "width:60.00%"],
    );
    contains(
        &html::page(&refused),
        &["it has no feature &quot;amount&quot;"],
    );
}

#[test]
fn a_line_tells_the_worst_features() {
    let mut report = report();
    let expected = "drift: act — ip_reputation (no values any more), amount (PSI 0.41), device_age_days \
                    (PSI 0.15); 3 of 6 features over 1 h, 52,110 rows";
    assert_eq!(context(&report), expected);
    let more = number("velocity", Verdict::Watch, 0.11);
    report.windows[0].features.push(more);
    contains(&context(&report), &["(PSI 0.15), 1 more; 4 of 7 features"]);
    report.windows.truncate(1);
    report.windows[0].features.drain(..3);
    report.windows[0].features.pop();
    report.windows[0].verdict = Verdict::None;
    report.verdict = Verdict::None;
    assert_eq!(
        context(&report),
        "drift: none — 3 features over 1 h, 52,110 rows"
    );
    report.windows[0].score = Some(number("score", Verdict::Watch, 0.13));
    report.windows[0].verdict = Verdict::Watch;
    report.verdict = Verdict::Watch;
    assert_eq!(
        context(&report),
        "drift: watch — the score (PSI 0.13); none of 3 features over 1 h, 52,110 rows"
    );
    report.windows[0].verdict = Verdict::Unknown;
    report.windows[0].rows = 320;
    report.verdict = Verdict::Unknown;
    assert_eq!(
        context(&report),
        "drift: unknown — 320 of the 1,000 rows that are needed, over 1 h"
    );
    report.windows.clear();
    assert_eq!(context(&report), "drift: unknown — no rows yet");
}

#[test]
fn the_html_has_what_a_person_asks_for() {
    let html = html::page(&report());
    assert!(is_whole(&html), "{html}");
    contains(
        &html,
        &[
            "<title>Drift of fraud</title>",
            "The data differ from the reference: something is to be done",
            "estimated (CBPE), not measured",
            "<article class=\"card\" id=\"score\">",
            "no values any more",
            "<span class=\"chip unknown\">– ignored</span>",
            "airflow failed (503 Service Unavailable)",
            "All numbers, short window (6 features)",
            "All numbers, long window (2 features)",
            ">0.01</text>",
            ">90000</text>",
            "<title>50.5 to 1250: reference 25.0 %, live 30.0 %, other window 30.0 %</title>",
            "1,234",
        ],
    );
    // Nothing is fetched.
    lacks(
        &html,
        &["http://", "https://", "<script", "<link", "@import", "url("],
    );
}

#[test]
fn bins_of_whole_numbers_end_in_no_border_that_is_none() {
    let mut report = report();
    let mut flag = number("new_payee", Verdict::Act, 0.6);
    flag.bins.edges = vec![-0.5, 0.5, 1.5];
    flag.bins.range = Some([0.0, 1.0]);
    report.windows[0].features = vec![flag];
    let html = html::page(&report);
    contains(
        &html,
        &[
            "<title>below -0.5: ",
            "<title>-0.5 to 0.5: ",
            "<title>from 1.5 on: ",
        ],
    );
}

#[test]
fn what_others_wrote_is_only_text_in_html() {
    let evil = "\"'><script>alert(1)</script>&<img src=x onerror=y>";
    let mut report = report();
    report.slot = evil.to_string();
    report.mark = Some(evil.to_string());
    report.reference = Reference::Ready {
        source: evil.to_string(),
        rows: 1,
        fingerprint: evil.to_string(),
    };
    for window in &mut report.windows {
        window.name = format!("{evil}{}", window.name);
        for feature in &mut window.features {
            for text in [&mut feature.name, &mut feature.kind, &mut feature.reason] {
                *text = evil.to_string();
            }
        }
        let mut named = category(evil, &[evil, evil], Verdict::Act, 1.0);
        named.reason = evil.to_string();
        window.features.push(named);
    }
    for call in &mut report.alarm.last.as_mut().unwrap().calls {
        for text in [&mut call.target, &mut call.outcome, &mut call.detail] {
            *text = evil.to_string();
        }
    }
    let mut pages = vec![html::page(&report)];
    let reason = evil.to_string();
    pages.push(html::page(&without(Reference::Off { reason })));
    let reason = evil.to_string();
    pages.push(html::page(&without(Reference::Refused { reason })));
    for html in pages {
        contains(&html, &["&quot;&#39;&gt;&lt;script&gt;"]);
        lacks(&html, &["<script", "<img", evil]);
        assert!(is_whole(&html));
    }
}

#[test]
fn odd_reports_are_shown_all_the_same() {
    let mut odd = number("", Verdict::Act, f64::MAX);
    odd.rows = u64::MAX;
    odd.threshold = f64::MIN_POSITIVE;
    odd.missing = Some(-3.0);
    odd.missing_reference = 1e300;
    odd.ks_p = Some(7.0);
    odd.bins.live = vec![u64::MAX; 3];
    odd.bins.reference = vec![u64::MAX; 900];
    odd.bins.edges = vec![f64::MAX, f64::MIN];
    odd.bins.range = Some([f64::MAX, f64::MIN]);
    let mut empty = gone("empty");
    empty.bins.live = Vec::new();
    empty.bins.reference = Vec::new();
    empty.bins.edges = vec![1.0; 50];
    let mut nameless = category("nameless", &["one"], Verdict::Watch, -1.0);
    nameless.bins.live = vec![0, 5, 0, 7];
    let mut unknown_kind = number("kind", Verdict::Unknown, f64::NAN);
    unknown_kind.kind = String::new();
    unknown_kind.bins.range = None;
    let features = vec![odd, empty, nameless, unknown_kind];
    let mut report = report();
    report.revision = Some(u64::MAX);
    report.windows = vec![
        window("short", u64::MAX - 1, features),
        window("short", 0, Vec::new()),
    ];
    report.windows[0].length_ms = u64::MAX;
    report.windows[0].to_ms = i64::MAX;
    report.windows[0].from_ms = i64::MIN;
    report.windows[1].estimate = None;
    report.alarm.windows = u32::MAX;
    for (watch, act) in [
        (0.1, 0.25),
        (0.0, 0.0),
        (-1.0, f64::MAX),
        (f64::NAN, f64::NAN),
    ] {
        report.thresholds.watch = watch;
        report.thresholds.act = act;
        for width in [Some(3), Some(100), None] {
            page::text(&report, &view(width));
        }
        let html = html::page(&report);
        lacks(&html, &["NaN", "inf%", ">inf"]);
        assert!(is_whole(&html));
        contains(
            &html,
            &[
                "no histogram",
                "(no name)",
                "900 bins, 23 to a column",
                "bin 2",
            ],
        );
        context(&report);
    }
}

#[test]
fn a_page_of_thousands_of_features_draws_the_worst() {
    let mut report = report();
    for window in &mut report.windows {
        let names = (0..5_000).map(|it| format!("feature_{it}"));
        window.features = names.map(|it| number(&it, Verdict::None, 0.01)).collect();
        window.features[4_321].verdict = Verdict::Act;
    }
    let html = html::page(&report);
    assert_eq!(html.matches("<article").count(), 201);
    assert_eq!(html.matches("<a class=\"name\"").count(), 40);
    contains(
        &html,
        &[
            "4,800 more features are not drawn",
            "id=\"f0\"><h3><bdi>feature_4321</bdi>",
        ],
    );
    assert_eq!(html.matches("<bdi>feature_4999</bdi>").count(), 2);
    assert!(html.len() < 6 << 20, "{}", html.len());
}

#[test]
fn a_look_gives_a_page_json_or_a_file() {
    let json = serde_json::to_string(&report()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("drift.html");
    let look_with = |line: &str, answer: &str| {
        let arguments = Line::parse_from(line.split(' ')).arguments;
        let (look, requests) = with_server(&[(200, answer)], |connection| {
            look(&connection.client().unwrap(), &arguments, &view(None))
        });
        assert!(requests[0].starts_with("GET /v1/slots/a%2Fb/drift HTTP/1.1\r\n"));
        look
    };
    let text = |line: &str| look_with(line, &json).unwrap().text;
    assert_eq!(text("drift a/b"), include_str!("example.txt"));
    assert_eq!(text("drift a/b --json"), format!("{json}\n"));
    let line = format!("drift a/b --html {}", path.display());
    assert_eq!(
        text(&line),
        format!("{}: {}\n", path.display(), context(&report()))
    );
    assert_eq!(
        std::fs::read_to_string(&path).unwrap(),
        html::page(&report())
    );
    let line = format!("drift a/b --html {}/none/x", path.display());
    contains(&look_with(&line, &json).unwrap_err(), &["none/x: "]);
    contains(
        &look_with("drift a/b", "{}").unwrap_err(),
        &["the answer is not a report of drift"],
    );
}

#[test]
fn a_verdict_fails_from_the_limit_on() {
    let check = |limit: Limit, expected: [bool; 4]| {
        let verdicts = [
            Verdict::Unknown,
            Verdict::None,
            Verdict::Watch,
            Verdict::Act,
        ];
        assert_eq!(verdicts.map(|it| limit.is_reached(it)), expected);
    };
    check(Limit::Watch, [false, false, true, true]);
    check(Limit::Act, [false, false, false, true]);
    let json = serde_json::to_string(&report()).unwrap();
    let (look, _) = with_server(&[(200, &json)], |connection| {
        let arguments = Line::parse_from(["drift", "fraud", "--fail-on", "act"]).arguments;
        look(&connection.client().unwrap(), &arguments, &view(None))
    });
    assert_eq!(look.unwrap().verdict, Verdict::Act);
}

#[test]
fn a_slot_that_is_not_watched_fails_and_one_with_too_few_rows_does_not() {
    let reason = || "why".to_string();
    for (reference, fails) in [
        (Reference::Off { reason: reason() }, true),
        (Reference::Refused { reason: reason() }, true),
        (
            Reference::Collecting {
                rows: 1,
                wanted: 100,
            },
            false,
        ),
        (report().reference, false),
    ] {
        let mut report = report();
        (report.reference, report.verdict) = (reference, Verdict::Unknown);
        let json = serde_json::to_string(&report).unwrap();
        let (look, _) = with_server(&[(200, &json)], |connection| {
            let arguments = Line::parse_from(["drift", "fraud", "--fail-on", "act"]).arguments;
            look(&connection.client().unwrap(), &arguments, &view(None))
        });
        let look = look.unwrap();
        assert_eq!(look.fails(Limit::Act), fails, "{:?}", report.reference);
        assert_eq!(look.fails(Limit::Watch), fails);
    }
}

#[test]
fn flags_that_do_not_go_together_are_refused() {
    let parse = |line: &str| Line::try_parse_from(line.split(' '));
    let view = parse("drift fraud").unwrap().arguments.view();
    assert_eq!((view.top, view.window), (15, None));
    let view = parse("drift fraud --all --window both")
        .unwrap()
        .arguments
        .view();
    assert_eq!((view.top, view.window), (usize::MAX, Some(Which::Both)));
    assert_eq!(
        parse("drift fraud --watch").unwrap().arguments.watch,
        Some(2)
    );
    for line in [
        "drift",
        "drift fraud --top 0",
        "drift fraud --top 3 --all",
        "drift fraud --watch 2 --html x",
        "drift fraud --watch 2 --fail-on act",
        "drift fraud --fail-on none",
    ] {
        assert!(parse(line).is_err(), "{line}");
    }
}
