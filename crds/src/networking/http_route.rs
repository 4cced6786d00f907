//! What happens to an HTTP request that a route took.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::{Destination, HttpMatchRequest, StringMatch};
use crate::schema;

/// A rule for HTTP requests: conditions, where requests go, and what is done to them on the way.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpRoute {
    /// Name of the route, which access logs show.
    pub name: Option<String>,
    /// The route is taken when one of these matches, or when there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub r#match: Vec<HttpMatchRequest>,
    /// Where requests go, by weight.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub route: Vec<HttpRouteDestination>,
    /// An answer that sends the client elsewhere, in place of a destination.
    pub redirect: Option<HttpRedirect>,
    /// A fixed answer, in place of a destination.
    pub direct_response: Option<HttpDirectResponse>,
    /// Another VirtualService that holds the routes from here on.
    pub delegate: Option<Delegate>,
    /// A new path or host, before the request is sent on.
    pub rewrite: Option<HttpRewrite>,
    /// How long a request may take, retries included; no limit by default.
    #[schemars(transform = schema::duration)]
    pub timeout: Option<String>,
    /// When and how often a failed request is tried again.
    pub retries: Option<HttpRetry>,
    /// Delays and errors put in on purpose.
    pub fault: Option<HttpFaultInjection>,
    /// A destination that gets a copy of each request; its answers are dropped.
    pub mirror: Option<Destination>,
    /// Several such destinations, in place of `mirror`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mirrors: Vec<HttpMirrorPolicy>,
    /// Percentage of requests that are copied; use `mirrorPercentage` instead.
    #[serde(rename = "mirror_percent")]
    #[schemars(transform = schema::nullable)]
    pub mirror_percent_old: Option<u32>,
    /// Percentage of requests that are copied; use `mirrorPercentage` instead.
    #[schemars(transform = schema::nullable)]
    pub mirror_percent: Option<u32>,
    /// Share of requests that `mirror` copies; all by default.
    pub mirror_percentage: Option<Percent>,
    /// What browsers may do with answers when the page is from another origin.
    pub cors_policy: Option<CorsPolicy>,
    /// Changes to headers of all requests and answers.
    pub headers: Option<Headers>,
}

/// A destination of requests, with its share.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HttpRouteDestination {
    /// Where requests go.
    pub destination: Destination,
    /// Share of the requests, relative to the other destinations' weights.
    /// A single destination without a weight takes all.
    pub weight: Option<i32>,
    /// Changes to headers, for this destination only.
    pub headers: Option<Headers>,
}

/// Changes to headers.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Headers {
    /// Before the request is sent to its destination.
    pub request: Option<HeaderOperations>,
    /// Before the answer is sent to the client.
    pub response: Option<HeaderOperations>,
}

/// Headers to set, add and remove.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HeaderOperations {
    /// Headers that get this value, whatever they had.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, String>,
    /// Headers that get this value beside what they had.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub add: BTreeMap<String, String>,
    /// Headers that are taken away.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,
}

/// An answer that sends the client elsewhere.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = schema::at_most_one_of(&["port", "derivePort"]))]
pub struct HttpRedirect {
    /// The new path, for the whole of the old one.
    pub uri: Option<String>,
    /// The new start of the path, for the part that the match's prefix found.
    pub prefix_rewrite: Option<String>,
    /// The new host.
    pub authority: Option<String>,
    /// The new port.
    pub port: Option<u32>,
    /// Where the new port comes from: the scheme's default, or the request.
    #[schemars(
        transform = schema::one_of_texts(&["FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT"])
    )]
    pub derive_port: Option<String>,
    /// The new scheme, `http` or `https`.
    pub scheme: Option<String>,
    /// Status of the answer; 301 by default.
    pub redirect_code: Option<u32>,
}

/// A fixed answer.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HttpDirectResponse {
    /// Status of the answer.
    pub status: u32,
    /// Body of the answer; none by default.
    pub body: Option<HttpBody>,
}

/// The body of a fixed answer.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = schema::at_most_one_of(&["string", "bytes"]))]
pub struct HttpBody {
    /// The body as text.
    pub string: Option<String>,
    /// The body as base64.
    #[schemars(with = "Option<String>", transform = schema::set("format", "byte"))]
    pub bytes: Option<ByteString>,
}

