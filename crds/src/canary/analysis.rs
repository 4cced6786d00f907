//! How a new version is judged, and how fast it gets traffic.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::{CanaryBake, CanaryJudgement, CanaryStep, CrossNamespaceReference, Number, SecretName};
use crate::networking::StringMatch;
use crate::schema;

/// Minutes or seconds, as the API server checks them: only the start.
const INTERVAL_PATTERN: &str = "^[0-9]+(m|s)";

/// How a new version is judged, and how fast it gets traffic.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(
    transform = schema::rule(
        "has(self.interval) && has(self.threshold)",
        "interval and threshold are needed"
    ),
    transform = schema::rule(
        "[has(self.iterations), has(self.stepWeight), has(self.stepWeights), has(self.steps)]\
         .exists_one(is_set, is_set)",
        "set exactly one of stepWeight (equal steps), stepWeights (a list of steps), \
         steps (each with its own rules) and iterations (no steps)"
    ),
    transform = schema::rule(
        "!has(self.steps) || !has(self.maxWeight)",
        "maxWeight is for stepWeight; the last of the steps is the highest"
    ),
    transform = schema::rule(
        "!has(self.weightScope) || self.weightScope != 'Rest' \
         || (has(self.match) && !has(self.iterations))",
        "weightScope Rest needs match and weights: the matching requests go to the new version, \
         the weights divide the rest"
    )
)]
pub struct CanaryAnalysis {
    /// Time between two looks at the new version, such as `30s` or `1m`.
    #[schemars(regex(pattern = INTERVAL_PATTERN))]
    pub interval: Option<String>,
    /// How many looks the new version may look bad before it is withdrawn.
    pub threshold: Option<Number>,
    /// How many looks it must pass, when traffic is not shifted in steps.
    pub iterations: Option<Number>,
    /// Percentage of traffic that the new version gets at most before it is promoted.
    pub max_weight: Option<Number>,
    /// Percentage of traffic added after each look that it passes.
    pub step_weight: Option<Number>,
    /// Percentages of traffic, one after the other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub step_weights: Vec<Number>,
    /// Steps with rules of their own, in place of `stepWeight` and `stepWeights`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 50))]
    pub steps: Vec<CanaryStep>,
    /// Percentage of traffic taken away after each look while the promoted version takes over.
    pub step_weight_promotion: Option<Number>,
    /// Whether the new version first gets copies of requests only.
    pub mirror: Option<bool>,
    /// Percentage of requests that are copied; all by default.
    pub mirror_weight: Option<Number>,
    /// Percentage of the promoted version's pods that must be available; 100 by default.
    pub primary_ready_threshold: Option<Number>,
    /// Percentage of the new version's pods that must be available; 100 by default.
    pub canary_ready_threshold: Option<Number>,
    /// Requests that go to the new version, in place of a share of all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub r#match: Vec<CanaryMatch>,
    /// What the weights divide where `match` is set: the requests that match (`Matched`, the
    /// default: all others stay with the promoted version), or the rest of them (`Rest`: requests
    /// that match go to the new version as soon as it has a weight).
    pub weight_scope: Option<WeightScope>,
    /// How many pods the new version has: as many as the promoted one (`Full`, the default), or the
    /// share of them that its weight is, rounded up (`Proportional`).
    pub capacity: Option<CanaryCapacity>,
    /// What is measured, and what is good enough.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<CanaryMetric>,
    /// How the new version is compared with the promoted one while both serve.
    pub judgement: Option<CanaryJudgement>,
    /// How the promoted version is watched for a while, to go back if it does not hold.
    pub bake: Option<CanaryBake>,
    /// Who is told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alerts: Vec<CanaryAlert>,
    /// Who is asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub webhooks: Vec<CanaryWebhook>,
    /// Whether a client that got the new version keeps it.
    pub session_affinity: Option<SessionAffinity>,
}

/// What the weights divide where requests are matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum WeightScope {
    /// the requests that match
    Matched,
    /// all others; those that match go to the new version
    Rest,
}

/// How many pods the new version has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CanaryCapacity {
    /// as many as the promoted version
    Full,
    /// its weight's share of those
    Proportional,
}

/// Conditions on a request; all must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CanaryMatch {
    /// Headers, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, CanaryHeaderMatch>,
    /// Parameters of the query, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub query_params: BTreeMap<String, StringMatch>,
    /// Labels that the calling workload must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub source_labels: BTreeMap<String, String>,
}

/// A condition on a header.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(
    transform = schema::exactly_one_of(&[&["exact"], &["prefix"], &["suffix"], &["regex"]])
)]
pub struct CanaryHeaderMatch {
    /// The whole value.
    pub exact: Option<String>,
    /// How the value starts.
    pub prefix: Option<String>,
    /// How the value ends.
    pub suffix: Option<String>,
    /// A regular expression (RE2) for the whole value.
    pub regex: Option<String>,
}

