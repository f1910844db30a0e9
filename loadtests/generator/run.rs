//! A run: one thread, one event loop, all connections. It owns what is due when, and counts what
//! became of it.

use std::collections::VecDeque;
use std::error::Error;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventFlags};
use rustix::time::{ClockId, clock_gettime};

use super::connection::{Connection, InFlight, Request};
use super::http1::{self, Answer};
use super::http2;
use super::options::{Options, Protocol};
use super::schedule::{Arrival, Arrivals, Phase};
use super::socket::Target;
use super::tally::{Failure, Interval, Intervals, Outcome, Tally, Verdict};

/// A run. Times are in ns since `origin`.
pub struct Run {
    protocol: Protocol,
    epoll: OwnedFd,
    target: Target,
    request: Request,
    origin: Instant,
    connections: Vec<Connection>,
    /// Connections without a request, longest idle first: all are used alike. One that is closed
    /// stays in, and is passed over.
    idle: VecDeque<usize>,
    /// Connections to be opened again, and when.
    retries: VecDeque<(u64, usize)>,
    retry_ns: u64,
    mode: Mode,
    /// Whether requests are sent, and what fails counts.
    is_running: bool,
    spins: bool,
    /// The first is the warm-up, which does not count.
    phases: Vec<Phase>,
    /// The index of the phase that it is time for; behind the last when all are over.
    current: usize,
    tallies: Vec<Tally>,
    intervals: Option<Intervals>,
    in_flight: usize,
    last_answer_ns: u64,
    /// Processor time and time at the end of the warm-up.
    counted_since: Option<(Duration, Instant)>,
    kept: Kept,
    buffer: Vec<u8>,
    events: Vec<Event>,
}

/// When requests are sent.
enum Mode {
    /// As soon as the last is answered, up to a number that counts.
    Closed { requests: Option<u64> },
    /// When they arrive; those that find no free connection wait.
    Open {
        arrivals: Arrivals,
        waiting: VecDeque<Arrival>,
    },
}

/// The first answer's body.
enum Kept {
    Not,
    /// The next request's is kept.
    Next,
    /// A request is on its way.
    Coming(Vec<u8>),
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
/// Arrivals that wait for a connection.
const WAITING_MAX: usize = 1_000_000;
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
                return Err(format!("cannot connect to {:?}", self.target).into());
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

    fn now(&self) -> u64 {
        self.origin.elapsed().as_nanos() as u64
    }

