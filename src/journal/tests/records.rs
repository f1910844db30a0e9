//! Roles, decisions, leases, retention, and the tables themselves.

use super::super::decisions::{self, Entry};
use super::super::store::StoreError;
use super::super::{lease, outcomes, retention, roles, schema};
use super::*;

#[test]
fn roles_change_for_who_knows_them() {
    on_both(|place| {
        let (mut one, mut two) = (place.open(), place.open());
        assert_eq!(roles::read(&mut *one, "fraud").unwrap(), None);
        assert_eq!(
            roles::decide(&mut *one, "fraud", 0, "a", Some("{}")).unwrap(),
            Some(1)
        );
        assert_eq!(
            roles::decide(&mut *two, "fraud", 0, "b", Some("{}")).unwrap(),
            None
        );
        assert_eq!(
            roles::decide(&mut *two, "fraud", 1, "b", None).unwrap(),
            Some(2)
        );
        assert_eq!(
            roles::decide(&mut *one, "fraud", 1, "c", Some("{}")).unwrap(),
            None
        );
        assert_eq!(
            roles::decide(&mut *one, "churn", 7, "c", Some("{}")).unwrap(),
            None
        );
        let kept = roles::read(&mut *one, "fraud").unwrap().unwrap();
        assert_eq!((kept.generation, kept.document.as_str()), (2, "b"));
        assert_eq!(roles::all(&mut *one).unwrap(), [kept]);
        assert_eq!(decisions::list(&mut *one, "fraud", 0, 10).unwrap().len(), 1);
    });
}

