//! `helm install`, a MeshInstall, and a Prometheus beside them.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use fairlead_crds::kustomization::Kustomization;
use fairlead_crds::mesh_install::MeshInstall;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DeleteParams};
use tokio::process::Command;

use super::applications::available;
use super::{MESH, SYSTEM, Stage};
use crate::{manifest, wait};

/// How long the mesh may take to become ready.
const READY_WITHIN: Duration = Duration::from_secs(180);

/// Installs the chart as a user would, with the floor of the analysis interval at `floor`.
pub async fn chart(stage: &Stage, floor: &str) -> anyhow::Result<()> {
    let chart = stage.checkout.join("charts/fairlead").display().to_string();
    let floor = format!("operator.controlLoopMinInterval={floor}");
    let mut args = vec![
        "upgrade",
        "--install",
        "fairlead",
        &chart,
        "--namespace",
        SYSTEM,
    ];
    args.extend(["--create-namespace", "--set", &floor]);
    let mut images = Vec::new();
    for (key, name) in [
        ("images.operator", "operator"),
        ("images.gitops", "gitops"),
        ("images.controlPlane", "control-plane"),
        ("images.proxy", "proxy"),
    ] {
        images.push(format!("{key}={}", stage.image(name)?));
    }
    args.extend(images.iter().flat_map(|image| ["--set-string", image]));
    helm(stage, &args).await?;
    for name in ["fairlead-operator", "fairlead-gitops"] {
        available(&stage.client, SYSTEM, name).await?;
    }
    Ok(())
}

async fn helm(stage: &Stage, args: &[&str]) -> anyhow::Result<()> {
    let mut helm = Command::new(&stage.helm);
    helm.args(args);
    if let Some(kubeconfig) = &stage.kubeconfig {
        helm.arg("--kubeconfig").arg(kubeconfig);
    }
    let output = helm.output().await.context("failed to run helm")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "helm {}: {}",
        args.join(" "),
        errors.trim()
    );
    Ok(())
}

/// Applies the MeshInstall and waits until it is ready; returns its conditions as
/// `(type, status, reason)`.
pub async fn mesh(stage: &Stage) -> anyhow::Result<Vec<(String, String, String)>> {
    manifest::apply(&stage.client, &stage.read("examples/mesh-install.yaml")?).await?;
    let meshes: Api<MeshInstall> = Api::all(stage.client.clone());
    let mesh = wait::until(&meshes, "mesh", "Ready", READY_WITHIN, |mesh| {
        let conditions = mesh.status.iter().flat_map(|status| &status.conditions);
        conditions.into_iter().any(|c| {
            c.type_ == "Ready"
                && c.status == "True"
                && c.observed_generation == mesh.metadata.generation
        })
    })
    .await?;
    let conditions = mesh
        .status
        .map(|status| status.conditions)
        .unwrap_or_default();
    Ok(conditions
        .into_iter()
        .map(|c| (c.type_, c.status, c.reason))
        .collect())
}

/// Starts Prometheus in the mesh's namespace.
pub async fn prometheus(stage: &Stage) -> anyhow::Result<()> {
    let template = include_str!("../../manifests/prometheus.yaml");
    manifest::apply(&stage.client, &manifest::fill(template, &stage.images)?).await?;
    available(&stage.client, MESH, "prometheus").await?;
    Ok(())
}

/// Removes what the demo installed, in the order that leaves nothing behind: applications, mesh,
/// chart, namespaces.
pub async fn remove(stage: &Stage) -> anyhow::Result<()> {
    let client = &stage.client;
    for file in [
        "examples/gitops/kustomization.yaml",
        "examples/gitops/source.yaml",
    ] {
        manifest::delete(client, &stage.read(file)?).await?;
    }
    let kustomizations: Api<Kustomization> = Api::namespaced(client.clone(), SYSTEM);
    wait::until_gone(&kustomizations, "apps", READY_WITHIN).await?;
    let mesh = stage.read("examples/mesh-install.yaml")?;
    manifest::delete(client, &mesh).await?;
    let meshes: Api<MeshInstall> = Api::all(client.clone());
    wait::until_gone(&meshes, "mesh", READY_WITHIN).await?;
    helm(
        stage,
        &[
            "uninstall",
            "fairlead",
            "--namespace",
            SYSTEM,
            "--ignore-not-found",
        ],
    )
    .await?;
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let all = ["podinfo", "bookinfo", MESH, SYSTEM];
    for name in all {
        match namespaces.delete(name, &DeleteParams::default()).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(error).context(format!("failed to delete `{name}`")),
        }
    }
    // The next installation would find namespaces that take nothing new.
    for name in all {
        wait::until_gone(&namespaces, name, READY_WITHIN).await?;
    }
    Ok(())
}
