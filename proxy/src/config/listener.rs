//! Listeners and the choice of a filter chain; no IO.

use std::cmp::Reverse;
use std::net::SocketAddr;
use std::sync::Arc;

use fairlead_routing::StringMatch;
use fairlead_xds::resource::listener::{
    FilterChain, FilterChainMatch, Handler as HandlerSpec, HttpConnectionManager, HttpFilter,
    Listener as Spec, ListenerFilter, RouteSource, TcpProxy, TransportProtocol,
};
use rustls::ServerConfig;

use super::{Error, Routes};
use crate::http::fault::Fault;
use crate::tls;
use crate::tls::verify::Names;
use crate::xds::secrets::Secrets;

/// A listener.
#[derive(Debug)]
pub struct Listener {
    /// What the control plane said.
    pub spec: Arc<Spec>,
    chains: Vec<Chain>,
    default: Option<Chain>,
}

/// One way to handle a connection.
#[derive(Debug, Clone)]
pub struct Chain {
    matches: FilterChainMatch,
    /// TLS to terminate.
    pub tls: Termination,
    /// What handles the connection.
    pub handler: Handler,
}

/// What a chain does about TLS.
#[derive(Debug, Clone)]
pub enum Termination {
    /// It takes the bytes as they are.
    None,
    /// It terminates TLS.
    Terminate {
        /// How.
        config: Arc<ServerConfig>,
        /// Clients prove who they are.
        mutual: bool,
    },
    /// It would, but this secret is not there; connections are closed.
    Missing(String),
}

/// What handles a connection.
#[derive(Debug, Clone)]
pub enum Handler {
    /// HTTP.
    Http(Arc<Http>),
    /// Bytes.
    Tcp(Arc<TcpProxy>),
}

/// How HTTP is served.
#[derive(Debug)]
pub struct Http {
    /// What the control plane said.
    pub spec: HttpConnectionManager,
    /// Routes given in place.
    pub inline: Option<Arc<Routes>>,
    /// Faults where a route has none of its own.
    pub fault: Option<Fault>,
}

/// What is known about a connection before a chain is chosen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// The peer begins with TLS.
    pub tls: bool,
    /// The server name that it asks for.
    pub server_name: Option<String>,
    /// Application protocols: offered inside TLS, or recognised by the first bytes.
    pub protocols: Vec<String>,
}

impl Listener {
    /// Compiles a listener.
    pub fn compile(spec: &Arc<Spec>, secrets: &Secrets<'_>) -> Result<Self, Error> {
        let chain = |chain: &FilterChain| Chain::compile(chain, secrets);
        Ok(Self {
            spec: Arc::clone(spec),
            chains: spec
                .filter_chains
                .iter()
                .map(chain)
                .collect::<Result<_, _>>()?,
            default: spec.default_filter_chain.as_ref().map(chain).transpose()?,
        })
    }

    /// Whether a filter has to look at the first bytes.
    pub fn inspects(&self, filter: ListenerFilter) -> bool {
        self.spec.filters.contains(&filter)
    }

    /// Whether plain HTTP to `destination` would be understood as such.
    pub fn may_be_http(&self, destination: SocketAddr) -> bool {
        ["http/1.1", "h2c"].into_iter().any(|protocol| {
            let seen = Seen {
                protocols: vec![protocol.to_owned()],
                ..Seen::default()
            };
            let chain = self.choose(destination, &seen);
            chain.is_some_and(|chain| matches!(chain.handler, Handler::Http(_)))
        })
    }

    /// The chain for a connection to `destination`: the most specific match, field by field in
    /// Envoy's order (port, address, server name, transport, application protocol).
    pub fn choose(&self, destination: SocketAddr, seen: &Seen) -> Option<&Chain> {
        let mut best: Option<(&Chain, Rank)> = None;
        for chain in &self.chains {
            let Some(rank) = rank(&chain.matches, destination, seen) else {
                continue;
            };
            if best.as_ref().is_none_or(|(_, found)| rank > *found) {
                best = Some((chain, rank));
            }
        }
        best.map(|(chain, _)| chain).or(self.default.as_ref())
    }
}

/// How specific a match is; a greater one is preferred.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    port: bool,
    prefix: Option<u8>,
    server_name: usize,
    transport: bool,
    protocol: Option<Reverse<usize>>,
}

