//! Command line of `fairlead-gitops`. Everything here is read once, at the start.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use fairlead_runtime::args;

/// The GitOps controllers: what is in git is in the cluster.
#[derive(Debug, Parser)]
#[command(version, about)]
pub struct Cli {
    /// What to do instead of running the controllers.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// How to run the controllers.
    #[command(flatten)]
    pub run: Run,
}

/// What the binary does besides running the controllers.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Fetches one git repository: request on standard input, answer on standard output.
    #[command(hide = true)]
    Fetch,
}

/// How to run the controllers.
#[derive(Clone, Debug, Args)]
pub struct Run {
    /// Logging.
    #[command(flatten)]
    pub log: args::Log,
    /// Metrics and probes.
    #[command(flatten)]
    pub admin: args::Admin,
    /// Folder that holds the artifacts.
    #[arg(long, env = "FAIRLEAD_STORAGE", default_value = "/data")]
    pub storage: PathBuf,
    /// Where artifacts are served.
    #[arg(
        long,
        env = "FAIRLEAD_ARTIFACT_ADDRESS",
        default_value = "0.0.0.0:9090"
    )]
    pub artifact_address: SocketAddr,
    /// The URL under which consumers in the cluster reach that address.
    #[arg(
        long,
        env = "FAIRLEAD_ARTIFACT_URL",
        default_value = "http://fairlead-gitops.fairlead-system.svc.cluster.local.:9090"
    )]
    pub artifact_url: String,
    /// How many objects of each kind are reconciled at once.
    #[arg(long, env = "FAIRLEAD_CONCURRENT", default_value_t = 8)]
    pub concurrent: u16,
    /// The only namespace to look at; all of them when not set.
    #[arg(long, env = "FAIRLEAD_WATCH_NAMESPACE")]
    pub watch_namespace: Option<String>,
    /// Refuses references from one namespace to another.
    #[arg(long, env = "FAIRLEAD_NO_CROSS_NAMESPACE_REFS")]
    pub no_cross_namespace_refs: bool,
    /// Service account that Kustomizations without `serviceAccountName` act as.
    #[arg(long, env = "FAIRLEAD_DEFAULT_SERVICE_ACCOUNT")]
    pub default_service_account: Option<String>,
    /// Namespace of the leader's lease.
    #[arg(
        long,
        env = "FAIRLEAD_LEASE_NAMESPACE",
        default_value = "fairlead-system"
    )]
    pub lease_namespace: String,
    /// Name of the leader's lease.
    #[arg(long, env = "FAIRLEAD_LEASE_NAME", default_value = "fairlead-gitops")]
    pub lease_name: String,
    /// Name of this pod: who holds the lease, and who publishes events.
    #[arg(long, env = "FAIRLEAD_POD_NAME", default_value = "fairlead-gitops")]
    pub pod_name: String,
}
