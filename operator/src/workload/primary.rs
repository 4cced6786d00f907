//! The copy of a workload that serves the promoted revision. Pure.

use std::collections::BTreeMap;

use fairlead_crds::annotation;
use k8s_openapi::api::core::v1::{PodSpec, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::{Value, json};

use super::controller::Controller;
use super::{Names, PrimaryPlan, Selector};

/// The copy of the target that serves the promoted revision.
pub(super) fn build<K: Controller>(
    names: &Names,
    plan: &PrimaryPlan<'_>,
    mut template: PodTemplateSpec,
    selector: &Selector,
) -> Result<Value, serde_json::Error> {
    let PrimaryPlan {
        target,
        content: _,
        revision,
        replicas,
        owner,
        guard,
    } = plan;
    let Selector { key, .. } = selector;
    let value = selector.primary_value();
    let meta = template.metadata.get_or_insert_default();
    meta.labels
        .get_or_insert_default()
        .insert(key.clone(), value.clone());
    // A revision may differ by its configs alone: this restarts the pods then too.
    meta.annotations
        .get_or_insert_default()
        .insert(annotation::REVISION.to_owned(), revision.0.clone());
    if let Some(spec) = &mut template.spec {
        keep_apart(spec, selector);
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
    let metadata = json!({
        "name": names.primary,
        "namespace": names.namespace,
        "labels": labels,
        "annotations": annotations,
        "ownerReferences": [owner],
        "resourceVersion": guard.as_deref().unwrap_or(crate::ABSENT),
    });
    let mut spec = target.settings["spec"].clone();
    json_patch::merge(&mut spec, &K::size(*replicas));
    spec["selector"] = json!({ "matchLabels": { key: value } });
    spec["template"] = serde_json::to_value(template)?;
    Ok(json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": metadata,
        "spec": spec,
    }))
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
    use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};

    use super::*;
    use crate::workload::Snapshot;

    fn primary(template: Value) -> Value {
        primary_of::<Deployment>(template)
    }

    fn primary_of<K: Controller>(template: Value) -> Value {
        let target = Snapshot {
            resource_version: "1".to_owned(),
            desired: 2,
            replica_managers: Vec::new(),
            updated: 2,
            readiness: Readiness::Ready,
            observed: true,
            template: Err("not looked at".to_owned()),
            selector: Some(Selector {
                key: "app".to_owned(),
                value: "podinfo".to_owned(),
            }),
            revision: None,
            settings: json!({
                "labels": { "app": "podinfo", "team": "a" },
                "annotations": { "note": "b" },
                "spec": { "minReadySeconds": 3, "selector": {}, "template": {} },
            }),
        };
        let revision = Revision("abc".to_owned());
        let template: PodTemplateSpec = serde_json::from_value(template).unwrap();
        let plan = PrimaryPlan {
            target: &target,
            content: template.clone().into(),
            revision: &revision,
            replicas: 2,
            owner: Default::default(),
            guard: Some("7".to_owned()),
        };
        let selector = target.selector.as_ref().unwrap();
        build::<K>(&Names::new("test", "podinfo"), &plan, template, selector).unwrap()
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
    fn only_kinds_with_replicas_get_some() {
        let template = json!({ "metadata": {} });
        let deployment = primary_of::<Deployment>(template.clone());
        assert_eq!(deployment["kind"], "Deployment");
        assert_eq!(deployment["spec"]["replicas"], 2);
        let daemon_set = primary_of::<DaemonSet>(template);
        assert_eq!(daemon_set["apiVersion"], "apps/v1");
        assert!(daemon_set["spec"]["replicas"].is_null());
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
