//! How proxies talk to a host: connections, balancing, ejection, TLS.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::{LoadBalancer, PortSelector};
use crate::schema;

/// Policy for traffic to a host.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrafficPolicy {
    /// How a pod is chosen.
    pub load_balancer: Option<LoadBalancer>,
    /// Limits on connections and requests.
    pub connection_pool: Option<ConnectionPool>,
    /// When a pod that fails gets no requests for a while.
    pub outlier_detection: Option<OutlierDetection>,
    /// TLS towards the host; by default mutual TLS where the other side has a sidecar.
    pub tls: Option<ClientTls>,
    /// Policy for single ports, in place of everything above for them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4096))]
    pub port_level_settings: Vec<PortTrafficPolicy>,
    /// Tunnel connections through a proxy.
    pub tunnel: Option<Tunnel>,
    /// Send the PROXY protocol's header at the start of connections.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Limit on retries that are under way, relative to requests.
    pub retry_budget: Option<RetryBudget>,
}

/// Policy for traffic to one port of a host.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PortTrafficPolicy {
    /// The port.
    pub port: Option<PortSelector>,
    /// How a pod is chosen.
    pub load_balancer: Option<LoadBalancer>,
    /// Limits on connections and requests.
    pub connection_pool: Option<ConnectionPool>,
    /// When a pod that fails gets no requests for a while.
    pub outlier_detection: Option<OutlierDetection>,
    /// TLS towards the port.
    pub tls: Option<ClientTls>,
}

/// Limits on connections and requests.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConnectionPool {
    /// For all connections.
    pub tcp: Option<TcpPool>,
    /// For requests over HTTP.
    pub http: Option<HttpPool>,
}

/// Limits on connections.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TcpPool {
    /// How many connections to the host one proxy opens at most.
    pub max_connections: Option<i32>,
    /// How long connecting may take; 10s by default.
    #[schemars(transform = schema::duration)]
    pub connect_timeout: Option<String>,
    /// Probes that find dead connections.
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// How long a connection may live.
    #[schemars(transform = schema::duration)]
    pub max_connection_duration: Option<String>,
    /// How long a connection without bytes stays open; 1h by default, 0s for ever.
    pub idle_timeout: Option<String>,
}

/// Probes that find dead connections.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TcpKeepalive {
    /// How many unanswered probes end the connection.
    pub probes: Option<u32>,
    /// How long a connection is idle before the first probe.
    #[schemars(transform = schema::duration)]
    pub time: Option<String>,
    /// Time between probes.
    #[schemars(transform = schema::duration)]
    pub interval: Option<String>,
}

/// Limits on requests over HTTP.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpPool {
    /// How many requests may wait for a connection.
    pub http1_max_pending_requests: Option<i32>,
    /// How many requests may be under way.
    pub http2_max_requests: Option<i32>,
    /// How many requests one connection carries before it is closed; 1 turns keep-alive off.
    pub max_requests_per_connection: Option<i32>,
    /// How many retries may be under way.
    pub max_retries: Option<i32>,
    /// How long a connection without requests stays open; 1h by default.
    #[schemars(transform = schema::duration)]
    pub idle_timeout: Option<String>,
    /// Whether HTTP/1.1 is upgraded to HTTP/2 towards the host.
    pub h2_upgrade_policy: Option<H2UpgradePolicy>,
    /// Whether the client's protocol is kept towards the host.
    pub use_client_protocol: Option<bool>,
    /// How many requests one HTTP/2 connection carries at a time.
    pub max_concurrent_streams: Option<i32>,
    /// Pings that find dead HTTP/2 connections.
    pub http2_keep_alive: Option<Http2KeepAlive>,
}

/// Whether HTTP/1.1 is upgraded to HTTP/2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum H2UpgradePolicy {
    /// as the mesh does by default
    #[default]
    Default,
    /// never
    DoNotUpgrade,
    /// always
    Upgrade,
}

/// Pings that find dead HTTP/2 connections.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Http2KeepAlive {
    /// Time between pings.
    #[schemars(transform = schema::duration)]
    pub interval: Option<String>,
    /// How long an answer may take before the connection is closed.
    #[schemars(transform = schema::duration)]
    pub timeout: Option<String>,
}

