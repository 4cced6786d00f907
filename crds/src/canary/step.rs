//! Explicit steps of a release: each with its own weight, length, checks and size.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use crate::schema;

/// A whole duration, as Go writes them.
const DURATION_PATTERN: &str = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$";
/// Of the percentage that a size can be.
const PERCENTAGE_PATTERN: &str = "^[0-9]{1,3}%$";

/// One step of a release; what it leaves out is as without explicit steps.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CanaryStep {
    /// Percentage of traffic that the new version gets; never below that of the step before.
    #[schemars(range(min = 0, max = 100))]
    pub weight: u8,
    /// Time that the step lasts at least, such as `5m`; by default one interval. It is checked at
    /// each interval and at its end.
    #[schemars(regex(pattern = DURATION_PATTERN))]
    pub duration: Option<String>,
    /// Whether the step then waits for a person (`resume` or `promote`); checks go on meanwhile.
    pub pause: Option<StepPause>,
    /// Names of the metrics and `rollout` webhooks that are asked in this step; all by default,
    /// none at weight 0.
    #[schemars(length(max = 50))]
    pub checks: Option<Vec<String>>,
    /// Pods of the new version in this step: a number, or a percentage of the promoted version's
    /// such as `50%`; as many as those by default.
    #[schemars(transform = schema::int_or_string, transform = schema::set("pattern", PERCENTAGE_PATTERN), transform = schema::set("minimum", 1))]
    pub scale: Option<IntOrString>,
}

/// A wait for a person; it has no settings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[expect(
    clippy::empty_structs_with_brackets,
    reason = "it is written as an empty object"
)]
pub struct StepPause {}
