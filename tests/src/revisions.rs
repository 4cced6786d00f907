//! The parts of the DaemonSet and StatefulSet controllers: revisions and status.

use anyhow::{Context as _, Result};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, StatefulSet};
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::{Client, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// The nodes that a DaemonSet runs on.
const NODES: i64 = 2;

/// A workload after its controller has looked at it.
pub(crate) struct Seen {
    pub(crate) name: String,
    pub(crate) hash: String,
    pub(crate) wanted: i64,
    pub(crate) template: Value,
}

/// A kind whose templates are kept in ControllerRevisions.
pub(crate) trait Revised:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + std::fmt::Debug
    + Serialize
    + DeserializeOwned
    + Send
    + Sync
{
    /// How many pods the spec asks for.
    fn wanted(spec: &Value) -> i64;
    /// The status with so many ready pods.
    fn status(seen: &Seen, ready: i64) -> Value;
}

impl Revised for DaemonSet {
    fn wanted(spec: &Value) -> i64 {
        let nodes = &spec["template"]["spec"]["nodeSelector"];
        if nodes["flagger.app/scale-to-zero"].is_null() {
            NODES
        } else {
            0
        }
    }

    fn status(seen: &Seen, ready: i64) -> Value {
        json!({
            "currentNumberScheduled": seen.wanted, "desiredNumberScheduled": seen.wanted,
            "updatedNumberScheduled": seen.wanted, "numberMisscheduled": 0,
            "numberReady": ready, "numberAvailable": ready,
        })
    }
}

impl Revised for StatefulSet {
    fn wanted(spec: &Value) -> i64 {
        spec["replicas"].as_i64().unwrap_or(1)
    }

    fn status(seen: &Seen, ready: i64) -> Value {
        json!({
            "replicas": seen.wanted, "updatedReplicas": seen.wanted,
            "readyReplicas": ready, "availableReplicas": ready,
            "currentRevision": seen.hash, "updateRevision": seen.hash,
        })
    }
}

/// Makes the newest revision that of the template as it is now.
pub(crate) async fn keep<K: Revised>(client: &Client, workload: &K) -> Result<Seen> {
    let spec = serde_json::to_value(workload)?["spec"].clone();
    let template = spec["template"].clone();
    let digest = Sha256::digest(template.to_string().as_bytes());
    let number = digest
        .iter()
        .take(4)
        .fold(0_u32, |all, byte| (all << 8) | u32::from(*byte));
    let seen = Seen {
        hash: format!("{}-{number:08x}", workload.name_any()),
        name: workload.name_any(),
        wanted: K::wanted(&spec),
        template,
    };
    let namespace = workload.namespace().context("a workload of a namespace")?;
    let api: Api<ControllerRevision> = Api::namespaced(client.clone(), &namespace);
    let known = api.list(&ListParams::default()).await?;
    let is_owned = |one: &&ControllerRevision| {
        let mut owners = one.owner_references().iter();
        owners.any(|owner| Some(&owner.uid) == workload.meta().uid.as_ref())
    };
    let newest = known.iter().filter(is_owned).max_by_key(|one| one.revision);
    if newest.is_some_and(|newest| newest.name_any() == seen.hash) {
        return Ok(seen);
    }
    let mut template = seen.template.clone();
    template["$patch"] = json!("replace");
    let revision = json!({
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {
            "name": seen.hash,
            "labels": seen.template["metadata"]["labels"],
            "ownerReferences": [workload.controller_owner_ref(&())],
        },
        "revision": newest.map_or(0, |newest| newest.revision) + 1,
        "data": { "spec": { "template": template } },
    });
    let params = PatchParams::apply("players").force();
    api.patch(&seen.hash, &params, &Patch::Apply(revision))
        .await?;
    Ok(seen)
}

/// Reports the pods of a workload.
pub(crate) async fn report<K: Revised>(
    client: &Client,
    workload: &K,
    seen: &Seen,
    ready: i64,
) -> Result<()> {
    let namespace = workload.namespace().context("a workload of a namespace")?;
    let mut status = K::status(seen, ready);
    status["observedGeneration"] = json!(workload.meta().generation);
    let old = serde_json::to_value(workload)?["status"].clone();
    let is_told = |(field, value): (&String, &Value)| {
        let unset = value.as_i64() == Some(0) && old[field].is_null();
        unset || old[field] == *value
    };
    if status.as_object().into_iter().flatten().all(is_told) {
        return Ok(());
    }
    let api: Api<K> = Api::namespaced(client.clone(), &namespace);
    let patch = json!({ "status": status });
    api.patch_status(&seen.name, &PatchParams::default(), &Patch::Merge(patch))
        .await?;
    Ok(())
}
