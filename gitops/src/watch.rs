//! What wakes which reconciler.
//!
//! A spec that changed, a request for a reconcile, a deletion; never a status that we wrote
//! ourselves. Beyond that, a new artifact wakes the Kustomizations of its source, and a
//! Kustomization that became ready wakes those that depend on it.

use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};

use fairlead_crds::kustomization::Kustomization;
use fairlead_crds::source::GitRepository;
use fairlead_crds::{ConditionType, annotation, is_true};
use fairlead_runtime::report;
use futures::Stream;
use kube::api::{Api, DynamicObject, ObjectMeta};
use kube::core::{DeserializeGuard, NamespaceResourceScope};
use kube::runtime::controller::{self, Controller};
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::wait::{self, await_condition};
use kube::runtime::{PredicateConfig, WatchStreamExt as _, watcher};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;

use crate::context::Context;
use crate::kustomization::dereference::source_id;

/// Which namespaces are watched.
#[derive(Clone)]
pub struct Scope {
    client: Client,
    namespace: Option<String>,
}

impl Debug for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scope")
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

impl Scope {
    /// One namespace, or all.
    pub fn new(client: Client, namespace: Option<String>) -> Self {
        Self { client, namespace }
    }

    fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        match &self.namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        }
    }
}

/// The controller of GitRepositories.
pub fn git_repositories(scope: &Scope) -> Controller<DeserializeGuard<GitRepository>> {
    let (reader, stream) = changes::<GitRepository, _>(scope.api(), |object| orders(object.meta()));
    Controller::for_stream(stream, reader).with_config(unlimited())
}

/// The controller of Kustomizations.
pub fn kustomizations(scope: &Scope) -> Controller<DeserializeGuard<Kustomization>> {
    let (reader, stream) = changes::<Kustomization, _>(scope.api(), |object| orders(object.meta()));
    let (_, sources) = changes::<GitRepository, _>(scope.api(), revision);
    let (_, dependencies) = changes::<Kustomization, _>(scope.api(), readiness);
    let (by_source, by_dependency) = (reader.clone(), reader.clone());
    Controller::for_stream(stream, reader)
        .watches_stream(sources, move |source| consumers(&by_source, &source))
        .watches_stream(dependencies, move |dependency| {
            dependents(&by_dependency, &dependency)
        })
        .with_config(unlimited())
}

/// The Kustomizations of a source.
fn consumers(
    all: &Store<DeserializeGuard<Kustomization>>,
    source: &DeserializeGuard<GitRepository>,
) -> Vec<ObjectRef<DeserializeGuard<Kustomization>>> {
    let meta = source.meta();
    let is_consumer = |object: &Kustomization| {
        let id = source_id(object);
        id.kind == "GitRepository"
            && Some(&id.name) == meta.name.as_ref()
            && Some(&id.namespace) == meta.namespace.as_ref()
    };
    references(all, is_consumer)
}

/// The Kustomizations that depend on one.
fn dependents(
    all: &Store<DeserializeGuard<Kustomization>>,
    dependency: &DeserializeGuard<Kustomization>,
) -> Vec<ObjectRef<DeserializeGuard<Kustomization>>> {
    let meta = dependency.meta();
    references(all, |object| {
        object.spec.depends_on.iter().any(|reference| {
            let namespace = reference
                .namespace
                .as_ref()
                .or(object.metadata.namespace.as_ref());
            Some(&reference.name) == meta.name.as_ref() && namespace == meta.namespace.as_ref()
        })
    })
}

fn references(
    all: &Store<DeserializeGuard<Kustomization>>,
    is_wanted: impl Fn(&Kustomization) -> bool,
) -> Vec<ObjectRef<DeserializeGuard<Kustomization>>> {
    let state = all.state();
    let wanted = state
        .iter()
        .filter(|object| object.0.as_ref().is_ok_and(&is_wanted));
    wanted
        .map(|object| ObjectRef::from_obj(&**object))
        .collect()
}

