//! `fairlead.dev/v1alpha1 MeshInstall`: the mesh that the operator installs and keeps.
//!
//! Types only: what they mean is decided in the operator.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use crate::schema;

/// The API group of what only we have.
pub const GROUP: &str = "fairlead.dev";
/// The served versions.
pub const VERSIONS: &[&str] = &["v1alpha1"];

/// The mesh of a cluster: a control plane, gateways and a sidecar injector in `istio-system`.
#[skip_serializing_none]
#[derive(
    CustomResource, Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize,
)]
#[kube(
    group = "fairlead.dev",
    version = "v1alpha1",
    kind = "MeshInstall",
    plural = "meshinstalls",
    shortname = "mesh",
    category = "fairlead",
    status = "MeshInstallStatus",
    derive = "Default",
    derive = "PartialEq",
    printcolumn = r#"{"name": "Profile", "type": "string", "jsonPath": ".spec.profile"}"#,
    printcolumn = r#"{"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name": "Status", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].message"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct MeshInstallSpec {
    /// Where the installation starts from: `minimal` (control plane and injector), `default` (and an
    /// ingress gateway behind a load balancer) or `demo` (everything small, the ingress gateway on a
    /// port of each node).
    #[serde(default = "default_profile")]
    #[schemars(transform = schema::default_to("default"))]
    pub profile: String,
    /// Trust domain of the workloads' identities; `cluster.local` when not set.
    pub trust_domain: Option<String>,
    /// DNS domain of the cluster's Services; `cluster.local` when not set.
    pub cluster_domain: Option<String>,
    /// Name of the cluster in telemetry; `Kubernetes` when not set.
    pub cluster_id: Option<String>,
    /// The control plane.
    pub control_plane: Option<ControlPlaneSpec>,
    /// The gateway into the mesh.
    pub ingress_gateway: Option<GatewaySpec>,
    /// The gateway out of the mesh; no profile has one.
    pub egress_gateway: Option<GatewaySpec>,
    /// The webhook that puts a proxy beside applications.
    pub sidecar_injector: Option<SidecarInjectorSpec>,
    /// The proxies beside applications and in gateways.
    pub proxy: Option<ProxySpec>,
}

/// The control plane of a mesh.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ControlPlaneSpec {
    /// Number of pods; 1 when not set.
    #[schemars(range(min = 1, max = 100))]
    pub replicas: Option<i32>,
    /// What each pod asks for; the profile decides when not set.
    pub resources: Option<Resources>,
}

/// A gateway of a mesh.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewaySpec {
    /// Whether it is deployed; the profile decides when not set.
    pub enabled: Option<bool>,
    /// Number of pods; 1 when not set.
    #[schemars(range(min = 0, max = 1000))]
    pub replicas: Option<i32>,
    /// What each pod asks for; the profile decides when not set.
    pub resources: Option<Resources>,
    /// The Service in front of the pods.
    pub service: Option<GatewayServiceSpec>,
}

/// The Service in front of a gateway.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayServiceSpec {
    /// How it is reached; the profile decides when not set.
    pub r#type: Option<ServiceType>,
    /// Its annotations, which clouds read.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Its ports, in place of 80 (to 8080 of the pods) and 443 (to 8443).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        transform = schema::set("x-kubernetes-list-type", "map"),
        transform = schema::set("x-kubernetes-list-map-keys", vec!["port"])
    )]
    pub ports: Vec<GatewayServicePort>,
}

/// A port of a gateway's Service.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayServicePort {
    /// Its name, which begins with what is spoken on it, such as `http2` or `tls-shop`.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Number of the Service's port.
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
    /// Number of the pods' port; the same when not set.
    #[schemars(range(min = 1, max = 65535))]
    pub target_port: Option<i32>,
    /// Number of the nodes' port; the cluster chooses when not set.
    #[schemars(range(min = 1, max = 65535))]
    pub node_port: Option<i32>,
}

/// The webhook that puts a proxy beside applications.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SidecarInjectorSpec {
    /// Whether it is registered; it is when not set.
    pub enabled: Option<bool>,
    /// Whether proxies are native sidecars of Kubernetes; on 1.33 and later when not set.
    pub native_sidecars: Option<bool>,
}

/// The proxies beside applications and in gateways.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProxySpec {
    /// Their image; the operator's own when not set.
    #[schemars(length(min = 1))]
    pub image: Option<String>,
    /// What each proxy beside an application asks for.
    pub resources: Option<Resources>,
}

/// What a container asks for, and may take at most.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct Resources {
    /// What it is sure to get, such as `cpu: 100m` and `memory: 128Mi`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(transform = schema::values(schema::int_or_string))]
    pub requests: BTreeMap<String, IntOrString>,
    /// What it may take at most.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(transform = schema::values(schema::int_or_string))]
    pub limits: BTreeMap<String, IntOrString>,
}

/// How a gateway's Service is reached.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum ServiceType {
    /// from inside the cluster
    ClusterIP,
    /// by a port of each node
    NodePort,
    /// by a load balancer of the cloud
    LoadBalancer,
}

impl ServiceType {
    /// The text that stands in a Service.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClusterIP => "ClusterIP",
            Self::NodePort => "NodePort",
            Self::LoadBalancer => "LoadBalancer",
        }
    }
}

/// What the operator found out about a mesh.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MeshInstallStatus {
    /// The `metadata.generation` that this status is about.
    pub observed_generation: Option<i64>,
    /// `Ready`, and one for each component: `ControlPlaneReady`, `SidecarInjectorReady`,
    /// `IngressGatewayReady`, `EgressGatewayReady`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

fn default_profile() -> String {
    "default".to_owned()
}