fn rank(matches: &FilterChainMatch, destination: SocketAddr, seen: &Seen) -> Option<Rank> {
    let FilterChainMatch {
        destination_port,
        prefix_ranges,
        server_names,
        transport_protocol,
        application_protocols,
    } = matches;
    if destination_port.is_some_and(|port| port != destination.port()) {
        return None;
    }
    let covering = prefix_ranges
        .iter()
        .filter(|range| range.contains(destination.ip()));
    let prefix = covering.map(|range| range.prefix_len).max();
    if prefix.is_none() && !prefix_ranges.is_empty() {
        return None;
    }
    let asked = seen.server_name.as_deref().unwrap_or_default();
    let server_name = server_names
        .iter()
        .filter_map(|name| server_name_rank(name, asked))
        .max();
    if server_name.is_none() && !server_names.is_empty() {
        return None;
    }
    let transport = if seen.tls {
        TransportProtocol::Tls
    } else {
        TransportProtocol::RawBuffer
    };
    if transport_protocol.is_some_and(|wanted| wanted != transport) {
        return None;
    }
    // The client's own preference decides between chains that differ in this alone.
    let preferred = seen
        .protocols
        .iter()
        .position(|p| application_protocols.contains(p));
    if preferred.is_none() && !application_protocols.is_empty() {
        return None;
    }
    Some(Rank {
        port: destination_port.is_some(),
        prefix,
        server_name: server_name.unwrap_or(0),
        transport: transport_protocol.is_some(),
        protocol: preferred.map(Reverse),
    })
}

/// How well a server name fits: an exact one best, then the longest wildcard.
fn server_name_rank(pattern: &str, asked: &str) -> Option<usize> {
    if pattern == "*" || pattern.is_empty() {
        return Some(1);
    }
    if let Some(suffix) = pattern.strip_prefix('*') {
        let fits = asked.len() > suffix.len()
            && asked
                .to_ascii_lowercase()
                .ends_with(&suffix.to_ascii_lowercase());
        return fits.then_some(1 + suffix.len());
    }
    pattern.eq_ignore_ascii_case(asked).then_some(usize::MAX)
}

impl Chain {
    fn compile(spec: &FilterChain, secrets: &Secrets<'_>) -> Result<Self, Error> {
        let tls = match &spec.tls {
            None => Termination::None,
            Some(tls) => {
                let names = tls.validation.iter().flat_map(|v| &v.subject_alt_names);
                let names = names
                    .map(StringMatch::compile)
                    .collect::<Result<Vec<_>, _>>()
                    .map_err(Error::SubjectName)?;
                let names = if names.is_empty() {
                    Names::Any
                } else {
                    Names::OneOf(names)
                };
                let own = |name: &String| name == crate::xds::secrets::OWN_CERTIFICATE;
                let mut alpn: Vec<Vec<u8>> = Vec::new();
                if tls.certificates.iter().any(own) {
                    alpn.extend(
                        [
                            tls::ALPN_MESH_HTTP2,
                            tls::ALPN_MESH_HTTP1,
                            tls::ALPN_MESH_TCP,
                        ]
                        .map(<[u8]>::to_vec),
                    );
                }
                alpn.extend(
                    tls.alpn
                        .iter()
                        .map(|protocol| protocol.clone().into_bytes()),
                );
                match secrets.server(tls, names, alpn).map_err(Error::Tls)? {
                    Ok(config) => Termination::Terminate {
                        config: Arc::new(config),
                        mutual: tls.require_client_certificate,
                    },
                    Err(missing) => Termination::Missing(missing),
                }
            }
        };
        let handler = match &spec.handler {
            HandlerSpec::Tcp(tcp) => Handler::Tcp(Arc::new(tcp.clone())),
            HandlerSpec::Http(http) => Handler::Http(Arc::new(Http::compile(http)?)),
        };
        Ok(Self {
            matches: spec.matches.clone(),
            tls,
            handler,
        })
    }
}

