//! Writing objects that were tried out, one stage at a time. Client required.
//!
//! Objects that are already as they should be are not written.

use std::time::Duration;

use fairlead_controller::ApiError;
use fairlead_kustomize::Id;
use fairlead_kustomize::order::Stage;
use futures::{StreamExt as _, stream};
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PropagationPolicy};
use kube::runtime::wait::{await_condition, conditions};
use serde_json::Value;

use super::health::{self, Health};
use super::ownership;
use super::plan::{self, Cause, Change, Planned, Refusal};
use super::policy;
use crate::cluster::Access;

/// How long definitions may take until the server serves them.
const STAGE_TIMEOUT: Duration = Duration::from_secs(60);

/// How long to wait before discovery is asked again.
const DISCOVERY_PAUSE: Duration = Duration::from_millis(100);

/// Why the objects were not applied.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Objects were refused; where trying them out told, none of their stage was written.
    #[error("{}", list(.0))]
    Refused(Vec<Refusal>),
    /// A definition did not become usable.
    #[error("{object} is not usable after {STAGE_TIMEOUT:?}")]
    StageTimeout {
        /// The object.
        object: Box<Id>,
    },
    /// Watching a definition failed.
    #[error("failed to wait for {object}")]
    Wait {
        /// The object.
        object: Box<Id>,
        /// What went wrong.
        source: kube::runtime::wait::Error,
    },
}

fn list(refusals: &[Refusal]) -> String {
    let lines = refusals
        .iter()
        .map(|refusal| fairlead_runtime::report(refusal).to_string());
    lines.collect::<Vec<_>>().join("; ")
}

/// An object and what happened to it.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The object, in the namespace that it has in the cluster.
    pub id: Id,
    /// What happened.
    pub change: Change,
}

/// Writes a stage that was tried, and waits until what others need of it can be used.
pub async fn write(
    access: Access<'_>,
    stage: Stage,
    planned: Vec<Planned<'_>>,
) -> Result<Vec<Applied>, Error> {
    let writes: Vec<_> = planned
        .into_iter()
        .map(|planned| write_one(access, planned))
        .collect();
    let written = stream::iter(writes)
        .buffered(plan::PARALLEL)
        .collect()
        .await;
    let applied = plan::collect(written).map_err(Error::Refused)?;
    if matches!(stage, Stage::Definitions | Stage::Classes) {
        settle(access, &applied).await?;
    }
    Ok(applied)
}

async fn write_one(access: Access<'_>, planned: Planned<'_>) -> Result<Applied, Refusal> {
    let Planned {
        resource,
        id,
        kind,
        live,
        change,
        may_recreate,
    } = planned;
    if matches!(change, Change::Unchanged | Change::Skipped) {
        return Ok(Applied { id, change });
    }
    let refuse = |cause| plan::refusal(resource, cause);
    let api = kind.api(access.client, &id.namespace);
    let taken_from = live
        .as_ref()
        .filter(|_| !policy::is_merged(resource.value()));
    if let Some(patch) = taken_from.and_then(ownership::transfer) {
        let patch = Patch::Merge(&patch);
        let transferred = api
            .patch_metadata(&id.name, &PatchParams::default(), &patch)
            .await;
        transferred.map_err(|error| refuse(plan::cause(&id, error.into())))?;
    }
    let patch = Patch::Apply(plan::body(resource, &id));
    let apply = async || {
        let written = api.patch(&id.name, &plan::params(), &patch).await;
        written.map(drop).map_err(ApiError::from)
    };
    let written = match apply().await {
        Err(error) if may_recreate && live.is_some() && plan::is_immutable(&error) => {
            delete(&api, &id).await.map_err(refuse)?;
            apply().await
        }
        other => other,
    };
    written.map_err(|error| refuse(plan::cause(&id, error)))?;
    if id.kind == "CustomResourceDefinition" {
        access.cluster.forget_all();
    }
    Ok(Applied { id, change })
}

/// Deletes an object that cannot be changed, and waits until it is gone.
async fn delete(api: &Api<DynamicObject>, id: &Id) -> Result<(), Cause> {
    let params = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Background),
        ..DeleteParams::default()
    };
    let deleted = api
        .delete(&id.name, &params)
        .await
        .map_err(|error| Cause::Api(error.into()))?;
    let Some(uid) = deleted.left().and_then(|object| object.metadata.uid) else {
        return Ok(());
    };
    let gone = await_condition(api.clone(), &id.name, conditions::is_deleted(&uid));
    match tokio::time::timeout(plan::DELETE_TIMEOUT, gone).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(Cause::NotGone),
    }
}

/// Waits until definitions can be used.
async fn settle(access: Access<'_>, applied: &[Applied]) -> Result<(), Error> {
    for Applied { id, change } in applied {
        let is_new = matches!(change, Change::Created | Change::Configured);
        if !is_new || !matches!(id.kind.as_str(), "CustomResourceDefinition" | "Namespace") {
            continue;
        }
        // It was found a moment ago; if it is not now, applying what needs it will tell.
        let Ok(kind) = access.kind(id).await else {
            continue;
        };
        let is_usable = |object: Option<&DynamicObject>| {
            object.is_some_and(|object| health::assess(&plan::value_of(object)) == Health::Current)
        };
        let api = kind.api(access.client, &id.namespace);
        let usable = await_condition(api, &id.name, is_usable);
        let object = Box::new(id.clone());
        let served = async {
            let found = usable.await?;
            for kind in found.iter().flat_map(defined) {
                until_served(access, &kind).await;
            }
            Ok(())
        };
        match tokio::time::timeout(STAGE_TIMEOUT, served).await {
            Ok(Ok(())) => {}
            Ok(Err(source)) => return Err(Error::Wait { object, source }),
            Err(_elapsed) => return Err(Error::StageTimeout { object }),
        }
    }
    Ok(())
}

/// The kinds that a definition adds, one for each version that is served.
fn defined(object: &DynamicObject) -> Vec<Id> {
    let spec = &object.data["spec"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let versions = spec["versions"].as_array();
    versions
        .into_iter()
        .flatten()
        .filter(|version| version["served"] == true)
        .map(|version| Id {
            group: text(&spec["group"]),
            version: text(&version["name"]),
            kind: text(&spec["names"]["kind"]),
            namespace: String::new(),
            name: String::new(),
        })
        .collect()
}

/// Waits until discovery knows a kind: that comes a moment after its definition is established,
/// and nothing can be watched for it.
async fn until_served(access: Access<'_>, kind: &Id) {
    while access.kind(kind).await.is_err() {
        tokio::time::sleep(DISCOVERY_PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_definition_adds_a_kind_for_each_version_that_is_served() {
        let object = serde_json::from_value(json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": { "name": "things.example.org" },
            "spec": {
                "group": "example.org",
                "names": { "kind": "Thing", "plural": "things" },
                "versions": [
                    { "name": "v1", "served": true },
                    { "name": "v1alpha1", "served": false },
                ],
            },
        }))
        .expect("a definition");
        let kinds = defined(&object);
        assert_eq!(kinds.len(), 1);
        let Id {
            group,
            version,
            kind,
            ..
        } = &kinds[0];
        assert_eq!(
            (&**group, &**version, &**kind),
            ("example.org", "v1", "Thing")
        );
    }
}
