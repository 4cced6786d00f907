//! Clusters with their endpoints and TLS, compiled; no IO.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fairlead_routing::StringMatch;
use fairlead_routing::text::Pattern;
use fairlead_xds::resource::UpstreamTls;
use fairlead_xds::resource::cluster::{Cluster as Spec, Discovery, HttpProtocol};
use fairlead_xds::resource::endpoint::{Address, Health, LoadAssignment};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;

use super::Error;
use crate::telemetry::{Peer, Service};
use crate::tls::verify::Names;
use crate::tls::{self, client::Expect};
use crate::xds::secrets::Secrets;

/// A cluster.
#[derive(Debug)]
pub struct Cluster {
    /// What the control plane said.
    pub spec: Arc<Spec>,
    /// TLS of its endpoints.
    pub transport: Arc<Transport>,
    /// The endpoints that can take requests, of the most preferred priority that has some.
    pub endpoints: Vec<Endpoint>,
    /// The service that it stands for, for metrics.
    pub service: Service,
}

/// TLS contexts of a cluster, by endpoint.
#[derive(Debug, Default)]
pub struct Transport {
    default: Option<ClientTls>,
    matches: Vec<(
        std::collections::BTreeMap<String, String>,
        Option<ClientTls>,
    )>,
}

/// TLS toward an endpoint, one configuration for each kind of traffic.
#[derive(Debug, Clone)]
pub struct ClientTls {
    /// For HTTP/1.1.
    pub http1: Arc<ClientConfig>,
    /// For HTTP/2.
    pub http2: Arc<ClientConfig>,
    /// For bytes.
    pub tcp: Arc<ClientConfig>,
    /// The server name that we ask for.
    pub server_name: ServerName<'static>,
    /// Both ends prove who they are.
    pub mutual: bool,
    /// Whom we expect, where that is exactly one: then a successful handshake proves it.
    pub principal: Option<String>,
}

/// An endpoint.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Where it is.
    pub address: SocketAddr,
    /// Its host name, if the route wants it as authority.
    pub hostname: String,
    /// Its share.
    pub weight: u32,
    /// The workload behind it, for metrics.
    pub peer: Peer,
    /// How to speak TLS to it.
    pub tls: Option<ClientTls>,
}

impl Endpoint {
    /// Whether both are the same place with the same properties, TLS left aside.
    pub fn is_same(&self, other: &Self) -> bool {
        let Self {
            address,
            hostname,
            weight,
            peer,
            tls,
        } = self;
        *address == other.address
            && *hostname == other.hostname
            && *weight == other.weight
            && *peer == other.peer
            && tls.is_some() == other.tls.is_some()
    }
}

/// The mesh's limit for the set-up of a connection where none is given.
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

impl Cluster {
    /// Joins a cluster with its endpoints. `assignment` is what EDS or DNS says of it.
    pub fn compile(
        spec: &Arc<Spec>,
        transport: &Arc<Transport>,
        assignment: Option<&LoadAssignment>,
    ) -> Self {
        let service = spec.metadata.services.first();
        let assignment = match &spec.discovery {
            Discovery::Static(assignment) => Some(assignment),
            Discovery::Eds { .. }
            | Discovery::StrictDns(_)
            | Discovery::LogicalDns(_)
            | Discovery::OriginalDst { .. } => assignment,
        };
        Self {
            spec: Arc::clone(spec),
            transport: Arc::clone(transport),
            endpoints: assignment
                .map(|a| preferred(a, transport))
                .unwrap_or_default(),
            service: service.map_or_else(
                || Service::unresolved(&spec.name),
                |service| Service {
                    host: service.host.clone(),
                    name: service.name.clone(),
                    namespace: service.namespace.clone(),
                },
            ),
        }
    }

    /// Whether both have the same endpoints behind the same TLS.
    pub fn has_same_endpoints(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.spec, &other.spec)
            && Arc::ptr_eq(&self.transport, &other.transport)
            && self.endpoints.len() == other.endpoints.len()
            && self
                .endpoints
                .iter()
                .zip(&other.endpoints)
                .all(|(a, b)| a.is_same(b))
    }

    /// How long the set-up of a connection may take.
    pub fn connect_timeout(&self) -> Duration {
        self.spec.connect_timeout.unwrap_or(DEFAULT_CONNECT_TIMEOUT)
    }

    /// Which version of HTTP to speak to its endpoints, for a request that came as `downstream`.
    pub fn version(
        &self,
        downstream: crate::http::connection::Version,
    ) -> crate::http::connection::Version {
        use crate::http::connection::Version;
        match self.spec.protocol {
            HttpProtocol::Http1 => Version::Http1,
            HttpProtocol::Http2 => Version::Http2,
            HttpProtocol::UseDownstream => downstream,
        }
    }
}

