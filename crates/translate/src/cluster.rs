//! Clusters (CDS): of a service's port, of its subsets, and the fixed ones.

pub(crate) mod policy;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use fairlead_crds::networking::{ClientTls, ClientTlsMode, H2UpgradePolicy, Subset};
use fairlead_identity::SpiffeId;
use fairlead_routing::StringMatch;
use fairlead_xds::resource::cluster::{
    Cluster, ClusterMetadata, Discovery, HttpProtocol, TlsMatch,
};
use fairlead_xds::resource::{CertificateValidation, LoadAssignment, UpstreamTls};

use crate::diagnostic::Source;
use crate::endpoint;
use crate::policy::PeerPolicies;
use crate::protocol::Protocol;
use crate::registry::{Origin, Port, Resolution, Service};
use crate::rule::{Policy, Rule};
use crate::snapshot::Mesh;

pub(crate) const PASSTHROUGH: &str = "PassthroughCluster";
pub(crate) const BLACK_HOLE: &str = "BlackHoleCluster";
pub(crate) const INBOUND_PASSTHROUGH: &str = "InboundPassthroughCluster";

/// Application protocols of mutual TLS in the mesh. The proxy tells HTTP from bytes by replacing
/// `istio` with one of [`HTTP_ALPN`], as Istio's ALPN filter does.
pub(crate) const MESH_ALPN: &str = "istio";
/// Application protocols that say that HTTP is spoken inside of mutual TLS.
pub(crate) const HTTP_ALPN: [&str; 3] = ["istio-h2", "istio-http/1.1", "istio-http/1.0"];

/// Name of the SDS secret with the workload's own certificate.
pub(crate) const OWN_CERTIFICATE: &str = "default";
/// Name of the SDS secret with the mesh's roots.
pub(crate) const MESH_ROOTS: &str = "ROOTCA";

/// Name of a cluster of a service's port.
pub(crate) fn outbound_name(port: u16, subset: &str, host: &str) -> String {
    format!("outbound|{port}|{subset}|{host}")
}

/// Name of the cluster of a workload's own port.
pub(crate) fn inbound_name(port: u16) -> String {
    format!("inbound|{port}||")
}

/// A cluster whose endpoints may come by EDS.
#[derive(Debug)]
pub(crate) struct Outbound {
    pub(crate) cluster: Cluster,
    /// Its endpoints, if they come by EDS.
    pub(crate) endpoints: Option<LoadAssignment>,
}

/// Who connects: the difference is in services whose pods clients address themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Client {
    Sidecar,
    Gateway,
}

/// What clusters are made for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope<'s> {
    pub(crate) mesh: &'s Mesh,
    pub(crate) peers: &'s PeerPolicies,
    pub(crate) client: Client,
}

/// The cluster of `port`, or of `subset` in it.
pub(crate) fn outbound(
    scope: Scope<'_>,
    service: &Service,
    port: &Port,
    rule: Option<&Rule>,
    subset: Option<&Subset>,
) -> Outbound {
    let policy = rule
        .map(|rule| rule.policy(port.number, subset))
        .unwrap_or_default();
    let subset_name = subset.map_or("", |subset| subset.name.as_str());
    let name = outbound_name(port.number, subset_name, &service.host);
    let none = BTreeMap::new();
    let labels = subset.map_or(&none, |subset| &subset.labels);
    let assignment = endpoint::assignment(&name, service, port, labels, scope.peers);
    let (discovery, endpoints) = discover(service, assignment, subset.is_some(), scope.client);
    let mut cluster = Cluster::new(name, discovery);
    cluster.protocol = http_protocol(port.protocol, &policy);
    policy::apply(&policy, &mut cluster);
    set_tls(
        scope.mesh,
        service,
        port,
        subset_name,
        policy.tls.as_ref(),
        &mut cluster,
    );
    cluster.metadata = ClusterMetadata {
        services: vec![service.reference()],
        subset: subset_name.to_owned(),
        config: rule
            .and_then(|rule| rule.sources.first())
            .map(Source::api_path),
    };
    Outbound { cluster, endpoints }
}

