//! The configuration in use, as JSON by the sections of Envoy's administration interface; no IO.
//!
//! Each entry has the resource as it is held, with all its fields. Keys are in none: resources name
//! their secrets.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};

use crate::config::{Cluster, Snapshot};
use crate::tls::Identity;

/// What workers run on.
pub fn configuration(snapshot: &Snapshot) -> Value {
    let version = snapshot.version.to_string();
    let clusters = in_order(&snapshot.clusters);
    let listeners = in_order(&snapshot.listeners);
    let routes = in_order(&snapshot.routes);
    let clusters_json = clusters
        .values()
        .map(|cluster| json!({ "version_info": version, "cluster": resource(&*cluster.spec) }));
    let listeners_json = listeners.values().map(|listener| {
        json!({
            "name": listener.spec.name,
            "active_state": { "version_info": version, "listener": resource(&*listener.spec) },
        })
    });
    let routes_json = routes
        .values()
        .map(|routes| json!({ "version_info": version, "route_config": resource(&routes.spec) }));
    let endpoints_json = clusters
        .values()
        .filter(|cluster| !cluster.endpoints.is_empty())
        .map(|cluster| json!({ "endpoint_config": endpoints(cluster) }));
    json!({ "configs": [
        section("ClustersConfigDump", "dynamic_active_clusters", clusters_json),
        section("ListenersConfigDump", "dynamic_listeners", listeners_json),
        section("RoutesConfigDump", "dynamic_route_configs", routes_json),
        section("EndpointsConfigDump", "dynamic_endpoint_configs", endpoints_json),
    ] })
}

fn in_order<T>(named: &HashMap<String, Arc<T>>) -> BTreeMap<&String, &Arc<T>> {
    named.iter().collect()
}

fn section(kind: &str, field: &str, entries: impl Iterator<Item = Value>) -> Value {
    let kind = format!("type.googleapis.com/envoy.admin.v3.{kind}");
    json!({ "@type": kind, field: entries.collect::<Vec<_>>() })
}

/// A resource with all its fields; why it cannot be shown, should that ever be so.
fn resource(resource: &impl Serialize) -> Value {
    serde_json::to_value(resource).unwrap_or_else(|error| json!({ "error": error.to_string() }))
}

/// The endpoints that take requests, as discovery or DNS has them now.
fn endpoints(cluster: &Cluster) -> Value {
    let entries = cluster.endpoints.iter().map(|endpoint| {
        json!({
            "endpoint": { "address": address(endpoint.address), "hostname": endpoint.hostname },
            "load_balancing_weight": endpoint.weight,
            "tls": endpoint.tls.is_some(),
            "workload": endpoint.peer.workload,
        })
    });
    json!({
        "cluster_name": cluster.spec.name,
        "endpoints": [{ "lb_endpoints": entries.collect::<Vec<_>>() }],
    })
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use fairlead_routing::RouteMatch;
    use fairlead_xds::resource::LoadAssignment;
    use fairlead_xds::resource::cluster::{Cluster as ClusterSpec, Discovery};
    use fairlead_xds::resource::route::{Action, Forward, Route, RouteConfiguration, VirtualHost};

    use super::*;
    use crate::config::Routes;

    #[test]
    fn the_dump_has_all_that_was_said() {
        let forward = Forward {
            timeout: Some(Duration::from_secs(7)),
            ..Forward::to("api")
        };
        let action = Action::Forward(Box::new(forward));
        let host = VirtualHost {
            name: "any".to_owned(),
            domains: vec!["*".to_owned()],
            routes: vec![Route::new("main", RouteMatch::any(), action)],
            ..VirtualHost::default()
        };
        let routes = Routes::compile(&RouteConfiguration {
            name: "80".to_owned(),
            virtual_hosts: vec![host],
            ..RouteConfiguration::default()
        });
        let mut spec = ClusterSpec::new("api", Discovery::Static(LoadAssignment::default()));
        spec.max_requests_per_connection = Some(3);
        let cluster = Cluster::compile(&Arc::new(spec), &Arc::default(), None);
        let snapshot = Snapshot {
            routes: [("80".to_owned(), Arc::new(routes.unwrap()))].into(),
            clusters: [("api".to_owned(), Arc::new(cluster))].into(),
            ..Snapshot::default()
        };
        let dump = configuration(&snapshot);
        let cluster = &dump["configs"][0]["dynamic_active_clusters"][0]["cluster"];
        assert_eq!(cluster["max_requests_per_connection"], 3);
        let routes = &dump["configs"][2]["dynamic_route_configs"][0]["route_config"];
        let action = &routes["virtual_hosts"][0]["routes"][0]["action"];
        assert_eq!(action["Forward"]["timeout"]["secs"], 7);
    }
}
