//! What the controllers share: clients, the artifact store, settings. No decisions.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fairlead_controller::{Applier, Recorder};
use kube::Client;
use tokio::sync::Semaphore;

use crate::artifact::store::Store;
use crate::cluster::{Access, Cluster};

/// Field manager of everything that a Kustomization applies; Flux's, so that a cluster can change
/// from one to the other without a fight about fields.
pub const FIELD_MANAGER: &str = "kustomize-controller";

/// Settings of the process that reconcilers need.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The binary that is started to fetch: this one.
    pub program: PathBuf,
    /// Whether references to other namespaces are refused.
    pub refuses_cross_namespace: bool,
    /// Service account of Kustomizations that name none.
    pub default_service_account: Option<String>,
    /// How long to wait before looking at an unmet dependency again, should no watch tell.
    pub dependency_interval: Duration,
}

/// Clients and handles of all reconcilers.
#[derive(Clone)]
pub struct Context {
    /// The API server, with the rights of this process.
    pub client: Client,
    /// Writes statuses.
    pub applier: Applier,
    /// Publishes events.
    pub recorder: Recorder,
    /// Artifacts.
    pub store: Store,
    /// For artifacts that others serve.
    pub http: reqwest::Client,
    /// Kinds that the cluster serves, and clients that act as service accounts.
    pub cluster: Arc<Cluster>,
    /// Limits how many repositories are fetched at once.
    pub fetches: Arc<Semaphore>,
    /// Limits how many Kustomizations are built and applied at once; waiting ones do not count.
    pub workers: Arc<Semaphore>,
    /// Settings.
    pub settings: Arc<Settings>,
}

impl Context {
    /// Access to the cluster with the rights of a client.
    pub fn access<'a>(&'a self, client: &'a Client) -> Access<'a> {
        Access {
            cluster: &self.cluster,
            own: &self.client,
            client,
        }
    }
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
