//! A Kubernetes API server with its etcd on loopback: for tests that need no pods.
//!
//! It needs neither root nor a network namespace, and ends with the process that started it,
//! however that process ends: each program runs as the only child of a shell that waits for the
//! end of a pipe held here, in a process namespace that the kernel clears with the shell.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::certificates::Subject;
use crate::control_plane::{Addresses, Credentials, etcd, kube_apiserver};
use crate::ports;
use crate::program::Program;
use crate::tools::Tools;

/// How long a cold API server may take on a loaded machine; 4 s are usual.
const READY_WITHIN: Duration = Duration::from_secs(120);
/// A started API server answers within milliseconds: asking more often gains nothing.
const PROBE_EVERY: Duration = Duration::from_millis(100);

/// How much the heap grows, in percent, before the API server collects garbage. At Go's 100 that was
/// a third of its CPU time, as its own profiler tells, and memory is what this machine has.
const COLLECT_AT: &str = "400";

const AUDIT_LOG: &str = "audit.log";
/// Who asked for what, once it is answered.
const AUDIT_POLICY: &str = "apiVersion: audit.k8s.io/v1\nkind: Policy\n\
                            omitStages: [RequestReceived]\nrules: [{level: Metadata}]\n";

/// A running API server; dropping it ends it and removes its folder.
#[derive(Debug)]
pub struct ApiServer {
    guards: Vec<Child>,
    credentials: Credentials,
    folder: TempDir,
    kubeconfig: PathBuf,
    url: String,
}

impl ApiServer {
    /// Starts etcd and an API server and waits until it is ready.
    ///
    /// # Errors
    /// When the tools are missing, or the server is not ready in time; then with its log.
    pub async fn start() -> Result<Self> {
        Self::start_with(|program, _folder| Ok(program)).await
    }

    /// As [`Self::start`], with a log of every request: see [`Self::audit_log`].
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_audited() -> Result<Self> {
        Self::start_with(|program, folder| {
            let policy = folder.join("audit-policy.yaml");
            std::fs::write(&policy, AUDIT_POLICY)?;
            Ok(program
                .path("audit-policy-file", &policy)
                .path("audit-log-path", &folder.join(AUDIT_LOG))
                // Megabytes: whoever counts requests must not lose those before a rotation.
                .flag("audit-log-maxsize", 10_000))
        })
        .await
    }

    async fn start_with(configure: impl FnOnce(Program, &Path) -> Result<Program>) -> Result<Self> {
        let tools = Tools::read()?;
        let folder = tempfile::Builder::new()
            .prefix("fairlead-apiserver-")
            .tempdir()
            .context("failed to create a folder for the API server")?;
        let addresses = Addresses {
            api: ports::free(),
            etcd: ports::free(),
            etcd_peer: ports::free(),
        };
        let credentials = Credentials::create(&folder.path().join("pki"), &[])?;
        let url = format!("https://{}", addresses.api);
        let kubeconfig = credentials.kubeconfig(
            "admin.kubeconfig",
            &url,
            Subject {
                name: "admin",
                group: Some("system:masters"),
                hosts: &[],
            },
        )?;
        let api = kube_apiserver(&tools, &addresses, &credentials)?
            .path("cert-dir", folder.path())
            // Nothing here makes the `default` service account that pods would have to name.
            .flag("disable-admission-plugins", "ServiceAccount");
        let api = configure(api, folder.path())?.env("GOGC", COLLECT_AT);
        let store = etcd(&tools, &addresses, &folder.path().join("etcd"))?;
        let guards = vec![
            start_guarded(&store, folder.path())?,
            start_guarded(&api, folder.path())?,
        ];
        let server = Self {
            guards,
            credentials,
            folder,
            kubeconfig,
            url,
        };
        server.wait_until_ready().await?;
        Ok(server)
    }

    /// The path of an administrator's kubeconfig.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The path of another administrator's kubeconfig, who can be told from the first in the log.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn kubeconfig_of(&self, name: &str) -> Result<PathBuf> {
        self.kubeconfig_in(name, Some("system:masters"))
    }

    /// The path of the kubeconfig of a user who has no right that nobody gives him.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn kubeconfig_of_user(&self, name: &str) -> Result<PathBuf> {
        self.kubeconfig_in(name, None)
    }

    fn kubeconfig_in(&self, name: &str, group: Option<&str>) -> Result<PathBuf> {
        let user = Subject {
            name,
            group,
            hosts: &[],
        };
        let file = format!("{name}.kubeconfig");
        self.credentials.kubeconfig(&file, &self.url, user)
    }

    /// Where every request is logged, one JSON object a line, if the server was started for that.
    pub fn audit_log(&self) -> PathBuf {
        self.folder.path().join(AUDIT_LOG)
    }

    /// The processes below which etcd and the API server run.
    pub fn guards(&self) -> impl Iterator<Item = u32> {
        self.guards.iter().map(Child::id)
    }

    /// The address of the API server.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The folder with logs (`kube-apiserver.log`, `etcd.log`).
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A client with an administrator's rights.
    ///
    /// # Errors
    /// When the kubeconfig cannot be read.
    pub async fn client(&self) -> Result<Client> {
        client(&self.kubeconfig).await
    }

    async fn wait_until_ready(&self) -> Result<()> {
        let client = self.client().await?;
        let Err(last) = wait_until_ready(&client, READY_WITHIN).await else {
            return Ok(());
        };
        let log = tail(&self.folder.path().join("kube-apiserver.log"));
        bail!("the API server is not ready after {READY_WITHIN:?}: {last:#}; its log ends:\n{log}")
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        for guard in &mut self.guards {
            // The end of its pipe is the guard's sign to end, and its program with it.
            drop(guard.stdin.take());
            // An error means that it has ended already.
            let _ = guard.wait();
        }
    }
}

/// A client for the current context of a kubeconfig file.
///
/// # Errors
/// When the file cannot be read or names what does not exist.
pub async fn client(kubeconfig: &Path) -> Result<Client> {
    let config = Kubeconfig::read_from(kubeconfig)
        .with_context(|| format!("failed to read `{}`", kubeconfig.display()))?;
    let config =
        kube::Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

/// Waits until an API server calls itself ready.
///
/// # Errors
/// What it answered last, when it was not ready in time.
pub(crate) async fn wait_until_ready(client: &Client, within: Duration) -> Result<()> {
    let deadline = Instant::now() + within;
    loop {
        let request = http::Request::get("/readyz").body(Vec::new())?;
        match client.request_text(request).await {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() >= deadline => return Err(error.into()),
            // Not yet: a starting server refuses connections, then answers 500 for a while.
            Err(_) => tokio::time::sleep(PROBE_EVERY).await,
        }
    }
}

/// The last lines of a log, for an error message.
pub(crate) fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_else(|error| format!("({error})"));
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

fn start_guarded(program: &Program, folder: &Path) -> Result<Child> {
    let log = File::create(folder.join(format!("{}.log", program.name)))?;
    let mut command = Command::new("unshare");
    if !nix::unistd::geteuid().is_root() {
        command.args(["--user", "--map-current-user"]);
    }
    command
        .args(["--pid", "--fork", "--kill-child"])
        .args([
            "sh",
            "-c",
            r#"exec 3<&0 </dev/null; "$@" & read -r _ <&3"#,
            "guard",
        ])
        .args(&program.argv)
        .envs(program.env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::piped())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("failed to start `{}`", program.name))
}
