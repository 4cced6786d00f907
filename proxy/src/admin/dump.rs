//! The configuration in use, as JSON in the shape of Envoy's administration interface; no IO.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::config::Snapshot;
use crate::tls::Identity;

/// What workers run on.
pub fn configuration(snapshot: &Snapshot) -> Value {
    let clusters: BTreeMap<_, _> = snapshot.clusters.iter().collect();
    let listeners: BTreeMap<_, _> = snapshot.listeners.iter().collect();
    let routes: BTreeMap<_, _> = snapshot.routes.iter().collect();
    let version = snapshot.version.to_string();
    let clusters_json = clusters.values().map(|cluster| {
        json!({
            "version_info": version,
            "cluster": {
                "name": cluster.spec.name,
                "type": format!("{:?}", cluster.spec.discovery).split([' ', '{', '(']).next(),
                "lb_policy": format!("{:?}", cluster.spec.lb),
                "metadata": { "filter_metadata": { "istio": {
                    "config": cluster.spec.metadata.config,
                    "subset": cluster.spec.metadata.subset,
                } } },
            },
        })
    });
    let listeners_json = listeners.values().map(|listener| {
        json!({
            "name": listener.spec.name,
            "active_state": { "version_info": version, "listener": {
                "name": listener.spec.name,
                "address": address(listener.spec.address),
                "bind_to_port": listener.spec.bind_to_port,
                "traffic_direction": format!("{:?}", listener.spec.direction).to_uppercase(),
                "filter_chains": listener.spec.filter_chains.iter().map(|chain| json!({
                    "name": chain.name,
                    "filter_chain_match": format!("{:?}", chain.matches),
                    "tls": chain.tls.is_some(),
                })).collect::<Vec<_>>(),
            } },
        })
    });
    let routes_json = routes
        .values()
        .map(|routes| json!({ "version_info": version, "route_config": routes.describe() }));
    let endpoints_json = clusters
        .values()
        .filter(|cluster| !cluster.endpoints.is_empty())
        .map(|cluster| {
            json!({ "endpoint_config": {
            "cluster_name": cluster.spec.name,
            "endpoints": [{ "lb_endpoints": cluster.endpoints.iter().map(|endpoint| json!({
                "endpoint": { "address": address(endpoint.address) },
                "load_balancing_weight": endpoint.weight,
                "tls": endpoint.tls.is_some(),
                "workload": endpoint.peer.workload,
            })).collect::<Vec<_>>() }],
        } })
        });
    let dump = |kind: &str, field: &str, items: Vec<Value>| json!({ "@type": format!("type.googleapis.com/envoy.admin.v3.{kind}"), field: items });
    json!({ "configs": [
        dump("ClustersConfigDump", "dynamic_active_clusters", clusters_json.collect()),
        dump("ListenersConfigDump", "dynamic_listeners", listeners_json.collect()),
        dump("RoutesConfigDump", "dynamic_route_configs", routes_json.collect()),
        dump("EndpointsConfigDump", "dynamic_endpoint_configs", endpoints_json.collect()),
    ] })
}

/// The proxy's own certificate.
pub fn certificates(identity: Option<&Identity>) -> Value {
    let Some(identity) = identity else {
        return json!({ "certificates": [] });
    };
    let leaf = &identity.leaf;
    json!({ "certificates": [{ "cert_chain": [{
        "path": "<inline>",
        "serial_number": leaf.serial,
        "subject_alt_names": leaf.uri.iter().map(|uri| json!({ "uri": &**uri })).collect::<Vec<_>>(),
        "valid_from": leaf.not_before.to_string(),
        "expiration_time": leaf.not_after.to_string(),
    }] }] })
}

fn address(address: std::net::SocketAddr) -> Value {
    json!({ "socket_address": { "address": address.ip().to_string(), "port_value": address.port() } })
}
