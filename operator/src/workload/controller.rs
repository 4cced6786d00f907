//! Kinds whose controllers run pods from a template: what they have in common.
//!
//! A kind says what its object means; reading, writing and scaling is done here, once for all.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::marker::PhantomData;

use fairlead_crds::annotation;
use fairlead_rollout::{Readiness, Revision};
use futures::future::BoxFuture;
use k8s_openapi::NamespaceResourceScope;
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::history::{Keeper, Kept, history};
use super::{Content, Error, Names, PrimaryPlan, Selector, Snapshot, Template, Workload, primary};
use crate::canary::FIELD_MANAGER;

/// Annotations of the target that say nothing about its copy.
const FOREIGN: [&str; 4] = [
    "toolkit.fluxcd.io",
    "kubectl.kubernetes.io/",
    "deployment.kubernetes.io/",
    "deprecated.daemonset.template.generation",
];

/// A kind of workload; pure.
pub(super) trait Controller:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
    /// What keeps its templates.
    const KEEPER: Keeper;

    /// The labels by which it selects pods.
    fn match_labels(&self) -> BTreeMap<String, String>;
    /// The generation that its controller has seen.
    fn observed_generation(&self) -> Option<i64>;
    /// How many pods are asked for; zero only when it rests.
    fn desired(&self) -> u32;
    /// How many pods run the current template.
    fn updated(&self) -> u32;
    /// What it says of itself, once its controller has seen the last change.
    fn readiness(&self) -> Readiness;
    /// Whether a kept template is the one in force.
    fn is_current(&self, kept: &Kept, newest: i64) -> bool;
    /// The fields of its spec that a primary takes over, beside the template.
    fn settings(&self) -> Value;
    /// Why it cannot be released, and the fix.
    fn refusal(&self) -> Option<String> {
        None
    }
    /// The size that a primary is given, as fields of its spec.
    fn size(replicas: u32) -> Value {
        json!({ "replicas": replicas })
    }
    /// How it is scaled.
    fn scaling(replicas: u32) -> Scaling {
        Scaling::Subresource(Self::size(replicas))
    }
}

/// How a workload is scaled: a merge patch of its spec.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Scaling {
    /// Through the subresource for it.
    Subresource(Value),
    /// By an edit of the object.
    Object(Value),
}

/// The workloads of one kind in one cluster.
#[derive(Clone)]
pub(super) struct Controllers<K> {
    client: Client,
    kind: PhantomData<fn() -> K>,
}

impl<K> Debug for Controllers<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Controllers").finish_non_exhaustive()
    }
}

impl<K: Controller> Controllers<K> {
    /// Uses `client`.
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            kind: PhantomData,
        }
    }

    fn api(&self, namespace: &str) -> Api<K> {
        Api::namespaced(self.client.clone(), namespace)
    }

    async fn find(&self, namespace: &str, name: &str) -> Result<Option<K>, Error> {
        let found = self.api(namespace).get_opt(name).await;
        found.map_err(|source| Error::Read {
            object: describe::<K>(namespace, name),
            source: source.into(),
        })
    }

    async fn history(&self, namespace: &str, name: &str) -> Result<Vec<Kept>, Error> {
        match self.find(namespace, name).await? {
            Some(workload) => history(&self.client, &workload).await,
            None => Ok(Vec::new()),
        }
    }

    async fn template(&self, workload: &K) -> Result<Result<Template, String>, Error> {
        if let Some(why) = workload.refusal() {
            return Ok(Err(why));
        }
        if !is_observed(workload) {
            return Ok(Err(
                "waiting for the target's pod template to be observed".to_owned()
            ));
        }
        let kept = history(&self.client, workload).await?;
        Ok(current(workload, &kept))
    }
}

/// How messages name a workload.
pub(super) fn describe<K: Controller>(namespace: &str, name: &str) -> String {
    format!("{} `{namespace}/{name}`", K::kind(&()))
}

/// Whether the controller has seen the current spec.
fn is_observed(workload: &impl Controller) -> bool {
    workload.observed_generation() >= workload.meta().generation
}

/// The template in force.
fn current(workload: &impl Controller, kept: &[Kept]) -> Result<Template, String> {
    let newest = kept.iter().map(|one| one.number).max().unwrap_or_default();
    let current = kept.iter().find(|one| workload.is_current(one, newest));
    current
        .map(|kept| kept.template.clone())
        .ok_or_else(|| "waiting for the target's new revision".to_owned())
}

fn snapshot<K: Controller>(
    workload: &K,
    template: Result<Template, String>,
) -> Result<Snapshot, Error> {
    let object = describe::<K>(
        &workload.namespace().unwrap_or_default(),
        &workload.name_any(),
    );
    let selector = Selector::find(&workload.match_labels()).ok_or(Error::NoSelector { object })?;
    let readiness = if is_observed(workload) {
        workload.readiness()
    } else {
        Readiness::Pending("its controller has not seen the last change".to_owned())
    };
    Ok(Snapshot {
        resource_version: workload.resource_version().unwrap_or_default(),
        desired: workload.desired(),
        replica_managers: replica_managers(workload),
        updated: workload.updated(),
        readiness,
        observed: is_observed(workload),
        template,
        selector: Some(selector),
        revision: workload
            .annotations()
            .get(annotation::REVISION)
            .cloned()
            .map(Revision),
        settings: settings(workload, &workload.settings()),
    })
}

