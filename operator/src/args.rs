//! The command line: every flag can also be set by its environment variable.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use fairlead_runtime::args::{Admin, Log};

use crate::fault::Fault;
use crate::outgoing::address::Permission;
use crate::trace;

pub mod flagger;

/// Installs the mesh that MeshInstalls describe, and runs Canaries.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "fairlead-operator", version, args_override_self = true)]
pub struct Args {
    /// Prometheus that Canaries query, unless their spec names another. Without one the built-in
    /// metrics are counted by the mesh's own proxies.
    #[arg(long, env = "FAIRLEAD_METRICS_SERVER")]
    pub metrics_server: Option<String>,
    /// Shortest interval between two analyses of a Canary, such as `10s`; shorter ones are raised.
    #[arg(
        long,
        env = "FAIRLEAD_CONTROL_LOOP_MIN_INTERVAL",
        default_value = "10s",
        value_parser = parse_duration
    )]
    pub control_loop_min_interval: Duration,
    /// The one namespace whose Canaries are run; all when not set.
    #[arg(long, env = "FAIRLEAD_WATCH_NAMESPACE")]
    pub watch_namespace: Option<String>,
    /// The provider of Canaries whose spec names none: `istio`, `gatewayapi:v1` or `kubernetes`.
    #[arg(long, env = "FAIRLEAD_MESH_PROVIDER", default_value = "istio")]
    pub mesh_provider: String,
    /// Refuses templates and alert providers of another namespace than the Canary's.
    #[arg(long, env = "FAIRLEAD_NO_CROSS_NAMESPACE_REFS")]
    pub no_cross_namespace_refs: bool,
    /// Takes the annotation `fairlead.dev/commanded-by` for proof of who gave a command: right where
    /// the admission policies of the chart let only true ones in.
    #[arg(long, env = "FAIRLEAD_TRUST_COMMAND_STAMPS")]
    pub trust_command_stamps: bool,
    /// File that says how to reach the API server; by default that of `KUBECONFIG`, else the
    /// cluster of the pod.
    #[arg(long)]
    pub kubeconfig: Option<PathBuf>,
    /// Addresses that webhooks, alerts and metrics may call although they are refused by default:
    /// `loopback`, `link-local`, `node`, `api-server`, or a host as the URL names it.
    #[arg(long, env = "FAIRLEAD_ALLOW_OUTGOING", value_delimiter = ',')]
    pub allow_outgoing: Vec<Permission>,
    /// What goes wrong at one of the process' writes, such as `before:3`: it ends; for tests.
    #[arg(long, env = "FAIRLEAD_FAULT", hide = true)]
    pub fault: Option<Fault>,
    /// What MeshInstalls deploy.
    #[command(flatten)]
    pub images: Images,
    /// Who this is among replicas.
    #[command(flatten)]
    pub lease: Lease,
    /// Where messages about Canaries go.
    #[command(flatten)]
    pub alerts: Alerts,
    /// Where traces of rollouts go.
    #[command(flatten)]
    pub traces: Traces,
    /// Admin server.
    #[command(flatten)]
    pub admin: Admin,
    /// Logging.
    #[command(flatten)]
    pub log: Log,
}

/// Images that MeshInstalls deploy.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Images")]
pub struct Images {
    /// Image of the control plane; without it no mesh is installed.
    #[arg(long, env = "FAIRLEAD_CONTROL_PLANE_IMAGE")]
    pub control_plane_image: Option<String>,
    /// Image of the proxy: gateways and sidecars; without it no mesh is installed.
    #[arg(long, env = "FAIRLEAD_PROXY_IMAGE")]
    pub proxy_image: Option<String>,
}

/// The lease that lets one replica work at a time.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Leader election")]
pub struct Lease {
    /// Namespace of the lease.
    #[arg(
        long,
        env = "FAIRLEAD_LEASE_NAMESPACE",
        default_value = "fairlead-system"
    )]
    pub lease_namespace: String,
    /// Name of the lease.
    #[arg(long, env = "FAIRLEAD_LEASE_NAME", default_value = "fairlead-operator")]
    pub lease_name: String,
    /// Name of this pod, which tells replicas apart.
    #[arg(long, env = "FAIRLEAD_POD_NAME", default_value = "fairlead-operator")]
    pub pod_name: String,
}

