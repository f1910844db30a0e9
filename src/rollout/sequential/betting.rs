//! Betting: a bounded mean is tested by the wealth of a gambler who bets on it.
//!
//! Exact at any sample size and for any distribution inside the bounds, so it is the test for rare
//! and heavy-tailed money.

use super::e_value_of;

/// The largest share of the wealth at stake. Below 1, so that no observation ruins the gambler.
const BET_MAX: f64 = 0.9;

/// The bets of those who never learn. They carry the wealth while the one who learns is still careful.
const FIXED: [f64; 3] = [0.9, 0.45, 0.225];

/// The one who learns holds back as if this many observations of the largest size seen had already
/// come out even: it keeps the first few rows from being played at full stake.
const CAUTION: f64 = 4.0;

/// Wealth of bettors against "the mean of x in [−1, 1] is at most 0".
///
/// Four play, each `K_t = Π(1 + λ_i·x_i)`: one who learns, with half of the stake, and three with fixed
/// bets, who share the other half. Together they are one bettor with a predictable bet in [0, 0.9].
/// Under the null, at all times, whatever the spread's dependence on the past, the sum reaches `1/α` with
/// a probability of at most `α`. Who learns plays the plug-in of the Kelly bet `μ/(σ²+μ²)`:
/// `λ_i = Σx/(CAUTION·max|x|² + Σx²)` over what came before, clamped to [0, 0.9].
///
/// Source: Waudby-Smith and Ramdas, arXiv:2010.09686 (aGRAPA in appendix B; mixtures of bets in
/// section 4.4); `confseq.betting`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Betting {
    count: u64,
    sum: f64,
    squares: f64,
    largest: f64,
    log_learning: f64,
    log_fixed: [f64; 3],
    log_wealth: f64,
    log_wealth_max: f64,
}

impl Betting {
    /// Plays one observation. `x` is clamped to [−1, 1]; NaN is no observation.
    pub fn push(&mut self, x: f64) {
        if x.is_nan() {
            return;
        }
        self.count += 1;
        // Nothing changes hands, and most rows are like that.
        if x == 0.0 {
            return;
        }
        let x = x.clamp(-1.0, 1.0);
        self.log_learning += (self.bet() * x).ln_1p();
        for (log, bet) in self.log_fixed.iter_mut().zip(FIXED) {
            *log += (bet * x).ln_1p();
        }
        let top = self
            .log_fixed
            .iter()
            .copied()
            .fold(self.log_learning, f64::max);
        let fixed: f64 = self.log_fixed.iter().map(|log| (log - top).exp()).sum();
        let mean = f64::midpoint((self.log_learning - top).exp(), fixed / FIXED.len() as f64);
        self.log_wealth = top + mean.ln();
        self.log_wealth_max = self.log_wealth_max.max(self.log_wealth);
        self.sum += x;
        self.squares += x * x;
        self.largest = self.largest.max(x.abs());
    }

    /// What the one who learns will stake next, in [0, 0.9].
    fn bet(&self) -> f64 {
        let spread = CAUTION * self.largest * self.largest + self.squares;
        if spread <= 0.0 {
            return 0.0;
        }
        (self.sum / spread).clamp(0.0, BET_MAX)
    }

    /// Observations so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// `ln K_t` now.
    #[must_use]
    pub fn log_wealth(&self) -> f64 {
        self.log_wealth
    }

    /// The largest wealth so far, at least 1: once at `1/α` it stays there, which is what
    /// anytime-valid means.
    #[must_use]
    pub fn e_value(&self) -> f64 {
        e_value_of(self.log_wealth_max)
    }

    /// How many observations in all bring the wealth to `1/alpha`, when it grows from now on as the
    /// mean and the spread so far promise at the best allowed bet. `None` when the mean is not above
    /// 0; the count itself when it is there already.
    #[must_use]
    pub fn needed(&self, alpha: f64) -> Option<f64> {
        let count = self.count as f64;
        if self.log_wealth_max >= -alpha.ln() {
            return Some(count);
        }
        if self.sum <= 0.0 {
            return None;
        }
        let bet = (self.sum / self.squares).clamp(0.0, BET_MAX);
        let growth = (bet * self.sum - 0.5 * bet * bet * self.squares) / count;
        let missing = -alpha.ln() - self.log_wealth;
        (growth > 0.0).then(|| (count + missing / growth).ceil())
    }
}
