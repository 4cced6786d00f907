//! The pods, proxies and controllers that the rollouts of a measurement need, for thousands of
//! them: each change is answered by itself, so that a crowd at rest costs nothing.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use fairlead_crds::networking::VirtualService;
use fairlead_runtime::clock;
use fairlead_tests::players::{REVISION, replica_set, template_hash};
use futures::StreamExt as _;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use kube::runtime::controller::{Action, Config, Controller};
use kube::runtime::watcher;
use kube::{Client, Resource, ResourceExt as _};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::stage::home;

/// How long pods take to start.
const START_UP: Duration = Duration::from_millis(150);
/// When something that failed is tried again.
const RETRY: Duration = Duration::from_millis(200);
/// Objects that are worked on at the same time.
const HANDS: u16 = 16;
const MANAGER: &str = "crowd";

/// What the crowd has done, for whoever measures.
#[derive(Debug, Default)]
pub(crate) struct Deeds {
    /// When an EndpointSlice was last written with endpoints, by its name.
    ready: HashMap<String, Instant>,
    /// Whether the endpoints of a Service are gone, or were never there.
    empty: HashMap<String, bool>,
    /// When the proxies confirmed generations of a VirtualService, by its name, oldest first.
    confirmed: HashMap<String, Vec<Instant>>,
    /// Deployments one of whose pods crashes.
    crashing: HashSet<String>,
}

/// Plays until the curtain falls.
#[derive(Clone)]
pub(crate) struct Crowd {
    client: Client,
    deeds: Arc<Mutex<Deeds>>,
    workloads: Arc<Mutex<HashMap<String, Workload>>>,
}

/// What is known of a Deployment's pods.
#[derive(Debug)]
struct Workload {
    /// Hashes of templates, oldest first; the number of a revision is its place.
    revisions: Vec<String>,
    /// Since when it has had its template and size.
    since: Instant,
    wanted: i32,
}

impl Crowd {
    /// Begins to play.
    pub(crate) fn start(client: &Client, curtain: &CancellationToken) -> Self {
        let crowd = Self {
            client: client.clone(),
            deeds: Arc::default(),
            workloads: Arc::default(),
        };
        let deployments = crowd.run(
            |crowd, object| async move { crowd.deploy(object).await },
            curtain,
        );
        let routes = crowd.run(
            |crowd, object| async move { crowd.confirm(object).await },
            curtain,
        );
        #[expect(clippy::disallowed_methods, reason = "they end with the curtain")]
        {
            tokio::spawn(deployments);
            tokio::spawn(routes);
        }
        crowd
    }

    /// When the endpoints of a Service were last written, if it has any.
    pub(crate) fn ready_since(&self, service: &str) -> Option<Instant> {
        self.deeds.lock().ready.get(service).copied()
    }

    /// Whether a Service has no endpoints.
    pub(crate) fn is_empty(&self, service: &str) -> bool {
        self.deeds.lock().empty.get(service) != Some(&false)
    }

    /// When the proxies confirmed a VirtualService, oldest first.
    pub(crate) fn confirmed(&self, route: &str) -> Vec<Instant> {
        let deeds = self.deeds.lock();
        deeds.confirmed.get(route).cloned().unwrap_or_default()
    }

    /// Lets one pod of a Deployment crash: it is not ready from now on, and Kubernetes starts it
    /// again and again. When its status said so.
    pub(crate) async fn crash(&self, deployment: &str) -> anyhow::Result<Instant> {
        let object = self
            .api::<Deployment>(&home(deployment))
            .get(deployment)
            .await?;
        let template = &object.spec.as_ref().context("no spec")?.template;
        let pod = crash::pod(&object, &template_hash(template)?);
        let name = crash::name(deployment);
        let pods = self.api::<Pod>(&home(deployment));
        self.apply::<Pod>(&home(deployment), &name, pod).await?;
        let ended = Patch::Merge(crash::ended());
        pods.patch_status(&name, &PatchParams::default(), &ended)
            .await?;
        self.deeds.lock().crashing.insert(deployment.to_owned());
        self.deploy(Arc::new(object)).await?;
        tokio::time::sleep(crash::BACK_OFF_AFTER).await;
        let begun = clock::instant();
        let waits = Patch::Merge(crash::waits());
        pods.patch_status(&name, &PatchParams::default(), &waits)
            .await?;
        Ok(begun)
    }

