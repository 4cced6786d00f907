//! Chosen users on the canary, and weights for the rest.

use anyhow::{Result, ensure};
use fairlead_crds::canary::CanaryPhase;
use fairlead_tests::players::{gateway_routes_resource, routes_resource};
use kube::api::{Api, DynamicObject};
use serde_json::{Value, json};

use crate::stage::{PATIENCE, Scene, Stage};

const CHOSEN: &str = "fairlead-match";

/// A scene whose run is held at its last weight, with users that are chosen.
async fn held(
    stage: &Stage,
    namespace: &str,
    change: impl FnOnce(&mut Value),
) -> Result<(Scene, tokio::process::Child)> {
    let scene = stage.scene(namespace).await?;
    ready(&scene, change).await?;
    let operator = run(&scene).await?;
    Ok((scene, operator))
}

async fn ready(scene: &Scene, change: impl FnOnce(&mut Value)) -> Result<()> {
    let gate = format!("{}/hook/gate", scene.address);
    scene.world.set(&scene.namespace, |all| {
        all.hooks.insert("gate".to_owned(), 403);
    });
    scene
        .apply_canary(|spec| {
            spec["analysis"]["weightScope"] = json!("Rest");
            spec["analysis"]["match"] =
                json!([{ "headers": { "x-user": { "exact": "insider" } } }]);
            spec["analysis"]["webhooks"] =
                json!([{ "name": "gate", "type": "confirm-promotion", "url": gate }]);
            change(spec);
        })
        .await
}

async fn run(scene: &Scene) -> Result<tokio::process::Child> {
    let operator = scene.operator.start(None)?;
    scene.until_phase(CanaryPhase::Initialized).await?;
    scene.apply_target("podinfo:2").await?;
    scene.until_phase(CanaryPhase::WaitingPromotion).await?;
    Ok(operator)
}

fn names(spec: &Value) -> Vec<String> {
    let http = spec["http"].as_array().map_or(&[][..], Vec::as_slice);
    let names = http.iter().map(|route| route["name"].as_str());
    names.map(|name| name.unwrap_or("-").to_owned()).collect()
}

async fn until_names(routes: &Api<DynamicObject>, expected: &[&str]) -> Result<()> {
    let are = |found: Option<&DynamicObject>| {
        found.is_some_and(|found| names(&found.data["spec"]) == expected)
    };
    let waiting = kube::runtime::wait::await_condition(routes.clone(), "podinfo", are);
    tokio::time::timeout(PATIENCE, waiting).await??;
    Ok(())
}

pub(crate) async fn insiders_get_the_canary_while_it_can_answer(stage: &Stage) -> Result<()> {
    let (scene, _operator) = held(stage, "chosen", |_| {}).await?;
    let routes: Api<DynamicObject> =
        Api::namespaced_with(scene.client.clone(), "chosen", &routes_resource());
    let spec = routes.get("podinfo").await?.data["spec"].clone();
    ensure!(names(&spec) == [CHOSEN, "-"], "{spec}");
    let [chosen, divided] = [&spec["http"][0], &spec["http"][1]];
    ensure!(
        chosen["match"][0]["headers"]["x-user"]["exact"] == "insider",
        "{spec}"
    );
    ensure!(
        chosen["route"][0]["destination"]["host"] == "podinfo-canary",
        "{spec}"
    );
    ensure!(divided["route"][1]["weight"] == 50, "{spec}");
    ensure!(divided["match"].is_null(), "{spec}");
    // A canary without endpoints loses them too, and gets them back.
    scene.world.set("chosen", |all| all.canary_lost = true);
    until_names(&routes, &["-"]).await?;
    scene.world.set("chosen", |all| all.canary_lost = false);
    until_names(&routes, &[CHOSEN, "-"]).await?;
    scene.world.set("chosen", |all| all.hooks.clear());
    scene.until_phase(CanaryPhase::Succeeded).await?;
    let spec = routes.get("podinfo").await?.data["spec"].clone();
    ensure!(names(&spec) == ["-"], "{spec}");
    scene.check_rest("podinfo:2").await
}

pub(crate) async fn insiders_of_an_adopted_route_are_let_go_with_it(stage: &Stage) -> Result<()> {
    let scene = stage.scene("chosen-adopted").await?;
    let theirs = json!([
        { "match": [{ "uri": { "prefix": "/docs" } }],
          "route": [{ "destination": { "host": "docs" } }] },
        { "name": "main", "timeout": "7s",
          "route": [{ "destination": { "host": "podinfo" } }] },
    ]);
    let (routes, before) = scene.author_routes(theirs).await?;
    ready(&scene, |spec| spec["revertOnDeletion"] = json!(true)).await?;
    let _operator = run(&scene).await?;
    let spec = routes.get("podinfo").await?.data["spec"].clone();
    ensure!(names(&spec) == ["-", CHOSEN, "main"], "{spec}");
    ensure!(spec["http"][1]["timeout"] == "7s", "{spec}");
    scene.delete_canary().await?;
    scene.until_gone().await?;
    let after = routes.get("podinfo").await?;
    ensure!(after.data["spec"] == before.data["spec"], "{}", after.data);
    ensure!(after.metadata.annotations == before.metadata.annotations);
    scene.history.judge()
}

pub(crate) async fn insiders_of_a_gateway_have_a_rule_of_their_own(stage: &Stage) -> Result<()> {
    let namespace = "chosen-gateway";
    let (scene, _operator) = held(stage, namespace, |spec| {
        spec["provider"] = json!("gatewayapi:v1");
        spec["service"]["gatewayRefs"] = json!([{ "name": "public" }]);
    })
    .await?;
    let routes: Api<DynamicObject> =
        Api::namespaced_with(scene.client.clone(), namespace, &gateway_routes_resource());
    let rules = routes.get("podinfo").await?.data["spec"]["rules"].clone();
    ensure!(rules.as_array().map(Vec::len) == Some(2), "{rules}");
    ensure!(
        rules[0]["backendRefs"][0]["name"] == "podinfo-canary",
        "{rules}"
    );
    ensure!(
        rules[0]["matches"][0]["headers"][0]["value"] == "insider",
        "{rules}"
    );
    ensure!(rules[1]["backendRefs"][1]["weight"] == 50, "{rules}");
    scene.world.set(namespace, |all| all.hooks.clear());
    scene.until_phase(CanaryPhase::Succeeded).await?;
    let rules = routes.get("podinfo").await?.data["spec"]["rules"].clone();
    ensure!(rules.as_array().map(Vec::len) == Some(1), "{rules}");
    scene.check_rest("podinfo:2").await
}