/// Where messages about all Canaries go; the environment variables have Flagger's names.
#[derive(Clone, clap::Args)]
#[command(next_help_heading = "Alerts")]
pub struct Alerts {
    /// Incoming webhook of Slack. A secret: set it by the environment.
    #[arg(long, env = "SLACK_URL", hide_env_values = true)]
    pub slack_url: Option<String>,
    /// Token of a Slack bot. A secret: set it by the environment.
    #[arg(long, env = "SLACK_TOKEN", hide_env_values = true)]
    pub slack_token: Option<String>,
    /// HTTP proxy towards Slack.
    #[arg(long, env = "SLACK_PROXY_URL", hide_env_values = true)]
    pub slack_proxy_url: Option<String>,
    /// Name that messages carry.
    #[arg(long, env = "SLACK_USER", default_value = "fairlead")]
    pub slack_user: String,
    /// Channel of the messages.
    #[arg(long, env = "SLACK_CHANNEL", default_value = "general")]
    pub slack_channel: String,
    /// Incoming webhook of Microsoft Teams. A secret: set it by the environment.
    #[arg(long, env = "MSTEAMS_URL", hide_env_values = true)]
    pub msteams_url: Option<String>,
    /// HTTP proxy towards Microsoft Teams.
    #[arg(long, env = "MSTEAMS_PROXY_URL", hide_env_values = true)]
    pub msteams_proxy_url: Option<String>,
    /// Receiver of every event of every Canary, unless its spec names another.
    #[arg(long, env = "EVENT_WEBHOOK_URL", hide_env_values = true)]
    pub event_webhook: Option<String>,
    /// Name of the cluster in messages.
    #[arg(long, env = "CLUSTER_NAME")]
    pub cluster_name: Option<String>,
}

/// Where traces of rollouts go, by OpenTelemetry's standard variables.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Traces")]
pub struct Traces {
    /// OTLP collector that gets each rollout as a trace, over HTTP, such as
    /// `http://collector:4318`; none when not set. The other `OTEL_…` variables are heeded too.
    #[arg(long, env = trace::ENDPOINT, hide_env_values = true)]
    pub otlp_endpoint: Option<String>,
}

impl Traces {
    /// Reads the other variables.
    ///
    /// # Errors
    /// When they ask for what cannot be done.
    pub fn settings(&self) -> Result<Option<trace::Settings>, trace::Error> {
        trace::Settings::read(|name| match name {
            trace::ENDPOINT => self.otlp_endpoint.clone(),
            #[expect(clippy::disallowed_methods, reason = "this is the edge")]
            other => std::env::var(other).ok(),
        })
    }
}

impl std::fmt::Debug for Alerts {
    /// Shows no address and no token: those are secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            slack_user,
            slack_channel,
            cluster_name,
            ..
        } = self;
        f.debug_struct("Alerts")
            .field("slack_user", slack_user)
            .field("slack_channel", slack_channel)
            .field("cluster_name", cluster_name)
            .finish_non_exhaustive()
    }
}

/// Parses `500ms`, `10s`, `1m30s`, `2h`.
fn parse_duration(text: &str) -> anyhow::Result<Duration> {
    let span: jiff::SignedDuration = text
        .parse()
        .with_context(|| format!("`{text}` is no duration such as `10s`"))?;
    let duration = span
        .try_into()
        .with_context(|| format!("`{text}` is negative"))?;
    anyhow::ensure!(
        duration > Duration::ZERO,
        "`{text}` is not longer than nothing"
    );
    Ok(duration)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[test]
    fn durations_have_units() {
        assert_eq!(parse_duration("100ms").unwrap(), Duration::from_millis(100));
        assert_eq!(parse_duration("1m30s").unwrap(), Duration::from_secs(90));
        parse_duration("10").unwrap_err();
        parse_duration("-10s").unwrap_err();
        parse_duration("0s").unwrap_err();
    }

    #[test]
    fn printing_the_arguments_shows_no_secret() {
        let args = Args::parse_from([
            "fairlead-operator",
            "--control-plane-image=a",
            "--proxy-image=b",
            "--slack-url=https://hooks/secret",
            "--slack-token=secret",
        ]);
        assert!(!format!("{args:?}").contains("secret"));
    }
}
