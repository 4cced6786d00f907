//! The label selector that mesh kinds share.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema::{rule, set, values};

/// Pods that an object is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodSelector {
    /// Labels that a pod must have, all of them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(
        transform = set("maxProperties", 4096),
        transform = rule("self.all(k, !k.contains('*'))", "a label key holds no `*`"),
        transform = rule("self.all(k, k != '')", "a label key is not empty"),
        transform = values(set("maxLength", 63)),
        transform = values(rule("!self.contains('*')", "a label value holds no `*`"))
    )]
    pub match_labels: BTreeMap<String, String>,
}
