//! Of `loadtests/generator/tally.rs`.

use super::tally::{Failure, Intervals, Outcome, Tally, Verdict, quantile_us};

#[test]
fn quantiles_are_those_of_the_sorted_latencies() {
    let mut tally = Tally::new().unwrap();
    for us in 1..=1000_u64 {
        tally.count(Outcome::Status(200), Verdict::Ok, us * 1000);
    }
    for (share, expected_us) in [(0.5, 500.0), (0.99, 990.0), (0.999, 999.0), (1.0, 1000.0)] {
        let found = quantile_us(&tally.ok, share).unwrap();
        assert!(
            (found / expected_us - 1.0).abs() < 0.002,
            "{share}: {found}"
        );
    }
    assert_eq!(quantile_us(&tally.refused, 0.5), None);
}

#[test]
fn what_is_added_is_counted_once_more() {
    let mut tally = Tally::new().unwrap();
    tally.count(Outcome::Status(503), Verdict::Refused, 5000);
    tally.count(Outcome::Failed(Failure::Closed), Verdict::Error, 0);
    let other = tally.clone();
    tally.add(&other);
    assert_eq!(
        (tally.ended(), tally.errors, tally.refused.len()),
        (4, 2, 2)
    );
    let statuses: Vec<_> = tally.statuses().collect();
    assert_eq!(
        statuses,
        [("503".to_string(), 2), ("closed".to_string(), 2)]
    );
}

#[test]
fn every_failure_has_its_name() {
    for (failure, name) in Failure::ALL {
        let mut tally = Tally::new().unwrap();
        tally.count(Outcome::Failed(failure), Verdict::Error, 0);
        let found: Vec<_> = tally.statuses().collect();
        assert_eq!(found, [(name.to_string(), 1)]);
    }
}

#[test]
fn intervals_without_an_answer_are_there() {
    let mut intervals = Intervals::new(100, 10).unwrap();
    intervals.count(90, Verdict::Ok, 5);
    intervals.count(105, Verdict::Ok, 5000);
    intervals.count(131, Verdict::Error, 0);
    let found = intervals.finish(145);
    let counts: Vec<_> = found
        .iter()
        .map(|interval| (interval.start_ns, interval.ok, interval.errors))
        .collect();
    assert_eq!(counts, [(100, 1, 0), (110, 0, 0), (120, 0, 0), (130, 0, 1)]);
    assert!(found[0].p99_us.is_some() && found[1].p99_us.is_none());
}
