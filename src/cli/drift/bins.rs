//! A feature's histograms as shares, in as many columns as there is room for. Counts of any size and
//! lists of any lengths are taken as they come.

use super::super::format::UNKNOWN;
use crate::drift::report::Bins;

/// Heights of a column, in eighths of a character.
const LEVELS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Bins that both histograms have; the shorter one is empty in what it lacks.
pub fn len(bins: &Bins) -> usize {
    bins.reference.len().max(bins.live.len())
}

/// Shares of a histogram of `len` bins, from 0 to 1; all are 0 when nothing was counted.
pub fn shares(counts: &[u64], len: usize) -> Vec<f64> {
    // As floats: a sum of counts may be more than 64 bits hold.
    let sum: f64 = counts.iter().map(|count| *count as f64).sum();
    let share = |index: usize| match counts.get(index) {
        Some(count) if sum > 0.0 => *count as f64 / sum,
        _ => 0.0,
    };
    (0..len).map(share).collect()
}

/// How many neighbouring bins make one column, so that there are `most` columns or fewer.
pub fn per_column(len: usize, most: usize) -> usize {
    len.div_ceil(most.max(1)).max(1)
}

/// The histogram of live rows and that of the reference as one line of characters each, to the same
/// scale; [`UNKNOWN`] where nothing was counted.
pub fn lines(bins: &Bins, most: usize) -> [String; 2] {
    let len = len(bins);
    let per = per_column(len, most);
    let columns = [&bins.live, &bins.reference].map(|counts| {
        let shares = shares(counts, len);
        // Means: the last column may have fewer bins.
        let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
        shares.chunks(per).map(mean).collect::<Vec<f64>>()
    });
    let top = columns.iter().flatten().copied().fold(0.0, f64::max);
    columns.map(|columns| match columns.iter().any(|share| *share > 0.0) {
        true => columns.iter().map(|share| level(share / top)).collect(),
        false => UNKNOWN.to_string(),
    })
}

/// A column of this height, from 0 to 1. What is not empty is seen.
fn level(height: f64) -> char {
    let level = (height * 8.0).ceil().clamp(0.0, 8.0) as usize;
    LEVELS.get(level).copied().unwrap_or(' ')
}