/// Returns when a Kustomization, or the revision that it applies, is not the newest any more.
///
/// # Cancel safety
/// Dropping it ends its watches and harms nothing.
pub async fn newer(context: &Context, object: &Kustomization, revision: &str) {
    let id = source_id(object);
    let source = async {
        let kind = context.cluster.kind(&context.client, &id).await;
        let Ok(kind) = kind else {
            return std::future::pending().await;
        };
        let moved = |found: Option<&DynamicObject>| {
            let found =
                found.and_then(|found| found.data.pointer("/status/artifact/revision")?.as_str());
            found.is_some_and(|found| found != revision)
        };
        let api = kind.api(&context.client, &id.namespace);
        until(await_condition(api, &id.name, moved)).await;
    };
    tokio::select! {
        () = changed(context, object, orders) => {}
        () = source => {}
    }
}

/// Returns when an object's spec is not the newest any more, or when the object is to go.
///
/// # Cancel safety
/// Dropping it ends its watch and harms nothing.
pub async fn rewritten(context: &Context, object: &GitRepository) {
    changed(context, object, wishes).await;
}

/// Returns when a property of an object is another one, or the object is gone.
async fn changed<K>(context: &Context, object: &K, property: fn(&ObjectMeta) -> u64)
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + 'static,
{
    let meta = object.meta();
    let namespace = meta.namespace.as_deref().unwrap_or_default();
    let name = meta.name.as_deref().unwrap_or_default();
    let api: Api<DeserializeGuard<K>> = Api::namespaced(context.client.clone(), namespace);
    let before = property(meta);
    let changed = |found: Option<&DeserializeGuard<K>>| {
        found.is_none_or(|found| property(found.meta()) != before)
    };
    until(await_condition(api, name, changed)).await;
}

/// Waits for a condition; without its watch, for ever: what it would end lasts its full time.
async fn until<T>(condition: impl Future<Output = Result<T, wait::Error>>) {
    if let Err(error) = condition.await {
        tracing::warn!(error = %report(&error), "cannot watch for something newer");
        std::future::pending::<()>().await;
    }
}

/// Reconciles that only wait take no worker, so their number is not limited here.
fn unlimited() -> controller::Config {
    controller::Config::default().concurrency(0)
}

/// The objects of a kind, each time that a property of theirs changes, and a cache of them.
fn changes<K, P>(
    api: Api<DeserializeGuard<K>>,
    property: P,
) -> (
    Store<DeserializeGuard<K>>,
    impl Stream<Item = Result<DeserializeGuard<K>, watcher::Error>> + use<K, P>,
)
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    P: Fn(&DeserializeGuard<K>) -> u64 + Send + 'static,
{
    let (reader, writer) = reflector::store();
    let stream = watcher(api, watcher::Config::default())
        .default_backoff()
        .reflect(writer)
        .applied_objects()
        .predicate_filter(
            move |object: &DeserializeGuard<K>| Some(property(object)),
            PredicateConfig::default(),
        );
    (reader, stream)
}

/// What a user, or a webhook for him, changes to be heard.
fn orders(meta: &ObjectMeta) -> u64 {
    let annotations = meta.annotations.as_ref();
    let requested = annotations.and_then(|all| all.get(annotation::RECONCILE_REQUESTED_AT));
    hash(&(wishes(meta), requested))
}

/// What a user wants of an object: its spec, or its end.
fn wishes(meta: &ObjectMeta) -> u64 {
    hash(&(meta.generation, meta.deletion_timestamp.is_some()))
}

/// What a source offers.
fn revision(source: &DeserializeGuard<GitRepository>) -> u64 {
    let status = source
        .0
        .as_ref()
        .ok()
        .and_then(|source| source.status.as_ref());
    let artifact = status.and_then(|status| status.artifact.as_ref());
    hash(&artifact.map(|artifact| (&artifact.revision, &artifact.digest, &artifact.url)))
}

/// Whether dependents may go on.
fn readiness(object: &DeserializeGuard<Kustomization>) -> u64 {
    let status = object
        .0
        .as_ref()
        .ok()
        .and_then(|object| object.status.as_ref());
    hash(&status.map(|status| {
        let is_ready = is_true(&status.conditions, ConditionType::Ready);
        (
            is_ready,
            status.observed_generation,
            &status.last_applied_revision,
        )
    }))
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
