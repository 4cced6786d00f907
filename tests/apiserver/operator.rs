//! The operator as a process: started, stopped, and told to die after a write.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use tokio::process::{Child, Command};

/// What an operator is started with.
#[derive(Clone, Debug)]
pub(crate) struct Operator {
    /// The cluster.
    pub(crate) kubeconfig: PathBuf,
    /// The one namespace that it watches.
    pub(crate) namespace: String,
    /// Where metrics are asked for.
    pub(crate) metrics_server: String,
    /// Where it logs to.
    pub(crate) log: PathBuf,
}

impl Operator {
    /// Starts it; with `exit_after`, it dies after so many writes.
    pub(crate) fn start(&self, exit_after: Option<usize>) -> Result<Child> {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)?;
        let mut command = Command::new(binary()?);
        command
            .env("KUBECONFIG", &self.kubeconfig)
            .arg(format!("--watch-namespace={}", self.namespace))
            .arg(format!("--lease-namespace={}", self.namespace))
            .arg(format!("--metrics-server={}", self.metrics_server))
            .arg("--control-loop-min-interval=100ms")
            .arg("--admin-address=127.0.0.1:0")
            .arg("--control-plane-image=none")
            .arg("--proxy-image=none")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true);
        if let Some(writes) = exit_after {
            command.env("FAIRLEAD_EXIT_AFTER_WRITES", writes.to_string());
        }
        command.spawn().context("failed to start the operator")
    }
}

/// The operator beside this test's own binary.
fn binary() -> Result<PathBuf> {
    let this = std::env::current_exe().context("failed to find this test's path")?;
    let folder = this
        .parent()
        .and_then(Path::parent)
        .context("a test outside of a target folder")?;
    let binary = folder.join("fairlead-operator");
    ensure!(
        binary.exists(),
        "`{}` is not there: run `cargo build -p fairlead-operator` first",
        binary.display()
    );
    Ok(binary)
}
