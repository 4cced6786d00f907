//! `sidecar` and `gateway`: starts everything, and ends it in order.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use fairlead_identity::SpiffeId;
use fairlead_runtime::clock;
use fairlead_runtime::report;
use fairlead_runtime::tasks::{self, Tasks};
use fairlead_runtime::telemetry::Levels;
use fairlead_xds::client::Session;
use fairlead_xds::node::{Metadata, Node, NodeId, NodeType};
use http::HeaderValue;
use rustls::RootCertStore;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::admin::{self, Admin};
use crate::args::{self, Proxy};
use crate::drain::Drain;
use crate::readiness::Readiness;
use crate::telemetry::{Peer, access_log};
use crate::tls::{self, Identity};
use crate::worker::{self, Me};
use crate::workers::Workers;
use crate::xds::authority::{self, Authority};
use crate::xds::secrets::{MESH_ROOTS, OWN_CERTIFICATE};
use crate::xds::store::Store;
use crate::xds::stream::Client;

/// What the proxy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Beside an application.
    Sidecar,
    /// At the edge of the mesh.
    Gateway,
}

/// Why the proxy cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The control thread could not be set up.
    #[error("failed to start the runtime")]
    Runtime(#[source] io::Error),
    /// A worker could not be set up.
    #[error("failed to start a worker")]
    StartWorker(#[source] io::Error),
    /// Signals could not be received.
    #[error("failed to prepare for signals")]
    Signals(#[source] fairlead_runtime::shutdown::Error),
    /// The arguments do not make an identity.
    #[error("failed to make an identity of the arguments")]
    Identity(#[source] fairlead_identity::spiffe::Error),
    /// A name has characters that a header cannot have.
    #[error("the workload's name cannot be sent to peers")]
    Name,
    /// An administration server could not be started.
    #[error("failed to serve administrators")]
    Admin(#[source] admin::Error),
    /// A background task failed.
    #[error("failed while running")]
    Task(#[source] tasks::Error),
}

/// Workers where neither arguments nor a CPU limit say otherwise.
const DEFAULT_WORKERS: usize = 2;
/// What is still under way after the drain has this long to end.
const LAST_MOMENTS: Duration = Duration::from_secs(20);
/// Background tasks have this long to end.
const TASK_GRACE: Duration = Duration::from_secs(2);
/// Pauses between requests for a certificate, doubled from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LAST_PAUSE: Duration = Duration::from_secs(30);

/// Runs until SIGTERM, and then until peers have left.
pub fn run(role: Role, args: Proxy, levels: Levels) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::Runtime)?;
    runtime.block_on(control(role, args, levels))
}

async fn control(role: Role, args: Proxy, levels: Levels) -> Result<(), Error> {
    let shutdown = fairlead_runtime::shutdown::token().map_err(Error::Signals)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let id = SpiffeId::new(
        &args.trust_domain,
        &args.pod_namespace,
        &args.service_account,
    )
    .map_err(Error::Identity)?;
    let me = Arc::new(me(&args, &id)?);
    let drain = Drain::default();
    let log = access_log(args.access_log).map_err(Error::StartWorker)?;
    let log_sender = log.as_ref().map(|(sender, _)| sender.clone());
    let mut handles = Vec::new();
    for index in 0..concurrency(&args) {
        let start = worker::Start {
            index,
            me: Arc::clone(&me),
            log: log_sender.clone(),
            drain: drain.clone(),
            seed: rand::random(),
        };
        handles.push(worker::start(start).map_err(Error::StartWorker)?);
    }
    drop(log_sender);
    // Traffic must outlive the wish to end, so the tasks end with a token of their own.
    let tasks = Tasks::new(CancellationToken::new());
    let workers = Arc::new(Workers::new(handles, tasks.clone()));
    let readiness = Readiness::default();
    let admin = Admin::new(
        &args,
        Arc::clone(&workers),
        readiness.clone(),
        drain.clone(),
        admin::Handles {
            shutdown: shutdown.clone(),
            levels,
        },
    );
    admin.serve(&args, &tasks).await.map_err(Error::Admin)?;

    let authority = Authority {
        address: args.control_plane.clone(),
        id,
        token: args.token_file.clone(),
        roots: args.roots_file.clone(),
        provider,
    };
    let configure = configure(role, &args, authority, readiness, &workers, &admin);
    tasks.spawn_job("configuration", configure);

    tokio::select! {
        () = shutdown.cancelled() => {}
        () = tasks.token().cancelled() => {}
    }
    end(&args, &drain, &workers).await;
    tasks.token().cancel();
    drop(admin);
    let ended = tasks.join(TASK_GRACE).await;
    workers.stop().await;
    if let Some((sender, writer)) = log {
        drop(sender);
        // Nobody is left to hear about a writer that panicked.
        let _panicked = writer.join();
    }
    ended.map_err(Error::Task)
}

/// Gets a certificate, then configuration, and goes on doing so.
fn configure(
    role: Role,
    args: &Proxy,
    authority: Authority,
    readiness: Readiness,
    workers: &Arc<Workers>,
    admin: &Admin,
) -> impl Future<Output = Result<(), std::convert::Infallible>> + Send + 'static {
    let public_roots = public_roots(args);
    let node = node(role, args);
    let workers = Arc::clone(workers);
    let shown = admin.identity();
    async move {
        let token = workers.tasks().token().clone();
        let first = tokio::select! {
            () = token.cancelled() => return Ok(()),
            identity = obtain(&authority) => Arc::new(identity),
        };
        let provider = Arc::clone(&authority.provider);
        let store = Store::new(provider, Arc::clone(&first), public_roots);
        shown.send_replace(Some(Arc::clone(&first)));
        let (renewed, identity) = watch::channel(first);
        let renewal = renew(authority.clone(), renewed, shown, token.clone());
        workers.tasks().spawn("certificate", renewal);
        let session = Session::new(&node, [OWN_CERTIFICATE.to_owned(), MESH_ROOTS.to_owned()]);
        let client = Client {
            authority,
            store,
            session,
            workers: Arc::clone(&workers),
            readiness,
            identity,
        };
        client.run(token).await
    }
}

async fn obtain(authority: &Authority) -> Identity {
    let mut pause = FIRST_PAUSE;
    loop {
        match authority.obtain().await {
            Ok(identity) => {
                tracing::info!(expires = %identity.expires(), "got a certificate");
                return identity;
            }
            Err(error) => {
                tracing::warn!(error = %report(&error), ?pause, "asking for a certificate again");
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LAST_PAUSE);
    }
}

async fn renew(
    authority: Authority,
    renewed: watch::Sender<Arc<Identity>>,
    shown: watch::Sender<Option<Arc<Identity>>>,
    token: CancellationToken,
) -> Result<(), std::convert::Infallible> {
    loop {
        let jitter = rand::random_range(-1.0..1.0);
        let wait = authority::until_renewal(&renewed.borrow(), clock::now(), jitter);
        tokio::select! {
            () = token.cancelled() => return Ok(()),
            () = tokio::time::sleep(wait.max(FIRST_PAUSE)) => {}
        }
        tokio::select! {
            () = token.cancelled() => return Ok(()),
            identity = obtain(&authority) => {
                let identity = Arc::new(identity);
                shown.send_replace(Some(Arc::clone(&identity)));
                renewed.send_replace(identity);
            }
        }
    }
}

/// Lets peers leave, then waits for what is still under way. Where they were asked to leave
/// before, as the hook of a native sidecar does, they have had that time already.
async fn end(args: &Proxy, drain: &Drain, workers: &Workers) {
    drain.start();
    tracing::info!(time = ?args.termination_drain, "letting peers leave");
    let since = drain.since().unwrap_or_else(clock::instant);
    tokio::time::sleep_until(since + args.termination_drain).await;
    drain.close();
    let limit = clock::instant() + LAST_MOMENTS;
    while clock::instant() < limit {
        let active = workers.collect().await.downstream_active;
        if active == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tracing::info!("all peers have left");
}

fn access_log(
    on: bool,
) -> io::Result<
    Option<(
        std::sync::mpsc::SyncSender<String>,
        std::thread::JoinHandle<()>,
    )>,
> {
    if on {
        access_log::start(io::stdout()).map(Some)
    } else {
        Ok(None)
    }
}

fn concurrency(args: &Proxy) -> usize {
    let limit = || {
        let limit = std::fs::read_to_string("/sys/fs/cgroup/cpu.max").ok()?;
        args::workers_within(&limit)
    };
    match args.concurrency {
        Some(0) | None => limit().map_or(DEFAULT_WORKERS, |limit| limit.min(DEFAULT_WORKERS)),
        Some(workers) => workers,
    }
}

fn me(args: &Proxy, id: &SpiffeId) -> Result<Me, Error> {
    let peer = Peer {
        workload: args.workload.clone(),
        namespace: args.pod_namespace.clone(),
        canonical_service: args.canonical_service.clone(),
        canonical_revision: args.canonical_revision.clone(),
        cluster: args.cluster.clone(),
        principal: id.to_string(),
    };
    let header = HeaderValue::from_str(&peer.to_header()).map_err(|_invalid| Error::Name)?;
    Ok(Me { peer, header })
}

fn node(role: Role, args: &Proxy) -> Node {
    let kind = match role {
        Role::Sidecar => NodeType::Sidecar,
        Role::Gateway => NodeType::Router,
    };
    let labels = std::fs::read_to_string(&args.labels_file).unwrap_or_default();
    Node {
        id: NodeId {
            kind,
            ip: args.instance_ip,
            pod: args.pod_name.clone(),
            namespace: args.pod_namespace.clone(),
            domain: format!("{}.svc.{}", args.pod_namespace, args.cluster_domain),
        },
        metadata: Metadata {
            namespace: args.pod_namespace.clone(),
            service_account: args.service_account.clone(),
            workload: args.workload.clone(),
            cluster: args.cluster.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            labels: args::parse_labels(&labels),
        },
    }
}

/// Without the file nobody outside the mesh is trusted, and TLS to the outside fails with that.
fn public_roots(args: &Proxy) -> Arc<RootCertStore> {
    let roots = std::fs::read(&args.public_roots_file).ok();
    let roots = roots.and_then(|pem| tls::identity::parse_roots(&pem).ok());
    Arc::new(roots.unwrap_or_else(RootCertStore::empty))
}
