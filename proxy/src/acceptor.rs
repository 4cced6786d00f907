//! A worker's listeners: accepts connections, finds out what they are and hands them on.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use fairlead_xds::resource::listener::ListenerFilter;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::config::Snapshot;
use crate::config::listener::{Handler, Listener, Termination};
use crate::detect;
use crate::downstream::Downstream;
use crate::drain::Drain;
use crate::http::connection;
use crate::stream::Stream;
use crate::worker::Worker;
use crate::{http, socket, tcp};

/// A peer that does not finish its TLS handshake in this time is cut off.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// After the process ran out of file descriptors, waits this long for some to be closed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The listeners that one worker has open.
#[derive(Debug)]
pub struct Acceptor {
    worker: Rc<Worker>,
    open: HashMap<String, Open>,
}

/// An open listener. Its configuration can be replaced while it stays open.
#[derive(Debug)]
struct Open {
    address: SocketAddr,
    current: Rc<RefCell<Generation>>,
    task: JoinHandle<()>,
}

/// One configuration of a listener, with the end of the connections that it handles.
#[derive(Debug, Clone)]
struct Generation {
    listener: Arc<Listener>,
    drain: Drain,
}

impl Acceptor {
    /// No listeners yet.
    pub fn new(worker: Rc<Worker>) -> Self {
        Self {
            worker,
            open: HashMap::new(),
        }
    }

    /// Opens, changes and closes listeners as `snapshot` says, and tells what could not be done.
    pub fn apply(&mut self, snapshot: &Snapshot) -> Vec<String> {
        let mut problems = Vec::new();
        let wanted = |name: &String, address: SocketAddr| {
            snapshot
                .listeners
                .get(name)
                .is_some_and(|l| l.spec.bind_to_port && l.spec.address == address)
        };
        let gone: Vec<String> = self
            .open
            .iter()
            .filter(|(name, open)| !wanted(name, open.address))
            .map(|(name, _)| name.clone())
            .collect();
        for open in gone.iter().filter_map(|name| self.open.remove(name)) {
            open.close();
        }
        for (name, listener) in &snapshot.listeners {
            if !listener.spec.bind_to_port {
                continue;
            }
            if let Some(open) = self.open.get(name) {
                open.replace(listener, &self.worker.drain);
                continue;
            }
            match self.open(listener) {
                Ok(open) => {
                    self.open.insert(name.clone(), open);
                }
                Err(error) => {
                    let address = listener.spec.address;
                    problems.push(format!(
                        "listener `{name}`: cannot listen on {address}: {error}"
                    ));
                }
            }
        }
        problems
    }

    /// Closes all listeners; connections go on.
    pub fn stop(&mut self) {
        for (_, open) in self.open.drain() {
            open.task.abort();
        }
    }

    fn open(&self, listener: &Arc<Listener>) -> io::Result<Open> {
        let address = listener.spec.address;
        let socket = socket::listen(address)?;
        let current = Rc::new(RefCell::new(Generation {
            listener: Arc::clone(listener),
            drain: self.worker.drain.child(),
        }));
        let task =
            tokio::task::spawn_local(accept(Rc::clone(&self.worker), socket, Rc::clone(&current)));
        Ok(Open {
            address,
            current,
            task,
        })
    }
}

impl Open {
    /// Connections under the old configuration are asked to leave, if it really is another one: a
    /// rule that forbids plain text must not be evaded by staying connected.
    fn replace(&self, listener: &Arc<Listener>, drain: &Drain) {
        let mut current = self.current.borrow_mut();
        if Arc::ptr_eq(&current.listener, listener) {
            return;
        }
        if current.listener.spec != listener.spec {
            current.drain.start();
            current.drain = drain.child();
        }
        current.listener = Arc::clone(listener);
    }

    fn close(self) {
        self.task.abort();
        self.current.borrow().drain.start();
    }
}

