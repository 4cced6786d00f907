//! Limits of a cluster's load, and ejection of its endpoints.

use envoy_types::pb::envoy::config::cluster::v3 as pb;

use crate::proto::any::{duration, from_duration, from_u32, u32_value};
use crate::proto::refusal::{Result, refuse};
use crate::resource::cluster::{Limits, OutlierDetection};

pub(super) fn encode_limits(limits: &Limits) -> Option<pb::CircuitBreakers> {
    (*limits != Limits::DEFAULT).then(|| pb::CircuitBreakers {
        thresholds: vec![pb::circuit_breakers::Thresholds {
            max_connections: u32_value(limits.connections),
            max_pending_requests: u32_value(limits.pending_requests),
            max_requests: u32_value(limits.requests),
            max_retries: u32_value(limits.retries),
            ..pb::circuit_breakers::Thresholds::default()
        }],
        per_host_thresholds: Vec::new(),
    })
}

pub(super) fn encode_outlier(outlier: &OutlierDetection) -> pb::OutlierDetection {
    pb::OutlierDetection {
        consecutive_5xx: u32_value(outlier.consecutive_5xx),
        consecutive_gateway_failure: u32_value(outlier.consecutive_gateway_failure),
        enforcing_consecutive_5xx: u32_value(outlier.enforcing_5xx),
        enforcing_consecutive_gateway_failure: u32_value(outlier.enforcing_gateway_failure),
        consecutive_local_origin_failure: u32_value(outlier.consecutive_local_origin_failure),
        split_external_local_origin_errors: outlier.split_local_origin,
        interval: duration(outlier.interval),
        base_ejection_time: duration(outlier.base_ejection_time),
        max_ejection_percent: u32_value(outlier.max_ejection_percent),
        enforcing_success_rate: u32_value(outlier.enforcing_success_rate),
        ..pb::OutlierDetection::default()
    }
}

pub(super) fn decode_limits(breakers: Option<pb::CircuitBreakers>) -> Result<Limits> {
    let Some(breakers) = breakers else {
        return Ok(Limits::DEFAULT);
    };
    refuse!(breakers, per_host_thresholds);
    // Only the default priority is used: routes of high priority are refused.
    let Some(thresholds) = breakers
        .thresholds
        .into_iter()
        .find(|entry| entry.priority == 0)
    else {
        return Ok(Limits::DEFAULT);
    };
    refuse!(thresholds, retry_budget, max_connection_pools);
    Ok(Limits {
        connections: from_u32(thresholds.max_connections),
        pending_requests: from_u32(thresholds.max_pending_requests),
        requests: from_u32(thresholds.max_requests),
        retries: from_u32(thresholds.max_retries),
    })
}

pub(super) fn decode_outlier(outlier: &pb::OutlierDetection) -> Result<OutlierDetection> {
    refuse!(outlier, monitors);
    Ok(OutlierDetection {
        consecutive_5xx: from_u32(outlier.consecutive_5xx),
        consecutive_gateway_failure: from_u32(outlier.consecutive_gateway_failure),
        enforcing_5xx: from_u32(outlier.enforcing_consecutive_5xx),
        enforcing_gateway_failure: from_u32(outlier.enforcing_consecutive_gateway_failure),
        consecutive_local_origin_failure: from_u32(outlier.consecutive_local_origin_failure),
        split_local_origin: outlier.split_external_local_origin_errors,
        interval: from_duration(outlier.interval, "outlier_detection.interval")?,
        base_ejection_time: from_duration(
            outlier.base_ejection_time,
            "outlier_detection.base_ejection_time",
        )?,
        max_ejection_percent: from_u32(outlier.max_ejection_percent),
        enforcing_success_rate: from_u32(outlier.enforcing_success_rate),
    })
}
