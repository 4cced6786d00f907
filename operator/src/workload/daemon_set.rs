//! DaemonSets: they run on each node or, at rest, on none, by a node selector. Pure.

use std::collections::BTreeMap;

use fairlead_rollout::Readiness;
use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetSpec};
use serde_json::{Value, json};

use super::SCALE_TO_ZERO;
use super::controller::{Controller, Scaling, count, readiness, refuse_on_delete};
use super::history::{Keeper, Kept};

impl Controller for DaemonSet {
    const KEEPER: Keeper = Keeper::ControllerRevision;

    fn match_labels(&self) -> BTreeMap<String, String> {
        let spec = self.spec.as_ref();
        spec.and_then(|spec| spec.selector.match_labels.clone())
            .unwrap_or_default()
    }

    fn observed_generation(&self) -> Option<i64> {
        self.status.as_ref()?.observed_generation
    }

    /// Nodes; at least one, since only its node selector says that it rests.
    fn desired(&self) -> u32 {
        let pod = self
            .spec
            .as_ref()
            .and_then(|spec| spec.template.spec.as_ref());
        let nodes = pod.and_then(|pod| pod.node_selector.as_ref());
        if nodes.is_some_and(|nodes| nodes.contains_key(SCALE_TO_ZERO)) {
            return 0;
        }
        let status = self.status.as_ref();
        count(status.map(|status| status.desired_number_scheduled)).max(1)
    }

    fn updated(&self) -> u32 {
        count(
            self.status
                .as_ref()
                .and_then(|status| status.updated_number_scheduled),
        )
    }

    fn readiness(&self) -> Readiness {
        let status = self.status.clone().unwrap_or_default();
        let wanted = count(Some(status.desired_number_scheduled));
        if wanted == 0 && self.desired() > 0 {
            return Readiness::Pending("no node takes its pods".to_owned());
        }
        let updated = count(status.updated_number_scheduled);
        let old = count(Some(status.current_number_scheduled)).saturating_sub(updated);
        readiness(wanted, updated, old, count(status.number_available))
    }

    fn is_current(&self, kept: &Kept, newest: i64) -> bool {
        kept.number == newest
    }

    fn settings(&self) -> Value {
        let spec = self.spec.clone().unwrap_or_default();
        json!(DaemonSetSpec {
            min_ready_seconds: spec.min_ready_seconds,
            revision_history_limit: spec.revision_history_limit,
            update_strategy: spec.update_strategy,
            ..DaemonSetSpec::default()
        })
    }

    fn refusal(&self) -> Option<String> {
        let strategy = self.spec.as_ref()?.update_strategy.as_ref()?;
        refuse_on_delete("DaemonSet", strategy.type_.as_deref())
    }

    fn size(_replicas: u32) -> Value {
        json!({})
    }

    fn scaling(replicas: u32) -> Scaling {
        let rests = (replicas == 0).then_some("true");
        let nodes = json!({ "nodeSelector": { SCALE_TO_ZERO: rests } });
        Scaling::Object(json!({ "template": { "spec": nodes } }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn daemon_set(nodes: &Value, status: &Value) -> DaemonSet {
        serde_json::from_value(json!({
            "metadata": { "name": "a" },
            "spec": {
                "selector": {},
                "template": { "spec": { "containers": [], "nodeSelector": nodes } },
            },
            "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn it_rests_by_its_node_selector_and_not_for_want_of_nodes() {
        let resting = daemon_set(&json!({ SCALE_TO_ZERO: "true" }), &json!({}));
        assert_eq!(resting.desired(), 0);
        let nowhere = daemon_set(&json!({ "disk": "none" }), &json!({}));
        assert_eq!(nowhere.desired(), 1);
        assert!(matches!(nowhere.readiness(), Readiness::Pending(_)));
    }

    #[test]
    fn scaling_sets_and_removes_the_node_selector() {
        let patch = |replicas| match DaemonSet::scaling(replicas) {
            Scaling::Object(patch) => patch["template"]["spec"]["nodeSelector"].clone(),
            Scaling::Subresource(_) => unreachable!("a DaemonSet has no scale"),
        };
        assert_eq!(patch(0), json!({ SCALE_TO_ZERO: "true" }));
        assert_eq!(patch(3), json!({ SCALE_TO_ZERO: null }));
    }

    #[test]
    fn readiness_counts_nodes() {
        let status = |updated: u32, available: u32| {
            json!({
                "desiredNumberScheduled": 3, "currentNumberScheduled": 3, "numberMisscheduled": 0,
                "numberReady": available, "updatedNumberScheduled": updated,
                "numberAvailable": available,
            })
        };
        let readiness =
            |updated, available| daemon_set(&json!({}), &status(updated, available)).readiness();
        assert_eq!(readiness(3, 3), Readiness::Ready);
        assert_eq!(
            readiness(1, 3),
            Readiness::Pending("1 of 3 pods are updated".to_owned())
        );
        assert_eq!(
            readiness(3, 0),
            Readiness::Pending("0 of 3 pods are available".to_owned())
        );
    }

    #[test]
    fn one_that_nothing_rolls_out_is_refused_with_the_fix() {
        let mut set = daemon_set(&json!({}), &json!({}));
        assert_eq!(set.refusal(), None);
        let strategy = serde_json::from_value(json!({ "type": "OnDelete" })).unwrap();
        set.spec.as_mut().unwrap().update_strategy = Some(strategy);
        assert!(set.refusal().unwrap().contains("RollingUpdate"));
    }
}
