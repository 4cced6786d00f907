//! The primary's HorizontalPodAutoscaler: a copy of the target's, kept in step at all times. Pure.

use fairlead_crds::annotation;
use fairlead_crds::canary::ScalerReplicas;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde_json::{Value, json};

/// The copy for the primary of what `target` scales.
pub fn primary(
    target: &Value,
    workload: &str,
    limits: ScalerReplicas,
    owner: &OwnerReference,
) -> Value {
    let mut spec = target["spec"].clone();
    spec["scaleTargetRef"]["name"] = json!(workload);
    if let Some(fewest) = limits.min_replicas {
        spec["minReplicas"] = json!(fewest);
    }
    if let Some(most) = limits.max_replicas {
        spec["maxReplicas"] = json!(most);
    }
    let name = target["metadata"]["name"].as_str().unwrap_or_default();
    json!({
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {
            "name": format!("{name}-primary"),
            "namespace": target["metadata"]["namespace"],
            "annotations": { annotation::KUSTOMIZE_RECONCILE: annotation::DISABLED },
            "ownerReferences": [owner],
        },
        "spec": spec,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_copy_scales_the_primary_within_its_own_limits() {
        let target = json!({
            "metadata": { "name": "podinfo", "namespace": "test" },
            "spec": {
                "scaleTargetRef": { "kind": "Deployment", "name": "podinfo" },
                "minReplicas": 2,
                "maxReplicas": 4,
                "metrics": [{ "type": "Resource" }],
            },
        });
        let limits = ScalerReplicas {
            min_replicas: None,
            max_replicas: Some(9),
        };
        let copy = primary(
            &target,
            "podinfo-primary",
            limits,
            &OwnerReference::default(),
        );
        assert_eq!(copy["metadata"]["name"], "podinfo-primary");
        assert_eq!(copy["spec"]["scaleTargetRef"]["name"], "podinfo-primary");
        assert_eq!(copy["spec"]["minReplicas"], 2);
        assert_eq!(copy["spec"]["maxReplicas"], 9);
        assert_eq!(copy["spec"]["metrics"], target["spec"]["metrics"]);
    }
}
