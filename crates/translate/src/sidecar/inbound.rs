//! The way into a sidecar: one listener, whose chains are chosen by port and by what a caller
//! speaks.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fairlead_routing::RouteMatch;
use fairlead_xds::node::Node;
use fairlead_xds::resource::listener::{
    Direction, FilterChain, FilterChainMatch, Handler, ListenerFilter, RouteSource,
    TransportProtocol,
};
use fairlead_xds::resource::route::{
    Action, Forward, RetryPolicy, Route, RouteConfiguration, VirtualHost,
};
use fairlead_xds::resource::{CertificateValidation, DownstreamTls, Resource, TlsVersion};

use super::port::PLAIN_HTTP;
use crate::cluster::{
    self, BLACK_HOLE, HTTP_ALPN, INBOUND_PASSTHROUGH, MESH_ALPN, MESH_ROOTS, OWN_CERTIFICATE,
};
use crate::listener::{Role, empty, http, tcp_chain, unspecified};
use crate::output::Output;
use crate::policy::Mode;
use crate::protocol::Protocol;
use crate::registry::{Service, Target};
use crate::translator::Index;

/// Where redirected connections to the workload arrive.
const INBOUND_PORT: u16 = 15006;

/// The way into one sidecar.
pub(crate) fn inbound(index: &Index, node: &Node) -> Output {
    let namespace = &node.metadata.namespace;
    let labels = &node.metadata.labels;
    let mut output = Output::default();
    for cluster in cluster::fixed(node.id.ip) {
        output.add(&Resource::Cluster(Box::new(cluster)), BTreeSet::new());
    }
    let address = SocketAddr::new(unspecified(node.id.ip), INBOUND_PORT);
    let mut listener = empty("virtualInbound", address, Direction::Inbound);
    let to_itself = FilterChainMatch {
        destination_port: Some(INBOUND_PORT),
        ..FilterChainMatch::default()
    };
    listener.filter_chains.push(tcp_chain(
        "virtualInbound-blackhole",
        to_itself,
        vec![(BLACK_HOLE.to_owned(), 1)],
    ));
    let served = served_ports(index, node);
    for (port, (service, number, protocol)) in &served {
        let cluster = cluster::inbound(node.id.ip, *port, service, *protocol);
        let way = Way {
            name: format!("{}_{port}", address.ip()),
            port: Some(*port),
            cluster: cluster.name.clone(),
            host: format!("inbound|http|{number}"),
            protocol: *protocol,
        };
        output.add(&Resource::Cluster(Box::new(cluster)), BTreeSet::new());
        listener
            .filter_chains
            .extend(way.chains(index.peers.mode(namespace, labels, *port)));
    }
    // Ports of which a policy speaks, though no service does.
    let others = index
        .peers
        .ports(namespace, labels)
        .filter(|port| !served.contains_key(port));
    for port in others {
        let way = Way::passthrough(Some(port));
        listener
            .filter_chains
            .extend(way.chains(index.peers.mode(namespace, labels, port)));
    }
    let way = Way::passthrough(None);
    listener
        .filter_chains
        .extend(way.chains(index.peers.workload_mode(namespace, labels)));
    listener.filters = vec![
        ListenerFilter::OriginalDst,
        ListenerFilter::TlsInspector,
        ListenerFilter::HttpInspector,
    ];
    listener.filters_timeout = Some(Duration::ZERO);
    listener.continue_on_filters_timeout = true;
    let sources = index.peers.sources(namespace, labels).cloned().collect();
    output.add(&Resource::Listener(Box::new(listener)), sources);
    output
}

/// The ports of the workload that services name, by the oldest service of each.
fn served_ports(index: &Index, node: &Node) -> BTreeMap<u16, (Arc<Service>, u16, Protocol)> {
    let metadata = &node.metadata;
    let pod = index.workloads.find(&metadata.namespace, &node.id.pod);
    let mut served = BTreeMap::new();
    for service in index
        .registry
        .serving(&metadata.namespace, &metadata.labels)
    {
        for port in service
            .ports
            .iter()
            .filter(|port| port.protocol != Protocol::Udp)
        {
            let target = match (&port.target, pod) {
                (Target::Number(number), _) => Some(*number),
                (target @ Target::Name(_), Some(pod)) => pod.port(target),
                (Target::Name(_), None) => None,
            };
            if let Some(target) = target {
                served
                    .entry(target)
                    .or_insert_with(|| (Arc::clone(service), port.number, port.protocol));
            }
        }
    }
    served
}

/// A way in: where it leads, and what is spoken on it.
struct Way {
    name: String,
    /// `None` is every port that no other way is for.
    port: Option<u16>,
    cluster: String,
    host: String,
    protocol: Protocol,
}

/// What the bytes inside are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Content {
    Http,
    Bytes,
}

impl Way {
    fn passthrough(port: Option<u16>) -> Self {
        Self {
            name: port.map_or_else(
                || "virtualInbound".to_owned(),
                |port| format!("virtualInbound_{port}"),
            ),
            port,
            cluster: INBOUND_PASSTHROUGH.to_owned(),
            host: "inbound|http|0".to_owned(),
            protocol: Protocol::Auto,
        }
    }

