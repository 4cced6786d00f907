//! The parts that others play in a real cluster: Deployment and EndpointSlice controllers, kubelet
//! and proxies.
//!
//! Pods become ready after a moment, so that a weight raised too early meets no endpoint; and those
//! of another template go first, so that one moved to them too early meets none either. The players
//! read from watches, as those whom they play do, so that they cost the API server little.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::future::{BoxFuture, try_join_all};
use futures::{FutureExt as _, StreamExt as _};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{PodTemplateSpec, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::reflector::Store;
use kube::runtime::reflector::store::{Writer, WriterDropped};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::revisions::{self, Revised};
use crate::world::{Conditions, World};

/// How long pods take to start.
const START_UP: Duration = Duration::from_millis(150);
/// How often the players look at their namespace.
const TICK: Duration = Duration::from_millis(60);
const MANAGER: &str = "players";
/// The annotation that numbers a Deployment's revisions.
pub const REVISION: &str = "deployment.kubernetes.io/revision";

/// Plays the controllers of one namespace until the curtain falls.
pub async fn play(client: Client, namespace: String, world: World, curtain: CancellationToken) {
    let (known, watching) = Known::watch(&client, &namespace);
    let mut players = Players {
        client,
        namespace,
        world,
        known,
        ready: HashMap::new(),
    };
    let playing = async {
        // Who does not know which revisions there are would number new ones as the first.
        if let Err(error) = players.known.is_complete().await {
            tracing::debug!(%error, "a player leaves");
            return;
        }
        loop {
            // A conflict or a deleted object is looked at again in a moment.
            if let Err(error) = players.tick().await {
                tracing::debug!(error = %format!("{error:#}"), "a player stumbled");
            }
            tokio::time::sleep(TICK).await;
        }
    };
    tokio::select! {
        () = curtain.cancelled() => {}
        () = watching => {}
        () = playing => {}
    }
}

/// What the players know of their namespace.
struct Known {
    deployments: Store<Deployment>,
    sets: Store<ReplicaSet>,
    services: Store<Service>,
    slices: Store<EndpointSlice>,
    routes: Store<DynamicObject>,
    gateway_routes: Store<DynamicObject>,
    daemon_sets: Store<DaemonSet>,
    stateful_sets: Store<StatefulSet>,
}

impl Known {
    /// Caches that are kept up for as long as the returned future runs.
    fn watch(client: &Client, namespace: &str) -> (Self, impl Future<Output = ()> + use<>) {
        let (deployments, one) = cache(Api::namespaced(client.clone(), namespace), ());
        let (sets, two) = cache(Api::namespaced(client.clone(), namespace), ());
        let (services, three) = cache(Api::namespaced(client.clone(), namespace), ());
        let (slices, four) = cache(Api::namespaced(client.clone(), namespace), ());
        let resource = routes_resource();
        let api = Api::namespaced_with(client.clone(), namespace, &resource);
        let (routes, five) = cache(api, resource);
        let resource = gateway_routes_resource();
        let api = Api::namespaced_with(client.clone(), namespace, &resource);
        let (gateway_routes, six) = cache(api, resource);
        let (daemon_sets, seven) = cache(Api::namespaced(client.clone(), namespace), ());
        let (stateful_sets, eight) = cache(Api::namespaced(client.clone(), namespace), ());
        let known = Self {
            deployments,
            sets,
            services,
            slices,
            routes,
            gateway_routes,
            daemon_sets,
            stateful_sets,
        };
        let watching = async {
            tokio::join!(one, two, three, four, five, six, seven, eight);
        };
        (known, watching)
    }

    /// Returns once all that is numbered or counted is known.
    async fn is_complete(&self) -> Result<(), WriterDropped> {
        self.deployments.wait_until_ready().await?;
        self.sets.wait_until_ready().await?;
        self.daemon_sets.wait_until_ready().await?;
        self.stateful_sets.wait_until_ready().await?;
        self.services.wait_until_ready().await?;
        self.slices.wait_until_ready().await
    }
}

fn cache<K>(api: Api<K>, kind: K::DynamicType) -> (Store<K>, impl Future<Output = ()> + use<K>)
where
    K: Resource + Clone + std::fmt::Debug + DeserializeOwned + Send + Sync + 'static,
    K::DynamicType: Eq + Hash + Clone + Send + Sync + 'static,
{
    let writer = Writer::new(kind);
    let store = writer.as_reader();
    let events = watcher(api, watcher::Config::default());
    let kept = events.default_backoff().reflect(writer);
    (store, kept.for_each(|_event| std::future::ready(())))
}

struct Players {
    client: Client,
    namespace: String,
    world: World,
    known: Known,
    /// Since when a Deployment has had this template and size.
    ready: HashMap<String, Starting>,
}

impl Players {
    async fn tick(&mut self) -> Result<()> {
        // First: whatever else goes wrong in a tick, proxies do not wait for it.
        self.confirm_routes().await?;
        let conditions = self.world.conditions(&self.namespace);
        let deployments = self.known.deployments.state();
        let daemon_sets = self.known.daemon_sets.state();
        let stateful_sets = self.known.stateful_sets.state();
        let mut running = Vec::new();
        for deployment in &deployments {
            running.push(self.deploy(deployment, &conditions).await?);
        }
        running.extend(self.revise(&daemon_sets, &conditions).await?);
        running.extend(self.revise(&stateful_sets, &conditions).await?);
        let (running, reports): (Vec<Running>, Vec<Report<'_>>) = running.into_iter().unzip();
        // Pods are gone before their controller says so, and are there before requests reach them.
        self.publish_endpoints(&running, &conditions, Publish::Fewer)
            .await?;
        try_join_all(reports).await?;
        self.publish_endpoints(&running, &conditions, Publish::All)
            .await
    }

    /// Keeps revisions of workloads without ReplicaSets.
    async fn revise<'a, K: Revised>(
        &mut self,
        workloads: &'a [Arc<K>],
        conditions: &Conditions,
    ) -> Result<Vec<(Running, Report<'a>)>> {
        let mut running = Vec::new();
        for workload in workloads {
            let seen = revisions::keep(&self.client, &**workload).await?;
            let template = serde_json::from_value(seen.template.clone())?;
            let wanted = i32::try_from(seen.wanted)?;
            let ready = self.ready_pods(&seen.name, &seen.hash, wanted, &template, conditions);
            let client = self.client.clone();
            let report =
                async move { revisions::report(&client, &**workload, &seen, ready.into()).await };
            let labels = template.metadata.and_then(|meta| meta.labels);
            let pods = Running {
                labels: labels.unwrap_or_default(),
                ready,
            };
            running.push((pods, report.boxed()));
        }
        Ok(running)
    }

    /// Makes the ReplicaSet, and numbers it.
    async fn deploy<'a>(
        &mut self,
        deployment: &'a Deployment,
        conditions: &Conditions,
    ) -> Result<(Running, Report<'a>)> {
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), &self.namespace);
        let name = deployment.name_any();
        let spec = deployment
            .spec
            .clone()
            .context("a Deployment without spec")?;
        let hash = template_hash(&spec.template)?;
        let sets: Api<ReplicaSet> = Api::namespaced(self.client.clone(), &self.namespace);
        let set_name = format!("{name}-{hash}");
        let known = self.known.sets.state();
        let mine = known
            .iter()
            .filter(|set| set.name_any().starts_with(&format!("{name}-")));
        let numbers = mine.filter_map(|set| set.annotations().get(REVISION)?.parse::<u32>().ok());
        let latest = numbers.max().unwrap_or(0);
        let current = known.iter().find(|set| set.name_any() == set_name);
        let number = current.and_then(|set| set.annotations().get(REVISION)?.parse().ok());
        let number = number
            .filter(|number| *number == latest)
            .unwrap_or(latest + 1);
        if current.is_none_or(|set| set.annotations().get(REVISION) != Some(&number.to_string())) {
            let set = replica_set(deployment, &set_name, &hash, number)?;
            let params = PatchParams::apply(MANAGER).force();
            sets.patch(&set_name, &params, &Patch::Apply(set)).await?;
        }
        if deployment.annotations().get(REVISION) != Some(&number.to_string()) {
            let patch = json!({ "metadata": { "annotations": { REVISION: number.to_string() } } });
            api.patch(&name, &PatchParams::default(), &Patch::Merge(patch))
                .await?;
        }
        let wanted = spec.replicas.unwrap_or(1);
        let ready = self.ready_pods(&name, &hash, wanted, &spec.template, conditions);
        let status = json!({ "status": {
            "observedGeneration": deployment.metadata.generation,
            "replicas": wanted,
            "updatedReplicas": wanted,
            "availableReplicas": ready,
            "readyReplicas": ready,
            "unavailableReplicas": wanted - ready,
        } });
        let old = deployment.status.clone().unwrap_or_default();
        let reported = old.observed_generation == deployment.metadata.generation
            && old.available_replicas.unwrap_or(0) == ready
            && old.updated_replicas.unwrap_or(0) == wanted;
        let report = async move {
            if !reported {
                api.patch_status(&name, &PatchParams::default(), &Patch::Merge(status))
                    .await?;
            }
            Ok(())
        };
        let labels = spec
            .template
            .metadata
            .and_then(|meta| meta.labels)
            .unwrap_or_default();
        Ok((Running { labels, ready }, report.boxed()))
    }

    fn ready_pods(
        &mut self,
        name: &str,
        hash: &str,
        wanted: i32,
        template: &PodTemplateSpec,
        conditions: &Conditions,
    ) -> i32 {
        let image = template
            .spec
            .as_ref()
            .and_then(|pod| pod.containers.first()?.image.clone());
        let is_broken = |image| {
            let as_primary = name.ends_with("-primary");
            conditions.broken.contains(image)
                || (as_primary && conditions.broken_as_primary.contains(image))
        };
        if image.as_ref().is_some_and(is_broken) {
            return 0;
        }
        let now = Instant::now();
        let entry = self.ready.entry(name.to_owned());
        let fresh = || Starting {
            hash: hash.to_owned(),
            size: wanted,
            since: now,
            kept: 0,
        };
        let starting = entry.or_insert_with(fresh);
        if starting.hash != hash {
            *starting = fresh();
        } else if starting.size != wanted {
            // Those that run already go on, as far as they are wanted.
            let kept = starting.ready(now).min(wanted);
            *starting = Starting { kept, ..fresh() };
        }
        starting.ready(now)
    }

    /// One slice for each Service that selects pods, with its labels and an address for each ready
    /// pod of them.
    async fn publish_endpoints(
        &self,
        running: &[Running],
        conditions: &Conditions,
        which: Publish,
    ) -> Result<()> {
        let slices: Api<EndpointSlice> = Api::namespaced(self.client.clone(), &self.namespace);
        let existing = self.known.slices.state();
        for service in self.known.services.state() {
            let name = service.name_any();
            let spec = service.spec.as_ref();
            let selector = spec.and_then(|spec| spec.selector.clone());
            let Some(selector) = selector.filter(|selector| !selector.is_empty()) else {
                continue;
            };
            let selects = |pod: &&Running| {
                selector
                    .iter()
                    .all(|(key, value)| pod.labels.get(key) == Some(value))
            };
            let lost = conditions.canary_lost && name.ends_with("-canary");
            let ready: i32 = running.iter().filter(selects).map(|pod| pod.ready).sum();
            let endpoints: Vec<Value> = (0..if lost { 0 } else { ready })
                .map(|n| {
                    json!({ "addresses": [format!("10.0.0.{}", n + 1)], "conditions": { "ready": true } })
                })
                .collect();
            let current = existing.iter().find(|slice| slice.name_any() == name);
            let held = current.map(|slice| slice.endpoints.as_ref().map_or(0, Vec::len));
            let mut labels = service.labels().clone();
            labels.insert("kubernetes.io/service-name".to_owned(), name.clone());
            let is_labelled = current.is_some_and(|slice| *slice.labels() == labels);
            let is_published = held == Some(endpoints.len()) && is_labelled;
            let waits = which == Publish::Fewer && held.is_none_or(|held| held <= endpoints.len());
            if is_published || waits {
                continue;
            }
            let slice = json!({
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": { "name": name, "labels": labels },
                "addressType": "IPv4",
                "endpoints": endpoints,
                "ports": [],
            });
            let params = PatchParams::apply(MANAGER).force();
            slices.patch(&name, &params, &Patch::Apply(slice)).await?;
        }
        Ok(())
    }

    /// The proxies and gateways take every generation at once.
    async fn confirm_routes(&self) -> Result<()> {
        let taken = |generation| {
            json!({
                "observedGeneration": generation,
                "conditions": [{ "type": "Reconciled", "status": "True" }],
            })
        };
        self.confirm(&self.known.routes, &routes_resource(), taken)
            .await?;
        let accepted = |generation| {
            let condition =
                json!({ "type": "Accepted", "status": "True", "observedGeneration": generation });
            json!({ "parents": [{ "conditions": [condition] }] })
        };
        let known = &self.known.gateway_routes;
        self.confirm(known, &gateway_routes_resource(), accepted)
            .await
    }

    async fn confirm(
        &self,
        known: &Store<DynamicObject>,
        resource: &ApiResource,
        status: impl Fn(Option<i64>) -> Value,
    ) -> Result<()> {
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &self.namespace, resource);
        for routes in known.state() {
            let status = status(routes.metadata.generation);
            if routes.data["status"] == status {
                continue;
            }
            let patch = Patch::Merge(json!({ "status": status }));
            api.patch_status(&routes.name_any(), &PatchParams::default(), &patch)
                .await?;
        }
        Ok(())
    }
}

