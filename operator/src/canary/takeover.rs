//! What another controller left behind: whether its primary runs what the target asks for, and
//! whether it is still at work.

use std::collections::BTreeSet;

use fairlead_crds::annotation;
use fairlead_rollout::{Inheritance, Revision};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{PodTemplateSpec, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::api::{Api, ApiResource, DynamicObject, ListParams, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use super::FIELD_MANAGER;
use super::observe::Error;
use crate::workload::configs::{self, Configs, rename};
use crate::workload::service;
use crate::workload::{self, Content, Kind, Names, Selector, Snapshot};

/// What Flagger writes onto the pods of a primary to restart them.
const FLAGGER_ID: &str = "flagger-id";
/// What the Deployment controller writes onto the pods of each revision.
const TEMPLATE_HASH: &str = "pod-template-hash";
/// Under which name Flagger's changes are known.
const FLAGGER_MANAGER: &str = "flagger";
/// How Flagger's own Deployment is labelled: by its chart, and by its plain manifests.
const FLAGGER_LABELS: [&str; 2] = ["app.kubernetes.io/name=flagger", "app=flagger"];

/// What a Flagger that still runs means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Incumbent {
    /// Nothing is taken over beside it.
    Heeded,
    /// It will be gone by then: a forecast.
    Ignored,
}

/// Why nothing is taken over as long as Flagger runs.
pub(super) async fn objection(client: &Client) -> Result<Option<Inheritance>, Error> {
    Ok(incumbent(client).await?.map(|name| {
        Inheritance::Unclear(format!(
            "Flagger runs as Deployment `{name}`; scale it to zero first, for two controllers \
             would fight over the weights"
        ))
    }))
}

/// Compares what was left with what the target asks for.
pub(super) async fn inheritance(
    client: &Client,
    kind: Kind,
    names: &Names,
    target: Option<&Snapshot>,
    configs: Option<&Configs>,
) -> Result<Inheritance, Error> {
    let (Some(target), Some(configs)) = (target, configs) else {
        let why = "the target or one of its configs does not exist";
        return Ok(Inheritance::Unclear(why.to_owned()));
    };
    let wanted = match &target.template {
        Ok(wanted) => &wanted.content,
        Err(why) => return Ok(Inheritance::Unclear(why.clone())),
    };
    let Some(live) = content(client, kind, names).await? else {
        return Ok(Inheritance::Different);
    };
    let same = match (wanted, &live, &target.selector) {
        (Content::Pods(wanted), Content::Pods(live), Some(selector)) => {
            is_same_template(wanted, live, selector, configs)
                && is_same_content(client, &names.namespace, live, configs).await?
        }
        (Content::Service(wanted), Content::Service(live), _) => {
            service::identity(wanted) == service::identity(live)
        }
        (Content::Pods(_) | Content::Service(_), _, _) => false,
    };
    Ok(if same {
        Inheritance::Same
    } else {
        Inheritance::Different
    })
}

/// What the primary runs as it stands; `None` when there is no primary.
async fn content(client: &Client, kind: Kind, names: &Names) -> Result<Option<Content>, Error> {
    let resource = kind.resource();
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &names.namespace, &resource);
    let object = || format!("{} `{}/{}`", resource.kind, names.namespace, names.primary);
    let found = api.get_opt(&names.primary).await;
    let found = found.map_err(|source| Error::Read {
        object: object(),
        source: source.into(),
    })?;
    let content = found.map(|primary| kind.content(&primary.data["spec"]));
    content.transpose().map_err(|source| {
        workload::Error::Convert {
            object: object(),
            source,
        }
        .into()
    })
}

/// Flagger's own Deployments, whether they run or not.
pub async fn flaggers(client: &Client) -> Result<Vec<Deployment>, kube::Error> {
    let api: Api<Deployment> = Api::all(client.clone());
    let mut found: Vec<Deployment> = Vec::new();
    for labels in FLAGGER_LABELS {
        let listed = api.list(&ListParams::default().labels(labels)).await?;
        let known: BTreeSet<_> = found.iter().map(ResourceExt::uid).collect();
        found.extend(listed.into_iter().filter(|one| !known.contains(&one.uid())));
    }
    Ok(found)
}

