//! Listening sockets, TCP and Unix, and the connections that they accept.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::workers::Workers;
use crate::api::Entrance;
use crate::task::Supervisor;

/// Where connections come from.
#[derive(Debug)]
pub enum Listener {
    Tcp(TcpListener),
    Unix {
        listener: UnixListener,
        _file: Socket,
    },
}

/// A Unix socket's file. Removed when dropped, unless another one has taken its place.
#[derive(Debug)]
pub struct Socket {
    path: PathBuf,
    /// Device and inode.
    file: Option<(u64, u64)>,
}

/// An accepted connection, bound to no runtime.
#[derive(Debug)]
pub enum Stream {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

/// A connection that a runtime polls.
#[derive(Debug)]
pub enum Polled {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Listener {
    /// Listens on an address; `key` is the setting that it comes from.
    ///
    /// # Errors
    /// Why it cannot be listened on.
    pub async fn tcp(key: &str, address: SocketAddr) -> Result<Listener, String> {
        TcpListener::bind(address)
            .await
            .map(Listener::Tcp)
            .map_err(|error| format!("{key}: cannot listen on {address}: {error}"))
    }

    /// Listens on a Unix socket. A socket that a server left behind is replaced; one that a
    /// server listens on is not, nor is any other file.
    ///
    /// # Errors
    /// Why it cannot be listened on.
    pub fn unix(key: &str, path: &Path) -> Result<Listener, String> {
        let failed = |reason: &str| {
            let path = path.display();
            format!("{key}: cannot listen on \"{path}\": {reason}")
        };
        if let Ok(found) = std::fs::symlink_metadata(path) {
            if !found.file_type().is_socket() {
                return Err(failed("the file is there and is not a socket"));
            }
            match std::os::unix::net::UnixStream::connect(path) {
                // Nobody listens any more.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(error) => return Err(failed(&error.to_string())),
                Ok(_) => return Err(failed("another server listens on it")),
            }
            std::fs::remove_file(path).map_err(|error| failed(&error.to_string()))?;
        }
        let listener = UnixListener::bind(path).map_err(|error| failed(&error.to_string()))?;
        Ok(Listener::Unix {
            listener,
            _file: Socket {
                path: path.to_path_buf(),
                file: identity(path),
            },
        })
    }

    /// The bound address, of TCP.
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Listener::Tcp(listener) => listener.local_addr().ok(),
            Listener::Unix { .. } => None,
        }
    }

    async fn accept(&self) -> io::Result<Stream> {
        match self {
            Listener::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                // Answers are one write each; waiting for more would only delay them.
                let _set = stream.set_nodelay(true);
                stream.into_std().map(Stream::Tcp)
            }
            Listener::Unix { listener, .. } => {
                let (stream, _) = listener.accept().await?;
                stream.into_std().map(Stream::Unix)
            }
        }
    }

    /// Hands connections to the workers until `close` or `supervisor` stops.
    pub fn hand_over(
        self,
        entrance: Entrance,
        workers: Arc<Workers>,
        supervisor: &Supervisor,
        close: &Supervisor,
    ) {
        let (supervisor, stop) = (supervisor.clone(), close.clone());
        let entrance = Arc::new(entrance);
        close.spawn("listener", async move {
            loop {
                let accepted = tokio::select! {
                    accepted = self.accept() => accepted,
                    () = stop.stopping() => return,
                    () = supervisor.stopping() => return,
                };
                match accepted {
                    Ok(stream) => workers.serve(stream, &entrance),
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection");
                        // Out of file descriptors, most likely: give others the time to close
                        // theirs.
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                }
            }
        });
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let about = std::fs::symlink_metadata(path).ok()?;
    Some((about.dev(), about.ino()))
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.file.is_some() && identity(&self.path) == self.file {
            // Gone already, perhaps.
            let _removed = std::fs::remove_file(&self.path);
        }
    }
}

impl Stream {
    /// The same, polled by the current runtime.
    ///
    /// # Errors
    /// When the runtime cannot take it.
    pub fn registered(self) -> io::Result<Polled> {
        match self {
            Stream::Tcp(stream) => TcpStream::from_std(stream).map(Polled::Tcp),
            Stream::Unix(stream) => UnixStream::from_std(stream).map(Polled::Unix),
        }
    }
}

impl AsyncRead for Polled {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Polled::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            Polled::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Polled {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Polled::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Polled::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Polled::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Polled::Unix(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Polled::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Polled::Unix(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Polled::Tcp(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Polled::Unix(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Polled::Tcp(stream) => stream.is_write_vectored(),
            Polled::Unix(stream) => stream.is_write_vectored(),
        }
    }
}
