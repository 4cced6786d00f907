//! Connections whose bytes are passed on as they are.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use fairlead_xds::resource::listener::TcpProxy;
use jiff::Timestamp;
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::downstream::Downstream;
use crate::http::respond;
use crate::http::upstream::{self, Ticket};
use crate::stream::Stream;
use crate::telemetry::access_log::Line;
use crate::telemetry::metrics::{Ends, Id, Protocol, Reporter, Security};
use crate::telemetry::{Flag, Flags};
use crate::worker::Worker;

pub mod copy;

use self::copy::Counts;

/// Why a connection could not be passed on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration names no cluster, or one that does not exist.
    #[error("the cluster `{0}` does not exist")]
    NoCluster(String),
    /// No endpoint could be connected to.
    #[error("failed to reach an endpoint of `{cluster}`")]
    Connect {
        /// The cluster.
        cluster: String,
        /// Why.
        #[source]
        source: respond::Error,
    },
}

/// Envoy's limit for connections on which nothing happens, where none is given.
const DEFAULT_IDLE: Duration = Duration::from_secs(3600);
/// How often long connections are counted and looked at.
const TICK: Duration = Duration::from_secs(5);
/// Endpoints that are tried before the connection is given up: nothing has been sent yet, so
/// another one is as good.
const ATTEMPTS: usize = 3;

/// Passes a connection on to one of the clusters, until either side ends it.
pub async fn serve(
    worker: &Rc<Worker>,
    stream: Stream,
    downstream: &Downstream,
    proxy: &TcpProxy,
) -> Result<(), Error> {
    let mut record = Record::begin(worker, downstream);
    let result = forward(&mut record, stream, proxy).await;
    record.finish();
    result
}

async fn forward(record: &mut Record<'_>, stream: Stream, proxy: &TcpProxy) -> Result<(), Error> {
    let worker = record.worker;
    let total: u64 = proxy
        .clusters
        .iter()
        .map(|(_, weight)| u64::from(*weight))
        .sum();
    let weights = proxy.clusters.iter().map(|(_, weight)| *weight);
    let chosen = fairlead_routing::pick(weights, worker.spread(total.max(1)));
    let name = chosen
        .and_then(|index| proxy.clusters.get(index))
        .map(|(name, _)| name.as_str());
    let name = name.unwrap_or_default();
    let cluster = worker.cluster(name).ok_or_else(|| {
        record.flags.set(Flag::NoClusterFound);
        Error::NoCluster(name.to_owned())
    })?;
    record.cluster = Some(Rc::clone(&cluster));
    let (_ticket, upstream) = connect(record, &cluster).await.map_err(|source| {
        if let Some(flag) = source.flag() {
            record.flags.set(flag);
        }
        Error::Connect {
            cluster: name.to_owned(),
            source,
        }
    })?;
    record.open();
    let counts = Rc::clone(&record.counts);
    let copied = copy::both_ways(stream, upstream, &counts);
    let mut copied = std::pin::pin!(copied);
    let idle = proxy.idle_timeout.unwrap_or(DEFAULT_IDLE);
    let mut ticks = tokio::time::interval(TICK);
    let mut active = fairlead_runtime::clock::instant();
    loop {
        tokio::select! {
            // Either side may end a connection at any time, in whichever way.
            _ended = &mut copied => return Ok(()),
            now = ticks.tick() => {
                if record.count() {
                    active = now;
                } else if !idle.is_zero() && now.saturating_duration_since(active) >= idle {
                    return Ok(());
                }
            }
            () = worker.drain.closing() => return Ok(()),
        }
    }
}

