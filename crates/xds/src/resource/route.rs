//! Route configurations: which cluster a request goes to, and what happens to it on the way.

use std::time::Duration;

use fairlead_routing::{HeaderMatch, PathRewrite, RouteMatch, StringMatch};
use serde::Serialize;

/// A route configuration.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize)]
pub struct RouteConfiguration {
    /// Unique name.
    pub name: String,
    /// Virtual hosts; one is chosen by the request's authority.
    pub virtual_hosts: Vec<VirtualHost>,
    /// A port in the authority does not count when the virtual host is chosen.
    pub ignore_port_in_host: bool,
    /// Headers changed for all routes.
    pub headers: HeaderMutations,
}

/// A virtual host.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize)]
pub struct VirtualHost {
    /// Unique name within the configuration.
    pub name: String,
    /// Domains: exact, `*.suffix`, `prefix.*` or `*`.
    pub domains: Vec<String>,
    /// Routes; the first match wins.
    pub routes: Vec<Route>,
    /// Redirect all requests that did not come over TLS.
    pub require_tls: bool,
    /// Headers changed for all routes of the host.
    pub headers: HeaderMutations,
    /// Tell the upstream the attempt's number in `x-envoy-attempt-count`.
    pub include_attempt_count: bool,
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Route {
    /// Name, for logs and statistics.
    pub name: String,
    /// Which requests it takes.
    pub matches: RouteMatch,
    /// What happens to them.
    pub action: Action,
    /// Headers changed.
    pub headers: HeaderMutations,
    /// Fault injection instead of the listener's default.
    pub fault: Option<Fault>,
    /// CORS instead of the listener's default.
    pub cors: Option<CorsPolicy>,
    /// The configuration object that it comes from, as a path in the Kubernetes API.
    pub config: Option<String>,
    /// `host:port/*` or the like, the operation's name for traces; empty has none.
    pub operation: String,
}

impl Route {
    /// A route that does nothing but what `action` says.
    pub fn new(name: impl Into<String>, matches: RouteMatch, action: Action) -> Self {
        Self {
            name: name.into(),
            matches,
            action,
            headers: HeaderMutations::default(),
            fault: None,
            cors: None,
            config: None,
            operation: String::new(),
        }
    }
}

/// What happens to a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Action {
    /// It goes to a cluster.
    Forward(Box<Forward>),
    /// It is answered with a redirection.
    Redirect(Redirect),
    /// It is answered at once.
    Respond {
        /// Status of the response.
        status: u16,
        /// Body of the response.
        body: Option<Body>,
    },
}

/// Body of a direct response.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Body {
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

/// How a request is forwarded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Forward {
    /// Where it goes; with weights, one of them is chosen for each request. Never empty.
    pub clusters: Vec<WeightedCluster>,
    /// New path.
    pub path: Option<PathRewrite>,
    /// New authority.
    pub host: Option<HostRewrite>,
    /// From the end of the request to the end of the response, retries included; `None` is
    /// Envoy's default of 15 s, zero has no limit.
    pub timeout: Option<Duration>,
    /// Limit of what the client may ask by `grpc-timeout`; zero takes it as it is.
    pub max_grpc_timeout: Option<Duration>,
    /// When and how often to try again.
    pub retry: Option<RetryPolicy>,
    /// Copies whose responses are dropped.
    pub mirrors: Vec<Mirror>,
    /// What a consistent-hash balancer hashes, in order.
    pub hash: Vec<HashKey>,
}

impl Forward {
    /// Everything to one cluster, without a limit in time.
    pub fn to(cluster: impl Into<String>) -> Self {
        Self {
            clusters: vec![WeightedCluster::new(cluster, 1)],
            path: None,
            host: None,
            timeout: Some(Duration::ZERO),
            max_grpc_timeout: None,
            retry: None,
            mirrors: Vec::new(),
            hash: Vec::new(),
        }
    }
}

/// A cluster with its share of the requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WeightedCluster {
    /// The cluster.
    pub name: String,
    /// Its share, in proportion to the sum of all.
    pub weight: u32,
    /// Headers changed for its share.
    pub headers: HeaderMutations,
    /// New authority for its share.
    pub host: Option<String>,
}

impl WeightedCluster {
    /// A cluster with a share and nothing else.
    pub fn new(name: impl Into<String>, weight: u32) -> Self {
        Self {
            name: name.into(),
            weight,
            headers: HeaderMutations::default(),
            host: None,
        }
    }
}

/// New authority of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum HostRewrite {
    /// This text.
    Literal(String),
    /// The host name of the endpoint that was chosen.
    Endpoint,
}

/// The conditions that [`RetryPolicy::retry_on`] may have, in Envoy's words.
pub const RETRY_CONDITIONS: [&str; 13] = [
    "5xx",
    "gateway-error",
    "reset",
    "reset-before-request",
    "connect-failure",
    "refused-stream",
    "retriable-4xx",
    "retriable-status-codes",
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
    "unavailable",
];

/// When and how often to try a request again.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize)]
pub struct RetryPolicy {
    /// Conditions, of [`RETRY_CONDITIONS`]; others have no effect.
    pub retry_on: Vec<String>,
    /// How many times at most, after the first attempt.
    pub retries: u32,
    /// Limit of each attempt; `None` is that of the route.
    pub per_try_timeout: Option<Duration>,
    /// Statuses that count as `retriable-status-codes`.
    pub statuses: Vec<u32>,
    /// Back-off; `None` is Envoy's default of 25 ms.
    pub backoff: Option<Backoff>,
    /// Do not choose an endpoint that was tried before.
    pub avoid_previous_hosts: bool,
    /// How often to choose again until an endpoint was not tried before.
    pub host_selection_attempts: u32,
}

