//! Clusters: a set of endpoints and how to talk to them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use serde::Serialize;

use super::endpoint::LoadAssignment;
use super::tls::UpstreamTls;

/// A cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cluster {
    /// Unique name.
    pub name: String,
    /// Where the endpoints come from.
    pub discovery: Discovery,
    /// Limit of a connection's set-up; `None` is Envoy's default of 5 s.
    pub connect_timeout: Option<Duration>,
    /// Which endpoint gets a request.
    pub lb: LbPolicy,
    /// Below this share of healthy endpoints all count as healthy, in percent; `None` is 50.
    pub panic_threshold: Option<u32>,
    /// TLS to endpoints of which no entry of `tls_matches` speaks; `None` is plain text.
    pub tls: Option<UpstreamTls>,
    /// TLS by an endpoint's metadata; the first match wins.
    pub tls_matches: Vec<TlsMatch>,
    /// Which version of HTTP the endpoints speak.
    pub protocol: HttpProtocol,
    /// Limits of the load.
    pub limits: Limits,
    /// Ejection of endpoints that fail; `None` ejects none.
    pub outlier_detection: Option<OutlierDetection>,
    /// Close a connection to an endpoint after so many requests.
    pub max_requests_per_connection: Option<u32>,
    /// Close a connection that is idle for so long; `None` is Envoy's default of 1 h.
    pub idle_timeout: Option<Duration>,
    /// Keep-alive probes of TCP.
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// Address that connections come from; `None` leaves it to the system.
    pub source: Option<IpAddr>,
    /// What it stands for in the mesh.
    pub metadata: ClusterMetadata,
}

impl Cluster {
    /// A cluster with the defaults of the mesh.
    pub fn new(name: impl Into<String>, discovery: Discovery) -> Self {
        let lb = match &discovery {
            Discovery::OriginalDst { .. } => LbPolicy::ClusterProvided,
            Discovery::Eds { .. }
            | Discovery::Static(_)
            | Discovery::StrictDns(_)
            | Discovery::LogicalDns(_) => LbPolicy::LeastRequest,
        };
        Self {
            name: name.into(),
            discovery,
            connect_timeout: Some(Duration::from_secs(10)),
            lb,
            panic_threshold: None,
            tls: None,
            tls_matches: Vec::new(),
            protocol: HttpProtocol::Http1,
            limits: Limits::UNLIMITED,
            outlier_detection: None,
            max_requests_per_connection: None,
            idle_timeout: None,
            tcp_keepalive: None,
            source: None,
            metadata: ClusterMetadata::default(),
        }
    }
}

/// Where endpoints come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Discovery {
    /// From EDS by this name; empty is the cluster's own name.
    Eds {
        /// The name asked for in EDS.
        service_name: String,
    },
    /// As given here.
    Static(LoadAssignment),
    /// Every address that DNS has for the given names.
    StrictDns(LoadAssignment),
    /// The first address that DNS has for the given name, looked up for each new connection.
    LogicalDns(LoadAssignment),
    /// The original destination of the connection.
    OriginalDst {
        /// Connect to this port instead of the original one.
        port: Option<u16>,
    },
}

/// Which endpoint gets a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum LbPolicy {
    /// One after another.
    RoundRobin,
    /// The less loaded of two chosen at random.
    LeastRequest,
    /// At random.
    Random,
    /// By a hash, on a ring.
    RingHash {
        /// How many points the ring has at least; `None` is 1024.
        min_size: Option<u64>,
    },
    /// By a hash, with Maglev's table.
    Maglev {
        /// Size of the table, a prime; `None` is 65537.
        table_size: Option<u64>,
    },
    /// Given by the kind of discovery, as with the original destination.
    ClusterProvided,
}

/// TLS for endpoints whose metadata `envoy.transport_socket_match` has all of `labels`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TlsMatch {
    /// Unique name within the cluster.
    pub name: String,
    /// What the endpoint's metadata must have; empty matches all.
    pub labels: BTreeMap<String, String>,
    /// The TLS to use; `None` is plain text.
    pub tls: Option<UpstreamTls>,
}

/// Which version of HTTP the endpoints speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum HttpProtocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, without TLS by prior knowledge.
    Http2,
    /// The one that the client spoke.
    UseDownstream,
}

/// Limits of a cluster's load; above them requests fail at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Connections; `None` is Envoy's default of 1024.
    pub connections: Option<u32>,
    /// Requests that wait for a connection; `None` is Envoy's default of 1024.
    pub pending_requests: Option<u32>,
    /// Requests under way; `None` is Envoy's default of 1024.
    pub requests: Option<u32>,
    /// Retries under way; `None` is Envoy's default of 3.
    pub retries: Option<u32>,
}

impl Limits {
    /// The mesh's default: no limit.
    pub const UNLIMITED: Self = Self {
        connections: Some(u32::MAX),
        pending_requests: Some(u32::MAX),
        requests: Some(u32::MAX),
        retries: Some(u32::MAX),
    };
    /// Envoy's own defaults.
    pub const DEFAULT: Self = Self {
        connections: None,
        pending_requests: None,
        requests: None,
        retries: None,
    };
}

/// Ejection of endpoints that fail; `None` of a field is Envoy's default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize)]
pub struct OutlierDetection {
    /// So many answers of 5xx in a row eject; 5 by default.
    pub consecutive_5xx: Option<u32>,
    /// So many answers of 502, 503 or 504 in a row eject, if `enforcing_gateway_failure`.
    pub consecutive_gateway_failure: Option<u32>,
    /// How many of a hundred such ejections by 5xx happen; 100 by default.
    pub enforcing_5xx: Option<u32>,
    /// How many of a hundred such ejections by gateway failures happen; 0 by default.
    pub enforcing_gateway_failure: Option<u32>,
    /// So many failures to connect in a row eject, if origins are told apart; 5 by default.
    pub consecutive_local_origin_failure: Option<u32>,
    /// Tell failures of our own (connect, time-out) from those of the endpoint.
    pub split_local_origin: bool,
    /// How often ejections are looked through; 10 s by default.
    pub interval: Option<Duration>,
    /// Length of the first ejection; 30 s by default.
    pub base_ejection_time: Option<Duration>,
    /// How many of a hundred endpoints may be ejected; 10 by default.
    pub max_ejection_percent: Option<u32>,
    /// How many of a hundred ejections by success rate happen; 100 by default.
    pub enforcing_success_rate: Option<u32>,
}

/// Keep-alive probes of TCP; `None` of a field is the system's default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize)]
pub struct TcpKeepalive {
    /// Probes without an answer until the connection is dead.
    pub probes: Option<u32>,
    /// Seconds of idleness before the first probe.
    pub time: Option<u32>,
    /// Seconds between probes.
    pub interval: Option<u32>,
}

/// What a cluster stands for in the mesh (`filter_metadata.istio`).
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize)]
pub struct ClusterMetadata {
    /// The services it serves.
    pub services: Vec<ServiceRef>,
    /// The subset of the service; empty is all of it.
    pub subset: String,
    /// The configuration object that shaped it, as a path in the Kubernetes API.
    pub config: Option<String>,
}

/// A service as metrics name it.
#[derive(Clone, Debug, PartialEq, Eq, Default, PartialOrd, Ord, Serialize)]
pub struct ServiceRef {
    /// Full host name.
    pub host: String,
    /// Name of the Service or ServiceEntry.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
}
