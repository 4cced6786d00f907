//! Fault injection and CORS, as defaults of a listener and as settings of a route.

use envoy_types::pb::envoy::config::core::v3::RuntimeFractionalPercent;
use envoy_types::pb::envoy::extensions::filters::common::fault::v3 as delay;
use envoy_types::pb::envoy::extensions::filters::http::cors::v3 as cors;
use envoy_types::pb::envoy::extensions::filters::http::fault::v3 as pb;
use envoy_types::pb::google::protobuf::{Any, BoolValue};

use crate::proto::any::{duration, from_duration, open};
use crate::proto::refusal::{Error, Result, Within, each, refuse};
use crate::proto::text::{
    from_header, from_runtime_share, from_share, from_string, header, share, string,
};
use crate::resource::route::{Abort, CorsPolicy, Fault, Share};

/// Name of the filter that injects faults.
pub(in crate::proto) const FAULT: &str = "envoy.filters.http.fault";
/// Name of the filter of cross-origin resource sharing.
pub(in crate::proto) const CORS: &str = "envoy.filters.http.cors";

pub(in crate::proto) fn fault(fault: &Fault) -> pb::HttpFault {
    pb::HttpFault {
        delay: fault.delay.map(|(time, part)| delay::FaultDelay {
            percentage: Some(share(part)),
            fault_delay_secifier: duration(Some(time))
                .map(delay::fault_delay::FaultDelaySecifier::FixedDelay),
        }),
        abort: fault.abort.map(|(abort, part)| pb::FaultAbort {
            percentage: Some(share(part)),
            error_type: Some(match abort {
                Abort::Http(status) => pb::fault_abort::ErrorType::HttpStatus(status.into()),
                Abort::Grpc(status) => pb::fault_abort::ErrorType::GrpcStatus(status),
            }),
            ..pb::FaultAbort::default()
        }),
        headers: fault.headers.iter().map(header).collect(),
        ..pb::HttpFault::default()
    }
}

pub(in crate::proto) fn decode_fault(any: &Any) -> Result<Fault> {
    let fault: pb::HttpFault = open(any)?;
    refuse!(
        fault,
        upstream_cluster,
        downstream_nodes,
        max_active_faults,
        response_rate_limit
    );
    Ok(Fault {
        delay: fault.delay.map(decode_delay).transpose().within("delay")?,
        abort: fault
            .abort
            .as_ref()
            .map(decode_abort)
            .transpose()
            .within("abort")?,
        headers: each("headers", fault.headers, from_header)?,
    })
}

/// A missing share is none of the requests, as in Envoy.
fn decode_delay(delay: delay::FaultDelay) -> Result<(std::time::Duration, Share)> {
    use delay::fault_delay::FaultDelaySecifier;
    let part = delay
        .percentage
        .map(from_share)
        .transpose()?
        .unwrap_or_default();
    match delay.fault_delay_secifier {
        Some(FaultDelaySecifier::FixedDelay(time)) => Ok((
            from_duration(Some(time), "fixed_delay")?.unwrap_or_default(),
            part,
        )),
        Some(FaultDelaySecifier::HeaderDelay(_)) => Err(Error::unsupported("header_delay")),
        None => Err(Error::missing("fixed_delay")),
    }
}

fn decode_abort(abort: &pb::FaultAbort) -> Result<(Abort, Share)> {
    use pb::fault_abort::ErrorType;
    refuse!(abort, response_body);
    let part = abort
        .percentage
        .map(from_share)
        .transpose()?
        .unwrap_or_default();
    let abort = match &abort.error_type {
        Some(ErrorType::HttpStatus(status)) => Abort::Http(
            u16::try_from(*status)
                .ok()
                .filter(|status| (200..600).contains(status))
                .ok_or_else(|| Error::invalid("http_status", status))?,
        ),
        Some(ErrorType::GrpcStatus(status)) => Abort::Grpc(*status),
        Some(ErrorType::HeaderAbort(_)) => return Err(Error::unsupported("header_abort")),
        None => return Err(Error::missing("error_type")),
    };
    Ok((abort, part))
}

pub(in crate::proto) fn cors_policy(policy: &CorsPolicy) -> cors::CorsPolicy {
    cors::CorsPolicy {
        allow_origin_string_match: policy.allow_origins.iter().map(string).collect(),
        allow_methods: policy.allow_methods.clone(),
        allow_headers: policy.allow_headers.clone(),
        expose_headers: policy.expose_headers.clone(),
        max_age: policy.max_age.clone(),
        allow_credentials: policy.allow_credentials.map(|value| BoolValue { value }),
        filter_enabled: Some(RuntimeFractionalPercent {
            default_value: Some(share(Share::ALL)),
            runtime_key: String::new(),
        }),
        forward_not_matching_preflights: policy
            .forward_unmatched_preflights
            .map(|value| BoolValue { value }),
        ..cors::CorsPolicy::default()
    }
}

pub(in crate::proto) fn decode_cors(any: &Any) -> Result<CorsPolicy> {
    let policy: cors::CorsPolicy = open(any)?;
    refuse!(policy, shadow_enabled, allow_private_network_access);
    if from_runtime_share(policy.filter_enabled)?.is_some_and(|part| part != Share::ALL) {
        return Err(Error::unsupported("filter_enabled"));
    }
    Ok(CorsPolicy {
        allow_origins: each(
            "allow_origin_string_match",
            policy.allow_origin_string_match,
            from_string,
        )?,
        allow_methods: policy.allow_methods,
        allow_headers: policy.allow_headers,
        expose_headers: policy.expose_headers,
        max_age: policy.max_age,
        allow_credentials: policy.allow_credentials.map(|value| value.value),
        forward_unmatched_preflights: policy
            .forward_not_matching_preflights
            .map(|value| value.value),
    })
}
