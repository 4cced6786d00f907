//! Endpoints of a cluster.

use std::fmt;
use std::net::SocketAddr;

use serde::Serialize;

/// The endpoints of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize)]
pub struct LoadAssignment {
    /// The name asked for in EDS.
    pub cluster: String,
    /// Endpoints by locality and priority.
    pub localities: Vec<LocalityEndpoints>,
}

/// The endpoints of one locality.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize)]
pub struct LocalityEndpoints {
    /// Where they are.
    pub locality: Locality,
    /// Share of the locality; `None` takes no part in weighting by locality.
    pub weight: Option<u32>,
    /// Zero is preferred; the next is used when those before are not healthy enough.
    pub priority: u32,
    /// The endpoints.
    pub endpoints: Vec<Endpoint>,
}

/// A place.
#[derive(Clone, Debug, PartialEq, Eq, Default, PartialOrd, Ord, Hash, Serialize)]
pub struct Locality {
    /// Region.
    pub region: String,
    /// Zone in the region.
    pub zone: String,
    /// Part of the zone.
    pub sub_zone: String,
}

/// One endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Endpoint {
    /// Where it is.
    pub address: Address,
    /// Its host name, for `HostRewrite::Endpoint`; empty has none.
    pub hostname: String,
    /// Share among those of its locality; `None` is 1.
    pub weight: Option<u32>,
    /// Health as the control plane knows it.
    pub health: Health,
    /// The workload behind it, for metrics.
    pub workload: Option<Workload>,
    /// The TLS it speaks (`istio`, `disabled`), for `tls_matches` of the cluster.
    pub tls_mode: Option<String>,
}

impl Endpoint {
    /// A healthy endpoint of which nothing else is known.
    pub fn new(address: Address) -> Self {
        Self {
            address,
            hostname: String::new(),
            weight: None,
            health: Health::Healthy,
            workload: None,
            tls_mode: None,
        }
    }
}

/// Where an endpoint is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Address {
    /// At an IP address.
    Socket(SocketAddr),
    /// At a name to be looked up.
    Name {
        /// The name.
        host: String,
        /// The port.
        port: u16,
    },
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(address) => address.fmt(f),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

/// Health as the control plane knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum Health {
    /// Gets requests; nothing is said, or it is said to be healthy.
    Healthy,
    /// Gets none.
    Unhealthy,
    /// Gets no new ones.
    Draining,
    /// Gets requests when there are not enough healthy ones.
    Degraded,
}

/// A workload as metrics name it (`filter_metadata.istio.workload`).
#[derive(Clone, Debug, PartialEq, Eq, Default, PartialOrd, Ord, Hash, Serialize)]
pub struct Workload {
    /// Name of the Deployment or the like.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Canonical service.
    pub canonical_name: String,
    /// Canonical revision.
    pub canonical_revision: String,
    /// The cluster of Kubernetes.
    pub cluster: String,
}

impl Workload {
    /// Reads `name;namespace;canonical name;canonical revision;cluster`; missing parts are empty.
    pub fn parse(text: &str) -> Self {
        let mut parts = text.splitn(5, ';').map(str::to_owned);
        let mut next = || parts.next().unwrap_or_default();
        Self {
            name: next(),
            namespace: next(),
            canonical_name: next(),
            canonical_revision: next(),
            cluster: next(),
        }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{};{};{};{};{}",
            self.name, self.namespace, self.canonical_name, self.canonical_revision, self.cluster
        )
    }
}
