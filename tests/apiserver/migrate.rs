//! `fairlead migrate flagger` says beforehand what the operator then does, and changes nothing.

use anyhow::{Result, ensure};
use fairlead_crds::canary::Canary;
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, ListParams};
use serde_json::{Value, json};

use crate::fairlead::{fairlead, fairlead_json};
use crate::stage::{Scene, Stage};
use crate::takeover::left_by_flagger;

/// At rest it is ready, and becomes the baseline; in flight it waits for a person.
pub(crate) async fn a_check_tells_what_a_takeover_then_does(stage: &Stage) -> Result<()> {
    let scene = left_by_flagger(stage, "checked", "Succeeded", 0).await?;
    let before = versions(&scene).await?;
    let (code, report) = fairlead_json(&scene, "migrate flagger").await?;
    ensure!(code == 0, "{code}: {report}");
    ensure!(report["canaries"][0]["takeover"] == "Baseline", "{report}");

    scene.apply_target("podinfo:2").await?;
    let seen = |found: &Deployment| {
        let status = found.status.as_ref();
        status.and_then(|status| status.observed_generation) == found.metadata.generation
    };
    scene.until_deployment("podinfo", seen).await?;
    let between = versions(&scene).await?;
    let (code, report) = fairlead_json(&scene, "migrate flagger").await?;
    ensure!(code == 1, "{code}: {report}");
    let canary = &report["canaries"][0];
    ensure!(canary["takeover"] == "Waits", "{report}");
    ensure!(
        canary["attention"].to_string().contains("`resume`"),
        "{report}"
    );
    ensure!(
        versions(&scene).await? == between,
        "the check changed something"
    );
    ensure!(before != between, "the versions tell nothing");

    let foretold = canary["attention"][0]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let _operator = scene.operator.start(None)?;
    scene
        .until("what was foretold", |canary| message(canary) == foretold)
        .await?;
    Ok(())
}

/// What stands in the way is told with the field and the fix, and without colours in a pipe.
pub(crate) async fn what_cannot_be_taken_over_is_told_with_the_fix(stage: &Stage) -> Result<()> {
    let scene = stage.scene("not-yet").await?;
    let alerts = json!([{ "name": "gone", "providerRef": { "name": "nobody" } }]);
    let change = |change: fn(&mut Value, Value)| {
        let alerts = alerts.clone();
        move |spec: &mut Value| change(spec, alerts)
    };
    scene
        .apply_canary(change(|spec, alerts| {
            spec["provider"] = json!("nginx");
            spec["analysis"]["alerts"] = alerts;
        }))
        .await?;
    let (code, text) = fairlead(&scene, "migrate flagger").await?;
    ensure!(
        code == 1 && text.contains("`spec.provider`: `nginx`"),
        "{code}: {text}"
    );
    ensure!(!text.contains('\u{1b}'), "{text}");

    scene
        .apply_canary(change(|spec, alerts| {
            spec["analysis"]["alerts"] = alerts;
            spec["ingressRef"] = json!({
                "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "name": "podinfo",
            });
            spec["analysis"]["metrics"] = json!([
                { "name": "errors", "templateRef": { "name": "nowhere" } },
            ]);
        }))
        .await?;
    let (code, report) = fairlead_json(&scene, "migrate flagger").await?;
    let attention = report["canaries"][0]["attention"].to_string();
    ensure!(code == 1, "{report}");
    for told in ["`spec.ingressRef`", "AlertProvider", "MetricTemplate"] {
        ensure!(attention.contains(told), "{told}: {attention}");
    }
    ensure!(report["canaries"][0]["takeover"] == "Begins", "{report}");
    Ok(())
}

/// The versions of the objects that a takeover could change.
async fn versions(scene: &Scene) -> Result<Vec<Option<String>>> {
    let canaries: Api<Canary> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let canaries = canaries.list(&ListParams::default()).await?;
    let deployments = scene.deployments().list(&ListParams::default()).await?;
    let canaries = canaries.items.into_iter().map(|one| one.metadata);
    let deployments = deployments.items.into_iter().map(|one| one.metadata);
    let all = canaries.chain(deployments);
    Ok(all.map(|meta| meta.resource_version).collect())
}

fn message(canary: &Canary) -> &str {
    let conditions = canary.status.iter().flat_map(|status| &status.conditions);
    let ready = conditions.into_iter().find(|one| one.type_ == "Ready");
    ready.map_or("", |one| one.message.as_str())
}
