//! The chart as `helm template` renders it.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::tools::{Tools, workspace};

/// Where the chart is installed.
pub const NAMESPACE: &str = "fairlead-system";

/// All objects but the CRDs, which come from `crds/`; `arguments` are helm's own, such as
/// `--kube-version=1.30.0`.
///
/// # Errors
/// When helm is not there or refuses, with its words.
pub fn render(arguments: &[&str]) -> Result<String> {
    let tools = Tools::read()?;
    let output = Command::new(tools.path("helm")?)
        .args(["template", "fairlead", "charts/fairlead"])
        .args(["--namespace", NAMESPACE, "--set=crds.install=false"])
        .args(arguments)
        .current_dir(workspace())
        .output()
        .context("failed to run helm")?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "helm template: {complaint}");
    String::from_utf8(output.stdout).context("helm printed no text")
}
