//! The answers that the proxy gives itself: the one place where errors become responses.
//!
//! Statuses, bodies, flags and details are those of Envoy, so that people and tools that know
//! them read ours. A gRPC client gets its own kind of error: 200 with `grpc-status`.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};

use super::connection::FailureKind;
use crate::telemetry::{Flag, Flags};

/// Why a request was not answered by an upstream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It has no authority.
    #[error("the request has no host")]
    MissingHost,
    /// It asks for an upgrade that is not allowed.
    #[error("the upgrade is not allowed")]
    UpgradeRefused,
    /// No virtual host or route takes it.
    #[error("no route takes the request")]
    RouteNotFound,
    /// The route's cluster does not exist.
    #[error("the route's cluster does not exist")]
    ClusterNotFound,
    /// The cluster has no endpoint that can take it.
    #[error("no endpoint can take the request")]
    NoHealthyUpstream,
    /// Too much is under way.
    #[error("too many requests are under way")]
    Overflow,
    /// No connection could be opened.
    #[error("failed to connect to the upstream: {0}")]
    Connect(String),
    /// The exchange failed before there was an answer.
    #[error("the upstream failed before it answered")]
    Upstream(FailureKind),
    /// The whole exchange took longer than the route allows.
    #[error("the upstream did not answer in time")]
    Timeout,
    /// The last attempt took longer than allowed.
    #[error("the upstream did not answer an attempt in time")]
    PerTryTimeout,
    /// A fault rule said so.
    #[error("a fault rule aborted the request")]
    Fault(StatusCode),
    /// A fault rule said so, in gRPC's terms.
    #[error("a fault rule aborted the request")]
    GrpcFault(u32),
}

/// Whose fault an error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The client's.
    Downstream,
    /// The server's.
    Upstream,
    /// The configuration's, or our own.
    Local,
}

impl Error {
    /// Whose fault it is.
    pub fn origin(&self) -> Origin {
        match self {
            Self::MissingHost | Self::UpgradeRefused => Origin::Downstream,
            Self::Upstream(FailureKind::Downstream) => Origin::Downstream,
            Self::Connect(_) | Self::Upstream(_) | Self::Timeout | Self::PerTryTimeout => {
                Origin::Upstream
            }
            Self::RouteNotFound
            | Self::ClusterNotFound
            | Self::NoHealthyUpstream
            | Self::Overflow
            | Self::Fault(_)
            | Self::GrpcFault(_) => Origin::Local,
        }
    }

    /// Whether the upstream certainly has not acted on the request.
    pub fn is_retry_safe(&self) -> bool {
        matches!(
            self,
            Self::NoHealthyUpstream
                | Self::Connect(_)
                | Self::Upstream(FailureKind::NotProcessed)
                | Self::Overflow
        )
    }

    /// Its response flag.
    pub fn flag(&self) -> Option<Flag> {
        Some(match self {
            Self::MissingHost | Self::UpgradeRefused => return None,
            Self::RouteNotFound => Flag::NoRouteFound,
            Self::ClusterNotFound => Flag::NoClusterFound,
            Self::NoHealthyUpstream => Flag::NoHealthyUpstream,
            Self::Overflow => Flag::UpstreamOverflow,
            Self::Connect(_) => Flag::UpstreamConnectionFailure,
            Self::Upstream(FailureKind::Reset) => Flag::UpstreamRemoteReset,
            Self::Upstream(FailureKind::Malformed) => Flag::UpstreamProtocol,
            Self::Upstream(FailureKind::Downstream) => Flag::DownstreamConnectionTermination,
            Self::Upstream(FailureKind::NotProcessed | FailureKind::Closed) => {
                Flag::UpstreamConnectionTermination
            }
            Self::Timeout | Self::PerTryTimeout => Flag::UpstreamRequestTimeout,
            Self::Fault(_) | Self::GrpcFault(_) => Flag::FaultInjected,
        })
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::MissingHost => StatusCode::BAD_REQUEST,
            Self::UpgradeRefused => StatusCode::FORBIDDEN,
            Self::RouteNotFound => StatusCode::NOT_FOUND,
            Self::Timeout | Self::PerTryTimeout => StatusCode::GATEWAY_TIMEOUT,
            Self::Upstream(FailureKind::Malformed) => StatusCode::BAD_GATEWAY,
            Self::Fault(status) => *status,
            Self::GrpcFault(_) => StatusCode::OK,
            Self::ClusterNotFound
            | Self::NoHealthyUpstream
            | Self::Overflow
            | Self::Connect(_)
            | Self::Upstream(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn body(&self, retried: bool) -> Cow<'static, str> {
        let reset = |reason: &str| {
            let retried = if retried {
                "retried and the latest "
            } else {
                ""
            };
            Cow::Owned(format!(
                "upstream connect error or disconnect/reset before headers. \
                 {retried}reset reason: {reason}"
            ))
        };
        match self {
            Self::MissingHost
            | Self::UpgradeRefused
            | Self::RouteNotFound
            | Self::ClusterNotFound
            | Self::GrpcFault(_) => Cow::Borrowed(""),
            Self::NoHealthyUpstream => Cow::Borrowed("no healthy upstream"),
            Self::Overflow => reset("overflow"),
            Self::Connect(_) => reset("remote connection failure"),
            Self::Upstream(kind) => reset(reset_reason(*kind)),
            Self::Timeout | Self::PerTryTimeout => Cow::Borrowed("upstream request timeout"),
            Self::Fault(_) => Cow::Borrowed("fault filter abort"),
        }
    }

    /// Envoy's `RESPONSE_CODE_DETAILS`.
    pub fn details(&self) -> Cow<'static, str> {
        let reset = |reason: &str| {
            let reason = reason.replace(' ', "_");
            Cow::Owned(format!(
                "upstream_reset_before_response_started{{{reason}}}"
            ))
        };
        match self {
            Self::MissingHost => Cow::Borrowed("missing_host_header"),
            Self::UpgradeRefused => Cow::Borrowed("upgrade_failed"),
            Self::RouteNotFound => Cow::Borrowed("route_not_found"),
            Self::ClusterNotFound => Cow::Borrowed("cluster_not_found"),
            Self::NoHealthyUpstream => Cow::Borrowed("no_healthy_upstream"),
            Self::Overflow => reset("overflow"),
            Self::Connect(why) => reset(&format!("remote_connection_failure|{why}")),
            Self::Upstream(kind) => reset(reset_reason(*kind)),
            Self::Timeout => Cow::Borrowed("response_timeout"),
            Self::PerTryTimeout => Cow::Borrowed("upstream_per_try_timeout"),
            Self::Fault(_) | Self::GrpcFault(_) => Cow::Borrowed("fault_filter_abort"),
        }
    }
}