/// When a pod that fails gets no requests for a while.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OutlierDetection {
    /// Whether errors of the connection and of the answer are counted apart.
    pub split_external_local_origin_errors: Option<bool>,
    /// Errors of the connection in a row before a pod is ejected, when counted apart.
    #[schemars(transform = schema::nullable)]
    pub consecutive_local_origin_failures: Option<u32>,
    /// Gateway errors (502, 503, 504) in a row before a pod is ejected; 0 turns it off.
    #[schemars(transform = schema::nullable)]
    pub consecutive_gateway_errors: Option<u32>,
    /// Server errors (5xx) in a row before a pod is ejected; 5 by default, 0 turns it off.
    #[serde(rename = "consecutive5xxErrors")]
    #[schemars(transform = schema::nullable)]
    pub consecutive_5xx_errors: Option<u32>,
    /// Errors in a row before a pod is ejected; use `consecutive5xxErrors` instead.
    pub consecutive_errors: Option<i32>,
    /// Time between looks at ejected pods; 10s by default.
    #[schemars(transform = schema::duration)]
    pub interval: Option<String>,
    /// How long a pod is ejected, times the number of its ejections; 30s by default.
    #[schemars(transform = schema::duration)]
    pub base_ejection_time: Option<String>,
    /// Percentage of pods that may be ejected at a time; 10 by default.
    pub max_ejection_percent: Option<i32>,
    /// Percentage of pods that must be healthy for ejection to work at all.
    pub min_health_percent: Option<i32>,
    /// Statuses that count as errors, besides server errors.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(transform = schema::items(schema::set("minimum", 100)))]
    #[schemars(transform = schema::items(schema::set("maximum", 599)))]
    pub outlier_detection_http_error_codes: Vec<u32>,
}

/// TLS towards a host.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClientTls {
    /// Whether and how connections are encrypted.
    pub mode: Option<ClientTlsMode>,
    /// File with the client's certificate, for `MUTUAL`.
    pub client_certificate: Option<String>,
    /// File with the client's private key, for `MUTUAL`.
    pub private_key: Option<String>,
    /// File with the authorities that sign the server's certificate.
    pub ca_certificates: Option<String>,
    /// Secret with key, certificate and authorities, in place of files.
    pub credential_name: Option<String>,
    /// Names, one of which the server's certificate must carry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subject_alt_names: Vec<String>,
    /// Server name to ask for; by default the host of the request.
    pub sni: Option<String>,
    /// Whether the server's certificate is accepted unverified.
    #[schemars(transform = schema::nullable)]
    pub insecure_skip_verify: Option<bool>,
    /// File with a list of revoked certificates.
    pub ca_crl: Option<String>,
}

/// Whether and how connections to a host are encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ClientTlsMode {
    /// no TLS
    #[default]
    Disable,
    /// TLS that verifies the server
    Simple,
    /// TLS with a certificate of the client, from files or a Secret
    Mutual,
    /// mutual TLS with the identity that the mesh gives each workload
    IstioMutual,
}

/// Tunnel connections through a proxy.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tunnel {
    /// `CONNECT` (the default) or `POST`.
    pub protocol: Option<String>,
    /// Host to ask the proxy for.
    pub target_host: String,
    /// Port to ask the proxy for.
    pub target_port: u32,
}

/// The PROXY protocol's header at the start of connections.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProxyProtocol {
    /// Version of the header; V1 by default.
    #[schemars(transform = schema::one_of_texts(&["V1", "V2"]))]
    pub version: Option<String>,
}

/// Limit on retries that are under way.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetryBudget {
    /// Retries under way, as a percentage of requests; 20 by default.
    #[schemars(range(min = 0.0, max = 100.0), transform = schema::nullable)]
    pub percent: Option<f64>,
    /// Retries that are allowed whatever the percentage; 3 by default.
    pub min_retry_concurrency: Option<u32>,
    /// Time over which requests are counted.
    pub budget_interval: Option<String>,
}
