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
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use parking_lot::Mutex;
use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Where a proxy shows its metrics.
const PORT: u16 = 15090;
/// How often requests come in.
const TICK: Duration = Duration::from_millis(50);
/// The primary's share of bad answers.
const PRIMARY_BAD: f64 = 0.01;

/// Who is called, and how.
#[derive(Clone, Debug)]
pub struct Called {
    /// The namespace of the target.
    pub namespace: String,
    /// The target; its primary's name has the usual suffix.
    pub target: String,
    /// Requests of a second, to both versions together.
    pub rate: f64,
    /// The canary's share of bad answers; the primary's is one in a hundred.
    pub bad: f64,
    /// How requests are divided.
    pub division: Division,
}

/// How requests are divided among versions and answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Division {
    /// In exact proportion, fractions of requests included: the same each time.
    Even,
    /// Each request by a throw of the dice, as in a real mesh.
    Random,
}

/// What came in, and what became of it.
#[derive(Clone, Debug, Default)]
pub struct Traffic {
    /// The canary's requests and bad answers so far.
    pub canary: [f64; 2],
    /// The primary's.
    pub primary: [f64; 2],
    /// When the canary first gave a bad answer.
    pub first_bad: Option<Instant>,
    /// When the canary last had any request.
    pub last: Option<Instant>,
    /// The part of a request that has not come in yet.
    begun: f64,
}

/// The callers of one target; they stop when this is dropped.
#[derive(Debug)]
pub struct Callers {
    traffic: Arc<Mutex<Traffic>>,
    tasks: [JoinHandle<()>; 2],
}

impl Drop for Callers {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Callers {
    /// Begins to call; `number` tells the callers of a program apart, and `weight` is the canary's
    /// share in percent at any time.
    ///
    /// # Errors
    /// When their address is taken, or the API server refuses their pod.
    pub async fn start(
        client: &Client,
        called: Called,
        number: u8,
        weight: impl Fn() -> f64 + Send + 'static,
    ) -> Result<Self> {
        let traffic = Arc::new(Mutex::new(Traffic::default()));
        let [.., high, low] = std::process::id().to_be_bytes();
        // Every pod has the same port, so that each program and scene needs an address of its own.
        let address = IpAddr::V4(Ipv4Addr::new(127, number.saturating_add(1), high, low));
        let listener = tokio::net::TcpListener::bind((address, PORT)).await?;
        let (shown, whom) = (Arc::clone(&traffic), called.clone());
        let show = move || async move { page(&shown.lock(), &whom) };
        let router = Router::new().route("/stats/prometheus", get(show));
        let (counted, whom) = (Arc::clone(&traffic), called.clone());
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
                    let mut traffic = counted.lock();
                    traffic.pass(&whom, now, now - last, weight() / 100.0);
                    last = now;
                }
            }),
        ];
        let callers = Self { traffic, tasks };
        make_pod(client, &called, address).await?;
        Ok(callers)
    }

    /// What came in so far.
    pub fn traffic(&self) -> Traffic {
        self.traffic.lock().clone()
    }

    /// Looks at the answers of another version from now on.
    pub fn begin_anew(&self) {
        self.traffic.lock().begin_anew();
    }
}

impl Traffic {
    fn pass(&mut self, called: &Called, now: Instant, time: Duration, share: f64) {
        let requests = called.rate * time.as_secs_f64();
        let before = self.canary;
        match called.division {
            Division::Even => {
                let canary = requests * share;
                add(&mut self.canary, canary, canary * called.bad);
                let primary = requests - canary;
                add(&mut self.primary, primary, primary * PRIMARY_BAD);
            }
            Division::Random => {
                self.begun += requests;
                while self.begun >= 1.0 {
                    self.begun -= 1.0;
                    let (side, bad) = if rand::random_bool(share) {
                        (&mut self.canary, called.bad)
                    } else {
                        (&mut self.primary, PRIMARY_BAD)
                    };
                    add(side, 1.0, f64::from(u8::from(rand::random_bool(bad))));
                }
            }
        }
        if self.canary[0] > before[0] {
            self.last = Some(now);
        }
        if self.canary[1] > before[1] {
            self.first_bad.get_or_insert(now);
        }
    }

    /// Forgets when the canary answered.
    fn begin_anew(&mut self) {
        (self.first_bad, self.last) = (None, None);
    }
}

fn add(side: &mut [f64; 2], requests: f64, bad: f64) {
    side[0] += requests;
    side[1] += bad;
}

/// The page of a proxy; counters are whole.
fn page(traffic: &Traffic, called: &Called) -> String {
    let Called {
        namespace, target, ..
    } = called;
    let copy = format!("{target}-primary");
    let line = |workload: &str, code: &str, count: f64| {
        format!(
            "istio_requests_total{{reporter=\"source\",destination_workload=\"{workload}\",\
             destination_workload_namespace=\"{namespace}\",response_code=\"{code}\"}} {}\n",
            count.floor()
        )
    };
    let both = [(target, traffic.canary), (&copy, traffic.primary)];
    let lines = both.map(|(workload, [requests, bad])| {
        line(workload, "200", requests - bad) + &line(workload, "503", bad)
    });
    lines.concat()
}

/// The pod of the callers, as a kubelet would report it.
async fn make_pod(client: &Client, called: &Called, address: IpAddr) -> Result<()> {
    let api: Api<Pod> = Api::namespaced(client.clone(), &called.namespace);
    let name = format!("{}-callers", called.target);
    let pod = serde_json::from_value(json!({
        "metadata": { "name": name },
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
    api.patch_status(&name, &PatchParams::default(), &Patch::Merge(status))
        .await?;
    Ok(())
}
