//! Reads the counters of all proxies of the mesh once. Decides nothing.
//!
//! It asks the proxy's own port, where an application cannot put in numbers of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use fairlead_runtime::clock;
use futures::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt as _};

use super::comparison::{Comparison, Pods, Warmth};
use super::counts::{Target, parse};
use super::window::{Process, Reading, Snapshot};
use crate::outgoing::{Outgoing, Settings};

/// The container that every pod of the mesh has.
const PROXY: &str = "istio-proxy";
/// Where a proxy shows its own metrics.
const PORT: u16 = 15090;
/// How many proxies are read at once.
const MOST_AT_ONCE: usize = 32;
/// The longest answer that is read.
const MOST_BODY: usize = 16 << 20;

/// Reads proxies.
pub(super) struct Scraper {
    pub(super) client: Client,
    pub(super) outgoing: Outgoing,
}

/// A proxy that can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Proxy {
    process: Process,
    address: IpAddr,
    started: Timestamp,
}

impl Scraper {
    /// What all proxies say about `targets`, or why none does; each has `patience` to answer.
    pub(super) async fn scrape(
        &self,
        targets: &BTreeSet<Target>,
        patience: Duration,
    ) -> Result<Snapshot, String> {
        let begun = (clock::instant(), clock::now());
        let pods: Api<Pod> = Api::all(self.client.clone());
        // What the API server has in memory is new enough.
        let params = ListParams::default()
            .fields("status.phase=Running")
            .match_any();
        let pods = pods.list(&params).await;
        let pods = pods.map_err(|error| format!("the mesh's pods cannot be listed: {error}"))?;
        let proxies: Vec<Proxy> = pods.items.iter().filter_map(proxy).collect();
        if proxies.is_empty() {
            return Err(
                "no pod has a proxy of the mesh; where another mesh or none is used, set a \
                 metrics server"
                    .to_owned(),
            );
        }
        self.read(proxies, targets, patience, begun).await
    }

