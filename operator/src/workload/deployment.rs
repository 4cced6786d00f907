//! Deployments.
//!
//! The revision of a Deployment is its current ReplicaSet, as the Deployment controller names it:
//! a hash of types that we decode would change with every version of Kubernetes or of us.

mod primary;

use std::collections::BTreeMap;

use fairlead_crds::annotation;
use fairlead_rollout::{Readiness, Revision};
use futures::future::BoxFuture;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, ReplicaSet};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::json;

use super::{Error, Names, PrimaryPlan, Selector, Snapshot, Template, Workload};
use crate::canary::FIELD_MANAGER;

/// The label by which a ReplicaSet names its template.
const HASH: &str = "pod-template-hash";
/// The annotation by which a Deployment names its current ReplicaSet.
const NUMBER: &str = "deployment.kubernetes.io/revision";
/// Annotations of the target that say nothing about its copy.
const FOREIGN: [&str; 3] = [
    "toolkit.fluxcd.io",
    "kubectl.kubernetes.io/",
    "deployment.kubernetes.io/",
];

/// Deployments of one cluster.
#[derive(Clone)]
pub struct Deployments {
    client: Client,
}

impl std::fmt::Debug for Deployments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Deployments").finish_non_exhaustive()
    }
}

impl Deployments {
    /// Uses `client`.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    fn api(&self, namespace: &str) -> Api<Deployment> {
        Api::namespaced(self.client.clone(), namespace)
    }

    async fn find(&self, namespace: &str, name: &str) -> Result<Option<Deployment>, Error> {
        let found = self.api(namespace).get_opt(name).await;
        found.map_err(|source| Error::Read {
            object: describe(namespace, name),
            source: source.into(),
        })
    }

    /// The ReplicaSets that a Deployment owns.
    async fn replica_sets(&self, deployment: &Deployment) -> Result<Vec<ReplicaSet>, Error> {
        let namespace = deployment.namespace().unwrap_or_default();
        let labels = deployment
            .spec
            .as_ref()
            .and_then(|spec| spec.selector.match_labels.clone());
        let selector = labels
            .unwrap_or_default()
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect::<Vec<_>>()
            .join(",");
        let api: Api<ReplicaSet> = Api::namespaced(self.client.clone(), &namespace);
        let list = api.list(&ListParams::default().labels(&selector)).await;
        let list = list.map_err(|source| Error::Read {
            object: format!(
                "the ReplicaSets of {}",
                describe(&namespace, &deployment.name_any())
            ),
            source: source.into(),
        })?;
        let owner = deployment.uid();
        let owned = |set: &ReplicaSet| {
            set.owner_references()
                .iter()
                .any(|reference| Some(&reference.uid) == owner.as_ref())
        };
        Ok(list.items.into_iter().filter(owned).collect())
    }

    async fn template(&self, deployment: &Deployment) -> Result<Result<Template, String>, Error> {
        if !observed(deployment) {
            return Ok(Err(
                "waiting for the target's pod template to be observed".to_owned()
            ));
        }
        Ok(current_template(
            deployment,
            &self.replica_sets(deployment).await?,
        ))
    }
}

fn snapshot(
    deployment: &Deployment,
    template: Result<Template, String>,
) -> Result<Snapshot, Error> {
    let object = describe(
        &deployment.namespace().unwrap_or_default(),
        &deployment.name_any(),
    );
    let spec = deployment.spec.clone().unwrap_or_default();
    let labels = spec.selector.match_labels.clone().unwrap_or_default();
    let selector = Selector::find(&labels).ok_or(Error::NoSelector { object })?;
    let status = deployment.status.clone().unwrap_or_default();
    Ok(Snapshot {
        resource_version: deployment.resource_version().unwrap_or_default(),
        desired: count(spec.replicas.unwrap_or(1)),
        replica_managers: replica_managers(deployment),
        updated: count(status.updated_replicas.unwrap_or(0)),
        readiness: readiness(deployment),
        template,
        selector,
        revision: deployment
            .annotations()
            .get(annotation::REVISION)
            .cloned()
            .map(Revision),
        settings: settings(deployment, &spec),
    })
}

/// Who besides us holds the field.
fn replica_managers(deployment: &Deployment) -> Vec<String> {
    let entries = deployment.metadata.managed_fields.iter().flatten();
    let others = entries.filter(|entry| {
        let fields = entry.fields_v1.as_ref().map(|fields| &fields.0);
        fields.is_some_and(|fields| !fields["f:spec"]["f:replicas"].is_null())
            && entry.manager.as_deref() != Some(FIELD_MANAGER)
    });
    others.filter_map(|entry| entry.manager.clone()).collect()
}

