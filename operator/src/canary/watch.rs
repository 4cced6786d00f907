//! What wakes a Canary: changes of its objects, and answers to its questions.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt::Debug;
use std::sync::Arc;

use fairlead_controller::kinds::until_served;
use fairlead_controller::{Recorder, run};
use fairlead_crds::networking::{DestinationRule, VirtualService};
use fairlead_runtime::tasks::Tasks;
use futures::{Stream, StreamExt, TryStreamExt as _};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, DynamicObject, PartialObjectMeta};
use kube::core::ApiResource;
use kube::runtime::controller::Controller;
use kube::runtime::reflector::{self, ObjectRef};
use kube::runtime::watcher::Event;
use kube::runtime::{PredicateConfig, WatchStreamExt, watcher};
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio_stream::wrappers::UnboundedReceiverStream;

use super::briefing::Briefings;
use super::cluster::Cluster;
use super::desk::Desk;
use super::directory::Directory;
use super::events::Teller;
use super::fights::Fights;
use super::line::Line;
use super::measure::Sources;
use super::memory::Memory;
use super::pods;
use super::sight::Part;
use super::validate::Limits;
use super::wakers::Wakers;
use super::{Context, Guarded, Metrics, leave, reconcile};
use crate::analysis::mesh::Mesh;
use crate::analysis::webhook::Webhooks;
use crate::context;
use crate::notify;
use crate::outgoing::Outgoing;
use crate::router;
use crate::trace::Tracer;
use crate::workload::autoscaler::Kind as Scaler;

/// Starts the Canary controller, and the queue of its messages.
pub fn spawn(
    tasks: &Tasks,
    base: &context::Context,
    metrics: Metrics,
    messages: notify::Metrics,
    tracer: Tracer,
) {
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
    let teller = teller(base, outgoing, queue, messages);
    let scope = Scope {
        client: base.client.clone(),
        namespace: base.settings.watch_namespace.clone(),
    };
    let (reader, writer) = reflector::store();
    let directory = Arc::new(Directory::default());
    let memory = Arc::new(Memory::default());
    let noted = Arc::clone(&directory);
    let (its_desk, its_mesh, its_memory) =
        (desk.clone(), sources.mesh.clone(), Arc::clone(&memory));
    let canaries = watcher(scope.api::<Guarded>(), watcher::Config::default())
        .default_backoff()
        .reflect(writer)
        .inspect_ok(move |event| {
            noted.note(event);
            // The controller does not look at what is gone.
            if let Event::Delete(gone) = event {
                let canary = ObjectRef::from_obj(gone);
                leave(&its_desk, &its_mesh, &its_memory, &canary, gone.uid());
            }
        })
        .touched_objects()
        // Our own status writes are no news.
        .predicate_filter(interesting, PredicateConfig::default());
    let controller = Controller::for_stream(canaries, reader.clone())
        .reconcile_on(UnboundedReceiverStream::new(woken));
    let wakers = Wakers {
        directory: Arc::clone(&directory),
        memory: Arc::clone(&memory),
    };
    let controller = watches(controller, &scope, &wakers);
    let context = Arc::new(Context {
        cluster: Cluster::new(base.client.clone()),
        store: reader,
        directory: Arc::clone(&directory),
        limits: limits(base),
        stamps: base.settings.stamps,
        sources,
        desk,
        memory,
        briefings: Briefings::default(),
        line: Line::new(base.shutdown.clone()),
        fights: Fights::default(),
        teller,
        tracer,
        metrics: metrics.clone(),
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

/// What Canaries may ask for.
fn limits(base: &context::Context) -> Limits {
    Limits {
        interval_floor: base.settings.control_loop_min_interval,
        provider: base.settings.mesh_provider.clone(),
        references: base.settings.references,
    }
}

/// What tells people of rollouts.
fn teller(
    base: &context::Context,
    outgoing: Outgoing,
    queue: notify::Queue,
    messages: notify::Metrics,
) -> Teller {
    Teller {
        recorder: Recorder::new(
            base.client.clone(),
            super::FIELD_MANAGER,
            &base.settings.instance,
        ),
        queue,
        metrics: messages,
        webhooks: Webhooks::new(base.client.clone(), outgoing.clone()),
        outgoing,
        providers: notify::Providers {
            client: base.client.clone(),
            username: base.settings.alerts.slack_user.clone(),
        },
        global: base.settings.alerts.clone(),
    }
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

    /// Events of a kind, without its content, once the cluster knows it: it is installed by whoever
    /// needs it.
    fn events(
        &self,
        resource: ApiResource,
    ) -> impl Stream<Item = Result<Event<PartialObjectMeta<DynamicObject>>, watcher::Error>>
    + Send
    + 'static {
        let client = self.client.clone();
        let api: Api<PartialObjectMeta<DynamicObject>> = match &self.namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        };
        let served = async move { until_served(&client, &resource).await };
        futures::stream::once(served)
            .flat_map(move |()| watcher(api.clone(), watcher::Config::default()).default_backoff())
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

/// Pods whose containers crash, or wait for what may not come. Their status is in no other object: a Deployment tells that a pod
/// is not ready, and not why. None of them is kept.
fn ailing_pods(scope: &Scope) -> impl Stream<Item = Result<Pod, watcher::Error>> + Send + 'static {
    watcher(scope.api::<Pod>(), watcher::Config::default())
        .default_backoff()
        .applied_objects()
        .try_filter(|pod| {
            let ails = pods::crash(pod).is_some() || pods::obstacle(pod).is_some();
            std::future::ready(ails)
        })
}

/// Autoscalers whose spec is another one, and those that go. Their status changes all the time.
fn edited_scalers(
    scope: &Scope,
    kind: Scaler,
) -> impl Stream<Item = Result<PartialObjectMeta<DynamicObject>, watcher::Error>> + Send + 'static {
    let mut generations = HashMap::new();
    scope.events(kind.resource()).try_filter_map(move |event| {
        let news = match event {
            Event::Apply(scaler) | Event::InitApply(scaler) => {
                let generation = scaler.metadata.generation;
                let before = generations.insert(scaler.uid(), generation);
                (before != Some(generation)).then_some(scaler)
            }
            Event::Delete(scaler) => {
                generations.remove(&scaler.uid());
                Some(scaler)
            }
            Event::Init | Event::InitDone => None,
        };
        std::future::ready(Ok(news))
    })
}

/// Changes of HTTPRoutes.
fn http_routes(
    scope: &Scope,
) -> impl Stream<Item = Result<PartialObjectMeta<DynamicObject>, watcher::Error>> + Send + 'static {
    scope.events(router::http_routes("v1")).touched_objects()
}

