//! Clusters (CDS).

mod balance;
mod http;
mod limits;
mod metadata;

use std::collections::{BTreeMap, HashMap};

use envoy_types::pb::envoy::config::cluster::v3 as pb;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::r#type::v3::Percent;
use envoy_types::pb::google::protobuf::{Struct, Value as PbValue, value::Kind};
use pb::cluster::{ClusterDiscoveryType, DiscoveryType, LbConfig};
use prost::Message;

use super::any::{
    ads, duration, from_duration, from_u32, port_value, require_ads, text_field, u32_value,
};
use super::refusal::{Error, Result, Within, each, refuse};
use super::wire::append;
use super::{endpoint, tls};
use crate::resource::cluster::{Cluster, Discovery, TcpKeepalive, TlsMatch};

pub(super) fn encode(cluster: &Cluster) -> Vec<u8> {
    let (kind, eds) = match &cluster.discovery {
        Discovery::Eds { service_name } => (
            DiscoveryType::Eds,
            Some(pb::cluster::EdsClusterConfig {
                eds_config: Some(ads()),
                service_name: service_name.clone(),
            }),
        ),
        Discovery::Static(_) => (DiscoveryType::Static, None),
        Discovery::StrictDns(_) => (DiscoveryType::StrictDns, None),
        Discovery::LogicalDns(_) => (DiscoveryType::LogicalDns, None),
        Discovery::OriginalDst { .. } => (DiscoveryType::OriginalDst, None),
    };
    let (lb_policy, lb_config) = balance::encode(cluster);
    let mut out = pb::Cluster {
        name: cluster.name.clone(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(kind.into())),
        eds_cluster_config: eds,
        connect_timeout: duration(cluster.connect_timeout),
        lb_policy: lb_policy.into(),
        lb_config,
        common_lb_config: cluster
            .panic_threshold
            .map(|percent| pb::cluster::CommonLbConfig {
                healthy_panic_threshold: Some(Percent {
                    value: f64::from(percent),
                }),
                ..pb::cluster::CommonLbConfig::default()
            }),
        transport_socket: cluster.tls.as_ref().map(tls::upstream),
        transport_socket_matches: cluster.tls_matches.iter().map(encode_tls_match).collect(),
        // One entry, so that the map's random order does not show.
        typed_extension_protocol_options: HashMap::from([(
            http::HTTP_OPTIONS.to_owned(),
            http::encode_http(cluster),
        )]),
        circuit_breakers: limits::encode_limits(&cluster.limits),
        outlier_detection: cluster
            .outlier_detection
            .as_ref()
            .map(limits::encode_outlier),
        upstream_connection_options: cluster.tcp_keepalive.map(|keepalive| {
            pb::UpstreamConnectionOptions {
                tcp_keepalive: Some(core::TcpKeepalive {
                    keepalive_probes: u32_value(keepalive.probes),
                    keepalive_time: u32_value(keepalive.time),
                    keepalive_interval: u32_value(keepalive.interval),
                }),
                ..pb::UpstreamConnectionOptions::default()
            }
        }),
        upstream_bind_config: cluster.source.map(|ip| core::BindConfig {
            source_address: Some(core::SocketAddress {
                address: ip.to_string(),
                port_specifier: Some(core::socket_address::PortSpecifier::PortValue(0)),
                ..core::SocketAddress::default()
            }),
            ..core::BindConfig::default()
        }),
        ..pb::Cluster::default()
    }
    .encode_to_vec();
    if let Discovery::Static(endpoints)
    | Discovery::StrictDns(endpoints)
    | Discovery::LogicalDns(endpoints) = &cluster.discovery
    {
        append(&mut out, 33, &endpoint::encode(endpoints));
    }
    if let Some(metadata) = metadata::encode(&cluster.metadata) {
        append(&mut out, 25, &metadata);
    }
    out
}

fn encode_tls_match(entry: &TlsMatch) -> pb::cluster::TransportSocketMatch {
    // One label in all that we make; more would be written in a random order.
    let fields = entry
        .labels
        .iter()
        .map(|(key, value)| {
            (
                key.clone(),
                PbValue {
                    kind: Some(Kind::StringValue(value.clone())),
                },
            )
        })
        .collect();
    pb::cluster::TransportSocketMatch {
        name: entry.name.clone(),
        r#match: Some(Struct { fields }),
        transport_socket: Some(entry.tls.as_ref().map_or_else(tls::raw, tls::upstream)),
    }
}