    /// The chains, by what a caller speaks. What no chain is for is closed.
    fn chains(&self, mode: Mode) -> Vec<FilterChain> {
        let mut chains = Vec::new();
        let contents: &[Content] = match self.protocol {
            Protocol::Http | Protocol::Http2 | Protocol::Grpc => &[Content::Http],
            Protocol::Tls | Protocol::Tcp | Protocol::Udp => &[Content::Bytes],
            Protocol::Auto => &[Content::Http, Content::Bytes],
        };
        for content in contents {
            if mode != Mode::Disable {
                chains.push(self.mutual(*content));
            }
            if mode != Mode::Strict {
                chains.push(self.plain(*content, mode));
            }
        }
        let is_http_only = contents == [Content::Http];
        if mode == Mode::Permissive && !is_http_only {
            // TLS of the application's own, which is none of ours: only its bytes are passed on.
            let matches = FilterChainMatch {
                transport_protocol: Some(TransportProtocol::Tls),
                ..self.matches(&[])
            };
            chains.push(self.chain("tls", matches, None, Content::Bytes));
        }
        chains
    }

    fn mutual(&self, content: Content) -> FilterChain {
        let (suffix, protocols): (_, Vec<&str>) = match (content, self.protocol) {
            // A declared port takes all that speaks mutual TLS.
            (Content::Http, Protocol::Http | Protocol::Http2 | Protocol::Grpc) => {
                ("mtls-http", Vec::new())
            }
            (Content::Http, _) => ("mtls-http", HTTP_ALPN.to_vec()),
            (Content::Bytes, _) => ("mtls", vec!["istio-peer-exchange", MESH_ALPN]),
        };
        let alpn: Vec<_> = match content {
            Content::Http => ["h2", "http/1.1"].iter().chain(&HTTP_ALPN).collect(),
            Content::Bytes => Vec::new(),
        };
        let tls = DownstreamTls {
            certificates: vec![OWN_CERTIFICATE.to_owned()],
            validation: Some(CertificateValidation {
                roots: Some(MESH_ROOTS.to_owned()),
                subject_alt_names: Vec::new(),
            }),
            require_client_certificate: true,
            alpn: alpn
                .into_iter()
                .chain([&MESH_ALPN])
                .map(|name| (*name).to_owned())
                .collect(),
            min_version: Some(TlsVersion::V1_2),
            max_version: None,
        };
        let matches = FilterChainMatch {
            transport_protocol: Some(TransportProtocol::Tls),
            ..self.matches(&protocols)
        };
        self.chain(suffix, matches, Some(tls), content)
    }

    fn plain(&self, content: Content, mode: Mode) -> FilterChain {
        let is_sniffed = self.protocol == Protocol::Auto;
        let (suffix, protocols): (_, &[&str]) = match content {
            Content::Http if is_sniffed => ("http", &PLAIN_HTTP),
            Content::Http => ("http", &[]),
            Content::Bytes => ("tcp", &[]),
        };
        // Where mutual TLS is off, TLS is the application's own affair.
        let takes_tls = mode == Mode::Disable && protocols.is_empty();
        let matches = FilterChainMatch {
            transport_protocol: (!takes_tls).then_some(TransportProtocol::RawBuffer),
            ..self.matches(protocols)
        };
        self.chain(suffix, matches, None, content)
    }

    fn matches(&self, protocols: &[&str]) -> FilterChainMatch {
        FilterChainMatch {
            destination_port: self.port,
            application_protocols: protocols.iter().map(|name| (*name).to_owned()).collect(),
            ..FilterChainMatch::default()
        }
    }

    fn chain(
        &self,
        suffix: &str,
        matches: FilterChainMatch,
        tls: Option<DownstreamTls>,
        content: Content,
    ) -> FilterChain {
        let name = format!("{}-{suffix}", self.name);
        let clusters = vec![(self.cluster.clone(), 1)];
        let chain = tcp_chain(name, matches, clusters);
        let handler = match content {
            Content::Http => self.http(),
            Content::Bytes => chain.handler,
        };
        FilterChain {
            name: chain.name,
            matches: chain.matches,
            tls,
            handler,
        }
    }

    fn http(&self) -> Handler {
        let retry = RetryPolicy {
            retry_on: vec!["reset-before-request".to_owned()],
            retries: 2,
            ..RetryPolicy::default()
        };
        let forward = Forward {
            // Streams of gRPC are the application's to retry.
            retry: (self.protocol != Protocol::Grpc).then_some(retry),
            ..Forward::to(&self.cluster)
        };
        let route = Route::new(
            "default",
            RouteMatch::any(),
            Action::Forward(Box::new(forward)),
        );
        let routes = RouteConfiguration {
            name: self.cluster.clone(),
            virtual_hosts: vec![VirtualHost {
                name: self.host.clone(),
                domains: vec!["*".to_owned()],
                routes: vec![route],
                ..VirtualHost::default()
            }],
            ..RouteConfiguration::default()
        };
        let stat_prefix = format!("inbound_{}", self.name);
        http(
            Role::Inbound,
            stat_prefix,
            RouteSource::Inline(Box::new(routes)),
        )
    }
}
