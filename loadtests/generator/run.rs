//! A run: one thread, one event loop, all connections. It owns what is due when, and counts what
//! became of it; `exchange` has what happens on the connections.

use std::collections::VecDeque;
use std::error::Error;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use memchr::memmem::Finder;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event};
use rustix::time::{ClockId, clock_gettime};

use super::connection::{Connection, Request};
use super::http2;
use super::options::{Options, Protocol};
use super::pin::pin;
use super::plan::{phases, request};
use super::schedule::{Arrival, Arrivals, Phase};
use super::socket::Target;
use super::tally::{Interval, Intervals, Tally};

/// A run. Times are in ns since `origin`.
pub struct Run {
    pub protocol: Protocol,
    pub epoll: OwnedFd,
    pub target: Target,
    pub request: Request,
    pub origin: Instant,
    pub connections: Vec<Connection>,
    /// Connections without a request, longest idle first: all are used alike. One that is closed
    /// stays in, and is passed over.
    pub idle: VecDeque<usize>,
    /// Connections to be opened again, and when.
    pub retries: VecDeque<(u64, usize)>,
    pub retry_ns: u64,
    pub mode: Mode,
    /// Whether requests are sent, and what fails counts.
    pub is_running: bool,
    pub spins: bool,
    /// The first is the warm-up, which does not count.
    pub phases: Vec<Phase>,
    /// The index of the phase that it is time for; behind the last when all are over.
    pub current: usize,
    pub tallies: Vec<Tally>,
    pub intervals: Option<Intervals>,
    pub in_flight: usize,
    pub last_answer_ns: u64,
    /// Processor time and time at the end of the warm-up.
    pub counted_since: Option<(Duration, Instant)>,
    pub kept: Kept,
    /// What every good answer's body has to hold.
    pub expected: Option<Finder<'static>>,
    pub buffer: Vec<u8>,
    pub events: Vec<Event>,
}

/// When requests are sent.
pub enum Mode {
    /// As soon as the last is answered, up to a number that counts.
    Closed { requests: Option<u64> },
    /// When they arrive; those that find no free connection wait.
    Open {
        arrivals: Arrivals,
        waiting: VecDeque<Arrival>,
        waiting_max: usize,
    },
}

/// The first answer's body.
pub enum Kept {
    Not,
    /// The next request's is kept.
    Next,
    /// A request is on its way.
    Coming,
    Whole(Vec<u8>),
}

/// What became of a run.
pub struct Outcomes {
    /// Without the warm-up.
    pub phases: Vec<(Phase, Tally)>,
    pub intervals: Option<(u64, Vec<Interval>)>,
    /// Seconds that count.
    pub seconds: f64,
    /// Share of a core's time that the generator took.
    pub core_share: f64,
}

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Bytes that are read at once.
const BUFFER: usize = 256 << 10;
/// Events that are taken at once.
const EVENTS: usize = 256;
/// Connections that are being opened at the same time: fewer than the shortest usual backlog.
const CONNECTING_MAX: usize = 64;
/// For the first connection to be there.
const SET_UP: Duration = Duration::from_secs(2);
/// Between attempts to open a lost connection; with many connections longer, so that all together
/// try a thousand times per second at the most.
const RETRY_NS: u64 = 10_000_000;
const RETRY_NS_PER_CONNECTION: u64 = 1_000_000;
/// How long before an arrival the thread stops to sleep: the kernel may wake it that late.
const AWAKE_NS: u64 = 100_000;
/// How long answers are waited for after the last phase of the open loop.
const DRAIN_NS: u64 = 5_000_000_000;
/// How long a run by number of requests goes on without any answer.
const STALL_NS: u64 = 60_000_000_000;