/// Whether clients of a service connect to its pods themselves.
pub(crate) fn is_headless(service: &Service) -> bool {
    service.origin == Origin::Kubernetes
        && service.resolution == Resolution::Known
        && !service.has_address()
}

fn discover(
    service: &Service,
    assignment: LoadAssignment,
    is_subset: bool,
    client: Client,
) -> (Discovery, Option<LoadAssignment>) {
    match service.resolution {
        Resolution::Known if is_headless(service) && !is_subset && client == Client::Sidecar => {
            (Discovery::OriginalDst { port: None }, None)
        }
        Resolution::Known => {
            let eds = Discovery::Eds {
                service_name: String::new(),
            };
            (eds, Some(endpoint::without_names(assignment)))
        }
        Resolution::Passthrough if service.endpoints.is_empty() => {
            (Discovery::OriginalDst { port: None }, None)
        }
        Resolution::Passthrough => (Discovery::StrictDns(assignment), None),
        Resolution::Dns => (Discovery::StrictDns(assignment), None),
        Resolution::DnsRoundRobin => (single(assignment), None),
    }
}

/// A name that is looked up for each connection must be the only one.
fn single(mut assignment: LoadAssignment) -> Discovery {
    assignment.localities.truncate(1);
    match assignment.localities.first_mut() {
        Some(locality) => {
            locality.endpoints.truncate(1);
            Discovery::LogicalDns(assignment)
        }
        None => Discovery::Static(assignment),
    }
}

fn http_protocol(protocol: Protocol, policy: &Policy) -> HttpProtocol {
    let http = policy
        .connection_pool
        .as_ref()
        .and_then(|pool| pool.http.as_ref());
    if http.is_some_and(|http| http.use_client_protocol == Some(true)) {
        return HttpProtocol::UseDownstream;
    }
    let upgrade = http.and_then(|http| http.h2_upgrade_policy) == Some(H2UpgradePolicy::Upgrade);
    match protocol {
        Protocol::Http2 | Protocol::Grpc => HttpProtocol::Http2,
        Protocol::Http if upgrade => HttpProtocol::Http2,
        Protocol::Auto => HttpProtocol::UseDownstream,
        Protocol::Http | Protocol::Tls | Protocol::Tcp | Protocol::Udp => HttpProtocol::Http1,
    }
}

fn set_tls(
    mesh: &Mesh,
    service: &Service,
    port: &Port,
    subset: &str,
    settings: Option<&ClientTls>,
    cluster: &mut Cluster,
) {
    let mutual = || {
        let sni = format!("outbound_.{}_.{subset}_.{}", port.number, service.host);
        mesh_tls(mesh, service, sni, cluster.protocol)
    };
    let Some(settings) = settings else {
        let is_known = matches!(cluster.discovery, Discovery::Eds { .. });
        if mesh.auto_mtls && is_known && service.origin != Origin::MeshExternal {
            cluster.tls_matches = vec![
                TlsMatch {
                    name: "tlsMode-istio".to_owned(),
                    labels: BTreeMap::from([("tlsMode".to_owned(), "istio".to_owned())]),
                    tls: Some(mutual()),
                },
                TlsMatch {
                    name: "tlsMode-disabled".to_owned(),
                    labels: BTreeMap::new(),
                    tls: None,
                },
            ];
        } else if mesh.auto_mtls && is_headless(service) && all_have_sidecars(service) {
            // Nothing is known of an address that the client chose, but that it is one of these.
            cluster.tls = Some(mutual());
        }
        return;
    };
    cluster.tls = match settings.mode.unwrap_or_default() {
        ClientTlsMode::Disable => None,
        ClientTlsMode::IstioMutual => Some(with_names(mutual(), settings)),
        ClientTlsMode::Simple | ClientTlsMode::Mutual => Some(origination(service, settings)),
    };
}

fn all_have_sidecars(service: &Service) -> bool {
    !service.endpoints.is_empty()
        && service
            .endpoints
            .iter()
            .all(|endpoint| endpoint.has_sidecar)
}

