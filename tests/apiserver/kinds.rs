//! Targets that are no Deployments.

use anyhow::{Result, ensure};
use fairlead_crds::canary::{Canary, CanaryPhase};
use kube::ResourceExt as _;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

use crate::fairlead::{fairlead, fairlead_json};
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

/// Its copies lead where its revisions do; it is its author's, and stays as it is.
pub(crate) async fn a_service_is_released_by_copies_of_it(stage: &Stage) -> Result<()> {
    let scene = stage.scene_of("service", Target::Service).await?;
    scene.apply_canary(|_| {}).await?;
    let (code, plan) = fairlead_json(&scene, "canary plan podinfo").await?;
    ensure!(code == 0, "{code}: {plan}");
    let planned = plan["objects"].to_string();
    for name in ["services/podinfo-primary", "services/podinfo-canary"] {
        ensure!(planned.contains(name), "{name}: {planned}");
    }
    ensure!(!planned.contains("\"services/podinfo\""), "{planned}");
    let before = scene.workloads().get("podinfo").await?;
    release(&scene).await?;
    let after = scene.workloads().get("podinfo").await?;
    ensure!(after.data["spec"]["selector"]["version"] == "podinfo.2");
    let managers = |object: &DynamicObject| object.managed_fields().len();
    ensure!(
        managers(&before) == managers(&after),
        "the target was written: {:?}",
        after.managed_fields()
    );
    for copy in ["podinfo-primary", "podinfo-canary"] {
        let spec = spec(&scene, copy).await?;
        ensure!(spec["selector"]["version"] == "podinfo.2", "{spec}");
        ensure!(
            spec["clusterIP"] != after.data["spec"]["clusterIP"],
            "{spec}"
        );
    }
    let canary = scene.canary().await?;
    let query = &canary.status.and_then(|status| status.rollout);
    let query = query.as_ref().and_then(|rollout| rollout.checks.first());
    let query = query.map_or("", |check| check.query.as_str());
    ensure!(
        query.contains(r#"destination_service_name="podinfo-canary""#),
        "{query}"
    );
    let (code, text) = fairlead(&scene, "canary get podinfo").await?;
    ensure!(code == 0 && text.contains("version=podinfo.2"), "{text}");
    let (code, text) = fairlead(&scene, "canary explain podinfo").await?;
    ensure!(code == 0 && text.contains("Service `podinfo`"), "{text}");
    Ok(())
}

/// A version that fails or cannot answer gets no traffic, or loses it; the target is left alone.
pub(crate) async fn a_service_that_fails_is_rolled_back(stage: &Stage) -> Result<()> {
    let scene = stage.scene_of("service-failed", Target::Service).await?;
    scene
        .apply_canary(|spec| {
            spec["revertOnDeletion"] = json!(true);
        })
        .await?;
    let _operator = scene.operator.start(None)?;
    scene.until_phase(CanaryPhase::Initialized).await?;
    scene
        .world
        .set(&scene.namespace, |all| all.metric = "50".to_owned());
    scene.apply_target("podinfo:2").await?;
    until_rolled_back(&scene).await?;
    let weights = scene.history.weights();
    ensure!(weights == [0, 50, 0], "when metrics failed: {weights:?}");
    ensure!(scene.image("podinfo-primary").await? == "podinfo:1");
    // Nothing answers there.
    scene
        .world
        .set(&scene.namespace, |all| all.metric = "100".to_owned());
    scene.allow_progress(2).await?;
    scene.apply_target("podinfo:9").await?;
    let told = |canary: &Canary| {
        let conditions = canary.status.iter().flat_map(|status| &status.conditions);
        let mut texts = conditions.map(|one| one.message.as_str());
        texts.any(|text| text.contains("0 of 1 ready endpoints"))
    };
    scene.until("what is waited for", told).await?;
    until_rolled_back(&scene).await?;
    let weights = scene.history.weights();
    ensure!(weights == [0, 50, 0], "toward nothing: {weights:?}");
    scene.allow_progress(20).await?;
    scene.apply_target("podinfo:3").await?;
    scene.until_phase(CanaryPhase::Succeeded).await?;
    ensure!(scene.image("podinfo-primary").await? == "podinfo:3");
    scene.allow_progress(2).await?;
    // A primary that somebody deletes comes back as it was.
    scene.apply_target("podinfo:9").await?;
    let params = DeleteParams::default();
    scene.workloads().delete("podinfo-primary", &params).await?;
    until_rolled_back(&scene).await?;
    ensure!(scene.image("podinfo-primary").await? == "podinfo:3");
    scene.delete_canary().await?;
    scene.until_gone().await?;
    ensure!(scene.image("podinfo").await? == "podinfo:9");
    scene.history.judge()
}

/// Waits until a run has failed and its traffic is back.
async fn until_rolled_back(scene: &Scene) -> Result<()> {
    let is_back = |canary: &Canary| {
        let status = canary.status.clone().unwrap_or_default();
        let traffic = status.rollout.and_then(|rollout| rollout.traffic);
        status.phase == Some(CanaryPhase::Failed)
            && traffic.is_some_and(|traffic| traffic.weight == 0 && traffic.in_effect.is_some())
    };
    scene.until("the way back", is_back).await?;
    Ok(())
}

/// One that selects no pods has no readiness, and its Canary says so.
pub(crate) async fn a_service_that_leads_away_is_released_unchecked(stage: &Stage) -> Result<()> {
    let scene = stage.scene_of("service-away", Target::Service).await?;
    let lead = async |host: &str| {
        let away = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": { "name": "podinfo" },
            "spec": { "type": "ExternalName", "externalName": host },
        });
        let params = PatchParams::apply("git").force();
        let api = scene.workloads();
        api.patch("podinfo", &params, &Patch::Apply(away)).await
    };
    lead("one.example").await?;
    scene.apply_canary(|_| {}).await?;
    let _operator = scene.operator.start(None)?;
    scene.until_phase(CanaryPhase::Initialized).await?;
    let told = scene
        .until_condition("podinfo", "ReadinessUnchecked")
        .await?;
    ensure!(told.contains("selects no pods"), "{told}");
    lead("two.example").await?;
    scene.until_phase(CanaryPhase::Succeeded).await?;
    for name in ["podinfo-primary", "podinfo-canary"] {
        let spec = spec(&scene, name).await?;
        ensure!(spec["externalName"] == "two.example", "{spec}");
    }
    let weights = scene.history.weights();
    ensure!(weights == [0, 50, 0], "{weights:?}");
    // Back to pods, which tell.
    scene.apply_target("podinfo:2").await?;
    let is_checked = |canary: &Canary| {
        let conditions = canary.status.iter().flat_map(|status| &status.conditions);
        let mut types = conditions.map(|one| one.type_.as_str());
        types.all(|one| one != "ReadinessUnchecked")
    };
    scene.until("endpoints that tell", is_checked).await?;
    scene.until_phase(CanaryPhase::Succeeded).await?;
    // The rules are not asked: they want endpoints before a host gets its share.
    ensure!(scene.image("podinfo-primary").await? == "podinfo:2");
    Ok(())
}