    /// Takes the pod that crashes away.
    pub(crate) async fn recover(&self, deployment: &str) -> anyhow::Result<()> {
        self.deeds.lock().crashing.remove(deployment);
        let params = DeleteParams::default().grace_period(0);
        self.api::<Pod>(&home(deployment))
            .delete(&crash::name(deployment), &params)
            .await?;
        Ok(())
    }

    /// Answers every change of a kind.
    fn run<K, F>(
        &self,
        answer: fn(Arc<Self>, Arc<K>) -> F,
        curtain: &CancellationToken,
    ) -> impl Future<Output = ()> + use<K, F>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + serde::de::DeserializeOwned
            + Send
            + Sync
            + 'static,
        F: Future<Output = anyhow::Result<Action>> + Send + 'static,
    {
        let api: Api<K> = Api::all(self.client.clone());
        let curtain = curtain.clone();
        Controller::new(api, watcher::Config::default())
            .with_config(Config::default().concurrency(HANDS))
            .graceful_shutdown_on(curtain.cancelled_owned())
            .run(
                move |object, crowd: Arc<Self>| {
                    let answered = answer(crowd, object);
                    async move { answered.await.map_err(Stumbled) }
                },
                |object, error, _crowd| {
                    // A conflict or a deleted object is looked at again in a moment.
                    tracing::debug!(object.name = object.name_any(), %error, "the crowd stumbled");
                    Action::requeue(RETRY)
                },
                Arc::new(self.clone()),
            )
            .for_each(|_done| std::future::ready(()))
    }

    /// Makes the ReplicaSet, and lets the pods come up.
    async fn deploy(&self, deployment: Arc<Deployment>) -> anyhow::Result<Action> {
        let (namespace, name) = place(&*deployment);
        let spec = deployment.spec.as_ref().context("no spec")?;
        let hash = template_hash(&spec.template)?;
        let wanted = spec.replicas.unwrap_or(1);
        let (number, since) = self.revise(&name, &hash, wanted);
        if deployment.annotations().get(REVISION) != Some(&number.to_string()) {
            let set_name = format!("{name}-{hash}");
            let set = replica_set(&deployment, &set_name, &hash, number)?;
            self.apply::<ReplicaSet>(&namespace, &set_name, set).await?;
            let annotations =
                json!({ "metadata": { "annotations": { REVISION: number.to_string() } } });
            self.api::<Deployment>(&namespace)
                .patch(&name, &PatchParams::default(), &Patch::Merge(annotations))
                .await?;
        }
        let up_in = START_UP.saturating_sub(since.elapsed());
        let crashing = i32::from(self.deeds.lock().crashing.contains(&name));
        let ready = if up_in.is_zero() {
            (wanted - crashing).max(0)
        } else {
            0
        };
        let old = deployment.status.clone().unwrap_or_default();
        let is_told = old.observed_generation == deployment.metadata.generation
            && old.available_replicas.unwrap_or(0) == ready
            && old.updated_replicas.unwrap_or(0) == wanted;
        if !is_told {
            let status = json!({ "status": {
                "observedGeneration": deployment.metadata.generation,
                "replicas": wanted,
                "updatedReplicas": wanted,
                "availableReplicas": ready,
                "readyReplicas": ready,
                "unavailableReplicas": wanted - ready,
            } });
            for service in services(&name) {
                self.publish(&namespace, &service, ready).await?;
            }
            self.api::<Deployment>(&namespace)
                .patch_status(&name, &PatchParams::default(), &Patch::Merge(status))
                .await?;
        }
        Ok(if up_in.is_zero() {
            Action::await_change()
        } else {
            Action::requeue(up_in)
        })
    }

    /// The number of a revision, and since when its pods have been starting.
    fn revise(&self, name: &str, hash: &str, wanted: i32) -> (u32, Instant) {
        let now = clock::instant();
        let mut workloads = self.workloads.lock();
        let workload = workloads
            .entry(name.to_owned())
            .or_insert_with(|| Workload {
                revisions: Vec::new(),
                since: now,
                wanted,
            });
        if workload.revisions.last().is_none_or(|last| last != hash) {
            workload.revisions.push(hash.to_owned());
            workload.since = now;
        }
        if workload.wanted != wanted {
            (workload.wanted, workload.since) = (wanted, now);
        }
        (
            u32::try_from(workload.revisions.len()).unwrap_or(u32::MAX),
            workload.since,
        )
    }

