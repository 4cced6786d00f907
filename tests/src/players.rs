//! The parts that others play in a real cluster: Deployment and EndpointSlice controllers, kubelet,
//! proxies, Prometheus and webhooks.
//!
//! Pods become ready after a moment, so that a weight raised too early meets no endpoint. The
//! players read from watches, as those whom they play do, so that they cost the API server little.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use fairlead_runtime::clock;
use futures::StreamExt as _;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{PodTemplateSpec, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::reflector::Store;
use kube::runtime::reflector::store::{Writer, WriterDropped};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, Resource, ResourceExt as _};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::revisions::{self, Revised};

/// How long pods take to start.
const START_UP: Duration = Duration::from_millis(150);
/// How often the players look at their namespace.
const TICK: Duration = Duration::from_millis(60);
const MANAGER: &str = "players";
/// The annotation that numbers a Deployment's revisions.
pub const REVISION: &str = "deployment.kubernetes.io/revision";

/// What the outside world is like in one namespace.
#[derive(Clone, Debug)]
pub struct Conditions {
    /// What Prometheus answers: a number, `NaN`, `none` for no series, or `down`.
    pub metric: String,
    /// What webhooks answer, by name; 200 when not named.
    pub hooks: BTreeMap<String, u16>,
    /// What they say besides, by name; nothing when not named.
    pub bodies: BTreeMap<String, String>,
    /// What the header `Authorization` must be, by name; else they answer 401.
    pub demanded: BTreeMap<String, String>,
    /// Images whose pods never become ready.
    pub broken: Vec<String>,
    /// Images whose pods become ready as the canary but not as the primary.
    pub broken_as_primary: Vec<String>,
    /// Whether the canary's endpoints are gone although its pods say ready.
    pub canary_lost: bool,
    /// Calls of webhooks, in order: name and idempotency key.
    pub calls: Vec<(String, String)>,
    /// What an OTLP collector was sent.
    pub exports: Vec<Bytes>,
    /// When Prometheus was asked.
    pub asked: Vec<Instant>,
}

impl Default for Conditions {
    fn default() -> Self {
        Self {
            metric: "100".to_owned(),
            hooks: BTreeMap::new(),
            bodies: BTreeMap::new(),
            demanded: BTreeMap::new(),
            broken: Vec::new(),
            broken_as_primary: Vec::new(),
            canary_lost: false,
            calls: Vec::new(),
            exports: Vec::new(),
            asked: Vec::new(),
        }
    }
}

/// The outside world of all namespaces.
#[derive(Clone, Debug, Default)]
pub struct World {
    namespaces: Arc<Mutex<HashMap<String, Conditions>>>,
    changed: Arc<Notify>,
}

impl World {
    /// Changes the conditions of a namespace.
    pub fn set(&self, namespace: &str, change: impl FnOnce(&mut Conditions)) {
        change(
            self.namespaces
                .lock()
                .entry(namespace.to_owned())
                .or_default(),
        );
        self.changed.notify_waiters();
    }

    /// Waits until `see` sees what it looks for; it looks at each change.
    pub async fn until<T>(&self, see: impl Fn(&Self) -> Option<T>) -> T {
        loop {
            let changed = self.changed.notified();
            if let Some(seen) = see(self) {
                return seen;
            }
            changed.await;
        }
    }

    /// The conditions of a namespace.
    pub fn conditions(&self, namespace: &str) -> Conditions {
        self.namespaces
            .lock()
            .get(namespace)
            .cloned()
            .unwrap_or_default()
    }
}

/// Serves Prometheus and webhooks on loopback; returns the base address.
pub async fn serve(world: World) -> Result<String> {
    let router = Router::new()
        .route("/{namespace}/api/v1/query", get(query).post(query))
        .route("/{namespace}/api/v1/query_range", post(query_range))
        .route("/{namespace}/hook/{name}", post(hook))
        .route("/{namespace}/otlp/v1/traces", post(export))
        .with_state(world);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = format!("http://{}", listener.local_addr()?);
    #[expect(clippy::disallowed_methods, reason = "it lives as long as the test")]
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(address)
}

