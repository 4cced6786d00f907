//! What the proxy does for its pod: metrics of proxy and application together, the application's
//! probes on its behalf, and its orderly end.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request as AxumRequest, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use fairlead_runtime::report;
use http::{Method, Request};
use http_body_util::Full;
use serde::Deserialize;
use tokio::net::TcpStream;

use super::Admin;
use crate::http::connection;
use crate::socket;
use crate::telemetry::render;

/// A probe without a limit of its own has this one, as the kubelet's.
const DEFAULT_TIMEOUT: u64 = 1;
/// The application has this long to give its metrics.
const SCRAPE_TIMEOUT: Duration = Duration::from_secs(5);

/// What it knows about the application.
#[derive(Debug, Clone)]
pub struct Agent {
    admin: Admin,
    probers: Arc<HashMap<String, Prober>>,
    metrics: Option<Arc<Scrape>>,
}

/// One of the application's probes.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Prober {
    http_get: Option<HttpGet>,
    tcp_socket: Option<TcpSocket>,
    grpc: Option<Grpc>,
    timeout_seconds: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct HttpGet {
    #[serde(default)]
    path: Option<String>,
    port: u16,
    #[serde(default)]
    http_headers: Vec<NameValue>,
}

#[derive(Debug, Deserialize)]
struct NameValue {
    name: String,
    value: String,
}

#[derive(Debug, Deserialize)]
struct TcpSocket {
    port: u16,
}

#[derive(Debug, Deserialize)]
struct Grpc {
    port: u16,
}

/// Where the application serves its metrics.
#[derive(Debug, Deserialize)]
struct Scrape {
    #[serde(default, rename = "scrape")]
    wanted: String,
    #[serde(default = "default_path")]
    path: String,
    #[serde(default)]
    port: String,
}

fn default_path() -> String {
    "/metrics".to_owned()
}

/// Why the application could not be asked.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("failed to connect to port {port} of the application")]
    Connect {
        port: u16,
        #[source]
        source: std::io::Error,
    },
    #[error("failed to ask the application")]
    Ask(#[source] connection::OnceFailed),
    #[error("the probe's path or headers are malformed")]
    Malformed(#[source] http::Error),
    #[error("the application did not answer in time")]
    Timeout,
}

impl Agent {
    /// An agent for the application that `probers` and `metrics` describe.
    pub fn new(admin: Admin, probers: &str, metrics: &str) -> Result<Self, serde_json::Error> {
        let scrape: Scrape = serde_json::from_str(metrics)?;
        Ok(Self {
            admin,
            probers: Arc::new(serde_json::from_str(probers)?),
            metrics: (scrape.wanted == "true").then(|| Arc::new(scrape)),
        })
    }

    /// The agent's server.
    pub fn router(self) -> Router {
        let admin = self.admin.clone();
        let own = Router::new()
            .route("/healthz/ready", get(super::ready))
            .route("/quitquitquit", post(super::quit))
            .route("/drain", post(super::drain))
            .with_state(admin);
        Router::new()
            .route("/stats/prometheus", get(metrics))
            .fallback(probe)
            .with_state(self)
            .merge(own)
    }

    async fn scrape(&self) -> Option<Bytes> {
        let scrape = self.metrics.as_ref()?;
        let port: u16 = scrape.port.parse().ok()?;
        let get = HttpGet {
            path: Some(scrape.path.clone()),
            port,
            http_headers: Vec::new(),
        };
        match self.get(&get, SCRAPE_TIMEOUT).await {
            Ok((StatusCode::OK, body)) => Some(body),
            Ok((status, _)) => {
                tracing::warn!(%status, port, "the application refused to give its metrics");
                None
            }
            Err(error) => {
                tracing::warn!(error = %report(&error), "failed to get the application's metrics");
                None
            }
        }
    }

    async fn connect(&self, port: u16) -> Result<TcpStream, Error> {
        let connect =
            |ip: IpAddr, source| socket::connect(SocketAddr::new(ip, port), source, SCRAPE_TIMEOUT);
        let application = SocketAddr::new(self.admin.application, port);
        let (address, source) = socket::way_to_application(application);
        match connect(address.ip(), source).await {
            Ok(stream) => Ok(stream),
            // Some applications listen on the loopback alone.
            Err(_refused) => connect(IpAddr::from([127, 0, 0, 1]), None)
                .await
                .map_err(|source| Error::Connect { port, source }),
        }
    }

    async fn get(&self, get: &HttpGet, limit: Duration) -> Result<(StatusCode, Bytes), Error> {
        let path = get
            .path
            .as_deref()
            .filter(|path| !path.is_empty())
            .unwrap_or("/");
        let path = if path.starts_with('/') {
            path.to_owned()
        } else {
            format!("/{path}")
        };
        let mut request = Request::builder()
            .method(Method::GET)
            .uri(path)
            .header(header::CONNECTION, "close")
            .header(header::USER_AGENT, "kube-probe/proxy");
        let named = |name: &NameValue| name.name.eq_ignore_ascii_case("host");
        if !get.http_headers.iter().any(named) {
            let host = SocketAddr::new(self.admin.application, get.port).to_string();
            request = request.header(header::HOST, host);
        }
        for NameValue { name, value } in &get.http_headers {
            request = request.header(name, value);
        }
        let request = request
            .body(Full::new(Bytes::new()))
            .map_err(Error::Malformed)?;
        let exchange = async {
            let stream = self.connect(get.port).await?;
            connection::once(stream, request).await.map_err(Error::Ask)
        };
        let response = tokio::time::timeout(limit, exchange)
            .await
            .map_err(|_elapsed| Error::Timeout)??;
        Ok((response.status(), response.into_body()))
    }
}

async fn metrics(State(agent): State<Agent>) -> Response {
    let (mut text, application) = tokio::join!(agent.admin.metrics(), agent.scrape());
    if let Some(application) = application {
        text.push_str(&String::from_utf8_lossy(&application));
    }
    ([(header::CONTENT_TYPE, render::CONTENT_TYPE)], text).into_response()
}

async fn probe(State(agent): State<Agent>, request: AxumRequest) -> Response {
    let Some(prober) = agent.probers.get(request.uri().path()) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let limit = Duration::from_secs(prober.timeout_seconds.unwrap_or(DEFAULT_TIMEOUT).max(1));
    let result = match prober {
        Prober {
            http_get: Some(get),
            ..
        } => agent.get(get, limit).await.map(|(status, _)| status),
        Prober {
            tcp_socket: Some(TcpSocket { port }),
            ..
        }
        | Prober {
            grpc: Some(Grpc { port }),
            ..
        } => {
            let connected = tokio::time::timeout(limit, agent.connect(*port)).await;
            connected
                .unwrap_or(Err(Error::Timeout))
                .map(|_stream| StatusCode::OK)
        }
        Prober {
            http_get: None,
            tcp_socket: None,
            grpc: None,
            ..
        } => Ok(StatusCode::NOT_FOUND),
    };
    match result {
        Ok(status) => status.into_response(),
        Err(error) => {
            let text = format!("{}\n", report(&error));
            (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
        }
    }
}
