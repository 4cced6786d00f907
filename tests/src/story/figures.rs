//! The figures at the end of the demo: times of the releases, cost of each component.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt as _};
use tokio::process::Command;

use super::Stage;
use super::release::{Release, seconds};
use crate::figure::{self, Figure};

/// What a container costs, as the kubelet last measured it.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// CPU in thousandths of a core.
    pub millicores: f64,
    /// Working set in MiB.
    pub memory: f64,
}

/// One container's counters, as the kubelet exposes them at `/metrics/resource`.
#[derive(Debug, Default, Clone, Copy)]
struct Sample {
    cpu_seconds: f64,
    memory_bytes: f64,
}

/// Namespace, pod and container.
type Container = (String, String, String);

/// How long CPU is measured over; the kubelet samples each container about every 10 s.
const WINDOW: Duration = Duration::from_secs(25);

/// Asks each node's kubelet, twice, what our components and the sidecars cost in between; sidecars
/// of one namespace are averaged.
pub async fn usage(stage: &Stage) -> anyhow::Result<BTreeMap<String, Usage>> {
    let nodes: Api<Node> = Api::all(stage.client.clone());
    let nodes = nodes.list(&ListParams::default()).await?;
    let mut before = BTreeMap::new();
    for node in &nodes {
        before.extend(samples(&stage.client, &node.name_any()).await?);
    }
    tokio::time::sleep(WINDOW).await;
    let mut all: BTreeMap<String, Vec<Usage>> = BTreeMap::new();
    for node in &nodes {
        for (container, (time, now)) in samples(&stage.client, &node.name_any()).await? {
            let (Some(component), Some((earlier, then))) =
                (component(&container), before.get(&container))
            else {
                continue;
            };
            let seconds = (time - earlier) / 1000.0;
            if seconds > 0.0 {
                all.entry(component).or_default().push(Usage {
                    millicores: 1000.0 * (now.cpu_seconds - then.cpu_seconds) / seconds,
                    memory: now.memory_bytes / f64::from(1 << 20),
                });
            }
        }
    }
    Ok(all
        .into_iter()
        .map(|(name, list)| (name, mean(&list)))
        .collect())
}

/// Each container's last sample, with the kubelet's time of its CPU counter in milliseconds.
async fn samples(
    client: &Client,
    node: &str,
) -> anyhow::Result<BTreeMap<Container, (f64, Sample)>> {
    let request = http::Request::get(format!("/api/v1/nodes/{node}/proxy/metrics/resource"))
        .body(Vec::new())
        .context("failed to build the request")?;
    let text = client.request_text(request).await;
    let text = text.with_context(|| format!("failed to ask the kubelet of `{node}`"))?;
    Ok(parse_samples(&text))
}

fn parse_samples(text: &str) -> BTreeMap<Container, (f64, Sample)> {
    let mut samples: BTreeMap<Container, (f64, Sample)> = BTreeMap::new();
    for line in text.lines() {
        let Some((name, rest)) = line.split_once('{') else {
            continue;
        };
        let Some((labels, values)) = rest.split_once('}') else {
            continue;
        };
        let label = |key: &str| {
            let found = labels.split(',').find_map(|label| label.strip_prefix(key));
            found.map(|value| value.trim_start_matches('=').trim_matches('"').to_owned())
        };
        let (Some(namespace), Some(pod), Some(container)) =
            (label("namespace"), label("pod"), label("container"))
        else {
            continue;
        };
        let mut values = values
            .split_whitespace()
            .filter_map(|value| value.parse::<f64>().ok());
        let (Some(value), Some(time)) = (values.next(), values.next()) else {
            continue;
        };
        let sample = samples.entry((namespace, pod, container)).or_default();
        match name {
            "container_cpu_usage_seconds_total" => {
                sample.0 = time;
                sample.1.cpu_seconds = value;
            }
            "container_memory_working_set_bytes" => sample.1.memory_bytes = value,
            _ => {}
        }
    }
    samples
}

/// Under which name a container's cost is shown; none for what is not ours.
fn component((namespace, pod, container): &Container) -> Option<String> {
    if container == "istio-proxy" {
        let gateway = pod.starts_with("istio-ingressgateway");
        return Some(if gateway {
            "ingress gateway".to_owned()
        } else {
            format!("sidecar in {namespace} (mean)")
        });
    }
    match (namespace.as_str(), pod.split('-').next()?) {
        ("fairlead-system", "fairlead") => pod.split('-').nth(1).map(str::to_owned),
        ("istio-system", "istiod") => Some("control plane".to_owned()),
        _ => None,
    }
}

