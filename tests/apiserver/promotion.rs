//! Promotions that do not come off.

use anyhow::{Result, ensure};
use fairlead_crds::canary::CanaryPhase;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::json;

use crate::stage::{Scene, Stage, weight};

pub(crate) async fn a_primary_that_fails_gets_back_template_and_configs(
    stage: &Stage,
) -> Result<()> {
    let scene = stage.scene("restored").await?;
    let maps: Api<ConfigMap> = Api::namespaced(scene.client.clone(), "restored");
    configure(&maps, "blue").await?;
    use_config(&scene).await?;
    scene.apply_canary(|_| {}).await?;
    let _operator = scene.operator.start(None)?;
    scene.until_phase(CanaryPhase::Initialized).await?;
    scene.world.set("restored", |all| {
        all.broken_as_primary.push("podinfo:2".to_owned());
    });
    configure(&maps, "green").await?;
    scene.apply_target("podinfo:2").await?;
    scene.until_phase(CanaryPhase::Promoting).await?;
    scene.allow_progress(3).await?;
    scene.until_phase(CanaryPhase::Failed).await?;
    scene
        .until_deployment("podinfo-primary", |primary| {
            let pod = primary
                .spec
                .as_ref()
                .and_then(|spec| spec.template.spec.as_ref());
            let image = pod.and_then(|pod| pod.containers.first()?.image.as_deref());
            image == Some("podinfo:1")
        })
        .await?;
    ensure!(color(&maps, "settings-primary").await? == "blue");
    ensure!(color(&maps, "settings").await? == "green");
    ensure!(
        weight(&scene.canary().await?) == Some(100),
        "the ready canary keeps the traffic"
    );
    scene.allow_progress(20).await?;
    scene.apply_target("podinfo:3").await?;
    scene.until_phase(CanaryPhase::Succeeded).await?;
    scene.check_rest("podinfo:3").await?;
    ensure!(color(&maps, "settings-primary").await? == "green");
    Ok(())
}

pub(crate) async fn a_primary_that_is_lost_comes_back_with_its_own_configs(
    stage: &Stage,
) -> Result<()> {
    let scene = stage.scene("lost-primary").await?;
    let maps: Api<ConfigMap> = Api::namespaced(scene.client.clone(), "lost-primary");
    configure(&maps, "blue").await?;
    use_config(&scene).await?;
    scene.apply_canary(|_| {}).await?;
    let _operator = scene.operator.start(None)?;
    scene.until_phase(CanaryPhase::Initialized).await?;
    scene.world.set("lost-primary", |all| {
        all.metric = "50".to_owned();
    });
    configure(&maps, "green").await?;
    scene.until_phase(CanaryPhase::Failed).await?;
    let before = scene.deployments().get("podinfo-primary").await?;
    let params = DeleteParams::default();
    scene
        .deployments()
        .delete("podinfo-primary", &params)
        .await?;
    let is_another = |primary: &Deployment| {
        let status = primary.status.clone().unwrap_or_default();
        primary.metadata.uid != before.metadata.uid && status.ready_replicas > Some(0)
    };
    let after = scene
        .until_deployment("podinfo-primary", is_another)
        .await?;
    ensure!(color(&maps, "settings-primary").await? == "blue");
    let template = |primary: &Deployment| primary.spec.as_ref().map(|spec| spec.template.clone());
    ensure!(template(&after) == template(&before), "{after:?}");
    Ok(())
}

pub(crate) async fn configure(maps: &Api<ConfigMap>, color: &str) -> Result<()> {
    let config = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": "settings" }, "data": { "color": color },
    });
    let params = PatchParams::apply("git").force();
    maps.patch("settings", &params, &Patch::Apply(config))
        .await?;
    Ok(())
}

pub(crate) async fn color(maps: &Api<ConfigMap>, name: &str) -> Result<String> {
    let data = maps.get(name).await?.data.unwrap_or_default();
    Ok(data.get("color").cloned().unwrap_or_default())
}

/// Makes the target read the config, beside what git applies of it.
pub(crate) async fn use_config(scene: &Scene) -> Result<()> {
    let target = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "podinfo" },
        "spec": { "template": { "spec": { "containers": [{
            "name": "podinfo", "envFrom": [{ "configMapRef": { "name": "settings" } }],
        }] } } },
    });
    let params = PatchParams::apply("settings");
    scene
        .deployments()
        .patch("podinfo", &params, &Patch::Apply(target))
        .await?;
    Ok(())
}
