//! Triton's statistics of loaded revisions, read from their usage.

use std::sync::atomic::Ordering;

use super::{pb, version};
use crate::error::{Code, Error};
use crate::model::revision::Revision;
use crate::model::usage::{Dispatch, Histogram, Outcome, Protocol, Usage};
use crate::serve::Server;

/// The statistics of one loaded revision, of a slot's, or of all slots'.
///
/// # Errors
/// An unknown model, or a version that is not loaded.
pub fn statistics(
    server: &Server,
    request: &pb::ModelStatisticsRequest,
) -> Result<pb::ModelStatisticsResponse, Error> {
    let version = version(&request.version)?;
    if request.name.is_empty() && version.is_some() {
        return Err(Error::invalid("a version is given without a model's name"));
    }
    let slots = match request.name.is_empty() {
        true => server.registry.slots().values().cloned().collect(),
        false => vec![server.slot(&request.name)?],
    };
    let mut model_stats = Vec::new();
    for slot in slots {
        let roles = slot.roles();
        let resident = roles.iter().flat_map(|roles| roles.resident());
        let wanted = resident.filter(|it| version.is_none_or(|id| id == it.id));
        model_stats.extend(wanted.map(|revision| of_revision(revision)));
    }
    match (version, model_stats.is_empty()) {
        (Some(id), true) => Err(Error::new(
            Code::NotFound,
            format!("model \"{}\" has no loaded revision {id}", request.name),
        )),
        _ => Ok(pb::ModelStatisticsResponse { model_stats }),
    }
}

fn of_revision(revision: &Revision) -> pb::ModelStatistics {
    let usage = &revision.usage;
    let calls = Dispatch::ALL.iter().map(|reason| usage.batches(*reason));
    pb::ModelStatistics {
        name: revision.slot.clone(),
        version: revision.id.to_string(),
        last_inference: usage.last_inference_ms.load(Ordering::Relaxed),
        inference_count: usage.rows_computed.load(Ordering::Relaxed),
        execution_count: calls.sum(),
        inference_stats: Some(of_requests(usage)),
        batch_stats: of_batches(usage),
        memory_usage: vec![pb::MemoryUsage {
            r#type: "CPU".to_string(),
            id: 0,
            byte_size: revision.engine.memory_bytes() as u64,
        }],
    }
}

fn of_requests(usage: &Usage) -> pb::InferStatistics {
    let rows = |count: u64| Some(pb::StatisticDuration { count, ns: 0 });
    let failed = Outcome::ALL.into_iter().filter(|it| *it != Outcome::Ok);
    let success = sum(usage, [Outcome::Ok].into_iter());
    // As in Triton, each part counts every request that succeeded, those too that waited for
    // nothing, so the counts agree while others are on their way: perf_analyzer insists on both.
    let part = |histogram: &Histogram| {
        Some(pb::StatisticDuration {
            count: success.count,
            ns: histogram.snapshot().sum_ns,
        })
    };
    pb::InferStatistics {
        success: Some(success),
        fail: Some(sum(usage, failed)),
        queue: part(&usage.queue),
        compute_input: part(&usage.decode),
        compute_infer: part(&usage.infer),
        compute_output: part(&usage.encode),
        cache_hit: rows(usage.cache_hits.load(Ordering::Relaxed)),
        cache_miss: rows(usage.cache_misses.load(Ordering::Relaxed)),
    }
}

fn of_batches(usage: &Usage) -> Vec<pb::InferBatchStatistics> {
    let mut batches = Vec::new();
    for (exponent, timed) in usage.batch_rows.iter().enumerate() {
        let (count, ns) = timed.get();
        if count > 0 {
            batches.push(pb::InferBatchStatistics {
                batch_size: 1 << exponent,
                compute_infer: Some(pb::StatisticDuration { count, ns }),
                ..pb::InferBatchStatistics::default()
            });
        }
    }
    batches
}

/// The requests that ended in these ways, both protocols together.
fn sum(usage: &Usage, outcomes: impl Iterator<Item = Outcome>) -> pb::StatisticDuration {
    let mut sum = pb::StatisticDuration::default();
    for outcome in outcomes {
        for protocol in Protocol::ALL {
            let one = duration(usage.requests(protocol, outcome));
            sum.count += one.count;
            sum.ns += one.ns;
        }
    }
    sum
}

fn duration(histogram: &Histogram) -> pb::StatisticDuration {
    let snapshot = histogram.snapshot();
    pb::StatisticDuration {
        count: snapshot.count(),
        ns: snapshot.sum_ns,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn requests_of_both_protocols_are_counted_together() {
        let usage = Usage::default();
        let record = |protocol, outcome| {
            let us = Duration::from_micros(1);
            usage.requests(protocol, outcome).record(us);
        };
        record(Protocol::Http, Outcome::Ok);
        record(Protocol::Grpc, Outcome::Ok);
        record(Protocol::Grpc, Outcome::Shed);
        let got = of_requests(&usage);
        let expected = |count| pb::StatisticDuration {
            count,
            ns: count * 1000,
        };
        assert_eq!(got.success, Some(expected(2)));
        assert_eq!(got.fail, Some(expected(1)));
    }

    #[test]
    fn each_part_counts_what_succeeded_whatever_it_took_part_in() {
        let usage = Usage::default();
        let us = Duration::from_micros(1);
        for _ in 0..2 {
            usage.requests(Protocol::Http, Outcome::Ok).record(us);
        }
        usage.queue.record(us);
        for _ in 0..3 {
            usage.decode.record(us);
        }
        let got = of_requests(&usage);
        let expected = |ns| Some(pb::StatisticDuration { count: 2, ns });
        assert_eq!(got.queue, expected(1000));
        assert_eq!(got.compute_input, expected(3000));
        assert_eq!(got.compute_infer, expected(0));
    }

    #[test]
    fn batches_are_told_apart_by_size() {
        let usage = Usage::default();
        usage.record_call(1, Dispatch::Inline, Duration::from_nanos(5));
        usage.record_call(3, Dispatch::Idle, Duration::from_nanos(7));
        let sizes: Vec<u64> = of_batches(&usage).iter().map(|it| it.batch_size).collect();
        assert_eq!(sizes, [1, 4]);
    }
}
