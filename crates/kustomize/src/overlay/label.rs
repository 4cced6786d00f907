//! Labels and annotations on objects, on the templates inside them, and in their selectors.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::spec::{FieldSpec, Kustomization, LabelSet};
use crate::field::{self, Missing};
use crate::resource::{Id, Resource};

type Strings = BTreeMap<String, String>;

/// Which fields beside an object's own labels take part.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    Object,
    Templates,
    Selectors,
}

/// Applies `labels` and `commonLabels`.
pub(super) fn add_labels(resources: &mut [Resource], kustomization: &Kustomization) {
    for set in &kustomization.labels {
        let reach = if set.include_selectors {
            Reach::Selectors
        } else if set.include_templates {
            Reach::Templates
        } else {
            Reach::Object
        };
        add_set(resources, &set.pairs, reach, set);
    }
    let none = LabelSet::default();
    add_set(
        resources,
        &kustomization.common_labels,
        Reach::Selectors,
        &none,
    );
}

/// Applies `commonAnnotations`: objects and pod templates.
pub(super) fn add_annotations(resources: &mut [Resource], annotations: &Strings) {
    if annotations.is_empty() {
        return;
    }
    for resource in resources {
        insert_at(
            resource,
            "metadata/annotations",
            Missing::Create,
            annotations,
        );
        let id = resource.id();
        for path in template_metadata(&id) {
            insert_at(
                resource,
                &format!("{path}/annotations"),
                Missing::Create,
                annotations,
            );
        }
    }
}

fn add_set(resources: &mut [Resource], pairs: &Strings, reach: Reach, set: &LabelSet) {
    if pairs.is_empty() {
        return;
    }
    for resource in resources {
        let id = resource.id();
        insert_at(resource, "metadata/labels", Missing::Create, pairs);
        if reach >= Reach::Templates {
            for path in template_metadata(&id) {
                insert_at(resource, &format!("{path}/labels"), Missing::Create, pairs);
            }
            if id.kind == "StatefulSet" && id.group == "apps" {
                insert_at(
                    resource,
                    "spec/volumeClaimTemplates[]/metadata/labels",
                    Missing::Create,
                    pairs,
                );
            }
        }
        if reach == Reach::Selectors {
            for (path, missing) in selectors(&id) {
                insert_at(resource, path, *missing, pairs);
            }
        }
        for field in set.fields.iter().filter(|field| fits(field, &id)) {
            let missing = if field.create {
                Missing::Create
            } else {
                Missing::Skip
            };
            insert_at(resource, &field.path, missing, pairs);
        }
    }
}

fn insert_at(resource: &mut Resource, path: &str, missing: Missing, pairs: &Strings) {
    field::visit(resource.value_mut(), path, missing, &mut |value| {
        if value.is_null() {
            *value = Value::Object(Map::new());
        }
        if let Value::Object(map) = value {
            map.extend(
                pairs
                    .iter()
                    .map(|(key, text)| (key.clone(), Value::from(text.as_str()))),
            );
        }
    });
}

fn fits(field: &FieldSpec, id: &Id) -> bool {
    let fits = |wanted: &str, own: &str| wanted.is_empty() || wanted == own;
    fits(&field.group, &id.group)
        && fits(&field.version, &id.version)
        && fits(&field.kind, &id.kind)
}

/// The metadata of the pod and job templates of a kind.
fn template_metadata(id: &Id) -> &'static [&'static str] {
    match (id.group.as_str(), id.kind.as_str()) {
        ("", "ReplicationController") | (_, "Deployment" | "ReplicaSet" | "DaemonSet") => {
            &["spec/template/metadata"]
        }
        ("apps", "StatefulSet") | ("batch", "Job") => &["spec/template/metadata"],
        ("batch", "CronJob") => &[
            "spec/jobTemplate/metadata",
            "spec/jobTemplate/spec/template/metadata",
        ],
        _ => &[],
    }
}

/// The selectors of a kind, and whether they are made where missing.
fn selectors(id: &Id) -> &'static [(&'static str, Missing)] {
    const AFFINITY: [(&str, Missing); 5] = [
        (
            "spec/template/spec/affinity/podAffinity/preferredDuringSchedulingIgnoredDuringExecution\
             /podAffinityTerm/labelSelector/matchLabels",
            Missing::Skip,
        ),
        (
            "spec/template/spec/affinity/podAffinity/requiredDuringSchedulingIgnoredDuringExecution\
             /labelSelector/matchLabels",
            Missing::Skip,
        ),
        (
            "spec/template/spec/affinity/podAntiAffinity\
             /preferredDuringSchedulingIgnoredDuringExecution/podAffinityTerm/labelSelector/matchLabels",
            Missing::Skip,
        ),
        (
            "spec/template/spec/affinity/podAntiAffinity\
             /requiredDuringSchedulingIgnoredDuringExecution/labelSelector/matchLabels",
            Missing::Skip,
        ),
        (
            "spec/template/spec/topologySpreadConstraints/labelSelector/matchLabels",
            Missing::Skip,
        ),
    ];
    const WORKLOAD: [(&str, Missing); 6] = [
        ("spec/selector/matchLabels", Missing::Create),
        AFFINITY[0],
        AFFINITY[1],
        AFFINITY[2],
        AFFINITY[3],
        AFFINITY[4],
    ];
    match (id.group.as_str(), id.kind.as_str()) {
        ("", "Service" | "ReplicationController") => &[("spec/selector", Missing::Create)],
        ("apps", "Deployment" | "StatefulSet") => &WORKLOAD,
        (_, "Deployment" | "ReplicaSet" | "DaemonSet") => {
            &[("spec/selector/matchLabels", Missing::Create)]
        }
        ("batch", "Job") | ("policy", "PodDisruptionBudget") => {
            &[("spec/selector/matchLabels", Missing::Skip)]
        }
        ("batch", "CronJob") => &[("spec/jobTemplate/spec/selector/matchLabels", Missing::Skip)],
        ("networking.k8s.io", "NetworkPolicy") => &[
            ("spec/podSelector/matchLabels", Missing::Skip),
            ("spec/ingress/from/podSelector/matchLabels", Missing::Skip),
            ("spec/egress/to/podSelector/matchLabels", Missing::Skip),
        ],
        _ => &[],
    }
}
