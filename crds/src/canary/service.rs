//! The services and routes that are made for a workload.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::Number;
use crate::networking::{CorsPolicy, Headers, HttpMatchRequest, HttpRetry, TrafficPolicy};
use crate::schema;

const GROUP_PATTERN: &str = r"^$|^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
const KIND_PATTERN: &str = "^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$";
const NAMESPACE_PATTERN: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";
const SECTION_PATTERN: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";

/// The services and routes that are made for a workload.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CanaryService {
    /// Name of the service that clients call; by default the workload's.
    /// The two services behind it end in `-primary` and `-canary`.
    pub name: Option<String>,
    /// Port of the services.
    pub port: Number,
    /// Name of the port, which says what is spoken on it; `http` by default.
    pub port_name: Option<String>,
    /// What is spoken on the port, in place of its name.
    pub app_protocol: Option<String>,
    /// Preference for pods near the caller.
    #[schemars(
        transform = schema::one_of_texts(&["PreferClose", "PreferSameZone", "PreferSameNode"])
    )]
    pub traffic_distribution: Option<String>,
    /// Port of the pods, by number or name; by default the same as `port`.
    #[schemars(transform = schema::int_or_string)]
    pub target_port: Option<IntOrString>,
    /// Whether the services get all other ports of the pods too.
    pub port_discovery: Option<bool>,
    /// Whether the services have no address of their own.
    pub headless: Option<bool>,
    /// How long a request may take, retries included.
    pub timeout: Option<String>,
    /// How long a request to one pod may take, for the Gateway API.
    pub backend_timeout: Option<String>,
    /// Name of the mesh, for App Mesh.
    pub mesh_name: Option<String>,
    /// Services that pods call, for App Mesh.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backends: Vec<String>,
    /// Hosts of the routes; the service's own name is added.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Whether the routes are made for another VirtualService to delegate to.
    pub delegation: Option<bool>,
    /// Conditions on requests, for the routes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub r#match: Vec<HttpMatchRequest>,
    /// When and how often a failed request is tried again.
    #[schemars(transform = schema::unchecked)]
    pub retries: Option<HttpRetry>,
    /// A new path or host, before requests are sent on.
    pub rewrite: Option<CanaryRewrite>,
    /// Destinations that get a copy of each request, for the Gateway API.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mirror: Vec<MirrorFilter>,
    /// Changes to headers of requests and answers.
    pub headers: Option<Headers>,
    /// Gateways that use the routes; `mesh`, all sidecars, by default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gateways: Vec<String>,
    /// Gateways that use the routes, for the Gateway API.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub gateway_refs: Vec<GatewayReference>,
    /// What browsers may do with answers when the page is from another origin.
    #[schemars(transform = schema::unchecked)]
    pub cors_policy: Option<CorsPolicy>,
    /// How proxies talk to the services.
    #[schemars(transform = schema::unchecked)]
    pub traffic_policy: Option<TrafficPolicy>,
    /// Labels and annotations of the service that clients call, and of the routes.
    pub apex: Option<CanaryMetadata>,
    /// Labels and annotations of the service of the promoted version.
    pub primary: Option<CanaryMetadata>,
    /// Labels and annotations of the service of the new version.
    pub canary: Option<CanaryMetadata>,
    /// Labels and annotations of the services that others own.
    pub unmanaged_metadata: Option<UnmanagedMetadata>,
}

/// A new path or host.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CanaryRewrite {
    /// The new path, or start of the path.
    pub uri: Option<String>,
    /// The new host.
    pub authority: Option<String>,
    /// Whether the whole path is replaced or its start, for the Gateway API.
    pub r#type: Option<String>,
}

/// Labels and annotations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CanaryMetadata {
    /// Labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// Keys of labels and annotations that others own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UnmanagedMetadata {
    /// Keys of labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// Keys of annotations.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub annotations: Vec<String>,
}

/// A destination that gets a copy of each request.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MirrorFilter {
    /// The destination.
    pub backend_ref: Option<BackendReference>,
}

/// A destination, as the Gateway API names it.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = schema::rule(
    "self.group != '' || self.kind != 'Service' || has(self.port)",
    "a Service needs a port"
))]
pub struct BackendReference {
    /// API group; empty, the default, for a Service.
    #[schemars(length(max = 253), regex(pattern = GROUP_PATTERN))]
    #[schemars(transform = schema::default_to(""))]
    pub group: Option<String>,
    /// Kind; `Service` by default.
    #[schemars(length(min = 1, max = 63), regex(pattern = KIND_PATTERN))]
    #[schemars(transform = schema::default_to("Service"))]
    pub kind: Option<String>,
    /// Name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Namespace; by default this one.
    #[schemars(length(min = 1, max = 63), regex(pattern = NAMESPACE_PATTERN))]
    pub namespace: Option<String>,
    /// Port number.
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i32>,
}

/// A gateway, as the Gateway API names it.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GatewayReference {
    /// API group.
    #[schemars(length(max = 253), regex(pattern = GROUP_PATTERN))]
    #[schemars(transform = schema::default_to("gateway.networking.k8s.io"))]
    pub group: Option<String>,
    /// Kind.
    #[schemars(length(min = 1, max = 63), regex(pattern = KIND_PATTERN))]
    #[schemars(transform = schema::default_to("Gateway"))]
    pub kind: Option<String>,
    /// Name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Namespace; by default this one.
    #[schemars(length(min = 1, max = 63), regex(pattern = NAMESPACE_PATTERN))]
    pub namespace: Option<String>,
    /// Listener of the gateway; by default all of them.
    #[schemars(length(min = 1, max = 253), regex(pattern = SECTION_PATTERN))]
    pub section_name: Option<String>,
    /// Port of the gateway's listener; by default all of them.
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i32>,
}
