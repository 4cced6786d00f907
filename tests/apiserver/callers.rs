//! The proxy of everybody who calls a target: it counts requests to both versions by the weight
//! that the routes hold, and shows its counters where an operator looks for them.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use axum::Router;
use axum::routing::get;
use fairlead_runtime::clock;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, Patch, PatchParams, PostParams};
use parking_lot::Mutex;
use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::stage::Scene;

/// Where a proxy shows its metrics.
const PORT: u16 = 15090;
/// How often requests come in.
const TICK: Duration = Duration::from_millis(50);

/// What comes in, and what became of it.
#[derive(Clone, Debug)]
pub(crate) struct Traffic {
    /// Requests of a second, to both versions together.
    pub(crate) rate: f64,
    /// The canary's share of bad answers; the primary's is one in a hundred.
    pub(crate) bad: f64,
    /// The canary's requests and bad answers so far.
    pub(crate) canary: [f64; 2],
    /// The primary's.
    pub(crate) primary: [f64; 2],
    /// When the canary first gave a bad answer.
    pub(crate) first_bad: Option<Instant>,
    /// When the canary last had any request.
    pub(crate) last: Option<Instant>,
}

/// The callers of one scene; they stop with it.
pub(crate) struct Callers {
    traffic: Arc<Mutex<Traffic>>,
    tasks: [JoinHandle<()>; 2],
}

impl Drop for Callers {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Callers {
    /// Begins to call the target of a scene; `number` tells the scenes of a program apart.
    pub(crate) async fn start(scene: &Scene, number: u8, rate: f64, bad: f64) -> Result<Self> {
        let traffic = Arc::new(Mutex::new(Traffic {
            rate,
            bad,
            canary: [0.0; 2],
            primary: [0.0; 2],
            first_bad: None,
            last: None,
        }));
        let [.., high, low] = std::process::id().to_be_bytes();
        // Every pod has the same port, so that each program and scene needs an address of its own.
        let address = IpAddr::V4(Ipv4Addr::new(127, number.saturating_add(1), high, low));
        let listener = tokio::net::TcpListener::bind((address, PORT)).await?;
        let (shown, namespace) = (Arc::clone(&traffic), scene.namespace.clone());
        let show = move || async move { page(&shown.lock(), &namespace) };
        let router = Router::new().route("/stats/prometheus", get(show));
        let (counted, history) = (Arc::clone(&traffic), scene.history.clone());
        #[expect(
            clippy::disallowed_methods,
            reason = "they live as long as the callers"
        )]
        let tasks = [
            tokio::spawn(async move {
                if let Err(error) = axum::serve(listener, router).await {
                    tracing::warn!(%error, "the proxy of the callers stopped");
                }
            }),
            tokio::spawn(async move {
                let mut last = clock::instant();
                loop {
                    tokio::time::sleep(TICK).await;
                    let now = clock::instant();
                    let weight = history.weights().last().copied().unwrap_or(0);
                    counted.lock().pass(now, now - last, f64::from(weight));
                    last = now;
                }
            }),
        ];
        let callers = Self { traffic, tasks };
        make_pod(scene, address).await?;
        Ok(callers)
    }

    /// What came in so far.
    pub(crate) fn traffic(&self) -> Traffic {
        self.traffic.lock().clone()
    }
}

impl Traffic {
    fn pass(&mut self, now: Instant, time: Duration, weight: f64) {
        let requests = self.rate * time.as_secs_f64();
        let canary = requests * weight / 100.0;
        for (all, requests, bad) in [
            (&mut self.canary, canary, self.bad),
            (&mut self.primary, requests - canary, 0.01),
        ] {
            all[0] += requests;
            all[1] += requests * bad;
        }
        if canary > 0.0 {
            self.last = Some(now);
            if self.bad > 0.0 {
                self.first_bad.get_or_insert(now);
            }
        }
    }
}

/// The page of a proxy; counters are whole.
fn page(traffic: &Traffic, namespace: &str) -> String {
    let line = |workload: &str, code: &str, count: f64| {
        format!(
            "istio_requests_total{{reporter=\"source\",destination_workload=\"{workload}\",\
             destination_workload_namespace=\"{namespace}\",response_code=\"{code}\"}} {}\n",
            count.floor()
        )
    };
    let both = [
        ("podinfo", traffic.canary),
        ("podinfo-primary", traffic.primary),
    ];
    let lines = both.map(|(workload, [requests, bad])| {
        line(workload, "200", requests - bad) + &line(workload, "503", bad)
    });
    lines.concat()
}

/// The pod of the callers, as a kubelet would report it.
async fn make_pod(scene: &Scene, address: IpAddr) -> Result<()> {
    let api: Api<Pod> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let pod = serde_json::from_value(json!({
        "metadata": { "name": "callers" },
        "spec": { "containers": [{ "name": "istio-proxy", "image": "proxy" }] },
    }))?;
    api.create(&PostParams::default(), &pod).await?;
    let status = json!({ "status": {
        "phase": "Running",
        "podIP": address,
        "podIPs": [{ "ip": address }],
        "containerStatuses": [{
            "name": "istio-proxy", "image": "proxy", "imageID": "proxy",
            "ready": true, "restartCount": 0,
            "state": { "running": { "startedAt": "2026-01-01T00:00:00Z" } },
        }],
    } });
    api.patch_status("callers", &PatchParams::default(), &Patch::Merge(status))
        .await?;
    Ok(())
}
