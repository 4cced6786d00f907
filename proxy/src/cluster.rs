//! A cluster as one worker runs it: its endpoints, what is under way to them, and whom to choose.
//!
//! Belongs to one thread; nothing here is shared with other workers.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use fairlead_xds::resource::cluster::{Discovery, LbPolicy};
use tokio::time::Instant;

pub mod balance;
pub mod outlier;
pub mod pool;

use self::outlier::Health;
use self::pool::Pool;
use crate::config;
use crate::config::cluster::ClientTls;
use crate::telemetry::Peer;
use crate::telemetry::metrics::Id;

/// A cluster.
#[derive(Debug)]
pub struct Cluster {
    /// What it is.
    pub config: Arc<config::Cluster>,
    /// The number that stands for its service in this worker's metrics.
    pub service: Id,
    hosts: Vec<Rc<Host>>,
    originals: RefCell<HashMap<SocketAddr, Rc<Host>>>,
    turn: Cell<usize>,
    /// Requests under way.
    pub active: Rc<Cell<u32>>,
}

/// An endpoint.
#[derive(Debug)]
pub struct Host {
    /// Where it is.
    pub address: SocketAddr,
    /// Its host name, if it has one.
    pub hostname: String,
    /// Its share.
    pub weight: u32,
    /// Who it is, for metrics.
    pub peer: Peer,
    /// The number that stands for `peer` in this worker's metrics.
    pub peer_id: Id,
    /// How to speak TLS to it.
    pub tls: Option<ClientTls>,
    /// Requests and connections under way.
    pub active: Cell<u32>,
    /// Connections that wait for requests.
    pub pool: Pool,
    /// How it has done lately.
    pub health: Health,
}

/// Why there is no endpoint for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The cluster has none that could take it.
    NoHealthyUpstream,
    /// Its limit of requests under way is reached.
    Overflow,
}

/// Envoy's limit of requests under way where none is given.
const DEFAULT_MAX_REQUESTS: u32 = 1024;
/// Endpoints of original destinations that are remembered; beyond it, idle ones are forgotten.
const MAX_ORIGINALS: usize = 1024;

impl Cluster {
    /// A cluster that takes over the endpoints, and with them the connections, that `previous`
    /// had already. `intern` gives the numbers that stand for names in metrics.
    pub fn new(
        config: Arc<config::Cluster>,
        previous: Option<&Self>,
        metrics: &RefCell<crate::telemetry::Metrics>,
    ) -> Self {
        // A changed TLS context must not be evaded by old connections.
        let keep = previous.filter(|p| Arc::ptr_eq(&p.config.transport, &config.transport));
        let known: HashMap<SocketAddr, &Rc<Host>> = keep
            .iter()
            .flat_map(|p| &p.hosts)
            .map(|host| (host.address, host))
            .collect();
        let mut metrics = metrics.borrow_mut();
        let hosts = config
            .endpoints
            .iter()
            .map(|endpoint| match known.get(&endpoint.address) {
                Some(host) if host.is_same(endpoint) => Rc::clone(host),
                _ => Rc::new(Host::new(endpoint, metrics.peer(&endpoint.peer))),
            })
            .collect();
        Self {
            service: metrics.service(&config.service),
            hosts,
            originals: RefCell::new(
                keep.map(|p| p.originals.borrow().clone())
                    .unwrap_or_default(),
            ),
            turn: Cell::new(0),
            active: previous.map(|p| Rc::clone(&p.active)).unwrap_or_default(),
            config,
        }
    }

