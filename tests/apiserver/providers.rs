//! Traffic that no VirtualService divides.

use anyhow::{Result, ensure};
use fairlead_crds::canary::CanaryPhase;
use fairlead_tests::players::{gateway_routes_resource, routes_resource};
use k8s_openapi::api::core::v1::Service;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

use crate::stage::Stage;

pub(crate) async fn a_gateway_is_led_by_weights_of_an_http_route(stage: &Stage) -> Result<()> {
    let scene = stage.scene("gateway").await?;
    let gate = format!("{}/hook/gate", scene.address);
    scene
        .apply_canary(|spec| {
            spec["provider"] = json!("gatewayapi:v1");
            spec["service"]["gatewayRefs"] = json!([{ "name": "public" }]);
            spec["service"]["hosts"] = json!(["podinfo.example"]);
            spec["analysis"]["webhooks"] =
                json!([{ "name": "gate", "type": "confirm-promotion", "url": gate }]);
        })
        .await?;
    scene.world.set("gateway", |all| {
        all.hooks.insert("gate".to_owned(), 403);
    });
    let _operator = scene.operator.start(None)?;
    scene.until_phase(CanaryPhase::Initialized).await?;
    let routes: Api<DynamicObject> =
        Api::namespaced_with(scene.client.clone(), "gateway", &gateway_routes_resource());
    let made = routes.get("podinfo").await?.data["spec"].clone();
    ensure!(made["hostnames"] == json!(["podinfo.example"]), "{made}");
    ensure!(made["parentRefs"][0]["name"] == "public", "{made}");
    scene.apply_target("podinfo:2").await?;
    scene.until_phase(CanaryPhase::WaitingPromotion).await?;
    let params = PatchParams::default();
    let by_hand = json!({ "spec": { "hostnames": ["elsewhere.example"] } });
    routes
        .patch("podinfo", &params, &Patch::Merge(by_hand))
        .await?;
    let is_back = |found: Option<&DynamicObject>| {
        found.is_some_and(|found| found.data["spec"]["hostnames"] == json!(["podinfo.example"]))
    };
    let waiting = kube::runtime::wait::await_condition(routes, "podinfo", is_back);
    tokio::time::timeout(crate::stage::PATIENCE, waiting).await??;
    scene.world.set("gateway", |all| all.hooks.clear());
    scene.until_phase(CanaryPhase::Succeeded).await?;
    let weights = scene.history.weights();
    ensure!(weights == [0, 50, 0], "the weights were {weights:?}");
    scene.check_rest("podinfo:2").await
}

pub(crate) async fn services_alone_are_released_blue_green(stage: &Stage) -> Result<()> {
    let scene = stage.scene("services").await?;
    scene
        .apply_canary(|spec| {
            spec["provider"] = json!("kubernetes");
            spec["analysis"] = json!({ "interval": "100ms", "threshold": 2, "iterations": 3 });
        })
        .await?;
    let _operator = scene.operator.start(None)?;
    scene.until_phase(CanaryPhase::Initialized).await?;
    scene.apply_target("podinfo:2").await?;
    scene.until_phase(CanaryPhase::Succeeded).await?;
    ensure!(scene.image("podinfo-primary").await? == "podinfo:2");
    let services: Api<Service> = Api::namespaced(scene.client.clone(), "services");
    for (name, app) in [
        ("podinfo", "podinfo-primary"),
        ("podinfo-primary", "podinfo-primary"),
        ("podinfo-canary", "podinfo"),
    ] {
        let spec = services.get(name).await?.spec.unwrap_or_default();
        let selector = spec.selector.unwrap_or_default();
        ensure!(
            selector.get("app").map(String::as_str) == Some(app),
            "{name}: {selector:?}"
        );
    }
    let routes: Api<DynamicObject> =
        Api::namespaced_with(scene.client.clone(), "services", &routes_resource());
    ensure!(
        routes.get_opt("podinfo").await?.is_none(),
        "no mesh is asked for"
    );
    let at_rest = |found: &k8s_openapi::api::apps::v1::Deployment| {
        found.spec.as_ref().and_then(|spec| spec.replicas) == Some(0)
    };
    scene.until_deployment("podinfo", at_rest).await?;
    let canary: Value = json!(scene.canary().await?.status);
    ensure!(canary["iterations"] == 3, "{canary}");
    scene.history.judge()
}