fn watches(controller: Controller<Guarded>, scope: &Scope, wakers: &Wakers) -> Controller<Guarded> {
    controller
        .watches_stream(scope.changes::<Deployment>(), wakers.by_workload())
        .watches_stream(scope.changes::<DaemonSet>(), wakers.by_workload())
        .watches_stream(scope.changes::<StatefulSet>(), wakers.by_workload())
        .watches_stream_with(
            edited_scalers(scope, Scaler::HorizontalPodAutoscaler),
            wakers.by_scaler(),
            Scaler::HorizontalPodAutoscaler.resource(),
        )
        .watches_stream_with(
            edited_scalers(scope, Scaler::ScaledObject),
            wakers.by_scaler(),
            Scaler::ScaledObject.resource(),
        )
        .watches_stream(scope.changes::<Service>(), wakers.by_target_service())
        .watches_stream(
            scope.changes::<DestinationRule>(),
            wakers.by_service(Part::Objects),
        )
        .watches_stream(
            scope.changes::<VirtualService>(),
            wakers.by_service(Part::Routes),
        )
        .watches_stream_with(
            http_routes(scope),
            wakers.by_service(Part::Routes),
            router::http_routes("v1"),
        )
        .watches_stream(scope.changes::<EndpointSlice>(), wakers.by_label())
        .watches_stream(ailing_pods(scope), wakers.by_owner())
        .watches_stream(scope.changes::<ConfigMap>(), wakers.by_config("configmap"))
        .watches_stream(scope.changes::<Secret>(), wakers.by_config("secret"))
}