fn reset_reason(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::NotProcessed | FailureKind::Closed => "connection termination",
        FailureKind::Reset => "remote reset",
        FailureKind::Malformed => "protocol error",
        FailureKind::Downstream => "local reset",
    }
}

/// Which kind of error a client understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// A status and a text.
    Http,
    /// 200 and `grpc-status`.
    Grpc,
}

/// The response to a request that failed with `error`.
pub fn respond(error: &Error, retried: bool, dialect: Dialect) -> Response<Bytes> {
    let body = error.body(retried);
    let mut response = match (dialect, error) {
        (_, Error::GrpcFault(code)) => grpc(*code, &body),
        (Dialect::Grpc, _) => grpc(grpc_code(error), &body),
        (Dialect::Http, _) => plain(error.status(), body.into_owned().into()),
    };
    let headers = response.headers_mut();
    if *error == Error::Overflow {
        headers.insert(OVERLOADED, HeaderValue::from_static("true"));
    }
    if error.origin() == Origin::Downstream {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

const OVERLOADED: HeaderName = HeaderName::from_static("x-envoy-overloaded");

/// A response with a text for people, or with no body at all.
pub fn plain(status: StatusCode, body: Bytes) -> Response<Bytes> {
    let mut headers = HeaderMap::new();
    if !body.is_empty() {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    }
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

fn grpc(code: u32, message: &str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    headers.insert(super::headers::GRPC_STATUS, HeaderValue::from(code));
    if let Ok(message) = HeaderValue::from_str(message)
        && !message.is_empty()
    {
        headers.insert(super::headers::GRPC_MESSAGE, message);
    }
    response
}

/// gRPC's own mapping of statuses to codes.
fn grpc_code(error: &Error) -> u32 {
    match error.status() {
        _ if matches!(error, Error::Timeout) => 4,
        StatusCode::BAD_REQUEST => 13,
        StatusCode::UNAUTHORIZED => 16,
        StatusCode::FORBIDDEN => 7,
        StatusCode::NOT_FOUND => 12,
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => 14,
        _ => 2,
    }
}

/// The flags of a failed request: that all retries were used comes first.
pub fn flags(error: &Error, exhausted: bool, before: Flags) -> Flags {
    let mut flags = before;
    if exhausted {
        flags.set(Flag::UpstreamRetryLimitExceeded);
    }
    if let Some(flag) = error.flag() {
        flags.set(flag);
    }
    flags
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(
        error: &Error,
        retried: bool,
        status: u16,
        body: &str,
        flags_text: &str,
        details: &str,
    ) {
        let response = respond(error, retried, Dialect::Http);
        assert_eq!(response.status().as_u16(), status, "{error:?}");
        assert_eq!(response.body(), body, "{error:?}");
        assert_eq!(
            flags(error, retried, Flags::default()).to_string(),
            flags_text,
            "{error:?}"
        );
        assert_eq!(error.details(), details, "{error:?}");
    }

    #[test]
    fn answers_are_those_that_envoy_gives() {
        check(
            &Error::RouteNotFound,
            false,
            404,
            "",
            "NR",
            "route_not_found",
        );
        check(
            &Error::ClusterNotFound,
            false,
            503,
            "",
            "NC",
            "cluster_not_found",
        );
        check(
            &Error::NoHealthyUpstream,
            false,
            503,
            "no healthy upstream",
            "UH",
            "no_healthy_upstream",
        );
        check(
            &Error::Connect("delayed_connect_error:_Connection_refused".to_owned()),
            false,
            503,
            "upstream connect error or disconnect/reset before headers. \
             reset reason: remote connection failure",
            "UF",
            "upstream_reset_before_response_started{remote_connection_failure|\
             delayed_connect_error:_Connection_refused}",
        );
        check(
            &Error::Upstream(FailureKind::Closed),
            true,
            503,
            "upstream connect error or disconnect/reset before headers. \
             retried and the latest reset reason: connection termination",
            "URX,UC",
            "upstream_reset_before_response_started{connection_termination}",
        );
        check(
            &Error::Timeout,
            false,
            504,
            "upstream request timeout",
            "UT",
            "response_timeout",
        );
        check(
            &Error::PerTryTimeout,
            true,
            504,
            "upstream request timeout",
            "URX,UT",
            "upstream_per_try_timeout",
        );
    }

    #[test]
    fn a_grpc_client_gets_a_grpc_error() {
        let response = respond(&Error::NoHealthyUpstream, false, Dialect::Grpc);
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["grpc-status"], "14");
        assert_eq!(response.headers()["grpc-message"], "no healthy upstream");
    }
}
