//! The journal as it runs: its queue, its thread, a store that is away, and a killed process.

use std::process::{Command, Stdio};
use std::sync::{Arc, mpsc};

use super::super::store::StoreError;
use super::super::{outcomes, writer};
use super::*;
use crate::error::{Code, Error};
use crate::task::Priority;

fn rows(count: usize) -> Vec<Prediction> {
    (0..count).map(|_| prediction(NOW)).collect()
}

/// Keeps the journal's thread busy until the sender is dropped.
fn occupy(journal: &Journal, supervisor: &Supervisor) -> mpsc::Sender<()> {
    let (release, released) = mpsc::channel::<()>();
    let (begin, begun) = mpsc::channel();
    let journal = journal.clone();
    let occupied = move || {
        let work = move |_store: &mut dyn Store| {
            begin.send(()).unwrap();
            let _dropped = released.recv();
            Ok(())
        };
        journal.run_blocking(work).unwrap();
    };
    supervisor
        .thread("occupied", Priority::Normal, occupied)
        .unwrap();
    begun.recv().unwrap();
    release
}

#[test]
fn what_is_appended_is_written() {
    on_both(|place| {
        let supervisor = Supervisor::default();
        let journal = place.start(&supervisor);
        journal.append(rows(3));
        journal.append(Vec::new());
        journal.append(rows(4000));
        eventually(|| journal.health().written_rows == 4003);
        let health = journal.health();
        assert!(health.connected);
        assert_eq!(
            (health.error, health.queued_rows, health.lag_ms),
            (None, 0, 0)
        );
        assert_eq!(count(&mut *place.open(), "prediction"), 4003);
    });
}

#[test]
fn work_sees_what_was_appended_before() {
    on_both(|place| {
        let supervisor = Supervisor::default();
        let settings = Settings {
            flush_ms: 3_600_000,
            ..place.settings()
        };
        let journal = Journal::start(settings, &supervisor).unwrap();
        eventually(|| journal.health().connected);
        journal.append(rows(10));
        let counted = journal.run_blocking(|store| Ok(count(store, "prediction")));
        assert_eq!(counted, Ok(10));
    });
}

#[test]
fn a_full_queue_drops_and_counts() {
    on_both(|place| {
        let supervisor = Supervisor::default();
        let settings = Settings {
            queue_rows_max: 100,
            ..place.settings()
        };
        let journal = Journal::start(settings, &supervisor).unwrap();
        eventually(|| journal.health().connected);
        let release = occupy(&journal, &supervisor);
        journal.append(rows(60));
        journal.append(rows(60));
        journal.append(rows(60));
        let health = journal.health();
        assert_eq!((health.queued_rows, health.dropped_rows), (100, 80));
        eventually(|| journal.health().lag_ms > 0);
        drop(release);
        eventually(|| journal.health().written_rows == 100);
        journal.append(rows(60));
        eventually(|| journal.health().written_rows == 160);
        assert_eq!(journal.health().dropped_rows, 80);
    });
}

#[tokio::test]
async fn too_much_work_is_refused() {
    let place = Place::sqlite();
    let supervisor = Supervisor::default();
    let journal = place.start(&supervisor);
    eventually(|| journal.health().connected);
    let release = occupy(&journal, &supervisor);
    let mut waiting = Vec::new();
    let refused = loop {
        let mut work = Box::pin(journal.run(|_store| Ok(1)));
        let limit = Duration::from_millis(1);
        if let Ok(answer) = tokio::time::timeout(limit, &mut work).await {
            break answer.unwrap_err();
        }
        waiting.push(work);
    };
    assert_eq!(refused.code, Code::Overloaded);
    assert_eq!(waiting.len(), writer::COMMANDS_MAX);
    // The server's own threads have places that requests cannot take.
    std::thread::scope(|scope| {
        let (done, answers) = mpsc::channel();
        for _ in 0..=writer::RESERVED {
            let (journal, done) = (journal.clone(), done.clone());
            scope.spawn(move || done.send(journal.run_blocking(|_store| Ok(1))).unwrap());
        }
        let refused = answers.recv().unwrap().unwrap_err();
        assert_eq!(refused.code, Code::Overloaded);
        drop(release);
        for _ in 0..writer::RESERVED {
            assert_eq!(answers.recv().unwrap(), Ok(1));
        }
    });
    for work in waiting {
        assert_eq!(work.await, Ok(1));
    }
}

#[tokio::test]
async fn many_labels_are_put_in_turns() {
    let place = Place::sqlite();
    let supervisor = Supervisor::default();
    let journal = place.start(&supervisor);
    eventually(|| journal.health().connected);
    let rows = rows(4500);
    let labels: Vec<Label> = rows.iter().map(|row| label(row, 1.0)).collect();
    journal.append(rows);
    let receipts = journal
        .put_all(labels.clone(), NOW + 1, Arc::new(terms))
        .await
        .unwrap();
    assert_eq!(receipts.len(), 4500);
    assert!(
        receipts
            .iter()
            .all(|receipt| receipt.status == Status::Joined)
    );
    let again = journal
        .put_all(labels, NOW + 2, Arc::new(terms))
        .await
        .unwrap();
    for (first, second) in receipts.iter().zip(&again) {
        assert_eq!(second.status, Status::Duplicate);
        assert_eq!(second.feedback_id, first.feedback_id);
    }
}