async fn connect(
    record: &mut Record<'_>,
    cluster: &Rc<Cluster>,
) -> Result<(Ticket, Stream), respond::Error> {
    let (worker, downstream) = (record.worker, record.downstream);
    let mut tried: Vec<SocketAddr> = Vec::new();
    loop {
        let now = fairlead_runtime::clock::instant();
        let host = cluster
            .choose(downstream.destination, &tried, None, now, || worker.roll())
            .map_err(respond::Error::from)?;
        let ticket = Ticket::new(cluster, host);
        record.host = Some((ticket.host.address, ticket.host.peer_id));
        let tls = |tls: &crate::config::ClientTls| Arc::clone(&tls.tcp);
        match upstream::connect(cluster, &ticket.host, downstream, tls).await {
            Ok((stream, local)) => {
                record.local = local;
                return Ok((ticket, stream));
            }
            Err(error) => {
                tried.push(ticket.host.address);
                let again = tried.len() < ATTEMPTS.min(cluster.hosts().len());
                if !again {
                    return Err(error);
                }
            }
        }
    }
}

/// What is counted and logged about one connection.
struct Record<'a> {
    worker: &'a Rc<Worker>,
    downstream: &'a Downstream,
    started: Instant,
    wall: Timestamp,
    cluster: Option<Rc<Cluster>>,
    host: Option<(SocketAddr, Id)>,
    local: Option<SocketAddr>,
    flags: Flags,
    counts: Rc<Counts>,
    counted: (u64, u64),
    opened: bool,
}

impl<'a> Record<'a> {
    fn begin(worker: &'a Rc<Worker>, downstream: &'a Downstream) -> Self {
        Self {
            worker,
            downstream,
            started: fairlead_runtime::clock::instant(),
            wall: fairlead_runtime::clock::now(),
            cluster: None,
            host: None,
            local: None,
            flags: Flags::default(),
            counts: Rc::default(),
            counted: (0, 0),
            opened: false,
        }
    }

    fn ends(&self) -> Ends {
        let inbound = self.downstream.is_inbound();
        let source = if inbound {
            self.downstream.source(self.worker, None)
        } else {
            self.worker.me_id
        };
        let destination = if inbound {
            self.worker.me_id
        } else {
            self.host.map_or(Id::UNKNOWN, |(_, peer)| peer)
        };
        Ends {
            reporter: if inbound {
                Reporter::Destination
            } else {
                Reporter::Source
            },
            source,
            destination,
            service: self
                .cluster
                .as_ref()
                .map_or(Id::UNKNOWN, |cluster| cluster.service),
            protocol: Protocol::Tcp,
            security: if inbound {
                self.downstream.security()
            } else {
                Security::Unknown
            },
        }
    }

    fn open(&mut self) {
        self.opened = true;
        let ends = self.ends();
        self.worker
            .metrics
            .borrow_mut()
            .connections(ends, self.flags)
            .opened += 1;
    }

    /// Counts the bytes since the last time, and tells whether there were any.
    fn count(&mut self) -> bool {
        let now = (
            self.counts.to_downstream.get(),
            self.counts.to_upstream.get(),
        );
        if now == self.counted {
            return false;
        }
        let ends = self.ends();
        let mut metrics = self.worker.metrics.borrow_mut();
        let values = metrics.connections(ends, self.flags);
        values.sent += now.0 - self.counted.0;
        values.received += now.1 - self.counted.1;
        self.counted = now;
        true
    }

    fn finish(&mut self) {
        self.count();
        if self.opened {
            let ends = self.ends();
            self.worker
                .metrics
                .borrow_mut()
                .connections(ends, self.flags)
                .closed += 1;
        }
        if !self.worker.log.is_on() {
            return;
        }
        let now = fairlead_runtime::clock::instant();
        self.worker.log.write(&Line {
            start: self.wall,
            request: None,
            code: 0,
            flags: self.flags,
            details: "",
            transport_failure: "",
            received: self.counts.to_upstream.get(),
            sent: self.counts.to_downstream.get(),
            duration_ms: now.saturating_duration_since(self.started).as_millis(),
            service_time: None,
            forwarded_for: None,
            user_agent: None,
            request_id: None,
            authority: None,
            upstream_host: self.host.map(|(address, _)| address),
            upstream_cluster: self
                .cluster
                .as_ref()
                .map_or("", |c| c.config.spec.name.as_str()),
            upstream_local: self.local,
            downstream_local: self.downstream.destination,
            downstream_remote: self.downstream.remote,
            server_name: self.downstream.server_name.as_deref(),
            route: "",
        });
    }
}
