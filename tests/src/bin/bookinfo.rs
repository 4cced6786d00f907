//! A bookinfo-like application: one small binary that plays each of its services.
//!
//! `productpage` asks `details` and `reviews`; `reviews` asks `ratings` when told where it is.
//! Every answer is JSON with the version of each service that took part, so that a caller sees
//! which way its request went.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use axum::{Json, Router};
use clap::{Parser, ValueEnum};
use fairlead_runtime::shutdown;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// The part that this process plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Role {
    Productpage,
    Details,
    Reviews,
    Ratings,
}

/// Plays one service of the sample application.
#[derive(Debug, Parser)]
struct Args {
    /// Which service to play.
    #[arg(long, env = "ROLE")]
    role: Role,
    /// The version that answers carry.
    #[arg(long, env = "VERSION", default_value = "v1")]
    version: String,
    /// Port to listen on.
    #[arg(long, env = "PORT", default_value_t = 9080)]
    port: u16,
    /// Where `details` answers; used by `productpage`.
    #[arg(long, env = "DETAILS_URL", default_value = "http://details:9080")]
    details_url: String,
    /// Where `reviews` answers; used by `productpage`.
    #[arg(long, env = "REVIEWS_URL", default_value = "http://reviews:9080")]
    reviews_url: String,
    /// Where `ratings` answers; `reviews` asks it only when this is set.
    #[arg(long, env = "RATINGS_URL")]
    ratings_url: Option<String>,
    /// Answer 500 to this share of the requests, in percent.
    #[arg(long, env = "FAULT_PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=100))]
    fault_percent: u8,
    /// Wait this long before each answer, in milliseconds.
    #[arg(long, env = "LATENCY_MS", default_value_t = 0)]
    latency_ms: u64,
}

struct Service {
    args: Args,
    http: reqwest::Client,
    requests: std::sync::atomic::AtomicU64,
}

/// Headers that tie the hops of one request together; the application passes them on.
const TRACE_HEADERS: [&str; 4] = ["x-request-id", "traceparent", "tracestate", "end-user"];

impl Service {
    async fn ask(&self, base: &str, path: &str, headers: &HeaderMap) -> Result<Value, StatusCode> {
        let mut request = self.http.get(format!("{base}{path}"));
        for name in TRACE_HEADERS {
            if let Some(value) = headers.get(name) {
                request = request.header(name, value.clone());
            }
        }
        let answer = async { request.send().await?.error_for_status()?.json().await }.await;
        answer.map_err(|error: reqwest::Error| {
            tracing::warn!(%base, %path, %error, "failed to ask");
            StatusCode::BAD_GATEWAY
        })
    }

    /// True for `fault_percent` of every hundred requests in a row, spread evenly.
    fn is_faulty(&self) -> bool {
        let n = self
            .requests
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let percent = u64::from(self.args.fault_percent);
        (n + 1) * percent / 100 > n * percent / 100
    }

    async fn answer(&self, headers: &HeaderMap) -> Result<Value, StatusCode> {
        tokio::time::sleep(Duration::from_millis(self.args.latency_ms)).await;
        if self.is_faulty() {
            return Err(StatusCode::INTERNAL_SERVER_ERROR);
        }
        let version = &self.args.version;
        Ok(match self.args.role {
            Role::Productpage => {
                let (details, reviews) = tokio::try_join!(
                    self.ask(&self.args.details_url, "/details", headers),
                    self.ask(&self.args.reviews_url, "/reviews", headers),
                )?;
                json!({"service": "productpage", "version": version, "details": details, "reviews": reviews})
            }
            Role::Details => {
                json!({"service": "details", "version": version, "title": "The Comedy of Errors", "pages": 200})
            }
            Role::Reviews => {
                let ratings = match &self.args.ratings_url {
                    Some(base) => self.ask(base, "/ratings", headers).await?,
                    None => Value::Null,
                };
                json!({"service": "reviews", "version": version, "reviews": ["slapstick", "thin"], "ratings": ratings})
            }
            Role::Ratings => json!({"service": "ratings", "version": version, "stars": [5, 4]}),
        })
    }
}

async fn answer(
    State(service): State<Arc<Service>>,
    headers: HeaderMap,
) -> Result<Json<Value>, StatusCode> {
    service.answer(&headers).await.map(Json)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let args = Args::parse();
    let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, args.port));
    let http = reqwest::Client::builder()
        .timeout(Duration::from_secs(10))
        .build()
        .context("failed to build the HTTP client")?;
    let service = Arc::new(Service {
        args,
        http,
        requests: 0.into(),
    });
    let router = Router::new()
        .route("/health", get(|| async { "ok" }))
        .fallback(answer)
        .with_state(service);
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("failed to listen on {address}"))?;
    axum::serve(listener, router)
        .with_graceful_shutdown(shutdown::token()?.cancelled_owned())
        .await
        .context("failed to serve")
}
