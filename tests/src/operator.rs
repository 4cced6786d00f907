//! The operator as a process: started, stopped, and met by a fault at one of its writes.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context as _, Result};
use tokio::process::{Child, Command};

use crate::built::binary;

/// What an operator is started with.
#[derive(Clone, Debug)]
pub struct Operator {
    /// The cluster.
    pub kubeconfig: PathBuf,
    /// The one namespace that it watches and has its lease in; when empty, all and `default`.
    pub namespace: String,
    /// Its pod's name: one that is started again under another name waits for the lease.
    pub pod: String,
    /// Whether admission lets only true stamps of commands in.
    pub trusts_stamps: bool,
    /// Where metrics are asked for.
    pub metrics_server: String,
    /// The OTLP collector of its traces; none when empty.
    pub collector: String,
    /// Where it logs to.
    pub log: PathBuf,
}

impl Operator {
    /// Starts it; with `fault`, such as `before:3`, it meets that at a write of its own.
    pub fn start(&self, fault: Option<&str>) -> Result<Child> {
        let mut command = self.command()?;
        if let Some(fault) = fault {
            command.env("FAIRLEAD_FAULT", fault);
        }
        command.spawn().context("failed to start the operator")
    }

    /// Starts one that leads although another one does: the lease is another.
    pub fn start_beside(&self) -> Result<Child> {
        let mut command = self.command()?;
        command.arg("--lease-name=beside");
        command.spawn().context("failed to start the operator")
    }

    fn command(&self) -> Result<Command> {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)?;
        let lease_namespace = match self.namespace.as_str() {
            "" => "default",
            namespace => namespace,
        };
        let mut command = Command::new(binary("fairlead-operator")?);
        command
            .env("KUBECONFIG", &self.kubeconfig)
            .arg(format!("--watch-namespace={}", self.namespace))
            .arg(format!("--lease-namespace={lease_namespace}"))
            .arg(format!("--pod-name={}", self.pod))
            .arg(format!("--metrics-server={}", self.metrics_server))
            .arg(format!("--otlp-endpoint={}", self.collector))
            // Metrics and webhooks of the tests listen there.
            .arg("--allow-outgoing=loopback")
            .arg("--control-loop-min-interval=100ms")
            .arg("--admin-address=127.0.0.1:0")
            .arg("--control-plane-image=none")
            .arg("--proxy-image=none")
            .args(self.trusts_stamps.then_some("--trust-command-stamps"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true);
        Ok(command)
    }
}
