//! The Services and DestinationRules of a Canary. Pure.

use std::collections::BTreeMap;

use fairlead_crds::canary::CanaryMetadata;
use fairlead_crds::{annotation, label};
use fairlead_rollout::Revision;
use k8s_openapi::api::core::v1::{Container, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};

use crate::router::{RoutePlan, includes};
use crate::workload::service::{self, Place};
use crate::workload::{Content, Selector, Snapshot};

/// Containers whose ports are the mesh's.
const SIDECARS: [&str; 2] = ["istio-proxy", "envoy"];

/// One of the three Services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The one that clients call.
    Apex,
    /// The one of the promoted version.
    Primary,
    /// The one of the new version.
    Canary,
}

impl Role {
    /// The Service's name.
    pub(super) fn name(self, plan: &RoutePlan) -> &str {
        match self {
            Self::Apex => &plan.apex,
            Self::Primary => &plan.primary,
            Self::Canary => &plan.canary,
        }
    }

    /// Its own of what all three have.
    pub(super) const fn of<T>(self, [apex, primary, canary]: &[T; 3]) -> &T {
        match self {
            Self::Apex => apex,
            Self::Primary => primary,
            Self::Canary => canary,
        }
    }
}

/// Builds the Service of a role; one that is someone else's gets its selector and port, and no
/// owner.
///
/// Where the target is a Service itself, it is the apex, and what is promoted is the primary: only
/// the canary is made here, unless somebody has changed it since `live` was read.
pub(super) fn service(
    role: Role,
    plan: &RoutePlan,
    target: &Snapshot,
    live: Option<&Value>,
    is_ours: bool,
) -> Option<Value> {
    let Some(selector) = &target.selector else {
        return copy(role, plan, target, live);
    };
    let template = target.template.as_ref().ok();
    let pod = template.and_then(|template| template.content.pod());
    let value = match role {
        Role::Apex | Role::Primary => selector.primary_value(),
        Role::Canary => selector.value.clone(),
    };
    let name = role.name(plan);
    let mut spec = json!({
        "selector": { &selector.key: value },
        "ports": ports(plan, pod),
    });
    if is_ours {
        spec["type"] = json!("ClusterIP");
        if plan.service.headless == Some(true) {
            spec["clusterIP"] = json!("None");
        }
        if let Some(preference) = &plan.service.traffic_distribution {
            spec["trafficDistribution"] = json!(preference);
        }
    }
    Some(json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(role, plan, selector, is_ours, name),
        "spec": spec,
    }))
}

/// The target's copy, when this role is one that always has its newest revision; one that the
/// routes cannot lead to is no revision, and is not copied.
fn copy(role: Role, plan: &RoutePlan, target: &Snapshot, live: Option<&Value>) -> Option<Value> {
    let template = target.template.as_ref().ok()?;
    let Content::Service(spec) = &template.content else {
        return None;
    };
    serves(spec, plan).ok()?;
    let place = Place {
        namespace: &plan.namespace,
        name: role.name(plan),
        owner: &plan.owner,
        guard: live.and_then(|live| live["metadata"]["resourceVersion"].as_str()),
    };
    let revision = Revision(template.identity.clone());
    (role == Role::Canary).then(|| service::copy(target, spec, &revision, &place))
}

/// The revision of the target that a Service is a copy of, when it is one.
pub(super) fn released_revision(live: &Value) -> Option<&str> {
    live["metadata"]["labels"][label::RELEASED_REVISION].as_str()
}

/// Whether a Service as target has the port that the routes lead to, or has none at all.
pub(super) fn serves(spec: &Value, plan: &RoutePlan) -> Result<(), String> {
    let ports = spec["ports"].as_array().into_iter().flatten();
    let ports: Vec<u64> = ports.filter_map(|port| port["port"].as_u64()).collect();
    if ports.is_empty() || ports.contains(&u64::from(plan.port)) {
        return Ok(());
    }
    let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
    Err(format!(
        "the target has no port {}, which the routes lead to: add it beside those that it has ({}); \
         `spec.service.port` may change to a port that the promoted version has too",
        plan.port,
        ports.join(", ")
    ))
}

