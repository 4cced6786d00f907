//! What the comparison of both versions has learned: numbers for a restarted operator, and words
//! for people.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

/// What the comparison says about one metric.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JudgementStatus {
    /// The metric's name.
    pub metric: String,
    /// `Harm`, `NoHarmShown` or `Inconclusive`.
    pub verdict: String,
    /// The same as a sentence, with the numbers.
    pub message: String,
    /// The new version's requests that were compared.
    #[serde(default)]
    pub canary_requests: u64,
    /// The promoted version's.
    #[serde(default)]
    pub primary_requests: u64,
}

/// What the comparison goes on from.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecordStatus {
    /// Whether the planned time has passed.
    #[serde(default, skip_serializing_if = "is_false")]
    pub complete: bool,
    /// About failed requests.
    pub failures: Option<EvidenceStatus>,
    /// About slow requests.
    pub latency: Option<LatencyStatus>,
}

/// What was learned of one kind of bad requests.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EvidenceStatus {
    /// The block that was counted last, by the milliseconds of its end.
    pub last_block: Option<u64>,
    /// The canary's weight in that block.
    pub weight: Option<u32>,
    /// What the bet that the canary is worse has not yet at stake.
    #[serde(default)]
    pub cash: f64,
    /// The capital of its stakes, from small to large.
    #[serde(default)]
    pub bets: [f64; 3],
    /// The highest wealth of the bet.
    #[serde(default)]
    pub peak: f64,
    /// The canary's requests, and how many were bad.
    #[serde(default)]
    pub canary: [f64; 2],
    /// The primary's requests, and how many were bad.
    #[serde(default)]
    pub primary: [f64; 2],
    /// The primary's in this step, outages scaled down.
    #[serde(default)]
    pub baseline: [f64; 2],
    /// Sums over blocks, from which the excess and its precision follow.
    #[serde(default)]
    pub spread: SpreadStatus,
}

/// Sums over blocks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SpreadStatus {
    /// Blocks with requests to both versions.
    #[serde(default)]
    pub blocks: u32,
    /// Information and difference.
    #[serde(default)]
    pub total: [f64; 2],
    /// Squared information over the requests of the canary and of the primary.
    #[serde(default)]
    pub parts: [f64; 2],
    /// Moments block by block: difference, product, information.
    #[serde(default)]
    pub single: [f64; 3],
    /// Information and difference of the batch that is being filled.
    #[serde(default)]
    pub batch: [f64; 2],
    /// Moments batch by batch.
    #[serde(default)]
    pub batched: [f64; 3],
}

/// What was learned of slow requests.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LatencyStatus {
    /// The bound that requests are compared at, by its place in the histogram.
    pub bound: Option<u32>,
    /// The last block from which the bound was chosen.
    pub calibrated: Option<u64>,
    /// The primary's requests from which it was chosen.
    #[serde(default)]
    pub requests: f64,
    /// How many of them took longer than each bound.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slower: Vec<f64>,
    /// What was learned since.
    pub evidence: Option<EvidenceStatus>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_false(value: &bool) -> bool {
    !*value
}
