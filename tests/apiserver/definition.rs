//! A definition of Canaries that is not ours: Flagger's, installed again after it.

use anyhow::{Context as _, Result, ensure};
use fairlead_crds::canary::{Canary, CanaryPhase};
use fairlead_tests::{manifest, wait};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::ResourceExt as _;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::stage::{PATIENCE, Scene, Stage};

const OURS: &str = include_str!("../../crds/canaries.flagger.app.yaml");

/// Without a place for what a restart needs nothing is begun, and people are told what helps.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_made_while_the_state_cannot_be_kept() -> Result<()> {
    let stage = Stage::open().await?;
    let scene = stage.scene("dropped").await?;
    scene.apply_canary(|_| {}).await?;
    take_the_state_out(&scene).await?;
    let _operator = scene.operator.start(None)?;
    let told = |canary: &Canary| {
        let conditions = canary.status.iter().flat_map(|status| &status.conditions);
        let mut texts = conditions.map(|condition| condition.message.as_str());
        texts.any(|text| text.contains("drops `status.rollout`") && text.contains("crds.install"))
    };
    scene.until("what helps", told).await?;
    let made = scene.workloads().get_opt("podinfo-primary").await?;
    ensure!(made.is_none(), "a primary was made");
    manifest::apply(&scene.client, OURS).await?;
    scene.until_phase(CanaryPhase::Initialized).await?;
    Ok(())
}

/// Makes the definition one that knows nothing of ours, and waits until it is in force.
async fn take_the_state_out(scene: &Scene) -> Result<()> {
    let definitions: Api<CustomResourceDefinition> = Api::all(scene.client.clone());
    let (name, params) = ("canaries.flagger.app", PatchParams::default());
    // The API server writes to it as well.
    let changed = async || {
        let mut definition = definitions.get(name).await?;
        for version in &mut definition.spec.versions {
            let schema = version.schema.as_mut();
            let root = schema.and_then(|schema| schema.open_api_v3_schema.as_mut());
            let status = root.and_then(|root| root.properties.as_mut()?.get_mut("status"));
            let fields = status.and_then(|status| status.properties.as_mut());
            fields.context("fields of the status")?.remove("rollout");
        }
        definitions
            .replace(name, &PostParams::default(), &definition)
            .await?;
        Ok(Some(()))
    };
    wait::poll(
        &scene.client,
        &scene.namespace,
        "a change",
        PATIENCE,
        changed,
    )
    .await?;
    let canaries = scene.canaries();
    let state = Patch::Merge(json!({ "status": { "rollout": { "promotedRevision": "1" } } }));
    let dropped = async || {
        let written = canaries.patch_status("podinfo", &params, &state).await?;
        let rollout = written.status.and_then(|status| status.rollout);
        Ok(rollout.is_none().then_some(()))
    };
    wait::poll(
        &scene.client,
        &scene.namespace,
        "its effect",
        PATIENCE,
        dropped,
    )
    .await?;
    // Nothing of the trial stays.
    let clear = Patch::Merge(json!({ "status": null }));
    let cleared = canaries.patch_status("podinfo", &params, &clear).await?;
    ensure!(
        cleared.status.is_none(),
        "{} has a status",
        cleared.name_any()
    );
    Ok(())
}
