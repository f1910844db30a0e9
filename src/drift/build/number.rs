//! A column of numbers: what a first pass keeps of it, where its bins end, and their counts.
//!
//! Bins hold about equally many rows. A value that would fill a bin by itself (zero, mostly) gets one
//! of its own, and so does every value of a column with few different ones. An edge lies midway
//! between two neighbouring values, so that a value read as a 32-bit float is still in its bin.

use super::super::profile::Numbers;

/// A first pass over numbers.
#[derive(Clone, Debug)]
pub struct Sketch {
    bins: usize,
    /// Finite numbers that came.
    count: u64,
    /// Whether an infinity came.
    infinite: bool,
    least: f64,
    greatest: f64,
    mean: f64,
    /// Sum of the squared distances from the mean.
    squares: f64,
    whole: bool,
    /// The different values, ascending, while there are at most [`DISTINCT_MAX`].
    distinct: Option<Vec<f64>>,
    /// A uniform sample of the finite numbers.
    sample: Vec<f64>,
    sample_max: usize,
    random: u64,
}

/// A second pass over numbers.
#[derive(Clone, Debug)]
pub struct Counter(Numbers);

/// Different values up to which they are all known; no column has more bins than that asked for.
const DISTINCT_MAX: usize = 100;
/// Rows from which a column of nothing but different whole numbers is conspicuous.
const ID_MIN: u64 = 1_000;

impl Sketch {
    /// Of no rows; keeps at most `sample_max` numbers.
    pub fn new(sample_max: usize, bins: usize) -> Sketch {
        Sketch {
            bins,
            count: 0,
            infinite: false,
            least: f64::INFINITY,
            greatest: f64::NEG_INFINITY,
            mean: 0.0,
            squares: 0.0,
            whole: true,
            distinct: Some(Vec::new()),
            sample: Vec::new(),
            sample_max,
            // Any start will do: the digits of pi.
            random: 0x243f_6a88_85a3_08d3,
        }
    }

    /// Takes a number; NaN is none.
    pub fn add(&mut self, value: f64) {
        if !value.is_finite() {
            self.infinite |= value.is_infinite();
            return;
        }
        self.count += 1;
        self.least = self.least.min(value);
        self.greatest = self.greatest.max(value);
        self.whole &= value.fract() == 0.0;
        self.moments(value);
        self.note_distinct(value);
        if self.sample.len() < self.sample_max {
            self.sample.push(value);
            return;
        }
        // Vitter's algorithm R: the n-th value takes a place with probability places / n.
        let place = usize::try_from(self.below(self.count)).unwrap_or(usize::MAX);
        if let Some(kept) = self.sample.get_mut(place) {
            *kept = value;
        }
    }

    /// Welford's update of mean and squares.
    fn moments(&mut self, value: f64) {
        let count = self.count as f64;
        let off = value - self.mean;
        self.mean += match off.is_finite() {
            true => off / count,
            // Both are near the largest float.
            false => value / count - self.mean / count,
        };
        self.squares += off * (value - self.mean);
    }

    fn note_distinct(&mut self, value: f64) {
        let Some(distinct) = &mut self.distinct else {
            return;
        };
        if let Err(place) = distinct.binary_search_by(|it| it.total_cmp(&value)) {
            distinct.insert(place, value);
            if distinct.len() > DISTINCT_MAX {
                self.distinct = None;
            }
        }
    }

    /// A uniform number below `bound`, by splitmix64 (Steele, Lea, Flood 2014); its bias, below
    /// `bound` / 2^64, does not matter.
    fn below(&mut self, bound: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        ((u128::from(z) * u128::from(bound)) >> 64) as u64
    }

    /// Inner borders of about so many bins, ascending; at most `2 * bins + 2`.
    pub fn edges(&self, bins: usize) -> Vec<f64> {
        if let Some(distinct) = self.distinct.as_ref().filter(|it| it.len() <= bins) {
            let runs: Vec<Run> = distinct.iter().map(|value| (*value, 1)).collect();
            return edges(&runs, runs.len());
        }
        let mut sample = self.sample.clone();
        sample.sort_unstable_by(f64::total_cmp);
        let runs = sample.chunk_by(|a, b| a == b);
        let runs: Vec<Run> = runs
            .filter_map(|run| Some((*run.first()?, run.len())))
            .collect();
        edges(&runs, bins)
    }

    /// Whether no whole number of many came twice in the sample.
    pub fn is_like_an_id(&self) -> bool {
        if self.count < ID_MIN || !self.whole {
            return false;
        }
        let mut sample = self.sample.clone();
        sample.sort_unstable_by(f64::total_cmp);
        sample.windows(2).all(|pair| pair[0] != pair[1])
    }