/// Something measured, and what is good enough.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CanaryMetric {
    /// Name; `request-success-rate` (percent) and `request-duration` (milliseconds) are built in.
    pub name: String,
    /// Time over which is measured; 1m by default.
    #[schemars(regex(pattern = INTERVAL_PATTERN))]
    pub interval: Option<String>,
    /// Limit; use `thresholdRange` instead.
    pub threshold: Option<Number>,
    /// Range that the value must lie in.
    pub threshold_range: Option<ThresholdRange>,
    /// Query in PromQL; use `templateRef` instead.
    pub query: Option<String>,
    /// MetricTemplate with the query.
    pub template_ref: Option<CrossNamespaceReference>,
    /// Values for the template.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub template_variables: BTreeMap<String, String>,
}

/// A range, both ends included.
#[skip_serializing_none]
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ThresholdRange {
    /// Smallest value that is good; none by default.
    pub min: Option<Number>,
    /// Largest value that is good; none by default.
    pub max: Option<Number>,
}

/// Someone to tell.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CanaryAlert {
    /// Name, for logs.
    pub name: String,
    /// The least that is told; `info`, everything, by default.
    #[schemars(
        with = "Option<String>",
        transform = schema::one_of_texts(&["", "info", "warn", "error"])
    )]
    pub severity: Option<AlertSeverity>,
    /// The AlertProvider that carries the message.
    pub provider_ref: CrossNamespaceReference,
}

/// How bad it must be to be told.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum AlertSeverity {
    /// everything
    #[default]
    #[serde(alias = "")]
    Info,
    /// what needs attention
    Warn,
    /// what went wrong
    Error,
}

/// Someone to ask, over HTTP.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CanaryWebhook {
    /// Name, for events and logs.
    pub name: String,
    /// When it is asked; `rollout`, at each look, by default.
    #[schemars(
        with = "Option<String>",
        transform = schema::one_of_texts(&[
            "", "confirm-rollout", "pre-rollout", "rollout", "confirm-traffic-increase",
            "confirm-promotion", "post-rollout", "event", "rollback",
        ])
    )]
    pub r#type: Option<WebhookType>,
    /// Address.
    pub url: String,
    /// How long an answer may take; 10s by default.
    #[schemars(regex(pattern = INTERVAL_PATTERN))]
    pub timeout: Option<String>,
    /// How often a failed call is tried again.
    pub retries: Option<Number>,
    /// Whether the server's certificate is accepted unverified.
    #[serde(rename = "disableTLS")]
    pub disable_tls: Option<bool>,
    /// Secret in this namespace with `token`, or `username` and `password`; it may also hold
    /// `ca.crt`, an authority to trust, `headers`, a line of name, colon and value for each, and
    /// `hmacKey`, to sign the body with in the header `X-Signature`. It is read at each call.
    pub secret_ref: Option<SecretName>,
    /// Whether answers mean more than yes and no: 429 and 503 ask for a later try, and a body
    /// `{"decision": "abort"}` gives the release up. Not for `event`, `post-rollout`, `rollback`.
    pub obey_answer: Option<bool>,
    /// Whether nobody is told when a gate closes or opens.
    pub mute_alert: Option<bool>,
    /// Values that are sent along.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

/// When a webhook is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WebhookType {
    /// before a new version is started; it waits until the answer is good
    ConfirmRollout,
    /// before a new version gets traffic; a bad answer counts as a bad look
    PreRollout,
    /// at each look; a bad answer counts as a bad look
    #[default]
    #[serde(alias = "")]
    Rollout,
    /// before each step; it waits until the answer is good
    ConfirmTrafficIncrease,
    /// before promotion; it waits until the answer is good
    ConfirmPromotion,
    /// after the end, good or bad; the answer does not count
    PostRollout,
    /// with each event; the answer does not count
    Event,
    /// at each look; a good answer withdraws the new version
    Rollback,
}

/// A cookie that keeps a client on the version that it got.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionAffinity {
    /// Name of the cookie of clients with the new version.
    pub cookie_name: String,
    /// Name of the cookie of clients with the promoted version; none by default.
    pub primary_cookie_name: Option<String>,
    /// Seconds that the cookie lives; a day by default.
    #[schemars(transform = schema::default_to(86_400))]
    pub max_age: Option<Number>,
    /// Domain that the cookie is for.
    pub domain: Option<String>,
    /// Whether scripts cannot read the cookie.
    pub http_only: Option<bool>,
    /// Whether the cookie is kept apart for each site that embeds the page.
    pub partitioned: Option<bool>,
    /// Path that the cookie is for.
    pub path: Option<String>,
    /// Whether the cookie goes along with requests from other sites.
    #[schemars(transform = schema::one_of_texts(&["Strict", "Lax", "None"]))]
    pub same_site: Option<String>,
    /// Whether the cookie goes over TLS only.
    pub secure: Option<bool>,
}