#[test]
fn a_row_that_the_store_refuses_leaves_the_others() {
    let Some(place) = Place::postgres() else {
        return;
    };
    let supervisor = Supervisor::default();
    let journal = place.start(&supervisor);
    let mut rows = rows(100);
    rows[37].key = Some("a\0b".to_string());
    journal.append(rows);
    eventually(|| journal.health().written_rows == 99);
    let health = journal.health();
    assert_eq!(health.dropped_rows, 1);
    assert!(health.error.is_some() && health.connected);
}

#[test]
fn closing_writes_what_waits() {
    on_both(|place| {
        let supervisor = Supervisor::default();
        let settings = Settings {
            flush_ms: 3_600_000,
            ..place.settings()
        };
        let journal = Journal::start(settings, &supervisor).unwrap();
        eventually(|| journal.health().connected);
        journal.append(rows(10));
        assert!(journal.close(Duration::from_secs(10)));
        assert_eq!(count(&mut *place.open(), "prediction"), 10);
        journal.append(rows(1));
        assert_eq!(journal.health().dropped_rows, 1);
        let refused = journal.run_blocking(|_store| Ok(())).unwrap_err();
        assert_eq!(refused.code, Code::NotReady);
    });
}

#[test]
fn a_folder_that_cannot_be_opened_may_come_back() {
    let place = Place::sqlite();
    std::fs::write(&place.address, "in the way").unwrap();
    let supervisor = Supervisor::default();
    let journal = place.start(&supervisor);
    journal.append(rows(5));
    eventually(|| journal.health().error.is_some());
    let refused = journal.run_blocking(|_store| Ok(())).unwrap_err();
    assert_eq!(refused.code, Code::NotReady);
    assert_eq!(refused.message, "the journal's store is away");
    let health = journal.health();
    assert!(health.error.unwrap().contains("folder"));
    assert!(!health.connected);
    assert_eq!(health.queued_rows, 5);
    std::fs::remove_file(&place.address).unwrap();
    eventually(|| journal.health().written_rows == 5);
    assert_eq!(journal.health().error, None);
}

#[test]
fn a_database_that_stops_and_starts_loses_nothing_that_waits() {
    let Some(cluster) = postgres::start() else {
        return;
    };
    let place = Place {
        address: cluster.database(),
        _folder: None,
    };
    let supervisor = Supervisor::default();
    let journal = place.start(&supervisor);
    journal.append(rows(5));
    eventually(|| journal.health().written_rows == 5);
    cluster.stop();
    journal.append(rows(5));
    eventually(|| !journal.health().connected);
    let refused = journal.run_blocking(|_store| Ok(())).unwrap_err();
    assert_eq!(refused.code, Code::NotReady);
    journal.append(rows(5));
    assert_eq!(journal.health().queued_rows, 10);
    eventually(|| journal.health().lag_ms > 0);
    cluster.resume();
    eventually(|| journal.health().written_rows == 15);
    assert_eq!(count(&mut *place.open(), "prediction"), 15);
    assert_eq!(journal.health().dropped_rows, 0);
}

#[test]
fn age_and_size_make_rows_leave() {
    on_both(|place| {
        let now = place.open().now_ms().unwrap();
        let old: Vec<Prediction> = (0..5000).map(|_| prediction(now - 25 * HOUR)).collect();
        write(&mut *place.open(), &old);
        write(&mut *place.open(), &[prediction(now), prediction(now)]);
        let supervisor = Supervisor::default();
        let settings = Settings {
            retention_days: 1,
            ..place.settings()
        };
        let journal = Journal::start(settings.clone(), &supervisor).unwrap();
        eventually(|| journal.health().removed_rows == 5000);
        assert!(journal.close(Duration::from_secs(10)));
        assert_eq!(count(&mut *place.open(), "prediction"), 2);
        let settings = Settings {
            bytes_max: 1,
            ..settings
        };
        // PostgreSQL's statistics follow within a second or so.
        eventually(|| place.open().bytes().unwrap() > 1);
        let journal = Journal::start(settings, &supervisor).unwrap();
        eventually(|| journal.health().removed_rows == 2);
    });
}

#[test]
fn work_that_fails_says_why_in_the_health_only() {
    on_both(|place| {
        let supervisor = Supervisor::default();
        let journal = place.start(&supervisor);
        eventually(|| journal.health().connected);
        let failed = journal
            .run_blocking(|store| store.execute("nonsense", &[]))
            .unwrap_err();
        let expected = "the journal's store refused a statement";
        assert_eq!(
            (failed.code, failed.message.as_str()),
            (Code::Internal, expected)
        );
        eventually(|| journal.health().error.is_some());
        let error = journal.health().error.unwrap();
        assert!(error.contains("nonsense"), "{error}");
        let away: Result<(), _> =
            journal.run_blocking(|_store| Err(StoreError::Away("on purpose".to_string())));
        let expected = Error::new(Code::NotReady, "the journal's store is away");
        assert_eq!(away, Err(expected));
        eventually(|| journal.run_blocking(|_store| Ok(1)) == Ok(1));
    });
}

