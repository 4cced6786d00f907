//! `ServiceEntry`: services that the cluster's own registry does not know.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::IstioStatus;
use crate::schema::{items, rule, set, values};

const PORT: &str = "0 < self && self <= 65535";
const PORT_MESSAGE: &str = "a port is a number from 1 to 65535";

/// A service added to the registry: outside the mesh, or on machines without Kubernetes.
#[skip_serializing_none]
#[derive(
    CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema,
)]
#[kube(
    group = "networking.istio.io",
    version = "v1",
    kind = "ServiceEntry",
    plural = "serviceentries",
    namespaced,
    doc = "A service that the cluster's own registry does not know.",
    status = "IstioStatus",
    derive = "Default",
    derive = "PartialEq",
    shortname = "se",
    category = "istio-io",
    category = "networking-istio-io",
    printcolumn = r#"{"name": "Hosts", "type": "string", "jsonPath": ".spec.hosts", "description": "Hosts of the service"}"#,
    printcolumn = r#"{"name": "Location", "type": "string", "jsonPath": ".spec.location", "description": "Whether it belongs to the mesh"}"#,
    printcolumn = r#"{"name": "Resolution", "type": "string", "jsonPath": ".spec.resolution", "description": "How its addresses are found"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp", "description": "Time since creation"}"#
)]
#[serde(rename_all = "camelCase")]
#[schemars(
    transform = rule(
        "!has(self.workloadSelector) || !has(self.endpoints)",
        "set either workloadSelector or endpoints"
    ),
    transform = rule(
        "!has(self.addresses) || !self.addresses.exists(a, a.contains('/')) \
         || !has(self.resolution) || self.resolution in ['NONE', 'STATIC']",
        "an address range needs resolution NONE or STATIC"
    ),
    transform = rule(
        "!has(self.endpoints) || (has(self.resolution) && self.resolution != 'NONE')",
        "resolution NONE sends to the address that the client asked for: leave endpoints out"
    ),
    transform = rule(
        "!has(self.endpoints) || !has(self.resolution) \
         || self.resolution != 'DNS_ROUND_ROBIN' || size(self.endpoints) <= 1",
        "resolution DNS_ROUND_ROBIN takes at most one endpoint"
    )
)]
pub struct ServiceEntrySpec {
    /// Hosts of the service, as requests or TLS server names ask for them.
    #[schemars(
        length(min = 1, max = 256),
        transform = items(rule("self != '*'", "a host is a name, not `*` alone"))
    )]
    pub hosts: Vec<String>,
    /// Virtual addresses of the service, or ranges.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(max = 64)))]
    pub addresses: Vec<String>,
    /// Ports of the service.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 256),
        transform = set("x-kubernetes-list-type", "map"),
        transform = set("x-kubernetes-list-map-keys", vec!["name"]),
        transform = rule(
            "self.all(a, self.exists_one(b, b.number == a.number))",
            "each port number stands once"
        )
    )]
    pub ports: Vec<ServicePort>,
    /// Whether the service belongs to the mesh, so that mutual TLS can be expected.
    pub location: Option<Location>,
    /// How the addresses behind the hosts are found.
    pub resolution: Option<Resolution>,
    /// Addresses behind the hosts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4096))]
    pub endpoints: Vec<WorkloadEndpoint>,
    /// Pods and WorkloadEntries that are the endpoints, for services of the mesh.
    pub workload_selector: Option<WorkloadSelector>,
    /// Namespaces that see the service: `.` is this one, `*` is all, and the default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub export_to: Vec<String>,
    /// Names, one of which the server's certificate must carry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subject_alt_names: Vec<String>,
}

/// A port of a service.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServicePort {
    /// Name, unique within the service.
    #[schemars(length(max = 256))]
    pub name: String,
    /// Number of the port.
    #[schemars(transform = rule(PORT, PORT_MESSAGE))]
    pub number: u32,
    /// What is spoken on it: HTTP, HTTPS, GRPC, HTTP2, TCP or TLS.
    #[schemars(length(max = 256))]
    pub protocol: Option<String>,
    /// Number of the endpoints' port; by default the same.
    #[schemars(transform = rule(PORT, PORT_MESSAGE))]
    pub target_port: Option<u32>,
}

/// Whether a service belongs to the mesh.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Location {
    /// outside; the default
    #[default]
    MeshExternal,
    /// inside
    MeshInternal,
}

/// How the addresses behind a host are found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Resolution {
    /// the client's own address is used; the default
    #[default]
    None,
    /// the endpoints
    Static,
    /// names, asked for in the background
    Dns,
    /// names, of which one address is used at a time
    DnsRoundRobin,
    /// names, asked for when a request comes
    DynamicDns,
}

/// An address behind a service.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(
    transform = rule("has(self.address) || has(self.network)", "set an address or a network"),
    transform = rule(
        "!has(self.address) || !self.address.startsWith('unix://') || !has(self.ports)",
        "a Unix socket has no ports"
    )
)]
pub struct WorkloadEndpoint {
    /// IP address, DNS name, or Unix socket (`unix:///path`).
    #[schemars(
        length(max = 256),
        transform = rule(
            "!self.startsWith('unix://') || self.matches('^unix://[/@]')",
            "the path of a Unix socket is absolute, or starts with `@`"
        ),
        transform = rule(
            "!self.startsWith('unix://') || !self.endsWith('/')",
            "a Unix socket is not a directory"
        )
    )]
    pub address: Option<String>,
    /// Port numbers, by the names of the service's ports.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(
        transform = set("maxProperties", 128),
        transform = rule(
            "self.all(n, size(n) < 63 && n.matches('^[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?$'))",
            "a port's name is of letters, digits and inner dashes, fewer than 63"
        ),
        transform = values(rule(PORT, PORT_MESSAGE))
    )]
    pub ports: BTreeMap<String, u32>,
    /// Labels of the endpoint, for subsets.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(transform = set("maxProperties", 256))]
    pub labels: BTreeMap<String, String>,
    /// Network that the endpoint is in, where there are several.
    #[schemars(length(max = 2048))]
    pub network: Option<String>,
    /// Locality of the endpoint, `region/zone/subzone`.
    #[schemars(length(max = 2048))]
    pub locality: Option<String>,
    /// Share of the requests, relative to the other endpoints' weights.
    pub weight: Option<u32>,
    /// Service account whose identity the endpoint must prove.
    #[schemars(length(max = 253))]
    pub service_account: Option<String>,
}

/// Pods and WorkloadEntries by their labels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkloadSelector {
    /// Labels that must be there, all of them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(
        transform = set("maxProperties", 256),
        transform = values(set("maxLength", 63)),
        transform = values(rule("!self.contains('*')", "a label value holds no `*`"))
    )]
    pub labels: BTreeMap<String, String>,
}