async fn query(
    State(world): State<World>,
    Path(namespace): Path<String>,
) -> Result<Json<Value>, http::StatusCode> {
    world.set(&namespace, |all| all.asked.push(clock::instant()));
    let result = match world.conditions(&namespace).metric.as_str() {
        "down" => return Err(http::StatusCode::SERVICE_UNAVAILABLE),
        "none" => json!([]),
        value => json!([{ "metric": {}, "value": [0, value] }]),
    };
    let data = json!({ "resultType": "vector", "result": result });
    Ok(Json(json!({ "status": "success", "data": data })))
}

async fn export(State(world): State<World>, Path(namespace): Path<String>, body: Bytes) {
    world.set(&namespace, |all| all.exports.push(body));
}

/// The metric as it is, recorded every 15 seconds of the time that is asked about.
async fn query_range(
    State(world): State<World>,
    Path(namespace): Path<String>,
    form: String,
) -> Json<Value> {
    let number = |name: &str| {
        let mut pairs = form.split('&').filter_map(|pair| pair.split_once('='));
        let found = pairs.find(|(key, _)| *key == name);
        found.and_then(|(_, value)| value.parse::<u64>().ok())
    };
    let value = world.conditions(&namespace).metric;
    let (start, end) = (number("start"), number("end"));
    let times = start.unwrap_or_default()..=end.unwrap_or_default();
    let samples: Vec<Value> = times.step_by(15).map(|at| json!([at, value])).collect();
    let series = json!([{ "metric": {}, "values": samples }]);
    let data = json!({ "resultType": "matrix", "result": series });
    Json(json!({ "status": "success", "data": data }))
}

async fn hook(
    State(world): State<World>,
    Path((namespace, name)): Path<(String, String)>,
    headers: http::HeaderMap,
) -> (http::StatusCode, String) {
    let header = |name| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let conditions = world.conditions(&namespace);
    let demanded = conditions.demanded.get(&name);
    let status = if demanded.is_some_and(|demanded| *demanded != header("authorization")) {
        401
    } else {
        conditions.hooks.get(&name).copied().unwrap_or(200)
    };
    let body = conditions.bodies.get(&name).cloned().unwrap_or_default();
    let key = header("idempotency-key");
    world.set(&namespace, |all| all.calls.push((name, key)));
    let status = http::StatusCode::from_u16(status).unwrap_or_default();
    (status, body)
}

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
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), &self.namespace);
        let mut running = Vec::new();
        for deployment in self.known.deployments.state() {
            running.push(self.deploy(&api, &deployment, &conditions).await?);
        }
        let daemon_sets = self.known.daemon_sets.state();
        running.extend(self.revise(&daemon_sets, &conditions).await?);
        let stateful_sets = self.known.stateful_sets.state();
        running.extend(self.revise(&stateful_sets, &conditions).await?);
        self.publish_endpoints(&running, &conditions).await
    }

    /// Keeps revisions of workloads without ReplicaSets, and reports their pods.
    async fn revise<K: Revised>(
        &mut self,
        workloads: &[Arc<K>],
        conditions: &Conditions,
    ) -> Result<Vec<Running>> {
        let mut running = Vec::new();
        for workload in workloads {
            let seen = revisions::keep(&self.client, &**workload).await?;
            let template = serde_json::from_value(seen.template.clone())?;
            let wanted = i32::try_from(seen.wanted)?;
            let ready = self.ready_pods(&seen.name, &seen.hash, wanted, &template, conditions);
            revisions::report(&self.client, &**workload, &seen, ready.into()).await?;
            let labels = template.metadata.and_then(|meta| meta.labels);
            running.push(Running {
                labels: labels.unwrap_or_default(),
                ready,
            });
        }
        Ok(running)
    }

    /// Makes the ReplicaSet, numbers it, and reports the pods.
    async fn deploy(
        &mut self,
        api: &Api<Deployment>,
        deployment: &Deployment,
        conditions: &Conditions,
    ) -> Result<Running> {
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
        if !reported {
            api.patch_status(&name, &PatchParams::default(), &Patch::Merge(status))
                .await?;
        }
        let labels = spec
            .template
            .metadata
            .and_then(|meta| meta.labels)
            .unwrap_or_default();
        Ok(Running { labels, ready })
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
    async fn publish_endpoints(&self, running: &[Running], conditions: &Conditions) -> Result<()> {
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
            if held == Some(endpoints.len()) && is_labelled {
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
