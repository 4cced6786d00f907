//! What `fairlead canary plan` and `simulate` say beforehand, against what then happens.

use anyhow::{Context as _, Result, ensure};
use fairlead_crds::canary::CanaryPhase;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

use crate::fairlead::{fairlead, fairlead_json};
use crate::stage::Stage;
use fairlead_tests::players::routes_resource;

/// A plan changes nothing, and the operator then makes what it said.
pub(crate) async fn a_plan_is_what_the_operator_then_makes(stage: &Stage) -> Result<()> {
    let scene = stage.scene("planned").await?;
    scene.until_ready("podinfo").await?;
    scene.apply_canary(|_| {}).await?;
    let (code, plan) = fairlead_json(&scene, "canary plan podinfo").await?;
    ensure!(code == 0, "{code}: {plan}");
    let made = |name: &str| made(&plan, name);
    for name in [
        "services/podinfo",
        "services/podinfo-primary",
        "services/podinfo-canary",
        "destinationrules/podinfo-canary",
    ] {
        ensure!(made(name).is_some(), "{name}: {plan}");
    }
    let primary = made("deployments/podinfo-primary").context("a primary")?;
    let route = made("virtualservices/podinfo").context("a route")?;
    let course = plan["course"].as_array().context("a course")?;
    let weights: Vec<&Value> = course.iter().map(|moment| &moment["weight"]).collect();
    ensure!(weights.contains(&&json!(50)), "{plan}");
    ensure!(
        course.iter().any(|moment| moment["what"] == "Check"),
        "{plan}"
    );
    let query = plan["checks"][0]["query"].as_str().unwrap_or_default();
    ensure!(query.contains("istio_requests_total"), "{plan}");
    let found = scene.deployments().get_opt("podinfo-primary").await?;
    ensure!(found.is_none(), "the plan made a primary");

    let _operator = scene.operator.start(None)?;
    scene.until_phase(CanaryPhase::Initialized).await?;
    let live = scene.deployments().get("podinfo-primary").await?;
    ensure!(
        json!(live.spec) == primary["spec"],
        "{} is not {}",
        json!(live.spec),
        primary["spec"]
    );
    let routes: Api<DynamicObject> =
        Api::namespaced_with(scene.client.clone(), &scene.namespace, &routes_resource());
    let live = routes.get("podinfo").await?;
    ensure!(
        live.data["spec"] == route["spec"],
        "{:?} is not {route}",
        live.data
    );

    let (code, plan) = fairlead_json(&scene, "canary plan podinfo").await?;
    ensure!(code == 0, "{code}: {plan}");
    let objects = plan["objects"].as_array().context("objects")?;
    let promoted = objects
        .iter()
        .find(|one| one["when"] == "the primary gets the release");
    ensure!(promoted.is_some(), "a release to come is not told: {plan}");
    let created = objects.iter().filter(|one| one["action"] == "Create");
    let created: Vec<&str> = created.filter_map(|one| one["object"].as_str()).collect();
    let keeps = |name: &&str| name.starts_with("controllerrevisions/podinfo-primary.");
    ensure!(
        created.len() == 1 && created.iter().all(keeps),
        "what the primary runs is kept, and nothing else made: {plan}"
    );
    Ok(())
}

/// Copies of configs, an autoscaler and an HTTPRoute belong to it; a Secret is not shown.
pub(crate) async fn a_plan_tells_copies_autoscalers_and_gateways(stage: &Stage) -> Result<()> {
    let scene = stage.scene("planned-more").await?;
    let apply = async |object: Value, resource: ApiResource| {
        let api: Api<DynamicObject> =
            Api::namespaced_with(scene.client.clone(), &scene.namespace, &resource);
        let name = object["metadata"]["name"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let params = PatchParams::apply("settings");
        api.patch(&name, &params, &Patch::Apply(object)).await
    };
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": { "name": "settings" }, "stringData": { "password": "hush" },
    });
    apply(secret, ApiResource::erase::<Secret>(&())).await?;
    let scaler = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": { "name": "podinfo" },
        "spec": {
            "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "podinfo" },
            "minReplicas": 2, "maxReplicas": 4,
        },
    });
    apply(scaler, ApiResource::erase::<HorizontalPodAutoscaler>(&())).await?;
    let target = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "podinfo" },
        "spec": { "template": { "spec": { "containers": [{
            "name": "podinfo", "envFrom": [{ "secretRef": { "name": "settings" } }],
        }] } } },
    });
    apply(target, ApiResource::erase::<Deployment>(&())).await?;
    scene.until_ready("podinfo").await?;
    scene
        .apply_canary(|spec| {
            spec["provider"] = json!("gatewayapi:v1");
            spec["service"]["gatewayRefs"] = json!([{ "name": "public" }]);
            spec["autoscalerRef"] = json!({
                "apiVersion": "autoscaling/v2",
                "kind": "HorizontalPodAutoscaler",
                "name": "podinfo",
            });
        })
        .await?;
    let (code, plan) = fairlead_json(&scene, "canary plan podinfo").await?;
    ensure!(code == 0, "{code}: {plan}");
    for name in [
        "secrets/settings-primary",
        "horizontalpodautoscalers/podinfo-primary",
        "httproutes/podinfo",
    ] {
        ensure!(made(&plan, name).is_some(), "{name}: {plan}");
    }
    ensure!(!plan.to_string().contains("aHVzaA=="), "{plan}");
    Ok(())
}

