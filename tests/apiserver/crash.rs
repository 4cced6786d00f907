//! The operator dies after each of its writes in turn; another one takes over; the end is the same.

use anyhow::{Context as _, Result, ensure};
use fairlead_crds::canary::CanaryPhase;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::apps::v1::Deployment;
use serde_json::json;

use crate::stage::{Scene, Stage};

/// Rollouts at a time: each has an operator of its own.
const SIDE_BY_SIDE: usize = 4;
/// More writes than a whole rollout has; the test ends with the first number that is not reached.
const MOST_WRITES: usize = 120;

/// Fewer writes than a whole rollout has: so many must have been survived.
const FEWEST_WRITES: usize = 25;

#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_survives_a_crash_after_every_write() -> Result<()> {
    every_write("good", "100", CanaryPhase::Succeeded, "podinfo:2").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_survives_a_crash_after_every_write() -> Result<()> {
    every_write("bad", "50", CanaryPhase::Failed, "podinfo:1").await
}

#[expect(
    clippy::print_stdout,
    reason = "the number of survived writes is the result"
)]
async fn every_write(prefix: &str, metric: &str, end: CanaryPhase, image: &str) -> Result<()> {
    let stage = Stage::open().await?;
    let mut writes = 0;
    while writes < MOST_WRITES {
        let batch: Vec<usize> = (writes + 1..=writes + SIDE_BY_SIDE).collect();
        writes += SIDE_BY_SIDE;
        let died: Vec<bool> = stream::iter(batch)
            .map(|write| {
                let stage = &stage;
                async move {
                    let namespace = format!("{prefix}-{write}");
                    let scene = stage.scene(&namespace).await?;
                    Box::pin(rollout(&scene, write, metric, end, image))
                        .await
                        .with_context(|| format!("killed after write {write}"))
                }
            })
            .buffered(SIDE_BY_SIDE)
            .try_collect()
            .await?;
        if let Some(last) = died.iter().position(|died| !died) {
            let crashes = writes - SIDE_BY_SIDE + last;
            println!("{prefix}: the same end after a crash at each of {crashes} writes");
            ensure!(
                crashes >= FEWEST_WRITES,
                "a rollout has more writes than {crashes}"
            );
            return Ok(());
        }
    }
    anyhow::bail!("a rollout has fewer writes than {MOST_WRITES}")
}

/// Plays one rollout; says whether the operator died on the way.
async fn rollout(
    scene: &Scene,
    write: usize,
    metric: &str,
    end: CanaryPhase,
    image: &str,
) -> Result<bool> {
    let gate = format!("{}/hook/gate", scene.address);
    scene
        .apply_canary(|spec| {
            spec["analysis"]["webhooks"] = json!([
                { "name": "gate", "type": "pre-rollout", "url": gate },
            ]);
        })
        .await?;
    let mut died = false;
    let mut operator = scene.operator.start(Some(write))?;
    let story = tell(scene, metric, end);
    tokio::pin!(story);
    loop {
        tokio::select! {
            status = operator.wait() => {
                ensure!(!died && !status?.success(), "the operator ended; log: {}", scene.log());
                died = true;
                operator = scene.operator.start(None)?;
            }
            told = &mut story => break told?,
        }
    }
    scene.check_rest(image).await?;
    check_calls(scene)?;
    Ok(died)
}

async fn tell(scene: &Scene, metric: &str, end: CanaryPhase) -> Result<()> {
    scene.until_phase(CanaryPhase::Initialized).await?;
    scene
        .world
        .set(&scene.namespace, |all| all.metric = metric.to_owned());
    scene.apply_target("podinfo:2").await?;
    scene.until_phase(end).await?;
    let rests = |deployment: &Deployment| {
        deployment.spec.as_ref().and_then(|spec| spec.replicas) == Some(0)
    };
    scene.until_deployment("podinfo", rests).await?;
    Ok(())
}

/// A hook in doubt may be called once more, with the same key and no other.
fn check_calls(scene: &Scene) -> Result<()> {
    let calls = scene.world.conditions(&scene.namespace).calls;
    let mut keys: Vec<&String> = calls.iter().map(|(_, key)| key).collect();
    keys.dedup();
    ensure!(
        keys.len() == 1 && calls.len() <= 2,
        "the gate was called {calls:?}"
    );
    Ok(())
}