#[expect(deprecated, reason = "the old fields are refused by name")]
pub(super) fn decode(cluster: pb::Cluster) -> Result<Cluster> {
    refuse!(
        cluster,
        transport_socket_matcher,
        health_checks,
        upstream_http_protocol_options,
        http_protocol_options,
        http2_protocol_options,
        lb_subset_config,
        filters,
        load_balancing_policy,
        upstream_config,
        connection_pool_per_downstream_connection,
        max_requests_per_connection,
        common_http_protocol_options,
    );
    let discovery = decode_discovery(&cluster)?;
    let options = http::decode_http(&cluster)?;
    let tls_matches = each(
        "transport_socket_matches",
        &cluster.transport_socket_matches,
        |entry| {
            let socket = entry
                .transport_socket
                .as_ref()
                .ok_or_else(|| Error::missing("transport_socket"))?;
            Ok(TlsMatch {
                name: entry.name.clone(),
                labels: decode_labels(entry.r#match.as_ref())?,
                tls: tls::from_upstream(socket).within("transport_socket")?,
            })
        },
    )?;
    let tls = cluster
        .transport_socket
        .as_ref()
        .map(tls::from_upstream)
        .transpose();
    let panic_threshold = cluster
        .common_lb_config
        .as_ref()
        .and_then(|config| config.healthy_panic_threshold)
        .map(|percent| balance::decode_percent(percent.value))
        .transpose()?;
    Ok(Cluster {
        lb: balance::decode(&cluster)?,
        connect_timeout: from_duration(cluster.connect_timeout, "connect_timeout")?,
        discovery,
        panic_threshold,
        tls: tls.within("transport_socket")?.flatten(),
        tls_matches,
        protocol: options.protocol,
        limits: limits::decode_limits(cluster.circuit_breakers)?,
        outlier_detection: cluster
            .outlier_detection
            .as_ref()
            .map(limits::decode_outlier)
            .transpose()?,
        max_requests_per_connection: options.max_requests_per_connection,
        idle_timeout: options.idle_timeout,
        tcp_keepalive: cluster
            .upstream_connection_options
            .and_then(|options| options.tcp_keepalive)
            .map(|keepalive| TcpKeepalive {
                probes: from_u32(keepalive.keepalive_probes),
                time: from_u32(keepalive.keepalive_time),
                interval: from_u32(keepalive.keepalive_interval),
            }),
        source: cluster
            .upstream_bind_config
            .map(decode_source)
            .transpose()?
            .flatten(),
        metadata: metadata::decode(cluster.metadata.as_ref()),
        name: cluster.name,
    })
}

fn decode_discovery(cluster: &pb::Cluster) -> Result<Discovery> {
    let kind = match &cluster.cluster_discovery_type {
        None => DiscoveryType::Static,
        Some(ClusterDiscoveryType::Type(kind)) => {
            DiscoveryType::try_from(*kind).map_err(|_cause| Error::invalid("type", kind))?
        }
        Some(ClusterDiscoveryType::ClusterType(_)) => {
            return Err(Error::unsupported("cluster_type"));
        }
    };
    let endpoints = || {
        endpoint::decode(cluster.load_assignment.clone().unwrap_or_default())
            .within("load_assignment")
    };
    Ok(match kind {
        DiscoveryType::Eds => {
            let config = cluster
                .eds_cluster_config
                .as_ref()
                .ok_or_else(|| Error::missing("eds_cluster_config"))?;
            require_ads(config.eds_config.as_ref()).within("eds_cluster_config.eds_config")?;
            Discovery::Eds {
                service_name: config.service_name.clone(),
            }
        }
        DiscoveryType::Static => Discovery::Static(endpoints()?),
        DiscoveryType::StrictDns => Discovery::StrictDns(endpoints()?),
        DiscoveryType::LogicalDns => Discovery::LogicalDns(endpoints()?),
        DiscoveryType::OriginalDst => {
            let Some(LbConfig::OriginalDstLbConfig(config)) = &cluster.lb_config else {
                return Ok(Discovery::OriginalDst { port: None });
            };
            refuse!(config, use_http_header, metadata_key);
            let port = port_value(config.upstream_port_override, "upstream_port_override")?;
            Discovery::OriginalDst { port }
        }
    })
}

fn decode_labels(labels: Option<&Struct>) -> Result<BTreeMap<String, String>> {
    labels
        .into_iter()
        .flat_map(|labels| labels.fields.keys())
        .map(|key| {
            let value = text_field(labels, key).ok_or_else(|| Error::unsupported("match"))?;
            Ok((key.clone(), value.to_owned()))
        })
        .collect()
}

fn decode_source(bind: core::BindConfig) -> Result<Option<std::net::IpAddr>> {
    refuse!(
        bind,
        freebind,
        socket_options,
        extra_source_addresses,
        local_address_selector
    );
    bind.source_address
        .map(|source| {
            source
                .address
                .parse()
                .map_err(|_cause| Error::invalid("upstream_bind_config", &source.address))
        })
        .transpose()
}