    /// Goes on to the phase that it is time for.
    fn advance(&mut self, now: u64) {
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
            Mode::Open { arrivals, waiting } => {
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

    fn see_to(&mut self, index: usize, flags: EventFlags) {
        let ends = EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR;
        if self.connections[index].is_connecting() {
            let connected = self.connections[index].connected(&self.epoll, &self.request);
            match connected {
                Ok(()) => self.go_on(index, self.now()),
                Err(_) => return self.lose(index, Failure::Connect),
            }
        } else if flags.contains(EventFlags::OUT)
            && let Err(failure) = self.connections[index].flush(&self.epoll)
        {
            return self.lose(index, failure);
        }
        let key = self.connections[index].key();
        // A socket that gives less than it was asked for has no more, but perhaps its end.
        while let Some(length) = self.read(index, flags.intersects(ends)) {
            let is_full = length == self.buffer.len();
            if self.connections[index].key() != key || !(is_full || flags.intersects(ends)) {
                return;
            }
        }
    }

    /// Reads once, and says how much if there may be more.
    fn read(&mut self, index: usize, is_ending: bool) -> Option<usize> {
        let connection = &mut self.connections[index];
        let length = match connection.read(&mut self.buffer) {
            Ok(Some(0)) => {
                self.reach_end(index);
                return None;
            }
            Ok(Some(length)) => length,
            Ok(None) => return None,
            Err(failure) => {
                self.lose(index, failure);
                return None;
            }
        };
        if let Some(tally) = self.tallies.get_mut(self.current) {
            tally.bytes_read += length as u64;
        }
        let is_kept = connection.in_flight.is_some_and(|it| it.is_kept);
        let mut body = match (is_kept, &mut self.kept) {
            (true, Kept::Coming(body)) => Some(std::mem::take(body)),
            _ => None,
        };
        let bytes = &self.buffer[..length];
        let received = connection.receive(bytes, &mut self.request, &mut body);
        if let Some(body) = body {
            self.kept = Kept::Coming(body);
        }
        match received {
            Ok(Some(answer)) => {
                let reusable = answer.reusable && !is_ending;
                self.take_answer(index, Answer { reusable, ..answer });
            }
            Ok(None) => {}
            Err(failure) => {
                self.lose(index, failure);
                return None;
            }
        }
        // What the answer called for, if the next request did not take it along.
        if let Err(failure) = self.connections[index].flush_open(&self.epoll) {
            self.lose(index, failure);
            return None;
        }
        Some(length)
    }

    fn take_answer(&mut self, index: usize, answer: Answer) {
        let now = self.now();
        self.advance(now);
        self.last_answer_ns = now;
        let connection = &mut self.connections[index];
        connection.has_served = true;
        if let Some(in_flight) = connection.in_flight.take() {
            self.count(in_flight, answer.outcome, now);
        }
        match answer.reusable {
            true => self.go_on(index, now),
            false => self.connect(index),
        }
    }

    /// The server closed a connection.
    fn reach_end(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        if let Some(answer) = connection.ended() {
            return self.take_answer(index, answer);
        }
        match connection.in_flight.is_none() && connection.has_served {
            true => self.connect(index),
            false => self.lose(index, Failure::Closed),
        }
    }

    /// A connection is of no more use; it is opened again after a while.
    fn lose(&mut self, index: usize, failure: Failure) {
        let now = self.now();
        match self.connections[index].in_flight.take() {
            Some(in_flight) => self.count(in_flight, Outcome::Failed(failure), now),
            None if failure == Failure::Connect && self.is_running => {
                self.tally(Outcome::Failed(failure), self.current, now, now);
            }
            None => {}
        }
        self.connections[index].close();
        self.retries.push_back((now + self.retry_ns, index));
    }

    fn connect(&mut self, index: usize) {
        if let Err(failure) = self.connections[index].connect(&self.epoll, &self.target) {
            self.lose(index, failure);
        }
    }

    /// Opens the connections whose time has come.
    fn retry(&mut self, now: u64) {
        while let Some((at_ns, index)) = self.retries.front().copied()
            && at_ns <= now
        {
            self.retries.pop_front();
            self.connect(index);
        }
    }

    /// Counts the end of a request.
    fn count(&mut self, in_flight: InFlight, outcome: Outcome, now: u64) {
        self.in_flight -= 1;
        if in_flight.is_kept
            && let Kept::Coming(body) = std::mem::replace(&mut self.kept, Kept::Next)
            && let Outcome::Status(_) = outcome
        {
            self.kept = Kept::Whole(body);
        }
        self.tally(outcome, in_flight.phase, in_flight.since_ns, now);
    }

    fn tally(&mut self, outcome: Outcome, phase: usize, since_ns: u64, now: u64) {
        let verdict = verdict(self.protocol, outcome);
        let latency_ns = now.saturating_sub(since_ns);
        if let Some(tally) = self.tallies.get_mut(phase) {
            tally.count(outcome, verdict, latency_ns);
        }
        if verdict == Verdict::Ok
            && let Some(tally) = self.tallies.get_mut(self.current)
        {
            tally.ok_meanwhile += 1;
        }
        if phase > 0
            && let Some(intervals) = &mut self.intervals
        {
            intervals.count(now, verdict, latency_ns);
        }
    }

    /// Gives a free connection its next request, if there is one.
    fn go_on(&mut self, index: usize, now: u64) {
        let next = match &mut self.mode {
            _ if !self.is_running => None,
            Mode::Open { waiting, .. } => waiting.pop_front(),
            Mode::Closed { requests } => {
                let is_enough = |most| self.current == 1 && self.tallies[1].sent >= most;
                let is_done = self.current >= self.phases.len() || requests.is_some_and(is_enough);
                (!is_done).then_some(Arrival {
                    at_ns: now,
                    phase: self.current,
                })
            }
        };
        match next {
            Some(next) => self.send(index, next),
            None => self.idle.push_back(index),
        }
    }

    fn send(&mut self, index: usize, next: Arrival) {
        let is_kept = matches!(self.kept, Kept::Next);
        if is_kept {
            self.kept = Kept::Coming(Vec::new());
        }
        self.in_flight += 1;
        self.tallies[next.phase].sent += 1;
        let in_flight = InFlight {
            since_ns: next.at_ns,
            phase: next.phase,
            is_kept,
        };
        let sent = self.connections[index].send(&self.epoll, &mut self.request, in_flight);
        if let Err(failure) = sent {
            self.lose(index, failure);
        }
    }

    fn take_idle(&mut self) -> Option<usize> {
        while let Some(index) = self.idle.pop_front() {
            if self.connections[index].is_free() {
                return Some(index);
            }
        }
        None
    }

    /// Sends what has arrived in the open loop, or lets it wait.
    fn take_arrivals(&mut self) {
        if !self.is_running {
            return;
        }
        while let Mode::Open { arrivals, .. } = &mut self.mode
            && let Some(arrival) = arrivals.next()
            && let late_ns = self.origin.elapsed().as_nanos() as i64 - arrival.at_ns as i64
            && late_ns >= 0
        {
            arrivals.advance();
            let tally = &mut self.tallies[arrival.phase];
            tally.late.saturating_record(late_ns as u64);
            if let Some(index) = self.take_idle() {
                self.send(index, arrival);
            } else if let Mode::Open { waiting, .. } = &mut self.mode {
                match waiting.len() < WAITING_MAX {
                    true => waiting.push_back(arrival),
                    false => self.tallies[arrival.phase].dropped += 1,
                }
            }
        }
    }
}

fn pin(core: usize) -> Result<()> {
    let mut cores = rustix::thread::CpuSet::new();
    if core >= rustix::thread::CpuSet::MAX_CPU {
        return Err(format!("there is no core {core}").into());
    }
    cores.set(core);
    rustix::thread::sched_setaffinity(None, &cores)
        .map_err(|error| format!("cannot run on core {core}: {error}").into())
}

/// What every request is.
fn request(options: &Options) -> Result<Request> {
    let read = |path: &std::path::PathBuf| {
        std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
    };
    let body = options.body.as_ref().map(read).transpose()?;
    let path = options.path.as_deref().unwrap_or("/");
    let host = options.address.as_deref().unwrap_or("localhost");
    let headers: Vec<(&str, &str)> = options
        .headers
        .iter()
        .map(|header| (&header.name[..], &header.value[..]))
        .collect();
    Ok(match options.protocol {
        Protocol::Http => Request::Http(http1::request(path, host, &headers, body.as_deref())),
        Protocol::Grpc => {
            let body = body.unwrap_or_default();
            let request = http2::Request::new(path, host, &headers, &body);
            Request::Grpc(Box::new(request))
        }
    })
}

/// The warm-up, then what counts.
fn phases(options: &Options) -> Vec<Phase> {
    let ns = |seconds: f64| (seconds * 1e9) as u64;
    let warm_ns = ns(options.warmup);
    let rate = |index: usize| options.rate.get(index).map(|rate| rate.requests_per_s);
    let mut phases = vec![Phase {
        rate: rate(0),
        start_ns: 0,
        end_ns: warm_ns,
    }];
    if options.rate.is_empty() {
        let length_ns = match options.requests {
            Some(_) => u64::MAX - warm_ns,
            None => ns(options.seconds),
        };
        phases.push(Phase {
            rate: None,
            start_ns: warm_ns,
            end_ns: warm_ns + length_ns,
        });
    }
    let mut start_ns = warm_ns;
    for rate in &options.rate {
        let end_ns = start_ns + ns(rate.seconds);
        phases.push(Phase {
            rate: Some(rate.requests_per_s),
            start_ns,
            end_ns,
        });
        start_ns = end_ns;
    }
    phases
}

fn verdict(protocol: Protocol, outcome: Outcome) -> Verdict {
    match (protocol, outcome) {
        (Protocol::Http, Outcome::Status(200..300)) => Verdict::Ok,
        (Protocol::Http, Outcome::Status(429 | 503)) => Verdict::Refused,
        (Protocol::Grpc, Outcome::Status(0)) => Verdict::Ok,
        // RESOURCE_EXHAUSTED and UNAVAILABLE.
        (Protocol::Grpc, Outcome::Status(8 | 14)) => Verdict::Refused,
        _ => Verdict::Error,
    }
}

/// Processor time of the process.
fn used() -> Duration {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(used.tv_sec as u64, used.tv_nsec as u32)
}

fn used_since(before: Duration) -> f64 {
    used().saturating_sub(before).as_secs_f64()
}
