//! HTTP/1.1 and HTTP/2 on one connection, as server and as client.
//!
//! The only file that names the codec: everything else sees [`Received`] bodies, [`Sender`]s and
//! [`Failure`]s. Connections never leave the thread that opened them.

use std::error::Error as StdError;
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::{http1 as client1, http2 as client2};
use hyper::server::conn::{http1 as server1, http2 as server2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;

use super::body::{Outgoing, Reply};
use crate::drain::Drain;
use crate::stream::Stream;

/// A body as it arrives from the network.
pub use hyper::body::Incoming as Received;
/// Both directions of a connection after an upgrade.
pub type Upgraded = TokioIo<hyper::upgrade::Upgraded>;

/// Envoy's limits: header blocks beyond these are refused with 431.
const MAX_HEADERS: usize = 100;
const MAX_HEADER_BYTES: u32 = 60 * 1024;
/// Read and write buffer of an HTTP/1.1 connection at most.
const MAX_BUFFER: usize = 64 * 1024;
/// Windows: a connection's is four times a stream's, so that one stream cannot starve the others.
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 4 * STREAM_WINDOW;
const MAX_STREAMS: u32 = 1024;
/// An upstream that vanished is noticed after interval and timeout.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Which HTTP a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// HTTP/1.1, and 1.0 where the peer is that old.
    Http1,
    /// HTTP/2.
    Http2,
}

/// Runs the codec's tasks on the thread that owns the connection.
#[derive(Debug, Clone, Copy)]
struct Local;

impl<F: Future + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, fut: F) {
        tokio::task::spawn_local(async move {
            fut.await;
        });
    }
}

/// Why a downstream connection ended early.
#[derive(Debug, thiserror::Error)]
#[error("failed to serve an HTTP connection")]
pub struct ServeFailed(#[source] hyper::Error);

/// Serves one downstream connection until it ends.
///
/// When `drain` starts, an HTTP/2 peer is told at once to open its streams elsewhere; an HTTP/1.1
/// peer learns it from its next response (`connection: close`), and is cut only when the drain
/// closes: closing an idle connection before would lose a request that is on its way.
pub async fn serve<H, F>(
    io: Stream,
    version: Version,
    drain: Drain,
    handler: H,
) -> Result<(), ServeFailed>
where
    H: Fn(Request<Received>) -> F + 'static,
    F: Future<Output = Response<Reply>> + 'static,
{
    let service = service_fn(move |request| {
        let response = handler(request);
        async move { Ok::<_, std::convert::Infallible>(response.await) }
    });
    let io = TokioIo::new(io);
    match version {
        Version::Http1 => {
            let connection = server1::Builder::new()
                .half_close(false)
                .max_headers(MAX_HEADERS)
                .max_buf_size(MAX_BUFFER)
                .pipeline_flush(true)
                .header_read_timeout(None)
                .serve_connection(io, service)
                .with_upgrades();
            let mut connection = pin!(connection);
            tokio::select! {
                ended = connection.as_mut() => return ended.map_err(ServeFailed),
                () = drain.closing() => connection.as_mut().graceful_shutdown(),
            }
            connection.await.map_err(ServeFailed)
        }
        Version::Http2 => {
            let connection = server2::Builder::new(Local)
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .max_concurrent_streams(MAX_STREAMS)
                .max_header_list_size(MAX_HEADER_BYTES)
                .serve_connection(io, service);
            let mut connection = pin!(connection);
            tokio::select! {
                ended = connection.as_mut() => return ended.map_err(ServeFailed),
                () = drain.started() => connection.as_mut().graceful_shutdown(),
            }
            connection.await.map_err(ServeFailed)
        }
    }
}

/// Why an exchange with an upstream failed.
#[derive(Debug, thiserror::Error)]
#[error("failed to exchange a request with the upstream")]
pub struct Failure {
    /// What is known about it.
    pub kind: FailureKind,
    #[source]
    source: hyper::Error,
}

/// What is known about a failed exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The upstream cannot have seen the request, or says that it did not touch it: sending it
    /// again is safe whatever it was.
    NotProcessed,
    /// The connection ended before an answer; the upstream may have acted.
    Closed,
    /// The upstream reset the stream; it may have acted.
    Reset,
    /// The upstream answered nonsense.
    Malformed,
    /// Our own side of the exchange failed: the downstream's body ended early.
    Downstream,
}

impl Failure {
    fn new(source: hyper::Error, sent: bool) -> Self {
        let kind = match h2_reason(&source) {
            _ if !sent || source.is_canceled() => FailureKind::NotProcessed,
            Some((h2::Reason::REFUSED_STREAM, _)) => FailureKind::NotProcessed,
            // The peer went away in an orderly manner: what it did not answer it did not touch.
            Some((h2::Reason::NO_ERROR, GoAway::Yes)) => FailureKind::NotProcessed,
            Some((_, GoAway::Yes)) => FailureKind::Closed,
            Some((_, GoAway::No)) => FailureKind::Reset,
            None if source.is_user() => FailureKind::Downstream,
            None if source.is_parse() => FailureKind::Malformed,
            None => FailureKind::Closed,
        };
        Self { kind, source }
    }
}

#[derive(Debug, Clone, Copy)]
enum GoAway {
    Yes,
    No,
}

