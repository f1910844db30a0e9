//! Streams of pairs with a known truth, and what gates and naive peeking make of them.
//!
//! Shared by `make simulate` (in full) and the unit tests of `rollout::gate` (a few repetitions); the
//! parent module brings the names of `rollout` into scope.

use super::{
    Costs, Design, Finding, Gate, Judged, Mean, Measure, Pair, Scored, Task, Trial, Verdict,
    beta_binomial_e_value, delong, rho2_one_sided,
};

/// Error budget of every scenario.
pub const ALPHA: f64 = 0.05;

/// One-sided 5% quantile of the normal distribution: what a naive look compares with.
const Z_NAIVE: f64 = 1.645;

/// Rows (or positives, or discordant pairs) at which the sequences are tightest.
const T_STAR: f64 = 2_000.0;
const T_STAR_POSITIVES: f64 = 100.0;

/// What happened in one repetition: when each procedure would have promoted, if ever.
#[derive(Clone, Copy, Debug, Default)]
pub struct Run {
    pub naive: Option<u64>,
    pub ours: Option<u64>,
}

/// Two calibrated probabilities with 1% positives, correlated noise of 0.9, and AUC of 0.921 for the
/// champion.
#[derive(Clone, Copy, Debug)]
pub struct Ranks {
    pub measure: Measure,
    pub rows: u64,
    pub every: u64,
    pub positives_min: u64,
    /// The challenger's distance between the classes in standard deviations: `√2·Φ⁻¹(AUC)`.
    pub distance: f64,
}

/// Distances for AUC 0.921, 0.935 and 0.948.
pub const DISTANCE_EQUAL: f64 = 1.9967;
pub const DISTANCE_BETTER: f64 = 2.1412;
pub const DISTANCE_MUCH_BETTER: f64 = 2.2993;

/// Money: 2% of rows differ, by lognormal amounts with deviation `spread` of the logarithm, in the
/// challenger's favour with probability `tilt`. The limit is the amounts' 99% quantile.
#[derive(Clone, Copy, Debug)]
pub struct Money {
    pub rows: u64,
    pub tilt: f64,
    pub spread: f64,
}

/// Discordant positives, the challenger right with probability `better`, a look every 10.
#[derive(Clone, Copy, Debug)]
pub struct Discordant {
    pub pairs: u64,
    pub better: f64,
}