impl Run {
    /// Prepares a run.
    ///
    /// # Errors
    /// What is wrong with the options.
    pub fn new(options: &Options) -> Result<Run> {
        if let Some(core) = options.core {
            pin(core)?;
        }
        let target = match (&options.address, &options.unix) {
            (Some(address), _) => Target::tcp(address)?,
            (None, Some(path)) => Target::unix(path)?,
            (None, None) => return Err("expected --address or --unix".into()),
        };
        let phases = phases(options);
        let warm_ns = phases[0].end_ns;
        let tallies = phases.iter().map(|_| Tally::new());
        let intervals = options.interval_ms.map(|ms| {
            let width_ns = ms.saturating_mul(1_000_000);
            Intervals::new(warm_ns, width_ns)
        });
        let mode = match options.rate.is_empty() {
            true => Mode::Closed {
                requests: options.requests,
            },
            false => Mode::Open {
                arrivals: Arrivals::new(phases.clone(), options.seed),
                waiting: VecDeque::new(),
                waiting_max: options.waiting_max,
            },
        };
        Ok(Run {
            protocol: options.protocol,
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            target,
            request: request(options)?,
            origin: Instant::now(),
            connections: (0..options.connections).map(Connection::new).collect(),
            idle: VecDeque::new(),
            retries: VecDeque::new(),
            retry_ns: RETRY_NS.max(u64::from(options.connections) * RETRY_NS_PER_CONNECTION),
            mode,
            is_running: false,
            spins: options.spin,
            current: 0,
            tallies: tallies.collect::<std::result::Result<_, _>>()?,
            phases,
            intervals: intervals.transpose()?,
            in_flight: 0,
            last_answer_ns: 0,
            counted_since: None,
            kept: match options.answer {
                Some(_) => Kept::Next,
                None => Kept::Not,
            },
            expected: expected(options)?,
            buffer: vec![0; BUFFER],
            events: Vec::with_capacity(EVENTS),
        })
    }

    /// Opens the connections. Those that cannot be opened are tried again during the run.
    ///
    /// # Errors
    /// When not one could be opened.
    pub fn set_up(&mut self) -> Result<()> {
        let end_ns = SET_UP.as_nanos() as u64;
        let mut started = 0;
        loop {
            let now = self.now();
            let open = self.connections.iter().filter(|it| it.is_free()).count();
            if open == self.connections.len() || (now > end_ns && open > 0) {
                return Ok(());
            }
            if now > end_ns {
                return Err(format!("cannot connect to {}", self.target).into());
            }
            let connecting = self.connections.iter().filter(|it| it.is_connecting());
            let most = started + CONNECTING_MAX.saturating_sub(connecting.count());
            while started < most.min(self.connections.len()) {
                self.connect(started);
                started += 1;
            }
            self.retry(now);
            self.wait(Some(1_000_000))?;
        }
    }

    /// Sends requests until the run is over.
    ///
    /// # Errors
    /// When the system does not give events.
    pub fn drive(&mut self) -> Result<()> {
        self.origin = Instant::now();
        self.retries.iter_mut().for_each(|(at, _)| *at = 0);
        self.is_running = true;
        self.advance(0);
        for _ in 0..self.idle.len() {
            if let Some(index) = self.take_idle() {
                self.go_on(index, self.now());
            }
        }
        loop {
            let now = self.now();
            self.advance(now);
            if self.is_over(now) {
                return Ok(());
            }
            self.take_arrivals();
            self.retry(now);
            let sleep_ns = self.sleep_ns(self.now());
            self.wait(sleep_ns)?;
        }
    }

    /// The first answer's body, when it was asked for and came.
    pub fn first_answer(&self) -> Option<&[u8]> {
        match (&self.kept, self.protocol) {
            (Kept::Whole(body), Protocol::Http) => Some(body),
            (Kept::Whole(body), Protocol::Grpc) => body.get(http2::PREFIX..),
            _ => None,
        }
    }

    /// What became of it.
    pub fn into_outcome(mut self) -> Outcomes {
        let now = self.now();
        let (used, since) = self.counted_since.unwrap_or((used(), Instant::now()));
        let seconds = since.elapsed().as_secs_f64();
        let core_share = (used_since(used)) / seconds.max(1e-9);
        for in_flight in self.connections.iter().filter_map(|it| it.in_flight) {
            self.tallies[in_flight.phase].unfinished += 1;
        }
        if let Mode::Open { waiting, .. } = &self.mode {
            for arrival in waiting {
                self.tallies[arrival.phase].unfinished += 1;
            }
        }
        let warm_ns = self.phases[0].end_ns;
        let phases: Vec<_> = self
            .phases
            .into_iter()
            .map(|phase| Phase {
                // Of a run by number of requests.
                end_ns: phase.end_ns.min(now.max(phase.start_ns)),
                ..phase
            })
            .zip(self.tallies)
            .skip(1)
            .collect();
        Outcomes {
            seconds: phases.iter().map(|(phase, _)| phase.seconds()).sum(),
            phases,
            intervals: self.intervals.map(|it| (warm_ns, it.finish(now))),
            core_share,
        }
    }

