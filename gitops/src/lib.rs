//! The GitOps controllers: GitRepository and Kustomization.
//!
//! [`run()`] is the whole process below `main`: it serves the admin endpoints, waits for the CRDs and
//! for the leader's lease, then serves artifacts and runs the controllers until shutdown.

pub mod args;
pub mod artifact;
pub mod cluster;
pub mod context;
pub mod fetch;
pub mod finalizer;
pub mod git_repository;
pub mod kustomization;
pub mod watch;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use fairlead_controller::{Applier, Recorder, client, kinds, lease, run};
use fairlead_crds::kustomization::Kustomization;
use fairlead_crds::source::GitRepository;
use fairlead_runtime::admin::Admin;
use fairlead_runtime::tasks::{self, Tasks};
use kube::Config;
use kube::core::ApiResource;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use args::Run;
use artifact::store::Store;
use cluster::Cluster;
use context::{Context, FIELD_MANAGER, Settings};

/// How long reconciles that have begun may take at shutdown; less than the 30 s that Kubernetes
/// waits before it kills, so that the lease is released.
const GRACE: Duration = Duration::from_secs(20);
/// How long connecting to the server of an artifact may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a whole artifact may take.
const DOWNLOAD_TIMEOUT: Duration = Duration::from_secs(60);
/// How often an unmet dependency is looked at when no watch told of a change.
const DEPENDENCY_INTERVAL: Duration = Duration::from_secs(30);

/// Runs the controllers against a cluster until `shutdown`.
///
/// # Errors
/// When the lease is lost or a task dies: the process must end then.
pub async fn run(config: Config, args: Run, shutdown: CancellationToken) -> anyhow::Result<()> {
    let client = client::from_config(config.clone()).context("failed to make a client")?;
    let store = Store::open(args.storage.clone(), &args.artifact_url)
        .await
        .context("failed to open the folder of the artifacts")?;
    let context = Context {
        applier: Applier::new(client.clone(), FIELD_MANAGER),
        recorder: Recorder::new(client.clone(), "fairlead-gitops", &args.pod_name),
        store,
        http: http_client()?,
        cluster: Arc::new(Cluster::new(config)),
        fetches: Arc::new(Semaphore::new(usize::from(args.concurrent))),
        workers: Arc::new(Semaphore::new(usize::from(args.concurrent))),
        settings: Arc::new(Settings {
            program: std::env::current_exe().context("failed to find this binary")?,
            refuses_cross_namespace: args.no_cross_namespace_refs,
            default_service_account: args.default_service_account.clone(),
            dependency_interval: DEPENDENCY_INTERVAL,
        }),
        client: client.clone(),
    };
    let mut admin = Admin::default();
    let metrics = run::Metrics::register(admin.registry());
    let kinds = admin.readiness().check("CRDs");
    let tasks = Tasks::new(shutdown.clone());
    tasks.spawn("admin", admin.serve(args.admin.address, shutdown.clone()));
    let lease = lease::Config::new(&args.lease_namespace, &args.lease_name, &args.pod_name);
    let lead_client = client.clone();
    tasks.spawn(
        "leader",
        lease::lead(lead_client, lease, shutdown, move |token| async move {
            let wanted = [
                ApiResource::erase::<GitRepository>(&()),
                ApiResource::erase::<Kustomization>(&()),
            ];
            tokio::select! {
                () = kinds::wait_for_kinds(&client, &wanted, &kinds) => {}
                () = token.cancelled() => return Ok(()),
            }
            lead(context, args, metrics, token).await
        }),
    );
    tasks.join(GRACE).await.context("gitops failed")
}

/// The leader's work: the artifact server and the controllers.
async fn lead(
    context: Context,
    args: Run,
    metrics: run::Metrics,
    shutdown: CancellationToken,
) -> Result<(), tasks::Error> {
    let tasks = Tasks::new(shutdown.clone());
    let context = Arc::new(context);
    let scope = watch::Scope::new(context.client.clone(), args.watch_namespace.clone());
    tasks.spawn(
        "artifacts",
        serve_artifacts(
            context.store.clone(),
            args.artifact_address,
            shutdown.clone(),
        ),
    );
    let options = |name| run::Options {
        name,
        shutdown: shutdown.clone(),
        metrics: metrics.clone(),
    };
    let repositories = watch::git_repositories(&scope);
    let (shared, options_of_repositories) = (Arc::clone(&context), options("git-repository"));
    tasks.spawn("git-repository", async move {
        run::run(
            repositories,
            git_repository::reconcile,
            shared,
            options_of_repositories,
        )
        .await;
        Ok::<_, std::convert::Infallible>(())
    });
    let kustomizations = watch::kustomizations(&scope);
    let options_of_kustomizations = options("kustomization");
    tasks.spawn("kustomization", async move {
        run::run(
            kustomizations,
            kustomization::reconcile,
            context,
            options_of_kustomizations,
        )
        .await;
        Ok::<_, std::convert::Infallible>(())
    });
    tasks.join(GRACE).await
}

async fn serve_artifacts(
    store: Store,
    address: std::net::SocketAddr,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .with_context(|| format!("failed to listen on {address} for artifacts"))?;
    tracing::info!(%address, "artifacts are served");
    axum::serve(listener, artifact::server::router(store))
        .with_graceful_shutdown(shutdown.cancelled_owned())
        .await
        .context("failed to serve artifacts")
}

fn http_client() -> anyhow::Result<reqwest::Client> {
    reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(DOWNLOAD_TIMEOUT)
        .user_agent(concat!("fairlead-gitops/", env!("CARGO_PKG_VERSION")))
        .build()
        .context("failed to set up the HTTP client")
}
