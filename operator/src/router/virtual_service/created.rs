//! The VirtualService that a Canary makes: it follows `spec.service` in full. Pure.

use fairlead_rollout::{Split, Weight};
use kube::ResourceExt;
use kube::api::DynamicObject;
use serde_json::{Map, Value, json};

use super::settings::settings;
use super::{bound, chosen};
use crate::router::{RoutePlan, Routes, includes, metadata};

/// The split that it holds, and whether all else is as planned.
pub(super) fn read(plan: &RoutePlan, found: &DynamicObject) -> Routes {
    let spec = &found.data["spec"];
    let Some(split) = split(plan, spec) else {
        return Routes::default();
    };
    let wanted = build(plan, split, None);
    let live = json!(found.annotations());
    Routes {
        split: Some(split),
        current: includes(&live, &wanted["metadata"]["annotations"])
            && includes(spec, &wanted["spec"]),
        ..Routes::default()
    }
}

/// The split of the first route to the canary.
fn split(plan: &RoutePlan, spec: &Value) -> Option<Split> {
    let routes = || {
        let kinds = ["http", "tcp"].into_iter();
        kinds.filter_map(|kind| spec[kind].as_array()).flatten()
    };
    let sticky = routes().any(bound::is_sticky);
    let others = |route: &&Value| !bound::is_bound(route) && !bound::is_left_behind(plan, route);
    for route in routes().filter(others) {
        let destinations = route["route"].as_array()?;
        let weight_of = |host: &str| {
            let found = destinations
                .iter()
                .find(|one| one["destination"]["host"] == host)?;
            Some(found["weight"].as_i64().unwrap_or(0))
        };
        let (Some(primary), Some(canary)) = (weight_of(&plan.primary), weight_of(&plan.canary))
        else {
            continue;
        };
        if primary + canary != 100 {
            return None;
        }
        let mirrored = route["mirror"]["host"] == plan.canary.as_str();
        return Some(Split {
            canary: Weight::new(canary)?,
            mirrored,
            sticky,
        });
    }
    None
}

/// The whole object.
pub(super) fn build(plan: &RoutePlan, split: Split, version: Option<&str>) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": metadata(plan, version),
        "spec": spec(plan, split),
    })
}

fn spec(plan: &RoutePlan, split: Split) -> Value {
    let mut spec = Map::new();
    if plan.service.delegation != Some(true) {
        spec.insert("hosts".to_owned(), json!(hosts(plan)));
        spec.insert("gateways".to_owned(), json!(gateways(plan)));
    }
    let is_tcp = |protocol: &String| protocol.eq_ignore_ascii_case("tcp");
    if plan.service.app_protocol.as_ref().is_some_and(is_tcp) {
        spec.insert(
            "tcp".to_owned(),
            json!([{ "route": destinations(plan, split) }]),
        );
    } else {
        spec.insert("http".to_owned(), http(plan, split));
    }
    Value::Object(spec)
}

fn hosts(plan: &RoutePlan) -> Vec<String> {
    let mut hosts = plan.service.hosts.clone();
    if !hosts.iter().any(|host| *host == plan.apex || host == "*") {
        hosts.push(plan.apex.clone());
    }
    hosts
}

fn gateways(plan: &RoutePlan) -> Vec<String> {
    if plan.service.gateways.is_empty() {
        return vec!["mesh".to_owned()];
    }
    plan.service.gateways.clone()
}

/// One route; with matches in the strategy, one for them and one for everyone else. Before them,
/// that of chosen requests, and those that keep clients on their version.
fn http(plan: &RoutePlan, split: Split) -> Value {
    let mut main = settings(plan);
    main.insert("route".to_owned(), marked(plan, split));
    if split.mirrored {
        main.insert("mirror".to_owned(), json!({ "host": plan.canary }));
        if let Some(percentage) = plan.mirror_weight {
            main.insert(
                "mirrorPercentage".to_owned(),
                json!({ "value": percentage }),
            );
        }
    }
    if !plan.matches.is_empty() {
        let services = settings(plan).remove("match").unwrap_or_default();
        let services = services.as_array().map_or(&[][..], Vec::as_slice);
        main.insert(
            "match".to_owned(),
            chosen::each(&plan.matches, services).into(),
        );
    }
    let main = Value::Object(main);
    let lead = |split| destinations(plan, split);
    let mut routes = bound::before(plan, &main, split, &lead);
    routes.splice(0..0, chosen::before(plan, &main, split, &lead));
    routes.push(main);
    if plan.matches.is_empty() {
        return routes.into();
    }
    let mut others = settings(plan);
    others.insert(
        "route".to_owned(),
        json!([destination(plan, &plan.primary, 100)]),
    );
    routes.push(Value::Object(others));
    routes.into()
}

/// The destinations, each with the cookie of its version.
fn marked(plan: &RoutePlan, split: Split) -> Value {
    let mut marked = destinations(plan, split);
    if let (Some(affinity), Some([primary, canary])) =
        (&plan.affinity, marked.as_array_mut().map(Vec::as_mut_slice))
    {
        bound::mark(affinity, split, primary, canary);
    }
    marked
}

fn destinations(plan: &RoutePlan, split: Split) -> Value {
    json!([
        destination(plan, &plan.primary, split.canary.rest().get()),
        destination(plan, &plan.canary, split.canary.get()),
    ])
}

/// A port is named only where the gateway could not tell which one of several is meant.
fn destination(plan: &RoutePlan, host: &str, weight: u8) -> Value {
    let mut destination = json!({ "host": host });
    let outside = plan.service.delegation == Some(true)
        || plan
            .service
            .gateways
            .first()
            .is_some_and(|gateway| gateway != "mesh");
    if plan.service.port_discovery == Some(true) && outside {
        destination["port"] = json!({ "number": plan.port });
    }
    json!({ "destination": destination, "weight": weight })
}

#[cfg(test)]
mod tests;
