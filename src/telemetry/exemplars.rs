//! Exemplars in the exposition: a traced request behind its bucket's count. The library can write
//! only those of histograms that it counts itself, so they are added to the text that it wrote.

use std::fmt::Write as _;
use std::time::UNIX_EPOCH;

use crate::model::usage::{BOUNDS, Exemplar, Exemplars};

/// Of the exposed buckets of one histogram, the traced request that each has; empty without any.
pub type Examples = Vec<Option<Exemplar>>;

/// The examples of a histogram of which every `step`th bound is exposed, and the infinite one.
pub fn examples(exemplars: &Exemplars, step: usize) -> Examples {
    let bounds = (0..BOUNDS).step_by(step);
    let last = bounds.clone().next_back().unwrap_or(0);
    let exposed = bounds.map(|first| exemplars.newest((first + 1).saturating_sub(step)..=first));
    exposed
        .chain([exemplars.newest(last + 1..=BOUNDS)])
        .collect()
}

/// Adds examples to the buckets of the histogram `name`, given in the order in which its series are
/// written, each with `exposed` buckets.
pub fn add(text: String, name: &str, exposed: usize, series: &[Examples]) -> String {
    if series.iter().all(Vec::is_empty) {
        return text;
    }
    let bucket = format!("{name}_bucket{{");
    let mut out = String::with_capacity(text.len() + 128 * exposed * series.len());
    let mut count = 0;
    // Line ends within labels are escaped.
    for line in text.split_inclusive('\n') {
        if !line.starts_with(&bucket) {
            out.push_str(line);
            continue;
        }
        let examples = series.get(count / exposed.max(1));
        let example = examples.and_then(|it| it.get(count % exposed.max(1)));
        count += 1;
        out.push_str(line.trim_end_matches('\n'));
        if let Some(Some(example)) = example {
            write(&mut out, example);
        }
        out.push('\n');
    }
    out
}

/// ` # {trace_id="…",span_id="…"} seconds time`.
fn write(out: &mut String, example: &Exemplar) {
    let at = example.at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let hex = |out: &mut String, bytes: &[u8]| {
        for byte in bytes {
            // A text takes everything.
            let _written = write!(out, "{byte:02x}");
        }
    };
    out.push_str(" # {trace_id=\"");
    hex(out, &example.trace);
    out.push_str("\",span_id=\"");
    hex(out, &example.span);
    let seconds = example.duration.as_secs_f64();
    let _written = write!(out, "\"}} {seconds} {:.3}", at.as_secs_f64());
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::usage::{Outcome, Protocol, Usage};

    fn usage(durations_us: &[u64]) -> Usage {
        let usage = Usage::default();
        for us in durations_us {
            let exemplar = Exemplar {
                duration: Duration::from_micros(*us),
                trace: [0xab; 16],
                span: [1; 8],
                at: UNIX_EPOCH + Duration::from_millis(1_500),
            };
            usage.exemplify(Protocol::Http, Outcome::Ok, exemplar);
        }
        usage
    }

    #[test]
    fn every_bucket_is_exposed_once() {
        let usage = usage(&[10, 11, 13, 100_000_000]);
        let exemplars = usage.exemplars(Protocol::Http, Outcome::Ok).unwrap();
        let found = examples(exemplars, 2);
        assert_eq!(found.len(), BOUNDS / 2 + 1);
        let us: Vec<_> = found
            .iter()
            .map(|it| it.map(|it| it.duration.as_micros()))
            .collect();
        assert_eq!(us[..2], [Some(10), us[1]]);
        // Both have their place in the second one; the newest is told.
        assert!([Some(11), Some(13)].contains(&us[1]));
        assert_eq!(us[BOUNDS / 2], Some(100_000_000));
        assert!(us[2..BOUNDS / 2].iter().all(Option::is_none));
    }

    #[test]
    fn an_example_stands_behind_its_buckets_count() {
        let usage = usage(&[10]);
        let exemplars = usage.exemplars(Protocol::Http, Outcome::Ok).unwrap();
        let series = [Vec::new(), examples(exemplars, 2)];
        let text = "x_sum 1\nx_bucket{le=\"1\"} 1\nx_bucket{le=\"+Inf\"} 1\nx_bucket{le=\"1\"} 2\nx_bucket{le=\"+Inf\"} 2\n# EOF\n";
        let found = add(text.to_string(), "x", 2, &series);
        let trace = "ab".repeat(16);
        let expected = text.replace(
            "x_bucket{le=\"1\"} 2\n",
            &format!(
                "x_bucket{{le=\"1\"}} 2 # {{trace_id=\"{trace}\",span_id=\"0101010101010101\"}} 0.00001 1.500\n"
            ),
        );
        assert_eq!(found, expected);
        assert_eq!(add(text.to_string(), "x", 2, &[Vec::new()]), text);
    }
}
