//! A load generator pod, and what its log says.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, LogParams};
use serde::Deserialize;

use crate::{manifest, wait};

/// Where the load generator runs.
const NAMESPACE: &str = "fairlead-system";

/// What to ask, and how often.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Name of the pod.
    pub name: String,
    /// URL inside the cluster.
    pub url: String,
    /// `Host` header.
    pub host: String,
    /// Requests a second.
    pub rate: u32,
    /// JSON pointer into the answer that tells the version.
    pub version: String,
}

impl Plan {
    /// Load on the example's bookinfo, through the ingress gateway.
    pub fn bookinfo(name: &str, rate: u32) -> Self {
        Self {
            host: "bookinfo.example.com".to_owned(),
            version: "/reviews/version".to_owned(),
            ..Self::podinfo(name, rate)
        }
    }

    /// Load on the example's podinfo, through the ingress gateway.
    pub fn podinfo(name: &str, rate: u32) -> Self {
        Self {
            name: name.to_owned(),
            url: "http://istio-ingressgateway.istio-system.svc/".to_owned(),
            host: "podinfo.example.com".to_owned(),
            rate,
            version: "/message".to_owned(),
        }
    }
}

/// One line of the load generator's log: counts since its start.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Line {
    /// When it was printed, RFC 3339.
    pub at: String,
    /// Requests answered or failed.
    pub requests: u64,
    /// Answers of 500 and above, and requests without an answer.
    pub errors: u64,
    /// Answers by version.
    pub by_version: BTreeMap<String, u64>,
    /// Answers by status code.
    pub by_status: BTreeMap<u16, u64>,
    /// Why requests had no answer.
    pub reasons: BTreeMap<String, u64>,
    /// Median latency in milliseconds.
    pub p50_ms: f64,
    /// 99th percentile of the latency in milliseconds.
    pub p99_ms: f64,
}

impl Line {
    /// What came after `earlier`.
    pub fn since(&self, earlier: &Self) -> Self {
        let minus = |now: &BTreeMap<String, u64>, then: &BTreeMap<String, u64>| {
            now.iter()
                .map(|(key, count)| (key.clone(), count - then.get(key).copied().unwrap_or(0)))
                .filter(|(_, count)| *count > 0)
                .collect()
        };
        Self {
            at: self.at.clone(),
            requests: self.requests - earlier.requests,
            errors: self.errors - earlier.errors,
            by_version: minus(&self.by_version, &earlier.by_version),
            by_status: self
                .by_status
                .iter()
                .map(|(key, n)| (*key, n - earlier.by_status.get(key).copied().unwrap_or(0)))
                .filter(|(_, n)| *n > 0)
                .collect(),
            reasons: minus(&self.reasons, &earlier.reasons),
            p50_ms: self.p50_ms,
            p99_ms: self.p99_ms,
        }
    }
}

/// A running load generator.
pub struct Load {
    client: Client,
    name: String,
}

impl std::fmt::Debug for Load {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Load")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Load {
    /// Starts the pod and waits until it counts.
    pub async fn start(
        client: &Client,
        plan: &Plan,
        images: &BTreeMap<String, String>,
    ) -> anyhow::Result<Self> {
        let mut values = images.clone();
        values.extend([
            ("name".to_owned(), plan.name.clone()),
            ("url".to_owned(), plan.url.clone()),
            ("host".to_owned(), plan.host.clone()),
            ("rate".to_owned(), plan.rate.to_string()),
            ("version".to_owned(), plan.version.clone()),
        ]);
        let yaml = manifest::fill(include_str!("../manifests/loadgen.yaml"), &values)?;
        manifest::apply(client, &yaml).await?;
        let load = Self {
            client: client.clone(),
            name: plan.name.clone(),
        };
        wait::until(
            &load.pods(),
            &plan.name,
            "runs",
            Duration::from_secs(60),
            |pod| {
                let status = pod.status.as_ref();
                status.and_then(|s| s.phase.as_deref()) == Some("Running")
            },
        )
        .await?;
        wait::poll(
            client,
            NAMESPACE,
            "the load counts",
            Duration::from_secs(15),
            async || Ok(load.lines().await?.pop()),
        )
        .await?;
        Ok(load)
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    async fn lines(&self) -> anyhow::Result<Vec<Line>> {
        let log = self.pods().logs(&self.name, &LogParams::default()).await?;
        log.lines()
            .filter(|line| line.starts_with('{'))
            .map(|line| serde_json::from_str(line).context("a line that is not JSON"))
            .collect()
    }

    /// The counts as of the last second.
    pub async fn counts(&self) -> anyhow::Result<Line> {
        self.lines()
            .await?
            .pop()
            .context("the load generator printed nothing")
    }

    /// The counts as of the next second.
    pub async fn next(&self) -> anyhow::Result<Line> {
        let now = self.counts().await?;
        let next = async || {
            let line = self.counts().await?;
            Ok((line.at != now.at).then_some(line))
        };
        let what = "the load counts on";
        wait::poll(&self.client, NAMESPACE, what, Duration::from_secs(15), next).await
    }

    /// What the answers of one whole second are, from now on.
    pub async fn second(&self) -> anyhow::Result<Line> {
        let begin = self.next().await?;
        Ok(self.next().await?.since(&begin))
    }

    /// Every second's counts so far.
    pub async fn history(&self) -> anyhow::Result<Vec<Line>> {
        self.lines().await
    }

    /// Takes the last counts and removes the pod.
    pub async fn stop(self) -> anyhow::Result<Line> {
        // One more second, so that the last requests are counted.
        let counts = self.next().await?;
        self.pods().delete(&self.name, &Default::default()).await?;
        wait::until_gone(&self.pods(), &self.name, Duration::from_secs(30)).await?;
        Ok(counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_holds_only_what_came_since() {
        let then = Line {
            requests: 10,
            by_version: [("v1".to_owned(), 10)].into(),
            ..Line::default()
        };
        let now = Line {
            requests: 15,
            by_version: [("v1".to_owned(), 10), ("v2".to_owned(), 5)].into(),
            ..Line::default()
        };
        let since = now.since(&then);
        assert_eq!(since.requests, 5);
        assert_eq!(since.by_version, [("v2".to_owned(), 5)].into());
    }
}
