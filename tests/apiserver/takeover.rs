//! What Flagger left is taken over as it stands: no run, no weight, no restart of a pod.

use anyhow::{Context as _, Result, ensure};
use fairlead_crds::annotation;
use fairlead_crds::canary::{Canary, CanaryPhase};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::wait::await_condition;
use serde_json::{Value, json};

use crate::stage::{PATIENCE, Scene, Stage};
use crate::target::{self, Target};

/// What every template has until a later revision leaves it out.
const NOTE: &str = "note";

/// A scene as Flagger leaves it: its primary, its routes with `weight`, its status in `phase`.
pub(crate) async fn left_by_flagger(
    stage: &Stage,
    namespace: &str,
    phase: &str,
    weight: u8,
) -> Result<Scene> {
    let scene = stage.scene(namespace).await?;
    note_target(&scene, Some("kept")).await?;
    scene.apply_canary(|_| {}).await?;
    {
        let _operator = scene.operator.start(None)?;
        scene.until_phase(CanaryPhase::Initialized).await?;
        let rests = |found: &Deployment| {
            found
                .spec
                .as_ref()
                .is_some_and(|spec| spec.replicas == Some(0))
        };
        scene.until_deployment("podinfo", rests).await?;
    }
    let primary = as_flagger_made_it(scene.deployments().get("podinfo-primary").await?)?;
    scene
        .deployments()
        .delete("podinfo-primary", &DeleteParams::default())
        .await?;
    fairlead_tests::wait::until_gone(
        &scene.deployments(),
        "podinfo-primary",
        std::time::Duration::from_secs(30),
    )
    .await?;
    let flagger = PostParams {
        field_manager: Some("flagger".to_owned()),
        ..PostParams::default()
    };
    scene.deployments().create(&flagger, &primary).await?;
    scene
        .until_reachable("podinfo-primary", "podinfo-primary")
        .await?;
    if weight > 0 {
        scale_target(&scene).await?;
        set_weight(&scene, weight).await?;
    }
    write_status(&scene, phase, weight).await?;
    Ok(scene)
}

fn as_flagger_made_it(primary: Deployment) -> Result<Deployment> {
    let mut primary = serde_json::to_value(primary)?;
    let meta = &mut primary["metadata"];
    for field in [
        "uid",
        "resourceVersion",
        "managedFields",
        "creationTimestamp",
        "generation",
    ] {
        meta.as_object_mut().context("an object")?.remove(field);
    }
    meta["annotations"] = json!({});
    primary["status"] = Value::Null;
    let pod = &mut primary["spec"]["template"]["metadata"]["annotations"];
    pod.as_object_mut()
        .context("annotations")?
        .remove(annotation::REVISION);
    pod["flagger-id"] = json!("2f3c");
    Ok(serde_json::from_value(primary)?)
}

async fn note_target(scene: &Scene, note: Option<&str>) -> Result<()> {
    let patch =
        json!({ "spec": { "template": { "metadata": { "annotations": { NOTE: note } } } } });
    let params = PatchParams::default();
    scene
        .deployments()
        .patch("podinfo", &params, &Patch::Merge(patch))
        .await?;
    Ok(())
}

/// Gives the canary a pod, and waits until requests can reach it.
async fn scale_target(scene: &Scene) -> Result<()> {
    let patch = json!({ "spec": { "replicas": 1 } });
    let params = PatchParams::default();
    scene
        .deployments()
        .patch("podinfo", &params, &Patch::Merge(patch))
        .await?;
    scene.until_reachable("podinfo", "podinfo-canary").await
}

async fn set_weight(scene: &Scene, weight: u8) -> Result<()> {
    let kind = GroupVersionKind::gvk("networking.istio.io", "v1", "VirtualService");
    let resource = ApiResource::from_gvk_with_plural(&kind, "virtualservices");
    let routes: Api<DynamicObject> =
        Api::namespaced_with(scene.client.clone(), &scene.namespace, &resource);
    let mut route = routes.get("podinfo").await?;
    let split = &mut route.data["spec"]["http"][0]["route"];
    split[0]["weight"] = json!(100 - weight);
    split[1]["weight"] = json!(weight);
    routes
        .replace("podinfo", &PostParams::default(), &route)
        .await?;
    Ok(())
}

