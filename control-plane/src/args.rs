//! The command line: every flag can also be set by its environment variable.

use std::net::SocketAddr;
use std::time::Duration;

use fairlead_runtime::args::Log;

use crate::inject::{Policy, ProxyResources};

/// The control plane of the mesh.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "fairlead-control-plane", version)]
pub struct Args {
    /// The namespace that this runs in: the root namespace of the mesh.
    #[arg(long, env = "FAIRLEAD_NAMESPACE", default_value = "istio-system")]
    pub namespace: String,
    /// Name of this pod, which tells the replicas apart.
    #[arg(long, env = "FAIRLEAD_POD_NAME", default_value = "istiod")]
    pub pod_name: String,
    /// Name of the Service in front of this.
    #[arg(long, env = "FAIRLEAD_SERVICE", default_value = "istiod")]
    pub service: String,
    /// Trust domain of the mesh's identities.
    #[arg(long, env = "FAIRLEAD_TRUST_DOMAIN", default_value = "cluster.local")]
    pub trust_domain: String,
    /// DNS domain of the cluster's Services.
    #[arg(long, env = "FAIRLEAD_CLUSTER_DOMAIN", default_value = "cluster.local")]
    pub cluster_domain: String,
    /// Name of this cluster in node metadata and telemetry.
    #[arg(long, env = "FAIRLEAD_CLUSTER_ID", default_value = "Kubernetes")]
    pub cluster_id: String,
    /// Where things listen.
    #[command(flatten)]
    pub listen: Listen,
    /// Injection of sidecars.
    #[command(flatten)]
    pub injection: Injection,
    /// How changes are gathered into pushes.
    #[command(flatten)]
    pub push: Push,
    /// Logging.
    #[command(flatten)]
    pub log: Log,
}

impl Args {
    /// The address by which proxies reach the certificate authority and the xDS server.
    pub fn ca_address(&self) -> String {
        format!(
            "{}.{}.svc:{}",
            self.service,
            self.namespace,
            self.listen.xds_address.port()
        )
    }

    /// The name by which replicas know each other's certificates.
    pub fn replica_name(&self) -> String {
        format!("{}.{}.svc", self.service, self.namespace)
    }

    /// The names for which the serving certificate is valid.
    pub fn serving_names(&self) -> Vec<String> {
        let Self {
            service,
            namespace,
            cluster_domain,
            ..
        } = self;
        vec![
            self.replica_name(),
            format!("{service}.{namespace}.svc.{cluster_domain}"),
            format!("{service}.{namespace}"),
            service.clone(),
        ]
    }
}

/// Where things listen.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Listeners")]
pub struct Listen {
    /// xDS and the certificate authority, over TLS.
    #[arg(long, env = "FAIRLEAD_XDS_ADDRESS", default_value = "0.0.0.0:15012")]
    pub xds_address: SocketAddr,
    /// xDS in plain text, without identities or secrets; for tests only, off when not set.
    #[arg(long, env = "FAIRLEAD_PLAINTEXT_XDS_ADDRESS")]
    pub plaintext_xds_address: Option<SocketAddr>,
    /// Injection and validation webhooks, over TLS.
    #[arg(
        long,
        env = "FAIRLEAD_WEBHOOK_ADDRESS",
        default_value = "0.0.0.0:15017"
    )]
    pub webhook_address: SocketAddr,
    /// `/ready` for the kubelet.
    #[arg(long, env = "FAIRLEAD_READY_ADDRESS", default_value = "0.0.0.0:8080")]
    pub ready_address: SocketAddr,
    /// Metrics and `/debug`.
    #[arg(long, env = "FAIRLEAD_ADMIN_ADDRESS", default_value = "0.0.0.0:15014")]
    pub admin_address: SocketAddr,
}

/// Injection of sidecars.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Injection")]
pub struct Injection {
    /// Image of the proxy.
    #[arg(long, env = "FAIRLEAD_PROXY_IMAGE")]
    pub proxy_image: String,
    /// What happens to pods that say nothing about injection.
    #[arg(long, env = "FAIRLEAD_INJECTION_POLICY", value_enum, default_value_t = Policy::Enabled)]
    pub injection_policy: Policy,
    /// Whether proxies are native sidecars.
    #[arg(long, env = "FAIRLEAD_NATIVE_SIDECARS", value_enum, default_value_t = NativeSidecars::Auto)]
    pub native_sidecars: NativeSidecars,
    /// CPU request of a proxy.
    #[arg(long, env = "FAIRLEAD_PROXY_CPU", default_value = "10m")]
    pub proxy_cpu: String,
    /// CPU limit of a proxy.
    #[arg(long, env = "FAIRLEAD_PROXY_CPU_LIMIT", default_value = "2")]
    pub proxy_cpu_limit: String,
    /// Memory request of a proxy.
    #[arg(long, env = "FAIRLEAD_PROXY_MEMORY", default_value = "40Mi")]
    pub proxy_memory: String,
    /// Memory limit of a proxy.
    #[arg(long, env = "FAIRLEAD_PROXY_MEMORY_LIMIT", default_value = "1Gi")]
    pub proxy_memory_limit: String,
    /// The MutatingWebhookConfiguration whose CA bundle this keeps.
    #[arg(
        long,
        env = "FAIRLEAD_INJECTOR_WEBHOOK",
        default_value = "istio-sidecar-injector"
    )]
    pub injector_webhook: String,
    /// The ValidatingWebhookConfiguration whose CA bundle this keeps.
    #[arg(
        long,
        env = "FAIRLEAD_VALIDATOR_WEBHOOK",
        default_value = "istio-validator"
    )]
    pub validator_webhook: String,
}

impl Injection {
    /// The compute resources that proxies get.
    pub fn resources(&self) -> ProxyResources {
        ProxyResources {
            cpu: self.proxy_cpu.clone(),
            cpu_limit: self.proxy_cpu_limit.clone(),
            memory: self.proxy_memory.clone(),
            memory_limit: self.proxy_memory_limit.clone(),
        }
    }
}

/// Whether proxies are native sidecars: init containers that keep running.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum NativeSidecars {
    /// On Kubernetes 1.33 and later.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// How changes are gathered into pushes.
#[derive(Debug, Clone, Copy, clap::Args)]
#[command(next_help_heading = "Pushes")]
pub struct Push {
    /// Milliseconds without another change after which a push begins.
    #[arg(long, env = "FAIRLEAD_DEBOUNCE_QUIET_MS", default_value_t = 20)]
    pub debounce_quiet_ms: u64,
    /// Milliseconds after the first change at which a push begins however many follow.
    #[arg(long, env = "FAIRLEAD_DEBOUNCE_MAX_MS", default_value_t = 200)]
    pub debounce_max_ms: u64,
}

impl Push {
    /// The quiet period.
    pub fn quiet(self) -> Duration {
        Duration::from_millis(self.debounce_quiet_ms)
    }

    /// The longest wait.
    pub fn max(self) -> Duration {
        Duration::from_millis(self.debounce_max_ms)
    }
}
