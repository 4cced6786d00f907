//! Deployments. Pure.

use std::collections::BTreeMap;

use fairlead_rollout::Readiness;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStatus};
use kube::ResourceExt;
use serde_json::{Value, json};

use super::controller::{Controller, count, readiness};
use super::history::{Keeper, Kept, NUMBER};

fn status(deployment: &Deployment) -> DeploymentStatus {
    deployment.status.clone().unwrap_or_default()
}

impl Controller for Deployment {
    const KEEPER: Keeper = Keeper::ReplicaSet;

    fn match_labels(&self) -> BTreeMap<String, String> {
        let spec = self.spec.as_ref();
        spec.and_then(|spec| spec.selector.match_labels.clone())
            .unwrap_or_default()
    }

    fn observed_generation(&self) -> Option<i64> {
        self.status.as_ref()?.observed_generation
    }

    fn desired(&self) -> u32 {
        let replicas = self.spec.as_ref().and_then(|spec| spec.replicas);
        count(Some(replicas.unwrap_or(1)))
    }

    fn updated(&self) -> u32 {
        count(status(self).updated_replicas)
    }

    fn readiness(&self) -> Readiness {
        let status = status(self);
        let stuck = status.conditions.iter().flatten().find(|condition| {
            condition.type_ == "Progressing"
                && condition.reason.as_deref() == Some("ProgressDeadlineExceeded")
        });
        if let Some(condition) = stuck {
            return Readiness::Stuck(condition.message.clone().unwrap_or_default());
        }
        let updated = count(status.updated_replicas);
        let old = count(status.replicas).saturating_sub(updated);
        readiness(
            self.desired(),
            updated,
            old,
            count(status.available_replicas),
        )
    }

    fn is_current(&self, kept: &Kept, _newest: i64) -> bool {
        self.annotations().get(NUMBER) == Some(&kept.number.to_string())
    }

    fn settings(&self) -> Value {
        let spec = self.spec.clone().unwrap_or_default();
        json!(DeploymentSpec {
            min_ready_seconds: spec.min_ready_seconds,
            progress_deadline_seconds: spec.progress_deadline_seconds,
            revision_history_limit: spec.revision_history_limit,
            strategy: spec.strategy,
            ..DeploymentSpec::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: &Value, expected: &str) {
        let deployment: Deployment = serde_json::from_value(json!({
            "metadata": { "name": "a" },
            "spec": { "replicas": 2, "selector": {}, "template": {} },
            "status": status,
        }))
        .unwrap();
        let found = match deployment.readiness() {
            Readiness::Ready => "ready".to_owned(),
            Readiness::Pending(why) | Readiness::Stuck(why) => why,
        };
        assert_eq!(found, expected, "{status}");
    }

    #[test]
    fn readiness_follows_the_rollout_of_the_deployment() {
        let full = json!({ "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2 });
        check(&full, "ready");
        let with = |field: &str, value: Value| {
            let mut status = full.clone();
            status[field] = value;
            status
        };
        check(
            &with("updatedReplicas", json!(1)),
            "1 of 2 pods are updated",
        );
        check(&with("replicas", json!(3)), "1 old pods are still there");
        check(
            &with("availableReplicas", json!(0)),
            "0 of 2 pods are available",
        );
        let late = json!([{
            "type": "Progressing", "status": "False",
            "reason": "ProgressDeadlineExceeded", "message": "too late",
        }]);
        check(&with("conditions", late), "too late");
    }

    #[test]
    fn the_current_template_is_the_one_that_the_deployment_numbers() {
        let deployment: Deployment = serde_json::from_value(json!({
            "metadata": { "name": "a", "annotations": { NUMBER: "2" } },
        }))
        .unwrap();
        let kept = |number| Kept {
            name: "a-1".to_owned(),
            number,
            template: super::super::Template {
                identity: "x".to_owned(),
                label: None,
                content: k8s_openapi::api::core::v1::PodTemplateSpec::default().into(),
            },
        };
        assert!(deployment.is_current(&kept(2), 3));
        assert!(!deployment.is_current(&kept(3), 3));
    }
}
