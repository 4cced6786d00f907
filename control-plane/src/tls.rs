//! TLS listeners whose certificate can change while they listen.
//!
//! Handshakes run beside each other within the stream of connections, each with a deadline, so that
//! a client that stalls holds up nobody and no task outlives the server.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use std::{fmt, io};

use axum::extract::connect_info;
use axum::serve::IncomingStream;
use futures::stream::{self, BoxStream, Stream, StreamExt};
use rustls::ServerConfig;
use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

/// A proxy on a starved node may need seconds; a client that takes longer will connect again.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
/// Handshakes in flight: more than a mesh that reconnects at once brings within one deadline.
const HANDSHAKES: usize = 4096;
/// Pause after a failed accept, which means that file descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The TLS configuration in force; each handshake takes the newest.
pub type ConfigSource = watch::Receiver<Arc<ServerConfig>>;

/// The stream of connections that have completed their handshake.
pub struct TlsListener {
    connections: BoxStream<'static, TlsConnection>,
    address: SocketAddr,
}

impl TlsListener {
    /// Binds `address` and serves it with what `config` holds at the time of each handshake.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn bind(address: SocketAddr, config: ConfigSource) -> io::Result<Self> {
        let tcp = TcpListener::bind(address).await?;
        let address = tcp.local_addr()?;
        let sockets = stream::unfold(tcp, |tcp| async move {
            loop {
                match tcp.accept().await {
                    Ok((socket, peer)) => return Some(((socket, peer), tcp)),
                    Err(error) => {
                        tracing::warn!(%error, "failed to accept a connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        });
        let connections = sockets
            .map(move |(socket, peer)| handshake(socket, peer, Arc::clone(&config.borrow())))
            .buffer_unordered(HANDSHAKES)
            .filter_map(std::future::ready)
            .boxed();
        Ok(Self {
            connections,
            address,
        })
    }

    /// The address that is bound.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The connections, in the form that a gRPC server takes.
    pub fn into_incoming(self) -> impl Stream<Item = io::Result<TlsConnection>> {
        self.connections.map(Ok)
    }
}

impl fmt::Debug for TlsListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsListener")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl axum::serve::Listener for TlsListener {
    type Io = TlsConnection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.connections.next().await {
            Some(connection) => {
                let peer = connection.peer;
                (connection, peer)
            }
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(self.address)
    }
}

async fn handshake(
    socket: TcpStream,
    peer: SocketAddr,
    config: Arc<ServerConfig>,
) -> Option<TlsConnection> {
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%peer, %error, "failed to set TCP_NODELAY");
    }
    let accepted = TlsAcceptor::from(config).accept(socket);
    match tokio::time::timeout(HANDSHAKE_DEADLINE, accepted).await {
        Ok(Ok(stream)) => Some(TlsConnection { stream, peer }),
        Ok(Err(error)) => {
            tracing::debug!(%peer, %error, "TLS handshake failed");
            None
        }
        Err(_) => {
            tracing::debug!(%peer, "TLS handshake timed out");
            None
        }
    }
}

/// One TLS connection.
#[derive(Debug)]
pub struct TlsConnection {
    stream: TlsStream<TcpStream>,
    peer: SocketAddr,
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The address it connects from.
    pub address: SocketAddr,
    /// Its certificate, verified against the mesh's roots, if it presented one.
    pub certificate: Option<CertificateDer<'static>>,
}

impl TlsConnection {
    fn peer(&self) -> Peer {
        let (_, session) = self.stream.get_ref();
        let certificate = session.peer_certificates().and_then(<[_]>::first).cloned();
        Peer {
            address: self.peer,
            certificate: certificate.map(CertificateDer::into_owned),
        }
    }
}

impl Connected for TlsConnection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer()
    }
}

impl connect_info::Connected<IncomingStream<'_, TlsListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, TlsListener>) -> Self {
        stream.io().peer()
    }
}

impl AsyncRead for TlsConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for TlsConnection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
