//! Targets that are no Deployments.

use anyhow::{Result, ensure};
use fairlead_crds::canary::CanaryPhase;
use serde_json::Value;

use crate::stage::{Scene, Stage};
use crate::target::Target;

pub(crate) async fn a_daemon_set_is_released_node_by_node(stage: &Stage) -> Result<()> {
    let scene = stage.scene_of("daemon-set", Target::DaemonSet).await?;
    release(&scene).await?;
    let target = spec(&scene, "podinfo").await?;
    let nodes = &target["template"]["spec"]["nodeSelector"];
    ensure!(nodes["flagger.app/scale-to-zero"] == "true", "{nodes}");
    let primary = spec(&scene, "podinfo-primary").await?;
    let nodes = &primary["template"]["spec"]["nodeSelector"];
    ensure!(nodes.is_null(), "the primary runs everywhere: {nodes}");
    Ok(())
}

pub(crate) async fn a_stateful_set_is_released_with_claims_of_its_own(stage: &Stage) -> Result<()> {
    let scene = stage.scene_of("stateful-set", Target::StatefulSet).await?;
    release(&scene).await?;
    let target = spec(&scene, "podinfo").await?;
    ensure!(target["replicas"] == 0, "{}", target["replicas"]);
    let primary = spec(&scene, "podinfo-primary").await?;
    let claims = &primary["volumeClaimTemplates"];
    ensure!(claims[0]["metadata"]["name"] == "data", "{claims}");
    Ok(())
}

async fn spec(scene: &Scene, name: &str) -> Result<Value> {
    Ok(scene.workloads().get(name).await?.data["spec"].clone())
}

/// A release from the first revision to the end of the second one.
async fn release(scene: &Scene) -> Result<()> {
    scene.apply_canary(|_| {}).await?;
    let _operator = scene.operator.start(None)?;
    scene.until_phase(CanaryPhase::Initialized).await?;
    scene.apply_target("podinfo:2").await?;
    scene.until_phase(CanaryPhase::Succeeded).await?;
    let weights = scene.history.weights();
    ensure!(weights == [0, 50, 0], "the weights were {weights:?}");
    let image = scene.image("podinfo-primary").await?;
    ensure!(image == "podinfo:2", "the primary runs {image}");
    scene.history.judge()
}
