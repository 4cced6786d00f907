//! What users see: rollouts, and what goes wrong with them, each told where they look.

use anyhow::{Result, ensure};
use fairlead_crds::canary::{Canary, CanaryPhase, Number, RunOutcome};
use futures::future::BoxFuture;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::json;

use crate::stage::{Stage, has_heard, name, newest_command, ready_reason, weight};
use crate::{
    affinity, chosen, edits, foretold, hooks, judgement, kept, kinds, migrate, promotion,
    providers, scalers, steps, takeover, traces,
};

/// Stories at a time: each has an operator of its own.
const SIDE_BY_SIDE: usize = 3;

/// One API server for all, since starting it takes the longest.
#[tokio::test(flavor = "multi_thread")]
async fn stories_of_canaries() -> Result<()> {
    let stage = Stage::open().await?;
    let mut stories: Vec<BoxFuture<'_, Result<()>>> = vec![
        Box::pin(a_good_revision_is_promoted(&stage)),
        Box::pin(a_canary_without_endpoints_loses_its_traffic(&stage)),
        Box::pin(a_revert_ends_the_run(&stage)),
        Box::pin(bad_answers_of_metrics_never_pass(&stage)),
        Box::pin(what_cannot_work_says_what_to_fix(&stage)),
        Box::pin(two_canaries_of_one_target(&stage)),
        Box::pin(deletion_gives_back(&stage)),
        Box::pin(an_adopted_route_keeps_what_is_not_ours(&stage)),
        Box::pin(a_changed_config_is_a_revision(&stage)),
        Box::pin(replicas_that_git_insists_on_are_not_fought_over(&stage)),
        Box::pin(scalers::the_primary_gets_an_autoscaler(&stage)),
        Box::pin(scalers::keda_leaves_a_target_at_rest_alone(&stage)),
        Box::pin(a_person_steers_a_run_and_the_status_tells(&stage)),
        Box::pin(takeover::at_rest(&stage)),
        Box::pin(takeover::in_flight(&stage)),
        Box::pin(takeover::failed(&stage)),
        Box::pin(foretold::a_plan_is_what_the_operator_then_makes(&stage)),
        Box::pin(foretold::a_plan_tells_copies_autoscalers_and_gateways(
            &stage,
        )),
        Box::pin(foretold::a_manifest_is_planned_before_it_is_there(&stage)),
        Box::pin(foretold::a_plan_does_not_mind_the_operator_at_work(&stage)),
        Box::pin(foretold::a_policy_is_replayed_over_what_a_prometheus_recorded(&stage)),
        Box::pin(migrate::a_check_tells_what_a_takeover_then_does(&stage)),
        Box::pin(migrate::what_cannot_be_taken_over_is_told_with_the_fix(
            &stage,
        )),
        Box::pin(edits::an_invalid_edit_holds_the_run_but_not_its_safety(
            &stage,
        )),
        Box::pin(edits::settings_reach_an_adopted_route_or_are_refused(
            &stage,
        )),
        Box::pin(providers::a_gateway_is_led_by_weights_of_an_http_route(
            &stage,
        )),
        Box::pin(providers::services_alone_are_released_blue_green(&stage)),
        Box::pin(affinity::clients_stay_with_the_version_that_they_got(
            &stage,
        )),
        Box::pin(affinity::clients_of_an_adopted_route_are_let_go_with_it(
            &stage,
        )),
        Box::pin(affinity::a_gateway_keeps_clients_on_their_version(&stage)),
        Box::pin(hooks::a_gate_knows_its_caller_and_a_check_can_end_the_run(
            &stage,
        )),
        Box::pin(hooks::an_end_cannot_be_put_off(&stage)),
        Box::pin(traces::a_rollout_is_one_trace_whoever_leads(&stage)),
        Box::pin(steps::each_step_has_its_own_rules(&stage)),
        Box::pin(steps::a_step_that_waits_for_a_person_can_still_fail(&stage)),
        Box::pin(steps::steps_stand_alone(&stage)),
        Box::pin(steps::a_canary_in_proportion_grows_with_its_weight(&stage)),
        Box::pin(promotion::a_primary_that_fails_gets_back_template_and_configs(&stage)),
        Box::pin(promotion::a_primary_that_is_lost_comes_back_with_its_own_configs(&stage)),
        Box::pin(edits::pods_that_come_and_go_are_no_fight(&stage)),
        Box::pin(edits::a_service_is_given_back_without_its_target(&stage)),
        Box::pin(kept::a_person_goes_back_and_the_target_is_not_fought_over(
            &stage,
        )),
        Box::pin(kept::workloads_without_replica_sets_go_back_too(&stage)),
        Box::pin(kept::what_fails_while_it_bakes_is_gone_back_from(&stage)),
        Box::pin(kept::what_holds_while_it_bakes_stays(&stage)),
        Box::pin(chosen::insiders_get_the_canary_while_it_can_answer(&stage)),
        Box::pin(chosen::insiders_of_an_adopted_route_are_let_go_with_it(
            &stage,
        )),
        Box::pin(chosen::insiders_of_a_gateway_have_a_rule_of_their_own(
            &stage,
        )),
    ];
    stories.extend(of_targets(&stage));
    stream::iter(stories)
        .buffer_unordered(SIDE_BY_SIDE)
        .try_collect()
        .await
}

