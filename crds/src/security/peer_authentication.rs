//! `PeerAuthentication`: whether callers must come over mutual TLS.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use crate::networking::IstioStatus;
use crate::schema::{rule, set};
use crate::selector::PodSelector;

/// Whether callers of some pods must come over mutual TLS.
#[skip_serializing_none]
#[derive(
    CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema,
)]
#[kube(
    group = "security.istio.io",
    version = "v1",
    kind = "PeerAuthentication",
    plural = "peerauthentications",
    namespaced,
    doc = "Whether callers must come over mutual TLS.",
    status = "IstioStatus",
    derive = "Default",
    derive = "PartialEq",
    shortname = "pa",
    category = "istio-io",
    category = "security-istio-io",
    printcolumn = r#"{"name": "Mode", "type": "string", "jsonPath": ".spec.mtls.mode", "description": "Whether mutual TLS is asked for"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp", "description": "Time since creation"}"#
)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = rule(
    "!has(self.portLevelMtls) || (has(self.selector) && has(self.selector.matchLabels) \
     && size(self.selector.matchLabels) > 0)",
    "portLevelMtls needs a selector with labels"
))]
pub struct PeerAuthenticationSpec {
    /// Pods that this is for; without it, all pods of the namespace,
    /// or of the mesh when the namespace is that of the control plane.
    pub selector: Option<PodSelector>,
    /// What is asked of callers.
    pub mtls: Option<MutualTls>,
    /// What is asked of callers of single ports, by the number of the pod's port.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(
        transform = set("minProperties", 1),
        transform = rule(
            "self.all(p, 0 < int(p) && int(p) <= 65535)",
            "a port is a number from 1 to 65535"
        )
    )]
    pub port_level_mtls: BTreeMap<String, MutualTls>,
}

/// What is asked of callers.
#[skip_serializing_none]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MutualTls {
    /// Whether mutual TLS is asked for.
    pub mode: Option<MutualTlsMode>,
}

/// Whether mutual TLS is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum MutualTlsMode {
    /// as the namespace or the mesh has it, PERMISSIVE if nothing does
    #[default]
    Unset,
    /// plain connections only
    Disable,
    /// both
    Permissive,
    /// mutual TLS only
    Strict,
}
