//! Going back to what the primary ran before: on request, and after a bake that fails.

use anyhow::{Context as _, Result, ensure};
use fairlead_crds::canary::{Canary, CanaryPhase, RolloutStatus, RunOutcome};
use fairlead_crds::{ConditionType, is_true};
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DynamicObject, ListParams};
use kube::runtime::wait::await_condition;
use serde_json::{Value, json};

use crate::fairlead::fairlead;
use crate::promotion::{color, configure, use_config};
use crate::stage::{PATIENCE, Scene, Stage};
use crate::target::{self, Target};

pub(crate) async fn a_person_goes_back_and_the_target_is_not_fought_over(
    stage: &Stage,
) -> Result<()> {
    let scene = stage.scene("back").await?;
    let maps: Api<ConfigMap> = Api::namespaced(scene.client.clone(), "back");
    configure(&maps, "blue").await?;
    use_config(&scene).await?;
    scene.apply_canary(|_| ()).await?;
    let _operator = scene.operator.start(None)?;
    scene.until_phase(CanaryPhase::Initialized).await?;
    let (code, text) = fairlead(&scene, "canary rollback-to podinfo").await?;
    ensure!(
        code == 6 && text.contains("no earlier revision is kept"),
        "{text}"
    );
    for (image, color) in [
        ("podinfo:2", "green"),
        ("podinfo:3", "red"),
        ("podinfo:4", "pink"),
    ] {
        configure(&maps, color).await?;
        scene.apply_target(image).await?;
        until_primary(&scene, image).await?;
        scene.until_phase(CanaryPhase::Succeeded).await?;
    }
    let kept = rollout(&scene.canary().await?).kept_revisions;
    ensure!(kept.len() == 2, "{kept:?}");

    let (code, text) = fairlead(&scene, "canary rollback-to podinfo").await?;
    ensure!(code == 0, "{text}");
    until_primary(&scene, "podinfo:3").await?;
    ensure!(color(&maps, "settings-primary").await? == "red");
    ensure!(color(&maps, "settings").await? == "pink");
    ensure!(scene.image("podinfo").await? == "podinfo:4");
    let canary = scene.until_phase(CanaryPhase::Failed).await?;
    let told = rollout(&canary);
    ensure!(told.promoted_revision.as_ref() == kept.first(), "{told:?}");
    let outcome = canary
        .status
        .and_then(|status| status.history.first()?.outcome);
    ensure!(outcome == Some(RunOutcome::RolledBack), "{outcome:?}");

    let (code, text) = fairlead(&scene, "canary rollback-to podinfo other").await?;
    ensure!(code == 6 && text.contains(&kept[1]), "{text}");
    let older = format!("canary rollback-to podinfo {}", kept[1]);
    let (code, text) = fairlead(&scene, &older).await?;
    ensure!(code == 0, "{text}");
    until_primary(&scene, "podinfo:2").await?;
    ensure!(color(&maps, "settings-primary").await? == "green");
    let (_, text) = fairlead(&scene, "canary explain podinfo").await?;
    ensure!(text.contains("rolled back: to revision"), "{text}");

    configure(&maps, "gold").await?;
    scene.apply_target("podinfo:5").await?;
    until_primary(&scene, "podinfo:5").await?;
    scene.until_phase(CanaryPhase::Succeeded).await?;
    scene.check_rest("podinfo:5").await?;
    ensure!(color(&maps, "settings-primary").await? == "gold");
    let archive: Api<ControllerRevision> = Api::namespaced(scene.client.clone(), "back");
    let kept = archive.list(&ListParams::default()).await?.items;
    ensure!(
        kept.len() <= 3,
        "more is kept than can be gone back to: {kept:?}"
    );
    Ok(())
}

