//! The operator: MeshInstall and Canary controllers.
//!
//! [`run()`] is the whole process below `main`: it serves the admin endpoints, waits for the CRDs and
//! for the leader's lease, then runs both controllers until shutdown.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use fairlead_controller::{kinds, lease, run};
use fairlead_crds::canary::{AlertProvider, Canary, MetricTemplate};
use fairlead_crds::mesh_install::MeshInstall;
use fairlead_crds::networking::{DestinationRule, VirtualService};
use fairlead_runtime::admin::Admin;
use fairlead_runtime::tasks::Tasks;
use kube::Client;
use kube::core::ApiResource;
use tokio_util::sync::CancellationToken;

pub mod analysis;
pub mod args;
pub mod canary;
pub mod context;
pub mod dry_run;
#[cfg(test)]
mod fake;
pub mod fault;
mod listed;
pub mod mesh_install;
pub mod notify;
pub mod outgoing;
pub mod router;
pub mod trace;
pub mod workload;

use args::Args;
use context::{Context, Settings};
use trace::Tracer;

/// How long reconciles that have begun may take at shutdown; less than the 30 s that Kubernetes
/// waits before it kills, so that the lease is released.
const GRACE: Duration = Duration::from_secs(20);

/// The resource version of what does not exist: no object has it, so that an apply with it makes
/// an object and never changes one that another leader has made in the meantime.
pub(crate) const ABSENT: &str = "1";

/// Runs the operator against a cluster until `shutdown`.
///
/// # Errors
/// When the lease is lost or a task dies: the process must end then.
pub async fn run(client: Client, args: Args, shutdown: CancellationToken) -> anyhow::Result<()> {
    let mut admin = Admin::default();
    let metrics = run::Metrics::register(admin.registry());
    let canaries = canary::Metrics::register(admin.registry(), &args.mesh_provider);
    let messages = notify::Metrics::register(admin.registry());
    let spans = trace::Metrics::register(admin.registry());
    let crds = admin.readiness().check("crds");
    let tasks = Tasks::new(shutdown.clone());
    tasks.spawn("admin", admin.serve(args.admin.address, shutdown.clone()));

    let tracer = Tracer::start(&tasks, args.traces.settings(), spans, shutdown.clone());

    let lease = lease::Config::new(
        &args.lease.lease_namespace,
        &args.lease.lease_name,
        &args.lease.pod_name,
    );
    let context = Context {
        client: client.clone(),
        settings: Settings::from(&args),
        metrics,
        shutdown: shutdown.clone(),
    };
    tasks.spawn("leader", async move {
        let kinds = kinds();
        tokio::select! {
            () = kinds::wait_for_kinds(&client, &kinds, &crds) => {}
            () = shutdown.cancelled() => return Ok(()),
        }
        lease::lead(client, lease, shutdown, move |token| {
            lead(context, token, canaries, messages, tracer)
        })
        .await
    });
    tasks.join(GRACE).await.context("the operator failed")
}

/// The kinds without which neither controller can work.
fn kinds() -> [ApiResource; 6] {
    [
        ApiResource::erase::<MeshInstall>(&()),
        ApiResource::erase::<Canary>(&()),
        ApiResource::erase::<MetricTemplate>(&()),
        ApiResource::erase::<AlertProvider>(&()),
        ApiResource::erase::<VirtualService>(&()),
        ApiResource::erase::<DestinationRule>(&()),
    ]
}

/// The leader's work: both controllers.
async fn lead(
    context: Context,
    shutdown: CancellationToken,
    canaries: canary::Metrics,
    messages: notify::Metrics,
    tracer: Tracer,
) -> anyhow::Result<()> {
    let controllers = Tasks::new(shutdown.clone());
    let context = Arc::new(Context {
        shutdown,
        ..context
    });
    canary::spawn(&controllers, &context, canaries, messages, tracer);
    controllers.spawn("mesh-install", mesh_install::run(context));
    controllers.join(GRACE).await?;
    Ok(())
}
