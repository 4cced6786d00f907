//! One outbound address and port, on which services of several protocols may meet.
//!
//! HTTP shares a port by virtual hosts; TLS shares it by server names; of bytes the oldest service
//! has it. What comes first is known by its first bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use fairlead_xds::resource::Listener;
use fairlead_xds::resource::listener::{
    Cidr, Direction, FilterChain, FilterChainMatch, ListenerFilter, RouteSource, TransportProtocol,
};

use crate::diagnostic::Source;
use crate::listener::{Role, WeightedClusters, empty, http, tcp_chain};

/// What HTTP/1.1 and HTTP/2 without TLS look like to the inspector.
pub(super) const PLAIN_HTTP: [&str; 2] = ["http/1.1", "h2c"];

/// What listens on one address and port.
#[derive(Clone, Debug, Default)]
pub(super) struct OutboundPort {
    /// Name of the routes, if HTTP is spoken.
    pub(super) routes: Option<String>,
    /// Chains by server name.
    by_server_name: BTreeMap<String, WeightedClusters>,
    /// Chains by range of the destination.
    by_range: BTreeMap<Cidr, WeightedClusters>,
    /// Where all other bytes go.
    bytes: Option<WeightedClusters>,
    pub(super) sources: BTreeSet<Source>,
}

impl OutboundPort {
    /// Sends TLS with one of the server names to clusters, unless an older service has the name.
    pub(super) fn add_server_names(&mut self, names: &[String], clusters: &[(String, u32)]) {
        for name in names {
            self.by_server_name
                .entry(name.clone())
                .or_insert_with(|| clusters.to_vec());
        }
    }

    /// Sends bytes to a range to clusters, unless an older service has the range.
    pub(super) fn add_range(&mut self, range: Cidr, clusters: &[(String, u32)]) {
        self.by_range
            .entry(range)
            .or_insert_with(|| clusters.to_vec());
    }

    /// Sends all other bytes to clusters, unless an older service has them.
    pub(super) fn set_bytes(&mut self, clusters: &[(String, u32)]) {
        self.bytes.get_or_insert_with(|| clusters.to_vec());
    }

    /// The listener. It does not bind: connections are handed over by their destination.
    pub(super) fn into_listener(
        self,
        address: IpAddr,
        port: u16,
        otherwise: Option<&str>,
    ) -> Listener {
        let name = format!("{address}_{port}");
        let mut listener = empty(&name, SocketAddr::new(address, port), Direction::Outbound);
        listener.bind_to_port = false;
        let is_http = self.routes.is_some();
        let reads_names = !self.by_server_name.is_empty();
        for (server_name, clusters) in self.by_server_name {
            let matches = FilterChainMatch {
                server_names: vec![server_name.clone()],
                ..FilterChainMatch::default()
            };
            listener
                .filter_chains
                .push(tcp_chain(server_name, matches, clusters));
        }
        for (range, clusters) in self.by_range {
            let matches = FilterChainMatch {
                prefix_ranges: vec![range],
                ..FilterChainMatch::default()
            };
            let chain = format!("{}/{}", range.address, range.prefix_len);
            listener
                .filter_chains
                .push(tcp_chain(chain, matches, clusters));
        }
        if let Some(routes) = self.routes {
            listener.filter_chains.push(FilterChain {
                name: format!("{name}_http"),
                matches: FilterChainMatch {
                    transport_protocol: Some(TransportProtocol::RawBuffer),
                    application_protocols: PLAIN_HTTP.map(str::to_owned).to_vec(),
                    ..FilterChainMatch::default()
                },
                tls: None,
                handler: http(
                    Role::Outbound,
                    format!("outbound_{name}"),
                    RouteSource::Rds(routes),
                ),
            });
        }
        let otherwise = otherwise.map(|cluster| vec![(cluster.to_owned(), 1)]);
        listener.default_filter_chain = self.bytes.or(otherwise).map(|clusters| {
            tcp_chain(
                "PassthroughFilterChain",
                FilterChainMatch::default(),
                clusters,
            )
        });
        if is_http || reads_names {
            listener.filters.push(ListenerFilter::TlsInspector);
        }
        if is_http {
            listener.filters.push(ListenerFilter::HttpInspector);
        }
        if !listener.filters.is_empty() {
            // A client that waits for the server to speak must get through some time.
            listener.filters_timeout = Some(Duration::ZERO);
            listener.continue_on_filters_timeout = true;
        }
        listener
    }
}