async fn accept(worker: Rc<Worker>, socket: TcpListener, current: Rc<RefCell<Generation>>) {
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            () = worker.drain.closing() => return,
        };
        match accepted {
            Ok((stream, remote)) => {
                let generation = current.borrow().clone();
                let worker = Rc::clone(&worker);
                tokio::task::spawn_local(async move {
                    let _connected = worker.connected();
                    let served = serve(&worker, stream, socket::canonical(remote), generation);
                    if let Err(error) = served.await {
                        tracing::debug!(
                            %remote,
                            error = %fairlead_runtime::report(&error),
                            "a connection ended"
                        );
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "failed to accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Why a connection could not be served.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("failed to read from the socket")]
    Socket(#[source] io::Error),
    #[error("no filter chain takes a connection to {destination}")]
    NoChain { destination: SocketAddr },
    #[error("secret `{0}` is not there yet")]
    MissingSecret(String),
    #[error("failed in the TLS handshake")]
    Handshake(#[source] io::Error),
    #[error("failed to serve HTTP")]
    Http(#[source] connection::ServeFailed),
    #[error("failed to pass bytes on")]
    Tcp(#[source] tcp::Error),
}

async fn serve(
    worker: &Rc<Worker>,
    stream: TcpStream,
    remote: SocketAddr,
    Generation { listener, drain }: Generation,
) -> Result<(), Error> {
    socket::prepare(&stream).map_err(Error::Socket)?;
    let redirected =
        listener.spec.use_original_dst || listener.inspects(ListenerFilter::OriginalDst);
    let destination = if redirected {
        socket::original_destination(&stream)
    } else {
        stream.local_addr()
    };
    let destination = socket::canonical(destination.map_err(Error::Socket)?);
    let listener = if listener.spec.use_original_dst {
        original(&worker.snapshot.borrow(), destination).unwrap_or(listener)
    } else {
        listener
    };
    let seen = detect::inspect(&stream, &listener, destination)
        .await
        .map_err(Error::Socket)?;
    let chain = listener
        .choose(destination, &seen)
        .ok_or(Error::NoChain { destination })?
        .clone();
    let mut stream = match &chain.tls {
        Termination::None => Stream::Plain(stream),
        Termination::Missing(secret) => return Err(Error::MissingSecret(secret.clone())),
        Termination::Terminate { config, .. } => {
            let handshake = TlsAcceptor::from(Arc::clone(config)).accept(stream);
            let stream = tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake)
                .await
                .map_err(|_elapsed| Error::Handshake(io::ErrorKind::TimedOut.into()))?
                .map_err(Error::Handshake)?;
            Stream::Server(Box::new(stream))
        }
    };
    let mut downstream = Downstream::new(remote, destination, listener.spec.direction, &stream);
    downstream.server_name = seen.server_name;
    match chain.handler {
        Handler::Tcp(proxy) => tcp::serve(worker, stream, &downstream, &proxy)
            .await
            .map_err(Error::Tcp),
        Handler::Http(filter) => {
            let version = detect::http_version(&mut stream, filter.spec.codec);
            downstream.version = version.await.map_err(Error::Socket)?;
            let version = downstream.version;
            let context = Rc::new(http::router::Context {
                worker: Rc::clone(worker),
                downstream: Rc::new(downstream),
                filter,
                drain: drain.clone(),
            });
            connection::serve(stream, version, drain, move |request| {
                http::router::respond(Rc::clone(&context), request)
            })
            .await
            .map_err(Error::Http)
        }
    }
}

/// The listener that stands for an original destination: of this address and port, else of this
/// port at any address.
fn original(snapshot: &Snapshot, destination: SocketAddr) -> Option<Arc<Listener>> {
    let any: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
    let wildcard = any.map(|ip| SocketAddr::new(ip, destination.port()));
    std::iter::once(destination)
        .chain(wildcard)
        .find_map(|address| snapshot.originals.get(&address))
        .map(Arc::clone)
}
