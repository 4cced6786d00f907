//! A time after promotion in which the promoted version is still checked.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A whole duration, as Go writes them.
const DURATION_PATTERN: &str = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$";

/// How long a new version is still checked once it serves everybody.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CanaryBake {
    /// Time that the checks go on after promotion, such as `30m`, each interval and at its end;
    /// `threshold` failed ones bring the version before it back.
    #[schemars(regex(pattern = DURATION_PATTERN))]
    pub duration: String,
}
