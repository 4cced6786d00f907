//! A real Kubernetes on this machine, without Docker, in namespaces of its own.
//!
//! One holder process (`unshare` of network, mounts and processes) has etcd, the control plane,
//! containerd, a kubelet, kube-proxy and CoreDNS below it. When the holder dies, by whatever
//! signal, the kernel ends them all and drops interfaces, rules and mounts with the namespaces.
//! What then remains (control groups, one folder) the next command removes.

mod control_group;
mod holder;
mod layout;
mod leftovers;
mod node;

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use k8s_openapi::api::core::v1::Node;
use kube::runtime::wait::await_condition;
use kube::{Api, Client};

pub use self::control_group::find as find_control_groups;
pub use self::holder::hold;
pub use self::layout::Layout;
pub use self::leftovers::{all, command_lines, holders, remove, sweep};
use crate::apiserver;
use crate::tools::Tools;

/// A cold start on a loaded machine; 15 s are usual.
const READY_WITHIN: Duration = Duration::from_secs(180);

/// A running cluster. The one that [`Cluster::start`] gives is owned: dropping it stops it.
#[derive(Debug)]
pub struct Cluster {
    layout: Layout,
    tools: Tools,
    /// Held for as long as this process owns the cluster.
    lock: Option<File>,
    /// The process that this one started for it.
    holder: Option<Child>,
}

impl Cluster {
    /// Starts a cluster, after removing what an earlier one of that name left, and waits until its
    /// node is ready. The pause image's archive and name come from `cargo xtask image`.
    ///
    /// # Errors
    /// When tools or rights are missing, another process owns the name, or the node is not ready
    /// in time; then with the logs' ends.
    pub async fn start(name: &str, pause: &PauseImage) -> Result<Self> {
        let layout = Layout::new(name)?;
        ensure!(
            nix::unistd::geteuid().is_root(),
            "a local cluster needs root: run as root, or set FAIRLEAD_CLUSTER=kubeconfig"
        );
        let tools = Tools::read()?;
        sweep()?;
        let lock = leftovers::try_lock(&layout)?
            .with_context(|| format!("another process is using the cluster `{name}`"))?;
        remove(&layout)?;

        fs::create_dir_all(layout.folder())?;
        let mut cluster = Self {
            layout,
            tools,
            lock: Some(lock),
            holder: None,
        };
        cluster.holder = Some(cluster.start_holder(&pause.name)?);
        cluster.wait_until_ready(pause).await?;
        Ok(cluster)
    }