    /// The endpoint for the next request; `tried` are to be avoided if others are there. Requests
    /// with the same `key` get the same one, where the cluster's policy wants that.
    pub fn choose(
        &self,
        destination: SocketAddr,
        tried: &[SocketAddr],
        key: Option<u64>,
        now: Instant,
        mut roll: impl FnMut() -> u64,
    ) -> Result<Rc<Host>, Refusal> {
        let limit = self
            .config
            .spec
            .limits
            .requests
            .unwrap_or(DEFAULT_MAX_REQUESTS);
        if self.active.get() >= limit {
            return Err(Refusal::Overflow);
        }
        if let Discovery::OriginalDst { port } = self.config.spec.discovery {
            let port = port.unwrap_or_else(|| destination.port());
            return Ok(self.original(SocketAddr::new(destination.ip(), port)));
        }
        let available =
            |host: &&Rc<Host>| !host.health.is_ejected(now) && !tried.contains(&host.address);
        let mut candidates: Vec<&Rc<Host>> = self.hosts.iter().filter(available).collect();
        if candidates.is_empty() {
            // Rather one that was tried or is ejected than none.
            candidates = self.hosts.iter().collect();
        }
        let chosen = match self.config.spec.lb {
            LbPolicy::RoundRobin => balance::round_robin(&candidates, &self.turn),
            LbPolicy::Random => balance::random(&candidates, roll()),
            LbPolicy::RingHash { .. } | LbPolicy::Maglev { .. } => match key {
                Some(key) => balance::by_hash(&candidates, key),
                // A request that nothing binds may go anywhere.
                None => balance::random(&candidates, roll()),
            },
            LbPolicy::LeastRequest | LbPolicy::ClusterProvided => {
                balance::least_request(&candidates, roll(), roll())
            }
        };
        chosen.map(Rc::clone).ok_or(Refusal::NoHealthyUpstream)
    }

    /// How many endpoints there are, for ejection's limits.
    pub fn hosts(&self) -> &[Rc<Host>] {
        &self.hosts
    }

    /// All endpoints, those of original destinations too.
    pub fn every_host(&self) -> Vec<Rc<Host>> {
        let originals = self.originals.borrow();
        self.hosts
            .iter()
            .chain(originals.values())
            .map(Rc::clone)
            .collect()
    }

    /// Closes connections that have been idle for too long, and forgets idle destinations.
    pub fn sweep(&self, now: Instant) {
        for host in &self.hosts {
            host.pool.sweep(now);
        }
        self.originals.borrow_mut().retain(|_, host| {
            host.pool.sweep(now);
            host.active.get() > 0 || !host.pool.is_empty()
        });
    }

    fn original(&self, address: SocketAddr) -> Rc<Host> {
        let mut originals = self.originals.borrow_mut();
        if originals.len() >= MAX_ORIGINALS {
            originals.retain(|_, host| host.active.get() > 0);
        }
        let host = originals.entry(address).or_insert_with(|| {
            let endpoint = config::Endpoint {
                address,
                hostname: String::new(),
                weight: 1,
                peer: Peer::default(),
                tls: self.config.transport.of(None).cloned(),
            };
            Rc::new(Host::new(&endpoint, Id::UNKNOWN))
        });
        Rc::clone(host)
    }
}

impl Host {
    #[cfg(test)]
    pub(crate) fn for_tests(address: SocketAddr, weight: u32) -> Self {
        let endpoint = config::Endpoint {
            address,
            hostname: String::new(),
            weight,
            peer: Peer::default(),
            tls: None,
        };
        Self::new(&endpoint, Id::UNKNOWN)
    }

    fn new(endpoint: &config::Endpoint, peer_id: Id) -> Self {
        let config::Endpoint {
            address,
            hostname,
            weight,
            peer,
            tls,
        } = endpoint.clone();
        let in_mesh = tls.as_ref().is_some_and(|tls| tls.mutual);
        Self {
            address,
            hostname,
            weight,
            peer,
            peer_id,
            tls,
            active: Cell::new(0),
            pool: Pool::new(in_mesh),
            health: Health::default(),
        }
    }

    fn is_same(&self, endpoint: &config::Endpoint) -> bool {
        self.address == endpoint.address
            && self.hostname == endpoint.hostname
            && self.weight == endpoint.weight
            && self.peer == endpoint.peer
            && self.tls.is_some() == endpoint.tls.is_some()
    }
}
