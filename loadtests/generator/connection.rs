//! One connection: a socket that never waits, and the protocol spoken on it.

use std::os::fd::OwnedFd;

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;

use super::http1::{self, Answer};
use super::http2;
use super::socket::Target;
use super::tally::Failure;

/// What every request is.
#[derive(Debug)]
pub enum Request {
    Http(Vec<u8>),
    Grpc(Box<http2::Request>),
}

/// A connection and its place in the event loop.
#[derive(Debug)]
pub struct Connection {
    index: u32,
    /// Which of the sockets in this place it is: tells events of earlier ones apart.
    turn: u32,
    socket: Option<OwnedFd>,
    state: State,
    client: Client,
    /// Bytes to be written, of which the first `written` are.
    out: Vec<u8>,
    written: usize,
    /// Whether the event loop also says when the socket takes bytes.
    watches_room: bool,
    /// The request that waits for its answer.
    pub in_flight: Option<InFlight>,
    /// What has come of its answer's body, when somebody wants to see it.
    pub body: Vec<u8>,
    /// Whether this socket has brought an answer.
    pub has_served: bool,
}

/// A request that waits for its answer.
#[derive(Clone, Copy, Debug)]
pub struct InFlight {
    /// What its latency counts from, in ns since the run's start.
    pub since_ns: u64,
    pub phase: usize,
    /// Whether its answer's body is kept.
    pub is_kept: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    Connecting,
    Open,
}

#[derive(Debug)]
enum Client {
    Http(http1::Reader),
    Grpc(Box<http2::Client>),
}

/// Edge-triggered: the kernel then does not look at a socket again after each event.
const READABLE: EventFlags = EventFlags::IN
    .union(EventFlags::RDHUP)
    .union(EventFlags::ET);

impl Connection {
    /// A closed one.
    pub fn new(index: u32) -> Connection {
        Connection {
            index,
            turn: 0,
            socket: None,
            state: State::Closed,
            client: Client::Http(http1::Reader::default()),
            out: Vec::new(),
            written: 0,
            watches_room: false,
            in_flight: None,
            body: Vec::new(),
            has_served: false,
        }
    }

    /// What its events carry.
    pub fn key(&self) -> u64 {
        u64::from(self.turn) << 32 | u64::from(self.index)
    }

    /// The index of the connection that an event is of.
    pub fn index_of(key: u64) -> usize {
        key as u32 as usize
    }

    /// Starts to connect.
    ///
    /// # Errors
    /// [`Failure::Connect`].
    pub fn connect(&mut self, epoll: &OwnedFd, target: &Target) -> Result<(), Failure> {
        self.close();
        let socket = target.connect().map_err(|_| Failure::Connect)?;
        let key = EventData::new_u64(self.key());
        epoll::add(epoll, &socket, key, READABLE | EventFlags::OUT)
            .map_err(|_| Failure::Connect)?;
        self.socket = Some(socket);
        self.state = State::Connecting;
        self.watches_room = true;
        Ok(())
    }

    /// Whether it waits for the server to accept it.
    pub fn is_connecting(&self) -> bool {
        self.state == State::Connecting
    }

    /// Whether it can take a request.
    pub fn is_free(&self) -> bool {
        self.state == State::Open && self.in_flight.is_none()
    }

    /// Goes on after the attempt to connect is over.
    ///
    /// # Errors
    /// [`Failure::Connect`] when it was in vain.
    pub fn connected(&mut self, epoll: &OwnedFd, request: &Request) -> Result<(), Failure> {
        let socket = self.socket.as_ref().ok_or(Failure::Connect)?;
        let error = rustix::net::sockopt::socket_error(socket);
        if !matches!(error, Ok(Ok(()))) {
            return Err(Failure::Connect);
        }
        self.state = State::Open;
        self.client = match request {
            Request::Http(_) => Client::Http(http1::Reader::default()),
            Request::Grpc(request) => {
                Client::Grpc(Box::new(http2::Client::open(request, &mut self.out)))
            }
        };
        self.flush(epoll)
    }

