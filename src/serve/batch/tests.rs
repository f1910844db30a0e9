//! No caller gets another's rows: concurrent callers of several revisions and widths, with failures
//! among them.

use std::time::SystemTime;

use std::time::Duration;

use super::extras::Explain;
use super::*;
use crate::engine::{Engine, EngineError, Extra, Feature, Format, Outline, Output};
use crate::model::revision::Cost;
use crate::model::signature::Signature;
use crate::tensor::{DType, Element, Matrix};

/// Answers each row with the sum of its values, of which each contributes itself; fails on any row
/// that holds -1.
#[derive(Debug)]
struct Sum(Outline);

impl Engine for Sum {
    fn outline(&self) -> &Outline {
        &self.0
    }

    fn predict(&self, rows: &Rows, out: &mut [f64]) -> Result<(), EngineError> {
        let Rows::F64(rows) = rows else {
            return Err(EngineError::Failed("expected FP64".to_string()));
        };
        if rows.values().contains(&-1.0) {
            return Err(EngineError::Failed("on purpose".to_string()));
        }
        for (out, row) in out.iter_mut().zip(rows.rows()) {
            *out = row.iter().sum();
        }
        Ok(())
    }

    fn extra_shape(&self, _extra: Extra) -> Result<Vec<usize>, EngineError> {
        Ok(vec![self.0.features.len() + 1])
    }

    fn extra(&self, _extra: Extra, rows: &Rows, out: &mut [f64]) -> Result<(), EngineError> {
        let Rows::F64(rows) = rows else {
            return Err(EngineError::Failed("expected FP64".to_string()));
        };
        for (out, row) in out.chunks_exact_mut(rows.width() + 1).zip(rows.rows()) {
            out[..row.len()].copy_from_slice(row);
        }
        Ok(())
    }

    fn memory_bytes(&self) -> usize {
        0
    }
}

/// Rows of two values each, with these extras.
fn explained(revision: &Revision, explain: Explain, count: usize) -> Work {
    let values = (0..count * 2).map(|value| value as f64).collect();
    let extras = Extras::new(revision, Vec::new(), Some(explain)).unwrap();
    Work {
        rows: Rows::F64(Matrix::new(values, 2).unwrap()),
        extras: extras.map(Arc::new),
        trace: None,
    }
}

fn revision(uid: u64, width: usize, row_ns: u64) -> Arc<Revision> {
    let outline = Outline {
        engine: "sum",
        format: Format::Onnx,
        element: Element::F64,
        features: vec![Feature::default(); width],
        outputs: vec![Output {
            name: "predict".to_string(),
            dtype: DType::Fp64,
            columns: None,
            offset: 0,
            labels: Vec::new(),
            default: true,
        }],
        objective: String::new(),
        trees: None,
        library_version: None,
        refused_by_forest: None,
    };
    Arc::new(Revision {
        slot: "sum".to_string(),
        id: uid,
        uid,
        signature: Signature::new(&outline, None).unwrap(),
        engine: Box::new(Sum(outline)),
        digest: String::new(),
        cost: Cost {
            row_ns,
            batch_row_ns: row_ns,
        },
        reference: crate::model::revision::Reference::None,
        golden_rows: 0,
        verified_rows: 0,
        prepared_at: SystemTime::now(),
        usage: Default::default(),
        rules: Default::default(),
    })
}

fn policy(max_batch_rows: usize, max_queue_delay_us: u64) -> Policy {
    Policy {
        max_batch_rows,
        max_queue_delay_us,
        inline_us_max: 50,
    }
}

fn batcher(threads: usize) -> Batcher {
    let settings = Settings {
        threads,
        ..Settings::default()
    };
    Batcher::start(&settings, &Supervisor::default()).unwrap()
}

fn queue(queue_rows_max: usize, threads: usize) -> Queue {
    let settings = Settings {
        queue_rows_max,
        ..Settings::default()
    };
    Queue::new(&settings, threads)
}