    /// The time.
    pub fn now(&self) -> u64 {
        self.origin.elapsed().as_nanos() as u64
    }

    /// Goes on to the phase that it is time for.
    pub fn advance(&mut self, now: u64) {
        let over = |phase: &Phase| now >= phase.end_ns;
        while self.phases.get(self.current).is_some_and(over) {
            self.current += 1;
        }
        if self.current > 0 && self.counted_since.is_none() {
            self.counted_since = Some((used(), Instant::now()));
        }
    }

    fn is_over(&self, now: u64) -> bool {
        let end_ns = self.phases.last().map_or(0, |phase| phase.end_ns);
        match &self.mode {
            Mode::Closed { requests: None } => now >= end_ns,
            Mode::Closed {
                requests: Some(requests),
            } => {
                let is_sent = self.tallies[1].sent >= *requests && self.in_flight == 0;
                is_sent || now > self.last_answer_ns.saturating_add(STALL_NS)
            }
            Mode::Open {
                arrivals, waiting, ..
            } => {
                let none = arrivals.next().is_none() && waiting.is_empty() && self.in_flight == 0;
                now >= end_ns && (none || now >= end_ns + DRAIN_NS)
            }
        }
    }

    /// How long to sleep if nothing comes; `None` for ever.
    fn sleep_ns(&self, now: u64) -> Option<u64> {
        if self.spins {
            return Some(0);
        }
        let end_ns = self.phases.last().map_or(0, |phase| phase.end_ns);
        let mut until_ns = match &self.mode {
            Mode::Closed { requests: None } => end_ns,
            Mode::Closed { requests: Some(_) } => self.last_answer_ns.saturating_add(STALL_NS),
            Mode::Open { arrivals, .. } => match arrivals.next() {
                Some(arrival) => arrival.at_ns.saturating_sub(AWAKE_NS),
                None if now < end_ns => end_ns,
                None => end_ns + DRAIN_NS,
            },
        };
        if let Some((at_ns, _)) = self.retries.front() {
            until_ns = until_ns.min(*at_ns);
        }
        if self.current == 0 {
            until_ns = until_ns.min(self.phases[0].end_ns);
        }
        Some(until_ns.saturating_sub(now))
    }

    /// Waits for events and sees to them.
    fn wait(&mut self, sleep_ns: Option<u64>) -> Result<()> {
        let timeout = sleep_ns.map(|ns| Timespec {
            tv_sec: (ns / 1_000_000_000) as i64,
            tv_nsec: (ns % 1_000_000_000) as _,
        });
        let mut events = std::mem::take(&mut self.events);
        events.clear();
        let buffer = rustix::buffer::spare_capacity(&mut events);
        match epoll::wait(&self.epoll, buffer, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            let key = event.data.u64();
            let index = Connection::index_of(key);
            if self.connections[index].key() == key {
                self.see_to(index, event.flags);
            }
            // Not late for those that arrive meanwhile.
            self.take_arrivals();
        }
        self.events = events;
        Ok(())
    }
}

/// Finds what good answers have to hold, when something was named.
fn expected(options: &Options) -> Result<Option<Finder<'static>>> {
    let Some(path) = &options.expect else {
        return Ok(None);
    };
    let bytes =
        std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    Ok(Some(Finder::new(&bytes).into_owned()))
}

/// Processor time of the process.
fn used() -> Duration {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(used.tv_sec as u64, used.tv_nsec as u32)
}

fn used_since(before: Duration) -> f64 {
    used().saturating_sub(before).as_secs_f64()
}
