//! The HTTP servers that people and the kubelet look at: `/ready`, and `/debug` for this machine.
//!
//! `/debug` shows the configuration of every proxy, so it answers only callers from the loopback,
//! which is where a port-forward comes from.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use axum::extract::{ConnectInfo, Query, Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use fairlead_runtime::readiness::{self, Readiness};
use fairlead_runtime::tasks::Tasks;
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpListener;

use crate::ads::connections::Connections;

/// What the servers show.
#[derive(Debug, Clone)]
pub struct View {
    /// Whether this is ready.
    pub readiness: Readiness,
    /// The proxies' streams.
    pub connections: Arc<Connections>,
}

/// Starts the server on the ready port.
///
/// # Errors
/// The address cannot be listened on.
pub async fn start(tasks: &Tasks, address: SocketAddr, view: View) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("failed to listen on {address}"))?;
    let service = router(view).into_make_service_with_connect_info::<SocketAddr>();
    let stop = tasks.token().clone().cancelled_owned();
    tasks.spawn("ready", async move {
        axum::serve(listener, service)
            .with_graceful_shutdown(stop)
            .await
    });
    Ok(())
}

/// The routes of the server on the ready port.
pub fn router(view: View) -> Router {
    let debug = Router::new()
        .route("/debug/syncz", get(syncz))
        .route("/debug/config_dump", get(config_dump))
        .layer(middleware::from_fn(loopback_only));
    Router::new()
        .route("/ready", get(ready))
        .merge(debug)
        .with_state(view)
}

async fn ready(State(view): State<View>) -> Response {
    if view.readiness.is_ready() {
        return "ready\n".into_response();
    }
    let waiting: Vec<String> = view
        .readiness
        .states()
        .into_iter()
        .filter_map(|(name, state)| match state {
            readiness::State::Ready => None,
            readiness::State::Waiting(why) => Some(format!("{name}: {why}\n")),
        })
        .collect();
    (StatusCode::SERVICE_UNAVAILABLE, waiting.concat()).into_response()
}

async fn loopback_only(
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    if peer.ip().to_canonical().is_loopback() {
        return next.run(request).await;
    }
    let message = "/debug answers only over the loopback: use kubectl port-forward\n";
    (StatusCode::FORBIDDEN, message).into_response()
}

async fn syncz(State(view): State<View>) -> Response {
    Json(view.connections.sync_states()).into_response()
}

#[derive(Debug, Deserialize)]
struct DumpQuery {
    /// `pod.namespace`.
    #[serde(rename = "proxyID")]
    proxy: Option<String>,
}

async fn config_dump(State(view): State<View>, Query(query): Query<DumpQuery>) -> Response {
    let Some(proxy) = query.proxy else {
        let message = "name a proxy: /debug/config_dump?proxyID=<pod>.<namespace>\n";
        return (StatusCode::BAD_REQUEST, message).into_response();
    };
    let Some(dump) = view.connections.config_dump(&proxy) else {
        let message = format!("proxy `{proxy}` is not connected to this replica\n");
        return (StatusCode::NOT_FOUND, message).into_response();
    };
    Json(json!({ "proxy": proxy, "resources": dump })).into_response()
}
