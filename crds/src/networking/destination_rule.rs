//! `DestinationRule`: how proxies talk to a host once a route has chosen it.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::{IstioStatus, TrafficPolicy};
use crate::selector::PodSelector;

/// Subsets of a host, and the policy for traffic to it.
#[skip_serializing_none]
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "networking.istio.io",
    version = "v1",
    kind = "DestinationRule",
    plural = "destinationrules",
    namespaced,
    doc = "How proxies talk to a host.",
    status = "IstioStatus",
    derive = "Default",
    derive = "PartialEq",
    shortname = "dr",
    category = "istio-io",
    category = "networking-istio-io",
    printcolumn = r#"{"name": "Host", "type": "string", "jsonPath": ".spec.host", "description": "Host that the rule is for"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp", "description": "Time since creation"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct DestinationRuleSpec {
    /// Host that the rule is for, as routes name it.
    /// A short name is completed with the namespace of the rule.
    pub host: String,
    /// Policy for all traffic to the host.
    pub traffic_policy: Option<TrafficPolicy>,
    /// Named parts of the host's pods, for routes to choose between.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subsets: Vec<Subset>,
    /// Namespaces that see the rule: `.` is this one, `*` is all, and the default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub export_to: Vec<String>,
    /// Callers that the rule is for, by labels; all of them by default.
    pub workload_selector: Option<PodSelector>,
}

/// A named part of a host's pods.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Subset {
    /// Name, as routes use it.
    pub name: String,
    /// Labels that pods of the subset have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Policy for traffic to the subset; each part set here replaces the host's.
    pub traffic_policy: Option<TrafficPolicy>,
}