    /// Whether any pod of a comparison has become ready within its warm-up.
    pub(super) async fn warmth(&self, comparison: &Comparison) -> Result<Warmth, String> {
        if comparison.warmup.is_zero() {
            return Ok(Warmth::Warm);
        }
        let Pods { key, values } = &comparison.pods;
        let selector = format!("{key} in ({})", values.join(","));
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &comparison.canary.namespace);
        let params = ListParams::default().labels(&selector).match_any();
        let pods = pods.list(&params).await;
        let pods = pods.map_err(|error| format!("the pods cannot be listed: {error}"))?;
        Ok(warmth(&pods.items, comparison.warmup, clock::now()))
    }

    async fn read(
        &self,
        proxies: Vec<Proxy>,
        targets: &BTreeSet<Target>,
        patience: Duration,
        (at, time): (tokio::time::Instant, Timestamp),
    ) -> Result<Snapshot, String> {
        let mut answers = futures::stream::iter(proxies)
            .map(|proxy| async move {
                let text = self.fetch(proxy.address, PORT, patience).await;
                (proxy, text)
            })
            .buffer_unordered(MOST_AT_ONCE);
        let (mut readings, mut silent) = (BTreeMap::new(), Vec::new());
        let mut trouble = None;
        while let Some((proxy, text)) = answers.next().await {
            match text {
                Ok(text) => {
                    let reading = Reading {
                        started: proxy.started,
                        counts: parse(&text, targets.iter()),
                    };
                    readings.insert(proxy.process, reading);
                }
                Err(why) => {
                    tracing::debug!(pod = proxy.process.pod, why, "a proxy did not answer");
                    silent.push(proxy.process);
                    trouble = Some(why);
                }
            }
        }
        match trouble {
            Some(why) if readings.is_empty() => Err(format!("no proxy of the mesh answers: {why}")),
            Some(_) | None => Ok(Snapshot {
                at,
                time,
                readings,
                silent,
            }),
        }
    }

    async fn fetch(
        &self,
        address: IpAddr,
        port: u16,
        patience: Duration,
    ) -> Result<String, String> {
        let socket = std::net::SocketAddr::new(address, port);
        let url = format!("http://{socket}/stats/prometheus");
        let client = self.outgoing.client(&url, &Settings::default()).await;
        let (client, url) = client.map_err(|error| error.to_string())?;
        let explain = |error: reqwest::Error| crate::outgoing::describe(&error);
        let answer = client.get(url).timeout(patience).send().await;
        let mut answer = answer.map_err(explain)?;
        if !answer.status().is_success() {
            return Err(format!("it answered {}", answer.status().as_u16()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(explain)? {
            body.extend_from_slice(&chunk);
            if body.len() > MOST_BODY {
                return Err("its answer is longer than 16 MiB".to_owned());
            }
        }
        String::from_utf8(body).map_err(|_no_text| "its answer is no text".to_owned())
    }
}

/// The proxy of a pod that runs one; pods on the node's own network have none. Pure.
fn proxy(pod: &Pod) -> Option<Proxy> {
    let status = pod.status.as_ref()?;
    let containers = status.container_statuses.iter().flatten();
    let native = status.init_container_statuses.iter().flatten();
    let container: &ContainerStatus = containers
        .chain(native)
        .find(|container| container.name == PROXY)?;
    let running = container.state.as_ref()?.running.as_ref()?;
    Some(Proxy {
        process: Process {
            pod: pod.uid()?,
            restarts: container.restart_count,
        },
        address: status.pod_ip.as_ref()?.parse().ok()?,
        started: running.started_at.as_ref()?.0,
    })
}

/// Whether all ready pods have been ready for `warmup`; others have no traffic. Pure.
fn warmth(pods: &[Pod], warmup: Duration, now: Timestamp) -> Warmth {
    let is_new = |pod: &Pod| {
        let conditions = pod.status.as_ref()?.conditions.as_ref()?;
        let ready = conditions
            .iter()
            .find(|one| one.type_ == "Ready" && one.status == "True")?;
        let age = now.duration_since(ready.last_transition_time.as_ref()?.0);
        Some(Duration::try_from(age).unwrap_or_default() < warmup)
    };
    if pods.iter().any(|pod| is_new(pod) == Some(true)) {
        Warmth::WarmingUp
    } else {
        Warmth::Warm
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fake::Server;

    const PATIENCE: Duration = Duration::from_secs(2);

    fn pod(containers: &str, state: &serde_json::Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": { "name": "a", "namespace": "test", "uid": "1" },
            "status": {
                "podIP": "10.0.0.7",
                containers: [{
                    "name": "istio-proxy",
                    "restartCount": 2,
                    "ready": true,
                    "image": "",
                    "imageID": "",
                    "state": state,
                }],
            },
        }))
        .unwrap()
    }

    #[test]
    fn a_proxy_is_a_running_container_of_either_kind() {
        let running = json!({ "running": { "startedAt": "2026-03-02T10:00:00Z" } });
        for kind in ["containerStatuses", "initContainerStatuses"] {
            let found = proxy(&pod(kind, &running)).unwrap();
            assert_eq!(found.address, "10.0.0.7".parse::<IpAddr>().unwrap());
            assert_eq!(found.process.restarts, 2);
            assert_eq!(found.started, "2026-03-02T10:00:00Z".parse().unwrap());
        }
        let waiting = json!({ "waiting": { "reason": "CrashLoopBackOff" } });
        assert_eq!(proxy(&pod("containerStatuses", &waiting)), None);
        assert_eq!(proxy(&Pod::default()), None);
    }

    #[test]
    fn a_pod_is_warm_when_it_has_been_ready_for_long_enough() {
        let pod = |ready: &str, since: &str| -> Pod {
            let condition = json!({
                "type": "Ready", "status": ready, "lastTransitionTime": since,
            });
            serde_json::from_value(json!({ "status": { "conditions": [condition] } })).unwrap()
        };
        let now = "2026-03-02T10:01:00Z".parse().unwrap();
        let check = |pods: &[Pod], expected| {
            assert_eq!(
                warmth(pods, Duration::from_secs(30), now),
                expected,
                "{pods:?}"
            );
        };
        let old = pod("True", "2026-03-02T10:00:30Z");
        check(std::slice::from_ref(&old), Warmth::Warm);
        let unready = pod("False", "2026-03-02T10:00:59Z");
        check(&[old.clone(), unready], Warmth::Warm);
        let new = pod("True", "2026-03-02T10:00:31Z");
        check(&[old, new], Warmth::WarmingUp);
        // A clock of the cluster that is ahead.
        check(&[pod("True", "2026-03-02T11:00:00Z")], Warmth::WarmingUp);
    }

    #[tokio::test]
    async fn a_proxys_text_is_read_and_its_failure_told() {
        let server = Server::start(|count| match count {
            0 => Server::answer(200, "istio_build 1\n"),
            _ => Server::answer(503, ""),
        })
        .await;
        let client =
            Client::try_from(kube::Config::new("http://127.0.0.1:1".parse().unwrap())).unwrap();
        let scraper = Scraper {
            client,
            outgoing: Outgoing::on_loopback(),
        };
        let address = "127.0.0.1".parse().unwrap();
        let first = scraper.fetch(address, server.port(), PATIENCE).await;
        assert_eq!(first.as_deref(), Ok("istio_build 1\n"));
        let second = scraper.fetch(address, server.port(), PATIENCE).await;
        assert_eq!(second, Err("it answered 503".to_owned()));
        assert_eq!(server.requests()[0].uri, "/stats/prometheus");
    }
}