fn h2_reason(error: &hyper::Error) -> Option<(h2::Reason, GoAway)> {
    let error = error.source()?.downcast_ref::<h2::Error>()?;
    let away = if error.is_go_away() {
        GoAway::Yes
    } else {
        GoAway::No
    };
    Some((error.reason()?, away))
}

/// The sending side of an upstream connection.
#[derive(Debug)]
pub enum Sender {
    /// One exchange at a time.
    Http1(client1::SendRequest<Outgoing>),
    /// Many at a time; clones share the connection.
    Http2(client2::SendRequest<Outgoing>),
}

impl Sender {
    /// Starts HTTP on an open connection; its own work goes on in the background until the last
    /// sender is gone and the last exchange is over.
    pub async fn handshake(io: Stream, version: Version) -> Result<Self, Failure> {
        let io = TokioIo::new(io);
        let failed = |source| Failure::new(source, false);
        match version {
            Version::Http1 => {
                let (sender, connection) = client1::Builder::new()
                    .max_headers(MAX_HEADERS)
                    .max_buf_size(MAX_BUFFER)
                    .handshake(io)
                    .await
                    .map_err(failed)?;
                background(connection.with_upgrades());
                Ok(Self::Http1(sender))
            }
            Version::Http2 => {
                let (sender, connection) = client2::Builder::new(Local)
                    .timer(TokioTimer::new())
                    .initial_stream_window_size(STREAM_WINDOW)
                    .initial_connection_window_size(CONNECTION_WINDOW)
                    .max_header_list_size(MAX_HEADER_BYTES)
                    .keep_alive_interval(PING_INTERVAL)
                    .keep_alive_timeout(PING_TIMEOUT)
                    .handshake(io)
                    .await
                    .map_err(failed)?;
                background(connection);
                Ok(Self::Http2(sender))
            }
        }
    }

    /// Another sender on the same connection, if it can have several.
    pub fn share(&self) -> Option<Self> {
        match self {
            Self::Http1(_) => None,
            Self::Http2(sender) => Some(Self::Http2(sender.clone())),
        }
    }

    /// Whether the connection is known to have ended.
    pub fn is_closed(&self) -> bool {
        match self {
            Self::Http1(sender) => sender.is_closed(),
            Self::Http2(sender) => sender.is_closed(),
        }
    }

    /// Waits until the previous exchange is fully over; false when the connection ended instead.
    pub async fn is_usable(&mut self) -> bool {
        match self {
            Self::Http1(sender) => sender.is_ready() || sender.ready().await.is_ok(),
            Self::Http2(sender) => sender.ready().await.is_ok(),
        }
    }

    /// Sends a request and waits for the head of its response.
    pub async fn send(
        &mut self,
        request: Request<Outgoing>,
    ) -> Result<Response<Received>, Failure> {
        match self {
            Self::Http1(sender) => sender.try_send_request(request).await.map_err(|mut error| {
                let sent = error.take_message().is_none();
                Failure::new(error.into_error(), sent)
            }),
            Self::Http2(sender) => sender.try_send_request(request).await.map_err(|mut error| {
                let sent = error.take_message().is_none();
                Failure::new(error.into_error(), sent)
            }),
        }
    }
}

fn background<F>(connection: F)
where
    F: Future<Output = Result<(), hyper::Error>> + 'static,
{
    tokio::task::spawn_local(async move {
        if let Err(error) = connection.await {
            tracing::debug!(error = %fairlead_runtime::report(&error), "an upstream connection ended");
        }
    });
}

/// A connection in the form that gRPC's transport wants.
pub fn adapt<S>(stream: S) -> TokioIo<S> {
    TokioIo::new(stream)
}

/// Sends one request over a connection of its own and reads the whole response.
pub async fn once(
    stream: TcpStream,
    request: Request<Full<Bytes>>,
) -> Result<Response<Bytes>, OnceFailed> {
    let (mut sender, connection) = client1::handshake(TokioIo::new(stream))
        .await
        .map_err(OnceFailed)?;
    let exchange = async move {
        let (parts, body) = sender.send_request(request).await?.into_parts();
        Ok(Response::from_parts(
            parts,
            body.collect().await?.to_bytes(),
        ))
    };
    let (response, _ended) = tokio::join!(exchange, connection);
    response.map_err(OnceFailed)
}

/// Why a single exchange failed.
#[derive(Debug, thiserror::Error)]
#[error("failed to exchange a request")]
pub struct OnceFailed(#[source] hyper::Error);

/// A connection that becomes a pipe of bytes once both ends have agreed.
#[derive(Debug)]
pub struct Pending(hyper::upgrade::OnUpgrade);

impl Pending {
    /// The downstream's side, taken from its request.
    pub fn of_request<B>(request: &mut Request<B>) -> Self {
        Self(hyper::upgrade::on(request))
    }

    /// The upstream's side, taken from its response.
    pub fn of_response<B>(response: &mut Response<B>) -> Self {
        Self(hyper::upgrade::on(response))
    }

    /// Waits until the pipe is open.
    pub async fn opened(self) -> Result<Upgraded, UpgradeFailed> {
        self.0.await.map(TokioIo::new).map_err(UpgradeFailed)
    }
}

/// Why a connection did not become a pipe of bytes.
#[derive(Debug, thiserror::Error)]
#[error("failed to upgrade a connection")]
pub struct UpgradeFailed(#[source] hyper::Error);
