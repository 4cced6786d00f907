//! What gitops knows about applied manifests.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_with::skip_serializing_none;

use crate::schema;

/// What gitops knows about applied manifests.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = schema::default_to(json!({ "observedGeneration": -1 })))]
pub struct KustomizationStatus {
    /// The generation of the spec that was looked at last.
    pub observed_generation: Option<i64>,
    /// State of the manifests, one entry for each type.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
    /// The revision that was applied last.
    pub last_applied_revision: Option<String>,
    /// The commit that the applied revision was made from, where its maker says it.
    pub last_applied_origin_revision: Option<String>,
    /// The revision that was tried last.
    pub last_attempted_revision: Option<String>,
    /// The request for a look that was answered last.
    pub last_handled_reconcile_at: Option<String>,
    /// The objects that were applied.
    pub inventory: Option<Inventory>,
    /// What was tried lately, the newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Snapshot>,
}

/// The objects that were applied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Inventory {
    /// One entry for each object.
    pub entries: Vec<InventoryEntry>,
}

/// An object that was applied.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub struct InventoryEntry {
    /// The object, `namespace_name_group_kind`.
    pub id: String,
    /// Its API version.
    pub v: String,
}

/// A revision that was tried, once or again and again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// Hash of what was built.
    pub digest: String,
    /// When it was first tried.
    pub first_reconciled: Time,
    /// When it was last tried.
    pub last_reconciled: Time,
    /// How long the last try took.
    pub last_reconciled_duration: String,
    /// How the last try ended.
    pub last_reconciled_status: String,
    /// What else is known of it, such as the revision.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// How often it was tried.
    pub total_reconciliations: i64,
}
