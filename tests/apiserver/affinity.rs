//! Clients that keep the version that they got.

use anyhow::{Context as _, Result, ensure};
use fairlead_crds::canary::CanaryPhase;
use fairlead_tests::players::{gateway_routes_resource, routes_resource};
use kube::api::{Api, DynamicObject};
use serde_json::{Value, json};

use crate::stage::{Scene, Stage, weight};

/// A scene whose run is held at its last weight, with clients bound to the canary.
async fn held(
    stage: &Stage,
    namespace: &str,
    change: impl FnOnce(&mut Value),
) -> Result<(Scene, tokio::process::Child)> {
    let scene = stage.scene(namespace).await?;
    let affinity = |spec: &mut Value| {
        spec["analysis"]["sessionAffinity"] =
            json!({ "cookieName": "new", "primaryCookieName": "old", "path": "/" });
        change(spec);
    };
    let operator = scene.hold_at_gate(affinity).await?;
    Ok((scene, operator))
}

fn names(spec: &Value) -> Vec<String> {
    let http = spec["http"].as_array().map_or(&[][..], Vec::as_slice);
    let names = http.iter().map(|route| route["name"].as_str());
    names.map(|name| name.unwrap_or("-").to_owned()).collect()
}

const BOUND: [&str; 2] = ["fairlead-affinity-canary", "fairlead-affinity-primary"];

pub(crate) async fn clients_stay_with_the_version_that_they_got(stage: &Stage) -> Result<()> {
    let (scene, operator) = held(stage, "affinity", |_| {}).await?;
    let routes: Api<DynamicObject> =
        Api::namespaced_with(scene.client.clone(), "affinity", &routes_resource());
    let spec = routes.get("podinfo").await?.data["spec"].clone();
    ensure!(names(&spec) == [BOUND[0], BOUND[1], "-"], "{spec}");
    let given = |canary: &fairlead_crds::canary::Canary| {
        let status = canary.status.clone().unwrap_or_default();
        status.session_affinity_cookie
    };
    let cookie = given(&scene.canary().await?).context("a cookie is given out")?;
    let pattern = spec["http"][0]["match"][0]["headers"]["cookie"]["regex"].as_str();
    ensure!(
        pattern.is_some_and(|text| text.contains(&cookie)),
        "{cookie} in {pattern:?}"
    );
    // A canary without endpoints loses them, and the same cookie leads back.
    scene.world.set("affinity", |all| all.canary_lost = true);
    scene
        .until("weight 0", |canary| weight(canary) == Some(0))
        .await?;
    let is_free = |found: Option<&DynamicObject>| {
        found.is_some_and(|found| names(&found.data["spec"]) == ["fairlead-affinity-expired", "-"])
    };
    let free = kube::runtime::wait::await_condition(routes.clone(), "podinfo", is_free);
    tokio::time::timeout(crate::stage::PATIENCE, free).await??;
    scene.world.set("affinity", |all| all.canary_lost = false);
    scene
        .until("the same cookie", |canary| {
            given(canary).as_ref() == Some(&cookie)
        })
        .await?;
    // Another operator gives out the same one.
    drop(operator);
    let _operator = scene.operator.start(None)?;
    scene.world.set("affinity", |all| all.hooks.clear());
    let canary = scene.until_phase(CanaryPhase::Succeeded).await?;
    scene.check_rest("podinfo:2").await?;
    let status = canary.status.unwrap_or_default();
    ensure!(
        status.previous_session_affinity_cookie == Some(cookie),
        "{:?}",
        status.previous_session_affinity_cookie
    );
    let spec = routes.get("podinfo").await?.data["spec"].clone();
    ensure!(names(&spec) == ["fairlead-affinity-expired", "-"], "{spec}");
    let answer = &spec["http"][0]["route"][0]["headers"]["response"]["add"]["Set-Cookie"];
    ensure!(answer == "new=; Max-Age=-1; Path=/", "{answer}");
    Ok(())
}

pub(crate) async fn clients_of_an_adopted_route_are_let_go_with_it(stage: &Stage) -> Result<()> {
    let scene = stage.scene("affinity-adopted").await?;
    let theirs = json!([
        { "match": [{ "uri": { "prefix": "/docs" } }],
          "route": [{ "destination": { "host": "docs" } }] },
        { "name": "main", "timeout": "7s",
          "route": [{ "destination": { "host": "podinfo" } }] },
    ]);
    let (routes, before) = scene.author_routes(theirs).await?;
    scene
        .apply_canary(|spec| {
            spec["revertOnDeletion"] = json!(true);
            spec["analysis"]["sessionAffinity"] =
                json!({ "cookieName": "new", "primaryCookieName": "old" });
            crate::steps::take(spec, json!([{ "weight": 40, "pause": {} }]));
        })
        .await?;
    let _operator = scene.operator.start(None)?;
    scene.until_phase(CanaryPhase::Initialized).await?;
    scene.apply_target("podinfo:2").await?;
    scene
        .until("a pause", |canary| crate::steps::waits(canary, 1))
        .await?;
    let spec = routes.get("podinfo").await?.data["spec"].clone();
    ensure!(names(&spec) == ["-", BOUND[0], BOUND[1], "main"], "{spec}");
    ensure!(spec["http"][0] == before.data["spec"]["http"][0], "{spec}");
    ensure!(spec["http"][1]["timeout"] == "7s", "{spec}");
    scene.delete_canary().await?;
    scene.until_gone().await?;
    let after = routes.get("podinfo").await?;
    ensure!(after.data["spec"] == before.data["spec"], "{}", after.data);
    ensure!(after.metadata.annotations == before.metadata.annotations);
    scene.history.judge()
}

pub(crate) async fn a_gateway_keeps_clients_on_their_version(stage: &Stage) -> Result<()> {
    let namespace = "affinity-gateway";
    let (scene, _operator) = held(stage, namespace, |spec| {
        spec["provider"] = json!("gatewayapi:v1");
        spec["service"]["gatewayRefs"] = json!([{ "name": "public" }]);
    })
    .await?;
    let routes: Api<DynamicObject> =
        Api::namespaced_with(scene.client.clone(), namespace, &gateway_routes_resource());
    let rules = routes.get("podinfo").await?.data["spec"]["rules"].clone();
    ensure!(rules.as_array().map(Vec::len) == Some(3), "{rules}");
    let bound = &rules[0];
    ensure!(
        bound["backendRefs"][0]["name"] == "podinfo-canary",
        "{rules}"
    );
    ensure!(
        bound["matches"][0]["headers"][0]["name"] == "cookie",
        "{rules}"
    );
    let given = &rules[2]["backendRefs"][1]["filters"][0]["responseHeaderModifier"];
    ensure!(given["add"][0]["name"] == "Set-Cookie", "{rules}");
    scene.world.set(namespace, |all| all.hooks.clear());
    scene.until_phase(CanaryPhase::Succeeded).await?;
    scene.check_rest("podinfo:2").await
}
