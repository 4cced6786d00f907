//! Edits of a Canary while it is at work, and what they may not do.

use anyhow::{Result, ensure};
use fairlead_crds::canary::CanaryPhase;
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
