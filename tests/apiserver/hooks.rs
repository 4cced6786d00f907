//! Hooks that ask who calls, and whose answers mean more than yes and no.

use anyhow::{Context as _, Result, ensure};
use fairlead_crds::canary::{Canary, CanaryPhase, RunStatus};
use k8s_openapi::api::apps::v1::Deployment;
use serde_json::{Value, json};

use crate::stage::{Scene, Stage};

pub(crate) async fn a_gate_knows_its_caller_and_a_check_can_end_the_run(
    stage: &Stage,
) -> Result<()> {
    let scene = stage.scene("hooks").await?;
    let url = |name: &str| format!("{}/hook/{name}", scene.address);
    scene
        .apply_canary(|spec| {
            spec["analysis"]["threshold"] = json!(50);
            spec["analysis"]["webhooks"] = json!([
                { "name": "gate", "type": "confirm-rollout", "url": url("gate"),
                  "secretRef": { "name": "gate" } },
                { "name": "smoke", "type": "rollout", "url": url("smoke"), "obeyAnswer": true },
            ]);
        })
        .await?;
    scene.world.set("hooks", |all| {
        all.demanded
            .insert("gate".to_owned(), "Bearer new-t0ken".to_owned());
        all.hooks.insert("smoke".to_owned(), 503);
    });
    let operator = scene.operator.start(None)?;
    scene.until_phase(CanaryPhase::Initialized).await?;
    scene.apply_target("podinfo:2").await?;
    until_objection(&scene, "Secret `hooks/gate` does not exist").await?;
    apply_token(&scene, "old-t0ken").await?;
    until_objection(&scene, "confirm-rollout hook gate: it answered 401").await?;
    apply_token(&scene, "new-t0ken").await?;
    let postponed = |canary: &Canary| run(canary).is_some_and(|run| run.postponed.is_some());
    scene.until("a check that is put off", postponed).await?;
    drop(operator);
    let _operator = scene.operator.start(None)?;
    let asked = scene.world.conditions("hooks").calls.len();
    let canary = scene
        .until("another question", |canary| {
            scene.world.conditions("hooks").calls.len() > asked + 1 && postponed(canary)
        })
        .await?;
    let failed = run(&canary).map(|run| run.failed_checks);
    ensure!(failed == Some(0), "{failed:?} failed checks");
    scene.world.set("hooks", |all| {
        let abort = json!({ "decision": "abort", "message": "wrong schema" });
        all.bodies.insert("smoke".to_owned(), abort.to_string());
    });
    let canary = scene.until_phase(CanaryPhase::Failed).await?;
    let why = run(&canary)
        .and_then(|run| run.objection)
        .unwrap_or_default();
    ensure!(
        why == "rollout hook smoke: it gave the rollout up: wrong schema",
        "{why}"
    );
    let status = serde_json::to_string(&canary.status)?;
    ensure!(!status.contains("t0ken"), "the status holds a secret");
    let at_rest =
        |found: &Deployment| found.spec.as_ref().and_then(|spec| spec.replicas) == Some(0);
    scene.until_deployment("podinfo", at_rest).await?;
    scene.check_rest("podinfo:1").await
}

pub(crate) async fn an_end_cannot_be_put_off(stage: &Stage) -> Result<()> {
    let scene = stage.scene("hooks-end").await?;
    scene
        .apply_canary(|spec| {
            spec["analysis"]["webhooks"] = json!([
                { "name": "report", "type": "post-rollout", "url": "http://report", "obeyAnswer": true },
            ]);
        })
        .await?;
    let _operator = scene.operator.start(None)?;
    let message = scene.until_condition("podinfo", "Stalled").await?;
    ensure!(
        message.contains("`spec.analysis.webhooks.obeyAnswer`: must be left out of `report`"),
        "{message}"
    );
    Ok(())
}

async fn until_objection(scene: &Scene, part: &str) -> Result<()> {
    let objects = |canary: &Canary| {
        run(canary).is_some_and(|run| run.objection.is_some_and(|why| why.contains(part)))
    };
    let canary = scene.until(part, objects).await?;
    let phase = canary.status.context("a status")?.phase;
    ensure!(phase == Some(CanaryPhase::Waiting), "{phase:?}");
    Ok(())
}

async fn apply_token(scene: &Scene, token: &str) -> Result<()> {
    let secret: Value = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "name": "gate", "namespace": scene.namespace },
        "stringData": { "token": token },
    });
    fairlead_tests::manifest::apply(&scene.client, &secret.to_string()).await?;
    Ok(())
}

fn run(canary: &Canary) -> Option<RunStatus> {
    canary.status.as_ref()?.rollout.as_ref()?.run.clone()
}
