//! Retry policies.

use envoy_types::pb::envoy::config::route::v3 as pb;
use envoy_types::pb::envoy::extensions::retry::host::previous_hosts::v3::PreviousHostsPredicate;

use crate::proto::any::{duration, from_duration, from_u32, pack, u32_value};
use crate::proto::refusal::{Error, Result, refuse};
use crate::resource::route::{Backoff, RetryPolicy};

const PREVIOUS_HOSTS: &str = "envoy.retry_host_predicates.previous_hosts";

pub(super) fn encode(retry: &RetryPolicy) -> pb::RetryPolicy {
    let predicate = || pb::retry_policy::RetryHostPredicate {
        name: PREVIOUS_HOSTS.to_owned(),
        config_type: Some(
            pb::retry_policy::retry_host_predicate::ConfigType::TypedConfig(pack(
                &PreviousHostsPredicate {},
            )),
        ),
    };
    pb::RetryPolicy {
        retry_on: retry.retry_on.join(","),
        num_retries: u32_value(Some(retry.retries)),
        per_try_timeout: duration(retry.per_try_timeout),
        retriable_status_codes: retry.statuses.clone(),
        retry_back_off: retry.backoff.map(|backoff| pb::retry_policy::RetryBackOff {
            base_interval: duration(Some(backoff.base)),
            max_interval: duration(backoff.max),
        }),
        retry_host_predicate: retry
            .avoid_previous_hosts
            .then(predicate)
            .into_iter()
            .collect(),
        host_selection_retry_max_attempts: retry.host_selection_attempts.into(),
        ..pb::RetryPolicy::default()
    }
}

pub(super) fn decode(retry: pb::RetryPolicy) -> Result<RetryPolicy> {
    refuse!(
        retry,
        retry_priority,
        retry_options_predicates,
        rate_limited_retry_back_off,
        retriable_headers,
        retriable_request_headers,
        per_try_idle_timeout,
    );
    let avoid = match retry.retry_host_predicate.as_slice() {
        [] => false,
        [only] if only.name == PREVIOUS_HOSTS => true,
        _ => return Err(Error::unsupported("retry_host_predicate")),
    };
    let backoff = match retry.retry_back_off {
        None => None,
        Some(backoff) => Some(Backoff {
            base: from_duration(backoff.base_interval, "retry_back_off.base_interval")?
                .ok_or_else(|| Error::missing("retry_back_off.base_interval"))?,
            max: from_duration(backoff.max_interval, "retry_back_off.max_interval")?,
        }),
    };
    let attempts = retry.host_selection_retry_max_attempts;
    Ok(RetryPolicy {
        retry_on: retry
            .retry_on
            .split(',')
            .map(str::trim)
            .filter(|condition| !condition.is_empty())
            .map(str::to_owned)
            .collect(),
        retries: from_u32(retry.num_retries).unwrap_or(1),
        per_try_timeout: from_duration(retry.per_try_timeout, "per_try_timeout")?,
        statuses: retry.retriable_status_codes,
        backoff,
        avoid_previous_hosts: avoid,
        host_selection_attempts: u32::try_from(attempts)
            .map_err(|_cause| Error::invalid("host_selection_retry_max_attempts", attempts))?,
    })
}