/// What a Service cannot have is told with the fix; a port that it lacks is waited for.
pub(crate) async fn what_a_service_cannot_have_is_told(stage: &Stage) -> Result<()> {
    let scene = stage.scene_of("service-wrong", Target::Service).await?;
    let _operator = scene.operator.start(None)?;
    scene
        .apply_canary(|spec| spec["service"]["name"] = json!("other"))
        .await?;
    let told = scene.until_condition("podinfo", "Stalled").await?;
    ensure!(
        told.contains("spec.service.name") && told.contains("`podinfo`"),
        "{told}"
    );
    scene
        .apply_canary(|spec| spec["service"]["port"] = json!(80))
        .await?;
    let told = |canary: &Canary| {
        let conditions = canary.status.iter().flat_map(|status| &status.conditions);
        let mut texts = conditions.map(|one| one.message.as_str());
        texts.any(|text| text.contains("has no port 80") && text.contains("9898"))
    };
    scene.until("the port", told).await?;
    scene.apply_canary(|_| {}).await?;
    scene.until_phase(CanaryPhase::Initialized).await?;
    let (code, report) = fairlead_json(&scene, "migrate flagger").await?;
    ensure!(
        code == 0 && report["canaries"][0]["takeover"] == "Ours",
        "{report}"
    );
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
