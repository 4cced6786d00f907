//! Keeps the mesh's root certificate in a ConfigMap of every namespace, for proxies to mount.
//!
//! Level-triggered: each change of a namespace, of one of the ConfigMaps or of the root leads to
//! one sweep that writes only what differs. Every replica does this; the writes are idempotent.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Patch, PatchParams};
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::ROOT_CONFIG_MAP;

/// Key of the ConfigMap.
const ROOT_KEY: &str = "root-cert.pem";
const FIELD_MANAGER: &str = "fairlead-root-certificate";
/// Gathers the events of a burst, for instance of the first list.
const QUIET: Duration = Duration::from_millis(50);
/// Pause after a sweep in which a write failed.
const RETRY: Duration = Duration::from_secs(5);

/// Why the root certificate could not be written.
#[derive(Debug, thiserror::Error)]
#[error("failed to write the root certificate into namespace `{namespace}`")]
pub struct Error {
    namespace: String,
    #[source]
    source: Box<kube::Error>,
}

/// Writes the root certificate into namespaces.
#[derive(Clone)]
pub struct RootDistribution {
    client: Client,
    root: watch::Receiver<Arc<str>>,
    written: Store<ConfigMap>,
}

/// The loop that keeps every namespace in step.
pub struct Keeper {
    distribution: RootDistribution,
    namespaces: Store<Namespace>,
    events: BoxStream<'static, ()>,
}

impl fmt::Debug for RootDistribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RootDistribution").finish_non_exhaustive()
    }
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper")
            .field("distribution", &self.distribution)
            .finish_non_exhaustive()
    }
}

impl RootDistribution {
    /// The writer of one root bundle, and the loop that has to run for it to know what is written.
    pub fn new(client: Client, root: watch::Receiver<Arc<str>>) -> (Self, Keeper) {
        let ours = watcher::Config::default().fields(&format!("metadata.name={ROOT_CONFIG_MAP}"));
        let (written, config_map_events) = reflect(Api::<ConfigMap>::all(client.clone()), ours);
        let (namespaces, namespace_events) = reflect(
            Api::<Namespace>::all(client.clone()),
            watcher::Config::default(),
        );
        let rotations = tokio_stream::wrappers::WatchStream::from_changes(root.clone());
        let events = stream::select(config_map_events, namespace_events);
        let events = stream::select(events, rotations.map(|_| ())).boxed();
        let distribution = Self {
            client,
            root,
            written,
        };
        (
            distribution.clone(),
            Keeper {
                distribution,
                namespaces,
                events,
            },
        )
    }

    /// Makes sure that `namespace` holds the root certificate in force.
    ///
    /// # Errors
    /// The API server refused the write or did not answer.
    pub async fn publish(&self, namespace: &str) -> Result<(), Error> {
        let root = Arc::clone(&self.root.borrow());
        if self.is_current(namespace, &root) {
            return Ok(());
        }
        let config_map = ConfigMap {
            metadata: ObjectMeta {
                name: Some(ROOT_CONFIG_MAP.to_owned()),
                labels: Some([("istio.io/config".to_owned(), "true".to_owned())].into()),
                ..ObjectMeta::default()
            },
            data: Some(BTreeMap::from([(ROOT_KEY.to_owned(), root.to_string())])),
            ..ConfigMap::default()
        };
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        let params = PatchParams::apply(FIELD_MANAGER).force();
        match api
            .patch(ROOT_CONFIG_MAP, &params, &Patch::Apply(&config_map))
            .await
        {
            Ok(_) => Ok(()),
            Err(source) => Err(Error {
                namespace: namespace.to_owned(),
                source: Box::new(source),
            }),
        }
    }

    fn is_current(&self, namespace: &str, root: &str) -> bool {
        let key = ObjectRef::new(ROOT_CONFIG_MAP).within(namespace);
        let written = self.written.get(&key);
        written.is_some_and(|map| {
            map.data
                .as_ref()
                .and_then(|data| data.get(ROOT_KEY))
                .is_some_and(|pem| pem == root)
        })
    }
}

impl Keeper {
    /// Runs until shutdown.
    ///
    /// # Errors
    /// None: a write that fails is logged and tried again.
    pub async fn run(
        mut self,
        shutdown: CancellationToken,
    ) -> Result<(), std::convert::Infallible> {
        let mut retry = false;
        loop {
            let pause = if retry { RETRY } else { Duration::MAX };
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                event = self.events.next() => if event.is_none() { return Ok(()) },
                () = tokio::time::sleep(pause) => {}
            }
            self.drain_burst().await;
            retry = !sweep(&self.distribution, &self.namespaces).await;
        }
    }

    async fn drain_burst(&mut self) {
        while let Ok(Some(())) = tokio::time::timeout(QUIET, self.events.next()).await {}
    }
}

/// Whether every namespace is current now.
async fn sweep(distribution: &RootDistribution, namespaces: &Store<Namespace>) -> bool {
    let mut complete = true;
    for namespace in namespaces.state() {
        if namespace.meta().deletion_timestamp.is_some() {
            continue;
        }
        if let Err(error) = distribution.publish(&namespace.name_any()).await {
            tracing::warn!(error = %fairlead_runtime::report(&error), "will try again");
            complete = false;
        }
    }
    complete
}

/// A store, and the stream that fills it as it is polled.
fn reflect<K>(api: Api<K>, config: watcher::Config) -> (Store<K>, BoxStream<'static, ()>)
where
    K: Resource<DynamicType = ()> + Clone + fmt::Debug + Send + Sync + 'static,
    K: serde::de::DeserializeOwned,
{
    let (store, writer) = reflector::store();
    let kind = K::kind(&()).to_string();
    let events = watcher(api, config)
        .default_backoff()
        .reflect(writer)
        .filter_map(move |event| {
            if let Err(error) = &event {
                tracing::warn!(kind, error = %fairlead_runtime::report(error), "watch interrupted");
            }
            std::future::ready(event.is_ok().then_some(()))
        })
        .boxed();
    (store, events)
}
