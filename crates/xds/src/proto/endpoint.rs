//! Endpoints of clusters (EDS).

use std::collections::BTreeMap;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::endpoint::v3 as pb;
use prost::Message;

use super::any::{address, from_address, from_u32, text_field, u32_value};
use super::refusal::{Error, Result, Within, each, refuse};
use super::wire::{Value, append, encode_metadata};
use crate::resource::endpoint::{
    Endpoint, Health, LoadAssignment, Locality, LocalityEndpoints, Workload,
};

/// Namespace of the mesh in metadata.
pub(super) const ISTIO: &str = "istio";
/// Namespace of what `transport_socket_matches` look at.
pub(super) const SOCKET_MATCH: &str = "envoy.transport_socket_match";

pub(super) fn encode(assignment: &LoadAssignment) -> Vec<u8> {
    let mut out = pb::ClusterLoadAssignment {
        cluster_name: assignment.cluster.clone(),
        ..pb::ClusterLoadAssignment::default()
    }
    .encode_to_vec();
    for locality in &assignment.localities {
        append(&mut out, 2, &encode_locality(locality));
    }
    out
}

fn encode_locality(locality: &LocalityEndpoints) -> Vec<u8> {
    let Locality {
        region,
        zone,
        sub_zone,
    } = &locality.locality;
    let mut out = pb::LocalityLbEndpoints {
        locality: (locality.locality != Locality::default()).then(|| core::Locality {
            region: region.clone(),
            zone: zone.clone(),
            sub_zone: sub_zone.clone(),
        }),
        load_balancing_weight: u32_value(locality.weight),
        priority: locality.priority,
        ..pb::LocalityLbEndpoints::default()
    }
    .encode_to_vec();
    for endpoint in &locality.endpoints {
        append(&mut out, 2, &encode_endpoint(endpoint));
    }
    out
}

fn encode_endpoint(endpoint: &Endpoint) -> Vec<u8> {
    let health = match endpoint.health {
        Health::Healthy => core::HealthStatus::Healthy,
        Health::Unhealthy => core::HealthStatus::Unhealthy,
        Health::Draining => core::HealthStatus::Draining,
        Health::Degraded => core::HealthStatus::Degraded,
    };
    let mut out = pb::LbEndpoint {
        health_status: health.into(),
        load_balancing_weight: u32_value(endpoint.weight),
        host_identifier: Some(pb::lb_endpoint::HostIdentifier::Endpoint(pb::Endpoint {
            address: Some(address(&endpoint.address)),
            hostname: endpoint.hostname.clone(),
            ..pb::Endpoint::default()
        })),
        ..pb::LbEndpoint::default()
    }
    .encode_to_vec();
    let workload = endpoint.workload.as_ref().map(ToString::to_string);
    let mut filters = BTreeMap::new();
    if let Some(workload) = &workload {
        filters.insert(ISTIO, BTreeMap::from([("workload", Value::Text(workload))]));
    }
    if let Some(mode) = &endpoint.tls_mode {
        filters.insert(
            SOCKET_MATCH,
            BTreeMap::from([("tlsMode", Value::Text(mode))]),
        );
    }
    if !filters.is_empty() {
        append(&mut out, 3, &encode_metadata(&filters));
    }
    out
}

pub(super) fn decode(assignment: pb::ClusterLoadAssignment) -> Result<LoadAssignment> {
    refuse!(assignment, named_endpoints);
    if let Some(policy) = &assignment.policy {
        refuse!(policy, drop_overloads, weighted_priority_health);
    }
    let localities = each("endpoints", assignment.endpoints, decode_locality)?;
    Ok(LoadAssignment {
        cluster: assignment.cluster_name,
        localities,
    })
}

fn decode_locality(locality: pb::LocalityLbEndpoints) -> Result<LocalityEndpoints> {
    refuse!(locality, lb_config);
    let place = locality.locality.unwrap_or_default();
    Ok(LocalityEndpoints {
        locality: Locality {
            region: place.region,
            zone: place.zone,
            sub_zone: place.sub_zone,
        },
        weight: from_u32(locality.load_balancing_weight),
        priority: locality.priority,
        endpoints: each("lb_endpoints", locality.lb_endpoints, decode_endpoint)?,
    })
}

fn decode_endpoint(endpoint: pb::LbEndpoint) -> Result<Endpoint> {
    let host = match endpoint.host_identifier {
        Some(pb::lb_endpoint::HostIdentifier::Endpoint(host)) => host,
        None => return Err(Error::missing("endpoint")),
        Some(pb::lb_endpoint::HostIdentifier::EndpointName(_)) => {
            return Err(Error::unsupported("endpoint_name"));
        }
    };
    let health = match core::HealthStatus::try_from(endpoint.health_status) {
        Ok(core::HealthStatus::Unknown | core::HealthStatus::Healthy) => Health::Healthy,
        Ok(core::HealthStatus::Unhealthy | core::HealthStatus::Timeout) => Health::Unhealthy,
        Ok(core::HealthStatus::Draining) => Health::Draining,
        Ok(core::HealthStatus::Degraded) => Health::Degraded,
        Err(_) => return Err(Error::invalid("health_status", endpoint.health_status)),
    };
    let filters = endpoint
        .metadata
        .as_ref()
        .map(|metadata| &metadata.filter_metadata);
    let field = |filter: &str, name: &str| {
        text_field(filters.and_then(|filters| filters.get(filter)), name)
    };
    Ok(Endpoint {
        address: from_address(host.address).within("endpoint.address")?,
        hostname: host.hostname,
        weight: from_u32(endpoint.load_balancing_weight),
        health,
        workload: field(ISTIO, "workload").map(Workload::parse),
        tls_mode: field(SOCKET_MATCH, "tlsMode").map(str::to_owned),
    })
}
