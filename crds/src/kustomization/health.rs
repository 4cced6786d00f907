//! What healthy means.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

/// An object that must become healthy.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HealthCheck {
    /// API group and version.
    pub api_version: Option<String>,
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
    /// Namespace; by default this one.
    pub namespace: Option<String>,
}

/// What healthy means for a kind, in CEL over the object's fields.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HealthCheckExpr {
    /// API group and version.
    pub api_version: String,
    /// Kind.
    #[serde(default)]
    pub kind: String,
    /// True when it is healthy.
    pub current: String,
    /// True while it is on its way.
    pub in_progress: Option<String>,
    /// True when it failed for good.
    pub failed: Option<String>,
}