#[test]
fn of_two_who_decide_at_once_one_is_first() {
    on_both(|place| {
        let deciders = 2;
        let rounds = 20;
        let start = std::sync::Barrier::new(deciders);
        let wins: i64 = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..deciders)
                .map(|_| {
                    scope.spawn(|| {
                        let mut store = place.open();
                        let mut wins = 0;
                        for generation in 0..rounds {
                            start.wait();
                            let body = Some("{}");
                            let won = roles::decide(&mut *store, "fraud", generation, "d", body);
                            wins += i64::from(won.unwrap().is_some());
                        }
                        wins
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum()
        });
        assert_eq!(wins, rounds);
        let chain = decisions::list(&mut *place.open(), "fraud", 0, 100).unwrap();
        assert_eq!(chain.len(), 20);
        decisions::verify(&chain).unwrap();
    });
}

fn chain(store: &mut dyn Store) -> Vec<Entry> {
    for generation in 0..4 {
        let body = format!("{{\"decision\":{generation}}}");
        roles::decide(store, "fraud", generation, "roles", Some(&body)).unwrap();
    }
    roles::decide(store, "churn", 0, "roles", Some("{}")).unwrap();
    decisions::list(store, "fraud", 0, 100).unwrap()
}

#[test]
fn a_chain_proves_itself() {
    on_both(|place| {
        let mut store = place.open();
        let chain = chain(&mut *store);
        assert_eq!(chain.len(), 4);
        assert_eq!(chain[0].previous, decisions::GENESIS);
        assert_eq!(decisions::verify(&chain), Ok(()));
        assert_eq!(decisions::verify(&[]), Ok(()));
        let later = decisions::list(&mut *store, "fraud", 2, 1).unwrap();
        assert_eq!(later, chain[2..3]);
        assert_eq!(decisions::verify(&later), Ok(()));
        store
            .execute(
                "UPDATE decision SET body = '{}' WHERE slot = 'fraud' AND seq = 3",
                &[],
            )
            .unwrap();
        let changed = decisions::list(&mut *store, "fraud", 0, 100).unwrap();
        assert_eq!(decisions::verify(&changed).unwrap_err().seq, 3);
    });
}

#[test]
fn tampering_is_found() {
    let place = Place::sqlite();
    let good = chain(&mut *place.open());
    let check = |change: &dyn Fn(&mut Vec<Entry>), seq: i64, reason: &str| {
        let mut chain = good.clone();
        change(&mut chain);
        let broken = decisions::verify(&chain).unwrap_err();
        assert_eq!((broken.seq, broken.reason.as_str()), (seq, reason));
    };
    let changed = "it was changed after it was written";
    check(&|chain| chain[1].body.push(' '), 2, changed);
    check(&|chain| chain[1].at_ms += 1, 2, changed);
    let rewritten = |chain: &mut Vec<Entry>| {
        chain[1].body = "{}".to_string();
        chain[1].hash = decisions::hash(&chain[1]);
    };
    check(&rewritten, 3, "it does not follow from the one before");
    let missing = "entries before it are missing or out of order";
    check(&|chain| drop(chain.remove(1)), 3, missing);
    check(&|chain| chain.swap(1, 2), 3, missing);
    check(
        &|chain| chain[1].slot = "churn".to_string(),
        2,
        "expected the slot of the one before",
    );
    let begun = "the first entry expected nothing before it";
    check(&|chain| chain[0].previous = "ab".to_string(), 1, begun);
}

#[test]
fn the_hash_is_what_its_documentation_says() {
    let entry = Entry {
        slot: "fraud".to_string(),
        seq: 1,
        at_ms: 1,
        body: "{}".to_string(),
        previous: decisions::GENESIS.to_string(),
        hash: String::new(),
    };
    // printf '%064d\nfraud\n1\n1\n{}' 0 | sha256sum
    let expected = "6beff82459d647fcc8d804dd661d70fb57b885abc92bb7a447a1fd2d282ed15e";
    assert_eq!(decisions::hash(&entry), expected);
}

#[test]
fn a_lease_is_handed_over() {
    on_both(|place| {
        let (mut one, mut two) = (place.open(), place.open());
        assert!(lease::acquire(&mut *one, "controller", "a", 60_000).unwrap());
        assert!(lease::acquire(&mut *one, "controller", "a", 60_000).unwrap());
        assert!(!lease::acquire(&mut *two, "controller", "b", 60_000).unwrap());
        assert!(lease::acquire(&mut *two, "another", "b", 60_000).unwrap());
        lease::release(&mut *two, "controller", "b").unwrap();
        assert_eq!(
            lease::holder(&mut *two, "controller").unwrap().as_deref(),
            Some("a")
        );
        lease::release(&mut *one, "controller", "a").unwrap();
        assert_eq!(lease::holder(&mut *two, "controller").unwrap(), None);
        // Its holder dies: the lease runs out by the store's clock.
        assert!(lease::acquire(&mut *two, "controller", "b", 30).unwrap());
        eventually(|| lease::acquire(&mut *one, "controller", "a", 60_000).unwrap());
        assert!(!lease::acquire(&mut *two, "controller", "b", 60_000).unwrap());
    });
}

#[test]
fn the_oldest_leave_with_all_that_is_theirs() {
    on_both(|place| {
        let mut store = place.open();
        let rows: Vec<Prediction> = (0..10).map(|at| prediction(NOW + at)).collect();
        write(&mut *store, &rows);
        chain(&mut *store);
        let labels: Vec<Label> = rows.iter().map(|row| label(row, 1.0)).collect();
        labels::put(&mut *store, &labels, NOW + 100, &terms).unwrap();
        let mut leave =
            |before_ms, limit| retention::by_age(&mut *store, before_ms, limit).unwrap();
        assert_eq!(
            (leave(NOW, 10), leave(NOW + 5, 3), leave(NOW + 5, 10)),
            (0, 3, 2)
        );
        for table in ["prediction", "label", "outcome"] {
            assert_eq!(count(&mut *store, table), 5, "{table}");
        }
        assert_eq!(retention::by_age(&mut *store, i64::MAX, 1).unwrap(), 1);
        assert_eq!(
            outcomes::after(&mut *store, "fraud", 0, 100).unwrap().len(),
            4
        );
        assert_eq!(count(&mut *store, "decision"), 5);
        assert_eq!(count(&mut *store, "roles"), 2);
    });
}

#[test]
fn what_is_too_much_is_a_share_of_the_rows() {
    on_both(|place| {
        let mut store = place.open();
        let rows: Vec<Prediction> = (0..5000).map(|at| prediction(NOW + at)).collect();
        write(&mut *store, &rows);
        // PostgreSQL's statistics follow within a second or so.
        eventually(|| store.bytes().unwrap() > 500_000);
        let bytes = store.bytes().unwrap();
        assert_eq!(retention::excess(&mut *store, bytes * 2).unwrap(), 0);
        let excess = retention::excess(&mut *store, bytes / 2).unwrap();
        assert!((2500..3000).contains(&excess), "{excess} of {bytes} bytes");
    });
}

#[test]
fn newer_tables_are_refused() {
    on_both(|place| {
        place
            .open()
            .execute("UPDATE journal_version SET version = version + 1", &[])
            .unwrap();
        let expected = StoreError::Newer {
            found: schema::VERSION + 1,
            known: schema::VERSION,
        };
        for open in [open, open_to_read] {
            let error = open(&place.address).err().unwrap();
            assert_eq!(error, expected);
        }
    });
}

#[test]
fn who_reads_makes_and_changes_nothing() {
    on_both(|place| {
        assert!(open_to_read(&place.address).is_err(), "there is none");
        assert!(open_to_read(&place.address).is_err(), "and none was made");
        let mut store = place.open();
        write(&mut *store, &[prediction(NOW)]);
        // As the first version left them.
        for sql in [
            "DROP TABLE drift_pane",
            "DROP TABLE drift_reference",
            "DROP TABLE drift_alarm",
            "UPDATE journal_version SET version = 1",
        ] {
            store.execute(sql, &[]).unwrap();
        }
        let mut reader = open_to_read(&place.address).unwrap();
        assert_eq!(count(&mut *reader, "prediction"), 1);
        assert!(reader.execute("DELETE FROM prediction", &[]).is_err());
        drop(reader);
        assert!(store.query("SELECT 1 FROM drift_pane", &[]).is_err());
        let version = store.query("SELECT version FROM journal_version", &[]);
        assert_eq!(version.unwrap()[0].int(0), Ok(1));
    });
}

#[test]
fn many_may_open_at_once() {
    on_both(|place| {
        let openers = 6;
        let start = std::sync::Barrier::new(openers);
        std::thread::scope(|scope| {
            for _ in 0..openers {
                scope.spawn(|| {
                    start.wait();
                    let mut store = place.open();
                    write(&mut *store, &[prediction(NOW)]);
                });
            }
        });
        let mut store = place.open();
        assert_eq!(count(&mut *store, "prediction"), 6);
        assert_eq!(count(&mut *store, "journal_version"), 1);
    });
}