    /// Bins for a second pass.
    pub fn counter(self) -> Counter {
        let edges = self.edges(self.bins);
        let std = (self.squares / self.count.max(1) as f64).max(0.0).sqrt();
        Counter(Numbers {
            range: (self.count > 0).then_some([self.least, self.greatest]),
            mean: self.mean,
            // Only numbers near the largest float are so far apart.
            std: if std.is_finite() { std } else { f64::MAX },
            whole: self.whole && !self.infinite && self.count > 0,
            counts: vec![0; edges.len() + 1],
            edges,
        })
    }
}

impl Counter {
    /// Counts a number; whether it was one.
    pub fn add(&mut self, value: f64) -> bool {
        let bin = bin(&self.0.edges, value);
        match self.0.counts.get_mut(bin) {
            Some(count) if !value.is_nan() => {
                *count += 1;
                true
            }
            _ => false,
        }
    }

    pub fn numbers(self) -> Numbers {
        self.0
    }
}

/// The bin of a number that is not NaN.
pub fn bin(edges: &[f64], value: f64) -> usize {
    edges.partition_point(|edge| *edge <= value)
}

/// A value, and how often it came.
type Run = (f64, usize);

/// Borders of bins with about 1 / `bins` of the mass each; `runs` are ascending. A value with that much
/// or more is alone in its bin.
fn edges(runs: &[Run], bins: usize) -> Vec<f64> {
    let total: usize = runs.iter().map(|run| run.1).sum();
    let is_heavy = |run: &Run| run.1 * bins >= total;
    let mut edges = Vec::new();
    let mut place = 0;
    while let Some(run) = runs.get(place) {
        if is_heavy(run) {
            let before = place.checked_sub(1).and_then(|it| runs.get(it));
            edges.extend(alone(before, run.0, runs.get(place + 1)));
            place += 1;
            continue;
        }
        let rest = runs.get(place..).unwrap_or_default();
        let light = rest.iter().take_while(|run| !is_heavy(run)).count();
        let segment = rest.get(..light).unwrap_or_default();
        let mass: usize = segment.iter().map(|run| run.1).sum();
        let share = (mass * bins + total / 2) / total;
        split(segment, share.max(1), &mut edges);
        place += light;
    }
    edges.retain(|edge| edge.is_finite());
    // Neighbours that are both alone share a border.
    edges.dedup();
    edges
}

/// The borders of a value's own bin: midway to its neighbours. Where there is none the bin is as wide
/// on that side as on the other, so that what lies beyond all that was seen has a bin of its own; a
/// constant's bin holds what a 32-bit float makes of it.
fn alone(before: Option<&Run>, value: f64, after: Option<&Run>) -> [f64; 2] {
    let low = before.map(|before| midway(before.0, value));
    let high = after.map(|after| midway(value, after.0));
    let rounding = (value.abs() * f64::from(f32::EPSILON)).max(f64::from(f32::MIN_POSITIVE));
    let width = match (low, high) {
        (Some(low), None) => value - low,
        (None, Some(high)) => high - value,
        _ => rounding,
    };
    // A value next to its neighbour has no width to copy.
    let [below, above] = [value - width, value + width];
    let above = narrow(value, above);
    let next = match is_single(value) {
        true => (value as f32).next_up().into(),
        false => value.next_up(),
    };
    let above = if above > value { above } else { next };
    [low.unwrap_or(below), high.unwrap_or(above)]
}

/// Cuts runs into so many parts of about equal mass.
fn split(runs: &[Run], parts: usize, edges: &mut Vec<f64>) {
    let mass: usize = runs.iter().map(|run| run.1).sum();
    let mut sum = 0;
    let mut cuts = 1;
    for pair in runs.windows(2) {
        sum += pair[0].1;
        if cuts < parts && sum * parts >= cuts * mass {
            edges.push(midway(pair[0].0, pair[1].0));
            cuts = sum * parts / mass + 1;
        }
    }
}

/// A number above `a` and at most `b`, where a < b.
fn midway(a: f64, b: f64) -> f64 {
    let middle = match is_single(b) {
        true => narrow(a, a / 2.0 + b / 2.0),
        false => a / 2.0 + b / 2.0,
    };
    if middle > a && middle <= b { middle } else { b }
}

/// An edge next to a value: of 32 bits where the value is, so that a model that reads 32 bits has the
/// value on the same side of it.
fn narrow(value: f64, edge: f64) -> f64 {
    match is_single(value) {
        true => f64::from(edge as f32),
        false => edge,
    }
}

fn is_single(value: f64) -> bool {
    f64::from(value as f32) == value
}
