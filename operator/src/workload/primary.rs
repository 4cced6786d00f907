//! The copy of a Deployment that serves the promoted revision. Pure.

use std::collections::BTreeMap;

use fairlead_crds::annotation;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec};
use k8s_openapi::api::core::v1::PodSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use crate::workload::{Names, PrimaryPlan, Selector};

/// The copy of the target that serves the promoted revision.
pub(super) fn build(
    names: &Names,
    plan: PrimaryPlan<'_>,
) -> Result<serde_json::Value, serde_json::Error> {
    let PrimaryPlan {
        target,
        mut template,
        revision,
        replicas,
        owner,
        guard,
    } = plan;
    let Selector { key, .. } = &target.selector;
    let value = target.selector.primary_value();
    let meta = template.metadata.get_or_insert_default();
    meta.labels
        .get_or_insert_default()
        .insert(key.clone(), value.clone());
    // A revision may differ by its configs alone: this restarts the pods then too.
    meta.annotations
        .get_or_insert_default()
        .insert(annotation::REVISION.to_owned(), revision.0.clone());
    if let Some(spec) = &mut template.spec {
        keep_apart(spec, &target.selector);
    }
    let mut labels: BTreeMap<String, String> =
        serde_json::from_value(target.settings["labels"].clone())?;
    if labels.contains_key(key) {
        labels.insert(key.clone(), value.clone());
    }
    let mut annotations: BTreeMap<String, String> =
        serde_json::from_value(target.settings["annotations"].clone())?;
    annotations.insert(annotation::REVISION.to_owned(), revision.0.clone());
    annotations.insert(
        annotation::KUSTOMIZE_RECONCILE.to_owned(),
        annotation::DISABLED.to_owned(),
    );
    let settings: DeploymentSpec = serde_json::from_value(target.settings["spec"].clone())?;
    let deployment = Deployment {
        metadata: ObjectMeta {
            name: Some(names.primary.clone()),
            namespace: Some(names.namespace.clone()),
            labels: Some(labels),
            annotations: Some(annotations),
            owner_references: Some(vec![owner]),
            resource_version: guard,
            ..ObjectMeta::default()
        },
        spec: Some(DeploymentSpec {
            replicas: Some(i32::try_from(replicas).unwrap_or(i32::MAX)),
            selector: LabelSelector {
                match_labels: Some([(key.clone(), value)].into()),
                ..LabelSelector::default()
            },
            template,
            ..settings
        }),
        status: None,
    };
    serde_json::to_value(&deployment)
}

/// Makes anti-affinity and spreading of the target's pods mean the primary's own pods.
fn keep_apart(pod: &mut PodSpec, selector: &Selector) {
    let rename = |found: &mut Option<LabelSelector>| {
        let Some(found) = found else { return };
        if let Some(value) = found
            .match_labels
            .as_mut()
            .and_then(|all| all.get_mut(&selector.key))
            && *value == selector.value
        {
            *value = selector.primary_value();
        }
        for expression in found.match_expressions.iter_mut().flatten() {
            if expression.key != selector.key {
                continue;
            }
            for value in expression.values.iter_mut().flatten() {
                if *value == selector.value {
                    *value = selector.primary_value();
                }
            }
        }
    };
    for constraint in pod.topology_spread_constraints.iter_mut().flatten() {
        rename(&mut constraint.label_selector);
    }
    let Some(anti) = pod
        .affinity
        .as_mut()
        .and_then(|all| all.pod_anti_affinity.as_mut())
    else {
        return;
    };
    for term in anti
        .required_during_scheduling_ignored_during_execution
        .iter_mut()
        .flatten()
    {
        rename(&mut term.label_selector);
    }
    for weighted in anti
        .preferred_during_scheduling_ignored_during_execution
        .iter_mut()
        .flatten()
    {
        rename(&mut weighted.pod_affinity_term.label_selector);
    }
}

#[cfg(test)]
mod tests {
    use fairlead_rollout::{Readiness, Revision};
    use serde_json::{Value, json};

    use super::*;
    use crate::workload::Snapshot;

    fn primary(template: Value) -> Value {
        let target = Snapshot {
            resource_version: "1".to_owned(),
            desired: 2,
            replica_managers: Vec::new(),
            updated: 2,
            readiness: Readiness::Ready,
            template: Err("not looked at".to_owned()),
            selector: Selector {
                key: "app".to_owned(),
                value: "podinfo".to_owned(),
            },
            revision: None,
            settings: json!({
                "labels": { "app": "podinfo", "team": "a" },
                "annotations": { "note": "b" },
                "spec": { "minReadySeconds": 3, "selector": {}, "template": {} },
            }),
        };
        let revision = Revision("abc".to_owned());
        let plan = PrimaryPlan {
            target: &target,
            template: serde_json::from_value(template).unwrap(),
            revision: &revision,
            replicas: 2,
            owner: Default::default(),
            guard: Some("7".to_owned()),
        };
        build(&Names::new("test", "podinfo"), plan).unwrap()
    }

    #[test]
    fn the_primary_has_pods_of_its_own_and_the_targets_settings() {
        let labels = json!({ "app": "podinfo", "version": "v1" });
        let primary = primary(json!({ "metadata": { "labels": labels } }));
        assert_eq!(primary["metadata"]["name"], "podinfo-primary");
        assert_eq!(primary["metadata"]["resourceVersion"], "7");
        assert_eq!(
            primary["metadata"]["labels"],
            json!({ "app": "podinfo-primary", "team": "a" })
        );
        assert_eq!(primary["metadata"]["annotations"]["note"], "b");
        assert_eq!(primary["spec"]["minReadySeconds"], 3);
        assert_eq!(
            primary["spec"]["selector"]["matchLabels"],
            json!({ "app": "podinfo-primary" })
        );
        let pod = &primary["spec"]["template"]["metadata"];
        assert_eq!(
            pod["labels"],
            json!({ "app": "podinfo-primary", "version": "v1" })
        );
        assert_eq!(pod["annotations"][annotation::REVISION], "abc");
    }

    #[test]
    fn the_primarys_pods_keep_apart_from_each_other() {
        let apart = json!({ "matchLabels": { "app": "podinfo" } });
        let among = json!({ "matchExpressions": [
            { "key": "app", "operator": "In", "values": ["podinfo", "other"] },
        ] });
        let primary = primary(json!({ "spec": {
            "containers": [],
            "topologySpreadConstraints": [{
                "maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
                "labelSelector": apart,
            }],
            "affinity": { "podAntiAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": [
                    { "topologyKey": "host", "labelSelector": among },
                ],
            } },
        } }));
        let pod = &primary["spec"]["template"]["spec"];
        let spread = &pod["topologySpreadConstraints"][0]["labelSelector"];
        assert_eq!(spread["matchLabels"]["app"], "podinfo-primary");
        let anti = &pod["affinity"]["podAntiAffinity"];
        let term = &anti["requiredDuringSchedulingIgnoredDuringExecution"][0];
        let values = &term["labelSelector"]["matchExpressions"][0]["values"];
        assert_eq!(values, &json!(["podinfo-primary", "other"]));
    }
}
