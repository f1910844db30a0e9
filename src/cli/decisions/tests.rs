//! Chains as they are served: whole, cut and tampered with.

use clap::Parser as _;

use super::super::client::tests::with_server;
use super::*;
use crate::journal::decisions::{Entry, GENESIS, hash};

#[derive(Debug, clap::Parser)]
struct Line {
    #[command(flatten)]
    arguments: Arguments,
}

fn arguments(line: &str) -> Arguments {
    Line::parse_from(line.split(' ')).arguments
}

/// A whole chain of this many decisions.
fn chain_of(len: i64) -> Vec<Served> {
    let mut previous = GENESIS.to_string();
    let mut chain = Vec::new();
    for seq in 1..=len {
        let body = serde_json::json!({
            "decision": "promote",
            "actor": "anna",
            "from": {"revision": seq, "mark": "a"},
            "to": {"revision": seq + 1, "mark": "b"},
            "stage": null,
            "reasons": [format!("reason {seq} \u{1b}[2J"), "another"],
            "evidence": null,
            "settings": "5ef1",
            "alpha": 0.05,
        });
        let mut entry = Entry {
            slot: "fraud".to_string(),
            seq,
            at_ms: 1_795_641_243_000 + seq,
            body: body.to_string(),
            previous,
            hash: String::new(),
        };
        entry.hash = hash(&entry);
        previous = entry.hash.clone();
        chain.push(Served {
            slot: entry.slot,
            seq,
            at_ms: entry.at_ms,
            body: entry.body,
            previous: entry.previous,
            hash: entry.hash,
        });
    }
    chain
}

fn page(chain: &[Served]) -> String {
    serde_json::json!({ "decisions": chain }).to_string()
}

/// Checks pages as they come.
fn checked(pages: &[&[Served]]) -> Result<(u64, String), String> {
    let mut chain = Chain::new("fraud");
    for page in pages {
        chain.add(page.to_vec())?;
    }
    Ok((chain.len(), chain.last_hash().to_string()))
}

#[test]
fn a_whole_chain_holds_over_its_pages() {
    let chain = chain_of(5);
    let (first, second) = chain.split_at(3);
    assert_eq!(checked(&[first, second]), Ok((5, chain[4].hash.clone())));
    assert_eq!(checked(&[]), Ok((0, GENESIS.to_string())));
}

#[test]
fn a_chain_that_was_tampered_with_is_named_at_its_first_break() {
    let broken = |change: &dyn Fn(&mut Vec<Served>)| {
        let mut chain = chain_of(5);
        change(&mut chain);
        let (first, second) = chain.split_at(2);
        checked(&[first, second]).unwrap_err()
    };
    let check = |change: &dyn Fn(&mut Vec<Served>), expected: &str| {
        assert_eq!(broken(change), expected);
    };
    check(
        &|chain| chain[3].body = chain[3].body.replace("anna", "bert"),
        "decision 4: it was changed after it was written",
    );
    check(
        &|chain| drop(chain.remove(2)),
        "decision 4: entries before it are missing or out of order",
    );
    check(
        &|chain| drop(chain.remove(0)),
        "decision 2: entries before it are missing",
    );
    check(
        &|chain| {
            // Written anew with a hash of its own, but not by whoever wrote the next one.
            chain[1].at_ms += 1;
            chain[1].hash = hash(&Entry::from(chain[1].clone()));
        },
        "decision 3: it does not follow from the one before",
    );
    check(
        &|chain| chain[0].slot = "churn".to_string(),
        "decision 1: it is of slot \"churn\"",
    );
}

#[test]
fn verifying_reads_to_the_end_and_the_exit_code_tells() {
    let verified = |chain: &[Served]| {
        let pages = [page(&chain[..3]), page(&chain[3..]), page(&[])];
        let answers = [(200, &*pages[0]), (200, &*pages[1]), (200, &*pages[2])];
        let is_whole = checked(&[chain]).is_ok();
        // A broken chain is not read further.
        let answers = if is_whole {
            &answers[..]
        } else {
            &answers[..2]
        };
        with_server(answers, |connection| {
            verify(
                &connection.client().unwrap(),
                "fraud",
                &arguments("decisions fraud --verify"),
            )
        })
    };
    let mut chain = chain_of(5);
    let (code, requests) = verified(&chain);
    assert_eq!(code, ExitCode::SUCCESS);
    for (request, after) in requests.iter().zip([0, 3, 5]) {
        let line = format!("GET /v1/slots/fraud/decisions?after={after}&limit=1000 ");
        assert!(request.starts_with(&line), "{request}");
    }
    chain[4].at_ms += 1;
    assert_eq!(verified(&chain).0, ExitCode::FAILURE);
}

