//! What both controllers need: a client, handles and settings.

use std::time::Duration;

use fairlead_controller::run;
use kube::Client;
use tokio_util::sync::CancellationToken;

use crate::args::{Alerts, Args, Images};
use crate::canary::steer::Stamps;
use crate::canary::validate::References;
use crate::outgoing::address::Permission;

/// Shared by all reconcilers of the process.
#[derive(Clone)]
pub struct Context {
    /// The cluster.
    pub client: Client,
    /// What the command line says.
    pub settings: Settings,
    /// What run loops count.
    pub metrics: run::Metrics,
    /// Cancelled at shutdown.
    pub shutdown: CancellationToken,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// What the command line says about the controllers.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Prometheus that Canaries query by default, if there is one.
    pub metrics_server: Option<String>,
    /// The provider of Canaries that name none.
    pub mesh_provider: String,
    /// Where templates and alert providers of a Canary may be.
    pub references: References,
    /// What tells who gave a command.
    pub stamps: Stamps,
    /// Shortest interval between two analyses.
    pub control_loop_min_interval: Duration,
    /// The one namespace to look at; all when `None`.
    pub watch_namespace: Option<String>,
    /// What MeshInstalls deploy.
    pub images: Images,
    /// Where messages about Canaries go.
    pub alerts: Alerts,
    /// Addresses that may be called although they are usually refused.
    pub allow_outgoing: Vec<Permission>,
    /// This process' name in events.
    pub instance: String,
    /// The namespace that this runs in.
    pub namespace: String,
}

impl From<&Args> for Settings {
    fn from(args: &Args) -> Self {
        Self {
            metrics_server: args
                .metrics_server
                .clone()
                .filter(|server| !server.is_empty()),
            mesh_provider: args.mesh_provider.clone(),
            references: if args.no_cross_namespace_refs {
                References::OwnNamespace
            } else {
                References::Anywhere
            },
            stamps: if args.trust_command_stamps {
                Stamps::Checked
            } else {
                Stamps::Unchecked
            },
            control_loop_min_interval: args.control_loop_min_interval,
            watch_namespace: args
                .watch_namespace
                .clone()
                .filter(|namespace| !namespace.is_empty()),
            images: args.images.clone(),
            alerts: args.alerts.clone(),
            allow_outgoing: args.allow_outgoing.clone(),
            instance: args.lease.pod_name.clone(),
            namespace: args.lease.lease_namespace.clone(),
        }
    }
}
