//! The control plane: registry, xDS server, certificate authority, injector, admission.
//!
//! [`run`] starts everything as supervised tasks; each module owns one part and says what it may
//! not do.

pub mod admin;
pub mod admission;
pub mod ads;
pub mod args;
pub mod ca;
pub mod config;
pub mod inject;
pub mod metrics;
pub mod push;
pub mod registry;
pub mod serving;
pub mod status;
pub mod tls;
pub mod webhooks;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use fairlead_controller::kinds;
use fairlead_runtime::admin::Admin;
use fairlead_runtime::tasks::Tasks;
use fairlead_translate::Mesh;
use kube::Client;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use ads::connections::Connections;
use ads::{Admission, Ads};
use args::Args;
use ca::caller::Callers;
use ca::service::Signer;
use ca::store::KeyStore;
use metrics::Metrics;
use push::debounce::Debounce;
use push::{Published, Pusher};
use registry::watch::Live;
use serving::Serving;
use status::Tracker;
use status::leader::Leader;

/// How long tasks may take to stop.
const GRACE: Duration = Duration::from_secs(10);
/// Runs until shutdown.
///
/// # Errors
/// Something without which there is no control plane could not be started, or a task died.
pub async fn run(client: Client, args: Args, shutdown: CancellationToken) -> anyhow::Result<()> {
    let tasks = Tasks::new(shutdown);
    let mut admin = Admin::default();
    let metrics = Metrics::register(admin.registry());
    let caches = admin.readiness().check("caches");
    let kinds = admin.readiness().check("kinds");

    let keys = KeyStore::new(client.clone(), &args.namespace);
    let (serving, keeper) = serving::start(keys, args.serving_names(), &args.trust_domain)
        .await
        .context("failed to start the certificate authority")?;
    tasks.spawn("serving certificates", keeper.run(tasks.token().clone()));

    let (published, snapshots) = watch::channel(None);
    let mesh = Shared {
        client,
        live: Arc::new(Live::new(Debounce::new(args.push.quiet(), args.push.max()))),
        tracker: Arc::default(),
        snapshots,
        serving,
        metrics,
    };
    webhooks::start(&tasks, &args, &mesh).await?;
    let connections = start_xds(&tasks, &args, &mesh).await?;
    let pusher = Pusher {
        live: Arc::clone(&mesh.live),
        mesh: mesh_of(&args),
        published,
        tracker: Arc::clone(&mesh.tracker),
        caches,
        metrics: mesh.metrics.clone(),
    };
    tasks.spawn("pusher", pusher.run(tasks.token().clone()));
    tasks.spawn(
        "status",
        Leader::new(&args, &mesh)?.run(tasks.token().clone()),
    );

    let view = admin::View {
        readiness: admin.readiness().clone(),
        connections,
    };
    admin::start(&tasks, args.listen.ready_address, view).await?;
    tasks.spawn(
        "admin",
        admin.serve(args.listen.admin_address, tasks.token().clone()),
    );

    let resources: Vec<_> = config::MESH_KINDS
        .into_iter()
        .filter_map(config::resource)
        .collect();
    tokio::select! {
        () = kinds::wait_for_kinds(&mesh.client, &resources, &kinds) => {}
        () = tasks.token().cancelled() => {}
    }
    registry::watch::start(&tasks, &mesh.client, &mesh.live, &args.namespace);
    tasks.join(GRACE).await.context("the control plane failed")
}

/// What the parts have in common.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) client: Client,
    /// What the API server holds.
    pub(crate) live: Arc<Live>,
    /// Who has accepted what.
    pub(crate) tracker: Arc<Tracker>,
    /// The newest snapshot; none while the caches are filling.
    pub(crate) snapshots: watch::Receiver<Option<Arc<Published>>>,
    /// Certificates.
    pub(crate) serving: Serving,
    pub(crate) metrics: Metrics,
}

async fn start_xds(tasks: &Tasks, args: &Args, mesh: &Shared) -> anyhow::Result<Arc<Connections>> {
    let (tracker, live) = (Arc::clone(&mesh.tracker), Arc::clone(&mesh.live));
    let connections = Arc::new(Connections::new(tracker, live, mesh.metrics.clone()));
    let callers = Callers::new(mesh.client.clone(), &args.trust_domain);
    let ads = Ads {
        admission: Admission::Proven(callers.clone()),
        published: mesh.snapshots.clone(),
        connections: Arc::clone(&connections),
        tracker: Arc::clone(&mesh.tracker),
        metrics: mesh.metrics.clone(),
        shutdown: tasks.token().clone(),
    };
    if let Some(address) = args.listen.plaintext_xds_address {
        let anonymous = Ads {
            admission: Admission::Anonymous,
            ..ads.clone()
        };
        ads::server::start_plaintext(tasks, address, anonymous)?;
    }
    let authority = mesh.serving.authority.clone();
    let signer = Signer {
        authority,
        callers,
        metrics: mesh.metrics.clone(),
    };
    ads::server::start(tasks, args.listen.xds_address, &mesh.serving, ads, signer).await?;
    Ok(connections)
}

fn mesh_of(args: &Args) -> Mesh {
    Mesh {
        trust_domain: args.trust_domain.clone(),
        root_namespace: args.namespace.clone(),
        domain: args.cluster_domain.clone(),
        cluster: args.cluster_id.clone(),
        ..Mesh::default()
    }
}
