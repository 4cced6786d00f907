//! A canary that is compared with its primary by what the proxies of callers count.

use anyhow::{Context as _, Result, ensure};
use fairlead_crds::canary::{Canary, CanaryPhase, EvidenceStatus, RunOutcome};
use fairlead_tests::callers::{Called, Callers, Division};
use serde_json::{Value, json};

use crate::stage::{Scene, Stage};

/// Two steps, and only the comparison to say whether they are good.
async fn apply(scene: &Scene, interval: &str, steps: Value) -> Result<()> {
    scene
        .apply_canary(|spec| {
            spec["analysis"] = json!({
                "interval": interval,
                "threshold": 2,
                "stepWeights": steps,
                "judgement": { "metrics": [{ "name": "request-success-rate" }] },
            });
        })
        .await
}

/// Calls the scene's target.
async fn call(scene: &Scene, number: u8, rate: f64, bad: f64) -> Result<Callers> {
    let called = Called {
        namespace: scene.namespace.clone(),
        target: "podinfo".to_owned(),
        rate,
        bad,
        division: Division::Even,
    };
    let history = scene.history.clone();
    let weight = move || history.weights().last().copied().unwrap_or(0).into();
    Callers::start(&scene.client, called, number, weight).await
}

#[expect(clippy::print_stdout, reason = "the time is the result")]
pub(crate) async fn harm_ends_a_run_at_once(stage: &Stage) -> Result<()> {
    let scene = stage.scene("harmed").await?;
    apply(&scene, "5m", json!([10, 50])).await?;
    let callers = call(&scene, 1, 100.0, 0.5).await?;
    let _operator = scene.operator.start(None)?;
    scene.until_phase(CanaryPhase::Initialized).await?;
    scene.apply_target("podinfo:2").await?;
    let canary = scene.until_phase(CanaryPhase::Failed).await?;
    let message = scene.until_condition("podinfo", "Stalled").await?;
    ensure!(
        message.contains("request-success-rate: the canary is worse"),
        "{message}"
    );
    scene
        .until_deployment("podinfo", |found| {
            found.spec.as_ref().and_then(|spec| spec.replicas) == Some(0)
        })
        .await?;
    scene.check_rest("podinfo:1").await?;
    let weights = scene.history.weights();
    ensure!(weights == [0, 10, 0], "the weights were {weights:?}");
    let status = canary.status.unwrap_or_default();
    let rollout = status.rollout.unwrap_or_default();
    let judged = rollout.judgement.first().context("a verdict")?;
    ensure!(judged.verdict == "Harm", "{judged:?}");
    let run = status.history.first().context("a run")?;
    ensure!(run.outcome == Some(RunOutcome::Failed), "{run:?}");
    let told = run.decisions.iter();
    let mut told = told.filter(|one| one.decision == "RolledBack");
    let why = told.next().and_then(|one| one.message.clone());
    ensure!(
        why.as_ref().is_some_and(|why| why.contains("is worse")),
        "{why:?}"
    );
    let traffic = callers.traffic();
    let (first, last) = (traffic.first_bad, traffic.last);
    let took = first.zip(last).map(|(first, last)| last - first);
    let [requests, bad] = traffic.canary;
    println!(
        "harm: {took:?} from the first bad answer to weight 0, after {requests:.0} requests to \
         the canary with {bad:.0} bad answers"
    );
    Ok(())
}

/// The operator is killed in the middle: it goes on with what it had stored.
pub(crate) async fn an_equal_version_is_promoted_in_spite_of_a_restart(
    stage: &Stage,
) -> Result<()> {
    let scene = stage.scene("equal").await?;
    apply(&scene, "8s", json!([20, 40])).await?;
    let callers = call(&scene, 2, 2000.0, 0.01).await?;
    let mut operator = scene.operator.start(None)?;
    scene.until_phase(CanaryPhase::Initialized).await?;
    scene.apply_target("podinfo:2").await?;
    let has = |blocks: u32| move |canary: &Canary| learned(canary).spread.blocks >= blocks;
    let canary = scene.until("counts of four blocks", has(4)).await?;
    operator.kill().await?;
    let before = learned(&scene.canary().await?);
    ensure!(before.spread.blocks >= learned(&canary).spread.blocks);
    let _operator = scene.operator.start(None)?;
    let more = has(before.spread.blocks + 1);
    let after = learned(&scene.until("more blocks", more).await?);
    ensure!(
        after.canary[0] > before.canary[0],
        "{after:?} does not go on from {before:?}"
    );
    let canary = scene.until("a share beside the weight", has_share).await?;
    let share = canary
        .status
        .and_then(|status| status.rollout?.observed_share);
    let share = share.context("a share")?;
    let drift = (share.percent.as_f64() - f64::from(share.weight)).abs();
    ensure!(drift < 5.0 && share.requests > 0, "{share:?}");
    let canary = scene.until_phase(CanaryPhase::Succeeded).await?;
    let end = learned(&canary);
    let served = callers.traffic().canary[0];
    ensure!(
        end.canary[0] <= served,
        "{} requests of {served} were counted",
        end.canary[0]
    );
    scene.check_rest("podinfo:2").await?;
    let weights = scene.history.weights();
    ensure!(weights == [0, 20, 40, 0], "the weights were {weights:?}");
    let judged = canary.status.and_then(|status| status.rollout);
    let judged = judged.map(|rollout| rollout.judgement).unwrap_or_default();
    ensure!(
        judged.iter().all(|one| one.verdict == "NoHarmShown") && judged.len() == 1,
        "{judged:?}"
    );
    Ok(())
}

/// Nobody calls: at the end of the planned time nothing is known, and that is no pass.
pub(crate) async fn without_requests_nothing_passes(stage: &Stage) -> Result<()> {
    let scene = stage.scene("uncalled").await?;
    apply(&scene, "1s", json!([50])).await?;
    let _callers = call(&scene, 3, 0.0, 0.0).await?;
    let _operator = scene.operator.start(None)?;
    scene.until_phase(CanaryPhase::Initialized).await?;
    scene.apply_target("podinfo:2").await?;
    scene.until_phase(CanaryPhase::Failed).await?;
    let message = scene.until_condition("podinfo", "Stalled").await?;
    ensure!(
        message.contains("inconclusive: no requests to both versions"),
        "{message}"
    );
    // What cannot be compared at all is refused before anything moves.
    scene
        .apply_canary_named("undivided", |spec| {
            spec["targetRef"]["name"] = json!("other");
            spec["provider"] = json!("kubernetes");
            spec["analysis"]["judgement"] =
                json!({ "metrics": [{ "name": "request-success-rate" }] });
        })
        .await?;
    let message = scene.until_condition("undivided", "Stalled").await?;
    ensure!(message.contains("spec.analysis.judgement"), "{message}");
    Ok(())
}

fn has_share(canary: &Canary) -> bool {
    let status = canary.status.as_ref();
    let rollout = status.and_then(|status| status.rollout.as_ref());
    rollout.is_some_and(|rollout| rollout.observed_share.is_some())
}

/// What was learned about failed requests.
fn learned(canary: &Canary) -> EvidenceStatus {
    let status = canary.status.as_ref();
    let rollout = status.and_then(|status| status.rollout.as_ref());
    let run = rollout.and_then(|rollout| rollout.run.as_ref());
    let record = run.and_then(|run| run.record.as_ref());
    record
        .and_then(|record| record.failures.clone())
        .unwrap_or_default()
}