#[test]
fn without_a_slot_every_chain_is_verified() {
    let verified = |chain: &[Served]| {
        let slots = r#"{"slots":[{"slot":"fraud"},{"slot":"none yet"}]}"#;
        let (whole, end) = (page(chain), page(&[]));
        let is_whole = checked(&[chain]).is_ok();
        let mut answers = vec![(200, slots), (200, &*whole), (200, &*end), (200, &*end)];
        if !is_whole {
            // A broken chain is not read further, and the next one is.
            answers.pop();
        }
        with_server(&answers, |connection| {
            let mut arguments = arguments("decisions --verify");
            arguments.connection = connection.clone();
            run(&arguments)
        })
    };
    let mut chain = chain_of(3);
    let (code, requests) = verified(&chain);
    assert_eq!(code, ExitCode::SUCCESS);
    let last = requests.last().unwrap();
    assert!(
        last.starts_with("GET /v1/slots/none%20yet/decisions?"),
        "{last}"
    );
    chain[2].at_ms += 1;
    let (code, requests) = verified(&chain);
    assert_eq!((code, requests.len()), (ExitCode::FAILURE, 3));
}

#[test]
fn a_server_that_repeats_itself_is_not_asked_for_ever() {
    let chain = chain_of(2);
    let again = page(&chain);
    let ((), _) = with_server(&[(200, &again), (200, &again)], |connection| {
        let client = connection.client().unwrap();
        let reason = newest(&client, "fraud", 20).unwrap_err();
        assert_eq!(reason, "fraud: the server gives decisions up to 2 again");
    });
}

#[test]
fn the_newest_are_listed_last_and_nothing_reaches_the_terminal_unread() {
    let chain = chain_of(30);
    let (newest, _) = with_server(&[(200, &page(&chain)), (200, &page(&[]))], |connection| {
        newest(&connection.client().unwrap(), "fraud", 2).unwrap()
    });
    assert_eq!(newest, chain[28..]);
    let text = text("fraud", &newest, &arguments("decisions fraud"), Ink::none());
    let lines: Vec<&str> = text.lines().collect();
    let expected = [
        " no.  when (UTC)           decision  from -> to   stage   who               why",
        "  29  2026-11-25 21:14:03  promote   29 -> 30     –       anna              reason 29  [2J",
        "  30  2026-11-25 21:14:03  promote   30 -> 31     –       anna              reason 30  [2J",
    ];
    assert_eq!(lines, expected);
    assert_eq!(line::short(&newest[0], 20).chars().count(), 20);
}

#[test]
fn json_is_a_line_for_each_decision_as_it_was_hashed() {
    let chain = chain_of(2);
    let arguments = arguments("decisions fraud --json");
    let text = text("fraud", &chain, &arguments, Ink::none());
    let read: Vec<Served> = text
        .lines()
        .map(|it| serde_json::from_str(it).unwrap())
        .collect();
    assert_eq!(read, chain);
}

#[test]
fn a_decision_is_shown_with_its_evidence() {
    let mut served = chain_of(1).remove(0);
    let with = |evidence: serde_json::Value| {
        let mut body: serde_json::Value = serde_json::from_str(&served.body).unwrap();
        body["evidence"] = evidence;
        body.to_string()
    };
    let finding = serde_json::json!({
        "measure": "auc", "bound": -0.002, "verdict": "pass", "estimate": 0.0214,
        "lower": 0.0012, "upper": 0.0401, "e_value": 31.2, "threshold": 20.0, "count": 300,
        "needed": null, "reason": null, "parts": [],
    });
    let trial = serde_json::json!({
        "revision": 2, "mark": "b", "stage": "5%", "stage_since_ms": 1_795_641_183_000_i64,
        "since_ms": 1_795_641_123_000_i64, "labels": 3_000, "findings": [finding],
        "decision": "promote", "reasons": ["auc: provably better"],
    });
    let bodies = [with(trial), with(serde_json::json!("something else"))];
    let show = |served: &Served| line::long(served, Ink::none());
    assert!(show(&served).contains("evidence    none"));
    served.body = bodies[0].clone();
    let text = show(&served);
    for part in [
        "fraud 1: promote   1 -> 2   2026-11-25 21:14:03 UTC, by anna",
        "EVIDENCE of 2   at 5% for 1 min, in trial for 2 min",
        "✓ auc > -0.002           +0.0214 (+0.0012 to +0.0401)   31.2 of 20        none",
        "labels      3,000 scored by both\n              coverage –, pairing –, agreement –",
        "another",
        &served.hash,
        GENESIS,
    ] {
        assert!(text.contains(part), "expected {part:?} in\n{text}");
    }
    served.body = bodies[1].clone();
    assert!(show(&served).contains("\"something else\""));
    served.body = "no JSON".to_string();
    assert!(show(&served).contains("the answer is not a decision"));
}

#[test]
fn what_does_not_go_together_is_refused() {
    for line in [
        "decisions fraud --verify --long",
        "decisions fraud --limit 0",
        "decisions",
    ] {
        assert!(Line::try_parse_from(line.split(' ')).is_err(), "{line}");
    }
}
