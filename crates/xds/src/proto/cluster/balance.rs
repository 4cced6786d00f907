//! Which endpoint gets a request.

use envoy_types::pb::envoy::config::cluster::v3 as pb;
use envoy_types::pb::google::protobuf::UInt64Value;
use pb::cluster::{LbConfig, LbPolicy as PbLbPolicy};

use crate::proto::any::u32_value;
use crate::proto::refusal::{Error, Result, refuse};
use crate::resource::cluster::{Cluster, Discovery, LbPolicy};

pub(super) fn encode(cluster: &Cluster) -> (PbLbPolicy, Option<LbConfig>) {
    let original_dst = match &cluster.discovery {
        Discovery::OriginalDst { port: Some(port) } => Some(LbConfig::OriginalDstLbConfig(
            pb::cluster::OriginalDstLbConfig {
                upstream_port_override: u32_value(Some((*port).into())),
                ..pb::cluster::OriginalDstLbConfig::default()
            },
        )),
        Discovery::OriginalDst { port: None }
        | Discovery::Eds { .. }
        | Discovery::Static(_)
        | Discovery::StrictDns(_)
        | Discovery::LogicalDns(_) => None,
    };
    let size = |value: Option<u64>| value.map(|value| UInt64Value { value });
    match cluster.lb {
        LbPolicy::RoundRobin => (PbLbPolicy::RoundRobin, None),
        LbPolicy::LeastRequest => (PbLbPolicy::LeastRequest, None),
        LbPolicy::Random => (PbLbPolicy::Random, None),
        LbPolicy::RingHash { min_size } => (
            PbLbPolicy::RingHash,
            min_size.map(|min_size| {
                LbConfig::RingHashLbConfig(pb::cluster::RingHashLbConfig {
                    minimum_ring_size: size(Some(min_size)),
                    ..pb::cluster::RingHashLbConfig::default()
                })
            }),
        ),
        LbPolicy::Maglev { table_size } => (
            PbLbPolicy::Maglev,
            table_size.map(|table_size| {
                LbConfig::MaglevLbConfig(pb::cluster::MaglevLbConfig {
                    table_size: size(Some(table_size)),
                })
            }),
        ),
        LbPolicy::ClusterProvided => (PbLbPolicy::ClusterProvided, original_dst),
    }
}

pub(super) fn decode(cluster: &pb::Cluster) -> Result<LbPolicy> {
    let policy = PbLbPolicy::try_from(cluster.lb_policy)
        .map_err(|_cause| Error::invalid("lb_policy", cluster.lb_policy))?;
    Ok(match policy {
        PbLbPolicy::RoundRobin => LbPolicy::RoundRobin,
        PbLbPolicy::LeastRequest => LbPolicy::LeastRequest,
        PbLbPolicy::Random => LbPolicy::Random,
        PbLbPolicy::RingHash => LbPolicy::RingHash {
            min_size: match &cluster.lb_config {
                Some(LbConfig::RingHashLbConfig(config)) => {
                    refuse!(config, hash_function);
                    config.minimum_ring_size.map(|size| size.value)
                }
                _ => None,
            },
        },
        PbLbPolicy::Maglev => LbPolicy::Maglev {
            table_size: match &cluster.lb_config {
                Some(LbConfig::MaglevLbConfig(config)) => config.table_size.map(|size| size.value),
                _ => None,
            },
        },
        PbLbPolicy::ClusterProvided => LbPolicy::ClusterProvided,
        PbLbPolicy::LoadBalancingPolicyConfig => return Err(Error::unsupported("lb_policy")),
    })
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the range is checked before the cast, and a fraction of a percent does not matter"
)]
pub(super) fn decode_percent(value: f64) -> Result<u32> {
    if (0.0..=100.0).contains(&value) {
        Ok(value as u32)
    } else {
        Err(Error::invalid("healthy_panic_threshold", value))
    }
}
