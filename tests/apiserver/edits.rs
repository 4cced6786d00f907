//! Edits of a Canary while it is at work, and what they may not do.

use anyhow::{Result, ensure};
use fairlead_crds::canary::{Canary, CanaryPhase};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::stage::{Stage, ready_reason, weight};

pub(crate) async fn an_invalid_edit_holds_the_run_but_not_its_safety(stage: &Stage) -> Result<()> {
    let scene = stage.scene("edited").await?;
    let gate = format!("{}/hook/gate", scene.address);
    let edit = |step: Value| {
        let hooks = json!([{ "name": "gate", "type": "confirm-promotion", "url": gate }]);
        move |spec: &mut Value| {
            spec["analysis"]["webhooks"] = hooks;
            spec["analysis"]["stepWeight"] = step;
        }
    };
    scene.apply_canary(edit(json!(50))).await?;
    scene.world.set("edited", |all| {
        all.hooks.insert("gate".to_owned(), 403);
    });
    let operator = scene.operator.start(None)?;
    scene.until_phase(CanaryPhase::Initialized).await?;
    scene.apply_target("podinfo:2").await?;
    scene.until_phase(CanaryPhase::WaitingPromotion).await?;
    scene.apply_canary(edit(json!(2.5))).await?;
    let message = scene.until_condition("podinfo", "Stalled").await?;
    ensure!(message.contains("spec.analysis.stepWeight"), "{message}");
    let canary = scene.canary().await?;
    ensure!(
        ready_reason(&canary) == "InvalidSpec",
        "{}",
        ready_reason(&canary)
    );
    ensure!(weight(&canary) == Some(50), "the run holds at its weight");
    // Another operator knows the last valid spec from the status alone.
    drop(operator);
    let _operator = scene.operator.start(None)?;
    scene.world.set("edited", |all| all.canary_lost = true);
    scene
        .until("weight 0", |canary| weight(canary) == Some(0))
        .await?;
    scene.world.set("edited", |all| {
        all.canary_lost = false;
        all.hooks.clear();
    });
    scene.apply_canary(edit(json!(50))).await?;
    scene
        .until("weight 50", |canary| weight(canary) == Some(50))
        .await?;
    scene.until_phase(CanaryPhase::Succeeded).await?;
    scene.check_rest("podinfo:2").await
}

pub(crate) async fn settings_reach_an_adopted_route_or_are_refused(stage: &Stage) -> Result<()> {
    let scene = stage.scene("settings").await?;
    let theirs = json!([{ "timeout": "7s", "route": [{ "destination": { "host": "podinfo" } }] }]);
    let (api, before) = scene.author_routes(theirs).await?;
    let before = before.data["spec"].clone();
    let edit = |timeout: Option<&str>| {
        let timeout = timeout.map(ToOwned::to_owned);
        move |spec: &mut Value| {
            spec["revertOnDeletion"] = json!(true);
            spec["service"]["retries"] = json!({ "attempts": 4 });
            if let Some(timeout) = timeout {
                spec["service"]["timeout"] = json!(timeout);
            }
        }
    };
    scene.apply_canary(edit(Some("9s"))).await?;
    let _operator = scene.operator.start(None)?;
    let message = scene.until_condition("podinfo", "Stalled").await?;
    ensure!(message.contains("spec.service.timeout"), "{message}");
    ensure!(
        api.get("podinfo").await?.data["spec"] == before,
        "nothing is touched before that is settled"
    );
    scene.apply_canary(edit(None)).await?;
    scene.until_phase(CanaryPhase::Initialized).await?;
    scene.apply_target("podinfo:2").await?;
    scene.until_phase(CanaryPhase::Succeeded).await?;
    let route = api.get("podinfo").await?.data["spec"]["http"][0].clone();
    ensure!(
        route["retries"]["attempts"] == 4 && route["timeout"] == "7s",
        "{route}"
    );
    scene.delete_canary().await?;
    scene.until_gone().await?;
    let after = api.get("podinfo").await?.data["spec"].clone();
    ensure!(after == before, "{after} is not {before}");
    Ok(())
}

pub(crate) async fn pods_that_come_and_go_are_no_fight(stage: &Stage) -> Result<()> {
    let scene = stage.scene("flapping").await?;
    let _operator = scene.hold_at_gate(|_| {}).await?;
    let has = |expected: i64| {
        move |canary: &Canary| {
            let rollout = canary.status.clone().unwrap_or_default().rollout;
            let traffic = rollout.and_then(|rollout| rollout.traffic);
            let is_taken = traffic.is_some_and(|traffic| traffic.in_effect.is_some());
            is_taken && weight(canary) == Some(expected)
        }
    };
    for _ in 0..6 {
        scene.world.set("flapping", |all| all.canary_lost = true);
        scene.until("no weight without pods", has(0)).await?;
        scene.world.set("flapping", |all| all.canary_lost = false);
        scene.until("its weight again", has(50)).await?;
    }
    scene.command("abort@1").await?;
    scene.until_phase(CanaryPhase::Failed).await?;
    let rests = |target: &Deployment| {
        let spec = target.spec.as_ref();
        spec.and_then(|spec| spec.replicas) == Some(0)
    };
    scene.until_deployment("podinfo", rests).await?;
    scene.check_rest("podinfo:1").await
}

pub(crate) async fn a_service_is_given_back_without_its_target(stage: &Stage) -> Result<()> {
    let scene = stage.scene("orphaned").await?;
    let services: Api<Service> = Api::namespaced(scene.client.clone(), "orphaned");
    let theirs = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": "podinfo" },
        "spec": { "selector": { "app": "podinfo" }, "ports": [{ "port": 9898 }] },
    });
    let params = PatchParams::apply("git");
    services
        .patch("podinfo", &params, &Patch::Apply(theirs))
        .await?;
    scene
        .apply_canary(|spec| spec["revertOnDeletion"] = json!(true))
        .await?;
    let _operator = scene.operator.start(None)?;
    scene.until_phase(CanaryPhase::Initialized).await?;
    let selected = async || {
        let spec = services.get("podinfo").await?.spec.unwrap_or_default();
        anyhow::Ok(spec.selector.unwrap_or_default().remove("app"))
    };
    ensure!(selected().await?.as_deref() == Some("podinfo-primary"));
    let gone = DeleteParams::default();
    scene.deployments().delete("podinfo", &gone).await?;
    scene.delete_canary().await?;
    scene.until_gone().await?;
    ensure!(selected().await?.as_deref() == Some("podinfo"));
    Ok(())
}
