//! The outside world that rollouts ask: Prometheus, webhooks and an OTLP collector, on loopback.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use anyhow::Result;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use fairlead_runtime::clock;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::Instant;

/// What the outside world is like in one namespace.
#[derive(Clone, Debug)]
pub struct Conditions {
    /// What Prometheus answers: a number, `NaN`, `none` for no series, or `down`.
    pub metric: String,
    /// What webhooks answer, by name; 200 when not named.
    pub hooks: BTreeMap<String, u16>,
    /// What they say besides, by name; nothing when not named.
    pub bodies: BTreeMap<String, String>,
    /// What the header `Authorization` must be, by name; else they answer 401.
    pub demanded: BTreeMap<String, String>,
    /// Images whose pods never become ready.
    pub broken: Vec<String>,
    /// Images whose pods become ready as the canary but not as the primary.
    pub broken_as_primary: Vec<String>,
    /// Whether the canary's endpoints are gone although its pods say ready.
    pub canary_lost: bool,
    /// Calls of webhooks, in order: name and idempotency key.
    pub calls: Vec<(String, String)>,
    /// What an OTLP collector was sent.
    pub exports: Vec<Bytes>,
    /// When Prometheus was asked.
    pub asked: Vec<Instant>,
}

impl Default for Conditions {
    fn default() -> Self {
        Self {
            metric: "100".to_owned(),
            hooks: BTreeMap::new(),
            bodies: BTreeMap::new(),
            demanded: BTreeMap::new(),
            broken: Vec::new(),
            broken_as_primary: Vec::new(),
            canary_lost: false,
            calls: Vec::new(),
            exports: Vec::new(),
            asked: Vec::new(),
        }
    }
}

/// The outside world of all namespaces.
#[derive(Clone, Debug, Default)]
pub struct World {
    namespaces: Arc<Mutex<HashMap<String, Conditions>>>,
    changed: Arc<Notify>,
}

impl World {
    /// Changes the conditions of a namespace.
    pub fn set(&self, namespace: &str, change: impl FnOnce(&mut Conditions)) {
        change(
            self.namespaces
                .lock()
                .entry(namespace.to_owned())
                .or_default(),
        );
        self.changed.notify_waiters();
    }

    /// Waits until `see` sees what it looks for; it looks at each change.
    pub async fn until<T>(&self, see: impl Fn(&Self) -> Option<T>) -> T {
        loop {
            let changed = self.changed.notified();
            if let Some(seen) = see(self) {
                return seen;
            }
            changed.await;
        }
    }

    /// The conditions of a namespace.
    pub fn conditions(&self, namespace: &str) -> Conditions {
        self.namespaces
            .lock()
            .get(namespace)
            .cloned()
            .unwrap_or_default()
    }
}

/// Serves Prometheus and webhooks on loopback; returns the base address.
pub async fn serve(world: World) -> Result<String> {
    let router = Router::new()
        .route("/{namespace}/api/v1/query", get(query).post(query))
        .route("/{namespace}/api/v1/query_range", post(query_range))
        .route("/{namespace}/hook/{name}", post(hook))
        .route("/{namespace}/otlp/v1/traces", post(export))
        .with_state(world);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = format!("http://{}", listener.local_addr()?);
    #[expect(clippy::disallowed_methods, reason = "it lives as long as the test")]
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(address)
}

async fn query(
    State(world): State<World>,
    Path(namespace): Path<String>,
) -> Result<Json<Value>, http::StatusCode> {
    world.set(&namespace, |all| all.asked.push(clock::instant()));
    let result = match world.conditions(&namespace).metric.as_str() {
        "down" => return Err(http::StatusCode::SERVICE_UNAVAILABLE),
        "none" => json!([]),
        value => json!([{ "metric": {}, "value": [0, value] }]),
    };
    let data = json!({ "resultType": "vector", "result": result });
    Ok(Json(json!({ "status": "success", "data": data })))
}

async fn export(State(world): State<World>, Path(namespace): Path<String>, body: Bytes) {
    world.set(&namespace, |all| all.exports.push(body));
}

/// The metric as it is, recorded every 15 seconds of the time that is asked about.
async fn query_range(
    State(world): State<World>,
    Path(namespace): Path<String>,
    form: String,
) -> Json<Value> {
    let number = |name: &str| {
        let mut pairs = form.split('&').filter_map(|pair| pair.split_once('='));
        let found = pairs.find(|(key, _)| *key == name);
        found.and_then(|(_, value)| value.parse::<u64>().ok())
    };
    let value = world.conditions(&namespace).metric;
    let (start, end) = (number("start"), number("end"));
    let times = start.unwrap_or_default()..=end.unwrap_or_default();
    let samples: Vec<Value> = times.step_by(15).map(|at| json!([at, value])).collect();
    let series = json!([{ "metric": {}, "values": samples }]);
    let data = json!({ "resultType": "matrix", "result": series });
    Json(json!({ "status": "success", "data": data }))
}

async fn hook(
    State(world): State<World>,
    Path((namespace, name)): Path<(String, String)>,
    headers: http::HeaderMap,
) -> (http::StatusCode, String) {
    let header = |name| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let conditions = world.conditions(&namespace);
    let demanded = conditions.demanded.get(&name);
    let status = if demanded.is_some_and(|demanded| *demanded != header("authorization")) {
        401
    } else {
        conditions.hooks.get(&name).copied().unwrap_or(200)
    };
    let body = conditions.bodies.get(&name).cloned().unwrap_or_default();
    let key = header("idempotency-key");
    world.set(&namespace, |all| all.calls.push((name, key)));
    let status = http::StatusCode::from_u16(status).unwrap_or_default();
    (status, body)
}
