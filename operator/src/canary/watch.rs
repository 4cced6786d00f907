//! What wakes a Canary: changes of its objects, and answers to its questions.

use std::convert::Infallible;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use fairlead_controller::client::is_served;
use fairlead_controller::{Recorder, run};
use fairlead_crds::networking::VirtualService;
use fairlead_runtime::tasks::Tasks;
use futures::{Stream, StreamExt, TryStreamExt as _};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, DynamicObject, PartialObjectMeta};
use kube::runtime::controller::Controller;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{PredicateConfig, WatchStreamExt, watcher};
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio_stream::wrappers::UnboundedReceiverStream;

use super::desk::Desk;
use super::directory::Directory;
use super::events::Teller;
use super::fights::Fights;
use super::measure::Sources;
use super::pods;
use super::validate::Limits;
use super::{Context, Guarded, Metrics, Reference, reconcile};
use crate::analysis::mesh::Mesh;
use crate::analysis::webhook::Webhooks;
use crate::context;
use crate::notify;
use crate::outgoing::Outgoing;
use crate::router::{self, Routers};
use crate::workload::Workloads;

/// How often an optional kind is looked for.
const KIND_POLL: Duration = Duration::from_secs(60);

/// Starts the Canary controller, and the queue of its messages.
pub fn spawn(tasks: &Tasks, base: &context::Context, metrics: Metrics, messages: notify::Metrics) {
    let queue = notify::Queue::default();
    tasks.spawn("messages", queue.clone().run(base.shutdown.clone()));
    let outgoing = Outgoing::start(
        tasks,
        base.client.clone(),
        base.settings.allow_outgoing.clone(),
    );
    let sources = Sources {
        client: base.client.clone(),
        mesh: Mesh::start(tasks, base.client.clone(), outgoing.clone()),
        outgoing: outgoing.clone(),
        metrics_server: base.settings.metrics_server.clone(),
    };
    let (desk, woken) = Desk::new(tasks.clone());
    let teller = Teller {
        recorder: Recorder::new(
            base.client.clone(),
            super::FIELD_MANAGER,
            &base.settings.instance,
        ),
        queue,
        metrics: messages,
        webhooks: Webhooks::new(outgoing.clone()),
        outgoing,
        providers: notify::Providers {
            client: base.client.clone(),
            username: base.settings.alerts.slack_user.clone(),
        },
        global: base.settings.alerts.clone(),
    };
    let scope = Scope {
        client: base.client.clone(),
        namespace: base.settings.watch_namespace.clone(),
    };
    let (reader, writer) = reflector::store();
    let directory = Arc::new(Directory::default());
    let noted = Arc::clone(&directory);
    let canaries = watcher(scope.api::<Guarded>(), watcher::Config::default())
        .default_backoff()
        .reflect(writer)
        .inspect_ok(move |event| noted.note(event))
        .touched_objects()
        // Our own status writes are no news.
        .predicate_filter(interesting, PredicateConfig::default());
    let controller = Controller::for_stream(canaries, reader.clone())
        .reconcile_on(UnboundedReceiverStream::new(woken));
    let controller = watches(controller, &scope, &directory, &reader);
    let context = Arc::new(Context {
        client: base.client.clone(),
        store: reader,
        directory: Arc::clone(&directory),
        limits: Limits {
            interval_floor: base.settings.control_loop_min_interval,
        },
        sources,
        desk,
        fights: Fights::default(),
        teller,
        metrics: metrics.clone(),
        workloads: Workloads::new(&base.client),
        routers: Routers::new(&base.client),
    });
    let options = run::Options {
        name: "canary",
        shutdown: base.shutdown.clone(),
        metrics: base.metrics.clone(),
    };
    let counted = move |object: Arc<Guarded>, context: Arc<Context>| {
        if let Some(targets) = directory.targets_after_loss() {
            metrics.keep(&targets);
        }
        reconcile(object, context)
    };
    tasks.spawn("canary controller", async move {
        run::run(controller, counted, context, options).await;
        Ok::<_, Infallible>(())
    });
}

/// What a change must touch to start a look: the spec, commands, or the life of the object.
#[expect(clippy::unnecessary_wraps, reason = "the signature of a predicate")]
fn interesting(canary: &Guarded) -> Option<u64> {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let meta = canary.meta();
    let mut hasher = DefaultHasher::new();
    meta.uid.hash(&mut hasher);
    meta.generation.hash(&mut hasher);
    meta.annotations.hash(&mut hasher);
    meta.finalizers.hash(&mut hasher);
    meta.deletion_timestamp.is_some().hash(&mut hasher);
    Some(hasher.finish())
}

/// Where watches look.
#[derive(Clone)]
struct Scope {
    client: Client,
    namespace: Option<String>,
}

impl Scope {
    fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        match &self.namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        }
    }

    /// Changes of a kind, without its content: what concerns a Canary is read when it looks.
    fn changes<K>(
        &self,
    ) -> impl Stream<Item = Result<PartialObjectMeta<K>, watcher::Error>> + Send + 'static
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + Sync
            + 'static,
    {
        watcher(
            self.api::<PartialObjectMeta<K>>(),
            watcher::Config::default(),
        )
        .default_backoff()
        .touched_objects()
    }
}

