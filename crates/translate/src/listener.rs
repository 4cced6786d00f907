//! Pieces of listeners (LDS) that sidecars and gateways share.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use fairlead_xds::resource::listener::{
    Codec, Direction, FilterChain, FilterChainMatch, ForwardClientCert, Handler,
    HttpConnectionManager, HttpFilter, Listener, RouteSource, TcpProxy,
};

/// What HTTP is served for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Requests from the workload.
    Outbound,
    /// Requests to the workload.
    Inbound,
    /// Requests from outside.
    Gateway,
}

/// How HTTP is served.
pub(crate) fn http(role: Role, stat_prefix: impl Into<String>, routes: RouteSource) -> Handler {
    let forward_client_cert = match role {
        Role::Outbound => ForwardClientCert::Sanitize,
        Role::Inbound => ForwardClientCert::AppendForward,
        Role::Gateway => ForwardClientCert::SanitizeSet,
    };
    let filters = match role {
        Role::Outbound | Role::Gateway => vec![HttpFilter::Fault(None), HttpFilter::Cors],
        Role::Inbound => Vec::new(),
    };
    Handler::Http(Box::new(HttpConnectionManager {
        stat_prefix: stat_prefix.into(),
        codec: Codec::Auto,
        routes,
        forward_client_cert,
        use_remote_address: role == Role::Gateway,
        xff_trusted_hops: 0,
        normalize_path: true,
        merge_slashes: false,
        upgrades: vec!["websocket".to_owned()],
        stream_idle_timeout: Some(Duration::ZERO),
        server_name: String::new(),
        filters,
    }))
}

/// Names of clusters with their weights.
pub(crate) type WeightedClusters = Vec<(String, u32)>;

/// A chain of bytes to clusters.
pub(crate) fn tcp_chain(
    name: impl Into<String>,
    matches: FilterChainMatch,
    clusters: WeightedClusters,
) -> FilterChain {
    let stat_prefix = clusters
        .first()
        .map(|(cluster, _)| cluster.clone())
        .unwrap_or_default();
    FilterChain {
        name: name.into(),
        matches,
        tls: None,
        handler: Handler::Tcp(TcpProxy {
            stat_prefix,
            clusters,
            idle_timeout: None,
        }),
    }
}

/// A listener without chains.
pub(crate) fn empty(
    name: impl Into<String>,
    address: SocketAddr,
    direction: Direction,
) -> Listener {
    Listener {
        name: name.into(),
        address,
        bind_to_port: true,
        use_original_dst: false,
        direction,
        filters: Vec::new(),
        filters_timeout: None,
        continue_on_filters_timeout: false,
        filter_chains: Vec::new(),
        default_filter_chain: None,
    }
}

/// The address that stands for all of the family of `ip`.
pub(crate) const fn unspecified(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}
