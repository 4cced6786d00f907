//! Targets with autoscalers: primaries have their own, and targets at rest are left alone.

use anyhow::{Context as _, Result, ensure};
use fairlead_crds::canary::CanaryPhase;
use fairlead_tests::wait;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};

use crate::stage::{PATIENCE, Scene, Stage};

/// KEDA's word to leave a workload alone.
const PAUSED: &str = "autoscaling.keda.sh/paused-replicas";

/// KEDA's kind.
pub(crate) fn scaled_objects() -> ApiResource {
    let kind = GroupVersionKind::gvk("keda.sh", "v1alpha1", "ScaledObject");
    ApiResource::from_gvk_with_plural(&kind, "scaledobjects")
}

fn horizontal() -> ApiResource {
    let kind = GroupVersionKind::gvk("autoscaling", "v2", "HorizontalPodAutoscaler");
    ApiResource::from_gvk_with_plural(&kind, "horizontalpodautoscalers")
}

/// An autoscaler of the target, and a Canary that names it.
async fn scale(
    scene: &Scene,
    kind: &ApiResource,
    spec: Value,
    replicas: Value,
) -> Result<Api<DynamicObject>> {
    let scalers = Api::namespaced_with(scene.client.clone(), &scene.namespace, kind);
    let scaler = json!({
        "apiVersion": kind.api_version, "kind": kind.kind,
        "metadata": { "name": "podinfo" },
        "spec": spec,
    });
    scalers
        .patch("podinfo", &PatchParams::apply("git"), &Patch::Apply(scaler))
        .await?;
    scene
        .apply_canary(|spec| {
            spec["revertOnDeletion"] = json!(true);
            spec["autoscalerRef"] = json!({
                "apiVersion": kind.api_version, "kind": kind.kind, "name": "podinfo",
                "primaryScalerReplicas": replicas,
            });
        })
        .await?;
    Ok(scalers)
}

pub(crate) async fn the_primary_gets_an_autoscaler(stage: &Stage) -> Result<()> {
    let scene = stage.scene("scaled").await?;
    let spec = json!({
        "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "podinfo" },
        "minReplicas": 2, "maxReplicas": 4,
    });
    let limits = json!({ "maxReplicas": 9 });
    let scalers = scale(&scene, &horizontal(), spec, limits).await?;
    let _operator = scene.operator.start(None)?;
    scene.until_phase(CanaryPhase::Initialized).await?;
    let copy = scalers.get("podinfo-primary").await?.data["spec"].clone();
    ensure!(
        copy["scaleTargetRef"]["name"] == "podinfo-primary",
        "{copy}"
    );
    ensure!(
        copy["minReplicas"] == 2 && copy["maxReplicas"] == 9,
        "{copy}"
    );

    // The limits of a copy follow the target's at once, whatever the Canary does.
    let fewer = Patch::Merge(json!({ "spec": { "minReplicas": 1 } }));
    let params = PatchParams::default();
    scalers.patch("podinfo", &params, &fewer).await?;
    wait::until(&scalers, "podinfo-primary", "fewer", PATIENCE, |copy| {
        copy.data["spec"]["minReplicas"] == 1
    })
    .await?;
    scene.apply_target("podinfo:2").await?;
    scene.until_phase(CanaryPhase::Succeeded).await?;
    scene.check_rest("podinfo:2").await
}

pub(crate) async fn keda_leaves_a_target_at_rest_alone(stage: &Stage) -> Result<()> {
    let scene = stage.scene("keda").await?;
    let query = r#"sum(rate(requests{app="podinfo-canary"}[1m]))"#;
    let spec = json!({
        "scaleTargetRef": { "name": "podinfo" },
        "minReplicaCount": 2, "maxReplicaCount": 4,
        "triggers": [{ "type": "prometheus", "metadata": { "query": query } }],
    });
    let scalers = scale(&scene, &scaled_objects(), spec, json!({})).await?;
    let _operator = scene.operator.start(None)?;
    scene.until_phase(CanaryPhase::Initialized).await?;
    until_paused(&scalers, Some("0")).await?;
    let copy = scalers.get("podinfo-primary").await?;
    let asked = copy.data["spec"]["triggers"][0]["metadata"]["query"].as_str();
    let asked = asked.context("the copy asks nothing")?;
    ensure!(asked.contains(r#"app="podinfo-primary""#), "{asked}");
    let held = copy.metadata.annotations.unwrap_or_default();
    ensure!(!held.contains_key(PAUSED), "the primary is not scaled");

    scene.apply_target("podinfo:2").await?;
    until_paused(&scalers, None).await?;
    scene.until_phase(CanaryPhase::Succeeded).await?;
    until_paused(&scalers, Some("0")).await?;
    scene.check_rest("podinfo:2").await?;

    // Without the Canary KEDA has its workload back.
    scene.delete_canary().await?;
    scene.until_gone().await?;
    until_paused(&scalers, None).await
}

async fn until_paused(scalers: &Api<DynamicObject>, wanted: Option<&str>) -> Result<()> {
    let what = format!("{PAUSED}: {wanted:?}");
    wait::until(scalers, "podinfo", &what, PATIENCE, |scaler| {
        let annotations = scaler.metadata.annotations.as_ref();
        annotations
            .and_then(|all| all.get(PAUSED))
            .map(String::as_str)
            == wanted
    })
    .await
    .map(drop)
}