pub(crate) async fn workloads_without_replica_sets_go_back_too(stage: &Stage) -> Result<()> {
    for (namespace, kind) in [
        ("back-daemons", Target::DaemonSet),
        ("back-stateful", Target::StatefulSet),
        ("back-service", Target::Service),
    ] {
        let scene = stage.scene_of(namespace, kind).await?;
        scene.apply_canary(|_| ()).await?;
        let _operator = scene.operator.start(None)?;
        scene.until_phase(CanaryPhase::Initialized).await?;
        scene.apply_target("podinfo:2").await?;
        scene.until_phase(CanaryPhase::Succeeded).await?;
        ensure!(scene.image("podinfo-primary").await? == "podinfo:2");
        scene.command("rollback-to@1").await?;
        let runs = |found: Option<&DynamicObject>| {
            found.is_some_and(|found| target::image(&found.data["spec"]) == "podinfo:1")
        };
        let waiting = await_condition(scene.workloads(), "podinfo-primary", runs);
        let ended = tokio::time::timeout(PATIENCE, Box::pin(waiting)).await;
        ended.with_context(|| format!("{namespace}: {}", scene.log()))??;
        scene.until_phase(CanaryPhase::Failed).await?;
        ensure!(scene.image("podinfo").await? == "podinfo:2");
        scene.history.judge()?;
    }
    Ok(())
}

pub(crate) async fn what_fails_while_it_bakes_is_gone_back_from(stage: &Stage) -> Result<()> {
    let scene = stage.scene("baked-bad").await?;
    scene.apply_canary(bake("10m")).await?;
    let operator = scene.operator.start(None)?;
    scene.until_phase(CanaryPhase::Initialized).await?;
    scene.apply_target("podinfo:2").await?;
    let canary = scene.until("baking", is_baking).await?;
    ensure!(canary.status.and_then(|status| status.phase) == Some(CanaryPhase::Succeeded));
    // Another operator goes on with it.
    drop(operator);
    let _operator = scene.operator.start(None)?;
    let about_primary = |canary: &Canary| {
        let mut checks = rollout(canary).checks.into_iter();
        checks.any(|check| check.query.contains("podinfo-primary"))
    };
    scene.until("a check of the primary", about_primary).await?;
    scene
        .world
        .set("baked-bad", |all| "50".clone_into(&mut all.metric));
    let canary = scene.until_phase(CanaryPhase::Failed).await?;
    until_primary(&scene, "podinfo:1").await?;
    ensure!(!is_baking(&canary));
    let told = rollout(&canary);
    ensure!(
        told.run
            .is_some_and(|run| Some(run.revision) == told.refused_revision)
    );
    scene.history.judge()
}

pub(crate) async fn what_holds_while_it_bakes_stays(stage: &Stage) -> Result<()> {
    let scene = stage.scene("baked-well").await?;
    scene.apply_canary(bake("2s")).await?;
    let _operator = scene.operator.start(None)?;
    scene.until_phase(CanaryPhase::Initialized).await?;
    scene.apply_target("podinfo:2").await?;
    scene.until("baking", is_baking).await?;
    let (code, text) = fairlead(&scene, "canary wait podinfo --baked").await?;
    ensure!(code == 0, "{text}");
    ensure!(!is_baking(&scene.canary().await?));
    scene.check_rest("podinfo:2").await?;
    scene.apply_canary(bake("0s")).await?;
    let why = scene.until_condition("podinfo", "Stalled").await?;
    ensure!(why.contains("spec.analysis.bake.duration"), "{why}");
    Ok(())
}

fn bake(duration: &str) -> impl FnOnce(&mut Value) {
    move |spec: &mut Value| spec["analysis"]["bake"] = json!({ "duration": duration })
}

fn is_baking(canary: &Canary) -> bool {
    let status = canary.status.as_ref();
    status.is_some_and(|status| is_true(&status.conditions, ConditionType::Baking))
}

fn rollout(canary: &Canary) -> RolloutStatus {
    let status = canary.status.clone().unwrap_or_default();
    status.rollout.unwrap_or_default()
}

async fn until_primary(scene: &Scene, image: &str) -> Result<()> {
    let runs = |primary: &k8s_openapi::api::apps::v1::Deployment| {
        let spec = serde_json::to_value(&primary.spec).unwrap_or_default();
        target::image(&spec) == image
    };
    let found = scene.until_deployment("podinfo-primary", runs).await;
    found
        .map(drop)
        .with_context(|| format!("the primary does not run {image}"))
}