/// Whether a Deployment of Flagger is at work.
pub fn runs(flagger: &Deployment) -> bool {
    let status = flagger.status.as_ref();
    status.is_some_and(|status| status.ready_replicas > Some(0))
}

/// The Flagger that is at work, by name.
async fn incumbent(client: &Client) -> Result<Option<String>, Error> {
    let found = flaggers(client).await.map_err(|source| Error::Read {
        object: "the Deployments of Flagger".to_owned(),
        source: source.into(),
    })?;
    let running = found.iter().find(|flagger| runs(flagger));
    Ok(running.map(|flagger| {
        let namespace = flagger.namespace().unwrap_or_default();
        format!("{namespace}/{}", flagger.name_any())
    }))
}

/// Whether the primary's template is the target's, but for what makes it a primary.
fn is_same_template(
    target: &PodTemplateSpec,
    primary: &PodTemplateSpec,
    selector: &Selector,
    configs: &Configs,
) -> bool {
    let mut wanted = target.clone();
    rename(wanted.spec.get_or_insert_default(), &configs.renamed());
    plain(&json!(wanted), selector) == plain(&json!(primary), selector)
}

/// A template without what tells a primary from its target.
fn plain(template: &Value, selector: &Selector) -> Value {
    let mut template = template.clone();
    let meta = &mut template["metadata"];
    for (map, names) in [
        ("annotations", &[annotation::REVISION, FLAGGER_ID][..]),
        ("labels", &[TEMPLATE_HASH][..]),
    ] {
        let Some(entries) = meta[map].as_object_mut() else {
            continue;
        };
        entries.retain(|name, _| !names.contains(&name.as_str()));
        if entries.is_empty() {
            meta[map] = Value::Null;
        }
    }
    rewrite(&mut template, &selector.primary_value(), &selector.value);
    template
}

/// Replaces each text that is `from`, and drops what is empty: it means the same as nothing.
fn rewrite(value: &mut Value, from: &str, to: &str) {
    match value {
        Value::String(text) if text == from => to.clone_into(text),
        Value::Array(items) => items.iter_mut().for_each(|item| rewrite(item, from, to)),
        Value::Object(map) => {
            map.values_mut().for_each(|item| rewrite(item, from, to));
            map.retain(|_, item| !is_empty(item));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        // Not so a map: `emptyDir: {}` is a volume.
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => false,
    }
}

/// Whether the primary's copies hold what the target's configs hold.
async fn is_same_content(
    client: &Client,
    namespace: &str,
    primary: &PodTemplateSpec,
    configs: &Configs,
) -> Result<bool, Error> {
    let pod = primary.spec.clone().unwrap_or_default();
    let copies = match Configs::read(client, namespace, &pod).await {
        Ok(copies) => copies.hashes(),
        // What is not there cannot be the same.
        Err(configs::Error::Missing(_)) => return Ok(false),
        Err(error) => return Err(workload::Error::from(error).into()),
    };
    let is_copied =
        |(name, hash): (String, String)| copies.get(&format!("{name}-primary")) == Some(&hash);
    Ok(configs.hashes().into_iter().all(is_copied))
}

/// Writes onto a primary, and not onto its pods, what it runs; its pods stay as they are.
///
/// What Flagger set becomes ours: a field that a later revision leaves out must go, and the API
/// server keeps whatever somebody else has set.
pub(super) async fn mark(
    client: &Client,
    resource: &ApiResource,
    names: &Names,
    guard: &str,
    revision: &Revision,
) -> kube::Result<()> {
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &names.namespace, resource);
    let mut fields = api
        .get_metadata(&names.primary)
        .await?
        .metadata
        .managed_fields;
    claim(fields.iter_mut().flatten());
    let patch = json!({ "metadata": {
        "resourceVersion": guard,
        "managedFields": fields,
        "annotations": {
            annotation::REVISION: revision.0,
            annotation::KUSTOMIZE_RECONCILE: annotation::DISABLED,
        },
    } });
    let params = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    api.patch(&names.primary, &params, &Patch::Merge(patch))
        .await?;
    Ok(())
}