async fn write_status(scene: &Scene, phase: &str, weight: u8) -> Result<()> {
    let api: Api<Canary> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let mut canary = serde_json::to_value(api.get("podinfo").await?)?;
    canary["status"] = json!({
        "phase": phase,
        "canaryWeight": weight,
        "failedChecks": 0,
        "iterations": 0,
        "lastAppliedSpec": "6877b8b5f8",
        "lastPromotedSpec": "6877b8b5f8",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
        "conditions": [],
    });
    let canary = serde_json::from_value(canary)?;
    api.replace_status("podinfo", &PostParams::default(), &canary)
        .await?;
    Ok(())
}

fn promoted(canary: &Canary) -> Option<String> {
    canary
        .status
        .as_ref()?
        .rollout
        .as_ref()?
        .promoted_revision
        .clone()
}

/// At rest and equal: it becomes the baseline, and the next revision is rolled out from there.
pub(crate) async fn at_rest(stage: &Stage) -> Result<()> {
    let scene = left_by_flagger(stage, "taken-over", "Succeeded", 0).await?;
    let pods_before = template(&scene).await?;
    let before = scene.history.weights();
    let _operator = scene.operator.start(None)?;
    let canary = scene
        .until("a baseline", |canary| promoted(canary).is_some())
        .await?;
    let marked = |found: &Deployment| {
        let annotations = found.metadata.annotations.as_ref();
        annotations
            .and_then(|all| all.get(annotation::REVISION))
            .cloned()
            == promoted(&canary)
    };
    scene.until_deployment("podinfo-primary", marked).await?;
    ensure!(
        template(&scene).await? == pods_before,
        "its pods were restarted"
    );
    let status = scene.canary().await?.status.unwrap_or_default();
    ensure!(
        status.phase == Some(CanaryPhase::Succeeded),
        "{:?}",
        status.phase
    );
    ensure!(
        status.rollout.is_some_and(|rollout| rollout.run.is_none()),
        "a run was started"
    );
    ensure!(
        scene.history.weights() == before,
        "{:?}",
        scene.history.weights()
    );

    note_target(&scene, None).await?;
    scene.apply_target("podinfo:2").await?;
    let arrived = |found: &Deployment| image(found) == Some("podinfo:2");
    let primary = scene.until_deployment("podinfo-primary", arrived).await?;
    let annotations = primary
        .spec
        .and_then(|spec| spec.template.metadata)
        .and_then(|meta| meta.annotations)
        .unwrap_or_default();
    ensure!(
        !annotations.contains_key(NOTE),
        "what Flagger set outlived the revision that left it out: {annotations:?}"
    );
    scene.until_phase(CanaryPhase::Succeeded).await?;
    Ok(())
}