/// Uniform and normal numbers: splitmix64.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x2545_f491_4f6c_dd1d))
    }

    pub fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (((z ^ (z >> 31)) >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    pub fn normal(&mut self) -> f64 {
        let angle = 2.0 * std::f64::consts::PI * self.uniform();
        (-2.0 * self.uniform().ln()).sqrt() * angle.cos()
    }
}

/// A design with one gate, as all scenarios use it.
pub fn design(measure: Measure, limit: f64) -> Design {
    Design {
        task: Task::Binary { threshold: 0.5 },
        gates: vec![Gate {
            measure,
            bound: 0.0,
        }],
        costs: Costs {
            false_positive: 1.0,
            false_negative: 0.0,
            amount_rate: 1.0,
            limit,
        },
        alpha: ALPHA,
        t_star: T_STAR,
        t_star_positives: T_STAR_POSITIVES,
    }
}

pub fn pair(champion: f64, challenger: f64, positive: bool, amount: f64) -> Pair {
    let scored = |score| Scored {
        score,
        right: false,
    };
    Pair {
        champion: scored(champion),
        challenger: scored(challenger),
        label: f64::from(u8::from(positive)),
        amount,
        weight: 1.0,
    }
}

impl Ranks {
    /// The trial's own gate; its floor of 50 positives applies whatever `positives_min` says.
    pub fn run(&self, random: &mut Random) -> Run {
        let mut trial = Trial::new(design(self.measure, 1.0));
        let (mut run, mut positives) = (Run::default(), 0);
        let t_star = match self.measure {
            Measure::Auc => T_STAR_POSITIVES,
            _ => T_STAR,
        };
        for row in 1..=self.rows {
            let pair = self.pair(random);
            positives += u64::from(pair.label > 0.5);
            trial.push(pair);
            if row % self.every != 0 {
                continue;
            }
            let finding = &trial.look()[0];
            if naive_passes(finding, t_star) && positives >= self.positives_min {
                run.naive.get_or_insert(row);
            }
            if finding.verdict == Verdict::Pass {
                run.ours = Some(row);
                run.naive.get_or_insert(row);
                break;
            }
        }
        run
    }

    /// The same sequence without the floor, from `positives_min` on: why there is a floor.
    pub fn run_without_floor(&self, random: &mut Random) -> Run {
        let rho2 = rho2_one_sided(ALPHA, T_STAR_POSITIVES);
        let mut rows = Vec::new();
        let mut run = Run::default();
        for row in 1..=self.rows {
            let pair = self.pair(random);
            rows.push(Judged {
                champion: pair.champion.score,
                challenger: pair.challenger.score,
                positive: pair.label > 0.5,
                weight: 1.0,
            });
            if row % self.every != 0 {
                continue;
            }
            let Some(compared) = delong(&rows) else {
                continue;
            };
            if compared.positives < self.positives_min || compared.variance <= 0.0 {
                continue;
            }
            let mean = Mean {
                estimate: compared.difference,
                se: compared.variance.sqrt(),
                t: compared.positives as f64,
            };
            if mean.estimate > Z_NAIVE * mean.se {
                run.naive.get_or_insert(row);
            }
            if mean.lower(ALPHA, rho2) > 0.0 {
                run.ours.get_or_insert(row);
            }
        }
        run
    }

    fn pair(&self, random: &mut Random) -> Pair {
        let positive = random.uniform() < 0.01;
        let (shared, own) = (random.normal(), [random.normal(), random.normal()]);
        let noise = own.map(|own| 0.9f64.sqrt() * shared + 0.1f64.sqrt() * own);
        let score = |distance: f64, noise: f64| {
            let signal = distance * f64::from(u8::from(positive)) + noise;
            // The log odds of two normal distributions and 1% positives.
            let odds = distance * (signal - 0.5 * distance) + (0.01f64 / 0.99).ln();
            1.0 / (1.0 + (-odds).exp())
        };
        let (champion, challenger) = (
            score(DISTANCE_EQUAL, noise[0]),
            score(self.distance, noise[1]),
        );
        pair(champion, challenger, positive, f64::NAN)
    }
}

impl Money {
    /// The `cost` gate, which bets at every row; the naive test looks every 100.
    pub fn run(&self, random: &mut Random) -> Run {
        let limit = (2.326 * self.spread).exp();
        let mut trial = Trial::new(design(Measure::Cost, limit));
        let mut run = Run::default();
        for row in 1..=self.rows {
            trial.push(self.pair(random));
            if row % 100 != 0 {
                continue;
            }
            let finding = &trial.look()[0];
            if naive_passes(finding, T_STAR) {
                run.naive.get_or_insert(row);
            }
            if finding.verdict == Verdict::Pass {
                run.ours.get_or_insert(row);
            }
        }
        run
    }

    fn pair(&self, random: &mut Random) -> Pair {
        if random.uniform() >= 0.02 {
            return pair(0.1, 0.1, false, f64::NAN);
        }
        let amount = (self.spread * random.normal()).exp();
        if random.uniform() < self.tilt {
            pair(0.1, 0.9, true, amount)
        } else {
            pair(0.9, 0.1, true, amount)
        }
    }
}

impl Discordant {
    /// The `recall_fpr` gate, beside one negative that both get right.
    pub fn run(&self, random: &mut Random) -> Run {
        let mut trial = Trial::new(design(Measure::RecallFpr, 1.0));
        trial.push(pair(0.1, 0.1, false, f64::NAN));
        self.play(random, |better| {
            for better in better {
                let (champion, challenger) = if *better { (0.1, 0.9) } else { (0.9, 0.1) };
                trial.push(pair(champion, challenger, true, f64::NAN));
            }
            trial.look()[0].verdict == Verdict::Pass
        })
    }

    /// The `recall_fpr` gate with the discordant pairs spread over both classes.
    pub fn run_both_classes(&self, random: &mut Random) -> Run {
        let mut trial = Trial::new(design(Measure::RecallFpr, 1.0));
        let mut positive = false;
        self.play(random, |better| {
            for better in better {
                positive = !positive;
                let (right, wrong) = if positive { (0.9, 0.1) } else { (0.1, 0.9) };
                let (champion, challenger) = if *better {
                    (wrong, right)
                } else {
                    (right, wrong)
                };
                trial.push(pair(champion, challenger, positive, f64::NAN));
            }
            trial.look()[0].verdict == Verdict::Pass
        })
    }

    /// The two-sided e-value alone, in either direction, which is what the reference simulated.
    pub fn run_two_sided(&self, random: &mut Random) -> Run {
        let (mut b, mut c) = (0.0, 0.0);
        self.play(random, |better| {
            let wins = better.iter().filter(|better| **better).count() as f64;
            b += wins;
            c += better.len() as f64 - wins;
            beta_binomial_e_value(b, c, 10.0) >= 1.0 / ALPHA
        })
    }

    /// `passes` takes the pairs since the last look: whether the challenger was the right one.
    fn play(&self, random: &mut Random, mut passes: impl FnMut(&[bool]) -> bool) -> Run {
        let (mut run, mut lead) = (Run::default(), 0.0);
        for look in 1..=self.pairs / 10 {
            let pairs: [bool; 10] = std::array::from_fn(|_| random.uniform() < self.better);
            let wins = pairs.iter().filter(|better| **better).count() as f64;
            lead += 2.0 * wins - 10.0;
            let count = 10 * look;
            // 1.96: two-sided, as the reference had it.
            if f64::abs(lead) > 1.96 * (count as f64).sqrt() {
                run.naive.get_or_insert(count);
            }
            if passes(&pairs) {
                run.ours.get_or_insert(count);
            }
        }
        run
    }
}

/// The fixed-n test at this look: the standard error is taken back out of the interval.
fn naive_passes(finding: &Finding, t_star: f64) -> bool {
    let unit = Mean {
        estimate: 0.0,
        se: 1.0,
        t: finding.count as f64,
    };
    let factor = unit.radius_one_sided(ALPHA, rho2_one_sided(ALPHA, t_star));
    let se = (finding.estimate - finding.lower) / factor;
    finding.estimate > Z_NAIVE * se
}
