//! Fields that are accepted, as Flagger's schema does, and have no effect. Pure.

use fairlead_crds::canary::{Canary, CanaryService, CanarySpec};

use crate::router::Provider;

type Field = (bool, &'static str);

/// The fields that a Canary sets in vain.
pub(super) fn inert(canary: &Canary, provider: Provider) -> Vec<&'static str> {
    let spec = &canary.spec;
    let service = spec.service.clone().unwrap_or_default();
    let mut fields = of_all(spec, &service);
    match provider {
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

fn of_all(spec: &CanarySpec, service: &CanaryService) -> Vec<Field> {
    let scaler = spec.autoscaler_ref.clone().unwrap_or_default();
    vec![
        (
            spec.analysis.session_affinity.is_some(),
            "spec.analysis.sessionAffinity",
        ),
        (spec.ingress_ref.is_some(), "spec.ingressRef"),
        (spec.route_ref.is_some(), "spec.routeRef"),
        (spec.upstream_ref.is_some(), "spec.upstreamRef"),
        (service.mesh_name.is_some(), "spec.service.meshName"),
        (!service.backends.is_empty(), "spec.service.backends"),
        (
            !scaler.primary_scaler_queries.is_empty(),
            "spec.autoscalerRef.primaryScalerQueries",
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
        (analysis.step_weight.is_some(), "spec.analysis.stepWeight"),
        (
            !analysis.step_weights.is_empty(),
            "spec.analysis.stepWeights",
        ),
        (analysis.mirror == Some(true), "spec.analysis.mirror"),
    ]
}
