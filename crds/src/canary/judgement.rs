//! How a new version is compared with the promoted one while both serve; ours alone.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::Number;
use crate::schema;

/// How a new version is compared with the promoted one while both serve.
///
/// One that is shown to be worse is withdrawn at once, without waiting for the interval; at the
/// end of the planned time it is promoted only if the harm that is asked about would have been
/// seen.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(
    transform = schema::rule(
        "!has(self.confidence) || (double(self.confidence) >= 0.5 && double(self.confidence) < 1.0)",
        "confidence must be at least 0.5 and below 1, as in 0.95"
    ),
    transform = schema::rule(
        "!has(self.minimumSamples) || (double(self.minimumSamples) >= 0.0 \
         && double(int(self.minimumSamples)) == double(self.minimumSamples))",
        "minimumSamples must be a whole number"
    ),
    transform = schema::rule(
        "!has(self.blockLength) || (duration(self.blockLength) >= duration('250ms') \
         && duration(self.blockLength) <= duration('1m'))",
        "blockLength must be 250ms to 1m"
    ),
    transform = schema::rule(
        "!has(self.warmup) || (duration(self.warmup) >= duration('0s') \
         && duration(self.warmup) <= duration('1h'))",
        "warmup must be at most 1h"
    )
)]
pub struct CanaryJudgement {
    /// What is compared.
    #[schemars(
        length(min = 1, max = 2),
        transform = schema::rule(
            "self.all(one, self.exists_one(other, other.name == one.name))",
            "each metric stands here once"
        )
    )]
    pub metrics: Vec<JudgedMetric>,
    /// How sure it must be that a new version is worse, over all metrics and steps of a rollout;
    /// 0.95 by default, hence one false alarm in twenty rollouts at most.
    pub confidence: Option<Number>,
    /// Requests that the new version must have had before it passes; by default what the metrics
    /// need.
    pub minimum_samples: Option<Number>,
    /// Seconds over which both versions are counted together; 500ms by default. Shorter ones show
    /// harm sooner and ask the proxies more often.
    pub block_length: Option<String>,
    /// Time after a pod becomes ready in which nothing is counted; none by default.
    pub warmup: Option<String>,
    /// Whether to compare although `match` or a cookie chooses the users of the new version, and
    /// not chance: the difference may then be theirs, and each verdict says so.
    pub compare_chosen_cohorts: Option<bool>,
}

/// Something that both versions are compared by.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(
    transform = schema::rule(
        "!has(self.minimumEffect) \
         || (double(self.minimumEffect) > 0.0 && double(self.minimumEffect) < 1.0)",
        "minimumEffect must be above 0 and below 1, as in 0.02 for two points"
    ),
    transform = schema::rule(
        "!has(self.quantile) || (self.name == 'request-duration' \
         && double(self.quantile) >= 0.5 && double(self.quantile) < 1.0)",
        "quantile belongs to request-duration, and must be at least 0.5 and below 1, as in 0.99"
    )
)]
pub struct JudgedMetric {
    /// `request-success-rate` compares failed requests, `request-duration` slow ones.
    pub name: JudgedMetricName,
    /// The smallest excess of bad requests that is worth a rollback, as a share of all: 0.02 by
    /// default, two points; of slow ones three times as many, at most ten points more.
    pub minimum_effect: Option<Number>,
    /// What counts as slow: longer than this quantile of the promoted version; 0.99 by default.
    pub quantile: Option<Number>,
}

/// What can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum JudgedMetricName {
    /// requests that failed
    #[serde(rename = "request-success-rate")]
    SuccessRate,
    /// requests that took longer than the promoted version's quantile
    #[serde(rename = "request-duration")]
    Duration,
}