    /// Starts a request. It waits for its answer from then on.
    ///
    /// # Errors
    /// [`Failure::Broken`].
    pub fn send(
        &mut self,
        epoll: &OwnedFd,
        request: &mut Request,
        in_flight: InFlight,
    ) -> Result<(), Failure> {
        self.in_flight = Some(in_flight);
        let bytes = match (&mut self.client, request) {
            (Client::Grpc(client), Request::Grpc(request)) => client.send(request, &mut self.out),
            (_, Request::Http(request)) => request,
            (Client::Http(_), Request::Grpc(_)) => return Err(Failure::Broken),
        };
        let Some(socket) = self.socket.as_ref() else {
            return Err(Failure::Broken);
        };
        if !self.out.is_empty() {
            self.out.extend_from_slice(bytes);
            return self.flush(epoll);
        }
        // The usual case: the prepared bytes, in one piece, and nothing is copied.
        let written = write(socket, bytes)?;
        if written == bytes.len() {
            return Ok(());
        }
        self.out.extend_from_slice(&bytes[written..]);
        self.flush(epoll)
    }

    /// Writes what waits to be written, as far as the socket takes it.
    ///
    /// # Errors
    /// [`Failure::Broken`].
    pub fn flush(&mut self, epoll: &OwnedFd) -> Result<(), Failure> {
        let Some(socket) = self.socket.as_ref() else {
            return Err(Failure::Broken);
        };
        while self.written < self.out.len() {
            let written = write(socket, &self.out[self.written..])?;
            if written == 0 {
                break;
            }
            self.written += written;
        }
        let waits = self.written < self.out.len();
        if !waits {
            self.out.clear();
            self.written = 0;
        }
        if waits != self.watches_room {
            self.watches_room = waits;
            let flags = if waits {
                EventFlags::OUT
            } else {
                EventFlags::empty()
            };
            let key = EventData::new_u64(self.key());
            epoll::modify(epoll, socket, key, READABLE | flags).map_err(|_| Failure::Broken)?;
        }
        Ok(())
    }

    /// The same if it is open and there is something to write.
    ///
    /// # Errors
    /// [`Failure::Broken`].
    pub fn flush_open(&mut self, epoll: &OwnedFd) -> Result<(), Failure> {
        match self.state == State::Open && !self.out.is_empty() && !self.watches_room {
            true => self.flush(epoll),
            false => Ok(()),
        }
    }

    /// Reads what has come; `None` when nothing has.
    ///
    /// # Errors
    /// [`Failure::Broken`].
    pub fn read(&self, buffer: &mut [u8]) -> Result<Option<usize>, Failure> {
        let Some(socket) = self.socket.as_ref() else {
            return Ok(None);
        };
        loop {
            return match rustix::io::read(socket, &mut *buffer) {
                Ok(length) => Ok(Some(length)),
                Err(Errno::AGAIN) => Ok(None),
                Err(Errno::INTR) => continue,
                Err(_) => Err(Failure::Broken),
            };
        }
    }

    /// Takes bytes that were read.
    ///
    /// # Errors
    /// When the connection is of no more use.
    pub fn receive(
        &mut self,
        bytes: &[u8],
        request: &mut Request,
        body: &mut Option<Vec<u8>>,
    ) -> Result<Option<Answer>, Failure> {
        match (&mut self.client, request) {
            (Client::Grpc(client), Request::Grpc(request)) => {
                client.receive(bytes, request, &mut self.out, body)
            }
            (Client::Http(reader), _) => reader.receive(bytes, body),
            (Client::Grpc(_), Request::Http(_)) => Err(Failure::Broken),
        }
    }

    /// The answer that ends with the connection, if any.
    pub fn ended(&mut self) -> Option<Answer> {
        match &mut self.client {
            Client::Http(reader) => reader.closed(),
            Client::Grpc(_) => None,
        }
    }

    /// Closes it. Its events that are still to come are no longer its.
    pub fn close(&mut self) {
        self.socket = None;
        self.state = State::Closed;
        self.turn = self.turn.wrapping_add(1);
        self.out.clear();
        self.written = 0;
        self.in_flight = None;
        self.has_served = false;
    }
}

/// Writes what the socket takes, 0 when it takes nothing now.
fn write(socket: &OwnedFd, bytes: &[u8]) -> Result<usize, Failure> {
    loop {
        return match rustix::io::write(socket, bytes) {
            Ok(written) => Ok(written),
            Err(Errno::AGAIN) => Ok(0),
            Err(Errno::INTR) => continue,
            Err(_) => Err(Failure::Broken),
        };
    }
}