    /// One slice for a Service, with an address for each ready pod.
    async fn publish(&self, namespace: &str, service: &str, ready: i32) -> anyhow::Result<()> {
        if ready == 0 && self.is_empty(service) {
            return Ok(());
        }
        let endpoints: Vec<Value> = (1..=ready)
            .map(|n| json!({ "addresses": [format!("10.0.0.{n}")], "conditions": { "ready": true } }))
            .collect();
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": { "name": service, "labels": { "kubernetes.io/service-name": service } },
            "addressType": "IPv4",
            "endpoints": endpoints,
            "ports": [],
        });
        let begun = clock::instant();
        self.apply::<EndpointSlice>(namespace, service, slice)
            .await?;
        let mut deeds = self.deeds.lock();
        deeds.empty.insert(service.to_owned(), ready == 0);
        if ready > 0 {
            deeds.ready.insert(service.to_owned(), begun);
        }
        Ok(())
    }

    /// The proxies and gateways take every generation at once.
    async fn confirm(&self, route: Arc<VirtualService>) -> anyhow::Result<Action> {
        let (namespace, name) = place(&*route);
        let status = json!({
            "observedGeneration": route.metadata.generation,
            "conditions": [{ "type": "Reconciled", "status": "True" }],
        });
        let old = serde_json::to_value(&route.status)?;
        if old["observedGeneration"] != status["observedGeneration"] {
            let patch = Patch::Merge(json!({ "status": status }));
            self.api::<VirtualService>(&namespace)
                .patch_status(&name, &PatchParams::default(), &patch)
                .await?;
            let mut deeds = self.deeds.lock();
            deeds
                .confirmed
                .entry(name)
                .or_default()
                .push(clock::instant());
        }
        Ok(Action::await_change())
    }

    fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    async fn apply<K>(&self, namespace: &str, name: &str, object: Value) -> anyhow::Result<()>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + serde::de::DeserializeOwned,
    {
        let params = PatchParams::apply(MANAGER).force();
        self.api::<K>(namespace)
            .patch(name, &params, &Patch::Apply(object))
            .await?;
        Ok(())
    }
}

/// A pod that crashes, as the kubelet reports it.
mod crash {
    use std::time::Duration;

    use k8s_openapi::api::apps::v1::Deployment;
    use kube::ResourceExt as _;
    use serde_json::{Value, json};

    /// From the end of a container to the status that it will not be started at once.
    pub(super) const BACK_OFF_AFTER: Duration = Duration::from_secs(1);

    pub(super) fn name(deployment: &str) -> String {
        format!("{deployment}-crashes")
    }

    pub(super) fn pod(deployment: &Deployment, hash: &str) -> Value {
        let name = deployment.name_any();
        let owner = json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet", "controller": true,
            "name": format!("{name}-{hash}"), "uid": deployment.uid(),
        });
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": self::name(&name),
                "labels": { "app": name, "pod-template-hash": hash },
                "ownerReferences": [owner],
            },
            "spec": { "containers": [{ "name": "app", "image": "app" }] },
        })
    }

    pub(super) fn ended() -> Value {
        status(&json!({ "terminated": { "exitCode": 1 } }))
    }

    pub(super) fn waits() -> Value {
        status(&json!({ "waiting": { "reason": "CrashLoopBackOff" } }))
    }

    fn status(state: &Value) -> Value {
        json!({ "status": { "phase": "Running", "containerStatuses": [{
            "name": "app", "image": "app", "imageID": "app", "ready": false, "restartCount": 1,
            "state": state,
        }] } })
    }
}

/// Namespace and name of an object.
fn place(object: &impl Resource) -> (String, String) {
    (object.namespace().unwrap_or_default(), object.name_any())
}

/// The Services that send to a Deployment's pods, by Flagger's names.
fn services(deployment: &str) -> Vec<String> {
    match deployment.strip_suffix("-primary") {
        Some(apex) => vec![apex.to_owned(), deployment.to_owned()],
        None => vec![format!("{deployment}-canary")],
    }
}

/// The crowd could not do its part.
#[derive(Debug, thiserror::Error)]
#[error("{0:#}")]
struct Stumbled(anyhow::Error);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_has_its_services() {
        assert_eq!(services("shop"), ["shop-canary"]);
        assert_eq!(services("shop-primary"), ["shop", "shop-primary"]);
    }
}
