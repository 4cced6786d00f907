//! Watches that feed the registry, and the signal that something has changed.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use fairlead_runtime::clock;
use fairlead_runtime::tasks::Tasks;
use futures::StreamExt;
use kube::core::DeserializeGuard;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::Registry;
use super::collection::{Collection, Kept};
use crate::push::debounce::{Change, Debounce};

/// The registry, and what is to be pushed of it.
#[derive(Debug)]
pub struct Live {
    registry: Mutex<Registry>,
    debounce: Mutex<Debounce>,
    changed: Notify,
}

impl Live {
    /// An empty registry.
    pub fn new(debounce: Debounce) -> Self {
        Self {
            registry: Mutex::default(),
            debounce: Mutex::new(debounce),
            changed: Notify::new(),
        }
    }

    /// Looks at the registry.
    pub fn read<T>(&self, look: impl FnOnce(&Registry) -> T) -> T {
        look(&self.registry.lock())
    }

    /// Notes that a push is wanted.
    pub fn record(&self, change: Change) {
        self.debounce.lock().record(change, clock::instant());
        self.changed.notify_one();
    }

    /// Notes that a push has taken some time.
    pub fn pushed(&self, taken: Duration) {
        self.debounce.lock().pushed(clock::instant(), taken);
    }

    /// Returns when it is time for a push.
    ///
    /// # Cancel safety
    /// Dropping it loses nothing.
    pub async fn due(&self) {
        loop {
            let deadline = self.debounce.lock().deadline();
            let until = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = until => {
                    self.debounce.lock().clear();
                    return;
                }
                () = self.changed.notified() => {}
            }
        }
    }
}

/// One watch.
pub struct Watch<K> {
    /// Where the objects are.
    pub api: Api<DeserializeGuard<K>>,
    /// Which of them.
    pub config: watcher::Config,
    /// Where they are kept.
    pub part: fn(&mut Registry) -> &mut Collection<K>,
    /// What a change of them asks for.
    pub change: Change,
}

impl<K> fmt::Debug for Watch<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("change", &self.change)
            .finish_non_exhaustive()
    }
}

impl<K> Watch<K>
where
    K: Kept + Clone + fmt::Debug + DeserializeOwned + Send + Sync + 'static,
{
    /// Runs until shutdown.
    ///
    /// # Errors
    /// None: a watch that breaks is logged and started again.
    pub async fn run(
        self,
        live: Arc<Live>,
        shutdown: CancellationToken,
    ) -> Result<(), std::convert::Infallible> {
        let kind = K::kind(&()).to_string();
        let mut events = watcher(self.api, self.config).default_backoff().boxed();
        loop {
            let event = tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                event = events.next() => event,
            };
            match event {
                Some(Ok(event)) => {
                    let changed = (self.part)(&mut live.registry.lock()).apply(event);
                    if changed {
                        live.record(self.change);
                    }
                }
                Some(Err(error)) => {
                    let error = fairlead_runtime::report(&error).to_string();
                    tracing::warn!(kind, error, "watch interrupted");
                }
                None => return Ok(()),
            }
        }
    }
}

/// Starts all watches.
pub fn start(tasks: &Tasks, client: &Client, live: &Arc<Live>, root_namespace: &str) {
    let start = Start {
        tasks,
        client,
        live,
    };
    start.everywhere(|registry| &mut registry.services, Change::Config);
    start.everywhere(|registry| &mut registry.endpoint_slices, Change::Endpoints);
    start.everywhere(|registry| &mut registry.pods, Change::Endpoints);
    start.everywhere(|registry| &mut registry.virtual_services, Change::Config);
    start.everywhere(|registry| &mut registry.destination_rules, Change::Config);
    start.everywhere(|registry| &mut registry.gateways, Change::Config);
    start.everywhere(|registry| &mut registry.service_entries, Change::Config);
    start.everywhere(
        |registry| &mut registry.peer_authentications,
        Change::Config,
    );
    start.watch(Watch {
        api: Api::namespaced(client.clone(), root_namespace),
        // Certificates of gateways; neither Helm's releases nor the authority's own key.
        config: watcher::Config::default()
            .fields("type!=helm.sh/release.v1,type!=istio.io/ca-root,metadata.name!=cacerts"),
        part: |registry| &mut registry.secrets,
        change: Change::Config,
    });
}

struct Start<'a> {
    tasks: &'a Tasks,
    client: &'a Client,
    live: &'a Arc<Live>,
}

impl Start<'_> {
    fn everywhere<K>(&self, part: fn(&mut Registry) -> &mut Collection<K>, change: Change)
    where
        K: Kept + Clone + fmt::Debug + DeserializeOwned + Send + Sync + 'static,
    {
        let api = Api::all(self.client.clone());
        self.watch(Watch {
            api,
            config: watcher::Config::default(),
            part,
            change,
        });
    }

    fn watch<K>(&self, watch: Watch<K>)
    where
        K: Kept + Clone + fmt::Debug + DeserializeOwned + Send + Sync + 'static,
    {
        let name = format!("watch of {}", K::kind(&()));
        self.tasks.spawn(
            name,
            watch.run(Arc::clone(self.live), self.tasks.token().clone()),
        );
    }
}