    /// A cluster that is running already.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn open(name: &str) -> Result<Self> {
        let layout = Layout::new(name)?;
        let cluster = Self {
            layout,
            tools: Tools::read()?,
            lock: None,
            holder: None,
        };
        if leftovers::first_process(&cluster.layout)?.is_none() {
            bail!("no cluster `{name}` is running");
        }
        Ok(cluster)
    }

    /// Removes all that a cluster of this name has on this machine, running or left behind.
    ///
    /// # Errors
    /// When something of it stays.
    pub fn remove(name: &str) -> Result<()> {
        remove(&Layout::new(name)?)?;
        sweep()
    }

    /// Lets the cluster live on after this process.
    ///
    /// # Errors
    /// When the mark cannot be written.
    pub fn keep(mut self) -> Result<()> {
        fs::write(self.layout.kept(), "")?;
        self.lock = None;
        Ok(())
    }

    /// Ends the cluster and removes all it had on this machine.
    ///
    /// # Errors
    /// When something of it stays.
    pub fn stop(mut self) -> Result<()> {
        self.lock = None;
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        remove(&self.layout)?;
        if let Some(mut holder) = self.holder.take() {
            // It was killed: until this it stays in the process table as long as we do.
            holder.wait()?;
        }
        Ok(())
    }

    /// The path of an administrator's kubeconfig, for use from the machine.
    pub fn kubeconfig(&self) -> PathBuf {
        self.layout.kubeconfig()
    }

    /// The folder with the logs of the cluster's programs (and `pods/`).
    pub fn logs(&self) -> PathBuf {
        self.layout.file("log")
    }

    /// A client with an administrator's rights.
    ///
    /// # Errors
    /// When the kubeconfig cannot be read.
    pub async fn client(&self) -> Result<Client> {
        apiserver::client(&self.kubeconfig()).await
    }

    /// A command that will run inside the cluster's namespaces.
    ///
    /// # Errors
    /// When the cluster is not running.
    pub fn inside(&self, program: impl AsRef<std::ffi::OsStr>) -> Result<Command> {
        let pid = leftovers::first_process(&self.layout)?
            .with_context(|| format!("the cluster `{}` is not running", self.layout.name()))?;
        let mut command = Command::new("nsenter");
        command.args([
            "--target",
            &pid.to_string(),
            "--net",
            "--mount",
            "--pid",
            "--",
        ]);
        command.arg(program);
        Ok(command)
    }

    /// Imports an image archive into the cluster's container store.
    ///
    /// # Errors
    /// When containerd refuses it.
    pub fn load_image(&self, archive: &Path) -> Result<()> {
        let archive = archive
            .canonicalize()
            .with_context(|| format!("failed to find `{}`", archive.display()))?;
        let output = self
            .inside(self.tools.path("ctr")?)?
            .args(["--namespace", "k8s.io", "images", "import", "--local"])
            .arg(&archive)
            .output()
            .context("failed to start ctr")?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "failed to import `{}`: {stderr}",
            archive.display()
        );
        Ok(())
    }

    fn start_holder(&self, pause_image: &str) -> Result<Child> {
        let layout = &self.layout;
        let plan = node::prepare(layout, &self.tools, pause_image)?;
        fs::write(layout.file("plan.json"), serde_json::to_vec_pretty(&plan)?)?;
        control_group::create(&layout.control_group())?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .context("failed to bind a loopback port for the API server")?;
        node::write_kubeconfig(layout, &layout.file("pki"), listener.local_addr()?.port())?;
        let log = File::create(layout.file("log/holder.log"))?;
        Command::new("unshare")
            .args([
                "--net",
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
            ])
            .arg(holder_program()?)
            .arg("hold")
            .arg(layout.folder())
            // A Ctrl-C at the terminal is for the command, not for the cluster that it keeps.
            .process_group(0)
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(listener)))
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("failed to start unshare")
    }

    async fn wait_until_ready(&self, pause: &PauseImage) -> Result<()> {
        let ready = async {
            let client = self.client().await?;
            apiserver::wait_until_ready(&client, READY_WITHIN).await?;
            self.apply(include_str!("cluster/dns.yaml"))?;
            let nodes: Api<Node> = Api::all(client);
            await_condition(nodes, self.layout.name(), is_ready).await?;
            self.load_image(&pause.archive)
        };
        let outcome = match tokio::time::timeout(READY_WITHIN, ready).await {
            Ok(outcome) => outcome,
            Err(expired) => Err(expired.into()),
        };
        outcome.with_context(|| {
            let ends = ["holder", "setup", "kube-apiserver", "containerd", "kubelet"].map(|name| {
                let log = self.logs().join(format!("{name}.log"));
                format!("--- {name}.log\n{}", apiserver::tail(&log))
            });
            format!(
                "the cluster `{}` did not start\n{}",
                self.layout.name(),
                ends.join("\n")
            )
        })
    }

    /// Applies manifests, server-side.
    ///
    /// # Errors
    /// When kubectl refuses them.
    pub fn apply(&self, manifests: &str) -> Result<()> {
        let file = self.layout.file("apply.yaml");
        fs::write(&file, manifests)?;
        let output = Command::new(self.tools.path("kubectl")?)
            .arg("--kubeconfig")
            .arg(self.kubeconfig())
            .args(["apply", "--server-side", "--filename"])
            .arg(&file)
            .output()
            .context("failed to start kubectl")?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "failed to apply manifests: {stderr}"
        );
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.lock.is_some()
            && let Err(error) = self.end()
        {
            tracing::error!(
                "failed to remove the cluster `{}`: {error:#}",
                self.layout.name()
            );
        }
    }
}

/// The image whose container holds a pod's namespaces.
#[derive(Debug, Clone)]
pub struct PauseImage {
    /// Its name with its tag.
    pub name: String,
    /// Its archive.
    pub archive: PathBuf,
}

/// The program that becomes a cluster's first process: `cluster`, built beside this one.
fn holder_program() -> Result<PathBuf> {
    let this = std::env::current_exe().context("failed to find this program's path")?;
    let folders = this.ancestors().skip(1).take(2);
    let found = folders
        .map(|folder| folder.join("cluster"))
        .find(|path| path.is_file());
    found.with_context(|| {
        format!(
            "no `cluster` beside `{}`: cargo build -p fairlead-tests --bins",
            this.display()
        )
    })
}

fn is_ready(node: Option<&Node>) -> bool {
    let status = node.and_then(|node| node.status.as_ref());
    status
        .and_then(|status| status.conditions.as_ref())
        .is_some_and(|conditions| {
            conditions
                .iter()
                .any(|condition| condition.type_ == "Ready" && condition.status == "True")
        })
}

/// Tries again until it works or the time is over; for what the kernel finishes on its own.
fn retry(within: Duration, mut attempt: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    const PAUSE: Duration = Duration::from_millis(50);
    let deadline = tokio::time::Instant::now() + within;
    loop {
        match attempt() {
            Err(_) if tokio::time::Instant::now() < deadline => std::thread::sleep(PAUSE),
            outcome => return outcome,
        }
    }
}