/// Pods whose containers crash. Their status is in no other object: a Deployment tells that a pod
/// is not ready, and not why. None of them is kept.
fn crashing_pods(
    scope: &Scope,
) -> impl Stream<Item = Result<Pod, watcher::Error>> + Send + 'static {
    watcher(scope.api::<Pod>(), watcher::Config::default())
        .default_backoff()
        .applied_objects()
        .try_filter(|pod| std::future::ready(pods::crash(pod).is_some()))
}

/// Changes of HTTPRoutes, once the cluster knows the kind: it is installed by whoever needs it.
fn http_routes(
    scope: &Scope,
) -> impl Stream<Item = Result<PartialObjectMeta<DynamicObject>, watcher::Error>> + Send + 'static {
    let resource = router::http_routes("v1");
    let client = scope.client.clone();
    let api: Api<PartialObjectMeta<DynamicObject>> = match &scope.namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    let served = async move {
        // Discovery cannot be watched.
        while !matches!(is_served(&client, &resource).await, Ok(true)) {
            tokio::time::sleep(KIND_POLL).await;
        }
    };
    futures::stream::once(served).flat_map(move |()| {
        watcher(api.clone(), watcher::Config::default())
            .default_backoff()
            .touched_objects()
    })
}

fn watches(
    controller: Controller<Guarded>,
    scope: &Scope,
    directory: &Arc<Directory>,
    store: &Store<Guarded>,
) -> Controller<Guarded> {
    controller
        .watches_stream(scope.changes::<Deployment>(), by_workload(directory))
        .watches_stream(scope.changes::<DaemonSet>(), by_workload(directory))
        .watches_stream(scope.changes::<StatefulSet>(), by_workload(directory))
        .watches_stream(scope.changes::<Service>(), by_service(directory))
        .watches_stream(scope.changes::<VirtualService>(), by_service(directory))
        .watches_stream_with(
            http_routes(scope),
            by_service(directory),
            router::http_routes("v1"),
        )
        .watches_stream(scope.changes::<EndpointSlice>(), by_label(directory))
        .watches_stream(crashing_pods(scope), by_owner(directory))
        .watches_stream(scope.changes::<ConfigMap>(), by_config(store, "configmap"))
        .watches_stream(scope.changes::<Secret>(), by_config(store, "secret"))
}

/// The Canaries that a workload concerns.
fn by_workload<K: Resource>(
    directory: &Arc<Directory>,
) -> impl Fn(PartialObjectMeta<K>) -> Vec<Reference> + Send + Sync + 'static {
    let directory = Arc::clone(directory);
    move |object| directory.of_workload(&object.namespace().unwrap_or_default(), &object.name_any())
}

/// The Canaries that a Service or a route concerns.
fn by_service<K: Resource>(
    directory: &Arc<Directory>,
) -> impl Fn(PartialObjectMeta<K>) -> Vec<Reference> + Send + Sync + 'static {
    let directory = Arc::clone(directory);
    move |object| directory.of_service(&object.namespace().unwrap_or_default(), &object.name_any())
}

/// The Canaries that the endpoints of a Service concern.
fn by_label(
    directory: &Arc<Directory>,
) -> impl Fn(PartialObjectMeta<EndpointSlice>) -> Vec<Reference> + Send + Sync + 'static {
    let directory = Arc::clone(directory);
    move |slice| {
        let namespace = slice.namespace().unwrap_or_default();
        slice
            .labels()
            .get(pods::SERVICE_NAME)
            .map(|service| directory.of_service(&namespace, service))
            .unwrap_or_default()
    }
}

/// The Canaries whose target a pod belongs to.
fn by_owner(directory: &Arc<Directory>) -> impl Fn(Pod) -> Vec<Reference> + Send + Sync + 'static {
    let directory = Arc::clone(directory);
    move |pod| {
        let namespace = pod.namespace().unwrap_or_default();
        pods::workload(&pod)
            .map(|workload| directory.of_target(&namespace, &workload))
            .unwrap_or_default()
    }
}

/// The Canaries whose target uses a config.
fn by_config<K: Resource<DynamicType = ()>>(
    store: &Store<Guarded>,
    kind: &'static str,
) -> impl Fn(PartialObjectMeta<K>) -> Vec<Reference> + Send + Sync + 'static {
    let store = store.clone();
    move |object| {
        let key = format!("{kind}/{}", object.name_any());
        let namespace = object.namespace();
        let state = store.state();
        let readable = state.iter().filter_map(|canary| canary.0.as_ref().ok());
        readable
            .filter(|canary| {
                let status = canary.status.as_ref();
                canary.namespace() == namespace
                    && status.is_some_and(|status| status.tracked_configs.contains_key(&key))
            })
            .map(|canary| {
                let namespace = canary.namespace().unwrap_or_default();
                ObjectRef::new(&canary.name_any()).within(&namespace)
            })
            .collect()
    }
}