/// What a primary takes over beside the template.
fn settings(deployment: &Deployment, spec: &DeploymentSpec) -> serde_json::Value {
    let annotations: BTreeMap<_, _> = deployment
        .annotations()
        .iter()
        .filter(|(key, _)| !FOREIGN.iter().any(|foreign| key.contains(foreign)))
        .collect();
    json!({
        "labels": deployment.labels(),
        "annotations": annotations,
        "spec": DeploymentSpec {
            min_ready_seconds: spec.min_ready_seconds,
            progress_deadline_seconds: spec.progress_deadline_seconds,
            revision_history_limit: spec.revision_history_limit,
            strategy: spec.strategy.clone(),
            ..DeploymentSpec::default()
        },
    })
}

/// Whether the controller has seen the current spec.
fn observed(deployment: &Deployment) -> bool {
    let seen = deployment
        .status
        .as_ref()
        .and_then(|status| status.observed_generation);
    seen >= deployment.metadata.generation
}

/// The template of the ReplicaSet that the controller calls current.
fn current_template(deployment: &Deployment, sets: &[ReplicaSet]) -> Result<Template, String> {
    let waiting = || "waiting for the target's ReplicaSet".to_owned();
    let number = deployment.annotations().get(NUMBER).ok_or_else(waiting)?;
    let current = sets
        .iter()
        .find(|set| set.annotations().get(NUMBER) == Some(number));
    let set = current.ok_or_else(waiting)?;
    let identity = set.labels().get(HASH).cloned().ok_or_else(waiting)?;
    let spec = template_of(set).ok_or_else(waiting)?;
    Ok(Template { identity, spec })
}

/// The template of a ReplicaSet as the user wrote it: without the label that names it.
fn template_of(set: &ReplicaSet) -> Option<PodTemplateSpec> {
    let mut template = set.spec.as_ref()?.template.clone()?;
    if let Some(labels) = template
        .metadata
        .as_mut()
        .and_then(|meta| meta.labels.as_mut())
    {
        labels.remove(HASH);
    }
    Some(template)
}

/// Whether a primary's template was made for a revision.
fn is_given(template: &PodTemplateSpec, revision: &Revision) -> bool {
    let annotations = template
        .metadata
        .as_ref()
        .and_then(|meta| meta.annotations.as_ref());
    annotations.and_then(|all| all.get(annotation::REVISION)) == Some(&revision.0)
}

/// Ready when all replicas are updated and available; the thresholds judge endpoints, not this.
fn readiness(deployment: &Deployment) -> Readiness {
    if !observed(deployment) {
        return Readiness::Pending("its controller has not seen the last change".to_owned());
    }
    let status = deployment.status.clone().unwrap_or_default();
    let wanted = deployment
        .spec
        .as_ref()
        .and_then(|spec| spec.replicas)
        .unwrap_or(1);
    let stuck = status.conditions.iter().flatten().find(|condition| {
        condition.type_ == "Progressing"
            && condition.reason.as_deref() == Some("ProgressDeadlineExceeded")
    });
    if let Some(condition) = stuck {
        return Readiness::Stuck(condition.message.clone().unwrap_or_default());
    }
    let updated = status.updated_replicas.unwrap_or(0);
    if updated < wanted {
        return Readiness::Pending(format!("{updated} of {wanted} pods are updated"));
    }
    let all = status.replicas.unwrap_or(0);
    if all > updated {
        return Readiness::Pending(format!("{} old pods are still there", all - updated));
    }
    let available = status.available_replicas.unwrap_or(0);
    if available == 0 && wanted > 0 {
        return Readiness::Pending(format!("0 of {wanted} pods are available"));
    }
    Readiness::Ready
}

fn count(number: i32) -> u32 {
    u32::try_from(number).unwrap_or(0)
}

fn describe(namespace: &str, name: &str) -> String {
    format!("Deployment `{namespace}/{name}`")
}

impl Workload for Deployments {
    fn target<'a>(&'a self, names: &'a Names) -> BoxFuture<'a, Result<Option<Snapshot>, Error>> {
        Box::pin(async move {
            let Some(deployment) = self.find(&names.namespace, &names.target).await? else {
                return Ok(None);
            };
            let template = self.template(&deployment).await?;
            snapshot(&deployment, template).map(Some)
        })
    }