impl Http {
    fn compile(spec: &HttpConnectionManager) -> Result<Self, Error> {
        let regex = |source| Error::Regex {
            host: "*".to_owned(),
            source,
        };
        let mut fault = None;
        for filter in &spec.filters {
            match filter {
                HttpFilter::Fault(spec) => {
                    fault = spec
                        .as_ref()
                        .map(Fault::compile)
                        .transpose()
                        .map_err(regex)?;
                }
                // Only routes have rules for it.
                HttpFilter::Cors => {}
            }
        }
        let inline = match &spec.routes {
            RouteSource::Inline(routes) => Some(Arc::new(Routes::compile(routes)?)),
            RouteSource::Rds(_) => None,
        };
        Ok(Self {
            spec: spec.clone(),
            inline,
            fault,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(chains: &[(&str, FilterChainMatch)]) -> Listener {
        let chains = chains.iter().map(|(name, matches)| Chain {
            matches: matches.clone(),
            tls: Termination::None,
            handler: Handler::Tcp(Arc::new(TcpProxy::to(*name))),
        });
        Listener {
            spec: Arc::new(spec()),
            chains: chains.collect(),
            default: None,
        }
    }

    fn spec() -> Spec {
        Spec {
            name: "virtualInbound".to_owned(),
            address: "0.0.0.0:15006".parse().unwrap(),
            bind_to_port: true,
            use_original_dst: false,
            direction: fairlead_xds::resource::listener::Direction::Inbound,
            filters: vec![],
            filters_timeout: None,
            continue_on_filters_timeout: false,
            filter_chains: vec![],
            default_filter_chain: None,
        }
    }

    fn chosen(listener: &Listener, destination: &str, seen: &Seen) -> Option<String> {
        match &listener.choose(destination.parse().unwrap(), seen)?.handler {
            Handler::Tcp(tcp) => Some(tcp.clusters[0].0.clone()),
            Handler::Http(_) => None,
        }
    }

    #[test]
    fn a_port_goes_before_everything_else() {
        let inbound = listener(&[
            (
                "any-mesh",
                FilterChainMatch {
                    transport_protocol: Some(TransportProtocol::Tls),
                    application_protocols: vec!["istio".to_owned()],
                    ..FilterChainMatch::default()
                },
            ),
            (
                "port",
                FilterChainMatch {
                    destination_port: Some(80),
                    ..FilterChainMatch::default()
                },
            ),
        ]);
        let seen = Seen {
            tls: true,
            server_name: None,
            protocols: vec!["istio".to_owned()],
        };
        assert_eq!(
            chosen(&inbound, "10.0.0.1:80", &seen).as_deref(),
            Some("port")
        );
        assert_eq!(
            chosen(&inbound, "10.0.0.1:81", &seen).as_deref(),
            Some("any-mesh")
        );
        assert_eq!(chosen(&inbound, "10.0.0.1:81", &Seen::default()), None);
    }

    #[test]
    fn a_port_with_routes_may_be_http_and_one_with_bytes_may_not() {
        let mut mixed = listener(&[("bytes", FilterChainMatch::default())]);
        let destination = "10.0.0.1:80".parse().unwrap();
        assert!(!mixed.may_be_http(destination));
        let http = Handler::Http(Arc::new(Http::compile(&manager()).unwrap()));
        mixed.chains.push(Chain {
            matches: FilterChainMatch {
                application_protocols: vec!["http/1.1".to_owned()],
                ..FilterChainMatch::default()
            },
            tls: Termination::None,
            handler: http,
        });
        assert!(mixed.may_be_http(destination));
    }

    fn manager() -> HttpConnectionManager {
        use fairlead_xds::resource::listener::{Codec, ForwardClientCert};
        HttpConnectionManager {
            stat_prefix: String::new(),
            codec: Codec::Auto,
            routes: RouteSource::Rds("80".to_owned()),
            forward_client_cert: ForwardClientCert::Sanitize,
            use_remote_address: false,
            xff_trusted_hops: 0,
            normalize_path: false,
            merge_slashes: false,
            upgrades: vec![],
            stream_idle_timeout: None,
            server_name: String::new(),
            filters: vec![],
        }
    }

    #[test]
    fn the_longest_server_name_wins() {
        let named = |name: &str| FilterChainMatch {
            server_names: vec![name.to_owned()],
            ..FilterChainMatch::default()
        };
        let gateway = listener(&[
            ("any", FilterChainMatch::default()),
            ("wide", named("*.example.com")),
            ("exact", named("a.example.com")),
        ]);
        let check = |name: &str, expected| {
            let seen = Seen {
                tls: true,
                server_name: Some(name.to_owned()),
                protocols: vec![],
            };
            assert_eq!(
                chosen(&gateway, "10.0.0.1:443", &seen).as_deref(),
                Some(expected)
            );
        };
        check("A.example.com", "exact");
        check("b.example.com", "wide");
        check("example.com", "any");
    }
}
