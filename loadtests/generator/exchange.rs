//! What happens on a run's connections: requests go out, answers come in, connections are lost and
//! opened again; all of it is counted. It never waits.

use rustix::event::epoll::EventFlags;

use super::connection::InFlight;
use super::http1::Answer;
use super::plan::verdict;
use super::run::{Kept, Mode, Run};
use super::schedule::Arrival;
use super::tally::{Failure, Outcome, Verdict};

impl Run {
    /// Sees to an event.
    pub fn see_to(&mut self, index: usize, flags: EventFlags) {
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
        let is_seen = is_kept || self.expected.is_some();
        let mut body = is_seen.then(|| std::mem::take(&mut connection.body));
        let bytes = &self.buffer[..length];
        let received = connection.receive(bytes, &mut self.request, &mut body);
        connection.body = body.unwrap_or_default();
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
            let outcome = self.compared(index, answer.outcome);
            if in_flight.is_kept {
                self.kept = Kept::Whole(self.connections[index].body.clone());
            }
            self.count(in_flight, outcome, now);
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

    /// Starts to open a connection.
    pub fn connect(&mut self, index: usize) {
        if let Err(failure) = self.connections[index].connect(&self.epoll, &self.target) {
            self.lose(index, failure);
        }
    }

    /// Opens the connections whose time has come.
    pub fn retry(&mut self, now: u64) {
        while let Some((at_ns, index)) = self.retries.front().copied()
            && at_ns <= now
        {
            self.retries.pop_front();
            self.connect(index);
        }
    }

    /// The outcome of an answer that is there whole: a good one may hold something else than what
    /// was expected.
    fn compared(&self, index: usize, outcome: Outcome) -> Outcome {
        let Some(expected) = &self.expected else {
            return outcome;
        };
        let is_good = verdict(self.protocol, outcome) == Verdict::Ok;
        match is_good && expected.find(&self.connections[index].body).is_none() {
            true => Outcome::Failed(Failure::Different),
            false => outcome,
        }
    }

    /// Counts the end of a request.
    fn count(&mut self, in_flight: InFlight, outcome: Outcome, now: u64) {
        self.in_flight -= 1;
        if in_flight.is_kept && matches!(self.kept, Kept::Coming) {
            self.kept = Kept::Next;
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
    pub fn go_on(&mut self, index: usize, now: u64) {
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
            self.kept = Kept::Coming;
        }
        self.in_flight += 1;
        self.tallies[next.phase].sent += 1;
        let in_flight = InFlight {
            since_ns: next.at_ns,
            phase: next.phase,
            is_kept,
        };
        self.connections[index].body.clear();
        let sent = self.connections[index].send(&self.epoll, &mut self.request, in_flight);
        if let Err(failure) = sent {
            self.lose(index, failure);
        }
    }

    pub fn take_idle(&mut self) -> Option<usize> {
        while let Some(index) = self.idle.pop_front() {
            if self.connections[index].is_free() {
                return Some(index);
            }
        }
        None
    }

    /// Sends what has arrived in the open loop, or lets it wait.
    pub fn take_arrivals(&mut self) {
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
            } else if let Mode::Open {
                waiting,
                waiting_max,
                ..
            } = &mut self.mode
            {
                match waiting.len() < *waiting_max {
                    true => waiting.push_back(arrival),
                    false => self.tallies[arrival.phase].dropped += 1,
                }
            }
        }
    }
}
