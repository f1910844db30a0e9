//! A Poisson bootstrap over counted cells, at a cost that does not grow with the rows.
//!
//! Rows that a statistic can't tell apart share a cell; resampling them one by one is the same as
//! drawing the cell's total. With a fixed seed, so that two looks at the same rows say the same.

/// Rows of one cell: their number, as far as the variance of a draw needs it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cell {
    weight: f64,
    weight2: f64,
}

/// A small generator of uniform and Poisson numbers: splitmix64 (Steele, Lea, Flood, OOPSLA 2014).
/// Not for secrets.
pub(super) struct Random {
    state: u64,
}

/// The same for everyone: intervals must not depend on who asks.
const SEED: u64 = 0x6865_6467_6572_6f77;

/// From this mean on, a Poisson draw is a rounded normal one: the interval of hundreds of draws can't
/// tell them apart.
const NORMAL_FROM: f64 = 24.0;

impl Cell {
    /// Adds a row.
    pub fn push(&mut self, weight: f64) {
        self.weight += weight;
        self.weight2 += weight * weight;
    }

    /// `Σw` as it was observed.
    pub fn observed(&self) -> f64 {
        self.weight
    }

    /// `Σw` in a resample: mean `Σw`, variance `Σw²`, as with one Poisson draw per row (and exactly
    /// that with equal weights).
    pub fn draw(&self, random: &mut Random) -> f64 {
        if self.weight <= 0.0 {
            return 0.0;
        }
        let scale = self.weight2 / self.weight;
        scale * random.poisson(self.weight / scale)
    }
}

impl Random {
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in (0, 1).
    fn uniform(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    fn poisson(&mut self, mean: f64) -> f64 {
        if mean >= NORMAL_FROM {
            let angle = 2.0 * std::f64::consts::PI * self.uniform();
            let normal = (-2.0 * self.uniform().ln()).sqrt() * angle.cos();
            return (mean + mean.sqrt() * normal).round().max(0.0);
        }
        // Knuth's product of uniforms.
        let limit = (-mean).exp();
        let (mut product, mut count) = (self.uniform(), 0.0);
        while product > limit {
            product *= self.uniform();
            count += 1.0;
        }
        count
    }
}

/// The 95% percentile interval of `statistic` over `repetitions` resamples. Resamples where it is NaN
/// are left out; with none left, the interval is NaN.
pub(super) fn interval(
    repetitions: usize,
    mut statistic: impl FnMut(&mut Random) -> f64,
) -> (f64, f64) {
    let mut random = Random { state: SEED };
    let mut values: Vec<f64> = (0..repetitions)
        .map(|_| statistic(&mut random))
        .filter(|value| !value.is_nan())
        .collect();
    values.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| {
        let index = (share * values.len().saturating_sub(1) as f64).round() as usize;
        values.get(index).copied().unwrap_or(f64::NAN)
    };
    (at(0.025), at(0.975))
}