/// Another VirtualService.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Delegate {
    /// Its name.
    pub name: Option<String>,
    /// Its namespace; by default that of the VirtualService that names it.
    pub namespace: Option<String>,
}

/// A new path or host.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpRewrite {
    /// The new path, or start of the path where the match was by prefix.
    pub uri: Option<String>,
    /// The new host.
    pub authority: Option<String>,
    /// The new path by regular expression.
    pub uri_regex_rewrite: Option<RegexRewrite>,
}

/// A substitution by regular expression.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RegexRewrite {
    /// Regular expression (RE2) for the part to replace.
    pub r#match: Option<String>,
    /// What replaces it; `\1` stands for the first group.
    pub rewrite: Option<String>,
}

/// When and how often a failed request is tried again.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpRetry {
    /// How many times at most; 0 turns retries off.
    pub attempts: Option<i32>,
    /// How long one try may take; by default the timeout of the route.
    #[schemars(transform = schema::duration)]
    pub per_try_timeout: Option<String>,
    /// Failures that are tried again, by Envoy's names and status codes, separated by commas.
    pub retry_on: Option<String>,
    /// Whether a retry may leave the locality of the first try.
    #[schemars(transform = schema::nullable)]
    pub retry_remote_localities: Option<bool>,
    /// Whether a retry avoids the hosts that were tried before.
    #[schemars(transform = schema::nullable)]
    pub retry_ignore_previous_hosts: Option<bool>,
    /// Wait before the first retry, which grows from there; 25ms by default.
    #[schemars(transform = schema::duration)]
    pub backoff: Option<String>,
}

/// Delays and errors put in on purpose.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HttpFaultInjection {
    /// Delay before the request is sent on.
    pub delay: Option<FaultDelay>,
    /// Error in place of sending the request on.
    pub abort: Option<FaultAbort>,
}

/// A delay for a share of requests.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = schema::at_most_one_of(&["fixedDelay", "exponentialDelay"]))]
pub struct FaultDelay {
    /// The delay.
    #[schemars(transform = schema::duration)]
    pub fixed_delay: Option<String>,
    /// Mean of an exponentially distributed delay; not carried out by proxies today.
    #[schemars(transform = schema::duration)]
    pub exponential_delay: Option<String>,
    /// Share of requests that are delayed.
    pub percentage: Option<Percent>,
    /// Percentage of requests that are delayed; use `percentage` instead.
    pub percent: Option<i32>,
}

/// An error for a share of requests.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = schema::at_most_one_of(&["httpStatus", "grpcStatus", "http2Error"]))]
pub struct FaultAbort {
    /// HTTP status to answer with.
    pub http_status: Option<i32>,
    /// gRPC status to answer with, by name or number.
    pub grpc_status: Option<String>,
    /// HTTP/2 error to end the stream with; not carried out by proxies today.
    pub http2_error: Option<String>,
    /// Share of requests that fail.
    pub percentage: Option<Percent>,
}

/// A copy of requests for another destination.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HttpMirrorPolicy {
    /// Where copies go.
    pub destination: Destination,
    /// Share of requests that are copied; all by default.
    pub percentage: Option<Percent>,
}

/// A share in percent, 0.1 for one in a thousand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Percent {
    /// The percentage, from 0 to 100.
    #[serde(default)]
    pub value: f64,
}

/// What browsers may do with answers when the page is from another origin.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CorsPolicy {
    /// Origins that are allowed, by their exact text; use `allowOrigins` instead.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_origin: Vec<String>,
    /// Origins that are allowed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_origins: Vec<StringMatch>,
    /// Methods that are allowed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_methods: Vec<String>,
    /// Request headers that are allowed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_headers: Vec<String>,
    /// Answer headers that scripts may read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expose_headers: Vec<String>,
    /// How long browsers may remember the answer to a preflight request.
    #[schemars(transform = schema::duration)]
    pub max_age: Option<String>,
    /// Whether requests may carry credentials.
    #[schemars(transform = schema::nullable)]
    pub allow_credentials: Option<bool>,
    /// What happens to preflight requests from other origins.
    #[schemars(transform = schema::one_of_texts(&["UNSPECIFIED", "FORWARD", "IGNORE"]))]
    pub unmatched_preflights: Option<String>,
}
