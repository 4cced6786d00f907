//! What administrators, the kubelet and Prometheus ask: four small HTTP servers.
//!
//! 15000 (loopback) for administrators, 15020 for the pod's agent tasks, 15021 for readiness,
//! 15090 for the proxy's own metrics. All run on the control thread, off the path of traffic.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use fairlead_runtime::report;
use fairlead_runtime::tasks::Tasks;
use fairlead_runtime::telemetry::{self, Levels};
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::args::Proxy;
use crate::drain::Drain;
use crate::readiness::Readiness;
use crate::telemetry::render;
use crate::tls::Identity;
use crate::workers::Workers;

pub mod agent;
pub mod dump;

/// The port on which the pod's agent tasks are served.
pub const AGENT_PORT: u16 = 15020;
const READY_PORT: u16 = 15021;
const METRICS_PORT: u16 = 15090;

/// Why a server could not be started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its address is taken or forbidden.
    #[error("failed to listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The application's probes or metrics are described by malformed JSON.
    #[error("failed to read the application's probes or metrics")]
    Application(#[source] serde_json::Error),
}

/// What the servers know.
#[derive(Debug, Clone)]
pub struct Admin {
    workers: Arc<Workers>,
    readiness: Readiness,
    drain: Drain,
    handles: Handles,
    identity: watch::Sender<Option<Arc<Identity>>>,
    application: IpAddr,
    node: String,
}

/// What administrators can change of the process.
#[derive(Debug, Clone)]
pub struct Handles {
    /// Ends it.
    pub shutdown: CancellationToken,
    /// What it logs.
    pub levels: Levels,
}

impl Admin {
    /// Servers for a proxy that runs with `args`.
    pub fn new(
        args: &Proxy,
        workers: Arc<Workers>,
        readiness: Readiness,
        drain: Drain,
        handles: Handles,
    ) -> Self {
        Self {
            workers,
            readiness,
            drain,
            handles,
            identity: watch::Sender::new(None),
            application: args.instance_ip,
            node: format!("{}.{}", args.pod_name, args.pod_namespace),
        }
    }

    /// Where our certificate is shown.
    pub fn identity(&self) -> watch::Sender<Option<Arc<Identity>>> {
        self.identity.clone()
    }

    /// Starts the servers; they end with the tasks' token.
    pub async fn serve(&self, args: &Proxy, tasks: &Tasks) -> Result<(), Error> {
        let agent = agent::Agent::new(self.clone(), &args.app_probers, &args.app_metrics)
            .map_err(Error::Application)?;
        let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let ready = Router::new().route("/healthz/ready", get(ready));
        let metrics = Router::new().route("/stats/prometheus", get(metrics));
        start("admin", args.admin_address, self.router(), tasks).await?;
        start(
            "agent",
            SocketAddr::new(any, AGENT_PORT),
            agent.router(),
            tasks,
        )
        .await?;
        let ready = ready.with_state(self.clone());
        start("readiness", SocketAddr::new(any, READY_PORT), ready, tasks).await?;
        let metrics = metrics.with_state(self.clone());
        start(
            "metrics",
            SocketAddr::new(any, METRICS_PORT),
            metrics,
            tasks,
        )
        .await
    }

    fn router(&self) -> Router {
        Router::new()
            .route("/ready", get(ready))
            .route("/stats", get(metrics))
            .route("/stats/prometheus", get(metrics))
            .route("/clusters", get(clusters))
            .route("/certs", get(certs))
            .route("/config_dump", get(config_dump))
            .route("/server_info", get(server_info))
            .route("/logging", get(show_levels).post(change_levels))
            .route("/quitquitquit", post(quit))
            .route("/drain", post(drain))
            .route("/drain_listeners", post(drain))
            .with_state(self.clone())
    }

    /// The proxy's metrics as text.
    pub async fn metrics(&self) -> String {
        render::prometheus(&self.workers.collect().await)
    }
}

async fn start(
    name: &'static str,
    address: SocketAddr,
    router: Router,
    tasks: &Tasks,
) -> Result<(), Error> {
    let listener = TcpListener::bind(address)
        .await
        .map_err(|source| Error::Listen { address, source })?;
    let token = tasks.token().clone();
    tasks.spawn(name, async move {
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        // Ends at once: a server of administrators has nothing to drain.
        tokio::select! {
            ended = async { axum::serve(listener, service).await } => ended,
            () = token.cancelled() => Ok(()),
        }
    });
    Ok(())
}

async fn ready(State(admin): State<Admin>) -> Response {
    if admin.readiness.is_configured() {
        (StatusCode::OK, "LIVE\n").into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "INITIALIZING\n").into_response()
    }
}

async fn metrics(State(admin): State<Admin>) -> Response {
    (
        [(header::CONTENT_TYPE, render::CONTENT_TYPE)],
        admin.metrics().await,
    )
        .into_response()
}

async fn clusters(State(admin): State<Admin>) -> String {
    admin.workers.clusters().await.concat()
}

async fn certs(State(admin): State<Admin>) -> Response {
    let identity = admin.identity.borrow().clone();
    json(&dump::certificates(identity.as_deref()))
}

async fn config_dump(State(admin): State<Admin>) -> Response {
    json(&dump::configuration(&admin.workers.current()))
}

async fn server_info(State(admin): State<Admin>) -> Response {
    let state = if admin.drain.is_started() {
        "DRAINING"
    } else if admin.readiness.is_configured() {
        "LIVE"
    } else {
        "INITIALIZING"
    };
    json(&serde_json::json!({
        "version": env!("CARGO_PKG_VERSION"),
        "state": state,
        "node": { "id": admin.node },
    }))
}

async fn show_levels(State(admin): State<Admin>) -> Response {
    match admin.handles.levels.show() {
        Ok(levels) => format!("{levels}\n").into_response(),
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, &error),
    }
}

/// The query of a change of levels.
#[derive(Debug, Deserialize)]
struct NewLevel {
    level: String,
}

async fn change_levels(
    State(admin): State<Admin>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Query(NewLevel { level }): Query<NewLevel>,
) -> Response {
    if !peer.ip().to_canonical().is_loopback() {
        return StatusCode::FORBIDDEN.into_response();
    }
    match admin.handles.levels.change(&level) {
        Ok(()) => {
            tracing::info!(level, "logging by other levels");
            show_levels(State(admin)).await
        }
        Err(error) => refuse(StatusCode::BAD_REQUEST, &error),
    }
}

fn refuse(status: StatusCode, error: &telemetry::Error) -> Response {
    (status, format!("{}\n", report(error))).into_response()
}

async fn quit(State(admin): State<Admin>, ConnectInfo(peer): ConnectInfo<SocketAddr>) -> Response {
    if !peer.ip().to_canonical().is_loopback() {
        return StatusCode::FORBIDDEN.into_response();
    }
    admin.handles.shutdown.cancel();
    (StatusCode::OK, "OK\n").into_response()
}

async fn drain(State(admin): State<Admin>, ConnectInfo(peer): ConnectInfo<SocketAddr>) -> Response {
    if !peer.ip().to_canonical().is_loopback() {
        return StatusCode::FORBIDDEN.into_response();
    }
    admin.drain.start();
    (StatusCode::OK, "OK\n").into_response()
}

fn json(value: &serde_json::Value) -> Response {
    let text = format!("{value:#}\n");
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}
