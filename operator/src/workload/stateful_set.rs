//! StatefulSets: the primary has volumes of its own, made from the same claims. Pure.

use std::collections::BTreeMap;

use fairlead_rollout::Readiness;
use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetSpec};
use serde_json::{Value, json};

use super::controller::{Controller, count, readiness, refuse_on_delete};
use super::history::{Keeper, Kept};

impl Controller for StatefulSet {
    const KEEPER: Keeper = Keeper::ControllerRevision;

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
        count(
            self.status
                .as_ref()
                .and_then(|status| status.updated_replicas),
        )
    }

    fn readiness(&self) -> Readiness {
        let status = self.status.clone().unwrap_or_default();
        let updated = self.updated();
        let old = count(Some(status.replicas)).saturating_sub(updated);
        readiness(
            self.desired(),
            updated,
            old,
            count(status.available_replicas),
        )
    }

    fn is_current(&self, kept: &Kept, _newest: i64) -> bool {
        let status = self.status.as_ref();
        status.and_then(|status| status.update_revision.as_ref()) == Some(&kept.name)
    }

    fn settings(&self) -> Value {
        let spec = self.spec.clone().unwrap_or_default();
        json!(StatefulSetSpec {
            min_ready_seconds: spec.min_ready_seconds,
            ordinals: spec.ordinals,
            persistent_volume_claim_retention_policy: spec.persistent_volume_claim_retention_policy,
            pod_management_policy: spec.pod_management_policy,
            revision_history_limit: spec.revision_history_limit,
            service_name: spec.service_name,
            update_strategy: spec.update_strategy,
            volume_claim_templates: spec.volume_claim_templates,
            ..StatefulSetSpec::default()
        })
    }

    fn refusal(&self) -> Option<String> {
        let strategy = self.spec.as_ref()?.update_strategy.as_ref()?;
        refuse_on_delete("StatefulSet", strategy.type_.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Template;
    use super::*;

    #[test]
    fn the_current_template_is_the_one_that_updates_go_to() {
        let set: StatefulSet = serde_json::from_value(json!({
            "metadata": { "name": "a" },
            "status": { "replicas": 1, "currentRevision": "a-1", "updateRevision": "a-2" },
        }))
        .unwrap();
        let kept = |name: &str| Kept {
            name: name.to_owned(),
            number: 1,
            template: Template {
                identity: "x".to_owned(),
                label: None,
                content: k8s_openapi::api::core::v1::PodTemplateSpec::default().into(),
            },
        };
        assert!(set.is_current(&kept("a-2"), 9));
        assert!(!set.is_current(&kept("a-1"), 1));
    }

    #[test]
    fn the_primary_gets_the_claims_and_the_governing_service() {
        let set: StatefulSet = serde_json::from_value(json!({
            "metadata": { "name": "a" },
            "spec": {
                "selector": {}, "template": {}, "serviceName": "peers",
                "volumeClaimTemplates": [{ "metadata": { "name": "data" } }],
            },
        }))
        .unwrap();
        let settings = set.settings();
        assert_eq!(settings["serviceName"], "peers");
        assert_eq!(
            settings["volumeClaimTemplates"][0]["metadata"]["name"],
            "data"
        );
    }
}