/// Pods of one revision that come up together.
struct Starting {
    hash: String,
    /// How many there will be.
    size: i32,
    since: Instant,
    /// How many are ready until then.
    kept: i32,
}

impl Starting {
    fn ready(&self, now: Instant) -> i32 {
        if now.duration_since(self.since) >= START_UP {
            self.size
        } else {
            self.kept
        }
    }
}

/// What a controller says of its pods, once it is polled.
type Report<'a> = BoxFuture<'a, Result<()>>;

/// Which endpoints are published.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Publish {
    /// Those of Services that have fewer than before.
    Fewer,
    All,
}

struct Running {
    labels: BTreeMap<String, String>,
    ready: i32,
}

/// The hash that tells one template's pods from another's.
///
/// # Errors
/// When the template cannot be written as JSON.
pub fn template_hash(template: &PodTemplateSpec) -> Result<String> {
    let template = serde_json::to_value(template)?;
    let digest = Sha256::digest(template.to_string().as_bytes());
    let number = digest
        .iter()
        .take(4)
        .fold(0_u32, |all, byte| (all << 8) | u32::from(*byte));
    Ok(format!("{number:08x}"))
}

/// The ReplicaSet of a Deployment's revision.
///
/// # Errors
/// When the Deployment has no spec.
pub fn replica_set(deployment: &Deployment, name: &str, hash: &str, number: u32) -> Result<Value> {
    let spec = deployment
        .spec
        .clone()
        .context("a Deployment without spec")?;
    let mut template = serde_json::to_value(&spec.template)?;
    template["metadata"]["labels"]["pod-template-hash"] = json!(hash);
    let mut labels = template["metadata"]["labels"].clone();
    labels["pod-template-hash"] = json!(hash);
    Ok(json!({
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": name,
            "labels": labels,
            "annotations": { "deployment.kubernetes.io/revision": number.to_string() },
            "ownerReferences": [deployment.controller_owner_ref(&())],
        },
        "spec": {
            "replicas": 0,
            "selector": { "matchLabels": labels },
            "template": template,
        },
    }))
}

/// EndpointSlices.
pub fn slice_resource() -> ApiResource {
    let kind = GroupVersionKind::gvk("discovery.k8s.io", "v1", "EndpointSlice");
    ApiResource::from_gvk(&kind)
}

/// VirtualServices.
pub fn routes_resource() -> ApiResource {
    let kind = GroupVersionKind::gvk("networking.istio.io", "v1", "VirtualService");
    ApiResource::from_gvk(&kind)
}

/// HTTPRoutes.
pub fn gateway_routes_resource() -> ApiResource {
    let kind = GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", "HTTPRoute");
    ApiResource::from_gvk_with_plural(&kind, "httproutes")
}
