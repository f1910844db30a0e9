//! When requests are to be sent: phases of a run, and in the open loop arrivals as a Poisson process
//! has them. Times are nanoseconds since the run's start. Pure.

/// A part of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Phase {
    /// Requests per second; `None` in the closed loop.
    pub rate: Option<f64>,
    pub start_ns: u64,
    pub end_ns: u64,
}

/// A request of the open loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// When it is to be sent.
    pub at_ns: u64,
    /// The index of its phase.
    pub phase: usize,
}

/// Arrivals of all phases, one after the other.
#[derive(Debug)]
pub struct Arrivals {
    phases: Vec<Phase>,
    random: Random,
    next: Option<Arrival>,
    /// The time of `next`, exactly: sums of rounded gaps would drift.
    at_ns: f64,
}

/// SplitMix64 (Steele, Lea and Flood, 2014): what a seed gives stays the same for ever.
#[derive(Clone, Copy, Debug)]
struct Random(u64);

impl Phase {
    /// Seconds that it takes.
    pub fn seconds(&self) -> f64 {
        (self.end_ns - self.start_ns) as f64 / 1e9
    }
}

impl Arrivals {
    /// Arrivals of phases that follow each other; those without a rate have none.
    pub fn new(phases: Vec<Phase>, seed: u64) -> Arrivals {
        let mut arrivals = Arrivals {
            phases,
            random: Random(seed),
            next: None,
            at_ns: 0.0,
        };
        arrivals.enter(0);
        arrivals
    }

    /// The next one.
    pub fn next(&self) -> Option<Arrival> {
        self.next
    }

    /// Goes on to the one after the next.
    pub fn advance(&mut self) {
        if let Some(next) = self.next {
            self.draw(next.phase);
        }
    }

    fn enter(&mut self, phase: usize) {
        self.next = None;
        if let Some(entered) = self.phases.get(phase) {
            self.at_ns = entered.start_ns as f64;
            self.draw(phase);
        }
    }

    /// Gaps have no memory, so a phase starts with a gap of its own whenever the one before ended.
    fn draw(&mut self, index: usize) {
        let phase = self.phases[index];
        let rate = phase.rate.unwrap_or(0.0);
        self.at_ns += self.random.exponential() * 1e9 / rate;
        // Without a rate the gap is infinite.
        if self.at_ns >= phase.end_ns as f64 {
            return self.enter(index + 1);
        }
        self.next = Some(Arrival {
            at_ns: self.at_ns as u64,
            phase: index,
        });
    }
}

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A draw of the exponential distribution with mean 1: -ln(u), with u in (0, 1].
    fn exponential(&mut self) -> f64 {
        let uniform = ((self.next() >> 11) + 1) as f64 / (1_u64 << 53) as f64;
        -uniform.ln()
    }
}
