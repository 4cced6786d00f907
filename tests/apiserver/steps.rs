//! Explicit steps, each with rules of its own.

use anyhow::{Result, ensure};
use fairlead_crds::canary::{Canary, CanaryPhase};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::stage::Stage;

/// Gives a Canary explicit steps in place of equal ones.
pub(crate) fn take(spec: &mut Value, steps: Value) {
    spec["analysis"]["steps"] = steps;
    if let Some(analysis) = spec["analysis"].as_object_mut() {
        analysis.remove("stepWeight");
        analysis.remove("maxWeight");
    }
}

pub(crate) async fn each_step_has_its_own_rules(stage: &Stage) -> Result<()> {
    let scene = stage.scene("steps").await?;
    let hook = format!("{}/hook/smoke", scene.address);
    let smoke = || json!([{ "name": "smoke", "type": "rollout", "url": hook }]);
    scene
        .apply_canary(|spec| {
            spec["analysis"]["webhooks"] = smoke();
            let steps = json!([
                { "weight": 0, "scale": 1, "checks": ["smoke"] },
                { "weight": 10, "pause": {}, "checks": ["request-success-rate"] },
                { "weight": 60, "duration": "1s", "scale": 3, "checks": [] },
            ]);
            take(spec, steps);
        })
        .await?;
    let operator = scene.operator.start(None)?;
    scene.until_phase(CanaryPhase::Initialized).await?;
    scene.apply_target("podinfo:2").await?;
    scene.until("a pause", |canary| waits(canary, 2)).await?;
    let calls = scene.world.conditions("steps").calls.len();
    ensure!(
        calls == 1,
        "the smoke test was called {calls} times, and not in its step"
    );
    let message = scene.until_condition("podinfo", "Paused").await?;
    ensure!(
        message.starts_with("step 2 waits for a person"),
        "{message}"
    );
    // A pause outlives the operator, and checks go on in it.
    drop(operator);
    let _operator = scene.operator.start(None)?;
    let asked = scene.world.conditions("steps").asked.len();
    scene
        .until("another check", |canary| {
            scene.world.conditions("steps").asked.len() > asked + 1 && waits(canary, 2)
        })
        .await?;
    scene.command("resume@1").await?;
    scene.until_phase(CanaryPhase::Succeeded).await?;
    let sizes = scene.history.sizes_at_weights();
    ensure!(sizes.contains(&(60, 3)), "weights and pods: {sizes:?}");
    let weights = scene.history.weights();
    ensure!(weights == [0, 10, 60, 0], "the weights were {weights:?}");
    scene.check_rest("podinfo:2").await
}

pub(crate) async fn a_step_that_waits_for_a_person_can_still_fail(stage: &Stage) -> Result<()> {
    let scene = stage.scene("steps-fail").await?;
    scene
        .apply_canary(|spec| take(spec, json!([{ "weight": 30, "pause": {} }])))
        .await?;
    let _operator = scene.operator.start(None)?;
    scene.until_phase(CanaryPhase::Initialized).await?;
    scene.apply_target("podinfo:2").await?;
    scene.until("a pause", |canary| waits(canary, 1)).await?;
    scene
        .world
        .set("steps-fail", |all| "50".clone_into(&mut all.metric));
    scene.until_phase(CanaryPhase::Failed).await?;
    let at_rest =
        |found: &Deployment| found.spec.as_ref().and_then(|spec| spec.replicas) == Some(0);
    scene.until_deployment("podinfo", at_rest).await?;
    scene.check_rest("podinfo:1").await
}

pub(crate) async fn steps_stand_alone(stage: &Stage) -> Result<()> {
    let scene = stage.scene("steps-mixed").await?;
    let mixed = scene
        .apply_canary(|spec| spec["analysis"]["steps"] = json!([{ "weight": 30 }]))
        .await;
    let error = mixed.map_or_else(|error| error.to_string(), |()| String::new());
    ensure!(error.contains("set exactly one of stepWeight"), "{error}");
    let falling = json!([{ "weight": 30 }, { "weight": 10 }]);
    scene.apply_canary(|spec| take(spec, falling)).await?;
    let _operator = scene.operator.start(None)?;
    let message = scene.until_condition("podinfo", "Stalled").await?;
    ensure!(message.contains("step 2 has 10 after 30"), "{message}");
    Ok(())
}

pub(crate) async fn a_canary_in_proportion_grows_with_its_weight(stage: &Stage) -> Result<()> {
    let scene = stage.scene("proportion").await?;
    let targets: Api<Deployment> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let five = Patch::Merge(json!({ "spec": { "replicas": 5 } }));
    targets
        .patch("podinfo", &PatchParams::default(), &five)
        .await?;
    scene
        .apply_canary(|spec| {
            spec["analysis"] = json!({
                "interval": "1s",
                "threshold": 2,
                "stepWeights": [40, 80],
                "capacity": "Proportional",
            });
        })
        .await?;
    let _operator = scene.operator.start(None)?;
    scene.until_phase(CanaryPhase::Initialized).await?;
    let full = scene.size("podinfo-primary").await?;
    ensure!(full == 5, "the primary has {full} pods");
    scene.apply_target("podinfo:2").await?;
    scene.until_phase(CanaryPhase::Succeeded).await?;
    let sizes = scene.history.sizes_at_weights();
    ensure!(sizes == [(40, 2), (80, 4)], "weights and pods: {sizes:?}");
    let weights = scene.history.weights();
    ensure!(weights == [0, 40, 80, 0], "the weights were {weights:?}");
    let full = scene.size("podinfo-primary").await?;
    ensure!(full == 5, "the primary has {full} pods after the promotion");
    scene.check_rest("podinfo:2").await?;
    // Nobody else knows how many there were: the target rests.
    let before = targets.get("podinfo-primary").await?.metadata.uid;
    let params = DeleteParams::default();
    targets.delete("podinfo-primary", &params).await?;
    let is_back = |found: &Deployment| {
        let spec = found.spec.as_ref();
        found.metadata.uid != before && spec.is_some_and(|spec| spec.replicas == Some(5))
    };
    scene.until_deployment("podinfo-primary", is_back).await?;
    scene.check_rest("podinfo:2").await
}

/// Whether the Canary waits for a person at this step.
pub(crate) fn waits(canary: &Canary, step: u32) -> bool {
    let rollout = canary
        .status
        .as_ref()
        .and_then(|status| status.rollout.as_ref());
    let run = rollout.and_then(|rollout| rollout.run.as_ref());
    run.is_some_and(|run| {
        run.held_by.as_deref() == Some("StepPaused")
            && run.place.as_ref().map(|place| place.number) == Some(step)
    })
}