/// Those of targets that are no Deployments.
fn of_targets(stage: &Stage) -> Vec<BoxFuture<'_, Result<()>>> {
    vec![
        Box::pin(takeover::of_a_service(stage)),
        Box::pin(kinds::a_daemon_set_is_released_node_by_node(stage)),
        Box::pin(kinds::a_stateful_set_is_released_with_claims_of_its_own(
            stage,
        )),
        Box::pin(kinds::a_service_is_released_by_copies_of_it(stage)),
        Box::pin(kinds::a_service_that_fails_is_rolled_back(stage)),
        Box::pin(kinds::a_service_that_leads_away_is_released_unchecked(
            stage,
        )),
        Box::pin(kinds::what_a_service_cannot_have_is_told(stage)),
    ]
}

/// Apart from the others, since their traffic is counted in time.
#[tokio::test(flavor = "multi_thread")]
async fn stories_of_judgement() -> Result<()> {
    let stage = Stage::open().await?;
    judgement::harm_ends_a_run_at_once(&stage).await?;
    Box::pin(judgement::an_equal_version_is_promoted_in_spite_of_a_restart(&stage)).await?;
    judgement::without_requests_nothing_passes(&stage).await
}

async fn a_good_revision_is_promoted(stage: &Stage) -> Result<()> {
    let scene = stage.scene("promoted").await?;
    scene
        .apply_canary(|spec| spec["analysis"]["stepWeight"] = json!(25))
        .await?;
    let _operator = scene.operator.start(None)?;
    scene.until_phase(CanaryPhase::Initialized).await?;
    scene.apply_target("podinfo:2").await?;
    let canary = scene.until_phase(CanaryPhase::Succeeded).await?;
    scene.check_rest("podinfo:2").await?;
    let weights = scene.history.weights();
    ensure!(weights == [0, 25, 50, 0], "the weights were {weights:?}");
    let status = canary.status.unwrap_or_default();
    let checks = status.rollout.unwrap_or_default().checks;
    ensure!(
        checks.len() == 1 && checks[0].verdict == "Passed",
        "{checks:?}"
    );
    Ok(())
}

async fn a_canary_without_endpoints_loses_its_traffic(stage: &Stage) -> Result<()> {
    let scene = stage.scene("withdrawn").await?;
    let _operator = scene.hold_at_gate(|_| {}).await?;
    scene.world.set("withdrawn", |all| all.canary_lost = true);
    scene
        .until("weight 0", |canary| weight(canary) == Some(0))
        .await?;
    scene.world.set("withdrawn", |all| all.canary_lost = false);
    scene
        .until("weight 50", |canary| weight(canary) == Some(50))
        .await?;
    scene.world.set("withdrawn", |all| {
        all.hooks.clear();
    });
    scene.until_phase(CanaryPhase::Succeeded).await?;
    scene.check_rest("podinfo:2").await
}

async fn a_revert_ends_the_run(stage: &Stage) -> Result<()> {
    let scene = stage.scene("reverted").await?;
    let _operator = scene.hold_at_gate(|_| {}).await?;
    scene.apply_target("podinfo:1").await?;
    scene.until_phase(CanaryPhase::Succeeded).await?;
    let at_rest = |found: &k8s_openapi::api::apps::v1::Deployment| {
        found.spec.as_ref().and_then(|spec| spec.replicas) == Some(0)
    };
    scene.until_deployment("podinfo", at_rest).await?;
    scene.check_rest("podinfo:1").await
}