/// Whether a Service is as wanted: selector, revision, each wanted port and annotation; a copy with
/// all else of its spec too.
pub(super) fn stands(live: &Value, wanted: &Value) -> bool {
    let has = |port: &Value| {
        let ports = live["spec"]["ports"].as_array();
        ports
            .into_iter()
            .flatten()
            .any(|found| includes(found, port))
    };
    let is_copy = released_revision(wanted).is_some();
    let fields = wanted["spec"].as_object().into_iter().flatten();
    let mut rest = fields.filter(|(field, _)| is_copy && *field != "ports");
    live["spec"]["selector"] == wanted["spec"]["selector"]
        && released_revision(live) == released_revision(wanted)
        && rest.all(|(field, value)| includes(&live["spec"][field], value))
        && wanted["spec"]["ports"]
            .as_array()
            .into_iter()
            .flatten()
            .all(has)
        && includes(
            &live["metadata"]["annotations"],
            &wanted["metadata"]["annotations"],
        )
}

fn metadata(role: Role, plan: &RoutePlan, selector: &Selector, is_ours: bool, name: &str) -> Value {
    let mut annotations = held();
    let mut metadata = json!({ "name": name, "namespace": plan.namespace });
    if is_ours {
        let asked = match role {
            Role::Apex => &plan.service.apex,
            Role::Primary => &plan.service.primary,
            Role::Canary => &plan.service.canary,
        };
        let CanaryMetadata {
            mut labels,
            annotations: more,
        } = asked.clone().unwrap_or_default();
        labels.insert(selector.key.clone(), name.to_owned());
        annotations.extend(more);
        metadata["labels"] = json!(labels);
        metadata["ownerReferences"] = json!([plan.owner]);
    }
    metadata["annotations"] = json!(annotations);
    metadata
}

/// Annotations that keep other controllers off what a Canary holds.
fn held() -> BTreeMap<String, String> {
    [
        annotation::KUSTOMIZE_RECONCILE,
        annotation::HELM_DRIFT_DETECTION,
    ]
    .map(|key| (key.to_owned(), annotation::DISABLED.to_owned()))
    .into()
}

fn ports(plan: &RoutePlan, pod: Option<&PodSpec>) -> Value {
    let service = &plan.service;
    let name = service.port_name.clone().filter(|name| !name.is_empty());
    let mut main = json!({
        "name": name.unwrap_or_else(|| "http".to_owned()),
        "port": plan.port,
        "protocol": "TCP",
        "targetPort": service.target_port.as_ref().map_or_else(|| json!(plan.port), |port| json!(port)),
    });
    if let Some(protocol) = &service.app_protocol {
        main["appProtocol"] = json!(protocol);
    }
    let mut all = vec![main];
    if service.port_discovery == Some(true) {
        all.extend(pod.into_iter().flat_map(|pod| discovered(plan, pod)));
    }
    json!(all)
}

/// The other ports of the pod's own containers.
fn discovered(plan: &RoutePlan, pod: &PodSpec) -> Vec<Value> {
    let mut found = Vec::new();
    let own = |container: &&Container| !SIDECARS.contains(&container.name.as_str());
    for container in pod.containers.iter().filter(own) {
        for (index, port) in container.ports.iter().flatten().enumerate() {
            let number = port.container_port;
            if number == i32::from(plan.port) || is_target(plan, number, port.name.as_deref()) {
                continue;
            }
            let name = port.name.clone();
            found.push(json!({
                "name": name.unwrap_or_else(|| format!("tcp-{}-{index}", container.name)),
                "port": number,
                "protocol": port.protocol.as_deref().unwrap_or("TCP"),
                "targetPort": number,
            }));
        }
    }
    found
}

fn is_target(plan: &RoutePlan, number: i32, name: Option<&str>) -> bool {
    use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
    match &plan.service.target_port {
        Some(IntOrString::Int(port)) => *port == number,
        Some(IntOrString::String(port)) => Some(port.as_str()) == name,
        None => false,
    }
}

/// The kind of a mesh's rules.
pub(super) fn destination_rules() -> ApiResource {
    let kind = GroupVersionKind::gvk("networking.istio.io", "v1", "DestinationRule");
    ApiResource::from_gvk_with_plural(&kind, "destinationrules")
}

/// Builds the DestinationRule of one of the two roles.
pub(super) fn destination_rule(role: Role, plan: &RoutePlan) -> Value {
    let name = role.name(plan);
    let mut spec = json!({ "host": name });
    if let Some(policy) = &plan.service.traffic_policy {
        spec["trafficPolicy"] = json!(policy);
    }
    json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": {
            "name": name,
            "namespace": plan.namespace,
            "annotations": held(),
            "ownerReferences": [plan.owner],
        },
        "spec": spec,
    })
}

/// Whether an object was made by this Canary.
pub(super) fn is_owned(live: &Value, owner: &OwnerReference) -> bool {
    live["metadata"]["ownerReferences"]
        .as_array()
        .into_iter()
        .flatten()
        .any(|reference| reference["uid"] == owner.uid.as_str())
}
