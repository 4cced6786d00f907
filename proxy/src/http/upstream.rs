//! A connection to an endpoint, from the pool or new, for one exchange or a pipe of bytes.

use std::cell::Cell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use fairlead_xds::resource::cluster::Discovery;
use http::Request;
use http::Response;
use rustls::ClientConfig;
use tokio_rustls::TlsConnector;

use super::body::Outgoing;
use super::connection::{Failure, Received, Sender, Version};
use super::replay::Replay;
use super::respond::Error;
use crate::cluster::{Cluster, Host};
use crate::config::cluster::ClientTls;
use crate::downstream::Downstream;
use crate::socket;
use crate::stream::Stream;

/// Counts as one request or connection under way to an endpoint, until it is dropped.
#[derive(Debug)]
pub struct Ticket {
    /// The endpoint.
    pub host: Rc<Host>,
    cluster: Rc<Cell<u32>>,
}

impl Ticket {
    /// Counts one more.
    pub fn new(cluster: &Cluster, host: Rc<Host>) -> Self {
        host.active.set(host.active.get() + 1);
        cluster.active.set(cluster.active.get() + 1);
        Self {
            host,
            cluster: Rc::clone(&cluster.active),
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.host
            .active
            .set(self.host.active.get().saturating_sub(1));
        self.cluster.set(self.cluster.get().saturating_sub(1));
    }
}

/// A connection in use for one exchange.
#[derive(Debug)]
pub struct Lease {
    ticket: Ticket,
    sender: Sender,
    /// It has carried an exchange before.
    pub reused: bool,
    body: Option<Replay>,
}

impl Lease {
    /// Takes a connection from the endpoint's pool, or opens one.
    pub async fn acquire(
        ticket: Ticket,
        cluster: &Cluster,
        version: Version,
        downstream: &Downstream,
    ) -> Result<Self, Error> {
        let host = Rc::clone(&ticket.host);
        let now = fairlead_runtime::clock::instant();
        match version {
            Version::Http1 => {
                while let Some(mut sender) = host.pool.take(now) {
                    if sender.is_usable().await {
                        return Ok(Self {
                            ticket,
                            sender,
                            reused: true,
                            body: None,
                        });
                    }
                }
                let sender = open(cluster, &host, version, downstream).await?;
                Ok(Self {
                    ticket,
                    sender,
                    reused: false,
                    body: None,
                })
            }
            Version::Http2 => {
                if let Some(sender) = host.pool.shared(now) {
                    return Ok(Self {
                        ticket,
                        sender,
                        reused: true,
                        body: None,
                    });
                }
                let opening = Rc::clone(&host.pool.opening);
                let _turn = opening.lock().await;
                if let Some(sender) = host.pool.shared(now) {
                    return Ok(Self {
                        ticket,
                        sender,
                        reused: true,
                        body: None,
                    });
                }
                let sender = open(cluster, &host, version, downstream).await?;
                if let Some(shared) = sender.share() {
                    host.pool.share(shared, now);
                }
                Ok(Self {
                    ticket,
                    sender,
                    reused: false,
                    body: None,
                })
            }
        }
    }

    /// Opens a connection for itself alone, past the pool.
    pub async fn open(
        ticket: Ticket,
        cluster: &Cluster,
        downstream: &Downstream,
    ) -> Result<Self, Error> {
        let sender = open(cluster, &ticket.host, Version::Http1, downstream).await?;
        Ok(Self {
            ticket,
            sender,
            reused: false,
            body: None,
        })
    }

    /// Sends a request and waits for the head of its response. `body` is where the request's body
    /// comes from: the connection is free only once that has been sent too.
    pub async fn send(
        &mut self,
        request: Request<Outgoing>,
        body: Option<Replay>,
    ) -> Result<Response<Received>, Failure> {
        self.body = body;
        self.sender.send(request).await
    }

    /// The exchange is over: an HTTP/1.1 connection can take the next one.
    pub fn give_back(self) {
        let Self {
            ticket,
            mut sender,
            body,
            ..
        } = self;
        if matches!(sender, Sender::Http2(_)) {
            return;
        }
        let host = Rc::clone(&ticket.host);
        drop(ticket);
        if body.is_none_or(|body| body.is_over()) {
            host.pool
                .give_back(sender, fairlead_runtime::clock::instant());
            return;
        }
        // The upstream answered before it had the whole request.
        tokio::task::spawn_local(async move {
            if sender.is_usable().await {
                host.pool
                    .give_back(sender, fairlead_runtime::clock::instant());
            }
        });
    }
}

async fn open(
    cluster: &Cluster,
    host: &Host,
    version: Version,
    downstream: &Downstream,
) -> Result<Sender, Error> {
    let tls = |tls: &ClientTls| match version {
        Version::Http1 => Arc::clone(&tls.http1),
        Version::Http2 => Arc::clone(&tls.http2),
    };
    let (stream, _) = connect(cluster, host, downstream, tls).await?;
    Sender::handshake(stream, version)
        .await
        .map_err(|failure| Error::Upstream(failure.kind))
}

/// Opens a connection to an endpoint, with TLS if it speaks it, and tells our end's address.
pub async fn connect(
    cluster: &Cluster,
    host: &Host,
    downstream: &Downstream,
    choose: impl Fn(&ClientTls) -> Arc<ClientConfig>,
) -> Result<(Stream, Option<SocketAddr>), Error> {
    let timeout = cluster.config.connect_timeout();
    let (address, source) = way(cluster, host, downstream);
    let attempt = async {
        let stream = socket::connect(address, source, timeout).await?;
        let local = stream.local_addr().ok();
        let stream = match &host.tls {
            None => Stream::Plain(stream),
            Some(tls) => {
                let connector = TlsConnector::from(choose(tls));
                let handshake = connector.connect(tls.server_name.clone(), stream);
                Stream::Client(Box::new(handshake.await?))
            }
        };
        Ok::<_, io::Error>((stream, local))
    };
    match tokio::time::timeout(timeout, attempt).await {
        Ok(Ok(connected)) => Ok(connected),
        Ok(Err(error)) => Err(Error::Connect(describe(&error))),
        Err(_elapsed) => Err(Error::Connect("connection_timeout".to_owned())),
    }
}

/// Where to connect to, and from where if that matters.
fn way(cluster: &Cluster, host: &Host, downstream: &Downstream) -> (SocketAddr, Option<IpAddr>) {
    let is_own = downstream.is_inbound()
        && matches!(cluster.config.spec.discovery, Discovery::OriginalDst { .. });
    if is_own {
        socket::way_to_application(host.address)
    } else {
        (host.address, None)
    }
}

/// The failure in the words of Envoy's log.
fn describe(error: &io::Error) -> String {
    let reason = match error.kind() {
        io::ErrorKind::ConnectionRefused => "delayed_connect_error:_Connection_refused".to_owned(),
        io::ErrorKind::TimedOut => "connection_timeout".to_owned(),
        io::ErrorKind::HostUnreachable => "delayed_connect_error:_No_route_to_host".to_owned(),
        io::ErrorKind::InvalidData => format!("TLS_error:_{error}"),
        _ => format!("delayed_connect_error:_{error}"),
    };
    reason.replace(' ', "_")
}