#[tokio::test]
async fn labels_that_wait_are_held_against_the_terms_that_were_set() {
    let place = Place::sqlite();
    let supervisor = Supervisor::default();
    let journal = place.start(&supervisor);
    eventually(|| journal.health().connected);
    let (letting_go, let_go) = mpsc::channel::<()>();
    journal.set_terms(Arc::new(move |slot| {
        let _held = &letting_go;
        terms(slot).map(|terms| Terms {
            values: super::super::labels::Values::Binary,
            ..terms
        })
    }));
    // Later ones change nothing.
    journal.set_terms(Arc::new(|_slot| None));
    let rows = rows(10);
    let labels: Vec<Label> = rows
        .iter()
        .zip(0..)
        .map(|(row, index)| label(row, f64::from(index)))
        .collect();
    let put = journal.put_all(labels, NOW + 1, Arc::new(terms));
    let receipts = put.await.unwrap();
    assert!(receipts.iter().all(|it| it.status == Status::Pending));
    journal.append(rows);
    eventually(|| journal.health().written_rows == 10);
    eventually(|| journal.health().met_labels == 2);
    assert_eq!(journal.health().expired_labels, 8);
    // When it ends it lets the terms go, which may hold the journal.
    assert!(journal.close(Duration::from_secs(10)));
    assert_eq!(
        let_go.recv_timeout(Duration::from_secs(10)),
        Err(mpsc::RecvTimeoutError::Disconnected)
    );
}

#[test]
fn a_statement_that_is_given_up_costs_neither_connection_nor_rows() {
    let Some(place) = Place::postgres() else {
        return;
    };
    let supervisor = Supervisor::default();
    let journal = place.start(&supervisor);
    eventually(|| journal.health().connected);
    let connection = |store: &mut dyn Store| {
        let rows = store.query("SELECT pg_backend_pid()", &[])?;
        rows[0].int(0)
    };
    let before = journal.run_blocking(connection).unwrap();
    let slow = journal.run_blocking(|store| {
        store.execute("SET statement_timeout = '300ms'", &[])?;
        store.query("SELECT 1 FROM pg_sleep(20)", &[])
    });
    let expected = "the journal's store gave up a statement";
    let expected = Error::new(Code::DeadlineExceeded, expected);
    assert_eq!(slow, Err(expected));
    let mut other = place.open();
    other.begin().unwrap();
    let lock = "LOCK TABLE prediction IN EXCLUSIVE MODE";
    other.execute(lock, &[]).unwrap();
    journal.append(rows(5));
    eventually(|| journal.health().lag_ms > 600);
    let health = journal.health();
    assert_eq!((health.queued_rows, health.dropped_rows), (5, 0));
    other.commit().unwrap();
    eventually(|| journal.health().written_rows == 5);
    assert_eq!(journal.run_blocking(connection), Ok(before));
}

/// Names the store that the process which is to be killed writes to.
const KILLED: &str = "HEDGEROW_TEST_KILLED";

/// Writes rows and labels until it is killed; alone it does nothing.
#[test]
fn writes_until_it_is_killed() {
    let Some(address) = told(KILLED) else {
        return;
    };
    let mut store = open(&address).unwrap();
    loop {
        let rows = rows(50);
        write(&mut *store, &rows);
        let labels: Vec<Label> = rows.iter().map(|row| label(row, 1.0)).collect();
        labels::put(&mut *store, &labels, NOW, &terms).unwrap();
    }
}

#[test]
fn a_killed_process_leaves_a_clean_store() {
    on_both(|place| {
        let mut store = place.open();
        for round in 1..4 {
            let program = std::env::current_exe().unwrap();
            let mut child = Command::new(program)
                .args([
                    "--exact",
                    "journal::tests::running::writes_until_it_is_killed",
                ])
                .env(KILLED, &place.address)
                .stdout(Stdio::null())
                .spawn()
                .unwrap();
            eventually(|| count(&mut *store, "outcome") >= round * 500);
            child.kill().unwrap();
            child.wait().unwrap();
            drop(store);
            store = place.open();
        }
        eventually(|| count(&mut *store, "outcome") == count(&mut *store, "label"));
        // Labels and outcomes are written together, up to the last commit.
        let open = "prediction WHERE first_outcome IS NULL";
        assert!(count(&mut *store, open) <= 3 * 50);
        let all = outcomes::after(&mut *store, "fraud", 0, 1_000_000).unwrap();
        assert_eq!(all.len() as i64, count(&mut *store, "outcome"));
        if store.kind() == "sqlite" {
            let rows = store.query("PRAGMA integrity_check", &[]).unwrap();
            assert_eq!(rows[0].text(0).unwrap(), "ok");
        }
    });
}
