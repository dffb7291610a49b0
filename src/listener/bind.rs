//! Sockets that listen: made before anything else changes, so that a start or reload that can't bind changes nothing.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use socket2::{Domain, Protocol, SockRef, TcpKeepalive, Type};
use tokio::net::{TcpListener, UnixListener};

use super::socket::Kernel;
use crate::config::model::{Address, ListenerLimits};

/// Connections that may wait to be accepted: asked of the kernel, which caps it at `net.core.somaxconn`.
pub const BACKLOG: i32 = 65_535;

/// Bytes that the kernel takes for a client before they can be sent, beside those under way: what a client costs that does
/// not read, as those under way are bounded by what it has room for. Enough to keep the network busy until we write again.
const UNSENT: u32 = 128 * 1024;

/// A Unix socket may be used by its owner and its group.
const UNIX_MODE: u32 = 0o660;

/// A socket that listens but from which nothing is accepted yet.
#[derive(Debug)]
pub enum Bound {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener, PathGuard),
}

/// A socket that connections are accepted from.
#[derive(Debug)]
pub enum Accepting {
    Tcp {
        listener: TcpListener,
        port: u16,
    },
    Unix {
        listener: UnixListener,
        /// Held for its drop.
        _path: PathGuard,
    },
}

/// Removes the socket's file when the listener ends.
#[derive(Debug)]
pub struct PathGuard(PathBuf);

impl Drop for PathGuard {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Binds and listens. `SO_REUSEADDR` is set, `SO_REUSEPORT` is not: a second process on the
/// same port is an error, not a rival.
pub fn bind(address: &Address) -> io::Result<Bound> {
    match address {
        Address::Tcp(address) => bind_tcp(*address).map(Bound::Tcp),
        Address::Unix(path) => bind_unix(path),
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = socket2::Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    // Accepted connections inherit it: a response is one write, nothing is gained by waiting for more.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn bind_unix(path: &Path) -> io::Result<Bound> {
    remove_stale(path)?;
    let listener = std::os::unix::net::UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    fs::set_permissions(path, fs::Permissions::from_mode(UNIX_MODE))?;
    Ok(Bound::Unix(listener, PathGuard(path.to_owned())))
}

/// A socket that nobody listens on is left over from a process that was killed.
fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.file_type().is_socket() => {
            match std::os::unix::net::UnixStream::connect(path) {
                Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
                Err(_) => fs::remove_file(path),
            }
        }
        Ok(_) => Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "the path exists and is not a socket",
        )),
        Err(_) => Ok(()),
    }
}

impl Bound {
    /// Where it listens: with the real port when port 0 was asked for.
    pub fn local_address(&self) -> io::Result<Address> {
        match self {
            Bound::Tcp(listener) => listener.local_addr().map(Address::Tcp),
            Bound::Unix(_, path) => Ok(Address::Unix(path.0.clone())),
        }
    }

    /// Hands the socket to the runtime that this is called in.
    pub fn accepting(self) -> io::Result<Accepting> {
        Ok(match self {
            Bound::Tcp(listener) => Accepting::Tcp {
                port: listener.local_addr()?.port(),
                listener: TcpListener::from_std(listener)?,
            },
            Bound::Unix(listener, path) => Accepting::Unix {
                listener: UnixListener::from_std(listener)?,
                _path: path,
            },
        })
    }
}

/// A connection that was just accepted.
#[derive(Debug)]
pub struct Accepted {
    pub kernel: Kernel,
    /// Who is at the other end; `None` on a Unix socket.
    pub peer: Option<SocketAddr>,
    /// The port that the client connected to, 0 on a Unix socket.
    pub local_port: u16,
}

/// Sets what a listener's configuration says of its connections' sockets. A kernel that lacks an option does without.
fn tune(socket: &SockRef<'_>, limits: &ListenerLimits) {
    let _ = socket.set_tcp_notsent_lowat(UNSENT);
    let Some(keepalive) = &limits.tcp_keepalive else {
        let _ = socket.set_keepalive(false);
        let _ = socket.set_tcp_user_timeout(None);
        return;
    };
    let options = TcpKeepalive::new()
        .with_time(keepalive.idle)
        .with_interval(keepalive.interval)
        .with_retries(keepalive.probes);
    let _ = socket.set_tcp_keepalive(&options);
    // What is sent is given as long: without, the kernel tries for a quarter of an hour, also for a connection that is closed.
    let lost = keepalive.idle + keepalive.interval * keepalive.probes;
    let _ = socket.set_tcp_user_timeout(Some(lost));
}

impl Accepted {
    /// The connection's own options, where it was accepted just before they were changed.
    pub fn tune(&self, limits: &ListenerLimits) {
        if let Kernel::Tcp(stream) = &self.kernel {
            tune(&SockRef::from(stream), limits);
        }
    }
}

impl Accepting {
    /// Sets the options that connections inherit.
    pub fn tune(&self, limits: &ListenerLimits) {
        if let Accepting::Tcp { listener, .. } = self {
            tune(&SockRef::from(listener), limits);
        }
    }

    /// The next connection.
    pub async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Accepting::Tcp { listener, port } => {
                let (stream, peer) = listener.accept().await?;
                Ok(Accepted {
                    kernel: Kernel::Tcp(stream),
                    peer: Some(peer),
                    local_port: *port,
                })
            }
            Accepting::Unix { listener, .. } => Ok(Accepted {
                kernel: Kernel::Unix(listener.accept().await?.0),
                peer: None,
                local_port: 0,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_accepted_sends_at_once() {
        let bound = bind(&Address::Tcp("127.0.0.1:0".parse().unwrap())).unwrap();
        let Ok(Address::Tcp(address)) = bound.local_address() else {
            panic!("no TCP address")
        };
        let accepting = bound.accepting().unwrap();
        let client = tokio::net::TcpStream::connect(address).await.unwrap();
        let accepted = accepting.accept().await.unwrap();
        let Kernel::Tcp(stream) = &accepted.kernel else {
            panic!("not TCP")
        };
        assert!(stream.nodelay().unwrap());
        assert_eq!(accepted.peer, client.local_addr().ok());
        assert_eq!(accepted.local_port, address.port());
    }
}
