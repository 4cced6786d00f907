//! A traffic policy on a cluster: balancing, limits, ejection.

use std::time::Duration;

use fairlead_crds::networking::{
    ConnectionPool, ConsistentHash, LoadBalancer, OutlierDetection as CrdOutlier, SimpleBalancer,
};
use fairlead_crds::parse_duration;
use fairlead_xds::resource::cluster::{
    Cluster, Discovery, LbPolicy, OutlierDetection, TcpKeepalive,
};
use fairlead_xds::resource::route::HashKey;

use crate::rule::Policy;

/// Puts a policy on a cluster. A duration that cannot be read was reported with the rule, and
/// leaves the default.
pub(super) fn apply(policy: &Policy, cluster: &mut Cluster) {
    if let Some(balancer) = &policy.load_balancer {
        apply_balancer(balancer, cluster);
    }
    if let Some(pool) = &policy.connection_pool {
        apply_pool(pool, cluster);
    }
    if let Some(outlier) = &policy.outlier_detection {
        apply_outlier(outlier, cluster);
    }
}

fn apply_balancer(balancer: &LoadBalancer, cluster: &mut Cluster) {
    if matches!(cluster.discovery, Discovery::OriginalDst { .. }) {
        return;
    }
    if let Some(hash) = &balancer.consistent_hash {
        cluster.lb = hash_policy(hash);
        return;
    }
    cluster.lb = match balancer.simple.unwrap_or_default() {
        SimpleBalancer::Unspecified | SimpleBalancer::LeastConn | SimpleBalancer::LeastRequest => {
            LbPolicy::LeastRequest
        }
        SimpleBalancer::Random => LbPolicy::Random,
        SimpleBalancer::RoundRobin => LbPolicy::RoundRobin,
        SimpleBalancer::Passthrough => {
            cluster.discovery = Discovery::OriginalDst { port: None };
            LbPolicy::ClusterProvided
        }
    };
}

fn hash_policy(hash: &ConsistentHash) -> LbPolicy {
    if let Some(maglev) = &hash.maglev {
        return LbPolicy::Maglev {
            table_size: maglev.table_size,
        };
    }
    let ring = hash
        .ring_hash
        .as_ref()
        .and_then(|ring| ring.minimum_ring_size);
    LbPolicy::RingHash {
        min_size: ring.or(hash.minimum_ring_size).filter(|size| *size > 0),
    }
}

/// What routes to a cluster with this balancer hash.
pub(crate) fn hash_key(balancer: &LoadBalancer) -> Option<HashKey> {
    let hash = balancer.consistent_hash.as_ref()?;
    if let Some(name) = &hash.http_header_name {
        return Some(HashKey::Header(name.clone()));
    }
    if let Some(cookie) = &hash.http_cookie {
        return Some(HashKey::Cookie {
            name: cookie.name.clone(),
            path: cookie.path.clone().unwrap_or_default(),
            ttl: duration(cookie.ttl.as_ref()),
        });
    }
    if hash.use_source_ip == Some(true) {
        return Some(HashKey::SourceIp);
    }
    hash.http_query_parameter_name
        .clone()
        .map(HashKey::QueryParameter)
}

fn apply_pool(pool: &ConnectionPool, cluster: &mut Cluster) {
    // Zero and negative numbers mean the default, as in the API that these fields come from.
    let limit = |value: Option<i32>| {
        value
            .and_then(|value| u32::try_from(value).ok())
            .filter(|value| *value > 0)
    };
    if let Some(tcp) = &pool.tcp {
        cluster.limits.connections = limit(tcp.max_connections).or(cluster.limits.connections);
        cluster.connect_timeout =
            duration(tcp.connect_timeout.as_ref()).or(cluster.connect_timeout);
        cluster.tcp_keepalive = tcp.tcp_keepalive.as_ref().map(|keepalive| {
            let seconds = |time: Option<&String>| {
                duration(time).and_then(|time| u32::try_from(time.as_secs()).ok())
            };
            TcpKeepalive {
                probes: keepalive.probes,
                time: seconds(keepalive.time.as_ref()),
                interval: seconds(keepalive.interval.as_ref()),
            }
        });
    }
    if let Some(http) = &pool.http {
        let limits = &mut cluster.limits;
        limits.pending_requests =
            limit(http.http1_max_pending_requests).or(limits.pending_requests);
        limits.requests = limit(http.http2_max_requests).or(limits.requests);
        limits.retries = limit(http.max_retries).or(limits.retries);
        cluster.max_requests_per_connection = limit(http.max_requests_per_connection);
        cluster.idle_timeout = duration(http.idle_timeout.as_ref());
    }
}

fn apply_outlier(outlier: &CrdOutlier, cluster: &mut Cluster) {
    let percent = |value: Option<i32>| {
        value
            .and_then(|value| u32::try_from(value).ok())
            .map(|value| value.min(100))
    };
    let old = outlier
        .consecutive_errors
        .and_then(|count| u32::try_from(count).ok());
    let count_5xx = outlier.consecutive_5xx_errors.or(old);
    let on_or_off = |count: u32| if count > 0 { 100 } else { 0 };
    let above_zero = |count: Option<u32>| count.filter(|count| *count > 0);
    cluster.panic_threshold = Some(percent(outlier.min_health_percent).unwrap_or(0));
    cluster.outlier_detection = Some(OutlierDetection {
        consecutive_5xx: above_zero(count_5xx),
        enforcing_5xx: count_5xx.map(on_or_off),
        consecutive_gateway_failure: above_zero(outlier.consecutive_gateway_errors),
        enforcing_gateway_failure: outlier.consecutive_gateway_errors.map(on_or_off),
        consecutive_local_origin_failure: above_zero(outlier.consecutive_local_origin_failures),
        split_local_origin: outlier.split_external_local_origin_errors.unwrap_or(false),
        interval: duration(outlier.interval.as_ref()),
        base_ejection_time: duration(outlier.base_ejection_time.as_ref()),
        max_ejection_percent: percent(outlier.max_ejection_percent),
        // Ejection by success rate surprises small deployments, and nobody asked for it.
        enforcing_success_rate: Some(0),
    });
}

fn duration(text: Option<&String>) -> Option<Duration> {
    text.and_then(|text| parse_duration(text).ok())
}
