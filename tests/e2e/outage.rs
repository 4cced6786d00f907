//! A component is killed at a bad moment; traffic flows and rollouts end as they would have.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fairlead_tests::load::{Load, Plan};
use fairlead_tests::story::applications::{self, Repository};
use fairlead_tests::story::{MESH, SYSTEM, Stage, release};
use fairlead_tests::timeline::Timeline;
use fairlead_tests::wait;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, ListParams};

use crate::suite::Suite;

/// The phases of a release in which the operator is killed.
const PHASES: [&str; 3] = ["Progressing", "Promoting", "Finalising"];
const ENDS_WITHIN: Duration = Duration::from_secs(240);

pub(crate) async fn tell(stage: &Stage, suite: &mut Suite, repository: &Repository) {
    suite
        .story(
            "traffic flows while the control plane is gone",
            without_control_plane(stage),
        )
        .await;
    suite
        .story(
            "the operator killed once in each phase ends the same",
            killed(stage, repository),
        )
        .await;
}

/// Kills all pods of a selector at once, without any grace.
async fn kill(stage: &Stage, namespace: &str, selector: &str) -> Result<usize> {
    let pods: Api<Pod> = Api::namespaced(stage.client.clone(), namespace);
    let found = pods
        .list(&ListParams::default().labels(selector))
        .await?
        .items;
    for pod in &found {
        pods.delete(&pod.name_any(), &DeleteParams::default().grace_period(0))
            .await?;
    }
    Ok(found.len())
}

async fn without_control_plane(stage: &Stage) -> Result<()> {
    let load = Load::start(&stage.client, &Plan::podinfo("outage", 50), &stage.images).await?;
    let killed = kill(stage, MESH, "app=istiod").await?;
    ensure!(killed > 0, "there was no control plane to kill");
    applications::available(&stage.client, MESH, "istiod").await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let counts = load.stop().await?;
    ensure!(counts.errors == 0, "{counts:?}");
    Ok(())
}

async fn killed(stage: &Stage, repository: &Repository) -> Result<()> {
    let load = Load::start(&stage.client, &Plan::podinfo("killed", 50), &stage.images).await?;
    let timeline = Timeline::start(&stage.client, "podinfo", "podinfo");
    repository.set_image("podinfo", release::IMAGE, stage.image("podinfo")?)?;
    repository.push("podinfo: back to v1").await?;
    for phase in PHASES {
        let what = format!("phase {phase} or a later one");
        wait::poll(&stage.client, "podinfo", &what, ENDS_WITHIN, async || {
            Ok(timeline
                .phases()
                .iter()
                .skip(1)
                .any(|seen| seen == phase)
                .then_some(()))
        })
        .await?;
        kill(stage, SYSTEM, "app.kubernetes.io/name=fairlead-operator").await?;
    }
    wait::poll(
        &stage.client,
        "podinfo",
        "Succeeded",
        ENDS_WITHIN,
        async || {
            let phases = timeline.phases();
            Ok(
                (phases.len() > 1 && phases.last().is_some_and(|last| last == "Succeeded"))
                    .then_some(()),
            )
        },
    )
    .await?;
    let counts = load.stop().await?;
    ensure!(counts.errors == 0, "{counts:?}");
    let peak = timeline
        .weights()
        .into_iter()
        .max()
        .context("no weight was seen")?;
    ensure!(peak == 50, "the weights were {:?}", timeline.weights());
    Ok(())
}
