//! Stands in for Slack's incoming webhooks: records what it is sent and shows it.
//!
//! `POST` to any path records the body and answers `ok` as Slack does; `GET /messages` returns
//! all bodies in order of arrival, each with the time when it came.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::Context as _;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use clap::Parser;
use fairlead_runtime::{clock, shutdown};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Mutex;

/// Records the messages that arrive at a Slack incoming webhook.
#[derive(Debug, Parser)]
struct Args {
    /// Port to listen on.
    #[arg(long, env = "PORT", default_value_t = 8080)]
    port: u16,
    /// How many messages to keep; the oldest go first.
    #[arg(long, env = "KEEP", default_value_t = 1000)]
    keep: usize,
}

struct Inbox {
    keep: usize,
    messages: Mutex<std::collections::VecDeque<Value>>,
}

async fn record(
    State(inbox): State<Arc<Inbox>>,
    body: String,
) -> Result<&'static str, (StatusCode, &'static str)> {
    let message: Value = serde_json::from_str(&body).map_err(|error| {
        tracing::warn!(%error, "a body that is not JSON");
        (StatusCode::BAD_REQUEST, "invalid_payload")
    })?;
    tracing::info!(%message, "received");
    let mut messages = inbox.messages.lock().await;
    messages.push_back(json!({"at": clock::now().to_string(), "message": message}));
    while messages.len() > inbox.keep {
        messages.pop_front();
    }
    Ok("ok")
}

async fn messages(State(inbox): State<Arc<Inbox>>) -> Json<Vec<Value>> {
    Json(inbox.messages.lock().await.iter().cloned().collect())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().init();
    let args = Args::parse();
    let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, args.port));
    let inbox = Arc::new(Inbox {
        keep: args.keep,
        messages: Mutex::default(),
    });
    let router = Router::new()
        .route("/messages", get(messages))
        .route("/health", get(|| async { "ok" }))
        .fallback(axum::routing::post(record))
        .with_state(inbox);
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("failed to listen on {address}"))?;
    axum::serve(listener, router)
        .with_graceful_shutdown(shutdown::token()?.cancelled_owned())
        .await
        .context("failed to serve")
}
