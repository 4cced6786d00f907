//! When a request is sent again; pure: outcome in, decision out.
//!
//! Words and meanings of `retry_on` are Envoy's. An answer that may have had an effect is retried
//! only where the policy says so.

use std::time::Duration;

use fairlead_xds::resource::route::RetryPolicy;
use http::StatusCode;

use super::connection::FailureKind;
use super::respond::Error;

/// A retry policy, compiled.
#[derive(Debug, Clone)]
pub struct Policy {
    on: On,
    statuses: Vec<u16>,
    /// How many times at most.
    pub retries: u32,
    /// Limit of each attempt.
    pub per_try_timeout: Option<Duration>,
    base: Duration,
    max: Duration,
    /// Prefer endpoints that were not tried before.
    pub avoid_previous: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "one for each word of `retry_on`"
)]
struct On {
    server_error: bool,
    gateway_error: bool,
    reset: bool,
    reset_before_request: bool,
    connect_failure: bool,
    refused_stream: bool,
    conflict: bool,
    statuses: bool,
    grpc: Vec<u16>,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy)]
pub enum Outcome<'a> {
    /// With an answer.
    Answer {
        /// Its status.
        status: StatusCode,
        /// Its gRPC status, if it is in the headers.
        grpc: Option<u16>,
        /// The upstream asks not to be tried again.
        overloaded: bool,
    },
    /// Without one.
    Failed(&'a Error),
}

/// Envoy's defaults: the first retry comes after at most this time, later ones after at most ten
/// times as long.
const BASE: Duration = Duration::from_millis(25);
const MAX_FACTOR: u32 = 10;

impl Policy {
    /// Compiles a policy; words that are not known have no effect, as in Envoy.
    pub fn compile(spec: &RetryPolicy) -> Self {
        let mut on = On::default();
        for word in spec.retry_on.iter().flat_map(|words| words.split(',')) {
            match word.trim() {
                "5xx" => on.server_error = true,
                "gateway-error" => on.gateway_error = true,
                "reset" => on.reset = true,
                "reset-before-request" => on.reset_before_request = true,
                "connect-failure" => on.connect_failure = true,
                "refused-stream" => on.refused_stream = true,
                "retriable-4xx" => on.conflict = true,
                "retriable-status-codes" => on.statuses = true,
                "cancelled" => on.grpc.push(1),
                "deadline-exceeded" => on.grpc.push(4),
                "resource-exhausted" => on.grpc.push(8),
                "internal" => on.grpc.push(13),
                "unavailable" => on.grpc.push(14),
                _ => {}
            }
        }
        let base = spec.backoff.map_or(BASE, |backoff| backoff.base);
        let max = spec.backoff.and_then(|backoff| backoff.max);
        Self {
            on,
            statuses: spec
                .statuses
                .iter()
                .filter_map(|s| u16::try_from(*s).ok())
                .collect(),
            retries: spec.retries,
            per_try_timeout: spec.per_try_timeout.filter(|timeout| !timeout.is_zero()),
            base,
            max: max.unwrap_or(base * MAX_FACTOR),
            avoid_previous: spec.avoid_previous_hosts,
        }
    }

    /// Whether the policy wants another attempt after this outcome.
    pub fn wants(&self, outcome: Outcome<'_>) -> bool {
        let on = &self.on;
        match outcome {
            Outcome::Answer {
                overloaded: true, ..
            } => false,
            Outcome::Answer { status, grpc, .. } => {
                let code = status.as_u16();
                on.server_error && status.is_server_error()
                    || on.gateway_error && matches!(code, 502..=504)
                    || on.conflict && code == 409
                    || on.statuses && self.statuses.contains(&code)
                    || grpc.is_some_and(|grpc| on.grpc.contains(&grpc))
            }
            Outcome::Failed(error) => match error {
                Error::Connect(_) => on.connect_failure || on.server_error || on.gateway_error,
                Error::Upstream(FailureKind::NotProcessed) => {
                    on.refused_stream
                        || on.reset_before_request
                        || on.reset
                        || on.server_error
                        || on.connect_failure
                }
                Error::Upstream(FailureKind::Closed | FailureKind::Reset) => {
                    on.reset || on.server_error || on.gateway_error
                }
                Error::PerTryTimeout => on.server_error || on.gateway_error,
                Error::Upstream(FailureKind::Malformed | FailureKind::Downstream)
                | Error::MissingHost
                | Error::UpgradeRefused
                | Error::RouteNotFound
                | Error::ClusterNotFound
                | Error::NoHealthyUpstream
                | Error::Overflow
                | Error::Timeout
                | Error::Fault(_)
                | Error::GrpcFault(_) => false,
            },
        }
    }

    /// How long to wait before retry number `retry` (from 1): fully jittered, `roll` decides.
    pub fn backoff(&self, retry: u32, roll: u64) -> Duration {
        let steps = 1_u32.checked_shl(retry.min(16)).unwrap_or(u32::MAX) - 1;
        let range = self.base.saturating_mul(steps).min(self.max);
        let nanos = u64::try_from(range.as_nanos()).unwrap_or(u64::MAX).max(1);
        Duration::from_nanos(roll % nanos)
    }
}

#[cfg(test)]
mod tests {
    use fairlead_xds::resource::route::RETRY_CONDITIONS;

    use super::*;

    fn mesh_default() -> Policy {
        Policy::compile(&RetryPolicy {
            retry_on: [
                "connect-failure,refused-stream,unavailable,cancelled",
                "retriable-status-codes",
            ]
            .map(str::to_owned)
            .to_vec(),
            retries: 2,
            statuses: vec![503],
            ..RetryPolicy::default()
        })
    }

    fn answer(status: u16, grpc: Option<u16>) -> Outcome<'static> {
        let status = StatusCode::from_u16(status).unwrap();
        Outcome::Answer {
            status,
            grpc,
            overloaded: false,
        }
    }

    #[test]
    fn the_default_of_the_mesh_retries_only_what_had_no_effect() {
        let policy = mesh_default();
        assert!(policy.wants(Outcome::Failed(&Error::Connect(String::new()))));
        assert!(policy.wants(Outcome::Failed(&Error::Upstream(FailureKind::NotProcessed))));
        assert!(!policy.wants(Outcome::Failed(&Error::Upstream(FailureKind::Closed))));
        assert!(policy.wants(answer(503, None)));
        assert!(!policy.wants(answer(500, None)));
        assert!(policy.wants(answer(200, Some(14))));
        assert!(!policy.wants(answer(200, Some(2))));
    }

    #[test]
    fn every_known_condition_is_acted_on() {
        for word in RETRY_CONDITIONS {
            let policy = Policy::compile(&RetryPolicy {
                retry_on: vec![word.to_owned()],
                ..RetryPolicy::default()
            });
            assert_ne!(policy.on, On::default(), "{word}");
        }
    }

    #[test]
    fn an_overloaded_upstream_is_left_alone() {
        let overloaded = Outcome::Answer {
            status: StatusCode::SERVICE_UNAVAILABLE,
            grpc: None,
            overloaded: true,
        };
        assert!(!mesh_default().wants(overloaded));
    }

    #[test]
    fn the_wait_grows_to_its_limit() {
        let policy = mesh_default();
        for (retry, limit) in [(1, 25), (2, 75), (3, 175), (4, 250), (40, 250)] {
            let longest = Duration::from_millis(limit);
            assert!(policy.backoff(retry, u64::MAX) < longest);
            let nanos = u64::try_from(longest.as_nanos()).unwrap();
            assert_eq!(
                policy.backoff(retry, nanos - 1),
                Duration::from_nanos(nanos - 1)
            );
        }
    }
}
