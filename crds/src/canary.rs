//! `flagger.app`: what a release may do, and who judges it.
//!
//! Types only: what they mean is decided in `crates/rollout` and the operator.

mod alert_provider;
mod analysis;
mod bake;
mod evidence;
mod history;
mod judgement;
mod metric_template;
mod number;
mod rollout;
mod service;
mod status;
mod step;

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

pub use alert_provider::*;
pub use analysis::*;
pub use bake::*;
pub use evidence::*;
pub use history::*;
pub use judgement::*;
pub use metric_template::*;
pub use number::*;
pub use rollout::*;
pub use service::*;
pub use status::*;
pub use step::*;

use crate::schema;

/// The API group.
pub const GROUP: &str = "flagger.app";
/// The served versions.
pub const VERSIONS: &[&str] = &["v1beta1"];

/// Names of service meshes and ingresses that manifests in the wild ask for.
const PROVIDERS: &[&str] = &[
    "istio",
    "kubernetes",
    "gatewayapi:v1",
    "gatewayapi:v1beta1",
    "apisix",
    "appmesh",
    "appmesh:v1beta2",
    "contour",
    "gloo",
    "knative",
    "kuma",
    "linkerd",
    "nginx",
    "osm",
    "skipper",
    "smi:v1alpha1",
    "smi:v1alpha2",
    "smi:v1alpha3",
    "traefik",
];

/// How new versions of a workload are released: step by step, judged by metrics.
#[skip_serializing_none]
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "flagger.app",
    version = "v1beta1",
    kind = "Canary",
    plural = "canaries",
    namespaced,
    doc = "How new versions of a workload are released.",
    status = "CanaryStatus",
    derive = "Default",
    derive = "PartialEq",
    category = "all",
    printcolumn = r#"{"name": "Status", "type": "string", "jsonPath": ".status.phase"}"#,
    printcolumn = r#"{"name": "Weight", "type": "string", "jsonPath": ".status.canaryWeight"}"#,
    printcolumn = r#"{"name": "Suspended", "type": "boolean", "jsonPath": ".spec.suspend", "priority": 1}"#,
    printcolumn = r#"{"name": "FailedChecks", "type": "string", "jsonPath": ".status.failedChecks", "priority": 1}"#,
    printcolumn = r#"{"name": "Interval", "type": "string", "jsonPath": ".spec.analysis.interval", "priority": 1}"#,
    printcolumn = r#"{"name": "Mirror", "type": "boolean", "jsonPath": ".spec.analysis.mirror", "priority": 1}"#,
    printcolumn = r#"{"name": "StepWeight", "type": "string", "jsonPath": ".spec.analysis.stepWeight", "priority": 1}"#,
    printcolumn = r#"{"name": "StepWeights", "type": "string", "jsonPath": ".spec.analysis.stepWeights", "priority": 1}"#,
    printcolumn = r#"{"name": "MaxWeight", "type": "string", "jsonPath": ".spec.analysis.maxWeight", "priority": 1}"#,
    printcolumn = r#"{"name": "LastTransitionTime", "type": "string", "jsonPath": ".status.lastTransitionTime"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct CanarySpec {
    /// Mesh or ingress that carries the traffic; by default the operator's.
    #[schemars(transform = schema::one_of_texts(PROVIDERS))]
    pub provider: Option<String>,
    /// Address of the metrics server that built-in checks ask; by default the operator's.
    pub metrics_server: Option<String>,
    /// Seconds that a workload may take to become ready; 600 by default.
    pub progress_deadline_seconds: Option<Number>,
    /// The workload to release.
    pub target_ref: TargetReference,
    /// The autoscaler of the workload.
    pub autoscaler_ref: Option<AutoscalerReference>,
    /// The Ingress in front of the workload, for ingress providers.
    pub ingress_ref: Option<ObjectReference>,
    /// The route in front of the workload, for APISIX.
    pub route_ref: Option<ObjectReference>,
    /// The upstream whose settings are copied, for Gloo.
    pub upstream_ref: Option<NamespacedObjectReference>,
    /// The services and routes made for the workload.
    pub service: Option<CanaryService>,
    /// How a new version is judged, and how fast it gets traffic.
    pub analysis: CanaryAnalysis,
    /// Whether a new version is promoted as soon as it is ready, unjudged.
    pub skip_analysis: Option<bool>,
    /// Whether everything is put back as it was when this object is deleted.
    pub revert_on_deletion: Option<bool>,
    /// Whether the release stands still, with weights as they are.
    pub suspend: Option<bool>,
}

/// The workload to release, or the Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetReference {
    /// API group and version: `apps/v1`, or `v1` of a Service.
    pub api_version: String,
    /// Kind of the workload, or `Service`.
    #[schemars(transform = schema::one_of_texts(&["DaemonSet", "Deployment", "Service", "StatefulSet"]))]
    pub kind: String,
    /// Its name, in this namespace.
    pub name: String,
}

/// The autoscaler of a workload.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AutoscalerReference {
    /// API group and version, such as `autoscaling/v2`.
    pub api_version: String,
    /// Kind of the autoscaler.
    #[schemars(transform = schema::one_of_texts(&["HorizontalPodAutoscaler", "ScaledObject"]))]
    pub kind: String,
    /// Name of the autoscaler, in this namespace.
    pub name: String,
    /// Queries for the primary's triggers, by the trigger's name, for a ScaledObject.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub primary_scaler_queries: BTreeMap<String, String>,
    /// Limits for the primary; by default those of the autoscaler.
    pub primary_scaler_replicas: Option<ScalerReplicas>,
}

/// Limits of an autoscaler.
#[skip_serializing_none]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScalerReplicas {
    /// Fewest replicas.
    #[schemars(range(min = 1))]
    pub min_replicas: Option<i32>,
    /// Most replicas.
    #[schemars(range(min = 1))]
    pub max_replicas: Option<i32>,
}

/// An object in this namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectReference {
    /// API group and version.
    pub api_version: String,
    /// Kind of the object.
    pub kind: String,
    /// Name of the object.
    pub name: String,
}

/// An object in any namespace.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NamespacedObjectReference {
    /// API group and version.
    pub api_version: String,
    /// Kind of the object.
    pub kind: String,
    /// Name of the object.
    pub name: String,
    /// Namespace of the object; by default this one.
    pub namespace: Option<String>,
}

/// An object of a kind that is known from where it is named, by default in this namespace.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CrossNamespaceReference {
    /// Name of the object.
    pub name: String,
    /// Namespace of the object; by default this one.
    pub namespace: Option<String>,
}
