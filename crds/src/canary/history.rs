//! What the last runs of a release did, and why: kept for people, never gone on from.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::Number;

/// One run, as it went.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunHistory {
    /// The run's number.
    pub run: u64,
    /// What was being released.
    pub revision: String,
    /// When it began.
    pub started_at: MicroTime,
    /// When it ended.
    pub ended_at: Option<MicroTime>,
    /// How it ended.
    pub outcome: Option<RunOutcome>,
    /// The queries that were sent, by metric.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub queries: BTreeMap<String, String>,
    /// How many of the oldest decisions were left out to stay small.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub omitted: u32,
    /// What was decided, the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub decisions: Vec<DecisionHistory>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RunOutcome {
    /// the new version is the promoted one
    Promoted,
    /// the new version was promoted, and the primary went back from it
    RolledBack,
    /// the new version was withdrawn
    Failed,
    /// the workload went back to the promoted version
    Reverted,
    /// a newer version took its place
    Superseded,
}

/// One decision, with what it was made on.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DecisionHistory {
    /// When it was made; of equal ones, the last.
    pub at: MicroTime,
    /// The step of the run.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub step: u32,
    /// The new version's percentage of traffic at that step.
    #[serde(default)]
    pub weight: u8,
    /// What was decided, as one CamelCase word: an event's reason, or `CheckPassed`, `Checking` or
    /// `Held`.
    pub decision: String,
    /// The same as a sentence.
    pub message: Option<String>,
    /// How many equal ones followed one another; absent for one.
    pub count: Option<u32>,
    /// When the first of its questions was asked.
    pub asked_at: Option<MicroTime>,
    /// The step that was asked about, where it is not this one.
    pub asked_in: Option<u32>,
    /// What was asked, and what came back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<AnswerHistory>,
}

/// What one metric or webhook said.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AnswerHistory {
    /// The metric's name, or the webhook's as `type/name`.
    pub asked: String,
    /// What came back, one value for each series, as text since it may be no number.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
    /// The least that passes.
    pub min: Option<Number>,
    /// The most that passes.
    pub max: Option<Number>,
    /// `Passed`, `Failed`, `Error` or `NoData`.
    pub verdict: String,
    /// Why it did not pass.
    pub message: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_zero(value: &u32) -> bool {
    *value == 0
}
