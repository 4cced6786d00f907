//! Runs the writer on the one replica that leads.

use std::convert::Infallible;
use std::sync::Arc;

use anyhow::Context as _;
use fairlead_controller::lease;
use tokio_util::sync::CancellationToken;

use super::others::Others;
use super::peers::Peers;
use super::writer::Writer;
use crate::Shared;
use crate::args::Args;

/// The lease of the replica that writes statuses.
const LEASE: &str = "istio-status-leader";

/// Writes statuses whenever this replica leads. A lost lease only stops the writing: streams and
/// webhooks are served by every replica.
pub(crate) struct Leader {
    mesh: Shared,
    lease: lease::Config,
    others: Others,
}

impl Leader {
    pub(crate) fn new(args: &Args, mesh: &Shared) -> anyhow::Result<Self> {
        let name = args.replica_name();
        let name = name
            .try_into()
            .context("the Service's name is not a DNS name")?;
        let others = Others {
            live: Arc::clone(&mesh.live),
            namespace: args.namespace.clone(),
            service: args.service.clone(),
            pod: args.pod_name.clone(),
            peers: Peers::new(mesh.serving.replicas.clone(), name),
        };
        let lease = lease::Config::new(&args.namespace, LEASE, &args.pod_name);
        Ok(Self {
            mesh: mesh.clone(),
            lease,
            others,
        })
    }

    pub(crate) async fn run(self, shutdown: CancellationToken) -> Result<(), Infallible> {
        while !shutdown.is_cancelled() {
            let client = self.mesh.client.clone();
            let led = lease::lead(client, self.lease.clone(), shutdown.clone(), |shutdown| {
                self.writer().run(shutdown)
            });
            if let Err(error) = led.await {
                let error = fairlead_runtime::report(&error).to_string();
                tracing::warn!(error, "no longer writing statuses");
            }
        }
        Ok(())
    }

    fn writer(&self) -> Writer {
        let (client, tracker) = (self.mesh.client.clone(), Arc::clone(&self.mesh.tracker));
        Writer::new(
            client,
            tracker,
            self.others.clone(),
            self.mesh.metrics.clone(),
        )
    }
}
