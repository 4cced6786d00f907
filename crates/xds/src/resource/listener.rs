//! Listeners: where connections arrive and what handles them.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::Serialize;

use super::route::{Fault, RouteConfiguration};
use super::tls::DownstreamTls;

/// A listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listener {
    /// Unique name.
    pub name: String,
    /// Where it listens, or what original destination it stands for if it does not bind.
    pub address: SocketAddr,
    /// `false` for a listener that only gets connections handed over by original destination.
    pub bind_to_port: bool,
    /// Hand a redirected connection over to the listener of its original destination.
    pub use_original_dst: bool,
    /// Which way the traffic goes, seen from the workload.
    pub direction: Direction,
    /// What looks at a connection before a filter chain is chosen, in order.
    pub filters: Vec<ListenerFilter>,
    /// How long the listener filters may wait; `None` is Envoy's default of 15 s, zero waits on.
    pub filters_timeout: Option<Duration>,
    /// Go on without what the filters did not learn in time, instead of closing.
    pub continue_on_filters_timeout: bool,
    /// The chains, of which the most specific match is taken.
    pub filter_chains: Vec<FilterChain>,
    /// Taken when no chain matches.
    pub default_filter_chain: Option<FilterChain>,
}

/// Which way the traffic of a listener goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum Direction {
    /// Neither is said, as on a gateway's own listeners.
    Unspecified,
    /// To the workload.
    Inbound,
    /// From the workload.
    Outbound,
}

/// What looks at a connection before a filter chain is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum ListenerFilter {
    /// Restores the destination before the redirection.
    OriginalDst,
    /// Reads server name and application protocols of a TLS client hello.
    TlsInspector,
    /// Recognises HTTP by its first bytes.
    HttpInspector,
}

/// One way to handle a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FilterChain {
    /// Name within the listener.
    pub name: String,
    /// Which connections take it.
    pub matches: FilterChainMatch,
    /// TLS to terminate; `None` takes the bytes as they are.
    pub tls: Option<DownstreamTls>,
    /// What handles the connection.
    pub handler: Handler,
}

/// Which connections take a filter chain; an empty field takes all.
#[derive(Clone, Debug, PartialEq, Eq, Default, Hash, Serialize)]
pub struct FilterChainMatch {
    /// The destination's port.
    pub destination_port: Option<u16>,
    /// The destination's address is in one of these.
    pub prefix_ranges: Vec<Cidr>,
    /// The TLS server name is one of these; `*.` at the front matches subdomains.
    pub server_names: Vec<String>,
    /// `tls` or `raw_buffer`, as the TLS inspector found.
    pub transport_protocol: Option<TransportProtocol>,
    /// One of the application protocols found by an inspector is one of these.
    pub application_protocols: Vec<String>,
}

/// What the TLS inspector found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum TransportProtocol {
    /// A TLS client hello.
    Tls,
    /// Anything else.
    RawBuffer,
}

/// A range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Cidr {
    /// The range's address.
    pub address: IpAddr,
    /// How many leading bits count.
    pub prefix_len: u8,
}

impl Cidr {
    /// The range of this one address.
    pub const fn host(address: IpAddr) -> Self {
        let prefix_len = match address {
            IpAddr::V4(_) => 32,
            IpAddr::V6(_) => 128,
        };
        Self {
            address,
            prefix_len,
        }
    }

    /// Whether `address` is in the range; an address of the other family never is.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                let bits = 32 - u32::from(self.prefix_len.min(32));
                (u32::from(ours) ^ u32::from(theirs))
                    .checked_shr(bits)
                    .unwrap_or(0)
                    == 0
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => {
                let bits = 128 - u32::from(self.prefix_len.min(128));
                (u128::from(ours) ^ u128::from(theirs))
                    .checked_shr(bits)
                    .unwrap_or(0)
                    == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

/// What handles a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Handler {
    /// HTTP is understood and routed.
    Http(Box<HttpConnectionManager>),
    /// Bytes go to a cluster.
    Tcp(TcpProxy),
}

/// How HTTP is served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HttpConnectionManager {
    /// Prefix of statistics.
    pub stat_prefix: String,
    /// Which versions of HTTP are spoken.
    pub codec: Codec,
    /// Where the routes come from.
    pub routes: RouteSource,
    /// What becomes of `x-forwarded-client-cert`.
    pub forward_client_cert: ForwardClientCert,
    /// Take the client's address from the connection, and append it to `x-forwarded-for`.
    pub use_remote_address: bool,
    /// How many proxies in front are trusted to have appended to `x-forwarded-for`.
    pub xff_trusted_hops: u32,
    /// Normalise paths (RFC 3986, section 6) before routing.
    pub normalize_path: bool,
    /// Merge adjacent slashes of paths.
    pub merge_slashes: bool,
    /// Protocols that a connection may be upgraded to, such as `websocket`.
    pub upgrades: Vec<String>,
    /// Close a stream that is idle for so long; `None` is Envoy's default of 5 min, zero never.
    pub stream_idle_timeout: Option<Duration>,
    /// Value of the `server` header of responses; empty is Envoy's default.
    pub server_name: String,
    /// Filters before the router, in order. The router is always last and is not listed.
    pub filters: Vec<HttpFilter>,
}

/// Which versions of HTTP are spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum Codec {
    /// Decided for each connection: by ALPN, else by the first bytes.
    Auto,
    /// HTTP/1 only.
    Http1,
    /// HTTP/2 only.
    Http2,
}

/// Where routes come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum RouteSource {
    /// From RDS by this name.
    Rds(String),
    /// From the listener itself.
    Inline(Box<RouteConfiguration>),
}

/// What becomes of `x-forwarded-client-cert`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum ForwardClientCert {
    /// It is removed.
    Sanitize,
    /// It is kept if the client has a certificate.
    ForwardOnly,
    /// The client's certificate is appended.
    AppendForward,
    /// It is set from the client's certificate alone.
    SanitizeSet,
    /// It is kept.
    AlwaysForwardOnly,
}

/// A filter of HTTP requests before the router.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum HttpFilter {
    /// Injects delays and aborts; what routes say goes before the default here.
    Fault(Option<Fault>),
    /// Answers preflights and adds CORS headers, as routes say.
    Cors,
}

/// Bytes to a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TcpProxy {
    /// Prefix of statistics.
    pub stat_prefix: String,
    /// Where the bytes go: clusters with their weights, at least one.
    pub clusters: Vec<(String, u32)>,
    /// Close a connection that is idle for so long; `None` is Envoy's default of 1 h.
    pub idle_timeout: Option<Duration>,
}

impl TcpProxy {
    /// All bytes to one cluster.
    pub fn to(cluster: impl Into<String>) -> Self {
        let cluster = cluster.into();
        Self {
            stat_prefix: cluster.clone(),
            clusters: vec![(cluster, 1)],
            idle_timeout: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(range: &str, len: u8, address: &str, expected: bool) {
        let range = Cidr {
            address: range.parse().unwrap(),
            prefix_len: len,
        };
        assert_eq!(
            range.contains(address.parse().unwrap()),
            expected,
            "{range:?} {address}"
        );
    }

    #[test]
    fn a_range_contains_what_shares_its_leading_bits() {
        check("10.1.0.0", 16, "10.1.255.1", true);
        check("10.1.0.0", 16, "10.2.0.1", false);
        check("10.1.0.3", 32, "10.1.0.3", true);
        check("10.1.0.3", 32, "10.1.0.2", false);
        check("0.0.0.0", 0, "192.0.2.1", true);
        check("::", 0, "192.0.2.1", false);
        check("2001:db8::", 32, "2001:db8:1::1", true);
    }
}