async fn bad_answers_of_metrics_never_pass(stage: &Stage) -> Result<()> {
    for (place, answer) in ["NaN", "none", "down", "50"].into_iter().enumerate() {
        let scene = stage.scene(&format!("metrics-{place}")).await?;
        scene.apply_canary(|_| {}).await?;
        scene
            .world
            .set(&scene.namespace, |all| all.metric = answer.to_owned());
        let _operator = scene.operator.start(None)?;
        scene.until_phase(CanaryPhase::Initialized).await?;
        scene.apply_target("podinfo:2").await?;
        let canary = scene.until_phase(CanaryPhase::Failed).await?;
        let status = canary.status.clone().unwrap_or_default();
        let check = status
            .rollout
            .unwrap_or_default()
            .checks
            .pop()
            .unwrap_or_default();
        let expected = match answer {
            "50" => "Failed",
            "down" => "Error",
            _ => "NoData",
        };
        ensure!(check.verdict == expected, "{answer}: {check:?}");
        ensure!(
            ready_reason(&canary) == "Failed",
            "{}",
            ready_reason(&canary)
        );
        let message = scene.until_condition("podinfo", "Stalled").await?;
        ensure!(message.contains("request-success-rate"), "{message}");
    }
    Ok(())
}

async fn what_cannot_work_says_what_to_fix(stage: &Stage) -> Result<()> {
    let scene = stage.scene("invalid").await?;
    let _operator = scene.operator.start(None)?;
    scene
        .apply_canary(|spec| spec["analysis"]["stepWeight"] = json!(2.5))
        .await?;
    let message = scene.until_condition("podinfo", "Stalled").await?;
    ensure!(message.contains("spec.analysis.stepWeight"), "{message}");
    scene
        .apply_canary(|spec| spec["targetRef"]["name"] = json!("nobody"))
        .await?;
    let canary = scene.until("the missing target", |canary| {
        let status = canary.status.clone().unwrap_or_default();
        status
            .conditions
            .iter()
            .any(|one| one.message.contains("does not exist"))
    });
    canary.await?;
    scene.apply_canary(|_| {}).await?;
    scene.until_phase(CanaryPhase::Initialized).await?;
    Ok(())
}

async fn two_canaries_of_one_target(stage: &Stage) -> Result<()> {
    let scene = stage.scene("rivals").await?;
    scene.apply_canary(|_| {}).await?;
    let _operator = scene.operator.start(None)?;
    scene.until_phase(CanaryPhase::Initialized).await?;
    scene.apply_canary_named("rival", |_| {}).await?;
    let message = scene.until_condition("rival", "Stalled").await?;
    ensure!(message.contains(&name(&scene.canary().await?)), "{message}");
    scene.apply_target("podinfo:2").await?;
    scene.until_phase(CanaryPhase::Succeeded).await?;
    scene.check_rest("podinfo:2").await
}

async fn deletion_gives_back(stage: &Stage) -> Result<()> {
    let scene = stage.scene("deleted").await?;
    scene
        .apply_canary(|spec| spec["revertOnDeletion"] = json!(true))
        .await?;
    let _operator = scene.operator.start(None)?;
    scene.until_phase(CanaryPhase::Initialized).await?;
    scene.delete_canary().await?;
    let serves = |found: &k8s_openapi::api::apps::v1::Deployment| {
        found.spec.as_ref().and_then(|spec| spec.replicas) == Some(1)
    };
    scene.until_deployment("podinfo", serves).await?;
    scene.until_gone().await?;
    scene.history.judge()
}

async fn an_adopted_route_keeps_what_is_not_ours(stage: &Stage) -> Result<()> {
    let scene = stage.scene("adopted").await?;
    let theirs = json!([{
        "timeout": "7s",
        "retries": { "attempts": 1 },
        "route": [{ "destination": { "host": "podinfo" } }],
    }]);
    let (api, before) = scene.author_routes(theirs).await?;
    let before = before.data["spec"].clone();
    scene
        .apply_canary(|spec| spec["revertOnDeletion"] = json!(true))
        .await?;
    let _operator = scene.operator.start(None)?;
    scene.until_phase(CanaryPhase::Initialized).await?;
    scene.apply_target("podinfo:2").await?;
    scene.until_phase(CanaryPhase::Succeeded).await?;
    scene.check_rest("podinfo:2").await?;
    let held = api.get("podinfo").await?;
    ensure!(
        held.data["spec"]["http"][0]["timeout"] == "7s",
        "{}",
        held.data
    );
    scene.delete_canary().await?;
    scene.until_gone().await?;
    let after = api.get("podinfo").await?.data["spec"].clone();
    ensure!(after == before, "{after} is not {before}");
    Ok(())
}

