//! How a pod is chosen among those of a host.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use crate::schema;

/// How a pod is chosen.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(
    transform = schema::at_most_one_of(&["simple", "consistentHash", "backendUtilization"])
)]
pub struct LoadBalancer {
    /// One of the plain ways.
    pub simple: Option<SimpleBalancer>,
    /// The same pod for the same client, by a hash.
    pub consistent_hash: Option<ConsistentHash>,
    /// The pod that reports the least load.
    pub backend_utilization: Option<BackendUtilization>,
    /// Which localities get how much, and what happens when one fails.
    pub locality_lb_setting: Option<LocalityBalancer>,
    /// How a new pod is spared at first.
    pub warmup: Option<Warmup>,
    /// How long a new pod is spared; use `warmup` instead.
    #[schemars(transform = schema::duration)]
    pub warmup_duration_secs: Option<String>,
    /// Preference for the caller's zone.
    pub zone_aware_lb_setting: Option<ZoneAwareBalancer>,
}

/// The plain ways to choose a pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SimpleBalancer {
    /// as the mesh does by default
    #[default]
    Unspecified,
    /// old name of LEAST_REQUEST
    LeastConn,
    /// any pod
    Random,
    /// the address that the client asked for
    Passthrough,
    /// one pod after the other
    RoundRobin,
    /// of two pods taken at random, the one with fewer requests under way
    LeastRequest,
}

/// The same pod for the same client, by a hash.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(
    transform = schema::at_most_one_of(
        &["httpHeaderName", "httpCookie", "useSourceIp", "httpQueryParameterName"]
    ),
    transform = schema::at_most_one_of(&["ringHash", "maglev"])
)]
pub struct ConsistentHash {
    /// Hash this header.
    pub http_header_name: Option<String>,
    /// Hash this cookie.
    pub http_cookie: Option<HashCookie>,
    /// Hash the client's address.
    pub use_source_ip: Option<bool>,
    /// Hash this parameter of the query.
    pub http_query_parameter_name: Option<String>,
    /// Look the hash up in a ring.
    pub ring_hash: Option<RingHash>,
    /// Look the hash up in a Maglev table.
    pub maglev: Option<Maglev>,
    /// Smallest size of the ring; use `ringHash` instead.
    pub minimum_ring_size: Option<u64>,
}

/// A cookie to hash.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HashCookie {
    /// Name of the cookie.
    #[serde(default)]
    #[schemars(required)]
    pub name: String,
    /// Path that a cookie made by the proxy is for.
    pub path: Option<String>,
    /// Lifetime of a cookie made by the proxy; without it none is made.
    pub ttl: Option<String>,
    /// Further attributes of a cookie made by the proxy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<CookieAttribute>,
}

/// An attribute of a cookie, such as `SameSite`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CookieAttribute {
    /// Name of the attribute.
    #[serde(default)]
    #[schemars(required)]
    pub name: String,
    /// Value of the attribute, where it has one.
    pub value: Option<String>,
}

/// A hash ring.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RingHash {
    /// Smallest number of entries; 1024 by default.
    pub minimum_ring_size: Option<u64>,
}

/// A Maglev table.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Maglev {
    /// Number of entries, a prime; 65537 by default.
    pub table_size: Option<u64>,
}

/// The pod that reports the least load.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackendUtilization {
    /// How much errors count as load, in percent.
    pub error_utilization_penalty_percent: Option<u32>,
    /// Names of reported metrics that are the load.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub metric_names_for_computing_utilization: Vec<String>,
    /// How long a report is believed.
    pub weight_expiration_period: Option<String>,
    /// How long a pod reports before its reports are used.
    pub weight_stabilization_period: Option<String>,
    /// Time between two computations of the weights.
    pub weight_update_period: Option<String>,
}

/// Which localities get how much, and what happens when one fails.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LocalityBalancer {
    /// Shares by locality of the caller.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub distribute: Vec<LocalityShare>,
    /// Where requests go when a region has no healthy pod.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failover: Vec<LocalityFailover>,
    /// Labels by which pods are preferred, the most important first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failover_priority: Vec<String>,
    /// Whether localities count at all.
    #[schemars(transform = schema::nullable)]
    pub enabled: Option<bool>,
}

/// Shares for callers in one locality.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LocalityShare {
    /// Locality of the caller, `region/zone/subzone`, `*` at the end for all below.
    pub from: Option<String>,
    /// Percentage for each locality; together 100.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub to: BTreeMap<String, u32>,
}

/// Where requests go when a region has no healthy pod.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LocalityFailover {
    /// The region without a healthy pod.
    pub from: Option<String>,
    /// The region that takes over.
    pub to: Option<String>,
}

/// How a new pod is spared at first.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Warmup {
    /// How long until a new pod gets its full share.
    #[serde(default)]
    #[schemars(required, transform = schema::duration)]
    pub duration: String,
    /// Percentage of its share that it starts with; 10 by default.
    #[schemars(range(min = 0.0, max = 100.0), transform = schema::nullable)]
    pub minimum_percent: Option<f64>,
    /// Shape of the growth; 1, the default, is a straight line.
    #[schemars(range(min = 0.0), transform = schema::nullable)]
    pub aggression: Option<f64>,
}

/// Preference for the caller's zone.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ZoneAwareBalancer {
    /// Whether zones count at all.
    #[schemars(transform = schema::nullable)]
    pub enabled: Option<bool>,
    /// Number of pods below which zones do not count.
    #[schemars(range(min = 1), transform = schema::nullable)]
    pub min_cluster_size: Option<u32>,
    /// Where requests go when a region has no healthy pod.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failover: Vec<LocalityFailover>,
    /// Labels by which pods are preferred, the most important first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failover_priority: Vec<String>,
}