/// The endpoints of the first priority that has any that may take requests.
fn preferred(assignment: &LoadAssignment, transport: &Transport) -> Vec<Endpoint> {
    let mut localities: Vec<_> = assignment.localities.iter().collect();
    localities.sort_by_key(|locality| locality.priority);
    for wanted in [
        [Health::Healthy, Health::Healthy],
        [Health::Degraded, Health::Healthy],
    ] {
        for group in localities.chunk_by(|a, b| a.priority == b.priority) {
            let endpoints: Vec<_> = group
                .iter()
                .flat_map(|locality| &locality.endpoints)
                .filter(|endpoint| wanted.contains(&endpoint.health))
                .filter_map(|endpoint| {
                    let Address::Socket(address) = endpoint.address else {
                        return None;
                    };
                    let workload = endpoint.workload.as_ref();
                    let tls = transport.of(endpoint.tls_mode.as_deref()).cloned();
                    let mut peer = workload.map(peer_of).unwrap_or_default();
                    if let Some(principal) = tls.as_ref().and_then(|tls| tls.principal.clone()) {
                        peer.principal = principal;
                    }
                    Some(Endpoint {
                        address,
                        hostname: endpoint.hostname.clone(),
                        weight: endpoint.weight.unwrap_or(1).max(1),
                        peer,
                        tls,
                    })
                })
                .collect();
            if !endpoints.is_empty() {
                return endpoints;
            }
        }
    }
    Vec::new()
}

fn peer_of(workload: &fairlead_xds::resource::endpoint::Workload) -> Peer {
    Peer {
        workload: workload.name.clone(),
        namespace: workload.namespace.clone(),
        canonical_service: workload.canonical_name.clone(),
        canonical_revision: workload.canonical_revision.clone(),
        cluster: workload.cluster.clone(),
        principal: String::new(),
    }
}

impl Transport {
    /// Builds the TLS configurations of a cluster.
    ///
    /// A context whose secrets are not there yet is `None` in the map of [`Secrets`] and makes
    /// this fail with the secret's name; the cluster is compiled again when they come.
    pub fn compile(spec: &Spec, secrets: &Secrets<'_>) -> Result<Self, Error> {
        let build = |tls: &Option<UpstreamTls>| match tls {
            Some(tls) => ClientTls::compile(tls, secrets).map(Some),
            None => Ok(None),
        };
        Ok(Self {
            default: build(&spec.tls)?,
            matches: spec
                .tls_matches
                .iter()
                .map(|entry| Ok((entry.labels.clone(), build(&entry.tls)?)))
                .collect::<Result<_, Error>>()?,
        })
    }

    /// TLS for an endpoint that says of itself that it speaks `mode`.
    pub fn of(&self, mode: Option<&str>) -> Option<&ClientTls> {
        let found = self.matches.iter().find(|(labels, _)| {
            labels
                .iter()
                .all(|(key, value)| key == "tlsMode" && mode == Some(value.as_str()))
        });
        match found {
            Some((_, tls)) => tls.as_ref(),
            None => self.default.as_ref(),
        }
    }
}

impl ClientTls {
    fn compile(spec: &UpstreamTls, secrets: &Secrets<'_>) -> Result<Self, Error> {
        let names = spec
            .validation
            .as_ref()
            .map(|v| v.subject_alt_names.as_slice());
        let names = names.unwrap_or_default();
        let expected = names
            .iter()
            .map(StringMatch::compile)
            .collect::<Result<Vec<_>, _>>()
            .map_err(Error::SubjectName)?;
        let in_mesh = spec.certificate.as_deref() == Some(crate::xds::secrets::OWN_CERTIFICATE);
        let sni = if spec.sni.is_empty() {
            NO_NAME
        } else {
            &spec.sni
        };
        let server_name = ServerName::try_from(sni.to_owned())
            .map_err(|_error| Error::ServerName(sni.to_owned()))?;
        let (http1, http2, tcp) = if in_mesh {
            (
                alpn(&[tls::ALPN_MESH_HTTP1, tls::ALPN_MESH_TCP, b"http/1.1"]),
                alpn(&[tls::ALPN_MESH_HTTP2, tls::ALPN_MESH_TCP, b"h2"]),
                alpn(&[tls::ALPN_MESH_TCP]),
            )
        } else {
            (alpn(&[b"http/1.1"]), alpn(&[b"h2"]), alpn(&[]))
        };
        let expect = match &spec.validation {
            _ if !expected.is_empty() => Expect::Names(Names::OneOf(expected)),
            _ if in_mesh => Expect::Names(secrets.own_domain()),
            None => Expect::Unverified,
            Some(_) if spec.sni.is_empty() => Expect::Names(Names::Any),
            Some(_) => Expect::DnsName,
        };
        let base = secrets.client(spec, &expect).map_err(Error::Tls)?;
        let with = |protocols| {
            let mut config = base.clone();
            config.alpn_protocols = protocols;
            Arc::new(config)
        };
        let principal = match names {
            [
                StringMatch {
                    pattern: Pattern::Exact(only),
                    ..
                },
            ] => Some(only.clone()),
            _ => None,
        };
        Ok(Self {
            http1: with(http1),
            http2: with(http2),
            tcp: with(tcp),
            server_name,
            mutual: in_mesh,
            principal,
        })
    }
}

/// Stands where no server name is to be sent: an address is never sent as one.
const NO_NAME: &str = "0.0.0.0";

fn alpn(protocols: &[&[u8]]) -> Vec<Vec<u8>> {
    protocols.iter().map(|protocol| protocol.to_vec()).collect()
}