/// The copies of a Service, with a port that its next revision leaves out.
pub(crate) async fn of_a_service(stage: &Stage) -> Result<()> {
    let scene = stage.scene_of("service-taken", Target::Service).await?;
    let ports = async |ports: Value| {
        let patch = Patch::Merge(json!({ "spec": { "ports": ports } }));
        let params = PatchParams::default();
        scene.workloads().patch("podinfo", &params, &patch).await
    };
    let http = json!({ "name": "http", "port": 9898 });
    ports(json!([http, { "name": "admin", "port": 9999 }])).await?;
    scene.apply_canary(|_| {}).await?;
    {
        let _operator = scene.operator.start(None)?;
        scene.until_phase(CanaryPhase::Initialized).await?;
    }
    let services = scene.workloads();
    for name in ["podinfo-primary", "podinfo-canary"] {
        let made = services.get(name).await?;
        services.delete(name, &DeleteParams::default()).await?;
        let mut left: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": { "name": name, "ownerReferences": made.metadata.owner_references },
            "spec": made.data["spec"],
        }))?;
        for address in ["clusterIP", "clusterIPs"] {
            let spec = left.data["spec"].as_object_mut();
            spec.context("a spec")?.remove(address);
        }
        let flagger = PostParams {
            field_manager: Some("flagger".to_owned()),
            ..PostParams::default()
        };
        services.create(&flagger, &left).await?;
    }
    write_status(&scene, "Succeeded", 0).await?;
    let before = scene.history.weights();
    let _operator = scene.operator.start(None)?;
    scene
        .until("a baseline", |canary| promoted(canary).is_some())
        .await?;
    let status = scene.canary().await?.status.unwrap_or_default();
    let run = status.rollout.and_then(|rollout| rollout.run);
    ensure!(run.is_none(), "a run was started: {run:?}");
    ensure!(scene.history.weights() == before);

    ports(json!([http])).await?;
    scene.apply_target("podinfo:2").await?;
    let has = |found: Option<&DynamicObject>| {
        found.is_some_and(|found| {
            let spec = &found.data["spec"];
            let ports = spec["ports"].as_array().map_or(0, Vec::len);
            target::image(spec) == "podinfo:2" && ports == 1
        })
    };
    for name in ["podinfo-primary", "podinfo-canary"] {
        let waiting = await_condition(scene.workloads(), name, has);
        let ended = tokio::time::timeout(PATIENCE, Box::pin(waiting)).await;
        ended.with_context(|| format!("{name}: {}", scene.log()))??;
    }
    scene.until_phase(CanaryPhase::Succeeded).await?;
    Ok(())
}

/// A run in flight: nothing moves until a person decides.
pub(crate) async fn in_flight(stage: &Stage) -> Result<()> {
    let scene = left_by_flagger(stage, "in-flight", "Progressing", 50).await?;
    scene.apply_target("podinfo:2").await?;
    let _operator = scene.operator.start(None)?;
    let canary = scene
        .until("a hint", |canary| message(canary).contains("`resume`"))
        .await?;
    ensure!(promoted(&canary).is_none(), "it was taken over");
    ensure!(
        scene.history.weights().last() == Some(&50),
        "{:?}",
        scene.history.weights()
    );
    let api: Api<Canary> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let ask = json!({ "metadata": { "annotations": { annotation::COMMAND: "abort@1" } } });
    api.patch("podinfo", &PatchParams::default(), &Patch::Merge(ask))
        .await?;
    scene.until_phase(CanaryPhase::Failed).await?;
    let rests = |found: &Deployment| {
        found
            .spec
            .as_ref()
            .is_some_and(|spec| spec.replicas == Some(0))
    };
    scene.until_deployment("podinfo", rests).await?;
    scene.check_rest("podinfo:1").await
}

/// What failed there is not tried here.
pub(crate) async fn failed(stage: &Stage) -> Result<()> {
    let scene = left_by_flagger(stage, "failed-there", "Failed", 0).await?;
    scene.apply_target("podinfo:2").await?;
    let _operator = scene.operator.start(None)?;
    let canary = scene
        .until("a baseline", |canary| promoted(canary).is_some())
        .await?;
    ensure!(
        promoted(&canary).as_deref() == Some("inherited"),
        "{canary:?}"
    );
    let status = canary.status.unwrap_or_default();
    ensure!(
        status.phase == Some(CanaryPhase::Failed),
        "{:?}",
        status.phase
    );
    scene.apply_target("podinfo:3").await?;
    scene.until_phase(CanaryPhase::Succeeded).await?;
    scene.check_rest("podinfo:3").await
}

async fn template(scene: &Scene) -> Result<Value> {
    let primary = scene.deployments().get("podinfo-primary").await?;
    Ok(json!(primary.spec.context("a spec")?.template))
}

fn image(deployment: &Deployment) -> Option<&str> {
    let pod = deployment.spec.as_ref()?.template.spec.as_ref()?;
    pod.containers.first()?.image.as_deref()
}

fn message(canary: &Canary) -> String {
    let conditions = canary.status.iter().flat_map(|status| &status.conditions);
    let ready = conditions.into_iter().find(|one| one.type_ == "Ready");
    ready.map(|one| one.message.clone()).unwrap_or_default()
}
