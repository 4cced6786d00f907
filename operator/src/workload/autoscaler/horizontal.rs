//! HorizontalPodAutoscalers. Pure.

use serde_json::{Value, json};

use super::{Autoscaler, Scaled, limit};

/// The spec of the primary's.
pub(super) fn primary(autoscaler: &Autoscaler, scaler: &Value, scaled: Scaled<'_>) -> Value {
    let mut spec = scaler["spec"].clone();
    spec["scaleTargetRef"]["name"] = json!(scaled.primary);
    limit(&mut spec, autoscaler.limits, ["minReplicas", "maxReplicas"]);
    spec
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use fairlead_crds::canary::ScalerReplicas;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

    use super::super::Kind;
    use super::*;

    #[test]
    fn the_copy_scales_the_primary_within_its_own_limits() {
        let scaler = json!({
            "metadata": { "name": "podinfo", "namespace": "test" },
            "spec": {
                "scaleTargetRef": { "kind": "Deployment", "name": "podinfo" },
                "minReplicas": 2,
                "maxReplicas": 4,
                "metrics": [{ "type": "Resource" }],
            },
        });
        let autoscaler = Autoscaler {
            kind: Kind::HorizontalPodAutoscaler,
            name: "podinfo".to_owned(),
            limits: ScalerReplicas {
                min_replicas: None,
                max_replicas: Some(9),
            },
            queries: BTreeMap::new(),
        };
        let scaled = Scaled {
            target: "podinfo",
            primary: "podinfo-primary",
        };
        let copy = autoscaler.primary(&scaler, scaled, &OwnerReference::default());
        assert_eq!(copy["apiVersion"], "autoscaling/v2");
        assert_eq!(copy["metadata"]["name"], "podinfo-primary");
        assert_eq!(copy["spec"]["scaleTargetRef"]["name"], "podinfo-primary");
        assert_eq!(copy["spec"]["minReplicas"], 2);
        assert_eq!(copy["spec"]["maxReplicas"], 9);
        assert_eq!(copy["spec"]["metrics"], scaler["spec"]["metrics"]);
        assert_eq!(autoscaler.minimum(&scaler), 2);
        assert_eq!(autoscaler.hold(&scaler, true), None);
    }
}