fn mean(list: &[Usage]) -> Usage {
    #[expect(clippy::cast_precision_loss, reason = "a handful of pods")]
    let count = list.len().max(1) as f64;
    Usage {
        millicores: list.iter().map(|usage| usage.millicores).sum::<f64>() / count,
        memory: list.iter().map(|usage| usage.memory).sum::<f64>() / count,
    }
}

/// The times of the releases and the cost of each component; `polled` is push to applied without
/// the hook, in seconds.
pub fn of(
    polled: f64,
    releases: &BTreeMap<&'static str, Release>,
    usage: &BTreeMap<String, Usage>,
) -> Vec<Figure> {
    let mut figures = vec![Figure::new(
        "push → applied (polling, every 5 s)",
        "s",
        polled,
    )];
    for (name, release) in releases {
        figures.extend(of_release(name, release));
    }
    for (component, usage) in usage {
        figures.extend([
            Figure::new(format!("{component}: CPU"), "m", usage.millicores),
            Figure::new(format!("{component}: memory"), "MiB", usage.memory),
        ]);
    }
    figures
}

fn of_release(name: &str, release: &Release) -> Vec<Figure> {
    let time = |what: &str, value: Option<f64>| Figure::new(format!("{name}: {what}"), "s", value);
    let mut figures = vec![
        time("push → applied (post-receive hook)", Some(release.applied)),
        time("applied → first canary weight", release.first_weight),
    ];
    if release.phases.last().is_some_and(|phase| phase == "Failed") {
        let fault = release.exposed.zip(release.withdrawn);
        let exposed = fault.map(|(from, to)| seconds(from, to));
        figures.extend([
            time("first traffic on the canary → weight 0", exposed),
            time("failing check recorded → weight 0", release.reaction),
        ]);
    } else {
        figures.push(time("push → promoted", Some(release.ended)));
    }
    #[expect(clippy::cast_precision_loss, reason = "thousands of requests")]
    let errors = release.load.errors as f64;
    figures.push(Figure::new(
        format!("{name}: failed requests"),
        format!("of {}", release.load.requests),
        errors,
    ));
    figures
}

/// CPU of a request through a sidecar, beside Envoy's: measured by `bench`, in seconds enough to
/// tell the two apart.
pub async fn sidecar(bench: &Path) -> anyhow::Result<Vec<Figure>> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("proxy.json");
    let output = Command::new(bench)
        .args(["proxy", "--rounds=3", "--seconds=2", "--output"])
        .arg(&file)
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| format!("failed to run `{}`", bench.display()))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "the measurement failed: {}",
        errors.trim()
    );
    figure::read(&file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_components_and_sidecars_are_shown() {
        let shown = |namespace: &str, pod: &str, container: &str| {
            component(&(namespace.to_owned(), pod.to_owned(), container.to_owned()))
        };
        assert_eq!(
            shown("fairlead-system", "fairlead-operator-x-y", "operator").as_deref(),
            Some("operator")
        );
        assert_eq!(shown("fairlead-system", "git-server-x", "git-server"), None);
        assert_eq!(
            shown("istio-system", "istio-ingressgateway-x", "istio-proxy").as_deref(),
            Some("ingress gateway")
        );
        assert_eq!(
            shown("podinfo", "podinfo-x", "istio-proxy").as_deref(),
            Some("sidecar in podinfo (mean)")
        );
    }

    #[test]
    fn a_sample_joins_both_counters_of_a_container() {
        let text = "# TYPE container_cpu_usage_seconds_total counter\n\
                    container_cpu_usage_seconds_total{container=\"a\",namespace=\"n\",pod=\"p\"} 1.5 2000\n\
                    container_memory_working_set_bytes{container=\"a\",namespace=\"n\",pod=\"p\"} 4096 2000\n\
                    node_cpu_usage_seconds_total 7 2000\n";
        let samples = parse_samples(text);
        let (time, sample) = samples[&("n".to_owned(), "p".to_owned(), "a".to_owned())];
        assert_eq!(
            (time, sample.cpu_seconds, sample.memory_bytes),
            (2000.0, 1.5, 4096.0)
        );
        assert_eq!(samples.len(), 1);
    }
}