/// Back-off between attempts, with full jitter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Backoff {
    /// Before the first retry.
    pub base: Duration,
    /// Limit; `None` is ten times the base.
    pub max: Option<Duration>,
}

/// A share of the requests is copied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mirror {
    /// Where the copies go.
    pub cluster: String,
    /// The share.
    pub share: Share,
}

/// A share of requests, in millionths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Share(u32);

impl Share {
    /// All requests.
    pub const ALL: Self = Self(1_000_000);

    /// So many in a million, all at most.
    pub const fn from_millionths(millionths: u32) -> Self {
        if millionths > Self::ALL.0 {
            Self::ALL
        } else {
            Self(millionths)
        }
    }

    /// How many in a million.
    pub const fn millionths(self) -> u32 {
        self.0
    }

    /// Whether `roll` falls in the share; over a million consecutive rolls the share is exact.
    pub const fn takes(self, roll: u64) -> bool {
        roll % 1_000_000 < self.0 as u64
    }
}

/// What a consistent-hash balancer hashes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum HashKey {
    /// The value of a header.
    Header(String),
    /// The value of a cookie, which is made if `ttl` is given.
    Cookie {
        /// The cookie's name.
        name: String,
        /// The path that a new cookie is for.
        path: String,
        /// Life of a new cookie; zero is the browser's session, `None` makes no cookie.
        ttl: Option<Duration>,
    },
    /// The client's address.
    SourceIp,
    /// The value of a query parameter.
    QueryParameter(String),
}

/// A redirection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Redirect {
    /// Status of the response.
    pub status: RedirectStatus,
    /// New scheme; `None` keeps it.
    pub scheme: Option<String>,
    /// New host; `None` keeps it.
    pub host: Option<String>,
    /// New port; `None` keeps it.
    pub port: Option<u16>,
    /// New path; `None` keeps it.
    pub path: Option<RedirectPath>,
    /// Leave the query out.
    pub strip_query: bool,
}

/// New path of a redirection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum RedirectPath {
    /// This path.
    Full(String),
    /// As a rewrite makes it.
    Rewrite(PathRewrite),
}

/// Status of a redirection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum RedirectStatus {
    /// 301
    MovedPermanently,
    /// 302
    Found,
    /// 303
    SeeOther,
    /// 307
    TemporaryRedirect,
    /// 308
    PermanentRedirect,
}

impl RedirectStatus {
    /// The status as a number.
    pub const fn code(self) -> u16 {
        match self {
            Self::MovedPermanently => 301,
            Self::Found => 302,
            Self::SeeOther => 303,
            Self::TemporaryRedirect => 307,
            Self::PermanentRedirect => 308,
        }
    }

    /// The status of a number.
    pub const fn from_code(code: u32) -> Option<Self> {
        Some(match code {
            301 => Self::MovedPermanently,
            302 => Self::Found,
            303 => Self::SeeOther,
            307 => Self::TemporaryRedirect,
            308 => Self::PermanentRedirect,
            _ => return None,
        })
    }
}

/// Headers changed on requests and responses.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize)]
pub struct HeaderMutations {
    /// Added to requests.
    pub request_add: Vec<HeaderAdd>,
    /// Removed from requests.
    pub request_remove: Vec<String>,
    /// Added to responses.
    pub response_add: Vec<HeaderAdd>,
    /// Removed from responses.
    pub response_remove: Vec<String>,
}

impl HeaderMutations {
    /// Whether nothing is changed.
    pub const fn is_empty(&self) -> bool {
        self.request_add.is_empty()
            && self.request_remove.is_empty()
            && self.response_add.is_empty()
            && self.response_remove.is_empty()
    }
}

/// A header that is added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HeaderAdd {
    /// The header's name.
    pub name: String,
    /// Its value, which may have `%COMMAND%` operators of Envoy.
    pub value: String,
    /// What happens when it is there already.
    pub mode: AddMode,
}

/// What happens when a header that is added is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum AddMode {
    /// The value is appended.
    Append,
    /// It is left as it is.
    IfAbsent,
    /// It is replaced.
    Overwrite,
    /// It is replaced if it is there, and not added otherwise.
    OverwriteIfPresent,
}

/// Faults injected on purpose.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize)]
pub struct Fault {
    /// A share of requests waits first.
    pub delay: Option<(Duration, Share)>,
    /// A share of requests is answered with an error.
    pub abort: Option<(Abort, Share)>,
    /// Only requests whose headers match all of these.
    pub headers: Vec<HeaderMatch>,
}

/// The error of an injected fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum Abort {
    /// A status of HTTP.
    Http(u16),
    /// A status of gRPC.
    Grpc(u32),
}

/// Cross-origin resource sharing.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize)]
pub struct CorsPolicy {
    /// Origins that are allowed.
    pub allow_origins: Vec<StringMatch>,
    /// `access-control-allow-methods`.
    pub allow_methods: String,
    /// `access-control-allow-headers`.
    pub allow_headers: String,
    /// `access-control-expose-headers`.
    pub expose_headers: String,
    /// `access-control-max-age`.
    pub max_age: String,
    /// `access-control-allow-credentials`.
    pub allow_credentials: Option<bool>,
    /// Forward preflights of origins that are not allowed, instead of answering them; `None` is
    /// Envoy's default, which forwards.
    pub forward_unmatched_preflights: Option<bool>,
}
