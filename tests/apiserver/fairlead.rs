//! `fairlead` as a person or a pipeline runs it.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, Result};
use fairlead_tests::built::binary;
use serde_json::Value;

use crate::stage::Scene;

/// Runs `fairlead` in the namespace of a scene; its exit code, and all that it said.
pub(crate) async fn fairlead(scene: &Scene, arguments: &str) -> Result<(i32, String)> {
    fairlead_as(&scene.operator.kubeconfig, &scene.namespace, arguments).await
}

/// The same as somebody in a namespace.
pub(crate) async fn fairlead_as(
    kubeconfig: &Path,
    namespace: &str,
    arguments: &str,
) -> Result<(i32, String)> {
    let output = tokio::process::Command::new(binary("fairlead")?)
        .env("KUBECONFIG", kubeconfig)
        .args(arguments.split(' '))
        .args(["--namespace", namespace])
        .stdin(Stdio::null())
        .output()
        .await?;
    let texts = [output.stdout, output.stderr].map(String::from_utf8);
    let [told, complained] = texts;
    let code = output.status.code().context("it was killed")?;
    Ok((code, told? + &complained?))
}

/// The same, with an answer in JSON.
pub(crate) async fn fairlead_json(scene: &Scene, arguments: &str) -> Result<(i32, Value)> {
    let (code, text) = fairlead(scene, &format!("{arguments} -o json")).await?;
    let value = serde_json::from_str(&text).with_context(|| text.clone())?;
    Ok((code, value))
}
