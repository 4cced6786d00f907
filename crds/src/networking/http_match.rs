//! Conditions on HTTP requests.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use crate::schema;

/// A condition on a text; without a field it holds for any text that is present.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = schema::at_most_one_of(&["exact", "prefix", "regex"]))]
pub struct StringMatch {
    /// The whole text.
    pub exact: Option<String>,
    /// How the text starts.
    pub prefix: Option<String>,
    /// A regular expression (RE2) for the whole text.
    pub regex: Option<String>,
}

/// Conditions on an HTTP request; all must hold.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpMatchRequest {
    /// Name of the match, which access logs show behind the route's.
    pub name: Option<String>,
    /// The path, case-sensitive unless `ignoreUriCase` is set.
    pub uri: Option<StringMatch>,
    /// The scheme, `http` or `https`.
    pub scheme: Option<StringMatch>,
    /// The method, such as `GET`.
    pub method: Option<StringMatch>,
    /// The host that the request asks for.
    pub authority: Option<StringMatch>,
    /// Headers, by lower-case name.
    /// An empty condition asks only that the header is there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, StringMatch>,
    /// Headers as above, which must not match.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub without_headers: BTreeMap<String, StringMatch>,
    /// Parameters of the query, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub query_params: BTreeMap<String, StringMatch>,
    /// Whether the case of the path is ignored, for `exact` and `prefix`.
    pub ignore_uri_case: Option<bool>,
    /// Port that the request came to.
    pub port: Option<u32>,
    /// Labels that the calling workload must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub source_labels: BTreeMap<String, String>,
    /// Gateways at which this holds, in place of those of the VirtualService.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gateways: Vec<String>,
    /// Namespace of the calling workload.
    pub source_namespace: Option<String>,
    /// Start of the names of statistics that the proxy keeps for this match.
    pub stat_prefix: Option<String>,
}
