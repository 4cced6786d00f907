//! What the operator knows about a release; a restarted operator goes on from here.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::{Number, RolloutStatus, RunHistory};
use crate::schema;

/// What the operator knows about a release.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CanaryStatus {
    /// Where the release stands.
    pub phase: Option<CanaryPhase>,
    /// Percentage of traffic that the new version has.
    pub canary_weight: Option<Number>,
    /// Looks that went bad in this run.
    pub failed_checks: Option<Number>,
    /// Looks that it passed in this run, when traffic is not shifted in steps.
    pub iterations: Option<Number>,
    /// Hash of the workload's pod template that was looked at last.
    pub last_applied_spec: Option<String>,
    /// Hash of the workload's pod template that was promoted last.
    pub last_promoted_spec: Option<String>,
    /// Hashes of the ConfigMaps and Secrets that the workload uses, by `kind/name`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tracked_configs: BTreeMap<String, String>,
    /// When this status last changed.
    pub last_transition_time: Option<Time>,
    /// Cookie of clients with the new version.
    pub session_affinity_cookie: Option<String>,
    /// Cookie of clients with the promoted version.
    pub primary_session_affinity_cookie: Option<String>,
    /// Cookie of clients with the new version of the run before.
    pub previous_session_affinity_cookie: Option<String>,
    /// The generation of the spec that was looked at last.
    pub observed_generation: Option<i64>,
    /// The command that was seen last, carried out or refused.
    pub last_handled: Option<String>,
    /// What a restarted operator goes on from.
    pub rollout: Option<RolloutStatus>,
    /// What the last runs decided, and on what; the latest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<RunHistory>,
    /// State of the release, one entry for each type.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::canary_conditions")]
    pub conditions: Vec<Condition>,
}

/// Where a release stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum CanaryPhase {
    /// nothing was done yet
    #[default]
    #[serde(rename = "")]
    New,
    /// the copy that keeps the promoted version is being made
    Initializing,
    /// ready for new versions
    Initialized,
    /// a new version waits to be let in
    Waiting,
    /// a new version gets traffic and is judged
    Progressing,
    /// a new version has passed and waits to be let through
    WaitingPromotion,
    /// the new version becomes the promoted one
    Promoting,
    /// the new version's own pods are being removed
    Finalising,
    /// the last release went well
    Succeeded,
    /// the last release was withdrawn
    Failed,
    /// everything is being put back as it was
    Terminating,
    /// everything was put back as it was
    Terminated,
}

impl CanaryPhase {
    /// The text that stands in the object.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New => "",
            Self::Initializing => "Initializing",
            Self::Initialized => "Initialized",
            Self::Waiting => "Waiting",
            Self::Progressing => "Progressing",
            Self::WaitingPromotion => "WaitingPromotion",
            Self::Promoting => "Promoting",
            Self::Finalising => "Finalising",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
            Self::Terminating => "Terminating",
            Self::Terminated => "Terminated",
        }
    }
}

impl fmt::Display for CanaryPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
