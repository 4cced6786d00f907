//! The command line and the environment, read once.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use fairlead_runtime::args::Log;

use crate::init::Capture;

/// The data plane of the mesh.
#[derive(Debug, Parser)]
#[command(name = "fairlead-proxy", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Logging of the proxy itself.
    #[command(flatten)]
    pub log: Log,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Carry the traffic of the application in the same pod.
    Sidecar(Box<Proxy>),
    /// Carry the traffic at the edge of the mesh.
    Gateway(Box<Proxy>),
    /// Redirect the pod's traffic to the proxy. Needs root.
    Init(Init),
    /// Ask the running proxy to let its peers leave.
    Drain,
}

/// Arguments of `init`.
#[derive(Debug, Args)]
pub struct Init {
    /// Undo the redirection instead.
    #[arg(long)]
    pub clean: bool,
    /// What to redirect.
    #[command(flatten)]
    pub capture: Capture,
}

/// Arguments of `sidecar` and `gateway`. Most come from the injector, by environment.
#[derive(Debug, Clone, Args)]
pub struct Proxy {
    /// Address of the control plane and its certificate authority.
    #[arg(long, env = "CA_ADDR", default_value = "istiod.istio-system.svc:15012")]
    pub control_plane: String,
    /// Name of the pod.
    #[arg(long, env = "POD_NAME")]
    pub pod_name: String,
    /// Namespace of the pod.
    #[arg(long, env = "POD_NAMESPACE")]
    pub pod_namespace: String,
    /// Address of the pod.
    #[arg(long, env = "INSTANCE_IP")]
    pub instance_ip: IpAddr,
    /// Service account of the pod.
    #[arg(long, env = "SERVICE_ACCOUNT", default_value = "default")]
    pub service_account: String,
    /// Trust domain of the mesh.
    #[arg(long, env = "TRUST_DOMAIN", default_value = "cluster.local")]
    pub trust_domain: String,
    /// DNS domain of the cluster.
    #[arg(long, env = "FAIRLEAD_CLUSTER_DOMAIN", default_value = "cluster.local")]
    pub cluster_domain: String,
    /// Name of the workload that the pod is part of.
    #[arg(long, env = "ISTIO_META_WORKLOAD_NAME", default_value = "")]
    pub workload: String,
    /// Name of the cluster.
    #[arg(long, env = "ISTIO_META_CLUSTER_ID", default_value = "Kubernetes")]
    pub cluster: String,
    /// Canonical service of the workload.
    #[arg(long, env = "CANONICAL_SERVICE", default_value = "")]
    pub canonical_service: String,
    /// Canonical revision of the workload.
    #[arg(long, env = "CANONICAL_REVISION", default_value = "latest")]
    pub canonical_revision: String,
    /// File with the pod's labels, `key="value"` a line.
    #[arg(
        long,
        env = "FAIRLEAD_LABELS_FILE",
        default_value = "/etc/istio/pod/labels"
    )]
    pub labels_file: PathBuf,
    /// File with the token that proves who we are.
    #[arg(
        long,
        env = "FAIRLEAD_TOKEN_FILE",
        default_value = "/var/run/secrets/tokens/istio-token"
    )]
    pub token_file: PathBuf,
    /// File with the mesh's roots.
    #[arg(
        long,
        env = "FAIRLEAD_ROOTS_FILE",
        default_value = "/var/run/secrets/istio/root-cert.pem"
    )]
    pub roots_file: PathBuf,
    /// File with the roots that are trusted outside the mesh.
    #[arg(
        long,
        env = "FAIRLEAD_PUBLIC_ROOTS_FILE",
        default_value = "/etc/ssl/certs/ca-certificates.crt"
    )]
    pub public_roots_file: PathBuf,
    /// Worker threads; by default two, or fewer where the CPU limit is less.
    #[arg(long, env = "FAIRLEAD_CONCURRENCY")]
    pub concurrency: Option<usize>,
    /// Whether each request is logged on standard output.
    #[arg(long, env = "FAIRLEAD_ACCESS_LOG", default_value_t = true, action = clap::ArgAction::Set)]
    pub access_log: bool,
    /// How long peers have to leave after SIGTERM, such as `5s`.
    #[arg(long, env = "FAIRLEAD_TERMINATION_DRAIN", default_value = "5s", value_parser = parse_duration)]
    pub termination_drain: Duration,
    /// The application's own probes, as JSON by path.
    #[arg(long, env = "ISTIO_KUBE_APP_PROBERS", default_value = "{}")]
    pub app_probers: String,
    /// Where the application serves metrics, as JSON.
    #[arg(long, env = "ISTIO_PROMETHEUS_ANNOTATIONS", default_value = "{}")]
    pub app_metrics: String,
    /// Address of the administration server.
    #[arg(
        long,
        env = "FAIRLEAD_PROXY_ADMIN_ADDRESS",
        default_value = "127.0.0.1:15000"
    )]
    pub admin_address: std::net::SocketAddr,
}

fn parse_duration(text: &str) -> Result<Duration, jiff::Error> {
    let duration: jiff::SignedDuration = text.parse()?;
    Duration::try_from(duration)
}

/// How many workers a CPU limit in the form of `cpu.max` (`quota period`) has room for.
pub fn workers_within(cpu_max: &str) -> Option<usize> {
    let (quota, period) = cpu_max.trim().split_once(' ')?;
    let (quota, period): (usize, usize) = (quota.parse().ok()?, period.parse().ok()?);
    Some(quota.div_ceil(period.max(1)).max(1))
}

/// Labels from the downward API: `key="value"` a line, the value escaped as in Go.
pub fn parse_labels(text: &str) -> std::collections::BTreeMap<String, String> {
    let pairs = text.lines().filter_map(|line| {
        let (key, value) = line.split_once('=')?;
        Some((key.to_owned(), value.trim_matches('"').to_owned()))
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_limit_bounds_the_workers() {
        assert_eq!(workers_within("max 100000"), None);
        assert_eq!(workers_within("200000 100000\n"), Some(2));
        assert_eq!(workers_within("50000 100000"), Some(1));
        assert_eq!(workers_within("150000 100000"), Some(2));
    }

    #[test]
    fn labels_are_read_from_the_downward_api() {
        let labels = parse_labels("app=\"web\"\nversion=\"v1\"");
        assert_eq!(labels["app"], "web");
        assert_eq!(labels["version"], "v1");
    }

    #[test]
    fn a_drain_time_has_a_unit() {
        assert_eq!(parse_duration("5s").unwrap(), Duration::from_secs(5));
        parse_duration("-5s").unwrap_err();
    }
}