/// Makes a copy of a Service ours that Flagger has made, for the same reason; whether it was.
pub(super) async fn claim_service(client: &Client, live: &Value) -> kube::Result<bool> {
    let managed = live["metadata"]["managedFields"].clone();
    let mut fields: Vec<ManagedFieldsEntry> =
        serde_json::from_value(managed).map_err(kube::Error::SerdeError)?;
    let before = fields.clone();
    claim(fields.iter_mut());
    if fields == before {
        return Ok(false);
    }
    let text = |field: &str| live["metadata"][field].as_str().unwrap_or_default();
    let api: Api<Service> = Api::namespaced(client.clone(), text("namespace"));
    let patch = json!({ "metadata": {
        "resourceVersion": text("resourceVersion"),
        "managedFields": fields,
    } });
    let params = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    api.patch(text("name"), &params, &Patch::Merge(patch))
        .await?;
    Ok(true)
}

/// Makes what Flagger manages ours, as if we had applied it.
fn claim<'a>(fields: impl Iterator<Item = &'a mut ManagedFieldsEntry>) {
    for entry in fields {
        let is_flaggers = entry.manager.as_deref() == Some(FLAGGER_MANAGER);
        if is_flaggers && entry.subresource.is_none() {
            entry.manager = Some(FIELD_MANAGER.to_owned());
            entry.operation = Some("Apply".to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(value: Value) -> PodTemplateSpec {
        serde_json::from_value(value).expect("a template")
    }

    fn target() -> Value {
        json!({
            "metadata": { "labels": { "app": "podinfo", "team": "a" } },
            "spec": {
                "containers": [{ "name": "app", "image": "podinfo:1", "env": [] }],
                "volumes": [{ "name": "tmp", "emptyDir": {} }],
            },
        })
    }

    fn same(primary: Value) -> bool {
        let selector = Selector {
            key: "app".to_owned(),
            value: "podinfo".to_owned(),
        };
        let (target, primary) = (template(target()), template(primary));
        is_same_template(&target, &primary, &selector, &Configs::default())
    }

    #[test]
    fn what_makes_a_primary_of_a_target_makes_no_difference() {
        let mut primary = target();
        primary["metadata"]["labels"]["app"] = json!("podinfo-primary");
        primary["metadata"]["labels"]["pod-template-hash"] = json!("5d9f");
        primary["metadata"]["annotations"] = json!({ "flagger-id": "0a1b" });
        assert!(!same(json!({ "spec": { "containers": [] } })));
        // An emptied map of annotations is left behind on one side only.
        let mut with_annotations = primary.clone();
        with_annotations["metadata"]["annotations"]["note"] = json!("b");
        assert!(same(primary));
        assert!(!same(with_annotations));
    }

    #[test]
    fn what_flagger_set_becomes_ours_and_the_rest_stays() {
        let mut entries: Vec<ManagedFieldsEntry> = serde_json::from_value(json!([
            { "manager": "flagger", "operation": "Update" },
            { "manager": "flagger", "operation": "Update", "subresource": "scale" },
            { "manager": "kube-controller-manager", "operation": "Update" },
        ]))
        .expect("entries");
        claim(entries.iter_mut());
        let managers: Vec<_> = entries
            .iter()
            .map(|entry| (entry.manager.as_deref(), entry.operation.as_deref()))
            .collect();
        assert_eq!(managers[0], (Some(FIELD_MANAGER), Some("Apply")));
        assert_eq!(managers[1], (Some("flagger"), Some("Update")));
        assert_eq!(managers[2].0, Some("kube-controller-manager"));
    }

    #[test]
    fn another_image_is_another_revision() {
        let mut primary = target();
        primary["metadata"]["labels"]["app"] = json!("podinfo-primary");
        primary["spec"]["containers"][0]["image"] = json!("podinfo:2");
        assert!(!same(primary));
    }
}