fn ones(count: usize) -> Rows {
    Rows::F64(Matrix::new(vec![1.0; count], 1).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_caller_gets_its_own_rows() {
    let batcher = Arc::new(batcher(2));
    let revisions = [
        revision(1, 1, 100_000),
        revision(2, 3, 100_000),
        revision(3, 7, 100_000),
    ];
    for policy in [policy(1, 0), policy(8, 0), policy(8, 200), policy(64, 200)] {
        let mut callers = tokio::task::JoinSet::new();
        for caller in 0..200_usize {
            let (batcher, policy) = (Arc::clone(&batcher), policy.clone());
            let revision = Arc::clone(&revisions[caller % 3]);
            callers.spawn(async move {
                let width = revision.signature.columns.len();
                let count = 1 + caller % 13;
                let fails = caller % 10 == 9;
                let values: Vec<f64> = (0..count * width)
                    .map(|at| {
                        if fails {
                            -1.0
                        } else {
                            (caller * 1000 + at) as f64
                        }
                    })
                    .collect();
                let expected: Vec<f64> = values.chunks(width).map(|row| row.iter().sum()).collect();
                let rows = Rows::F64(Matrix::new(values, width).unwrap());
                let got = batcher.run(&revision, rows, &policy, None).await;
                match got {
                    Ok(got) => assert_eq!((fails, got), (false, expected)),
                    Err(error) => assert!(fails && error.code == Code::Internal, "{error}"),
                }
            });
        }
        while let Some(caller) = callers.join_next().await {
            caller.unwrap();
        }
    }
    assert_eq!(batcher.queued_rows(), 0);
}

#[tokio::test]
async fn cheap_work_runs_inline_and_dear_work_in_parts() {
    let batcher = batcher(1);
    let rows = |count: usize| Rows::F64(Matrix::new(vec![1.0; count], 1).unwrap());
    let cheap = revision(1, 1, 100);
    batcher
        .run(&cheap, rows(10), &policy(4, 0), None)
        .await
        .unwrap();
    assert_eq!(cheap.usage.batches(Dispatch::Inline), 1);
    let dear = revision(2, 1, 1_000_000);
    let got = batcher
        .run(&dear, rows(10), &policy(4, 0), None)
        .await
        .unwrap();
    assert_eq!(got, [1.0; 10]);
    assert_eq!(dear.usage.batches(Dispatch::Inline), 0);
    assert_eq!(dear.usage.batches(Dispatch::Full), 2);
    assert_eq!(dear.usage.batches(Dispatch::Idle), 1);
}

#[tokio::test]
async fn a_full_queue_and_a_passed_deadline_are_answers() {
    let queue = queue(2, 1);
    let dear = revision(1, 1, 1_000_000);
    let rows = |count: usize| Rows::F64(Matrix::new(vec![1.0; count], 1).unwrap());
    let _first = queue.push(&dear, rows(2), &policy(4, 0), None).unwrap();
    let error = queue.push(&dear, rows(1), &policy(4, 0), None).unwrap_err();
    assert_eq!(error.code, Code::Overloaded);

    let past = Instant::now().checked_sub(Duration::from_secs(1));
    let error = batcher(1)
        .run(&dear, rows(1), &policy(4, 0), past)
        .await
        .unwrap_err();
    assert_eq!(error.code, Code::DeadlineExceeded);
}

#[test]
fn work_whose_caller_is_gone_is_dropped() {
    let queue = queue(100, 1);
    let dear = revision(1, 1, 1_000_000);
    let rows = || Rows::F64(Matrix::new(vec![1.0], 1).unwrap());
    drop(queue.push(&dear, rows(), &policy(4, 0), None).unwrap());
    let mut stays = queue.push(&dear, rows(), &policy(4, 0), None).unwrap();
    let (jobs, reason) = queue.next_batch(Threads::Prompt).unwrap();
    assert_eq!((jobs.len(), reason), (2, Dispatch::Idle));
    execute(jobs, reason);
    assert_eq!(stays.remove(0).try_recv().unwrap(), Ok(vec![1.0]));
    assert_eq!(
        dear.usage
            .rows_computed
            .load(std::sync::atomic::Ordering::Relaxed),
        1
    );
}

#[tokio::test]
async fn explanations_are_never_inline_and_come_in_small_parts() {
    let batcher = batcher(2);
    let cheap = revision(1, 2, 1);
    let policy = policy(256, 0);
    let all = explained(&cheap, Explain::All, 20);
    let got = batcher.run(&cheap, all, &policy, None).await.unwrap();
    // The sum, then both values and the mean.
    assert_eq!(got[4..8], [5.0, 2.0, 3.0, 0.0]);
    assert_eq!(got.len(), 20 * 4);
    let top = explained(&cheap, Explain::Top(1), 2);
    let got = batcher.run(&cheap, top, &policy, None).await.unwrap();
    // The sum, the second feature, its value.
    assert_eq!(got, [1.0, 1.0, 1.0, 5.0, 1.0, 3.0]);
    assert_eq!(cheap.usage.batches(Dispatch::Inline), 0);
    let calls = [Dispatch::Full, Dispatch::Idle].map(|reason| cheap.usage.batches(reason));
    assert_eq!(calls.iter().sum::<u64>(), 4);
    let past = Instant::now().checked_sub(Duration::from_secs(1));
    let late = explained(&cheap, Explain::All, 1);
    let error = batcher.run(&cheap, late, &policy, past).await.unwrap_err();
    assert_eq!(error.code, Code::DeadlineExceeded);
}

#[test]
fn parts_of_large_requests_and_explanations_take_turns_on_threads_of_their_own() {
    let queue = queue(10_000, 1);
    // More rows than a batch has, and more than a millisecond.
    let dear = revision(1, 2, 500_000);
    let policy = policy(8, 0);
    let push = |work: Work| queue.push(&dear, work, &policy, None).unwrap();
    let rows = |count: usize| Work::from(Rows::F64(Matrix::new(vec![1.0; 2 * count], 2).unwrap()));
    let large = push(rows(30));
    let explained = push(explained(&dear, Explain::All, 12));
    let small = [push(rows(1)), push(rows(2))];
    assert_eq!((large.len(), explained.len(), small[0].len()), (4, 2, 1));
    let next = |threads| {
        let (jobs, _) = queue.next_batch(threads).unwrap();
        jobs.iter()
            .map(|job| (job.work.extras.is_some(), job.work.rows.len()))
            .collect::<Vec<_>>()
    };
    // All small ones together.
    assert_eq!(next(Threads::Prompt), [(false, 1), (false, 2)]);
    let turns: Vec<_> = (0..6).flat_map(|_| next(Threads::Bulk)).collect();
    let expected = [
        (false, 8),
        (true, 8),
        (false, 8),
        (true, 4),
        (false, 8),
        (false, 6),
    ];
    assert_eq!(turns, expected);
    assert_eq!(queue.rows(), 0);
    queue.close();
    assert!(queue.next_batch(Threads::Bulk).is_none());
    drop((large, explained, small));
}

#[test]
fn what_would_wait_too_long_is_refused_at_once() {
    let settings = Settings {
        queue_ms_max: 2,
        ..Settings::default()
    };
    let queue = Queue::new(&settings, 2);
    // 1 ms a row, two threads.
    let dear = revision(1, 1, 1_000_000);
    let policy = policy(256, 0);
    let push = |count, deadline| queue.push(&dear, ones(count), &policy, deadline);
    let mut waiting = vec![push(4, None).unwrap()];
    // It waits for 2 ms: no longer than the limit, but longer than its caller.
    let soon = Instant::now() + Duration::from_millis(1);
    let error = push(1, Some(soon)).unwrap_err();
    assert!(error.message.contains("deadline"), "{error}");
    waiting.push(push(1, None).unwrap());
    let error = push(1, None).unwrap_err();
    assert_eq!(error.code, Code::Overloaded);
    assert!(error.message.contains("batch.queue_ms_max = 2"), "{error}");
    // A large request waits for its turn, not for all small ones.
    waiting.push(push(1000, None).unwrap());
    drop(waiting);
}

/// Of a revision whose rows cost 10 µs alone and 1 µs in a batch.
fn gaining(uid: u64) -> Arc<Revision> {
    let revision = revision(uid, 1, 10_000);
    let mut revision = Arc::into_inner(revision).unwrap();
    revision.cost.batch_row_ns = 1_000;
    Arc::new(revision)
}

#[tokio::test]
async fn requests_that_are_there_together_are_one_call() {
    let (batcher, policy) = (batcher(1), policy(4, 0));
    let gaining = [gaining(1), gaining(2)];
    let ask = |of: usize, value: f64| {
        let rows = Rows::F64(Matrix::new(vec![value], 1).unwrap());
        batcher.run(&gaining[of], rows, &policy, None)
    };
    let (a, b, c, d, e, f) = tokio::join!(
        ask(0, 1.0),
        ask(0, 2.0),
        ask(1, 3.0),
        ask(0, 4.0),
        ask(0, 5.0),
        ask(0, 6.0)
    );
    let got: Vec<f64> = [a, b, c, d, e, f]
        .into_iter()
        .flat_map(Result::unwrap)
        .collect();
    assert_eq!(got, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    // Four rows are a call's limit: the fifth opens the next one.
    let calls = |of: usize| gaining[of].usage.batches(Dispatch::Inline);
    assert_eq!((calls(0), calls(1)), (2, 1));
}

#[tokio::test]
async fn what_is_dear_alone_and_cheap_among_others_stays_on_its_thread() {
    let batcher = batcher(1);
    // 10 µs a row alone, 1 µs in a batch: 80 µs and 8, with a limit of 50.
    let gaining = gaining(1);
    let run = |rows, limit_us| {
        let policy = Policy {
            inline_us_max: limit_us,
            ..policy(256, 0)
        };
        let (batcher, gaining) = (&batcher, &gaining);
        async move { batcher.run(gaining, ones(rows), &policy, None).await }
    };
    assert_eq!(run(8, 50).await, Ok(vec![1.0; 8]));
    assert_eq!(gaining.usage.batches(Dispatch::Inline), 1);
    // More than the limit among others, too.
    assert_eq!(run(8, 7).await, Ok(vec![1.0; 8]));
    assert_eq!(gaining.usage.batches(Dispatch::Inline), 1);
}

#[tokio::test]
async fn who_joined_a_call_is_answered_when_it_fails_or_is_given_up() {
    let (batcher, policy) = (batcher(1), policy(64, 0));
    let gaining = gaining(1);
    let ask = |value: f64| {
        let rows = Rows::F64(Matrix::new(vec![value], 1).unwrap());
        batcher.run(&gaining, rows, &policy, None)
    };
    let (good, bad, other) = tokio::join!(ask(1.0), ask(-1.0), ask(2.0));
    assert_eq!((good, other), (Ok(vec![1.0]), Ok(vec![2.0])));
    assert_eq!(bad.unwrap_err().code, Code::Internal);
    // The first one goes away before it has computed.
    let mut first = Box::pin(ask(1.0));
    let polled =
        std::future::poll_fn(|context| std::task::Poll::Ready(first.as_mut().poll(context)));
    assert!(polled.await.is_pending());
    let mut joined = Box::pin(ask(2.0));
    let polled =
        std::future::poll_fn(|context| std::task::Poll::Ready(joined.as_mut().poll(context)));
    assert!(polled.await.is_pending());
    drop(first);
    assert_eq!(joined.await, Ok(vec![2.0]));
}