/// A manifest alone is enough; what cannot work ends with 1, and the fix.
pub(crate) async fn a_manifest_is_planned_before_it_is_there(stage: &Stage) -> Result<()> {
    let scene = stage.scene("manifest").await?;
    scene.until_ready("podinfo").await?;
    let mut canary = json!({
        "apiVersion": "flagger.app/v1beta1",
        "kind": "Canary",
        "metadata": { "name": "podinfo" },
        "spec": {
            "targetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "podinfo" },
            "service": { "port": 9898 },
            "analysis": {
                "interval": "30s", "threshold": 2, "stepWeight": 10, "maxWeight": 30,
                "webhooks": [{
                    "name": "gate", "type": "confirm-promotion",
                    "url": "http://gate.shop/check?token=hush",
                }],
            },
        },
    });
    let path = scene.operator.log.with_extension("yaml");
    std::fs::write(&path, canary.to_string())?;
    let plan = format!("canary plan -f {}", path.display());
    let (code, told) = fairlead_json(&scene, &plan).await?;
    ensure!(code == 0, "{code}: {told}");
    ensure!(made(&told, "virtualservices/podinfo").is_some(), "{told}");
    ensure!(told["fastest"] == "1m 30s", "{told}");
    ensure!(told["hooks"][0]["name"] == "gate", "{told}");
    ensure!(!told.to_string().contains("hush"), "{told}");

    let gate = canary["spec"]["analysis"]["webhooks"][0].clone();
    canary["spec"]["analysis"]["webhooks"][0]["secretRef"] = json!({ "name": "gate" });
    std::fs::write(&path, canary.to_string())?;
    let (code, told) = fairlead_json(&scene, &plan).await?;
    ensure!(
        code == 1 && told["problems"][0] == "hook gate: Secret `manifest/gate` does not exist",
        "{code}: {told}"
    );
    canary["spec"]["analysis"]["webhooks"][0] = gate;

    // What the API server refuses is told in its words, with the field.
    canary["spec"]["analysis"]["stepWieght"] = json!(5);
    std::fs::write(&path, canary.to_string())?;
    let (code, told) = fairlead(&scene, &plan).await?;
    ensure!(
        code == 1 && told.contains("unknown field \"spec.analysis.stepWieght\""),
        "{code}: {told}"
    );
    ensure!(!told.contains("Status {"), "{told}");
    if let Some(analysis) = canary["spec"]["analysis"].as_object_mut() {
        analysis.remove("stepWieght");
    }
    canary["metadata"]["namespace"] = json!("nowhere");
    std::fs::write(&path, canary.to_string())?;
    let (code, told) = fairlead(&scene, &plan).await?;
    ensure!(
        code == 4 && told.contains("there is no namespace `nowhere`"),
        "{code}: {told}"
    );
    canary["metadata"]["namespace"] = json!("manifest");

    canary["spec"]["analysis"]["iterations"] = json!(5);
    canary["spec"]["analysis"]["maxWeight"] = Value::Null;
    std::fs::write(&path, canary.to_string())?;
    let (code, told) = fairlead(&scene, &plan).await?;
    ensure!(
        code == 1 && told.contains("spec.analysis"),
        "{code}: {told}"
    );
    Ok(())
}

/// Somebody who has just applied a Canary plans it while the operator makes what it needs.
pub(crate) async fn a_plan_does_not_mind_the_operator_at_work(stage: &Stage) -> Result<()> {
    let scene = stage.scene("at-work").await?;
    scene.until_ready("podinfo").await?;
    let _operator = scene.operator.start(None)?;
    scene.apply_canary(|_| {}).await?;
    loop {
        let phase = scene.canary().await?.status.and_then(|status| status.phase);
        let (_, told) = fairlead_json(&scene, "canary plan podinfo").await?;
        let problems = told["problems"].to_string();
        ensure!(
            !problems.contains("modified") && !problems.contains("onflict"),
            "{phase:?}: {problems}"
        );
        if phase == Some(CanaryPhase::Initialized) {
            return Ok(());
        }
    }
}

/// The same policy over a good recording and a bad one.
pub(crate) async fn a_policy_is_replayed_over_what_a_prometheus_recorded(
    stage: &Stage,
) -> Result<()> {
    let scene = stage.scene("replayed").await?;
    scene
        .apply_canary(|spec| spec["analysis"]["interval"] = json!("30s"))
        .await?;
    let replay = format!(
        "canary simulate podinfo --prometheus {} --start 2026-01-01T00:00:00Z \
         --end 2026-01-01T01:00:00Z",
        scene.address
    );
    scene
        .world
        .set(&scene.namespace, |all| all.metric = "100".to_owned());
    let (code, told) = fairlead_json(&scene, &replay).await?;
    ensure!(
        (code, &told["outcome"]) == (0, &json!("Promoted")),
        "{code}: {told}"
    );
    ensure!(told["after"] == "30s", "{told}");

    scene
        .world
        .set(&scene.namespace, |all| all.metric = "95".to_owned());
    let (code, told) = fairlead_json(&scene, &replay).await?;
    ensure!(
        (code, &told["outcome"]) == (1, &json!("RolledBack")),
        "{code}: {told}"
    );
    let checks = told["checks"].as_array().context("checks")?;
    ensure!(
        checks.len() == 2 && checks[1]["verdict"] == "Failed",
        "{told}"
    );
    Ok(())
}

/// The object of that name as it is after its first write, when that makes it.
fn made<'a>(plan: &'a Value, name: &str) -> Option<&'a Value> {
    let mut objects = plan["objects"].as_array()?.iter();
    let found = objects.find(|one| one["object"] == name)?;
    (found["action"] == "Create").then_some(&found["after"])
}