    fn primary<'a>(&'a self, names: &'a Names) -> BoxFuture<'a, Result<Option<Snapshot>, Error>> {
        Box::pin(async move {
            let found = self.find(&names.namespace, &names.primary).await?;
            let not_read = || Err("the primary's template is ours".to_owned());
            found
                .map(|deployment| snapshot(&deployment, not_read()))
                .transpose()
        })
    }

    fn template<'a>(
        &'a self,
        names: &'a Names,
        identity: &'a str,
    ) -> BoxFuture<'a, Result<Option<PodTemplateSpec>, Error>> {
        Box::pin(async move {
            let Some(target) = self.find(&names.namespace, &names.target).await? else {
                return Ok(None);
            };
            let sets = self.replica_sets(&target).await?;
            let found = sets
                .iter()
                .find(|set| set.labels().get(HASH).map(String::as_str) == Some(identity));
            Ok(found.and_then(template_of))
        })
    }

    fn given<'a>(
        &'a self,
        names: &'a Names,
        revision: &'a Revision,
    ) -> BoxFuture<'a, Result<Option<PodTemplateSpec>, Error>> {
        Box::pin(async move {
            let Some(primary) = self.find(&names.namespace, &names.primary).await? else {
                return Ok(None);
            };
            let sets = self.replica_sets(&primary).await?;
            let mut templates = sets.iter().filter_map(template_of);
            Ok(templates.find(|template| is_given(template, revision)))
        })
    }

    fn scale<'a>(
        &'a self,
        names: &'a Names,
        replicas: u32,
        guard: &'a str,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let patch = json!({
                "metadata": { "resourceVersion": guard },
                "spec": { "replicas": replicas },
            });
            let params = PatchParams {
                field_manager: Some(FIELD_MANAGER.to_owned()),
                ..PatchParams::default()
            };
            let scaled = self
                .api(&names.namespace)
                .patch_scale(&names.target, &params, &Patch::Merge(&patch))
                .await;
            scaled.map(drop).map_err(|source| Error::Write {
                object: format!(
                    "the replicas of {}",
                    describe(&names.namespace, &names.target)
                ),
                source: source.into(),
            })
        })
    }

    fn apply_primary<'a>(
        &'a self,
        names: &'a Names,
        plan: PrimaryPlan<'a>,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let object = || describe(&names.namespace, &names.primary);
            let deployment = primary::build(names, plan).map_err(|source| Error::Convert {
                object: object(),
                source,
            })?;
            let params = PatchParams::apply(FIELD_MANAGER).force();
            let applied = self
                .api(&names.namespace)
                .patch(&names.primary, &params, &Patch::Apply(&deployment))
                .await;
            applied.map(drop).map_err(|source| Error::Write {
                object: object(),
                source: source.into(),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn deployment(status: &Value) -> Deployment {
        serde_json::from_value(json!({
            "metadata": { "name": "a", "generation": 3, "annotations": { NUMBER: "2" } },
            "spec": { "replicas": 2, "selector": {}, "template": {} },
            "status": status,
        }))
        .unwrap()
    }

    fn check(status: &Value, expected: &str) {
        let found = match readiness(&deployment(status)) {
            Readiness::Ready => "ready".to_owned(),
            Readiness::Pending(why) | Readiness::Stuck(why) => why,
        };
        assert_eq!(found, expected, "{status}");
    }

    #[test]
    fn readiness_follows_the_rollout_of_the_deployment() {
        let full = json!({
            "observedGeneration": 3, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2,
        });
        check(&full, "ready");
        let with = |field: &str, value: Value| {
            let mut status = full.clone();
            status[field] = value;
            status
        };
        let unseen = "its controller has not seen the last change";
        check(&with("observedGeneration", json!(2)), unseen);
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

    fn replica_set(number: &str, hash: &str) -> ReplicaSet {
        serde_json::from_value(json!({
            "metadata": { "annotations": { NUMBER: number }, "labels": { HASH: hash } },
            "spec": { "selector": {}, "template": {
                "metadata": { "labels": { "app": "a", HASH: hash } },
            } },
        }))
        .unwrap()
    }

    #[test]
    fn the_template_is_that_of_the_current_replica_set() {
        let sets = [replica_set("1", "old"), replica_set("2", "new")];
        let template = current_template(&deployment(&json!({})), &sets).unwrap();
        assert_eq!(template.identity, "new");
        let labels = template.spec.metadata.and_then(|meta| meta.labels).unwrap();
        assert_eq!(labels, [("app".to_owned(), "a".to_owned())].into());
        current_template(&deployment(&json!({})), &sets[..1]).unwrap_err();
    }
}
