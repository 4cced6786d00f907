//! Fields that are accepted, as Flagger's schema does, and have no effect. Pure.

use fairlead_crds::canary::{Canary, CanaryService, CanarySpec};

use crate::router::{Provider, RoutePlan};
use crate::workload::Kind;

type Field = (bool, &'static str);

/// The fields that a Canary sets in vain.
pub(super) fn inert(canary: &Canary, kind: Kind, route: &RoutePlan) -> Vec<&'static str> {
    let spec = &canary.spec;
    let service = spec.service.clone().unwrap_or_default();
    let mut fields = of_all(spec, &service);
    fields.push((
        spec.analysis.session_affinity.is_some() && route.affinity.is_none(),
        "spec.analysis.sessionAffinity",
    ));
    if kind == Kind::Service {
        fields.extend(without_pods(spec, &service));
    }
    match route.provider {
        Provider::Istio => fields.extend(gateway_only(&service)),
        Provider::GatewayApi { .. } => fields.extend(mesh_only(&service)),
        Provider::Kubernetes => {
            fields.extend(gateway_only(&service));
            fields.extend(mesh_only(&service));
            fields.extend(routed_only(spec, &service));
        }
    }
    let set = fields.into_iter();
    set.filter_map(|(is_set, field)| is_set.then_some(field))
        .collect()
}

/// What to do about a field that is set in vain.
pub fn instead(field: &str) -> &'static str {
    match field {
        "spec.ingressRef" | "spec.routeRef" | "spec.upstreamRef" => {
            "leave it out: routes are VirtualServices or HTTPRoutes, as `spec.service` says"
        }
        "spec.service.meshName" | "spec.service.backends" => {
            "leave it out: it concerned App Mesh alone"
        }
        "spec.autoscalerRef.primaryScalerQueries" => {
            "leave it out: a HorizontalPodAutoscaler has no queries"
        }
        "spec.service.mirror" | "spec.service.gatewayRefs" | "spec.service.backendTimeout" => {
            "leave it out, or set `spec.provider: gatewayapi:v1`"
        }
        "spec.service.gateways"
        | "spec.service.delegation"
        | "spec.service.retries"
        | "spec.service.corsPolicy"
        | "spec.service.trafficPolicy" => "leave it out, or set `spec.provider: istio`",
        "spec.service.hosts"
        | "spec.service.match"
        | "spec.service.rewrite"
        | "spec.service.timeout"
        | "spec.service.headers"
        | "spec.analysis.match"
        | "spec.analysis.weightScope"
        | "spec.analysis.capacity"
        | "spec.analysis.stepWeight"
        | "spec.analysis.stepWeights"
        | "spec.analysis.steps"
        | "spec.analysis.mirror" => {
            "leave it out, or set `spec.provider` to one with routes: istio or gatewayapi:v1"
        }
        "spec.service.portName"
        | "spec.service.targetPort"
        | "spec.service.portDiscovery"
        | "spec.service.headless"
        | "spec.service.trafficDistribution"
        | "spec.service.primary"
        | "spec.service.canary" => "leave it out: the copies of a Service are as the Service is",
        "spec.analysis.primaryReadyThreshold" | "spec.analysis.canaryReadyThreshold" => {
            "leave it out: a Service does not say how many endpoints it should have"
        }
        _ => "leave it out: nothing acts on it yet",
    }
}

fn of_all(spec: &CanarySpec, service: &CanaryService) -> Vec<Field> {
    let scaler = spec.autoscaler_ref.clone().unwrap_or_default();
    vec![
        (spec.ingress_ref.is_some(), "spec.ingressRef"),
        (spec.route_ref.is_some(), "spec.routeRef"),
        (spec.upstream_ref.is_some(), "spec.upstreamRef"),
        (service.mesh_name.is_some(), "spec.service.meshName"),
        (!service.backends.is_empty(), "spec.service.backends"),
        (
            scaler.kind == "HorizontalPodAutoscaler" && !scaler.primary_scaler_queries.is_empty(),
            "spec.autoscalerRef.primaryScalerQueries",
        ),
    ]
}

/// What only Services of our own making have, and only pods that are known.
fn without_pods(spec: &CanarySpec, service: &CanaryService) -> Vec<Field> {
    let analysis = &spec.analysis;
    vec![
        (service.port_name.is_some(), "spec.service.portName"),
        (service.target_port.is_some(), "spec.service.targetPort"),
        (
            service.port_discovery == Some(true),
            "spec.service.portDiscovery",
        ),
        (service.headless == Some(true), "spec.service.headless"),
        (
            service.traffic_distribution.is_some(),
            "spec.service.trafficDistribution",
        ),
        (service.primary.is_some(), "spec.service.primary"),
        (service.canary.is_some(), "spec.service.canary"),
        (
            analysis.primary_ready_threshold.is_some(),
            "spec.analysis.primaryReadyThreshold",
        ),
        (
            analysis.canary_ready_threshold.is_some(),
            "spec.analysis.canaryReadyThreshold",
        ),
    ]
}

/// What only HTTPRoutes have.
fn gateway_only(service: &CanaryService) -> Vec<Field> {
    vec![
        (!service.mirror.is_empty(), "spec.service.mirror"),
        (!service.gateway_refs.is_empty(), "spec.service.gatewayRefs"),
        (
            service.backend_timeout.is_some(),
            "spec.service.backendTimeout",
        ),
    ]
}

/// What only VirtualServices and DestinationRules have.
fn mesh_only(service: &CanaryService) -> Vec<Field> {
    vec![
        (!service.gateways.is_empty(), "spec.service.gateways"),
        (service.delegation.is_some(), "spec.service.delegation"),
        (service.retries.is_some(), "spec.service.retries"),
        (service.cors_policy.is_some(), "spec.service.corsPolicy"),
        (
            service.traffic_policy.is_some(),
            "spec.service.trafficPolicy",
        ),
    ]
}

/// What only routes have.
fn routed_only(spec: &CanarySpec, service: &CanaryService) -> Vec<Field> {
    let analysis = &spec.analysis;
    vec![
        (!service.hosts.is_empty(), "spec.service.hosts"),
        (!service.r#match.is_empty(), "spec.service.match"),
        (service.rewrite.is_some(), "spec.service.rewrite"),
        (service.timeout.is_some(), "spec.service.timeout"),
        (service.headers.is_some(), "spec.service.headers"),
        (!analysis.r#match.is_empty(), "spec.analysis.match"),
        (analysis.weight_scope.is_some(), "spec.analysis.weightScope"),
        (analysis.capacity.is_some(), "spec.analysis.capacity"),
        (analysis.step_weight.is_some(), "spec.analysis.stepWeight"),
        (
            !analysis.step_weights.is_empty(),
            "spec.analysis.stepWeights",
        ),
        (!analysis.steps.is_empty(), "spec.analysis.steps"),
        (analysis.mirror == Some(true), "spec.analysis.mirror"),
    ]
}