/// Mutual TLS of the mesh to the workloads of a service.
fn mesh_tls(mesh: &Mesh, service: &Service, sni: String, protocol: HttpProtocol) -> UpstreamTls {
    let identities = service.accounts.iter().filter_map(|(namespace, account)| {
        SpiffeId::new(&mesh.trust_domain, namespace, account).ok()
    });
    let mut subject_alt_names: Vec<_> = identities
        .map(|id| StringMatch::exact(id.to_string()))
        .collect();
    subject_alt_names.extend(service.subject_alt_names.iter().map(StringMatch::exact));
    let mut alpn = vec![MESH_ALPN.to_owned()];
    if protocol == HttpProtocol::Http2 {
        alpn.push("h2".to_owned());
    }
    UpstreamTls {
        certificate: Some(OWN_CERTIFICATE.to_owned()),
        validation: Some(CertificateValidation {
            roots: Some(MESH_ROOTS.to_owned()),
            subject_alt_names,
        }),
        sni,
        alpn,
    }
}

/// The same with the names that a rule gives in place of those that the mesh knows.
fn with_names(mut tls: UpstreamTls, settings: &ClientTls) -> UpstreamTls {
    if let Some(sni) = settings.sni.as_ref().filter(|sni| !sni.is_empty()) {
        tls.sni.clone_from(sni);
    }
    if let Some(validation) = &mut tls.validation
        && !settings.subject_alt_names.is_empty()
    {
        let names = settings.subject_alt_names.iter();
        validation.subject_alt_names = names.map(StringMatch::exact).collect();
    }
    tls
}

/// TLS to a service whose certificate the mesh did not issue, verified with the system's roots.
fn origination(service: &Service, settings: &ClientTls) -> UpstreamTls {
    let sni = settings
        .sni
        .clone()
        .filter(|sni| !sni.is_empty())
        .or_else(|| (!service.host.contains('*')).then(|| service.host.clone()))
        .unwrap_or_default();
    let names = [&settings.subject_alt_names, &service.subject_alt_names]
        .into_iter()
        .find(|names| !names.is_empty());
    let subject_alt_names = match names {
        Some(names) => names.iter().map(StringMatch::exact).collect(),
        None if sni.is_empty() => Vec::new(),
        None => vec![StringMatch::exact(&sni)],
    };
    let verifies = settings.insecure_skip_verify != Some(true);
    UpstreamTls {
        certificate: None,
        validation: verifies.then_some(CertificateValidation {
            roots: None,
            subject_alt_names,
        }),
        sni,
        alpn: Vec::new(),
    }
}

/// The clusters that every sidecar has.
pub(crate) fn fixed(ip: IpAddr) -> [Cluster; 3] {
    let original = || Discovery::OriginalDst { port: None };
    let mut passthrough = Cluster::new(PASSTHROUGH, original());
    passthrough.protocol = HttpProtocol::UseDownstream;
    let mut inbound = Cluster::new(INBOUND_PASSTHROUGH, original());
    inbound.protocol = HttpProtocol::UseDownstream;
    inbound.source = Some(inbound_source(ip));
    [passthrough, black_hole(), inbound]
}

/// The cluster that has no endpoints, so that what goes there fails at once.
pub(crate) fn black_hole() -> Cluster {
    let nowhere = LoadAssignment {
        cluster: BLACK_HOLE.to_owned(),
        ..LoadAssignment::default()
    };
    Cluster::new(BLACK_HOLE, Discovery::Static(nowhere))
}

/// The cluster of a port of the workload itself: the address that the client meant, so that
/// applications that listen on the pod's address alone are reached.
pub(crate) fn inbound(ip: IpAddr, port: u16, service: &Service, protocol: Protocol) -> Cluster {
    let mut cluster = Cluster::new(inbound_name(port), Discovery::OriginalDst { port: None });
    cluster.source = Some(inbound_source(ip));
    cluster.protocol = match protocol {
        Protocol::Http2 | Protocol::Grpc => HttpProtocol::Http2,
        Protocol::Auto => HttpProtocol::UseDownstream,
        Protocol::Http | Protocol::Tls | Protocol::Tcp | Protocol::Udp => HttpProtocol::Http1,
    };
    cluster.metadata.services = vec![service.reference()];
    cluster
}

/// Connections of the proxy to its own workload come from here, so that the redirection of
/// outgoing connections leaves them alone.
fn inbound_source(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::new(127, 0, 0, 6)),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6)),
    }
}
