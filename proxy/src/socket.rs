//! Listening and connecting sockets with the options that a transparent proxy needs.
//!
//! Only system calls; who listens where and who connects to whom is decided elsewhere.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// Connections that wait to be accepted, for each worker's socket.
const BACKLOG: i32 = 4096;

/// A peer that vanished without a word is noticed after about this time without traffic.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(180);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// The source address of connections from the inbound listener to the application, by which the
/// redirection rules tell them from others.
const INBOUND_SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 6));

/// Listens on `address` beside other workers: the kernel spreads connections over them.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        // One wildcard socket serves both families.
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Where to connect to for our own application at `address`, and from where, so that the
/// redirection rules do not lead the connection back to us without end.
///
/// IPv6 has a single loopback address, and so no source by which the rules could tell. What goes
/// to that address they leave alone.
pub fn way_to_application(address: SocketAddr) -> (SocketAddr, Option<IpAddr>) {
    match address {
        SocketAddr::V4(_) => (address, Some(INBOUND_SOURCE)),
        SocketAddr::V6(_) => (
            SocketAddr::from((Ipv6Addr::LOCALHOST, address.port())),
            None,
        ),
    }
}

/// Connects to `address`, from `source` if given.
pub async fn connect(
    address: SocketAddr,
    source: Option<IpAddr>,
    timeout: Duration,
) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    if let Some(source) = source.filter(|source| source.is_ipv4() == address.is_ipv4()) {
        // Without this option a port of the source address stays reserved after its connection's
        // end, and they run out.
        socket.set_reuseaddr(true)?;
        socket.bind(SocketAddr::new(source, 0))?;
    }
    let stream = tokio::time::timeout(timeout, socket.connect(address))
        .await
        .map_err(|_elapsed| io::Error::from(io::ErrorKind::TimedOut))??;
    prepare(&stream)?;
    Ok(stream)
}

/// Options for every connection, accepted or opened.
pub fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

/// Where the connection was going before it was redirected to us, or where it was accepted if it
/// was not redirected.
pub fn original_destination(stream: &TcpStream) -> io::Result<SocketAddr> {
    let local = canonical(stream.local_addr()?);
    let socket = SockRef::from(stream);
    let found = if local.is_ipv4() {
        socket.original_dst_v4()
    } else {
        socket.original_dst_v6()
    };
    match found.map(|address| address.as_socket()) {
        Ok(Some(address)) => Ok(canonical(address)),
        // No entry in the connection table: the peer dialled our port itself.
        Ok(None) | Err(_) => Ok(local),
    }
}

/// An IPv4 address that came in over an IPv6 socket, as IPv4.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_to_the_application_never_leads_back_to_us() {
        let v4 = SocketAddr::from(([10, 0, 0, 1], 80));
        assert_eq!(way_to_application(v4), (v4, Some(INBOUND_SOURCE)));
        let v6 = SocketAddr::from(([0xfd00, 0, 0, 0, 0, 0, 0, 1], 80));
        let loopback = SocketAddr::from((Ipv6Addr::LOCALHOST, 80));
        assert_eq!(way_to_application(v6), (loopback, None));
    }
}