/// What a copy takes over from its target: labels, annotations and some of the `spec`.
pub(super) fn settings(target: &impl ResourceExt, spec: &Value) -> Value {
    let annotations: BTreeMap<_, _> = target
        .annotations()
        .iter()
        .filter(|(key, _)| !FOREIGN.iter().any(|foreign| key.contains(foreign)))
        .collect();
    json!({ "labels": target.labels(), "annotations": annotations, "spec": spec })
}

/// Who besides us holds the field.
fn replica_managers(workload: &impl Resource) -> Vec<String> {
    let entries = workload.meta().managed_fields.iter().flatten();
    let others = entries.filter(|entry| {
        let fields = entry.fields_v1.as_ref().map(|fields| &fields.0);
        fields.is_some_and(|fields| !fields["f:spec"]["f:replicas"].is_null())
            && entry.manager.as_deref() != Some(FIELD_MANAGER)
    });
    others.filter_map(|entry| entry.manager.clone()).collect()
}

impl<K: Controller> Workload for Controllers<K> {
    fn target<'a>(&'a self, names: &'a Names) -> BoxFuture<'a, Result<Option<Snapshot>, Error>> {
        Box::pin(async move {
            let Some(workload) = self.find(&names.namespace, &names.target).await? else {
                return Ok(None);
            };
            let template = self.template(&workload).await?;
            snapshot(&workload, template).map(Some)
        })
    }

    fn primary<'a>(&'a self, names: &'a Names) -> BoxFuture<'a, Result<Option<Snapshot>, Error>> {
        Box::pin(async move {
            let found = self.find(&names.namespace, &names.primary).await?;
            let not_read = || Err("the primary's template is ours".to_owned());
            found
                .map(|workload| snapshot(&workload, not_read()))
                .transpose()
        })
    }

    fn content<'a>(
        &'a self,
        names: &'a Names,
        identity: &'a str,
    ) -> BoxFuture<'a, Result<Option<Content>, Error>> {
        Box::pin(async move {
            let kept = self.history(&names.namespace, &names.target).await?;
            let found = kept.into_iter().map(|kept| kept.template);
            Ok(found
                .filter(|template| template.identity == identity)
                .map(|template| template.content)
                .next())
        })
    }

    fn scale<'a>(
        &'a self,
        names: &'a Names,
        replicas: u32,
        guard: &'a str,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let api = self.api(&names.namespace);
            let params = PatchParams {
                field_manager: Some(FIELD_MANAGER.to_owned()),
                ..PatchParams::default()
            };
            let guarded = |spec: Value| {
                Patch::Merge(json!({ "metadata": { "resourceVersion": guard }, "spec": spec }))
            };
            let scaled = match K::scaling(replicas) {
                Scaling::Subresource(spec) => api
                    .patch_scale(&names.target, &params, &guarded(spec))
                    .await
                    .map(drop),
                Scaling::Object(spec) => api
                    .patch(&names.target, &params, &guarded(spec))
                    .await
                    .map(drop),
            };
            scaled.map_err(|source| Error::Write {
                object: format!(
                    "the size of {}",
                    describe::<K>(&names.namespace, &names.target)
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
            let object = || describe::<K>(&names.namespace, &names.primary);
            let parts = plan.content.pods().zip(plan.target.selector.as_ref());
            let (template, selector) =
                parts.ok_or_else(|| Error::OtherKind { object: object() })?;
            let primary = primary::build::<K>(names, &plan, template.clone(), selector);
            let primary = primary.map_err(|source| Error::Convert {
                object: object(),
                source,
            })?;
            let params = PatchParams::apply(FIELD_MANAGER).force();
            let applied = self
                .api(&names.namespace)
                .patch(&names.primary, &params, &Patch::Apply(&primary))
                .await;
            applied.map(drop).map_err(|source| Error::Write {
                object: object(),
                source: source.into(),
            })
        })
    }
}

/// Ready when all pods are updated and one is available; the thresholds judge endpoints, not this.
pub(super) fn readiness(wanted: u32, updated: u32, old: u32, available: u32) -> Readiness {
    if updated < wanted {
        return Readiness::Pending(format!("{updated} of {wanted} pods are updated"));
    }
    if old > 0 {
        return Readiness::Pending(format!("{old} old pods are still there"));
    }
    if available == 0 && wanted > 0 {
        return Readiness::Pending(format!("0 of {wanted} pods are available"));
    }
    Readiness::Ready
}

/// A count as Kubernetes writes it.
pub(super) fn count(number: Option<i32>) -> u32 {
    number
        .and_then(|number| u32::try_from(number).ok())
        .unwrap_or(0)
}

/// Only an update that the controller does by itself can be released.
pub(super) fn refuse_on_delete(kind: &str, strategy: Option<&str>) -> Option<String> {
    (strategy == Some("OnDelete")).then(|| {
        format!(
            "the update strategy of the {kind} is OnDelete, so that nothing rolls it out: set \
             `spec.updateStrategy.type` to RollingUpdate"
        )
    })
}
