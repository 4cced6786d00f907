//! Earlier pod templates of a workload, as its controller keeps them.
//!
//! The identity of a template comes from what the cluster has stored, never from types that we
//! decode: those change with every version of Kubernetes or of us.

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{ControllerRevision, ReplicaSet};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use kube::api::{Api, ListParams};
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::controller::{Controller, describe};
use super::{Error, SCALE_TO_ZERO, Template};

/// The label by which a ReplicaSet names its template.
const HASH: &str = "pod-template-hash";
/// The label by which pods name their ControllerRevision.
const REVISION_HASH: &str = "controller-revision-hash";
/// The annotation by which a Deployment numbers its ReplicaSets.
pub(super) const NUMBER: &str = "deployment.kubernetes.io/revision";

/// A template that is kept.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Kept {
    /// The name of the object that keeps it.
    pub(super) name: String,
    /// Rises with each change of the workload.
    pub(super) number: i64,
    /// The template under its identity.
    pub(super) template: Template,
}

/// What keeps the templates of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keeper {
    /// ReplicaSets, for Deployments.
    ReplicaSet,
    /// ControllerRevisions, for the others.
    ControllerRevision,
}

/// The templates that the cluster keeps for a workload.
pub(super) async fn history<K: Controller>(
    client: &Client,
    workload: &K,
) -> Result<Vec<Kept>, Error> {
    match K::KEEPER {
        Keeper::ReplicaSet => {
            let sets = owned::<K, ReplicaSet>(client, workload).await?;
            Ok(sets.iter().filter_map(of_replica_set).collect())
        }
        Keeper::ControllerRevision => {
            let revisions = owned::<K, ControllerRevision>(client, workload).await?;
            Ok(revisions.iter().filter_map(of_revision).collect())
        }
    }
}

/// The objects of a kind that a workload owns.
async fn owned<K, H>(client: &Client, workload: &K) -> Result<Vec<H>, Error>
where
    K: Controller,
    H: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned,
{
    let namespace = workload.namespace().unwrap_or_default();
    let selector = workload
        .match_labels()
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect::<Vec<_>>()
        .join(",");
    let api: Api<H> = Api::namespaced(client.clone(), &namespace);
    let list = api.list(&ListParams::default().labels(&selector)).await;
    let list = list.map_err(|source| Error::Read {
        object: format!(
            "the {}s of {}",
            H::kind(&()),
            describe::<K>(&namespace, &workload.name_any())
        ),
        source: source.into(),
    })?;
    let owner = workload.uid();
    let is_owned = |object: &H| {
        object
            .owner_references()
            .iter()
            .any(|reference| Some(&reference.uid) == owner.as_ref())
    };
    Ok(list.items.into_iter().filter(is_owned).collect())
}

/// The template of a ReplicaSet as the user wrote it: without the label that names it.
fn of_replica_set(set: &ReplicaSet) -> Option<Kept> {
    let mut spec: PodTemplateSpec = set.spec.as_ref()?.template.clone()?;
    if let Some(labels) = spec.metadata.as_mut().and_then(|meta| meta.labels.as_mut()) {
        labels.remove(HASH);
    }
    let identity = set.labels().get(HASH)?.clone();
    Some(Kept {
        name: set.name_any(),
        number: set.annotations().get(NUMBER)?.parse().ok()?,
        template: Template {
            label: Some(format!("{HASH}={identity}")),
            identity,
            content: spec.into(),
        },
    })
}

/// The template of a ControllerRevision, whether it rests or not.
fn of_revision(revision: &ControllerRevision) -> Option<Kept> {
    let mut content = revision.data.as_ref()?.0.clone();
    awaken(&mut content);
    // The order of keys must not depend on how we parse.
    content.sort_all_objects();
    let digest = Sha256::digest(content.to_string().as_bytes());
    let template = content["spec"]["template"].clone();
    let spec: PodTemplateSpec = serde_json::from_value(template).ok()?;
    let name = revision.name_any();
    // Pods of a DaemonSet carry a label of the revision, those of a StatefulSet its name.
    let hash = revision.labels().get(REVISION_HASH).unwrap_or(&name);
    let label = format!("{REVISION_HASH}={hash}");
    Some(Kept {
        name,
        number: revision.revision,
        template: Template {
            label: Some(label),
            identity: hex::encode(&digest[..5]),
            content: spec.into(),
        },
    })
}

/// Removes what makes a DaemonSet rest: that is its size, and no change of its template.
fn awaken(content: &mut Value) {
    let Some(pod) = content
        .pointer_mut("/spec/template/spec")
        .and_then(Value::as_object_mut)
    else {
        return;
    };
    if let Some(nodes) = pod.get_mut("nodeSelector").and_then(Value::as_object_mut) {
        nodes.remove(SCALE_TO_ZERO);
        if nodes.is_empty() {
            pod.remove("nodeSelector");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pods(kept: &Kept) -> PodTemplateSpec {
        kept.template.content.pods().cloned().unwrap()
    }

    #[test]
    fn the_template_of_a_replica_set_is_named_by_its_hash_and_does_not_hold_it() {
        let set = serde_json::from_value(json!({
            "metadata": { "name": "a-1", "annotations": { NUMBER: "7" }, "labels": { HASH: "new" } },
            "spec": { "selector": {}, "template": {
                "metadata": { "labels": { "app": "a", HASH: "new" } },
            } },
        }));
        let kept = of_replica_set(&set.unwrap()).unwrap();
        assert_eq!((kept.number, kept.template.identity.as_str()), (7, "new"));
        let labels = pods(&kept).metadata.and_then(|meta| meta.labels);
        assert_eq!(labels.unwrap(), [("app".to_owned(), "a".to_owned())].into());
    }

    #[expect(clippy::needless_pass_by_value, reason = "called with a literal")]
    fn revision(pod: Value) -> Kept {
        let revision = serde_json::from_value(json!({
            "metadata": { "name": "a-1" },
            "revision": 3,
            "data": { "spec": { "template": { "$patch": "replace", "spec": pod } } },
        }));
        of_revision(&revision.unwrap()).unwrap()
    }

    #[test]
    fn a_daemon_set_at_rest_runs_the_same_revision() {
        let awake = revision(json!({ "containers": [], "hostNetwork": true }));
        let asleep = revision(json!({
            "hostNetwork": true, "nodeSelector": { SCALE_TO_ZERO: "true" }, "containers": [],
        }));
        assert_eq!(asleep.template, awake.template);
        let placed = revision(json!({
            "containers": [], "hostNetwork": true,
            "nodeSelector": { SCALE_TO_ZERO: "true", "disk": "ssd" },
        }));
        assert_ne!(placed.template.identity, awake.template.identity);
        let nodes = pods(&placed).spec.and_then(|pod| pod.node_selector);
        assert_eq!(
            nodes.unwrap(),
            [("disk".to_owned(), "ssd".to_owned())].into()
        );
    }

    #[test]
    fn a_field_that_no_type_of_ours_knows_is_part_of_the_identity() {
        let old = revision(json!({ "containers": [] }));
        let new = revision(json!({ "containers": [], "fieldOfTheFuture": 1 }));
        assert_ne!(old.template.identity, new.template.identity);
    }
}