async fn a_changed_config_is_a_revision(stage: &Stage) -> Result<()> {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::api::{Api, Patch, PatchParams};
    let scene = stage.scene("configs").await?;
    let maps: Api<ConfigMap> = Api::namespaced(scene.client.clone(), "configs");
    let config = |color: &str| {
        json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": { "name": "settings" }, "data": { "color": color },
        })
    };
    let params = PatchParams::apply("git").force();
    maps.patch("settings", &params, &Patch::Apply(config("blue")))
        .await?;
    let target = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "podinfo" },
        "spec": { "template": { "spec": { "containers": [{
            "name": "podinfo", "envFrom": [{ "configMapRef": { "name": "settings" } }],
        }] } } },
    });
    let own = PatchParams::apply("settings");
    scene
        .deployments()
        .patch("podinfo", &own, &Patch::Apply(target))
        .await?;
    scene.apply_canary(|_| {}).await?;
    let _operator = scene.operator.start(None)?;
    scene.until_phase(CanaryPhase::Initialized).await?;
    let copy = maps.get("settings-primary").await?;
    ensure!(copy.data.unwrap_or_default()["color"] == "blue");
    maps.patch("settings", &params, &Patch::Apply(config("green")))
        .await?;
    scene.until_phase(CanaryPhase::Succeeded).await?;
    scene.check_rest("podinfo:1").await?;
    let copy = maps.get("settings-primary").await?;
    ensure!(copy.data.unwrap_or_default()["color"] == "green");
    Ok(())
}

async fn replicas_that_git_insists_on_are_not_fought_over(stage: &Stage) -> Result<()> {
    use kube::api::{Patch, PatchParams};
    let scene = stage.scene("fought").await?;
    scene.apply_canary(|_| {}).await?;
    let _operator = scene.operator.start(None)?;
    scene.until_phase(CanaryPhase::Initialized).await?;
    let insist = async {
        loop {
            let replicas = json!({
                "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "podinfo" },
                "spec": { "replicas": 2 },
            });
            let params = PatchParams::apply("kustomize-controller").force();
            scene
                .deployments()
                .patch("podinfo", &params, &Patch::Apply(replicas))
                .await?;
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        }
    };
    let told = scene.until_condition("podinfo", "Stalled");
    let message: String = tokio::select! {
        never = insist => return never,
        told = told => told?,
    };
    ensure!(message.contains("spec.replicas"), "{message}");
    ensure!(message.contains("kustomize-controller"), "{message}");
    ensure!(
        scene.size("podinfo").await? == 2,
        "the target is left alone"
    );
    scene.history.judge()
}

async fn a_person_steers_a_run_and_the_status_tells(stage: &Stage) -> Result<()> {
    let scene = stage.scene("steered").await?;
    scene
        .apply_canary(|spec| {
            spec["analysis"]["interval"] = json!("30s");
            spec["analysis"]["stepWeight"] = json!(25);
        })
        .await?;
    let _operator = scene.operator.start(None)?;
    scene.until_phase(CanaryPhase::Initialized).await?;
    scene.command("pause@1").await?;
    let refused = scene.until("the refusal", |canary| has_heard(canary, "pause@1"));
    let why = newest_command(&refused.await?)?.refused.unwrap_or_default();
    ensure!(why.contains("`spec.suspend: true`"), "{why}");

    scene.apply_target("podinfo:2").await?;
    let weight = |weight: i32| {
        move |canary: &Canary| {
            let status = canary.status.as_ref();
            status.and_then(|status| status.canary_weight) == Some(Number::from(weight))
        }
    };
    scene.until("the first weight", weight(25)).await?;
    scene.command("pause@2").await?;
    let message = scene.until_condition("podinfo", "Paused").await?;
    ensure!(message.starts_with("paused by a-person"), "{message}");
    scene.command("set-weight=40@3").await?;
    scene.until("the weight that was set", weight(40)).await?;
    // Git puts an old command back: nothing comes of it.
    scene.command("pause@2").await?;
    scene
        .until("the old one", |canary| has_heard(canary, "pause@2"))
        .await?;
    scene.command("promote@4").await?;
    let canary = scene.until_phase(CanaryPhase::Succeeded).await?;
    scene.check_rest("podinfo:2").await?;
    let weights = scene.history.weights();
    ensure!(weights == [0, 25, 40, 0], "the weights were {weights:?}");
    let by = newest_command(&canary)?.by;
    ensure!(by.as_deref() == Some("a-person"), "{by:?}");
    let history = canary.status.unwrap_or_default().history;
    let run = &history[0];
    ensure!(run.outcome == Some(RunOutcome::Promoted), "{run:?}");
    let told = run.decisions.iter().map(|one| one.decision.as_str());
    let told: Vec<&str> = told.collect();
    for decision in ["Paused", "WeightSet", "PromotionRequested", "Promoted"] {
        let times = told.iter().filter(|one| **one == decision).count();
        ensure!(times == 1, "{decision} is told {times} times: {told:?}");
    }
    Ok(())
}
