//! Sockets: where the server is, and connecting to it without waiting.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// Where the server is.
#[derive(Clone, Debug)]
pub enum Target {
    Tcp(SocketAddr),
    Unix(SocketAddrUnix),
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Tcp(address) => address.fmt(formatter),
            Target::Unix(address) => match address.path() {
                Some(path) => path.to_string_lossy().fmt(formatter),
                None => formatter.write_str("a socket without a path"),
            },
        }
    }
}

impl Target {
    /// The first address that a host's name has.
    ///
    /// # Errors
    /// When it has none.
    pub fn tcp(address: &str) -> io::Result<Target> {
        let none = || io::Error::other(format!("{address} has no address"));
        let found = address.to_socket_addrs()?.next();
        found.map(Target::Tcp).ok_or_else(none)
    }

    /// A Unix socket.
    ///
    /// # Errors
    /// When the path is too long.
    pub fn unix(path: &Path) -> io::Result<Target> {
        Ok(Target::Unix(SocketAddrUnix::new(path)?))
    }

    /// Starts to connect. The socket says when it is writable that the attempt is over.
    ///
    /// # Errors
    /// Why it cannot.
    pub fn connect(&self) -> rustix::io::Result<OwnedFd> {
        let family = match self {
            Target::Tcp(SocketAddr::V4(_)) => AddressFamily::INET,
            Target::Tcp(SocketAddr::V6(_)) => AddressFamily::INET6,
            Target::Unix(_) => AddressFamily::UNIX,
        };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
        let started = match self {
            Target::Tcp(address) => {
                rustix::net::sockopt::set_tcp_nodelay(&socket, true)?;
                rustix::net::connect(&socket, address)
            }
            Target::Unix(address) => rustix::net::connect(&socket, address),
        };
        match started {
            Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
            Err(error) => Err(error),
        }
    }
}
