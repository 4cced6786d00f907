//! What a release has to remember between two looks, beside what Flagger's status holds.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::{JudgementStatus, Number, RecordStatus};

/// What a release has to remember; written before each change, so that a restart goes on from it.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, each read by its name"
)]
pub struct RolloutStatus {
    /// The last spec that could be carried out, as JSON; it stays in force while the present one
    /// cannot be.
    pub accepted_spec: Option<String>,
    /// The revision that the primary was last proven to run.
    pub promoted_revision: Option<String>,
    /// The replicas that the primary had last, where no autoscaler of the Canary scales it: as many
    /// as it gets when it is deleted and made again.
    pub primary_replicas: Option<u32>,
    /// Whether the primary was deleted and is not back yet.
    #[serde(default, skip_serializing_if = "is_false")]
    pub primary_lost: bool,
    /// The revision that failed last; it is not tried again.
    pub refused_revision: Option<String>,
    /// Others that are not tried again: the primary went back from them since the last promotion.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also_refused: Vec<String>,
    /// The revisions that the primary ran before and can be given back by `rollback-to`; the last
    /// one comes first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept_revisions: Vec<String>,
    /// The run in progress, or the last one.
    pub run: Option<RunStatus>,
    /// What the routes are meant to hold.
    pub traffic: Option<TrafficStatus>,
    /// Whether the canary keeps all traffic because a promotion failed.
    #[serde(default, skip_serializing_if = "is_false")]
    pub retained: bool,
    /// Whether the end of the run still has webhooks to call.
    #[serde(default, skip_serializing_if = "is_false")]
    pub closing: bool,
    /// Since when the workload that is waited for has not been ready.
    pub unready_since: Option<MicroTime>,
    /// Whether a person wants the release to stand still.
    #[serde(default, skip_serializing_if = "is_false")]
    pub paused: bool,
    /// The commands that were handled; the one that was seen last comes first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<CommandStatus>,
    /// What the last check found, one entry for each metric that was asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<CheckStatus>,
    /// The share of requests that the new version really got, as of the last check; where the
    /// mesh's own proxies are read.
    pub observed_share: Option<ShareStatus>,
    /// What the comparison of both versions says, one entry for each metric.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub judgement: Vec<JudgementStatus>,
}

/// One run: a revision on its way.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, each read by its name"
)]
pub struct RunStatus {
    /// Counts the runs of this Canary.
    pub id: u64,
    /// What is being released.
    pub revision: String,
    /// Counts the moves of this run.
    #[serde(default)]
    pub step: u32,
    /// Percentage of traffic that this step gives to the canary.
    #[serde(default)]
    pub weight: u8,
    /// Whether this step mirrors requests.
    #[serde(default, skip_serializing_if = "is_false")]
    pub mirrored: bool,
    /// Iterations begun.
    #[serde(default)]
    pub iterations: u32,
    /// Failed checks so far.
    #[serde(default)]
    pub failed_checks: u32,
    /// Whether the pre-rollout webhooks have passed.
    #[serde(default, skip_serializing_if = "is_false")]
    pub warmed: bool,
    /// Whether traffic is away from the canary until it has ready endpoints again.
    #[serde(default, skip_serializing_if = "is_false")]
    pub withdrawn: bool,
    /// Whether promotion has begun to hand traffic back.
    #[serde(default, skip_serializing_if = "is_false")]
    pub returning: bool,
    /// When the last check or gate ended.
    pub checked_at: Option<MicroTime>,
    /// Whether a webhook wants to be asked again later.
    pub postponed: Option<PostponedStatus>,
    /// Counts the attempts within this step.
    #[serde(default)]
    pub attempt: u32,
    /// Questions of this attempt with an answer that lets it go on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passed: Vec<String>,
    /// The question that was asked last and has no answer yet.
    pub asked: Option<String>,
    /// What was learned by comparing both versions.
    pub record: Option<Box<RecordStatus>>,
    /// What holds the run, so that people are told once.
    pub held_by: Option<String>,
    /// Why the last check failed or the last gate refused.
    pub objection: Option<String>,
    /// Whether a person wants promotion without further analysis.
    pub shortcut: Option<ShortcutStatus>,
    /// Where it stands among `spec.analysis.steps`; none before the first.
    pub place: Option<PlaceStatus>,
    /// How the promoted revision holds, while it bakes.
    pub bake: Option<BakeStatus>,
}

/// A time after promotion in which checks go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BakeStatus {
    /// When it began.
    pub since: MicroTime,
    /// Failed checks since.
    #[serde(default)]
    pub failed_checks: u32,
}

/// A webhook wants to be asked again later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PostponedStatus {
    /// Since when it has said so.
    pub since: MicroTime,
    /// When it is asked again.
    pub until: MicroTime,
}

/// Where a run stands among the steps of the spec.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlaceStatus {
    /// The number of the step, from 1.
    pub number: u32,
    /// When it began.
    pub since: MicroTime,
    /// Whether a person has let it pass.
    #[serde(default, skip_serializing_if = "is_false")]
    pub resumed: bool,
}

/// How much of what stands between a new version and its promotion is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ShortcutStatus {
    /// the analysis; gates are still asked
    Promote,
    /// the analysis and the gates
    PromoteFull,
}

/// A command that was handled.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CommandStatus {
    /// The command, as it stood in the annotation.
    pub command: String,
    /// Who gave it, when that is known: the user, if `verified`; else the field manager that wrote
    /// it, a name that anybody can choose.
    pub by: Option<String>,
    /// Whether the API server confirmed who gave it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub verified: bool,
    /// When it was handled.
    pub at: MicroTime,
    /// Why it was not carried out.
    pub refused: Option<String>,
}

/// A division of traffic, written down before the routes are changed.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, each read by its name"
)]
pub struct TrafficStatus {
    /// The canary's percentage that the routes are to hold.
    pub weight: u8,
    /// Whether they are to mirror requests.
    #[serde(default, skip_serializing_if = "is_false")]
    pub mirrored: bool,
    /// Whether they are to keep clients on the canary that once got it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub sticky: bool,
    /// The percentage that they held before.
    pub weight_before: u8,
    /// Whether they mirrored before.
    #[serde(default, skip_serializing_if = "is_false")]
    pub mirrored_before: bool,
    /// Whether they kept clients on the canary before.
    #[serde(default, skip_serializing_if = "is_false")]
    pub sticky_before: bool,
    /// When this was written.
    pub since: MicroTime,
    /// When the proxies had it.
    pub in_effect: Option<MicroTime>,
}

/// The share of requests that a version really got; clients that are kept on it, or chosen for it,
/// make it larger than its weight.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShareStatus {
    /// The weight that was in effect.
    pub weight: u8,
    /// The percentage of requests since that weight took effect.
    pub percent: Number,
    /// The requests to both versions that it is a share of.
    pub requests: u64,
    /// When it was noted.
    pub at: MicroTime,
}

/// What a check found for one metric.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CheckStatus {
    /// The metric's name.
    pub metric: String,
    /// The query as it was sent.
    pub query: String,
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
fn is_false(value: &bool) -> bool {
    !*value
}
